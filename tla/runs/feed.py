"""Pictures from the store become batches on the device.

An epoch is the clean clips plus, if there is augmentation, one augmented copy of each, in an order that depends on the
run's seed and the epoch alone; so a run that is interrupted continues as if it had not been.
"""

import copy
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tla.options import Stage
from tla.runs.run import Run
from tla.runs.scores import balanced_weights
from tla.sound.store import Store

EVALUATION_BATCH = 64
STATISTICS_CLIPS = 64  # clips read at once for the standardisation's sums
RESIDENT_PIECE = 256  # clips that are copied to the GPU at once
RESIDENT_SHARE = 0.5  # of the free GPU memory that pictures may take


class Feed:
    """What one run's network is fed, on its device: pictures, float32, channels-last, standardised if the recipe asks for it.

    With `after` set, it is the outputs of that stage instead, in the dtype in which they were made.
    """

    def __init__(self, store: Store, run: Run, train: np.ndarray, device: torch.device) -> None:
        self.store, self.run, self.train, self.device = store, run, train, device
        self.epoch_clips = run.epoch_clips(store.dataset)
        self.rows = _fed(store, run)
        self.after: Stage = "none"
        self.banks = [store.clean, *(store.variant(k) for k in range(store.variants))]  # clean, then each variant
        self.labels = torch.from_numpy(np.asarray(store.dataset.labels)).to(device)
        weights = self.weights_of(train)
        self.class_weights = None if weights is None else weights.to(device)
        self.standard = standard_of(store.clean, train) if run.recipe.standardise else None
        self._standard = None if self.standard is None else tuple(torch.from_numpy(x).to(device) for x in self.standard)
        self._place = np.arange(len(store.clean))
        self._resident = self._on_gpu()

    def behind(self, banks: list[np.ndarray], after: Stage, rows: np.ndarray) -> "Feed":
        """The same feed of a stage's outputs in place of pictures, of these rows of the store."""
        other = copy.copy(self)
        other.banks, other.after, other._place = banks, after, _places(rows, len(self.store.clean))
        other._resident = other._on_gpu()
        return other

    def weights_of(self, rows: np.ndarray) -> Tensor | None:
        """What the recipe multiplies a clip's loss by, class by class, where the loss is that of these clips; None: nothing."""
        if self.run.recipe.class_weights == "none":
            return None
        return torch.from_numpy(balanced_weights(self.store.dataset.labels[rows], self.run.classes))

    def sample(self, most: int) -> np.ndarray:
        """About so many training clips or fewer, evenly taken: of all of them, or of each class where classes are weighted."""
        if self.class_weights is None:
            return self.train[:: math.ceil(len(self.train) / most)]
        labels = self.store.dataset.labels[self.train]
        each = max(1, most // len(np.unique(labels)))
        parts = [self.train[labels == label] for label in np.unique(labels)]
        return np.concatenate([part[:: math.ceil(len(part) / each)] for part in parts])

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return count_batches(self.run, self.epoch_clips)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches (pictures, labels) of a training epoch."""
        clips, variants = self._order(epoch)
        live = self.run.augment.kind == "live"
        fresh = self.store.live(clips[variants > 0], seed=self.run.seed, epoch=epoch) if live else iter(())
        # Of the whole epoch at once: a copy to a GPU for each batch would be waited for.
        labels, places = self.labels[torch.from_numpy(clips).to(self.device)], self._resident_places(clips, variants)
        for cut in _cuts(len(clips), self.run.recipe.batch):
            rows, which = clips[cut], variants[cut]
            if live:
                values = np.stack([next(fresh) if k else self.store.clean[row] for row, k in zip(rows, which, strict=True)])
                pictures = self._finish(torch.from_numpy(values))
            elif self._resident is not None and places is not None:
                pictures = self._finish(self._resident[places[cut]])
            else:
                pictures = self.pictures(rows, which)
            yield pictures, labels[cut]

    def pictures(self, rows: np.ndarray, variants: np.ndarray | None = None) -> Tensor:
        """Pictures of clips (rows of the store), clean or of the given variants."""
        which = np.zeros(len(rows), dtype=np.int64) if variants is None else variants
        if self._resident is not None:
            return self._finish(self._resident[self._resident_places(rows, which)])
        places = self._place[rows]
        return self._finish(_tensor(np.stack([self.banks[k][place] for place, k in zip(places, which, strict=True)])))

    def _resident_places(self, rows: np.ndarray, variants: np.ndarray) -> Tensor | None:
        """Where clips and variants stand in what is resident, on the device; None if nothing is."""
        if self._resident is None:
            return None
        return torch.from_numpy(variants * len(self.rows) + np.searchsorted(self.rows, rows)).to(self.device)

    def broken(self, rows: np.ndarray) -> str | None:
        """The first of these clips of which something that is fed holds NaN or infinity, by its name."""
        for row in rows:
            if not all(bool(torch.isfinite(_tensor(np.array(bank[self._place[row]]))).all()) for bank in self.banks):
                return self.store.dataset.clips[row].name
        return None

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Clips and variants (0: clean) of an epoch, in order: one pass over the clips, or several."""
        rng = np.random.default_rng([self.run.seed, epoch])
        passes = [self._pass(rng) for _ in range(math.ceil(self.epoch_clips / len(self.train)))]
        length = self.epoch_clips * (1 + augmented(self.run))
        clips, variants = (np.concatenate(part)[:length] for part in zip(*passes, strict=True))
        return clips, variants

    def _pass(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        n = len(self.train)
        clips, variants = self.train, np.zeros(n, dtype=np.int64)
        if augmented(self.run):
            drawn = rng.integers(1, self.store.variants + 1, n) if self.store.variants else np.ones(n, dtype=np.int64)
            clips, variants = np.concatenate([clips, clips]), np.concatenate([variants, drawn])
        order = rng.permutation(len(clips))
        return clips[order], variants[order]

    def _finish(self, values: Tensor) -> Tensor:
        values = values.to(self.device, non_blocking=True)
        if self.after == "none":
            return network_input(values, self._standard)
        return values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values

    def _on_gpu(self) -> Tensor | None:
        """All that is fed on the GPU, where it fits: each bank's rows in the order of `rows`."""
        if self.device.type != "cuda":
            return None
        free, _ = torch.cuda.mem_get_info(self.device)
        free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)  # torch's own, unused
        if sum(bank[:1].nbytes * len(self.rows) for bank in self.banks) > RESIDENT_SHARE * free:
            return None
        places, first = self._place[self.rows], _tensor(np.array(self.banks[0][:1]))
        held = torch.empty(len(self.banks), len(places), *first.shape[1:], dtype=first.dtype, device=self.device)
        for bank, mine in zip(self.banks, held, strict=True):  # in pieces, so that nothing is there twice
            for start in range(0, len(places), RESIDENT_PIECE):
                rows = places[start : start + RESIDENT_PIECE]
                mine[start : start + len(rows)] = _tensor(np.array(bank[rows])).to(self.device)
        return held.flatten(0, 1)


def _fed(store: Store, run: Run) -> np.ndarray:
    """The rows of the store that a run is fed at all, sorted: those of all clips, but where it learns from a few of them."""
    if run.per_class is None:
        return np.arange(len(store.clean))
    split = run.split(store.dataset)
    return np.sort(np.concatenate([split.train, split.validation, split.test]))


def _places(rows: np.ndarray, size: int) -> np.ndarray:
    """Where each row of the store stands among some of them; -1: nowhere."""
    places = np.full(size, -1)
    places[rows] = np.arange(len(rows))
    return places


def network_input(pictures: Tensor, standard: Sequence[Tensor] | None) -> Tensor:
    """Pictures as a network takes them: float32, channels-last, standardised if its recipe asks for it."""
    values = pictures.float()
    if standard is not None:
        values = (values - standard[0]) / standard[1]
    return values.contiguous(memory_format=torch.channels_last)


def _tensor(values: np.ndarray) -> Tensor:
    """numpy has no bfloat16: its bits travel as uint16."""
    return torch.from_numpy(values).view(torch.bfloat16) if values.dtype == np.uint16 else torch.from_numpy(values)


def augmented(run: Run) -> bool:
    """Whether an epoch holds an augmented copy of each clip beside the clean one."""
    return run.augment.kind != "none"


def count_batches(run: Run, clips: int) -> int:
    """Batches in an epoch over so many training clips."""
    return len(_cuts(clips * (1 + augmented(run)), run.recipe.batch))


def standard_of(pictures: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread (3, mels, 1) of each band of each channel over clips and frames."""
    total = square = np.zeros(())
    for start in range(0, len(rows), STATISTICS_CLIPS):
        values = np.asarray(pictures[rows[start : start + STATISTICS_CLIPS]], dtype=np.float64)
        total = total + values.sum(axis=(0, 3))
        square = square + np.square(values).sum(axis=(0, 3))
    count = len(rows) * pictures.shape[3]
    mean = total / count
    with np.errstate(invalid="ignore"):  # of an infinite picture, which training will name
        spread = np.sqrt(np.maximum(square / count - np.square(mean), 0.0))
    spread[spread < 1e-3] = 1.0  # a band that never changes (above a low-rate file's range) stays at 0
    return mean[:, :, None].astype(np.float32), spread[:, :, None].astype(np.float32)


def _cuts(items: int, batch: int) -> list[slice]:
    """Batches as slices; a last batch of one item, for which batch norm has no statistics, joins its neighbour."""
    starts = list(range(0, items, batch))
    if len(starts) > 1 and items - starts[-1] == 1:
        starts.pop()
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], items], strict=True)]
