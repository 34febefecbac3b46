"""Which stages must be free to move? Keep the pretrained stages up to one as they are, fine-tune the rest (Fig. 2c).

    python -m tla.freeze --upto block3
    python -m tla.freeze --data my/sounds                    the whole sweep: none, stem, block1 ... block4
    python -m tla.freeze --controls                          with twice the training beside it
    python -m tla.freeze --frozen-norm live                  batch norm of frozen stages runs on each batch's statistics

Frozen means every weight and every statistic. What frozen stages say of a picture never changes, so it is computed once and
kept on disk, and training starts behind them (`python -m tla.bench freeze` shows what that saves).
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from tla import cli
from tla.options import STAGES, Place, Stage, Study, Transfer

NAME = "fig2c_freeze"


def main(
    study: Study,
    place: Place,
    *,
    upto: tuple[Stage, ...] = (),
    controls: bool = False,
    frozen_norm: Literal["inference", "live"] | None = None,
    rule: Literal["best", "last", "test"] | None = None,
) -> cli.Planned | None:
    """This command.

    Args:
        upto: The last frozen stage, or several as in none,block3; by default the whole sweep.
        controls: Train and draw the same with twice the training too, which tells what hangs on the budget.
        frozen_norm: Short for --transfer.frozen-norm.
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
    from tla.stages.sweep import LONGER, asked, curve, finished, longer, plan, start

    base = replace(study.transfer, frozen_norm=frozen_norm or study.transfer.frozen_norm)
    wanted = asked(upto, ("none", *STAGES), "--upto")
    chosen = scored(study, rule)
    material = prepare(study, place)
    plans: dict[str, Transfer] = {stage: replace(base, frozen_upto=stage) for stage in ("none", *STAGES)}
    curves = {start(material): curve(material, plans, wanted, place)}
    if controls:
        curves[LONGER] = longer(material, plans, wanted, place)
    if place.dry_run:
        return plan(curves)
    result = measure(finished(curves, material, place), chosen)
    draw.publish(result, Path(place.figures), f"{NAME}_controls" if controls else NAME)
    return None


if __name__ == "__main__":
    cli.run(main)
