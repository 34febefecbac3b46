"""The store: right rows, nothing made twice, the same whatever the order or number of workers, and safe against accidents."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tla.errors import UserError
from tla.files import held
from tla.options import Augment, Picture
from tla.sound import arrays, build, digests, workers
from tla.sound.audio import read
from tla.sound.clips import Clip, Dataset
from tla.sound.spectrograms import picture, resolve
from tla.sound.store import Store, open_store

RATE = 8000
OPTIONS = resolve(Picture(mels=16), rate=RATE, seconds=0.5, frames=20)
NONE, BANK = Augment(kind="none"), Augment(kind="bank:2")


@pytest.fixture
def sounds(tmp_path: Path) -> Dataset:
    """Six clips of two classes; the last two are the only ones of the second class."""
    rng = np.random.default_rng(0)
    (tmp_path / "sounds").mkdir()
    for i in range(6):
        soundfile.write(tmp_path / "sounds" / f"{i}.wav", rng.normal(size=RATE // 2 + 100 * i) * 0.1, RATE)
    return dataset(tmp_path / "sounds")


def dataset(root: Path) -> Dataset:
    paths = sorted(root.iterdir())
    clips = [Clip(name=path.name, path=path, label=int(path.stem >= "4"), fold=1, source=path.stem) for path in paths]
    return Dataset(name="my sounds", root=root, classes=("a", "b"), clips=tuple(clips), rate=RATE, seconds=0.5, frames=20)


@pytest.fixture
def open_(sounds: Dataset, tmp_path: Path):
    """Opens a store of the sounds, by default in this process."""

    def opened(augment: Augment = NONE, data: Dataset = sounds, options: Picture = OPTIONS, **more) -> Store:
        return open_store(data, options, augment, tmp_path / "pictures", **{"workers": 1, **more})

    return opened


@pytest.fixture
def many_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """However little there is to do, worker processes do it; none is left behind."""
    monkeypatch.setattr(build, "_TINY_S", 0.0)
    yield
    workers.standing_crew(2).shutdown()
    workers.standing_crew.cache_clear()


def stamps(made: Store) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in made.folder.glob("*.npy")}


def test_rows_are_the_clips_in_order(open_, sounds: Dataset) -> None:
    made = open_()
    assert made.clean.shape == (6, 3, 16, 20)
    assert made.clean.dtype == np.float16
    assert isinstance(made.clean[0], np.memmap)
    assert (made.variants, made.skipped, made.dataset) == (0, {}, sounds)
    for clip, row in zip(sounds.clips, made.clean, strict=True):
        np.testing.assert_array_equal(row, picture(read(clip.path, RATE)[0], OPTIONS).astype(np.float16))


def test_a_bigger_bank_adds_to_a_smaller_one(open_) -> None:
    clean = stamps(open_(NONE))
    two = open_(Augment(kind="bank:2"))
    of_two = stamps(two)
    three = open_(Augment(kind="bank:3"))
    of_three = stamps(three)
    assert clean.items() < of_two.items() < of_three.items()
    assert stamps(open_(Augment(kind="bank:3"))) == of_three
    assert three.variants == 3
    assert len({bank[:].tobytes() for bank in (three.clean, *map(three.variant, range(3)))}) == 4
    np.testing.assert_array_equal(two.variant(1), three.variant(1))
    with pytest.raises(IndexError, match="no variant 3"):
        three.variant(3)


def test_length_changes_the_variants_only(open_) -> None:
    resized, kept = open_(Augment(kind="bank:1")), open_(Augment(kind="bank:1", length="keep"))
    assert set(stamps(kept)) == {"clean.npy", "variant-resize-0000.npy", "variant-keep-0000.npy"}
    assert not np.array_equal(resized.variant(0), kept.variant(0))


def test_other_options_or_clips_have_another_folder(open_, sounds: Dataset) -> None:
    others = [
        open_(),
        open_(options=resolve(Picture(mels=8), rate=RATE, seconds=0.5, frames=20)),
        open_(data=sounds.without(["0.wav"])),
    ]
    assert len({made.folder for made in others}) == 3


def test_variants_depend_on_the_clip_alone(open_, sounds: Dataset) -> None:
    backwards = replace(sounds, clips=sounds.clips[::-1])
    one, other = open_(BANK), open_(BANK, data=backwards.without(["2.wav"]))
    np.testing.assert_array_equal(one.variant(1)[[5, 4, 3, 1, 0]], other.variant(1))


def test_two_processes_make_what_one_makes(open_, many_processes: None) -> None:
    two = open_(BANK, workers=2)
    files = {path.name: path.read_bytes() for path in two.folder.glob("*.npy")}
    live = [row.tobytes() for row in two.live([4, 0, 0, 2], seed=3, epoch=1)]
    shutil.rmtree(two.folder)
    one = open_(BANK)
    assert {path.name: path.read_bytes() for path in one.folder.glob("*.npy")} == files
    assert [row.tobytes() for row in one.live([4, 0, 0, 2], seed=3, epoch=1)] == live


def test_live_pictures_depend_on_seed_epoch_and_clip(open_) -> None:
    made = open_(Augment(kind="live"))
    first = list(made.live(np.array([1, 3]), seed=0, epoch=0))
    assert [(row.shape, row.dtype) for row in first] == [((3, 16, 20), np.float16)] * 2
    np.testing.assert_array_equal(first[1], next(made.live([3], seed=0, epoch=0)))
    assert not np.array_equal(first[0], next(made.live([1], seed=0, epoch=1)))
    assert not np.array_equal(first[0], next(made.live([1], seed=1, epoch=0)))
    assert not np.array_equal(first[0], made.clean[1])


def test_a_store_describes_itself(open_, sounds: Dataset) -> None:
    described = json.loads((open_().folder / "store.json").read_text())
    assert described["picture"] == vars(OPTIONS)
    clips = [json.loads(line) for line in (open_().folder / described["clips"]).read_text().splitlines()]
    assert [(clip["name"], clip["content"]) for clip in clips] == list(
        zip([clip.name for clip in sounds.clips], sounds.contents, strict=True)
    )
    assert described["skipped"] == []


# Broken clips


def spoil(data: Dataset, **wrong: bytes | int) -> Dataset:
    """The data set after clips were overwritten with bytes, or cut to some samples."""
    for stem, content in wrong.items():
        path = data.root / f"{stem.removeprefix('clip')}.wav"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            soundfile.write(path, np.full(content, 0.1), RATE)
    return dataset(data.root)


@pytest.mark.parametrize("count", [1, 2], ids=["in-process", "two-workers"])
def test_a_broken_clip_stops(open_, sounds: Dataset, many_processes: None, count: int) -> None:
    data = spoil(sounds, clip2=b"this is text")
    with pytest.raises(UserError, match=r"2\.wav: cannot be decoded .*--on-bad-clip skip.*tla\.data --check") as caught:
        open_(data=data, workers=count)
    assert "\n" not in str(caught.value)
    assert not list((sounds.root.parent / "pictures").glob("*/*.npy"))


def test_a_broken_clip_is_left_out_and_stays_out(open_, sounds: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    data = spoil(sounds, clip1=b"", clip3=100)
    made = open_(BANK, data=data, on_bad_clip="skip")
    assert set(made.skipped) == {"1.wav", "3.wav"}
    assert "0 bytes" in made.skipped["1.wav"]
    assert "too short for a picture: 100 samples" in made.skipped["3.wav"]
    assert [clip.name for clip in made.dataset.clips] == ["0.wav", "2.wav", "4.wav", "5.wav"]
    assert made.clean.shape == made.variant(1).shape == (4, 3, 16, 20)
    np.testing.assert_array_equal(made.clean[2], picture(read(data.clips[4].path, RATE)[0], OPTIONS).astype(np.float16))
    wider = open_(Augment(kind="bank:3"), data=data, on_bad_clip="skip")
    assert wider.variant(2).shape == (4, 3, 16, 20)
    monkeypatch.setattr(build, "read", None)  # nothing is read any more
    assert open_(BANK, data=data, on_bad_clip="skip").skipped == made.skipped
    with pytest.raises(UserError, match=r"1\.wav: is empty"):
        open_(BANK, data=data)


def test_a_clip_just_long_enough_has_variants_too(open_, sounds: Dataset) -> None:
    made = open_(Augment(kind="bank:6"), data=spoil(sounds, clip0=401))
    assert all(np.isfinite(made.variant(k)).all() for k in range(6))


@pytest.mark.parametrize("lost", [("clip4", "clip5"), tuple(f"clip{i}" for i in range(6))], ids=["one class", "all"])
def test_a_class_that_loses_all_clips(open_, sounds: Dataset, lost: tuple[str, ...]) -> None:
    data = spoil(sounds, **dict.fromkeys(lost, b""))
    for _ in range(2):
        with pytest.raises(UserError, match=r"no clip of .*b can be used .*is empty"):
            open_(data=data, on_bad_clip="skip")


# Accidents


@pytest.mark.parametrize("size", [0, 50, 200, -10, 10])
def test_a_file_of_the_wrong_size_is_made_again(open_, capsys: pytest.CaptureFixture, size: int) -> None:
    made = open_(BANK)
    path = made.folder / "variant-resize-0001.npy"
    right = path.read_bytes()
    path.write_bytes(right + b"x" * size if size == 10 else right[:size])
    before = stamps(made)
    open_(BANK)
    assert path.read_bytes() == right
    assert stamps(made)["clean.npy"] == before["clean.npy"]
    assert "variant-resize-0001.npy: it, or SHA256SUMS beside it, was edited" in (shown := capsys.readouterr().err)
    assert "made again" in shown


def test_a_file_of_another_store_is_made_again(open_, capsys: pytest.CaptureFixture) -> None:
    other = open_(options=resolve(Picture(mels=8), rate=RATE, seconds=0.5, frames=20)).folder / "clean.npy"
    path = open_().folder / "clean.npy"
    right = path.read_bytes()
    for wrong in (other.read_bytes(), b"\x93NUMPY\x01\0"):
        path.write_bytes(wrong)
        open_()
        assert path.read_bytes() == right
        assert "made again" in capsys.readouterr().err


def test_files_that_were_not_changed_are_read_once(open_, monkeypatch: pytest.MonkeyPatch) -> None:
    made = open_(BANK)
    monkeypatch.setattr(digests, "SETTLED_NS", -(10**12))  # as if they had been there for long
    open_(BANK)
    monkeypatch.setattr(digests, "digest_of", None)  # nothing is read any more
    assert open_(BANK).files == made.files


def test_the_manifest_is_of_the_usual_kind(open_) -> None:
    made = open_(BANK)
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=made.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK") == 5


@pytest.mark.parametrize("text", ["", "{", "[]", '{"skipped": 1}'])
def test_without_its_description_all_is_made_again(open_, text: str) -> None:
    made = open_(BANK)
    before = stamps(made)
    (made.folder / "store.json").write_text(text)
    again = open_()
    assert set(stamps(again)) == {"clean.npy"}, "variants that nothing describes may have other rows"
    assert stamps(again).items().isdisjoint(before.items())
    assert json.loads((again.folder / "store.json").read_text())["skipped"] == []


def test_what_a_killed_process_left_is_removed(open_) -> None:
    left = open_().folder / ".variant-resize-0000.npy.abc.npy"
    left.write_bytes(b"half a file")
    open_(BANK)
    assert not left.exists()


def test_a_full_disk_while_writing(open_, sounds: Dataset) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    _ = sounds.contents
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(UserError, match=r"pictures.*my-sounds.*MB\) cannot be written there \(File too large\)"):
            open_(BANK)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((sounds.root.parent / "pictures").glob("*/[!.]*.*")), "something looks finished"
    assert len(open_(BANK).clean) == 6


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the clips of which pictures are made; the fourth stops the process, once."""
    made, real = [], build.pictures

    def pictures(job: build.Job, *rest) -> np.ndarray:
        made.append(job[0].name)
        if len(made) == 4:
            raise KeyboardInterrupt
        return real(job, *rest)

    monkeypatch.setattr(build, "pictures", pictures)
    return made


