"""How much each layer changed (Fig. 2a), as tables: every pair of networks, layer by layer, with controls and intervals.

Three tables: runs (a row per measure, pair and layer), points and contrasts (`controls`).

- SVCCA without a group of clips keeps the directions that were chosen on all clips: the choice is part of the measure, and the
  interval is about how alike these directions are. The other measures are computed anew.
- The weights' change needs no clips: |after - before| / |before| over a layer's convolutions and matrices. A norm layer's
  scales and shifts are left out: they begin at 1 and 0 in any network, which would hide the change of the rest.
- A score with canonical correlations that are 1 whatever the data, on all clips or without the largest group of them, is left
  out by default, and what is left out is printed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tla.console import progress, say
from tla.errors import UserError
from tla.nets.activations import STAGE_LAYERS
from tla.similarity import controls, methods, stream
from tla.similarity.moments import Moments
from tla.similarity.pairs import Pair
from tla.similarity.resolved import Side, canonical, resolve, summary
from tla.similarity.tables import FLOOR, SCALES, SCORE, SVCCA, WEIGHTS, WHOLE, Change
from tla.sound.store import Store

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tla.nets.activations import Layer
    from tla.nets.stages import StagedNet

FEWER = "--folds 1 takes one fold, --layers stages the fewest layers"
MEASURES = (*methods.MEASURES, WEIGHTS)
CANONICAL = (SVCCA, "pwcca")  # have a keep rule, and correlations that can be forced
_SIDES = ("before", "after")


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


def measure(pairs: Sequence[Pair], store: Store, asked: Asked, device: "torch.device") -> Change:
    """The tables for pairs of networks, on the clips that each pair's run held out."""
    found = _Found()
    for number, pair in enumerate(pairs):
        _compare(pair, store, asked, device, found, rounds=len(pairs) - number)
    for reason, where in found.left_out.items():
        say(f"left out: {', '.join(where)}: {reason}")
    if not any(np.isfinite(row[SCORE]) for row in found.runs):
        raise UserError("nothing could be scored: every layer was left out, for the reasons above")
    runs, scores = pd.DataFrame(found.runs), pd.DataFrame(found.scores)
    points, contrasts = [], []
    for name in [name for name in asked.measures if (runs["measure"] == name).any()]:
        mine = runs[runs["measure"] == name]
        means = controls.over_runs(mine) if name == WEIGHTS else controls.over_clips(scores[scores["measure"] == name])
        points.append(controls.points(mine, means, SCALES[name].ends).assign(measure=name))
        contrasts.append(controls.contrasts(mine, means).assign(measure=name))
    resolved = summary(pd.DataFrame(found.resolved), store.picture, store.dataset.classes) if found.resolved else None
    return Change(runs, pd.concat(points, ignore_index=True), pd.concat(contrasts, ignore_index=True), resolved)


@dataclass
class _Found:
    """What is gathered: rows of the runs' table, scores with and without each group (0: with all), what is left out and why."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    resolved: list[dict[str, Any]] = field(default_factory=list)

    def leave_out(self, place: dict[str, Any], measure: str, why: str) -> None:
        self.left_out.setdefault(why, []).append(f"{measure} at {place['layer']} ({place['curve']})")


@dataclass(frozen=True)
class _Scored:
    """A measure at a layer: on all clips, with another clip on one side, and the scores of both without each group."""

    measure: str
    whole: methods.Similarity
    null: methods.Similarity
    without: list[tuple[float, float]]
    sides: tuple[Side, Side] | None = None
    """Of SVCCA, the directions kept and, if asked for, the canonical ones without each group."""


def _compare(pair: Pair, store: Store, asked: Asked, device: "torch.device", found: _Found, *, rounds: int) -> None:
    """Measure one pair at all of its layers."""
    run, clips = pair.run, np.array(pair.clips(store))
    before, after = pair.before.load(device), pair.after.load(device)
    couples = stream.shared_layers(before.net, after.net, asked.layers, store.clean.shape[1:])
    groups = [clips[group] for group in stream.grouped([store.dataset.sources[row] for row in clips])]
    fewest = len(clips) - max(map(len, groups)) * (len(groups) > 1)  # of what is scored without a group
    about = {**pair.about(store), "clips": len(clips), "groups": len(groups), "fewest_clips": fewest, "pool": asked.pool}
    places = [{**about, "layer": c.name, "stage": c.after.stage, "order": order} for order, c in enumerate(couples)]
    if WEIGHTS in asked.measures:
        for place, couple in zip(places, couples, strict=True):
            _weigh(place, before.net, after.net, couple, found)
    if set(asked.measures) == {WEIGHTS}:
        return
    what = f"{pair.curve}, fold {run.fold}, seed {run.seed}"
    with stream.spooled() as spool:
        with progress(f"activations: {what}", len(clips), "clips", rounds=rounds, fewer=FEWER) as watch:
            options: dict[str, Any] = {"pool": asked.pool, "products": asked.products, "advance": watch.advance}
            stream.accumulate(before, after, couples, store.clean, groups, spool, **options)
        if not asked.resolve:
            del before, after  # their memory is for the sums
        sides: dict[str, tuple[Side, Side]] = {}
        with progress(f"scoring: {what}", len(couples), "layers", rounds=rounds, fewer=FEWER) as watch:
            for layer, place in enumerate(places):
                for score in scored(spool, layer, asked, partial(found.leave_out, place)):
                    _note(found, place, asked, score)
                    if score.sides is not None and asked.resolve:
                        sides[place["layer"]] = score.sides
                watch.advance()
    if asked.resolve:
        labels = store.dataset.labels
        with progress(f"resolving: {what}", len(clips), "clips", rounds=rounds, fewer=FEWER) as watch:
            rows = resolve(before, after, couples, sides, store.clean, groups, labels, pool=asked.pool, advance=watch.advance)
        key = {place["layer"]: {name: place[name] for name in ("curve", "fold", "seed", "stage", "order")} for place in places}
        found.resolved += [{**key[row["layer"]], **row} for row in rows]


def _weigh(place: dict[str, Any], before: "StagedNet", after: "StagedNet", couple: stream.Couple, found: _Found) -> None:
    """Note how much a layer's weights changed."""
    one, other = (_weights(net, layer) for net, layer in zip((before, after), couple, strict=True))
    if one:
        found.runs.append({"measure": WEIGHTS, **place, SCORE: methods.weight_change(one, other), FLOOR: np.nan})
    else:
        found.leave_out(place, WEIGHTS, "it has no weights of its own")


