"""Claims 5 and 6 from the tables of other commands: against tables that are written by hand."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tla.manifest import write_table
from tla.options import Recipe
from tla.paper.claim_words import sentence
from tla.paper.evidence_from_tables import AUDIT, CHANGES, from_tables
from tla.paper.measured import Measured
from tla.paper.studies import PLANS, Case, cases
from tla.runs.run import Run
from tla.statistics import CLIPS, TRAININGS, Estimate

HERE = ("esc50", "densenet201")


@pytest.fixture
def case(written, run: Run, tmp_path: Path) -> Case:
    """A pretrained run and one from scratch, right about 30 clips each."""
    random = replace(run, weights="random", transfer=PLANS["random"])
    (found,) = cases([written(tmp_path / "runs", one, [1] * 30) for one in (run, random)])
    return found


def changes(case: Case, folder: Path, contrasts: list[tuple], covers: str = TRAININGS) -> None:
    """What `tla.svcca` writes, as far as it is read."""
    keys = {"pretrained": case.arm("pretrained")[0].key, "random": case.arm("random")[0].key}
    rows = [{"measure": "svcca", "curve": curve, "after": key, "layer": "stem"} for curve, key in keys.items()]
    write_table(folder / f"{CHANGES}.csv", pd.DataFrame(rows))
    names = ["contrast", "curve", "layer", "difference", "low", "high"]
    write_table(
        folder / f"{CHANGES}_contrasts.csv", pd.DataFrame(contrasts, columns=names).assign(measure="svcca", covers=covers)
    )


def audit(folder: Path, key: str, gain: float, clips: int = 30) -> None:
    """What `tla.ig --audit` writes, as far as it is read: the run that is audited comes first among the maps."""
    rows = [
        {"clip": f"{i}", "source": f"{i}", "part": part, "measure": measure, "variant": variant, "value": value}
        for i in range(clips)
        for part, measure in (("energy", "loudest"), ("energy", "borders"), ("tiles", "loudest"))
        for variant, value in (
            ("attribution", 0.2 + gain + 0.01 * (i % 3)),
            ("shifted", 0.2),
            ("x - b", 0.5),
            ("permuted", 0.9),
        )
    ]
    write_table(folder / f"{AUDIT}.csv", pd.DataFrame(rows))
    write_table(folder / f"{AUDIT}_maps.csv", pd.DataFrame({"clip": ["0", "0"], "run": [key, "another seed"]}))


def judged(folder: Path, case: Case) -> dict[str, Measured]:
    return {part.part: part for part in from_tables([folder], {HERE: [case]})}


def of_audit(folder: Path, case: Case) -> list[Measured]:
    return [part for part in from_tables([folder], {HERE: [case]}) if part.claim == 6]


EARLY, LEAST = "early - late layers, above floor", "pretrained - random, where least"
ALIKE = [
    ("early - late, above floor", "pretrained", None, 0.3, 0.2, 0.4),
    ("early - late, above floor", "random", None, 0.1, -0.1, 0.2),
]


def test_early_layers_change_least_and_a_random_start_changes_all(case: Case, tmp_path: Path) -> None:
    gaps = [
        ("pretrained - random", "random", layer, *gap)
        for layer, gap in (("stem", (0.5, 0.4, 0.6)), ("block4", (0.1, 0.05, 0.2)))
    ]
    changes(case, tmp_path, [*ALIKE, *gaps])
    found = judged(tmp_path, case)
    assert found[EARLY].verdict == found[LEAST].verdict == "holds"
    assert found[LEAST].number == Estimate(0.1, 0.05, 0.2, TRAININGS)
    assert found["the same from a random start"].verdict is None
    assert (found[EARLY].runs, found[LEAST].runs, found[LEAST].clips) == (1, 2, 30)
    assert "+0.30 [+0.20, +0.40] (last epoch" in sentence(found[EARLY])
    changes(case, tmp_path, [*ALIKE, *gaps], covers=CLIPS)
    assert judged(tmp_path, case)[EARLY].verdict == "not enough evidence"


def test_one_layer_that_is_no_less_alike_decides(case: Case, tmp_path: Path) -> None:
    gaps = [
        ("pretrained - random", "random", layer, *gap)
        for layer, gap in (("stem", (0.5, 0.4, 0.6)), ("block4", (-0.1, -0.2, -0.05)))
    ]
    changes(case, tmp_path, [*ALIKE, *gaps])
    assert judged(tmp_path, case)[LEAST].verdict == "does not hold"
    unclear = [("pretrained - random", "random", "stem", 0.1, -0.1, 0.3)]
    changes(case, tmp_path, [*ALIKE, *unclear])
    assert judged(tmp_path, case)[LEAST].verdict == "not enough evidence"


def test_attribution_is_held_against_shifted_maps_clip_by_clip(case: Case, tmp_path: Path) -> None:
    def energy(gain: float, clips: int = 30) -> list[Measured]:
        audit(tmp_path, case.arm("pretrained")[0].key, gain, clips)
        return of_audit(tmp_path, case)

    loudest, beside, borders, _ = energy(0.1)
    assert loudest.verdict == borders.verdict == "not enough evidence"  # one run was audited
    assert "on these runs, for other clips, it lies there" in sentence(borders)
    assert loudest.number.mean == pytest.approx(11)
    assert loudest.number.low >= 10
    assert beside.number.mean == pytest.approx(-19)  # less than arithmetic alone would put there: shown, not judged
    assert beside.verdict is None
    assert "it does not lie there" in sentence(energy(-0.1)[0])
    assert "none: recordings too few" in sentence(energy(0.1, clips=4)[0])


def test_tables_of_other_runs_of_other_versions_or_none_are_no_evidence(case: Case, tmp_path: Path) -> None:
    def missing() -> str:
        return of_audit(tmp_path, case)[0].missing[0]

    found = judged(tmp_path, case)
    assert (found[EARLY].missing, found[EARLY].lack) == ((f"no table {CHANGES}.csv",), "no table")
    assert found[EARLY].command.startswith("python -m tla.svcca ")
    assert [part.command.split()[-1] for part in of_audit(tmp_path, case)] == ["--audit"] * 4
    audit(tmp_path, "of another study", gain=0.1)
    assert "holds nothing on loudest and shifted of these runs" in missing()
    write_table(tmp_path / f"{AUDIT}.csv", pd.DataFrame({"clip": [1]}))
    assert "of another version of tla (no column source, part" in missing()


def test_a_table_is_read_for_the_study_that_it_is_about(written, run: Run, case: Case, tmp_path: Path) -> None:
    quick = replace(run, recipe=Recipe(until="epochs", epochs=8, drops=(3, 7)))
    (other,) = cases([written(tmp_path / "runs", replace(quick, seed=seed), [1] * 30) for seed in range(9)])
    audit(tmp_path, case.arm("pretrained")[0].key, gain=0.1)
    found = from_tables([tmp_path], {HERE: [other, case]})
    assert {part.study for part in found if part.claim == 6} == {case.key}


def test_a_table_that_was_edited_or_that_nobody_vouches_for_is_no_evidence(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit(tmp_path, case.arm("pretrained")[0].key, gain=0.1)
    table = tmp_path / f"{AUDIT}.csv"
    for text, why in ((table.read_text().replace("0.3", "0.9", 1), "was edited or damaged"), (table.read_text(), None)):
        table.write_text(text)
        loudest = of_audit(tmp_path, case)[0]
        assert (loudest.number is not None) == (why is None)
        assert why is None or (why in loudest.missing[0] and why in capsys.readouterr().err)
    (tmp_path / "SHA256SUMS").unlink()
    assert "does not know it" in of_audit(tmp_path, case)[0].missing[0]
