"""Finished runs as tidy tables: one row per run, one row per clip of a run, or one row per number that is reported.

`tla.load_runs`, `tla.load_clips` and `tla.load_epochs` are for notebooks:

    import tla
    runs = tla.load_runs("runs")
    runs.groupby(["data", "backbone", "pretrained_upto"])["last"].agg(["mean", "std", "count"])
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from tla import console, statistics
from tla.errors import UserError
from tla.manifest import vouched
from tla.reference import TABLE1
from tla.runs.folder import FinishedRun, Predictions, intact
from tla.runs.folder import folders as all_folders
from tla.runs.run import Run
from tla.statistics import Estimate, Fold, share
from tla.tables import start, unfinished

WORDS = ["key", "run", "data", "before", "after", "study", "clip", "file", "source", "class", "true", "predicted"]
WORDS += ["target", "name", "taken_for"]  # columns that hold words also where they look like numbers


def parsed(content: bytes) -> pd.DataFrame:
    """A table that was written as CSV. What is a word stays one: a run's key may look like a number, 12e456789012 for one."""
    words = dict.fromkeys(WORDS, str)
    return pd.read_csv(io.BytesIO(content), dtype=words, keep_default_na=False, na_values=[""])


def read(path: Path) -> pd.DataFrame:
    """A table that was written beside figures; `Damaged` if it is another one by now."""
    return parsed(vouched(path))


def load_runs(runs: str | Path = "runs") -> pd.DataFrame:
    """One row per finished run: every option, and what it scored under each selection rule, as shares of clips.

    ```python
    tla.load_runs().query("data == 'esc10'").sort_values("last")
    ```
    """
    return runs_table(finished(runs))


def load_clips(runs: str | Path = "runs", rule: str | None = None) -> pd.DataFrame:
    """One row per held-out clip, finished run and selection rule: the class that the run predicted, and whether that is right.

    ```python
    tla.load_clips(rule="last").groupby("label")["right"].mean()  # which sounds are hard
    ```
    """
    loaded = finished(runs)
    clips = clips_table(loaded)
    if rule is not None and rule not in set(clips["rule"]):
        raise UserError(f"no run in {runs} has the rule {rule}; there are {', '.join(sorted(set(clips['rule'])))}")
    about = runs_table(loaded)[["key", "data", "backbone", "pretrained_upto", "frozen_upto", "kept_upto"]]
    return about.merge(clips if rule is None else clips[clips["rule"] == rule], on="key")


def load_epochs(runs: str | Path = "runs") -> pd.DataFrame:
    """One row per epoch of each finished run: rate, losses, accuracies, seconds.

    ```python
    tla.load_epochs().pivot_table(index="epoch", columns="backbone", values="accuracy")
    ```
    """
    loaded = finished(runs)
    epochs = pd.concat([pd.DataFrame(folder.log).assign(key=folder.key) for folder in loaded], ignore_index=True)
    about = runs_table(loaded)[["key", "data", "backbone", "pretrained_upto", "frozen_upto", "kept_upto", "fold", "seed"]]
    return about.merge(epochs, on="key")


def finished(runs: str | Path) -> list[FinishedRun]:
    """The finished runs below a folder; one that is damaged is named and passed over."""
    found = [run for folder in all_folders(Path(runs)) if (run := intact(folder.path))]
    if not found:
        raise UserError(
            f"there is no finished run in {runs}: --runs is the folder of them; "
            f"`{console.command('train', console.FIRST)}` makes some"
        )
    return found


def runs_table(folders: Iterable[FinishedRun]) -> pd.DataFrame:
    """One row per run: what was trained, and for each selection rule its accuracy and macro accuracy."""
    return pd.DataFrame([_row(folder) for folder in folders])


def _row(folder: FinishedRun) -> dict[str, object]:
    run, result = folder.run, folder.result
    scores = {rule: score.accuracy for rule, score in result.scores.items()}
    macro = {f"{rule}_macro": score.macro_accuracy for rule, score in result.scores.items()}
    return {
        "key": folder.key,
        **folder.data,
        "backbone": run.backbone,
        "weights": run.weights,
        "start": start(run.weights, run.transfer),
        **asdict(run.transfer),
        "per_class": np.nan if run.per_class is None else run.per_class,
        "protocol": run.protocol,
        "fold": run.fold,
        "seed": run.seed,
        **scores,
        **macro,
        "best_epoch": result.best_epoch,
        "epochs": result.epochs,
        "training": result.training.state,
        "training_loss": result.training.loss,
        "fall": result.training.fall,
        "clips": result.clips,
        "trainable": result.trainable,
        "parameters": result.parameters,
        "multiply_adds": result.multiply_adds,
        "seconds_per_epoch": result.seconds_per_epoch,
        "precision": run.precision,
        **_options(run),
    }


