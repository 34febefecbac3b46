"""How much did each layer change? A network before and after fine-tuning, layer by layer, on the held-out clips (Fig. 2a).

    python -m tla.svcca --data my/sounds                      SVCCA at every stage, with controls
    python -m tla.svcca --measure cka --layers all            another measure, every layer
    python -m tla.svcca --measure all                         all measures side by side
    python -m tla.svcca --before imagenet --after 3f9a        any two networks: a run, imagenet, random
    python -m tla.svcca --resolve                             and where in time, frequency and class
    python -m tla.svcca --map                                 every layer of one against every layer of the other

Curves: the pretrained network against its fine-tuned self, a random start against what training made of it, and two seeds of
one training (ceiling). The floor pairs each clip with another one: with few points per direction any two layers look alike,
and the floor is how much of a score that is. Runs that are missing are named and trained; it takes two seeds per fold.

Measures: svcca (mean correlation of the canonical directions that hold 99 % of the variance), pwcca (of all, weighted), cka and
cka-debiased (do they find the same clips alike), procrustes (best rotation): these do not care which channel is which. channel
(each with its namesake) and weights (relative change, no clips) do. 1 is unchanged; for weights, 0 is.
"""

from pathlib import Path
from typing import Literal

from tla import cli, console
from tla.errors import UserError
from tla.launch import at_hand
from tla.options import Place, Study


@cli.takes_study_at_hand(at_hand.study)
def main(
    study: Study,
    place: Place,
    *,
    measure: Literal["svcca", "pwcca", "cka", "cka-debiased", "procrustes", "channel", "weights", "all"] = "svcca",
    layers: str | None = None,
    pool: bool = False,
    keep: float | int | None = None,
    keep_by: Literal["variance", "values"] = "variance",
    forced: Literal["refuse", "allow"] = "refuse",
    before: str | None = None,
    after: str | None = None,
    resolve: bool = False,
    map: bool = False,
) -> cli.Planned | None:
    """This command.

    Args:
        measure: What is drawn; all draws every measure side by side.
        layers: stages, all (every convolution and block), or a list of stages and module names as in block3,features.trans*; by
            default stages, and all for --map.
        pool: Average the positions of a clip instead of taking each for a point; too few points are warned of, not refused.
        keep: Share of the variance that kept directions hold (svcca 0.99, pwcca 1.0) or, above 1, their number.
        keep_by: What the share is of: the variance, as in the paper, or the sum of singular values, as in SVCCA's tutorial.
        forced: Scores in which correlations are 1 whatever the data, for want of points: leave them out, or allow them.
        before: Compare this network (the beginning of a run's key, imagenet, or random) with --after.
        after: The run that --before is compared with, by the beginning of its key.
        resolve: Also draw along time, frequency and class how alike the layers' canonical directions are.
        map: Draw a map of every layer of one network against every layer of the other (debiased CKA, clip by clip) instead.
    """
    if place.redraw:
        redraw(place, study)
        return None
    _refuse(measure, keep, resolve=resolve, map=map)
    from tla import outputs
    from tla.launch.study import train_missing
    from tla.nets.activations import ALL_LAYERS, STAGE_LAYERS
    from tla.similarity import drawing, map_figure, maps, pairs, resolved_figure
    from tla.similarity import measuring as change
    from tla.similarity.scoring import Asked

    usual = ALL_LAYERS if map else STAGE_LAYERS
    layers = layers or usual
    needed = pairs.plan(study, place, layers=layers, before=before, after=after)
    if place.dry_run:
        return needed
    for line in pairs.to_train(needed):
        console.say(line)
    compared = train_missing(needed, place)
    folder = outputs.folder(compared.study, place, compared.store.dataset.digest)
    named = f"{compared.pairs[0].before.label}_{compared.pairs[0].after.label}" if before else ""
    variant = _variant(named, "" if layers == usual else layers, keep, pool=pool, values=keep_by == "values")
    variant += "_forced" * (forced == "allow")
    if map:
        map_figure.publish(maps.layer_map(compared, layers), folder, f"fig2a_map{variant}")
        return None
    measures = change.MEASURES if measure == "all" else (measure,)
    asked = Asked(measures, layers, pool=pool, keep=keep, keep_by=keep_by, forced=forced, resolve=resolve)
    changed = change.measure(compared, asked)
    drawing.publish(changed, folder, f"fig2a_{measure}{variant}")
    if changed.resolved is not None:
        resolved_figure.publish(changed.resolved, changed.runs, folder, f"fig2a_resolved{variant}")
    return None


def _refuse(measure: str, keep: float | None, *, resolve: bool, map: bool) -> None:
    """Options that do not go together, and a share or number that is none."""
    if resolve and (map or measure not in ("svcca", "all")):
        raise UserError("--resolve follows SVCCA's canonical directions: leave --measure at svcca, and --map out")
    if keep is not None and not (0 < keep <= 1 or (keep > 1 and keep % 1 == 0)):  # infinity % 1 is NaN
        raise UserError(f"--keep {keep:g}: give a share of the variance above 0 and up to 1, or a whole number of directions")


def _variant(compared: str, layers: str, keep: float | None, *, pool: bool, values: bool) -> str:
    """What sets the name of a figure's files apart from that of another one of the same study."""
    from tla.outputs import LONGEST_WORD, number, plain

    some = {"": "", "all": "layers"}.get(layers, f"layers_{plain(layers)[:LONGEST_WORD]}")
    words = (compared, some, "pooled" * pool, f"keep{number(keep)}" if keep is not None else "", "values" * values)
    return "".join(f"_{word}" for word in words if word)


def redraw(place: Place, study: Study) -> None:
    """Draw again all figures whose tables lie below --figures."""
    from tla import outputs
    from tla.similarity import drawing, map_figure, resolved_figure

    def draw(folder: Path, name: str) -> list[Path]:
        drawer = {"map": map_figure, "resolved": resolved_figure}.get(name.split("_")[1], drawing)
        return drawer.draw(folder, name)

    def names(folder: Path) -> list[str]:
        every = outputs.stems("fig2a_", ".csv")(folder)
        return [name for name in every if not name.endswith(("_points", "_contrasts", "_runs"))]

    outputs.redraw(place, outputs.folders(Path(place.figures), study), names, draw)


if __name__ == "__main__":
    cli.run(main)
