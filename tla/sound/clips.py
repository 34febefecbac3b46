"""Data sets: the clips, their labels, folds and sources, and how a fold is held out.

Official folds are used as they are. Protocols: `paper` trains on all folds but the one held out, as the paper does (sec. IV-A);
`nested` keeps one more fold back, the next one in turn, to choose the epoch on, so that the held-out fold is scored once.
"""

import difflib
import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from tla import console, entry
from tla.errors import UserError
from tla.options import Protocol
from tla.sound import audio, layouts
from tla.sound import folds as make
from tla.sound.digests import digests
from tla.sound.draws import draw
from tla.sound.sets.listing import Listing, Row

NAMES = tuple(layouts.SHAPES)
RATE = 44100  # own data: brought to this rate, or to the commonest one of the clips if that is lower
COLUMNS_PER_SECOND, FEWEST_COLUMNS, MOST_COLUMNS = 50, 250, 1500  # the paper's 250 for 5 s and 1500 for 30 s
MEASURED = 500  # own data: clips whose length and rate are looked at, evenly spread


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """One sound file."""

    name: str
    """Path below the data set's root, with forward slashes; unique."""
    path: Path
    label: int
    fold: int
    source: str
    """The recording it was cut from; clips of one source belong together."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which clips are trained on, chosen on and tested on: sorted int64 indices."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Labelled clips in order of their names, in folds."""

    name: str
    root: Path
    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    rate: int
    """Sampling rate in hertz to which clips are brought."""
    seconds: float
    """Nominal length of a clip."""
    frames: int
    """Width of a clip's picture."""
    layout: str = "folder"
    """How it lies on disk: esc50, urbansound8k, gtzan, toy, csv, folder."""
    folds_are: Literal["given", "made", "fixed"] = "given"
    """given with the clips; made from a seed; or fixed: one split, test clips in fold 1, validation in 2, training in 3."""
    synthetic: bool = False
    """Its sounds are computed, not recorded: a score on them means nothing for the world."""
    memory: Path | None = field(default=None, compare=False)
    """A JSON file that remembers the digests of files, so that unchanged ones are not read again."""

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that can be held out."""
        return (1,) if self.folds_are == "fixed" else self._all_folds

    @property
    def _all_folds(self) -> tuple[int, ...]:
        return tuple(sorted({clip.fold for clip in self.clips}))

    @property
    def labels(self) -> np.ndarray:
        """(clips,) int64: the class of each clip."""
        return np.array([clip.label for clip in self.clips], dtype=np.int64)

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(clip.source for clip in self.clips)

    def split(self, fold: int, protocol: Protocol = "paper", per_class: int | None = None, seed: int = 0) -> Split:
        """Hold out a fold. A fixed split is the same under both protocols, but `paper` leaves its validation clips unused.

        per_class: so many clips of each class to learn from, drawn from a seed, and to choose the epoch on as many again, or
        all where a class has fewer; those to test on are never fewer.
        """
        if fold not in self.folds:
            raise UserError(f"{self.name} has no fold {fold}; it has {', '.join(map(str, self.folds))}")
        kept, every = np.array([clip.fold for clip in self.clips]), self._all_folds
        after = every[(every.index(fold) + 1) % len(every)]
        chosen_on = after if protocol == "nested" else None
        if protocol == "nested" and len(every) < 3:
            raise UserError(
                f"{self.name} has {len(every)} folds; the nested protocol needs 3: one to test, one to choose, one to train"
            )
        left_out = {fold, after} if protocol == "nested" or self.folds_are == "fixed" else {fold}
        train = np.flatnonzero(~np.isin(kept, list(left_out)))
        validation = np.flatnonzero(kept == chosen_on) if chosen_on is not None else np.array([], dtype=np.int64)
        if per_class is not None:
            names, labels = [clip.name for clip in self.clips], self.labels.tolist()
            train, validation = (
                draw(labels, self.sources, names, rows.tolist(), per_class, f"{seed}/{fold}") for rows in (train, validation)
            )
        return Split(train=train, validation=validation, test=np.flatnonzero(kept == fold))

    @cached_property
    def contents(self) -> tuple[str, ...]:
        """A digest of each clip's bytes."""
        return digests([clip.path for clip in self.clips], self.memory, most=audio.MOST_BYTES)

    @cached_property
    def digest(self) -> str:
        """Of classes and clips; the same wherever the data set lies and whatever its folder is called."""
        rows = [
            (clip.name, content, clip.label, clip.fold, clip.source)
            for clip, content in zip(self.clips, self.contents, strict=True)
        ]
        return hashlib.sha256(json.dumps([self.classes, self.folds_are == "fixed", rows]).encode()).hexdigest()[:32]

    @property
    def listing(self) -> Listing:
        """Its clips as a list."""
        rows = (Row(path=clip.path, label=self.classes[clip.label], fold=clip.fold, source=clip.source) for clip in self.clips)
        return Listing(name=self.name, layout=self.layout, root=self.root, rows=tuple(rows))

    def without(self, names: Iterable[str]) -> "Dataset":
        """The data set less some clips."""
        left_out = set(names)
        kept = [row for row, clip in enumerate(self.clips) if clip.name not in left_out]
        other = replace(self, clips=tuple(self.clips[row] for row in kept))
        if "contents" in self.__dict__:  # known: the files are not read for it again, and may be others by now
            other.__dict__["contents"] = tuple(self.contents[row] for row in kept)
        return other


