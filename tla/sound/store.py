"""Pictures on disk: computed once, float16, memory-mapped, shared by all folds, seeds and transfer plans.

One folder per contents of the clips and picture options. In it lie `clean.npy` and one file per augmented variant, each
(clips, 3, mels, frames), and `store.json`, which describes them. Variant k of a clip is drawn from k and the clip's own
content: it is the same in whatever data set, order or run it is made, and a bigger bank adds to a smaller one. A file that is
not as `SHA256SUMS` has it is made again when the store is opened.
"""

import hashlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np

from tla import console
from tla.errors import UserError
from tla.files import held
from tla.manifest import SUMS
from tla.options import Augment, Picture
from tla.sound.arrays import opened, writing_to
from tla.sound.augment import draw, parse_kind
from tla.sound.build import (
    CLEAN,
    DESCRIPTION,
    FORMAT,
    LOCK,
    Build,
    Elsewhere,
    Job,
    generator,
    pictures,
    stop,
    variant_file,
)
from tla.sound.clips import Dataset
from tla.sound.workers import AHEAD, cores, ordered, standing_crew

_LIVE_AHEAD = 64  # live pictures computed ahead of their use, at least: two batches


@dataclass(frozen=True, eq=False)
class Store:
    """The pictures of a data set; rows are in the order of `dataset.clips`."""

    dataset: Dataset
    """The clips that have a picture."""
    skipped: Mapping[str, str]
    """Names of the clips that were left out, and what is wrong with each."""
    picture: Picture
    augment: Augment
    folder: Path
    workers: int

    @property
    def variants(self) -> int:
        """Augmented variants of each clip on disk."""
        return parse_kind(self.augment.kind).variants

    @property
    def files(self) -> list[Path]:
        """What it consists of on disk: pictures, their description, and the manifest without which they mean nothing."""
        names = [variant_file(self.augment.length, k) for k in range(self.variants)]
        return [self.folder / name for name in (DESCRIPTION, CLEAN, *names, SUMS)]

    @cached_property
    def clean(self) -> np.ndarray:
        """float16 (clips, 3, mels, frames), on disk."""
        return opened(self.folder / CLEAN)

    @cached_property
    def _variants(self) -> list[np.ndarray]:
        return [opened(self.folder / variant_file(self.augment.length, k)) for k in range(self.variants)]

    def variant(self, k: int) -> np.ndarray:
        """The k-th augmented variant of every clip, float16 (clips, 3, mels, frames), on disk."""
        if not 0 <= k < self.variants:
            raise IndexError(f"there is no variant {k}; the store was opened with {self.variants}")
        return self._variants[k]

    def live(self, indices: Iterable[int], *, seed: int, epoch: int) -> Iterator[np.ndarray]:
        """New augmented float16 pictures (3, mels, frames), in order, computed ahead of use by worker processes.

        They depend on the seed, the epoch, the clip, and how often it came before in the epoch alone.
        """
        jobs: list[Job] = []
        before: Counter[int] = Counter()
        for index in indices:
            again = [before[index]] * (index in before)  # a clip that comes once has the pictures that it always had
            rng = generator("live", int(seed), int(epoch), self.dataset.contents[index], *again)
            before[index] += 1
            jobs.append((self.dataset.clips[index].path, (draw(rng),)))
        work = partial(pictures, options=self.picture, length=self.augment.length)
        ahead = max(_LIVE_AHEAD, AHEAD * self.workers)
        results = map(work, jobs) if self.workers == 1 else ordered(standing_crew(self.workers), work, jobs, ahead)
        return (made[0] for made in results)


def open_store(
    dataset: Dataset,
    picture: Picture,
    augment: Augment,
    folder: Path,
    *,
    on_bad_clip: Literal["stop", "skip"] = "stop",
    workers: int | None = None,
    pool: Elsewhere | None = None,
) -> Store:
    """The store of these (resolved) pictures somewhere below `folder`; what it lacks is made first, here or by a pool."""
    place = folder / _folder_name(dataset, picture)
    workers = workers or cores()
    build = Build(dataset, picture, augment, place, on_bad_clip=on_bad_clip, workers=workers, pool=pool)
    if lacking := build.lacking():
        busy = f"{place}: another process is making these pictures; waiting for it"
        with writing_to(place, build.size(len(lacking))), held(place / LOCK, busy):
            build.run()
    else:
        build.tidy()
    skipped = build.skipped or {}
    _refuse(dataset, skipped, on_bad_clip)
    names = {dataset.clips[row].name: wrong for row, wrong in skipped.items()}
    return Store(dataset.without(names) if names else dataset, names, picture, augment, place, workers)


def _folder_name(dataset: Dataset, options: Picture) -> str:
    key = hashlib.sha256(json.dumps([FORMAT, dataset.contents, asdict(options)]).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', dataset.name).strip('.-') or 'clips'}-{key[:16]}"


def _refuse(dataset: Dataset, skipped: dict[int, str], on_bad_clip: str) -> None:
    """Stop where a clip that must be there is not, or a class has lost all of its clips."""
    if not skipped:
        return
    first = min(skipped)
    if on_bad_clip == "stop":
        raise stop(dataset, first, skipped[first])
    left = {clip.label for row, clip in enumerate(dataset.clips) if row not in skipped}
    lost = [dataset.clips[row].label for row in skipped if dataset.clips[row].label not in left]
    if lost:
        first = next(row for row in skipped if dataset.clips[row].label == lost[0])
        names = ", ".join(dataset.classes[label] for label in dict.fromkeys(lost))
        raise UserError(
            f"{dataset.root}: no clip of {names} can be used ({dataset.clips[first].path}: {skipped[first]}); "
            f"`{console.command('data', f'--check {shlex.quote(str(dataset.root))}')}` lists what is wrong with each"
        )
