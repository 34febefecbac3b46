"""Several runs that differ in head initialisation and batch order, averaged (section III-D, Table II).

Everything is computed from the logits that the runs left for each held-out clip. Averaged are the softmax outputs, as in the
paper, or the logits; or the runs' weights, which makes one network (`soups.py`). Member m of a study is its run of seed m in
each fold; folds are put end to end, so that every held-out clip counts once. Conventions: natural logarithms; the calibration
error is that of the predicted class's probability, in bins of equal width, so it depends on their number and is never zero on
few clips: what a perfectly calibrated network would show on as many clips stands beside it.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy.special import log_softmax, logsumexp

from tla.console import progress
from tla.ensembles.soups import Soups, Which
from tla.errors import UserError
from tla.manifest import write_tables
from tla.runs import tables
from tla.runs.folder import FinishedRun
from tla.runs.scores import balanced_weights, macro_accuracy, unbiased_rule
from tla.statistics import Estimate, Fold, mean, of_clips, share
from tla.statistics import gain as gain_of

How = Literal["softmax", "logits", "weights"]
HOWS: tuple[How, ...] = get_args(How)[:2]  # of outputs; averaged weights are one network, which has to be run
WEIGHTS: How = "weights"

MEMBERS, BINS = 5, 15  # the paper's members; bins of calibration
MOST = 12  # members: all their subsets are 4095
SIMULATIONS = 1000
PARTS = ("subsets", "pairs", "missed", "runs")  # the tables beside the scores
ALL = "all"  # the row in which folds are put end to end


@dataclass(frozen=True)
class Members:
    """The outputs of the members for the same clips. logits: (members, clips, classes); the others (clips,)."""

    seeds: tuple[int, ...]
    logits: np.ndarray
    labels: np.ndarray
    sources: np.ndarray
    folds: np.ndarray
    soups: Mapping[Which, np.ndarray] = field(default_factory=dict)
    """Logits (clips, classes) of the averaged weights of members, by their place; a member alone is as it is."""

    @property
    def hows(self) -> tuple[How, ...]:
        """What is averaged."""
        return (*HOWS, WEIGHTS) if self.soups else HOWS

    def log_p(self, which: Sequence[int], how: How) -> np.ndarray:
        """Log-probabilities (clips, classes) of the average over some members."""
        if how != WEIGHTS:
            return average(self.logits[list(which)], how)
        return log_softmax(self.logits[which[0]] if len(which) == 1 else self.soups[tuple(which)], axis=1)

    @property
    def predicted(self) -> np.ndarray:
        """(members, clips): the class with the largest logit."""
        return self.logits.argmax(axis=2)

    @property
    def right(self) -> np.ndarray:
        """(members, clips)"""
        return self.predicted == self.labels

    def of(self, fold: int) -> "Members":
        """The clips of one fold."""
        kept = self.folds == fold
        soups = {which: logits[kept] for which, logits in self.soups.items()}
        return Members(self.seeds, self.logits[:, kept], self.labels[kept], self.sources[kept], self.folds[kept], soups)


@dataclass(frozen=True)
class Ensemble:
    """The tables of an ensemble, as `pd.read_csv` of the files beside a figure gives them too.

    `scores` has a row per fold, and one for all of them, and way of averaging.
    """

    scores: pd.DataFrame
    subsets: pd.DataFrame
    pairs: pd.DataFrame
    missed: pd.DataFrame
    runs: pd.DataFrame

    @property
    def rule(self) -> str:
        """The selection rule."""
        return str(self.scores["rule"].iloc[0])

    def write(self, folder: Path, name: str) -> list[Path]:
        """The tables as CSV: `name.csv` holds the scores, the names of the others end with what they hold."""
        return write_tables(folder, name, {"": self.scores, **{part: getattr(self, part) for part in PARTS}})


def read(folder: Path, name: str) -> Ensemble:
    """What `write` wrote."""
    return Ensemble(*(tables.read(folder / f"{name}{part}.csv") for part in ("", *(f"_{part}" for part in PARTS))))


def measure(runs: Sequence[FinishedRun], rule: str | None = None, *, bins: int = BINS, soups: Soups | None = None) -> Ensemble:
    """The tables of an ensemble of the runs of one study; `rule` is by default the last epoch (nested: the chosen one).

    Args:
        soups: What the runs' averaged weights make of the clips (`averaged_weights`), for a third way of averaging.
    """
    rule = rule or unbiased_rule(runs[0].run.protocol)
    one = members(runs, rule)
    if soups:
        one = replace(one, soups={which: _joined(soups, which, one.folds) for which in next(iter(soups.values()))})
    check(len(one.seeds), bins)
    together = scores(one, bins).assign(rule=rule)
    return Ensemble(together, subsets(one, bins), pairs(one), missed(one), tables.runs_table(runs))


def check(count: int, bins: int = BINS) -> None:
    """Refuse what cannot be measured."""
    if count < 2:
        raise UserError(f"--members is {count}: an ensemble has two members at least, runs of one study with different seeds")
    if count > MOST:
        raise UserError(f"--members is {count}: all {2**count - 1} subsets are tried, so {MOST} are the most")
    if bins < 1:
        raise UserError(f"--bins is {bins}: the calibration error needs one bin at least")


def members(folders: Sequence[FinishedRun], rule: str) -> Members:
    """The runs of one study as members; each fold needs a run of each seed."""
    by_fold: dict[int, dict[int, FinishedRun]] = {}
    for folder in folders:
        by_fold.setdefault(folder.run.fold, {})[folder.run.seed] = folder
    seeds = sorted({seed for runs in by_fold.values() for seed in runs})
    lacking = [f"fold {fold} seed {seed}" for fold, runs in by_fold.items() for seed in seeds if seed not in runs]
    if lacking:
        raise UserError(f"an ensemble needs a run of each seed in each fold; there is none for {', '.join(lacking)}")
    parts = []
    for fold in sorted(by_fold):
        outputs = [by_fold[fold][seed].predictions for seed in seeds]
        first = outputs[0]
        if any(not np.array_equal(first.names, other.names) for other in outputs):
            raise UserError(f"the runs of fold {fold} were scored on different clips, so they cannot be averaged")
        logits = np.stack([one.logits[rule] for one in outputs]).astype(np.float64)
        parts.append((logits, first.labels, first.sources, np.full(len(first.labels), fold)))
    together = list(zip(*parts, strict=True))
    labels, sources, folds = (np.concatenate(part) for part in together[1:])
    return Members(tuple(seeds), np.concatenate(together[0], axis=1), labels, sources, folds)


def _joined(soups: Soups, which: Which, folds: np.ndarray) -> np.ndarray:
    """The outputs of an average for the clips of all folds, which are in order (clips, classes)."""
    return np.concatenate([soups[fold][which] for fold in sorted(set(folds.tolist()))]).astype(np.float64)


def average(logits: np.ndarray, how: How) -> np.ndarray:
    """Log-probabilities (clips, classes) of the average over members (members, clips, classes)."""
    if how == "logits":
        return log_softmax(logits.mean(axis=0), axis=1)
    return logsumexp(log_softmax(logits, axis=2), axis=0) - np.log(len(logits))


def surprise(log_p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of each clip's label (clips,)."""
    return -log_p[np.arange(len(labels)), labels]


