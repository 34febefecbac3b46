"""Training, of whole, cut and frozen networks: the loop as it is, beside the bare network and beside the obvious way.

limit     forward and backward of the network alone, on a batch that lies ready, in the run's precision and layout; for an
          epoch, those of the training clips and the forward passes of the held-out clips
ours      the training loop: pictures from the store (behind frozen stages: their outputs), loss, optimizer, progress; an
          epoch also scores the held-out clips and writes the checkpoint
obvious   what a first script does: float32, contiguous, each clip decoded, stretched, shifted and pictured by librosa each
          time it is used; for a cut network, to train all of it; for a frozen one, to train through the frozen stages

The limit and ours take turns batch by batch, so that a machine that slows down slows them alike.
"""

import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tla.bench.pictures import obvious_copy, obvious_pictures
from tla.bench.rows import Row, clock, wait
from tla.console import Progress, progress
from tla.launch.material import Material
from tla.launch.study import list_runs
from tla.nets import backbones, transfer
from tla.nets.arithmetic import computing
from tla.nets.stages import StagedNet
from tla.options import RANDOM, STAGES, Stage
from tla.runs.begin import begin
from tla.runs.feed import EVALUATION_BATCH, Feed, augmented
from tla.runs.fit import State, make_optimizer, run_epoch, save_checkpoint, train_epoch
from tla.runs.folder import RunFolder
from tla.runs.run import Run
from tla.sound.audio import read
from tla.sound.augment import draw


