"""Intervals that cover what they say, and know which clips belong together."""

import numpy as np
import pytest

from tla.measures.statistics import Estimate, clustered_mean


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
