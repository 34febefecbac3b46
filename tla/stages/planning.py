"""The runs of a sweep over stages: its points under the study's own plan and, as controls, under others."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tla.errors import UserError
from tla.launch.material import Material
from tla.launch.plan import Plan, PlanFor
from tla.launch.study import prepare
from tla.options import RANDOM, STAGES, Place, Study, Transfer
from tla.runs.folder import FinishedRun
from tla.stages import sweep as sweeps
from tla.stages.measuring import Curves
from tla.stages.sweep import Curve, Plans
from tla.stages.tables import ENDS, LONGER, OPTIONS, SweepName


def plan(
    study: Study, place: Place, sweep: SweepName, *, points: Sequence[str] = (), controls: bool = False
) -> PlanFor[Curves]:
    """The runs of a sweep, for `measure`.

        plan = stages.plan(Study(data="my/sounds", backbone="resnet50"), Place(), "freeze")
        plan                                                     # 6 runs: 0 finished, 0 to continue, 6 to train
        plan.forecast()                                          # hours, from training a few batches here
        tables = stages.measure(tla.train_missing(plan, Place()))
        stages.figure(tables)

    Args:
        sweep: fusion (the last pretrained stage), freeze (the last frozen one) or cutoff (the last one that is there).
        points: Stages, and none; by default all. At the others, runs that are finished are taken too.
        controls: The same with twice the training too, and for fusion the curves under other plans (`tla.fusion`).
    """
    if sweep not in OPTIONS:
        raise UserError(f"there is no sweep {sweep!r}: possible are {', '.join(OPTIONS)}")
    plans = _plans(study.transfer, sweep)
    wanted = sweeps.asked(points, list(plans), OPTIONS[sweep])
    if sweep == "fusion" and study.weights == RANDOM:
        raise UserError("fusion needs pretrained weights and --weights is random: give imagenet, a file or the key of a run")
    material = prepare(study, place)
    curves = {sweeps.start(material): sweeps.curve(material, plans, wanted, place)}
    if controls:
        curves |= _controls(material, plans, wanted, place) if sweep == "fusion" else {}
        curves[LONGER] = sweeps.longer(material, plans, wanted, place)

    def sorted_out(trained: Mapping[str, FinishedRun]) -> Curves:
        found = {name: curve.finished(trained) for name, curve in curves.items()}
        return Curves(sweep, {**found, ENDS: sweeps.ends(material, place)})

    return PlanFor(sum((curve.plan for curve in curves.values()), Plan()).wanted, sorted_out=sorted_out)


def _plans(base: Transfer, sweep: SweepName) -> Plans:
    """The transfer plan at each point."""
    if sweep == "fusion":
        return {stage: replace(base, pretrained_upto=stage) for stage in ("none", *STAGES)}
    if sweep == "freeze":
        return {stage: replace(base, frozen_upto=stage) for stage in ("none", *STAGES)}
    return {stage: replace(base, kept_upto=stage) for stage in STAGES}


def _controls(material: Material, plans: Plans, wanted: Sequence[str], place: Place) -> dict[str, Curve]:
    """Fusion under other plans, and from networks that were trained on the study's own sounds."""
    frozen = {stage: replace(plan, frozen_upto=plan.pretrained_upto) for stage, plan in plans.items()}
    others = {
        "rest: mean and variance": {stage: replace(plan, rest="meanvar") for stage, plan in plans.items()},
        "convolutions only": {stage: replace(plan, parts="conv") for stage, plan in plans.items()},
        "batch norm only": {stage: replace(plan, parts="norm") for stage, plan in plans.items()},
        "pretrained, frozen": frozen,
    }
    curves = {label: sweeps.curve(material, mine, wanted, place) for label, mine in others.items()}
    own = {"own sounds": plans, "own sounds, frozen": frozen}
    return curves | {label: sweeps.selffer(material, mine, wanted, place) for label, mine in own.items()}
