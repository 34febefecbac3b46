"""The listening room: which clips it shows, and that its numbers are what the network says of the sounds that it plays."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tla.attribution import listening_room
from tla.attribution.listening_room import SHARES
from tla.errors import UserError
from tla.launch.study import ensure, list_runs, prepare
from tla.options import Augment, Picture, Place, Recipe, Study
from tla.runs.folder import FinishedRun
from tla.runs.infer import load, of_samples, sound
from tla.sound import render
from tla.sound.clips import Dataset


def test_clips_are_of_many_classes_and_some_are_wrong(written, run, tmp_path: Path) -> None:
    folder = written(tmp_path, run, [1, 1, 1, 0] * 10)
    chosen = listening_room.choose(folder, 10)
    assert len(set(chosen)) == 10
    assert chosen == listening_room.choose(folder, 10)
    said = folder.predictions
    right = dict(zip(said.names.tolist(), said.logits["last"].argmax(axis=1) == said.labels, strict=True))
    label = dict(zip(said.names.tolist(), said.labels.tolist(), strict=True))
    assert sum(not right[name] for name in chosen) == 4
    assert {label[name] for name in chosen if right[name]} == {0, 1}
    assert [label[name] for name in chosen] == sorted(label[name] for name in chosen)  # a class's clips stand together


def test_a_run_that_got_little_right_still_fills_its_room(written, run, tmp_path: Path) -> None:
    assert len(listening_room.choose(written(tmp_path, run, [1] + [0] * 19), 10)) == 10
    assert len(listening_room.choose(written(tmp_path, replace(run, seed=1), [0] * 20), 10)) == 10


def test_where_all_is_right_or_little_there_all_of_it_is_shown(written, run, tmp_path: Path) -> None:
    assert len(listening_room.choose(written(tmp_path, run, [1] * 20), 6)) == 6
    assert len(listening_room.choose(written(tmp_path, replace(run, seed=1), [1, 0, 1]), 10)) == 3


@pytest.fixture(scope="module")
def trained(few_sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[FinishedRun, Dataset]:
    """A run and its clips."""
    room = tmp_path_factory.mktemp("listening")
    study = Study(
        data=str(few_sounds),
        backbone="densenet_tiny",
        weights="random",
        folds=(1,),
        precision="fp32",
        picture=Picture(mels=32, frames=40),
        augment=Augment(kind="none"),
        recipe=Recipe(epochs=2, lr=1e-3),
    )
    place = Place(data_root=str(room / "data"), runs=str(room / "runs"), figures=str(room / "figures"), device="cpu")
    material = prepare(study, place)
    (folder,) = ensure(list_runs(material), material, place)
    return folder, material.dataset


def test_the_networks_answers_are_about_the_sounds_in_the_room(trained: tuple[FinishedRun, Dataset]) -> None:
    folder, dataset = trained
    room = listening_room.make(folder, dataset, torch.device("cpu"), clips=3)
    assert (room.run, room.fold, len(room.clips)) == (folder.key, 1, 3)
    said = folder.predictions
    listener = load(folder, torch.device("cpu"))
    for clip in room.clips:
        row = said.names.tolist().index(clip.name)
        assert clip.label == folder.classes[said.labels[row]]
        assert clip.said == folder.classes[int(said.logits["last"][row].argmax())]
        assert clip.picture.shape == (3, 32, 40)
        assert clip.strength.max() == 255
        assert 0 <= clip.error <= listening_room.TOLERANCE
        assert clip.samples is not None
        assert clip.answers.shape == (len(SHARES), 2)
        heard = sound(dataset.root / clip.name, room.picture).samples
        np.testing.assert_allclose(clip.samples / 32767, heard, atol=1 / 32767)
        which = folder.classes.index(clip.said)
        assert clip.answers[-1, 0] == pytest.approx(clip.probability, abs=1e-3)  # all of it is the clip
        at = SHARES.index(0.5)
        parts = render.split(heard, listening_room.masks(clip.strength)[at], room.picture, clip.span)
        again = [listener.probabilities(of_samples(part, room.picture).pictures)[which] for part in parts]
        assert clip.answers[at] == pytest.approx(again, abs=1e-5)


def test_clips_without_a_licence_are_seen_and_not_heard(trained: tuple[FinishedRun, Dataset]) -> None:
    folder, dataset = trained
    room = listening_room.make(folder, replace(dataset, name="gtzan"), torch.device("cpu"), clips=1)
    assert room.clips[0].samples is None
    assert room.clips[0].answers.any()


def test_a_run_on_other_clips_is_refused(trained: tuple[FinishedRun, Dataset]) -> None:
    folder, dataset = trained
    with pytest.raises(UserError, match="which is not among the clips of"):
        listening_room.make(folder, replace(dataset, clips=dataset.clips[-1:]), torch.device("cpu"), clips=3)


def test_credits_are_taken_from_the_data_set(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "attribution.csv").write_text("clip,original,source,author,licence\n1-10-A,bark.wav,x,me,CC0\n")
    credits = listening_room.credits_of(tmp_path)
    assert credits("audio/1-10-A-0.ogg") == "bark.wav by me, CC0"
    assert credits("audio/1-10-AB-0.ogg") == ""
    assert listening_room.credits_of(tmp_path / "meta")("1-10-A-0.ogg") == ""
