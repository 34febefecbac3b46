"""Second moments of two sets of activations, paired point by point and accumulated batch by batch.

The measures of similarity need three matrices per pair of layers, whatever the number of points, so memory does not grow with
clips. A point is a position in a clip's feature map (or a clip, if positions are averaged): activations are (points,
channels). Each batch is centred by its own mean before its products are taken, so that no digits are lost, and joins the
others by the exact formula of Chan, Golub and LeVeque (1983); the accumulators are float64. The sums of fourth order are
those that debiased CKA needs, moved from mean to mean by the same algebra. All of it is linear in the points, so points can
also be taken out again: they are merged with negative weight.

What several comparisons share is computed once: a `Batch` is one side's points, a `Cross` the sums of two of them, and
`Moments` three crosses (x with itself, y with itself, x with y), which other `Moments` may hold as well.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from tla.errors import UserError
from tla.similarity.arrays import Array, pair
from tla.similarity.eigenvalues import Spectrum

DOUBLE = torch.float64
SMALL_GRAM = 128  # channels from which on a symmetric product is made of halves
PIECE = 4096  # points that are centred and multiplied at once: short enough to stay in the cache meanwhile
ROWS = 128  # of a sum that a batch is added to at once, for the same reason
_SUMS = ("mean_x", "mean_y", "s", "tx", "ty", "cxy", "cyx", "q")


@contextmanager
def _plain(device: torch.device) -> Iterator[None]:
    """Full precision and ordinary tensors, whatever mode the forward pass around us runs in."""
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


def fold(x: Tensor) -> Tensor:
    """Feature maps (clips, channels, ...) as points (clips * positions, channels), clip after clip; a view if channels-last."""
    return x.movedim(1, -1).reshape(-1, x.shape[1])


class Batch:
    """Points (points, channels) of one side, centred by their own mean; `products` is the dtype of matrix products."""

    def __init__(self, x: Tensor, products: torch.dtype = DOUBLE, *, side: str = "x") -> None:
        if x.ndim != 2:
            raise UserError(f"{side} has the shape {tuple(x.shape)}; activations are (points, channels)")
        if x.device.type == "mps":  # has no float64
            x = x.cpu()
        with _plain(x.device):
            wide = torch.promote_types(x.dtype, products)
            # Twice, in the dtypes at hand: the first takes most of a large mean away, so that the second is exact enough.
            # (A mean in float64 would copy all points to float64 first, which takes longer than the products.)
            rough = x[:PIECE].to(wide).mean(0) if len(x) else x.new_zeros(x.shape[1], dtype=wide)
            self.pieces = [(piece.to(wide) - rough).to(products) for piece in x.detach().split(PIECE)]
            rest = torch.stack([piece.sum(0) for piece in self.pieces]).sum(0, dtype=DOUBLE) / max(1, len(x))
            self.mean = rough.to(DOUBLE) + rest
            bad = (~torch.isfinite(self.mean)).nonzero()
            if len(bad):
                first = f"the first is channel {int(bad[0])}"
                raise UserError(f"{len(bad)} of {side}'s {x.shape[1]} channels hold NaN or infinity ({first})")
            for piece in self.pieces:
                piece -= rest.to(products)
            self.norms = torch.cat([torch.linalg.vector_norm(piece, dim=1) for piece in self.pieces]).to(DOUBLE).square()

    def __len__(self) -> int:
        return len(self.norms)

    def reordered(self, order: Tensor) -> "Batch":
        """The same points in another order (all of them, each once): to be paired with points that are not theirs."""
        other, rows = copy.copy(self), torch.cat(self.pieces)
        other.pieces, other.norms = [rows[part] for part in order.split(PIECE)], self.norms[order]
        other.mean = self.mean.clone()  # sharing it is the mark of a batch paired with itself
        return other


class Cross:
    """Sums over points x (points, p) and y (points, q), centred by their means.

    s = sum x y' (p, q), tx = sum |x|^2, ty = sum |y|^2, cxy = sum |x|^2 y (q,), cyx = sum |y|^2 x (p,), q = sum |x|^2 |y|^2.
    The last three are NaN where they are not known (after a projection).
    """

    def __init__(self, p: int, q: int, *, products: torch.dtype = DOUBLE) -> None:
        self.products, self.points = products, 0
        self.width = p  # channels that the products were taken of: fewer after a projection, with the same rounding
        self.mean_x, self.mean_y = torch.zeros(p, dtype=DOUBLE), torch.zeros(q, dtype=DOUBLE)
        self.s = torch.zeros(p, q, dtype=DOUBLE)
        self.tx = self.ty = self.q = torch.zeros((), dtype=DOUBLE)
        self.cxy, self.cyx = torch.zeros(q, dtype=DOUBLE), torch.zeros(p, dtype=DOUBLE)
        self._spectrum: Spectrum | None = None

    def add(self, x: Batch, y: Batch) -> None:
        """Count in more points."""
        if len(x) != len(y):
            raise UserError(f"x has {len(x)} points and y has {len(y)}; the same points have to be seen by both")
        if (len(x.mean), len(y.mean)) != tuple(self.s.shape):
            raise UserError(f"x and y have {len(x.mean)} and {len(y.mean)} channels; those before had {_times(self.s)}")
        if not len(x):
            return
        with _plain(x.mean.device):
            batch = Cross(0, 0, products=self.products)
            batch.points, batch.mean_x, batch.mean_y = len(x), x.mean, y.mean
            batch.s = _product(x, y)  # in the dtype of the products
            batch.tx, batch.ty, batch.q = x.norms.sum(), y.norms.sum(), x.norms @ y.norms
            batch.cxy = _weighted(y, x.norms)
            batch.cyx = batch.cxy if x is y else _weighted(x, y.norms)
            self._join(batch, 1)

    def merge(self, other: "Cross", sign: int = 1) -> "Cross":
        """The sums over the points of both; with sign -1, over the points that are not in `other`."""
        result = self.copy()
        result.join(other, sign)
        return result

    def copy(self) -> "Cross":
        """The same sums, to be gone on with."""
        result = copy.copy(self)
        with _plain(self.s.device):
            result.s = self.s.clone()  # the only one that is changed in place
        return result

    def project(self, u: Tensor, w: Tensor) -> "Cross":
        """The sums of x u and y w, for u (p, k1) and w (q, k2)."""
        result = Cross(u.shape[1], w.shape[1], products=self.products)
        result.width = self.width
        with _plain(self.s.device):
            result.points, result.mean_x, result.mean_y = self.points, self.mean_x @ u, self.mean_y @ w
            result.s = torch.linalg.multi_dot([u.T, self.s, w])
            result.tx = result.ty = result.q = torch.full_like(self.q, torch.nan)
            result.cxy, result.cyx = torch.full_like(result.mean_y, torch.nan), torch.full_like(result.mean_x, torch.nan)
        return result

    def spectrum(self, count: int | None = None) -> tuple[Tensor, Tensor]:
        """For x with itself: variances (times points) along its first `count` principal directions, or all, and these.

        What was worked out is kept until points are added.
        """
        with _plain(self.s.device):
            alive = ~self.dead()
            values = self.variances()[:count]
            assert self._spectrum is not None
            directions = self.s.new_zeros(len(alive), len(values))
            directions[alive] = self._spectrum.vectors(len(values))
        return values, directions

    def variances(self) -> Tensor:
        """For x with itself: variances (times points) along all principal directions, descending.

        A variance that is nothing but rounding counts as none: that of the decomposition (2e-16 of the largest variance for
        each channel) or of the products (5e-7 of the mean variance if they are float32, and four times what the most negative
        eigenvalue is below 0, for where there are directions without variance, rounding takes some below).
        """
        with _plain(self.s.device):
            if self._spectrum is None:
                alive = ~self.dead()
                self._spectrum = Spectrum(self.s if alive.all() else self.s[alive][:, alive])
            values = self._spectrum.values
            levels = (
                len(values) * torch.finfo(DOUBLE).eps * values[0],
                4 * self.rounding * values.sum() / self.width,
                -4 * values[-1],
            )
            return values[values > max(levels)]

    def dead(self) -> Tensor:
        """For x with itself: which channels (p,) do not vary, up to the rounding of their mean."""
        return self.s.diagonal() <= self.points * (4 * self.rounding * self.mean_x).square()

    def tensors(self) -> dict[str, np.ndarray]:
        """All of it, as arrays."""
        sums = {name: getattr(self, name).cpu().numpy() for name in _SUMS}
        return {**sums, **{name: np.array(getattr(self, name)) for name in ("points", "width", "rounding")}}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], device: torch.device | str = "cpu") -> "Cross":
        """What `tensors` gave."""
        double = float(tensors["rounding"]) == torch.finfo(DOUBLE).eps
        result = cls(0, 0, products=DOUBLE if double else torch.float32)
        result.points, result.width = int(tensors["points"]), int(tensors["width"])
        for name in _SUMS:
            setattr(result, name, torch.tensor(tensors[name], dtype=DOUBLE, device=device))
        return result

    @property
    def rounding(self) -> float:
        return torch.finfo(self.products).eps

    def join(self, other: "Cross", sign: int = 1) -> None:
        """Merge in place."""
        if self.s.shape != other.s.shape:
            raise UserError(f"moments of {_times(self.s)} and of {_times(other.s)} channels do not belong together")
        with _plain(other.s.device):
            self._join(other, sign)

    def _join(self, other: "Cross", sign: int) -> None:
        if not other.points:
            return
        points = self.points + sign * other.points
        if points <= 0:
            raise UserError(f"{other.points} points taken out of {self.points} leave nothing to compare")
        self.products = other.products if other.rounding > self.rounding else self.products
        if not self.points:
            self._adopt(other)
            return
        gap_x = other.mean_x - self.mean_x
        own = other.mean_x is other.mean_y and self.mean_x is self.mean_y  # x with itself: what follows is the same twice
        gap_y = gap_x if own else other.mean_y - self.mean_y
        share = sign * other.points / points  # of the gap that the mean moves by
        ours, theirs = self._about(gap_x, gap_y, share), other._about(gap_x, gap_y, share - 1)
        self.tx, self.ty, self.q, self.cxy, self.cyx = (a + sign * b for a, b in zip(ours, theirs, strict=True))
        for rows in torch.arange(len(self.s)).split(ROWS):  # a few rows at a time: they stay in the cache meanwhile
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            self.s[part].add_(other.s[part], alpha=sign).addr_(gap_x[part], gap_y, alpha=self.points * share)
        self.mean_x = self.mean_x + share * gap_x
        self.mean_y = self.mean_x if own else self.mean_y + share * gap_y
        self.points, self._spectrum = points, None

    def _adopt(self, other: "Cross") -> None:
        for name in _SUMS:
            setattr(self, name, getattr(other, name))
        self.points, self.s, self._spectrum = other.points, other.s.to(DOUBLE, copy=True), None

    def _about(self, gap_x: Tensor, gap_y: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """tx, ty, q, cxy, cyx about centres that lie off the means by a share of these gaps."""
        d, e, n = share * gap_x, share * gap_y, self.points
        dd, ee = d @ d, e @ e
        se = (self.s @ e.to(self.s.dtype)).to(DOUBLE)
        sd = se if gap_x is gap_y else (self.s.T @ d.to(self.s.dtype)).to(DOUBLE)
        cxy = self.cxy - e * self.tx - 2 * sd - n * dd * e
        cyx = self.cyx - d * self.ty - 2 * se - n * ee * d
        q = self.q - 2 * (e @ self.cxy + d @ self.cyx) + 4 * (d @ se) + ee * self.tx + dd * self.ty + n * dd * ee
        return self.tx + n * dd, self.ty + n * ee, q, cxy, cyx


class Moments:
    """What the measures need of activations of p and q channels, gathered batch by batch; memory does not grow with clips.

    A second one, in which every clip meets another one of its batch, has the floor:

    ```python
    import torch
    from tla.similarity import Moments, svcca

    torch.manual_seed(0)
    both, floor = Moments(16, 8), Moments(16, 8)
    for _ in range(10):
        x = torch.randn(4, 16, 6, 6)  # (clips, channels, height, width), as two networks might give them
        y = x[:, :8] + torch.randn(4, 8, 6, 6)
        both.add(x, y)
        floor.add(x, y.roll(1, 0))
    print(svcca(both).score, svcca(floor).score)  # 0.71, 0.11
    ```
    """

    def __init__(self, p: int, q: int, *, products: torch.dtype = DOUBLE) -> None:
        self.xx, self.yy = Cross(p, p, products=products), Cross(q, q, products=products)
        self.xy = Cross(p, q, products=products)

    @classmethod
    def of(cls, xx: Cross, yy: Cross, xy: Cross) -> "Moments":
        """Moments that share their parts with others: the same sides, paired in another way."""
        result = cls.__new__(cls)
        result.xx, result.yy, result.xy = xx, yy, xy
        return result

    @property
    def points(self) -> int:
        return self.xy.points

    @property
    def channels(self) -> tuple[int, int]:
        return len(self.xy.mean_x), len(self.xy.mean_y)

    @property
    def sxx(self) -> Tensor:
        return self.xx.s

    @property
    def syy(self) -> Tensor:
        return self.yy.s

    @property
    def sxy(self) -> Tensor:
        return self.xy.s

    def add(self, x: Array, y: Array, *, channel_axis: int | None = None) -> None:
        """Count in more points (points, channels), or maps (clips, channels, height, width); without any, nothing changes.

        `channel_axis` is where the channels are in arrays of another shape: -1 for (clips, tokens, channels).
        """
        both = pair(x, y, channel_axis)
        first = Batch(both.x, self.xy.products)
        second = first if both.y is both.x else Batch(both.y, self.xy.products, side="y")
        self.xy.add(first, second)  # first, since it refuses what does not fit
        self.xx.add(first, first)
        self.yy.add(second, second)

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both sets of points."""
        return Moments.of(self.xx.merge(other.xx), self.yy.merge(other.yy), self.xy.merge(other.xy))

    def without(self, part: "Moments") -> "Moments":
        """The moments of the points that are not in `part`, which was merged into these."""
        return Moments.of(self.xx.merge(part.xx, -1), self.yy.merge(part.yy, -1), self.xy.merge(part.xy, -1))

    @staticmethod
    def total(parts: Iterable["Moments"]) -> "Moments":
        """The moments of all sets of points."""
        result: Moments | None = None
        for part in parts:
            if result is None:
                result = Moments.of(part.xx.copy(), part.yy.copy(), part.xy.copy())
            else:
                for ours, theirs in ((result.xx, part.xx), (result.yy, part.yy), (result.xy, part.xy)):
                    ours.join(theirs)
        if result is None:
            raise UserError("there are no moments to add up")
        return result

    def project(self, u: Tensor, w: Tensor) -> "Moments":
        """The moments of x u and y w, for u (p, k1) and w (q, k2); debiased CKA cannot be computed from them."""
        return Moments.of(self.xx.project(u, u), self.yy.project(w, w), self.xy.project(u, w))

    def tensors(self) -> dict[str, np.ndarray]:
        """All of it as arrays, to be written to a file."""
        parts = {"xx": self.xx, "yy": self.yy, "xy": self.xy}
        return {f"{part}.{name}": array for part, cross in parts.items() for name, array in cross.tensors().items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], device: torch.device | str = "cpu") -> "Moments":
        """What `tensors` gave."""
        parts = ({k[3:]: v for k, v in tensors.items() if k.startswith(f"{part}.")} for part in ("xx", "yy", "xy"))
        return cls.of(*(Cross.from_tensors(part, device) for part in parts))


def _product(x: Batch, y: Batch) -> Tensor:
    """x' y (p, q)."""
    parts = ((_gram(a) if x is y else a.T @ b) for a, b in zip(x.pieces, y.pieces, strict=True))
    result = next(parts)
    for part in parts:
        result += part
    return result


def _weighted(x: Batch, weights: Tensor) -> Tensor:
    """The sum of points (channels,), each times its weight."""
    parts = zip(x.pieces, weights.split(PIECE), strict=True)
    return torch.stack([piece.T @ part.to(piece.dtype) for piece, part in parts]).sum(0, dtype=DOUBLE)


def _gram(x: Tensor) -> Tensor:
    """x' x (channels, channels) for little more than half the work: what lies below the diagonal is copied from above."""
    p = x.shape[1]
    if p < SMALL_GRAM:
        return x.T @ x
    h, result = p // 2, x.new_empty(p, p)
    result[:h, :h], result[h:, h:] = _gram(x[:, :h]), _gram(x[:, h:])
    torch.mm(x[:, :h].T, x[:, h:], out=result[:h, h:])
    result[h:, :h] = result[:h, h:].T
    return result


def _times(s: Tensor) -> str:
    return " and ".join(map(str, s.shape))
