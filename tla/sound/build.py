"""Pictures made: a clip becomes pictures, workers make them shard by shard, and the files grow in the order of the clips.

A shard is some clips in a row. Workers, here or elsewhere, send its pictures back; this process appends them to the files and
notes in a journal how far it is, so that a build that was interrupted goes on there. No process holds more than a few shards'
pictures, however many clips there are.
"""

import hashlib
import json
import os
import shlex
import tempfile
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from tla import console, manifest
from tla.errors import UserError
from tla.files import replacing, take, write_text
from tla.options import Augment, Picture
from tla.sound.arrays import MEMORY, Growing, lacking
from tla.sound.audio import BadClip, read
from tla.sound.augment import Variation, draw, parse_kind, vary
from tla.sound.clips import Dataset
from tla.sound.digests import digest_of
from tla.sound.spectrograms import WINDOWS_S, picture, resolved, shortest, to_length
from tla.sound.workers import Pool, crew, ordered, stop_if_given_up

FORMAT = 2  # part of every store's key: raise it when a picture or a file changes its meaning

CLEAN = "clean.npy"
DESCRIPTION = "store.json"
CLIPS = "clips.jsonl"  # one line per clip, so that nothing has to hold them all
LOCK = "lock"
_JOURNAL = ".journal.jsonl"
_TINY_S = 200.0  # seconds of sound to be analysed that are done before worker processes have started
_SHARD_BYTES = 8 << 20  # of pictures, at most
_SHARDS_EACH = 8  # shards for each worker, at least, so that all end at about the same time

Length = Literal["resize", "keep"]
Job = tuple[Path, tuple[Variation | None, ...]]  # a clip and the variations wanted of it; `None` is the clip as it is


def variant_file(length: str, k: int) -> str:
    return f"variant-{length}-{k:04}.npy"


# A clip becomes pictures


def pictures(job: Job, options: Picture, length: Length) -> np.ndarray:
    """float16 (variations, 3, mels, frames): a clip's picture under each variation."""
    path, variations = job
    samples, _ = read(path, resolved(options)[0])
    try:
        return np.stack([_picture(samples, options, variation, length) for variation in variations])
    except ValueError as error:
        raise BadClip(path, str(error)) from None


def _picture(samples: np.ndarray, options: Picture, variation: Variation | None, length: Length) -> np.ndarray:
    stop_if_given_up()
    if variation is not None:
        samples = vary(samples, resolved(options)[0], variation, length)
        samples = to_length(samples, max(len(samples), shortest(options)))  # a clip just long enough may have become too short
    return picture(samples, options).astype(np.float16)


