"""How much did each layer change? A network before and after fine-tuning, layer by layer, on the held-out clips (Fig. 2a).

    python -m tla.svcca --data my/sounds                      SVCCA at every stage, with controls
    python -m tla.svcca --measure cka --layers all            another measure, every layer
    python -m tla.svcca --measure all                         all measures side by side
    python -m tla.svcca --before imagenet --after 3f9a        any two networks: a run, imagenet, random
    python -m tla.svcca --resolve                             and where in time, frequency and class
    python -m tla.svcca --map                                 every layer of one against every layer of the other

Curves: the pretrained network against its fine-tuned self, a random start against what training made of it, and two seeds of
one training (ceiling). The floor pairs each clip with another one: with few points per direction any two layers look alike,
and the floor says how much of a score that is. Runs that are missing are named and trained; it takes two seeds per fold.

Measures: svcca (mean correlation of the canonical directions that hold 99 % of the variance), pwcca (of all, weighted), cka and
cka-debiased (do they find the same clips alike), procrustes (best rotation): these do not care which channel is which. channel
(each with its namesake) and weights (relative change, no clips) do. 1 is unchanged; for weights, 0 is.
"""

from pathlib import Path
from typing import Literal

from tla import cli
from tla.errors import UserError
from tla.options import Place, Study


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
        redraw(Path(place.figures))
        return None
    if (before is None) != (after is None):
        raise UserError("--before and --after belong together: --before RUN, imagenet or random, and --after RUN")
    if resolve and (map or measure not in ("svcca", "all")):
        raise UserError("--resolve follows SVCCA's canonical directions: leave --measure at svcca, and --map out")
    if keep is not None and not (0 < keep <= 1 or (keep > 1 and keep % 1 == 0)):  # infinity % 1 is NaN
        raise UserError(f"--keep {keep:g}: give a share of the variance above 0 and up to 1, or a whole number of directions")
    from tla.launch.plan import Plan
    from tla.launch.study import prepare
    from tla.nets import activations, backbones
    from tla.runs.device import choose_device
    from tla.similarity import figure as draw
    from tla.similarity import map_figure as draw_maps
    from tla.similarity import resolved_figure as draw_resolved
    from tla.similarity.maps import layer_map
    from tla.similarity.measure import MEASURES, Asked
    from tla.similarity.measure import measure as measured
    from tla.similarity.pairs import controlled, named, plan

    usual = activations.ALL_LAYERS if map else activations.STAGE_LAYERS
    which = layers or usual
    if before is not None and after is not None:
        pair, store = named(before, after, study, place)
        if place.dry_run:
            return Plan()
        pairs, device = [pair], choose_device(place.device)
    else:
        material = prepare(study, place)
        net = backbones.build(study.backbone, 2, seed=0)
        activations.layers(net, which, material.store.clean.shape[1:])  # refuses what there is not, before training
        if place.dry_run:
            return plan(material, place)
        pairs, store, device = controlled(material, place), material.store, material.device
    variant = [pairs[0].before.label, pairs[0].after.label] if before else []
    variant += ["layers"] * (which != usual) + ["pooled"] * pool
    folder, suffix = Path(place.figures), "".join(f"_{word}" for word in variant)
    if map:
        draw_maps.publish(layer_map(pairs, store, which, device), folder, f"fig2a_map{suffix}")
        return None
    asked = Asked(
        measures=MEASURES if measure == "all" else (measure,),
        layers=which,
        pool=pool,
        keep=int(keep) if keep is not None and keep > 1 else keep,
        keep_by=keep_by,
        forced=forced,
        resolve=resolve,
    )
    change = measured(pairs, store, asked, device)
    draw.publish(change, folder, f"fig2a_{measure}{suffix}")
    if change.resolved is not None:
        draw_resolved.publish(change.resolved, change.runs, folder, f"fig2a_resolved{suffix}")
    return None


def redraw(folder: Path) -> None:
    """Draw again all figures whose tables lie in a folder."""
    from tla import plots
    from tla.similarity import figure, map_figure, resolved_figure

    def draw(folder: Path, name: str) -> list[Path]:
        drawer = {"map": map_figure, "resolved": resolved_figure}.get(name.split("_")[1], figure)
        return drawer.draw(folder, name)

    names = [path.stem for path in sorted(folder.glob("fig2a_*.csv"))]
    plots.redraw(folder, [name for name in names if not name.endswith(("_points", "_contrasts", "_runs"))], draw)


if __name__ == "__main__":
    cli.run(main)
