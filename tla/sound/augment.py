"""Pitch shift and time stretch: the augmented copy of a clip (sec. IV-A), with the ranges of the authors' code.

Both are done in one pass of a phase vocoder. A stretch moves the frames' places in time, keeping their phases continuous;
a shift by n semitones stretches by 2^(n/12) as well and then plays faster, which is done by writing each frame out with
another FFT length, a resampling that costs nothing. The lengths stand in the ratio of small whole numbers, about one
cent (1/100 semitone) from the exact one at most. At shift 0 and 44.1 kHz the samples are those of librosa's `time_stretch`
of float64 samples; of float32 ones, its phases, summed as angles, are off by up to 0.1 radian at a clip's end.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import scipy.fft

from tla.errors import UserError
from tla.sound.spectrograms import to_length

SEMITONES = (-2, 2)  # whole semitones, ends included
STRETCH = (0.9, 1.2)  # rate: above 1 is faster and shorter

# semitones -> FFT lengths in and out: 2^(n/12) by small numbers. An FFT length is four times a multiple of them.
_RATIOS = {-2: (49, 55), -1: (17, 18), 0: (128, 128), 1: (18, 17), 2: (55, 49)}
_LOUDEST = 1e9  # times full scale, beyond which single precision may overflow
_FRAME_S = 0.0464  # about 2048 samples at 44.1 kHz, librosa's choice
_OVERLAP = 4  # frames over each sample


@dataclass(frozen=True)
class Variation:
    """How an augmented copy differs from its clip."""

    semitones: int
    stretch: float


class Kind(NamedTuple):
    """Where augmented copies come from, and how many a bank holds per clip."""

    how: Literal["bank", "live", "none"]
    variants: int = 0


def parse_kind(text: str) -> Kind:
    """The option `bank:K`, `live` or `none`."""
    if text == "live":
        return Kind("live")
    if text == "none":
        return Kind("none")
    how, _, count = text.partition(":")
    if how == "bank" and count.isdecimal() and int(count) >= 1:
        return Kind("bank", int(count))
    raise UserError(f"augment.kind is {text!r}; give bank:K with K at least 1 (such as bank:4), live, or none")


def draw(rng: np.random.Generator) -> Variation:
    """A variation, uniform in both ranges."""
    semitones = rng.integers(SEMITONES[0], SEMITONES[1], endpoint=True)
    return Variation(int(semitones), float(rng.uniform(*STRETCH)))


def vary(samples: np.ndarray, rate: int, variation: Variation, length: Literal["resize", "keep"] = "resize") -> np.ndarray:
    """The mono samples, varied, float32; with `keep` their middle, or all between silence, at the old length."""
    peak = float(np.abs(samples).max(initial=0))
    if peak > _LOUDEST:  # no sound, but a picture can be made of it; float64, for it may become a little louder still
        return vary(samples / np.float32(peak), rate, variation, length) * np.float64(peak)
    size_in, size_out = _sizes(variation.semitones, rate)
    count = round(len(samples) / variation.stretch)
    spectrum = _advance(_stft(samples, size_in), variation.stretch * size_out / size_in)
    varied = _istft(_fit_bins(spectrum, size_in, size_out), size_out, count)
    return to_length(varied, len(samples)) if length == "keep" else varied


def _sizes(semitones: int, rate: int) -> tuple[int, int]:
    """FFT lengths of the frames that are read and written."""
    if semitones not in _RATIOS:
        raise ValueError(f"a shift by {semitones} semitones; possible are {SEMITONES[0]} to {SEMITONES[1]}")
    size_in, size_out = _RATIOS[semitones]
    unit = _OVERLAP * max(1, round(_FRAME_S * rate / (_OVERLAP * size_in)))
    return unit * size_in, unit * size_out


def _hann(size: int) -> np.ndarray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


def _stft(samples: np.ndarray, size: int) -> np.ndarray:
    """Spectra (frames, bins) of frames centred on every size/4-th sample, with silence beyond the ends."""
    padded = np.pad(np.asarray(samples, np.float32), size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // _OVERLAP]
    return scipy.fft.rfft(frames * _hann(size))


def _advance(spectrum: np.ndarray, speed: float) -> np.ndarray:
    """The phase vocoder: spectra at every `speed`-th frame, with magnitudes between neighbours and continuous phases.

    Phases are kept as numbers of modulus 1 and added by multiplying: no angle is ever computed.
    """
    places = np.arange(0, len(spectrum), speed)
    before, share = places.astype(int), (places % 1).astype(np.float32)[:, None]
    magnitude = np.abs(np.concatenate([spectrum, np.zeros_like(spectrum[:1])]))
    loud = magnitude[:-1] > 0
    phase = np.divide(spectrum, magnitude[:-1], out=np.ones_like(spectrum), where=loud)
    turn = np.concatenate([phase[:1], phase[1:] * phase[:-1].conj(), np.ones_like(phase[:1])])  # from each frame to the next
    phases = np.multiply.accumulate(np.concatenate([turn[:1], turn[before[:-1] + 1]]), axis=0)
    return phases * (magnitude[before] * (1 - share) + magnitude[before + 1] * share)


def _fit_bins(spectrum: np.ndarray, size_in: int, size_out: int) -> np.ndarray:
    """The spectra for frames of another length: the bins above the new or old end are dropped or silent."""
    bins = size_out // 2 + 1
    kept = spectrum[:, :bins] * np.float32(size_out / size_in)
    return np.pad(kept, ((0, 0), (0, bins - kept.shape[1])))


def _istft(spectrum: np.ndarray, size: int, count: int) -> np.ndarray:
    """`count` samples from spectra of centred frames, each sample the window-weighted mean of the frames over it."""
    window = _hann(size)
    total = _overlap_add(scipy.fft.irfft(spectrum, n=size) * window)
    weight = _overlap_add(np.broadcast_to(window**2, (len(spectrum), size)))
    samples = (total / np.maximum(weight, np.finfo(np.float32).tiny))[size // 2 :][:count]
    return np.pad(samples, (0, count - len(samples)))


def _overlap_add(frames: np.ndarray) -> np.ndarray:
    """Frames (frames, size) laid over each other, a quarter of their length apart."""
    hop = frames.shape[1] // _OVERLAP
    total = np.zeros((len(frames) + _OVERLAP - 1, hop), frames.dtype)
    for part in range(_OVERLAP):
        total[part : part + len(frames)] += frames[:, part * hop : (part + 1) * hop]
    return total.ravel()
