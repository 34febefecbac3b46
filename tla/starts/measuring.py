"""The runs of each start as tables: every run, accuracy with its interval and the paired difference, class by class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tla.manifest import write_tables
from tla.runs import classes, tables
from tla.runs.classes import Confusion
from tla.runs.folder import FinishedRun


@dataclass(frozen=True)
class Starts:
    """The tables, as `pd.read_csv` of the files beside a figure gives them too; the column `arm` names the start."""

    runs: pd.DataFrame
    """A row per run."""
    summary: pd.DataFrame
    """A row per start and selection rule, and per paired difference from the first start."""
    classes: pd.DataFrame
    """A row per class: its accuracy, and what it is most often taken for."""
    confusion: pd.DataFrame
    """A row per class and predicted class."""

    @property
    def by_class(self) -> Confusion:
        """Those from which the figure is drawn."""
        return Confusion(self.runs, self.classes, self.confusion)

    def write(self, folder: Path, name: str) -> list[Path]:
        """The tables as CSV: `name.csv` holds the runs, the others are named after what they hold."""
        parts = {"": self.runs, "summary": self.summary, "classes": self.classes, "confusion": self.confusion}
        return write_tables(folder, name, parts)


def read(folder: Path, name: str) -> Starts:
    """What `write` wrote."""
    return Starts(*(tables.read(folder / f"{name}{part}.csv") for part in ("", "_summary", "_classes", "_confusion")))


def measure(arms: Mapping[str, Sequence[FinishedRun]], rule: str | None = None) -> Starts:
    """The tables of a study's runs by the name of their start.

    Args:
        rule: The epoch at which classes are scored; by default the last one (nested protocol: the chosen one).
    """
    found = classes.measure(arms, rule)
    return Starts(found.runs, tables.summary(arms), found.classes, found.pairs)
