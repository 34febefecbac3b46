"""A sound file becomes samples, or a clear word about what is wrong with it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tla.sound import audio
from tla.sound.audio import BadClip


@pytest.fixture
def samples() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, 96000).clip(-1, 1)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "au", "w64"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_that_is_cut_off_is_named(tmp_path: Path, samples: np.ndarray, suffix: str, share: float) -> None:
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    soundfile.write(whole, samples, 48000)
    assert abs(len(audio.read(whole)[0]) - len(samples)) < 3000  # mp3 pads
    cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    with pytest.raises(BadClip, match=r"cut off|cannot be decoded|holds no samples"):
        audio.read(cut)


def test_a_streamed_wav_whose_header_does_not_know_its_length_is_read(tmp_path: Path, samples: np.ndarray) -> None:
    file = tmp_path / "streamed.wav"
    soundfile.write(file, samples, 48000)
    content = bytearray(file.read_bytes())
    for name, shift in ((b"RIFF", 4), (b"data", 4)):
        start = content.index(name) + shift
        content[start : start + 4] = b"\xff\xff\xff\xff"
    file.write_bytes(content)
    assert len(audio.read(file)[0]) == len(samples)


def test_every_real_clip_is_whole(esc10: Path) -> None:
    for path in sorted((esc10 / "audio").glob("*.ogg"))[::10]:
        samples, rate = audio.read(path)
        assert rate == 44100
        assert 3.5 < len(samples) / rate < 7.5


def test_real_clips_that_are_cut_are_named(esc10: Path, tmp_path: Path) -> None:
    for path in sorted((esc10 / "audio").glob("*.ogg"))[::40]:
        for share in (0.5, 0.95):
            cut = tmp_path / path.name
            cut.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
            with pytest.raises(BadClip, match=r"cut off|cannot be decoded|holds no samples"):
                audio.read(cut)


def test_stereo_becomes_its_mean_at_the_asked_rate(tmp_path: Path) -> None:
    file = tmp_path / "stereo.wav"
    left = np.sin(2 * np.pi * 440 * np.arange(48000) / 48000) * 0.5
    soundfile.write(file, np.stack([left, np.zeros_like(left)], axis=1), 48000, subtype="FLOAT")
    samples, rate = audio.read(file, 22050)
    assert (rate, len(samples)) == (22050, 22050)
    assert np.abs(samples[2000:-2000]).max() == pytest.approx(0.25, abs=0.01)
    assert np.abs(np.fft.rfft(samples)).argmax() == 440


@pytest.mark.parametrize("name", ["voice.m4a", "voice.M4A", "film.mp4"])
def test_a_format_without_a_decoder_comes_with_the_command_that_converts_it(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"\x00\x00\x00\x20ftypM4A " + bytes(1000))
    suffix = file.suffix.lower()
    assert suffix == ".mp4" or audio.files(tmp_path) == [file], "a sound is named, and not passed over"
    with pytest.raises(BadClip, match=rf"cannot be decoded \(.*\); convert it first: ffmpeg -i NAME\{suffix} NAME\.wav"):
        audio.read(file)
    (tmp_path / "text.wav").write_bytes(b"hello")
    with pytest.raises(BadClip, match=r"cannot be decoded \(.*\)$"):
        audio.read(tmp_path / "text.wav")
