"""The predictions of a finished run for new sounds."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from tla.console import progress
from tla.errors import UserError
from tla.nets import transfer, weights
from tla.nets.arithmetic import computing
from tla.nets.stages import StagedNet
from tla.options import CONVERGED, State
from tla.runs.device import cpu_threads
from tla.runs.feed import EVALUATION_BATCH, network_input
from tla.runs.folder import FinishedRun
from tla.runs.run import Run
from tla.sound import audio
from tla.sound.windowed import Pictures, pictures_of

MANY_FILES = 40  # fewer are done before worker processes have started
CPU_BATCH = 8  # the activations of more do not stay in the cache: EfficientNet-Lite0 takes twice as long for 64


@dataclass(frozen=True)
class LoadedNetwork:
    """A network on its device, with what it takes to give it pictures as in training."""

    run: Run
    classes: list[str]
    net: StagedNet
    device: torch.device
    standard: tuple[np.ndarray, np.ndarray] | None
    training: State = CONVERGED
    """Whether the run was trained to its end."""

    def batch(self, pictures: np.ndarray) -> Tensor:
        """Pictures (pictures, 3, mels, frames) as the network takes them."""
        standard = None if self.standard is None else [torch.from_numpy(part).to(self.device) for part in self.standard]
        return network_input(torch.from_numpy(np.array(pictures, dtype=np.float32)).to(self.device), standard)

    def logits(self, pictures: np.ndarray) -> np.ndarray:
        """Logits (pictures, classes) of pictures (pictures, 3, mels, frames)."""
        outputs, size = [], batch_size(self.device)
        with torch.inference_mode(), computing(self.device, self.run.precision):
            for start in range(0, len(pictures), size):
                outputs.append(self.net(self.batch(pictures[start : start + size])).float().cpu().numpy())
        return np.concatenate(outputs)

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        """Softmax of the logits, averaged over pictures: (classes,)."""
        return functional.softmax(torch.from_numpy(self.logits(pictures)), dim=1).mean(dim=0).numpy()


def batch_size(device: torch.device) -> int:
    """How many pictures pass through a network at once."""
    return CPU_BATCH if device.type == "cpu" else EVALUATION_BATCH


def load(folder: FinishedRun, device: torch.device) -> LoadedNetwork:
    """The network of a finished run."""
    run = folder.run
    shape_only = replace(run.transfer, pretrained_upto="none", rest="random", parts="all")  # its weights come from the run
    net = transfer.assemble(run.backbone, run.classes, shape_only, None, seed=0)
    weights.into(net.net, folder.trained_weights())
    net = net.to(device).to(memory_format=torch.channels_last).eval()
    return LoadedNetwork(run, folder.classes, net, device, folder.standard, folder.result.training.state)


Made = tuple[Path, Pictures | audio.BadClip]  # a file and its pictures, or what is wrong with it


def classify(
    paths: Sequence[Path], folders: Sequence[FinishedRun], device: torch.device, *, threads: int | None = None
) -> tuple[pd.DataFrame, dict[Path, str]]:
    """Mean probabilities over the runs: a row per file (its path, then a column per class); and what could not be read."""
    networks = [load(folder, device) for folder in folders]
    classes = networks[0].classes
    for folder, network in zip(folders, networks, strict=True):
        if network.classes != classes:
            raise UserError(f"runs {folders[0].key} and {folder.key} have different classes; average runs on one data set")
    wrong = {path: "there is no such file or folder" for path in paths if not path.exists()}
    files = [file for path in paths if path not in wrong for file in audio.files(path)]
    rows = []
    with progress("classifying", len(files), "files") as watch:
        for file, found in predict(files, networks, threads=threads or torch.get_num_threads()):
            if isinstance(found, audio.BadClip):
                wrong[file] = found.wrong
            else:
                rows.append({"file": str(file), **dict(zip(classes, found.tolist(), strict=True))})
            watch.advance()
    return pd.DataFrame(rows, columns=["file", *classes]), wrong


def predict(
    files: Sequence[Path], networks: Sequence[LoadedNetwork], *, threads: int = 1
) -> Iterator[tuple[Path, np.ndarray | audio.BadClip]]:
    """Mean probabilities (classes,) over networks and windows for each file in turn, or what is wrong with it.

    Pictures of several files pass through the networks at once; networks that take the same pictures share them. Of many files
    they are made by worker processes, which share the threads with the networks: more of both than cores would wait in turns.
    """
    options = tuple(dict.fromkeys(network.run.picture for network in networks))
    workers = (threads + 1) // 2 if threads > 1 and len(files) >= MANY_FILES else 0
    made = zip(files, pictures_of(files, options, workers), strict=True)
    for group in _groups(made, batch_size(networks[0].device)):
        good = [made for _, made in group if not isinstance(made, audio.BadClip)]
        with cpu_threads(max(1, threads - workers)):
            odds = iter(np.mean([_probabilities(network, good) for network in networks], axis=0) if good else ())
        yield from ((file, made if isinstance(made, audio.BadClip) else next(odds)) for file, made in group)


def _groups(made: Iterable[Made], size: int) -> Iterator[list[Made]]:
    """Files in groups that have `size` pictures together, or more: a long file has many."""
    group: list[Made] = []
    count = 0
    for file, found in made:
        group.append((file, found))
        count += 0 if isinstance(found, audio.BadClip) else len(next(iter(found.values())))
        if count >= size:
            yield group
            group, count = [], 0
    yield group


def _probabilities(network: LoadedNetwork, made: Sequence[Pictures]) -> np.ndarray:
    """Mean probabilities (files, classes) over the windows of each file."""
    mine = [pictures[network.run.picture] for pictures in made]
    odds = functional.softmax(torch.from_numpy(network.logits(np.concatenate(mine))), dim=1).numpy()
    ends = np.cumsum([len(windows) for windows in mine])[:-1]
    return np.stack([windows.mean(axis=0) for windows in np.split(odds, ends)])
