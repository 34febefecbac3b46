"""What runs that are not trained yet will take: hours and disk, from training a few batches of each kind of run here."""

import time
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.nn import functional

from tla.console import counted, progress
from tla.launch.board import Batches
from tla.launch.material import Material
from tla.nets import transfer
from tla.nets.arithmetic import computing
from tla.nets.stages import StagedNet
from tla.options import RANDOM
from tla.runs.begin import begin
from tla.runs.run import Run

BATCHES = 2  # timed, after one that warms up

Times = dict[tuple[object, ...], tuple[float, int]]  # kind of run -> seconds per batch, and the numbers in its network


@dataclass(frozen=True)
class Forecast:
    """What is still to be done for a study, if its runs are trained one after another on this machine."""

    missing: Mapping[Path, tuple[float, float, int]] = field(default_factory=dict)
    """Of each run, by its folder: seconds at least and at most, and the numbers in its network."""
    done: Set[Path] = frozenset()
    """The folders of the runs that are finished."""

    def __add__(self, other: "Forecast") -> "Forecast":
        """Of both; a run that they share counts once."""
        return Forecast({**self.missing, **other.missing}, self.done | other.done)

    @property
    def runs(self) -> int:
        return len(self.missing) + self.finished

    @property
    def finished(self) -> int:
        return len(self.done)

    @property
    def hours(self) -> tuple[float, float]:
        """At least, at most."""
        return sum(run[0] for run in self.missing.values()) / 3600, sum(run[1] for run in self.missing.values()) / 3600

    @property
    def gigabytes(self) -> float:
        return sum(run[2] for run in self.missing.values()) * 4 / 1e9

    def __str__(self) -> str:
        least, most = self.hours
        hours = f"about {most:.1f}" if least == most else f"{least:.1f} to {most:.1f}"
        todo = f"{len(self.missing)} to train: {hours} hours here, one after another"
        why = "" if least == most else " (each run ends by itself when its loss no longer falls; at the latest at --recipe.cap)"
        return f"{counted(self.runs, 'run')}, {self.finished} finished, {todo}{why}, and {self.gigabytes:.2f} GB of disk"


def forecast(missing: Mapping[Path, tuple[Run, Batches, Material]], done: Set[Path], times: Times) -> Forecast:
    """What the missing runs, each with the batches that it still needs, will take. Kinds that `times` lacks are put in."""
    takes = {}
    with progress(
        "timing", len({_kind(run, material) for run, _, material in missing.values()} - times.keys()), "kinds of run"
    ) as watch:
        for path, (run, batches, material) in missing.items():
            kind = _kind(run, material)
            if kind not in times:
                times[kind] = _measured(run, material)
                watch.advance()
            each, size = times[kind]
            takes[path] = max(0, batches.least - batches.before) * each, (batches.most - batches.before) * each, size
    return Forecast(takes, done)


def _kind(run: Run, material: Material) -> tuple[object, ...]:
    """Runs that take the same time per batch: where the pretrained weights end changes nothing."""
    plan, here = run.transfer, (material.device, run.precision)
    return run.backbone, plan.frozen_upto, plan.kept_upto, plan.frozen_norm, run.picture, run.recipe.batch, here


def _measured(run: Run, material: Material) -> tuple[float, int]:
    """Seconds per training batch of a run, and the numbers in its network."""
    pretrained = material.pretrained if run.weights != RANDOM else None
    net = begin(run, pretrained).to(material.device).to(memory_format=torch.channels_last).train()
    shape = run.recipe.batch, 3, run.picture.mels, run.picture.frames or 0
    pictures = torch.zeros(shape, device=material.device).contiguous(memory_format=torch.channels_last)
    after = transfer.frozen_prefix(net)
    with torch.no_grad(), computing(material.device, run.precision):
        pictures = net.prefix(pictures, after)  # which training reads from disk
    _step(net, pictures, run)
    start = time.perf_counter()
    for _ in range(BATCHES):
        _step(net, pictures, run)
    return (time.perf_counter() - start) / BATCHES, transfer.counts(net)[1]


def _step(net: StagedNet, pictures: torch.Tensor, run: Run) -> None:
    with computing(pictures.device, run.precision):
        logits = net(pictures, after=transfer.frozen_prefix(net))
    loss = functional.cross_entropy(logits.float(), torch.zeros(len(pictures), dtype=torch.long, device=pictures.device))
    loss.backward()
    net.zero_grad(set_to_none=True)
    loss.item()  # waits for an accelerator
