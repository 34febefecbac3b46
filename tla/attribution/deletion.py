"""Deletion and insertion: the class's probability as tiles of a picture are silenced, and as they come back into silence.

The tiles are taken in the order of a map (the sum of its cells, so what raises the target's output most comes first), of
loudness (the mean of the log-mel cells), and at random. Areas are those under curves over the share of tiles, from 0 to 1.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from tla.attribution.starts import SILENT
from tla.statistics import mean as mean_of
from tla.statistics import of_clips

GRID = (8, 10)  # tiles along frequency and time
CUTS = 20  # points of a curve behind its first; each takes as many tiles
SHUFFLES = 5  # random rankings of a clip's tiles

Curves = dict[tuple[str, str], np.ndarray]  # (curve, ranking) -> (CUTS + 1,)


def grid(mels: int, frames: int) -> np.ndarray:
    """Which tile of the grid each cell lies in (mels, frames)."""
    bands, times = (np.arange(size) * count // size for size, count in zip((mels, frames), GRID, strict=True))
    return bands[:, None] * GRID[1] + times


def curves(
    probability: Callable[[np.ndarray], np.ndarray], picture: np.ndarray, total: np.ndarray, rng: np.random.Generator
) -> Curves:
    """What is left of a probability, or has come, after each share of the tiles (CUTS + 1,), for each curve and ranking.

    `probability` gives that of pictures (n, 3, mels, frames). Tiles that come back in a random order leave in the reverse one,
    so both random curves are made of the same pictures.
    """
    of = grid(*total.shape)
    loudness = np.bincount(of.ravel(), picture.mean(axis=0, dtype=np.float64).ravel()) / np.bincount(of.ravel())
    evidence = np.bincount(of.ravel(), total.ravel().astype(np.float64))
    whole, silent = probability(np.stack([picture, np.full_like(picture, SILENT)]))

    def after(order: np.ndarray, *, insertion: bool = False) -> np.ndarray:
        place = np.argsort(order)[of]  # when each cell's turn comes
        turns = np.arange(1, CUTS) * (order.size // CUTS)
        keeps = [(place < turn) == insertion for turn in turns]
        inner = probability(np.stack([np.where(keep, picture, SILENT) for keep in keeps]))
        ends = (silent, whole) if insertion else (whole, silent)
        return np.concatenate([ends[:1], inner, ends[1:]])

    found: Curves = {}
    for ranking, worth in (("attribution", evidence), ("loudness", loudness)):
        order = np.argsort(-worth, kind="stable")
        found["deletion", ranking], found["insertion", ranking] = after(order), after(order, insertion=True)
    random = np.mean([after(rng.permutation(evidence.size)) for _ in range(SHUFFLES)], axis=0)
    found["deletion", "random"], found["insertion", "random"] = random, random[::-1]
    return found


def areas(curves: Curves) -> list[tuple[str, str, str, float]]:
    """The area under each curve, and how much better than random each ranking is: less after deletion, more after insertion.

    Part, measure, variant and value, as in a table.
    """
    area = {which: float(np.trapezoid(curve, dx=1 / CUTS)) for which, curve in curves.items()}
    numbers = [("tiles", curve, ranking, value) for (curve, ranking), value in area.items()]
    for curve, sign in (("deletion", -1), ("insertion", 1)):
        for ranking in ("attribution", "loudness"):
            gap = sign * (area[curve, ranking] - area[curve, "random"])
            numbers.append(("tiles", f"{curve} gap", ranking, gap))
    return numbers


def table(curves: Sequence[Curves], sources: np.ndarray) -> pd.DataFrame:
    """The mean of each curve over clips, with intervals."""
    rows = []
    for curve, ranking in curves[0]:
        values = np.stack([mine[curve, ranking] for mine in curves])
        for share, column in zip(np.linspace(0, 1, CUTS + 1), values.T, strict=True):
            mean = mean_of(of_clips(column, sources))
            numbers = {"share": share, "value": mean.mean, "low": mean.low, "high": mean.high}
            rows.append({"curve": curve, "ranking": ranking, **numbers})
    return pd.DataFrame(rows)
