"""Commands at the same time on the same folders share the work, and none is harmed by what happens to another."""

import signal
import time

import numpy as np
import pytest
from commands import TRAIN, WITH_WORKERS, Home, Undisturbed
from warm import Command, trap

pytestmark = pytest.mark.xdist_group("warm")

LONGER = ("tla.freeze", "--upto", "none,block2", "--seeds", "2")


def trained(commands: list[Command]) -> list[str]:
    """The runs that commands say they trained."""
    return [line.split()[1] for command in commands for line in command.said.splitlines() if line.startswith("run ")]


def all_well(home: Home, commands: list[Command], expected: dict[str, object]) -> None:
    for command in commands:
        assert command.wait().status == 0, command.said
    assert home.files() == expected
    assert sorted(trained(commands)) == sorted(home.logs()), "a run was trained twice, or by nobody"


def until_said(command: Command, words: str, seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while words not in command.said:
        assert time.monotonic() < deadline, command.said
        time.sleep(0.02)


def test_two_at_once(home: Home, undisturbed: Undisturbed) -> None:
    all_well(home, [home.start(*TRAIN) for _ in range(2)], undisturbed(*TRAIN))


MOMENTS = {  # what is written when the first stands still: what the second says
    ".journal.jsonl": "another process is making these pictures; waiting for it",
    ".1.npy": "in training by another study",
    ".checkpoint.safetensors": "in training by another study",
}


@pytest.mark.parametrize(
    ("moment", "fate"),
    [
        (".journal.jsonl", signal.SIGKILL),
        pytest.param(".journal.jsonl", signal.SIGCONT, marks=pytest.mark.faults),
        pytest.param(".1.npy", signal.SIGKILL, marks=pytest.mark.faults),
        pytest.param(".1.npy", signal.SIGCONT, marks=pytest.mark.faults),
        pytest.param(".checkpoint.safetensors", signal.SIGKILL, marks=pytest.mark.faults),
        (".checkpoint.safetensors", signal.SIGCONT),
    ],
)
def test_one_waits_for_the_other(home: Home, undisturbed: Undisturbed, moment: str, fate: signal.Signals) -> None:
    """And takes over if that one is killed, or finds the work done."""
    first = home.start(*TRAIN, trap=trap(home.folders, of=moment, at=3, signal=signal.SIGSTOP))
    while not home.warm.stopped(first):
        time.sleep(0.02)
    second = home.start(*TRAIN)
    until_said(second, MOMENTS[moment])
    first.send(fate)
    if fate == signal.SIGCONT:
        return all_well(home, [first, second], undisturbed(*TRAIN))
    assert first.wait().status == -signal.SIGKILL
    all_well(home, [second], undisturbed(*TRAIN))


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(3))
def test_three_at_once(home: Home, undisturbed: Undisturbed, seed: int) -> None:
    rng, started = np.random.default_rng(seed), []
    for workers in ("1", "2", "1"):
        started.append(home.start(*LONGER, "--workers", workers, before=WITH_WORKERS))
        time.sleep(float(rng.choice([0.0, rng.uniform(0, 3)])))
    all_well(home, started, undisturbed(*LONGER))


@pytest.mark.faults
def test_two_make_the_toy_set(home: Home) -> None:
    both = [home.warm.start("tla.data", ["toy", "--data-root", str(home.data)]) for _ in range(2)]
    for command in both:
        assert command.wait().status == 0, command.said
    assert len(list((home.data / "toy").rglob("*.wav"))) == 400
    assert sorted(path.name for path in home.data.iterdir()) == [".toy.lock", "toy"]
