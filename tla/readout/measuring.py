"""What can be read out of the stages of networks, and of the picture, as tables; on the data set's own folds.

A readout learns from the clips that a run of the fold learns from, less those of a recording that is held out as well. So each
number stands on the clips that a fine-tuned network is scored on, and the two can be compared clip by clip.

- Floor: the same with labels permuted within each fold, `PERMUTATIONS` times.
- `elsewhere`, `logme` and `h_score` hold no clip out and take all clips; of networks that have learned from clips, those alone
  that each has not seen, fold by fold.
- The best stage of a backbone, as a line in other figures, is chosen in each fold on the clips that are learned from: the
  highest of the stages' numbers would be picked on the very clips that it is reported on.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from tla.errors import UserError
from tla.options import RANDOM, STAGES
from tla.readout import scores
from tla.readout.tables import (
    ACCURACIES,
    BEFORE,
    BEST,
    ELSEWHERE,
    H_SCORE,
    LINEAR,
    LOGME,
    NEAREST,
    PICTURE,
    PRETRAINED,
    Readout,
)
from tla.statistics import Estimate, Fold, deal, difference, jackknife, share

PERMUTATIONS = 20
GROUPS = 10  # of whole recordings that are left out in turn, for the interval of a score
WHOLE = {LOGME: scores.logme, H_SCORE: scores.h_score}


@dataclass(frozen=True)
class Clips:
    """What features are read out to: labels 0, 1, ... (clips,), and each clip's name, recording and fold."""

    names: np.ndarray
    labels: np.ndarray
    recordings: np.ndarray
    folds: np.ndarray
    splits: Mapping[int, tuple[np.ndarray, np.ndarray]]
    """Fold that is held out -> the rows that are learned from, and those held out."""

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    def permuted(self, rng: np.random.Generator, times: int = PERMUTATIONS) -> np.ndarray:
        """The labels, and these permuted within each fold: (1 + times, clips)."""
        sets = np.tile(self.labels, (1 + times, 1))
        for mine in sets[1:]:
            for fold in np.unique(self.folds):
                rows = np.flatnonzero(self.folds == fold)
                mine[rows] = mine[rng.permutation(rows)]
        return sets


def apart(clips: Clips) -> Clips:
    """The same, where no clip is learned from whose recording is held out; `UserError` where too little is left."""
    splits = {}
    for fold, (learned, held_out) in clips.splits.items():
        kept = learned[~np.isin(clips.recordings[learned], clips.recordings[held_out])]
        if not len(kept):
            raise UserError(f"fold {fold}: all clips to learn from are of recordings that are held out too; nothing is left")
        if len(np.unique(clips.recordings[kept])) < 2:
            raise UserError(
                f"fold {fold}: all clips to learn from come from one recording ({clips.recordings[kept[0]]}), and a readout's "
                "penalty is chosen by leaving recordings out; give clips of more recordings, or another column source"
            )
        if lost := sorted(set(clips.labels[held_out].tolist()) - set(clips.labels[kept].tolist())):
            raise UserError(
                f"fold {fold}: nothing is left to learn class number {lost[0]} from, without the held-out recordings"
            )
        splits[fold] = (kept, held_out)
    return replace(clips, splits=splits)


