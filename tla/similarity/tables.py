"""The tables of how much layers changed, and the names that stand in them; drawing takes them from here."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from tla.manifest import write_tables
from tla.runs import tables

PRETRAINED, RANDOM, SEEDS = "pretrained", "random", "two seeds"  # the curves of a study with its controls
SCORE, FLOOR = "score", "floor"
SVCCA, WEIGHTS = "svcca", "weights"  # measures that are treated apart
WHOLE = "everything"  # the keep rule of a measure that truncates nothing
EARLY_LATE, EARLY_LATE_ABOVE = "early - late", "early - late, above floor"  # the contrasts
STARTS, ABOVE = "pretrained - random", "score - floor"
ALL, TIME, FREQUENCY, CLASS = "all", "time", "frequency", "class"  # the parts of a table of resolved similarity


class Scale(NamedTuple):
    """What a measure is called on an axis, and between which numbers its scores lie."""

    label: str
    ends: tuple[float, float] = (0.0, 1.0)


SCALES = {  # of every measure
    SVCCA: Scale("SVCCA similarity"),
    "pwcca": Scale("PWCCA similarity"),
    "cka": Scale("linear CKA"),
    "cka-debiased": Scale("debiased linear CKA", (-1.0, 1.0)),
    "procrustes": Scale("Procrustes similarity"),
    "channel": Scale("mean channel correlation", (-1.0, 1.0)),
    WEIGHTS: Scale("relative weight change", (0.0, math.inf)),
}


@dataclass(frozen=True)
class Change:
    """The three tables, as `pd.read_csv` of the files beside a figure gives them too.

    And, if asked for, similarity resolved along time, frequency and class.
    """

    runs: pd.DataFrame
    points: pd.DataFrame
    contrasts: pd.DataFrame
    resolved: pd.DataFrame | None = None

    def write(self, folder: Path, name: str) -> list[Path]:
        """The tables as CSV: `name.csv` holds the runs, the others are named after what they hold."""
        return write_tables(folder, name, {"": self.runs, "points": self.points, "contrasts": self.contrasts})


def read(folder: Path, name: str) -> Change:
    """What `write` wrote."""
    return Change(*(tables.read(folder / f"{name}{part}.csv") for part in ("", "_points", "_contrasts")))
