"""What runs made of each class: its own accuracy, and the classes that its clips were taken for.

    runs = tla.runs.tables.finished("runs")
    made = measure({"pretrained": runs[:5]})            # made.classes, made.pairs: DataFrames
    tla.runs.classes_figure.figure(made)                # a matplotlib Figure

Clips of all folds count once each; where a fold has several runs, a clip's value is its mean over them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tla.errors import UserError
from tla.runs import tables
from tla.runs.folder import FinishedRun
from tla.runs.scores import unbiased_rule
from tla.statistics import Fold, share
from tla.tables import unfinished


@dataclass(frozen=True)
class Confusion:
    """The tables of one arm or several, which the column `arm` names."""

    runs: pd.DataFrame
    """A row per run."""
    classes: pd.DataFrame
    """A row per class: clips, recordings, accuracy in percent with its interval, what it is most often taken for."""
    pairs: pd.DataFrame
    """A row per class and predicted class: how many predictions, over all runs, and their share in percent of the clips."""


def measure(arms: Mapping[str, Sequence[FinishedRun]], rule: str | None = None) -> Confusion:
    """The tables of a study's arms; `rule` as in `per_class`."""
    classes, pairs = (
        pd.concat({arm: of(folders, rule) for arm, folders in arms.items()}, names=["arm", None]).reset_index("arm")
        for of in (per_class, confused)
    )
    runs = tables.runs_table(folder for folders in arms.values() for folder in folders)
    return Confusion(runs, classes.reset_index(drop=True), pairs.reset_index(drop=True))


def per_class(runs: FinishedRun | Iterable[FinishedRun], rule: str | None = None) -> pd.DataFrame:
    """One row per class that was held out, for a run or the runs of one arm; accuracies in percent.

    `rule` is the selection rule; by default `last`, or `test` under the nested protocol.
    """
    folders, rule = _arm(runs, rule)
    trained = tables.runs_table(folders)
    by_fold = tables.outcomes(folders, rule).values()
    pairs = confused(folders, rule)
    wrong = pairs[pairs["class"] != pairs["predicted"]].sort_values("predictions", ascending=False, kind="stable")
    rows = []
    for label, name in enumerate(folders[0].classes):
        chosen = [(held, held.labels == label) for held in by_fold]
        folds = [Fold(held.right[:, mine], held.recordings[mine]) for held, mine in chosen if mine.any()]
        if not folds:
            continue
        found = share(folds)
        most = wrong[(wrong["class"] == name) & (wrong["predictions"] > 0)].head(1)
        rows.append(
            {
                "class": name,
                "clips": tables.counted(folds)["clips"],
                "recordings": tables.counted(folds)["sources"],
                "runs": len(folders),
                "unfinished": unfinished(trained),
                "rule": rule,
                "accuracy": 100 * found.mean,
                "low": 100 * found.low,
                "high": 100 * found.high,
                "covers": found.covers,
                "taken_for": most["predicted"].iloc[0] if len(most) else None,
                "taken_for_share": most["share"].iloc[0] if len(most) else 0.0,
            }
        )
    return pd.DataFrame(rows)


def confused(runs: FinishedRun | Iterable[FinishedRun], rule: str | None = None) -> pd.DataFrame:
    """The confusion matrix, one row per cell: predictions of a class for the clips of another.

    `predictions` counts them over all runs; `share` is in percent of the class's clips, each of which counts once.
    """
    folders, rule = _arm(runs, rule)
    names = folders[0].classes
    counts, weighed = np.zeros((2, len(names), len(names)))
    for folder in folders:
        cells = folder.predictions.labels, folder.predictions.logits[rule].argmax(axis=1)
        np.add.at(counts, cells, 1)
        np.add.at(weighed, cells, 1 / sum(other.run.fold == folder.run.fold for other in folders))
    there = np.flatnonzero(counts.sum(axis=1))
    shares = 100 * weighed[there] / weighed[there].sum(axis=1, keepdims=True)
    return pd.DataFrame(
        {
            "class": np.repeat(np.array(names)[there], len(names)),
            "predicted": np.tile(names, len(there)),
            "predictions": counts[there].astype(int).ravel(),
            "share": shares.ravel(),
        }
    )


def _arm(runs: FinishedRun | Iterable[FinishedRun], rule: str | None) -> tuple[list[FinishedRun], str]:
    """The runs of an arm, and the selection rule that they are scored under."""
    folders = [runs] if isinstance(runs, FinishedRun) else list(runs)
    if len({(tuple(folder.classes), folder.run.protocol) for folder in folders}) != 1:
        raise UserError("runs of one data set and protocol are needed: these differ in their classes or in their protocol")
    return folders, unbiased_rule(folders[0].run.protocol) if rule is None else rule