def calibration_error(log_p: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: |accuracy - confidence| in each of `bins` bins of equal width, weighed by their clips."""
    confidence = np.exp(log_p.max(axis=1))
    return _gap(confidence, (log_p.argmax(axis=1) == labels)[None].astype(np.float64), bins)[0]


def calibrated_error(log_p: np.ndarray, bins: int = BINS, *, seed: int = 0) -> float:
    """What `calibration_error` would be on average if each confidence were the very probability of being right."""
    confidence = np.exp(log_p.max(axis=1))
    right = np.random.default_rng(seed).random((SIMULATIONS, len(confidence))) < confidence
    return float(np.mean(_gap(confidence, right.astype(np.float64), bins)))


def _gap(confidence: np.ndarray, right: np.ndarray, bins: int) -> np.ndarray:
    """The calibration error of each row of right (rows, clips)."""
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # bins are open below and closed above
    sums = (right - confidence) @ np.eye(bins)[place]  # (rows, bins)
    return np.abs(sums).sum(axis=1) / len(confidence)


def pairs(one: Members) -> pd.DataFrame:
    """Each two members: the share of clips that they class differently, in percent, and the correlation of their errors.

    The correlation is Pearson's of wrong (1) and right (0); it is not there for a member that is always right or always wrong.
    """
    wrong, predicted, rows = ~one.right, one.predicted, []
    for a, b in itertools.combinations(range(len(one.seeds)), 2):
        both_vary = all(0 < wrong[m].sum() < wrong.shape[1] for m in (a, b))
        together = float(np.corrcoef(wrong[a], wrong[b])[0, 1]) if both_vary else np.nan
        apart = 100 * float((predicted[a] != predicted[b]).mean())
        rows.append({"seed_a": one.seeds[a], "seed_b": one.seeds[b], "disagreement": apart, "error_correlation": together})
    return pd.DataFrame(rows, columns=["seed_a", "seed_b", "disagreement", "error_correlation"])


def disagreement(one: Members) -> Estimate:
    """Share of pairs of members that class a clip differently, over clips, on these runs."""
    predicted = one.predicted
    differ = [predicted[a] != predicted[b] for a, b in itertools.combinations(range(len(predicted)), 2)]
    return share(of_clips(np.mean(differ, axis=0), one.sources))


def subsets(one: Members, bins: int = BINS) -> pd.DataFrame:
    """Every subset of the members, from single ones to all: its accuracy in percent, NLL and calibration error."""
    count = len(one.seeds)
    chosen = [which for size in range(1, count + 1) for which in itertools.combinations(range(count), size)]
    rows = []
    tried = [
        each for each in itertools.product(chosen, one.hows) if each[1] != WEIGHTS or len(each[0]) == 1 or each[0] in one.soups
    ]
    with progress("averaging", len(tried), "ensembles", fewer="fewer --members have far fewer subsets") as watch:
        for which, how in tried:
            log_p = one.log_p(which, how)
            about = {"size": len(which), "seeds": "+".join(str(one.seeds[m]) for m in which), "averaged": how}
            numbers = {
                "accuracy": 100 * float((log_p.argmax(axis=1) == one.labels).mean()),
                "macro_accuracy": 100 * macro_accuracy(log_p, one.labels),
                "nll": float(surprise(log_p, one.labels).mean()),
                "ece": calibration_error(log_p, one.labels, bins),
            }
            rows.append(about | numbers)
            watch.advance()
    return pd.DataFrame(rows)


def missed(one: Members) -> pd.DataFrame:
    """How many clips k of the members miss, and how many of those the averaged softmax gets right."""
    misses = (~one.right).sum(axis=0)
    saved = average(one.logits, "softmax").argmax(axis=1) == one.labels
    counts = range(len(one.seeds) + 1)
    return pd.DataFrame(
        [
            {"members": k, "clips": int((misses == k).sum()), "ensemble_right": int((saved & (misses == k)).sum())}
            for k in counts
        ]
    )


def gain(one: Members, how: How = "softmax", *, macro: bool = False) -> Estimate:
    """What the ensemble gains over one member, in accuracy or macro accuracy, against the mean member."""
    return gain_of(_folds(one, how, less_single=True, macro=macro))


def _folds(one: Members, how: How, *, less_single: bool = False, macro: bool = False) -> list[Fold]:
    """What each member brings to the ensemble's accuracy, or to its gain, on each clip (Tukey's pseudo-values, 1958).

    With M members that is M times the number less M - 1 times that of the others; its mean is taken to be the ensemble's own,
    and how far members differ in it is the noise between trainings.
    """

    def number(kept: Sequence[int]) -> np.ndarray:
        together = one.log_p(kept, how).argmax(axis=1) == one.labels
        return together - one.right[list(kept)].mean(axis=0) if less_single else together.astype(float)

    members = range(len(one.seeds))
    whole = number(members)
    values = np.stack([len(members) * whole - (len(members) - 1) * number([k for k in members if k != m]) for m in members])
    values += whole - values.mean(axis=0)
    weights = balanced_weights(one.labels, one.logits.shape[2])[one.labels] if macro else np.ones(len(one.labels))
    by_fold = [one.folds == fold for fold in sorted(set(one.folds.tolist()))]
    return [Fold(values[:, mine], one.sources[mine], weights[mine]) for mine in by_fold]


def scores(one: Members, bins: int = BINS) -> pd.DataFrame:
    """Single member, ensemble and gain, for each fold and all, with calibration and diversity; accuracies in percent."""
    folds = sorted(set(one.folds.tolist()))
    parts = {str(fold): one.of(fold) for fold in folds if len(folds) > 1} | {ALL: one}
    return pd.DataFrame([score(fold, part, how, bins) for fold, part in parts.items() for how in one.hows])


def score(fold: str, one: Members, how: How, bins: int = BINS) -> dict[str, object]:
    """A row of `scores`."""
    accuracies = 100 * one.right.mean(axis=1)
    singles = [log_softmax(logits, axis=1) for logits in one.logits]
    log_p = one.log_p(range(len(one.seeds)), how)
    together = share(_folds(one, how))
    better, apart = gain(one, how), disagreement(one)
    macro, macro_better = share(_folds(one, how, macro=True)), gain(one, how, macro=True)
    before = np.mean([surprise(single, one.labels) for single in singles], axis=0)
    less = mean(of_clips(surprise(log_p, one.labels) - before, one.sources))
    return {
        "fold": fold,
        "averaged": how,
        "members": len(one.seeds),
        "clips": len(one.labels),
        "single": accuracies.mean(),
        "spread": accuracies.std(ddof=1),
        "best_single": accuracies.max(),  # picked on the clips that are scored
        "ensemble": 100 * together.mean,
        "low": 100 * together.low,
        "high": 100 * together.high,
        "gain": 100 * better.mean,
        "gain_low": 100 * better.low,
        "gain_high": 100 * better.high,
        "covers": better.covers,
        "macro_single": 100 * np.mean([macro_accuracy(logits, one.labels) for logits in one.logits]),
        "macro_ensemble": 100 * macro.mean,
        "macro_low": 100 * macro.low,
        "macro_high": 100 * macro.high,
        "macro_gain": 100 * macro_better.mean,
        "macro_gain_low": 100 * macro_better.low,
        "macro_gain_high": 100 * macro_better.high,
        "disagreement": 100 * apart.mean,
        "disagreement_low": 100 * apart.low,
        "disagreement_high": 100 * apart.high,
        "error_correlation": pairs(one)["error_correlation"].mean(),  # over the pairs that have one
        "nll_single": before.mean(),
        "nll_ensemble": before.mean() + less.mean,
        "nll_change": less.mean,
        "nll_change_low": less.low,
        "nll_change_high": less.high,
        "ece_single": np.mean([calibration_error(single, one.labels, bins) for single in singles]),
        "ece_single_if_calibrated": np.mean([calibrated_error(single, bins) for single in singles]),
        "ece_ensemble": calibration_error(log_p, one.labels, bins),
        "ece_ensemble_if_calibrated": calibrated_error(log_p, bins),
        "bins": bins,
    }
