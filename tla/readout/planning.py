"""What is read out: the networks of a study and, if they are asked for, its runs and others after training."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tla.launch.material import Material
from tla.launch.plan import Plan, PlanFor
from tla.launch.study import plan as plan_study
from tla.options import LEAKS, Place, Study
from tla.readout import networks
from tla.readout.measuring import Asked, Stage
from tla.runs.folder import FinishedRun
from tla.sound import leaks


def plan(study: Study, place: Place, *, run: Sequence[str] = (), tuned: bool = False) -> PlanFor[Asked]:
    """The runs that a readout needs: none, or with `tuned` those of the study, on each backbone that it names.

    asked = tla.train_missing(readout.plan(study, place), place)
    tables = readout.measure(asked)
    tables.ranking                                         # backbones and stages, the best first
    readout.figure(tables)

    Args:
        run: Finished runs, by the beginnings of their keys, to be read out before and after training too.
    """
    materials = networks.materials(study, place)
    plans = {one.backbone: plan_study(one, place) for one in networks.backbones(study) if tuned}

    def sorted_out(trained: Mapping[str, FinishedRun]) -> Asked:
        def stages() -> Iterator[Stage]:
            yield from networks.stages(materials)
            for material in materials:
                if mine := plans.get(material.study.backbone):
                    yield from networks.of_study(mine.sorted_out(trained), material)
            for key in run:
                yield from networks.of_run(key, study, place, materials[0])

        first = materials[0]
        return Asked(stages, networks.clips_of(first), _about(first), networks.costs(materials), first.dataset.digest)

    return PlanFor(sum(plans.values(), Plan()).wanted, sorted_out=sorted_out)


def _about(material: Material) -> dict[str, Any]:
    """The columns of all tables that say what they stand on."""
    note = leaks.note(material.dataset)
    folds = "+".join(map(str, networks.clips_of(material).splits))
    standardised = material.study.recipe.standardise
    return {"data": material.dataset.name, **({LEAKS: note} if note else {}), "folds": folds, "standardised": standardised}
