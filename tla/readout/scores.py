"""How well labels can be read out of features: predictions for clips of other recordings, and two scores of all clips.

Features are (clips, features), a row per clip. Labels are 0, 1, ...: (clips,), or several sets of them (sets, clips), and what
is returned then has a first axis of sets; what does not depend on labels is computed once. Groups (clips,) name the recording
that a clip was cut from. Features are centred, and divided by their spread, over the clips that are learned from; one that is
the same for all of these is left out.

Predictions, as outputs (clips, classes), the largest of which names the class:
- `nearest`: the classes of the most similar clips (cosine), each counted by its similarity.
- `linear`: ridge regression on the classes, its penalty chosen among the clips that are learned from, by whole groups.
- `nearest_elsewhere`: as `nearest`, for each clip from all clips of other recordings.

Scores, larger is better:
- `logme`: log marginal evidence of a linear model with Gaussian weights, per clip, the mean over classes (You et al., 2021), in
  the exact form. The published code leaves out D - N terms where there are more features D than clips N, and so favours wide
  features.
- `h_score`: the share of the features' variance that lies between classes, summed over directions (Bao et al., 2019), with the
  covariance shrunk (Ledoit and Wolf, 2004; Ibrahim et al., 2022). Without, it is at its maximum for any features if D > N.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import minimize_scalar

from tla.errors import UserError

NEIGHBOURS = 5
PENALTIES = np.logspace(-4, 2, 13)  # of the mean squared singular value
INNER_FOLDS = 4
CONSTANT = 1e-6  # a spread, as a share of the largest value, up to which a feature is the same for all: float32 rounds at 1e-7
LOG_T = 25.0  # how far `logme` looks for the best log of noise precision over weight precision, to either side of 0


def standardised(learned: np.ndarray, other: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Features of the clips that are learned from, and of others, centred and divided by the former's spread."""
    learned = np.asarray(learned, dtype=np.float64)
    other = learned if other is None else np.asarray(other, dtype=np.float64)
    mean, spread = learned.mean(axis=0), learned.std(axis=0)
    varies = spread > CONSTANT * np.abs(learned).max(axis=0, initial=0)
    return (learned - mean)[:, varies] / spread[varies], (other - mean)[:, varies] / spread[varies]


# Nearest neighbours


def nearest(learned: np.ndarray, labels: np.ndarray, other: np.ndarray, classes: int, *, k: int = NEIGHBOURS) -> np.ndarray:
    """Outputs (clips, classes) for other clips: the similarities of the k most similar clips, summed by class.

    >>> clips = np.array([[1.0, 5.0], [2.0, 6.0], [9.0, -3.0], [8.0, -1.0]])
    >>> nearest(clips, np.array([0, 0, 1, 1]), np.array([[8.5, -2.0]]), classes=2, k=2).argmax(axis=1)
    array([1])
    """
    learned, other = standardised(learned, other)
    return _votes(_directions(other) @ _directions(learned).T, labels, classes, k)


def nearest_elsewhere(
    features: np.ndarray, labels: np.ndarray, groups: Sequence[str], classes: int, *, k: int = NEIGHBOURS
) -> np.ndarray:
    """Outputs (clips, classes) for each clip from all clips of other recordings."""
    directions = _directions(standardised(features)[0])
    similar = directions @ directions.T
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    similar[group[:, None] == group[None, :]] = -np.inf
    return _votes(similar, labels, classes, k)


