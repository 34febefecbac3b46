"""Training: the loop as it is, beside the bare network (the limit) and beside the obvious way.

bare      forward and backward of the network alone, on a batch that lies ready, in the run's precision and layout
ours      the training loop: pictures from the store, loss, optimizer, progress
epoch     the same with scoring the held-out clips and writing the checkpoint, spread over the epoch's clips
obvious   what a first script does: float32, contiguous, each clip decoded, stretched, shifted and pictured by librosa each
          time it is used

The first two take turns batch by batch, so that a machine that slows down slows them alike.
"""

import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tla.bench.pictures import obvious_copy, obvious_pictures
from tla.bench.rows import Row, clock, wait
from tla.console import Progress, progress
from tla.nets import backbones, transfer
from tla.runs.feed import Feed, augmented, autocast
from tla.runs.fit import State, make_optimizer, run_epoch, save_checkpoint, train_epoch
from tla.runs.folder import RunFolder
from tla.runs.launch import Material, list_runs
from tla.runs.run import Run
from tla.sound.audio import read
from tla.sound.augment import draw


def bench_train(material: Material, *, batches: int) -> list[Row]:
    """Seconds per training clip of each way, over `batches` batches (the median), and of a whole epoch."""
    run = replace(list_runs(material)[0], fold=material.dataset.folds[0])
    feed = Feed(material.store, run, material.dataset.split(run.fold, run.protocol).train, material.device)
    pretrained = material.pretrained if run.weights != "random" else None
    net = transfer.assemble(run.backbone, run.classes, run.transfer, pretrained, seed=0)
    net = net.to(material.device).to(memory_format=torch.channels_last)
    with progress("measuring", 2 * batches + 3) as watch:
        state = State(net, make_optimizer(run, net))
        bare, ours = _in_turns(run, state, feed, batches, watch)
        slow = _obvious(material, run, max(2, batches // 3))
        watch.advance()
        epoch = _epoch(run, state, feed)
        watch.advance()
    what = f"{run.backbone}, {run.precision}, batch {run.recipe.batch}, {material.device}"
    return [
        Row("bare forward and backward", bare, 1.0, what),
        Row("training loop", ours, ours / bare, f"median of {batches} batches, in turns with the bare network"),
        Row("whole epoch", epoch, epoch / bare, "held-out clips and checkpoint included; one epoch"),
        Row("obvious way", slow, slow / bare, "float32, contiguous, librosa for each clip each time"),
        Row("obvious way / training loop", slow, slow / ours, "how many times faster the training loop is"),
    ]


def _in_turns(run: Run, state: State, feed: Feed, batches: int, watch: Progress) -> tuple[float, float]:
    net, size = state.net, run.recipe.batch
    pictures = feed.pictures(feed.train[:size])
    labels = feed.labels[torch.from_numpy(feed.train[:size]).to(feed.device)]

    def forward_backward() -> None:
        with autocast(feed.device, run.precision):
            logits = net(pictures)
        functional.cross_entropy(logits.float(), labels).backward()
        net.zero_grad(set_to_none=True)
        wait(feed.device)

    source = _endless(feed)
    seen: list[int] = []

    def train_one() -> None:
        batch = next(source)
        seen.append(len(batch[1]))
        train_epoch(state, [batch], run, 0, Progress("", 0))
        wait(feed.device)

    times: dict[str, list[float]] = {"bare": [], "ours": []}
    net.train()
    for turn in range(batches + 1):
        bare, ours = clock(forward_backward), clock(train_one)
        if turn:  # the first turn warms up
            times["bare"].append(bare / len(labels))
            times["ours"].append(ours / seen[-1])
        watch.advance(2)
    return statistics.median(times["bare"]), statistics.median(times["ours"])


def _endless(feed: Feed) -> Iterator[tuple[Tensor, Tensor]]:
    epoch = 0
    while True:
        yield from feed.epoch(epoch)
        epoch += 1


def _obvious(material: Material, run: Run, batches: int) -> float:
    """Seconds per clip: half of a batch clean and half augmented, as in an epoch."""
    net = backbones.build(run.backbone, run.classes, seed=0).to(material.device).train()
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


def _epoch(run: Run, state: State, feed: Feed) -> float:
    """Seconds per training clip of an epoch as it is in a run."""
    split = feed.store.dataset.split(run.fold, run.protocol)
    with tempfile.TemporaryDirectory() as runs:
        folder = RunFolder(Path(runs))

        def epoch() -> None:
            run_epoch(state, feed, run, split.test, 0, Progress("", 0))
            save_checkpoint(state, folder)

        return clock(epoch) / (len(split.train) * (1 + augmented(run)))
