"""A measurement, the clock that makes it, and how rows that belong together compare."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd
    import torch


Role = Literal["ours", "limit", "obvious", ""]


@dataclass(frozen=True)
class Row:
    """Seconds per clip of one way to do a thing."""

    phase: str
    """What is done: its rows are compared with each other."""
    way: str
    seconds: float
    role: Role = ""
    """limit: the bare cost of the network; obvious: what a first script does. A phase has one of ours, and may have these."""
    note: str = ""


COLUMNS = ("phase", "ours_ms", "obvious_ms", "limit_ms", "obvious_to_ours", "ours_to_limit")


def summary(rows: Sequence[Row]) -> "pd.DataFrame":
    """A row per phase: how many times faster than the obvious way, how many times the limit."""
    import pandas as pd

    lines = []
    for phase in dict.fromkeys(row.phase for row in rows):
        ours, obvious, limit = (_seconds(rows, phase, role) for role in ("ours", "obvious", "limit"))
        lines.append((phase, 1000 * ours, 1000 * obvious, 1000 * limit, obvious / ours, ours / limit))
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _seconds(rows: Sequence[Row], phase: str, role: str) -> float:
    """Of the phase's row in a role; NaN if there is none."""
    return next((row.seconds for row in rows if (row.phase, row.role) == (phase, role)), float("nan"))


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
