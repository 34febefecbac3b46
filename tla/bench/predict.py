"""Prediction of many files beside the obvious way: one file after the other, a pass of the network for each.

The limit is the bare network on batches of pictures that lie ready, and the making of these pictures. The ways take turns batch
by batch on one thread.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from tla.bench.pictures import obvious_pictures
from tla.bench.rows import Row, clock, wait
from tla.launch.material import Material
from tla.launch.study import list_runs
from tla.nets.arithmetic import computing
from tla.runs.begin import begin
from tla.runs.device import cpu_threads
from tla.runs.infer import LoadedNetwork, batch_size, predict
from tla.sound import windowed
from tla.sound.audio import read
from tla.sound.spectrograms import resolved


def bench_predict(material: Material, *, batches: int) -> list[Row]:
    """Seconds per clip of a prediction, from files to probabilities."""
    run, device, size = list_runs(material)[0], material.device, batch_size(material.device)
    net = begin(run, material.pretrained).to(device).to(memory_format=torch.channels_last).eval()
    network = LoadedNetwork(run, list(material.dataset.classes), net, device, None)
    files = [clip.path for clip in material.dataset.clips][: size * (batches + 1)]
    with torch.inference_mode(), cpu_threads(1):
        turns = [_turn(files[start : start + size], network) for start in range(0, len(files), size)][1:]  # the first warms up
    seconds = {name: sum(turn[name] for turn in turns) / (len(files) - size) for name in turns[0]}
    limit, note = seconds["pictures"] + seconds["network"], f"pictures {1000 * seconds['pictures']:.3g} ms of it"
    return [
        Row("prediction", "a file after the other, librosa, float32", seconds["obvious"], "obvious"),
        Row("prediction", "ours", seconds["ours"], "ours", f"batches of {size}, one thread"),
        Row("prediction", "bare network and pictures", limit, "limit", note),
    ]


def _turn(files: Sequence[Path], network: LoadedNetwork) -> dict[str, float]:
    """Seconds of each way for some files."""
    options, net, device = network.run.picture, network.net, network.device
    made: list[np.ndarray] = []
    pictures = clock(lambda: made.extend(windowed.pictures(file, options) for file in files))
    batch = network.batch(np.concatenate(made))

    def bare() -> None:
        with computing(device, network.run.precision):
            net(batch)
        wait(device)

    def obvious() -> None:
        for file in files:
            picture = obvious_pictures(read(file, resolved(options)[0])[0], options)
            net(torch.from_numpy(picture[None]).float().to(device))
        wait(device)

    ours = clock(lambda: list(predict(files, [network])))
    return {"pictures": pictures, "network": clock(bare), "ours": ours, "obvious": clock(obvious)}