def _options(run: Run) -> dict[str, object]:
    """The options of recipe, augmentation and picture; `epochs_asked` are those of the recipe, not those that there were."""
    recipe = asdict(run.recipe) | {"drops": None if run.recipe.drops is None else ",".join(map(str, run.recipe.drops))}
    recipe = {"lr": recipe.pop("lr"), "batch": recipe.pop("batch"), "augment": run.augment.kind} | recipe
    recipe["epochs_asked"] = recipe.pop("epochs")
    return recipe | {"augment_length": run.augment.length} | {f"picture_{k}": v for k, v in asdict(run.picture).items()}


def clips_table(folders: Iterable[FinishedRun]) -> pd.DataFrame:
    """One row per held-out clip, run and selection rule: the predicted class, its probability, whether it is right."""
    parts = []
    for folder in folders:
        run, outputs, classes = folder.run, folder.predictions, np.array(folder.classes)
        for rule, logits in outputs.logits.items():
            predicted, p = logits.argmax(axis=1), softmax(logits.astype(np.float64), axis=1)
            columns = {"clip": outputs.names, "source": outputs.sources, "label": classes[outputs.labels]}
            columns["predicted"] = classes[predicted]
            scores = {"probability": p.max(axis=1), "right": (predicted == outputs.labels).astype(np.float64)}
            about = {"rule": rule, "fold": run.fold, "seed": run.seed, "key": folder.key}
            parts.append(pd.DataFrame({**columns, **scores, **about}))
    return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True)
class Held:
    """What the runs of one fold made of the clips that it holds out: right or wrong, or a difference of such."""

    clips: np.ndarray
    """Their names (clips,)."""
    recordings: np.ndarray
    """The recording of each (clips,)."""
    labels: np.ndarray
    """The class of each (clips,)."""
    right: np.ndarray
    """(runs, clips)"""

    def at(self, clips: np.ndarray) -> "Held":
        """Its runs on some of its clips, by their names."""
        place = {name: index for index, name in enumerate(self.clips.tolist())}
        rows = [place[name] for name in clips.tolist()]
        return Held(clips, self.recordings[rows], self.labels[rows], self.right[:, rows])


Outcomes = Mapping[int, Held]  # fold -> what its runs, one per seed, made of its clips


def outcomes(folders: Iterable[FinishedRun], rule: str) -> Outcomes:
    """What the runs of a study were right about under a selection rule, fold by fold: runs crossed with clips."""
    by_fold: dict[int, list[Predictions]] = {}
    for folder in sorted(folders, key=lambda folder: (folder.run.fold, folder.run.seed)):
        by_fold.setdefault(folder.run.fold, []).append(folder.predictions)
    return {fold: _held_out(each, rule) for fold, each in by_fold.items()}


def _held_out(runs: Sequence[Predictions], rule: str) -> Held:
    common = set.intersection(*(set(one.names.tolist()) for one in runs))
    clips = np.array(sorted(common))
    right = [(one.logits[rule].argmax(axis=1) == one.labels)[None].astype(float) for one in runs]
    each = [Held(one.names, one.sources, one.labels, mine).at(clips) for one, mine in zip(runs, right, strict=True)]
    return replace(each[0], right=np.concatenate([one.right for one in each]))


def within(first: Outcomes, second: Outcomes) -> Outcomes:
    """Run by run, what the same runs gain under one rule over another."""
    return {fold: replace(held, right=held.right - second[fold].right) for fold, held in first.items()}


def folds_of(study: Outcomes, *, macro: bool = False) -> list[Fold]:
    """The folds of a study, as `statistics` takes them; `macro`: each class weighs the same, however many clips it has."""
    return _folds(list(study.values()), macro)


def _folds(study: Sequence[Held], macro: bool) -> list[Fold]:
    if not macro:
        return [Fold(held.right, held.recordings) for held in study]
    sizes = np.bincount(np.concatenate([held.labels for held in study]))
    return [Fold(held.right, held.recordings, 1 / sizes[held.labels]) for held in study]


