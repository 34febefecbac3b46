"""Pictures on disk: computed once, float16, memory-mapped, shared by all folds, seeds and transfer plans.

One folder per contents of the clips and picture options. In it lie `clean.npy` and one file per augmented variant, each
(clips, 3, mels, frames), and `store.json`, which describes them. Variant k of a clip is drawn from k and the clip's own
content: it is the same in whatever data set, order or run it is made, and a bigger bank adds to a smaller one.
"""

import hashlib
import json
import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np

from tla import console
from tla.errors import UserError
from tla.files import held, write_json
from tla.options import Augment, Picture
from tla.sound.audio import BadClip, read
from tla.sound.augment import Variation, draw, parse_kind, vary
from tla.sound.clips import Dataset
from tla.sound.rows import Rows, clear_leftovers, damage, nbytes, writing_rows, writing_to
from tla.sound.spectrograms import WINDOWS_S, picture, resolved, shortest, to_length
from tla.sound.workers import AHEAD, cores, crew, ordered, standing_crew

FORMAT = 1  # part of every store's key: raise it when a picture or a file changes its meaning

_CLEAN = "clean.npy"
_DESCRIPTION = "store.json"
_TINY_S = 200.0  # seconds of sound to be analysed that are done before worker processes have started
_LIVE_AHEAD = 64  # live pictures computed ahead of their use, at least: two batches

_Job = tuple[Path, tuple[Variation | None, ...]]  # a clip and the variations wanted of it; `None` is the clip as it is


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

    @cached_property
    def clean(self) -> np.ndarray:
        """float16 (clips, 3, mels, frames), on disk."""
        return np.load(self.folder / _CLEAN, mmap_mode="r")

    def variant(self, k: int) -> np.ndarray:
        """The k-th augmented variant of every clip, float16 (clips, 3, mels, frames), on disk."""
        if not 0 <= k < self.variants:
            raise IndexError(f"there is no variant {k}; the store was opened with {self.variants}")
        return np.load(self.folder / _variant_file(self.augment.length, k), mmap_mode="r")

    def live(self, indices: Iterable[int], *, seed: int, epoch: int) -> Iterator[np.ndarray]:
        """New augmented float16 pictures (3, mels, frames), in order, computed ahead of use by worker processes.

        They depend on the seed, the epoch and the clip alone.
        """
        jobs: list[_Job] = []
        for index in indices:
            rng = _generator("live", int(seed), int(epoch), self.dataset.contents[index])
            jobs.append((self.dataset.clips[index].path, (draw(rng),)))
        work = partial(_pictures, options=self.picture, length=self.augment.length)
        ahead = max(_LIVE_AHEAD, AHEAD * self.workers)
        results = map(work, jobs) if self.workers == 1 else ordered(standing_crew(self.workers), work, jobs, ahead)
        return (pictures[0] for pictures in results)


def open_store(
    dataset: Dataset,
    picture: Picture,
    augment: Augment,
    folder: Path,
    *,
    on_bad_clip: Literal["stop", "skip"] = "stop",
    workers: int | None = None,
) -> Store:
    """The store of these (resolved) pictures somewhere below `folder`; what it lacks is made first."""
    place = folder / _folder_name(dataset, picture)
    workers = workers or cores()
    build = _Build(dataset, picture, augment, place, on_bad_clip, workers)
    if lacking := build.lacking():
        busy = f"{place}: another process is making these pictures; waiting for it"
        with writing_to(place, build.size(len(lacking))), held(place / "lock", busy):
            build.run()
    skipped = build.skipped or {}
    _refuse(dataset, skipped, on_bad_clip)
    names = {dataset.clips[row].name: wrong for row, wrong in skipped.items()}
    return Store(dataset.without(names) if names else dataset, names, picture, augment, place, workers)


# What a picture is made of


def _pictures(job: _Job, options: Picture, length: Literal["resize", "keep"]) -> np.ndarray:
    """float16 (variations, 3, mels, frames): a clip's picture under each variation."""
    path, variations = job
    samples, _ = read(path, resolved(options)[0])
    try:
        return np.stack([_picture(samples, options, variation, length) for variation in variations])
    except ValueError as error:
        raise BadClip(path, str(error)) from None


def _pictures_or_wrong(job: _Job, options: Picture, length: Literal["resize", "keep"]) -> np.ndarray | BadClip:
    try:
        return _pictures(job, options, length)
    except BadClip as error:
        return error


def _picture(
    samples: np.ndarray, options: Picture, variation: Variation | None, length: Literal["resize", "keep"]
) -> np.ndarray:
    if variation is not None:
        samples = vary(samples, resolved(options)[0], variation, length)
        samples = to_length(samples, max(len(samples), shortest(options)))  # a clip just long enough may have become too short
    return picture(samples, options).astype(np.float16)


