"""Intervals that cover what they say: closed forms, worked examples, and small simulations; the large ones are in
tests/simulations.
"""

import math

import numpy as np
import pytest
import scipy.stats

from tla import statistics
from tla.statistics import (
    CLIPS,
    TRAININGS,
    Estimate,
    Fold,
    deal,
    difference,
    gain,
    holm,
    jackknife,
    mean,
    of_clips,
    seeds_needed,
    share,
)


def of(right: int, clips: int) -> list[Fold]:
    return of_clips(np.arange(clips) < right, np.arange(clips))


@pytest.mark.parametrize(("right", "clips"), [(37, 40), (20, 20), (0, 12), (1, 300), (150, 300)])
def test_clips_that_are_recordings_have_wilsons_interval(right: int, clips: int) -> None:
    found = share(of(right, clips))
    known = scipy.stats.binomtest(right, clips).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=1e-12)
    assert found.mean == pytest.approx(right / clips)


def test_a_difference_has_tangos_interval_and_mcnemars_test() -> None:
    # Tango (1998), table III: 44 pairs of which 0 and 9 went one way and the other; and 54 with 12 and 2
    pairs = np.r_[np.zeros(35), -np.ones(9)]
    found = gain(of_clips(pairs, np.arange(44)))

    def score(gap: float) -> float:
        """The statistic at a true difference, its nuisance found by maximum likelihood on a grid."""
        down = np.linspace(max(0, -gap), 1, 200_001)[1:-1]
        up = down + gap
        kept = (up >= 0) & (up + down < 1)
        down, up = down[kept], up[kept]
        with np.errstate(divide="ignore", invalid="ignore"):
            likelihood = 9 * np.log(down) + 35 * np.log(1 - up - down)
        best = np.argmax(likelihood)
        return (-9 - 44 * gap) / math.sqrt(44 * (up[best] + down[best] - gap**2))

    assert score(found.low) == pytest.approx(1.96, abs=2e-3)
    assert score(found.high) == pytest.approx(-1.96, abs=2e-3)
    assert found.p == pytest.approx(2 * scipy.stats.norm.sf(9 / math.sqrt(9)), rel=1e-9)
    turned = gain(of_clips(-pairs, np.arange(44)))
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-9)


def test_no_interval_has_width_zero() -> None:
    sources = np.repeat(np.arange(8), 5)
    for right in (np.ones(40), np.zeros(40)):
        found = share(of_clips(right, sources))
        assert 0.1 < found.high - found.low < 0.4
        assert 0 <= found.low <= found.high <= 1
    equal = gain(of_clips(np.zeros(20), np.arange(20)))
    assert equal.low < -0.15 < 0.15 < equal.high  # 20 clips cannot exclude 15 points
    assert equal.p == 1
    assert not equal.excludes_zero
    assert math.isnan(mean(of_clips(np.full(20, 3.7), np.arange(20))).low)  # of unbounded values nothing can be said


def test_more_clips_and_more_recordings_say_more() -> None:
    def width(clips: int, recordings: int) -> float:
        found = share(of_clips(np.ones(clips), np.arange(clips) % recordings))
        return found.high - found.low

    assert width(20, 20) > width(40, 40) > width(80, 80)
    assert width(40, 8) > width(40, 20) > width(40, 40)
    assert width(40, 8) < width(8, 8)


def test_copies_of_a_clip_add_next_to_no_certainty() -> None:
    right = np.random.default_rng(2).random(200) < 0.7
    once = share(of_clips(right, np.arange(200)))
    often = share(of_clips(np.repeat(right, 10), np.repeat(np.arange(200), 10)))
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.05)


@pytest.mark.parametrize("sources", [np.zeros(40), np.arange(40) % 4, np.r_[np.zeros(96), 1, 2, 3, 4]])
def test_where_recordings_are_few_or_one_is_most_there_is_none(sources: np.ndarray) -> None:
    values = np.arange(len(sources)) % 3 == 0
    for estimate in (share, gain, mean):
        found = estimate(of_clips(values, sources))
        assert np.isnan([found.low, found.high, found.p]).all()
        assert "none: recordings too few" in str(found)


