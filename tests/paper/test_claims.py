"""Verdicts: the rules, and claims on tables that are written by hand."""

import math

import pandas as pd
import pytest

from tla.paper import claims
from tla.paper.claims import COLUMNS, GAINS, LOSES, NOTHING, agreement, findings, judge, verdict
from tla.reference import CLAIMS, TABLE1, TABLE2
from tla.statistics import CLIPS, TRAININGS


@pytest.mark.parametrize(
    ("low", "high", "region", "says"),
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
def test_a_number_is_in_its_region_out_of_it_or_neither(low: float, high: float, region: tuple, says: str) -> None:
    assert verdict(low, high, region) == says


@pytest.mark.parametrize(
    ("low", "high", "stated", "says"),
    [
        (15, 25, 20, "holds"),
        (11, 29, 20, "holds"),  # no wider than the size itself
        (9, 31, 20, "not enough evidence"),
        (21, 25, 20, "does not hold"),
        (-1, 4, 1.2, "holds"),  # six points are always narrow enough
        (-4, 5, 1.2, "not enough evidence"),
    ],
)
def test_the_papers_size_has_to_lie_in_an_interval_that_says_something(
    low: float, high: float, stated: float, says: str
) -> None:
    assert agreement(low, high, stated) == says


def test_a_level_is_no_easier_to_agree_with_than_a_small_difference() -> None:
    assert agreement(80, 99, 90) == "holds"
    assert agreement(80, 99, 90, level=True) == "not enough evidence"
    assert agreement(88, 93, 90, level=True) == "holds"


def part(claim: int = 1, **more: object) -> dict[str, object]:
    """A part in the paper's setting whose interval is far above 0."""
    usual = {
        "claim": claim,
        "part": "pretrained - random",
        "data": "esc50",
        "backbone": "densenet201",
        "departures": "",
        "protocol": "paper",
        "rule": "last",
        "paper_rule": "best",
        "folds": "1,2",
        "seeds": "3",
        "runs": 4,
        "unfinished": 0,
        "doubled": math.nan,
        "doubled_low": math.nan,
        "doubled_high": math.nan,
        "clips": 800,
        "sources": 500,
        "unit": "points",
        "value": 20.0,
        "low": 16.0,
        "high": 24.0,
        "covers": TRAININGS,
        "region_low": 0.0,
        "region_high": math.inf,
        "paper": 18.66,
        "paper_rule_value": 19.0,
        "paper_rule_low": 15.0,
        "paper_rule_high": 23.0,
        "paper_rule_covers": TRAININGS,
        "missing": "",
        "command": "",
    }
    return dict.fromkeys(COLUMNS) | usual | more


def found(*parts: dict[str, object]) -> dict[int, claims.Finding]:
    return {finding.claim.number: finding for finding in findings(judge(pd.DataFrame(parts, columns=COLUMNS)))}


def test_seven_claims_are_judged_whatever_there_is() -> None:
    said = found(part())
    assert sorted(said) == [1, 2, 3, 4, 5, 6, 7]
    assert said[1].verdict == said[1].size == "holds"
    assert said[1].apart == ()
    assert [said[number].verdict for number in range(2, 8)] == ["not enough evidence"] * 6


def test_a_claim_holds_if_all_parts_do_and_fails_if_one_does() -> None:
    good, bad = part(2), part(2, low=-9.0, high=-1.0, value=-5.0)
    unclear, absent = part(2, low=-1.0), part(2, value=None, low=None, high=None, missing="no runs", command="python -m tla.x")
    assert found(good, good)[2].verdict == "holds"
    assert found(good, bad, absent)[2].verdict == "does not hold"
    assert found(good, unclear)[2].verdict == "not enough evidence"
    assert found(good, absent)[2].verdict == "not enough evidence"
    only_size = part(2, region_low=None, region_high=None, paper=90.0, unit="%")
    assert found(only_size)[2].verdict == "not enough evidence"  # a size alone decides nothing


def test_what_is_missing_comes_with_its_command_once() -> None:
    absent = {"value": None, "low": None, "high": None, "command": "python -m tla.fusion --upto block2,block3"}
    said = found(
        part(2, **absent, missing="no runs pretrained up to block2; no runs pretrained up to block3"),
        part(2, **absent, missing="no runs pretrained up to block3"),
    )[2]
    assert said.missing == (
        "no runs pretrained up to block2, no runs pretrained up to block3: python -m tla.fusion --upto block2,block3",
    )
    assert said.measured == ()


def test_an_open_part_says_how_many_clips_would_settle_it() -> None:
    said = found(part(value=2.0, low=-2.0, high=6.0))[1]
    assert said.missing[0].startswith(
        "pretrained - random: about 4.0 times as many clips and seeds"
    )  # half-width 4 has to become 2
    hopeless = found(part(value=0.01, low=-4.0, high=4.0))[1]
    assert "too near to 0" in hopeless.missing[0]


def test_on_one_seed_there_is_no_verdict_but_what_these_runs_say_and_what_it_takes() -> None:
    assert found(part())[1].missing == ("runs on urbansound8k and gtzan, of which the claim speaks too",)
    one = part(seeds="1", covers=CLIPS, paper_rule_covers=CLIPS)
    said = found(one)[1]
    assert said.verdict == said.size == "not enough evidence"
    assert "on these runs, for other clips, it lies there" in said.measured[0]
    assert "not to be said without other trainings" in said.measured[0]
    assert "--seeds 3 would settle it, if runs of one plan differ by 3 points" in said.missing[0]
    below = found(one | {"value": -5.0, "low": -9.0, "high": -1.0})[1]
    assert below.verdict == "not enough evidence"
    assert "it does not lie there" in below.measured[0]
    assert "and more clips too" in found(one | {"value": 3.0, "low": -1.0, "high": 7.0})[1].missing[0]


def test_without_an_interval_there_is_no_verdict() -> None:
    said = found(part(sources=4, low=math.nan, high=math.nan, paper_rule_low=math.nan, paper_rule_high=math.nan))[1]
    assert said.verdict == said.size == "not enough evidence"
    assert "4 recordings, or such unequal ones, are too few" in said.missing[0]


def test_the_papers_setting_goes_first_and_its_size_is_asked_only_there() -> None:
    away = part(data="esc10", departures="data esc10; 8 epochs instead of 70", runs=100, low=-9.0, high=-1.0, value=-5.0)
    both = found(away, part())[1]
    assert both.verdict == "holds"
    assert both.on == "esc50, densenet201"
    alone = found(away)[1]
    assert alone.verdict == "does not hold"
    assert alone.size is None
    assert alone.apart == ("data esc10", "8 epochs instead of 70")
    assert "the paper's" not in alone.measured[0]


def test_elsewhere_a_claim_is_judged_on_the_data_with_most_runs() -> None:
    few = part(data="esc10", departures="data esc10", runs=2, low=-9.0, high=-1.0, value=-5.0)
    many = part(data="toy", departures="data toy", runs=9)
    said = found(few, many)[1]
    assert said.on == "toy, densenet201"
    assert said.verdict == "holds"


def test_the_paper_speaks_of_three_data_sets_and_all_that_are_there_count() -> None:
    said = found(part(), part(data="gtzan", low=-9.0, high=-1.0, value=-5.0))[1]
    assert said.verdict == "does not hold"
    assert said.on == "esc50, densenet201; gtzan, densenet201"
    assert said.missing == ("runs on urbansound8k, of which the claim speaks too",)


def test_the_size_is_compared_by_the_papers_rule() -> None:
    said = found(part(paper_rule_low=20.0, paper_rule_high=24.0, paper_rule_value=22.0))[1]
    assert said.verdict == "holds"
    assert said.size == "does not hold"
    assert "the paper's 18.7 against +22.0 points [+20.0, +24.0] (best epoch): does not agree" in said.measured[0]


def test_a_sentence_says_what_the_number_stands_on() -> None:
    (sentence,) = found(part())[1].measured
    assert sentence.startswith(
        "pretrained - random: +20.0 points [+16.0, +24.0] (last epoch, paper protocol, folds 1,2, 3 seeds, 4 runs, "
        "800 clips of 500 recordings; interval for other clips and other trainings): holds (above 0)"
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
    said = found(short)[1]
    assert (said.verdict, said.size) == ("not trained to the end", None)
    assert "on these runs" not in said.measured[0]
    assert said.missing[0].startswith(
        "2 of 4 runs trained to their end (pretrained - random): python -m tla.train --recipe.until"
    )


@pytest.mark.parametrize(
    ("low", "value", "high", "hangs"),
    [(3.0, 8.0, 12.0, False), (-1.0, 4.0, 9.0, True), (-9.0, -5.0, -1.0, True)],
)
def test_a_finding_that_twice_the_training_takes_away_hangs_on_the_budget(
    low: float, value: float, high: float, hangs: bool
) -> None:
    row = part(doubled=value, doubled_low=low, doubled_high=high)
    told = found(row)[1].measured[0]
    assert "with twice the training" in told
    assert ("hangs on the budget" in told) == hangs
