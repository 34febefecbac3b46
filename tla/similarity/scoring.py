"""Every measure at a layer, from the sums of all groups of clips: its score and floor, with all clips and without each group.

- SVCCA without a group of clips keeps the directions that were chosen on all clips: the choice is part of the measure, and the
  interval is about how alike these directions are. The other measures are computed anew.
- Where points are few, some canonical correlations are 1 whatever the data, on all clips or without the largest group of them.
  They are counted here; whoever asked refuses such a score or takes it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tla.errors import UserError
from tla.nets.activations import STAGE_LAYERS
from tla.similarity import methods
from tla.similarity.moments import Moments
from tla.similarity.resolved import Side, canonical
from tla.similarity.stream import Spool
from tla.similarity.sums import Sums, projected
from tla.similarity.tables import SVCCA, WEIGHTS, WHOLE

if TYPE_CHECKING:
    import torch

CANONICAL = (SVCCA, "pwcca")  # have a keep rule, and correlations that can be forced


@dataclass(frozen=True)
class Asked:
    """What is to be measured, and at which layers."""

    measures: tuple[str, ...] = (SVCCA,)
    layers: str = STAGE_LAYERS
    pool: bool = False
    keep: float | int | None = None
    keep_by: methods.KeepBy = "variance"
    forced: methods.Forced = "refuse"
    resolve: bool = False
    """Also along time, frequency and class (`resolved`), for SVCCA."""

    def score(self, measure: str, moments: Moments) -> methods.Similarity:
        """A measure with its options; forced correlations are counted, and judged by who reads them."""
        if measure not in CANONICAL:
            return methods.MEASURES[measure](moments)
        return methods.MEASURES[measure](moments, keep=self.kept(measure), keep_by=self.keep_by, forced="allow")

    @property
    def products(self) -> "torch.dtype":
        """Where none is cut off, directions of next to no variance count like the others: float32 is too coarse for them."""
        import torch

        fine = self.keep_by == "values" or any(self.kept(name) == 1.0 for name in CANONICAL if name in self.measures)
        return torch.float64 if fine else torch.float32

    def kept(self, measure: str) -> float | int:
        """The share or number of directions that a measure keeps."""
        if self.keep is not None:
            return int(self.keep) if self.keep > 1 else self.keep
        return methods.KEEP if measure == SVCCA else 1.0

    def rule(self, measure: str) -> str:
        """The same in words."""
        keep = self.kept(measure)
        if measure not in CANONICAL or (isinstance(keep, float) and keep == 1):
            return WHOLE
        if isinstance(keep, int):
            return f"{keep} directions"
        return f"{100 * keep:g} % of the {'variance' if self.keep_by == 'variance' else 'sum of singular values'}"


@dataclass(frozen=True)
class Scored:
    """A measure at a layer: on all clips, with another clip on one side, and the scores of both without each group."""

    measure: str
    whole: methods.Similarity
    null: methods.Similarity
    without: list[tuple[float, float]]
    sides: tuple[Side, Side] | None = None
    """Of SVCCA, the directions kept and, if asked for, the canonical ones without each group."""

    def forced(self, clips: int, fewest: int) -> int:
        """Correlations that are 1 whatever the data, on all points or, if more, on the fewest that an interval takes."""
        if self.measure not in CANONICAL:
            return 0
        return max(self.whole.forced, methods.forced_of(self.whole.kept, self.whole.points * fewest // clips))

    def why(self, forced: int) -> str:
        """So many forced correlations, in words."""
        whole, part = self.whole, "" if self.whole.forced else ", without a group of recordings,"
        sizes = f"{whole.points} points, {whole.kept[0]} and {whole.kept[1]} directions kept"
        return f"{forced} of {min(whole.kept)} canonical correlations{part} are 1 whatever the data ({sizes})"


def scored(spool: Spool, layer: int, asked: Asked, leave_out: Callable[[str, str], None]) -> list[Scored]:
    """Every measure that is defined at this layer."""
    total = spool.total(layer)
    whole = {}
    for name in [name for name in asked.measures if name != WEIGHTS]:
        try:
            whole[name] = asked.score(name, total.paired), asked.score(name, total.permuted)
        except UserError as error:
            leave_out(name, str(error))
    without: dict[str, list[tuple[float, float]]] = {name: [] for name in whole}
    sides = None
    if spool.groups > 1:
        others = [name for name in whole if name != SVCCA]
        for group in range(spool.groups if others else 0):
            rest = spool.without(layer, group, total)
            for name in others:
                without[name].append(_both(partial(asked.score, name), rest))
        if SVCCA in whole:
            u, w = methods.directions(total.paired, asked.kept(SVCCA), asked.keep_by)
            sides, narrow = (Side(total.xx.mean_x, u, []), Side(total.yy.mean_x, w, [])), total.project(u, w)
            del total  # in late layers it is large
            without[SVCCA] = _narrowed(spool, layer, narrow, sides, resolve=asked.resolve)
    return [Scored(name, *both, without[name], sides if name == SVCCA else None) for name, both in whole.items()]


def _narrowed(spool: Spool, layer: int, narrow: Sums, sides: tuple[Side, Side], *, resolve: bool) -> list[tuple[float, float]]:
    """SVCCA and its floor without each group, in the directions that were kept on all clips; to resolve it, the sides get their
    canonical directions without each.
    """
    found = []
    for group in range(spool.groups):
        part = spool.part(layer, group, partial(projected, u=sides[0].base, w=sides[1].base))
        rest = narrow.joined(part, -1)
        found.append(_both(lambda m: methods.svcca(m, keep=1.0, forced="allow"), rest))
        for side, turn in zip(sides, canonical(rest.paired) if resolve else (), strict=resolve):
            side.turns.append(turn.float())
    return found


def _both(score: Callable[[Moments], methods.Similarity], sums: Sums) -> tuple[float, float]:
    try:
        return score(sums.paired).score, score(sums.permuted).score
    except UserError:
        return np.nan, np.nan