def test_of_other_values_the_interval_is_students() -> None:
    values = np.random.default_rng(0).normal(3, 2, 12)
    found = mean(of_clips(values, np.arange(12)))
    low, high = scipy.stats.t.interval(0.95, 11, values.mean(), scipy.stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)


def test_runs_and_recordings_are_a_two_way_analysis_of_variance() -> None:
    values = np.random.default_rng(1).normal(size=(3, 10)) + np.arange(3)[:, None]
    apart, chance = statistics._crossed(Fold(values, np.arange(10)))
    # by hand: mean squares between runs, and of what is left of runs and recordings, each over the number of clips
    runs, clips, whole = values.mean(axis=1), values.mean(axis=0), values.mean()
    rest = sum((values[r, c] - runs[r] - clips[c] + whole) ** 2 for r in range(3) for c in range(10)) / (2 * 9)
    assert apart / 2 == pytest.approx(np.var(runs, ddof=1))
    assert chance / 2 == pytest.approx(rest / 10)
    seen = statistics._between_runs([[Fold(values, np.arange(10))]])
    assert seen.adds == pytest.approx((np.var(runs, ddof=1) - rest / 10) / 3)
    assert seen.df == 2


def test_runs_that_differ_widen_the_interval_and_one_run_says_that_it_does_not_know() -> None:
    rng = np.random.default_rng(0)
    base = (rng.random(200) < 0.8).astype(float)
    alike = [Fold(np.stack([base, base, base]), np.arange(200))]
    better = np.where(rng.random(200) < 0.4, 1.0, base)
    apart = [Fold(np.stack([base, base, better]), np.arange(200))]
    one, same, noisy = share([Fold(base[None], np.arange(200))]), share(alike), share(apart)
    assert (one.covers, same.covers, noisy.covers) == (CLIPS, TRAININGS, TRAININGS)
    assert (same.low, same.high) == pytest.approx((one.low, one.high))
    edge = share([Fold(np.stack([np.ones(200), np.ones(200), better]), np.arange(200))])
    assert edge.high == 1  # an interval ends where the number does
    assert noisy.high - noisy.low > 1.4 * (same.high - same.low)
    assert difference(apart, [Fold(base[None], np.arange(200))]).covers == CLIPS  # it takes two seeds in both arms
    here, there = difference(apart, alike), gain(of_clips(apart[0].values.mean(axis=0) - base, np.arange(200)))
    assert here.p > 3 * there.p  # the test takes runs in as the interval does
    loud = [Fold(np.stack([np.ones(200), np.zeros(200)]), np.arange(200))]
    assert difference(loud, alike).p > 0.2  # runs that are all right and all wrong tell nothing
    two = [Fold(np.stack([base, better]), np.arange(200))]
    assert share(two).covers == CLIPS  # one degree of freedom is too few
    assert difference(two, two).covers == TRAININGS
    assert share([*two, Fold(two[0].values, np.arange(200) + 200)]).covers == TRAININGS  # two folds, two runs each


def test_noise_between_runs_is_learned_from_other_arms_too() -> None:
    rng = np.random.default_rng(0)
    arms = [[Fold((rng.random((2, 100)) < 0.8 + noise).astype(float), np.arange(100))] for noise in (0.0, 0.0, 0.1, -0.4)]
    loud = [Fold(np.stack([np.ones(100), np.zeros(100)]), np.arange(100))]
    alone, beside = difference(*arms[:2]), difference(*arms[:2], others=[loud])
    assert beside.high - beside.low > 1.5 * (alone.high - alone.low)
    assert beside.p > alone.p


