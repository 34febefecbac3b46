"""A run is a value: everything that decides its outcome, and the key that names it."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from tla.options import Arithmetic, Augment, Picture, Protocol, Recipe, Transfer

if TYPE_CHECKING:
    from tla.sound.clips import Dataset, Split

FORMAT = 2  # raised when a change to the code alters what a run of the same options gives, a changed default for instance


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
    precision: Arithmetic
    per_class: int | None = None
    """How many clips of each class are learned from; None: all."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of its pictures: channels, mels, frames."""
        return 3, self.picture.mels, self.picture.frames or 0

    @property
    def key(self) -> str:
        """Twelve hex digits that name the run: a hash of its content, as far as that differs from the defaults.

        So an option that is new, and at its default, leaves the keys of finished runs as they are.
        """
        content = {"format": FORMAT, **_not_default(self)}
        del content["data"]  # the digest stands for the clips; what the folder is called changes nothing
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def split(self, dataset: "Dataset") -> "Split":
        """The clips of its data set that it learns from, chooses its epoch on, and is scored on."""
        return dataset.split(self.fold, self.protocol, self.per_class, self.seed)

    def epoch_clips(self, dataset: "Dataset") -> int:
        """How many clips an epoch has, where a clip counts each time that it is taken."""
        per_class = self.per_class if self.recipe.short_epochs else None
        return len(dataset.split(self.fold, self.protocol, per_class, self.seed).train)


def _not_default(group: Any) -> dict[str, Any]:
    """The fields of a dataclass, and of those inside it, that differ from their defaults."""
    held: dict[str, Any] = {}
    for field in dataclasses.fields(group):
        value = getattr(group, field.name)
        if dataclasses.is_dataclass(value):
            value = _not_default(value)
            if value:
                held[field.name] = value
        elif value != field.default:
            whole = type(value) is int and float in (field.type, *get_args(field.type))  # 1 and 1.0 are one rate, and one run
            held[field.name] = float(value) if whole else value
    return held
