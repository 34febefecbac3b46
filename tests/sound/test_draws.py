"""A few clips of each class: nested, by recording, and the same however they are listed."""

import numpy as np
import pytest

from tla.sound.draws import draw

LABELS = [0] * 12 + [1] * 6
SOURCES = [f"r{row // 3}" for row in range(18)]  # three clips to a recording
NAMES = [f"{row}.wav" for row in range(18)]
ROWS = list(range(18))


def test_a_draw_has_as_many_of_each_class_or_all_that_there_are() -> None:
    for per_class, counts in ((1, [1, 1]), (4, [4, 4]), (6, [6, 6]), (9, [9, 6]), (99, [12, 6])):
        rows = draw(LABELS, SOURCES, NAMES, ROWS, per_class, "0/1")
        assert np.bincount(np.array(LABELS)[rows]).tolist() == counts
        assert rows.tolist() == sorted(set(rows.tolist()))
    assert set(draw(LABELS, SOURCES, NAMES, [3, 4, 12, 17], 2, "0/1")) == {3, 4, 12, 17}


@pytest.mark.parametrize("seed", ["0/1", "1/1", "0/2"])
def test_a_larger_draw_holds_the_smaller_and_breaks_one_recording_of_a_class_at_most(seed: str) -> None:
    smaller: set[int] = set()
    for per_class in range(1, 13):
        rows = set(draw(LABELS, SOURCES, NAMES, ROWS, per_class, seed).tolist())
        assert smaller < rows or len(rows) == 18
        smaller = rows
        for label in (0, 1):
            taken = np.unique([SOURCES[row] for row in rows if LABELS[row] == label], return_counts=True)[1]
            assert (taken < 3).sum() <= 1


def test_it_depends_on_seed_and_names_and_on_no_order() -> None:
    order = np.random.default_rng(0).permutation(18)
    shuffled = draw(*([part[row] for row in order] for part in (LABELS, SOURCES, NAMES)), ROWS, 2, "0/1")
    names = {NAMES[row] for row in draw(LABELS, SOURCES, NAMES, ROWS, 2, "0/1")}
    assert {NAMES[order[row]] for row in shuffled} == names
    others = [{NAMES[row] for row in draw(LABELS, SOURCES, NAMES, ROWS, 2, f"{seed}/1")} for seed in range(1, 6)]
    assert sum(other != names for other in others) >= 4


def test_every_recording_comes_first_as_often() -> None:
    first = [SOURCES[draw(LABELS, SOURCES, NAMES, ROWS[:12], 1, f"{seed}/1")[0]] for seed in range(400)]
    counts = np.unique(first, return_counts=True)[1]
    assert len(counts) == 4
    assert abs(counts - 100).max() < 30  # 3.5 standard deviations
