"""The networks of the question, put together of finished runs and scored: stages put back, and points on straight lines."""

import itertools
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import log_softmax

from tla.basin.planning import Networks
from tla.basin.states import shares
from tla.basin.tables import (
    ESTIMATED,
    FRESH,
    FROM,
    ONE,
    OTHER,
    PRETRAINED,
    SCRATCH,
    SCRATCHES,
    SEEDS,
    START,
    STARTS,
    STATISTICS,
    TRAINING,
    UPTO,
    WHOLE,
)
from tla.errors import UserError
from tla.launch.material import Material
from tla.nets.stages import StagedNet
from tla.nets.states import State, between
from tla.options import RANDOM, Transfer
from tla.runs import infer, mixing
from tla.runs.folder import FinishedRun
from tla.runs.mixing import Clips, Mix

OWN = "own"  # the source of what is as trained
FRESH_SEED = 1000  # is added to a run's own for values that are neither its start nor another run's


class Rewound(NamedTuple):
    """What of a trained network is put to what."""

    to: str
    span: str
    stage: str


class Point(NamedTuple):
    """A network on a line: which part travels, and the share of its way."""

    part: str
    share: float


@dataclass(frozen=True)
class Scored:
    """What a network makes of the held-out clips of a fold; all (clips,)."""

    loss: np.ndarray
    """Negative log-likelihood of the label, in nats."""
    predicted: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, logits: np.ndarray, labels: np.ndarray) -> "Scored":
        log_p = log_softmax(logits.astype(np.float64), axis=1)
        predicted = log_p.argmax(axis=1)
        return cls(-log_p[np.arange(len(labels)), labels], predicted, (predicted == labels).astype(np.float64))


@dataclass(frozen=True)
class Pair:
    """Two runs, or a run's start and its end, with a straight line between them."""

    kind: str
    before: FinishedRun
    after: FinishedRun

    @property
    def own(self) -> bool:
        """Whether it leads from a run's start to its end."""
        return self.kind in (TRAINING, SCRATCH)


def pairs(networks: Networks, most: int) -> list[Pair]:
    """The lines that are walked, at most so many of a kind on each fold: two runs of a fold, or one run's start and end."""
    found = []
    for curve, kind, seeds in ((PRETRAINED, TRAINING, SEEDS), (RANDOM, SCRATCH, SCRATCHES)):
        for fold, runs in networks.arms.get(curve, {}).items():
            found += [Pair(kind, run, run) for run in runs[:most]]
            partners = networks.partners[curve][fold]
            found += [Pair(seeds, *two) for two in list(itertools.pairwise(partners))[:most]]
    for fold, runs in networks.arms.get(PRETRAINED, {}).items():
        twins = {run.run.seed: run for run in networks.arms[RANDOM].get(fold, ())}
        found += [Pair(STARTS, run, twins[run.run.seed]) for run in runs[:most] if run.run.seed in twins]
    return found


def rewinds(stages: Sequence[str], *, other: bool) -> list[Rewound]:
    """All that is put back, or exchanged, in a network of these stages."""
    found = [Rewound(to, ONE, stage) for to in (START, FRESH, *[OTHER] * other) for stage in stages]
    return found + [Rewound(START, span, stage) for span in (UPTO, FROM) for stage in stages]


def mix_of(what: Rewound, stages: Sequence[str]) -> Mix:
    """The source of each stage and of the head, which stays as trained."""
    place = stages.index(what.stage)
    put = {ONE: range(place, place + 1), UPTO: range(place + 1), FROM: range(place, len(stages))}[what.span]
    return (*(what.to if number in put else OWN for number in range(len(stages))), OWN)


class Scorer:
    """Puts networks of one run together, in place of it, and scores them on its held-out clips."""

    def __init__(self, folder: FinishedRun, material: Material, clips: int) -> None:
        self.folder, self.material = folder, material
        self.network = infer.load(folder, material.device)
        self.net: StagedNet = self.network.net
        self.clips: Clips = mixing.clips_of(self.network, material.store, clips)
        self.labels = material.dataset.labels[self.clips.rows]
        self.names = {part: list(self.net.stage_tensors(part)) for part in mixing.parts(self.network)}
        self.sources: dict[str, State] = {OWN: copied(self.net)}

    def scored(self, mixes: Collection[Mix]) -> Iterator[tuple[str, Mix, Scored]]:
        """Each mix, under both statistics."""
        for statistics in STATISTICS:
            estimate = statistics == ESTIMATED
            for mix, logits in mixing.logits(self.network, list(mixes), self._take, self.clips, estimate=estimate):
                yield statistics, mix, Scored.of(logits, self.labels)

    def _take(self, source: Hashable, part: str) -> State:
        """A source is the name of a state, or a place between two of them."""
        if not isinstance(source, tuple):
            return self._of(str(source), part)
        first, second, share = source
        return between(self._of(first, part), self._of(second, part), share)

    def _of(self, source: str, part: str) -> State:
        return {name: self.sources[source][name] for name in self.names[part]}


