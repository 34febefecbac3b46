"""A measurement, and the clock that makes it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Row:
    """Seconds per clip of one way to do a thing, and how many times the reference that takes."""

    what: str
    seconds: float
    ratio: float
    note: str = ""


def wait(device: "torch.device") -> None:
    """Let an accelerator finish what it was given; a clock that stops before measures nothing."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def clock(work: Callable[[], object]) -> float:
    """Seconds that `work` takes, once."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
