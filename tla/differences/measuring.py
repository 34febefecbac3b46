"""Two arms on the same clips: the paired difference in accuracy, over all clips and class by class.

An arm is the runs of a study under one transfer plan, over folds and seeds. Clips are paired by name, in the folds that both
held out; a clip's value is its mean over the runs of its fold. Classes are several questions at once, so their p-values are
corrected for their number (Holm). A class differs where its interval excludes none, its corrected p-value is below 5 %, and
both hold for other trainings: two seeds or more on both sides, and runs that were trained to their end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tla.errors import UserError
from tla.manifest import write_tables
from tla.runs import arms, tables
from tla.runs.folder import FinishedRun
from tla.runs.scores import unbiased_rule
from tla.runs.tables import Outcomes
from tla.statistics import TRAININGS, Estimate, Fold, difference, holm, share
from tla.tables import unfinished

LEVEL = 0.05  # what a corrected p-value has to be below
ALL, MACRO = "all", "all, macro"  # the rows over all clips, and over the mean of the classes' own accuracies


@dataclass(frozen=True)
class Difference:
    """The tables, as `pd.read_csv` of the files beside a figure gives them too; accuracies in percent."""

    classes: pd.DataFrame
    """A row for all clips, one for macro accuracy, and one per class: both accuracies, and first less second."""
    runs: pd.DataFrame
    """A row per run; the column `arm` names its side."""

    def write(self, folder: Path, name: str) -> list[Path]:
        """The tables as CSV: `name.csv` has the classes, `name_runs.csv` the runs."""
        return write_tables(folder, name, {"": self.classes, "runs": self.runs})


def read(folder: Path, name: str) -> Difference:
    """What `write` wrote."""
    return Difference(*(tables.read(folder / f"{name}{part}.csv") for part in ("", "_runs")))


def measure(
    first: Sequence[FinishedRun],
    second: Sequence[FinishedRun],
    rule: str | None = None,
    *,
    names: tuple[str, str] | None = None,
) -> Difference:
    """How much better the first runs are than the second ones, on the clips that both held out in the same fold.

        tables = differences.measure(tla.find_arm("3f9a"), tla.find_arm("77b0"))
        tables.classes                                        # first less second, with intervals
        differences.figure(tables)

    Args:
        rule: The epoch that is scored; by default the last one (nested protocol: the chosen one).
        names: What the two are called; by default the options in which they differ.
    """
    _must_be_comparable(first, second)
    called = names or arms.names(first, second)
    rules = [_rule(runs, rule) for runs in (first, second)]
    sides = [tables.outcomes(runs, mine) for runs, mine in zip((first, second), rules, strict=True)]
    rows = [_row(ALL, *tables.matched(*sides)), _row(MACRO, *tables.matched(*sides, macro=True))]
    for label, name in enumerate(first[0].classes):
        one, other = (_of_class(side, label) for side in sides)
        if any(fold in other and set(held.clips) & set(other[fold].clips) for fold, held in one.items()):
            rows.append(_row(name, *tables.matched(one, other)))
    both = [tables.runs_table(runs).assign(arm=name) for name, runs in zip(called, (first, second), strict=True)]
    about = {"rule": " or ".join(dict.fromkeys(rules)), "first": called[0], "second": called[1]}
    runs = pd.concat(both, ignore_index=True)
    table = _judged(pd.DataFrame(rows).assign(**about, unfinished=unfinished(runs)))
    return Difference(table, runs[["arm", *runs.columns.drop("arm")]])


def _judged(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with p-values corrected over classes, and whether each differs."""
    corrected = np.array([*table["p"].iloc[:2], *holm(table["p"].iloc[2:].to_list())])
    clear = (table["low"] > 0) | (table["high"] < 0)
    sure = clear & table["covers"].eq(TRAININGS) & table["unfinished"].eq(0)
    return table.assign(p_holm=corrected, differs=sure & (corrected < LEVEL))


def _must_be_comparable(first: Sequence[FinishedRun], second: Sequence[FinishedRun]) -> None:
    """Refuse runs on different clips, and runs that are compared with themselves."""
    if not first or not second:
        raise UserError("two lists of finished runs are compared, and one of them is empty")
    for runs in (first, second):
        if len({(run.run.fold, run.run.seed) for run in runs}) < len(runs):
            raise UserError(f"{runs[0].key} and others: two runs of one fold and seed; give the runs of one study and plan")
    other = next((run for run in (*first, *second) if run.run.data_digest != first[0].run.data_digest), None)
    if other is not None:
        one = first[0]
        raise UserError(
            f"run {one.key} is about {one.run.data}, and run {other.key} about other clips ({other.run.data}): "
            "clips are paired, so both have to be on the same data set, with the same labels and folds"
        )
    if {run.key for run in first} & {run.key for run in second}:
        raise UserError(f"{first[0].key} is on both sides: compare runs that differ in more than fold and seed")


def _rule(runs: Sequence[FinishedRun], rule: str | None) -> str:
    possible = list(runs[0].result.scores)
    if rule is not None and rule not in possible:
        raise UserError(f"--rule {rule}: run {runs[0].key} has {' and '.join(possible)}")
    return rule or unbiased_rule(runs[0].run.protocol)


def _of_class(side: Outcomes, label: int) -> Outcomes:
    """The clips of one class."""
    return {fold: held.at(held.clips[held.labels == label]) for fold, held in side.items()}


def _row(name: str, first: list[Fold], second: list[Fold]) -> dict[str, object]:
    """Both accuracies, and their difference, in percent."""
    found: Estimate = difference(first, second)
    numbers = {"accuracy_first": share(first).mean, "accuracy_second": share(second).mean}
    numbers |= {"difference": found.mean, "low": found.low, "high": found.high}
    counts = tables.counted(first)
    return {
        "class": name,
        "clips": counts["clips"],
        "recordings": counts["sources"],
        **{name: 100 * value for name, value in numbers.items()},
        "covers": found.covers,
        "p": found.p,
    }
