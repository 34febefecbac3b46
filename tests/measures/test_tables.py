"""Runs become tables: checked against runs whose predictions are written by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tla.measures import tables
from tla.options import Augment, Picture, Recipe, Transfer
from tla.runs.folder import Predictions, RunFolder
from tla.runs.run import Run
from tla.runs.scores import accuracy, macro_accuracy

RUN = Run(
    data="esc50",
    data_digest="0",
    classes=2,
    picture=Picture(rate=44100, seconds=5.0, frames=250),
    augment=Augment(),
    backbone="densenet201",
    weights="imagenet:x",
    transfer=Transfer(),
    recipe=Recipe(epochs=1, drops=()),
    protocol="paper",
    fold=1,
    seed=0,
    precision="fp32",
)
SCRATCH = replace(RUN, weights="random", transfer=Transfer(pretrained_upto="none"))


def written(runs: Path, run: Run, right: list[int]) -> RunFolder:
    """A finished run that is right about the clips that it is told to be right about."""
    folder = RunFolder(runs / run.key)
    labels = np.arange(len(right)) % 2
    logits = np.eye(2, dtype=np.float32)[np.where(right, labels, 1 - labels)]
    names = np.array([f"{run.fold}-{i}" for i in range(len(right))])
    folder.describe(run, ["a", "b"], {})
    folder.write_predictions(Predictions(names, labels, names, {"best": logits, "last": logits}))
    score = {"accuracy": accuracy(logits, labels), "macro_accuracy": macro_accuracy(logits, labels)}
    counts = {"best_epoch": 1, "epochs": 1, "clips": len(right), "trainable": 1, "parameters": 1, "multiply_adds": 1}
    folder.finish({"scores": {"best": score, "last": score}, **counts, "seconds_per_epoch": 1.0})
    return folder


def test_accuracy_counts_every_clip_once_whatever_the_folds(tmp_path: Path) -> None:
    folders = [written(tmp_path, RUN, [1, 1, 1, 0]), written(tmp_path, replace(RUN, fold=2), [1, 0])]
    assert tables.accuracy(folders, "last").mean == pytest.approx(4 / 6)


def test_seeds_are_averaged_for_each_clip(tmp_path: Path) -> None:
    folders = [written(tmp_path, RUN, [1, 0, 1, 0]), written(tmp_path, replace(RUN, seed=1), [1, 1, 1, 1])]
    estimate = tables.accuracy(folders, "last")
    assert estimate.mean == pytest.approx(0.75)
    assert len(tables.clips_table(folders)) == 2 * 2 * 4


def test_a_difference_is_paired_clip_by_clip(tmp_path: Path) -> None:
    right = [1, 1, 1, 1, 0, 0, 0, 0] * 5
    fewer = [1, 1, 1, 0, 0, 0, 0, 0] * 5
    first, second = written(tmp_path, RUN, right), written(tmp_path, SCRATCH, fewer)
    gap = tables.difference([first], [second], "last")
    assert gap.mean == pytest.approx(1 / 8)
    single = tables.accuracy([first], "last")
    assert gap.high - gap.low < single.high - single.low  # pairing takes out what the clips share
    assert gap.low >= 0


def test_summary_stands_beside_the_paper(tmp_path: Path) -> None:
    arms = {
        "pretrained": [written(tmp_path, replace(RUN, fold=k), [1, 1, 1, k % 2]) for k in (1, 2)],
        "random": [written(tmp_path, replace(SCRATCH, fold=k), [1, 0, 0, 0]) for k in (1, 2)],
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