@pytest.mark.parametrize(("clips", "recordings", "accuracy"), [(160, 100, 0.85), (40, 8, 0.7), (80, 80, 0.98)])
def test_a_share_covers_what_it_says(clips: int, recordings: int, accuracy: float) -> None:
    rng, hits = np.random.default_rng(3), 0
    sources = np.arange(clips) % recordings
    for _ in range(400):
        chance = rng.beta(accuracy * 0.7 / 0.3, (1 - accuracy) * 0.7 / 0.3, recordings)  # correlation 0.3 within a recording
        found = share(of_clips(rng.random(clips) < chance[sources], sources))
        hits += found.low <= accuracy <= found.high
    assert 0.92 <= hits / 400 <= 0.99


def test_the_same_clips_give_the_same_interval_in_any_order() -> None:
    values, sources = np.random.default_rng(4).random(30) < 0.6, np.repeat(np.arange(10), 3)
    order = np.random.default_rng(5).permutation(30)
    named = np.array([f"s{k}" for k in sources])
    one, other = share(of_clips(values, sources)), share(of_clips(values[order], named[order]))
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-12)


def test_weights_are_what_clips_count_for_and_equal_ones_change_nothing() -> None:
    rng = np.random.default_rng(0)
    values, recordings = (rng.random((2, 60)) < 0.8).astype(float), np.arange(60) // 2
    plain, alike = [Fold(values, recordings)], [Fold(values, recordings, np.full(60, 0.25))]
    assert share(alike) == share(plain)
    other = [Fold(values[::-1] * np.resize([0, 1], 60), recordings, np.full(60, 0.25))]
    assert difference(alike, other) == difference(plain, [fold._replace(weights=None) for fold in other])
    weights = np.where(np.arange(60) < 50, 1 / 50, 1 / 10)  # two classes, of 50 clips and of 10
    macro = share([Fold(values, recordings, weights)])
    assert macro.mean == pytest.approx((values[:, :50].mean() + values[:, 50:].mean()) / 2)
    assert macro.high - macro.low > share(plain).high - share(plain).low
    few = [Fold(values, recordings, np.where(np.arange(60) < 6, 1.0, 1e-9))]  # three recordings are all that counts
    assert np.isnan(share(few).low)


@pytest.mark.parametrize(
    ("sizes", "accuracies"),
    [([100] * 9 + [5], [0.98] * 9 + [0.5]), ([100, 10], [0.95, 0.6]), ([60, 40, 30, 20, 20, 10, 10], [0.85] * 7)],
)
def test_macro_accuracy_covers_what_it_says(sizes: list[int], accuracies: list[float]) -> None:
    """Also where the rare classes are the hard ones, whose few clips then decide."""
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(len(sizes)), sizes)
    held = 0
    for _ in range(300):
        right = (rng.random(len(labels)) < np.array(accuracies)[labels]).astype(float)
        estimate = share([Fold(right[None], np.arange(len(labels)), 1 / np.array(sizes)[labels])])
        held += estimate.low <= np.mean(accuracies) <= estimate.high
    assert 0.92 <= held / 300 <= 0.995


def test_zero_is_seen() -> None:
    assert Estimate(1.0, 0.1, 2.0).excludes_zero
    assert Estimate(-1.0, -2.0, -0.1).excludes_zero
    assert not Estimate(0.1, -0.1, 0.3).excludes_zero


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_seeds_that_are_needed() -> None:
    assert seeds_needed(0.20, 0.04) == 2
    few, more = seeds_needed(0.06, 0.02), seeds_needed(0.04, 0.02)
    assert few is not None
    assert more is not None
    assert 2 < few < more
    assert seeds_needed(0.04, 0.04) is None  # no number of seeds replaces clips
    assert seeds_needed(0.04, 0.02, folds=5) < more

    def reached(s: int) -> float:
        between, clips = 2 * 0.03**2 / s, (0.02 / 1.96) ** 2
        df = (clips + between) ** 2 / (between**2 / (2 * (s - 1)))
        return float(scipy.stats.t.ppf(0.975, df)) * math.sqrt(clips + between)

    assert reached(more) < 0.04 <= reached(more - 1)
    quiet = seeds_needed(0.04, 0.02, noise=0.0)
    assert quiet == 2