@dataclass(frozen=True, eq=False)
class Stage:
    """The features (clips, features) of one stage, in networks that are one and the same or each a fold's own."""

    backbone: str
    network: str
    stage: str
    features: Sequence[np.ndarray] | Mapping[int, Sequence[np.ndarray]]
    """An array per run, for all folds; or those of each fold's own networks, which have learned from its other clips."""

    @property
    def about(self) -> dict[str, Any]:
        """The columns of tables that say what it is."""
        first = next(iter(self.features.values())) if isinstance(self.features, Mapping) else self.features
        names = {"backbone": self.backbone, "network": self.network, "stage": self.stage}
        return {**names, "runs": len(first), "features": first[0].shape[1]}

    def of(self, fold: int) -> Sequence[np.ndarray]:
        return self.features[fold] if isinstance(self.features, Mapping) else self.features

    def seen(self, clips: Clips) -> list[int]:
        """The folds that it has networks for."""
        return [fold for fold in clips.splits if not isinstance(self.features, Mapping) or fold in self.features]

    def parts(self, clips: Clips) -> list[tuple[np.ndarray, Sequence[np.ndarray]]]:
        """Rows of clips that no network has learned from, and the features of the networks that this holds for."""
        if isinstance(self.features, Mapping):
            return [(clips.splits[fold][1], runs) for fold, runs in self.features.items()]
        return [(np.arange(len(clips.labels)), self.features)]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What was read out of a stage."""

    stage: Stage
    right: dict[str, list[tuple[np.ndarray, np.ndarray]]]
    """Readout -> rows of clips, and whether each is right: (runs, sets of labels, clips)."""
    within: dict[int, float]
    """Fold -> accuracy of the linear readout among the clips that it learns from."""
    scores: dict[str, tuple[Estimate, np.ndarray]]
    """Score -> the number, and what it is under permuted labels (permutations,)."""

    def folds(self, clips: Clips, readout: str = LINEAR, *, macro: bool = False) -> list[Fold]:
        """As `tla.statistics` takes them."""
        rows = [each for each, _ in self.right[readout]]
        sizes = np.bincount(clips.labels[np.concatenate(rows)])
        weights = [1 / sizes[clips.labels[each]] if macro else None for each in rows]
        values = [right[:, 0] for _, right in self.right[readout]]
        return [Fold(mine, clips.recordings[each], w) for mine, each, w in zip(values, rows, weights, strict=True)]

    def floor(self, readout: str) -> np.ndarray:
        """The accuracy under permuted labels (permutations,)."""
        each = [right[:, 1:].mean(axis=0) for _, right in self.right[readout]]
        return np.concatenate(each, axis=1).mean(axis=1)


def read_out(stage: Stage, clips: Clips, labels: np.ndarray) -> Outcome:
    """All readouts of a stage; labels (sets, clips), the true ones first."""
    right: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {LINEAR: [], NEAREST: []}
    within = {}
    for fold in stage.seen(clips):
        learned, held_out = clips.splits[fold]
        linear, near, inner = [], [], []
        for values in stage.of(fold):
            given = values[learned], labels[:, learned]
            found = scores.linear(*given, clips.recordings[learned].tolist(), values[held_out], clips.classes)
            linear.append(found.outputs)
            near.append(scores.nearest(*given, values[held_out], clips.classes))
            inner.append(found.within[0])
        right[LINEAR].append((held_out, _right(linear, labels[:, held_out])))
        right[NEAREST].append((held_out, _right(near, labels[:, held_out])))
        within[fold] = float(np.mean(inner))
    parts = stage.parts(clips)
    for rows, runs in parts:
        recordings = clips.recordings[rows].tolist()
        if len(set(recordings)) > 1:
            outputs = [scores.nearest_elsewhere(values[rows], labels[:, rows], recordings, clips.classes) for values in runs]
            right.setdefault(ELSEWHERE, []).append((rows, _right(outputs, labels[:, rows])))
    return Outcome(stage, right, within, {name: _score(name, parts, clips, labels) for name in WHOLE})


def _right(outputs: Sequence[np.ndarray], labels: np.ndarray) -> np.ndarray:
    return (np.stack(outputs).argmax(axis=-1) == labels).astype(np.float64)


def _score(
    name: str, parts: Sequence[tuple[np.ndarray, Sequence[np.ndarray]]], clips: Clips, labels: np.ndarray
) -> tuple[Estimate, np.ndarray]:
    """A score, the mean over parts, with its interval over recordings; and under permuted labels."""
    score, whole, without = WHOLE[name], [], []
    for rows, runs in parts:
        whole.append(np.mean([score(values[rows], labels[:, rows], clips.classes) for values in runs], axis=0))
        groups = deal(clips.recordings[rows].tolist(), most=GROUPS)
        kept = [np.delete(rows, group) for group in groups] if len(groups) > 1 else []
        mine = [np.mean([score(values[some], labels[0, some], clips.classes) for values in runs]) for some in kept]
        without.append(np.array(mine) / len(parts))
    full = np.mean(whole, axis=0)
    return jackknife(float(full[0]), without), full[1:]


@dataclass(frozen=True, eq=False)
class Asked:
    """What is to be read out."""

    stages: Callable[[], Iterable[Stage]]
    """Makes them; the picture is one of them, with neither backbone nor stage."""
    clips: Clips
    about: Mapping[str, Any]
    """Columns of all tables: the data, its folds, whether pictures are standardised."""
    costs: Mapping[tuple[str, str], int]
    """Backbone, stage -> multiply-adds up to there."""
    digest: str = ""
    """Of the clips."""


def measure(asked: Asked, rng: np.random.Generator | None = None) -> Readout:
    """The tables; `rng` permutes the labels, by default from seed 0."""
    clips = apart(asked.clips)
    labels = clips.permuted(np.random.default_rng(0) if rng is None else rng)
    found = [read_out(stage, clips, labels) for stage in asked.stages()]
    points = [row for outcome in found for row in _points(outcome, clips)]
    contrasts = [row for outcome in found for row in _contrasts(outcome, found, clips)]
    tables = points, contrasts, _ranking(found, clips, asked.costs), *_lines(found, clips)
    return Readout(*(pd.DataFrame([{**asked.about, **row} for row in rows]) for rows in tables))


def _points(outcome: Outcome, clips: Clips) -> Iterator[dict[str, Any]]:
    """A row per readout."""
    for readout in [name for name in ACCURACIES if name in outcome.right]:
        folds = outcome.folds(clips, readout)
        counts = {"clips": sum(map(len, (fold.recordings for fold in folds)))}
        macro = share(outcome.folds(clips, readout, macro=True)).mean
        number = {**_percent(share(folds)), "macro": 100 * macro}
        yield {**outcome.stage.about, "readout": readout, **number, **_floor(100 * outcome.floor(readout)), **counts}
    for readout, (estimate, permuted) in outcome.scores.items():
        counts = {"clips": sum(len(rows) for rows, _ in outcome.stage.parts(clips))}
        number = {"value": estimate.mean, "low": estimate.low, "high": estimate.high, "covers": estimate.covers}
        yield {**outcome.stage.about, "readout": readout, **number, "macro": math.nan, **_floor(permuted), **counts}


def _floor(permuted: np.ndarray) -> dict[str, float]:
    """What permuted labels give: their mean, and the largest of them."""
    return {"floor": float(permuted.mean()), "floor_high": float(permuted.max())}


def _percent(estimate: Estimate) -> dict[str, Any]:
    numbers = {"value": 100 * estimate.mean, "low": 100 * estimate.low, "high": 100 * estimate.high}
    return {**numbers, "covers": estimate.covers}


def _contrasts(outcome: Outcome, others: Sequence[Outcome], clips: Clips) -> Iterator[dict[str, Any]]:
    """The linear readout less that of the picture, of the same stage in the random network, and of the stage before."""
    mine = outcome.stage
    if mine.network == PICTURE:
        return
    before = [o for o in others if (o.stage.backbone, o.stage.network) == (mine.backbone, mine.network)]
    against = {PICTURE: next((o for o in others if o.stage.network == PICTURE), None)}
    twins = [o for o in others if (o.stage.backbone, o.stage.stage) == (mine.backbone, mine.stage)]
    against[RANDOM] = next((o for o in twins if o.stage.network == RANDOM and mine.network != RANDOM), None)
    against[BEFORE] = before[before.index(outcome) - 1] if before.index(outcome) else None
    for name, other in against.items():
        if other is not None and (pair := _paired(outcome, other, clips)):
            change = difference(*pair)
            yield {**mine.about, "against": name, "readout": LINEAR, **_percent(change), "p": change.p}


def _paired(first: Outcome, second: Outcome, clips: Clips) -> tuple[list[Fold], list[Fold]] | None:
    """The linear readouts on the folds that both have."""
    one, other = (dict(zip(o.within, o.folds(clips), strict=True)) for o in (first, second))
    both = [fold for fold in one if fold in other]
    return ([one[fold] for fold in both], [other[fold] for fold in both]) if both else None


def _ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The stages that are ranked: of the pretrained networks or, where there is none, of the random ones."""
    networks = [outcome.stage.network for outcome in outcomes]
    return [o for o in outcomes if o.stage.network == (PRETRAINED if PRETRAINED in networks else RANDOM)]


