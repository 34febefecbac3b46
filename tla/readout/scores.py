"""How well labels can be read out of features: predictions for held-out clips, and three scores that hold nothing out.

Features are (clips, features), one row per clip; labels (clips,) are 0, 1, ...; groups (clips,) name the recording that a clip
was cut from. Features are centred, and divided by their spread, over the clips that are learned from; one that is the same for
all of them is left out.

Predictions (Table I's question, asked of features):
- `nearest`: the classes of the most similar clips (cosine), each counted by its similarity.
- `linear`: ridge regression on the classes, its penalty chosen among the clips that are learned from, by whole groups.

Scores, larger is better:
- `logme`: log marginal evidence of a linear model with Gaussian weights, per clip, the mean over classes (You et al., 2021), in
  the exact form: the published code leaves out D - N terms where there are more features D than clips N, and so favours wide
  features.
- `h_score`: the share of the features' variance that lies between classes, summed over directions (Bao et al., 2019), with the
  covariance shrunk (Ledoit and Wolf, 2004; Ibrahim et al., 2022): without, it is at its maximum for any features if D > N.
- `leave_group_out`: the accuracy of `nearest` for each clip from all clips of other recordings.
"""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import svd
from scipy.optimize import minimize_scalar
from sklearn.covariance import LedoitWolf
from sklearn.model_selection import GroupKFold

NEIGHBOURS = 5
PENALTIES = np.logspace(-4, 2, 13)  # of the mean squared singular value
INNER_FOLDS = 4


