"""The tables of a readout, and the names that stand in them."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tla.manifest import write_tables
from tla.runs import tables

PICTURE, PRETRAINED, TUNED = "picture", "pretrained", "fine-tuned"  # networks, beside `random` and the keys of runs
BEFORE, BEST = "stage before", "best stage"  # what a stage is held against, beside the two; and a line
LINEAR, NEAREST, ELSEWHERE, LOGME, H_SCORE = "linear", "nearest", "elsewhere", "logme", "h_score"
ACCURACIES = (LINEAR, NEAREST, ELSEWHERE)  # readouts in percent
PARTS = ("", "contrasts", "ranking", "lines", "clips")  # of the names of the files


@dataclass(frozen=True)
class Readout:
    """The tables of a readout."""

    points: pd.DataFrame
    """A row per backbone, network, stage and readout: the number with its interval, and its floor under permuted labels."""
    contrasts: pd.DataFrame
    """A row per stage of a network and what its linear readout is held against: the picture, the random network, the stage
    before."""
    ranking: pd.DataFrame
    """A row per backbone and stage of the pretrained network, the best first, each less the best."""
    lines: pd.DataFrame
    """What other figures of the same clips draw as lines: the picture, and the best stage of each backbone."""
    clips: pd.DataFrame
    """A row per line and held-out clip: whether it was read out rightly."""

    def write(self, folder: Path, name: str) -> list[Path]:
        """The tables as CSV: `name.csv` holds the points, the others are named after what they hold."""
        return write_tables(folder, name, dict(zip(PARTS, vars(self).values(), strict=True)))

    def lines_of(self, backbone: str) -> dict[str, pd.DataFrame]:
        """What stands beside the figures of a study on one of the backbones, by the ends of the files' names."""
        both = {"lines": self.lines, "clips": self.clips}
        return {part: table[table["backbone"].isin(["", backbone])] for part, table in both.items()}


def read(folder: Path, name: str) -> Readout:
    """What `write` wrote."""
    return Readout(*(tables.read(folder / f"{name}{'_' * bool(part)}{part}.csv") for part in PARTS))
