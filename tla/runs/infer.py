"""The predictions of a finished run for new sounds: of a file, of samples in memory, of many files.

    import tla

    network = tla.load_network("3f9a")  # the run whose key begins so; without a name, the network that comes with tla
    network("dog.wav"), network(samples, 44100)  # logits, a row per window of a long sound
    dict(zip(network.classes, network.probabilities("dog.wav")))
    network.export("net.onnx")

Where a sound is longer than the clips of training, its probabilities are the means over its windows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from tla.console import progress
from tla.errors import UserError
from tla.nets import weights
from tla.nets.arithmetic import computing
from tla.nets.cutting import CUT_HEAD
from tla.nets.stages import StagedNet
from tla.options import CONVERGED, State, Transfer
from tla.runs import folder as on_disk
from tla.runs import packaged
from tla.runs.begin import begin
from tla.runs.device import choose_device, cpu_threads
from tla.runs.feed import EVALUATION_BATCH, network_input
from tla.runs.folder import FinishedRun
from tla.runs.run import Run
from tla.sound import audio, windowed
from tla.sound.windowed import Pictures, pictures_of

if TYPE_CHECKING:
    from tla.runs.onnx_export import Exported

File: TypeAlias = str | Path
Sound: TypeAlias = File | np.ndarray | Tensor  # a sound file; samples, which come with a rate; or pictures, made before

MANY_FILES = 40  # fewer are done before worker processes have started
CPU_BATCH = 8  # the activations of more do not stay in the cache: EfficientNet-Lite0 takes twice as long for 64


@dataclass(frozen=True, repr=False)
class LoadedNetwork:
    """A trained network on its device, in inference mode, with what it takes to give it sounds as in training.

    A sound is the path of a file in any format, or samples and their rate: floats, of which 1.0 is full scale, as array or
    tensor, (samples,) or (channels, samples). What is longer than one and a half clips of training is cut into windows of
    their length.
    """

    run: Run
    classes: list[str]
    """Their names, in the order of the logits."""
    net: StagedNet
    """It runs by stages, and takes what `preprocess` gives."""
    device: torch.device
    standard: tuple[np.ndarray, np.ndarray] | None
    training: State = CONVERGED
    """Whether the run was trained to its end."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a word is a sequence, too, and one file
        self, sound: Sound, rate: float | None = None
    ) -> np.ndarray: ...
    @overload
    def __call__(self, sound: Sequence[File]) -> list[np.ndarray]: ...
    def __call__(self, sound: Sound | Sequence[File], rate: float | None = None) -> np.ndarray | list[np.ndarray]:
        """Logits (windows, classes) of a sound; of several files, a list of these."""
        if (files := _several(sound, rate)) is not None:
            return [self.logits(self.pictures(file)) for file in files]
        return self.logits(self.pictures(sound, rate))

    def probabilities(self, sound: Sound | Sequence[File], rate: float | None = None) -> np.ndarray:
        """Softmax of the logits, averaged over windows, as `tla.predict` has it (classes,); of several files (files, classes).

        The pictures of many files are made by processes of their own.
        """
        if (files := _several(sound, rate)) is not None:
            return np.stack([_good(found) for _, found in predict(files, [self], threads=torch.get_num_threads())])
        logits = torch.from_numpy(self.logits(self.pictures(sound, rate)))
        return functional.softmax(logits, dim=1).mean(dim=0).numpy()

    def preprocess(self, sound: Sound, rate: float | None = None) -> Tensor:
        """What `net` takes for a sound: its pictures (windows, 3, mels, frames), standardised if the recipe asks for it."""
        return self.batch(self.pictures(sound, rate))

    def pictures(self, sound: Any, rate: float | None = None) -> np.ndarray:
        """The pictures of a sound before they are standardised, float16 (windows, 3, mels, frames); pictures as they are."""
        if isinstance(sound, str | Path):
            if rate is not None:
                raise UserError(f"{sound}: a file has a rate of its own; leave out the {rate}")
            return windowed.pictures(Path(sound), self.run.picture)
        if rate is not None:
            return windowed.in_memory(sound, rate, self.run.picture)
        if np.ndim(sound) != 4:
            raise UserError(
                f"got an array of shape {tuple(np.shape(sound))} and no rate: samples come with theirs, as in "
                "network(samples, 44100), and pictures are (windows, 3, mels, frames)"
            )
        return sound.cpu().numpy() if isinstance(sound, Tensor) else sound

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

    @property
    def plain(self) -> nn.Module:
        """The network as torchvision or timm makes it, with its tensors under their original names."""
        if self.net.layout.classifier == (CUT_HEAD,):
            raise UserError(
                f"run {self.run.key} is cut behind {self.run.transfer.kept_upto}, so there is no plain {self.run.backbone}: "
                "`network.net` is what there is"
            )
        return self.net.net

    def export(self, path: File, *, files: Sequence[File] = (), overwrite: bool = False) -> "Exported":
        """Write the network as ONNX, and hold that against torch; what it does not compute alike is not kept.

        Its input is what `tla.sound.picture` makes of a sound: pictures that are not standardised. It computes in float32.

        Args:
            path: The file to be written, as in net.onnx.
            files: Sounds to hold it against torch on; by default synthetic ones.
            overwrite: Replace a file that is there.
        """
        from tla.runs import onnx_export

        found = [self.pictures(file) for file in files]
        pictures = np.concatenate(found) if found else onnx_export.synthetic(self.run.picture)
        return onnx_export.export(self.net, self.standard, self.run, self.classes, pictures, Path(path), overwrite=overwrite)

    def __repr__(self) -> str:
        about = f"{self.run.backbone} trained on {self.run.data}, on {self.device}"
        return f"LoadedNetwork({self.run.key}: {about}; classes {', '.join(self.classes)})"


