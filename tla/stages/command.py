"""What the commands over stages share: redraw, or plan the runs of a sweep, train what is missing, measure, draw."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tla.options import Place, Study, Transfer
from tla.stages.tables import FIGURES, SweepName

if TYPE_CHECKING:
    from tla.launch.plan import Plan


def sweep(
    which: SweepName,
    study: Study,
    place: Place,
    transfer: Transfer,
    points: Sequence[str],
    *,
    rule: str | None,
    controls: bool,
) -> "Plan | None":
    """The sweep that a command asks for, from a transfer plan, at some of its points; its plan alone in a dry run."""
    from tla import outputs
    from tla.stages import drawing

    name = FIGURES[which]
    if place.redraw:
        outputs.redraw(place, outputs.folders(Path(place.figures), study), outputs.stems(name, "_steps.csv"), drawing.draw)
        return None
    from tla.launch.study import train_missing
    from tla.runs.scores import scored
    from tla.stages.measuring import measure
    from tla.stages.planning import plan

    chosen = scored(study, rule)
    needed = plan(replace(study, transfer=transfer), place, which, points=points, controls=controls)
    if place.dry_run:
        return needed
    result = measure(train_missing(needed, place), chosen)
    variant = "_controls" * controls + f"_{chosen}" * (chosen != scored(study, None))
    drawing.publish(result, outputs.folder(study, place, needed.data_digest), name + variant)
    return None
