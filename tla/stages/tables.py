"""The tables of a sweep over stages, and the names of curves in them that have a meaning of their own."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tla.manifest import write_tables

ENDS = "ends"  # the curve under which the two ends of a sweep stand
LONGER = "twice the training"  # the curve of that control


@dataclass(frozen=True)
class Sweep:
    """The four tables of a sweep."""

    runs: pd.DataFrame
    points: pd.DataFrame
    steps: pd.DataFrame
    epochs: pd.DataFrame

    def write(self, folder: Path, name: str) -> list[Path]:
        """The tables as CSV: `name.csv` holds the runs, the others are named after what they hold."""
        parts = {"": self.runs, "points": self.points, "steps": self.steps, "epochs": self.epochs}
        return write_tables(folder, name, parts)
