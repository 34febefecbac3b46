"""What the commands over stages share: plan the runs of a sweep, train what is missing, measure, draw."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tla.options import Place, Study

if TYPE_CHECKING:
    from tla.launch.plan import Plan
    from tla.stages.sweep import Plans


def sweep(
    name: str,
    study: Study,
    place: Place,
    plans: "Plans",
    option: str,
    points: Sequence[str],
    *,
    rule: str | None,
    controls: bool,
    others: Mapping[str, "Plans"] = {},
    own: Mapping[str, "Plans"] = {},
) -> "Plan | None":
    """The sweep that a command asks for at some of its points, all if it names none; its plan alone in a dry run.

    controls: the same with twice the training too; before it, curves under `others` plans, and curves under plans that start
    from networks trained on the study's `own` sounds.
    """
    from tla import outputs
    from tla.stages import drawing

    if place.redraw:
        outputs.redraw(place, outputs.folders(Path(place.figures), study), outputs.stems(name, "_steps.csv"), drawing.draw)
        return None
    from tla.launch.study import prepare
    from tla.runs.scores import scored
    from tla.stages.measuring import measure
    from tla.stages.sweep import asked, curve, finished, longer, plan, selffer, start
    from tla.stages.tables import LONGER

    wanted = asked(points, list(plans), option)
    chosen = scored(study, rule)
    material = prepare(study, place)
    curves = {start(material): curve(material, plans, wanted, place)}
    if controls:
        curves |= {label: curve(material, mine, wanted, place) for label, mine in others.items()}
        curves |= {label: selffer(material, mine, wanted, place) for label, mine in own.items()}
        curves[LONGER] = longer(material, plans, wanted, place)
    if place.dry_run:
        return plan(curves)
    result = measure(finished(curves, material, place), chosen)
    variant = "_controls" * controls + f"_{chosen}" * (chosen != scored(study, None))
    drawing.publish(result, outputs.folder(study, place, material.dataset.digest), name + variant)
    return None
