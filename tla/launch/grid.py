"""The grid search (sec. IV-A): a run for each combination of the recipe's options, scored on a validation fold.

The protocol is the nested one: a fold beside the one that is held out chooses the epoch, and here the combination too. A run's
predictions of the held-out fold, and its score on it, lie in its folder, as in that of any run, and are not read. The runs are
ordinary ones: those that exist are read, those that are trained are there for all other commands. The result is tidy tables: a
row per run, and a row per combination with its distance to the best.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tla.console import counted
from tla.errors import UserError
from tla.launch.asha import Asha
from tla.launch.material import Material
from tla.launch.plan import Plan
from tla.launch.study import check_launch, list_runs, work_off
from tla.manifest import write_tables
from tla.options import Grid, Place, Search, Study
from tla.runs.folder import FinishedRun
from tla.runs.infer import load
from tla.runs.run import Run
from tla.runs.tables import Held, Outcomes, folds_of, macro_columns, matched
from tla.statistics import Estimate, difference, share


@dataclass(frozen=True)
class Trial:
    """A run of one combination."""

    options: dict[str, Any]
    folder: FinishedRun | None
    """None: it was stopped early."""
    run: Run
    accuracies: list[float]
    """On the validation fold, by epoch; of a trial that was stopped, up to there."""

    @property
    def stopped(self) -> bool:
        return self.folder is None


def combinations(grid: Grid) -> list[dict[str, Any]]:
    """Every combination of the values, the last option varying fastest."""
    lists = {name: values for name, values in asdict(grid).items() if values}
    if not lists:
        raise UserError(
            "give values to try, as in --grid.lr 1e-3,1e-4 --grid.weight-decay 1e-3,1e-4 (--help lists the options)"
        )
    for name, values in lists.items():
        if len(set(values)) < len(values):
            raise UserError(f"--grid.{name.replace('_', '-')} names a value twice: {', '.join(map(str, values))}")
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def nested(study: Study, search: Search, place: Place) -> Study:
    """The study under the protocol that has a validation fold; `UserError` for a search that cannot be."""
    if search.asha:
        if check_launch(place) != "ray":
            raise UserError("--asha stops runs from outside, which takes Ray: add --launch ray")
        if search.grid.epochs or study.recipe.epochs is None:
            raise UserError(
                "--asha compares runs at the same length, epoch by epoch: give --recipe.epochs, and no --grid.epochs"
            )
        if study.seeds != 1 or study.folds == "all" or len(study.folds) != 1:
            raise UserError("--asha compares runs that differ in their options alone: give one fold (--folds 1) and one seed")
        if search.grace < 1:
            raise UserError(f"--grace is {search.grace}; a combination gets at least one epoch")
    return replace(study, protocol="nested")


def list_grid(material: Material, search: Search) -> list[tuple[dict[str, Any], Run]]:
    """The runs of every combination."""
    wanted: list[tuple[dict[str, Any], Run]] = []
    for options in combinations(search.grid):
        study = replace(material.study, recipe=replace(material.study.recipe, **options))
        wanted += [(options, run) for run in list_runs(replace(material, study=study))]
    epochs = wanted[0][1].recipe.epochs or 0
    if search.asha and search.grace >= epochs:
        raise UserError(f"--grace is {search.grace} and runs have {counted(epochs, 'epoch')}: nothing could be stopped")
    return wanted


def plan(material: Material, search: Search, place: Place) -> Plan:
    """Every combination's runs; of those that --asha stops, not all epochs will be trained."""
    return Plan.of([run for _, run in list_grid(material, search)], material, place)


def search_grid(material: Material, search: Search, place: Place) -> list[Trial]:
    """Every combination's trials, trained where they are missing."""
    wanted = list_grid(material, search)
    asha = Asha(search.grace, wanted[0][1].recipe.epochs or 0) if search.asha else None
    runs = Plan.of([run for _, run in wanted], material, place)
    queue = work_off(list(runs.wanted.values()), place, scores=False, asha=asha)
    accuracies = {key: [row["accuracy"] for row in run.log] for key, run in queue.finished.items()} | queue.stopped
    return [Trial(options, queue.finished.get(run.key), run, accuracies[run.key]) for options, run in wanted]


