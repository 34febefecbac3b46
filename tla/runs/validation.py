"""What the files of a run say, held against what they may say: a run may come from a stranger.

Here `ValueError` says what is wrong; `tla.runs.folder`, which knows the file, makes a message of it.
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from zipfile import BadZipFile

import numpy as np

from tla.console import UNPRINTABLE
from tla.runs.run import Run
from tla.runs.schedule import Training

MOST_CLASSES = 100_000
MOST_CELLS = 1 << 24  # of a picture, and samples of its clip: what a number in a file may make this program ask memory for
BROKEN = (OSError, ValueError, TypeError, AttributeError, EOFError, MemoryError, BadZipFile, zlib.error, NotImplementedError)
RULES = ("best", "last", "test")
NUMBERS = ("best_epoch", "epochs", "clips", "trainable", "parameters", "multiply_adds", "seconds_per_epoch")


def typed(group: type, value: Any) -> Any:
    """The dataclass that JSON made `value` of, each field of its type; a list stands for a tuple."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{group.__name__} is {_short(value)}")
    hints = get_type_hints(group)
    unknown = sorted(set(value) - set(hints))
    lacking = [field.name for field in fields(group) if field.name not in value and _needed(field)]
    if unknown or lacking:
        wrong = f"lacks {lacking[0]}" if lacking else f"has the unknown {_short(unknown[0])}"
        raise ValueError(f"{group.__name__} {wrong}")
    return group(**{name: _as(hints[name], each, name) for name, each in value.items()})


def _needed(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _as(hint: Any, value: Any, name: str) -> Any:
    """The value, if it is of the type; a dataclass is made of its mapping, a tuple of a list."""
    if hasattr(hint, "__dataclass_fields__"):
        return typed(hint, value)
    if not _is(hint, value):
        raise ValueError(f"{name} is {_short(value)}")
    return tuple(value) if isinstance(value, list) else value


def _is(hint: Any, value: Any) -> bool:
    kind = get_origin(hint)
    if kind in (Union, UnionType):
        return any(_is(each, value) for each in get_args(hint))
    if kind is Literal:
        return value in get_args(hint)
    if kind is tuple:
        return isinstance(value, list) and all(_is(get_args(hint)[0], each) for each in value)
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return False
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if hint is str:
        return isinstance(value, str) and not UNPRINTABLE.search(value)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def run(made: Run) -> Run:
    """A run whose numbers can be, and whose data set has a name that stays a name where files are called after it."""
    rate, seconds = made.picture.rate or 1, made.picture.seconds or 1
    if made.data in ("", ".", "..") or "/" in made.data or "\\" in made.data:
        raise ValueError(f"data is {_short(made.data)}, which is no name")
    if not 1 <= made.classes <= MOST_CLASSES:
        raise ValueError(f"classes is {_short(made.classes)}")
    if not 1 <= made.picture.mels * (made.picture.frames or 1) <= MOST_CELLS or not 1 <= rate * seconds <= MOST_CELLS:
        raise ValueError(f"picture is {_short(made.picture)}")
    return made


def from_json(value: Any) -> Run:
    """The run that `dataclasses.asdict` and JSON made `value` of; `ValueError` if it says what no run can be."""
    return run(typed(Run, value))


def names(value: Any) -> list[str]:
    """The names of the classes, each its own."""
    if not isinstance(value, list) or not all(_is(str, name) for name in value) or len(set(value)) < len(value):
        raise ValueError(f"classes is {_short(value)}")
    return value


def facts(value: Any) -> dict[str, Any]:
    """How a run was made, or what an epoch gave: single words and numbers."""
    if not isinstance(value, dict) or not all(_is(str | float | None, each) for pair in value.items() for each in pair):
        raise ValueError(f"it says {_short(value)}")
    return value


def result(value: Any) -> dict[str, Any]:
    """What a run scored, by selection rule, and what it took."""
    if not isinstance(value, dict) or not isinstance(value.get("scores"), dict) or not value["scores"]:
        raise ValueError("it holds no scores")
    for rule, scores in value["scores"].items():
        shares = [scores.get(name) for name in ("accuracy", "macro_accuracy")] if isinstance(scores, dict) else [None]
        if rule not in RULES or not all(share is not None and _is(float, share) and 0 <= share <= 1 for share in shares):
            raise ValueError(f"scores is {_short(value['scores'])}")
    if not isinstance(files := value.get("files"), dict) or not all(_is(str, digest) for digest in files.values()):
        raise ValueError(f"files is {_short(files)}")
    typed(Training, value.get("training"))
    facts({name: each for name, each in value.items() if name not in ("scores", "files", "training")})
    lacking = [name for name in NUMBERS if not _is(float, value.get(name))]
    if lacking:
        raise ValueError(f"{lacking[0]} is {_short(value.get(lacking[0]))}")
    return value


def predictions(held: Mapping[str, np.ndarray], classes: int) -> None:
    """One row per clip in each array, texts where names stand, whole numbers as labels, and plain numbers as logits."""
    rows, texts = len(held["labels"]), [held["names"], held["sources"]]
    logits = [array for name, array in held.items() if name.endswith("_logits")]
    good = all(array.shape == (rows,) and array.dtype.kind == "U" for array in texts)
    good &= held["labels"].ndim == 1 and held["labels"].dtype.kind in "iu" and bool(logits)
    good &= all(array.shape == (rows, classes) and array.dtype.kind == "f" for array in logits)
    if not good:
        raise ValueError("its arrays do not belong together")
    if not all(np.isfinite(array).all() for array in logits) or not ((held["labels"] >= 0) & (held["labels"] < classes)).all():
        raise ValueError("it holds numbers that are no logits, or labels of no class")
    if any(UNPRINTABLE.search(text) for array in texts for text in array.tolist()):
        raise ValueError("it holds names with control characters")


def standard(mean: np.ndarray, spread: np.ndarray, mels: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread (3, mels, 1) of the pictures."""
    if any(each.shape != (3, mels, 1) or each.dtype.kind != "f" or not np.isfinite(each).all() for each in (mean, spread)):
        raise ValueError("it holds no mean and spread for each band")
    return mean, spread


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
