"""Does what changed most matter most? What putting a stage back costs, beside how much SVCCA says that the stage changed.

The number is Spearman's correlation over the stages of a run, its mean over runs: 1 where the order is the same. Its interval
holds what 95 % of drawn recordings give (the percentile bootstrap), so it is about these runs and these stages.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from tla import outputs
from tla.basin.tables import ONE, START
from tla.options import RANDOM
from tla.runs import tables
from tla.runs.folder import FinishedRun
from tla.statistics import CLIPS, Estimate

if TYPE_CHECKING:
    from tla.basin.networks import Scored

DRAWS = 2000
TABLE = re.compile(r"fig2a_(svcca|all)(_(imagenet|random)_[0-9a-f]{12})?\.csv")  # of SVCCA as it is by default, by stage
BY = {"gain": "accuracy", "rise": "loss"}
SVCCA = ["key", "stage", "similarity", "table"]
BESIDE = ["curve", "fold", "seed", "key", "stage", "order", "statistics", "gain", "rise", "similarity", "change"]
RANKS = ["curve", "statistics", "by", "runs", "stages", "correlation", "low", "high", "covers"]


def find_svcca(folder: Path, figures: Path, runs: list[FinishedRun]) -> pd.DataFrame:
    """How alike SVCCA says that each stage of these runs is to its start: from tables in a study's folder, else from others'.

    A row per run and stage; none for a run that is in no table.
    """
    rows, starts = [], {run.key: "random" if run.run.weights == RANDOM else "imagenet" for run in runs}
    for place in dict.fromkeys([folder, *outputs.folders(figures)]):
        for path in sorted(file for file in place.glob("fig2a_*.csv") if TABLE.fullmatch(file.name)):
            table = tables.read(path)
            mine = table[(table["measure"] == "svcca") & (table["layer"] == table["stage"]) & table["key"].isin(starts)]
            begun = mine["before"].isin(starts.values()) & (mine["before"] == mine["key"].map(starts))
            mine = mine[begun | (mine["before"] == "start of " + mine["key"])]
            rows.append(mine.rename(columns={"score": "similarity"}).assign(table=f"{path.parent.name}/{path.name}")[SVCCA])
    found = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=SVCCA)
    return found.drop_duplicates(["key", "stage"])


def svcca_beside(each: pd.DataFrame, svcca: pd.DataFrame | None) -> pd.DataFrame:
    """What putting each stage back costs each run, and how much SVCCA says that it changed, where that is known."""
    if svcca is None or svcca.empty:
        return pd.DataFrame(columns=BESIDE)
    back = each[(each["to"] == START) & (each["span"] == ONE)]
    both = back.merge(svcca, on=["key", "stage"])
    return both.assign(change=1 - both["similarity"].astype(float))[BESIDE]


def ranks(
    beside: pd.DataFrame, rewound: "Mapping[str, Mapping]", recordings: Mapping[int, np.ndarray], *, seed: int = 0
) -> pd.DataFrame:
    """The rank correlation of change and cost, for each curve and statistics, by accuracy and by loss."""
    rows = []
    for (curve, statistics), mine in beside.groupby(["curve", "statistics"], sort=False):
        for number, by in BY.items():
            runs = []
            for key, run in mine.groupby("key", sort=False):
                cost = np.stack([_cost(rewound[str(key)], str(statistics), stage, number) for stage in run["stage"]])
                runs.append((run["change"].to_numpy(), cost, int(run["fold"].iloc[0])))
            found = rank_correlation(runs, recordings, seed=seed)
            about = {"curve": curve, "statistics": statistics, "by": by, "runs": len(runs), "stages": mine["stage"].nunique()}
            numbers = {"correlation": found.mean, "low": found.low, "high": found.high, "covers": found.covers}
            rows.append(about | numbers)
    return pd.DataFrame(rows, columns=RANKS)


def _cost(found: "Mapping[tuple, Scored]", statistics: str, stage: str, number: str) -> np.ndarray:
    """What putting a stage back costs on each clip."""
    new, own = (
        next(one for (s, what), one in found.items() if s == statistics and what == key) for key in ((START, ONE, stage), None)
    )
    return new.loss - own.loss if number == "rise" else own.right - new.right


def rank_correlation(
    runs: "list[tuple[np.ndarray, np.ndarray, int]]", recordings: Mapping[int, np.ndarray], *, seed: int = 0
) -> Estimate:
    """Spearman's correlation over stages, its mean over runs, with the interval over recordings.

    Args:
        runs: Of each run the change of each stage (stages,), what each clip loses with it (stages, clips), and its fold.
        recordings: fold -> the recording of each clip.
    """
    rng = np.random.default_rng(seed)
    weights = {fold: _drawn(sources, rng) for fold, sources in recordings.items()}  # (draws, clips)
    full = np.mean([_spearman(change, cost.mean(axis=1)[None])[0] for change, cost, _ in runs])
    drawn = [
        _spearman(change, weights[fold] @ cost.T / weights[fold].sum(axis=1, keepdims=True)) for change, cost, fold in runs
    ]
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])
    return Estimate(float(full), float(low), float(high), CLIPS)


def _drawn(sources: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How often each clip is taken where recordings are drawn (draws, clips)."""
    _, index = np.unique(sources, return_inverse=True)
    count = int(index.max()) + 1
    return rng.multinomial(count, np.full(count, 1 / count), size=DRAWS)[:, index].astype(float)


def _spearman(change: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Of changes (stages,) with costs (draws, stages); equals share their rank; 0 where all costs are equal."""
    one, two = rankdata(change), rankdata(cost, axis=1)
    one, two = one - one.mean(), two - two.mean(axis=1, keepdims=True)
    size = np.sqrt((one**2).sum() * (two**2).sum(axis=1))
    return np.divide(two @ one, size, out=np.zeros(len(two)), where=size > 0)