def _weights(net: "StagedNet", layer: "Layer") -> list["Tensor"]:
    inside = net.stage_parameters(layer.name) if layer.name in net.stages else net.net.get_submodule(layer.module).parameters()
    return [weight.detach() for weight in inside if weight.ndim > 1]


def scored(spool: stream.Spool, layer: int, asked: Asked, leave_out: Callable[[str, str], None]) -> list[_Scored]:
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
    return [_Scored(name, *both, without[name], sides if name == SVCCA else None) for name, both in whole.items()]


def _narrowed(
    spool: stream.Spool, layer: int, narrow: stream.Sums, sides: tuple[Side, Side], *, resolve: bool
) -> list[tuple[float, float]]:
    """SVCCA and its floor without each group, in the directions that were kept on all clips; to resolve it, the sides get their
    canonical directions without each.
    """
    found = []
    for group in range(spool.groups):
        part = spool.part(layer, group, partial(stream.projected, u=sides[0].base, w=sides[1].base))
        rest = narrow.joined(part, -1)
        found.append(_both(lambda m: methods.svcca(m, keep=1.0, forced="allow"), rest))
        for side, turn in zip(sides, canonical(rest.paired) if resolve else (), strict=resolve):
            side.turns.append(turn.float())
    return found


def _both(score: Callable[[Moments], methods.Similarity], sums: stream.Sums) -> tuple[float, float]:
    try:
        return score(sums.paired).score, score(sums.permuted).score
    except UserError:
        return np.nan, np.nan


def _forced(whole: methods.Similarity, place: dict[str, Any]) -> int:
    """Canonical correlations that are 1 whatever the data, on all points or, if more, on the fewest that an interval takes."""
    return max(whole.forced, methods.forced_of(whole.kept, whole.points * place["fewest_clips"] // place["clips"]))


def _note(found: _Found, place: dict[str, Any], asked: Asked, scored: _Scored) -> None:
    """Put a score into the tables; one with forced correlations only if that is asked for."""
    name, whole = scored.measure, scored.whole
    scores = [(whole.score, scored.null.score), *scored.without]
    forced = _forced(whole, place) if name in CANONICAL else 0
    if forced:
        part = "" if whole.forced else ", without a group of recordings,"
        sizes = f"{whole.points} points, {whole.kept[0]} and {whole.kept[1]} directions kept"
        why = f"{forced} of {min(whole.kept)} canonical correlations{part} are 1 whatever the data ({sizes})"
        if asked.forced == "refuse" and not asked.pool:
            found.leave_out(place, name, f"{why}; keep fewer (--keep 0.9), bring more clips, or take it with --forced allow")
            scores = [(np.nan, np.nan) for _ in scores]
        else:
            pooled = "; --pool leaves a clip one point" if asked.pool else ""
            say(f"warning: {name} at {place['layer']} ({place['curve']}): {why}{pooled}")
    sides = {
        f"{what}_{side}": getattr(whole, what)[i] for what in ("kept", "channels", "dead") for i, side in enumerate(_SIDES)
    }
    score = {SCORE: scores[0][0], FLOOR: scores[0][1], "keep": asked.rule(name), "points": whole.points, "forced": forced}
    found.runs.append({"measure": name, **place, **score, **sides})
    key = {"measure": name, **{column: place[column] for column in ("curve", "layer", "fold", "seed")}}
    found.scores += [{**key, "group": i, SCORE: one, FLOOR: other} for i, (one, other) in enumerate(scores)]
