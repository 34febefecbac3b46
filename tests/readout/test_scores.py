"""Readouts: closed forms, brute force, and laws."""

import numpy as np
import pytest
from scipy.linalg import null_space
from scipy.optimize import minimize

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


def test_predictions_know_separated_classes_and_nothing_in_noise():
    values, labels, groups = made(120, 10, signal=4.0)
    kept, left = np.arange(60), np.arange(60, 120)
    for outputs in (
        scores.nearest(values[kept], labels[kept], values[left], 3),
        scores.linear(values[kept], labels[kept], [groups[i] for i in kept], values[left], 3),
    ):
        assert (outputs.argmax(1) == labels[left]).mean() > 0.95
    noise = np.random.default_rng(3).normal(size=(600, 30))
    labels = np.arange(600) % 3
    outputs = scores.linear(noise[:300], labels[:300], [str(i) for i in range(300)], noise[300:], 3)
    assert (outputs.argmax(1) == labels[300:]).mean() == pytest.approx(1 / 3, abs=0.1)


def test_ridge_is_the_closed_form():
    values, labels, _ = made(40, 6)
    learned, other = scores.standardised(values[:30], values[30:])
    penalty = 0.1
    targets = np.eye(3)[labels[:30]]
    strength = penalty * (np.linalg.svd(learned, compute_uv=False) ** 2).mean()
    weights = np.linalg.solve(learned.T @ learned + strength * np.eye(6), learned.T @ (targets - targets.mean(0)))
    expected = targets.mean(0) + other @ weights
    found = scores._ridge(values[:30], targets, values[30:], np.array([penalty]))[0]
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_neighbours_never_come_from_the_same_recording():
    """Every clip has its double in its own recording, and its nearest clip of another recording is of another class."""
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(30, 5))
    values = np.repeat(centres, 2, axis=0)
    labels = np.repeat(np.arange(30) % 2, 2)
    groups = [f"r{i // 2}" for i in range(60)]
    assert scores.leave_group_out(values, labels, [str(i) for i in range(60)], 2, k=1) == 1.0
    assert scores.leave_group_out(values, labels, groups, 2, k=1) < 0.8


def test_a_feature_that_never_changes_counts_for_nothing():
    values, labels, _ = made()
    padded = np.hstack([values, np.full((len(values), 3), 7.0)])
    assert scores.logme(padded, labels, 3) == pytest.approx(scores.logme(values, labels, 3))
    assert scores.h_score(padded, labels, 3) == pytest.approx(scores.h_score(values, labels, 3))