def _directions(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _votes(similar: np.ndarray, labels: np.ndarray, classes: int, k: int) -> np.ndarray:
    """Similarities (clips, learned) of the k largest, moved to be positive, summed by class; -inf has no vote."""
    order = np.argsort(-similar, axis=1, kind="stable")[:, :k]
    weights = np.maximum(1 + np.take_along_axis(similar, order, axis=1), 0)
    chosen = np.asarray(labels)[..., order, None] == np.arange(classes)  # (..., clips, k, classes)
    return np.einsum("ok,...okc->...oc", weights, chosen)


# Ridge regression


class Linear(NamedTuple):
    """What a linear readout makes of other clips."""

    outputs: np.ndarray
    """(clips, classes)"""
    penalty: np.ndarray
    """The one that was chosen, as a share of the mean squared singular value: ()."""
    within: np.ndarray
    """Its accuracy among the clips that are learned from, each predicted from other recordings of these: ()."""


def linear(learned: np.ndarray, labels: np.ndarray, groups: Sequence[str], other: np.ndarray, classes: int) -> Linear:
    """Ridge regression on the classes, with an intercept; two groups or more are needed to choose the penalty.

    The penalty is the one that is right about most clips of groups that were left out, `INNER_FOLDS` parts of them in turn; of
    equals the largest.

    >>> rng = np.random.default_rng(0)
    >>> clips, labels = rng.normal(size=(40, 3)), np.arange(40) % 2
    >>> clips[:, 0] += 9 * labels
    >>> found = linear(clips[:30], labels[:30], [f"recording {i // 2}" for i in range(30)], clips[30:], classes=2)
    >>> float((found.outputs.argmax(axis=1) == labels[30:]).mean())
    1.0
    """
    from sklearn.model_selection import GroupKFold

    if len(set(groups)) < 2:
        raise UserError(
            "all clips that a linear readout is to learn from come from one recording: its penalty is chosen by leaving "
            "recordings out, which takes two or more"
        )
    targets = np.eye(classes)[np.asarray(labels)]  # (..., clips, classes)
    right = np.zeros((len(PENALTIES), *targets.shape[:-2]))
    for kept, left in GroupKFold(min(INNER_FOLDS, len(set(groups)))).split(learned, groups=np.asarray(groups)):
        outputs = _ridge(learned[kept], targets[..., kept, :], learned[left], PENALTIES)
        right += (outputs.argmax(axis=-1) == np.asarray(labels)[..., left]).sum(axis=-1)
    best = len(PENALTIES) - 1 - right[::-1].argmax(axis=0)
    outputs = _ridge(learned, targets, other, PENALTIES)
    chosen = np.take_along_axis(outputs, best[None, ..., None, None], axis=0)[0]
    return Linear(chosen, PENALTIES[best], right.max(axis=0) / len(learned))


def _ridge(learned: np.ndarray, targets: np.ndarray, other: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Outputs (penalties, ..., clips, classes) of targets (..., learned, classes), for all penalties from one decomposition."""
    learned, other = standardised(learned, other)
    mean = targets.mean(axis=-2, keepdims=True)
    if learned.shape[1] > len(learned):  # by clips, else by features: the smaller square matrix
        squares, basis = _eigen(learned @ learned.T)
        from_clips, to_clips = basis, (other @ learned.T) @ basis
    else:
        squares, basis = _eigen(learned.T @ learned)
        from_clips, to_clips = learned @ basis, other @ basis
    inner = np.einsum("nr,...nc->...rc", from_clips, targets - mean, optimize=True)
    scale = squares.mean() if len(squares) else 1.0
    return np.stack([mean + (to_clips / (squares + penalty * scale)) @ inner for penalty in penalties])


def _eigen(square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The eigenvalues of a matrix X'X that are not 0 but for rounding, and their eigenvectors."""
    if not len(square):
        return np.zeros(0), square
    values, vectors = eigh(square, driver="evd")
    some = values > 1e-10 * max(values[-1], 0)
    return values[some], vectors[:, some]


# Scores that hold nothing out


def logme(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Log evidence of the classes, each as a linear function of the features with Gaussian weights and noise: ().

    With y centred and F standardised (clips, features), weights m ~ N(0, 1/a) and noise ~ N(0, 1/b), the evidence of y is
    [D/2 ln a + N/2 ln b - 1/2 sum_i ln(a + b s_i) - b/2 |y - Fm|^2 - a/2 |m|^2 - N/2 ln 2 pi] / N at the posterior mean m, with
    s_i the D eigenvalues of F'F; that is ln N(y; 0, (I + t F F') / b) / N with t = b / a. The intercept takes one of the clips
    (it is integrated out under a flat prior), so N is their number less one: otherwise the evidence of features that can fit
    any labels would have no upper end. The best b for any t is known, so that t alone is searched.

    >>> rng = np.random.default_rng(0)
    >>> noise, labels = rng.normal(size=(60, 5)), np.arange(60) % 3
    >>> bool(logme(noise + labels[:, None], labels, classes=3) > logme(noise, labels, classes=3))
    True
    """
    squares, directions = _spectrum(standardised(features)[0])
    targets = np.eye(classes)[np.asarray(labels)]
    centred = targets - targets.mean(axis=-2, keepdims=True)
    inside = np.einsum("nr,...nc->...cr", directions, centred, optimize=True) ** 2
    whole = (centred**2).sum(axis=-2)  # (..., classes); 0 for a class that no clip has, or all
    each = np.full(whole.shape, np.nan)
    for place in zip(*np.nonzero(whole), strict=True):
        each[place] = _evidence(squares, inside[place], max(whole[place] - inside[place].sum(), 0.0), len(features) - 1)
    return np.nanmean(each, axis=-1)


def _evidence(squares: np.ndarray, inside: np.ndarray, outside: float, clips: int) -> float:
    """The largest log evidence per clip over t and b; squares and inside: (directions,)."""

    def lacking(log_t: np.ndarray) -> np.ndarray:
        spread = 1 + np.exp(log_t)[..., None] * squares
        left = (inside / spread).sum(axis=-1) + outside
        return 0.5 * (np.log(spread).sum(axis=-1) / clips + np.log(np.maximum(left, 1e-300) / clips) + 1 + np.log(2 * np.pi))

    grid = np.linspace(-LOG_T, LOG_T, 101)  # the evidence may have more than one peak
    values = lacking(grid)
    best = grid[int(np.argmin(values))]
    found = minimize_scalar(lacking, bounds=(best - 0.5, best + 0.5), method="bounded")
    return -min(float(found.fun), float(values.min()))


def h_score(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """tr(shrunk covariance^-1 covariance of the class means), the latter shrunk by the same share: ().

    >>> rng = np.random.default_rng(0)
    >>> noise, labels = rng.normal(size=(60, 5)), np.arange(60) % 3
    >>> bool(h_score(noise + labels[:, None], labels, classes=3) > h_score(noise, labels, classes=3))
    True
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    values = standardised(features)[0]
    clips, count = values.shape
    members = np.eye(classes)[np.asarray(labels)]
    members = members / np.sqrt(np.maximum(members.sum(axis=-2, keepdims=True), 1))  # their products with features: class means
    if not count:
        return np.zeros(members.shape[:-2])
    shrinkage = float(ledoit_wolf_shrinkage(values, assume_centered=True))
    squares, directions = _spectrum(values)
    covariance = (1 - shrinkage) * squares / clips + shrinkage * squares.sum() / clips / count
    between = (np.einsum("nr,...nc->...rc", directions, members, optimize=True) ** 2).sum(axis=-1) * squares / clips
    return (1 - shrinkage) * (between / covariance).sum(axis=-1)


def _spectrum(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The squared singular values of features (clips, features) that are not 0, and their directions (clips, ...)."""
    if values.shape[1] > len(values):
        return _eigen(values @ values.T)
    squares, basis = _eigen(values.T @ values)
    return squares, values @ basis / np.sqrt(squares)
