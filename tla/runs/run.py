"""A run is a value: everything that decides its outcome, and the key that names it."""

import dataclasses
import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tla.errors import UserError
from tla.options import Augment, Picture, Protocol, Recipe, Transfer
from tla.runs import checked

FORMAT = 1  # raised when a change to the code alters what a run of the same options gives

PAPER_EPOCHS, PAPER_DROPS = 70, (30, 60)
PAPER_EPOCHS_SCRATCH, PAPER_DROPS_SCRATCH = 450, (300, 350)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One network trained on all folds but one. Every field is resolved; where files lie is no part of it."""

    data: str
    data_digest: str  # of every clip's content, label, fold and source
    classes: int
    picture: Picture
    augment: Augment
    backbone: str
    weights: str  # what the weights are (a version, a content hash, a run), not where they lie
    transfer: Transfer
    recipe: Recipe
    protocol: Protocol
    fold: int
    seed: int
    precision: Literal["fp32", "bf16"]

    @property
    def key(self) -> str:
        """Twelve hex digits that name the run: a hash of its content."""
        content = {"format": FORMAT, **asdict(self)}
        del content["data"]  # the digest says which clips; what the folder is called changes nothing
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def from_json(value: Any) -> Run:
    """The run that `dataclasses.asdict` and JSON made `value` of; `ValueError` if it says what no run can be."""
    return checked.run(checked.typed(Run, value))


def resolve_recipe(recipe: Recipe, *, scratch: bool) -> Recipe:
    """Fill in epochs and drops: the paper's for this start or, with epochs given, the same share of them for any start."""
    if recipe.batch < 2:
        raise UserError(f"--recipe.batch is {recipe.batch}; batch norm needs 2 clips at least")
    for name in ("lr", "drop_factor"):
        if not 0 < getattr(recipe, name) < math.inf:
            raise UserError(f"--recipe.{name.replace('_', '-')} is {getattr(recipe, name)}; it has to be a number above 0")
    if not 0 <= recipe.weight_decay < math.inf:
        raise UserError(f"--recipe.weight-decay is {recipe.weight_decay}; it has to be a number, and not negative")
    epochs, drops = recipe.epochs, recipe.drops
    if epochs is None:
        epochs = PAPER_EPOCHS_SCRATCH if scratch else PAPER_EPOCHS
        drops = drops if drops is not None else PAPER_DROPS_SCRATCH if scratch else PAPER_DROPS
    elif drops is None:
        drops = tuple(sorted({max(1, round(epochs * drop / PAPER_EPOCHS)) for drop in PAPER_DROPS}))
    if epochs < 1:
        raise UserError(f"--recipe.epochs is {epochs}; a run has at least one epoch")
    if any(drop < 1 for drop in drops):
        raise UserError(f"--recipe.drops holds {min(drops)}; a drop comes after the first epoch or later")
    return dataclasses.replace(recipe, epochs=epochs, drops=tuple(drops))


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """The rate of an epoch, counted from 0."""
    return recipe.lr * recipe.drop_factor ** sum(epoch >= drop for drop in recipe.drops or ())
