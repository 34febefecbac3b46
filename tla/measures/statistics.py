"""Intervals and paired comparisons over clips.

Clips cut from one recording are not independent, so what is resampled is the recording (the clip's source) with all its
clips. Intervals are percentile bootstrap intervals; resampling counts come from a generator that is passed in or fixed, so
that a table redrawn is the same table. Numbers that are too dear to be computed ten thousand times are computed without each of
a few groups of recordings instead (jackknife). An interval over clips says how far the number would move with other recordings
of the same kind; how far it moves with another seed is the spread over runs, reported beside it. One recording says nothing of
others: there is no interval then, and no p-value (NaN, an empty cell in a table).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
CHUNK = 500  # resamples drawn at once, to bound memory
ALONE = "none: one recording"  # what stands where an interval would


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} {bracketed(100 * self.low, 100 * self.high, '.1f')}"

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def between(low: float, high: float, form: str) -> str:
    """An interval as a table has it: `1.0 to 2.0`, or why there is none."""
    return ALONE if np.isnan(low) else f"{low:{form}} to {high:{form}}"


def bracketed(low: float, high: float, form: str) -> str:
    """An interval behind its number: `[1.0, 2.0]`, or why there is none."""
    return f"[{ALONE}]" if np.isnan(low) else f"[{low:{form}}, {high:{form}}]"


def clustered_mean(
    values: np.ndarray, clusters: np.ndarray, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Mean of values (clips,) with an interval from resampling whole clusters (clips,), a label per clip; NaN for one."""
    values = np.asarray(values, dtype=np.float64)
    _, index = np.unique(clusters, return_inverse=True)
    sums, sizes = np.bincount(index, weights=values), np.bincount(index)  # (clusters,)
    if len(sums) < 2:
        return Estimate(float(values.mean()), np.nan, np.nan)
    rng, means = np.random.default_rng(seed), []
    for start in range(0, resamples, CHUNK):
        draws = min(CHUNK, resamples - start)
        counts = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=draws)  # (draws, clusters)
        means.append(counts @ sums / (counts @ sizes))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(values.mean()), float(low), float(high))


def deal(clusters: Sequence[str], *, most: int, least: int = 2, seed: int = 0) -> list[np.ndarray]:
    """Clips dealt into at most `most` groups of about one size and `least` clips or more, whole clusters together: row numbers.

    Which clusters meet in a group comes from the seed.
    """
    _, index, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(sizes))
    count = max(1, min(most, len(sizes), len(index) // least))
    held: list[list[int]] = [[] for _ in range(count)]
    for cluster in order[np.argsort(-sizes[order], kind="stable")]:  # the largest first, each to the smallest group so far
        min(held, key=lambda group: sizes[group].sum()).append(cluster)
    while len(held) > 1 and min(sizes[group].sum() for group in held) < least:
        held.sort(key=lambda group: -sizes[group].sum())
        smallest = held.pop()
        held[-1] += smallest
    return [np.flatnonzero(np.isin(index, group)) for group in held]


def jackknife(full: float, without: Sequence[np.ndarray], *, ends: tuple[float, float] = (-np.inf, np.inf)) -> Estimate:
    """A number with its 95 % interval, from what it is without each group of clips: t with groups - 1 degrees of freedom.

    `without` holds an array (groups,) for each set of clips that was dealt into groups by itself, a fold for instance; their
    variances and degrees of freedom add up. The interval is cut at the ends of what the number can be, and NaN where there are
    no two groups.
    """
    either = float(reach(without))
    low, high = np.clip([full - either, full + either], *ends)
    return Estimate(full, float(np.minimum(low, full)), float(np.maximum(high, full)))  # rounding may leave 1.0000001


def reach(without: Sequence[np.ndarray]) -> np.ndarray:
    """How far the jackknife's interval reaches to either side, for any number of numbers at once: from arrays (groups, ...)."""
    from scipy.stats import t

    if not without or min(map(len, without)) < 2:
        return np.full(np.shape(without[0])[1:] if without else (), np.nan)
    variance = np.sum([(len(values) - 1) * np.var(values, axis=0) for values in without], axis=0)
    return t.ppf(0.975, sum(len(values) - 1 for values in without)) * np.sqrt(variance)


def sign_flip_test(values: np.ndarray, clusters: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Two-sided p-value for a mean of zero: the signs of whole clusters' sums are flipped at random.

    Exact in expectation if a cluster's difference is as likely to fall one way as the other where there is no effect. NaN for
    one cluster.
    """
    _, index = np.unique(clusters, return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(values, dtype=np.float64))
    if len(sums) < 2:
        return np.nan
    rng, observed, beyond = np.random.default_rng(seed), abs(sums.sum()), 0
    for start in range(0, resamples, CHUNK):
        signs = rng.choice([-1.0, 1.0], size=(min(CHUNK, resamples - start), len(sums)))
        beyond += int((np.abs(signs @ sums) >= observed - 1e-12).sum())
    return (beyond + 1) / (resamples + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, step by step from the smallest (Holm 1979); one that is NaN counts for none."""
    tests = int(np.isfinite(p_values).sum())
    corrected, least = [np.nan] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values)[:tests]):  # NaN comes last
        least = max(least, min(1.0, (tests - rank) * p_values[index]))
        corrected[index] = least
    return corrected
