"""Pictures made shard by shard: some clips in a row, by one worker, here or elsewhere.

Workers on this machine write straight into the files, each shard at its place; those elsewhere send theirs. A journal notes the
shards that are on disk, so a build that was interrupted goes on with the others. No process holds more than a shard's pictures,
however many clips there are.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import numpy as np

from tla import console
from tla.errors import UserError
from tla.files import replacing, write_text
from tla.options import Augment, Picture
from tla.sound.audio import BadClip, read
from tla.sound.augment import Variation, draw, parse_kind, vary
from tla.sound.clips import Dataset, digest_of
from tla.sound.rows import RowFile, clear_leftovers, damage, nbytes
from tla.sound.spectrograms import WINDOWS_S, picture, resolved, shortest, to_length
from tla.sound.workers import Pool, crew, ordered

FORMAT = 1  # part of every store's key: raise it when a picture or a file changes its meaning

CLEAN = "clean.npy"
DESCRIPTION = "store.json"
CLIPS = "clips.jsonl"  # one line per clip, so that nothing has to hold them all
_JOURNAL = ".journal.jsonl"
_TINY_S = 200.0  # seconds of sound to be analysed that are done before worker processes have started
_SHARD_BYTES = 64 << 20  # of pictures, at most
_SHARDS_EACH = 8  # shards for each worker, at least, so that all end at about the same time

Length = Literal["resize", "keep"]
Job = tuple[Path, tuple[Variation | None, ...]]  # a clip and the variations wanted of it; `None` is the clip as it is


def variant_file(length: str, k: int) -> str:
    return f"variant-{length}-{k:04}.npy"


# What a picture is made of


def pictures(job: Job, options: Picture, length: Length) -> np.ndarray:
    """float16 (variations, 3, mels, frames): a clip's picture under each variation."""
    path, variations = job
    samples, _ = read(path, resolved(options)[0])
    try:
        return np.stack([_picture(samples, options, variation, length) for variation in variations])
    except ValueError as error:
        raise BadClip(path, str(error)) from None


def _picture(samples: np.ndarray, options: Picture, variation: Variation | None, length: Length) -> np.ndarray:
    if variation is not None:
        samples = vary(samples, resolved(options)[0], variation, length)
        samples = to_length(samples, max(len(samples), shortest(options)))  # a clip just long enough may have become too short
    return picture(samples, options).astype(np.float16)


def generator(*what: object) -> np.random.Generator:
    """A random generator that depends on `what` alone."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(json.dumps(what).encode()).digest(), "big"))


# Shards


@dataclass(frozen=True)
class Shard:
    """Clips in a row, and what is wanted of them."""

    first: int
    """The row of its first clip in the files."""
    clips: tuple[tuple[Path, str], ...]
    """Path and content of each."""
    variants: tuple[int | None, ...]
    """The k-th variant, or the clip as it is, for each file."""
    sounds: tuple[bytes, ...] = field(default=(), repr=False)
    """The files themselves, for a worker that does not see them."""

    def with_sounds(self) -> "Shard":
        return replace(self, sounds=tuple(path.read_bytes() for path, _ in self.clips))


Wrong = dict[int, str]  # row -> what is wrong with its clip
Sent = tuple[Wrong, list[np.ndarray]]  # and for each file the pictures of the others, float16 (clips, 3, mels, frames)


class Elsewhere(Pool, Protocol):
    """Workers on other machines. Where `work` says None, as it does not see the sounds, they send the shard again with them."""

    @property
    def workers(self) -> int: ...


def make_shard(shard: Shard, options: Picture, length: Length, files: Sequence[RowFile]) -> Wrong:
    """Write the pictures of a shard at their place in the files."""
    wrong = {}
    with ExitStack() as stack:
        writes = [stack.enter_context(file.writing()) for file in files]
        for row, made in _results(shard, options, length):
            if isinstance(made, BadClip):
                wrong[row] = made.wrong
                continue
            for write, pixels in zip(writes, made, strict=True):
                write(row, pixels)
    return wrong


def send_shard(shard: Shard, options: Picture, length: Length) -> Sent | None:
    """The pictures of a shard, made on a machine that may not see the sounds: None if it does not, or sees others."""
    with tempfile.TemporaryDirectory() as folder:
        if shard.sounds:
            shard = _unpacked(shard, Path(folder))
        elif not all(path.is_file() and digest_of(path) == content for path, content in shard.clips):
            return None
        made = dict(_results(shard, options, length))
    good = [each for each in made.values() if not isinstance(each, BadClip)]
    wrong = {row: each.wrong for row, each in made.items() if isinstance(each, BadClip)}
    return wrong, [np.stack(each) for each in zip(*good, strict=True)]


def _unpacked(shard: Shard, folder: Path) -> Shard:
    """The shard with its sounds as files in a folder."""
    clips = []
    for number, ((path, content), sound) in enumerate(zip(shard.clips, shard.sounds, strict=True)):
        (folder / f"{number}{path.suffix}").write_bytes(sound)
        clips.append((folder / f"{number}{path.suffix}", content))
    return replace(shard, clips=tuple(clips), sounds=())


def _results(shard: Shard, options: Picture, length: Length) -> Iterator[tuple[int, np.ndarray | BadClip]]:
    """Each row of a shard, and its pictures or what is wrong with its clip."""
    for row, (path, content) in enumerate(shard.clips, shard.first):
        variations = tuple(None if k is None else draw(generator("bank", k, content)) for k in shard.variants)
        try:
            yield row, pictures((path, variations), options, length)
        except BadClip as error:
            yield row, error


@dataclass(frozen=True)
class _LeftOut:
    row: int
    wrong: str


@dataclass(frozen=True)
class _Described:
    """What is read again of a store's description."""

    skipped: list[_LeftOut]


