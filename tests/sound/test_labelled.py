"""Pictures and labels in a notebook: the commands' own, in arrays that fit together; no script starts itself again."""

import inspect
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from tla.errors import UserError
from tla.options import Augment
from tla.sound import LabelledPictures, Picture, clips, labelled, picture, pictures
from tla.sound.store import open_store

SMALL = Picture(mels=24, frames=30)
RATE = 8000


@pytest.fixture
def sounds(few_sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> LabelledPictures:
    """100 toy clips; their pictures are made once for all tests."""
    return pictures(few_sounds, SMALL, data_root=tmp_path_factory.getbasetemp() / "data")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Five clips in each of two classes, of half a second, in stereo."""
    rng = np.random.default_rng(0)
    for clip in range(10):
        path = tmp_path / "own" / "ab"[clip % 2] / f"{clip}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.normal(size=(RATE // 2 + 100 * clip, 2)) * 0.1, RATE)
    return tmp_path / "own"


def test_rows_are_the_clips_of_the_commands(sounds: LabelledPictures, few_sounds: Path) -> None:
    dataset = clips.load(str(few_sounds), sounds.store.folder.parents[1])
    assert sounds.pictures.shape == (len(sounds), 3, 24, 30) == (100, 3, 24, 30)
    assert isinstance(sounds.pictures, np.memmap)
    assert sounds.store.folder == open_store(dataset, sounds.picture, Augment(kind="none"), sounds.store.folder.parent).folder
    assert sounds.classes == dataset.classes
    for values, wanted in (
        (sounds.labels, dataset.labels),
        (sounds.folds, [clip.fold for clip in dataset.clips]),
        (sounds.sources, [clip.source for clip in dataset.clips]),
        (sounds.names, [clip.name for clip in dataset.clips]),
        (sounds.paths, [clip.path for clip in dataset.clips]),
    ):
        assert list(values) == list(wanted)
    assert (sounds.skipped, sounds.leaks) == ({}, "")
    assert "toy: 100 x 3 x 24 x 30; classes bark, " in repr(sounds)


def test_parts_keep_pictures_and_labels_together(sounds: LabelledPictures) -> None:
    train, held_out = sounds.split(2)
    assert set(held_out.folds) == {2}
    assert set(train.folds) == {1, 3, 4, 5}
    fit, choose, test = sounds.split(2, "nested")
    assert [set(part.folds) for part in (fit, choose, test)] == [{1, 4, 5}, {3}, {2}]
    for part in (train, held_out, sounds.at(sounds.labels == 3), sounds.at(np.arange(100)[::-1]), held_out.split(2)[1]):
        places = {name: row for row, name in enumerate(sounds.names)}
        rows = [places[name] for name in part.names]
        np.testing.assert_array_equal(part.pictures, sounds.pictures[rows])
        np.testing.assert_array_equal(part.labels, sounds.labels[rows])
        one, label = part[-1]
        assert (one.dtype, label) == (torch.float32, part.labels[-1])
        np.testing.assert_array_equal(one, part.pictures[-1])
    assert len(sounds.split(1)[0].split(1)[1]) == 0, "the clips of the fold are not in the part"
    with pytest.raises(UserError, match="has no fold 6"):
        sounds.split(6)


def test_a_loader_takes_them_as_they_are(sounds: LabelledPictures) -> None:
    _, held_out = sounds.split(1)
    batches = list(DataLoader(held_out, batch_size=8))
    assert [tuple(values.shape) for values, _ in batches] == [(8, 3, 24, 30), (8, 3, 24, 30), (4, 3, 24, 30)]
    np.testing.assert_array_equal(torch.cat([labels for _, labels in batches]), held_out.labels)
    assert sum(1 for _ in held_out) == 20
    with pytest.raises(TypeError):
        held_out[2:4]  # type: ignore[index]


def test_only_a_list_goes_to_another_process(sounds: LabelledPictures) -> None:
    _, held_out = sounds.split(1)
    held_out.pictures, held_out[0]
    sent = pickle.dumps(held_out)
    assert len(sent) < held_out.pictures.nbytes / 3
    np.testing.assert_array_equal(pickle.loads(sent).pictures, held_out.pictures)


@pytest.mark.parametrize("kind", ["array", "tensor", "channels first", "channels last"])
def test_a_sound_in_memory_gives_the_picture_of_its_file(kind: str, own: Path, tmp_path: Path) -> None:
    sounds = pictures(own, SMALL, data_root=tmp_path)
    for path, wanted in zip(sounds.paths[:3], sounds.pictures, strict=False):
        both, rate = soundfile.read(path)
        mono = both.astype(np.float32).mean(axis=1)
        given = {"array": mono, "tensor": torch.from_numpy(mono), "channels first": torch.from_numpy(both.T)}
        made = picture(given.get(kind, both), rate, sounds.picture)
        assert made.dtype == np.float32
        np.testing.assert_array_equal(made, wanted)


def test_what_options_leave_open_is_as_for_ones_own_sounds(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(size=48000) * 0.1
    for name in ("a/1.wav", "a/2.wav", "b/3.wav", "b/4.wav"):
        (tmp_path / "one" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "one" / name, samples, 48000, subtype="DOUBLE")
    sounds = pictures(tmp_path / "one", Picture(mels=24), data_root=tmp_path, allow_leaks=True)
    assert sounds.leaks.startswith("LEAKS: ")
    np.testing.assert_array_equal(picture(samples, 48000, Picture(mels=24)), sounds.pictures[0])
    assert picture(samples, 48000).shape == (3, 128, 250)


@pytest.mark.parametrize(
    ("samples", "rate", "says"),
    [
        (np.zeros(8000, np.int16), 8000, "samples: are int16, and have to be floats"),
        (np.zeros((2, 2, 8000)), 8000, r"of shape \(2, 2, 8000\)"),
        (np.zeros(0), 8000, "holds no samples"),
        (np.full(8000, np.nan), 8000, "holds NaN"),
        (np.zeros(8000), 50, "is sampled at 50 Hz"),
        (np.zeros(8000), 0, "is sampled at 0 Hz"),
        (np.zeros(8000), 500, "picture.rate is 500 Hz; give at least 1000"),
        (np.zeros(300), 8000, "is too short for a picture: 300 samples"),
    ],
)
def test_what_is_no_sound_is_refused(samples: np.ndarray, rate: int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        picture(samples, rate)


def test_what_cannot_be_used_is_named_and_can_be_passed_over(own: Path, tmp_path: Path) -> None:
    (own / "a" / "0.wav").write_text("not sound")
    with pytest.raises(UserError, match=r"a/0\.wav: cannot be decoded.*on_bad_clip='skip'"):
        pictures(own, SMALL, data_root=tmp_path)
    sounds = pictures(own, SMALL, data_root=tmp_path, on_bad_clip="skip")
    assert len(sounds) == len(sounds.pictures) == 9
    assert "cannot be decoded" in sounds.skipped["a/0.wav"]
    (own / "b" / "2.wav").write_bytes((own / "b" / "1.wav").read_bytes())
    (own / "a" / "2.wav").write_bytes((own / "b" / "1.wav").read_bytes())
    with pytest.raises(UserError, match=r"same sound with different labels.*allow_leaks=True"):
        pictures(own, SMALL, data_root=tmp_path, on_bad_clip="skip")
    assert len(pictures(own, SMALL, data_root=tmp_path, on_bad_clip="skip", allow_leaks=True)) == 10
    for wrong, says in (({"on_bad_clip": "ignore"}, "possible are stop, skip"), ({"workers": 0}, "workers is 0")):
        with pytest.raises(UserError, match=says):
            pictures(own, SMALL, data_root=tmp_path, **wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no folder or file"):
        pictures(tmp_path / "absent", data_root=tmp_path)


@pytest.mark.parametrize("where", [labelled, pictures, picture], ids=["module", "pictures", "picture"])
def test_the_examples_run(where: object, few_sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLA_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "sounds").symlink_to(few_sounds)
    example = "\n".join(re.findall(r"^    .*|^$", (inspect.getdoc(where) or "").partition("Args:")[0], re.MULTILINE))
    assert "picture" in example
    given = {"pictures": pictures, "picture": picture, "Picture": Picture, "samples": np.ones(44100) * 0.1}
    exec(inspect.cleandoc(example), given)


SCRIPT = """
print("begins")
from tla.sound import Picture, build, pictures
build._TINY_S = 0.0  # worker processes, however little there is to do
crew = build.crew
build.crew = lambda workers: print("workers", workers) or crew(workers)
sounds = pictures({data!r}, Picture(mels={mels}, frames=30), data_root={root!r}, workers=2)
print(*sounds.pictures.shape)
"""


@pytest.mark.parametrize("how", ["a file", "stdin", "a text"])
def test_a_script_needs_no_guard(how: str, few_sounds: Path, tmp_path: Path) -> None:
    """Its workers must not run it once more, from the top, as they would by Python's own rules."""
    mels = 20 + len(how)  # pictures that no other test has made
    text = SCRIPT.format(data=str(few_sounds), mels=mels, root=str(tmp_path / "data"))
    (tmp_path / "script.py").write_text(text)
    words = {"a file": [str(tmp_path / "script.py")], "stdin": ["-"], "a text": ["-c", text]}[how]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, *words], input=text, capture_output=True, text=True, timeout=120, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["begins", "workers", "2", "100", "3", str(mels), "30"]
    assert "Error" not in done.stderr
