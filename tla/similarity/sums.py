"""Sums over points of two sides: paired as they are, and each with the point of another clip, which gives the floor.

Both pairings share the sums of each side, since points that are paired in another order have the same means and products.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from tla.similarity.moments import Batch, Cross, Moments


class Sums(NamedTuple):
    """Sums over points of two sides: of each by itself, paired clip by clip, and paired with another clip."""

    xx: Cross
    yy: Cross
    xy: Cross
    null: Cross

    @classmethod
    def over(cls, p: int, q: int, products: torch.dtype = torch.float32) -> "Sums":
        """Sums over no points yet, of p and q channels."""
        return cls(*(Cross(*size, products=products) for size in ((p, p), (q, q), (p, q), (p, q))))

    @property
    def paired(self) -> Moments:
        return Moments.of(self.xx, self.yy, self.xy)

    @property
    def permuted(self) -> Moments:
        return Moments.of(self.xx, self.yy, self.null)

    def add(self, x: Tensor, y: Tensor, partner: Tensor | None) -> None:
        """Count in points (points, channels); each of x is also paired with the point of y that `partner` names."""
        first = Batch(x, self.xy.products)
        second = first if y is x else Batch(y, self.xy.products, side="y")
        self.xy.add(first, second)  # first, since it refuses what does not fit
        self.xx.add(first, first)
        self.yy.add(second, second)
        if partner is not None:
            self.null.add(first, second.reordered(partner.to(second.mean.device)))

    def joined(self, other: "Sums", sign: int = 1) -> "Sums":
        """With the other's points or, with sign -1, without them."""
        return Sums(*(mine.merge(theirs, sign) for mine, theirs in zip(self, other, strict=True)))

    def project(self, u: Tensor, w: Tensor) -> "Sums":
        """The sums of x u and y w."""
        return Sums(*(projected(name, cross, u, w) for name, cross in self._asdict().items()))


def projected(name: str, cross: Cross, u: Tensor, w: Tensor) -> Cross:
    """One of the four sums, by its name, of x u and y w."""
    return cross.project(w if name == "yy" else u, u if name == "xx" else w)


def neighbours(points: int, clips: int) -> Tensor:
    """For each point of clips of one size, one clip after the other, the point of the clip before, at the same position."""
    return torch.arange(points).roll(points // clips)
