"""Where in the picture, and for which sounds, two layers agree: SVCCA's canonical variates along time, frequency and class.

A second pass over the clips projects both layers onto their canonical directions. The directions that are used for a group of
clips are fitted on all other groups, within the principal directions that SVCCA kept, so nothing here is fitted to what it is
measured on: unrelated layers agree by 0, however few the points, which is not true of the score. With few points per
direction the fit is poor and the agreement too low: it is a lower bound, as the score is an upper one. With fewer directions
the two are closer (`--keep`).

The agreement in a part (a column, a row, a class, or all) is the correlation of the two sides' variates over the part's
points, each variate centred by its mean over the part: the sum of their covariances over the root of the product of the sums
of their variances. A variate has variance 1 over all points, so each counts alike, as in the score; over all points the
agreement is the score without the part that comes from fitting. It is empty where nothing varies. A deep layer's cell depends
on more than its column and row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tla.options import Picture
from tla.similarity.controls import over_clips
from tla.similarity.methods import EPSILON
from tla.similarity.moments import Moments
from tla.similarity.stream import Couple, Passed, batches, forward, points
from tla.similarity.tables import ALL, CLASS, FLOOR, FREQUENCY, SCORE, TIME
from tla.sound import spectrograms
from tla.statistics import reach

STILL = 1e-6  # variance per point and variate (1 on average) below which nothing varies but rounding


def canonical(m: Moments) -> tuple[Tensor, Tensor]:
    """Directions (p, k) and (q, k) onto which the projections of x and y have variance 1 and are correlated pair by pair."""
    (a, u), (b, w) = m.xx.spectrum(), m.yy.spectrum()
    u, w = u / (a + EPSILON * a[0]).sqrt(), w / (b + EPSILON * b[0]).sqrt()
    left, _, right = torch.linalg.svd(torch.linalg.multi_dot([u.T, m.sxy, w]), full_matrices=False)
    return m.points**0.5 * u @ left, m.points**0.5 * w @ right.T


@dataclass(frozen=True)
class Side:
    """How one side's activations become canonical variates: (x - mean) base, turned by a matrix of each group of clips."""

    mean: Tensor
    base: Tensor
    turns: list[Tensor]

    def variates(self, x: Tensor, group: int) -> Tensor:
        """(points, k) of activations (points, channels)."""
        mean, base, turn = (part.to(x.device, x.dtype) for part in (self.mean, self.base, self.turns[group]))
        return (x - mean) @ base @ turn


class _Part:
    """Sums over the points of each index of a part (of each column for instance), by group of clips."""

    def __init__(self, indices: int, sides: Sequence[Side]) -> None:
        groups = len(sides[0].turns)
        self.indices, self.sides = indices, sides
        self.points = np.zeros((groups, indices))
        self.raw = [np.zeros((indices, len(side.mean))) for side in sides]  # over all groups
        self.variates = [[np.zeros((indices, turn.shape[1])) for turn in side.turns] for side in sides]
        self.products = np.zeros((groups, 3, indices))  # of u and v, u and u, v and v, over all variates

    def add(self, index: Tensor, group: int, xs: Sequence[Tensor], variates: Sequence[Tensor]) -> None:
        """Count in points; `index` holds where each belongs."""
        u, v = variates
        self.points[group] += self._summed(index, torch.ones_like(u[:, :1]))[:, 0]
        self.products[group] += self._summed(index, torch.stack([(u * v).sum(1), (u * u).sum(1), (v * v).sum(1)], dim=1)).T
        for i in range(2):
            self.raw[i] += self._summed(index, xs[i])
            self.variates[i][group] += self._summed(index, variates[i])

    def agreement(self) -> tuple[np.ndarray, np.ndarray]:
        """Over all groups (indices,), and without each (groups, indices)."""
        products = np.stack([self._centred(group) for group in range(len(self.points))])  # (groups, 3, indices)
        cells = self.points * np.array([[turn.shape[1]] for turn in self.sides[0].turns])  # points times variates
        whole, size = products.sum(axis=0), cells.sum(axis=0)
        return _correlation(whole, size), _correlation(np.moveaxis(whole - products, 1, 0), size - cells)

    def _centred(self, group: int) -> np.ndarray:
        """A group's products (3, indices) about the means over all groups of each index."""
        count = np.maximum(self.points.sum(axis=0), 1)[:, None]
        means = [
            side.variates(torch.from_numpy(raw / count), group).numpy() for raw, side in zip(self.raw, self.sides, strict=True)
        ]
        sums, n = [totals[group] for totals in self.variates], self.points[group]
        pairs = ((0, 1), (0, 0), (1, 1))
        moved = [n * (means[i] * means[j]).sum(1) - (means[i] * sums[j] + means[j] * sums[i]).sum(1) for i, j in pairs]
        return self.products[group] + np.stack(moved)

    def _summed(self, index: Tensor, values: Tensor) -> np.ndarray:
        totals = torch.zeros(self.indices, values.shape[1], dtype=torch.float64, device=values.device)
        return totals.index_add_(0, index, values.double()).cpu().numpy()