# Tables


@dataclass(frozen=True)
class Found:
    """The tables of a search, and the combination that is best."""

    runs: pd.DataFrame
    points: pd.DataFrame
    options: list[str]
    """The options that were varied: the first columns of both tables."""
    best: dict[str, Any]

    def write(self, stem: Path) -> list[Path]:
        """Both as CSV."""
        return write_tables(stem.parent, stem.name, {"": self.runs, "points": self.points})


def measure(trials: Sequence[Trial], material: Material) -> Found:
    """The tables of a search. The best is the first with the highest accuracy, of those that were trained to their end."""
    options = list(trials[0].options)
    groups: dict[tuple[Any, ...], list[Trial]] = {}
    for trial in trials:
        groups.setdefault(tuple(trial.options.values()), []).append(trial)
    ended = {name: mine for name, mine in groups.items() if not any(trial.stopped for trial in mine)}
    if not ended:
        raise UserError("every combination was stopped early, so none can be chosen; give a larger --grace")
    scores = {name: float(np.mean([max(trial.accuracies) for trial in mine])) for name, mine in groups.items()}
    best = max(ended, key=lambda name: scores[name])
    right = {name: validation_clips(mine, material) for name, mine in ended.items()}
    points = []
    for name, mine in groups.items():
        unknown = Estimate(np.nan, np.nan, np.nan)
        interval, macro = (share(folds_of(right[name], macro=macro)) if name in ended else unknown for macro in (False, True))
        gap = difference(*matched(right[name], right[best])) if name in ended and name != best else None
        points.append(
            {
                **{option: _plain(mine[0].options[option]) for option in options},
                "runs": len(mine),
                "epochs": max(len(trial.accuracies) for trial in mine),
                "stopped": name not in ended,
                "accuracy": 100 * scores[name],
                "low": 100 * interval.low,
                "high": 100 * interval.high,
                "covers": interval.covers,
                **macro_columns(macro),
                "behind": 100 * gap.mean if gap else 0.0 if name == best else np.nan,
                "behind_low": 100 * gap.low if gap else np.nan,
                "behind_high": 100 * gap.high if gap else np.nan,
                "best": name == best,
            }
        )
    runs = pd.DataFrame([_row(trial, options) for trial in trials])
    return Found(runs, pd.DataFrame(points), options, groups[best][0].options)


def _row(trial: Trial, options: Iterable[str]) -> dict[str, Any]:
    run = trial.run
    return {
        **{option: _plain(trial.options[option]) for option in options},
        "key": run.key,
        **(trial.folder.data if trial.folder else {"data": run.data}),
        "backbone": run.backbone,
        "weights": run.weights.partition(":")[0],
        "held_out": run.fold,
        "seed": run.seed,
        "epochs": len(trial.accuracies),
        "stopped": trial.stopped,
        "training": trial.folder.result.training.state if trial.folder else "stopped",
        "best_epoch": int(np.argmax(trial.accuracies)) + 1,
        "validation": max(trial.accuracies),
        "augment": run.augment.kind,
        "lr": run.recipe.lr,
        "batch": run.recipe.batch,
    }


def _plain(value: Any) -> Any:
    """A value that a cell of a table holds."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def validation_clips(trials: Iterable[Trial], material: Material) -> Outcomes:
    """What the networks of one combination, none of them stopped, are right about on the validation clips of each fold."""
    dataset = material.dataset
    found: dict[int, Held] = {}
    for trial in trials:
        rows = trial.run.split(dataset).validation
        assert trial.folder, "it is finished"
        logits = load(trial.folder, material.device).logits(material.store.clean[rows])
        clips = [dataset.clips[row] for row in rows]
        names, recordings = np.array([clip.name for clip in clips]), np.array([clip.source for clip in clips])
        right = (logits.argmax(axis=1) == dataset.labels[rows])[None].astype(np.float64)
        before = found.get(trial.run.fold)
        right = right if before is None else np.concatenate([before.right, right])
        found[trial.run.fold] = Held(names, recordings, dataset.labels[rows], right)
    return found
