"""Readouts against closed forms, brute force, scikit-learn, and laws that they have to follow."""

import doctest

import numpy as np
import pytest
from scipy.linalg import null_space
from scipy.optimize import minimize
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import KNeighborsClassifier

from tla.errors import UserError
from tla.readout import scores


def made(clips=60, features=8, classes=3, signal=2.0, seed=0):
    """Features in which each class has its own mean; two clips to a recording."""
    rng = np.random.default_rng(seed)
    labels = np.arange(clips) % classes
    values = rng.normal(size=(clips, features)) + signal * rng.normal(size=(classes, features))[labels]
    groups = [f"r{i // (2 * classes)}-{i % classes}" for i in range(clips)]
    return values, labels, groups


def without_intercept(values, labels, wanted):
    """Features and labels of one class in an orthonormal basis of all that an intercept cannot give."""
    features = (values - values.mean(0)) / values.std(0)
    basis = null_space(np.ones((1, len(labels))))
    return basis.T @ features, basis.T @ (labels == wanted)


def brute_force_evidence(values, labels, classes):
    """The same by the density of a Gaussian with its covariance written out, and a search over both precisions."""
    found = []
    for c in range(classes):
        features, y = without_intercept(values, labels, c)

        def lacking(logs, features=features, y=y):
            a, b = np.exp(np.clip(logs, -30, 30))
            covariance = np.eye(len(y)) / b + features @ features.T / a
            return 0.5 * (np.linalg.slogdet(2 * np.pi * covariance)[1] + y @ np.linalg.solve(covariance, y)) / len(y)

        starts = [(0, 0), (5, 1), (-3, 3), (8, 2)]
        found.append(-min(minimize(lacking, start, method="Nelder-Mead", options={"xatol": 1e-6}).fun for start in starts))
    return np.mean(found)


@pytest.mark.parametrize(("clips", "features"), [(60, 8), (24, 50)])  # also with more features than clips
def test_logme_is_the_evidence_of_the_gaussian_model(clips, features):
    values, labels, _ = made(clips, features)
    assert scores.logme(values, labels, 3) == pytest.approx(brute_force_evidence(values, labels, 3), abs=1e-5)


def test_logme_is_the_formula_with_all_terms():
    values, labels, _ = made(20, 40)
    features, y = without_intercept(values, labels, 0)
    n, d = features.shape
    eigenvalues = np.linalg.eigvalsh(features.T @ features)

    def evidence(a, b):
        m = b * np.linalg.solve(a * np.eye(d) + b * features.T @ features, features.T @ y)
        terms = d / 2 * np.log(a) + n / 2 * np.log(b) - np.log(a + b * eigenvalues).sum() / 2
        return (terms - b / 2 * ((y - features @ m) ** 2).sum() - a / 2 * (m @ m) - n / 2 * np.log(2 * np.pi)) / n

    best = max(evidence(a, b) for a in np.geomspace(1, 1e5, 60) for b in np.geomspace(0.5, 1e4, 60))
    assert scores.logme(values, np.where(labels == 0, 0, 1), 2) == pytest.approx(best, abs=2e-3)


def test_logme_does_not_depend_on_scale_or_offset():
    values, labels, _ = made()
    assert scores.logme(7 * values - 3, labels, 3) == pytest.approx(scores.logme(values, labels, 3), abs=1e-9)


def test_width_alone_does_not_raise_the_scores():
    """Features of pure noise: with D > N the published forms reach their maximum."""
    rng = np.random.default_rng(1)
    labels = np.arange(60) % 3
    narrow, wide = rng.normal(size=(60, 10)), rng.normal(size=(60, 600))
    assert scores.logme(wide, labels, 3) - scores.logme(narrow, labels, 3) < 0.05
    assert scores.h_score(wide, labels, 3) < 0.5 < 2  # classes - 1 = 2 is the most there can be


@pytest.mark.parametrize("score", [scores.logme, scores.h_score])
def test_scores_order_features_by_what_they_know(score):
    found = [score(*made(120, 20, signal=signal)[:2], 3) for signal in (0.0, 0.5, 1.0, 3.0)]
    assert found == sorted(found)


def test_h_score_without_shrinkage_is_the_ratio_of_variances():
    """One feature, many clips: between-class variance over all variance."""
    rng = np.random.default_rng(2)
    labels = np.arange(100_000) % 2
    values = rng.normal(size=(len(labels), 1)) + labels[:, None]
    assert scores.h_score(values, labels, 2) == pytest.approx(0.25 / 1.25, abs=0.01)


@pytest.mark.parametrize(("clips", "features"), [(60, 8), (24, 50)])
def test_h_score_is_its_definition_with_the_covariance_written_out(clips, features):
    values, labels, _ = made(clips, features)
    values = (values - values.mean(0)) / values.std(0)
    shrunk = LedoitWolf(assume_centered=True).fit(values)
    means = np.stack([values[labels == c].mean(axis=0) for c in range(3)])[labels]
    expected = (1 - shrunk.shrinkage_) * np.trace(np.linalg.solve(shrunk.covariance_, means.T @ means / clips))
    assert scores.h_score(values, labels, 3) == pytest.approx(expected)


def linear(values, labels, groups, kept, left):
    return scores.linear(values[kept], labels[kept], [groups[i] for i in kept], values[left], 3)


