"""Ctrl-C at any moment and any number of times: a command ends in a line, and leaves no process behind."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tla import interrupts

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
LAST_S = 60.0  # a hang is longer; how quickly it ends otherwise depends on the machine
SCRIPT = """
from pathlib import Path
from tla.options import Augment, Picture
from tla.sound.clips import load
from tla.sound.spectrograms import resolve
from tla.sound.store import open_store

print("begin", flush=True)
data = load({sounds!r}, Path({root!r}))
options = resolve(Picture(mels=16, frames=20), rate=data.rate, seconds=data.seconds, frames=data.frames)
store = open_store(data, options, Augment(kind="bank:1"), Path({root!r}, "pictures"), workers=2)
print(len(store.clean), flush=True)
"""


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough seconds of sound for worker processes to be started."""
    root, rng = tmp_path_factory.mktemp("interrupts") / "sounds", np.random.default_rng(0)
    for number in range(200):
        path = root / "ab"[number % 2] / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.normal(size=2 * 8000) * 0.1, 8000)
    return root


@pytest.fixture
def prepare(sounds: Path, tmp_path: Path, seed: int) -> Iterator[subprocess.Popen]:
    """A command that makes pictures with two workers, from the moment at which it minds Ctrl-C; ended however the test goes.

    It is called in both forms in turn.
    """
    script = tmp_path / "tla"
    script.write_text("from tla.__main__ import main\nmain()\n")
    called = ["-m", "tla.data"] if seed % 2 else [str(script), "data"]
    options = ["--picture.mels", "16", "--picture.frames", "20", "--augment.kind", "bank:30", "--workers", "2"]
    command = [sys.executable, "-X", "importtime", *called, "--prepare", str(sounds), "--data-root", str(tmp_path)]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if re.search(r"\| +tla$", line):
                break
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


def interrupted(process: subprocess.Popen, moments: np.ndarray) -> str:
    """What a command shows that gets Ctrl-C, as its workers do, at these moments, in seconds from now."""

    def send() -> None:
        begun = time.monotonic()
        for moment in moments:
            time.sleep(max(0.0, begun + moment - time.monotonic()))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)

    sender = threading.Thread(target=send)
    sender.start()
    _, shown = process.communicate(timeout=LAST_S)
    sender.join()
    return "".join(line for line in shown.splitlines(keepends=True) if not line.startswith("import time:"))


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.faults) for seed in range(6, 60))])
def test_any_number_at_any_moment(prepare: subprocess.Popen, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.uniform(0.0, [0.4, 1.5, 4.0][seed % 3])  # while modules are imported, workers start, pictures are made
    shown = interrupted(prepare, first + np.concatenate([[0.0], np.cumsum(rng.uniform(0.0, 0.2, rng.integers(0, 5)))]))
    assert prepare.returncode == interrupts.STATUS, shown
    assert "Traceback" not in shown
    assert "Error" not in shown
    assert "stopped; the same command again goes on from what is finished" in shown
    deadline = time.monotonic() + LAST_S
    while family(prepare.pid):
        assert time.monotonic() < deadline, "a child is left"
        time.sleep(0.05)


def test_what_is_swallowed_or_stuck_is_ended(tmp_path: Path) -> None:
    """A handler that swallows everything, then a call that waits outside Python."""
    program = """
import sys
sys.argv, sys.orig_argv = ["-m"], ["python", "-m", "tla.data"]
import tla, signal, threading
print("begin", flush=True)
while True:
    try:
        signal.pause()
    except BaseException:
        threading.Lock().acquire() or threading.Event().wait()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n"
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=LAST_S)
    assert process.returncode == interrupts.STATUS
    assert shown.strip().startswith("stopped; ")


def test_a_program_that_imports_tla_keeps_its_own() -> None:
    program = "import signal, tla; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    assert subprocess.run([sys.executable, "-c", program], timeout=LAST_S).returncode == 0


def test_a_script_without_a_guard_does_not_hang(sounds: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(sounds=str(sounds), root=str(tmp_path)))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=LAST_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "begin\n200\n", "its workers do not run it again"
