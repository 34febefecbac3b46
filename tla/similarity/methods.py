"""How alike two sets of activations are: SVCCA (Fig. 2a), PWCCA, CKA, Procrustes, correlation channel by channel.

Each measure takes two arrays of the same clips, numpy or torch, or `Moments`, the sums that were gathered from many. Arrays are
(points, channels) or feature maps (clips, channels, height, width), whose positions are points. Points are centred. A score is
1 for a thing compared with itself and near 0 for unrelated ones, if there are enough points: see `forced`, and compare with the
floor.

The floor is the score that is left when each clip on one side is paired with another clip on the other. Two arrays always get
one: a score means little without it, and it costs no more than one of the products that the score takes anyway. Moments hold
one pairing, so their floor is the score of other moments (see there).

SVCCA (Raghu et al., 2017) keeps the principal directions of each side and averages the canonical correlations between them;
computed from moments it equals the recipe on the activations (centre, SVD, truncate, CCA with an epsilon of 1e-10). Which
directions are kept is part of the measure: those that hold 99 % of the variance (the paper's words), or of the sum of
singular values (what its tutorial computes), or a number of them.

Forced correlations. M centred points span M - 1 dimensions; two subspaces of p and q dimensions in there share at least
p + q - (M - 1) of them, and as many canonical correlations are 1 whatever the data. What counts as p and q is what CCA works
on: the directions that are left after truncation and without dead and duplicated channels. Truncation goes by variance and does
not depend on the other side, so the kept directions are forced like any others. A score with an interval from leaving out
parts of the points is forced earlier: the fewest points that are left count (`forced_of`).

Precision. With float32 products, SVCCA on 99 % of the variance, CKA, Procrustes and correlations by channel differ by less
than 1e-6 from float64. A measure that averages over directions with a billionth of the largest variance (`keep_by` values, or
all directions, as in PWCCA) differs by 2e-3 on DenseNet-201's last block and needs float64 products, which take twice the
time.

Degenerate input. A channel that does not vary is dead: it is counted and adds nothing. A duplicated channel adds variance,
but no direction. More channels than points are no mistake by themselves. If all channels of a side are dead, no measure is
defined, and that is an error, as are NaN, infinity, and less than two points.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from numbers import Integral
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from tla.errors import UserError
from tla.similarity.arrays import pair
from tla.similarity.moments import Cross, Moments
from tla.similarity.sums import Sums

EPSILON = 1e-10  # of the largest variance, added to each: part of the recipe
KEEP = 0.99
UNDEFINED = 1e-10  # share of the biased criterion below which the unbiased one is rounding
KeepBy = Literal["variance", "values"]
Forced = Literal["refuse", "allow"]
Points = Moments | np.ndarray | Tensor
Clips = Sequence[object] | np.ndarray | None


@dataclass(frozen=True)
class Similarity:
    """A score and what it rests on."""

    score: float
    correlations: np.ndarray = field(repr=False)
    """Canonical (or per-channel) correlations, descending; none for CKA and Procrustes."""
    kept: tuple[int, int]
    """Directions of each side that were compared; all channels where nothing is truncated."""
    points: int
    channels: tuple[int, int]
    forced: int
    """Canonical correlations that are 1 whatever the data."""
    dead: tuple[int, int]
    """Channels without variance."""
    floor: float = float("nan")
    """The score with each clip paired with another one; NaN for moments, and where no other clip is there."""
    positions: tuple[int, ...] = ()
    """Height and width of the maps that were folded into points; nothing where points were given."""


def forced_of(kept: tuple[int, int], points: int) -> int:
    """How many canonical correlations of so many directions are 1 whatever the data."""
    return max(0, min(*kept, sum(kept) - (points - 1)))


def svcca(
    x: Points,
    y: Points | None = None,
    *,
    keep: float | int = KEEP,
    keep_by: KeepBy = "variance",
    forced: Forced = "refuse",
    clips: Clips = None,
    channel_axis: int | None = None,
    seed: int = 0,
) -> Similarity:
    """Mean canonical correlation between the directions that both sides keep.

    ```python
    import numpy as np
    from tla.similarity import svcca

    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 16, 7, 7))  # (clips, channels, height, width)
    found = svcca(x, x + rng.normal(size=x.shape))
    print(found.score, found.floor)  # 0.71, 0.11
    ```

    Args:
        x: Activations (points, channels) or (clips, channels, height, width), or moments.
        y: The other side's activations; left out with moments.
        keep: A share (0.99; 1.0 keeps every direction that has variance) or, as an integer, a number of directions.
        keep_by: What the share is of: variance, or values, the sum of singular values.
        forced: What to do about correlations that are 1 whatever the data: refuse, or allow and report.
        clips: For the floor, which clip each point belongs to, where points of one clip are alike: frames of a sound for
            instance. Left out, each point is its own clip. Of maps, likewise, which recording each clip belongs to.
        channel_axis: Where the channels are in arrays of another shape: -1 for (clips, tokens, channels).
        seed: Of the order in which clips are paired for the floor.
    """
    return _scored(partial(_cca, keep=keep, keep_by=keep_by, forced=forced), x, y, clips, channel_axis, seed)


def pwcca(
    x: Points,
    y: Points | None = None,
    *,
    keep: float | int = 1.0,
    keep_by: KeepBy = "variance",
    forced: Forced = "refuse",
    clips: Clips = None,
    channel_axis: int | None = None,
    seed: int = 0,
) -> Similarity:
    """Canonical correlations, each weighted by how much of the activations it accounts for (Morcos et al., 2018).

    The weight of a correlation is the sum over channels of |<canonical variable, channel>|, on the side that has fewer
    directions (x if they have as many), so it is not symmetric: the other side's weights give another score. As in their paper,
    nothing is truncated by default. Canonical variables are whitened, as the paper defines them; the authors' code leaves the
    whitening out of its weights, and its scores differ from these by up to 0.07. Arguments are those of `svcca`.

    ```python
    import numpy as np
    from tla.similarity import pwcca

    x, noise = np.random.default_rng(0).normal(size=(2, 400, 10))  # (points, channels)
    found = pwcca(x, x + noise)
    print(found.score, found.floor)  # 0.71, 0.13
    ```
    """
    score = partial(_cca, keep=keep, keep_by=keep_by, forced=forced, weighted=True)
    return _scored(score, x, y, clips, channel_axis, seed)


def cka(
    x: Points,
    y: Points | None = None,
    *,
    debiased: bool = False,
    clips: Clips = None,
    channel_axis: int | None = None,
    seed: int = 0,
) -> Similarity:
    """Linear centred kernel alignment (Kornblith et al., 2019).

    Debiased, its three Hilbert-Schmidt criteria are the unbiased estimates of Song et al. (2012): unrelated activations get 0
    on average, whatever the number of channels and points, and a single score may be below 0. It takes four points or more. The
    other arguments are those of `svcca`.

    ```python
    import numpy as np
    from tla.similarity import cka

    x, noise = np.random.default_rng(0).normal(size=(2, 400, 10))  # (points, channels)
    found = cka(x, x + noise, debiased=True)
    print(found.score, found.floor)  # 0.49, -0.00
    ```
    """
    return _scored(partial(_cka, debiased=debiased), x, y, clips, channel_axis, seed)


def procrustes(
    x: Points, y: Points | None = None, *, clips: Clips = None, channel_axis: int | None = None, seed: int = 0
) -> Similarity:
    """1 - d^2 / 2, where d is the distance that the best rotation leaves between the two, each scaled to norm 1 (0 to 1).

    That is the nuclear norm of Sxy over sqrt(trace Sxx * trace Syy). Arguments are those of `svcca`.

    ```python
    import numpy as np
    from tla.similarity import procrustes

    x, noise = np.random.default_rng(0).normal(size=(2, 400, 10))  # (points, channels)
    found = procrustes(x, x + noise)
    print(found.score, found.floor)  # 0.71, 0.13
    ```
    """
    return _scored(_procrustes, x, y, clips, channel_axis, seed)


def channel(
    x: Points, y: Points | None = None, *, clips: Clips = None, channel_axis: int | None = None, seed: int = 0
) -> Similarity:
    """Mean correlation of each channel with its namesake on the other side, for networks whose channels share identity.

    A channel that is dead on one side only counts as 0: it carries nothing any more. One dead on both is left out. Arguments
    are those of `svcca`.

    ```python
    import numpy as np
    from tla.similarity import channel

    x, noise = np.random.default_rng(0).normal(size=(2, 400, 10))  # (points, channels)
    found = channel(x, x + noise)
    print(found.score, found.floor)  # 0.70, 0.00
    ```
    """
    return _scored(_channel, x, y, clips, channel_axis, seed)


def weight_change(before: Tensor | Sequence[Tensor], after: Tensor | Sequence[Tensor]) -> float:
    """|after - before| / |before|, the norms taken over all weights given (those of a stage for instance) together."""
    old, new = ([w] if isinstance(w, Tensor) else list(w) for w in (before, after))
    shapes = [[tuple(w.shape) for w in side] for side in (old, new)]
    if shapes[0] != shapes[1]:
        raise UserError(f"weights of the shapes {shapes[0]} and {shapes[1]} are not the same weights before and after")
    size = sum(float(w.to(torch.float64).square().sum()) for w in old)
    change = sum(float((b.to(torch.float64) - a.to(torch.float64)).square().sum()) for a, b in zip(old, new, strict=True))
    if not np.isfinite(size + change):
        raise UserError("the weights hold NaN or infinity; that training failed")
    if not size:
        raise UserError("all weights before are 0, so a change relative to them has no meaning")
    return float((change / size) ** 0.5)


def directions(m: Moments, keep: float | int = KEEP, keep_by: KeepBy = "variance") -> tuple[Tensor, Tensor]:
    """The kept orthonormal directions u (p, k1) and w (q, k2).

    Replicates of a score that are not to choose their own are `svcca(part.project(u, w), keep=1.0)`.
    """
    _checked(m)
    return _kept(m.xx, keep, keep_by)[1], _kept(m.yy, keep, keep_by)[1]


def _cca(m: Moments, *, keep: float | int, keep_by: KeepBy, forced: Forced, weighted: bool = False) -> Similarity:
    dead = _checked(m)
    (a, u), (b, w) = _kept(m.xx, keep, keep_by), _kept(m.yy, keep, keep_by)
    kept = len(a), len(b)
    certain = forced_of(kept, m.points)
    if forced not in get_args(Forced):
        raise UserError(f"forced={forced!r}: possible are {' and '.join(get_args(Forced))}")
    if certain and forced == "refuse":
        raise UserError(
            f"{kept[0]} and {kept[1]} directions of {m.points} points: {certain} of {min(kept)} canonical correlations are 1 "
            "whatever the data. Use more points (positions folded in, not averaged) or fewer directions (keep), "
            "or take it with forced='allow'"
        )
    whitened = torch.linalg.multi_dot([(u / (a + EPSILON * a[0]).sqrt()).T, m.sxy, w / (b + EPSILON * b[0]).sqrt()])
    if weighted:
        left, values, right = torch.linalg.svd(whitened, full_matrices=False)
        # canonical variables times channels: h' X = P' diag(1 / sqrt a) U' Sxx = P' diag(sqrt a) U'
        variables, spread, axes = (left, a, u) if kept[0] <= kept[1] else (right.T, b, w)
        weights = (variables.T @ (axes * spread.sqrt()).T).abs().sum(1)
        values = values.clamp(max=1)
        score = weights @ values / weights.sum()
    else:
        values = torch.linalg.svdvals(whitened).clamp(max=1)
        score = values.mean()
    return Similarity(float(score), values.cpu().numpy(), kept, m.points, m.channels, certain, dead)


def _cka(m: Moments, *, debiased: bool) -> Similarity:
    dead = _checked(m, 4 if debiased else 2)
    if debiased:
        shared, own_x, own_y = (float(_unbiased(cross)) for cross in (m.xy, m.xx, m.yy))
        if not np.isfinite(shared):
            raise UserError("debiased CKA takes more than second moments, which projected moments no longer have")
        for side, own, cross in (("x", own_x, m.xx), ("y", own_y, m.yy)):
            if own <= UNDEFINED * float(cross.s.square().sum()):
                raise UserError(f"debiased CKA is not defined: all pairs of {side}'s {m.points} points are equally far apart")
    else:
        shared, own_x, own_y = (float(cross.s.square().sum()) for cross in (m.xy, m.xx, m.yy))
    return _uncorrelated(m, dead, shared / (own_x * own_y) ** 0.5)


def _unbiased(cross: Cross) -> Tensor:
    """The unbiased Hilbert-Schmidt independence criterion of linear kernels, times points (points - 3)."""
    n = cross.points
    return cross.s.square().sum() - n / (n - 2) * cross.q + cross.tx * cross.ty / ((n - 1) * (n - 2))


def _procrustes(m: Moments) -> Similarity:
    dead = _checked(m)
    score = torch.linalg.svdvals(m.sxy).sum() / (m.sxx.trace() * m.syy.trace()).sqrt()
    return _uncorrelated(m, dead, float(score))


def _channel(m: Moments) -> Similarity:
    if m.channels[0] != m.channels[1]:
        raise UserError(f"channels are compared one by one, and x has {m.channels[0]}, y {m.channels[1]}; take svcca or cka")
    dead = _checked(m)
    dead_x, dead_y = m.xx.dead(), m.yy.dead()
    variances = m.sxx.diagonal().clamp(min=0).sqrt() * m.syy.diagonal().clamp(min=0).sqrt()
    alive = ~(dead_x | dead_y)
    values = torch.where(alive, m.sxy.diagonal() / variances.where(alive, torch.ones_like(variances)), 0.0)
    values = values[~(dead_x & dead_y)].clamp(-1, 1)
    descending = values.sort(descending=True).values.cpu().numpy()
    return Similarity(float(values.mean()), descending, m.channels, m.points, m.channels, 0, dead)


def _kept(side: Cross, keep: float | int, keep_by: KeepBy) -> tuple[Tensor, Tensor]:
    """Variances (k,), descending, and directions (channels, k) that are kept; no more than there are."""
    if keep_by not in ("variance", "values"):
        raise UserError(
            f"keep_by={keep_by!r}: possible are variance (share of it) and values (share of the singular values' sum)"
        )
    number = isinstance(keep, Integral) and not isinstance(keep, bool)
    if isinstance(keep, bool) or not (keep >= 1 if number else 0 < keep <= 1):
        raise UserError(f"keep={keep!r}: possible are a share above 0 and up to 1.0, or a whole number of directions from 1")
    if number:
        return side.spectrum(int(keep))
    variances = side.variances()
    shares = (variances if keep_by == "variance" else variances.sqrt()).cumsum(0)
    return side.spectrum(len(shares) if keep == 1 else int((shares < (keep - 1e-12) * shares[-1]).sum()) + 1)


def _scored(
    score: Callable[[Moments], Similarity], x: Points, y: Points | None, clips: Clips, channel_axis: int | None, seed: int
) -> Similarity:
    """A score of moments, or of two arrays together with its floor."""
    if isinstance(x, Moments):
        if y is not None or clips is not None or channel_axis is not None:
            raise UserError("moments hold both sides, as points: leave y, clips and channel_axis out")
        return score(x)
    if y is None or isinstance(y, Moments):
        raise UserError("a comparison takes moments alone, or two arrays (points, channels)")
    both = pair(x, y, channel_axis)
    sums, partner = Sums.over(both.x.shape[1], both.y.shape[1], torch.float64), both.partner(clips, seed)
    sums.add(both.x, both.y, partner)
    found = score(sums.paired)
    return replace(found, floor=found.floor if partner is None else score(sums.permuted).score, positions=both.positions)


def _checked(m: Moments, least: int = 2) -> tuple[int, int]:
    """How many channels of each side are dead, if the moments are fit to be compared."""
    if m.points < least:
        raise UserError(f"{m.points} points; this takes {least} at least, and means something with many more than channels")
    if not all(bool(torch.isfinite(s).all()) for s in (m.sxx, m.syy, m.sxy)):
        raise UserError("the activations are so large that their products overflow; scale them, or take float64 products")
    dead = int(m.xx.dead().sum()), int(m.yy.dead().sum())
    for side, gone, channels in zip("xy", dead, m.channels, strict=True):
        if gone == channels:
            raise UserError(
                f"all {channels} channels of {side} are constant over {m.points} points; there is nothing to compare"
            )
    return dead


def _uncorrelated(m: Moments, dead: tuple[int, int], score: float) -> Similarity:
    return Similarity(score, np.empty(0), m.channels, m.points, m.channels, 0, dead)


MEASURES: dict[str, Callable[..., Similarity]] = {
    "svcca": svcca,
    "pwcca": pwcca,
    "cka": cka,
    "cka-debiased": partial(cka, debiased=True),
    "procrustes": procrustes,
    "channel": channel,
}
