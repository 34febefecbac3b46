"""Similarity of two networks from streamed moments, beside the two forward passes and beside the obvious way.

bare      the forward passes of both networks
ours      the same with moments gathered at every layer, and SVCCA of every layer in the end
obvious   every activation kept, then for each layer and network a centred SVD, truncation, and CCA, with numpy in float64

The passes take turns batch by batch, and the scores layer by layer, so that a machine that slows down slows them alike. The
second network is the first with its weights moved at random. Memory is the peak of a process of its own, on the CPU.
"""

import copy
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tla.bench.memory import held_gb
from tla.bench.rows import Row, wait
from tla.console import progress
from tla.launch.material import Material
from tla.launch.study import list_runs
from tla.nets import backbones
from tla.nets.activations import STAGE_LAYERS
from tla.nets.arithmetic import computing
from tla.nets.stages import StagedNet
from tla.options import RANDOM
from tla.runs.begin import begin
from tla.runs.infer import LoadedNetwork
from tla.runs.run import Run
from tla.similarity.methods import EPSILON, KEEP, svcca
from tla.similarity.moments import Moments, fold
from tla.similarity.stream import BATCH, Couple, forward, of_run, shared_layers
from tla.sound.workers import crew

STUDY = 400  # clips of a study for which costs are given as well
MOVED = 0.1  # of their spread, by which the second network's weights are moved
DENSENET = "stem, features.denseblock?, features.transition?"

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Pair:
    """Two networks and the layers at which they are compared."""

    before: LoadedNetwork
    after: LoadedNetwork
    couples: list[Couple]

    def bare(self, pictures: np.ndarray) -> None:
        """The forward passes alone."""
        for network in (self.before, self.after):
            with torch.inference_mode(), computing(network.device, network.run.precision):
                network.net(network.batch(pictures))
        wait(self.before.device)

    def gather(self, pictures: np.ndarray, take: Callable[[str, Tensor, Tensor], None]) -> float:
        """Seconds that `take` took for the points of all layers."""
        spent = 0.0

        def timed(name: str, x: Tensor, y: Tensor) -> None:
            nonlocal spent
            wait(x.device)
            start = time.perf_counter()
            take(name, fold(x), fold(y))
            wait(x.device)
            spent += time.perf_counter() - start

        forward(of_run(self.before), of_run(self.after), self.couples, pictures, timed)
        return spent


class Sums(dict[str, Moments]):
    """Ours: the moments of each layer."""

    def __init__(self, pair: Pair) -> None:
        sizes = {couple.name: (couple.before.channels, couple.after.channels) for couple in pair.couples}
        super().__init__({name: Moments(*size, products=torch.float32) for name, size in sizes.items()})

    def take(self, name: str, x: Tensor, y: Tensor) -> None:
        self[name].add(x, y)


class Kept(dict[str, tuple[list[np.ndarray], list[np.ndarray]]]):
    """The obvious way: the activations of each layer."""

    def take(self, name: str, x: Tensor, y: Tensor) -> None:
        for side, points in zip(self.setdefault(name, ([], [])), (x, y), strict=True):
            side.append(np.array(points.float().cpu().numpy()))

    @property
    def size(self) -> int:
        return sum(part.nbytes for sides in self.values() for side in sides for part in side)


@dataclass
class Measured:
    """Seconds by what was done, and what came of it."""

    seconds: dict[str, float] = field(default_factory=dict)
    ranks: list[int] = field(default_factory=list)
    difference: float = 0.0
    kept: int = 0
    peaks: tuple[float, float] | None = None

    @contextmanager
    def time(self, what: str) -> Iterator[None]:
        """Seconds of the block, added to those of its like."""
        start = time.perf_counter()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - start


def bench_similarity(material: Material, *, batches: int) -> list[Row]:
    """Seconds per clip over so many batches; clips are used again where there are too few."""
    run = list_runs(material)[0]
    pretrained = material.pretrained if run.weights != RANDOM else None
    net = begin(run, pretrained, seed=0)
    pictures, rows = material.store.clean, np.arange(batches * BATCH) % len(material.dataset.clips)
    pair = pair_of(run, net, pictures.shape[1:], material.device)
    measured = _measure(pair, [pictures[np.sort(part)] for part in np.split(rows, batches)])
    with crew(1) as pool:
        measured.peaks = pool.submit(_peaks, run, pictures.shape[1:], batches).result()
    return _rows(pair, measured, len(rows))


def pair_of(run: Run, net: StagedNet, shape: Shape, device: torch.device, which: str | None = None) -> Pair:
    """The network, and a copy whose weights are moved at random by some of their spread."""
    other, generator = copy.deepcopy(net), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in other.parameters():
            if weights.ndim > 1:
                weights.add_(weights.std() * torch.randn(weights.shape, generator=generator), alpha=MOVED)
    nets = (one.to(device).to(memory_format=torch.channels_last).eval() for one in (net, other))
    before, after = (LoadedNetwork(run, [], one, device, None) for one in nets)
    which = which or (DENSENET if run.backbone.startswith("densenet") else STAGE_LAYERS)
    return Pair(before, after, shared_layers(before.net, after.net, which, shape))


