"""Which stage's change mattered, and how high the loss rises between two networks, as tidy tables.

A trained network is put together anew, with one part put back to its start, to fresh values or to another run's, and scored on
the held-out clips: its accuracy and loss beside those of the network as trained, and the share of clips of which it predicts
another class. All of it twice: with batch norm's statistics as they are stored, and re-estimated on clips of training with
everything else fixed, in the network as trained too. What a stored statistic alone does is not in the second.

A stage counts where the interval of its accuracy excludes no change, its p-value, corrected for the stages of its curve, is
below 5 %, and both hold for other trainings: that takes two seeds or more, and runs that were trained to their end.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from tla.basin import networks as put_together
from tla.basin.changes import ranks, svcca_beside
from tla.basin.networks import Pair, Point, Rewound, Scored
from tla.basin.planning import Networks
from tla.basin.states import STEPS, barriers, rises, shares
from tla.basin.tables import OTHER, STATISTICS, WHOLE, Basin
from tla.console import progress
from tla.errors import UserError
from tla.options import STAGES, Stage
from tla.runs import tables
from tla.runs.folder import FinishedRun
from tla.runs.mixing import STATISTICS_CLIPS
from tla.statistics import TRAININGS, Estimate, Fold, deal, gain, holm, mean, share
from tla.tables import unfinished

LEVEL = 0.05  # what a corrected p-value has to be below
PAIRS = 2  # lines of a kind on each fold
MOST_CLIPS = 200  # of training, that statistics are estimated on
GROUPS = 10  # of recordings, for each of which the place of a barrier is chosen on the others
KEY = ["curve", "to", "span", "stage", "statistics"]

Found = dict[tuple[str, Rewound | None], Scored]  # by statistics, of one run
Line = dict[tuple[str, Point], Scored]
Losses = dict[int, tuple[np.ndarray, np.ndarray]]


def measure(
    networks: Networks,
    *,
    steps: int = STEPS,
    travel: Sequence[str] = (WHOLE,),
    pairs: int = PAIRS,
    clips: int = STATISTICS_CLIPS,
    svcca: pd.DataFrame | None = None,
) -> Basin:
    """The tables of the question.

    Args:
        steps: Networks on a straight line, its ends among them.
        travel: What travels on it: the whole network, or one stage of it.
        pairs: Lines of a kind on each fold.
        clips: Of training, that batch norm's statistics are estimated on.
        svcca: How much SVCCA says that each stage of each run changed (`changes.find_svcca`).
    """
    check(steps, pairs, clips)
    runs = [(curve, run) for curve, folds in networks.arms.items() for each in folds.values() for run in each]
    lines = put_together.pairs(networks, pairs)
    rewound: dict[str, Found] = {}
    others: dict[str, str] = {}
    with progress("networks put together", len(runs) + len(lines), "runs and lines") as watch:
        for curve, run in runs:
            other = _partner(run, networks.partners[curve][run.run.fold])
            rewound[run.key] = {(s, what): one for s, what, one in put_together.rewound(run, other, networks.material, clips)}
            others[run.key] = other.key if other else ""
            watch.advance()
        walked: list[tuple[Pair, Line]] = []
        for pair in lines:
            found = put_together.along(pair, networks.material, steps, travel, clips)
            walked.append((pair, {(statistics, point): one for statistics, point, one in found}))
            watch.advance()
    each = pd.DataFrame([row for curve, run in runs for row in _each(curve, run, others[run.key], rewound[run.key])])
    stages = _over_runs(runs, rewound, each)
    beside = svcca_beside(each, svcca)
    recordings = {fold: _recordings(networks, fold) for fold in sorted({run.run.fold for _, run in runs})}
    return Basin(
        each,
        stages,
        pd.DataFrame([row for pair, line in walked for row in _on_line(pair, line)], columns=PATH),
        _barriers(walked, recordings),
        beside,
        ranks(beside, rewound, recordings),
        pd.concat([tables.runs_table([run]).assign(curve=curve) for curve, run in runs], ignore_index=True),
    )


def check(steps: int, pairs: int, clips: int) -> None:
    """Refuse what cannot be measured."""
    shares(steps)
    if pairs < 0:
        raise UserError(f"--pairs is {pairs}: give how many lines of a kind are walked on each fold, or 0 for none")
    if not 2 <= clips <= MOST_CLIPS:
        raise UserError(f"--clips is {clips}: statistics are estimated on 2 to {MOST_CLIPS} clips of training")


def parts(travel: Sequence[str], kept_upto: Stage) -> tuple[str, ...]:
    """What travels on a path, as the tables call it."""
    kept = STAGES[: STAGES.index(kept_upto) + 1]
    if wrong := [part for part in travel if part not in ("whole", *kept)]:
        raise UserError(f"--travel {','.join(wrong)}: possible are whole, {', '.join(kept)}")
    if not travel:
        raise UserError("--travel names nothing; give whole, or stages as in whole,block3 (no paths at all: --pairs 0)")
    return tuple(dict.fromkeys(WHOLE if part == "whole" else part for part in travel))


def _partner(run: FinishedRun, same_fold: Sequence[FinishedRun]) -> FinishedRun | None:
    """The run of the next seed, whose stages this one takes; after the last comes the first."""
    place = [one.key for one in same_fold].index(run.key)
    return same_fold[(place + 1) % len(same_fold)] if len(same_fold) > 1 else None


def _recordings(networks: Networks, fold: int) -> np.ndarray:
    dataset = networks.material.dataset
    rows = dataset.split(fold, networks.material.study.protocol).test
    return np.array(dataset.sources)[rows]


def _each(curve: str, run: FinishedRun, other: str, found: Found) -> Iterable[dict[str, Any]]:
    """A row per network that was put together of a run."""
    stages: list[str] = [stage for stage in STAGES if any(what and what.stage == stage for _, what in found)]
    for what, statistics in itertools.product(put_together.rewinds(stages, other=bool(other)), STATISTICS):
        one, own = found[statistics, what], found[statistics, None]
        yield {
            **{"curve": curve, **what._asdict(), "order": stages.index(what.stage), "statistics": statistics},
            **{"fold": run.run.fold, "seed": run.run.seed, "key": run.key, "other": other if what.to == OTHER else ""},
            "accuracy": 100 * one.right.mean(),
            "loss": one.loss.mean(),
            "gain": 100 * (one.right - own.right).mean(),
            "rise": (one.loss - own.loss).mean(),
            "changed": 100 * (one.predicted != own.predicted).mean(),
            "trained_accuracy": 100 * own.right.mean(),
            "trained_loss": own.loss.mean(),
        }


def _over_runs(runs: Sequence[tuple[str, FinishedRun]], rewound: Mapping[str, Found], each: pd.DataFrame) -> pd.DataFrame:
    """A row per thing that is put back: means over runs with their intervals."""
    rows = []
    for _, mine in each.groupby(KEY, sort=False):
        curve, to, span, stage, statistics = mine.iloc[0][KEY]
        what, keys = Rewound(to, span, stage), set(mine["key"])
        folders = [run for _, run in runs if run.key in keys]
        two = [(run, rewound[run.key][statistics, what], rewound[run.key][statistics, None]) for run in folders]
        gained = gain(_folds(two, lambda new, own: new.right - own.right))
        about = {"curve": curve, **what._asdict(), "order": mine["order"].iloc[0]}
        short = unfinished(tables.runs_table(folders))
        rows.append(
            {
                **{**about, "statistics": statistics, "runs": len(folders), "unfinished": short},
                **_named("accuracy", share(_folds(two, lambda new, _: new.right)), 100),
                **_named("gain", gained, 100),
                **_named("rise", mean(_folds(two, lambda new, own: new.loss - own.loss)), 1),
                **_named("changed", share(_folds(two, lambda new, own: 1.0 * (new.predicted != own.predicted))), 100),
                "covers": gained.covers,
                "p": gained.p,
                "clear": gained.excludes_zero and gained.covers == TRAININGS and not short,
            }
        )
    table = pd.DataFrame(rows)
    table["p_holm"] = table.groupby(["curve", "to", "span", "statistics"], sort=False)["p"].transform(
        lambda p: holm(p.to_list())
    )
    return table.assign(important=table.pop("clear") & (table["p_holm"] < LEVEL))


def _folds(two: Sequence[tuple[FinishedRun, Scored, Scored]], number: Callable[[Scored, Scored], np.ndarray]) -> list[Fold]:
    """A number of each clip and run, fold by fold."""
    by_fold: dict[int, list[np.ndarray]] = {}
    sources = {}
    for run, new, own in two:
        by_fold.setdefault(run.run.fold, []).append(number(new, own))
        sources[run.run.fold] = run.predictions.sources
    return [Fold(np.stack(values), sources[fold]) for fold, values in by_fold.items()]


def _named(name: str, estimate: Estimate, scale: float) -> dict[str, float]:
    numbers = {"": estimate.mean, "_low": estimate.low, "_high": estimate.high}
    return {name + end: scale * number for end, number in numbers.items()}


def _on_line(pair: Pair, line: Line) -> Iterable[dict[str, Any]]:
    """A row per network on a line."""
    for (statistics, point), one in sorted(line.items(), key=lambda item: (STATISTICS.index(item[0][0]), _place(item[0][1]))):
        yield {
            **{"kind": pair.kind, "part": point.part, "fold": pair.after.run.fold},
            **{"before": f"start of {pair.after.key}" if pair.own else pair.before.key, "after": pair.after.key},
            **{"statistics": statistics, "share": point.share, "accuracy": 100 * one.right.mean(), "loss": one.loss.mean()},
        }


def _place(point: Point) -> tuple[int, float]:
    """What points are ordered by."""
    order: tuple[str, ...] = (WHOLE, *STAGES)
    return order.index(point.part), point.share


def _barriers(walked: Sequence[tuple[Pair, Line]], recordings: Mapping[int, np.ndarray]) -> pd.DataFrame:
    """A row per kind of line, part that travels, and statistics: the barrier, with its interval over recordings and pairs."""
    rows = []
    for kind in dict.fromkeys(pair.kind for pair, _ in walked):
        mine = [(pair, line) for pair, line in walked if pair.kind == kind]
        short = unfinished(tables.runs_table([run for pair, _ in mine for run in (pair.before, pair.after)]))
        for part in dict.fromkeys(point.part for point in sorted({p for _, line in mine for _, p in line}, key=_place)):
            for statistics in STATISTICS:
                losses = _losses(mine, part, statistics)
                found = barrier_of(losses, recordings)
                about = {"kind": kind, "part": part, "statistics": statistics, "pairs": len(mine), "unfinished": short}
                highest = np.mean([rise for places, one in losses.values() for rise in barriers(places, one.mean(axis=2))])
                numbers = {
                    "highest": highest,
                    "barrier": found.mean,
                    "low": found.low,
                    "high": found.high,
                    "covers": found.covers,
                }
                rows.append(about | numbers)
    return pd.DataFrame(rows, columns=BARRIER)


PATH = ["kind", "part", "fold", "before", "after", "statistics", "share", "accuracy", "loss"]
BARRIER = ["kind", "part", "statistics", "pairs", "unfinished", "highest", "barrier", "low", "high", "covers"]


def _losses(mine: Sequence[tuple[Pair, Line]], part: str, statistics: str) -> Losses:
    """fold -> places on the line, and the losses of its pairs there (pairs, places, clips)."""
    found: dict[int, list[np.ndarray]] = {}
    places: list[float] = []
    for pair, line in mine:
        points = {point.share: one.loss for (s, point), one in line.items() if (s, point.part) == (statistics, part)}
        places = sorted(points)
        found.setdefault(pair.after.run.fold, []).append(np.stack([points[place] for place in places]))
    return {fold: (np.array(places), np.stack(each)) for fold, each in found.items()}


def barrier_of(losses: Losses, recordings: Mapping[int, np.ndarray]) -> Estimate:
    """The mean over pairs of how far the loss rises over the line between its ends, at the place where it does most.

    The place is chosen, for each group of recordings, on the others: the highest of many noisy numbers is too high where it is
    looked for and read off on the same clips. So this is lower than the highest rise, and its interval is that of a mean.

    Args:
        losses: fold -> places on the line, and the losses of its pairs there (pairs, places, clips).
        recordings: fold -> the recording of each clip.
    """
    folds = []
    for fold, (places, each) in losses.items():
        over = rises(places, np.moveaxis(each, 1, 2))  # (pairs, clips, places)
        values = np.zeros(over.shape[:2])
        for group in deal(recordings[fold].tolist(), most=GROUPS):
            chosen = np.delete(over, group, axis=1).mean(axis=1).argmax(axis=1)  # (pairs,)
            values[:, group] = over[np.arange(len(over))[:, None], group, chosen[:, None]]
        folds.append(Fold(values, recordings[fold]))
    found = mean(folds)
    return replace(found, mean=max(found.mean, 0.0), low=max(found.low, 0.0), high=max(found.high, 0.0))