def copied(net: StagedNet) -> dict[str, torch.Tensor]:
    """A network's tensors, apart from it."""
    return {name: tensor.clone() for name, tensor in net.net.state_dict().items()}


def start_of(folder: FinishedRun, material: Material) -> dict[str, torch.Tensor]:
    """What a run's training began with."""
    pretrained = None if folder.run.weights == RANDOM else material.pretrained
    return copied(infer.load_start(folder, material.device, pretrained).net)


def fresh_of(folder: FinishedRun, material: Material) -> dict[str, torch.Tensor]:
    """Random values, as its layers are initialised with, that are not those of its start."""
    bare = Transfer(pretrained_upto="none", kept_upto=folder.run.transfer.kept_upto)
    elsewhere = replace(folder, run=replace(folder.run, seed=folder.run.seed + FRESH_SEED))
    return copied(infer.load_start(elsewhere, material.device, None, bare).net)


def rewound(
    folder: FinishedRun, other: FinishedRun | None, material: Material, clips: int
) -> Iterator[tuple[str, Rewound | None, Scored]]:
    """A run with each of its stages put to something else, and as it is (None), under both statistics."""
    scorer = Scorer(folder, material, clips)
    scorer.sources |= {START: start_of(folder, material), FRESH: fresh_of(folder, material)}
    if other is not None:
        scorer.sources[OTHER] = copied(infer.load(other, material.device).net)
    stages = scorer.net.stages
    named: dict[Mix, list[Rewound | None]] = {(OWN,) * (len(stages) + 1): [None]}
    for what in rewinds(stages, other=other is not None):
        named.setdefault(mix_of(what, stages), []).append(what)
    for statistics, mix, scored in scorer.scored(named):
        yield from ((statistics, what, scored) for what in named[mix])


def along(pair: Pair, material: Material, steps: int, parts: Sequence[str], clips: int) -> Iterator[tuple[str, Point, Scored]]:
    """The networks on a line, under both statistics; where a stage travels, the rest is that of the network at its end."""
    must_be_alike(pair.before, pair.after)
    scorer = Scorer(pair.after, material, clips)
    scorer.sources[START] = start_of(pair.after, material) if pair.own else copied(infer.load(pair.before, material.device).net)
    stages = scorer.net.stages
    named: dict[Mix, list[Point]] = {}
    for part in parts:
        if part != WHOLE and part not in stages:
            raise UserError(f"there is no stage {part} in {scorer.net.name} here; it has {', '.join(stages)}")
        for share in shares(steps):
            source: Hashable = {0.0: START, 1.0: OWN}.get(share, (START, OWN, share))
            mix: Mix = tuple(source if part in (WHOLE, stage) else OWN for stage in (*stages, "head"))
            named.setdefault(mix, []).append(Point(part, share))
    for statistics, mix, scored in scorer.scored(named):
        yield from ((statistics, point, scored) for point in named[mix])


def must_be_alike(one: FinishedRun, other: FinishedRun) -> None:
    """Refuse two runs between whose networks there is no line, or which do not hold out the same clips of the same pictures."""
    first, second = one.run, other.run
    differ = {
        "backbone": (first.backbone, second.backbone),
        "stages": (f"cut behind {first.transfer.kept_upto}", f"cut behind {second.transfer.kept_upto}"),
        "data set": (f"{first.data} ({first.data_digest[:8]})", f"{second.data} ({second.data_digest[:8]})"),
        "held-out fold": (first.fold, second.fold),
        "pictures": (first.picture, second.picture),
    }
    for what, (mine, theirs) in differ.items():
        if mine != theirs:
            raise UserError(
                f"runs {one.key} and {other.key} differ in their {what} ({mine}; {theirs}): "
                "weights are mixed of runs of one backbone, cut alike, on the same fold of the same pictures"
            )
