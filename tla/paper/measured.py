"""A part of a claim as it was measured: a number with its interval, what it stands on, and the rules that judge it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from tla.statistics import TRAININGS, Estimate

Verdict = Literal["holds", "does not hold", "not enough evidence", "not trained to the end"]
HOLDS: Verdict = "holds"
FAILS: Verdict = "does not hold"
OPEN: Verdict = "not enough evidence"
SHORT: Verdict = "not trained to the end"

Unit = Literal["points", "%", "similarity"]
Lack = Literal["no runs", "no fold", "no table", "nothing"]  # what there is in place of a number
Region = tuple[float, float]
GAINS: Region = (0.0, math.inf)
LOSES: Region = (-math.inf, 0.0)
NOTHING: Region = (-math.inf, 3.0)  # adds nothing: less than 3 points
LITTLE: Region = (-math.inf, 5.0)  # costs only 2 to 3 points: less than 5, with room for two more

REACH = 3.0  # points to each side that an interval may have at least when the paper's size is judged

# How the table of parts has what a part holds: as several columns, or joined
COLUMNS = {
    "number": ("value", "low", "high", "covers"),
    "region": ("region_low", "region_high"),
    "doubled": ("doubled", "doubled_low", "doubled_high"),
    "by_paper_rule": ("paper_rule_value", "paper_rule_low", "paper_rule_high", "paper_rule_covers"),
}
JOINED = {"departures": "; ", "folds": ",", "seeds": " and ", "missing": "; "}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A part of a claim on one data set and backbone: the number and what it stands on, or what is missing."""

    claim: int
    part: str
    data: str
    backbone: str
    study: str
    departures: tuple[str, ...]
    """From the paper's setting; none if it is the paper's."""
    protocol: str
    rule: str
    folds: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    """How many each arm has, where these differ."""
    runs: int = 0
    unfinished: int = 0
    """Of these runs, how many were not trained to their end."""
    clips: int = 0
    sources: int = 0
    unit: Unit
    number: Estimate | None = None
    region: Region | None
    """Where the number has to lie; None: it is shown, or only its size is judged."""
    doubled: Estimate | None = None
    """The same with twice the training, where there are such runs."""
    paper: float | None = None
    """The size that the paper states, and our number under the rule that it is compared by."""
    paper_rule: str
    by_paper_rule: Estimate | None = None
    missing: tuple[str, ...] = ()
    command: str = ""
    """That makes what is missing, or trains the runs to their end."""
    lack: Lack = "nothing"

    @property
    def verdict(self) -> Verdict | None:
        """None where only the size is judged, or nothing."""
        if self.region is None:
            return None
        if self.unfinished:
            return SHORT
        if self.number is None or math.isnan(self.number.low) or self.number.covers != TRAININGS:
            return OPEN
        return lies_in(self.number, self.region)

    @property
    def size(self) -> Verdict | None:
        """Whether the size that the paper states agrees; None where that cannot be asked."""
        if self.departures or self.paper is None or self.unfinished:
            return None
        ours = self.by_paper_rule
        if ours is None or math.isnan(ours.low) or ours.covers != TRAININGS:
            return OPEN
        return agreement(ours, self.paper, level=self.unit == "%")


def table(parts: Iterable[Measured]) -> pd.DataFrame:
    """One row per measured part, with its verdict."""
    return pd.DataFrame([_row(part) for part in parts])


def _row(part: Measured) -> dict[str, object]:
    row: dict[str, object] = {}
    for name, value in vars(part).items():
        if name in COLUMNS:
            several = (value.mean, value.low, value.high, value.covers) if isinstance(value, Estimate) else value or (None,) * 4
            row |= dict(zip(COLUMNS[name], several, strict=False))
        elif name != "lack":
            row[name] = joined(part, name) if name in JOINED else value
    return row | {"verdict": part.verdict, "size": part.size}


def joined(part: Measured, name: str) -> str:
    """What a part has several of, as a text: its folds for instance."""
    return JOINED[name].join(map(str, getattr(part, name)))


def lies_in(number: Estimate, region: Region) -> Verdict:
    """Whether a number with this interval lies in a region."""
    if region[0] < number.low and number.high < region[1]:
        return HOLDS
    return FAILS if number.high <= region[0] or region[1] <= number.low else OPEN


def agreement(number: Estimate, stated: float, *, level: bool = False) -> Verdict:
    """Whether the size that the paper states, of a difference or of a level, agrees with this interval."""
    if not number.low <= stated <= number.high:
        return FAILS
    reach = REACH if level else max(REACH, abs(stated) / 2)
    return HOLDS if (number.high - number.low) / 2 <= reach else OPEN