def _generator(*what: object) -> np.random.Generator:
    """A random generator that depends on `what` alone."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(json.dumps(what).encode()).digest(), "big"))


# Names and files


def _folder_name(dataset: Dataset, options: Picture) -> str:
    key = hashlib.sha256(json.dumps([FORMAT, dataset.contents, asdict(options)]).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', dataset.name).strip('.-') or 'clips'}-{key[:16]}"


def _variant_file(length: str, k: int) -> str:
    return f"variant-{length}-{k:04}.npy"


# Making what is not there


class _Build:
    """Finds out which files a store lacks, and makes them."""

    def __init__(
        self, dataset: Dataset, options: Picture, augment: Augment, place: Path, on_bad_clip: str, workers: int
    ) -> None:
        self.dataset, self.options, self.length, self.place = dataset, options, augment.length, place
        self.on_bad_clip, self.workers = on_bad_clip, workers
        self.files: dict[str, int | None] = {_CLEAN: None}  # name of a file -> its variant
        self.files |= {_variant_file(augment.length, k): k for k in range(parse_kind(augment.kind).variants)}
        self.skipped: dict[int, str] | None = None  # row -> what is wrong; None: not known yet
        self.shape = (len(WINDOWS_S), options.mels, resolved(options)[2])

    def lacking(self) -> dict[str, str | None]:
        """The files that are not there (None) or damaged (how)."""
        self.skipped = self._recall()
        if self.skipped is None:
            return dict.fromkeys(self.files)
        shape = (len(self.dataset.clips) - len(self.skipped), *self.shape)
        there = {name: (self.place / name).is_file() for name in self.files}
        wrong = {name: damage(self.place / name, shape) if there[name] else None for name in self.files}
        return {name: wrong[name] for name in self.files if wrong[name] or not there[name]}

    def size(self, files: int) -> int:
        """Bytes of so many files, at most."""
        return files * (nbytes((len(self.dataset.clips), *self.shape)) + 4096)

    def run(self) -> None:
        """Make what is lacking; the caller holds the lock. The description comes first: files without one mean nothing."""
        lacking = self.lacking()  # by now another process may have made it
        for name, wrong in lacking.items():
            if wrong:
                console.say(f"{self.place / name}: {wrong}; it is made again")
        clear_leftovers(self.place)
        if not lacking:
            return
        known = self.skipped
        if known is None:
            for stale in self.place.glob("*.npy"):
                stale.unlink()
        with ExitStack() as stack:
            files = [stack.enter_context(writing_rows(self.place / name, self.shape)) for name in lacking]
            skipped = self._fill(files, [self.files[name] for name in lacking], known)
            if known is None:
                self._describe(skipped)
        self.skipped = skipped

    def _fill(self, files: list[Rows], variants: list[int | None], known: dict[int, str] | None) -> dict[int, str]:
        """Every clip's pictures, row by row; returns which clips were left out, and why."""
        skipped = dict(known or {})
        rows = [row for row in range(len(self.dataset.clips)) if row not in skipped]
        with (
            console.progress(f"pictures of {self.dataset.name}", len(rows)) as bar,
            closing(self._results([self._job(row, variants) for row in rows])) as results,
        ):
            for row, result in zip(rows, results, strict=True):
                bar.advance()
                if not isinstance(result, BadClip):
                    for file, pixels in zip(files, result, strict=True):
                        file.add(pixels)
                elif self.on_bad_clip == "skip" and known is None:
                    skipped[row] = result.wrong
                else:
                    raise _stop(self.dataset, row, result.wrong)
        return skipped

    def _job(self, row: int, variants: list[int | None]) -> _Job:
        content = self.dataset.contents[row]
        variations = tuple(None if k is None else draw(_generator("bank", k, content)) for k in variants)
        return self.dataset.clips[row].path, variations

    def _results(self, jobs: list[_Job]) -> Generator[np.ndarray | BadClip]:
        """The pictures of each job in order, or what is wrong with its clip."""
        work = partial(_pictures_or_wrong, options=self.options, length=self.length)
        sound_s = sum(len(variations) for _, variations in jobs) * resolved(self.options)[1]
        workers = min(self.workers, len(jobs))
        if workers <= 1 or sound_s < _TINY_S:
            yield from map(work, jobs)
            return
        with crew(workers) as pool:
            yield from ordered(pool, work, jobs, AHEAD * workers)

    def _describe(self, skipped: dict[int, str]) -> None:
        clips = self.dataset.clips
        description = {
            "format": FORMAT,
            "dataset": self.dataset.name,
            "picture": asdict(self.options),
            "skipped": [{"row": row, "name": clips[row].name, "wrong": wrong} for row, wrong in skipped.items()],
            "clips": [
                {"name": clip.name, "content": content} for clip, content in zip(clips, self.dataset.contents, strict=True)
            ],
        }
        write_json(self.place / _DESCRIPTION, description)

    def _recall(self) -> dict[int, str] | None:
        """The rows that were left out when the store was made; None if nothing (readable) says so."""
        path = self.place / _DESCRIPTION
        if not path.is_file():
            return None
        try:
            return {int(entry["row"]): str(entry["wrong"]) for entry in json.loads(path.read_bytes())["skipped"]}
        except (ValueError, KeyError, TypeError):
            return None  # damaged: as good as none


def _stop(dataset: Dataset, row: int, wrong: str) -> UserError:
    return UserError(
        f"{dataset.clips[row].path}: {wrong}. Mend or remove it, or leave it out with --on-bad-clip skip; "
        f"`python -m tla.data --check {dataset.root}` lists every such clip"
    )


def _refuse(dataset: Dataset, skipped: dict[int, str], on_bad_clip: str) -> None:
    """Stop where a clip that must be there is not, or a class has lost all of its clips."""
    if not skipped:
        return
    first = min(skipped)
    if on_bad_clip == "stop":
        raise _stop(dataset, first, skipped[first])
    left = {clip.label for row, clip in enumerate(dataset.clips) if row not in skipped}
    lost = [dataset.clips[row].label for row in skipped if dataset.clips[row].label not in left]
    if lost:
        first = next(row for row in skipped if dataset.clips[row].label == lost[0])
        names = ", ".join(dataset.classes[label] for label in dict.fromkeys(lost))
        raise UserError(
            f"{dataset.root}: no clip of {names} can be used ({dataset.clips[first].path}: {skipped[first]}); "
            f"`python -m tla.data --check {dataset.root}` lists what is wrong with each"
        )
