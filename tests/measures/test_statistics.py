"""Intervals that cover what they say, and know which clips belong together."""

import numpy as np
import pytest
import scipy.stats

from tla.measures.statistics import Estimate, clustered_mean, deal, jackknife


def test_the_mean_is_the_mean_and_lies_inside() -> None:
    values = np.random.default_rng(0).random(50)
    estimate = clustered_mean(values, np.arange(50))
    assert estimate.mean == values.mean()
    assert estimate.low < estimate.mean < estimate.high


def test_independent_clips_give_the_textbook_interval() -> None:
    values = np.random.default_rng(1).normal(size=400)
    estimate = clustered_mean(values, np.arange(400))
    half = 1.96 * values.std(ddof=1) / 20
    assert (estimate.high - estimate.low) / 2 == pytest.approx(half, rel=0.05)


def test_copies_of_a_clip_add_no_certainty() -> None:
    values = np.random.default_rng(2).random(40)
    once = clustered_mean(values, np.arange(40))
    often = clustered_mean(np.repeat(values, 10), np.repeat(np.arange(40), 10))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    naive = clustered_mean(np.repeat(values, 10), np.arange(400))
    assert naive.high - naive.low < 0.4 * (often.high - often.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng, hits = np.random.default_rng(3), 0
    for _ in range(200):
        sources = np.repeat(np.arange(60), 4)
        values = (rng.normal(size=60)[sources] + rng.normal(size=240)) > 0
        estimate = clustered_mean(values, sources, resamples=1000)
        hits += estimate.low <= 0.5 <= estimate.high
    assert 0.90 <= hits / 200 <= 0.99


def test_the_same_table_gives_the_same_interval_in_any_order() -> None:
    values, sources = np.random.default_rng(4).random(30), np.repeat(np.arange(10), 3)
    assert clustered_mean(values, sources) == clustered_mean(values, sources)
    assert clustered_mean(values, np.array([f"s{k}" for k in sources])) == clustered_mean(values, sources)


def test_constant_values_have_no_width_and_zero_is_seen() -> None:
    assert clustered_mean(np.ones(5), np.arange(5)) == Estimate(1.0, 1.0, 1.0)
    assert Estimate(1.0, 0.1, 2.0).excludes_zero
    assert Estimate(-1.0, -2.0, -0.1).excludes_zero
    assert not Estimate(0.1, -0.1, 0.3).excludes_zero


def test_the_jackknife_of_a_mean_is_the_classical_interval() -> None:
    values = np.random.default_rng(0).normal(3, 2, 12)
    without = np.array([np.delete(values, i).mean() for i in range(12)])
    found = jackknife(values.mean(), [without])
    low, high = scipy.stats.t.interval(0.95, 11, values.mean(), scipy.stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)
    cut = jackknife(values.mean(), [without], ends=(low + 0.1, high - 0.1))
    assert (cut.low, cut.high) == pytest.approx((low + 0.1, high - 0.1))


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
