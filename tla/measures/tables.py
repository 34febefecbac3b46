"""Finished runs as tidy tables: one row per run, one row per clip of a run, or one row per number that is reported."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from tla.errors import UserError
from tla.measures.paper import TABLE1
from tla.measures.statistics import Estimate, clustered_mean
from tla.runs.folder import RunFolder


def runs_table(folders: Iterable[RunFolder]) -> pd.DataFrame:
    """One row per run: what was trained, and for each selection rule its accuracy and macro accuracy."""
    return pd.DataFrame([_row(folder) for folder in folders])


def _row(folder: RunFolder) -> dict[str, object]:
    run, result = folder.run, folder.result
    scores = {rule: score["accuracy"] for rule, score in result["scores"].items()}
    macro = {f"{rule}_macro": score["macro_accuracy"] for rule, score in result["scores"].items()}
    return {
        "key": folder.key,
        "data": run.data,
        "backbone": run.backbone,
        "weights": run.weights,
        **asdict(run.transfer),
        "protocol": run.protocol,
        "fold": run.fold,
        "seed": run.seed,
        **scores,
        **macro,
        "best_epoch": result["best_epoch"],
        "epochs": result["epochs"],
        "clips": result["clips"],
        "trainable": result["trainable"],
        "parameters": result["parameters"],
        "multiply_adds": result["multiply_adds"],
        "seconds_per_epoch": result["seconds_per_epoch"],
        "precision": run.precision,
        "lr": run.recipe.lr,
        "batch": run.recipe.batch,
        "augment": run.augment.kind,
    }


def clips_table(folders: Iterable[RunFolder]) -> pd.DataFrame:
    """One row per held-out clip, run and selection rule: whether the run was right."""
    parts = []
    for folder in folders:
        run, said = folder.run, folder.predictions
        for rule, logits in said.logits.items():
            right = (logits.argmax(axis=1) == said.labels).astype(np.float64)
            columns = {"clip": said.names, "source": said.sources, "right": right}
            parts.append(pd.DataFrame({**columns, "rule": rule, "fold": run.fold, "seed": run.seed, "key": folder.key}))
    return pd.concat(parts, ignore_index=True)


def accuracy(folders: Iterable[RunFolder], rule: str) -> Estimate:
    """Accuracy of a study: mean over seeds for each clip, then over clips, resampled by source."""
    clips = clips_table(folders)
    return clustered_mean(*_over_seeds(clips[clips["rule"] == rule]))


def difference(folders: Iterable[RunFolder], others: Iterable[RunFolder], rule: str) -> Estimate:
    """Accuracy of a study minus that of another, over `paired` clips, resampled by source."""
    return clustered_mean(*paired(folders, others, rule))


def paired(folders: Iterable[RunFolder], others: Iterable[RunFolder], rule: str) -> tuple[np.ndarray, np.ndarray]:
    """What a study gains over another on each clip that both held out in the same fold and seed; and the clips' sources."""
    first, second = clips_table(folders), clips_table(others)
    pairs = first[first["rule"] == rule].merge(second[second["rule"] == rule], on=["clip", "source", "fold", "seed"])
    if pairs.empty:
        raise UserError("the two studies have no fold and seed in common, so there is nothing to compare")
    return _over_seeds(pairs.assign(right=pairs["right_x"] - pairs["right_y"]))


def _over_seeds(clips: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    mean = clips.groupby(["clip", "source"], sort=True)["right"].mean().reset_index()
    return mean["right"].to_numpy(), mean["source"].to_numpy()


def summary(arms: Mapping[str, Sequence[RunFolder]]) -> pd.DataFrame:
    """One row per arm and selection rule (and per paired difference from the first arm), in percent.

    `spread` is the standard deviation over seeds of the mean over folds; with one seed, over folds.
    """
    first, *others = arms
    rows = []
    for rule in arms[first][0].result["scores"]:
        for arm, folders in arms.items():
            rows.append(_summary_row(arm, rule, accuracy(folders, rule), runs_table(folders)) | _paper(folders, rule))
        for arm in others:
            gain = difference(arms[first], arms[arm], rule)
            left, right = runs_table(arms[first]), runs_table(arms[arm])
            paired = left.set_index(["fold", "seed"])[[rule]] - right.set_index(["fold", "seed"])[[rule]]
            rows.append(_summary_row(f"{first} - {arm}", rule, gain, paired.reset_index()))
    return pd.DataFrame(rows)


def _summary_row(arm: str, rule: str, estimate: Estimate, runs: pd.DataFrame) -> dict[str, object]:
    over = "seed" if runs["seed"].nunique() > 1 else "fold"
    means = 100 * runs.groupby(over)[rule].mean()
    return {
        "arm": arm,
        "rule": rule,
        "runs": len(runs),
        "accuracy": 100 * estimate.mean,
        "low": 100 * estimate.low,
        "high": 100 * estimate.high,
        "spread": means.std(ddof=1),  # NaN for a single run
        "spread_over": f"{len(means)} {over}s",
    }


def _paper(folders: Sequence[RunFolder], rule: str) -> dict[str, float]:
    """The paper's number for these runs, if it has one: it reports the best epoch."""
    run = folders[0].run
    known = TABLE1.get((run.backbone, run.data))
    ends = {"block4": 0, "none": 1}
    if known is None or rule != "best" or run.transfer.pretrained_upto not in ends:
        return {}
    return {"paper": known[ends[run.transfer.pretrained_upto]]}