def test_predictions_know_separated_classes_and_nothing_in_noise():
    values, labels, groups = made(120, 10, signal=4.0)
    kept, left = np.arange(60), np.arange(60, 120)
    for outputs in (
        scores.nearest(values[kept], labels[kept], values[left], 3),
        linear(values, labels, groups, kept, left).outputs,
    ):
        assert (outputs.argmax(1) == labels[left]).mean() > 0.95
    noise = np.random.default_rng(3).normal(size=(600, 30))
    labels = np.arange(600) % 3
    found = linear(noise, labels, list(map(str, range(600))), np.arange(300), np.arange(300, 600))
    assert (found.outputs.argmax(1) == labels[300:]).mean() == pytest.approx(1 / 3, abs=0.1)
    assert found.within == pytest.approx(1 / 3, abs=0.12)


def test_neighbours_are_those_of_scikit_learn():
    values, labels, _ = made(90, 5, signal=0.7)
    learned, other = scores.standardised(values[:60], values[60:])
    model = KNeighborsClassifier(5, metric="cosine", algorithm="brute", weights=lambda distances: 2 - distances)
    expected = model.fit(learned, labels[:60]).predict(other)
    np.testing.assert_array_equal(scores.nearest(values[:60], labels[:60], values[60:], 3).argmax(1), expected)


@pytest.mark.parametrize(("clips", "features"), [(40, 6), (20, 30)])
def test_ridge_is_that_of_scikit_learn(clips, features):
    values, labels, _ = made(clips, features)
    targets, penalty, half = np.eye(3)[labels], 0.1, clips // 2
    learned, other = scores.standardised(values[:half], values[half:])
    singular = np.linalg.svd(learned, compute_uv=False)
    strength = penalty * (singular[singular > 1e-5] ** 2).mean()
    expected = Ridge(strength).fit(learned, targets[:half]).predict(other)
    found = scores._ridge(values[:half], targets[:half], values[half:], np.array([penalty]))[0]
    np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("signal", [0.3, 2.0])  # with 2, several penalties are right as often
def test_the_penalty_is_the_one_that_is_right_most_often_about_other_recordings(signal):
    values, labels, groups = made(80, 60, signal=signal, seed=5)
    right = np.zeros(len(scores.PENALTIES))
    for kept, left in GroupKFold(scores.INNER_FOLDS).split(values, groups=np.array(groups)):
        assert not {groups[i] for i in kept} & {groups[i] for i in left}
        outputs = scores._ridge(values[kept], np.eye(3)[labels[kept]], values[left], scores.PENALTIES)
        right += (outputs.argmax(2) == labels[left]).sum(1)
    found = scores.linear(values, labels, groups, values, 3)
    assert right[found.penalty == scores.PENALTIES] == right.max() > right.min()
    assert found.penalty == scores.PENALTIES[right == right.max()].max()
    assert found.within == right.max() / 80


def test_one_recording_is_refused():
    values, labels, _ = made()
    with pytest.raises(UserError, match="come from one recording"):
        scores.linear(values, labels, ["a"] * len(labels), values, 3)


def test_neighbours_never_come_from_the_same_recording():
    """Every clip has its double in its own recording, and its nearest clip of another recording is of any class."""
    rng = np.random.default_rng(4)
    values = np.repeat(rng.normal(size=(30, 5)), 2, axis=0)
    labels = np.repeat(np.arange(30) % 2, 2)
    alone, pairs = ([f"r{i // size}" for i in range(60)] for size in (1, 2))
    right = [(scores.nearest_elsewhere(values, labels, groups, 2, k=1).argmax(1) == labels) for groups in (alone, pairs)]
    assert right[0].all()
    assert right[1].mean() < 0.8


def test_a_feature_that_never_changes_counts_for_nothing():
    values, labels, _ = made()
    padded = np.hstack([values, np.full((len(values), 3), 7.0)])
    assert scores.logme(padded, labels, 3) == pytest.approx(scores.logme(values, labels, 3))
    assert scores.h_score(padded, labels, 3) == pytest.approx(scores.h_score(values, labels, 3))


def test_features_that_never_change_know_nothing():
    values, (_, labels, groups) = np.ones((60, 4)), made()
    assert scores.h_score(values, labels, 3) == 0
    assert scores.logme(values, labels, 3) == pytest.approx(scores.logme(np.zeros((60, 0)), labels, 3))
    outputs = scores.linear(values, labels, groups, values[:5], 3).outputs
    np.testing.assert_allclose(outputs, 1 / 3)


def test_several_sets_of_labels_give_what_each_gives_alone():
    values, labels, groups = made(60, 8, signal=1.0)
    sets = np.stack([labels, np.random.default_rng(6).permutation(labels)])
    calls = [
        lambda some: scores.nearest(values, some, values[:9], 3),
        lambda some: scores.nearest_elsewhere(values, some, groups, 3),
        lambda some: scores.linear(values, some, groups, values[:9], 3).outputs,
        lambda some: scores.linear(values, some, groups, values[:9], 3).within,
        lambda some: scores.logme(values, some, 3),
        lambda some: scores.h_score(values, some, 3),
    ]
    for call in calls:
        np.testing.assert_allclose(call(sets), np.stack([call(labels), call(sets[1])]), atol=1e-12)


def test_the_examples_in_the_docstrings_hold():
    done = doctest.testmod(scores)
    assert done.attempted > done.failed == 0
