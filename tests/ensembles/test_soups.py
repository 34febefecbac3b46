"""The mean of several runs' weights beside the mean of their outputs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tla import ensemble, ensembles
from tla.ensembles import drawing
from tla.ensembles.measuring import WEIGHTS, Members
from tla.ensembles.soups import averaged_weights, windows
from tla.launch.study import train_missing
from tla.options import Augment, Place, Recipe, Study


def test_each_member_is_averaged_as_often_as_any_other() -> None:
    assert windows(2) == [(0, 1)]
    for count in (3, 5, 6):
        tried = windows(count)
        assert len(set(tried)) == len(tried) == count * (count - 2) + 1
        for size in range(2, count):
            some = [which for which in tried if len(which) == size]
            assert np.bincount(np.concatenate(some)).tolist() == [size] * count
        assert {which for which in tried if len(which) == count - 1} == {
            tuple(m for m in range(count) if m != left) for left in range(count)
        }, "each without one member, for the interval"


def test_averaged_weights_that_are_the_mean_of_the_logits_score_as_these() -> None:
    rng = np.random.default_rng(0)
    logits, labels = 2 * rng.normal(size=(3, 40, 4)), rng.integers(0, 4, 40)
    made = {which: logits[list(which)].mean(axis=0) for which in windows(3)}
    one = Members((0, 1, 2), logits, labels, np.arange(40), np.ones(40, dtype=int), made)
    scores = ensembles.measuring.scores(one).set_index(["fold", "averaged"])
    for column in ("ensemble", "low", "high", "gain", "gain_low", "nll_ensemble", "ece_ensemble", "single", "best_single"):
        assert scores.loc[("all", WEIGHTS), column] == pytest.approx(scores.loc[("all", "logits"), column])
    other = replace(one, soups={which: -values for which, values in made.items()})
    assert ensembles.measuring.score("all", other, WEIGHTS, 15)["ensemble"] != scores.loc[("all", "logits"), "ensemble"]


def test_the_command_draws_a_third_curve_and_says_what_it_is(
    study: Study, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = replace(study, recipe=Recipe(epochs=1, lr=1e-3), augment=Augment(kind="none"), seeds=3)
    ensemble.main(quick, place)
    assert "their weights averaged, one network: " in capsys.readouterr().out
    (table,) = Path(place.figures).glob("*/table2_ensemble_of3.csv")
    made = ensembles.read(table.parent, table.stem)
    assert list(made.scores["averaged"].unique()) == ["softmax", "logits", WEIGHTS]
    mine = made.subsets[made.subsets["averaged"] == WEIGHTS]
    assert mine["size"].value_counts().to_dict() == {1: 3, 2: 3, 3: 1}
    alone = made.subsets[(made.subsets["averaged"] == "logits") & (made.subsets["size"] == 1)]
    assert mine[mine["size"] == 1]["nll"].tolist() == alone["nll"].tolist(), "a soup of one is the run"
    assert "weights averaged" in [text.get_text() for text in drawing.figure(made).axes[0].get_legend().get_texts()]

    plan = ensembles.plan(quick, place, members=3)
    runs = train_missing(plan, place)
    again = averaged_weights(runs, next(iter(plan.wanted.values())).material)
    np.testing.assert_allclose(ensembles.measure(runs, soups=again).subsets["nll"], made.subsets["nll"])
    ensemble.main(quick, place, soup=False)
    ensemble.main(quick, place, rule="best")
    assert "their weights averaged" not in capsys.readouterr().out
