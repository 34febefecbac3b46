"""Intervals and tests: what follows from a number, measured on some clips by some runs, for other clips and other trainings.

Clips cut from one recording are not independent, and a plan trained again gives another number. So recordings are drawn at
random, and so are runs where there are two seeds or more; runs and recordings of a fold are crossed: each run of the fold is
scored on all of them. The variance of a mean is then that between recordings, plus that between runs, less what both of them
count (Cameron, Gelbach and Miller 2011); its degrees of freedom are Satterthwaite's (1946). A clip's value is its mean over
runs, and every clip counts alike, whatever its fold, or as its weight has it: with 1 / (clips of its class) the mean is macro
accuracy.

- `share`: a share of clips, in [0, 1]. Wilson's interval (1927) on the number of clips over the design effect of recordings,
  cut for the degrees of freedom (Korn and Graubard 1998, Dean and Pagano 2015).
- `difference`: of two shares on the same clips. Tango's score interval (1998) in the same way, and the test that it inverts.
- `mean`: of anything else, with Student's t.
- `jackknife`, `reach`: of a number that is no mean, from what it is without each of some groups of recordings.

No interval of a share or a difference has width 0: where all clips agree, it holds the values that so many clips cannot
exclude. The design effect is drawn to that of a correlation of `PRIOR` within a recording, since few recordings, or few clips
that differ, do not determine it. There is no interval and no p-value (NaN, an empty cell) where the recordings count for
fewer than `FEWEST` of one size. What an interval covers in simulation is in docs/statistics.md.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit

CLIPS, TRAININGS = "other clips, on these runs", "other clips and other trainings"  # what an interval covers
RUNS = "other trainings"  # where no clips are needed
FEWEST = 5  # recordings of one size that an interval takes
PRIOR = 0.3  # the correlation within a recording that is taken where little is known of it
KNOWN = 3  # how many recordings that counts for
LEAST = 2  # degrees of freedom between runs from which on they are part of an interval
TYPICAL = 0.03  # the standard deviation between runs of one plan that is taken where it was not measured
MOST_SEEDS = 20  # beyond, no number of seeds is given
NONE = "none: recordings too few or all alike"  # what stands where an interval would
ROUNDING = 1e-12
Z = 1.959963984540054  # the normal quantile of 97.5 %


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval, what that covers, and for a difference the p-value of none."""

    mean: float
    low: float
    high: float
    covers: str = CLIPS
    p: float = math.nan

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} {bracketed(100 * self.low, 100 * self.high, '.1f')}"

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


class Fold(NamedTuple):
    """The runs of one fold on the clips that it holds out: values (runs, clips), and each clip's recording (clips,).

    `weights` (clips,) is what each clip counts for in the mean over all folds, up to a factor; None: alike.
    """

    values: np.ndarray
    recordings: np.ndarray
    weights: np.ndarray | None = None

    @property
    def counts(self) -> np.ndarray:
        """The weights (clips,)."""
        return np.ones(self.values.shape[1]) if self.weights is None else self.weights


def between(low: float, high: float, form: str) -> str:
    """An interval as a table has it: `1.0 to 2.0`, or why there is none."""
    return NONE if np.isnan(low) else f"{low:{form}} to {high:{form}}"


def bracketed(low: float, high: float, form: str) -> str:
    """An interval behind its number: `[1.0, 2.0]`, or why there is none."""
    return f"[{NONE}]" if np.isnan(low) else f"[{low:{form}}, {high:{form}}]"


def of_clips(values: np.ndarray, recordings: np.ndarray) -> list[Fold]:
    """Values (clips,) that no other run could have given, or of which there is one run."""
    return [Fold(np.asarray(values, dtype=np.float64)[None], np.asarray(recordings))]


# Intervals


def share(folds: Sequence[Fold]) -> Estimate:
    """The mean of values in [0, 1] that are 0 and 1, or means of such: an accuracy."""
    clips = _Clips(folds)
    count = clips.count(clips.mean * (1 - clips.mean), min((clips.sums > 0).sum(), (clips.sums < clips.sizes).sum()))
    return _estimate(clips, lambda t: _wilson(clips.mean, count * (Z / t) ** 2), _between_runs([folds]), (0.0, 1.0))


def difference(first: Sequence[Fold], second: Sequence[Fold], others: Sequence[Sequence[Fold]] = ()) -> Estimate:
    """The mean of values in [0, 1], less that of other runs on the same clips, fold by fold; its p-value is that of none.

    How far runs differ is taken to be the same in both arms, and in the others (as in a sweep), and is estimated from all.
    """
    return _gain(_Clips(less(first, second)), _between_runs([first, second], others))


