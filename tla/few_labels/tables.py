"""The tables of this question, and the names that stand in them."""

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tla.manifest import write_tables
from tla.options import RANDOM
from tla.runs import tables

ALL = "all"  # the point at which no clip is left out
PRETRAINED = "pretrained"  # the curve of networks that start so and are fine-tuned; that of those from scratch is RANDOM
PROBE, PICTURE = "probe", "picture"  # curves that train no network: linear probes of its best stage, and of the picture
TITLES = {  # of curves, in figures and prose
    PRETRAINED: "pretrained and fine-tuned",
    RANDOM: "from scratch",
    PROBE: "linear probe of the best stage",
    PICTURE: "linear probe of the picture",
}


@dataclass(frozen=True)
class Labels:
    """The four tables of the question, as `pd.read_csv` of the files beside a figure gives them too."""

    runs: pd.DataFrame
    """A row per run, with its curve and its point: how many clips of each class it learned from, or `all`."""
    points: pd.DataFrame
    """A row per curve and point: accuracy with its interval, in percent, and the clips and recordings of a class on average."""
    gaps: pd.DataFrame
    """A row per point: how far the first curve is ahead of another one there."""
    worth: pd.DataFrame
    """A row per point of the first curve: how many clips of each class take another one as far."""

    def write(self, folder: Path, name: str) -> list[Path]:
        """The tables as CSV: `name.csv` holds the runs, the others are named after what they hold."""
        return write_tables(folder, name, {"": self.runs, "points": self.points, "gaps": self.gaps, "worth": self.worth})


def read(folder: Path, name: str) -> Labels:
    """What `write` wrote."""
    return Labels(*(_read(folder / f"{name}{part}.csv") for part in ("", "_points", "_gaps", "_worth")))


def _read(path: Path) -> pd.DataFrame:
    """Points are words, even where they look like numbers."""
    table = tables.read(path)
    return table.assign(point=table["point"].astype(str))


def number(point: str) -> float:
    """What a point is ordered by."""
    return math.inf if point == ALL else float(point)
