"""Is what readouts suggest any good? Held against finished runs that were cut, frozen, or pretrained up to each stage.

In each fold, the stages are scored on the clips that its runs learned from: no held-out clip has a say. What is asked is
whether the order of these scores is that of the runs' accuracies.

- `correlation`: the rank correlation of a score with accuracy, pooled: ranks are centred within each fold, and their products
  summed over all folds of all groups. A group is a backbone on a data set under one recipe.
- Its p-value is exact: the stages of a group are permuted in all possible ways, the same in all of its folds, since folds of
  one data set share most of their clips. Five stages of one group can give no p below 2 / 5! = 0.017, three none below 0.33.
- `depth` is the rule that deeper is better, and stands beside the scores.
- What following a score would have brought: the mean accuracy at the stage that it puts first.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from tla import console
from tla.console import say
from tla.errors import UserError
from tla.launch.find_run import beginning, final, origin
from tla.manifest import write_tables
from tla.options import RANDOM, STAGES, Place, Stage, Study, Transfer
from tla.readout import scores
from tla.readout.features import Network, of_network
from tla.readout.tables import ELSEWHERE, H_SCORE, LINEAR, LOGME
from tla.runs import tables
from tla.runs.device import choose_device
from tla.runs.feed import standard_of
from tla.runs.folder import FinishedRun
from tla.runs.run import Run

DEPTH = "depth"
SCORES = (LINEAR, ELSEWHERE, LOGME, H_SCORE, DEPTH)
WHOLE = Transfer()
SWEEPS: dict[str, Callable[[Stage], Transfer]] = {  # sweep -> the plan of a run that ends at a stage
    "cutoff": lambda stage: Transfer(pretrained_upto=stage, kept_upto=stage),
    "freezing": lambda stage: Transfer(frozen_upto=stage),
    "fusion": lambda stage: Transfer(pretrained_upto=stage),
}


def observed(study: Study, place: Place) -> pd.DataFrame:
    """A row per sweep, group, fold and stage: the runs' mean accuracy in percent, and the scores of the stage."""
    groups: dict[Run, list[FinishedRun]] = {}
    for folder in tables.finished(place.runs):
        run = folder.run
        if run.weights != RANDOM and run.recipe.times == 1:
            groups.setdefault(replace(run, data="", transfer=WHOLE, fold=0, seed=0), []).append(folder)
    rows = []
    for number, folders in enumerate(groups.values()):
        mine = [row | {"group": number} for row in _accuracies(folders)]
        if mine and (known := _scored(folders, sorted({row["fold"] for row in mine}), study, place)):
            rows += [row | known[row["fold"], row["stage"]] for row in mine]
    if not rows:
        raise UserError(
            f"--check: there are no finished cutoff, freezing or fusion runs at two stages or more in {place.runs}; "
            f"`{console.command('cutoff')}` makes some"
        )
    return pd.DataFrame(rows)


def _accuracies(folders: Sequence[FinishedRun]) -> list[dict[str, Any]]:
    """A row per sweep, fold and stage of a group's runs, on the folds that have each of a sweep's stages."""
    rows = []
    for sweep, plan in SWEEPS.items():
        found: dict[int, dict[str, list[FinishedRun]]] = {}
        for stage in STAGES:
            for folder in folders:
                if folder.run.transfer == plan(stage):
                    found.setdefault(folder.run.fold, {}).setdefault(stage, []).append(folder)
        every = max(map(len, found.values()), default=0)
        about = {"data": folders[0].run.data, "backbone": folders[0].run.backbone, "sweep": sweep}
        for fold, stages in sorted(found.items()):
            if len(stages) == every > 1:
                accuracies = {
                    stage: np.mean([f.result.scores[final(f)].accuracy for f in runs]) for stage, runs in stages.items()
                }
                rows += [{**about, "fold": fold, "stage": s, "accuracy": 100 * float(a)} for s, a in accuracies.items()]
    return rows


def _scored(
    folders: Sequence[FinishedRun], folds: Sequence[int], study: Study, place: Place
) -> dict[tuple[int, str], dict[str, float]] | None:
    """Fold, stage -> the stage's scores on the clips that the fold's runs learned from; None, with a message, without these."""
    whole = replace(folders[0], run=replace(folders[0].run, transfer=WHOLE))
    try:
        store = origin(whole, study, place).pictures()
    except UserError as error:
        say(f"passed over: {console.counted(len(folders), 'run')} like {whole.key}: {error}")
        return None
    if (net := beginning(whole)) is None:
        return None
    device, data = choose_device(place.device), store.dataset
    standard = standard_of(store.clean, np.arange(len(store.clean))) if whole.run.recipe.standardise else None
    features = of_network(Network("pretrained", net.to(device).eval(), device, standard), store)
    recordings, found = np.array(data.sources), {}
    for fold in folds:
        rows = replace(whole.run, fold=fold, seed=0).split(data).train
        for stage, values in features.items():
            mine = _scores(values[rows], data.labels[rows], recordings[rows].tolist(), len(data.classes))
            found[fold, stage] = mine | {DEPTH: float(STAGES.index(stage))}
    return found