def generator(*what: object) -> np.random.Generator:
    """A random generator that depends on `what` alone."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(json.dumps(what).encode()).digest(), "big"))


# A worker makes a shard


@dataclass(frozen=True)
class Shard:
    """Clips in a row, and what is wanted of them."""

    first: int
    """The number of its first clip."""
    clips: tuple[tuple[Path, str], ...]
    """Path and content of each."""
    variants: tuple[int | None, ...]
    """The k-th variant, or the clip as it is, for each file."""
    sounds: tuple[bytes, ...] = field(default=(), repr=False)
    """The files themselves, for a worker that does not see them."""

    def with_sounds(self) -> "Shard":
        return replace(self, sounds=tuple(path.read_bytes() for path, _ in self.clips))


Wrong = dict[int, str]  # number of a clip -> what is wrong with it
Sent = tuple[Wrong, list[np.ndarray]]  # and for each file the pictures of the others, float16 (clips, 3, mels, frames)


def make_shard(shard: Shard, options: Picture, length: Length) -> Sent:
    """The pictures of a shard."""
    wrong: Wrong = {}
    made: list[np.ndarray] = []
    for number, (path, content) in enumerate(shard.clips, shard.first):
        variations = tuple(None if k is None else draw(generator("bank", k, content)) for k in shard.variants)
        try:
            made.append(pictures((path, variations), options, length))
        except BadClip as error:
            wrong[number] = error.wrong
    return wrong, [np.stack(file) for file in zip(*made, strict=True)]


def send_shard(shard: Shard, options: Picture, length: Length) -> Sent | None:
    """The pictures of a shard, made on a machine that may not see the sounds: None if it does not, or sees others."""
    if not shard.sounds:
        seen = all(path.is_file() and digest_of(path) == content for path, content in shard.clips)
        return make_shard(shard, options, length) if seen else None
    with tempfile.TemporaryDirectory() as folder:
        clips = []
        for number, ((path, content), sound) in enumerate(zip(shard.clips, shard.sounds, strict=True)):
            clips.append((Path(folder, f"{number}{path.suffix}"), content))
            clips[-1][0].write_bytes(sound)
        return make_shard(replace(shard, clips=tuple(clips), sounds=()), options, length)


class Elsewhere(Pool, Protocol):
    """Workers on other machines. Where `work` returns None, as it does not see the sounds, they send the shard with them."""

    @property
    def workers(self) -> int: ...


# The files grow


class _Journal:
    """How many clips are done, and what is wrong with some: a line for each shard, below the plan that they belong to."""

    def __init__(self, path: Path, plan: dict[str, Any]) -> None:
        self.path, self.plan, self.done = path, plan, 0
        self.wrong: Wrong = {}
        self.sums = [0] * len(plan["files"])

    def recall(self) -> None:
        """Take over what was done under this very plan, if there is such a journal."""
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1] if self.path.is_file() else []
            plan, *shards = map(json.loads, lines)  # a last line without an end was cut off
            shards = [(clips, wrong, sums) for clips, wrong, sums in shards] if plan == self.plan else []
        except (ValueError, TypeError):  # of another version, or none of ours: what it is about is made again
            return
        if shards:
            self.done, self.sums = sum(clips for clips, _, _ in shards), shards[-1][2]
            self.wrong = {int(number): why for _, wrong, _ in shards for number, why in wrong.items()}

    def begin(self) -> None:
        self.done, self.wrong = 0, {}
        self._write("w", self.plan)

    def note(self, clips: int, wrong: Wrong, sums: Sequence[int]) -> None:
        """Some more clips are done; `sums` are the checksums of the files so far."""
        self.done += clips
        self.wrong |= wrong
        self._write("a", (clips, wrong, sums))

    def _write(self, mode: str, value: object) -> None:
        with self.path.open(mode, encoding="utf-8") as file:
            file.write(json.dumps(value) + "\n")
            file.flush()
            os.fsync(file.fileno())


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
        self.skipped: Wrong | None = None  # by row of the data set; None: not known yet
        self.shape = (len(WINDOWS_S), options.mels, resolved(options)[2])

    def lacking(self) -> dict[str, str]:
        """The files that are not finished (""), and those that are damaged (how)."""
        wrong = lacking(self.place, [DESCRIPTION, *self.files])
        self.skipped = None
        if DESCRIPTION in wrong:  # pictures that nothing describes mean nothing
            return wrong | dict.fromkeys(self.files, "")
        described = json.loads((self.place / DESCRIPTION).read_bytes())
        self.skipped = {left["row"]: left["wrong"] for left in described["skipped"]}
        return wrong

    def size(self, files: int) -> int:
        """Bytes of so many files, at most."""
        return files * Growing(self.place / CLEAN, self.shape).size(len(self.dataset.clips))

    def run(self) -> None:
        """Make what is lacking; the caller holds the lock."""
        if wrong := self.lacking():  # else another process has made it by now
            for name, how in wrong.items():
                if how:
                    also = " with all that it describes" if name == DESCRIPTION else ""
                    console.say(f"{self.place / name}: {how}; it is made again{also}")
            names = [name for name in self.files if name in wrong]
            clips = [row for row in range(len(self.dataset.clips)) if row not in (self.skipped or {})]
            files = [Growing(self.place / name, self.shape) for name in names]
            journal = self._resumed(files, len(clips))
            self._fill(files, journal, clips)
            for file in files:
                file.finish()
            if self.skipped is None:
                self.skipped = journal.wrong
                self._describe(journal.wrong)
                names += [DESCRIPTION, CLIPS]
            manifest.vouch_also(self.place, names)
        for leftover in self.place.glob(".*"):
            if leftover.name != MEMORY:
                leftover.unlink()

    def tidy(self) -> None:
        """Remove the journal of a build that was killed when all was done; one that can be gone on with stays."""
        journal = self.place / _JOURNAL
        if not journal.is_file():
            return
        with suppress(OSError):  # on a read-only disk it stays, and does no harm
            if lock := take(self.place / LOCK):
                begun = {path.name for path in self.place.iterdir() if path.suffix in (".npy", ".part")}
                if begun <= manifest.noted(self.place).keys():
                    journal.unlink()
                lock.release()

    def _resumed(self, files: Sequence[Growing], clips: int) -> _Journal:
        """The journal of this build and its files: those that an interrupted one left, or new ones."""
        plan = {"files": [file.path.name for file in files], "clips": clips, "known": self.skipped is not None}
        journal = _Journal(self.place / _JOURNAL, plan)
        journal.recall()
        rows = journal.done - len(journal.wrong)
        if journal.done and all(file.resume(rows, checksum) for file, checksum in zip(files, journal.sums, strict=True)):
            return journal
        journal.path.unlink(missing_ok=True)  # first: it vouches for what follows
        stale = [file.path for file in files] if journal.plan["known"] else self.place.glob("*.npy")
        for path in (*stale, *self.place.glob(".*.part")):
            path.unlink(missing_ok=True)
        for file in files:
            file.resume(0)
        journal.begin()
        return journal

    def _fill(self, files: Sequence[Growing], journal: _Journal, clips: Sequence[int]) -> None:
        """Append every clip's pictures, shard by shard; `clips` are rows of the data set."""
        pieces = self._pieces(journal.done, len(clips), len(files))
        variants = tuple(self.files[file.path.name] for file in files)
        with console.progress(f"pictures of {self.dataset.name}", len(clips)) as bar:
            bar.advance(journal.done)
            with closing(self._made(pieces, clips, variants)) as results:
                for piece, (wrong, banks) in zip(pieces, results, strict=True):
                    if wrong and (self.on_bad_clip != "skip" or self.skipped is not None):
                        number, why = min(wrong.items())
                        raise stop(self.dataset, clips[number], why)
                    for file, bank in zip(files, banks, strict=True) if banks else ():
                        file.append(bank)
                    journal.note(len(piece), wrong, [file.sum for file in files])
                    bar.advance(len(piece))

    def _pieces(self, done: int, clips: int, files: int) -> list[range]:
        """The numbers of the clips of each shard: few enough to fit in memory and to give every worker several shards."""
        largest = max(1, _SHARD_BYTES // (int(np.prod(self.shape)) * 2 * files))
        workers = self.pool.workers if self.pool else self.workers
        size = min(largest, max(1, clips // (workers * _SHARDS_EACH)))
        return [range(first, min(first + size, clips)) for first in range(done, clips, size)]

    def _made(self, pieces: Sequence[range], clips: Sequence[int], variants: tuple[int | None, ...]) -> Generator[Sent]:
        """Each shard's pictures, in order."""

        def shard(piece: range) -> Shard:
            chosen = [clips[number] for number in piece]
            about = tuple((self.dataset.clips[row].path, self.dataset.contents[row]) for row in chosen)
            return Shard(piece.start, about, variants)

        shards, seconds = map(shard, pieces), resolved(self.options)[1] * len(variants) * sum(map(len, pieces))
        work = partial(make_shard, options=self.options, length=self.length)
        if self.pool is not None:
            send = partial(send_shard, options=self.options, length=self.length)
            for sent in ordered(self.pool, send, shards, 2 * self.pool.workers):
                assert sent is not None, "the pool sends the sounds along where they are not seen"
                yield sent
        elif self.workers == 1 or seconds < _TINY_S:
            yield from map(work, shards)
        else:
            with crew(self.workers) as pool:
                yield from ordered(pool, work, shards, 2 * self.workers)

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


def stop(dataset: Dataset, row: int, wrong: str) -> UserError:
    """The refusal of a clip that cannot be used."""
    return UserError(
        f"{dataset.clips[row].path}: {wrong}. Mend or remove it, or leave it out with --on-bad-clip skip (on_bad_clip='skip'); "
        f"`{console.command('data', f'--check {shlex.quote(str(dataset.root))}')}` lists every such clip"
    )
