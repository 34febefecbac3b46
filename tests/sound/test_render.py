"""A mask becomes two sounds that add up to the clip: all, nothing, a band, a moment; and where pictures lie in a clip."""

import numpy as np
import pytest

from tla.options import Picture
from tla.sound import audio, render, spectrograms
from tla.sound.spectrograms import mel_frequencies, resolve, span, stitch


def options(rate: int = 22050, seconds: float = 1.0, frames: int = 50, **more: object) -> Picture:
    return resolve(Picture(**more), rate=rate, seconds=seconds, frames=frames)


def noise(length: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.2, length).astype(np.float32)


def power(samples: np.ndarray) -> float:
    return float(np.square(samples, dtype=np.float64).mean())


@pytest.mark.parametrize("rate", [44100, 22050, 16000])
@pytest.mark.parametrize("length", [2300, 22050, 30001])
def test_ones_let_the_clip_through_and_zeros_nothing(rate: int, length: int) -> None:
    samples, full = noise(length), options(rate, mels=64)
    heard, rest = render.split(samples, np.ones((64, 50)), full)
    np.testing.assert_allclose(heard, samples, atol=1e-6)
    np.testing.assert_allclose(rest, 0, atol=1e-6)
    heard, rest = render.split(samples, np.zeros((64, 50)), full)
    assert not heard.any()
    np.testing.assert_array_equal(rest, samples)


def test_the_rest_is_what_the_opposite_mask_lets_through() -> None:
    samples, full = noise(30000), options()
    mask = np.random.default_rng(1).random((128, 50))
    heard, rest = render.split(samples, mask, full)
    np.testing.assert_allclose(heard + rest, samples, atol=1e-6)
    np.testing.assert_allclose(render.split(samples, 1 - mask, full)[0], rest, atol=1e-6)
    assert 0.1 < power(heard) / power(samples) < 0.5


def test_gains_are_linear_between_the_bands_in_hertz() -> None:
    """The triangles add up to one between their peaks, so the transposed, normalised filterbank interpolates."""
    for rate in (44100, 22050):
        full = options(rate)
        mask = np.random.default_rng(2).random((128, 3))
        bins = np.linspace(0, rate // 2, spectrograms.fft_length(rate) // 2 + 1)
        wanted = np.stack([np.interp(bins, mel_frequencies(full), column) for column in mask.T], axis=1)
        np.testing.assert_allclose(render.gains(mask, full), wanted, atol=1e-9)


def test_a_band_of_the_mask_is_a_band_of_the_sound() -> None:
    full = options()
    time = np.arange(22050) / 22050
    low, high = (np.sin(2 * np.pi * hertz * time).astype(np.float32) for hertz in (300, 4000))
    mask = np.repeat(mel_frequencies(full)[:, None] < 1000, 50, axis=1).astype(float)
    heard, rest = render.split(low + high, mask, full)
    np.testing.assert_allclose(heard[2000:-2000], low[2000:-2000], atol=2e-3)
    np.testing.assert_allclose(rest[2000:-2000], high[2000:-2000], atol=2e-3)


@pytest.mark.parametrize(("place", "where"), [(None, slice(8820, 13230)), ((-22050, 44100), slice(4410, 17640))])
def test_columns_are_moments_of_the_span(place: tuple[int, int] | None, where: slice) -> None:
    """Two fifths to three fifths of the span; the second span begins a second before the clip and ends one after it."""
    mask = np.zeros((128, 50))
    mask[:, 20:30] = 1
    heard, _ = render.split(noise(22050), mask, options(), place)
    before, inside, after = heard[: where.start], heard[where], heard[where.stop :]
    edge = 1500  # half a window and a column
    np.testing.assert_allclose(inside[edge:-edge], noise(22050)[where][edge:-edge], atol=1e-6)
    assert power(before[:-edge]) < 1e-9 * power(inside)
    assert power(after[edge:]) < 1e-9 * power(inside)


def test_outside_the_span_all_is_rest() -> None:
    samples = noise(22050)
    heard, rest = render.split(samples, np.ones((128, 50)), options(), (5000, 15000))
    np.testing.assert_allclose(heard[6000:14000], samples[6000:14000], atol=1e-6)
    np.testing.assert_array_equal(rest[:4000], samples[:4000])
    np.testing.assert_array_equal(rest[16000:], samples[16000:])


def test_long_clips_are_inverted_in_blocks_that_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, mask = noise(70000), np.random.default_rng(3).random((128, 50))
    whole, _ = render.split(samples, mask, options())
    for frames in (17, 64):
        monkeypatch.setattr(render, "BLOCK_FRAMES", frames)
        np.testing.assert_allclose(render.split(samples, mask, options())[0], whole, atol=1e-6)


def test_the_strongest_cells_are_let_through_whole_and_the_others_in_proportion() -> None:
    attribution = np.zeros((3, 128, 50))
    attribution[0, 60:80, 10:20] = 2
    attribution[1, 20:40, 10:20] = 1
    attribution[2, 20:40, 30:40] = -5
    attribution[1, 60:80, 10:20] = -0.5  # the windows are summed before their sign counts
    smooth, mask = render.strength(attribution), render.mask(attribution)
    assert smooth[30, 15] / smooth[70, 15] == pytest.approx(1 / 1.5)
    assert smooth[smooth >= 1].sum() == pytest.approx(0.3 * smooth.sum(), rel=0.02)
    np.testing.assert_array_equal(mask, np.minimum(smooth, 1))
    assert not mask[20:40, 32:38].any()
    assert not render.mask(-attribution.clip(min=0)).any()
    assert not render.mask(np.zeros((3, 8, 8))).any()


@pytest.mark.parametrize("length", [9000, 22050, 22051, 30000])
def test_the_span_is_what_the_picture_shows(length: int) -> None:
    """A click in the middle of the clip, or at a place of its own, is in the column that the span says."""
    for how in ("stretch", "pad"):
        full = options(length=how, frames=100)
        start, stop = span(length, full)
        click = np.zeros(length, np.float32)
        place = length // 2 + 1500
        click[place] = 1
        loudest = spectrograms.picture(click, full)[0].sum(axis=0).argmax()
        assert loudest == pytest.approx((place - start) / (stop - start) * 100 - 0.5, abs=1.6)
    assert span(length, options()) == (0, length)


def test_windows_of_a_clip_are_put_side_by_side() -> None:
    """A line through all of a clip's windows is the same line, also where the last window overlaps."""
    cuts = audio.windows(22050 * 3 + 11025, 22050, 1.0)
    assert cuts == [(0, 22050), (22050, 44100), (44100, 66150), (55125, 77175)]
    images = np.stack([np.linspace(start, stop, 50, endpoint=False)[None] for start, stop in cuts])
    whole, place = stitch(images, cuts)
    assert place == (0, 77175)
    np.testing.assert_allclose(whole[0], np.arange(175) * 441)
    one, place = stitch(images[:1], cuts[:1])
    np.testing.assert_array_equal(one, images[0])
    assert place == (0, 22050)