def _ranking(outcomes: Sequence[Outcome], clips: Clips, costs: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    """The stages by their linear readout, each less the best, and in how many folds each is the best of its backbone's on the
    clips that are learned from."""
    ranked = sorted(_ranked(outcomes), key=lambda o: -share(o.folds(clips)).mean)
    chosen = [outcome for best in _chosen(ranked).values() for outcome in best.values()]
    rows = []
    for outcome in ranked:
        behind = difference(ranked[0].folds(clips), outcome.folds(clips))
        gap = {"behind": 100 * behind.mean, "behind_low": 100 * behind.low, "behind_high": 100 * behind.high}
        mine = {"chosen": chosen.count(outcome), "folds": len(outcome.within)}
        cost = {"multiply_adds": costs[outcome.stage.backbone, outcome.stage.stage]}
        rows.append({**outcome.stage.about, **_percent(share(outcome.folds(clips))), **gap, **mine, **cost})
    return rows


def _chosen(ranked: Sequence[Outcome]) -> dict[str, dict[int, Outcome]]:
    """Backbone -> fold -> the stage with the best readout among the clips that are learned from; of equals the earliest."""
    found: dict[str, dict[int, Outcome]] = {}
    for outcome in sorted(ranked, key=lambda outcome: STAGES.index(outcome.stage.stage)):
        best = found.setdefault(outcome.stage.backbone, dict.fromkeys(outcome.within, outcome))
        for fold, within in outcome.within.items():
            if within > best[fold].within[fold]:
                best[fold] = outcome
    return found


def _lines(outcomes: Sequence[Outcome], clips: Clips) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The picture, and each backbone's best stage, chosen on the clips that are learned from, and each clip."""
    chosen = {(backbone, BEST): best for backbone, best in _chosen(_ranked(outcomes)).items()}
    if picture := [outcome for outcome in outcomes if outcome.stage.network == PICTURE]:
        chosen = {("", PICTURE): dict.fromkeys(picture[0].within, picture[0]), **chosen}
    rows, each = [], []
    for (backbone, line), best in chosen.items():
        about = {"backbone": backbone, "line": line}
        counts = Counter(outcome.stage.stage for outcome in best.values())
        stages = ", ".join(stage if len(counts) == 1 else f"{stage} ({counts[stage]})" for stage in STAGES if counts[stage])
        folds = {fold: dict(zip(o.within, o.folds(clips), strict=True))[fold] for fold, o in best.items()}
        count = sum(len(held_out.recordings) for held_out in folds.values())
        rows.append({**about, "stages": stages, **_percent(share(list(folds.values()))), "clips": count})
        for fold, held_out in folds.items():
            names, right = clips.names[clips.splits[fold][1]].tolist(), held_out.values.mean(axis=0).tolist()
            told = zip(names, held_out.recordings.tolist(), right, strict=True)
            each += [
                {**about, "fold": fold, "clip": clip, "source": source, "right": is_right} for clip, source, is_right in told
            ]
    return rows, each