class _Journal:
    """Which shards are on disk, under a plan: what the files are and how many rows they have."""

    def __init__(self, path: Path, plan: dict[str, Any]) -> None:
        self.path, self.plan = path, plan
        self.done: list[dict[str, Any]] = []

    def recall(self) -> bool:
        """Whether there is one under this very plan; its shards are then `done`."""
        if not self.path.is_file():
            return False
        lines = self.path.read_bytes().split(b"\n")[:-1]  # a last line without an end was cut off
        try:
            plan, *done = [json.loads(line) for line in lines]
        except ValueError:
            return False
        self.done = done
        return plan == self.plan

    def begin(self) -> None:
        self.done = []
        self._write("w", self.plan)

    def note(self, first: int, rows: int, wrong: Wrong) -> None:
        self.done.append({"first": first, "rows": rows, "wrong": {str(row): why for row, why in wrong.items()}})
        self._write("a", self.done[-1])

    def _write(self, mode: str, value: dict[str, Any]) -> None:
        with self.path.open(mode, encoding="utf-8") as file:
            file.write(json.dumps(value) + "\n")
            file.flush()
            os.fsync(file.fileno())

    @property
    def wrong(self) -> Wrong:
        return {int(row): why for shard in self.done for row, why in shard["wrong"].items()}

    def missing(self, rows: int) -> Iterator[range]:
        """The rows that no shard holds."""
        at = 0
        for first, count in sorted((shard["first"], shard["rows"]) for shard in self.done):
            if first > at:
                yield range(at, first)
            at = max(at, first + count)
        if at < rows:
            yield range(at, rows)


# Making what is not there


