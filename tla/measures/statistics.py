"""Intervals and paired comparisons over clips.

Clips cut from one recording are not independent, so what is resampled is the recording (the clip's source) with all its
clips. Intervals are percentile bootstrap intervals; resampling counts come from a generator that is passed in or fixed, so
that a table redrawn is the same table. An interval over clips says how far the number would move with other recordings of
the same kind; how far it moves with another seed is the spread over runs, reported beside it.
"""

from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
CHUNK = 500  # resamples drawn at once, to bound memory


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def clustered_mean(
    values: np.ndarray, clusters: np.ndarray, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Mean of values (clips,) with an interval from resampling whole clusters (clips,), a label per clip."""
    values = np.asarray(values, dtype=np.float64)
    _, index = np.unique(clusters, return_inverse=True)
    sums, sizes = np.bincount(index, weights=values), np.bincount(index)  # (clusters,)
    rng, means = np.random.default_rng(seed), []
    for start in range(0, resamples, CHUNK):
        draws = min(CHUNK, resamples - start)
        counts = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=draws)  # (draws, clusters)
        means.append(counts @ sums / (counts @ sizes))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(values.mean()), float(low), float(high))