def bench_train(material: Material, *, batches: int) -> list[Row]:
    """Seconds per training clip of each way, over `batches` batches (the median), and of a whole epoch."""
    run = replace(list_runs(material)[0], fold=material.dataset.folds[0])
    state, feed = ready(material, run)
    with progress("measuring", 2 * batches + 4, "batches") as watch:
        bare, ours = _in_turns(run, state, feed, batches, watch)
        slow = _obvious(material, run, max(2, batches // 3))
        watch.advance()
        epoch, scoring = _epoch(run, state, feed)
        watch.advance()
    what = f"{run.backbone}, {run.precision}, batch {run.recipe.batch}, {material.device}"
    return [
        Row("training", "bare forward and backward", bare, "limit", what),
        Row("training", "training loop", ours, "ours", f"median of {batches} batches, in turns with the bare network"),
        Row("training", "obvious way", slow, "obvious", "float32, contiguous, librosa for each clip each time"),
        Row("epoch", "bare passes over all clips", bare + scoring, "limit", "held-out clips: forward alone"),
        Row("epoch", "whole epoch", epoch, "ours", "held-out clips and checkpoint included; one epoch, per training clip"),
    ]


def bench_cut(material: Material, *, batches: int) -> list[Row]:
    """Seconds per training clip of the network cut behind each stage (medians)."""
    rows, plan, whole = [], material.study.transfer, 0.0
    with progress("measuring", len(STAGES) * 2 * (batches + 1), "batches") as watch:
        for stage in reversed(STAGES):
            run = list_runs(material, plan=replace(plan, kept_upto=stage))[0]
            state, feed = ready(material, run)
            bare, ours = _in_turns(run, state, feed, batches, watch)
            whole = whole or ours
            phase = f"cut behind {stage}"
            rows += [Row(phase, "bare forward and backward", bare, "limit"), Row(phase, "training loop", ours, "ours")]
            rows += [Row(phase, "whole network", whole, "obvious")] if stage != STAGES[-1] else []
    return rows


def bench_freeze(material: Material, *, batches: int) -> list[Row]:
    """Seconds per training clip of the network frozen up to each stage (medians), on batches of clean pictures."""
    rows, plan = [], material.study.transfer
    with progress("measuring", len(STAGES), "stages") as watch:
        for stage in STAGES:
            run = list_runs(material, plan=replace(plan, frozen_upto=stage))[0]
            rows += _frozen(f"frozen up to {stage}", material, run, batches)
            watch.advance()
    return rows


def ready(material: Material, run: Run) -> tuple[State, Feed]:
    """A run at its beginning."""
    feed = Feed(material.store, run, run.split(material.dataset).train, material.device)
    pretrained = material.pretrained if run.weights != RANDOM else None
    net = begin(run, pretrained, feed.standard).to(material.device).to(memory_format=torch.channels_last)
    return State(net.train(), make_optimizer(run, net)), feed


def _bare(run: Run, net: StagedNet, inputs: Tensor, labels: Tensor, after: Stage = "none") -> None:
    """Forward and backward, from pictures or from the outputs of a stage."""
    with computing(inputs.device, run.precision):
        logits = net(inputs, after=after)
    functional.cross_entropy(logits.float(), labels).backward()
    net.zero_grad(set_to_none=True)
    wait(inputs.device)


def _train(run: Run, state: State, batch: tuple[Tensor, Tensor], after: Stage = "none") -> None:
    train_epoch(state, [batch], run, 0, Progress("", 0), after=after)
    wait(batch[1].device)


def _in_turns(run: Run, state: State, feed: Feed, batches: int, watch: Progress) -> tuple[float, float]:
    """Seconds per clip of the bare network, and of the training loop."""
    first = feed.train[: run.recipe.batch]
    pictures, labels = feed.pictures(first), feed.labels[torch.from_numpy(first).to(feed.device)]
    source = _endless(feed)
    seen: list[int] = []

    def train_one() -> None:
        batch = next(source)
        seen.append(len(batch[1]))
        _train(run, state, batch)

    times = []
    for _ in range(batches + 1):
        bare, ours = clock(partial(_bare, run, state.net, pictures, labels)), clock(train_one)
        times.append((bare / len(labels), ours / seen[-1]))
        watch.advance(2)
    bare, ours = (statistics.median(each) for each in zip(*times[1:], strict=True))  # the first turn warms up
    return bare, ours


def _frozen(phase: str, material: Material, run: Run, batches: int) -> list[Row]:
    """Behind the frozen stages' outputs, bare and in the loop, and through the stages."""
    state, feed = ready(material, run)
    after, size, n = transfer.frozen_prefix(state.net), run.recipe.batch, max(1, len(feed.train) - run.recipe.batch)

    def prefix(pictures: Tensor) -> Tensor:
        with torch.no_grad(), computing(feed.device, run.precision):
            outputs = state.net.eval().prefix(pictures, after)
        wait(feed.device)
        state.net.train()
        return outputs

    turns = []
    for turn in range(batches + 1):
        rows = feed.train[(turn * size) % n :][:size]
        labels, pictures = feed.labels[torch.from_numpy(rows).to(feed.device)], feed.pictures(rows)
        outputs = prefix(pictures)
        work = (
            partial(_bare, run, state.net, outputs, labels, after),
            partial(_train, run, state, (outputs, labels), after),
            partial(_train, run, state, (pictures, labels)),
            partial(prefix, pictures),
        )
        turns.append([clock(one) / len(rows) for one in work])
    bare, behind, through, once = (statistics.median(times) for times in zip(*turns[1:], strict=True))
    return [
        Row(phase, "bare, behind it", bare, "limit"),
        Row(phase, "behind its outputs", behind, "ours", f"outputs once: {1000 * once:.1f} ms"),
        Row(phase, "through it", through, "obvious"),
    ]


def _endless(feed: Feed) -> Iterator[tuple[Tensor, Tensor]]:
    epoch = 0
    while True:
        yield from feed.epoch(epoch)
        epoch += 1


def _obvious(material: Material, run: Run, batches: int) -> float:
    """Seconds per clip: half of a batch clean and half augmented, as in an epoch."""
    net = backbones.build(run.backbone, run.classes, seed=0, shape=run.shape).to(material.device).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=run.recipe.lr, weight_decay=run.recipe.weight_decay)
    rng, dataset, picture = np.random.default_rng(0), material.dataset, run.picture
    assert picture.rate is not None

    def one(clip_row: int, augment: bool) -> np.ndarray:
        samples, rate = read(dataset.clips[clip_row].path, picture.rate)
        return obvious_pictures(obvious_copy(samples, rate, draw(rng)) if augment else samples, picture)

    def step() -> None:
        rows = rng.choice(len(dataset.clips), run.recipe.batch)
        values = np.stack([one(row, bool(i % 2)) for i, row in enumerate(rows)])
        optimizer.zero_grad()
        labels = torch.from_numpy(dataset.labels[rows]).to(material.device)
        functional.cross_entropy(net(torch.from_numpy(values).to(material.device)), labels).backward()
        optimizer.step()
        wait(material.device)

    step()
    return statistics.median(clock(step) for _ in range(batches)) / run.recipe.batch


def _epoch(run: Run, state: State, feed: Feed) -> tuple[float, float]:
    """Seconds per training clip of an epoch as it is in a run, and of the held-out clips' bare forward passes."""
    split = run.split(feed.store.dataset)
    items = feed.epoch_clips * (1 + augmented(run))
    batch = feed.pictures(split.test[:EVALUATION_BATCH])

    def forward() -> None:
        with torch.inference_mode(), computing(feed.device, run.precision):
            state.net(batch)
        wait(feed.device)

    with tempfile.TemporaryDirectory() as runs:
        folder = RunFolder(Path(runs))

        def epoch() -> None:
            run_epoch(state, feed, run, split.test, 1.0, Progress("", 0))
            save_checkpoint(state, folder)

        seconds = clock(epoch)
    state.net.eval()
    passes = statistics.median(clock(forward) for _ in range(3)) / len(batch) * len(split.test)
    return seconds / items, passes / items
