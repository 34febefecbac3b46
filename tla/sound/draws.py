"""A few clips of each class, drawn from those that a run may learn from: whole recordings in a random order.

The order of recordings, and that of the clips in each, come from a hash of the seed and the name alone: not from the order in
which clips are listed, nor from a library's generator, nor from how many are drawn. So a draw of 5 clips holds that of 2.
"""

import hashlib
from collections.abc import Sequence

import numpy as np


def draw(
    labels: Sequence[int], sources: Sequence[str], names: Sequence[str], rows: Sequence[int], per_class: int, seed: str
) -> np.ndarray:
    """The rows, sorted, of `per_class` clips of each class among `rows`, or of all where a class has fewer.

    Recordings are taken in a random order until there are enough clips; of the last one, only as many clips as are needed.
    """

    def place(row: int) -> tuple[bytes, bytes]:
        return _mixed(seed, sources[row]), _mixed(seed, names[row])

    of_class: dict[int, list[int]] = {}
    for row in sorted(rows, key=place):
        of_class.setdefault(int(labels[row]), []).append(row)
    return np.array(sorted(row for mine in of_class.values() for row in mine[:per_class]), dtype=np.int64)


def _mixed(seed: str, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()
