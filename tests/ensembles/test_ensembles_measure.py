"""Averages of runs: against answers found by hand, closed forms, and scikit-learn."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from tla import statistics
from tla.ensembles import drawing as draw
from tla.ensembles import measuring as ensembles
from tla.ensembles.measuring import Members, average, calibrated_error, calibration_error, measure, members, surprise
from tla.errors import UserError
from tla.runs.folder import FinishedRun, Predictions, Result, RunFolder, Score, load
from tla.runs.run import Run
from tla.runs.schedule import Training
from tla.statistics import TRAININGS


def logits_of(*probabilities: list[float]) -> np.ndarray:
    """(clips, 2): logits of two classes, the first of which has these probabilities."""
    p = np.array(probabilities, dtype=np.float64).ravel()
    return np.log(np.stack([p, 1 - p], axis=1))


def made(logits: np.ndarray, labels: list[int], sources: list[int] | None = None) -> Members:
    """Members on one fold. logits: (members, clips, classes)."""
    clips = np.arange(len(labels)) if sources is None else np.array(sources)
    return Members(tuple(range(len(logits))), logits, np.array(labels), clips, np.ones(len(labels), dtype=int))


# Three members, four clips of class 0. By hand: alone they are right on 2, 2 and 1 of 4. The mean probability of class 0 is
# 1.7/3 right, 1.3/3 wrong, 0.7 right, 0.1 wrong: 2 of 4.
BY_HAND = np.stack([logits_of([0.9, 0.6, 0.4, 0.1]), logits_of([0.4, 0.6, 0.8, 0.1]), logits_of([0.4, 0.1, 0.9, 0.1])])


def test_an_ensemble_by_hand() -> None:
    one = made(BY_HAND, [0, 0, 0, 0])
    np.testing.assert_array_equal(one.right.sum(axis=1), [2, 2, 1])
    p = np.exp(average(one.logits, "softmax"))[:, 0]
    np.testing.assert_allclose(p, [1.7 / 3, 1.3 / 3, 0.7, 0.1], atol=1e-12)
    whole = ensembles.scores(one).set_index("averaged").loc["softmax"]
    assert whole["single"] == pytest.approx(100 * 5 / 12)
    assert whole["spread"] == pytest.approx(np.std([50, 50, 25], ddof=1))
    assert whole["ensemble"] == pytest.approx(50)
    assert whole["gain"] == pytest.approx(100 * (6 / 12 - 5 / 12))
    assert whole["nll_single"] == pytest.approx(-np.log([0.9, 0.6, 0.4, 0.1, 0.4, 0.6, 0.8, 0.1, 0.4, 0.1, 0.9, 0.1]).mean())
    assert whole["nll_ensemble"] == pytest.approx(-np.log([1.7 / 3, 1.3 / 3, 0.7, 0.1]).mean())


def test_averaged_logits_are_the_geometric_mean() -> None:
    p = np.exp(average(np.stack([logits_of([0.9]), logits_of([0.5])]), "logits"))[0]
    roots = np.sqrt([0.9 * 0.5, 0.1 * 0.5])
    np.testing.assert_allclose(p, roots / roots.sum(), atol=1e-12)


def test_huge_logits_neither_overflow_nor_give_infinite_surprise() -> None:
    logits = np.array([[[1000.0, 0.0]], [[-1000.0, 0.0]]])
    log_p = average(logits, "softmax")
    np.testing.assert_allclose(log_p, np.log([[0.5, 0.5]]), atol=1e-12)
    assert surprise(average(logits[:1], "softmax"), np.array([1]))[0] == pytest.approx(1000.0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 5))
def test_averaging_the_softmax_never_raises_the_mean_surprise(seed: int, count: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = 3 * rng.normal(size=(count, 20, classes)), rng.integers(0, classes, 20)
    alone = np.mean([surprise(average(one[None], "softmax"), labels) for one in logits], axis=0)
    assert (surprise(average(logits, "softmax"), labels) <= alone + 1e-9).all()  # Jensen, clip by clip
    np.testing.assert_allclose(np.exp(average(logits, "softmax")), softmax(logits, axis=2).mean(axis=0), atol=1e-12)


def test_surprise_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import log_loss

    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(1, 50, 4)), rng.integers(0, 4, 50)
    expected = log_loss(labels, softmax(logits[0], axis=1), labels=range(4))
    assert surprise(average(logits, "softmax"), labels).mean() == pytest.approx(expected)


def slow_calibration_error(p: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """Guo et al. (2017), eq. 3, clip by clip."""
    total = 0.0
    for k in range(bins):
        here = [i for i in range(len(p)) if k / bins < p[i].max() <= (k + 1) / bins]
        if here:
            right = sum(p[i].argmax() == labels[i] for i in here) / len(here)
            total += len(here) / len(p) * abs(right - sum(p[i].max() for i in here) / len(here))
    return total


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_the_calibration_error_agrees_with_its_definition(bins: int) -> None:
    rng = np.random.default_rng(bins)
    p = softmax(2 * rng.normal(size=(200, 5)), axis=1)
    labels = np.array([rng.choice(5, p=row) for row in p])  # too sure in some bins and not sure enough in others
    assert calibration_error(np.log(p), labels, bins) == pytest.approx(slow_calibration_error(p, labels, bins))


def test_the_calibration_error_in_closed_form() -> None:
    log_p = logits_of([0.8] * 10)
    assert calibration_error(log_p, np.array([0] * 8 + [1] * 2)) == pytest.approx(0)
    assert calibration_error(log_p, np.array([0] * 5 + [1] * 5)) == pytest.approx(0.3)
    edge = logits_of([0.5, 0.5, 0.75, 0.75])  # 1/2 belongs to the lower of two bins: gaps of 1 and 1.5, apart
    assert calibration_error(edge, np.array([0, 0, 1, 1]), bins=2) == pytest.approx(2.5 / 4)
    certain = np.array([[0.0, -1e9]] * 4)  # confidence 1 belongs to the last bin
    assert calibration_error(certain, np.array([0, 1, 1, 1])) == pytest.approx(0.75)


def test_a_calibrated_network_shows_an_error_that_shrinks_with_clips() -> None:
    few, many = (calibrated_error(logits_of([0.7] * n)) for n in (50, 5000))
    expected = np.sqrt(0.7 * 0.3 / 50 * 2 / np.pi)  # mean of |normal|: all clips are in one bin
    assert few == pytest.approx(expected, rel=0.1)
    assert many == pytest.approx(few / 10, rel=0.1)


def test_every_subset_is_there_once_and_the_ends_are_right() -> None:
    one = made(BY_HAND, [0, 0, 0, 0])
    table = ensembles.subsets(one).query("averaged == 'softmax'").set_index("seeds")
    assert sorted(table.index) == ["0", "0+1", "0+1+2", "0+2", "1", "1+2", "2"]
    assert list(table["accuracy"][["0", "1", "2"]]) == [50, 50, 25]
    assert table["accuracy"]["0+1+2"] == 50
    # 0+1: 0.65, 0.6, 0.6, 0.1 of class 0: three right
    assert table["accuracy"]["0+1"] == 75
    five = made(np.random.default_rng(0).normal(size=(5, 30, 3)), [0, 1, 2] * 10)
    counts = ensembles.subsets(five).groupby(["averaged", "size"]).size()
    assert list(counts["softmax"]) == list(counts["logits"]) == [5, 10, 10, 5, 1]


def test_pairs_by_hand() -> None:
    one = made(BY_HAND, [0, 0, 0, 0])
    table = ensembles.pairs(one).set_index(["seed_a", "seed_b"])
    # wrong: member 0 on clips 2, 3; member 1 on 0, 3; member 2 on 0, 1, 3
    assert list(table["disagreement"]) == [50, 75, 25]
    assert table.loc[(0, 1), "error_correlation"] == pytest.approx(0)
    assert table.loc[(1, 2), "error_correlation"] == pytest.approx(np.corrcoef([1, 0, 0, 1], [1, 1, 0, 1])[0, 1])
    always = made(np.stack([logits_of([0.9] * 4), logits_of([0.9, 0.9, 0.1, 0.1])]), [0] * 4)
    assert np.isnan(ensembles.pairs(always)["error_correlation"][0])


def test_twins_never_disagree_and_err_together() -> None:
    logits = np.random.default_rng(1).normal(size=(1, 40, 3))
    one = made(np.repeat(logits, 3, axis=0), [0, 1, 2, 0] * 10)
    pairs = ensembles.pairs(one)
    assert (pairs["disagreement"] == 0).all()
    assert pairs["error_correlation"].to_numpy() == pytest.approx(1)
    scores = ensembles.scores(one)
    assert (scores[["gain", "spread", "disagreement"]] == 0).all(axis=None)
    assert (scores["gain_high"] == -scores["gain_low"]).all()
    assert scores["gain_high"].to_numpy() == pytest.approx(
        100 * 1.96**2 / (40 + 1.96**2), abs=0.01
    )  # what 40 clips cannot exclude
    assert (ensembles.subsets(one)["accuracy"].nunique()) == 1


def test_missed_clips_by_hand() -> None:
    table = ensembles.missed(made(BY_HAND, [0, 0, 0, 0]))
    assert list(table["clips"]) == [0, 2, 1, 1]  # 1 and 2 are missed by one member, 0 by two, 3 by all
    # on clip 0 one sure member outvotes two that waver, and on clip 1 likewise the wrong one
    assert list(table["ensemble_right"]) == [0, 1, 1, 0]


def test_the_gain_is_paired_and_clips_of_one_source_go_together() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    signal = np.where(labels == 0, 1.0, -1.0)
    logits = np.stack([np.stack([signal + 1.5 * rng.normal(size=200), np.zeros(200)], axis=1) for _ in range(5)])
    apart = ensembles.gain(made(logits, labels.tolist()))
    assert apart.low > 0
    together = ensembles.gain(made(np.tile(logits, (1, 4, 1)), labels.tolist() * 4, list(range(200)) * 4))
    assert (together.low, together.high) == pytest.approx((apart.low, apart.high), abs=0.01)
    assert apart.covers == TRAININGS


def test_what_members_bring_adds_up_to_the_ensemble_and_noise_between_them_widens_its_interval() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 300)
    skill = np.array([2.0, 0.1, 1.0, 0.3])[:, None]
    logits = skill * np.where(labels == 0, 1.0, -1.0) + rng.normal(size=(4, 300))
    one = made(np.stack([logits, np.zeros_like(logits)], axis=2), labels.tolist())
    folds = ensembles._folds(one, "softmax", less_single=True)
    whole = average(one.logits, "softmax").argmax(axis=1) == one.labels
    np.testing.assert_allclose(folds[0].values.mean(axis=0), whole - one.right.mean(axis=0), atol=1e-12)
    here = statistics.gain(statistics.of_clips(folds[0].values.mean(axis=0), one.sources))
    assert ensembles.gain(one).high > here.high


@pytest.fixture
def study(tmp_path: Path, run: Run) -> Callable[[dict[tuple[int, int], np.ndarray]], list[FinishedRun]]:
    """Writes runs whose logits are given by (fold, seed); the labels are all 0."""

    def write(said: dict[tuple[int, int], np.ndarray]) -> list[FinishedRun]:
        folders = []
        for (fold, seed), logits in said.items():
            mine = replace(run, fold=fold, seed=seed)
            folder = RunFolder(tmp_path / mine.key)
            names = np.array([f"{fold}-{i}" for i in range(len(logits))])
            folder.describe(mine, ["a", "b"], {})
            folder.write_log([{"epoch": 1}])
            folder.write_predictions(
                Predictions(names, np.zeros(len(logits), dtype=int), names, {"best": logits, "last": -logits})
            )
            training, score = Training("converged", 0.01, 0.01, 0.0), Score(0.5, 0.5)
            counts = {"best_epoch": 1, "epochs": 1, "clips": len(logits), "trainable": 1, "parameters": 1, "multiply_adds": 1}
            scores = {"best": score, "last": score}
            folder.finish(Result(scores=scores, training=training, seconds_per_epoch=1.0, **counts))
            folders.append(load(folder.path))
        return folders

    return write


def test_members_are_seeds_and_folds_stand_end_to_end(study) -> None:
    folders = study({(fold, seed): BY_HAND[seed][: 3 + (fold == 1)] for seed in (2, 0, 1) for fold in (2, 1)})
    one = members(folders, "best")
    assert one.seeds == (0, 1, 2)
    np.testing.assert_array_equal(one.folds, [1, 1, 1, 1, 2, 2, 2])
    np.testing.assert_array_equal(one.logits[:, :4], BY_HAND)
    np.testing.assert_array_equal(members(folders, "last").logits, -one.logits)
    table = ensembles.scores(one)
    assert list(table.query("averaged == 'softmax'")["fold"]) == ["1", "2", "all"]
    accuracy = table.query("averaged == 'softmax'").set_index("fold")["ensemble"]
    assert accuracy["all"] == pytest.approx((4 * accuracy["1"] + 3 * accuracy["2"]) / 7)


def test_what_cannot_be_averaged_is_refused(study) -> None:
    with pytest.raises(UserError, match="none for fold 2 seed 1"):
        measure(study({(1, 0): BY_HAND[0], (1, 1): BY_HAND[1], (2, 0): BY_HAND[0]}), "best")
    with pytest.raises(UserError, match="different clips"):
        measure(study({(1, 0): BY_HAND[0], (1, 1): BY_HAND[1][:3]}), "best")
    with pytest.raises(UserError, match="two members at least"):
        measure(study({(1, 0): BY_HAND[0]}), "best")
    with pytest.raises(UserError, match="8191 subsets"):
        ensembles.check(13)
    with pytest.raises(UserError, match="one bin"):
        ensembles.check(5, bins=0)


def test_the_figure_is_drawn_the_same_twice_and_claims_no_more_than_its_interval(study, tmp_path: Path, capsys) -> None:
    folders = study({(fold, seed): BY_HAND[seed] for seed, fold in itertools.product(range(3), (1, 2))})
    for folder in ("a", "b"):
        draw.publish(measure(folders, "best"), tmp_path / folder, "table2_ensemble")
    printed = capsys.readouterr().out
    assert "+8.3 points" in printed
    assert "cannot be told from none on these 8 clips" in printed
    assert "the paper (best epoch, five runs): single 91.16 ±0.36, ensemble 92.89" in printed
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    assert {path.suffix for path in (tmp_path / "a").iterdir()} >= {".pdf", ".png", ".csv"}
