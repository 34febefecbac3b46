"""Sweeps over a transfer plan: one study per point, those that are asked for trained, the others read if they exist.

A curve is the runs at each of its points, so its plan is known before any of them is trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tla.errors import UserError
from tla.launch.material import Material
from tla.launch.plan import Plan, Wanted
from tla.launch.study import list_runs, train
from tla.options import RANDOM, Place, Transfer
from tla.runs.folder import FinishedRun, intact

Points = dict[str, list[FinishedRun]]
Plans = Mapping[str, Transfer]  # transfer plans, by point


@dataclass(frozen=True)
class Curve:
    """The runs at each point, those at the wanted ones to be trained where they are missing."""

    points: Mapping[str, Plan]
    wanted: Sequence[str]
    donors: Plan = field(default_factory=Plan)
    """Runs that others start from."""

    @property
    def plan(self) -> Plan:
        return sum((self.points[point] for point in self.wanted), self.donors)

    def finished(self, trained: Mapping[str, FinishedRun]) -> Points:
        """The points all of whose runs are finished; one with some of its folds missing would not be comparable."""
        found = {
            point: [trained.get(wanted.run.key) or intact(wanted.folder.path) for wanted in plan.wanted.values()]
            for point, plan in self.points.items()
        }
        return {point: [run for run in runs if run] for point, runs in found.items() if all(runs)}


def asked(wanted: Sequence[str], possible: Sequence[str], option: str) -> list[str]:
    """The points that a command line names, all of them if it names none; `UserError` for one that there is not."""
    wrong = [point for point in wanted if point not in possible]
    if wrong:
        raise UserError(f"{option} {','.join(wrong)}: possible are {', '.join(possible)}")
    return [point for point in possible if point in wanted or not wanted]


def curve(material: Material, plans: Plans, wanted: Sequence[str], place: Place) -> Curve:
    """The study's runs under each plan."""
    points = {point: Plan.of(list_runs(material, plan=plan), material, place) for point, plan in plans.items()}
    return Curve(points, wanted)


def longer(material: Material, plans: Plans, wanted: Sequence[str], place: Place) -> Curve:
    """The same with twice the training: what changes then is no finding about the stages but about the budget."""
    recipe = replace(material.study.recipe, times=2 * material.study.recipe.times)
    return curve(replace(material, study=replace(material.study, recipe=recipe)), plans, wanted, place)


def selffer(material: Material, plans: Plans, wanted: Sequence[str], place: Place) -> Curve:
    """The same from networks trained on this very data from scratch, each run from the one of its own fold and seed.

    Yosinski et al. (2014): what is lost here is lost to the cut between the stages, not to the change of task.
    """
    points = dict.fromkeys(plans, Plan())
    donors = Plan.of(list_runs(material, start=RANDOM), material, place)
    for donor in donors.wanted.values():
        run, weights = donor.run, identity(donor)
        for point, plan in plans.items():
            runs = [
                mine for mine in list_runs(material, plan=plan, start=weights) if (mine.fold, mine.seed) == (run.fold, run.seed)
            ]
            points[point] += Plan.of(runs, material, place, donor.folder if runs[0].weights == weights else None)
    return Curve(points, wanted, donors)


def identity(donor: Wanted) -> str:
    """What a run's trained weights are; as long as they are not, the name of the run."""
    from tla.nets import weights

    if (run := donor.finished()) is None:
        return f"run:{donor.run.key}"
    return weights.identity(str(run.trained_weights()), donor.run.backbone)


def start(material: Material) -> str:
    """What a figure calls the weights that a study starts from."""
    return RANDOM if material.pretrained is None else "pretrained"


def ends(material: Material, place: Place) -> Points:
    """The study's own network, all of it pretrained or all random and all free to move, as far as these are finished."""
    plans = {"pretrained": Transfer(pretrained_upto="block4"), RANDOM: Transfer(pretrained_upto="none")}
    if material.pretrained is None:
        del plans["pretrained"]
    return sweep(material, plans, [], place)


def sweep(material: Material, plans: Plans, wanted: Sequence[str], place: Place) -> Points:
    """The finished runs under each plan, the wanted ones trained where they are missing."""
    mine = curve(material, plans, wanted, place)
    return mine.finished(train(mine.plan, place))
