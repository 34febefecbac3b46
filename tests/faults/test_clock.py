"""A clock that jumps, and files from the future or the past: nothing depends on the time of day but what is shown of it."""

import itertools
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from commands import TRAIN, Home, Undisturbed
from warm import trap

from tla.sound import clips, digests

pytestmark = pytest.mark.xdist_group("warm")

YEAR_S = 365 * 86400
HOUR_NS = 3600 * 10**9
JUMPING = f"""
import itertools, time
jumps, real = itertools.cycle([0, 10 * {YEAR_S}, -20 * {YEAR_S}, {YEAR_S}, -{YEAR_S}]), time.time
time.time = lambda: real() + next(jumps)
time.time_ns = lambda: int(time.time() * 1e9)
"""


def test_a_clock_that_jumps_changes_nothing(home: Home, undisturbed: Undisturbed) -> None:
    killed = home.run(*TRAIN, before=JUMPING, trap=trap([home.runs], of=".checkpoint", at=9, signal=signal.SIGKILL))
    assert killed.status == -signal.SIGKILL, killed.said
    for path in home.root.rglob("*"):
        os.utime(path, (0, 0))
    done = home.run(*TRAIN, before=JUMPING)
    assert done.status == 0, done.said
    assert home.files() == undisturbed(*TRAIN)


@pytest.mark.parametrize("year", [pytest.param(1970, marks=pytest.mark.faults), 2100])
def test_files_of_another_time_are_not_made_again(home: Home, year: int) -> None:
    assert home.run("tla.train").status == 0
    stamp = (year - 1970) * YEAR_S
    made = [path for path in home.root.rglob("*") if path.is_file() and home.figures not in path.parents]
    for path in made:
        os.utime(path, (stamp, stamp))
    again = home.run("tla.train")
    assert again.status == 0, again.said
    assert "1 finished" in again.said
    assert {path.name for path in made if path.stat().st_mtime != stamp} <= {"contents.json"}


# What is remembered of clips


@pytest.fixture
def own(sounds: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sounds, tmp_path / "own")


def contents(own: Path) -> tuple[str, ...]:
    """Digests of the clips, with what is remembered of them from the last time."""
    return clips.load(str(own), own.parent).contents


def replace_unseen(clip: Path) -> None:
    """Other bytes, as many, with the time of the old ones: as `cp -p` leaves them, or a change within a tick of the clock."""
    before = clip.stat()
    clip.write_bytes(bytes(byte ^ 1 for byte in clip.read_bytes()))
    os.utime(clip, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_clip_that_is_replaced_is_noticed_however_alike_it_looks(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "SETTLED_NS", -HOUR_NS)  # as if they had been there for an hour, so that all are remembered
    before = contents(own)
    replace_unseen(next(own.rglob("*.wav")))
    assert len(set(before) ^ set(contents(own))) == 2


def test_a_clip_that_was_only_just_written_is_not_trusted(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, real = time.time_ns(), Path.stat

    def stands(path: Path, **more: bool) -> os.stat_result:
        """As on a file system whose clock has not gone on since."""
        found = list(real(path, **more)), {"st_atime_ns": now, "st_mtime_ns": now, "st_ctime_ns": now}
        return os.stat_result(*found)

    monkeypatch.setattr(Path, "stat", stands)
    before = contents(own)
    replace_unseen(next(own.rglob("*.wav")))
    assert len(set(before) ^ set(contents(own))) == 2


def test_a_clip_that_is_only_touched_stays_the_same(own: Path) -> None:
    before = contents(own)
    for clip, year in zip(own.rglob("*.wav"), itertools.cycle([1970, 2100])):
        os.utime(clip, ((year - 1970) * YEAR_S,) * 2)
    assert contents(own) == before == contents(own)
