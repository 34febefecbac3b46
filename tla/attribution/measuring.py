"""Clips explained: the prediction for each, its picture and its attribution on one time axis, and both made audible.

A clip that is cut into windows has one target for all of them, is attributed window by window, and is put together along time;
where the last window overlaps the one before, the mean of both is shown. The numbers are per window, so that each attribution
can be held against its own output difference.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tla import manifest
from tla.console import progress, say
from tla.files import replacing
from tla.sound import render, spectrograms

if TYPE_CHECKING:  # figures are drawn from here without torch
    from tla.attribution.explainer import Attribution
    from tla.attribution.targets import Target
    from tla.runs.infer import LoadedNetwork
    from tla.sound.windowed import Sound


WORDS = ("clip", "file", "true", "part", "predicted", "target", "run")  # columns that stay words: a class may be called 007


@dataclass(frozen=True)
class File:
    """A sound file that is to be explained, and what is known of it."""

    path: Path
    true: str = ""
    """Its class, if it is a clip of the run's data set."""
    part: str = ""
    """held out or training, if it is."""


@dataclass(frozen=True)
class Shown:
    """A clip's picture and attribution (3, mels, columns), and the seconds of the clip that the columns span."""

    picture: np.ndarray
    attribution: np.ndarray
    seconds: tuple[float, float]


@dataclass(frozen=True)
class Explained:
    """What figures of clips are drawn from: a row per clip and window; per clip, in their order, what is shown of it."""

    table: pd.DataFrame
    shown: list[Shown]
    hertz: np.ndarray
    """The centre of each mel band (mels,)."""

    def write(self, folder: Path, name: str) -> list[Path]:
        """The table as `name.csv`, the images as `name.npz`."""
        table, images = folder / f"{name}.csv", folder / f"{name}.npz"
        manifest.write_table(table, self.table)
        arrays: dict[str, np.ndarray] = {"hertz": self.hertz}
        for i, clip in enumerate(self.shown):
            arrays |= {f"{i}_picture": clip.picture, f"{i}_attribution": clip.attribution}
            arrays[f"{i}_seconds"] = np.array(clip.seconds)
        with manifest.vouching(images) as temporary:
            np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
        return [table, images]


def read(folder: Path, name: str) -> Explained:
    """What `write` wrote."""
    kept = io.BytesIO(manifest.vouched(folder / f"{name}.csv"))
    table = pd.read_csv(kept, keep_default_na=False, dtype=dict.fromkeys(WORDS, str))
    with np.load(io.BytesIO(manifest.vouched(folder / f"{name}.npz")), allow_pickle=False) as file:
        shown = [
            Shown(file[f"{i}_picture"], file[f"{i}_attribution"], tuple(file[f"{i}_seconds"].tolist()))
            for i in range(table["clip"].nunique())
        ]
        return Explained(table, shown, file["hertz"])


def explain(
    network: "LoadedNetwork",
    files: Sequence[File],
    asked: "Target | None",
    baseline: str,
    starts: np.ndarray,
    *,
    tolerance: float,
    memory: float,
) -> Explained:
    """What in each file led the network to the target, by default its prediction; `starts` are the baseline's."""
    from tla.attribution.explainer import Explainer
    from tla.attribution.targets import Target
    from tla.sound.windowed import sound

    explainer = Explainer(network.net, network.standard, memory=memory)
    sounds = [sound(file.path, network.run.picture) for file in files]
    tables, shown = [], []
    with progress("attributing", sum(len(made.pictures) for made in sounds), "windows") as watch:
        for name, file, made in zip(names([file.path for file in files]), files, sounds, strict=True):
            odds = network.probabilities(made.pictures)
            wanted = asked or Target(int(odds.argmax()))
            found = []
            for picture in made.pictures:
                found.append(explainer.attribute(picture, wanted, starts, tolerance=tolerance, name=name))
                if short := found[-1].shortfall(tolerance):
                    say(f"{name}: {short}")
                watch.advance()
            about: dict[str, Any] = {"clip": name, "file": str(file.path), "true": file.true, "part": file.part}
            tables.append(_rows(found, made, network).assign(**about, **_prediction(network, odds, wanted)))
            shown.append(_shown(found, made, network))
    run = network.run
    table = pd.concat(tables, ignore_index=True)
    table = table.assign(
        baseline=baseline, run=run.key, data=run.data, backbone=run.backbone, fold=run.fold, training=network.training
    )
    first = ["clip", "file", "true", "part", "predicted", "probability", "target", "target_probability"]
    return Explained(
        table[[*first, *table.columns.difference(first, sort=False)]], shown, spectrograms.mel_frequencies(run.picture)
    )


