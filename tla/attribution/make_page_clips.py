"""Makes the clips of the report's page: a few held-out clips, what in each led to a run's prediction, and what it predicts
from that part alone.

The page holds a sound as 16-bit numbers, but the network takes it unrounded. A reader does not hear what 16 bits leave out,
and it changes predictions: where a recording is band-limited, the rounding is all that lies above the limit, and on one clip
of ESC-10 it moved the probability from 0.90 to 0.53.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from tla.attribution.page_clips import Clip, Room, levelled, masks, quantised, read
from tla.console import progress, say
from tla.errors import Damaged, UserError
from tla.options import Place, Study
from tla.sound import render
from tla.sound.spectrograms import resolved

if TYPE_CHECKING:
    import torch

    from tla.attribution.measuring import Shown
    from tla.runs.folder import FinishedRun
    from tla.runs.infer import LoadedNetwork
    from tla.sound.clips import Dataset
    from tla.sound.windowed import Sound

CLIPS = 10
MOST_WRONG = 4  # of ten
TOLERANCE = 0.05  # of an attribution's completeness: a picture of it shows no less
CLIPPED = 0.998  # of the attributions lie inside the scale
SECRET = ("gtzan",)  # sets without a licence, whose clips are not passed on


def of(runs: pd.DataFrame, keep_in: Path, place: Place, data: str | None, *, clips: int = CLIPS) -> Room | None:
    """The clips of the best of a table's runs, kept in a folder; None, and the reason is printed, where there are none.

    `data`: where the clips lie, if not in the data folder.
    """
    from tla.launch.find_run import origin
    from tla.runs.device import choose_device

    try:
        folder = best(runs, Path(place.runs))
        path = keep_in / "listening.npz"
        there = kept(path)
        if there and there.run == folder.key and [clip.name for clip in there.clips] == choose(folder, clips):
            return there
        study = Study(data=data or Study().data, picture=folder.run.picture, on_bad_clip="skip")
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


def kept(path: Path) -> Room | None:
    """The clips that were kept; None if there are none that can be read."""
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
    """The clips of a finished run: some of its held-out fold, attributions from silence, probabilities at each share."""
    from tla.attribution.measuring import File, explain
    from tla.attribution.starts import baselines
    from tla.runs.infer import load
    from tla.sound.windowed import sound

    network = load(folder, device)
    paths = {clip.name: clip.path for clip in dataset.clips}
    names = choose(folder, clips)
    if missing := [name for name in names if name not in paths]:
        raise UserError(f"run {folder.key} held out {missing[0]}, which is not among the clips of {dataset.root}")
    labels = {clip.name: dataset.classes[clip.label] for clip in dataset.clips}
    files = [File(paths[name], labels[name], "held out") for name in names]
    run = network.run
    starts = baselines("silence", (3, run.picture.mels, resolved(run.picture)[2]))
    found = explain(network, files, None, "silence", starts, tolerance=tolerance, memory=memory)
    windows = [rows for _, rows in found.table.groupby("clip", sort=False)]
    credit, secret = credits_of(dataset.root), dataset.name.startswith(SECRET)
    made = []
    with progress("predicting from the attended parts", len(names), "clips") as watch:
        for name, rows, shown in zip(names, windows, found.shown, strict=True):
            row = rows.iloc[0]
            about = {
                "name": name,
                "label": labels[name],
                "predicted": row["predicted"],
                "probability": float(row["probability"]),
            }
            about |= {"credit": credit(name), "error": float(rows["error"].max())}
            clip = _clip(network, sound(paths[name], run.picture), shown, about)
            made.append(replace(clip, samples=None) if secret else clip)
            watch.advance()
    return Room(run=folder.key, data=run.data, backbone=run.backbone, fold=run.fold, picture=run.picture, clips=tuple(made))


def _clip(network: "LoadedNetwork", sound: "Sound", shown: "Shown", about: Mapping[str, Any]) -> Clip:
    span = sound.spans[0][0], sound.spans[-1][1]
    total = shown.attribution.sum(axis=0)
    limit = float(np.quantile(np.abs(total), CLIPPED)) or 1.0
    strength = quantised(render.strength(shown.attribution))
    predicted = network.classes.index(about["predicted"])
    return Clip(
        **about,
        samples=np.round(sound.samples.clip(-1, 1) * 32767).astype(np.int16),
        span=span,
        picture=levelled(shown.picture if network.run.picture.windows == "three" else shown.picture[:1]),
        strength=strength,
        attribution=np.round(127 * (total / limit).clip(-1, 1)).astype(np.int8),
        limit=limit,
        answers=_probabilities(network, sound.samples, strength, span, predicted),
    )


def choose(folder: "FinishedRun", count: int, *, seed: int = 0) -> list[str]:
    """Names of held-out clips, drawn at random: up to four in ten that the run got wrong, or more if it got few right."""
    predicted = folder.predictions
    logits = predicted.logits.get("test", predicted.logits.get("last"))
    assert logits is not None, "every protocol has one of the two"
    order = np.random.default_rng(seed).permutation(len(predicted.names))
    right = logits.argmax(axis=1) == predicted.labels
    wrong, others = (_spread([i for i in order if right[i] == kind], predicted.labels) for kind in (False, True))
    few = max(round(MOST_WRONG * count / CLIPS), count - len(others))
    chosen = [*wrong[:few], *others[: count - min(few, len(wrong))]]
    return [str(predicted.names[i]) for i in sorted(chosen, key=lambda i: (predicted.labels[i], not right[i]))]


def _spread(indices: Sequence[int], labels: np.ndarray) -> list[int]:
    """The same indices, so that the first few are of as many classes as can be."""
    seen: dict[int, int] = {}
    rounds: list[tuple[int, int, int]] = []
    for index in indices:
        label = int(labels[index])
        seen[label] = seen.get(label, 0) + 1
        rounds.append((seen[label], len(rounds), index))
    return [index for _, _, index in sorted(rounds)]


def _probabilities(
    network: "LoadedNetwork", samples: np.ndarray, strength: np.ndarray, span: tuple[int, int], of: int
) -> np.ndarray:
    """(shares, 2): the probability of a class on what is let through at each share, and on the rest."""
    from tla.sound.windowed import of_samples

    picture = network.run.picture
    split = (render.split(samples, mask, picture, span) for mask in masks(strength))
    odds = [[network.probabilities(of_samples(part, picture).pictures)[of] for part in parts] for parts in split]
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
