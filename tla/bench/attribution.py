"""Integrated Gradients as `tla.ig` takes them, beside captum as it comes, of the same clip at the same number of steps.

obvious   captum as it comes: the network as it is, float32, contiguous, all steps in one batch, which is captum's default
in parts  the same, CHUNK steps at a time
exact     ours in single precision
ours      as `tla.ig` does it: bf16 behind the stem if that leaves the first clip's map as it is
limit     the network's forward and backward passes to as many pictures, in the run's precision, and nothing else

The ways take turns, a clip each, and the quickest counts; the first turn, in which memory grows, is in the notes only. On a
machine that does other things too, the ratio of the processor's time is better. Norms have the statistics of a batch of clips.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from captum.attr import IntegratedGradients
from scipy.stats import spearmanr

from tla.attribution import gradient_copy
from tla.attribution.explainer import CHUNK, Explainer
from tla.attribution.starts import baselines
from tla.attribution.targets import Target
from tla.bench.memory import forget_peak, held_gb
from tla.bench.rows import Row, clock, wait
from tla.console import progress
from tla.launch.material import Material
from tla.launch.study import list_runs
from tla.nets.arithmetic import computing
from tla.nets.stages import StagedNet
from tla.options import RANDOM
from tla.runs.begin import begin
from tla.runs.feed import Feed
from tla.runs.infer import LoadedNetwork

STEPS = 50  # captum's default
WHAT = Target(0)


@dataclass
class _Way:
    """One way to a clip's map (3, mels, frames), and what it took."""

    explain: Callable[[np.ndarray], np.ndarray]
    seconds: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)  # seconds of the processor
    map: np.ndarray | None = None
    peak: float | None = None  # GB more than before the benchmark

    @property
    def per_clip(self) -> float:
        return min(self.seconds[1:])

    @property
    def busy_per_clip(self) -> float:
        return min(self.busy[1:])

    def note(self, exact: "_Way | None" = None) -> str:
        """Peak memory, the first clip, and how far the map is from another way's."""
        parts = [f"peak {self.peak:.2f} GB" if self.peak is not None else "", f"first clip {self.seconds[0]:.1f} s"]
        if exact is not None and exact.map is not None and self.map is not None:
            far = np.linalg.norm(self.map - exact.map) / np.linalg.norm(exact.map)
            alike = spearmanr(self.map.sum(axis=0).ravel(), exact.map.sum(axis=0).ravel()).statistic
            parts.append(f"map {100 * far:.2g} % from captum's, rank correlation {alike:.4f}")
        return ", ".join(filter(None, parts))


def bench_attribution(material: Material, *, turns: int, memory: float = 1.0) -> list[Row]:
    """Seconds per clip of each way, the quickest of `turns` clips."""
    network, feed = untrained(material)
    silence = baselines("silence", material.store.clean.shape[1:])
    rows = np.resize(feed.train, turns + 1)
    ours = Explainer(network.net, network.standard, memory=memory)
    exact = Explainer(network.net, network.standard, memory=memory, arithmetic="fp32")
    bare = gradient_copy.copy_of(network.net)
    ways = {  # the frugal ones first, so that their peaks are theirs
        "ours": _Way(lambda x: ours.attribute(x, WHAT, silence, steps=STEPS).map),
        "exact": _Way(lambda x: exact.attribute(x, WHAT, silence, steps=STEPS).map),
        "in parts": _Way(lambda x: _captum(network, x, silence, CHUNK)),
        "bare": _Way(lambda x: _bare(network, bare, x)),
        "captum": _Way(lambda x: _captum(network, x, silence, None)),
    }
    before = held_gb(material.device)
    with progress("measuring", len(rows) * len(ways), "maps") as watch:
        for row in rows:
            picture = np.asarray(material.store.clean[row], dtype=np.float32)
            for way in ways.values():
                _measure(way, picture, material.device, before)
                watch.advance()
    captum, mine = ways["captum"], ways["ours"]
    times = (
        f"{captum.per_clip / mine.per_clip:.1f} times slower, {captum.busy_per_clip / mine.busy_per_clip:.1f} by processor time"
    )
    about = f"{network.net.name}, {STEPS} steps, {material.device}; {times}; {captum.note()}"
    bf16 = "bf16 behind the stem" if ours.arithmetic == "bf16" else "single precision: bf16 changes the map"
    parts, single = ways["in parts"], ways["exact"]
    return [
        Row("attribution", "captum as it comes", captum.per_clip, "obvious", about),
        Row("attribution", "captum in parts", parts.per_clip, "", f"{CHUNK} steps at a time; {parts.note()}"),
        Row("attribution", "ours, single precision", single.per_clip, "", single.note(captum)),
        Row("attribution", "ours", mine.per_clip, "ours", f"{bf16}; budget {memory:g} GB, {mine.note(captum)}"),
        Row("attribution", "bare forward and backward", ways["bare"].per_clip, "limit", "of as many pictures, the same way"),
    ]


def untrained(material: Material) -> tuple[LoadedNetwork, Feed]:
    """The network that a run of the study starts from."""
    run = list_runs(material)[0]
    feed = Feed(material.store, run, run.split(material.dataset).train, material.device)
    pretrained = material.pretrained if run.weights != RANDOM else None
    net = begin(run, pretrained, feed.standard, seed=0).to(material.device)
    with torch.no_grad():
        net.train()(feed.pictures(feed.train[: run.recipe.batch]))
    return LoadedNetwork(run, list(material.dataset.classes), net.eval(), material.device, feed.standard), feed


def _captum(network: LoadedNetwork, picture: np.ndarray, silence: np.ndarray, chunk: int | None) -> np.ndarray:
    mean, spread = network.standard or (0.0, 1.0)
    x, b = (torch.from_numpy(((value - mean) / spread).astype(np.float32)) for value in (picture[None], silence))
    made = IntegratedGradients(network.net).attribute(
        x.to(network.device), b.to(network.device), target=WHAT.of, n_steps=STEPS, internal_batch_size=chunk
    )
    return made[0].detach().cpu().numpy()


def _bare(network: LoadedNetwork, net: StagedNet, picture: np.ndarray) -> np.ndarray:
    """The gradient of as many copies of the picture as there are steps; their mean."""
    total = np.zeros(picture.shape, np.float32)
    for start in range(0, STEPS, CHUNK):
        batch = network.batch(np.repeat(picture[None], min(CHUNK, STEPS - start), axis=0)).requires_grad_()
        with computing(network.device, network.run.precision):
            logits = net(batch).float()
        (slope,) = torch.autograd.grad(logits[:, WHAT.of].sum(), batch)
        total += slope.sum(dim=0).cpu().numpy() / STEPS
    return total


def _measure(way: _Way, picture: np.ndarray, device: torch.device, before: float | None) -> None:
    """Time one clip; the first also for its peak of memory."""

    def explain() -> None:
        way.map = way.explain(picture)
        wait(device)

    if not way.seconds:
        forget_peak(device)
    busy = time.process_time()
    way.seconds.append(clock(explain))
    way.busy.append(time.process_time() - busy)
    if len(way.seconds) == 1 and before is not None:
        peak = held_gb(device, peak=True)
        way.peak = None if peak is None else peak - before
