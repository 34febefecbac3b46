"""--recipe.class-weights: each class weighs the same in the loss."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tla.console import Progress
from tla.launch.study import ensure, list_runs, prepare
from tla.nets import transfer
from tla.options import Augment, Place, Recipe, Study, Transfer
from tla.runs import fit as fitting
from tla.runs.folder import FinishedRun
from tla.runs.scores import balanced_weights

BALANCED = Recipe(epochs=2, lr=1e-3, class_weights="balanced")


@pytest.fixture
def uneven(few_sounds: Path, study: Study, tmp_path: Path) -> Study:
    """All clips of the first class, every second of the others."""
    with (few_sounds / "toy.csv").open() as file:
        rows = list(csv.DictReader(file))
    first, kept, seen = rows[0]["label"], [], {}
    for row in rows:
        place = (row["label"], row["fold"])
        seen[place] = seen.get(place, 0) + 1
        if row["label"] == first or seen[place] % 2:
            kept.append(row | {"path": str(few_sounds / row["path"])})
    path = tmp_path / "uneven.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(kept)
    return replace(study, data=str(path), augment=Augment(kind="none"))


def train(study: Study, place: Place) -> FinishedRun:
    material = prepare(study, place)
    (run,) = ensure(list_runs(material), material, place)
    return run


def test_a_class_weighs_the_same_however_few_clips_it_has() -> None:
    labels = np.array([0, 0, 0, 1, 3, 3])
    weights = balanced_weights(labels, 4)
    assert weights.tolist() == pytest.approx([6 / 9, 2, 0, 1])
    assert weights[labels].mean() == pytest.approx(1)


def test_the_loss_is_the_weighted_mean(uneven: Study, place: Place) -> None:
    """As met in one batch of all clips, and as it is written for the held-out ones: the mean of the classes' own losses."""
    study = replace(uneven, recipe=replace(BALANCED, epochs=1, batch=1000, lr=1e-9))
    (row,) = train(study, place).log
    plain = train(replace(study, recipe=replace(study.recipe, class_weights="none")), place)
    assert row["loss"] != pytest.approx(plain.log[0]["loss"], rel=1e-4)
    logits, labels = plain.predictions.logits["last"].astype(np.float64), plain.predictions.labels
    own = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    assert plain.log[0]["heldout_loss"] == pytest.approx(own.mean(), rel=1e-5)
    assert row["heldout_loss"] == pytest.approx(np.mean([own[labels == k].mean() for k in np.unique(labels)]), rel=1e-5)


def test_equal_probabilities_have_the_loss_of_chance(uneven: Study, place: Place) -> None:
    """So that `fitted` and `stuck` are shares of ln(classes) under weights, too."""
    material = prepare(replace(uneven, recipe=BALANCED), place)
    (run,) = list_runs(material)
    feed = fitting.Feed(material.store, run, material.dataset.split(1, "paper").train, material.device)
    net = transfer.assemble(run.backbone, run.classes, run.transfer, None, seed=0)
    state = fitting.State(net, fitting.make_optimizer(run, net))
    for parameter in net.stage_parameters("head"):
        torch.nn.init.zeros_(parameter)
    row = fitting.run_epoch(state, feed, run, material.dataset.split(1, "paper").test, 0.0, Progress("", 0))
    for name in ("loss", "training_loss", "heldout_loss"):
        assert row[name] == pytest.approx(math.log(run.classes), rel=1e-5)
    labels = material.dataset.labels[feed.sample(20)]
    assert np.bincount(labels).tolist() == [2] * run.classes


def test_classes_of_one_size_train_as_without_weights(study: Study, place: Place) -> None:
    weighted, plain = (
        train(replace(study, recipe=replace(BALANCED, class_weights=way)), place) for way in ("balanced", "none")
    )
    assert weighted.key != plain.key
    for a, b in zip(weighted.log, plain.log, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


def test_behind_a_frozen_prefix_the_weights_are_the_same(
    uneven: Study, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = replace(uneven, recipe=BALANCED, transfer=Transfer(pretrained_upto="none", frozen_upto="block2"))
    short = train(study, place)
    monkeypatch.setattr(transfer, "frozen_prefix", lambda net: "none")
    whole = train(study, replace(place, runs=str(tmp_path / "without")))
    assert short.weights.read_bytes() == whole.weights.read_bytes()
