"""A report's steps for a notebook and the command: the runs that its verdicts miss, and what there is, judged."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tla.console import say
from tla.errors import UserError
from tla.launch.plan import Plan
from tla.launch.study import list_runs, prepare
from tla.options import RANDOM, Place
from tla.paper.evidence_from_runs import lacking, must_fit
from tla.paper.report import Only, Report, contexts_of, gather
from tla.paper.studies import PLANS, Case, words
from tla.runs.command import FILE
from tla.sound.clips import load


def plan(
    place: Place, *, data: str | None = None, backbone: str | None = None, study: Sequence[str] = (), weights: str | None = None
) -> Plan:
    """The runs that the verdicts on the paper's claims miss, on the folds and seeds that there are.

        tla.train_missing(paper.plan(place, data="my/sounds"), place)
        report = paper.measure(place, data="my/sounds")
        report.parts                                           # a row per part of a claim, with its verdict
        paper.figure(report, "claims")

    Args:
        data: Only this data set: its name, or the path of its clips; `backbone` likewise.
        study: Take the numbers from the studies of these runs, by the beginnings of their keys.
        weights: The weights file, or the run, that the study starts from, if that is not ImageNet.
    """
    where = _where(data)
    contexts = contexts_of(Path(place.runs), _only(place, data, backbone, study))
    return sum((_missing(candidates, place, where, weights) for candidates in contexts.values()), Plan())


def measure(
    place: Place, *, data: str | None = None, backbone: str | None = None, study: Sequence[str] = (), rule: str | None = None
) -> Report:
    """The tables and verdicts, from the finished runs and from the tables of other commands below `place.figures`.

    Args:
        data: As in `plan`, and so are `backbone` and `study`.
        rule: The epoch that verdicts are about; by default the last one (nested protocol: always the chosen one).
    """
    only = _only(place, data, backbone, study)
    return gather(Path(place.runs), Path(place.figures), only, rule=rule, where=_where(data))


def _where(data: str | None) -> str | None:
    """The path of the clips, if it is one that was given."""
    return data if data and Path(data).exists() else None


def _only(place: Place, data: str | None, backbone: str | None, study: Sequence[str]) -> Only:
    where = _where(data)
    dataset = load(where, place.data) if where else None
    name, digest = (dataset.name, dataset.digest) if dataset else (data, None)
    return Only(data=name, digest=digest, backbone=backbone, studies=tuple(study))


def _missing(candidates: Sequence[Case], place: Place, where: str | None, weights: str | None) -> Plan:
    """The runs that the claims miss, in the studies that they are judged on."""
    needed = Plan()
    for case, options, arms in lacking(candidates, where):
        if weights is None and options.weights == FILE:
            raise UserError(f"study {case.key} starts from a weights file: give it, --weights FILE")
        material = prepare(replace(options, weights=weights or options.weights), place)
        must_fit(case, material.dataset.digest, material.pretrained.identity if material.pretrained else RANDOM)
        runs = [run for arm in arms for run in list_runs(material, plan=PLANS[arm], start=RANDOM if arm == RANDOM else None)]
        say(f"for the claims: {', '.join(map(words, arms))}, on {case.setting.data} with {options.backbone}")
        needed += Plan.of(runs, material, place)
    return needed
