"""Verdicts: the rules, and claims on tables that are written by hand."""

import math
from typing import Any

import pytest

from tla.paper import claims
from tla.paper.claim_words import sentence
from tla.paper.claims import findings
from tla.paper.measured import GAINS, LOSES, NOTHING, Measured, agreement, lies_in, table
from tla.reference import CLAIMS, TABLE1, TABLE2
from tla.statistics import CLIPS, TRAININGS, Estimate


@pytest.mark.parametrize(
    ("low", "high", "region", "expected"),
    [
        (0.1, 5, GAINS, "holds"),
        (-0.1, 5, GAINS, "not enough evidence"),
        (0.0, 5, GAINS, "not enough evidence"),
        (-5, 0.0, GAINS, "does not hold"),
        (-9, -1, GAINS, "does not hold"),
        (-9, -1, LOSES, "holds"),
        (-5, 2.9, NOTHING, "holds"),  # an interval that includes 0 is not enough
        (-5, 3.1, NOTHING, "not enough evidence"),
        (0.5, 2.5, NOTHING, "holds"),  # a gain, but less than the margin
        (3.0, 9, NOTHING, "does not hold"),
    ],
)
def test_a_number_is_in_its_region_out_of_it_or_neither(low: float, high: float, region: tuple, expected: str) -> None:
    assert lies_in(number((low + high) / 2, low, high), region) == expected


@pytest.mark.parametrize(
    ("low", "high", "stated", "expected"),
    [
        (15, 25, 20, "holds"),
        (11, 29, 20, "holds"),  # no wider than the size itself
        (9, 31, 20, "not enough evidence"),
        (21, 25, 20, "does not hold"),
        (-1, 4, 1.2, "holds"),  # six points are always narrow enough
        (-4, 5, 1.2, "not enough evidence"),
    ],
)
def test_the_papers_size_has_to_lie_in_an_interval_that_is_narrow_enough(
    low: float, high: float, stated: float, expected: str
) -> None:
    assert agreement(number(stated, low, high), stated) == expected


def test_a_level_is_no_easier_to_agree_with_than_a_small_difference() -> None:
    assert agreement(number(90, 80, 99), 90) == "holds"
    assert agreement(number(90, 80, 99), 90, level=True) == "not enough evidence"
    assert agreement(number(90, 88, 93), 90, level=True) == "holds"


def part(claim: int = 1, **more: Any) -> Measured:
    """A part in the paper's setting whose interval is far above 0."""
    usual: dict[str, Any] = {
        "part": "pretrained - random",
        "data": "esc50",
        "backbone": "densenet201",
        "study": "0123456789ab",
        "departures": (),
        "protocol": "paper",
        "rule": "last",
        "paper_rule": "best",
        "folds": (1, 2),
        "seeds": (3,),
        "runs": 4,
        "clips": 800,
        "sources": 500,
        "unit": "points",
        "number": number(20.0, 16.0, 24.0),
        "region": GAINS,
        "paper": 18.66,
        "by_paper_rule": number(19.0, 15.0, 23.0),
    }
    return Measured(claim=claim, **usual | more)


def number(value: float, low: float, high: float, covers: str = TRAININGS) -> Estimate:
    return Estimate(value, low, high, covers)


BELOW = number(-5.0, -9.0, -1.0)


def found(*parts: Measured) -> dict[int, claims.Finding]:
    return {finding.claim.number: finding for finding in findings(parts)}


def sentences(finding: claims.Finding) -> list[str]:
    return [sentence(part) for part in finding.parts if part.number]


def test_seven_claims_are_judged_whatever_there_is() -> None:
    judged = found(part())
    assert sorted(judged) == [1, 2, 3, 4, 5, 6, 7]
    assert judged[1].verdict == judged[1].size == "holds"
    assert judged[1].apart == ()
    assert [judged[number].verdict for number in range(2, 8)] == ["not enough evidence"] * 6


