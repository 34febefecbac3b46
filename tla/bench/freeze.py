"""Freezing: training behind the frozen stages' stored outputs, beside training through them, for each stage.

Per training clip, on batches of clean pictures, in turns. The ratio is to training everything: how many times longer that
takes. What storing the outputs costs once per clip and variant is in the note.
"""

import statistics
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from tla.bench.rows import Row, clock, wait
from tla.console import Progress, progress
from tla.nets import transfer
from tla.options import STAGES, Stage
from tla.runs.feed import Feed, augmented, autocast
from tla.runs.fit import State, make_optimizer, train_epoch
from tla.runs.launch import Material, list_runs
from tla.runs.run import Run


def bench_freeze(material: Material, *, batches: int) -> list[Row]:
    """Seconds per training clip for each `--upto`, with and without the shortcut (medians)."""
    plan = material.study.transfer
    points: tuple[Stage, ...] = ("none", *STAGES)
    with progress("measuring", len(points)) as watch:
        times = {}
        for stage in points:
            times[stage] = _times(material, list_runs(material, plan=replace(plan, frozen_upto=stage))[0], batches)
            watch.advance()
    whole = times["none"][1]
    run = list_runs(material)[0]
    items = len(material.dataset.split(run.fold, run.protocol).train) * (1 + augmented(run))  # pictures in an epoch
    return [
        Row(
            f"frozen up to {stage}",
            behind,
            whole / behind,
            f"an epoch of {items}: {items * behind:.1f} s, without the shortcut {items * through:.1f} s "
            f"({whole / through:.2f}); outputs once {1000 * once:.1f} ms",
        )
        for stage, (behind, through, once) in times.items()
    ]


def _times(material: Material, run: Run, batches: int) -> tuple[float, float, float]:
    """Seconds per clip behind the prefix, through it, and for making its outputs."""
    feed = Feed(material.store, run, material.dataset.split(run.fold, run.protocol).train, material.device)
    pretrained = material.pretrained if run.weights != "random" else None
    net = transfer.assemble(run.backbone, run.classes, run.transfer, pretrained, seed=run.seed)
    net = net.to(material.device).to(memory_format=torch.channels_last)
    after, size = transfer.frozen_prefix(net), run.recipe.batch
    state = State(net, make_optimizer(run, net))

    def prefix(pictures: Tensor) -> Tensor:
        with torch.no_grad(), autocast(feed.device, run.precision):
            outputs = net.eval().prefix(pictures, after)
        wait(feed.device)
        return outputs

    def train(batch: Tensor, labels: Tensor, start: Stage) -> None:
        train_epoch(state, [(batch, labels)], run, 0, Progress("", 0), after=start)
        wait(feed.device)

    turns = []
    for turn in range(batches + 1):
        rows = feed.train[(turn * size) % max(1, len(feed.train) - size) :][:size]
        labels, pictures = feed.labels[torch.from_numpy(rows).to(feed.device)], feed.pictures(rows)
        outputs = prefix(pictures)
        work = (partial(train, outputs, labels, after), partial(train, pictures, labels, "none"), partial(prefix, pictures))
        turns.append([clock(one) / len(rows) for one in work])
    behind, through, once = (statistics.median(times) for times in zip(*turns[1:], strict=True))  # the first warms up
    return behind, through, once
