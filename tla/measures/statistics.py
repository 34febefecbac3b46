"""Intervals and paired comparisons over clips.

Clips cut from one recording are not independent, so what is resampled is the recording (the clip's source) with all its
clips. Intervals are percentile bootstrap intervals; resampling counts come from a generator that is passed in or fixed, so
that a table redrawn is the same table. An interval over clips says how far the number would move with other recordings of
the same kind; how far it moves with another seed is the spread over runs, reported beside it.
"""

from collections.abc import Sequence
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


def sign_flip_test(values: np.ndarray, clusters: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Two-sided p-value for a mean of zero: the signs of whole clusters' sums are flipped at random.

    Exact in expectation if a cluster's difference is as likely to fall one way as the other where there is no effect.
    """
    _, index = np.unique(clusters, return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(values, dtype=np.float64))
    rng, observed, beyond = np.random.default_rng(seed), abs(sums.sum()), 0
    for start in range(0, resamples, CHUNK):
        signs = rng.choice([-1.0, 1.0], size=(min(CHUNK, resamples - start), len(sums)))
        beyond += int((np.abs(signs @ sums) >= observed - 1e-12).sum())
    return (beyond + 1) / (resamples + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, step by step from the smallest (Holm 1979)."""
    order = np.argsort(p_values)
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = least
    return corrected
