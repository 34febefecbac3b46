"""Folds for clips that come without: stratified by class, whole recordings at a time, from a fixed seed.

They depend on the clips' labels and sources alone, not on the order in which they are listed nor on a library's generator, so
that they are the same on every machine.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

from tla.errors import UserError

FOLDS = 5
SEED = 0


def make_folds(labels: Sequence[str], sources: Sequence[str], folds: int = FOLDS, seed: int = SEED) -> list[int]:
    """A fold (1, 2, ...) for each clip: no source in two folds, classes spread evenly.

    There are fewer folds where a class has fewer sources, so that each class can be in each fold.
    """
    clips: dict[str, Counter[str]] = defaultdict(Counter)  # source ─▶ its clips per class
    for label, source in zip(labels, sources, strict=True):
        clips[source][label] += 1
    recordings = Counter(label for classes in clips.values() for label in classes)
    label, fewest = min(recordings.items(), key=lambda item: (item[1], item[0]))
    if fewest < 2:
        raise UserError(
            f"all clips of class {label!r} come from one source, so it cannot be both trained on and tested; "
            "give it clips of another source, or leave the class out"
        )
    return _deal(clips, sources, Counter(labels), min(folds, fewest), seed)


def _deal(clips: dict[str, Counter[str]], sources: Sequence[str], totals: Counter[str], folds: int, seed: int) -> list[int]:
    """Deal out the sources, the largest first, each to the fold that has the smallest share of its classes."""
    held: list[Counter[str]] = [Counter() for _ in range(folds)]
    size = [0] * folds
    place: dict[str, int] = {}

    def mixed(source: str) -> bytes:
        return hashlib.sha256(f"{seed}/{source}".encode()).digest()

    for source in sorted(clips, key=lambda source: (-clips[source].total(), mixed(source))):
        classes = clips[source]
        shares = [sum(count * fold[label] / totals[label] for label, count in classes.items()) for fold in held]
        best = min(range(folds), key=lambda fold: (shares[fold], size[fold], fold))
        held[best] += classes
        size[best] += classes.total()
        place[source] = best + 1
    return [place[source] for source in sources]
