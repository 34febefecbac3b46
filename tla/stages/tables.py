"""The tables of a sweep over stages, and the names of curves in them that have a meaning of their own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from tla.manifest import write_tables
from tla.runs import tables
from tla.tables import lines

ENDS = "ends"  # the curve under which the two ends of a sweep stand
LONGER = "twice the training"  # the curve of that control

SweepName = Literal["fusion", "freeze", "cutoff"]
SWEEPS: tuple[SweepName, ...] = get_args(SweepName)
OPTIONS: dict[SweepName, str] = {"fusion": "--upto", "freeze": "--upto", "cutoff": "--keep"}  # that name points
FIGURES: dict[SweepName, str] = {"fusion": "fig2b_fusion", "freeze": "fig2c_freeze", "cutoff": "cutoff"}  # begin their names


@dataclass(frozen=True)
class Sweep:
    """The tables of a sweep, as `pd.read_csv` of the files beside a figure gives them too."""

    sweep: SweepName
    runs: pd.DataFrame
    points: pd.DataFrame
    steps: pd.DataFrame
    epochs: pd.DataFrame
    lines: pd.DataFrame | None = None
    """What is read out without training, if `tla.probe` left it beside the sweep."""

    def write(self, folder: Path, name: str) -> list[Path]:
        """The tables as CSV: `name.csv` holds the runs, the others are named after what they hold."""
        parts = {"": self.runs, "points": self.points, "steps": self.steps, "epochs": self.epochs}
        return write_tables(folder, name, parts)


def read(folder: Path, name: str) -> Sweep:
    """What `write` wrote; which sweep it is, the name says."""
    sweep = next(sweep for sweep, begin in FIGURES.items() if name.startswith(begin))
    runs, points, steps, epochs = (tables.read(folder / f"{name}{part}.csv") for part in ("", "_points", "_steps", "_epochs"))
    return Sweep(sweep, runs, points, steps, epochs, lines(folder))
