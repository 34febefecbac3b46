"""The clips of the report's page, each with its picture, its attribution and its sound, in the bytes that the page holds.

The attended part of a clip is chosen by a share of the attribution: the strongest cells that add up to that share are kept
whole, the others in proportion to their strength (`tla.sound.render`).

    picture      uint8 (windows, mels, columns): 255 is the clip's loudest cell, 0 is RANGE_DB decibels below it, or less
    strength     uint8 (mels, columns): 255 is the strongest cell, each step down STEP_DB decibels; 0 is no strength at all
    attribution  int8 (mels, columns): 127 is `limit` logits, or more
"""

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tla import manifest
from tla.options import Picture

FORMAT = 1  # of a kept file: raised when anything in it changes its meaning
SHARES = tuple(percent / 100 for percent in range(5, 101, 5))
RANGE_DB = 80.0
STEP_DB = 0.25
STRENGTHS = np.r_[0.0, 10 ** ((np.arange(1, 256) - 255) * STEP_DB / 20)]  # what each byte of a strength means
DECIBELS = 10 / np.log(10)  # in one unit of the natural log of a power


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One clip of the page."""

    name: str
    label: str
    predicted: str
    """The class that the run predicts."""
    probability: float
    """Of the class in `predicted`, on the whole clip."""
    credit: str
    """Whose sound it is."""
    samples: np.ndarray | None
    """int16, mono, at the picture's rate; None where the clip may not be passed on."""
    span: tuple[int, int]
    """The samples that the picture shows."""
    picture: np.ndarray
    strength: np.ndarray
    attribution: np.ndarray
    limit: float
    error: float
    """Of the attribution's completeness."""
    answers: np.ndarray
    """(shares, 2): the probability of the class in `predicted`, on the attended part alone and on the rest alone."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """The clips of one run."""

    run: str
    data: str
    backbone: str
    fold: int
    picture: Picture
    clips: tuple[Clip, ...]

    def write(self, path: Path) -> None:
        """Keep them as an npz file: arrays, and a text that describes them."""
        arrays: dict[str, np.ndarray] = {}
        about: dict[str, Any] = {**vars(self), "format": FORMAT, "picture": asdict(self.picture), "clips": []}
        for i, clip in enumerate(self.clips):
            arrays |= {f"{i}_{field}": value for field, value in vars(clip).items() if isinstance(value, np.ndarray)}
            about["clips"].append({field: value for field, value in vars(clip).items() if not isinstance(value, np.ndarray)})
        arrays["about"] = np.array(json.dumps(about))
        with manifest.vouching(path) as temporary:
            np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def read(path: Path) -> Room:
    """What `write` kept."""
    with np.load(io.BytesIO(manifest.vouched(path)), allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        if about.pop("format") != FORMAT:
            raise ValueError(f"{path} is of another version of tla")
        clips = []
        for i, clip in enumerate(about.pop("clips")):
            arrays = {name.partition("_")[2]: file[name] for name in file.files if name.startswith(f"{i}_")}
            clips.append(Clip(**{**clip, **arrays, "span": tuple(clip["span"])}))
    return Room(**{**about, "picture": Picture(**about["picture"]), "clips": tuple(clips)})


def quantised(strength: np.ndarray) -> np.ndarray:
    """A strength as bytes on a scale of decibels."""
    with np.errstate(divide="ignore"):
        steps = 255 + np.round(20 * np.log10(strength / (strength.max() or 1.0)) / STEP_DB)
    return steps.clip(0, 255).astype(np.uint8)


def levels(strength: np.ndarray) -> list[float]:
    """For each share, the strength (1: the strongest cell's) from which on a cell is let through whole; at 0 every cell is."""
    descending = np.sort(STRENGTHS[strength], axis=None)[::-1]
    gathered = np.cumsum(descending)
    if not gathered[-1]:
        return [1.0] * (len(SHARES) - 1) + [0.0]
    return [float(descending[np.searchsorted(gathered, share * gathered[-1])]) for share in SHARES[:-1]] + [0.0]


def masks(strength: np.ndarray) -> list[np.ndarray]:
    """For each share, how much of each cell is let through (mels, columns)."""
    values = STRENGTHS[strength]
    return [(values / level).clip(max=1) if level > 0 else np.ones_like(values) for level in levels(strength)]


def levelled(pictures: np.ndarray) -> np.ndarray:
    """Log-mels (windows, mels, columns) as bytes."""
    decibels = DECIBELS * pictures.astype(np.float64)
    return np.round(255 * (1 + (decibels - decibels.max()) / RANGE_DB).clip(0, 1)).astype(np.uint8)
