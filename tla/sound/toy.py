"""Synthesised sound events, for a machine without data: ten classes, learnable but not trivial.

Clips of a class differ in pitch, time, number, level, colour and background noise. Classes come in pairs that share their mean
spectrum and differ in how it moves (rising and falling chirps, regular clicks and irregular crackle, steady rain and
swelling waves, slow siren and fast trill), so that a mean over time does not separate them.
"""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tla.errors import UserError
from tla.files import held, scratch

VERSION = 1  # raised when the sounds change, so that a set made by an older version is made anew
RATE = 22050
SECONDS = 2.0
FOLDS = 5
SAMPLES = round(RATE * SECONDS)

_TIME = np.arange(SAMPLES) / RATE


def ensure(folder: Path) -> Path:
    """The folder with the toy set in it, made if it is not there, or was made by another version."""
    if not _is_current(folder):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with held(folder.with_name(f".{folder.name}.lock"), "another process is making the toy set; waiting for it"):
                if not _is_current(folder):  # another process may have been quicker
                    make(folder)
        except OSError as error:
            raise UserError(
                f"{folder}: the toy set cannot be made there ({error.strerror}); give another --data-root"
            ) from None
    return folder


def _is_current(folder: Path) -> bool:
    try:
        card = json.loads((folder / "toy.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(card, dict) and card.get("version") == VERSION


def make(folder: Path, seed: int = 0, clips_per_class: int = 40) -> None:
    """Make the toy set: sound files, their list `toy.csv`, and `toy.json`, which marks it as synthetic."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch(folder.parent, ".toy-") as made:
        new = made / "new"
        _write(new, seed, clips_per_class)
        if folder.exists() and not (folder / "toy.json").exists() and any(folder.iterdir()):
            raise UserError(
                f"{folder}: is in the way of the toy set and holds something else; move it, or give another --data-root"
            )
        if folder.exists():
            folder.rename(made / "old")
        new.rename(folder)


def _write(folder: Path, seed: int, clips_per_class: int) -> None:
    import soundfile

    rows = []
    for number, label in enumerate(CLASSES):
        (folder / "audio" / label).mkdir(parents=True)
        for clip in range(clips_per_class):
            path = f"audio/{label}/{label}-{clip:03d}.wav"
            file = io.BytesIO()  # so that it is Python that writes, and a full disk is an OSError
            samples = sound(label, np.random.default_rng([seed, number, clip]))
            soundfile.write(file, samples, RATE, subtype="PCM_16", format="WAV")
            (folder / path).write_bytes(file.getvalue())
            rows.append((path, label, clip % FOLDS + 1, f"{label}-{clip:03d}"))
    with (folder / "toy.csv").open("w", newline="", encoding="utf-8") as table:
        csv.writer(table, lineterminator="\n").writerows([("path", "label", "fold", "source"), *rows])
    card = {"synthetic": True, "version": VERSION, "seed": seed, "clips_per_class": clips_per_class, "rate": RATE}
    (folder / "toy.json").write_text(json.dumps(card, indent=2) + "\n")


def sound(label: str, rng: np.random.Generator) -> np.ndarray:
    """(samples,) float32 within ±1: one clip of a class, with its background."""
    event = CLASSES[label](rng)
    event = event / np.sqrt(np.mean(event**2))
    noise = _noise(rng, tilt=rng.uniform(-1.2, 0.0))
    mixed = _coloured(event, rng) + noise * 10 ** (-rng.uniform(*NOISE_DB) / 20)
    peak = 10 ** (-rng.uniform(1, 25) / 20)
    return (mixed * peak / np.abs(mixed).max()).astype(np.float32)


def _noise(rng: np.random.Generator, tilt: float) -> np.ndarray:
    """Noise of unit power whose amplitude goes with frequency to the power `tilt`."""
    return _unit(_filtered(rng.standard_normal(SAMPLES), lambda hertz: (hertz / 1000) ** tilt))


def _coloured(event: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The event through a gently tilted channel, at unit power: microphones and rooms differ."""
    tilt = rng.uniform(-0.3, 0.3)
    return _unit(_filtered(event, lambda hertz: (hertz / 1000) ** tilt))


def _filtered(samples: np.ndarray, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    hertz = np.maximum(np.fft.rfftfreq(len(samples), 1 / RATE), 50.0)
    return np.fft.irfft(np.fft.rfft(samples) * gain(hertz), len(samples))


def _unit(samples: np.ndarray) -> np.ndarray:
    return samples / np.sqrt(np.mean(samples**2))


def _tone(hertz: np.ndarray, harmonics: np.ndarray) -> np.ndarray:
    """A tone of varying frequency with the given strengths of its harmonics, those above 10 kHz left out."""
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    parts = (strength * np.sin(k * phase) * (k * hertz < 10_000) for k, strength in enumerate(harmonics, start=1))
    return np.sum(list(parts), axis=0)


def _times(rng: np.random.Generator, count: int) -> np.ndarray:
    """`count` onsets in a clip, uneven, but not on top of each other."""
    return (np.arange(count) + rng.uniform(0, 0.7, count)) * SECONDS / count


def _events(onsets: np.ndarray, make_one: Callable[[], np.ndarray]) -> np.ndarray:
    """A clip with one short sound at each onset (in seconds); what runs over the end is cut."""
    clip = np.zeros(SAMPLES)
    for onset in onsets:
        start = round(onset * RATE)
        one = make_one()[: SAMPLES - start]
        clip[start : start + len(one)] += one
    return clip


def _bark(rng: np.random.Generator) -> np.ndarray:
    pitch, fall, harmonics = rng.uniform(220, 650), rng.uniform(0.2, 0.5), rng.uniform(0.3, 1.0, 12) / np.arange(1, 13) ** 0.5

    def one() -> np.ndarray:
        time = np.arange(round(rng.uniform(0.12, 0.3) * RATE)) / RATE
        shape = (1 - np.exp(-time / 0.01)) * np.exp(-time / rng.uniform(0.04, 0.1))
        return shape * _tone(pitch * (1 - fall * time / time[-1]), harmonics)

    return _events(_times(rng, int(rng.integers(1, 6))), one)


def _chirps(rng: np.random.Generator, *, rising: bool) -> np.ndarray:
    low = rng.uniform(1000, 2500)
    high, seconds = low * rng.uniform(1.4, 2.8), rng.uniform(0.08, 0.35)

    def one() -> np.ndarray:
        way = np.linspace(0, 1, round(seconds * RATE))
        way = way if rising else 1 - way
        return rng.uniform(0.5, 1) * np.hanning(len(way)) * _tone(low * (high / low) ** way, np.array([1.0, 0.2]))

    return _events(_times(rng, int(rng.integers(2, 6))), one)


def _ticks(rng: np.random.Generator, onsets: np.ndarray) -> np.ndarray:
    hertz, decay = rng.uniform(1800, 6000), rng.uniform(0.002, 0.008)
    time = np.arange(round(8 * decay * RATE)) / RATE

    def one() -> np.ndarray:
        near = hertz * rng.uniform(0.85, 1.15)
        return rng.uniform(0.4, 1) * np.exp(-time / decay) * np.sin(2 * np.pi * near * time + rng.uniform(0, 6.28))

    return _events(onsets, one)


def _clicks(rng: np.random.Generator) -> np.ndarray:
    period = rng.uniform(0.1, 0.32)
    return _ticks(rng, np.arange(rng.uniform(0, period), SECONDS, period))


def _crackle(rng: np.random.Generator) -> np.ndarray:
    count = round(SECONDS / rng.uniform(0.1, 0.32))  # as many as regular clicks
    return _ticks(rng, np.sort(rng.uniform(0, SECONDS, max(4, count))))


def _drips(rng: np.random.Generator) -> np.ndarray:
    def one() -> np.ndarray:
        decay = rng.uniform(0.02, 0.07)
        time = np.arange(round(6 * decay * RATE)) / RATE
        return np.exp(-time / decay) * _tone(rng.uniform(400, 1400) * (1 + 0.1 * time / decay), np.array([1.0]))

    return _events(_times(rng, int(rng.integers(2, 7))), one)


def _hiss(rng: np.random.Generator) -> np.ndarray:
    """Noise around a middle frequency, some octaves wide."""
    middle, octaves = rng.uniform(1200, 5000), rng.uniform(0.7, 1.6)
    return _unit(_filtered(rng.standard_normal(SAMPLES), lambda hertz: np.exp(-0.5 * (np.log2(hertz / middle) / octaves) ** 2)))


def _rain(rng: np.random.Generator) -> np.ndarray:
    drops = _ticks(rng, np.sort(rng.uniform(0, SECONDS, rng.integers(30, 90))))
    return _hiss(rng) + rng.uniform(0.1, 0.6) * _unit(drops)


def _waves(rng: np.random.Generator) -> np.ndarray:
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * (rng.uniform(0.45, 1.3) * _TIME + rng.uniform()))
    return _hiss(rng) * swell ** rng.uniform(1, 2.5)


def _wail(rng: np.random.Generator, beats: float) -> np.ndarray:
    """A tone whose pitch goes up and down `beats` times a second."""
    middle, octaves = rng.uniform(500, 1500), rng.uniform(0.3, 0.8)
    way = np.sin(2 * np.pi * (beats * _TIME + rng.uniform()))
    return _tone(middle * 2 ** (octaves / 2 * way), rng.uniform(0.05, 1.0, 4) / np.arange(1, 5))


CLASSES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "bark": _bark,
    "chirp_down": lambda rng: _chirps(rng, rising=False),
    "chirp_up": lambda rng: _chirps(rng, rising=True),
    "clicks": _clicks,
    "crackle": _crackle,
    "drips": _drips,
    "rain": _rain,
    "siren": lambda rng: _wail(rng, rng.uniform(0.4, 1.6)),
    "trill": lambda rng: _wail(rng, rng.uniform(6, 15)),
    "waves": _waves,
}
NOISE_DB = (2.0, 24.0)  # an event's power over its background's
