"""What grows with what: time and memory of each phase against clips, classes, layers, members and runs.

Sounds of a quarter of a second and a small network, so that a phase's own cost shows and not the network's. Every point is
measured in a process of its own, which prepares unmeasured; time is the quicker of two turns, memory is how far the process's
peak rises above what it held before the first.
"""

import csv
import io
import itertools
import tempfile
import wave
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tla.bench.memory import forget_peak, held_gb
from tla.bench.rows import clock
from tla.console import progress
from tla.options import RANDOM, Augment, Picture, Place, Recipe, Study
from tla.sound.workers import crew

RATE, SAMPLES = 8000, 2000
FOLDS = 5
CLIPS, CLASSES, MEMBERS, LAYERS = 400, 4, 5, 4  # where they are not what grows
STEPS = 16

Work = Callable[[], object]


def bench_growth() -> pd.DataFrame:
    """A row per phase, what grows, and size: seconds and MB."""
    points = [(curve, size) for curve in CURVES for size in curve.sizes]
    rows = []
    with progress("measuring", len(points), "points") as watch:
        for curve, size in points:
            with crew(1) as pool:
                seconds, mb = pool.submit(partial(_measured, CURVES.index(curve)), size).result()
            rows.append({"phase": curve.phase, "grows": curve.grows, "size": size, "seconds": seconds, "mb": mb})
            watch.advance()
    return pd.DataFrame(rows)


