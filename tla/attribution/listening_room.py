"""The listening room: a few held-out clips, where a run looked in each, and what it hears in that part alone.

What is attended to is chosen by a share of the attribution: the strongest cells that gather it are let through whole, the
others in proportion to their strength (`tla.sound.render`). Everything is kept in bytes, as a page holds it, and the network's
answers are about the parts that those bytes make; but the network hears them unrounded. A reader does not hear what 16 bits
leave out, and a network does: where a recording is band-limited, the rounding is all that lies above the limit, and on one
clip of ESC-10 it moved the probability from 0.90 to 0.53.

    picture      uint8 (windows, mels, columns): 255 is the clip's loudest cell, 0 is RANGE_DB decibels below it, or less
    strength     uint8 (mels, columns): 255 is the strongest cell, each step down STEP_DB decibels; 0 is no strength at all
    attribution  int8 (mels, columns): 127 is `limit` logits, or more
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from tla import manifest
from tla.console import progress, say
from tla.errors import Damaged, UserError
from tla.options import Picture, Place, Study
from tla.sound import render
from tla.sound.spectrograms import resolved

if TYPE_CHECKING:
    import torch

    from tla.attribution.measure import Shown
    from tla.runs.folder import FinishedRun
    from tla.runs.infer import Listener, Sound
    from tla.sound.clips import Dataset

FORMAT = 1  # of a kept room: raised when anything in it changes its meaning
SHARES = tuple(percent / 100 for percent in range(5, 101, 5))
CLIPS = 10
MOST_WRONG = 4  # of ten
TOLERANCE = 0.05  # of an attribution's completeness: a picture of it shows no less
RANGE_DB = 80.0
STEP_DB = 0.25
STRENGTHS = np.r_[0.0, 10 ** ((np.arange(1, 256) - 255) * STEP_DB / 20)]  # what each byte of a strength means
CLIPPED = 0.998  # of the attributions lie inside the scale
DECIBELS = 10 / np.log(10)  # in one unit of the natural log of a power
SECRET = ("gtzan",)  # sets without a licence, whose clips are not passed on


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One clip of the room."""

    name: str
    label: str
    said: str
    probability: float
    """Of what the run said, on the whole clip."""
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
    """(shares, 2): the probability of what the run said, on the attended part alone and on the rest alone."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """A run's listening room."""

    run: str
    data: str
    backbone: str
    fold: int
    picture: Picture
    clips: tuple[Clip, ...]

    def write(self, path: Path) -> None:
        """Keep the room as an npz file: arrays, and a text that describes them."""
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


def of(runs: pd.DataFrame, place: Place, data: str | None, *, clips: int = CLIPS) -> Room | None:
    """The room of the best of a table's runs, kept beside the figures; None where it cannot be made, and why is said.

    `data`: where the clips lie, if not in the data folder.
    """
    from tla.launch.find_run import origin
    from tla.runs.device import choose_device

    try:
        folder = best(runs, Path(place.runs))
        path = Path(place.figures) / "listening.npz"
        kept = _kept(path)
        if kept and kept.run == folder.key and [clip.name for clip in kept.clips] == choose(folder, clips):
            return kept
        study = Study(data=data or folder.run.data, picture=folder.run.picture, on_bad_clip="skip")
        room = make(folder, origin(folder, study, place).dataset, choose_device(place.device), clips=clips)
    except UserError as error:
        say(f"the page has no listening room: {error}")
        return None
    room.write(path)
    return room


def best(runs: pd.DataFrame, root: Path) -> "FinishedRun":
    """The best of a table's runs whose weights are on disk."""
    from tla.launch.find_run import pick
    from tla.runs.folder import WEIGHTS, load

    found = [load(root / key) for key in runs["key"] if (root / key / WEIGHTS).is_file()]
    if not found:
        raise UserError(f"none of the runs has its weights in {root}")
    return pick(found)