def standardised(learned: np.ndarray, other: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Features of the clips that are learned from, and of others, centred and divided by the former's spread."""
    learned = np.asarray(learned, dtype=np.float64)
    other = learned if other is None else np.asarray(other, dtype=np.float64)
    mean, spread = learned.mean(axis=0), learned.std(axis=0)
    varies = spread > 1e-6 * np.abs(mean).max(initial=1e-30)
    return ((learned - mean)[:, varies] / spread[varies]), ((other - mean)[:, varies] / spread[varies])


def nearest(learned: np.ndarray, labels: np.ndarray, other: np.ndarray, classes: int, k: int = NEIGHBOURS) -> np.ndarray:
    """Votes (clips, classes) for other clips: the similarities of the k most similar clips, summed by class."""
    return _votes(_directions(other) @ _directions(learned).T, labels, classes, k)


def leave_group_out(
    features: np.ndarray, labels: np.ndarray, groups: Sequence[str], classes: int, k: int = NEIGHBOURS
) -> float:
    """Accuracy of the nearest neighbours from other recordings, over all clips."""
    directions = _directions(standardised(features)[0])
    similar = directions @ directions.T
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    similar[group[:, None] == group[None, :]] = -np.inf
    return float((_votes(similar, labels, classes, k).argmax(axis=1) == labels).mean())


def _directions(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _votes(similar: np.ndarray, labels: np.ndarray, classes: int, k: int) -> np.ndarray:
    """Similarities (clips, learned) of the k largest, moved to be positive, summed by class."""
    k = min(k, similar.shape[1])
    order = np.argsort(-similar, axis=1, kind="stable")[:, :k]
    weights = 1 + np.take_along_axis(similar, order, axis=1)
    weights[~np.isfinite(weights)] = 0
    votes = np.zeros((len(similar), classes))
    np.add.at(votes, (np.arange(len(similar))[:, None], labels[order]), weights)
    return votes


def linear(learned: np.ndarray, labels: np.ndarray, groups: Sequence[str], other: np.ndarray, classes: int) -> np.ndarray:
    """Outputs (clips, classes) for other clips, of ridge regression on the classes with an intercept."""
    penalty = _penalty(learned, labels, groups, classes)
    return _ridge(learned, np.eye(classes)[labels], other, np.array([penalty]))[0]


def _penalty(learned: np.ndarray, labels: np.ndarray, groups: Sequence[str], classes: int) -> float:
    """The penalty that is right about most clips of groups that were left out; of equals the largest."""
    targets, right = np.eye(classes)[labels], np.zeros(len(PENALTIES))
    folds = min(INNER_FOLDS, len(set(groups)))
    if folds < 2:
        return float(PENALTIES[-1])
    for kept, left in GroupKFold(folds).split(learned, groups=groups):
        outputs = _ridge(learned[kept], targets[kept], learned[left], PENALTIES)
        right += (outputs.argmax(axis=2) == labels[left]).sum(axis=1)
    return float(PENALTIES[np.flatnonzero(right == right.max())[-1]])


def _ridge(learned: np.ndarray, targets: np.ndarray, other: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Outputs (penalties, clips, classes): every penalty from one decomposition."""
    mean = targets.mean(axis=0)
    learned, other = standardised(learned, other)
    u, s, vt = svd(learned, full_matrices=False)
    scaled = penalties[:, None] * max(float((s**2).mean()), 1e-30)
    shrunk = s / (s**2 + scaled)  # (penalties, directions)
    return mean + np.einsum("od,pd,dc->poc", other @ vt.T, shrunk, u.T @ (targets - mean), optimize=True)


def logme(features: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """Log evidence of the classes, each as a linear function of the features with Gaussian weights and noise.

    With y centred and F standardised (clips, features), weights m ~ N(0, 1/a) and noise ~ N(0, 1/b), the evidence of y is
    [D/2 ln a + N/2 ln b - 1/2 sum_i ln(a + b s_i) - b/2 |y - Fm|^2 - a/2 |m|^2 - N/2 ln 2 pi] / N at the posterior mean m, with
    s_i the D eigenvalues of F'F; that is ln N(y; 0, (I + t F F') / b) / N with t = b / a. The intercept takes one of the clips
    (it is integrated out under a flat prior), so N is their number less one: otherwise the evidence of features that can fit
    any labels would have no upper end. The best b for any t is known, so that t alone is searched.
    """
    u, s, _ = svd(standardised(features)[0], full_matrices=False)
    centred = np.eye(classes)[labels] - np.eye(classes)[labels].mean(axis=0)
    inside = (u.T @ centred) ** 2  # (directions, classes)
    outside = np.maximum((centred**2).sum(axis=0) - inside.sum(axis=0), 0)
    present = (centred**2).sum(axis=0) > 0
    return float(np.mean([_evidence(s**2, inside[:, c], outside[c], len(labels) - 1) for c in np.flatnonzero(present)]))


def _evidence(eigenvalues: np.ndarray, inside: np.ndarray, outside: float, clips: int) -> float:
    """The largest log evidence over t and b, divided by the number of clips."""

    def lacking(log_t: float) -> float:
        spread = 1 + np.exp(log_t) * eigenvalues
        squares = (inside / spread).sum() + outside
        return 0.5 * (np.log(spread).sum() / clips + np.log(max(squares, 1e-300) / clips) + 1 + np.log(2 * np.pi))

    grid = np.linspace(-25, 25, 101)  # the evidence may have more than one peak
    best = grid[int(np.argmin([lacking(log_t) for log_t in grid]))]
    found = minimize_scalar(lacking, bounds=(best - 0.5, best + 0.5), method="bounded")
    return -min(float(found.fun), lacking(best))


def h_score(features: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """tr(shrunk covariance^-1 covariance of the class means), the latter shrunk by the same share."""
    values = standardised(features)[0]
    shrunk = LedoitWolf(assume_centered=True).fit(values)
    counts = np.bincount(labels, minlength=classes)
    means = np.stack([values[labels == c].mean(axis=0) * np.sqrt(counts[c]) for c in np.flatnonzero(counts)])
    solved = np.linalg.solve(shrunk.covariance_, means.T)  # (features, classes)
    return float((1 - shrunk.shrinkage_) * np.einsum("cd,dc->", means, solved) / len(labels))
