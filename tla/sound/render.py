"""A mask over a picture's cells becomes sound: what it lets through of the clip, and the rest.

The mask (mels, columns) goes back through the mel filterbank onto the clip's own short-time spectrum, which is scaled by it
and inverted with its own phase. The spectrum has the filterbank's frequencies (the FFT length of the pictures), a Hann window
of 50 ms, the middle one of the picture's three, and a hop of a quarter of it. The mask scales amplitudes.
"""

from typing import Any

import numpy as np

from tla.options import Picture
from tla.sound.spectrograms import fft_length, filterbank, resolved, window_and_hop

WINDOW_S, HOP_S = 0.050, 0.0125
SMOOTH_CELLS = 2  # standard deviation of the Gaussian
STRONGEST = 0.3  # share of the smoothed positive attribution that is let through whole
BLOCK_FRAMES = 2000  # inverted at a time, so that a long clip's spectrum need not fit into memory


def strength(attribution: np.ndarray) -> np.ndarray:
    """How strongly an attribution (windows, mels, columns) supports its target around each cell (mels, columns).

    What is positive of its sum over the windows, smoothed, as a multiple of the level above which three tenths of it lie.
    Positive first, then smoothed: signs alternate from cell to cell, and a smoothed sum is spots that sound like nothing.
    """
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(attribution.sum(axis=0, dtype=np.float64).clip(min=0), SMOOTH_CELLS)
    if not smooth.any():
        return smooth
    descending = np.sort(smooth, axis=None)[::-1]
    gathered = np.cumsum(descending)
    return smooth / descending[np.searchsorted(gathered, STRONGEST * gathered[-1])]


def mask(attribution: np.ndarray) -> np.ndarray:
    """What is listened to, from 0 to 1 (mels, columns): all of the strongest cells, of the others in proportion to them."""
    return strength(attribution).clip(max=1)


def split(
    samples: np.ndarray, mask: np.ndarray, options: Picture, span: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mono `samples` as two sounds that add up to them: what the mask lets through, and the rest.

    The mask's columns lie evenly between the samples of `span`, by default the whole clip; what lies outside it is rest.
    """
    samples = np.asarray(samples, np.float32)
    passed = _through(samples, mask, options, span or (0, len(samples)))
    return passed, samples - passed


def gains(mask: np.ndarray, options: Picture) -> np.ndarray:
    """The mask at each of the FFT's frequencies (bins, columns): the mean of the bands that cover it, weighted."""
    bank = filterbank(resolved(options)[0], options.mels).copy()
    bank[0, 0] = bank[-1, -1] = 1  # the two ends, which no band covers, go with the band beside them
    return bank / bank.sum(axis=1, keepdims=True) @ mask


def _through(samples: np.ndarray, mask: np.ndarray, options: Picture, span: tuple[int, int]) -> np.ndarray:
    import librosa

    rate, by_bin = resolved(options)[0], gains(mask, options)
    (window, hop), n_fft = window_and_hop(rate, WINDOW_S, HOP_S), fft_length(rate)
    sizes: dict[str, Any] = {"n_fft": n_fft, "win_length": window, "hop_length": hop}
    margin = -(-n_fft // hop) * hop  # frames further away than this do not reach into a block
    passed = np.empty_like(samples)
    for start in range(0, len(samples), BLOCK_FRAMES * hop):
        first, stop = max(0, start - margin), min(len(samples), start + BLOCK_FRAMES * hop)
        part = samples[first : stop + margin].astype(np.float64)
        part = np.pad(part, (0, max(0, n_fft - len(part))))  # the transform wants one frame at least
        spectrum = librosa.stft(part, pad_mode="constant", **sizes)
        centres = np.minimum(first + hop * np.arange(spectrum.shape[1]), len(samples))
        spectrum *= _at(by_bin, centres, span)
        passed[start:stop] = librosa.istft(spectrum, length=len(part), **sizes)[start - first : stop - first]
    return passed


def _at(columns: np.ndarray, places: np.ndarray, span: tuple[int, int]) -> np.ndarray:
    """Columns (bins, columns) at other places (bins, places): linear between their centres, zero outside the span."""
    start, stop = span
    count = columns.shape[1]
    where = ((places - start) * (count / (stop - start)) - 0.5).clip(0, count - 1)
    left = np.minimum(where.astype(int), max(count - 2, 0))
    right, share = np.minimum(left + 1, count - 1), where - left
    values = columns[:, left] * (1 - share) + columns[:, right] * share
    return values * ((places >= start) & (places <= stop))