class Build:
    """Finds out which files a store lacks, and makes them."""

    def __init__(
        self,
        dataset: Dataset,
        options: Picture,
        augment: Augment,
        place: Path,
        *,
        on_bad_clip: str,
        workers: int,
        pool: Elsewhere | None,
    ) -> None:
        self.dataset, self.options, self.place = dataset, options, place
        self.length: Length = augment.length
        self.on_bad_clip, self.workers, self.pool = on_bad_clip, workers, pool
        self.files: dict[str, int | None] = {CLEAN: None}  # name of a file -> its variant
        self.files |= {variant_file(augment.length, k): k for k in range(parse_kind(augment.kind).variants)}
        self.skipped: Wrong | None = None  # None: not known yet
        self.shape = (len(WINDOWS_S), options.mels, resolved(options)[2])

    def lacking(self) -> dict[str, str | None]:
        """The files that are not there (None) or damaged (how)."""
        self.skipped = self._recall()
        if self.skipped is None:
            return dict.fromkeys(self.files)
        rows = len(self.dataset.clips) - len(self.skipped)
        there = {name: (self.place / name).is_file() for name in self.files}
        wrong = {name: damage(self.place / name, rows, self.shape) if there[name] else None for name in self.files}
        return {name: wrong[name] for name in self.files if wrong[name] or not there[name]}

    def size(self, files: int) -> int:
        """Bytes of so many files, at most."""
        return files * RowFile(self.place / CLEAN, self.shape).size(len(self.dataset.clips))

    def run(self) -> None:
        """Make what is lacking; the caller holds the lock. The description comes first: files without one mean nothing."""
        lacking = self.lacking()  # by now another process may have made it
        for name, wrong in lacking.items():
            if wrong:
                console.say(f"{self.place / name}: {wrong}; it is made again")
        if self.skipped is None and (self.place / DESCRIPTION).is_file():
            console.say(f"{self.place / DESCRIPTION} is damaged; it and all that it describes are made again")
        if lacking:
            known = self.skipped
            clips = [row for row in range(len(self.dataset.clips)) if row not in known] if known else None
            rows = len(self.dataset.clips) if clips is None else len(clips)
            files = [RowFile(self.place / name, self.shape) for name in lacking]
            journal = self._journal(files, rows)
            self._fill(files, [self.files[name] for name in lacking], journal, rows, clips)
            for file in files if journal.wrong else ():
                file.close_gaps(rows, journal.wrong)
            if known is None:
                self.skipped = journal.wrong
                self._describe(self.skipped)
            for file in files:
                file.finish()
        clear_leftovers(self.place)

    def _journal(self, files: Sequence[RowFile], rows: int) -> _Journal:
        """The journal of this build: the one that an interrupted one left, or a new one."""
        plan = {"format": FORMAT, "files": [file.path.name for file in files], "rows": rows, "known": self.skipped is not None}
        journal = _Journal(self.place / _JOURNAL, plan)
        if journal.recall() and all(file.begun(rows) for file in files):
            return journal
        clear_leftovers(self.place)
        if self.skipped is None:
            for stale in self.place.glob("*.npy"):
                stale.unlink()
        for file in files:
            file.begin(rows)
        journal.begin()
        return journal

    def _fill(
        self, files: Sequence[RowFile], variants: Sequence[int | None], journal: _Journal, rows: int, clips: list[int] | None
    ) -> None:
        """Every clip's pictures, shard by shard; `clips` are the rows' clips, where these are not all."""
        done = rows - sum(map(len, journal.missing(rows)))
        shards = self._shards(files, tuple(variants), journal, rows, clips)
        with console.progress(f"pictures of {self.dataset.name}", rows) as bar:
            bar.advance(done)
            with closing(self._made(shards, files, (rows - done) * len(files))) as results:
                for shard, wrong in results:
                    if wrong and (self.on_bad_clip != "skip" or self.skipped is not None):
                        row, why = min(wrong.items())
                        raise stop(self.dataset, row if clips is None else clips[row], why)
                    journal.note(shard.first, len(shard.clips), wrong)
                    bar.advance(len(shard.clips))

    def _shards(
        self,
        files: Sequence[RowFile],
        variants: tuple[int | None, ...],
        journal: _Journal,
        rows: int,
        clips: list[int] | None,
    ) -> Iterator[Shard]:
        """What is still to be made, in pieces that fit in memory and give every worker several."""
        largest = max(1, _SHARD_BYTES // (nbytes(self.shape) * len(files)))
        workers = self.pool.workers if self.pool else self.workers
        size = min(largest, max(1, rows // (workers * _SHARDS_EACH)))
        for gap in list(journal.missing(rows)):
            for first in range(gap.start, gap.stop, size):
                mine = range(first, min(first + size, gap.stop))
                chosen = mine if clips is None else [clips[row] for row in mine]
                about = tuple((self.dataset.clips[clip].path, self.dataset.contents[clip]) for clip in chosen)
                yield Shard(first, about, variants)

    def _made(self, shards: Iterator[Shard], files: Sequence[RowFile], many: int) -> Generator[tuple[Shard, Wrong]]:
        """Each shard, once its pictures are on disk, and what is wrong in it."""
        begun: list[Shard] = []

        def noted() -> Iterator[Shard]:
            for shard in shards:
                begun.append(shard)
                yield shard

        if self.pool is not None:
            send = partial(send_shard, options=self.options, length=self.length)
            for sent in ordered(self.pool, send, noted(), 2 * self.pool.workers):
                assert sent is not None, "the pool sends the sounds along where they are not seen"
                shard = begun.pop(0)
                yield shard, _put(shard, sent, files)
            return
        work = partial(make_shard, options=self.options, length=self.length, files=files)
        if self.workers == 1 or many * resolved(self.options)[1] < _TINY_S:
            yield from ((shard, work(shard)) for shard in shards)
            return
        with crew(self.workers) as pool:
            for wrong in ordered(pool, work, noted(), 2 * self.workers):
                yield begun.pop(0), wrong

    def _describe(self, skipped: Wrong) -> None:
        clips = self.dataset.clips
        with replacing(self.place / CLIPS) as new, new.open("w", encoding="utf-8") as file:
            for clip, content in zip(clips, self.dataset.contents, strict=True):
                file.write(json.dumps({"name": clip.name, "content": content}) + "\n")
        description = {
            "format": FORMAT,
            "dataset": self.dataset.name,
            "picture": asdict(self.options),
            "clips": CLIPS,
            "skipped": [{"row": row, "name": clips[row].name, "wrong": wrong} for row, wrong in sorted(skipped.items())],
        }
        write_text(self.place / DESCRIPTION, json.dumps(description, indent=2) + "\n")

    def _recall(self) -> Wrong | None:
        """The rows that were left out when the store was made; None if nothing that is whole says so."""
        path = self.place / DESCRIPTION
        if not path.is_file():
            return None
        try:
            return {left.row: left.wrong for left in msgspec.json.decode(path.read_bytes(), type=_Described).skipped}
        except (msgspec.MsgspecError, ValueError):
            return None


def _put(shard: Shard, sent: Sent, files: Sequence[RowFile]) -> Wrong:
    """Write what a worker sent."""
    wrong, banks = sent
    rows = [row for row in range(shard.first, shard.first + len(shard.clips)) if row not in wrong]
    for file, bank in zip(files, banks, strict=True) if rows else ():
        with file.writing() as write:
            for row, pixels in zip(rows, bank, strict=True):
                write(row, pixels)
    return wrong


def stop(dataset: Dataset, row: int, wrong: str) -> UserError:
    """The refusal of a clip that cannot be used."""
    return UserError(
        f"{dataset.clips[row].path}: {wrong}. Mend or remove it, or leave it out with --on-bad-clip skip; "
        f"`python -m tla.data --check {dataset.root}` lists every such clip"
    )
