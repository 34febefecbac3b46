import filecmp
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tla.errors import UserError
from tla.sound import toy
from tla.sound.clips import load


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the toy set in it."""
    root = tmp_path_factory.mktemp("data")
    start = time.process_time()
    toy.make(root / "toy")
    assert time.process_time() - start < 20  # 2 s where it was written
    return root


def test_it_loads_by_name_and_says_what_it_is(root: Path) -> None:
    data = load("toy", root)
    assert (data.name, data.synthetic, data.folds, len(data.classes)) == ("toy", True, (1, 2, 3, 4, 5), 10)
    assert (data.rate, data.seconds, data.frames) == (22050, 2.0, 100)
    assert set(Counter((clip.fold, clip.label) for clip in data.clips).values()) == {8}
    assert len(set(data.sources)) == len(set(data.contents)) == 400
    assert json.loads((root / "toy" / "toy.json").read_text())["synthetic"] is True


def test_sounds_are_whole_and_loud_enough(root: Path) -> None:
    for clip in load("toy", root).clips[::7]:
        samples, rate = soundfile.read(clip.path)
        assert (len(samples), rate) == (44100, 22050)
        assert 0.05 < np.abs(samples).max() < 0.95


def test_the_seed_decides(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        toy.make(tmp_path / name, seed=seed, clips_per_class=2)
    files = [str(path.relative_to(tmp_path / "a")) for path in (tmp_path / "a").rglob("*.wav")]
    assert len(files) == 20
    assert filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", files, shallow=False)[0] == files
    assert filecmp.cmpfiles(tmp_path / "a", tmp_path / "c", files, shallow=False)[1] == files


def test_clips_have_generators_of_their_own(tmp_path: Path) -> None:
    toy.make(tmp_path / "few", clips_per_class=1)
    toy.make(tmp_path / "more", clips_per_class=2)
    files = [str(path.relative_to(tmp_path / "few")) for path in (tmp_path / "few").rglob("*.wav")]
    assert len(filecmp.cmpfiles(tmp_path / "few", tmp_path / "more", files, shallow=False)[0]) == 10


def mean_bands(path: Path) -> np.ndarray:
    samples, _ = soundfile.read(path)
    power = np.abs(np.fft.rfft(samples[:44032].reshape(-1, 1024) * np.hanning(1024))) ** 2
    edges = np.unique(np.geomspace(2, 512, 41).astype(int))
    return np.log(np.add.reduceat(power, edges[:-1], axis=1) + 1e-6).mean(axis=0)


def test_a_mean_over_time_tells_some_and_not_all(root: Path) -> None:
    data = load("toy", root)
    features = np.array([mean_bands(clip.path) for clip in data.clips])
    features = np.c_[(features - features.mean(0)) / features.std(0), np.ones(400)]
    right = 0
    for fold in data.folds:
        split = data.split(fold)
        x, wanted = features[split.train], np.eye(10)[data.labels[split.train]]
        weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ wanted)
        right += int(((features[split.test] @ weights).argmax(1) == data.labels[split.test]).sum())
    assert 0.4 < right / 400 < 0.75  # chance is 0.1


def test_an_old_version_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.make(tmp_path / "toy", clips_per_class=2)
    before = (tmp_path / "toy" / "toy.csv").stat().st_mtime_ns
    assert toy.ensure(tmp_path / "toy") == tmp_path / "toy"
    assert (tmp_path / "toy" / "toy.csv").stat().st_mtime_ns == before
    monkeypatch.setattr(toy, "VERSION", 99)
    monkeypatch.setattr(toy, "sound", lambda label, rng: np.zeros(10))
    toy.ensure(tmp_path / "toy")
    assert json.loads((tmp_path / "toy" / "toy.json").read_text())["version"] == 99
    assert {path.name for path in tmp_path.iterdir()} <= {"toy", ".toy.lock"}


def test_a_stopped_making_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(label: str, rng: np.random.Generator) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr(toy, "sound", stop)
    with pytest.raises(KeyboardInterrupt):
        toy.make(tmp_path / "toy")
    assert not list(tmp_path.iterdir())


def test_it_does_not_overwrite_other_things(tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is in the way of the toy set and holds something else"):
        toy.make(tmp_path / "toy", clips_per_class=1)
    assert (tmp_path / "toy" / "thesis.txt").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="the toy set cannot be made there"):
        toy.ensure(tmp_path / "file" / "toy")
