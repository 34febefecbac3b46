"""Scores against floor and ceiling: from tables written by hand."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from tla.similarity.controls import Means, contrasts, over_clips, over_runs, points
from tla.similarity.tables import ABOVE, EARLY_LATE, EARLY_LATE_ABOVE, PRETRAINED, RANDOM, SEEDS, STARTS
from tla.statistics import CLIPS, TRAININGS

LAYERS = {"stem": "stem", "block1": "block1", "block3": "block3", "block4": "block4"}
SCORES = {
    PRETRAINED: dict(zip(LAYERS, (0.9, 0.8, 0.5, 0.7), strict=True)),
    RANDOM: dict(zip(LAYERS, (0.6, 0.4, 0.3, 0.7), strict=True)),
    SEEDS: dict(zip(LAYERS, (1.0, 0.9, 0.6, 0.2), strict=True)),
}
FLOORS = dict(zip(LAYERS, (0.1, 0.1, 0.2, 0.4), strict=True))


def written(
    folds: tuple[int, ...] = (1,), seeds: int = 1, noise: float = 0.01, groups: int = 10
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs' table, and scores with and without each group of clips."""
    rng, rows = np.random.default_rng(0), []
    for (curve, scores), fold, seed in product(SCORES.items(), folds, range(seeds)):
        for (layer, stage), group in product(LAYERS.items(), range(groups + 1)):
            wiggle = rng.normal(0, noise) * (group > 0)
            place = {
                "curve": curve,
                "fold": fold,
                "seed": seed,
                "layer": layer,
                "stage": stage,
                "order": list(LAYERS).index(layer),
            }
            rows.append({**place, "group": group, "score": scores[layer] + 0.02 * seed + wiggle, "floor": FLOORS[layer]})
    table = pd.DataFrame(rows)
    return table[table["group"] == 0].drop(columns="group"), table


def at(table: pd.DataFrame, curve: str, layer: str) -> pd.Series:
    return table[(table["curve"] == curve) & (table["layer"] == layer)].iloc[0]


def test_means_are_over_seeds_then_folds_and_the_interval_is_the_jackknifes() -> None:
    runs, scores = written(folds=(1, 2), seeds=2)
    row = at(points(runs, over_clips(scores), (0.0, 1.0)), RANDOM, "stem")
    assert row["score"] == pytest.approx(0.61)
    assert row["runs"] == 4
    assert row["spread"] == pytest.approx(np.std([0.6, 0.62] * 2, ddof=1))
    variance = 0.0
    for _, fold in scores.groupby("fold"):
        mine = fold.query("curve == @RANDOM and layer == 'stem' and group > 0")
        variance += 9 * np.var(mine.groupby("group")["score"].mean() / 2)
    between = 2 * np.var([0.6, 0.62], ddof=1) / 2 / 4  # two folds of two seeds, and the mean over folds
    df = (variance + between) ** 2 / (variance**2 / 18 + between**2 / 2)
    assert row["high"] - row["score"] == pytest.approx(scipy.stats.t.ppf(0.975, df) * (variance + between) ** 0.5)
    assert row["covers"] == TRAININGS
    runs, scores = written(seeds=1)
    assert at(points(runs, over_clips(scores), (0.0, 1.0)), RANDOM, "stem")["covers"] == CLIPS


def test_a_relative_score_lies_between_floor_and_ceiling_where_the_ceiling_is_clear_of_the_floor() -> None:
    runs, scores = written()
    table = points(runs, over_clips(scores), (0.0, 1.0))
    row = at(table, PRETRAINED, "stem")
    assert row["relative"] == pytest.approx((0.9 - 0.1) / (1.0 - 0.1))
    assert row["relative_low"] < row["relative"] < row["relative_high"]
    assert row["floor"] == pytest.approx(0.1)
    assert np.isnan(at(table, PRETRAINED, "block4")["relative"])  # its ceiling is below its floor
    assert np.isnan(at(table, SEEDS, "stem")["relative"])
    assert (table["high"] <= 1).all()
    alone = [part[part["curve"] != SEEDS] for part in (runs, scores)]
    assert points(alone[0], over_clips(alone[1]), (0.0, 1.0))["relative"].isna().all()


