"""Integrated Gradients as `tla.ig` takes them, beside captum as it comes, of the same clip at the same number of steps.

captum    the network as it is, float32, contiguous, all steps in one batch, which is captum's default
in parts  the same, CHUNK steps at a time
exact     ours in single precision
ours      as `tla.ig` does it: bf16 behind the stem if that leaves the first clip's map as it is

The ways take turns, a clip each, and the quickest counts; the first turn, in which memory grows, is in the notes only. On a
machine that does other things too, the ratio of the processor's time says more. Norms have heard a batch of clips.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from captum.attr import IntegratedGradients
from scipy.stats import spearmanr

from tla.bench.rows import Row, clock, wait
from tla.console import progress
from tla.measures.attribution import CHUNK, Explainer, Target, baselines
from tla.nets import transfer
from tla.runs.feed import Feed
from tla.runs.infer import Listener
from tla.runs.launch import Material, list_runs

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
    listener, feed = _listener(material)
    silence = baselines("silence", material.store.clean.shape[1:])
    rows = np.resize(feed.train, turns + 1)
    ours, exact = Explainer(listener, memory=memory), Explainer(listener, memory=memory, arithmetic="fp32")
    ways = {  # the frugal ones first, so that their peaks are theirs
        "ours": _Way(lambda x: ours.attribute(x, WHAT, silence, steps=STEPS).map),
        "exact": _Way(lambda x: exact.attribute(x, WHAT, silence, steps=STEPS).map),
        "in parts": _Way(lambda x: _captum(listener, x, silence, CHUNK)),
        "captum": _Way(lambda x: _captum(listener, x, silence, None)),
    }
    before = _held(material.device)
    with progress("measuring", len(rows) * len(ways)) as watch:
        for row in rows:
            picture = np.asarray(material.store.clean[row], dtype=np.float32)
            for way in ways.values():
                _measure(way, picture, material.device, before)
                watch.advance()
    captum, theirs = ways["captum"], ways["captum"].per_clip
    mine, busy = ways["ours"].per_clip, captum.busy_per_clip / ways["ours"].busy_per_clip
    about = f"{listener.net.name}, {STEPS} steps, {material.device}"
    bf16 = "bf16 behind the stem" if ours.arithmetic == "bf16" else "single precision: bf16 changes the map"
    parts, single = ways["in parts"], ways["exact"]
    return [
        Row("captum as it comes", theirs, 1.0, f"{about}; {captum.note()}"),
        Row("captum in parts", parts.per_clip, parts.per_clip / theirs, f"{CHUNK} steps at a time; {parts.note()}"),
        Row("ours, single precision", single.per_clip, single.per_clip / theirs, single.note(captum)),
        Row("ours", mine, mine / theirs, f"{bf16}; budget {memory:g} GB, {ways['ours'].note(captum)}"),
        Row("captum / ours", mine, theirs / mine, f"how many times faster, both warm; of the processor's time {busy:.2f}"),
    ]


def _listener(material: Material) -> tuple[Listener, Feed]:
    """The network that a run of the study starts from."""
    run = list_runs(material)[0]
    feed = Feed(material.store, run, material.dataset.split(run.fold, run.protocol).train, material.device)
    pretrained = material.pretrained if run.weights != transfer.RANDOM else None
    net = transfer.assemble(run.backbone, run.classes, run.transfer, pretrained, seed=0).to(material.device)
    with torch.no_grad():
        net.train()(feed.pictures(feed.train[: run.recipe.batch]))
    return Listener(run, list(material.dataset.classes), net.eval(), material.device, feed.standard), feed


def _captum(listener: Listener, picture: np.ndarray, silence: np.ndarray, chunk: int | None) -> np.ndarray:
    mean, spread = listener.standard or (0.0, 1.0)
    x, b = (torch.from_numpy(((value - mean) / spread).astype(np.float32)) for value in (picture[None], silence))
    made = IntegratedGradients(listener.net).attribute(
        x.to(listener.device), b.to(listener.device), target=WHAT.of, n_steps=STEPS, internal_batch_size=chunk
    )
    return made[0].detach().cpu().numpy()


def _measure(way: _Way, picture: np.ndarray, device: torch.device, before: float | None) -> None:
    """Time one clip; the first also for its peak of memory."""

    def explain() -> None:
        way.map = way.explain(picture)
        wait(device)

    if not way.seconds:
        _forget_peak(device)
    busy = time.process_time()
    way.seconds.append(clock(explain))
    way.busy.append(time.process_time() - busy)
    if len(way.seconds) == 1 and before is not None:
        peak = _held(device, peak=True)
        way.peak = None if peak is None else peak - before


def _held(device: torch.device, *, peak: bool = False) -> float | None:
    """GB that this process holds, or has held since `_forget_peak`; None where the system does not say."""
    if device.type == "cuda":
        return (torch.cuda.max_memory_allocated(device) if peak else torch.cuda.memory_allocated(device)) / 1e9
    status, name = Path("/proc/self/status"), "VmHWM:" if peak else "VmRSS:"
    if not status.is_file():
        return None
    return next(int(line.split()[1]) * 1024 / 1e9 for line in status.read_text().splitlines() if line.startswith(name))


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif (forget := Path("/proc/self/clear_refs")).exists():
        forget.write_text("5")
