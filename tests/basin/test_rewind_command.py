"""`python -m tla.rewind` as a user types it; the figures, the words, and SVCCA's table."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from tla import basin, rewind, svcca
from tla.basin import drawing
from tla.basin.changes import find_svcca
from tla.basin.planning import plan
from tla.basin.tables import (
    ESTIMATED,
    FROM,
    ONE,
    OTHER,
    PRETRAINED,
    SEEDS,
    START,
    STATISTICS,
    STORED,
    UPTO,
    WHOLE,
    Basin,
)
from tla.errors import UserError
from tla.launch.study import train_missing
from tla.options import STAGES, Place, Study
from tla.statistics import CLIPS, TRAININGS


def made(run_table: pd.DataFrame, covers: str = TRAININGS) -> Basin:
    """Tables in which block3 counts, and block2's change is a stale statistic."""
    rows, each = [], []
    for to, span in ((START, ONE), (OTHER, ONE), (START, UPTO), (START, FROM)):
        for order, stage in enumerate(STAGES):
            for statistics in STATISTICS:
                lost = 40.0 if stage == "block3" else 30.0 * (stage == "block2" and statistics == STORED)
                about = {"curve": PRETRAINED, "to": to, "span": span, "stage": stage, "order": order, "statistics": statistics}
                numbers = {"accuracy": 90 - lost, "gain": -lost, "rise": lost / 10, "changed": lost}
                ends = {
                    f"{name}_{end}": value + way for name, value in numbers.items() for end, way in (("low", -3), ("high", 3))
                }
                counts = {"covers": covers, "p": 0.001, "p_holm": 0.004, "important": lost > 0 and covers == TRAININGS}
                rows.append({**about, "runs": 2, "unfinished": 0, **numbers, **ends, **counts})
                each.append({**about, **numbers, "fold": 1, "seed": 0, "key": "k", "trained_accuracy": 90.0})
    barriers = {
        "kind": SEEDS,
        "part": WHOLE,
        "pairs": 1,
        "unfinished": 0,
        "barrier": 1.0,
        "low": 0.5,
        "high": 1.5,
        "covers": covers,
    }
    line = {"kind": SEEDS, "part": WHOLE, "fold": 1, "before": "a", "after": "b"}
    paths = [
        {**line, "statistics": s, "share": share, "accuracy": 80.0, "loss": 1 - (share - 0.5) ** 2}
        for s in STATISTICS
        for share in (0.0, 0.5, 1.0)
    ]
    table = pd.DataFrame(each)
    beside = table[(table["to"] == START) & (table["span"] == ONE)].assign(similarity=0.5, change=0.5)
    ranks = {"curve": PRETRAINED, "statistics": ESTIMATED, "by": "loss", "runs": 1, "stages": 5, "correlation": 0.5}
    return Basin(
        table,
        pd.DataFrame(rows),
        pd.DataFrame(paths),
        pd.DataFrame([{**barriers, "statistics": s} for s in STATISTICS]),
        beside,
        pd.DataFrame([{**ranks, "low": -0.2, "high": 0.9, "covers": CLIPS}]),
        run_table,
    )


@pytest.fixture
def run_table(written, run, tmp_path: Path) -> pd.DataFrame:
    from tla.runs.tables import runs_table

    return runs_table([written(tmp_path / "runs", replace(run, seed=seed), [1, 0] * 5) for seed in (0, 1)])


def test_the_words_name_what_counts_and_not_what_a_stale_statistic_does(run_table: pd.DataFrame) -> None:
    first, second = drawing.findings(made(run_table))
    assert first == "pretrained and fine-tuned, one stage put back to its start: counts for block3 -40.0 points"
    assert second.startswith("pretrained and fine-tuned, one stage of another seed's run: counts for block3")
    (one, _) = drawing.findings(made(run_table, CLIPS))
    assert "no verdict, intervals from one seed do not cover another training (--seeds 3" in one


def test_figures_are_drawn_as_they_were_written_and_on_given_axes(run_table: pd.DataFrame, tmp_path: Path) -> None:
    tables = made(run_table)
    for folder in ("a", "b"):
        drawing.publish(tables, tmp_path / folder, "rewind")
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"rewind.pdf", "rewind_path.pdf", "rewind_stages.csv", "rewind_ranks.csv"} <= names
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    again = basin.read(tmp_path / "a", "rewind")
    pd.testing.assert_frame_equal(again.stages, tables.stages, check_dtype=False)
    for draw, count in ((basin.figure, 6), (basin.path_figure, 3)):
        axes = Figure().subplots(1, count)
        assert draw(again, axes) is axes[0].figure
        with pytest.raises(UserError, match=f"this figure has {count} panels"):
            draw(again, axes[:1])


def test_svcca_is_taken_of_these_very_runs_and_starts(
    from_donor: Study, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    rewind.main(replace(from_donor, folds=(1, 2)), place, steps=3, clips=20)
    assert "SVCCA's change is not beside it: there is no table of these runs" in capsys.readouterr().out
    svcca.main(from_donor, place)
    runs = train_missing(plan(from_donor, place), place).arms[PRETRAINED][1]
    (folder,) = {path.parent for path in Path(place.figures).glob("*/fig2a_svcca.csv")}
    table = pd.read_csv(folder / "fig2a_svcca.csv")
    mine = table[(table["key"] == runs[0].key) & (table["curve"] == PRETRAINED)].set_index("stage")["score"]
    for asked in (folder, folder.parent / "another"):
        found = find_svcca(asked, folder.parent, runs).set_index("stage")["similarity"]
        assert list(found.index) == list(STAGES)
        np.testing.assert_array_equal(found, mine.loc[list(STAGES)])
    rewind.main(from_donor, place, steps=3, clips=20)
    said = capsys.readouterr().out
    assert "rank correlation of SVCCA's change and of what a stage costs in accuracy: " in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"travel": ("block9",)}, "--travel block9: possible are whole, stem, block1, block2, block3, block4"),
        ({"travel": ()}, "--travel names nothing; give whole, or stages"),
        ({"steps": 1}, "a path of 1 steps has nothing between its ends"),
        ({"pairs": -2}, "--pairs is -2"),
        ({"clips": 5000}, "--clips is 5000: statistics are estimated on 2 to 200 clips of training"),
    ],
)
def test_mistakes_are_answered_before_anything_is_trained(study: Study, place: Place, options: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        rewind.main(study, place, **options)
    assert not Path(place.runs).exists()