def matched(first: Outcomes, second: Outcomes, *, macro: bool = False) -> tuple[list[Fold], list[Fold]]:
    """Two studies on the clips that both held out in the same fold, in the same order; `macro` as in `folds_of`."""
    pairs = [(first[fold], second[fold]) for fold in first if fold in second]
    both = [(a, b, np.intersect1d(a.clips, b.clips)) for a, b in pairs]
    both = [(a, b, clips) for a, b, clips in both if len(clips)]
    if not both:
        raise UserError("the two studies have no held-out fold in common, so there is nothing to compare")
    return _folds([a.at(clips) for a, _, clips in both], macro), _folds([b.at(clips) for _, b, clips in both], macro)


def counted(folds: Iterable[Fold]) -> dict[str, int]:
    """How many clips and recordings there are."""
    recordings = [fold.recordings for fold in folds]
    return {"clips": sum(map(len, recordings)), "sources": len(np.unique(np.concatenate(recordings)))}


def accuracy(folders: Iterable[FinishedRun], rule: str, *, macro: bool = False) -> Estimate:
    """Accuracy of a study: the mean over runs for each clip, then over clips; `macro`: its macro accuracy."""
    return share(folds_of(outcomes(folders, rule), macro=macro))


def difference(folders: Iterable[FinishedRun], others: Iterable[FinishedRun], rule: str, *, macro: bool = False) -> Estimate:
    """Accuracy of a study less that of another, clip by clip where both held out the same fold; `macro`: of macro accuracy."""
    return statistics.difference(*matched(outcomes(folders, rule), outcomes(others, rule), macro=macro))


def macro_columns(estimate: Estimate) -> dict[str, float]:
    """A macro accuracy, or what is gained in it, with its interval, in percent, as tables have it."""
    return {"macro_accuracy": 100 * estimate.mean, "macro_low": 100 * estimate.low, "macro_high": 100 * estimate.high}


def summary(arms: Mapping[str, Sequence[FinishedRun]]) -> pd.DataFrame:
    """One row per arm and selection rule (and per paired difference from the first arm), in percent.

    `spread` is the standard deviation over seeds of the mean over folds; with one seed, over folds.
    """
    first, *others = arms
    rows = []
    for rule in arms[first][0].result.scores:
        for arm, folders in arms.items():
            runs = runs_table(folders)
            count = {"unfinished": unfinished(runs)} | macro_columns(accuracy(folders, rule, macro=True))
            rows.append(reported(arm, rule, accuracy(folders, rule), runs) | count | _paper(folders, rule))
        for arm in others:
            gain = difference(arms[first], arms[arm], rule)
            left, right = runs_table(arms[first]), runs_table(arms[arm])
            count = {"unfinished": unfinished(left) + unfinished(right)}
            count |= macro_columns(difference(arms[first], arms[arm], rule, macro=True))
            rows.append(reported(f"{first} - {arm}", rule, gain, less(left, right, rule)) | count)
    return pd.DataFrame(rows)


def less(left: pd.DataFrame, right: pd.DataFrame, rule: str) -> pd.DataFrame:
    """Score by score, one runs table less another, where both have the fold and the seed."""
    return (left.set_index(["fold", "seed"])[[rule]] - right.set_index(["fold", "seed"])[[rule]]).dropna().reset_index()


def reported(arm: str, rule: str, estimate: Estimate, runs: pd.DataFrame) -> dict[str, object]:
    """A row of a summary: an estimate, and how far the runs behind it are spread."""
    over = "seed" if runs["seed"].nunique() > 1 else "fold"
    means = 100 * runs.groupby(over)[rule].mean()
    return {
        "arm": arm,
        "rule": rule,
        "runs": len(runs),
        "accuracy": 100 * estimate.mean,
        "low": 100 * estimate.low,
        "high": 100 * estimate.high,
        "covers": estimate.covers,
        "spread": means.std(ddof=1),  # NaN for a single run
        "spread_over": f"{len(means)} {over}s",
    }


def _paper(folders: Sequence[FinishedRun], rule: str) -> dict[str, float]:
    """The paper's number for these runs, if it has one: it reports the best epoch."""
    run = folders[0].run
    known = TABLE1.get((run.backbone, run.data))
    ends = {"block4": 0, "none": 1}
    if known is None or rule != "best" or run.transfer.pretrained_upto not in ends or run.per_class is not None:
        return {}
    return {"paper": known[ends[run.transfer.pretrained_upto]]}
