"""A sound file becomes samples: mono, float32, at the asked rate."""

import re
from pathlib import Path

import numpy as np

from tla.errors import UserError

DECODED = frozenset(
    [".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64"]
)
SUFFIXES = DECODED | {".m4a", ".aac", ".wma"}  # these cannot be decoded, so they are named as bad and not passed over
STREAMED = (0x7FFFFFFF, 0xFFFFFFFF)  # what a header says whose writer did not know the length
OGG_PAGE = 27 + 255 + 255 * 255  # bytes of the largest Ogg page


class BadClip(UserError):
    """A sound file that cannot be used; the message names it and says what is wrong."""

    def __init__(self, path: Path, wrong: str) -> None:
        super().__init__(f"{path}: {wrong}")
        self.path, self.wrong = path, wrong

    def __reduce__(self) -> tuple[type, tuple[Path, str]]:  # so that it crosses from a worker process whole
        return type(self), (self.path, self.wrong)


def read(path: Path, rate: int | None = None) -> tuple[np.ndarray, int]:
    """Samples (mono mean of the channels) and their rate; `BadClip` if missing, unreadable, empty, cut off or not finite."""
    import soundfile

    if not path.is_file():
        raise BadClip(path, "there is no such file" if not path.exists() else "is not a file")
    if path.stat().st_size == 0:
        raise BadClip(path, "is empty (0 bytes)")
    try:
        with soundfile.SoundFile(path) as file:
            promised, own_rate, about, kind = file.frames, file.samplerate, file.extra_info, file.format
            samples = file.read(dtype="float32", always_2d=True).mean(axis=1)
    except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError) as error:
        raise BadClip(path, f"cannot be decoded ({str(error).rstrip('.')})") from None
    if len(samples) == 0:
        raise BadClip(path, "holds no samples")
    if len(samples) < promised or _is_cut_off(path, kind, about):
        raise BadClip(path, f"is cut off after {len(samples) / own_rate:.2f} s")
    if not np.isfinite(samples).all():
        raise BadClip(path, "holds NaN or infinite samples")
    return resample(samples, own_rate, rate or own_rate), rate or own_rate


def _is_cut_off(path: Path, kind: str, about: str) -> bool:
    """Whether a file ends before its own header or pages say it should; libsndfile passes over that."""
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


def resample(samples: np.ndarray, own_rate: int, rate: int) -> np.ndarray:
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
