"""Pitch shift and time stretch: what they do to a tone, to a length, and beside librosa."""

import librosa
import numpy as np
import pytest

from tla.errors import UserError
from tla.sound.augment import SEMITONES, STRETCH, Kind, Variation, draw, parse_kind, vary


def tone(hertz: float, rate: int, seconds: float = 2.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate).astype(np.float32)


def pitch(samples: np.ndarray, rate: int) -> float:
    """The strongest frequency of the middle of a sound."""
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    return float(np.abs(np.fft.rfft(middle * np.hanning(len(middle)), n=2**20)).argmax() * rate / 2**20)


@pytest.mark.parametrize("rate", [44100, 22050, 8000])
@pytest.mark.parametrize("semitones", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("stretch", [0.9, 1.2])
def test_a_tone_moves_by_semitones_and_its_length_by_the_stretch(rate: int, semitones: int, stretch: float) -> None:
    varied = vary(tone(1000, rate), rate, Variation(semitones, stretch))
    cents = 1200 * np.log2(pitch(varied, rate) / (1000 * 2 ** (semitones / 12)))
    assert abs(cents) < 1.5
    assert len(varied) == round(2 * rate / stretch)
    assert varied.dtype == np.float32
    assert 0.8 < varied[rate // 4 : -rate // 4].std() * 2**0.5 < 1.05


@pytest.mark.parametrize("stretch", [0.9, 1.0, 1.13, 1.2])
def test_a_stretch_is_librosas(stretch: float) -> None:
    noise = np.random.default_rng(0).normal(size=44100)
    theirs = librosa.effects.time_stretch(noise, rate=stretch)  # of float64: its float32 phases are imprecise
    np.testing.assert_allclose(vary(noise, 44100, Variation(0, stretch)), theirs, atol=2e-5)


def sweep(seconds: float, start: float, end: float, rate: int = 22050) -> np.ndarray:
    steepness = np.log(end / start) / seconds
    time = np.arange(round(seconds * rate)) / rate
    return np.sin(2 * np.pi * start * np.expm1(steepness * time) / steepness).astype(np.float32)


@pytest.mark.parametrize("semitones", [-2, -1, 1, 2])
@pytest.mark.parametrize("stretch", [0.9, 1.2])
def test_a_sweep_becomes_the_shorter_higher_sweep_more_nearly_than_with_librosa(semitones: int, stretch: float) -> None:
    plain, shift = sweep(2, 200, 4000), 2 ** (semitones / 12)
    truth = sweep(2 / stretch, 200 * shift, 4000 * shift)
    ours = vary(plain, 22050, Variation(semitones, stretch))
    theirs = librosa.effects.pitch_shift(librosa.effects.time_stretch(plain, rate=stretch), sr=22050, n_steps=semitones)
    made = [librosa.feature.melspectrogram(y=y[: len(truth) - 1], sr=22050, power=1.0).ravel() for y in (truth, ours, theirs)]
    to_truth = np.corrcoef(made)[0]
    assert to_truth[1] > 0.9
    assert to_truth[1] > to_truth[2]


def test_an_event_moves_to_its_place_in_stretched_time() -> None:
    noise = np.random.default_rng(0).normal(size=44100).astype(np.float32)
    noise[:30000] = 0
    for variation in (Variation(0, 0.9), Variation(2, 1.2), Variation(-2, 0.9), Variation(1, 1.1)):
        begins = np.flatnonzero(np.abs(vary(noise, 44100, variation)) > 0.5)[0]
        assert begins == pytest.approx(30000 / variation.stretch, abs=1500)


def test_keep_keeps_the_length_and_the_stretch() -> None:
    sound = tone(500, 22050)
    long, short = (vary(sound, 22050, Variation(0, stretch), "keep") for stretch in (0.9, 1.2))
    assert len(long) == len(short) == len(sound)
    assert not short[:3600].any()
    assert not short[-3600:].any()
    assert np.array_equal(long, vary(sound, 22050, Variation(0, 0.9))[2450:-2450])


@pytest.mark.parametrize("samples", [1, 2, 100, 1213])
def test_very_short_sounds_and_silence(samples: int) -> None:
    varied = vary(np.zeros(samples, np.float32), 22050, Variation(2, 1.2))
    assert len(varied) == round(samples / 1.2)
    assert not varied.any()
    assert np.isfinite(vary(np.ones(samples, np.float32), 22050, Variation(-1, 0.9))).all()


def test_draw_covers_the_papers_ranges_evenly() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw(rng) for _ in range(2000)]
    shifts, counts = np.unique([one.semitones for one in drawn], return_counts=True)
    stretches = np.array([one.stretch for one in drawn])
    assert (SEMITONES, STRETCH) == ((-2, 2), (0.9, 1.2))
    assert shifts.tolist() == [-2, -1, 0, 1, 2]
    assert counts.min() > 340
    assert (stretches.min(), stretches.max()) == pytest.approx(STRETCH, abs=0.005)
    assert stretches.mean() == pytest.approx(1.05, abs=0.01)


def test_kinds() -> None:
    assert parse_kind("bank:4") == Kind("bank", 4)
    assert parse_kind("live") == Kind("live", 0)
    assert parse_kind("none") == Kind("none", 0)


@pytest.mark.parametrize("text", ["", "bank", "bank:", "bank:0", "bank:-1", "bank:x", "bank:1.5", "bank:²", "Live", "none:1"])
def test_unknown_kinds(text: str) -> None:
    with pytest.raises(UserError, match=r"augment\.kind is .*bank:K"):
        parse_kind(text)


def test_a_shift_beyond_the_range() -> None:
    with pytest.raises(ValueError, match="3 semitones"):
        vary(np.zeros(1000), 22050, Variation(3, 1.0))
