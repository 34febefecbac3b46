"""Sweeps over a transfer plan: one study per point, those that are asked for trained, the others read if they exist."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tla.errors import UserError
from tla.launch.material import Material
from tla.launch.study import ensure, list_runs
from tla.options import Place, Transfer
from tla.runs.folder import FinishedRun, intact
from tla.runs.run import Run

ENDS = "ends"  # the curve under which the two ends stand in a sweep's tables
LONGER = "twice the training"  # the curve of that control

Points = dict[str, list[FinishedRun]]


def asked(wanted: Sequence[str], possible: Sequence[str], option: str) -> list[str]:
    """The points that a command line names, all of them if it names none; `UserError` for one that there is not."""
    wrong = [point for point in wanted if point not in possible]
    if wrong:
        raise UserError(f"{option} {','.join(wrong)}: possible are {', '.join(possible)}")
    return [point for point in possible if point in wanted or not wanted]


def sweep(material: Material, plans: Mapping[str, Transfer], wanted: Sequence[str], place: Place) -> Points:
    """The finished runs at each point: the wanted ones are trained where they are missing."""
    runs = {point: list_runs(material, plan=plan) for point, plan in plans.items()}
    ensure([run for point in wanted for run in runs[point]], material, place)
    return _finished(runs, place)


def start(material: Material) -> str:
    """What a figure calls the weights that a study starts from."""
    return "random" if material.pretrained is None else "pretrained"


def ends(material: Material, place: Place) -> Points:
    """The study's own network, all of it pretrained or all random and all free to move, as far as these are finished."""
    plans = {"pretrained": Transfer(pretrained_upto="block4"), "random": Transfer(pretrained_upto="none")}
    if material.pretrained is None:
        del plans["pretrained"]
    return sweep(material, plans, [], place)


def longer(material: Material, plans: Mapping[str, Transfer], wanted: Sequence[str], place: Place) -> Points:
    """The same with twice the training: what changes then is no finding about the stages but about the budget."""
    recipe = replace(material.study.recipe, times=2 * material.study.recipe.times)
    return sweep(replace(material, study=replace(material.study, recipe=recipe)), plans, wanted, place)


def selffer(material: Material, plans: Mapping[str, Transfer], wanted: Sequence[str], place: Place) -> Points:
    """The same from networks trained on this very data from scratch, each run from the one of its own fold and seed.

    Yosinski et al. (2014): what is lost here is lost to the cut between the stages, not to the change of task.
    """
    from tla.nets import weights

    merged: dict[str, list[Run]] = {point: [] for point in plans}
    donors = list_runs(material, scratch=True)
    for donor, folder in zip(donors, ensure(donors, material, place), strict=True):
        own = replace(material, pretrained=weights.load(str(folder.trained_weights()), donor.backbone))
        mine = {point: _of(list_runs(own, plan=plan), donor) for point, plan in plans.items()}
        ensure([run for point in wanted for run in mine[point]], own, place)
        for point, runs in mine.items():
            merged[point] += runs
    return _finished(merged, place)


def _of(runs: Sequence[Run], donor: Run) -> list[Run]:
    return [run for run in runs if (run.fold, run.seed) == (donor.fold, donor.seed)]


def _finished(runs: Mapping[str, Sequence[Run]], place: Place) -> Points:
    """Points all of whose runs are finished; a point with some of its folds missing would not be comparable."""
    found = {point: [intact(Path(place.runs) / run.key) for run in these] for point, these in runs.items()}
    return {point: [run for run in these if run] for point, these in found.items() if all(these)}
