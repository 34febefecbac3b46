"""What readouts suggest, held against finished runs."""

import doctest
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from tla.errors import UserError
from tla.options import Recipe, Transfer
from tla.readout import checking
from tla.readout.tables import LINEAR


def test_of_one_fold_it_is_spearmans_correlation_with_its_exact_p_value():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 1, 5))
    number, p, least = checking.correlation([(x, y)])
    expected = [spearmanr(x[0, list(order)], y[0]).statistic for order in permutations(range(5))]
    assert number == pytest.approx(expected[0])
    assert p == pytest.approx(np.mean(np.abs(expected) >= abs(expected[0]) - 1e-9))
    assert least == pytest.approx(2 / 120)


def test_stages_are_permuted_alike_in_the_folds_of_a_group_and_groups_apart():
    rng = np.random.default_rng(1)
    groups = [(rng.normal(size=(2, 3)), rng.normal(size=(2, 3))), (rng.normal(size=(1, 4)), rng.normal(size=(1, 4)))]
    ranks = [tuple(checking._centred(side) for side in group) for group in groups]
    every = [
        sum((x[:, order] * y).sum() for (x, y), order in zip(ranks, orders, strict=True))
        for orders in product(list(permutations(range(3))), list(permutations(range(4))))
    ]
    number, p, least = checking.correlation(groups)
    seen = sum((x * y).sum() for x, y in ranks)
    assert number == pytest.approx(seen / np.sqrt(np.prod([sum((side[i] ** 2).sum() for side in ranks) for i in (0, 1)])))
    assert p == pytest.approx(np.mean(np.abs(every) >= abs(seen) - 1e-9))
    assert least == pytest.approx(np.mean(np.abs(every) >= np.abs(every).max() - 1e-9))


def test_more_folds_of_one_group_give_no_smaller_p():
    order = np.arange(5.0)[None]
    assert checking.correlation([(order, order)])[2] == checking.correlation([(np.repeat(order, 9, 0),) * 2])[2]


def test_what_is_always_alike_is_no_evidence():
    number, p, _ = checking.correlation([(np.ones((1, 4)), np.arange(4.0)[None])])
    assert np.isnan(number)
    assert p == 1


def test_the_example_in_the_docstring_holds():
    done = doctest.testmod(checking)
    assert done.attempted > done.failed == 0


def rows(accuracies):
    """One group, a fold per row of accuracies; the linear readout knows the order of the first."""
    found = []
    for fold, values in enumerate(accuracies, start=1):
        for place, accuracy in enumerate(values):
            known = dict.fromkeys(checking.SCORES, 0.0) | {LINEAR: accuracies[0][place], checking.DEPTH: float(place)}
            about = {"data": "d", "backbone": "b", "sweep": "cutoff", "fold": fold, "stage": f"block{place}", "group": 0}
            found.append({**about, "accuracy": accuracy, **known})
    return pd.DataFrame(found)


def test_what_following_a_score_brings_stands_beside_the_best():
    table = checking.summary(rows([[50.0, 90.0, 60.0], [55.0, 70.0, 80.0]])).set_index("score")
    assert table.loc[LINEAR, ["chosen", "best"]].to_list() == [80.0, 85.0]
    assert table.loc[checking.DEPTH, "chosen"] == 70.0
    assert table.loc[LINEAR, ["groups", "folds", "stages"]].to_list() == [1, 2, 3]
    (line,) = checking.told(table.reset_index())
    assert "no p below 0.67 is possible with so few, so this shows nothing" in line


def test_a_finding_is_told_with_its_direction():
    values = [10.0, 20.0, 30.0, 40.0, 50.0]
    up, down = checking.summary(rows([values])), checking.summary(rows([values]).assign(linear=[5.0, 4.0, 3.0, 2.0, 1.0]))
    assert "p = 0.017: more than chance" in checking.told(up)[0]
    assert "p = 0.017: in the wrong direction" in checking.told(down)[0]


def test_runs_are_gathered_by_sweep_on_folds_that_have_all_stages(written, run, tmp_path):
    cut = [
        replace(run, transfer=Transfer(pretrained_upto=s, kept_upto=s), fold=f) for s in ("block2", "block3") for f in (1, 2)
    ]
    whole = replace(run, transfer=Transfer())
    other = replace(run, transfer=Transfer(frozen_upto="block1"), recipe=Recipe(until="epochs", epochs=2, drops=()))
    folders = [written(tmp_path, one, [1, 0, 1, 1]) for one in (*cut, whole, replace(whole, seed=1), other)]
    found = pd.DataFrame(checking._accuracies(folders[:-1]))
    assert set(zip(found["sweep"], found["fold"], found["stage"], strict=True)) == {
        ("cutoff", 1, "block2"),
        ("cutoff", 1, "block3"),
        ("cutoff", 1, "block4"),
    }
    assert (found["accuracy"] == 75).all()


def test_without_such_runs_it_says_which_are_needed(written, run, tmp_path, place):
    written(tmp_path / "runs", run, [1, 0])
    with pytest.raises(UserError, match=r"no finished cutoff, freezing or fusion runs .* `python -m tla.cutoff"):
        checking.observed(None, replace(place, runs=str(tmp_path / "runs")))
