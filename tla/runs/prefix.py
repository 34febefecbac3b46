"""The outputs of the frozen stages for every picture, computed once and kept on disk; training starts behind them.

The leading frozen stages in inference mode are a constant function of the picture, so their output for each clip and
variant is computed once, in the run's own arithmetic and in the dtype in which it comes, and later read like a picture.
The files lie below the pictures, named by all that decides them: the prefix's tensors, the arithmetic, the standardisation.
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from tla.console import Progress, progress, say
from tla.files import held
from tla.nets.arithmetic import computing
from tla.nets.stages import StagedNet
from tla.options import Stage
from tla.runs.feed import EVALUATION_BATCH, Feed
from tla.sound.rows import RowFile, Rows, opened

FORMAT = 1  # raised when a change to the code alters what the files hold


def behind(feed: Feed, net: StagedNet, after: Stage) -> Feed:
    """A feed of the outputs of stage `after`, the last of the network's frozen prefix, in place of pictures."""
    stem = f"{after}-{_key(feed, net, after)}"
    folder = feed.store.folder / "stages"
    paths = [folder / f"{stem}-{bank}.npy" for bank in range(len(feed.banks))]
    rows = len(feed.store.clean)
    if _lacking(paths, rows):  # else nothing is written, not even a lock: the pictures may lie where only reading is allowed
        busy = f"another process is computing {after} of {feed.store.dataset.name}; waiting for it"
        with held(folder / f"{stem}.lock", busy):
            missing = _lacking(paths, rows)  # by now the other one may have made it
            for wrong in filter(None, missing.values()):
                say(f"{wrong}; it is made again")
            with progress(f"{after} of {feed.store.dataset.name}", rows * len(missing), "clips") as watch:
                for bank in missing:
                    parts = (_outputs(feed, net, after, start, bank) for start in range(0, rows, EVALUATION_BATCH))
                    _write(paths[bank], parts, rows, watch)
    again = [partial(_again, feed, net, after, bank) for bank in range(len(paths))]
    return feed.behind([Rows(path, one) for path, one in zip(paths, again, strict=True)], after)


def _outputs(feed: Feed, net: StagedNet, after: Stage, start: int, bank: int) -> np.ndarray:
    """The stage's outputs (clips, channels, height, width) for a batch of clips; bfloat16 as its bits."""
    chosen, was = np.arange(start, min(start + EVALUATION_BATCH, len(feed.store.clean))), net.training
    net.eval()
    with torch.inference_mode(), computing(feed.device, feed.run.precision):
        output = net.prefix(feed.pictures(chosen, np.full(len(chosen), bank)), after).cpu().contiguous()
    net.train(was)
    return (output.view(torch.uint16) if output.dtype == torch.bfloat16 else output).numpy()


def _again(feed: Feed, net: StagedNet, after: Stage, bank: int, row: int) -> np.ndarray:
    """A clip's output once more, in the batch in which it was computed, as others round otherwise."""
    return _outputs(feed, net, after, row - row % EVALUATION_BATCH, bank)[row % EVALUATION_BATCH]


def _write(path: Path, parts: Iterator[np.ndarray], rows: int, watch: Progress) -> None:
    first = next(parts)
    file, done = RowFile(path, first.shape[1:], first.dtype.str), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file.begin(rows)
        with file.writing() as write:
            for part in chain([first], parts):
                for values in part:
                    write(done, values)
                    done += 1
                watch.advance(len(part))
        file.finish()
    except OSError as error:
        file.part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk does not say for which file


def _lacking(paths: Sequence[Path], rows: int) -> dict[int, str]:
    """The files, by number, that are not there or not whole, and what is wrong with those."""
    wrong = {}
    for number, path in enumerate(paths):
        try:
            if not path.is_file():
                wrong[number] = ""
            elif (found := opened(path)[1]) != rows:
                wrong[number] = f"{path} has {found} rows instead of {rows}"
        except ValueError as error:
            wrong[number] = f"{path} is damaged ({error})"
    return wrong


def _key(feed: Feed, net: StagedNet, after: Stage) -> str:
    """A hash of all that decides the outputs, besides the pictures, which decide the folder."""
    digest = hashlib.sha256(f"{FORMAT} {net.name} {feed.run.precision} {feed.device.type} {feed.run.augment.length}".encode())
    for values in feed.standard or ():
        digest.update(values.tobytes())
    for stage in net.upto(after):
        for name, tensor in net.stage_tensors(stage).items():
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
