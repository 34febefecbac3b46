"""The outputs of the frozen stages for every picture, computed once and kept on disk; training starts behind them.

The leading frozen stages in inference mode are a constant function of the picture, so their output for each clip and
variant is computed once, in the run's own arithmetic and in the dtype in which it comes, and later read like a picture.
The files lie below the pictures, named by all that decides them: the prefix's tensors, the arithmetic, the standardisation.
"""

import hashlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from tla.console import Progress, progress, say
from tla.files import held
from tla.manifest import vouch_also
from tla.nets.arithmetic import computing
from tla.nets.stages import StagedNet
from tla.options import Stage
from tla.runs.feed import EVALUATION_BATCH, Feed
from tla.sound.arrays import Growing, lacking, opened

FORMAT = 1  # raised when a change to the code alters what the files hold


def behind(feed: Feed, net: StagedNet, after: Stage) -> Feed:
    """A feed of the outputs of stage `after`, the last of the network's frozen prefix, in place of pictures."""
    rows = _rows(feed)
    folder = feed.store.folder / "stages" / f"{after}-{_key(feed, net, after, rows)}"
    names = [f"{bank}.npy" for bank in range(len(feed.banks))]
    if lacking(folder, names):  # else nothing is written, not even a lock: the pictures may lie where only reading is allowed
        busy = f"another process is computing {after} of {feed.store.dataset.name}; waiting for it"
        with held(folder / "lock", busy):
            missing = lacking(folder, names)  # by now the other one may have made it
            for name, wrong in missing.items():
                if wrong:
                    say(f"{folder / name}: {wrong}; it is made again")
            with progress(f"{after} of {feed.store.dataset.name}", len(rows) * len(missing), "clips") as watch:
                for name in missing:
                    bank = names.index(name)
                    _write(folder / name, (_outputs(feed, net, after, some, bank) for some in _batches(rows)), watch)
                    vouch_also(folder, [name])
    return feed.behind([opened(folder / name) for name in names], after, rows)


def _rows(feed: Feed) -> np.ndarray:
    """Those of all clips, for all runs with this prefix; or of the run's own, where its few clips standardise the pictures."""
    return np.arange(len(feed.store.clean)) if feed.standard is None else feed.rows


def _batches(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + EVALUATION_BATCH] for start in range(0, len(rows), EVALUATION_BATCH)]


def _outputs(feed: Feed, net: StagedNet, after: Stage, chosen: np.ndarray, bank: int) -> np.ndarray:
    """The stage's outputs (clips, channels, height, width) for a batch of clips; bfloat16 as its bits."""
    was = net.training
    net.eval()
    with torch.inference_mode(), computing(feed.device, feed.run.precision):
        output = net.prefix(feed.pictures(chosen, np.full(len(chosen), bank)), after).cpu().contiguous()
    net.train(was)
    return (output.view(torch.uint16) if output.dtype == torch.bfloat16 else output).numpy()


def _write(path: Path, parts: Iterator[np.ndarray], watch: Progress) -> None:
    first = next(parts)
    file = Growing(path, first.shape[1:], first.dtype.str)
    try:
        file.resume(0)
        for part in chain([first], parts):
            file.append(part)
            watch.advance(len(part))
        file.finish()
    except OSError as error:
        file.part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk does not say for which file


def _key(feed: Feed, net: StagedNet, after: Stage, rows: np.ndarray) -> str:
    """A hash of all that decides the outputs, besides the pictures, which decide the folder."""
    digest = hashlib.sha256(f"{FORMAT} {net.name} {feed.run.precision} {feed.device.type} {feed.run.augment.length}".encode())
    for values in feed.standard or ():
        digest.update(values.tobytes())
    if len(rows) < len(feed.store.clean):
        digest.update(rows.tobytes())
    for stage in net.upto(after):
        for name, tensor in net.stage_tensors(stage).items():
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
