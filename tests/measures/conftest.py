"""Runs whose predictions are written by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

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


@pytest.fixture
def run() -> Run:
    """A run on fold 1 from pretrained weights."""
    return RUN


@pytest.fixture
def written() -> Callable[[Path, Run, list[int]], RunFolder]:
    """Writes a finished run that is right about the clips that it is told to be right about."""

    def write(runs: Path, run: Run, right: list[int]) -> RunFolder:
        folder = RunFolder(runs / run.key)
        labels = np.arange(len(right)) % 2
        logits = np.eye(2, dtype=np.float32)[np.where(right, labels, 1 - labels)]
        names = np.array([f"{run.fold}-{i}" for i in range(len(right))])
        folder.describe(run, ["a", "b"], {})
        folder.write_log([{"epoch": 1, "loss": 1.0, "accuracy": accuracy(logits, labels)}])
        folder.write_predictions(Predictions(names, labels, names, {"best": logits, "last": logits}))
        score = {"accuracy": accuracy(logits, labels), "macro_accuracy": macro_accuracy(logits, labels)}
        counts = {"best_epoch": 1, "epochs": 1, "clips": len(right), "trainable": 1, "parameters": 1}
        costs = {"multiply_adds": 10**9 * (1 + len(set(right))), "seconds_per_epoch": 1.0}
        folder.finish({"scores": {"best": score, "last": score}, **counts, **costs})
        return folder

    return write
