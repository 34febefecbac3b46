"""A grid search as tidy tables: a row per run, and a row per combination with its distance to the best.

Scores are accuracies on validation folds. What stands in a run's result, its score on the held-out fold, is not read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tla.errors import UserError
from tla.launch.material import Material
from tla.launch.tuning import Trial
from tla.manifest import write_table
from tla.runs.infer import load
from tla.runs.tables import Held, Outcomes, folds_of, matched
from tla.statistics import Estimate, difference, share


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
        paths = [stem.with_suffix(".csv"), stem.with_name(f"{stem.name}_points.csv")]
        for path, table in zip(paths, (self.runs, self.points), strict=True):
            write_table(path, table)
        return paths


def measure(trials: Sequence[Trial], material: Material) -> Found:
    """The tables of a search. The best is the first with the highest accuracy, of those that were trained to their end."""
    options = list(trials[0].options)
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(str(trial.options), []).append(trial)
    ended = {name: mine for name, mine in groups.items() if not any(trial.stopped for trial in mine)}
    if not ended:
        raise UserError("every combination was stopped early, so none can be chosen; give a larger --grace")
    scores = {name: float(np.mean([max(trial.accuracies) for trial in mine])) for name, mine in groups.items()}
    best = max(ended, key=lambda name: scores[name])
    right = {name: validation_clips(mine, material) for name, mine in ended.items()}
    points = []
    for name, mine in groups.items():
        unknown = Estimate(scores[name], np.nan, np.nan)
        interval = share(folds_of(right[name])) if name in ended else unknown
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
        "data": run.data,
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
        rows = dataset.split(trial.run.fold, "nested").validation
        assert trial.folder, "it is finished"
        logits = load(trial.folder, material.device).logits(material.store.clean[rows])
        clips = [dataset.clips[row] for row in rows]
        names, recordings = np.array([clip.name for clip in clips]), np.array([clip.source for clip in clips])
        right = (logits.argmax(axis=1) == dataset.labels[rows])[None].astype(np.float64)
        before = found.get(trial.run.fold)
        right = right if before is None else np.concatenate([before.right, right])
        found[trial.run.fold] = Held(names, recordings, right)
    return found
