"""What the frozen stages say of every picture, computed once and kept on disk; training starts behind them.

The leading frozen stages in inference mode are a constant function of the picture, so their output for each clip and
variant is computed once, in the run's own arithmetic and in the dtype in which it comes, and later read like a picture.
The files lie below the pictures, named by all that decides them: the prefix's tensors, the arithmetic, the standardisation.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from tla.console import Progress, progress, say
from tla.files import held, replacing
from tla.nets.stages import StagedNet
from tla.options import Stage
from tla.runs.feed import Feed, autocast

FORMAT = 1  # raised when a change to the code alters what the files hold


def behind(feed: Feed, net: StagedNet, after: Stage) -> Feed:
    """A feed of the outputs of stage `after`, the last of the network's frozen prefix, in place of pictures."""
    stem = f"{after}-{_key(feed, net, after)}"
    folder = feed.store.folder / "stages"
    paths = [folder / f"{stem}-{bank}.npy" for bank in range(len(feed.banks))]
    rows = np.arange(len(feed.store.clean))
    with held(folder / f"{stem}.lock", f"another process is computing {after} of {feed.store.dataset.name}; waiting for it"):
        missing = [bank for bank, path in enumerate(paths) if not _usable(path, len(rows))]
        if missing:
            with progress(f"{after} of {feed.store.dataset.name}", len(rows) * len(missing)) as watch:
                for bank in missing:
                    _write(paths[bank], _outputs(feed, net, after, rows, bank), len(rows), watch)
    return feed.behind([np.load(path, mmap_mode="r") for path in paths], after)


def _outputs(feed: Feed, net: StagedNet, after: Stage, rows: np.ndarray, bank: int) -> Iterator[np.ndarray]:
    """The stage's outputs (clips, channels, height, width), batch by batch; bfloat16 as its bits."""
    net.eval()
    with torch.inference_mode(), autocast(feed.device, feed.run.precision):
        for start in range(0, len(rows), feed.run.recipe.batch):
            chosen = rows[start : start + feed.run.recipe.batch]
            output = net.prefix(feed.pictures(chosen, np.full(len(chosen), bank)), after).cpu().contiguous()
            yield (output.view(torch.uint16) if output.dtype == torch.bfloat16 else output).numpy()


def _write(path: Path, parts: Iterator[np.ndarray], rows: int, watch: Progress) -> None:
    first = next(parts)
    with replacing(path) as temporary:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=first.dtype, shape=(rows, *first.shape[1:]))
        done = 0
        for part in (first, *parts):
            array[done : done + len(part)] = part
            done += len(part)
            watch.advance(len(part))
        array.flush()


def _usable(path: Path, rows: int) -> bool:
    """Whether a file is there and whole."""
    if not path.is_file():
        return False
    try:
        return len(np.load(path, mmap_mode="r")) == rows
    except ValueError:
        say(f"{path} is damaged; it is made again")
        return False


def _key(feed: Feed, net: StagedNet, after: Stage) -> str:
    """A hash of all that decides the outputs, besides the pictures, which decide the folder."""
    digest = hashlib.sha256(f"{FORMAT} {net.name} {feed.run.precision} {feed.device.type} {feed.run.augment.length}".encode())
    for values in feed.standard or ():
        digest.update(values.tobytes())
    for stage in net.upto(after):
        for name, tensor in net.stage_tensors(stage).items():
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
