"""Sweeps over stages (Fig. 2b, 2c, section IV-B) as tidy tables.

A sweep is one or more curves; a curve has runs at some of its points, in order. Four tables come of it:
runs (a row per run), points (mean and interval), steps (paired differences between neighbouring points, with Holm's correction
within a curve), epochs (accuracy by epoch).

A step counts where its interval excludes none, its corrected p-value is below 5 %, and both hold for other trainings:
that takes two seeds or more at both points, and runs that were trained to their end. How far runs of one plan differ is
estimated from all points of the curve, since two or three seeds of one point are too few for that.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tla.runs import tables
from tla.runs.folder import FinishedRun
from tla.runs.scores import unbiased_rule
from tla.stages.tables import ENDS, Sweep, SweepName
from tla.statistics import TRAININGS, Estimate, difference, holm
from tla.tables import unfinished

LEVEL = 0.05  # what a corrected p-value has to be below
STEP = ["curve", "before", "after", "clips", "unfinished", "accuracy", "low", "high", "covers", "p"]  # a step's columns


@dataclass(frozen=True)
class Curves:
    """The finished runs of a sweep: curve -> point -> runs. Points are in the order of the network."""

    sweep: SweepName
    runs: Mapping[str, Mapping[str, Sequence[FinishedRun]]]


def measure(curves: Curves, rule: str | None = None) -> Sweep:
    """The tables of a sweep, its accuracy under one selection rule: by default the last epoch (nested: the chosen one)."""
    rule = rule or _rule(curves)
    runs, points, steps, epochs = [], [], [], []
    for curve, stops in curves.runs.items():
        for order, (point, folders) in enumerate(stops.items()):
            head = {"curve": curve, "point": point}
            runs.append(tables.runs_table(folders).assign(**head))
            about = {"order": order, "rule": rule, "runs": len(folders), "unfinished": unfinished(runs[-1])}
            cost = {"multiply_adds": folders[0].result.multiply_adds}
            macro = tables.macro_columns(tables.accuracy(folders, rule, macro=True))
            points.append({**head, **about, **_percent(tables.accuracy(folders, rule)), **macro, **cost})
            epochs.append(_epochs(folders).assign(**head))
        if curve != ENDS:
            steps.append(_steps(curve, stops, rule))
    tidy = pd.concat(runs, ignore_index=True)
    tidy = tidy[["curve", "point", *(name for name in tidy if name not in ("curve", "point"))]]
    parts = tidy, pd.DataFrame(points), pd.concat(steps, ignore_index=True), pd.concat(epochs, ignore_index=True)
    return Sweep(curves.sweep, *parts)


def _rule(curves: Curves) -> str:
    first = next(run for stops in curves.runs.values() for runs in stops.values() for run in runs)
    return unbiased_rule(first.run.protocol)


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
    table = pd.DataFrame(rows, columns=STEP)
    table = table.assign(p_holm=holm(table["p"].to_list()))
    return table.assign(important=np.array(clear, dtype=bool) & (table["p_holm"] < LEVEL))


def _percent(estimate: Estimate) -> dict[str, float | str]:
    numbers = {"accuracy": 100 * estimate.mean, "low": 100 * estimate.low, "high": 100 * estimate.high}
    return {**numbers, "covers": estimate.covers}
