"""The predictions of a finished run for new sounds."""

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
from tla.options import CONVERGED, Picture, State
from tla.runs.feed import EVALUATION_BATCH, network_input
from tla.runs.folder import FinishedRun
from tla.runs.run import Run
from tla.sound import audio, spectrograms


@dataclass(frozen=True)
class Listener:
    """A trained network on its device, with what it takes to give it pictures as in training."""

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
        outputs = []
        with torch.inference_mode(), computing(self.device, self.run.precision):
            for start in range(0, len(pictures), EVALUATION_BATCH):
                outputs.append(self.net(self.batch(pictures[start : start + EVALUATION_BATCH])).float().cpu().numpy())
        return np.concatenate(outputs)

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        """Softmax of the logits, averaged over pictures: (classes,)."""
        return functional.softmax(torch.from_numpy(self.logits(pictures)), dim=1).mean(dim=0).numpy()


def load(folder: FinishedRun, device: torch.device) -> Listener:
    """The network of a finished run."""
    run = folder.run
    shape_only = replace(run.transfer, pretrained_upto="none", rest="random", parts="all")  # its weights come from the run
    net = transfer.assemble(run.backbone, run.classes, shape_only, None, seed=0)
    weights.into(net.net, folder.trained_weights())
    net = net.to(device).to(memory_format=torch.channels_last).eval()
    return Listener(run, folder.classes, net, device, folder.standard, folder.result.training.state)


@dataclass(frozen=True)
class Sound:
    """A sound, and its pictures as a network takes them."""

    samples: np.ndarray
    """Mono, at the pictures' rate; a file shorter than the analysis window is followed by silence up to it."""
    pictures: np.ndarray
    """float16 (windows, 3, mels, frames)."""
    spans: list[tuple[int, int]]
    """The samples that each picture shows, from its first column to its last."""


def sound(path: Path, picture: Picture) -> Sound:
    """A sound file of any format and length, in pictures."""
    return of_samples(audio.read(path, spectrograms.resolved(picture)[0])[0], picture)


def of_samples(samples: np.ndarray, picture: Picture) -> Sound:
    """Mono samples at the pictures' rate, in pictures: what is longer than the nominal length is cut.

    They are rounded to half precision, as in the store, so that a clip of the data set gives the same picture as in training.
    """
    rate, seconds, _ = spectrograms.resolved(picture)
    samples = np.pad(samples, (0, max(0, spectrograms.shortest(picture) - len(samples))))
    cuts = audio.windows(len(samples), rate, seconds)
    made = [spectrograms.picture(samples[start:stop], picture) for start, stop in cuts]
    shown = [spectrograms.span(stop - start, picture) for start, stop in cuts]
    spans = [(start + first, start + last) for (start, _), (first, last) in zip(cuts, shown, strict=True)]
    return Sound(samples, np.stack(made).astype(np.float16), spans)


def pictures(path: Path, picture: Picture) -> np.ndarray:
    """The pictures (windows, 3, mels, frames) of a sound file."""
    return sound(path, picture).pictures


def classify(paths: list[Path], folders: list[FinishedRun], device: torch.device) -> tuple[pd.DataFrame, dict[Path, str]]:
    """Mean probabilities over the runs: a row per file (its path, then a column per class); and what could not be read."""
    listeners = [load(folder, device) for folder in folders]
    classes = listeners[0].classes
    for folder, listener in zip(folders, listeners, strict=True):
        if listener.classes != classes:
            raise UserError(f"runs {folders[0].key} and {folder.key} have different classes; average runs on one data set")
    missing = {path: "there is no such file or folder" for path in paths if not path.exists()}
    files = [file for path in paths if path not in missing for file in audio.files(path)]
    rows, wrong = [], dict(missing)
    with progress("classifying", len(files), "files") as watch:
        for file in files:
            try:
                each = [listener.probabilities(pictures(file, listener.run.picture)) for listener in listeners]
            except audio.BadClip as error:
                wrong[file] = error.wrong
            else:
                rows.append({"file": str(file), **dict(zip(classes, np.mean(each, axis=0).tolist(), strict=True))})
            watch.advance()
    return pd.DataFrame(rows, columns=["file", *classes]), wrong
