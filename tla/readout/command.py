"""The steps of the command: plan, train what is missing, measure, draw, and write the lines that other figures draw."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tla import outputs
from tla.launch.material import Material
from tla.launch.plan import Plan
from tla.launch.study import plan_by_start, train
from tla.manifest import write_table
from tla.options import LEAKS, Place, Study
from tla.readout import checking, drawing, networks
from tla.readout.measuring import Stage, measure
from tla.readout.tables import Readout
from tla.runs.device import cpu_threads
from tla.runs.folder import FinishedRun
from tla.sound import leaks
from tla.tables import LINES


def plan(study: Study, place: Place, *, tuned: bool) -> Plan:
    """The runs that a readout needs: those of the study on each of its backbones if these are read out too, else none."""
    return sum(_plans(study, place, tuned=tuned).values(), Plan())


def _plans(study: Study, place: Place, *, tuned: bool) -> dict[str, Plan]:
    return {one.backbone: plan_by_start(one, place, compare=False) for one in networks.backbones(study) if tuned}


def probe(name: str, study: Study, place: Place, *, run: Sequence[str] = (), tuned: bool = False) -> Plan | None:
    """The readout that the command asks for; its plan alone in a dry run."""
    materials = networks.materials(study, place)
    plans = _plans(study, place, tuned=tuned)
    needed = sum(plans.values(), Plan())
    if place.dry_run:
        return needed
    finished = train(needed, place)
    trained = {backbone: [finished[path.name] for path in mine.wanted] for backbone, mine in plans.items()}
    with cpu_threads(place.threads):
        stages = _stages(materials, trained, run, study, place)
        clips, about, costs = networks.clips_of(materials[0]), _about(materials[0]), networks.costs(materials)
        readout = measure(stages, clips, np.random.default_rng(0), about, costs)
    digest = materials[0].dataset.digest
    lines = _write_lines(readout, study, place, digest)
    variant = "_tuned" * tuned + "".join(f"_{key}" for key in run)
    drawing.publish(readout, outputs.folder(study, place, digest), name + variant, lines)
    return None


def check(name: str, study: Study, place: Place) -> None:
    """Hold what readouts suggest against the finished runs in --runs."""
    with cpu_threads(place.threads):
        rows = checking.observed(study, place)
    checking.publish(rows, outputs.folder(study, place), f"{name}_check")


def _stages(
    materials: Sequence[Material], trained: Mapping[str, Sequence[FinishedRun]], run: Sequence[str], study: Study, place: Place
) -> Iterator[Stage]:
    yield from networks.stages(materials)
    for material in materials:
        if folders := trained.get(material.study.backbone):
            yield from networks.of_study(folders, material)
    for key in run:
        yield from networks.of_run(key, study, place, materials[0])


def _about(material: Material) -> dict[str, Any]:
    """The columns of all tables that say what they stand on."""
    note = leaks.note(material.dataset)
    folds = "+".join(map(str, networks.clips_of(material).splits))
    standardised = material.study.recipe.standardise
    return {"data": material.dataset.name, **({LEAKS: note} if note else {}), "folds": folds, "standardised": standardised}


def _write_lines(readout: Readout, study: Study, place: Place, digest: str) -> list[Path]:
    """Each backbone's lines to the folder of the study on it, where its other figures lie."""
    paths = []
    for one in networks.backbones(study):
        paths.append(outputs.folder(one, place, digest) / LINES)
        write_table(paths[-1], readout.lines[readout.lines["backbone"].isin(["", one.backbone])])
    return paths
