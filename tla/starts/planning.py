"""The runs of a study and, to compare, of the same study from other weights."""

from collections.abc import Sequence

from tla.launch.plan import PlanFor
from tla.launch.study import plan_by_start
from tla.options import Place, Study
from tla.runs.folder import FinishedRun


def plan(study: Study, place: Place, *, compare: Sequence[str] = ()) -> PlanFor[dict[str, list[FinishedRun]]]:
    """The runs of a study by the name of their start, for `measure`; `compare`: from other weights too.

    arms = tla.train_missing(starts.plan(study, place, compare=["random"]), place)  # {"pretrained": [...], "random": [...]}
    tables = starts.measure(arms)
    tables.summary                                                             # both, and their paired difference
    starts.figure(tables)
    """
    return plan_by_start(study, place, compare=compare)
