"""The tables of how much layers changed, and the names that stand in them; drawing takes them from here."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tla.manifest import write_tables

PRETRAINED, RANDOM, SEEDS = "pretrained", "random", "two seeds"  # the curves of a study with its controls
SCORE, FLOOR = "score", "floor"
SVCCA, WEIGHTS = "svcca", "weights"  # measures that are treated apart
WHOLE = "everything"  # the keep rule of a measure that truncates nothing
EARLY_LATE, EARLY_LATE_ABOVE = "early - late", "early - late, above floor"  # the contrasts
STARTS, ABOVE = "pretrained - random", "score - floor"
ALL, TIME, FREQUENCY, CLASS = "all", "time", "frequency", "class"  # the parts of a table of resolved similarity


@dataclass(frozen=True)
class Change:
    """The three tables and, if asked for, similarity resolved along time, frequency and class."""

    runs: pd.DataFrame
    points: pd.DataFrame
    contrasts: pd.DataFrame
    resolved: pd.DataFrame | None = None

    def write(self, folder: Path, name: str) -> list[Path]:
        """The tables as CSV: `name.csv` holds the runs, the others are named after what they hold."""
        return write_tables(folder, name, {"": self.runs, "points": self.points, "contrasts": self.contrasts})
