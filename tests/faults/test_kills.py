"""Killed at any moment, a command that is given again ends as if nothing had been, and has lost the epoch in flight at most."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import FREEZE, TRAIN, WITH_WORKERS, Home, Survived, Undisturbed, one_line
from warm import Command, trap

from tla.files import replacing, scratch, write_text

pytestmark = pytest.mark.xdist_group("warm")  # so that there is one warm process

LONGER = ("tla.freeze", "--upto", "none,block2", "--seeds", "2", "--recipe.epochs", "6")
# Parts of the names of the files that the command changes, in order.
MOMENTS = ("contents.json", ".part", "store.json", "block2", "checkpoint", "log.jsonl", "predictions", "weights", "result.json")
MOMENTS += ("SHA256SUMS", ".csv", ".pdf", ".png", ".svg")


def kill_until_done(home: Home, once: Callable[[], Command], most: int = 200) -> int:
    """Have a command killed again and again, until it ends before that; how often it was."""
    logs = home.logs()
    for kills in range(most):
        ended = once().wait()
        now = home.logs()
        for key, log in logs.items():
            assert now[key].startswith(log), "an epoch that was done was lost, or done again"
        logs = now
        if ended.status == 0:
            return kills
        assert ended.status == -signal.SIGKILL, ended.said
    raise AssertionError(f"{most} kills, and it has not come to an end")


def between_changes(home: Home, command: tuple[str, ...], rng: np.random.Generator, most: int) -> int:
    """Kill a command between changes to files, until it is done."""

    def once() -> Command:
        soon = int(np.exp(rng.uniform(np.log(8), np.log(most))))  # changes; an early death is as likely as a late one
        return home.start(*command, trap=trap(home.folders, at=soon, signal=signal.SIGKILL))

    return kill_until_done(home, once)


def test_killed_between_changes_to_files(home: Home, undisturbed: Undisturbed, survived: Survived) -> None:
    second_epoch = trap([home.runs], of="log.jsonl", at=9, signal=signal.SIGKILL)
    assert home.run(*TRAIN, trap=second_epoch).status == -signal.SIGKILL
    assert [log.count("\n") for log in home.logs().values()] == [1]
    kills = between_changes(home, TRAIN, np.random.default_rng(3), most=400)
    assert kills >= 5
    assert home.files() == undisturbed(*TRAIN)
    survived("kills", 1 + kills)


def test_killed_in_its_very_last_step_a_run_leaves_no_checkpoint(home: Home) -> None:
    last = trap([home.runs], of="/checkpoint.safetensors", signal=signal.SIGKILL)  # only its removal calls it by its name
    assert home.run("tla.train", trap=last).status == -signal.SIGKILL
    (result,) = home.runs.glob("*/result.json")
    before = result.read_bytes()
    assert home.run("tla.train").status == 0
    assert result.read_bytes() == before
    assert not list(home.runs.glob("*/checkpoint*"))


def test_what_the_dead_left_goes_and_what_the_living_have_stays(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    for name in (".table.csv.8bfp8riu.csv", ".table.csv.8bfp8riu.txt", ".table.csv.csv", "sums-8bfp8riu/a", "sums-mine/a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("left")
    with replacing(table) as mine, scratch(tmp_path, "sums-") as folder:
        mine.write_text("new")
        write_text(table, "of another")
        with scratch(tmp_path, "sums-"):
            assert mine.exists()
            assert folder.exists()
    assert table.read_text() == "new"
    kept = {".table.csv.8bfp8riu.txt", ".table.csv.csv", "sums-mine", "table.csv"}
    assert {path.name for path in tmp_path.iterdir()} == kept


@pytest.mark.faults
def test_killed_while_the_toy_set_is_made(home: Home, survived: Survived) -> None:
    words = ["toy", "--data-root", str(home.data)]
    for at in (5, 150, 412):
        ended = home.warm.run("tla.data", words, trap=trap([home.data], of=".toy-", at=at, signal=signal.SIGKILL))
        assert ended.status == -signal.SIGKILL, ended.said
    assert home.warm.run("tla.data", words).status == 0
    assert sorted(path.name for path in home.data.iterdir()) == [".toy.lock", "toy"]
    survived("kills", 3)


def stop_in_turn(home: Home, command: tuple[str, ...], moments: Iterable[str], at: Callable[[], int]) -> None:
    """Ctrl-C at moments of a command, one after the other."""
    for moment in moments:
        stopped = home.run(*command, trap=trap(home.folders, of=moment, at=at(), signal=signal.SIGINT))
        assert one_line(stopped, status=130) == "stopped; the same command again goes on from what is finished"
        left = [path.name for path in home.root.rglob(".*") if re.search(r"\.\w{8}\.\w+$", path.name)]
        assert not left, "what can tidy up does"


def test_stopped_it_says_so_in_a_line_and_goes_on(home: Home, undisturbed: Undisturbed, survived: Survived) -> None:
    stop_in_turn(home, TRAIN, (".journal.jsonl", ".1.npy", ".checkpoint.safetensors"), lambda: 2)
    assert home.run(*TRAIN).status == 0
    assert home.files() == undisturbed(*TRAIN)
    survived("interrupts", 3)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(2))
def test_stopped_at_any_moment(home: Home, undisturbed: Undisturbed, survived: Survived, seed: int) -> None:
    rng = np.random.default_rng(seed)
    stop_in_turn(home, FREEZE, MOMENTS, lambda: int(rng.integers(1, 4)))
    assert home.run(*FREEZE).status == 0
    assert home.files() == undisturbed(*FREEZE)
    survived("interrupts", len(MOMENTS))


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(3))
def test_killed_between_any_two_changes_to_files(home: Home, undisturbed: Undisturbed, survived: Survived, seed: int) -> None:
    kills = between_changes(home, LONGER, np.random.default_rng(seed), most=300)
    assert kills >= 5
    assert home.files() == undisturbed(*LONGER)
    survived("kills", kills)


@pytest.mark.faults
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_before_each_change_to_a_file(home: Home, undisturbed: Undisturbed, survived: Survived, moment: str) -> None:
    kills = 0

    def once() -> Command:
        nonlocal kills
        kills += 1
        return home.start(*FREEZE, trap=trap(home.folders, of=moment, at=kills, signal=signal.SIGKILL))

    assert kill_until_done(home, once) >= 2
    assert home.files() == undisturbed(*FREEZE)
    survived("kills", kills - 1)


@pytest.mark.faults
def test_killed_at_random_times(
    home: Home, undisturbed: Undisturbed, survived: Survived, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With workers, so that other processes are in the middle of their work: they go too."""
    words = (*LONGER, "--workers", "2")
    begun = time.monotonic()
    assert replace(home, root=tmp_path_factory.mktemp("timed")).run(*words, before=WITH_WORKERS).status == 0
    whole = time.monotonic() - begun
    rng = np.random.default_rng(0)

    def once() -> Command:
        started = home.start(*words, before=WITH_WORKERS)
        time.sleep(float(whole * 0.03 * 50 ** rng.random()))
        started.send(signal.SIGKILL)
        started.wait()
        deadline = time.monotonic() + 60
        while home.warm.living(started):
            assert time.monotonic() < deadline, "its workers outlive it"
            time.sleep(0.05)
        return started

    kills = kill_until_done(home, once)
    assert home.files() == undisturbed(*LONGER)
    survived("kills", kills)


def busy_workers(home: Home, started: Command) -> list[int]:
    """The processes that make pictures."""
    living = {pid: Path(f"/proc/{pid}/cmdline") for pid in home.warm.living(started)}
    return [pid for pid, line in living.items() if line.exists() and "spawn_main" in line.read_text()]


def clips_done(home: Home) -> int:
    """How many clips the journal of the pictures counts as done."""
    return sum(len(path.read_text().splitlines()) - 1 for path in home.data.glob("pictures/*/.journal.jsonl"))


@pytest.mark.faults
def test_a_worker_that_is_killed_while_pictures_are_made(home: Home, undisturbed: Undisturbed, survived: Survived) -> None:
    rng = np.random.default_rng(0)
    for clips in (0, 2, 6):
        started = home.start(*FREEZE, before=WITH_WORKERS)
        deadline = time.monotonic() + 120
        while not (workers := busy_workers(home, started)) or clips_done(home) < clips:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(int(rng.choice(workers)), signal.SIGKILL)
        assert "a worker process died" in one_line(started.wait())
    assert home.run(*FREEZE).status == 0
    assert home.files() == undisturbed(*FREEZE)
    survived("kills of a worker", 3)
