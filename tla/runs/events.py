"""TensorBoard's event files of a run: its curves, its options and what it scored (needs the extra `tensorboard`).

The log of a run is what they are made of, so they can be written while it trains and at any time later.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from tla.errors import UserError
from tla.runs.folder import FinishedRun
from tla.runs.run import Run
from tla.tables import start

FOLDER = "tensorboard"  # of a run's own events, in its folder
CURVES = ("lr", "loss", "train_accuracy", "training_loss", "heldout_loss", "accuracy")  # of what the log has of an epoch


def load() -> Any:
    """The class that writes event files; `UserError` where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("--tensorboard needs TensorBoard: pip install 'tla[tensorboard]'") from None
    return SummaryWriter


@contextmanager
def writing(folder: Path) -> Iterator[Any]:
    """Write the events of one run to a folder, in place of those that are there."""
    writer = load()
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    with writer(str(folder), purge_step=0) as board:  # a TensorBoard that is looking forgets the old ones
        yield board


def note(board: Any, row: Mapping[str, float], time: float | None = None) -> None:
    """Add an epoch, as the log has it; `time` in seconds since 1970, by default now."""
    for name in CURVES:
        if name in row:
            board.add_scalar(name, row[name], row["epoch"], walltime=time)


def write(folder: FinishedRun, path: Path) -> None:
    """Write the events of a finished run, with its options and scores, to a folder."""
    from torch.utils.tensorboard.summary import hparams

    rows, result = folder.log, folder.result
    scores = {f"{rule}/accuracy": score.accuracy for rule, score in result.scores.items()}
    scores |= {f"{rule}/macro_accuracy": score.macro_accuracy for rule, score in result.scores.items()}
    ended = datetime.strptime(result.finished, "%Y-%m-%dT%H:%M:%S%z").timestamp() if result.finished else 0.0
    times = [ended - sum(later.get("seconds", 0.0) for later in rows[index + 1 :]) for index in range(len(rows))]
    with writing(path) as board:
        for row, time in zip(rows, times, strict=True):
            note(board, row, time)
        for summary in hparams(options(folder.run), scores):
            board.file_writer.add_summary(summary, walltime=ended)
        for name, score in scores.items():
            board.add_scalar(name, score, result.epochs, walltime=ended)


def options(run: Run) -> dict[str, str | int | float | bool]:
    """The options of a run by their names, as in recipe.lr; what is not set is left out."""
    flat: dict[str, Any] = {"start": start(run.weights, run.transfer)}
    for name, value in asdict(run).items():
        flat |= {f"{name}.{inner}": of for inner, of in value.items()} if isinstance(value, dict) else {name: value}
    listed = {name: ",".join(map(str, value)) if isinstance(value, tuple) else value for name, value in flat.items()}
    return {name: value for name, value in listed.items() if value is not None}


def called(folder: FinishedRun) -> str:
    """A run as TensorBoard lists it: what tells it from others, and its key."""
    run = folder.run
    words = [run.data, run.backbone, start(run.weights, run.transfer), f"fold{run.fold}", f"seed{run.seed}", folder.key]
    return "-".join(re.sub(r"[^\w.]+", "_", word).strip("_") for word in words)
