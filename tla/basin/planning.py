"""The runs that are looked into: a study's, its twin from random weights, and other seeds as far as they are finished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tla.basin.tables import PRETRAINED
from tla.launch.material import Material
from tla.launch.plan import Plan, PlanFor
from tla.launch.study import list_runs, prepare
from tla.options import RANDOM, Place, Study
from tla.runs.folder import FinishedRun

LEAST_SEEDS = 2  # that are looked for: one stage is exchanged between two


@dataclass(frozen=True)
class Networks:
    """Finished runs, in folds by seed, with what it takes to have them compute."""

    arms: Mapping[str, Mapping[int, Sequence[FinishedRun]]]
    """Curve -> fold -> the runs of the study."""
    partners: Mapping[str, Mapping[int, Sequence[FinishedRun]]]
    """The same with the seeds beyond the study's that are finished."""
    material: Material


def plan(study: Study, place: Place) -> PlanFor[Networks]:
    """The runs of the question, for `measure`: a study's and, if these are pretrained, their twins from random weights.

    networks = tla.train_missing(basin.plan(Study(data="my/sounds", seeds=3), Place()), Place())
    basin.figure(basin.measure(networks))
    """
    material = prepare(study, place)
    more = replace(material, study=replace(study, seeds=max(LEAST_SEEDS, study.seeds)))
    curves = {RANDOM: RANDOM} if material.pretrained is None else {PRETRAINED: material.pretrained.identity, RANDOM: RANDOM}
    every = {curve: Plan.of(list_runs(more, start=start), material, place) for curve, start in curves.items()}
    wanted = {path: one for arm in every.values() for path, one in arm.wanted.items() if one.run.seed < study.seeds}

    def sorted_out(trained: Mapping[str, FinishedRun]) -> Networks:
        found = {
            curve: [run for one in arm.wanted.values() if (run := trained.get(one.run.key) or one.finished())]
            for curve, arm in every.items()
        }
        own = {curve: [run for run in runs if run.run.seed < study.seeds] for curve, runs in found.items()}
        arms, partners = ({curve: _by_fold(runs) for curve, runs in each.items()} for each in (own, found))
        return Networks(arms, partners, material)

    return PlanFor(wanted, sorted_out=sorted_out)


def _by_fold(runs: Sequence[FinishedRun]) -> dict[int, list[FinishedRun]]:
    folds = sorted({run.run.fold for run in runs})
    return {fold: sorted((r for r in runs if r.run.fold == fold), key=lambda r: r.run.seed) for fold in folds}
