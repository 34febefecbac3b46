"""Networks that are put together of several runs' stages or weights, scored on the clips that those hold out.

A mix names a source for each stage and the head. Mixes that begin alike share that beginning: it is computed once. Batch norm
in a mix has the statistics of its sources, as they are stored, or new ones, estimated on clips of training: stage by stage,
each on what the stages before make of them, by `STATISTICS_BATCH` clips at a time as in training. A stage that was frozen in
inference mode keeps those that it was trained with.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tla.nets.arithmetic import computing
from tla.nets.stages import HEAD
from tla.nets.states import State, estimating
from tla.runs.infer import LoadedNetwork, batch_size
from tla.sound.store import Store

STATISTICS_CLIPS, STATISTICS_BATCH = 200, 32  # of training, that statistics are estimated on, and how many at a time
Mix = tuple[Hashable, ...]  # the source of each stage, then of the head
Take = Callable[[Hashable, str], State]  # the tensors of a stage, or of the head, in a source


@dataclass(frozen=True)
class Clips:
    """What the mixes of a fold are scored on, as their networks take it; and what statistics are estimated on."""

    held_out: list[Tensor]
    training: list[Tensor]
    rows: np.ndarray
    """Of the store: the clips that are held out."""


def clips_of(network: LoadedNetwork, store: Store, most: int = STATISTICS_CLIPS) -> Clips:
    """The held-out clips of a run, and at most so many of those that it learned from, drawn by its fold."""
    split = network.run.split(store.dataset)
    drawn = np.random.default_rng(network.run.fold).permutation(split.train)[:most]
    size = batch_size(network.device)
    return Clips(
        [network.batch(store.clean[rows]) for rows in _cut(split.test, size)],
        [network.batch(store.clean[rows]) for rows in _cut(drawn, STATISTICS_BATCH)],
        split.test,
    )


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """In batches of this size, the last of which may be larger by one: of one clip alone there are no statistics."""
    starts = list(range(0, len(rows), size))
    if len(starts) > 1 and len(rows) - starts[-1] == 1:
        starts.pop()
    return [rows[start:stop] for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True)]


def parts(network: LoadedNetwork) -> tuple[str, ...]:
    """What a mix names a source of: the stages, then the head."""
    return (*network.net.stages, HEAD)


def logits(
    network: LoadedNetwork, mixes: Sequence[Mix], take: Take, clips: Clips, *, estimate: bool
) -> Iterator[tuple[Mix, np.ndarray]]:
    """Each mix, in some order, with its logits (clips, classes); the network is what they are built in, and is used up.

    estimate: New statistics on the clips of training, in place of those that are stored.
    """
    yield from _Mixing(network, take, estimate=estimate).walk(list(dict.fromkeys(mixes)), 0, clips.held_out, clips.training)


class _Mixing:
    """Goes through the mixes as through a tree: a branch for each source of the next stage."""

    def __init__(self, network: LoadedNetwork, take: Take, *, estimate: bool) -> None:
        self.network, self.net, self.take, self.estimate = network, network.net.eval(), take, estimate
        self.parts = parts(network)
        self.tensors = {part: self.net.stage_tensors(part) for part in self.parts}
        frozen = self.net.upto(self.net.inference_upto)
        self.moving = {part: [] if part in frozen else self.net.stage_modules(part) for part in self.parts}

    def walk(
        self, mixes: Sequence[Mix], place: int, held_out: list[Tensor], training: list[Tensor]
    ) -> Iterator[tuple[Mix, np.ndarray]]:
        """The mixes that are alike in all stages before this place, with what these make of the clips."""
        if place == len(self.parts):
            yield mixes[0], torch.cat([batch.float() for batch in held_out]).cpu().numpy()
            return
        branches: dict[Hashable, list[Mix]] = {}
        for mix in mixes:
            branches.setdefault(mix[place], []).append(mix)
        for source, branch in branches.items():
            yield from self.walk(branch, place + 1, *self._pass(self.parts[place], source, held_out, training))

    def _pass(
        self, part: str, source: Hashable, held_out: list[Tensor], training: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What a stage with the tensors of a source makes of the outputs of the stage before."""
        for name, tensor in self.take(source, part).items():
            self.tensors[part][name].copy_(tensor)
        after = []
        with torch.inference_mode(), computing(self.network.device, self.network.run.precision):
            if self.estimate:
                with estimating(self.moving[part]):
                    after = [self.net.run(part, batch) for batch in training]
            return [self.net.run(part, batch) for batch in held_out], after
