"""A data set in a notebook or a script: pictures and labels as arrays, and as a torch data set; and the picture of one sound.

    from torch.utils.data import DataLoader
    from tla.sound import pictures

    sounds = pictures("my/sounds")
    train, held_out = sounds.split(1)
    sounds.pictures.shape, sounds.labels, sounds.classes  # (clips, 3, mels, frames), (clips,), names
    for batch, labels in DataLoader(train, batch_size=32, shuffle=True):
        ...

Pictures are made once, as the commands make them, and lie where these look for them.
"""

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from tla.errors import UserError
from tla.options import Augment, Place, Protocol
from tla.options import Picture as Picture  # of this room's names
from tla.sound import audio, clips, leaks, spectrograms
from tla.sound.store import Store, open_store

if TYPE_CHECKING:
    from torch import Tensor

OnBadClip = Literal["stop", "skip"]
_CLEAN = Augment(kind="none")


@dataclass(frozen=True, eq=False, repr=False)
class LabelledPictures:
    """Pictures of a data set's clips, or of some of them, with their labels.

    It is a torch data set too: `sounds[0]` is a picture (3, mels, frames) as float32 tensor and its label, and a `DataLoader`
    takes it as it is.
    """

    store: Store
    rows: np.ndarray
    """Which of the store's clips these are (clips,)."""

    @cached_property
    def pictures(self) -> np.ndarray:
        """float16 (clips, 3, mels, frames): of a whole data set on disk, memory-mapped; of a part of it in memory."""
        whole = np.array_equal(self.rows, np.arange(len(self.store.clean)))
        return self.store.clean if whole else self.store.clean[self.rows]

    @property
    def picture(self) -> Picture:
        """How they are made, with what the data set fills in: the options that `tla.sound.picture` takes."""
        return self.store.picture

    @property
    def labels(self) -> np.ndarray:
        """The class of each clip (clips,), as its place in `classes`."""
        return self.store.dataset.labels[self.rows]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.store.dataset.classes

    @property
    def folds(self) -> np.ndarray:
        """The fold of each clip (clips,)."""
        return np.array([clip.fold for clip in self._clips])

    @property
    def sources(self) -> np.ndarray:
        """The recording that each clip was cut from (clips,)."""
        return np.array([clip.source for clip in self._clips])

    @property
    def names(self) -> np.ndarray:
        """The path of each clip below the data set's root (clips,)."""
        return np.array([clip.name for clip in self._clips])

    @property
    def paths(self) -> list[Path]:
        """The file of each clip."""
        return [clip.path for clip in self._clips]

    @property
    def skipped(self) -> Mapping[str, str]:
        """Clips of the data set that cannot be used and were left out, and what is wrong with each."""
        return self.store.skipped

    @property
    def leaks(self) -> str:
        """What the folds share, in a sentence; nothing if nothing is known of."""
        return leaks.note(self.store.dataset)

    def split(self, fold: int, protocol: Protocol = "paper") -> "tuple[LabelledPictures, ...]":
        """The clips to train on and those of the fold, held out; between them, with `nested`, those to choose the epoch on.

        Of a part of a data set, those of its clips that are in these.
        """
        split = self.store.dataset.split(fold, protocol)
        parts = (split.train, split.test) if protocol == "paper" else (split.train, split.validation, split.test)
        return tuple(replace(self, rows=self.rows[np.isin(self.rows, part)]) for part in parts)

    def at(self, rows: np.ndarray) -> "LabelledPictures":
        """Some of the clips, by number or by a mask: `sounds.at(sounds.labels == 0)`."""
        return replace(self, rows=self.rows[rows])

    @property
    def _clips(self) -> list[clips.Clip]:
        return [self.store.dataset.clips[row] for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, clip: int) -> "tuple[Tensor, int]":
        import torch

        row = self.rows[operator.index(clip)]
        return torch.from_numpy(self.store.clean[row].astype(np.float32)), self.store.dataset.clips[row].label

    def __iter__(self) -> "Iterator[tuple[Tensor, int]]":
        return (self[clip] for clip in range(len(self)))

    def __repr__(self) -> str:
        shape = " x ".join(map(str, (len(self), *self.store.clean.shape[1:])))
        return f"LabelledPictures({self.store.dataset.name}: {shape}; classes {', '.join(self.classes)})"

    def __reduce__(self) -> "tuple[Callable[..., LabelledPictures], tuple[Any, ...]]":
        """How it goes to the processes of a `DataLoader`: the pictures stay on disk."""
        return LabelledPictures, (replace(self.store, folder=self.store.folder.absolute()), self.rows)


def pictures(
    data: str | Path,
    picture: Picture | None = None,
    *,
    data_root: str | Path | None = None,
    on_bad_clip: OnBadClip = "stop",
    allow_leaks: bool = False,
    workers: int | None = None,
) -> LabelledPictures:
    """The pictures and labels of a data set: computed once, by all cores, kept below `data_root` and shared with the commands.

        sounds = pictures("my/sounds", Picture(mels=64))

    Args:
        data: A folder with a sub-folder of sounds per class, a CSV (`path,label[,fold][,source]`), or a name: esc50, esc10,
            urbansound8k, gtzan, gtzan-filtered, toy.
        picture: How a clip becomes a picture; by default as in the paper.
        data_root: Folder for data sets by name and for the pictures; by default $TLA_DATA, else ./data.
        on_bad_clip: A clip that cannot be used: stop and name it, or skip it and list it in `skipped`.
        allow_leaks: Take a data set of which a recording, or the same sound, is in several folds, or has two labels.
        workers: Processes that make the pictures; by default as many as cores.
    """
    if on_bad_clip not in get_args(OnBadClip):
        raise UserError(f"on_bad_clip is {on_bad_clip!r}; possible are {', '.join(get_args(OnBadClip))}")
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}; at least 1 is needed")
    root = Place(data_root=None if data_root is None else str(data_root)).data
    dataset = clips.load(str(data), root)
    if not allow_leaks:
        leaks.refuse(dataset)
    options = spectrograms.resolve(picture or Picture(), rate=dataset.rate, seconds=dataset.seconds, frames=dataset.frames)
    store = open_store(dataset, options, _CLEAN, root / "pictures", on_bad_clip=on_bad_clip, workers=workers)
    return LabelledPictures(store, np.arange(len(store.dataset.clips)))


def picture(samples: "np.ndarray | Tensor", rate: int, options: Picture | None = None) -> np.ndarray:
    """The picture of a sound in memory, float32 (3, mels, frames): what `pictures` makes of a file with these samples.

        picture(samples, 44100, Picture(mels=64))

    Args:
        samples: Floats, of which 1.0 is full scale: (samples,), or (channels, samples), or (samples, channels).
        rate: Their sampling rate in hertz.
        options: How the picture is made. What they leave open is filled in as for a data set of sounds of this rate and length.
    """
    mono = audio.from_memory(samples, rate, rate)
    own_rate, seconds, frames = clips.shape_of([(rate, len(mono) / rate)])
    full = spectrograms.resolve(options or Picture(), rate=own_rate, seconds=seconds, frames=frames)
    try:
        made = spectrograms.picture(audio.from_memory(mono, rate, spectrograms.resolved(full)[0]), full)
    except ValueError as error:
        raise audio.BadClip(audio.IN_MEMORY, str(error)) from None
    return made.astype(np.float16).astype(np.float32)  # rounded as on disk
