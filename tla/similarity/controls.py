"""Scores of layers against their controls: mean over runs, floor and ceiling, differences, each with its interval.

A layer's floor is its score with another clip's activations on one side, its ceiling the score of two seeds of one training;
relative = (score - floor) / (ceiling - floor), empty where the interval of ceiling - floor does not lie above 0. The ceiling
is no bound: two seeds both move away from the start, a fine-tuned network is compared with the start itself, so a relative
score may be above 1.

Intervals come from leaving out one group of recordings at a time (`statistics.jackknife`), and from each run of a fold by
itself where there are several. Seeds of a fold share their clips and are averaged first; folds are independent. A number that
needs no clips has an interval over folds or, with one fold, over seeds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from tla.similarity.tables import ABOVE, EARLY_LATE, EARLY_LATE_ABOVE, FLOOR, PRETRAINED, RANDOM, SCORE, SEEDS, STARTS
from tla.statistics import RUNS, Estimate, jackknife

EARLY, LATE = ("stem", "block1"), ("block3", "block4")
UNBOUNDED = (-np.inf, np.inf)
Number = Callable[[pd.DataFrame], pd.Series]  # of each row of means
_CONTRASTS = ["contrast", "curve", "layer", "early", "late", "difference", "low", "high", "covers"]


@dataclass(frozen=True)
class Means:
    """Means over runs by (score or floor, curve, layer); tables of them without a part of the evidence, row by row, one for
    each set of parts that was dealt by itself; and tables with each seed of a fold in the place of all of its seeds.
    """

    full: pd.Series
    without: list[pd.DataFrame]
    runs: list[pd.DataFrame] = field(default_factory=list)
    covers: str | None = None
    """What the intervals are for, where it is not the clips that are left out."""

    def estimate(self, number: Number, ends: tuple[float, float] = UNBOUNDED) -> Estimate:
        """A number made of the means, with its interval."""
        whole = float(number(self.full.to_frame().T).iloc[0])
        without, runs = ([number(rows).to_numpy() for rows in tables] for tables in (self.without, self.runs))
        estimate = jackknife(whole, without, runs, ends=ends)
        return estimate if self.covers is None else replace(estimate, covers=self.covers)


def over_clips(scores: pd.DataFrame) -> Means:
    """From rows (curve, layer, fold, seed, group, score, floor), group 0 for all clips and the others without that group."""
    keys = ["curve", "layer", "fold", "group"]
    seeds = scores.groupby(keys, sort=False)[[SCORE, FLOOR]]
    means = seeds.mean().where(seeds.count().eq(seeds.size(), axis=0))  # NaN if a seed's is
    wide = means.unstack(["curve", "layer"]).sort_index()  # (fold, group) x (score | floor, curve, layer)
    full: pd.Series = wide.xs(0, level="group").mean(skipna=False)
    folds = wide.index.unique("fold")
    moved = [wide.loc[fold].drop(index=0) - wide.loc[(fold, 0)] for fold in folds]
    return Means(full, [full + change / len(folds) for change in moved], _by_seed(scores, full))


def _by_seed(scores: pd.DataFrame, full: pd.Series) -> list[pd.DataFrame]:
    """For each fold, what the means are with one of its seeds for all of them; nothing if a fold has one seed only."""
    whole = scores[scores["group"] == 0]
    wide = pd.DataFrame(whole.set_index(["fold", "seed", "curve", "layer"])[[SCORE, FLOOR]].unstack(["curve", "layer"]))
    folds = [pd.DataFrame(rows[full.index]) for _, rows in wide.groupby(level="fold")]
    if min(map(len, folds)) < 2:
        return []
    return [full + (rows - rows.mean(skipna=False)) / len(folds) for rows in folds]


def over_runs(runs: pd.DataFrame) -> Means:
    """From rows (curve, layer, fold, seed, score)."""
    part = "fold" if runs["fold"].nunique() > 1 else "seed"
    full = _by_place(runs)
    rest = [_by_place(runs[runs[part] != left_out]) for left_out in runs[part].unique()]
    return Means(full, [pd.DataFrame(rest, columns=full.index)], covers=RUNS)


def points(runs: pd.DataFrame, means: Means, ends: tuple[float, float]) -> pd.DataFrame:
    """A row per curve and layer: mean over runs, floor, relative score, each with its interval, and the spread over runs."""
    rows = []
    for (curve, layer), mine in runs.groupby(["curve", "layer"], sort=False):
        first = mine.iloc[0]
        row: dict[str, Any] = {"curve": curve, **{name: first[name] for name in ("layer", "stage", "order")}, "runs": len(mine)}
        row |= _named(SCORE, means.estimate(_at(SCORE, str(curve), str(layer)), ends)) | {"spread": mine[SCORE].std(ddof=1)}
        if (FLOOR, curve, layer) in means.full:
            row |= _named(FLOOR, means.estimate(_at(FLOOR, str(curve), str(layer)), ends))
            row |= _named("relative", _relative(means, str(curve), str(layer)))
        rows.append(row)
    return pd.DataFrame(rows)


def contrasts(runs: pd.DataFrame, means: Means) -> pd.DataFrame:
    """Differences that a reader of the figure looks for: early layers against late ones, one start against the other, score
    against floor.
    """
    stages = dict(zip(runs["layer"], runs["stage"], strict=True))
    rows = []
    for curve in runs["curve"].unique():
        here = [layer for layer in stages if np.isfinite(means.full.get((SCORE, curve, layer), np.nan))]
        early, late = ([layer for layer in here if stages[layer] in group] for group in (EARLY, LATE))
        if early and late:
            spans = {"early": _span(early, stages), "late": _span(late, stages)}
            gap, below = (_minus(_mean(what, curve, early), _mean(what, curve, late)) for what in (SCORE, FLOOR))
            rows.append({"contrast": EARLY_LATE, "curve": curve, **spans, **_difference(means, gap)})
            if all((FLOOR, curve, layer) in means.full for layer in early + late):
                above = _difference(means, _minus(gap, below))
                rows.append({"contrast": EARLY_LATE_ABOVE, "curve": curve, **spans, **above})
        for layer in here:
            place = {"curve": curve, "layer": layer}
            mine = _at(SCORE, curve, layer)
            if curve == RANDOM and np.isfinite(means.full.get((SCORE, PRETRAINED, layer), np.nan)):
                gap = _minus(_at(SCORE, PRETRAINED, layer), mine)
                rows.append({"contrast": STARTS, **place, **_difference(means, gap)})
            if (FLOOR, curve, layer) in means.full:
                rows.append({"contrast": ABOVE, **place, **_difference(means, _minus(mine, _at(FLOOR, curve, layer)))})
    return pd.DataFrame(rows, columns=_CONTRASTS)


def _by_place(runs: pd.DataFrame) -> pd.Series:
    return pd.concat({SCORE: runs.groupby(["curve", "layer"])[SCORE].mean()})


def _at(what: str, curve: str, layer: str) -> Number:
    return lambda table: table[(what, curve, layer)]


def _mean(what: str, curve: str, layers: Sequence[str]) -> Number:
    return lambda table: table[[(what, curve, layer) for layer in layers]].mean(axis=1, skipna=False)


def _minus(one: Number, other: Number) -> Number:
    return lambda table: one(table) - other(table)


def _relative(means: Means, curve: str, layer: str) -> Estimate:
    score, floor, ceiling = _at(SCORE, curve, layer), _at(FLOOR, curve, layer), _at(SCORE, SEEDS, layer)
    room = _minus(ceiling, floor)
    if curve == SEEDS or (SCORE, SEEDS, layer) not in means.full or not means.estimate(room).low > 0:
        return Estimate(np.nan, np.nan, np.nan)
    return means.estimate(lambda table: (score(table) - floor(table)) / room(table))


def _named(what: str, estimate: Estimate) -> dict[str, float | str]:
    low, high = ("low", "high") if what == SCORE else (f"{what}_low", f"{what}_high")
    covers = {"covers": estimate.covers} if what == SCORE else {}
    return {what: estimate.mean, low: estimate.low, high: estimate.high, **covers}


def _difference(means: Means, number: Number) -> dict[str, float | str]:
    estimate = means.estimate(number)
    return {"difference": estimate.mean, "low": estimate.low, "high": estimate.high, "covers": estimate.covers}


def _span(layers: Sequence[str], stages: dict[str, str]) -> str:
    return ", ".join(dict.fromkeys(stages[layer] for layer in layers))
