"""The runs that the question needs: from pretrained weights and from scratch, on so many clips of each class, and on all.

The clips are drawn anew for each seed and fold; a draw of 5 holds that of 2, and both starts of a seed learn from the same.
`all` is the ordinary run: where a study has been trained, that is taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tla.console import counted, say
from tla.errors import UserError
from tla.few_labels.measuring import Curves
from tla.few_labels.readouts import read_out
from tla.few_labels.tables import ALL, PRETRAINED, number
from tla.launch.material import Material
from tla.launch.plan import Plan, PlanFor
from tla.launch.study import held_out, list_runs, prepare
from tla.options import RANDOM, Place, Study
from tla.runs.device import cpu_threads
from tla.runs.folder import FinishedRun, intact

POINTS = ("1", "2", "5", "10", "20", ALL)


def plan(study: Study, place: Place, clips: Sequence[int | str] = ()) -> PlanFor[Curves]:
    """The runs of the question, for `measure`.

        plan = few_labels.plan(Study(data="my/sounds", backbone="efficientnet_lite0", seeds=3), Place(), [1, 5, "all"])
        labels = few_labels.measure(tla.train_missing(plan, Place()))
        few_labels.figure(labels)

    Args:
        clips: How many of each class, and `all`; by default 1, 2, 5, 10, 20 and all, as far as there are so many. At the
            others of these, runs that are finished are taken too.
    """
    if study.weights == RANDOM:
        raise UserError("it is pretraining that is asked about, and --weights is random: give imagenet, a file or a run's key")
    if study.per_class is not None:
        raise UserError("--per-class makes runs on one number of clips, and here several are compared: give --clips 1,5,all")
    material = prepare(study, place)
    assert material.pretrained
    possible, wanted = points(material, clips)
    starts = {PRETRAINED: material.pretrained.identity, RANDOM: RANDOM}
    curves = {name: {point: _at(material, point, start, place) for point in possible} for name, start in starts.items()}
    needed = sum((curve[point] for curve in curves.values() for point in wanted), Plan())

    def sorted_out(trained: Mapping[str, FinishedRun]) -> Curves:
        runs = _finished(curves, trained)
        with cpu_threads(place.threads):
            try:
                readouts, stages = read_out(material, runs[PRETRAINED])
            except UserError as error:  # nothing that would undo the runs
                say(f"no linear probes: {error}")
                readouts, stages = {}, {}
        return Curves(runs, material.dataset, readouts, stages)

    return PlanFor(needed.wanted, sorted_out=sorted_out)


def _at(material: Material, point: str, start: str, place: Place) -> Plan:
    """The runs of a start on so many clips."""
    mine = replace(material, study=replace(material.study, per_class=None if point == ALL else int(point)))
    return Plan.of(list_runs(mine, start=start), mine, place)


def _finished(
    curves: Mapping[str, Mapping[str, Plan]], trained: Mapping[str, FinishedRun]
) -> dict[str, dict[str, list[FinishedRun]]]:
    """The points all of whose runs are finished."""
    found = {
        name: {
            point: [trained.get(wanted.run.key) or intact(wanted.folder.path) for wanted in plan.wanted.values()]
            for point, plan in curve.items()
        }
        for name, curve in curves.items()
    }
    return {
        name: {point: [run for run in runs if run] for point, runs in curve.items() if all(runs)}
        for name, curve in found.items()
    }


def points(material: Material, clips: Sequence[int | str]) -> tuple[list[str], list[str]]:
    """The numbers of clips that the data allow of the usual and the asked ones, and those that are wanted; both in order."""
    scarce, fewest, most = _scarcest(material)
    asked = list(dict.fromkeys(map(_point, clips))) or list(POINTS)
    if beyond := ", ".join(point for point in asked if point != ALL and int(point) > fewest):
        has = f"{scarce} has {counted(fewest, 'clip')} to learn from"
        if clips:
            raise UserError(f"--clips: {beyond} of each class are more than there are: {has}; give fewer, or all")
        say(f"left out: {beyond} clips of each class, since {has}")
    if fewest == most and str(fewest) in asked:
        say(f"{fewest} clips of each class are all that there are, so they are taken as all")
        asked.append(ALL)

    def allowed(some: Sequence[str]) -> list[str]:
        return sorted({point for point in some if point == ALL or (int(point) <= fewest and int(point) < most)}, key=number)

    return allowed([*POINTS, *asked]), allowed(asked)


def _point(asked: int | str) -> str:
    word = str(asked).strip()
    if word != ALL and not (word.isdecimal() and int(word) > 0):
        raise UserError(f"--clips {word}: give numbers of clips of each class, 1 or more, and the word all, as in 1,5,all")
    return word if word == ALL else str(int(word))


def _scarcest(material: Material) -> tuple[str, int, int]:
    """The class with the fewest clips to learn from in any of the study's folds, how many those are, and the most of any."""
    dataset, study = material.dataset, material.study
    rows = [dataset.split(fold, study.protocol).train for fold in held_out(study, dataset)]
    counts = np.stack([np.bincount(dataset.labels[mine], minlength=len(dataset.classes)) for mine in rows])
    fewest = np.where(counts, counts, counts.max() + 1).min(axis=0)  # (classes,)
    return dataset.classes[int(fewest.argmin())], int(fewest.min()), int(counts.max())
