"""A measurement, and the clock that makes it."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """Seconds per clip of one way to do a thing, and how many times the reference that takes."""

    what: str
    seconds: float
    ratio: float
    note: str = ""


def clock(work: Callable[[], object]) -> float:
    """Seconds that `work` takes, once."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
