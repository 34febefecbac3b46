"""A finished run hears new sounds."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from tla.console import progress
from tla.errors import UserError
from tla.nets import transfer, weights
from tla.nets.stages import StagedNet
from tla.options import Picture
from tla.runs.feed import EVALUATION_BATCH, autocast
from tla.runs.folder import RunFolder
from tla.runs.run import Run
from tla.sound import audio, spectrograms


@dataclass(frozen=True)
class Listener:
    """A trained network on its device, with what it needs to hear a picture as it did in training."""

    run: Run
    classes: list[str]
    net: StagedNet
    device: torch.device
    standard: tuple[np.ndarray, np.ndarray] | None

    def logits(self, pictures: np.ndarray) -> np.ndarray:
        """Logits (pictures, classes) of pictures (pictures, 3, mels, frames)."""
        outputs = []
        with torch.inference_mode(), autocast(self.device, self.run.precision):
            for start in range(0, len(pictures), EVALUATION_BATCH):
                values = pictures[start : start + EVALUATION_BATCH].astype(np.float32)
                if self.standard is not None:
                    values = (values - self.standard[0]) / self.standard[1]
                batch = torch.from_numpy(values).to(self.device).contiguous(memory_format=torch.channels_last)
                outputs.append(self.net(batch).float().cpu().numpy())
        return np.concatenate(outputs)

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        """Softmax of the logits, averaged over pictures: (classes,)."""
        return functional.softmax(torch.from_numpy(self.logits(pictures)), dim=1).mean(dim=0).numpy()


def load(folder: RunFolder, device: torch.device) -> Listener:
    """The network of a finished run."""
    run = folder.run
    shape_only = replace(run.transfer, pretrained_upto="none", rest="random", parts="all")  # its weights come from the run
    net = transfer.assemble(run.backbone, run.classes, shape_only, None, seed=0)
    net.net.load_state_dict(weights.read(folder.weights)[0])
    net = net.to(device).to(memory_format=torch.channels_last).eval()
    return Listener(run, folder.classes, net, device, folder.standard)


def pictures(path: Path, picture: Picture) -> np.ndarray:
    """The pictures (windows, 3, mels, frames) of a sound file of any format and length.

    A file shorter than the analysis window is padded with silence to it; one longer than the nominal length is cut.
    Rounded to half precision, as in the store, so that a clip from the data set is heard as it was in training.
    """
    if picture.rate is None or picture.seconds is None:
        raise ValueError("the picture's options are not resolved")
    samples, rate = audio.read(path, picture.rate)
    shortest = spectrograms.shortest(picture)
    samples = np.pad(samples, (0, max(0, shortest - len(samples))))
    cut = audio.windows(samples, rate, picture.seconds)
    return np.stack([spectrograms.picture(window, picture) for window in cut]).astype(np.float16)


def hear(paths: list[Path], folders: list[RunFolder], device: torch.device) -> tuple[pd.DataFrame, dict[Path, str]]:
    """Mean probabilities over the runs: a row per file (its path, then a column per class); and what could not be heard."""
    listeners = [load(folder, device) for folder in folders]
    classes = listeners[0].classes
    for folder, listener in zip(folders, listeners, strict=True):
        if listener.classes != classes:
            raise UserError(f"runs {folders[0].key} and {folder.key} know different classes; average runs on one data set")
    missing = {path: "there is no such file or folder" for path in paths if not path.exists()}
    files = [file for path in paths if path not in missing for file in audio.files(path)]
    rows, wrong = [], dict(missing)
    with progress("listening", len(files)) as watch:
        for file in files:
            try:
                heard = [listener.probabilities(pictures(file, listener.run.picture)) for listener in listeners]
            except audio.BadClip as error:
                wrong[file] = error.wrong
            else:
                rows.append({"file": str(file), **dict(zip(classes, np.mean(heard, axis=0).tolist(), strict=True))})
            watch.advance()
    return pd.DataFrame(rows, columns=["file", *classes]), wrong
