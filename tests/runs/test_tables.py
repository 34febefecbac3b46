"""Runs become tables: checked against runs whose predictions are written by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tla.options import Transfer
from tla.runs import tables
from tla.runs.run import Run
from tla.runs.scores import accuracy, macro_accuracy
from tla.tables import same_macro, show_study


def scratch(run: Run) -> Run:
    """Its twin from random weights."""
    return replace(run, weights="random", transfer=Transfer(pretrained_upto="none"))


def test_accuracy_counts_every_clip_once_whatever_the_folds(written, run: Run, tmp_path: Path) -> None:
    folders = [written(tmp_path, run, [1, 1, 1, 0]), written(tmp_path, replace(run, fold=2), [1, 0])]
    assert tables.accuracy(folders, "last").mean == pytest.approx(4 / 6)


def test_seeds_are_averaged_for_each_clip(written, run: Run, tmp_path: Path) -> None:
    folders = [written(tmp_path, run, [1, 0, 1, 0]), written(tmp_path, replace(run, seed=1), [1, 1, 1, 1])]
    estimate = tables.accuracy(folders, "last")
    assert estimate.mean == pytest.approx(0.75)
    assert len(tables.clips_table(folders)) == 2 * 2 * 4


def test_a_difference_is_paired_clip_by_clip(written, run: Run, tmp_path: Path) -> None:
    right = [1, 1, 1, 1, 0, 0, 0, 0] * 5
    fewer = [1, 1, 1, 0, 0, 0, 0, 0] * 5
    first, second = written(tmp_path, run, right), written(tmp_path, scratch(run), fewer)
    gap = tables.difference([first], [second], "last")
    assert gap.mean == pytest.approx(1 / 8)
    single = tables.accuracy([first], "last")
    assert gap.high - gap.low < single.high - single.low  # pairing takes out what the clips share
    assert gap.low >= 0


def test_summary_stands_beside_the_paper(written, run: Run, tmp_path: Path) -> None:
    arms = {
        "pretrained": [written(tmp_path, replace(run, fold=k), [1, 1, 1, k % 2]) for k in (1, 2)],
        "random": [written(tmp_path, replace(scratch(run), fold=k), [1, 0, 0, 0]) for k in (1, 2)],
    }
    summary = tables.summary(arms).set_index(["arm", "rule"])
    assert summary.loc[("pretrained", "best"), "paper"] == 91.16
    assert summary.loc[("random", "best"), "paper"] == 72.50
    assert np.isnan(summary.loc[("pretrained", "last"), "paper"])  # the paper reports the best epoch only
    assert summary.loc[("pretrained", "last"), "accuracy"] == pytest.approx(87.5)
    assert summary.loc[("pretrained", "last"), "spread"] == pytest.approx(np.std([100, 75], ddof=1))
    assert summary.loc[("pretrained - random", "last"), "accuracy"] == pytest.approx(62.5)


def test_macro_accuracy_weighs_classes_alike() -> None:
    logits = np.eye(2)[[0, 0, 0, 0]]
    labels = np.array([0, 0, 0, 1])
    assert accuracy(logits, labels) == 0.75
    assert macro_accuracy(logits, labels) == 0.5


def test_a_summary_has_macro_accuracy_with_an_interval(written, run: Run, tmp_path: Path) -> None:
    """Of classes a, with 15 clips, and b, with 14."""
    right = [1, 0] * 14 + [1]
    arms = {"pretrained": [written(tmp_path, run, right)], "random": [written(tmp_path, scratch(run), [0] * 29)]}
    summary = tables.summary(arms).set_index(["arm", "rule"])
    row, gap = (summary.loc[(arm, "last")] for arm in ("pretrained", "pretrained - random"))
    assert (row["accuracy"], row["macro_accuracy"]) == (pytest.approx(100 * 15 / 29), pytest.approx(50))
    assert row["macro_low"] < 50 < row["macro_high"]
    assert gap["macro_accuracy"] == pytest.approx(50)
    assert not same_macro(summary)
    assert same_macro(summary, "accuracy", "accuracy")


def test_the_printed_tables_leave_macro_accuracy_out_where_it_is_the_same(
    written, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for right, shown in (([1, 0, 1, 1] * 5, False), ([1, 0, 1] * 5, True)):
        arms = {"pretrained": [written(tmp_path / str(shown), run, right)]}
        show_study(tables.runs_table(arms["pretrained"]), tables.summary(arms))
        printed = capsys.readouterr().out
        assert ("macro accuracy %" in printed) is shown
        assert ("is the same number here" in printed) is not shown