def test_contrasts_are_paired() -> None:
    runs, scores = written(noise=0.0)
    common = dict(enumerate([0.0, *np.linspace(-0.05, 0.05, 10)]))  # what a group takes from all layers alike
    scores["score"] += scores["group"].map(common)
    table = contrasts(runs, over_clips(scores)).set_index(["contrast", "curve"])
    early = table.loc[[(EARLY_LATE, PRETRAINED)]].iloc[0]
    assert (early["early"], early["late"]) == ("stem, block1", "block3, block4")
    assert early["difference"] == pytest.approx(0.25)
    assert early["high"] - early["low"] == pytest.approx(0, abs=1e-9)
    assert table.loc[[(EARLY_LATE_ABOVE, PRETRAINED)]]["difference"].item() == pytest.approx(0.25 + 0.2)
    gaps = table.loc[(STARTS, RANDOM)].set_index("layer")["difference"]
    assert dict(gaps) == pytest.approx({"stem": 0.3, "block1": 0.4, "block3": 0.2, "block4": 0.0})
    assert (STARTS, SEEDS) not in table.index
    above = table.loc[(ABOVE, RANDOM)].set_index("layer")
    assert above.loc["block3", "difference"] == pytest.approx(0.1)
    assert above.loc["block3", "low"] < 0.1 < above.loc["block3", "high"]


def test_a_layer_left_out_is_left_out_of_what_is_made_of_it() -> None:
    runs, scores = written()
    for table in (runs, scores):
        table.loc[(table["curve"] == RANDOM) & (table["layer"] == "block4"), "score"] = np.nan
    found = contrasts(runs, over_clips(scores))
    late = found[(found["contrast"] == EARLY_LATE)].set_index("curve")["late"]
    assert late[RANDOM] == "block3"
    assert late[PRETRAINED] == "block3, block4"
    assert "block4" not in set(found.loc[found["contrast"] == STARTS, "layer"])
    assert np.isnan(at(points(runs, over_clips(scores), (0.0, 1.0)), RANDOM, "block4")["low"])


def test_one_seed_of_a_fold_that_could_not_be_scored_is_not_passed_over() -> None:
    runs, scores = written(folds=(1, 2), seeds=2)
    scores.loc[(scores["layer"] == "stem") & (scores["seed"] == 1) & (scores["fold"] == 2), "score"] = np.nan
    assert np.isnan(at(points(runs, over_clips(scores), (0.0, 1.0)), RANDOM, "stem")["score"])


def test_without_groups_there_is_a_score_and_no_interval() -> None:
    runs, scores = written(groups=0)
    row = at(points(runs, over_clips(scores), (0.0, 1.0)), PRETRAINED, "stem")
    assert row["score"] == pytest.approx(0.9)
    assert np.isnan(row["low"])
    assert np.isnan(row["high"])


def test_numbers_without_clips_have_an_interval_over_folds_else_seeds() -> None:
    runs, _ = written(seeds=4)
    runs = runs.drop(columns="floor")
    runs.loc[:, "score"] = np.random.default_rng(1).random(len(runs))
    table = points(runs, over_runs(runs), (0.0, np.inf))
    mine = runs.query("curve == @RANDOM and layer == 'block1'")["score"]
    row = at(table, RANDOM, "block1")
    low, high = scipy.stats.t.interval(0.95, 3, mine.mean(), scipy.stats.sem(mine))
    assert (row["low"], row["high"]) == pytest.approx((max(low, 0), high))
    assert "relative" not in table
    assert set(contrasts(runs, over_runs(runs))["contrast"]) == {EARLY_LATE, STARTS}
    alone = runs[runs["seed"] == 0]
    assert points(alone, over_runs(alone), (0.0, np.inf))["low"].isna().all()
    folds = pd.concat([alone, alone.assign(fold=2, score=0.5)])
    assert at(points(folds, over_runs(folds), (0.0, np.inf)), RANDOM, "stem")["high"] > 0


def test_means_are_made_of_rows() -> None:
    means = Means(pd.Series({("score", "a", "b"): 1.0}), [pd.DataFrame({("score", "a", "b"): [0.9, 1.1]})])
    found = means.estimate(lambda table: 2 * table[("score", "a", "b")])
    assert found.mean == 2
    assert found.low < 2 < found.high
