"""Features of every clip: what each stage of a network makes of its picture, averaged over positions; and the picture itself.

They are computed in one pass, in float32 whatever the runs compute in, and kept below the pictures, a file per stage, named by
all that decides it: the tensors of the stages up to there and the standardisation. So networks that share their first stages
share these files, and a second call reads them. Memory grows with clips by the features alone.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tla.console import progress, say
from tla.errors import UserError
from tla.files import held, replacing
from tla.manifest import vouch_also
from tla.readout.tables import PICTURE
from tla.sound.arrays import lacking
from tla.sound.store import Store

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tla.nets.stages import StagedNet

FORMAT = 1  # raised when a change to the code alters what the files hold
FOLDER = "pooled"
_BLOCK = 64  # clips whose pictures are summed up at once

Standard = tuple[np.ndarray, np.ndarray]  # mean and spread (3, mels, 1) of pictures


@dataclass(frozen=True)
class Network:
    """A network whose stages are read out, in inference mode on its device, and how it takes pictures."""

    name: str
    """What figures call it."""
    net: "StagedNet"
    device: "torch.device"
    standard: Standard | None = None


def pool(outputs: "Tensor") -> "Tensor":
    """A stage's outputs (clips, channels, ...), averaged over positions: (clips, channels), float32."""
    return outputs.float().flatten(2).mean(2) if outputs.ndim > 2 else outputs.float()


def of_network(network: Network, store: Store) -> dict[str, np.ndarray]:
    """The features of each stage for all clips of a store: (clips, channels) float32."""
    names = {stage: f"{stage}-{key}.npy" for stage, key in _keys(network)}
    what = f"{network.net.name}, {network.name}: stages"
    return _kept(store, names, what, lambda: _stages(network, store, what))


def of_pictures(store: Store) -> np.ndarray:
    """Mean and spread over time of each mel band of each channel, for all clips of a store: (clips, 6 mels) float32."""
    what = f"mel bands of {store.dataset.name}"
    return _kept(store, {PICTURE: f"{PICTURE}-{FORMAT}.npy"}, what, lambda: {PICTURE: _bands(store)})[PICTURE]


def _kept(store: Store, names: dict[str, str], what: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays of the files, read from the store's folder or, where one is missing or damaged, made and written there."""
    folder = store.folder / FOLDER
    if lacking(folder, names.values()):  # else nothing is written, not even a lock
        with held(folder / "lock", f"another process is computing {what}; waiting for it"):
            missing = lacking(folder, names.values())  # by now the other one may have made them
            for name, wrong in missing.items():
                if wrong:
                    say(f"{folder / name}: {wrong}; it is made again")
            made = make() if missing else {}
            for key, name in names.items():
                if name in missing:
                    with replacing(folder / name) as temporary:
                        np.save(temporary, made[key], allow_pickle=False)
                    vouch_also(folder, [name])
    return {key: np.load(folder / name, allow_pickle=False) for key, name in names.items()}


def _stages(network: Network, store: Store, what: str) -> dict[str, np.ndarray]:
    import torch

    from tla.nets.arithmetic import computing
    from tla.runs.begin import hushed
    from tla.runs.feed import network_input
    from tla.runs.infer import batch_size

    net = hushed(network.net, network.standard, store.picture.mels).to(network.device)
    standard = None if network.standard is None else [torch.from_numpy(part).to(network.device) for part in network.standard]
    found: dict[str, list[np.ndarray]] = {stage: [] for stage in network.net.stages}
    with torch.inference_mode(), computing(network.device, "fp32"), progress(what, len(store.clean), "clips") as watch:
        for rows in _rows(len(store.clean), batch_size(network.device)):
            pictures = torch.from_numpy(np.array(store.clean[rows], dtype=np.float32)).to(network.device)
            x = network_input(pictures, standard)
            for stage, features in found.items():
                x = net.run(stage, x)
                features.append(pool(net.as_map(stage, x)).cpu().numpy())
                _check(features[-1], network, store, stage, rows.start)
            watch.advance(len(x))
    return {stage: np.concatenate(features) for stage, features in found.items()}


def _check(features: np.ndarray, network: Network, store: Store, stage: str, start: int) -> None:
    odd = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(odd):
        clip = store.dataset.clips[start + int(odd[0])].name
        raise UserError(
            f"{stage} of {network.net.name} ({network.name}) gives NaN or infinity for {clip}: the weights, or that clip's "
            "picture, hold such numbers; `python -m tla.data --check` finds the clip"
        )


def _bands(store: Store) -> np.ndarray:
    found = []
    for rows in _rows(len(store.clean), _BLOCK):
        pictures = np.asarray(store.clean[rows], dtype=np.float32)
        found.append(np.concatenate([pictures.mean(axis=3), pictures.std(axis=3)], axis=1).reshape(len(pictures), -1))
    return np.concatenate(found)


def _rows(clips: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, clips)) for start in range(0, clips, size))


def _keys(network: Network) -> Iterator[tuple[str, str]]:
    """Each stage, and a hash of all that decides its outputs besides the pictures, which decide the folder."""
    digest = hashlib.sha256(f"{FORMAT} {network.net.name} {network.device.type}".encode())
    for values in network.standard or ():
        digest.update(values.tobytes())
    for stage in network.net.stages:
        for name, tensor in network.net.stage_tensors(stage).items():
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        yield stage, digest.hexdigest()[:16]