def test_the_jackknife_of_a_mean_is_the_classical_interval() -> None:
    values = np.random.default_rng(0).normal(3, 2, 12)
    without = np.array([np.delete(values, i).mean() for i in range(12)])
    found = jackknife(values.mean(), [without])
    low, high = scipy.stats.t.interval(0.95, 11, values.mean(), scipy.stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)
    cut = jackknife(values.mean(), [without], ends=(low + 0.1, high - 0.1))
    assert (cut.low, cut.high) == pytest.approx((low + 0.1, high - 0.1))


def test_the_jackknife_with_runs_adds_their_variance() -> None:
    without, runs = np.array([0.4, 0.5, 0.6, 0.5]), np.array([0.3, 0.5, 0.7])
    found = jackknife(0.5, [without], [runs])
    clips, between = 3 * np.var(without), np.var(runs, ddof=1) / 3
    df = (clips + between) ** 2 / (clips**2 / 3 + between**2 / 2)
    assert found.covers == TRAININGS
    assert found.high == pytest.approx(0.5 + scipy.stats.t.ppf(0.975, df) * math.sqrt(clips + between))
    assert jackknife(0.5, [without], [runs[:2]]).covers == CLIPS  # two runs of one fold are too few


def test_the_jackknife_of_folds_adds_their_variances() -> None:
    rng = np.random.default_rng(1)
    folds = [rng.normal(0, 1, 10), rng.normal(5, 3, 8)]
    full = np.mean([fold.mean() for fold in folds])
    # without clip i of a fold, the mean over both folds moves by half of what the fold's mean moves by
    without = [full + np.array([np.delete(fold, i).mean() - fold.mean() for i in range(len(fold))]) / 2 for fold in folds]
    error = np.sqrt(sum(scipy.stats.sem(fold) ** 2 for fold in folds)) / 2
    found = jackknife(full, without)
    assert found.high - full == pytest.approx(scipy.stats.t.ppf(0.975, 16) * error, rel=1e-12)


def test_the_jackknife_covers_and_knows_when_it_cannot() -> None:
    rng, inside = np.random.default_rng(2), 0
    for _ in range(400):
        groups = rng.exponential(1.0, (10, 8))
        means = np.array([np.delete(groups, i, axis=0).mean() for i in range(10)])
        found = jackknife(groups.mean(), [means])
        inside += found.low <= 1.0 <= found.high
    assert 0.9 <= inside / 400 <= 0.98
    alone = jackknife(0.5, [np.array([0.5])])
    assert np.isnan(alone.low)
    assert np.isnan(alone.high)


def test_clips_are_dealt_by_whole_clusters_into_groups_of_about_one_size() -> None:
    clusters = [f"s{i // 4}" for i in range(40)] + [f"t{i}" for i in range(40)]
    groups = deal(clusters, most=10)
    assert sorted(np.concatenate(groups)) == list(range(80))
    assert [len(group) for group in groups] == [8] * 10
    of = {row: number for number, group in enumerate(groups) for row in group}
    assert all(len({of[row] for row in range(80) if clusters[row] == name}) == 1 for name in clusters)
    assert [list(g) for g in deal(clusters, most=10)] == [list(g) for g in groups]
    assert [list(g) for g in deal(clusters, most=10, seed=1)] != [list(g) for g in groups]
    assert [len(group) for group in deal(["a"] * 9 + ["b"], most=10)] == [10]  # a clip alone has nothing to be paired with
    assert sorted(len(group) for group in deal(["a"] * 9 + ["b", "c", "d"], most=10)) == [3, 9]
    assert [len(group) for group in deal(list("abcde"), most=10)] == [3, 2]