def gain(folds: Sequence[Fold]) -> Estimate:
    """The mean of values in [-1, 1] that are differences already: within a run, or between a run and something fixed."""
    return _gain(_Clips(folds), _between_runs([folds]))


def mean(folds: Sequence[Fold], others: Sequence[Fold] | None = None) -> Estimate:
    """The mean of values of any size, less that of other runs. Where all are alike there is no interval."""
    arms = [folds] if others is None else [folds, others]
    clips = _Clips(folds if others is None else less(folds, others))
    error = math.sqrt(clips.variance)
    if error <= ROUNDING * max(1.0, abs(clips.mean)):
        return Estimate(clips.mean, math.nan, math.nan)
    return _estimate(clips, lambda t: (clips.mean - t * error, clips.mean + t * error), _between_runs(arms), known=0)


def less(first: Sequence[Fold], second: Sequence[Fold]) -> list[Fold]:
    """Clip by clip, the mean over the runs of one arm less that of another."""
    pairs = zip(first, second, strict=True)
    return [Fold(a.values.mean(axis=0, keepdims=True) - b.values.mean(axis=0), a.recordings, a.weights) for a, b in pairs]


class _Clips:
    """The clips of all folds, by recording: what the mean over them would vary by, were the recordings others."""

    def __init__(self, folds: Sequence[Fold]) -> None:
        self.values = np.concatenate([np.mean(fold.values, axis=0, dtype=np.float64) for fold in folds])
        clips, counts = len(self.values), np.concatenate([fold.counts for fold in folds])
        self.weights = counts / counts.mean()
        _, index = np.unique(np.concatenate([fold.recordings for fold in folds]), return_inverse=True)
        self.sums, self.sizes = (np.bincount(index, weights=w) for w in (self.weights * self.values, self.weights))
        self.mean = self.over(self.values)  # sums and sizes: (recordings,)
        self.alike = clips / self.over(self.weights)  # clips of one weight that are worth as much (Kish 1965)
        self.effective = clips**2 / float((self.sizes**2).sum())  # recordings of one size that are worth as much
        # unbiased where the clips of a recording go together; for recordings of one size it is K / (K - 1) times the plain one
        weights = np.maximum(1 - 2 * self.sizes / clips + 1 / self.effective, ROUNDING)
        self.variance = float((((self.sums - self.mean * self.sizes) ** 2) / weights).sum()) / clips**2

    def over(self, values: np.ndarray) -> float:
        """The mean of values (clips,)."""
        return float((self.weights * values).mean())

    def count(self, single: float, informative: int) -> float:
        """How many independent values of this variance the clips are worth; `informative`: how many recordings show any of it.

        Clips of one recording are worth between one and all of them; the design effect is the geometric mean of what is seen,
        and of what `PRIOR` makes it. Means over several runs vary less than single values, which is taken likewise. Weights
        that differ make the mean vary by more if it is the heavy clips whose values vary.
        """
        size = self.alike / self.effective
        most = size * float(self.weights.max()) / self.over(self.weights)
        known = min(float(informative), self.effective)
        among = self.over((self.values - self.mean) ** 2)
        seen = min(max(self.variance * self.alike / among, 1.0), most) if among > ROUNDING else 1.0
        effect = math.exp((known * math.log(seen) + KNOWN * math.log(1 + (size - 1) * PRIOR)) / (known + KNOWN))
        narrower = min(among / single, 1.0) if single > ROUNDING else 1.0
        return self.alike / effect / ((known * narrower + KNOWN) / (known + KNOWN))


class _Runs(NamedTuple):
    """What other runs add to a mean's variance; all that runs vary by; its degrees of freedom, 0 where it is not known."""

    adds: float
    seen: float
    df: int


def _between_runs(arms: Sequence[Sequence[Fold]], others: Sequence[Sequence[Fold]] = ()) -> _Runs:
    """For the mean of an arm, or the difference of two: how far runs differ, and how much of that is chance over clips."""
    if any(len(fold.values) < 2 for arm in arms for fold in arm):
        return _Runs(0.0, 0.0, 0)
    squares, chance, df = 0.0, 0.0, 0
    for fold in [fold for arm in (*arms, *others) for fold in arm if len(fold.values) > 1]:
        apart, crossed = _crossed(fold)
        squares, chance, df = squares + apart, chance + crossed, df + len(fold.values) - 1
    if df < LEAST:
        return _Runs(0.0, 0.0, 0)
    runs = 0.0  # how much of one run's variance is left in the mean
    for arm in arms:
        clips = sum(fold.counts.sum() for fold in arm)
        runs += sum(float(fold.counts.sum() / clips) ** 2 / len(fold.values) for fold in arm)
    return _Runs(runs * max(0.0, squares - chance) / df, runs * squares / df, df)