def _kept(path: Path) -> Room | None:
    """The room that was kept; None if there is none that can be read."""
    try:
        return read(path) if path.is_file() else None
    except (Damaged, OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        say(f"{error.what if isinstance(error, Damaged) else path}: the listening room is made again")
        return None


def make(
    folder: "FinishedRun",
    dataset: "Dataset",
    device: "torch.device",
    *,
    clips: int = CLIPS,
    tolerance: float = TOLERANCE,
    memory: float = 1.0,
) -> Room:
    """The room of a finished run: clips of its held-out fold, its attributions from silence, its answers at each share."""
    from tla.attribution.integrated_gradients import baselines
    from tla.attribution.measure import File, explain
    from tla.runs.infer import load, sound

    listener = load(folder, device)
    paths = {clip.name: clip.path for clip in dataset.clips}
    names = choose(folder, clips)
    if missing := [name for name in names if name not in paths]:
        raise UserError(f"run {folder.key} held out {missing[0]}, which is not among the clips of {dataset.root}")
    labels = {clip.name: dataset.classes[clip.label] for clip in dataset.clips}
    files = [File(paths[name], labels[name], "held out") for name in names]
    run = listener.run
    starts = baselines("silence", (3, run.picture.mels, resolved(run.picture)[2]))
    found = explain(listener, files, None, "silence", starts, tolerance=tolerance, memory=memory)
    windows = [rows for _, rows in found.table.groupby("clip", sort=False)]
    credit, secret = credits_of(dataset.root), dataset.name.startswith(SECRET)
    made = []
    with progress("listening to the attended parts", len(names)) as watch:
        for name, rows, shown in zip(names, windows, found.shown, strict=True):
            row = rows.iloc[0]
            about = {"name": name, "label": labels[name], "said": row["predicted"], "probability": float(row["probability"])}
            about |= {"credit": credit(name), "error": float(rows["error"].max())}
            clip = _clip(listener, sound(paths[name], run.picture), shown, about)
            made.append(replace(clip, samples=None) if secret else clip)
            watch.advance()
    return Room(run=folder.key, data=run.data, backbone=run.backbone, fold=run.fold, picture=run.picture, clips=tuple(made))


def _clip(listener: "Listener", heard: "Sound", shown: "Shown", about: Mapping[str, Any]) -> Clip:
    span = heard.spans[0][0], heard.spans[-1][1]
    total = shown.attribution.sum(axis=0)
    limit = float(np.quantile(np.abs(total), CLIPPED)) or 1.0
    strength = quantised(render.strength(shown.attribution))
    said = listener.classes.index(about["said"])
    return Clip(
        **about,
        samples=np.round(heard.samples.clip(-1, 1) * 32767).astype(np.int16),
        span=span,
        picture=levelled(shown.picture if listener.run.picture.windows == "three" else shown.picture[:1]),
        strength=strength,
        attribution=np.round(127 * (total / limit).clip(-1, 1)).astype(np.int8),
        limit=limit,
        answers=_answers(listener, heard.samples, strength, span, said),
    )


def choose(folder: "FinishedRun", count: int, *, seed: int = 0) -> list[str]:
    """Names of held-out clips, drawn at random: up to four in ten that the run got wrong, or more if it got few right."""
    said = folder.predictions
    logits = said.logits.get("test", said.logits.get("last"))
    assert logits is not None, "every protocol has one of the two"
    order = np.random.default_rng(seed).permutation(len(said.names))
    right = logits.argmax(axis=1) == said.labels
    wrong, others = (_spread([i for i in order if right[i] == kind], said.labels) for kind in (False, True))
    few = max(round(MOST_WRONG * count / CLIPS), count - len(others))
    chosen = [*wrong[:few], *others[: count - min(few, len(wrong))]]
    return [str(said.names[i]) for i in sorted(chosen, key=lambda i: (said.labels[i], not right[i]))]


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


def _spread(indices: Sequence[int], labels: np.ndarray) -> list[int]:
    """The same indices, so that the first few are of as many classes as can be."""
    seen: dict[int, int] = {}
    rounds: list[tuple[int, int, int]] = []
    for index in indices:
        label = int(labels[index])
        seen[label] = seen.get(label, 0) + 1
        rounds.append((seen[label], len(rounds), index))
    return [index for _, _, index in sorted(rounds)]


def levelled(pictures: np.ndarray) -> np.ndarray:
    """Log-mels (windows, mels, columns) as bytes."""
    decibels = DECIBELS * pictures.astype(np.float64)
    return np.round(255 * (1 + (decibels - decibels.max()) / RANGE_DB).clip(0, 1)).astype(np.uint8)


def _answers(listener: "Listener", samples: np.ndarray, strength: np.ndarray, span: tuple[int, int], said: int) -> np.ndarray:
    """(shares, 2): the probability of `said` on what is let through at each share, and on the rest."""
    from tla.runs.infer import of_samples

    picture = listener.run.picture
    split = (render.split(samples, mask, picture, span) for mask in masks(strength))
    odds = [[listener.probabilities(of_samples(part, picture).pictures)[said] for part in parts] for parts in split]
    return np.array(odds, dtype=np.float64)


def credits_of(root: Path) -> Callable[[str], str]:
    """Author and licence of a clip, by its name, where a data set lists them (meta/attribution.csv: clip, author, licence)."""
    path, known = root / "meta" / "attribution.csv", {}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            known = {row["clip"]: f"{row['original']} by {row['author']}, {row['licence']}" for row in csv.DictReader(file)}

    def credit(name: str) -> str:
        stem = f"{Path(name).stem}-"  # a file's name may go on behind the clip's, with its class
        return next((text for clip, text in known.items() if stem.startswith(f"{clip}-")), "")

    return credit