def _correlation(products: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """From products (3, ...); NaN where nothing varies."""
    both, first, second = products
    varies = np.minimum(first, second) > STILL * cells
    return np.where(varies, both, np.nan) / np.sqrt(np.where(varies, first * second, 1.0))


def resolve(
    before: Passed,
    after: Passed,
    couples: Sequence[Couple],
    sides: dict[str, tuple[Side, Side]],
    pictures: np.ndarray,
    groups: Sequence[np.ndarray],
    labels: np.ndarray,
    *,
    pool: bool = False,
    advance: Callable[[int], None] = lambda clips: None,
) -> list[dict[str, Any]]:
    """Rows (layer, part, index, group, agreement), group 0 for all groups of clips and the others without that group."""
    resolved = [couple for couple in couples if couple.name in sides]
    shapes = {couple.name: (1, 1) if pool or not couple.after.positions else couple.after.positions for couple in resolved}
    parts = {
        name: {
            part: _Part(indices, sides[name])
            for part, indices in ((ALL, 1), (CLASS, int(labels.max()) + 1), (TIME, width), (FREQUENCY, height))
        }
        for name, (height, width) in shapes.items()
    }
    rng = np.random.default_rng(0)
    for group, clips in enumerate(groups):
        for rows in batches(clips, rng):

            def take(name: str, x: Tensor, y: Tensor, group: int = group, rows: np.ndarray = rows) -> None:
                xs = [points(values, pool=pool).float() for values in (x, y)]
                variates = [side.variates(values, group) for side, values in zip(sides[name], xs, strict=True)]
                for part, index in _indices(labels[rows], shapes[name], x.device).items():
                    parts[name][part].add(index, group, xs, variates)

            forward(before, after, resolved, pictures[rows], take)
            advance(len(rows))
    return [row for name, mine in parts.items() for part, sums in mine.items() for row in _rows(name, part, sums)]


def _indices(labels: np.ndarray, shape: tuple[int, ...], device: torch.device) -> dict[str, Tensor]:
    """Where each point of some clips belongs, part by part: points are clip by clip, row by row."""
    height, width = shape
    clips, rows, columns = torch.meshgrid(torch.from_numpy(labels), torch.arange(height), torch.arange(width), indexing="ij")
    every = {ALL: torch.zeros_like(clips), CLASS: clips, TIME: columns, FREQUENCY: rows}
    return {part: index.reshape(-1).to(device) for part, index in every.items()}


def _rows(layer: str, part: str, sums: _Part) -> list[dict[str, Any]]:
    if part in (TIME, FREQUENCY) and sums.indices == 1:
        return []  # averaged away
    whole, without = sums.agreement()
    return [
        {"layer": layer, "part": part, "index": index, "group": group, "agreement": values[index]}
        for group, values in enumerate([whole, *without])
        for index in range(sums.indices)
        if sums.points[:, index].any()
    ]


def summary(rows: pd.DataFrame, picture: Picture, classes: Sequence[str]) -> pd.DataFrame:
    """A row per curve, layer, part and index: mean agreement over runs with its interval; its seconds, hertz, or class.

    From rows of runs (curve, fold, seed, layer, stage, order, part, index, group, agreement).
    """
    key = ["layer", "part", "index"]
    places = rows.drop_duplicates(["curve", *key])[["curve", "stage", "order", *key]]
    scores = rows.assign(layer=rows[key].agg(tuple, axis=1))
    means = over_clips(scores.rename(columns={"agreement": SCORE}).assign(**{FLOOR: 0.0}))
    half = pd.Series(reach([table.to_numpy() for table in means.without]), index=means.full.index)
    at = [(SCORE, curve, tuple(place)) for curve, *place in places[["curve", *key]].itertuples(index=False)]
    mean, either = (series.loc[at].to_numpy() for series in (means.full, half))
    indices = places.groupby(["layer", "part"])["index"].transform("max") + 1
    table = places.assign(agreement=mean, low=np.maximum(mean - either, -1), high=np.minimum(mean + either, 1))
    where = [
        _place(part, index, count, picture, classes)
        for part, index, count in zip(places["part"], places["index"], indices, strict=True)
    ]
    return table.assign(seconds=[s for s, _, _ in where], hertz=[h for _, h, _ in where], name=[n for _, _, n in where])


def _place(part: str, index: int, count: int, picture: Picture, classes: Sequence[str]) -> tuple[float, float, str]:
    """Seconds, hertz and name of an index, as far as its part has them: the middle of the cell's share of the picture."""
    middle = (index + 0.5) / count
    if part == TIME:
        times = spectrograms.column_seconds(picture)
        return float(np.interp(middle * len(times) - 0.5, np.arange(len(times)), times)), np.nan, ""
    if part == FREQUENCY:
        hertz = spectrograms.mel_frequencies(picture)
        return np.nan, float(np.interp(middle * len(hertz) - 0.5, np.arange(len(hertz)), hertz)), ""
    return np.nan, np.nan, classes[index] if part == CLASS else ""