def test_an_interrupted_build_goes_on_with_the_rest(open_, counted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        open_(BANK)
    made = open_(BANK)
    assert counted == ["0.wav", "1.wav", "2.wav", "3.wav", "3.wav", "4.wav", "5.wav"]
    files = {path.name: path.read_bytes() for path in made.folder.glob("*.npy")}
    shutil.rmtree(made.folder)
    assert {path.name: path.read_bytes() for path in open_(BANK).folder.glob("*.npy")} == files


@pytest.mark.parametrize(
    "accident", ["torn", "garbage", "gone", "other files", "part gone", "part damaged", "an older journal"]
)
def test_what_an_interrupted_build_left_is_used_only_if_it_fits(
    open_, sounds: Dataset, counted: list[str], accident: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        open_(BANK)
    (journal,) = (sounds.root.parent / "pictures").glob("*/.journal.jsonl")
    if accident == "torn":
        journal.write_text(journal.read_text()[:-5])
    elif accident == "garbage":
        journal.write_text("{" + journal.read_text())
    elif accident == "gone":
        journal.unlink()
    elif accident == "part gone":
        journal.with_name(".clean.npy.part").unlink()
    elif accident == "part damaged":
        part = journal.with_name(".clean.npy.part")
        content = bytearray(part.read_bytes())
        content[200] ^= 1
        part.write_bytes(content)
    elif accident == "an older journal":
        plan, *shards = map(json.loads, journal.read_text().splitlines())
        journal.write_text("".join(json.dumps(line) + "\n" for line in (plan, *(shard[:2] for shard in shards))))
    made = open_(Augment(kind="bank:3") if accident == "other files" else BANK)
    again = 4 if accident == "torn" else 6  # of the shard whose line was torn, and the rest; or of all
    assert len(counted) == 4 + again
    for clip, row in zip(sounds.clips, made.clean, strict=True):
        np.testing.assert_array_equal(row, picture(read(clip.path, RATE)[0], OPTIONS).astype(np.float16))


def test_an_array_grows_and_goes_on_where_it_was(tmp_path: Path) -> None:
    values = np.arange(7 * 6, dtype=np.float16).reshape(7, 2, 3)
    path = tmp_path / "a.npy"
    first = arrays.Growing(path, (2, 3))
    assert not first.resume(0)
    first.append(values[:2])
    first.append(values[2:3])
    after_three = first.sum
    first.append(values[3:4])
    assert not path.exists()
    assert not arrays.Growing(tmp_path / "b.npy", (2, 3)).resume(3, after_three), "there is nothing"
    again = arrays.Growing(path, (2, 3))
    assert again.resume(3, after_three)
    again.append(values[3:])
    again.finish()
    np.testing.assert_array_equal(arrays.opened(path), values)
    assert arrays.Growing(path, (2, 3)).resume(7, again.sum), "finished, but not yet in a manifest"
    assert not arrays.Growing(path, (2, 3)).resume(8, again.sum), "there are not so many"


def test_a_pool_elsewhere_makes_the_same_files(open_, sounds: Dataset) -> None:
    here = open_(BANK)
    files = {path.name: path.read_bytes() for path in here.folder.glob("*.npy")}
    shutil.rmtree(here.folder)

    class Sent:
        """A piece of work that was done where the sounds are not seen."""

        def __init__(self, work, shard: build.Shard) -> None:
            assert work(replace(shard, clips=tuple((path, "other") for path, _ in shard.clips))) is None
            away = tuple((Path("/absent") / path.name, content) for path, content in shard.clips)
            self.done = work(replace(shard.with_sounds(), clips=away))

        def result(self) -> build.Sent:
            return self.done

        def cancel(self) -> None:
            pass

    class Elsewhere:
        workers = 3
        submit = Sent

    made = open_(BANK, pool=Elsewhere())
    assert {path.name: path.read_bytes() for path in made.folder.glob("*.npy")} == files
    bad = spoil(sounds, clip1=b"", clip3=100)
    there = open_(BANK, data=bad, on_bad_clip="skip", pool=Elsewhere())
    assert set(there.skipped) == {"1.wav", "3.wav"}
    assert len(there.clean) == len(there.variant(1)) == 4


def test_too_little_room(open_, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(UserError, match=r"0 MB are free\); make room, or say with --data-root"):
        open_()


def test_a_folder_that_cannot_be(open_, tmp_path: Path) -> None:
    (tmp_path / "pictures").write_text("a file")
    with pytest.raises(UserError, match="cannot be written there"):
        open_()


def test_the_second_of_two_waits_and_finds_it_done(open_, capsys: pytest.CaptureFixture) -> None:
    made = open_()
    before = stamps(made)
    description = (made.folder / "store.json").read_text()
    (made.folder / "store.json").unlink()
    waiting = threading.Thread(target=open_)
    with held(made.folder / "lock", "busy"):
        waiting.start()
        time.sleep(0.3)
        (made.folder / "store.json").write_text(description)  # as the first would at its end
    waiting.join(10)
    assert "another process is making these pictures" in capsys.readouterr().err
    assert stamps(made) == before


SCRIPT = """
import sys
from pathlib import Path
from tla.options import Augment
from tla.sound import build, store
sys.path.insert(0, sys.argv[2])
import test_store
build._TINY_S = 0.0
data = test_store.dataset(Path(sys.argv[1]))
print("begin", flush=True)
store.open_store(data, test_store.OPTIONS, Augment(kind="bank:2"), Path(sys.argv[1]).parent / "pictures", workers=2)
print("done", flush=True)
"""


@pytest.fixture
def begun(sounds: Dataset) -> Iterator[subprocess.Popen]:
    """A process that makes pictures of long clips with two workers; ended, with its workers, however the test goes."""
    for number in range(6, 300):
        soundfile.write(sounds.root / f"{number}.wav", np.random.default_rng(number).normal(size=5 * RATE) * 0.1, RATE)
    script = sounds.root.parent / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(sounds.root), str(Path(__file__).parent)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n"
        yield process
        for left_over in family(process.pid):
            os.kill(left_over, signal.SIGKILL)


def family(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue  # it ended while we looked
        if int(session) == leader and state != "Z":
            found.append(int(stat.parent.name))
    return found


def gone(leader: int, seconds: float = 120.0) -> bool:
    deadline = time.monotonic() + seconds
    while family(leader) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not family(leader)


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


def until_writing(begun: subprocess.Popen, pictures: Path, seconds: float = 0.9) -> None:
    deadline = time.monotonic() + 300
    while not list(pictures.glob("*/.clean*")) or len(family(begun.pid)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(seconds)


@needs_proc
def test_killed_it_leaves_no_process_and_the_next_one_cleans_up(open_, sounds: Dataset, begun: subprocess.Popen) -> None:
    until_writing(begun, sounds.root.parent / "pictures")
    os.kill(begun.pid, signal.SIGKILL)
    begun.wait(300)
    assert gone(begun.pid)
    made = open_(BANK, data=dataset(sounds.root))
    assert {path.name for path in made.folder.iterdir()} - {".digests.json"} == {
        *(path.name for path in made.files),
        "clips.jsonl",
        "lock",
    }
    assert made.variant(1).shape == (300, 3, 16, 20)


@needs_proc
@pytest.mark.parametrize("seconds", [0.0, 0.3, 0.9], ids=["while workers start", "a little later", "at work"])
def test_ctrl_c_ends_all(sounds: Dataset, begun: subprocess.Popen, seconds: float) -> None:
    until_writing(begun, sounds.root.parent / "pictures", seconds)
    os.killpg(begun.pid, signal.SIGINT)  # as the terminal does: to parent and workers alike
    _, said = begun.communicate(timeout=300)
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert said.count("Traceback") == 1, said  # the parent's own; workers are silent
    assert gone(begun.pid)
    assert not list((sounds.root.parent / "pictures").glob("*/[!.]*.*")), "something looks finished"
