"""Pictures: equal to librosa and PIL, exact silence, golden sizes, and options that make no sense."""

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from PIL import Image

from tla.errors import UserError
from tla.options import Picture
from tla.sound import spectrograms
from tla.sound.spectrograms import SILENCE, picture, resolve, to_length, window_and_hop


def options(rate: int = 44100, seconds: float = 1.0, frames: int = 250, **more: object) -> Picture:
    return resolve(Picture(**more), rate=rate, seconds=seconds, frames=frames)


def triangles(rate: int, n_fft: int, mels: int) -> np.ndarray:
    """HTK triangles of height 1 (mels, bins), band by band from the textbook."""
    bins = np.linspace(0, rate // 2, n_fft // 2 + 1)
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + (rate // 2) / 700), mels + 2) / 2595) - 1)
    bands = [np.interp(bins, edges[m : m + 3], [0, 1, 0], left=0, right=0) for m in range(mels)]
    return np.array(bands)


def by_librosa(samples: np.ndarray, rate: int, mels: int = 128, frames: int = 250) -> np.ndarray:
    n_fft, channels = round(0.1 * rate), []
    for window, hop in ((0.025, 0.010), (0.050, 0.025), (0.100, 0.050)):
        sizes = {"n_fft": n_fft, "win_length": round(window * rate), "hop_length": round(hop * rate)}
        power = np.abs(librosa.stft(samples, **sizes, center=True, pad_mode="reflect")) ** 2
        log_mel = np.log(triangles(rate, n_fft, mels) @ power + 1e-6).astype(np.float32)
        channels.append(np.asarray(Image.fromarray(log_mel).resize((frames, mels), Image.Resampling.BILINEAR)))
    return np.stack(channels)


def sounds(rate: int) -> dict[str, np.ndarray]:
    rng, time = np.random.default_rng(0), np.arange(rate) / rate
    loud_then_silent = np.sin(2 * np.pi * 440 * time) * (time < 0.5)
    made = {
        "noise": rng.normal(size=rate) * 0.1,
        "full-scale tone": np.sin(2 * np.pi * 997 * time),
        "loud, then silent": loud_then_silent,
        "low rumble under a whisper": np.sin(2 * np.pi * 60 * time) + 1e-5 * rng.normal(size=rate),
        "click": np.eye(1, rate, rate // 3)[0],
        "odd length": rng.normal(size=rate // 2 + 77),
        "just below the shortcut's end": 1.49 * np.sin(2 * np.pi * 440 * time),
        "far beyond full scale": 64 * np.sin(2 * np.pi * 440 * time),
        "integers written as floats": 10_000 * np.sin(2 * np.pi * 440 * time),
    }
    return {name: samples.astype(np.float32) for name, samples in made.items()}


@pytest.mark.parametrize("rate", [44100, 22050, 16000, 11025])
def test_equals_librosa_and_pil_on_made_sounds(rate: int) -> None:
    mels = 128 if rate > 16000 else 64
    for name, samples in sounds(rate).items():
        ours = picture(samples, options(rate, mels=mels))
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, by_librosa(samples, rate, mels), atol=1e-4, rtol=0, err_msg=name)


@pytest.mark.parametrize("rate", [44100, 22050])
def test_equals_librosa_and_pil_on_real_clips(esc10: Path, rate: int) -> None:
    for path in sorted((esc10 / "audio").glob("*.ogg"))[::50]:
        samples, own = soundfile.read(path, dtype="float32")
        samples = samples if own == rate else librosa.resample(samples, orig_sr=own, target_sr=rate)
        np.testing.assert_allclose(picture(samples, options(rate)), by_librosa(samples, rate), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("mels", "frames"), [(64, 250), (128, 101), (40, 64), (1, 1), (128, 37), (13, 1500)])
def test_other_sizes(mels: int, frames: int) -> None:
    samples = sounds(44100)["noise"]
    ours = picture(samples, options(frames=frames, mels=mels))
    assert ours.shape == (3, mels, frames)
    np.testing.assert_allclose(ours, by_librosa(samples, 44100, mels, frames), atol=1e-4, rtol=0)


@pytest.mark.parametrize("rate", [44100, 22050])
def test_silence_is_exactly_the_log_floor(rate: int) -> None:
    assert pytest.approx(-13.8155, abs=1e-4) == SILENCE
    assert set(picture(np.zeros(rate, np.float32), options(rate)).ravel()) == {np.float32(SILENCE)}


def test_windows_and_hops_in_samples() -> None:
    def sizes(rate: int) -> list[tuple[int, int]]:
        return [window_and_hop(rate, *window) for window in spectrograms.WINDOWS_S]

    assert sizes(44100) == [(1102, 441), (2205, 1102), (4410, 2205)]
    assert sizes(22050) == [(551, 220), (1102, 551), (2205, 1102)]
    assert (spectrograms.fft_length(44100), spectrograms.fft_length(22050)) == (4410, 2205)


def test_one_window_is_the_first_repeated() -> None:
    samples = sounds(22050)["noise"]
    one, three = (picture(samples, options(22050, windows=windows)) for windows in ("one", "three"))
    assert np.array_equal(one, np.stack([three[0]] * 3))


def test_pad_puts_silence_around_and_crop_keeps_the_middle() -> None:
    samples = sounds(22050)["noise"]
    padded = picture(samples, options(22050, seconds=3.0, length="pad"))
    assert (padded[:, :, :60] == np.float32(SILENCE)).all()
    assert (padded[:, :, -60:] == np.float32(SILENCE)).all()
    assert (padded[:, :, 110:140] > SILENCE + 1).all()
    cropped = picture(samples, options(22050, seconds=0.5, length="pad"))
    start = (22050 - 11025) // 2
    np.testing.assert_array_equal(cropped, picture(samples[start:][:11025], options(22050)))


@pytest.mark.parametrize(("given", "wanted"), [(10, 10), (10, 7), (10, 4), (9, 4), (3, 8), (3, 9), (1, 0)])
def test_to_length(given: int, wanted: int) -> None:
    samples = np.arange(1, given + 1)
    result = to_length(samples, wanted)
    inside = result[result > 0]
    assert len(result) == wanted
    assert np.array_equal(inside, samples[samples.searchsorted(inside[0]) :][: len(inside)] if len(inside) else inside)
    left, right = (inside[0] - 1, given - inside[-1]) if wanted < given and len(inside) else (0, 0)
    assert abs(left - right) <= 1


def test_too_few_samples() -> None:
    full = options()
    assert picture(np.ones(spectrograms.shortest(full), np.float32), full).shape == (3, 128, 250)
    with pytest.raises(ValueError, match="too short for a picture: 2205 samples at 44100 Hz, and it takes 2206"):
        picture(np.ones(2205, np.float32), full)


def test_open_options_come_from_the_data_set_and_given_ones_stay() -> None:
    assert resolve(Picture(frames=99), rate=22050, seconds=30.0, frames=1500) == Picture(rate=22050, seconds=30.0, frames=99)
    with pytest.raises(ValueError, match="resolve"):
        picture(np.zeros(44100), Picture())


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"mels": 0}, "0 mels x 250 frames"),
        ({"frames": 0}, "128 mels x 0 frames"),
        ({"rate": 100}, "rate is 100 Hz; give at least 1000"),
        ({"seconds": 0.01}, "seconds is 0.01"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"mels": 1000}, "mels is 1000, which at 44100 Hz leaves bands without"),
        ({"rate": 2000}, "mels is 128, which at 2000 Hz"),
    ],
)
def test_options_without_sense(wrong: dict, match: str) -> None:
    with pytest.raises(UserError, match=match):
        resolve(Picture(**wrong), rate=44100, seconds=5.0, frames=250)


def test_axes() -> None:
    full = options(seconds=5.0)
    time = np.arange(44100) / 44100
    for hertz in (500, 3000, 12000):
        loudest = picture(np.sin(2 * np.pi * hertz * time).astype(np.float32), full)[2].mean(axis=1).argmax()
        assert spectrograms.mel_frequencies(full)[loudest] == pytest.approx(hertz, rel=0.03)
    assert spectrograms.column_seconds(full)[[0, -1]] == pytest.approx([0.01, 4.99])
