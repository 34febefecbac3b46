"""Sweeps over stages (Fig. 2b, 2c, section IV-B) as tidy tables.

A sweep is one or more curves; a curve has runs at some of its points, in order. Four tables come of it:
runs (a row per run), points (mean and interval), steps (paired differences between neighbouring points, with Holm's correction
within a curve), epochs (accuracy by epoch).

A step counts where its interval excludes none, its corrected p-value is below 5 %, and both say something of other trainings:
that takes two seeds or more at both points, and runs that were trained to their end. How far runs of one plan differ is learned
from all points of the curve, since two or three seeds of a point alone do not tell it.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tla.manifest import write_table
from tla.runs import tables
from tla.runs.folder import FinishedRun
from tla.stages.sweep import ENDS
from tla.statistics import TRAININGS, Estimate, difference, holm
from tla.tables import unfinished

LEVEL = 0.05  # what a corrected p-value has to be below

Curves = Mapping[str, Mapping[str, Sequence[FinishedRun]]]  # curve -> point -> runs


@dataclass(frozen=True)
class Sweep:
    """The four tables of a sweep."""

    runs: pd.DataFrame
    points: pd.DataFrame
    steps: pd.DataFrame
    epochs: pd.DataFrame
    rule: str

    def write(self, folder: Path, name: str) -> list[Path]:
        """The tables as CSV: `name.csv` holds the runs, the others say what they hold."""
        paths = []
        for suffix in ("", "points", "steps", "epochs"):
            table = getattr(self, suffix or "runs")
            paths.append(folder / f"{'_'.join(filter(None, (name, suffix)))}.csv")
            write_table(paths[-1], table)
        return paths


def measure(curves: Curves, rule: str) -> Sweep:
    """The tables of a sweep, its accuracy under one selection rule."""
    runs, points, steps, epochs = [], [], [], []
    for curve, stops in curves.items():
        for order, (point, folders) in enumerate(stops.items()):
            head = {"curve": curve, "point": point}
            runs.append(tables.runs_table(folders).assign(**head))
            about = {"order": order, "rule": rule, "runs": len(folders), "unfinished": unfinished(runs[-1])}
            cost = {"multiply_adds": folders[0].result.multiply_adds}
            points.append({**head, **about, **_percent(tables.accuracy(folders, rule)), **cost})
            epochs.append(_epochs(folders).assign(**head))
        if curve != ENDS:
            steps.append(_steps(curve, stops, rule))
    tidy = pd.concat(runs, ignore_index=True)
    tidy = tidy[["curve", "point", *(name for name in tidy if name not in ("curve", "point"))]]
    return Sweep(tidy, pd.DataFrame(points), pd.concat(steps, ignore_index=True), pd.concat(epochs, ignore_index=True), rule)


def _epochs(folders: Sequence[FinishedRun]) -> pd.DataFrame:
    """A row per run and epoch."""
    logs = [pd.DataFrame(folder.log).assign(fold=folder.run.fold, seed=folder.run.seed) for folder in folders]
    table = pd.concat(logs, ignore_index=True)[["fold", "seed", "epoch", "loss", "accuracy"]]
    return table.assign(accuracy=100 * table["accuracy"])


def _steps(curve: str, stops: Mapping[str, Sequence[FinishedRun]], rule: str) -> pd.DataFrame:
    """What each point gains over the one before it."""
    right = {point: tables.outcomes(folders, rule) for point, folders in stops.items()}
    arms = {point: tables.folds_of(study) for point, study in right.items()}
    rows, clear = [], []
    for before, after in itertools.pairwise(stops):
        pair = tables.matched(right[after], right[before])
        change = difference(*pair, others=[arm for point, arm in arms.items() if point not in (before, after)])
        clips = tables.counted(pair[0])["clips"]
        short = unfinished(tables.runs_table([*stops[before], *stops[after]]))
        head = {"curve": curve, "before": before, "after": after, "clips": clips, "unfinished": short}
        rows.append({**head, **_percent(change), "p": change.p})
        clear.append(change.excludes_zero and change.covers == TRAININGS and not short)
    columns = [
        "curve",
        "before",
        "after",
        "clips",
        "unfinished",
        "accuracy",
        "low",
        "high",
        "covers",
        "p",
        "p_holm",
        "important",
    ]
    table = pd.DataFrame(rows, columns=columns[:-2])
    table = table.assign(p_holm=holm(table["p"].to_list()))
    return table.assign(important=np.array(clear, dtype=bool) & (table["p_holm"] < LEVEL))[columns]


def _percent(estimate: Estimate) -> dict[str, float | str]:
    numbers = {"accuracy": 100 * estimate.mean, "low": 100 * estimate.low, "high": 100 * estimate.high}
    return {**numbers, "covers": estimate.covers}
