"""How long a run is trained, at which rate, and whether it was trained to its end.

All of it is read from the log alone, which has for each epoch the rate and two losses on the training clips: `loss`, as met
batch by batch, and `training_loss`, after the epoch and in inference mode. No held-out clip has a say, so nothing here can
favour the arm that is hoped for. Two questions are asked of the epochs under one rate, by means over windows of at least 50
steps, so that small data sets are not judged by a few batches:

- Is it fitted? The loss in inference mode is at most 5 % of chance, which is ln(classes). (As met, the loss of a network
  with batch norm can be small long before its stored statistics are of any use.) Where the recipe weights the classes, it is
  the mean of their own losses, and ln(classes) is that of equal probabilities as before: no class can stay unlearned unseen.
- Does it still fall? The loss as met, the smoother one, over the last quarter of these epochs against the quarter before. A
  fall of at most 5 % is none. The windows grow with the epochs because a loss that falls like a power of time falls by ever
  less in an equal time, and by as much as ever each time that the training is doubled: 5 % here is 10 % for twice the training.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from tla.errors import UserError
from tla.options import Recipe, State

PAPER_EPOCHS, PAPER_DROPS = 70, (30, 60)
PAPER_EPOCHS_SCRATCH, PAPER_DROPS_SCRATCH = 450, (300, 350)

PAPER_DATA = ("esc50", "urbansound8k", "gtzan")

RATES = 3  # under `until plateau`: the rate falls twice, as in the paper
CAP = 10_000  # steps
WINDOW = 50  # steps that a mean loss is taken over at least
FALL = 0.05  # from one window to the next: up to this, the loss no longer falls
FITTED, STUCK = 0.05, 0.9  # of chance

Log = Sequence[Mapping[str, Any]]  # a row per epoch: lr, steps, loss, training_loss


def resolve(recipe: Recipe, *, scratch: bool, paper: bool) -> Recipe:
    """Fill in how long: the paper's epochs for this start in the paper's experiments, else until the loss no longer falls.

    With epochs given, the rate falls after the same shares of them as in the paper, whatever the start.
    """
    _check(recipe)
    until = recipe.until or ("epochs" if recipe.epochs or recipe.drops is not None or paper else "plateau")
    if until == "plateau":
        if recipe.epochs is not None or recipe.drops is not None:
            raise UserError(
                "--recipe.epochs and --recipe.drops go with --recipe.until epochs; plateau finds both (up to --recipe.cap)"
            )
        return replace(recipe, until=until, cap=recipe.cap or CAP)
    if recipe.cap is not None:
        raise UserError("--recipe.cap goes with --recipe.until plateau")
    epochs, drops = recipe.epochs, recipe.drops
    if epochs is None:
        epochs = PAPER_EPOCHS_SCRATCH if scratch else PAPER_EPOCHS
        drops = drops if drops is not None else PAPER_DROPS_SCRATCH if scratch else PAPER_DROPS
    elif drops is None:
        drops = tuple(sorted({max(1, round(epochs * drop / PAPER_EPOCHS)) for drop in PAPER_DROPS}))
    return replace(recipe, until=until, epochs=epochs, drops=tuple(drops))


def of_paper(data: str, protocol: str) -> bool:
    """Whether an experiment is one of the paper's, whose epochs are then the paper's."""
    return protocol == "paper" and data in PAPER_DATA


def _check(recipe: Recipe) -> None:
    if recipe.batch < 2:
        raise UserError(f"--recipe.batch is {recipe.batch}; batch norm needs 2 clips at least")
    for name in ("lr", "head_lr", "drop_factor"):
        value = getattr(recipe, name)
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"--recipe.{name.replace('_', '-')} is {value}; it has to be a number above 0")
    if not 0 <= recipe.weight_decay < math.inf:
        raise UserError(f"--recipe.weight-decay is {recipe.weight_decay}; it has to be a number, and not negative")
    if recipe.epochs is not None and recipe.epochs < 1:
        raise UserError(f"--recipe.epochs is {recipe.epochs}; a run has at least one epoch")
    if any(drop < 1 for drop in recipe.drops or ()):
        raise UserError(f"--recipe.drops holds {min(recipe.drops or ())}; a drop comes after the first epoch or later")
    if recipe.cap is not None and recipe.cap < 1:
        raise UserError(f"--recipe.cap is {recipe.cap}; a run has at least one step")
    if not 1 <= recipe.times < math.inf:
        raise UserError(f"--recipe.times is {recipe.times:g}; a run is trained at least once as long as it would be")


def next_rate(recipe: Recipe, log: Log, classes: int) -> float | None:
    """What the rate is multiplied by in the next epoch; None: the run is over."""
    if recipe.until == "epochs":
        epoch = len(log) / recipe.times
        drops = sum(epoch >= drop for drop in recipe.drops or ())
        return recipe.drop_factor**drops if epoch < (recipe.epochs or 0) else None
    if sum(row["steps"] for row in log) >= recipe.times * (recipe.cap or CAP):
        return None
    rest = log
    for drops in range(RATES):
        length = _epochs_until_flat(rest, classes)
        if length is None or len(rest) < recipe.times * length:
            return recipe.drop_factor**drops
        rest = rest[math.ceil(recipe.times * length) :]
    return None


def _epochs_until_flat(log: Log, classes: int) -> int | None:
    """After how many of these epochs, all under one rate, the loss was fitted or no longer fell; None if after none."""
    if not log:
        return None
    loss, fall = _course(log)
    flat = np.flatnonzero((loss <= FITTED * math.log(classes)) | (fall <= FALL))  # NaN is neither
    return int(flat[0]) + 1 if len(flat) else None


def _course(log: Log) -> tuple[np.ndarray, np.ndarray]:
    """After each epoch under one rate (epochs,): the mean loss in inference mode over the last window, and the share by which
    the loss as met fell to it from the window before. NaN where there are no such windows."""
    epochs = np.arange(1, len(log) + 1)
    window = np.maximum(math.ceil(WINDOW / log[0]["steps"]), epochs // 4)

    def mean(name: str, back: int) -> np.ndarray:
        total = np.cumsum([0.0, *(row[name] for row in log)])
        first, last = epochs - (back + 1) * window, epochs - back * window
        return np.where(first >= 0, (total[last.clip(0)] - total[first.clip(0)]) / window, np.nan)

    return mean("training_loss", 0), 1 - mean("loss", 0) / np.maximum(mean("loss", 1), 1e-12)


@dataclass(frozen=True)
class Training:
    """Whether a run was trained to its end, and the numbers that say so."""

    state: State
    loss: float
    """The loss on training clips in inference mode, at the end: the mean of the last window."""
    of_chance: float
    """That, as a share of ln(classes)."""
    fall: float | None
    """By which share the loss as met still fell from one window to the next, where that was most; None: too short to tell."""


def judge(log: Log, classes: int) -> Training:
    """Whether a run with this log was trained to its end.

    Under the last of its rates that it stayed at for a window, the loss has to be fitted; or it no longer falls under any of
    its rates, the last one aside if that is too short to tell: a rate that was lowered while the loss still fell hides what
    was left. A loss that does not fall and is at chance is stuck.
    """
    chance = math.log(classes)
    phases = [_course(list(rows)) for _, rows in groupby(log, key=lambda row: row["lr"])]
    held = [float(losses[-1]) for losses, _ in phases if np.isfinite(losses[-1])]
    loss = held[-1] if held else float(log[-1]["training_loss"])
    falls = [float(fall[-1]) for _, fall in phases]
    if math.isnan(falls[-1]) and len(falls) > 1:
        falls.pop()
    fall = None if any(map(math.isnan, falls)) else max(falls)
    state: State = "still falling"
    if held and loss <= FITTED * chance:
        state = "converged"
    elif fall is not None and fall <= FALL:
        state = "stuck" if loss >= STUCK * chance else "converged"
    return Training(state, loss, loss / chance, fall)


def steps(recipe: Recipe, epoch: int) -> tuple[int, int]:
    """The fewest and the most steps of a run of this recipe, with so many in an epoch."""
    if recipe.until == "epochs":
        whole = epoch * math.ceil(recipe.times * (recipe.epochs or 0))
        return whole, whole
    window, cap = epoch * math.ceil(WINDOW / epoch), epoch * math.ceil(recipe.times * (recipe.cap or CAP) / epoch)
    return min(cap, RATES * math.ceil(recipe.times * window)), cap