def _crossed(fold: Fold) -> tuple[float, float]:
    """Sums of squares between a fold's runs, and what of them comes from run and recording together: two-way ANOVA."""
    counts = fold.counts / fold.counts.mean()
    runs = (counts * fold.values).mean(axis=1)
    apart = float(((runs - runs.mean()) ** 2).sum())
    rest = fold.values - runs[:, None] - fold.values.mean(axis=0) + runs.mean()
    _, index = np.unique(fold.recordings, return_inverse=True)
    count = int(index.max()) + 1
    if count < 2:
        return apart, 0.0
    sums = np.stack([np.bincount(index, weights=row) for row in counts * rest])  # (runs, recordings)
    return apart, float((sums**2).sum()) / (1 - 1 / count) / fold.values.shape[1] ** 2


def _gain(clips: _Clips, runs: _Runs) -> Estimate:
    up, down = (clips.over(np.maximum(sign * clips.values, 0)) for sign in (1, -1))
    count = clips.count(up + down - clips.mean**2, (clips.sums != 0).sum())
    found = _estimate(clips, lambda t: _tango(up, down, count * (Z / t) ** 2), runs, (-1.0, 1.0))
    if math.isnan(found.low):
        return found
    over_clips = (up + down) / count  # the variance, were there no difference
    error = math.sqrt(over_clips + runs.adds)
    p = 2 * _below(-abs(clips.mean) / error, _freedom(over_clips, clips, runs)) if error else 1.0
    return replace(found, p=p)


Ends = tuple[float, float]


def _estimate(
    clips: _Clips, over_clips: Callable[[float], Ends], runs: _Runs, ends: Ends = (-math.inf, math.inf), known: int = KNOWN
) -> Estimate:
    """The interval over clips, for a quantile that stands where `Z` would, widened for other runs where these are known.

    What the number may vary by to either side adds up as squares (Zou and Donner 2008).
    """
    covers = TRAININGS if runs.df else CLIPS
    if clips.effective < FEWEST:
        return Estimate(clips.mean, math.nan, math.nan, covers)
    low, high = over_clips(Z)
    t = _quantile(_freedom(((high - low) / (2 * Z)) ** 2, clips, runs, known))
    low, high = over_clips(t)
    below, above = (math.hypot(clips.mean - end, t * math.sqrt(runs.adds)) for end in (low, high))
    return Estimate(clips.mean, max(clips.mean - below, ends[0]), min(clips.mean + above, ends[1]), covers)


def _freedom(over_clips: float, clips: _Clips, runs: _Runs, known: int = KNOWN) -> float:
    """Degrees of freedom of the variance over clips and that of runs together; infinite where a clip is its own recording."""
    own = known and len(clips.sizes) == len(clips.values)
    df = math.inf if own else clips.effective - 1 + known
    parts = over_clips**2 / df + (runs.seen**2 / runs.df if runs.df else 0.0)
    return max(1.0, (over_clips + runs.adds) ** 2 / parts) if parts else math.inf


def _quantile(df: float) -> float:
    return Z if math.isinf(df) else -float(stdtrit(df, 0.025))


def _below(t: float, df: float) -> float:
    return float(ndtr(t) if math.isinf(df) else stdtr(df, t))


def _wilson(share: float, count: float) -> Ends:
    middle, square = share + Z**2 / (2 * count), Z**2 / count
    half = Z * math.sqrt(max(share * (1 - share), 0.0) / count + square / (4 * count))
    return (middle - half) / (1 + square), (middle + half) / (1 + square)


def _tango(up: float, down: float, count: float) -> Ends:
    """The differences that a score test does not reject, where shares `up` and `down` of `count` pairs went either way."""

    def score(gap: float) -> float:
        b = -(up + down) + (2 - up + down) * gap  # of the constrained estimate of `down`, a root of 2 x^2 + b x + c
        c = -down * gap * (1 - gap)
        constrained = (math.sqrt(max(b * b - 8 * c, 0.0)) - b) / 4
        variance = (2 * constrained + gap * (1 - gap)) / count
        away = up - down - gap
        return away / math.sqrt(variance) if variance > ROUNDING**2 else math.copysign(math.inf, away) if away else 0.0

    return _root(lambda gap: score(gap) - Z), _root(lambda gap: score(gap) + Z)


