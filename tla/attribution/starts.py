"""Where the way to a picture begins: its baselines."""

import re
from collections.abc import Sequence

import numpy as np

from tla.console import counted
from tla.errors import UserError
from tla.sound.spectrograms import SILENCE

SILENT = float(np.float16(SILENCE))  # a silent cell as pictures are kept: in half precision


def clips_of(kind: str) -> int | None:
    """The training clips that a baseline is made of: K for clips:K, None (all) for mean, 0 for silence and zero."""
    found = re.fullmatch(r"clips:([1-9]\d*)", kind)
    known: dict[str, int | None] = {"silence": 0, "zero": 0, "mean": None}
    if not found and kind not in known:
        raise UserError(f"--baseline {kind}: it is silence, mean, zero, or clips:K, the average over K training clips")
    return int(found[1]) if found else known[kind]


def baselines(
    kind: str,
    shape: Sequence[int],
    *,
    pictures: np.ndarray | None = None,
    rows: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Baselines (K, 3, mels, frames) for pictures of a shape (3, mels, frames); the paths from all of them are averaged.

    `pictures[rows]` are the training clips, for those that are made of them.
    """
    count = clips_of(kind)
    if count == 0:
        return np.full((1, *shape), SILENT if kind == "silence" else 0.0, dtype=np.float32)
    if pictures is None or rows is None:
        raise ValueError(f"a baseline of {kind} needs the training clips")
    if count is None:
        total = np.zeros(shape)
        for row in rows:
            total += pictures[row]
        return (total / len(rows)).astype(np.float32)[None]
    if count > len(rows):
        raise UserError(f"--baseline {kind}: the training folds hold {counted(len(rows), 'clip')}")
    chosen = np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))
    return np.asarray(pictures[chosen], dtype=np.float32)