def load(data: str, data_root: Path) -> Dataset:
    """A data set by name (looked for below `data_root`; the toy set is made there) or by the path of a folder or CSV."""
    path, name = find(data, data_root)
    listing = layouts.read(path, name)
    if listing.problems:
        first, more = listing.problems[0].text, len(listing.problems) - 1
        rest = (
            f" (and {more} more; `{console.command('data', f'--check {shlex.quote(str(path))}')}` lists them)" if more else ""
        )
        raise UserError(first + rest)
    if name is not None and listing.name != name:
        raise UserError(
            f"{path}: holds {len(listing.classes)} classes and is not {name}; to use it as it is, give --data {path}"
        )
    return _judged(listing, memory=data_root / "contents.json")


def find(data: str, data_root: Path) -> tuple[Path, str | None]:
    """Where a data set lies, and its name if it was asked for by name."""
    if data == "toy":
        from tla.sound import toy

        return toy.ensure(data_root / "toy"), data
    if data in layouts.SETS:
        for folder in layouts.SETS[data].folders:
            if (data_root / folder).is_dir():
                return data_root / folder, data
        raise UserError(_missing(data, data_root))
    path = Path(data).expanduser()
    if path.exists():
        return path, None
    if path.name != data or path.suffix:
        raise UserError(f"there is no folder or file {data}; --data takes one that exists, or one of {', '.join(NAMES)}")
    close = difflib.get_close_matches(data.lower(), NAMES, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    raise UserError(
        f"unknown data set {data!r}: {meant}there is {', '.join(NAMES)}, or the path of a folder or CSV that exists"
    )


def _missing(name: str, data_root: Path) -> str:
    looked = ", ".join(layouts.SETS[name].folders)
    root = "" if data_root == Path("data") else f" --data-root {data_root}"
    return (
        f"{name} is not in {data_root} (looked for a folder {looked})\n"
        f"to download it:        {entry.typed('data')} {name}{root}\n"
        f"if it lies elsewhere:  --data-root FOLDER, or TLA_DATA in the environment\n"
        f"what works right now:  {console.command('train', console.FIRST)}"
    )


def _judged(listing: Listing, memory: Path) -> Dataset:
    """The data set of a sound listing, with folds and a shape."""
    rows, classes = listing.rows, listing.classes
    names = [listing.name_of(row.path) for row in rows]
    sources = _sources(listing)
    folds_are, folds = _folds(listing, sources)
    rate, seconds, frames = layouts.SHAPES.get(listing.layout) or _shape([row.path for row in rows])
    clips = (
        Clip(name=name, path=row.path, label=classes.index(row.label), fold=fold, source=source)
        for name, row, fold, source in zip(names, rows, folds, sources, strict=True)
    )
    return Dataset(
        name=listing.name,
        root=listing.root,
        classes=classes,
        clips=tuple(sorted(clips, key=lambda clip: clip.name)),
        rate=rate,
        seconds=seconds,
        frames=frames,
        layout=listing.layout,
        folds_are=folds_are,
        synthetic=listing.layout == "toy",
        memory=memory,
    )


def _folds(listing: Listing, sources: Sequence[str]) -> tuple[Literal["given", "made", "fixed"], list[int]]:
    """Each clip's fold, or what makes it impossible to hold clips out."""
    labels = [row.label for row in listing.rows]
    counts = Counter(labels)
    if len(counts) < 2:
        only = f"one class only ({labels[0]})" if labels else "no clips"
        raise UserError(f"{listing.root}: has {only}; telling sounds apart takes two classes")
    lonely = sorted(label for label, count in counts.items() if count == 1)
    if lonely:
        raise UserError(
            f"{listing.root}: class {lonely[0]!r} has one clip, which cannot be both trained on and tested; "
            "give each class two clips or more, or leave the class out"
        )
    given = [row.fold for row in listing.rows if row.fold is not None]
    if len(given) < len(labels):
        return "made", make.make_folds(labels, sources)
    if len(set(given)) < 2:
        raise UserError(f"{listing.root}: all clips are in fold {given[0]}; leave the column fold out, and folds are made")
    return ("fixed" if listing.name == "gtzan-filtered" else "given"), given


def folds_or_none(listing: Listing) -> list[int | None]:
    """Each clip's fold, given or made; None where the list is too poor for folds to be made."""
    try:
        return list(_folds(listing, _sources(listing))[1])
    except UserError:
        return [row.fold for row in listing.rows]


def _sources(listing: Listing) -> list[str]:
    return [row.source or listing.name_of(row.path) for row in listing.rows]


def _shape(paths: Sequence[Path]) -> tuple[int, float, int]:
    """Own data: rate, length and picture width from the files' headers; files that cannot be opened do not count."""
    headers, bad = [], []
    for path in paths[:: -(-len(paths) // MEASURED)]:
        try:
            headers.append(audio.header(path))
        except audio.BadClip as error:
            bad.append(error)
    if not headers:
        raise UserError(f"none of the {len(paths)} sound files can be opened; they need to be wav, flac, ogg or mp3. {bad[0]}")
    return shape_of(headers)


def shape_of(headers: Sequence[tuple[int, float]]) -> tuple[int, float, int]:
    """Rate, length and picture width for sounds of these rates and lengths in seconds."""
    rates = [rate for rate, _ in headers]
    seconds = max(0.1, round(float(np.median([length for _, length in headers])), 2))
    frames = min(MOST_COLUMNS, max(FEWEST_COLUMNS, round(seconds * COLUMNS_PER_SECOND)))
    commonest = max(Counter(rates).items(), key=lambda item: (item[1], item[0]))[0]
    return min(RATE, commonest), seconds, frames
