"""Which stages need pretrained weights? Start from ImageNet up to a stage, at random behind it, fine-tune all (Fig. 2b).

    python -m tla.fusion --upto block3                 that one point, drawn with the points that exist
    python -m tla.fusion --data my/sounds              the whole sweep: none, stem, block1 ... block4
    python -m tla.fusion --upto none,block4 --seeds 3
    python -m tla.fusion --controls                    with the controls

Controls, as further curves: rest of the network with the pretrained mean and variance of each tensor; only convolutions or only
batch norm from ImageNet; the pretrained stages frozen (transfer without fine-tuning); the same stages taken from a network
trained on these very sounds from scratch, free and frozen (selffer), after Yosinski et al. (2014); and the same with twice the
training, which tells what hangs on the budget.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from tla import cli
from tla.errors import UserError
from tla.options import STAGES, Place, Stage, Study, Transfer

NAME = "fig2b_fusion"


def main(
    study: Study,
    place: Place,
    *,
    upto: tuple[Stage, ...] = (),
    controls: bool = False,
    rest: Literal["random", "meanvar"] | None = None,
    parts: Literal["all", "conv", "norm"] | None = None,
    rule: Literal["best", "last", "test"] | None = None,
) -> cli.Planned | None:
    """This command.

    Args:
        upto: The last pretrained stage, or several as in none,block3; by default the whole sweep.
        controls: Train and draw the controls too; seven more curves.
        rest: Short for --transfer.rest.
        parts: Short for --transfer.parts.
        rule: The epoch that is scored; by default the last one (nested protocol: the chosen one).
    """
    from tla import plots
    from tla.stages import figure as draw

    if place.redraw:
        plots.redraw(Path(place.figures), (NAME, f"{NAME}_controls"), draw.draw)
        return None
    from tla.launch.study import prepare
    from tla.runs.scores import scored
    from tla.stages.measure import measure
    from tla.stages.sweep import LONGER, asked, curve, finished, longer, plan, selffer, start

    base = replace(study.transfer, rest=rest or study.transfer.rest, parts=parts or study.transfer.parts)
    if study.weights == "random":
        raise UserError("fusion needs pretrained weights and --weights is random: give imagenet, a file or the key of a run")
    wanted = asked(upto, ("none", *STAGES), "--upto")
    chosen = scored(study, rule)
    material = prepare(study, place)

    plans: dict[str, Transfer] = {stage: replace(base, pretrained_upto=stage) for stage in ("none", *STAGES)}
    frozen = {stage: replace(plan, frozen_upto=plan.pretrained_upto) for stage, plan in plans.items()}
    curves = {start(material): curve(material, plans, wanted, place)}
    if controls:
        matched = {stage: replace(plan, rest="meanvar") for stage, plan in plans.items()}
        convolutions = {stage: replace(plan, parts="conv") for stage, plan in plans.items()}
        norms = {stage: replace(plan, parts="norm") for stage, plan in plans.items()}
        curves["rest: mean and variance"] = curve(material, matched, wanted, place)
        curves["convolutions only"] = curve(material, convolutions, wanted, place)
        curves["batch norm only"] = curve(material, norms, wanted, place)
        curves["pretrained, frozen"] = curve(material, frozen, wanted, place)
        curves["own sounds"] = selffer(material, plans, wanted, place)
        curves["own sounds, frozen"] = selffer(material, frozen, wanted, place)
        curves[LONGER] = longer(material, plans, wanted, place)
    if place.dry_run:
        return plan(curves)
    result = measure(finished(curves, material, place), chosen)
    draw.publish(result, Path(place.figures), f"{NAME}_controls" if controls else NAME)
    return None


if __name__ == "__main__":
    cli.run(main)
