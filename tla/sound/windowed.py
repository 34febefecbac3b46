"""A sound file of any format and length as pictures: one or, where it is longer than the clips of training, one per window."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tla.options import Picture
from tla.sound import audio, spectrograms
from tla.sound.workers import AHEAD, crew, ordered

Pictures = dict[Picture, np.ndarray]  # of a file, (windows, 3, mels, frames) for each of several options


@dataclass(frozen=True)
class Sound:
    """A sound, and its pictures as a network takes them."""

    samples: np.ndarray
    """Mono, at the pictures' rate."""
    pictures: np.ndarray
    """float16 (windows, 3, mels, frames)."""
    spans: list[tuple[int, int]]
    """The samples that each picture shows, from its first column to its last."""


def sound(path: Path, picture: Picture) -> Sound:
    """A sound file of any format and length, in pictures; `BadClip` for one that training refuses."""
    samples, _ = audio.read(path, spectrograms.resolved(picture)[0])
    try:
        return of_samples(samples, picture)
    except ValueError as error:
        raise audio.BadClip(path, str(error)) from None


def in_memory(samples: Any, rate: float, picture: Picture) -> np.ndarray:
    """The pictures (windows, 3, mels, frames) of samples of any rate, as of a file that holds them."""
    try:
        return of_samples(audio.from_memory(samples, rate, spectrograms.resolved(picture)[0]), picture).pictures
    except ValueError as error:
        raise audio.BadClip(audio.IN_MEMORY, str(error)) from None


def of_samples(samples: np.ndarray, picture: Picture) -> Sound:
    """Mono samples at the pictures' rate, in pictures: what is longer than the nominal length is cut.

    They are rounded to half precision, as in the store, so that a clip of the data set gives the same picture as in training.
    """
    rate, seconds, _ = spectrograms.resolved(picture)
    cuts = audio.windows(len(samples), rate, seconds)
    made = [spectrograms.picture(samples[start:stop], picture) for start, stop in cuts]
    shown = [spectrograms.span(stop - start, picture) for start, stop in cuts]
    spans = [(start + first, start + last) for (start, _), (first, last) in zip(cuts, shown, strict=True)]
    return Sound(samples, np.stack(made).astype(np.float16), spans)


def pictures(path: Path, picture: Picture) -> np.ndarray:
    """The pictures (windows, 3, mels, frames) of a sound file."""
    return sound(path, picture).pictures


def pictures_of(files: Sequence[Path], options: Sequence[Picture], workers: int) -> Iterator[Pictures | audio.BadClip]:
    """The pictures of each file, in order, or what is wrong with it; made here, or by so many worker processes.

    They are made some way ahead of their use, so that memory does not grow with the number of files.
    """
    work = partial(_pictures, options=options)
    if workers == 0:
        yield from map(work, files)
        return
    with crew(workers) as pool:
        yield from ordered(pool, work, files, AHEAD * workers)


def _pictures(file: Path, options: Sequence[Picture]) -> Pictures | audio.BadClip:
    try:
        return {picture: pictures(file, picture) for picture in options}
    except audio.BadClip as error:
        return error
