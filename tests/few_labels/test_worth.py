"""How many clips take one curve as far as another: known answers, ends, and how often the interval holds the truth."""

import math

import numpy as np
import pytest

from tla.few_labels.worth import worth_of
from tla.statistics import CLIPS, TRAININGS, Fold


def right(share: float, clips: int = 200, seeds: int = 1) -> list[Fold]:
    values = np.tile(np.arange(clips) < round(share * clips), (seeds, 1)).astype(float)
    return [Fold(values, np.arange(clips))]


CURVE = {1.0: right(0.3), 10.0: right(0.7), 100.0: right(0.9)}


def test_it_lies_straight_between_two_points_on_the_axis_of_the_logarithm() -> None:
    assert worth_of(right(0.7), CURVE).mean == pytest.approx(10)
    assert worth_of(right(0.5), CURVE).mean == pytest.approx(10**0.5)
    assert worth_of(right(0.85), CURVE).mean == pytest.approx(10**1.75)
    assert worth_of(right(0.3), CURVE).mean == pytest.approx(1)
    assert worth_of(right(0.9), CURVE).mean == pytest.approx(100)


def test_beyond_the_ends_nothing_is_known() -> None:
    above, below = worth_of(right(0.99), CURVE), worth_of(right(0.1), CURVE)
    assert (above.mean, above.low, above.high) == (math.inf,) * 3
    assert (below.mean, below.low, below.high) == (0,) * 3
    near = worth_of(right(0.905), CURVE)
    assert near.mean == near.high == math.inf
    assert 50 < near.low < 100
    assert worth_of(right(0.3), {5.0: right(0.3)}).mean == pytest.approx(5)


def test_the_first_crossing_counts_and_the_interval_holds_it() -> None:
    curve = {1.0: right(0.3), 10.0: right(0.7), 20.0: right(0.65), 100.0: right(0.9)}
    found = worth_of(right(0.68), curve)
    assert found.mean == pytest.approx(10 ** (0.38 / 0.4))
    assert found.low < found.mean < 20 < found.high


def test_the_interval_narrows_with_clips_and_says_what_it_covers() -> None:
    def noisy(share: float, clips: int, seeds: int, seed: int) -> list[Fold]:
        return [Fold((np.random.default_rng(seed).random((seeds, clips)) < share).astype(float), np.arange(clips))]

    widths = []
    for clips in (50, 500, 5000):
        curve = {float(10**i): noisy(share, clips, 1, i) for i, share in enumerate((0.3, 0.7, 0.9))}
        found = worth_of(noisy(0.6, clips, 1, 9), curve)
        assert found.covers == CLIPS
        widths.append(math.log(found.high / max(found.low, 1)))
    assert widths == sorted(widths, reverse=True)
    curve = {float(10**i): noisy(share, 100, 3, i) for i, share in enumerate((0.3, 0.7, 0.9))}
    assert worth_of(noisy(0.6, 100, 3, 9), curve).covers == TRAININGS


def test_too_few_recordings_have_no_interval() -> None:
    few = {clips: [Fold(folds[0].values, np.arange(200) % 2)] for clips, folds in CURVE.items()}
    found = worth_of([Fold(right(0.5)[0].values, np.arange(200) % 2)], few)
    assert found.mean == pytest.approx(10**0.5)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def drawn(rng: np.random.Generator, level: np.ndarray, seeds: int, noise: float) -> list[Fold]:
    """Runs (seeds) that are right about a clip with a probability of its own, moved by the run's draw of clips."""
    odds = level + noise * rng.normal(size=(seeds, 1))
    return [Fold((rng.random((seeds, level.shape[-1])) < odds).astype(float), np.arange(level.shape[-1]))]


@pytest.mark.parametrize("seeds", [2, 3])
def test_the_interval_holds_the_truth(seeds: int) -> None:
    """From scratch, accuracy rises by 15 points from one number of clips to the next; the truth is in the middle of two."""
    rng, held = np.random.default_rng(0), []
    for _ in range(60):
        hard = 0.1 * rng.normal(size=160)  # a clip is hard or easy for all runs
        curve = {float(k): drawn(rng, 0.3 + 0.15 * i + hard, seeds, 0.04) for i, k in enumerate((1, 2, 4, 8))}
        found = worth_of(drawn(rng, 0.525 + hard, seeds, 0.04), curve)
        held.append(found.low <= 2**1.5 <= found.high)
    assert np.mean(held) >= 0.9
