"""A sound file becomes samples: mono, float32, at the asked rate."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tla.console import UNPRINTABLE, printable
from tla.errors import UserError

if TYPE_CHECKING:
    from soundfile import SoundFile

DECODED = frozenset(
    [".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64"]
)
SUFFIXES = DECODED | {".m4a", ".m4b", ".aac", ".wma", ".amr", ".ape", ".wv", ".weba", ".mka"}
"""Also of sounds that cannot be decoded, so that they are named as bad and not passed over."""
STREAMED = (0x7FFFFFFF, 0xFFFFFFFF)  # what a header holds whose writer did not know the length
UNKNOWN = (1 << 63) - 1  # what libsndfile gives where a file does not state how many samples it has
OGG_PAGE = 27 + 255 + 255 * 255  # bytes of the largest Ogg page
MOST_SAMPLES = (
    1 << 28
)  # of a clip, 101 minutes at 44.1 kHz: a header may promise, and a packed file hold, more than fits in memory
MOST_BYTES = 1 << 32  # of a file: more would be read for minutes only to be refused
LOWEST_HZ = 100  # a slower file is no sound, and brought to the rate of one would be hundreds of times as long
IN_MEMORY = Path("samples")  # stands where a file's path would, in what is said of a sound that is none
_BLOCK = 1 << 22  # values decoded at a time


class BadClip(UserError):
    """A sound file that cannot be used; the message names it and what is wrong."""

    def __init__(self, path: Path, wrong: str) -> None:
        super().__init__(f"{printable(str(path))}: {wrong}")
        self.path, self.wrong = path, wrong

    def __reduce__(self) -> tuple[type, tuple[Path, str]]:  # so that it crosses from a worker process whole
        return type(self), (self.path, self.wrong)


def read(path: Path, rate: int | None = None) -> tuple[np.ndarray, int]:
    """Samples (mono mean of the channels) and their rate; `BadClip` if missing, unreadable, empty, cut off or not finite."""
    with _opened(path) as file:
        promised, own_rate, about, kind = file.frames, file.samplerate, file.extra_info, file.format
        _must_be_sound(path, promised, own_rate, rate or own_rate)
        samples = _mono(file)
    if len(samples) == 0:
        raise BadClip(path, "holds no samples")
    _must_be_sound(path, len(samples), own_rate, rate or own_rate)
    if len(samples) < promised or _is_cut_off(path, kind, about):
        raise BadClip(path, f"is cut off after {len(samples) / own_rate:.2f} s")
    return _at_rate(path, samples, own_rate, rate or own_rate), rate or own_rate


def from_memory(samples: Any, own_rate: float, rate: int) -> np.ndarray:
    """Mono samples at the asked rate: those that `read` gives of a file that holds `samples`; `BadClip` where it gives none.

    samples: floats, of which 1.0 is full scale, as array or tensor: (samples,), or (channels, samples), or (samples, channels).
    """
    values = np.asarray(samples.detach().cpu() if hasattr(samples, "detach") else samples)
    if values.dtype.kind != "f":
        raise BadClip(IN_MEMORY, f"are {values.dtype}, and have to be floats of which 1.0 is full scale: int16 / 32768")
    if values.ndim not in (1, 2):
        raise BadClip(IN_MEMORY, f"are of shape {values.shape}, and have to be (samples,) or (channels, samples)")
    if values.size == 0:
        raise BadClip(IN_MEMORY, "holds no samples")
    _must_be_sound(IN_MEMORY, max(values.shape), own_rate, rate)
    with np.errstate(over="ignore", invalid="ignore"):  # a mean that is not finite is refused below
        values = values.astype(np.float32)
        if values.ndim == 2:
            values = np.ascontiguousarray(values.T if values.shape[0] < values.shape[1] else values).mean(axis=1)
    return _at_rate(IN_MEMORY, values, own_rate, rate)


def _at_rate(path: Path, samples: np.ndarray, own_rate: float, rate: int) -> np.ndarray:
    if np.isfinite(samples).all():
        samples = resample(samples, own_rate, rate)
    if not np.isfinite(samples).all():  # numbers near the largest there are become infinite when they are resampled
        raise BadClip(path, "holds NaN or infinite samples")
    return samples


def header(path: Path) -> tuple[int, float]:
    """Rate and seconds of a sound file, as its header states them; `BadClip` if it does not, or cannot be opened."""
    with _opened(path) as file:
        frames, rate = file.frames, file.samplerate
    _must_be_sound(path, frames, rate, rate)
    if frames == 0:
        raise BadClip(path, "holds no samples")
    return rate, frames / rate


@contextmanager
def _opened(path: Path) -> Iterator["SoundFile"]:
    """A sound file, opened; `BadClip`, if that or what is done with it fails."""
    import soundfile

    _must_be_file(path)
    try:
        with soundfile.SoundFile(path) as file:
            yield file
    except soundfile.LibsndfileError as error:
        raise _not_decoded(path, error.error_string) from None
    except (RuntimeError, OSError, ValueError) as error:
        raise _not_decoded(path, str(error)) from None


def _not_decoded(path: Path, why: str) -> BadClip:
    """The refusal of a file, with the command that makes one that can be decoded where its format has no decoder here.

    What is wrong does not name the file, which may be a copy of the clip on another machine.
    """
    suffix = path.suffix.lower()
    hint = "" if suffix in DECODED else f"; convert it first: ffmpeg -i NAME{suffix} NAME.wav"
    return BadClip(path, f"cannot be decoded ({printable(why.rstrip('.'))}){hint}")


def _must_be_file(path: Path) -> None:
    """Refuse what is no file with something in it, such as a pipe, which would be waited at for ever."""
    if UNPRINTABLE.search(path.name):
        raise BadClip(path, "has a name with control characters, or one that is not UTF-8; rename it")
    try:
        if not path.is_file():
            raise BadClip(path, "there is no such file" if not path.exists() else "is not a file")
        if path.stat().st_size == 0:
            raise BadClip(path, "is empty (0 bytes)")
        if path.stat().st_size > MOST_BYTES:
            raise BadClip(path, f"has {path.stat().st_size} bytes, and a clip {MOST_BYTES} at most; cut it up")
    except OSError as error:
        raise BadClip(path, f"cannot be opened ({error.strerror})") from None


def _must_be_sound(path: Path, length: int, own_rate: float, rate: int) -> None:
    """Refuse a rate or a length that no clip has."""
    if length == UNKNOWN:
        raise BadClip(path, "does not say how long it is, as a sent stream may; convert it to a file that does")
    if own_rate < LOWEST_HZ:
        raise BadClip(path, f"is sampled at {own_rate} Hz, and a sound takes {LOWEST_HZ} at least")
    if length * max(1.0, rate / own_rate) > MOST_SAMPLES:
        hours, most = length / own_rate / 3600, MOST_SAMPLES / max(rate, own_rate) / 3600
        raise BadClip(
            path, f"is {hours:.1f} h long, or says so, and at {own_rate} Hz a clip has {most:.1f} h at most; cut it up"
        )


def _mono(file: "SoundFile") -> np.ndarray:
    """The mean of the channels, decoded block by block and no further than a clip may go."""
    blocks, length, frames = [np.zeros(0, np.float32)], 0, max(1, _BLOCK // file.channels)
    with np.errstate(over="ignore", invalid="ignore"):  # a mean that is not finite is for the caller to refuse
        while length <= MOST_SAMPLES and len(block := file.read(frames, dtype="float32", always_2d=True)):
            blocks.append(block.mean(axis=1))
            length += len(block)
    return blocks[1] if len(blocks) == 2 else np.concatenate(blocks)


def _is_cut_off(path: Path, kind: str, about: str) -> bool:
    """Whether a file ends before the end that its own header or pages state; libsndfile passes over that."""
    sizes = re.search(r"^\s*(?:data|SSND|Data Size|riff)\s*:\s*(\d+) \(should be (\d+)\)", about, re.MULTILINE)
    if sizes and int(sizes[1]) not in STREAMED and int(sizes[1]) > int(sizes[2]):
        return True
    if kind != "OGG":
        return False
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - OGG_PAGE))
        tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0 or len(tail) < page + 27 or not tail[page + 5] & 4:  # the last page carries the end-of-stream bit
        return True
    segments = tail[page + 27 : page + 27 + tail[page + 26]]
    return page + 27 + tail[page + 26] + sum(segments) > len(tail)


def resample(samples: np.ndarray, own_rate: float, rate: int) -> np.ndarray:
    """The samples at another rate."""
    if own_rate == rate:
        return samples
    import librosa

    return librosa.resample(samples, orig_sr=own_rate, target_sr=rate)


WHOLE_UPTO = 1.5  # of the nominal length: a clip up to here is one picture, a longer one is cut


def files(path: Path) -> list[Path]:
    """A file itself, or every sound file below a folder, in order of name."""
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file() and not p.name.startswith("._"))
    if not found:
        raise UserError(f"{path}: no sound files in this folder (looked for {', '.join(sorted(DECODED))})")
    return found


def windows(length: int, rate: int, seconds: float) -> list[tuple[int, int]]:
    """Where the windows of a clip of so many samples begin and end: one of about the nominal length is one window; a longer one
    is cut into windows of that length, the last one flush with the end.
    """
    width = round(seconds * rate)
    if length <= WHOLE_UPTO * width:
        return [(0, length)]
    return [(start, start + width) for start in (*range(0, length - width, width), length - width)]
