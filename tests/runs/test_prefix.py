"""Training behind the frozen prefix gives what training through it gives."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tla.launch.study import ensure, list_runs, prepare
from tla.nets import transfer
from tla.options import Picture, Place, Recipe, Stage, Study, Transfer
from tla.runs import prefix
from tla.runs.folder import FinishedRun


def train(study: Study, place: Place) -> FinishedRun:
    material = prepare(study, place)
    return ensure(list_runs(material), material, place)[0]


def frozen(study: Study, upto: Stage, **change) -> Study:
    """Pictures are large enough for the last stage to have more than one cell, as real ones are."""
    plan = Transfer(pretrained_upto="none", frozen_upto=upto)
    picture = Picture(mels=64, frames=72)
    return replace(study, transfer=plan, recipe=Recipe(epochs=2, lr=1e-2), picture=picture, **change)


@pytest.mark.parametrize("upto", ["stem", "block2", "block4"])
def test_in_float32_the_result_is_bit_identical(
    study: Study, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upto: Stage
) -> None:
    short = train(frozen(study, upto), place)
    monkeypatch.setattr(transfer, "frozen_prefix", lambda net: "none")
    whole = train(frozen(study, upto), replace(place, runs=str(tmp_path / "without")))
    assert short.key == whole.key
    assert short.weights.read_bytes() == whole.weights.read_bytes()
    for rule, logits in short.predictions.logits.items():
        np.testing.assert_array_equal(logits, whole.predictions.logits[rule])


def test_in_bfloat16_the_result_differs_by_rounding_at_most(
    study: Study, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = train(frozen(study, "block2", precision="bf16"), place)
    monkeypatch.setattr(transfer, "frozen_prefix", lambda net: "none")
    whole = train(frozen(study, "block2", precision="bf16"), replace(place, runs=str(tmp_path / "without")))
    difference = short.predictions.logits["last"] - whole.predictions.logits["last"]
    assert np.abs(difference).max() <= 0.02 * np.abs(whole.predictions.logits["last"]).max()


def test_the_prefix_is_computed_once_and_told_apart(study: Study, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    train(frozen(study, "block1"), place)
    written: list[Path] = []
    write = prefix._write
    monkeypatch.setattr(prefix, "_write", lambda path, *rest: (written.append(path), write(path, *rest)))
    train(replace(frozen(study, "block1"), folds=(2,)), place)
    assert written == []  # another fold, the same prefix
    train(replace(frozen(study, "block1"), seeds=2), place)
    assert len(written) == 3  # another seed is another random prefix: the clean clips and two variants


def test_a_damaged_file_is_made_again(study: Study, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    first = train(frozen(study, "block3"), place)
    folder = prepare(frozen(study, "block3"), place).store.folder
    for path in folder.glob("stages/block3-*/*.npy"):
        path.write_bytes(path.read_bytes()[:300])
    again = train(frozen(study, "block3"), replace(place, runs=place.runs + "2"))
    assert "damaged" in capsys.readouterr().err
    assert again.weights.read_bytes() == first.weights.read_bytes()
