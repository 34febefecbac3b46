"""The runs that are averaged: of each fold, as many as there are members."""

from dataclasses import replace

from tla.ensembles.measuring import MEMBERS, check
from tla.errors import UserError
from tla.launch import study as studies
from tla.launch.plan import PlanFor
from tla.options import Place, Study
from tla.runs.folder import FinishedRun


def plan(study: Study, place: Place, *, members: int | None = None) -> PlanFor[list[FinishedRun]]:
    """The runs of an ensemble, for `measure`.

        runs = tla.train_missing(ensembles.plan(study, place, members=3), place)
        tables = ensembles.measure(runs)
        ensembles.figure(tables)

    Args:
        members: Runs per fold, with seeds 0, 1, ...; by default the study's seeds if these are several, else 5.
    """
    count = of(study, members)
    check(count)
    return studies.plan(replace(study, seeds=count), place)


def of(study: Study, members: int | None) -> int:
    """How many members there are."""
    if members is not None and study.seeds not in (1, members):
        raise UserError(f"--members {members} and --seeds {study.seeds}: a member is a seed; give one of the two")
    return members or (study.seeds if study.seeds > 1 else MEMBERS)
