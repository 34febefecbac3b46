"""How much each layer changed (Fig. 2a), as tables: every pair of networks, layer by layer, with controls and intervals.

Three tables: runs (a row per measure, pair and layer), points and contrasts (`controls`).

- The weights' change needs no clips: |after - before| / |before| over a layer's convolutions and matrices. A norm layer's
  scales and shifts are left out: they begin at 1 and 0 in any network, which would hide the change of the rest.
- A score with canonical correlations that are 1 whatever the data, on all clips or without the largest group of them, is left
  out by default, and what is left out is printed.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tla.console import progress, say
from tla.errors import UserError
from tla.similarity import controls, methods, stream
from tla.similarity.pairs import Compared, Pair
from tla.similarity.resolved import Side, resolve, summary
from tla.similarity.scoring import Asked, Scored, scored
from tla.similarity.tables import FLOOR, SCALES, SCORE, WEIGHTS, Change
from tla.sound.store import Store

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tla.nets.activations import Layer
    from tla.nets.stages import StagedNet

FEWER = "--folds 1 takes one fold, --layers stages the fewest layers"
MEASURES = (*methods.MEASURES, WEIGHTS)
_SIDES = ("before", "after")


def measure(compared: Compared, asked: Asked | None = None) -> Change:
    """The tables for pairs of networks, on the clips that each pair's run held out; by default SVCCA at every stage."""
    asked = asked or Asked()
    found, pairs, store, device = _Found(), compared.pairs, compared.store, compared.device
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
    passes = stream.of_run(before), stream.of_run(after)
    with stream.spooled() as spool:
        with progress(f"activations: {what}", len(clips), "clips", rounds=rounds, fewer=FEWER) as watch:
            options: dict[str, Any] = {"pool": asked.pool, "products": asked.products, "advance": watch.advance}
            stream.accumulate(*passes, couples, store.clean, groups, spool, **options)
        if not asked.resolve:
            del before, after, passes  # their memory is for the sums
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
            rows = resolve(*passes, couples, sides, store.clean, groups, labels, pool=asked.pool, advance=watch.advance)
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


def _note(found: _Found, place: dict[str, Any], asked: Asked, scored: Scored) -> None:
    """Put a score into the tables; one with forced correlations only if that is asked for."""
    name, whole = scored.measure, scored.whole
    scores = [(whole.score, scored.null.score), *scored.without]
    forced = scored.forced(place["clips"], place["fewest_clips"])
    if forced:
        why = scored.why(forced)
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
