"""The tables of this question, and the names that stand in them."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tla.manifest import write_tables
from tla.options import RANDOM
from tla.runs import tables

PRETRAINED = "pretrained"  # the curve of runs that start so; that of those from scratch is RANDOM
START, FRESH, OTHER = "start", "fresh", "other"  # what a part of a trained network is put to
ONE, UPTO, FROM = "one", "upto", "from"  # which stages: one alone, all up to it, all from it on
STORED, ESTIMATED = "stored", "re-estimated"  # batch norm's statistics
STATISTICS = (STORED, ESTIMATED)
DASHES = {STORED: "--", ESTIMATED: "-"}  # of their lines
MARKS = {STORED: "x", ESTIMATED: "o"}
WHOLE = "whole network"  # the part of a path on which everything travels; of the others it is a stage
TRAINING, SCRATCH, SEEDS, SCRATCHES, STARTS = (
    "training",
    "training from scratch",
    "two seeds",
    "two seeds from scratch",
    "starts",
)
TITLES = {  # of curves, and of kinds of paths, in figures and prose
    PRETRAINED: "pretrained and fine-tuned",
    RANDOM: "from scratch",
    TRAINING: "start to end, pretrained",
    SCRATCH: "start to end, from scratch",
    SEEDS: "two seeds, pretrained",
    SCRATCHES: "two seeds, from scratch",
    STARTS: "pretrained to from scratch",
}
PARTS = {
    "": "each",
    "stages": "stages",
    "path": "paths",
    "barriers": "barriers",
    "svcca": "svcca",
    "ranks": "ranks",
    "runs": "runs",
}


@dataclass(frozen=True)
class Basin:
    """The tables of the question, as `pd.read_csv` of the files beside a figure gives them too."""

    each: pd.DataFrame
    """A row per network that is put together: curve, what is put to what (`to`, `span`, `stage`), statistics, run."""
    stages: pd.DataFrame
    """The same over runs, with intervals; accuracies and shares of predictions in percent, losses in nats."""
    paths: pd.DataFrame
    """A row per network on a straight line."""
    barriers: pd.DataFrame
    """How far the loss rises over the line between the ends of a path, with intervals."""
    svcca: pd.DataFrame
    """A row per run and stage: what putting it back costs, and how much SVCCA says that it changed; empty without its table."""
    ranks: pd.DataFrame
    """The rank correlation of the two, with intervals."""
    runs: pd.DataFrame
    """A row per run."""

    def write(self, folder: Path, name: str) -> list[Path]:
        """The tables as CSV: `name.csv` has a row per network, the others are named after what they hold."""
        return write_tables(folder, name, {part: getattr(self, field) for part, field in PARTS.items()})


def read(folder: Path, name: str) -> Basin:
    """What `write` wrote."""
    return Basin(*(tables.read(folder / f"{name}{'_' * bool(part)}{part}.csv") for part in PARTS))
