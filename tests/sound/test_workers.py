"""Worker processes: results in order, nothing heavy loaded, a death reported."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tla.errors import UserError
from tla.options import Picture
from tla.sound import build, workers
from tla.sound.augment import Variation
from tla.sound.spectrograms import resolve


def loaded(_: int) -> set[str]:
    return {"torch", "librosa", "pandas", "matplotlib", "rich"} & set(sys.modules)


def die(_: int) -> None:
    os._exit(1)


def test_workers_load_nothing_heavy(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.ones(8000) * 0.1, 8000)
    options = resolve(Picture(mels=16), rate=8000, seconds=1.0, frames=20)
    with workers.crew(1) as pool:
        job = (tmp_path / "a.wav", (None, Variation(1, 1.1)))
        assert pool.submit(build.pictures, job, options, "resize").result().shape == (2, 3, 16, 20)
        assert pool.submit(loaded, 0).result() == set()


def test_a_worker_that_dies_is_reported() -> None:
    with workers.crew(1) as pool, pytest.raises(UserError, match="a worker process died"):
        list(workers.ordered(pool, die, range(3), ahead=2))


def work_until_given_up(begun: str) -> None:
    Path(begun).touch()
    while True:
        workers.stop_if_given_up()
        time.sleep(0.01)


@pytest.mark.parametrize("moment", ["before it begins", "in the midst of it"])
def test_interrupted_work_is_not_waited_for(tmp_path: Path, moment: str) -> None:
    def interrupted() -> None:
        with workers.crew(2) as pool:
            pool.submit(work_until_given_up, str(tmp_path / "begun"))
            while moment != "before it begins" and not (tmp_path / "begun").exists():
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_results_are_in_order_and_a_broken_off_loop_leaves_no_work(tmp_path: Path) -> None:
    with workers.crew(2) as pool:
        assert list(workers.ordered(pool, abs, range(-20, 0), ahead=5)) == list(range(20, 0, -1))
        results = workers.ordered(pool, Path.touch, [tmp_path / str(i) for i in range(100)], ahead=3)
        next(results)
        results.close()
    assert 1 <= len(list(tmp_path.iterdir())) <= 4
    assert workers.cores() >= 1
