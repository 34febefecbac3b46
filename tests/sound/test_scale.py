"""A large set costs time in proportion to its clips, and memory for the list of them only."""

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tla.bench.growth import sounds

SIZES = (1000, 5000, 20_000, 50_000)


def peak_mb(pid: int) -> float:
    """The most memory that a process has had, or 0 if it is no more."""
    try:
        lines = (Path("/proc") / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text().split()]
    except OSError:
        return []


def prepare(table: Path, folder: Path) -> tuple[float, float, float]:
    """Seconds of processors, and the most memory of the process and of one of its workers in MB."""
    words = ["--prepare", str(table), "--data-root", str(folder), "--workers", "2"]
    words += ["--picture.mels", "16", "--picture.frames", "20", "--augment.kind", "none"]
    start, own, workers = resource.getrusage(resource.RUSAGE_CHILDREN), 0.0, 0.0
    process = subprocess.Popen([sys.executable, "-m", "tla.data", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None:
        own = max(own, peak_mb(process.pid))
        workers = max([workers, *map(peak_mb, children(process.pid))])
        time.sleep(0.05)
    said, error = process.communicate()
    assert process.returncode == 0, error
    assert b" clips, 1 pictures of each" in said
    end = resource.getrusage(resource.RUSAGE_CHILDREN)  # with the workers, which ended before
    return end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime, own, workers


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory in /proc")
def test_time_grows_with_the_clips_and_memory_with_their_list_alone(tmp_path: Path) -> None:
    measured = {}
    for clips in SIZES:
        table = sounds(tmp_path / f"{clips}", clips)
        measured[clips] = seconds, own, workers = prepare(table, tmp_path / f"data-{clips}")
        print(
            f"{clips:6} clips: {seconds:6.1f} s, {1000 * seconds / clips:.2f} ms each; {own:.0f} MB, a worker {workers:.0f} MB"
        )
    small, large = measured[SIZES[1]], measured[SIZES[-1]]
    assert large[0] / SIZES[-1] < 1.5 * small[0] / SIZES[1], "time per clip grows"
    assert large[1] - small[1] < (SIZES[-1] - SIZES[1]) * 3e3 / 1e6, "more than 3 kB per clip"
    assert large[2] < 1.1 * small[2], "workers grow"
