"""Does fine-tuning beat what can be read out without any training? From the tables that `tla.probe` leaves beside a study."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tla import outputs
from tla.options import RANDOM
from tla.paper.studies import Case
from tla.runs import tables
from tla.statistics import Fold, bracketed, difference
from tla.tables import LINES

COLUMNS = ["data", "backbone", "line", "stages", "start", "readout", "accuracy", "difference", "low", "high", "covers", "clips"]
HELD_AGAINST = {"best stage": "pretrained", "picture": RANDOM}  # the line -> the start of the runs that have to beat it


def measured(taken: Sequence[Case], folders: Sequence[Path]) -> pd.DataFrame:
    """A row per study and line: the readout less the accuracy of fine-tuned runs, clip by clip, in percent."""
    rows = [row for case in taken for folder in folders for row in _of(case, folder)]
    return pd.DataFrame(rows, columns=COLUMNS).drop_duplicates(["data", "backbone", "line"])


def _of(case: Case, folder: Path) -> list[dict[str, object]]:
    about = outputs.about_of(folder) or {}
    setting = case.setting
    if (about.get(outputs.DIGEST), about.get("backbone")) != (setting.digest, setting.backbone):
        return []
    if not (folder / f"{LINES}_clips.csv").is_file():
        return []
    clips, lines = (tables.read(folder / f"{LINES}{part}.csv") for part in ("_clips", "_lines"))
    rows = []
    for line, start in HELD_AGAINST.items():
        if not (arm := case.arm(start)):
            continue
        mine, stages = clips[clips["line"] == line], lines.loc[lines["line"] == line, "stages"].fillna("")
        rule = "test" if setting.protocol == "nested" else "last"
        pair = _pair(mine, tables.outcomes(arm, rule))
        if pair is None:
            continue
        gap, (first, second) = difference(*pair), (np.concatenate([fold.values.mean(axis=0) for fold in side]) for side in pair)
        numbers = {"difference": 100 * gap.mean, "low": 100 * gap.low, "high": 100 * gap.high, "covers": gap.covers}
        both = {"readout": 100 * first.mean(), "accuracy": 100 * second.mean(), "clips": len(first)}
        head = {"data": setting.data, "backbone": setting.backbone, "line": line, "start": start}
        rows.append({**head, "stages": stages.iloc[0], **both, **numbers})
    return rows


def _pair(read: pd.DataFrame, runs: Mapping[int, tables.Held]) -> tuple[list[Fold], list[Fold]] | None:
    """The readout and the runs on the clips that both held out in the same fold."""
    first, second = [], []
    for fold, held in runs.items():
        mine = read[read["fold"] == fold].set_index("clip")["right"]
        if len(both := np.intersect1d(mine.index.to_numpy(dtype=held.clips.dtype), held.clips)):
            there = held.at(both)
            first.append(Fold(mine.loc[both.tolist()].to_numpy()[None], there.recordings))
            second.append(Fold(there.right, there.recordings))
    return (first, second) if first else None


def sentences(table: pd.DataFrame) -> list[str]:
    """Where a readout is ahead of fine-tuned runs, a sentence that claims no more than its interval."""
    told = []
    for row in table[table["difference"] > 0].to_dict("records"):
        stage = f"the output of {row['stages']}, without any training of the network,"
        what = "the picture alone" if row["line"] == "picture" else stage
        tuned = "training from scratch" if row["start"] == RANDOM else "fine-tuning"
        how = "beats" if row["low"] > 0 else "is ahead of, and cannot be told from,"
        numbers = f"{row['readout']:.1f} % against {row['accuracy']:.1f} %, {row['difference']:+.1f} points "
        numbers += f"{bracketed(row['low'], row['high'], '+.1f')}, for {row['covers']}"
        told.append(f"Ridge regression on {what} {how} {tuned} on {row['data']} with {row['backbone']}: {numbers}.")
    return told
