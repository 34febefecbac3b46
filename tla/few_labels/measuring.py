"""Accuracy against the number of labelled clips of each class, as tidy tables.

Four tables: runs (a row per run), points (mean and interval), gaps (paired differences between the first curve and the others
at each point, with Holm's correction within a pair), worth (how many clips take another curve as far, `worth`).

A gap counts where its interval excludes none, its corrected p-value is below 5 %, and both hold for other trainings: that takes
two seeds or more, each of which has drawn its own clips, and runs that were trained to their end.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from tla.errors import UserError
from tla.few_labels.tables import PROBE, Labels
from tla.few_labels.worth import worth_of
from tla.runs import tables
from tla.runs.folder import FinishedRun
from tla.runs.scores import unbiased_rule
from tla.runs.tables import Outcomes
from tla.sound.clips import Dataset
from tla.statistics import TRAININGS, Estimate, Fold, difference, holm, share
from tla.tables import unfinished

LEVEL = 0.05  # what a corrected p-value has to be below
GAP = ["first", "second", "point", "clips", "unfinished", "accuracy", "low", "high", "covers", "p"]


@dataclass(frozen=True)
class Curves:
    """What is measured, by curve and point; points are in order."""

    runs: Mapping[str, Mapping[str, Sequence[FinishedRun]]]
    """The finished runs."""
    dataset: Dataset
    """What they drew their clips from."""
    readouts: Mapping[str, Mapping[str, Outcomes]] = field(default_factory=dict)
    """What linear probes on the same clips are right about."""
    stages: Mapping[str, Counter[str]] = field(default_factory=dict)
    """Point -> how often each stage was the one that was probed."""


def measure(curves: Curves, rule: str | None = None) -> Labels:
    """The tables, accuracy under one selection rule: by default the last epoch (nested: the chosen one)."""
    if not any(curves.runs.values()):
        raise UserError("there are no runs to measure: have a plan's runs trained first")
    rule = rule or _rule(curves)
    runs, points = [], []
    for curve, stops in curves.runs.items():
        for point, folders in stops.items():
            runs.append(tables.runs_table(folders).assign(curve=curve, point=point))
            points.append({"curve": curve, "point": point, "rule": rule, **_point(folders, rule, curves.dataset)})
    tidy = pd.concat(runs, ignore_index=True)
    tidy = tidy[["curve", "point", *(name for name in tidy if name not in ("curve", "point"))]]
    table = pd.concat([pd.DataFrame(points), _readouts(curves, pd.DataFrame(points))], ignore_index=True)
    right: dict[str, Mapping[str, Outcomes]] = {
        curve: {point: tables.outcomes(runs, rule) for point, runs in stops.items()} for curve, stops in curves.runs.items()
    }
    right |= curves.readouts
    first, *others = right
    gaps = [_gaps((first, other), right, tidy) for other in others]
    worth = [_worth((first, other), right, table) for other in others]
    return Labels(tidy, table, pd.concat(gaps, ignore_index=True), pd.concat(worth, ignore_index=True))


def _rule(curves: Curves) -> str:
    first = next(run for stops in curves.runs.values() for runs in stops.values() for run in runs)
    return unbiased_rule(first.run.protocol)


def _point(folders: Sequence[FinishedRun], rule: str, dataset: Dataset) -> dict[str, object]:
    """What runs on so many clips have come to."""
    learned = [folder.run.split(dataset).train for folder in folders]
    classes = np.mean([len(np.unique(dataset.labels[rows])) for rows in learned])
    pairs = [{(dataset.clips[row].label, dataset.clips[row].source) for row in rows.tolist()} for rows in learned]
    return {
        "clips_per_class": float(np.mean([len(rows) for rows in learned]) / classes),
        "recordings_per_class": float(np.mean([len(each) for each in pairs]) / classes),
        "runs": len(folders),
        "unfinished": unfinished(tables.runs_table(folders)),
        **_percent(tables.accuracy(folders, rule)),
        **tables.macro_columns(tables.accuracy(folders, rule, macro=True)),
    }


def _readouts(curves: Curves, points: pd.DataFrame) -> pd.DataFrame:
    """The points of linear probes: on the clips of the first curve's runs."""
    rows = []
    for curve, stops in curves.readouts.items():
        for point, outcomes in stops.items():
            same = points[points["point"] == point].iloc[0].to_dict()
            stages = ", ".join(stage for stage, _ in curves.stages[point].most_common()) if curve == PROBE else None
            about = {"curve": curve, "runs": 0, "unfinished": 0, "stage": stages}
            number = _percent(share(tables.folds_of(outcomes)))
            rows.append({**same, **about, **number, **tables.macro_columns(share(tables.folds_of(outcomes, macro=True)))})
    return pd.DataFrame(rows)


def _gaps(pair: tuple[str, str], right: Mapping[str, Mapping[str, Outcomes]], runs: pd.DataFrame) -> pd.DataFrame:
    """How far one curve is ahead of another, at each point that both have."""
    first, second = pair
    rows, clear = [], []
    for point in (point for point in right[first] if point in right[second]):
        both = tables.matched(right[first][point], right[second][point])
        gap = difference(*both)
        short = unfinished(runs[runs["curve"].isin(pair) & (runs["point"] == point)])
        about = {"first": first, "second": second, "point": point, "clips": tables.counted(both[0])["clips"]}
        rows.append({**about, "unfinished": short, **_percent(gap), "p": gap.p})
        clear.append(gap.excludes_zero and gap.covers == TRAININGS and not short)
    table = pd.DataFrame(rows, columns=GAP)
    table = table.assign(p_holm=holm(table["p"].to_list()))
    return table.assign(important=np.array(clear, dtype=bool) & (table["p_holm"] < LEVEL))


def _worth(pair: tuple[str, str], right: Mapping[str, Mapping[str, Outcomes]], points: pd.DataFrame) -> pd.DataFrame:
    """For each point of one curve, how many clips of each class take the other as far."""
    first, second = pair
    mine, theirs = (points[points["curve"] == curve].set_index("point") for curve in pair)
    rows = []
    for point, outcomes in right[first].items():
        curve: dict[float, Sequence[Fold]] = {}
        for other, theirs_there in right[second].items():
            accuracy, curve[float(theirs.loc[other, "clips_per_class"])] = tables.matched(outcomes, theirs_there)
        found = worth_of(accuracy, curve)
        rows.append(
            {
                "first": first,
                "second": second,
                "point": point,
                "clips_per_class": mine.loc[point, "clips_per_class"],
                "accuracy": mine.loc[point, "accuracy"],
                "worth": found.mean,
                "low": found.low,
                "high": found.high,
                "covers": found.covers,
                "fewest": min(curve),
                "most": max(curve),
                "unfinished": int(mine.loc[point, "unfinished"]) + int(theirs["unfinished"].sum()),
            }
        )
    return pd.DataFrame(rows)


def _percent(estimate: Estimate) -> dict[str, float | str]:
    numbers = {"accuracy": 100 * estimate.mean, "low": 100 * estimate.low, "high": 100 * estimate.high}
    return {**numbers, "covers": estimate.covers}