def test_a_claim_holds_if_all_parts_do_and_fails_if_one_does() -> None:
    good, bad, unclear = part(2), part(2, number=BELOW), part(2, number=number(20.0, -1.0, 24.0))
    absent = part(2, number=None, missing=("no runs",), lack="no runs", command="python -m tla.x")
    assert found(good, good)[2].verdict == "holds"
    assert found(good, bad, absent)[2].verdict == "does not hold"
    assert found(good, unclear)[2].verdict == "not enough evidence"
    assert found(good, absent)[2].verdict == "not enough evidence"
    only_size = part(2, region=None, paper=90.0, unit="%")
    assert found(only_size)[2].verdict == "not enough evidence"  # a size alone decides nothing


def test_what_is_missing_comes_with_its_command_once() -> None:
    absent: dict[str, Any] = {"number": None, "command": "python -m tla.fusion --upto block2,block3"}
    claim = found(
        part(2, **absent, missing=("no runs pretrained up to block2", "no runs pretrained up to block3")),
        part(2, **absent, missing=("no runs pretrained up to block3",)),
    )[2]
    what = "no runs pretrained up to block2, no runs pretrained up to block3"
    assert claim.missing == (claims.Missing(what, "python -m tla.fusion --upto block2,block3"),)
    assert sentences(claim) == []


def test_an_open_part_comes_with_how_many_clips_would_settle_it() -> None:
    claim = found(part(number=number(2.0, -2.0, 6.0)))[1]
    assert claim.missing[0].what.startswith(
        "pretrained - random: about 4.0 times as many clips and seeds"
    )  # half-width 4 has to become 2
    hopeless = found(part(number=number(0.01, -4.0, 4.0)))[1]
    assert "too near to 0" in hopeless.missing[0].what


def test_on_one_seed_there_is_no_verdict_but_what_these_runs_show_and_what_it_takes() -> None:
    further = claims.Missing("runs on urbansound8k and gtzan, which the claim is about too")
    assert found(part())[1].missing == (further,)

    def alone(value: float, low: float, high: float) -> claims.Finding:
        ours, by_paper_rule = number(value, low, high, CLIPS), number(19.0, 15.0, 23.0, CLIPS)
        return found(part(seeds=(1,), number=ours, by_paper_rule=by_paper_rule))[1]

    claim = alone(20.0, 16.0, 24.0)
    assert claim.verdict == claim.size == "not enough evidence"
    assert "on these runs, for other clips, it lies there" in sentences(claim)[0]
    assert "not to be judged without other trainings" in sentences(claim)[0]
    assert "--seeds 3 would settle it, if runs of one plan differ by 3 points" in claim.missing[0].what
    below = alone(-5.0, -9.0, -1.0)
    assert below.verdict == "not enough evidence"
    assert "it does not lie there" in sentences(below)[0]
    assert "and more clips too" in alone(3.0, -1.0, 7.0).missing[0].what


def test_without_an_interval_there_is_no_verdict() -> None:
    none = number(20.0, math.nan, math.nan)
    claim = found(part(sources=4, number=none, by_paper_rule=none))[1]
    assert claim.verdict == claim.size == "not enough evidence"
    assert "4 recordings, or such unequal ones, are too few" in claim.missing[0].what


def test_the_papers_setting_goes_first_and_its_size_is_asked_only_there() -> None:
    away = part(data="esc10", departures=("data esc10", "8 epochs instead of 70"), runs=100, number=BELOW)
    both = found(away, part())[1]
    assert both.verdict == "holds"
    assert both.on == "esc50, densenet201"
    alone = found(away)[1]
    assert alone.verdict == "does not hold"
    assert alone.size is None
    assert alone.apart == ("data esc10", "8 epochs instead of 70")
    assert "the paper's" not in sentences(alone)[0]