def _scores(features: np.ndarray, labels: np.ndarray, recordings: Sequence[str], classes: int) -> dict[str, float]:
    near = scores.nearest_elsewhere(features, labels, recordings, classes).argmax(axis=1)
    return {
        LINEAR: 100 * float(scores.linear(features, labels, recordings, features[:1], classes).within),
        ELSEWHERE: 100 * float((near == labels).mean()),
        LOGME: float(scores.logme(features, labels, classes)),
        H_SCORE: float(scores.h_score(features, labels, classes)),
    }


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per sweep and score: its correlation with accuracy, and what following it would have brought."""
    found = []
    for sweep, mine in rows.groupby("sweep", sort=False):
        sizes = mine.groupby("group")["stage"].nunique()
        counts = {"groups": len(sizes), "folds": len(mine.groupby(["group", "fold"])), "stages": int(sizes.max())}
        cases = [case for _, case in mine.groupby(["group", "fold"])]
        best = float(np.mean([case["accuracy"].max() for case in cases]))
        for score in SCORES:
            number, p, least = correlation(
                [(_wide(group, score), _wide(group, "accuracy")) for _, group in mine.groupby("group")]
            )
            chosen = float(np.mean([case["accuracy"].to_numpy()[case[score].argmax()] for case in cases]))
            row = {"sweep": sweep, "score": score, "correlation": number, "p": p, "least_p": least}
            found.append({**row, "chosen": chosen, "best": best, **counts})
    return pd.DataFrame(found)


def _wide(group: pd.DataFrame, column: str) -> np.ndarray:
    """(folds, stages)"""
    return group.pivot(index="fold", columns="stage", values=column).to_numpy()


def correlation(groups: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float, float]:
    """The pooled rank correlation of pairs of arrays (folds, stages), its exact p-value, and the least p that can be.

    >>> ranks = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]])
    >>> [round(number, 3) for number in correlation([(ranks, ranks)])]
    [1.0, 0.017, 0.017]
    """
    sums: np.ndarray = np.zeros(1)
    counts: np.ndarray = np.ones(1)
    seen, squares = 0.0, np.zeros(2)
    for first, second in groups:
        x, y = _centred(first), _centred(second)
        seen += float((x * y).sum())
        squares += (x**2).sum(), (y**2).sum()
        each = np.array([(x[:, order] * y).sum() for order in permutations(range(x.shape[1]))])
        values, times = np.unique(each, return_counts=True)
        # Ranks are multiples of 1/2, so few sums are different ones, and the distribution over all groups stays small
        sums, place = np.unique((sums[:, None] + values).ravel(), return_inverse=True)
        counts = np.bincount(place.ravel(), weights=np.outer(counts, times).ravel())
    scale = math.sqrt(squares.prod())
    if not scale:
        return math.nan, 1.0, 1.0
    far = np.abs(sums)
    shares = [float(counts[far >= size - 1e-9].sum() / counts.sum()) for size in (abs(seen), far.max())]
    return seen / scale, shares[0], shares[1]


def _centred(values: np.ndarray) -> np.ndarray:
    ranks = rankdata(np.round(values, 9), axis=1)
    return ranks - ranks.mean(axis=1, keepdims=True)


def publish(rows: pd.DataFrame, folder: Path, name: str) -> None:
    """Write the rows and what they come to, and print it."""
    found = summary(rows)
    paths = write_tables(folder, name, {"": rows, "summary": found})
    for line in told(found):
        print(line)
    cells = [
        [
            row["sweep"],
            row["score"],
            f"{row['correlation']:+.2f}",
            f"{row['p']:.2g}",
            f"{row['least_p']:.2g}",
            f"{row['chosen']:.1f}",
            f"{row['best']:.1f}",
        ]
        for row in found.to_dict("records")
    ]
    print()
    console.table(["", "score", "rank correlation", "p", "least p", "accuracy if followed", "at best"], cells)
    console.written(paths)


def told(found: pd.DataFrame) -> list[str]:
    """For each sweep, whether the linear readout orders the stages as the runs do, in a sentence that claims no more."""
    lines = []
    for sweep, mine in found.groupby("sweep", sort=False):
        row, depth = (mine[mine["score"] == score].iloc[0] for score in (LINEAR, DEPTH))
        groups = f"{console.counted(int(row['groups']), 'group')}, {console.counted(int(row['folds']), 'fold')}"
        says = f"correlates {row['correlation']:+.2f} with accuracy (depth {depth['correlation']:+.2f})"
        if row["p"] < 0.05:
            judged = "more than chance" if row["correlation"] > 0 else "in the wrong direction"
        elif row["least_p"] >= 0.05:
            judged = f"no p below {row['least_p']:.2g} is possible with so few, so this shows nothing"
        else:
            judged = "which cannot be told from chance"
        followed = f"following it {row['chosen']:.1f} %, the deepest {depth['chosen']:.1f} %, the best {row['best']:.1f} %"
        lines.append(f"{sweep} ({groups}): the linear readout {says}, p = {row['p']:.2g}: {judged}; {followed}")
    return lines
