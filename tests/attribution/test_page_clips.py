"""The clips of the page: which ones are shown, and that their numbers are the network's probabilities for the sounds played."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tla.attribution import make_page_clips
from tla.attribution.page_clips import SHARES, masks
from tla.errors import UserError
from tla.launch.study import ensure, list_runs, prepare
from tla.options import Augment, Place, Recipe, Study
from tla.runs.folder import FinishedRun
from tla.runs.infer import load
from tla.sound import render
from tla.sound.clips import Dataset
from tla.sound.windowed import of_samples, sound


def test_clips_are_of_many_classes_and_some_are_wrong(written, run, tmp_path: Path) -> None:
    folder = written(tmp_path, run, [1, 1, 1, 0] * 10)
    chosen = make_page_clips.choose(folder, 10)
    assert len(set(chosen)) == 10
    assert chosen == make_page_clips.choose(folder, 10)
    predicted = folder.predictions
    right = dict(zip(predicted.names.tolist(), predicted.logits["last"].argmax(axis=1) == predicted.labels, strict=True))
    label = dict(zip(predicted.names.tolist(), predicted.labels.tolist(), strict=True))
    assert sum(not right[name] for name in chosen) == 4
    assert {label[name] for name in chosen if right[name]} == {0, 1}
    assert [label[name] for name in chosen] == sorted(label[name] for name in chosen)  # a class's clips stand together


def test_a_run_that_got_little_right_still_shows_as_many_clips(written, run, tmp_path: Path) -> None:
    assert len(make_page_clips.choose(written(tmp_path, run, [1] + [0] * 19), 10)) == 10
    assert len(make_page_clips.choose(written(tmp_path, replace(run, seed=1), [0] * 20), 10)) == 10


def test_where_all_is_right_or_little_there_all_of_it_is_shown(written, run, tmp_path: Path) -> None:
    assert len(make_page_clips.choose(written(tmp_path, run, [1] * 20), 6)) == 6
    assert len(make_page_clips.choose(written(tmp_path, replace(run, seed=1), [1, 0, 1]), 10)) == 3


@pytest.fixture(scope="module")
def trained(study: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[FinishedRun, Dataset]:
    """A run and its clips."""
    folder = tmp_path_factory.mktemp("page")
    place = Place(data_root=str(folder / "data"), runs=str(folder / "runs"), figures=str(folder / "figures"), device="cpu")
    study = replace(study, augment=Augment(kind="none"), recipe=Recipe(epochs=2, lr=1e-3))
    material = prepare(study, place)
    (run,) = ensure(list_runs(material), material, place)
    return run, material.dataset


def test_the_probabilities_are_those_of_the_sounds_on_the_page(trained: tuple[FinishedRun, Dataset]) -> None:
    folder, dataset = trained
    room = make_page_clips.make(folder, dataset, torch.device("cpu"), clips=3)
    assert (room.run, room.fold, len(room.clips)) == (folder.key, 1, 3)
    predicted = folder.predictions
    network = load(folder, torch.device("cpu"))
    for clip in room.clips:
        row = predicted.names.tolist().index(clip.name)
        assert clip.label == folder.classes[predicted.labels[row]]
        assert clip.predicted == folder.classes[int(predicted.logits["last"][row].argmax())]
        assert clip.picture.shape == (3, 32, 40)
        assert clip.strength.max() == 255
        assert 0 <= clip.error <= make_page_clips.TOLERANCE
        assert clip.samples is not None
        assert clip.answers.shape == (len(SHARES), 2)
        heard = sound(dataset.root / clip.name, room.picture).samples
        np.testing.assert_allclose(clip.samples / 32767, heard, atol=1 / 32767)
        which = folder.classes.index(clip.predicted)
        assert clip.answers[-1, 0] == pytest.approx(clip.probability, abs=1e-3)  # all of it is the clip
        at = SHARES.index(0.5)
        parts = render.split(heard, masks(clip.strength)[at], room.picture, clip.span)
        again = [network.probabilities(of_samples(part, room.picture).pictures)[which] for part in parts]
        assert clip.answers[at] == pytest.approx(again, abs=1e-5)


def test_clips_without_a_licence_have_a_picture_and_no_sound(trained: tuple[FinishedRun, Dataset]) -> None:
    folder, dataset = trained
    room = make_page_clips.make(folder, replace(dataset, name="gtzan"), torch.device("cpu"), clips=1)
    assert room.clips[0].samples is None
    assert room.clips[0].answers.any()


def test_a_run_on_other_clips_is_refused(trained: tuple[FinishedRun, Dataset]) -> None:
    folder, dataset = trained
    with pytest.raises(UserError, match="which is not among the clips of"):
        make_page_clips.make(folder, replace(dataset, clips=dataset.clips[-1:]), torch.device("cpu"), clips=3)


def test_credits_are_taken_from_the_data_set(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "attribution.csv").write_text("clip,original,source,author,licence\n1-10-A,bark.wav,x,me,CC0\n")
    credits = make_page_clips.credits_of(tmp_path)
    assert credits("audio/1-10-A-0.ogg") == "bark.wav by me, CC0"
    assert credits("audio/1-10-AB-0.ogg") == ""
    assert make_page_clips.credits_of(tmp_path / "meta")("1-10-A-0.ogg") == ""