def _root(falls: Callable[[float], float]) -> float:
    """Where a function that falls from -1 to 1 crosses 0."""
    low, high = -1.0, 1.0
    while high - low > 1e-10:
        middle = (low + high) / 2
        low, high = (middle, high) if falls(middle) > 0 else (low, middle)
    return (low + high) / 2


# How many seeds


def seeds_needed(away: float, over_clips: float, *, noise: float = TYPICAL, arms: int = 2, folds: int = 1) -> int | None:
    """The fewest seeds, up to `MOST_SEEDS`, with which an interval reaches less than `away` to either side; None if none do.

    `over_clips`: how far that of clips alone reaches; `noise`: the standard deviation between runs of one plan.
    """
    for seeds in range(2, MOST_SEEDS + 1):
        between = arms * noise**2 / (seeds * folds)
        clips, df = (over_clips / Z) ** 2, arms * folds * (seeds - 1)
        freedom = (clips + between) ** 2 / (between**2 / df) if between else math.inf
        if df >= LEAST and _quantile(freedom) * math.sqrt(clips + between) < away:
            return seeds
    return None


# Numbers that are no means


def deal(clusters: Sequence[str], *, most: int, least: int = 2, seed: int = 0) -> list[np.ndarray]:
    """Clips dealt into at most `most` groups of about one size and `least` clips or more, whole clusters together: row numbers.

    Which clusters meet in a group comes from the seed.
    """
    _, index, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(sizes))
    count = max(1, min(most, len(sizes), len(index) // least))
    groups: list[list[int]] = [[] for _ in range(count)]
    for cluster in order[np.argsort(-sizes[order], kind="stable")]:  # the largest first, each to the smallest group so far
        min(groups, key=lambda group: sizes[group].sum()).append(cluster)
    while len(groups) > 1 and min(sizes[group].sum() for group in groups) < least:
        groups.sort(key=lambda group: -sizes[group].sum())
        smallest = groups.pop()
        groups[-1] += smallest
    return [np.flatnonzero(np.isin(index, group)) for group in groups]


def jackknife(
    full: float, without: Sequence[np.ndarray], runs: Sequence[np.ndarray] = (), *, ends: Ends = (-math.inf, math.inf)
) -> Estimate:
    """A number with its 95 % interval, from what it is without each group of clips.

    `without` holds an array (groups,) for each set of clips that was dealt into groups by itself, a fold for instance; their
    variances and degrees of freedom add up. `runs` likewise holds what the number is for each run of a fold alone (runs,). The
    interval is cut at the ends of what the number can be, and NaN where there are no two groups.
    """
    over_clips, df = _replicates(without)
    free = sum(len(values) - 1 for values in runs)
    between = sum(float(np.var(values, ddof=1)) / len(values) for values in runs) if free >= LEAST else math.nan
    covers, variance = CLIPS, float(over_clips)
    if df and not math.isnan(between):
        covers = TRAININGS
        parts = variance**2 / df + between**2 / free
        variance += between
        df = variance**2 / parts if parts else df
    either = _quantile(df) * math.sqrt(variance) if df else math.nan
    low, high = np.clip([full - either, full + either], *ends)
    return Estimate(full, float(np.minimum(low, full)), float(np.maximum(high, full)), covers)  # rounding may leave 1.0000001


def reach(without: Sequence[np.ndarray]) -> np.ndarray:
    """How far the jackknife's interval reaches to either side, for any number of numbers at once: from arrays (groups, ...)."""
    variance, df = _replicates(without)
    return _quantile(df) * np.sqrt(variance) if df else variance


def _replicates(without: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """The jackknife's variance and its degrees of freedom, which are 0 where there is none."""
    if not without or min(map(len, without)) < 2:
        return np.full(np.shape(without[0])[1:] if without else (), np.nan), 0
    variance = np.sum([(len(values) - 1) * np.var(values, axis=0) for values in without], axis=0)
    return variance, sum(len(values) - 1 for values in without)


# Several tests


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, step by step from the smallest (Holm 1979); one that is NaN counts for none."""
    tests = int(np.isfinite(p_values).sum())
    corrected, least = [np.nan] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values)[:tests]):  # NaN comes last
        least = max(least, min(1.0, (tests - rank) * p_values[index]))
        corrected[index] = least
    return corrected
