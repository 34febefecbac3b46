"""One run, trained in this process, whoever started the process; and what such a process is given to do it with."""

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tla.console import Progress
from tla.errors import UserError
from tla.options import Augment, Picture, Place
from tla.runs.folder import RunFolder
from tla.runs.run import Run
from tla.sound.clips import Dataset
from tla.sound.store import Store

if TYPE_CHECKING:
    from tla.nets.weights import Pretrained

REPORT_EVERY_S = 0.5  # between two words of a run on how it gets on

Report = Callable[[int, str], None]  # batches done so far, and a few words


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """What the runs of a study share, as it travels to another process. Pictures stay on disk, where `folder` says."""

    dataset: Dataset
    picture: Picture
    augment: Augment
    folder: Path
    tensors: dict[str, np.ndarray] | None  # pretrained; None: from scratch
    identity: str

    def store(self, workers: int) -> Store:
        return Store(self.dataset, {}, self.picture, self.augment, self.folder, workers)

    @property
    def pretrained(self) -> "Pretrained | None":
        if self.tensors is None:
            return None
        import torch

        from tla.nets.weights import Pretrained

        tensors = {name: torch.tensor(values) for name, values in self.tensors.items()}
        return Pretrained(tensors, self.identity)


def pack(store: Store, pretrained: "Pretrained | None") -> Parcel:
    """What another process needs to train on these pictures from these weights."""
    tensors = None if pretrained is None else {name: tensor.numpy() for name, tensor in pretrained.tensors.items()}
    return Parcel(
        dataset=store.dataset,
        picture=store.picture,
        augment=store.augment,
        folder=store.folder.absolute(),
        tensors=tensors,
        identity="" if pretrained is None else pretrained.identity,
    )


@dataclass(frozen=True, kw_only=True)
class Order:
    """A run to train, where, and how."""

    run: Run
    key: str
    """The run's key where the order was given: another version of tla would make another one."""
    folder: Path
    device: str
    threads: int | None
    tensorboard: bool


def order_for(run: Run, place: Place, *, device: str, threads: int | None) -> Order:
    """The order to train a run in the place's folder for runs."""
    folder = Path(place.runs).absolute() / run.key
    return Order(run=run, key=run.key, folder=folder, device=device, threads=threads, tensorboard=place.tensorboard)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the training of a run ended: finished, failed, or lost with the process or machine that it was on."""

    key: str
    error: str | None = None
    """Why it failed, in a line; None if it is finished."""
    trace: str = ""
    """Where in the code, if that says something."""
    lost: bool = False
    disk: OSError | None = field(default=None, compare=False)
    """A folder cannot be written: the other runs would fail the same way."""


class Reporter(Progress):
    """Tells how a run gets on, at most twice a second, and at the end of each epoch."""

    def __init__(self, report: Report) -> None:
        super().__init__("", 0)
        self.report, self._told = report, 0.0

    def advance(self, n: int = 1) -> None:
        self.done += n
        if time.monotonic() - self._told > REPORT_EVERY_S:
            self._tell()

    def note(self, text: str) -> None:
        self.text = text
        self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        self.report(self.done, self.text)


def attempt(order: Order, store: Store, pretrained: "Pretrained | None", report: Report) -> Outcome:
    """Train a run to its end, from its last checkpoint if there is one; whatever goes wrong is told, not raised."""
    try:
        if order.run.key != order.key:
            raise UserError("another version of tla is installed here than where the command was given")
        _train(order, store, pretrained, Reporter(report))
    except UserError as error:
        return Outcome(key=order.key, error=str(error))
    except OSError as error:
        plain = OSError(error.errno, error.strerror, error.filename)
        return Outcome(key=order.key, error=str(plain), trace=traceback.format_exc(), disk=plain)
    except Exception as error:  # a failing run does not stop the others
        what = f"{type(error).__name__}: {error}".partition("\n")[0]
        return Outcome(key=order.key, error=what, trace=traceback.format_exc())
    return Outcome(key=order.key)


def _train(order: Order, store: Store, pretrained: "Pretrained | None", watch: Progress) -> None:
    import torch

    from tla.runs.fit import fit
    from tla.runs.provenance import provenance

    folder, run = RunFolder(order.folder), order.run
    with folder.locked(), _threads(order.threads):
        if folder.intact:  # by the process that we waited for
            return
        folder.reopen()
        folder.describe(run, list(store.dataset.classes), provenance(order.device))
        start = pretrained if run.weights != "random" else None
        fit(run, store, start, folder, torch.device(order.device), watch, tensorboard=order.tensorboard)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """So many CPU threads for torch inside the block. Their number decides how sums are rounded."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def elsewhere(parcel: Parcel, folder: Path, clips: Path | None) -> Parcel:
    """The same parcel on another machine: pictures in `folder`, sound files, if they are needed, in `clips` by content."""
    if clips is None:
        return replace(parcel, folder=folder)
    contents = parcel.dataset.contents
    moved = tuple(
        replace(clip, path=clips / clip_name(clip.path, content))
        for clip, content in zip(parcel.dataset.clips, contents, strict=True)
    )
    dataset = replace(parcel.dataset, clips=moved, memory=None)
    dataset.__dict__["contents"] = contents  # known; the files are not read for it again
    return replace(parcel, folder=folder, dataset=dataset)


def clip_name(path: Path, content: str) -> str:
    """What a sound file is called where it lies by content."""
    return f"{content}{path.suffix}"
