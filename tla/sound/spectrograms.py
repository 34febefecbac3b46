"""A sound becomes a picture: three log-mel spectrograms, one per colour channel (sec. III-B).

Conventions, where the text leaves them open, are those of the authors' code: one FFT size for all three windows, Hann,
centred frames with reflected ends, power, HTK mel without area normalisation, natural log of (mel + 1e-6), and a
bilinear, antialiased resize along time alone. Everything is float64 inside: a single-precision FFT is off by up to
0.01 after the log where a loud and a silent band meet in one frame.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.sparse

from tla.errors import UserError
from tla.options import Picture

WINDOWS_S = ((0.025, 0.010), (0.050, 0.025), (0.100, 0.050))  # window and hop of each channel, in seconds
FFT_S = 0.100  # length of the FFT, for all three windows
FLOOR = 1e-6  # added to the power before the log
SILENCE = math.log(FLOOR)  # what a silent cell holds: -13.8155
BEYOND = 1.5  # times full scale; above, a sound is not within the range of a recording, and a shortcut is no longer exact
LOWEST_RATE = 1000  # hertz; below, the shortest window is a few samples, which is no spectrum

_BLOCK = 16  # frames transformed at a time, so that their spectra stay in the cache
_BANDS = 16  # mel bands that share a matrix product; a product over all of them would mostly multiply zeros


def resolve(picture: Picture, *, rate: int, seconds: float, frames: int) -> Picture:
    """The options with what they leave open filled in by the data set's `rate`, `seconds` and `frames`."""
    full = replace(
        picture,
        rate=rate if picture.rate is None else picture.rate,
        seconds=seconds if picture.seconds is None else picture.seconds,
        frames=frames if picture.frames is None else picture.frames,
    )
    _check(full)
    return full


def _check(picture: Picture) -> None:
    rate, seconds, frames = resolved(picture)
    if picture.mels < 1 or frames < 1:
        raise UserError(f"a picture of {picture.mels} mels x {frames} frames has no cells; both must be at least 1")
    if rate < LOWEST_RATE:
        raise UserError(f"picture.rate is {rate} Hz; give at least {LOWEST_RATE}")
    if not FFT_S <= seconds < math.inf:
        raise UserError(f"picture.seconds is {seconds}; give at least {FFT_S}")
    if not filterbank(rate, picture.mels).any(axis=0).all():
        raise UserError(
            f"picture.mels is {picture.mels}, which at {rate} Hz leaves bands without a single frequency; "
            f"give fewer mels (128 as in the paper) or a higher picture.rate"
        )


def resolved(picture: Picture) -> tuple[int, float, int]:
    """Rate, seconds and frames: the fields that a data set fills in."""
    if picture.rate is None or picture.seconds is None or picture.frames is None:
        raise ValueError(f"resolve() must fill in these options first: {picture}")
    return picture.rate, picture.seconds, picture.frames