def _several(sound: Any, rate: float | None) -> list[Path] | None:
    """The files, where several are given; None where it is one sound."""
    if rate is not None or isinstance(sound, str | Path | Tensor) or np.ndim(sound) != 1:
        return None
    if not len(sound):
        raise UserError("no sounds are given")
    return [Path(each) for each in sound] if all(isinstance(each, str | Path) for each in sound) else None


def _good(found: np.ndarray | audio.BadClip) -> np.ndarray:
    if isinstance(found, audio.BadClip):
        raise found
    return found


def batch_size(device: torch.device) -> int:
    """How many pictures pass through a network at once."""
    return CPU_BATCH if device.type == "cpu" else EVALUATION_BATCH


def load_network(key: File = packaged.NAME, runs: File = "runs", *, device: str = "auto") -> LoadedNetwork:
    """The network of a finished run, ready for sounds.

        network = tla.load_network()  # the one that comes with tla
        network.probabilities("dog.wav")

    Args:
        key: The run, by the beginning of its key, or by the path of its folder; packaged is the network that comes with tla.
        runs: Folder for runs.
        device: cpu, cuda, cuda:1; auto takes the first CUDA device, else the CPU.
    """
    if isinstance(key, Path) or len(Path(key).parts) > 1:
        found = on_disk.load(Path(key).expanduser().resolve())
    else:
        found = packaged.load() if key == packaged.NAME else on_disk.find(Path(runs), key)
    return load(found, choose_device(device))


def load(folder: FinishedRun, device: torch.device) -> LoadedNetwork:
    """The network of a finished run."""
    run = folder.run
    shape_only = replace(run.transfer, pretrained_upto="none", rest="random", parts="all")  # its weights come from the run
    net = begin(run, None, folder.standard, transfer=shape_only, seed=0)
    weights.into(net.net, folder.trained_weights())
    return _ready(net, folder, device)


def load_start(
    folder: FinishedRun, device: torch.device, pretrained: weights.Pretrained | None, plan: Transfer | None = None
) -> LoadedNetwork:
    """The network that a finished run's training began with, from these weights; with a plan, as that would have begun it."""
    return _ready(begin(folder.run, pretrained, folder.standard, transfer=plan), folder, device)


def _ready(net: StagedNet, folder: FinishedRun, device: torch.device) -> LoadedNetwork:
    """A network on its device, with what a run knows of its pictures."""
    net = net.to(device).to(memory_format=torch.channels_last).eval()
    return LoadedNetwork(folder.run, folder.classes, net, device, folder.standard, folder.result.training.state)


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