def test_elsewhere_a_claim_is_judged_on_the_data_with_most_runs() -> None:
    few = part(data="esc10", departures=("data esc10",), runs=2, number=BELOW)
    many = part(data="toy", departures=("data toy",), runs=9)
    claim = found(few, many)[1]
    assert claim.on == "toy, densenet201"
    assert claim.verdict == "holds"


def test_the_paper_speaks_of_three_data_sets_and_all_that_are_there_count() -> None:
    claim = found(part(), part(data="gtzan", number=BELOW))[1]
    assert claim.verdict == "does not hold"
    assert claim.on == "esc50, densenet201; gtzan, densenet201"
    assert list(map(str, claim.missing)) == ["runs on urbansound8k, which the claim is about too"]


def test_the_size_is_compared_by_the_papers_rule() -> None:
    claim = found(part(by_paper_rule=number(22.0, 20.0, 24.0)))[1]
    assert claim.verdict == "holds"
    assert claim.size == "does not hold"
    assert "the paper's 18.7 against +22.0 points [+20.0, +24.0] (best epoch): does not agree" in sentences(claim)[0]


def test_a_sentence_holds_what_the_number_stands_on() -> None:
    (text,) = sentences(found(part())[1])
    assert text.startswith(
        "pretrained - random: +20.0 points [+16.0, +24.0] (last epoch, paper protocol, folds 1,2, 3 seeds, 4 runs, "
        "800 clips of 500 recordings; interval for other clips and other trainings): holds (needed: above 0)"
    )


def test_the_papers_numbers_are_those_of_the_paper() -> None:
    assert len(CLAIMS) == 7
    gaps = {place: round(pretrained - random, 2) for place, (pretrained, random) in TABLE1.items()}
    assert (gaps["densenet201", "esc50"], gaps["resnet50", "urbansound8k"], gaps["inception_v3", "gtzan"]) == (18.66, 11.5, 3.7)
    single = {place: row[0] for place, row in TABLE2.items()}
    assert single == {place: row[0] for place, row in TABLE1.items()}  # the single networks of Table II are those of Table I
    lost = {place for place, (one, _, five) in TABLE2.items() if five < one}
    assert lost == {("densenet201", "gtzan")}  # the text's loss on GTZAN is one network's


# Training


def test_there_is_no_verdict_on_runs_that_were_not_trained_to_their_end() -> None:
    short = part(unfinished=2, command="python -m tla.train --recipe.until plateau")
    claim = found(short)[1]
    assert (claim.verdict, claim.size) == ("not trained to the end", None)
    assert "on these runs" not in sentences(claim)[0]
    what = "2 of 4 runs trained to their end (pretrained - random)"
    assert claim.missing[0] == claims.Missing(what, "python -m tla.train --recipe.until plateau")


@pytest.mark.parametrize(
    ("low", "value", "high", "hangs"),
    [(3.0, 8.0, 12.0, False), (-1.0, 4.0, 9.0, True), (-9.0, -5.0, -1.0, True)],
)
def test_a_finding_that_twice_the_training_takes_away_hangs_on_the_budget(
    low: float, value: float, high: float, hangs: bool
) -> None:
    text = sentence(part(doubled=number(value, low, high)))
    assert "with twice the training" in text
    assert ("hangs on the budget" in text) == hangs


def test_the_table_of_parts_has_a_row_each_with_what_there_are_several_of_joined() -> None:
    absent = part(number=None, by_paper_rule=None, folds=(), seeds=(), missing=("no runs a", "no runs b"), lack="no runs")
    measured = table([part(seeds=(5, 3), departures=("data toy", "lr 1")), absent])
    first, second = measured.to_dict("records")
    assert (first["folds"], first["seeds"], first["departures"]) == ("1,2", "5 and 3", "data toy; lr 1")
    assert (first["value"], first["low"], first["paper_rule_high"], first["region_low"]) == (20, 16, 23, 0)
    assert (second["missing"], second["verdict"]) == ("no runs a; no runs b", "not enough evidence")
    assert math.isnan(second["value"])