def picture(samples: np.ndarray, options: Picture) -> np.ndarray:
    """The float32 picture (3, mels, frames) of mono `samples` at `options.rate`; ValueError if they are too few."""
    rate, seconds, frames = resolved(options)
    if options.length == "pad":
        samples = to_length(samples, round(seconds * rate))
    if len(samples) < shortest(options):
        raise ValueError(
            f"is too short for a picture: {len(samples)} samples at {rate} Hz, and it takes {shortest(options)}"
            f" ({shortest(options) / rate:.3f} s)"
        )
    padded = np.pad(np.asarray(samples, np.float64), fft_length(rate) // 2, mode="reflect")
    windows, whole = WINDOWS_S if options.windows == "three" else WINDOWS_S[:1], bool(np.abs(padded).max() > BEYOND)
    channels = [_resize(_log_mel(padded, _analysis(rate, *window, options.mels, whole)), frames) for window in windows]
    return np.stack(channels * (len(WINDOWS_S) // len(channels)))


def shortest(options: Picture) -> int:
    """The fewest samples that make a picture: the ends are reflected over half an FFT."""
    return fft_length(resolved(options)[0]) // 2 + 1


def to_length(samples: np.ndarray, length: int) -> np.ndarray:
    """The middle `length` samples, or all of them in the middle of silence."""
    spare = length - len(samples)
    if spare < 0:
        return samples[-spare // 2 :][:length]
    return np.pad(samples, (spare // 2, spare - spare // 2))


def span(length: int, options: Picture) -> tuple[int, int]:
    """The samples, of a clip of so many, that its picture shows from its first column to its last.

    Where the options say pad, `picture` puts silence around a clip, and this begins below 0, or leaves its ends out.
    """
    if options.length == "stretch":
        return 0, length
    rate, seconds, _ = resolved(options)
    width = round(seconds * rate)
    start = (length - width) // 2 if length > width else -((width - length) // 2)
    return start, start + width


def stitch(images: np.ndarray, spans: Sequence[tuple[int, int]]) -> tuple[np.ndarray, tuple[int, int]]:
    """Images (windows, ..., columns) of windows of one clip side by side (..., all columns), and the samples that they span.

    Each window goes to the nearest column; where two overlap, their mean is taken.
    """
    (first, stop), columns = spans[0], images.shape[-1]
    width = (stop - first) / columns  # of a column, in samples
    places = [round((start - first) / width) for start, _ in spans]
    total, count = np.zeros((*images.shape[1:-1], places[-1] + columns)), np.zeros(places[-1] + columns)
    for image, place in zip(images, places, strict=True):
        total[..., place : place + columns] += image
        count[place : place + columns] += 1
    return total / count, (first, spans[-1][1])


def mel_frequencies(options: Picture) -> np.ndarray:
    """The centre of each mel band in hertz (mels,)."""
    return _mel_edges(resolved(options)[0], options.mels)[1:-1]


def column_seconds(options: Picture) -> np.ndarray:
    """The time in a clip of nominal length that each column of its picture shows (frames,)."""
    _, seconds, frames = resolved(options)
    return (np.arange(frames) + 0.5) * seconds / frames


# From samples to log-mel


def fft_length(rate: int) -> int:
    """Samples in the FFT, whatever the window."""
    return round(FFT_S * rate)


def window_and_hop(rate: int, window_s: float, hop_s: float) -> tuple[int, int]:
    """Both in samples."""
    return round(window_s * rate), round(hop_s * rate)


@dataclass(frozen=True)
class _Analysis:
    """One window's way from samples to mel bands, worked out once."""

    frame: int  # samples in a frame, of which the window is the middle
    hop: int
    taper: np.ndarray  # (window,)
    n_fft: int  # of the FFT that is computed: the frame's length, or a smaller one with the same result
    bank: tuple[tuple[slice, slice, np.ndarray], ...]  # parts of the map (bins, mels): which bins, which bands, weights


@lru_cache(maxsize=64)
def _analysis(rate: int, window_s: float, hop_s: float, mels: int, whole: bool) -> _Analysis:
    (window, hop), frame = window_and_hop(rate, window_s, hop_s), fft_length(rate)
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    bank = filterbank(rate, mels)
    smaller = 64 * scipy.fft.next_fast_len(-(-(2 * window - 1) // 64), real=True)  # many factors of two are fastest
    if smaller < 0.75 * frame and not whole:
        every = (slice(0, smaller // 2 + 1), slice(0, mels), _smaller_bank(bank, window, frame, smaller))
        return _Analysis(frame, hop, taper, smaller, (every,))
    return _Analysis(frame, hop, taper, frame, _parts(bank))


def _mel_edges(rate: int, mels: int) -> np.ndarray:
    """Where the triangles begin, peak and end: mels + 2 frequencies, evenly spaced on the HTK mel scale."""
    top = 2595 * math.log10(1 + (rate // 2) / 700)
    return 700 * (10 ** (np.linspace(0, top, mels + 2) / 2595) - 1)


def filterbank(rate: int, mels: int) -> np.ndarray:
    """Triangles of height 1 (bins, mels); the bins run to rate // 2 also where the FFT's length is odd."""
    edges = _mel_edges(rate, mels)
    bins = np.linspace(0, rate // 2, fft_length(rate) // 2 + 1)[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rise, fall))


def _smaller_bank(bank: np.ndarray, window: int, frame: int, n_fft: int) -> np.ndarray:
    """The map to mel bands from a smaller FFT: the same numbers for half the work.

    A power spectrum is the Fourier transform of the window's autocorrelation, which ends after `window` lags. So any FFT
    of at least 2 * window - 1 points determines the power at every frequency, also at those of the frame's own FFT. Its weights
    subtract large numbers where a band is quiet, which is exact to 1e-4 after the logarithm up to half beyond full scale.
    """
    of_lags = scipy.fft.fft(bank, n=frame, axis=0).real[:window]  # mel bands as weights on the autocorrelation
    of_lags[1:] *= 2  # a lag and its negative
    of_bins = scipy.fft.rfft(of_lags, n=n_fft, axis=0).real / n_fft
    of_bins[1 : (n_fft + 1) // 2] *= 2  # a frequency and its negative
    return of_bins


def _parts(bank: np.ndarray) -> tuple[tuple[slice, slice, np.ndarray], ...]:
    """The map (bins, mels) cut into groups of neighbouring bands, each with the bins that it covers."""
    parts = []
    for first in range(0, bank.shape[1], _BANDS):
        bands = slice(first, min(first + _BANDS, bank.shape[1]))
        covered = np.flatnonzero(bank[:, bands].any(axis=1))
        bins = slice(covered[0], covered[-1] + 1)
        parts.append((bins, bands, np.ascontiguousarray(bank[bins, bands])))
    return tuple(parts)


def _log_mel(padded: np.ndarray, analysis: _Analysis) -> np.ndarray:
    """The natural log of the mel power (frames, mels) of samples that already have their reflected ends.

    Only the window's own samples are transformed: where the window lies in its frame does not change its power.
    """
    window = len(analysis.taper)
    count = (len(padded) - analysis.frame) // analysis.hop + 1
    inner = padded[(analysis.frame - window) // 2 :]
    frames = np.lib.stride_tricks.sliding_window_view(inner, window)[:: analysis.hop][:count]
    power = np.empty((count, analysis.n_fft // 2 + 1))
    for start in range(0, count, _BLOCK):
        rows = slice(start, start + _BLOCK)
        spectrum = scipy.fft.rfft(frames[rows] * analysis.taper, n=analysis.n_fft)
        np.square(spectrum.real, out=power[rows])
        power[rows] += np.square(spectrum.imag)
    mel = np.empty((count, analysis.bank[-1][1].stop))
    for bins, bands, weights in analysis.bank:
        mel[:, bands] = power[:, bins] @ weights
    return np.log(np.maximum(mel, 0) + FLOOR)  # the smaller FFT's bank may leave a rounding error below zero


# From any number of columns to the picture's


def _resize(image: np.ndarray, columns: int) -> np.ndarray:
    """An image (frames, mels) at another number of columns (mels, columns), bilinear and antialiased as PIL does it."""
    return (_resizing(len(image), columns) @ image).T.astype(np.float32)


@lru_cache(maxsize=256)
def _resizing(before: int, after: int) -> scipy.sparse.csr_array:
    """The weights (after, before): a triangle around each new column's place, as wide as the coarser of the two grids."""
    step = before / after
    reach = max(step, 1.0)
    centre = (np.arange(after) + 0.5) * step - 0.5
    taps = np.ceil(centre - reach)[:, None].astype(int) + np.arange(math.floor(2 * reach) + 1)
    weights = np.maximum(0, 1 - np.abs(taps - centre[:, None]) / reach) * ((taps >= 0) & (taps < before))
    weights /= weights.sum(axis=1, keepdims=True)
    starts = np.arange(after + 1) * taps.shape[1]
    return scipy.sparse.csr_array((weights.ravel(), taps.clip(0, before - 1).ravel(), starts), shape=(after, before))