def _rows(found: Sequence["Attribution"], made: "Sound", network: "LoadedNetwork") -> pd.DataFrame:
    """A row per window: the seconds that it shows, and the numbers of its attribution."""
    rows = []
    for i, (one, span) in enumerate(zip(found, made.spans, strict=True)):
        start_s, stop_s = _seconds(span, network)
        numbers = {"value": one.value, "baseline_value": one.baseline_value, "error": one.error, "steps": one.steps}
        rows.append({"window": i, "start_s": start_s, "stop_s": stop_s, **numbers, "arithmetic": one.arithmetic})
    return pd.DataFrame(rows)


def _shown(found: Sequence["Attribution"], made: "Sound", network: "LoadedNetwork") -> Shown:
    """The windows of a clip, put together along time."""
    picture, span = spectrograms.stitch(made.pictures, made.spans)
    attribution, _ = spectrograms.stitch(np.stack([one.map for one in found]), made.spans)
    return Shown(picture.astype(np.float16), attribution.astype(np.float32), _seconds(span, network))


def listen(network: "LoadedNetwork", explained: Explained, folder: Path) -> pd.DataFrame:
    """Each clip, what was attended to in it and the rest as sound files, and the network's predictions for the three.

    A row per file: its level, its share of the clip's energy, the predicted class and the target. They are mono
    at the run's rate, as a clip enters the network, in 32-bit float, so that nothing is cut off and they add up.
    """
    from tla.attribution.targets import target
    from tla.sound.windowed import sound

    rows = []
    with progress("rendering", len(explained.shown), "clips") as watch:
        for (name, clip), shown in zip(explained.table.groupby("clip", sort=False), explained.shown, strict=True):
            made = sound(Path(clip["file"].iloc[0]), network.run.picture)
            wanted = target(clip["target"].iloc[0], network.classes)
            span = made.spans[0][0], made.spans[-1][1]
            attended, rest = render.split(made.samples, render.mask(shown.attribution), network.run.picture, span)
            for part, samples in {"clip": made.samples, "attended": attended, "rest": rest}.items():
                path = folder / f"{name}_{part}.wav"
                _write_sound(path, samples, network)
                about = {"clip": name, "part": part, "file": str(path), **_levels(samples, made.samples)}
                odds = network.probabilities(sound(path, network.run.picture).pictures)
                rows.append({**about, **_prediction(network, odds, wanted)})
            watch.advance()
    return pd.DataFrame(rows)


def names(paths: Sequence[Path]) -> list[str]:
    """A short name for each path, each its own."""
    given: list[str] = []
    for path in paths:
        numbered = (path.stem, *(f"{path.stem}_{k}" for k in range(2, len(paths) + 1)))
        given.append(next(name for name in numbered if name not in given))
    return given


def _seconds(span: tuple[int, int], network: "LoadedNetwork") -> tuple[float, float]:
    rate, _, _ = spectrograms.resolved(network.run.picture)
    return span[0] / rate, span[1] / rate


def _write_sound(path: Path, samples: np.ndarray, network: "LoadedNetwork") -> None:
    import soundfile

    sound = io.BytesIO()  # so that it is Python that writes, and a full disk is an OSError
    soundfile.write(sound, samples, spectrograms.resolved(network.run.picture)[0], subtype="FLOAT", format="WAV")
    with replacing(path) as temporary:
        temporary.write_bytes(sound.getvalue())


def _levels(samples: np.ndarray, clip: np.ndarray) -> dict[str, float]:
    """Root mean square level below full scale in decibels (NaN for silence), and the share of the clip's energy."""
    power, whole = (float(np.square(x, dtype=np.float64).mean()) for x in (samples, clip))
    return {"level_db": 10 * np.log10(power) if power else np.nan, "energy": power / whole if whole else 0.0}


def _prediction(network: "LoadedNetwork", odds: np.ndarray, wanted: "Target") -> dict[str, Any]:
    """The prediction, given probabilities (classes,), and the probability of the target."""
    return {
        "predicted": network.classes[int(odds.argmax())],
        "probability": float(odds.max()),
        "target": wanted.name(network.classes),
        "target_probability": float(odds[wanted.of]),
    }