def _measure(pair: Pair, batches: list[np.ndarray]) -> Measured:
    measured, sums, kept = Measured(), Sums(pair), Kept()
    pair.bare(batches[0])  # once unmeasured
    pair.gather(batches[0], Sums(pair).take)
    with progress("measuring", len(batches) + len(pair.couples), "batches and layers") as watch:
        for pictures in batches:
            with measured.time("bare"):
                pair.bare(pictures)
            with measured.time("one pass"):
                spent = pair.gather(pictures, sums.take)
            measured.seconds["moments"] = measured.seconds.get("moments", 0.0) + spent
            measured.seconds["keeping"] = measured.seconds.get("keeping", 0.0) + pair.gather(pictures, kept.take)
            watch.advance()
        measured.kept = kept.size
        for name in list(sums):
            with measured.time("scores"):
                ours = svcca(sums.pop(name), forced="allow")
            with measured.time("obvious"):
                theirs = obvious_svcca(*(np.concatenate(side) for side in kept.pop(name)))
            measured.difference = max(measured.difference, abs(ours.score - theirs.mean()))
            measured.ranks += ours.kept
            watch.advance()
    return measured


def obvious_svcca(x: np.ndarray, y: np.ndarray, *, keep: float | int = KEEP, keep_by: str = "variance") -> np.ndarray:
    """Canonical correlations of activations (points, channels), step by step as in the tutorial of Raghu et al."""
    first, second = (_truncated(side.astype(np.float64), keep, keep_by) for side in (x, y))  # (directions, points)
    k = len(first)
    covariance = np.cov(first, second)
    xx, yy, xy = covariance[:k, :k], covariance[k:, k:], covariance[:k, k:]
    top_x, top_y = np.abs(xx).max(), np.abs(yy).max()
    roots = [_inverse_root(own / top + EPSILON * np.eye(len(own))) for own, top in ((xx, top_x), (yy, top_y))]
    return np.linalg.svd(roots[0] @ (xy / np.sqrt(top_x * top_y)) @ roots[1], compute_uv=False)


def _truncated(x: np.ndarray, keep: float | int, keep_by: str) -> np.ndarray:
    _, values, directions = np.linalg.svd((x - x.mean(axis=0)).T, full_matrices=False)
    shares = np.cumsum(values**2 if keep_by == "variance" else values)
    count = keep if isinstance(keep, int) else 1 + int((shares < keep * shares[-1]).sum())
    return values[:count, None] * directions[:count]


def _inverse_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(np.linalg.pinv(matrix))
    return vectors @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T


def _peaks(run: Run, shape: Shape, batches: int) -> tuple[float, float] | None:
    """Peak memory in GB above the two networks, of the bare passes and of all of ours; None where the system hides it."""
    pair = pair_of(run, backbones.build(run.backbone, run.classes, seed=0, shape=run.shape), shape, torch.device("cpu"))
    rng = np.random.default_rng(0)
    gc.collect()
    networks = held_gb(pair.before.device)
    pair.bare(rng.standard_normal((BATCH, *shape)))
    bare, sums = held_gb(pair.before.device, peak=True), Sums(pair)
    for _ in range(batches):
        pair.gather(rng.standard_normal((BATCH, *shape)), sums.take)
    for name in list(sums):
        svcca(sums.pop(name), forced="allow")
    whole = held_gb(pair.before.device, peak=True)
    return None if networks is None or bare is None or whole is None else (bare - networks, whole - networks)


def _rows(pair: Pair, measured: Measured, clips: int) -> list[Row]:
    """Per clip; the scores, which cost the same for any number of clips, are shared out among those of a study."""
    seconds, run = {what: spent / clips for what, spent in measured.seconds.items()}, pair.before.run
    bare, theirs = seconds["bare"], seconds["keeping"] + seconds["obvious"]
    work = seconds["moments"] + seconds["scores"] * clips / STUDY
    peaks = "unknown" if measured.peaks is None else "{1:.2f} GB, of the passes alone {0:.2f}".format(*measured.peaks)
    ranks = f"{min(measured.ranks)} to {max(measured.ranks)} directions"
    what = f"{run.backbone}, {run.precision}, {pair.before.device}, {clips} clips, batch {BATCH}, {len(pair.couples)} layers"
    kept = f"keeps {measured.kept / 1e9:.2f} GB; {STUDY} clips: {measured.kept * STUDY / clips / 1e9:.2f} GB"
    agree = f"scores differ by {measured.difference:.1e}; {ranks}"
    share = f"of {STUDY} clips; moments and SVCCA are {work / bare:.2f} of the passes; {agree}"
    return [
        Row("similarity", "two forward passes", bare, "limit", what),
        Row("similarity", "the same with moments", seconds["one pass"], "", f"peak memory above the networks: {peaks}"),
        Row("similarity", "moments alone", seconds["moments"], "", "float32 products, float64 sums"),
        Row("similarity", "SVCCA of all layers, once", seconds["scores"], "", f"shared out among {clips} clips"),
        Row("similarity", "passes, moments and SVCCA", bare + work, "ours", share),
        Row(
            "similarity",
            "obvious way",
            bare + theirs,
            "obvious",
            f"{theirs / work:.1f} times the work beside the passes; {kept}",
        ),
    ]