def sounds(folder: Path, clips: int, classes: int = 10) -> Path:
    """A list of so many clips of a quarter of a second, in five folds."""
    noise = np.random.default_rng(0).integers(-3000, 3000, SAMPLES + clips, dtype=np.int16)
    rows = []
    for i in range(clips):
        path = folder / f"{i // 1000:03}" / f"{i:06}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        with wave.open(file, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(RATE)
            sound.writeframes(noise[i : i + SAMPLES].tobytes())
        path.write_bytes(file.getvalue())
        rows.append((str(path), f"class {i % classes}", i // classes % FOLDS + 1))
    with (folder / "list.csv").open("w", newline="") as table:
        csv.writer(table).writerows([("path", "label", "fold"), *rows])
    return folder / "list.csv"


# The phases: each makes ready what it needs in a folder, and returns the work that is measured


def pictures(folder: Path, *, clips: int) -> Work:
    from tla.sound import clips as sets
    from tla.sound.spectrograms import resolve
    from tla.sound.store import open_store

    dataset, fresh = sets.load(str(sounds(folder, clips)), folder), itertools.count()
    options = resolve(PICTURE, rate=dataset.rate, seconds=dataset.seconds, frames=dataset.frames)
    _ = dataset.contents
    return lambda: open_store(dataset, options, Augment(kind="none"), folder / f"store-{next(fresh)}", workers=1)


def epoch(folder: Path, *, clips: int = CLIPS, classes: int = CLASSES) -> Work:
    from tla.bench.train import ready
    from tla.console import Progress
    from tla.launch.study import list_runs
    from tla.runs.fit import run_epoch, save_checkpoint
    from tla.runs.folder import RunFolder

    material = _material(folder, clips, classes)
    run = list_runs(material)[0]
    state, feed = ready(material, run)
    test, into = material.dataset.split(run.fold, run.protocol).test, RunFolder(folder)

    def one() -> None:
        run_epoch(state, feed, run, test, 1.0, Progress("", 0))
        save_checkpoint(state, into)

    return one


def similarity(folder: Path, *, clips: int = CLIPS, layers: int = LAYERS) -> Work:
    from tla.bench.similarity import Sums, pair_of
    from tla.launch.study import list_runs
    from tla.nets import backbones
    from tla.similarity.methods import svcca
    from tla.similarity.stream import BATCH

    material = _material(folder, clips, CLASSES)
    run = list_runs(material)[0]
    net = backbones.build(run.backbone, run.classes, seed=0, shape=run.shape)
    pair = pair_of(run, net, material.store.clean.shape[1:], material.device, "all")
    pair = replace(pair, couples=pair.couples[-layers:])

    def compare() -> None:
        sums = Sums(pair)
        for start in range(0, clips, BATCH):
            pair.gather(material.store.clean[start : start + BATCH], sums.take)
        for moments in sums.values():
            svcca(moments, forced="allow")

    return compare


def attribution(folder: Path, *, clips: int) -> Work:
    from tla.attribution.explainer import Explainer
    from tla.attribution.starts import baselines
    from tla.attribution.targets import Target
    from tla.bench.attribution import untrained

    material = _material(folder, max(clips, CLIPS), CLASSES)
    network, _ = untrained(material)
    explainer, silence = Explainer(network.net, network.standard), baselines("silence", material.store.clean.shape[1:])
    chosen = [np.asarray(material.store.clean[row]) for row in range(clips)]
    return lambda: [explainer.attribute(picture, Target(0), silence, steps=STEPS) for picture in chosen]


def ensemble(folder: Path, *, clips: int = CLIPS, classes: int = CLASSES, members: int = MEMBERS) -> Work:
    from tla.ensembles import measuring as ensembles

    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((members, clips, classes)), rng.integers(0, classes, clips)
    one = ensembles.Members(tuple(range(members)), logits, labels, np.arange(clips), np.ones(clips, dtype=int))
    return lambda: (ensembles.scores(one), ensembles.subsets(one), ensembles.pairs(one), ensembles.missed(one))


def report(folder: Path, *, runs: int) -> Work:
    from tla.launch.study import list_runs
    from tla.nets.transfer import canonical
    from tla.options import Transfer
    from tla.paper.report import gather
    from tla.runs.folder import Predictions, Result, RunFolder, Score
    from tla.runs.schedule import Training
    from tla.runs.tables import load_clips

    first = list_runs(_material(folder, CLIPS, CLASSES))[0]
    rng, labels = np.random.default_rng(0), np.arange(CLIPS // FOLDS) % CLASSES
    names = np.array([str(i) for i in range(len(labels))])
    for seed in range(runs):
        plan, weights = canonical(Transfer(), ("imagenet:0", RANDOM)[seed % 2])
        run = replace(first, seed=seed // 2, transfer=plan, weights=weights)
        logits, one = rng.standard_normal((len(labels), CLASSES)).astype(np.float32), RunFolder(folder / "runs" / run.key)
        one.describe(run, [f"class {i}" for i in range(CLASSES)], {})
        one.write_log([{"epoch": 1, "loss": 1.0, "accuracy": 0.5}])
        one.write_predictions(Predictions(names, labels, names, {"best": logits, "last": logits}))
        score = Score(float((logits.argmax(1) == labels).mean()), 0.5)
        one.finish(
            Result(
                scores={"best": score, "last": score},
                best_epoch=1,
                epochs=1,
                training=Training("converged", 0.01, 0.01, 0.0),
                clips=len(labels),
                parameters=1,
                trainable=1,
                multiply_adds=1,
                seconds_per_epoch=1.0,
            )
        )
    return lambda: (gather(folder / "runs", folder), load_clips(folder / "runs"))


@dataclass(frozen=True)
class Curve:
    """A phase, and what of it grows."""

    phase: str
    grows: str
    sizes: tuple[int, ...]
    ready: Callable[..., Work]


CURVES = (
    Curve("pictures", "clips", (500, 1000, 2000, 4000), pictures),
    Curve("epoch", "clips", (200, 400, 800, 1600), epoch),
    Curve("epoch", "classes", (2, 8, 32, 80), epoch),
    Curve("similarity", "clips", (100, 200, 400, 800), similarity),
    Curve("similarity", "layers", (1, 2, 4, 8), similarity),
    Curve("attribution", "clips", (4, 8, 16, 32), attribution),
    Curve("ensemble", "clips", (400, 800, 1600, 3200), ensemble),
    Curve("ensemble", "classes", (2, 8, 32, 128), ensemble),
    Curve("ensemble", "members", (2, 4, 6, 8), ensemble),
    Curve("report", "runs", (8, 16, 32, 64), report),
)
PICTURE = Picture(mels=32, frames=40)


def _measured(index: int, size: int) -> tuple[float, float]:
    """Seconds and MB of one point of a curve."""
    import torch

    torch.set_num_threads(1)
    curve = CURVES[index]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words: dict[str, Any] = {curve.grows: size}
        work = curve.ready(folder, **words)
        device = torch.device("cpu")
        before = held_gb(device)
        forget_peak(device)
        seconds = min(clock(work), clock(work))
        peak = held_gb(device, peak=True)
    return seconds, float("nan") if peak is None or before is None else 1000 * (peak - before)


def _material(folder: Path, clips: int, classes: int) -> Any:
    """A study of so many clips with the small network, from random weights."""
    from tla.launch.study import prepare

    study = Study(
        data=str(sounds(folder, clips, classes)),
        backbone="densenet_tiny",
        weights=RANDOM,
        folds=(1,),
        precision="fp32",
        picture=PICTURE,
        augment=Augment(kind="none"),
        recipe=Recipe(epochs=2, lr=1e-3),
    )
    return prepare(study, Place(data_root=str(folder), runs=str(folder / "runs"), figures=str(folder), device="cpu"))
