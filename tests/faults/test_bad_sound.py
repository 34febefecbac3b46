"""Sound files that are broken, odd or hostile: each is heard rightly, or refused in one line that names it.

Whether a file is heard rightly is told by samples that never went through the reader under test: those that the file was built
of, or what scipy reads of the same bytes.
"""

import io
import json
import os
import shutil
import struct
import time
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import scipy.io.wavfile
import soundfile

from tla import cli, data, ig, predict
from tla.errors import UserError
from tla.options import Augment, Picture, Place, Recipe, Study
from tla.sound import audio, check
from tla.sound.audio import BadClip
from tla.sound.clips import load
from tla.sound.spectrograms import picture, shortest
from tla.sound.store import open_store

RATE = 22050
OPTIONS = Picture(mels=32, frames=40, rate=RATE, seconds=0.5)
SECONDS = 120.0  # in which each file has to be done with, on however busy a machine


@dataclass(frozen=True)
class Case:
    """A file: its name, its bytes or how it is put there, and what is in it."""

    name: str
    content: bytes | Callable[[Path], object]
    want: np.ndarray | None = None
    """Its mono samples, at its rate; None: it has to be refused."""
    rate: int = RATE
    loose: bool = False
    """Its format loses something."""
    free: bool = False
    """Nobody can say what it holds: it is refused, or heard as scipy hears it."""


# Building


@pytest.fixture(scope="session")
def clips(request: pytest.FixtureRequest) -> list[np.ndarray]:
    """Half seconds of real clips, as 16-bit samples; of synthetic ones where there are no real ones."""
    try:
        folder, pattern = request.getfixturevalue("esc10"), "*.ogg"
    except pytest.skip.Exception:
        folder, pattern = request.getfixturevalue("few_sounds"), "*.wav"
    found = []
    for path in sorted(folder.rglob(pattern))[:: 20 if pattern == "*.ogg" else 10]:
        samples, _ = soundfile.read(path, frames=30000, dtype="int16", always_2d=True)
        loudest = int(np.abs(samples[:, 0].astype(int)).argmax())
        found.append(samples[:, 0][max(0, loudest - RATE // 4) :][: RATE // 2])
    return [clip for clip in found if len(clip) > RATE // 4 and np.abs(clip.astype(int)).max() > 1000]


KINDS = {"u8": (8, 1), "i16": (16, 1), "i24": (24, 1), "i32": (32, 1), "f32": (32, 3), "f64": (64, 3)}


def encoded(samples: np.ndarray, kind: str, end: str = "<") -> tuple[bytes, np.ndarray]:
    """16-bit samples (frames, channels) as bytes of another kind, and their values."""
    values = samples.astype(np.float64) / 32768
    if kind == "u8":
        eight = (samples >> 8) + 128
        return eight.astype(np.uint8).tobytes(), (eight - 128) / 128
    if kind == "i24":
        wide = (samples.astype(np.int32) << 16).astype(end + "i4").tobytes()
        cells = np.frombuffer(wide, np.uint8).reshape(-1, 4)
        return (cells[:, 1:] if end == "<" else cells[:, :3]).tobytes(), values
    if kind == "i32":
        return (samples.astype(np.int32) << 16).astype(end + "i4").tobytes(), values
    return {"i16": samples, "f32": values, "f64": values}[kind].astype(
        end + kind[0] + str(int(kind[1:]) // 8)
    ).tobytes(), values


def wav(
    body: bytes,
    *,
    rate: int = RATE,
    channels: int = 1,
    bits: int = 16,
    tag: int = 1,
    end: str = "<",
    size: int | None = None,
    align: int | None = None,
    before: bytes = b"",
    after: bytes = b"",
    extensible: bool = False,
) -> bytes:
    """A wave file, with whatever in its header."""
    align = channels * bits // 8 if align is None else align
    kind = 0xFFFE if extensible else tag
    fmt = struct.pack(end + "HHIIHH", kind, channels, rate, rate * align & 0xFFFFFFFF, align & 0xFFFF, bits)
    if extensible:
        rest = b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
        fmt += struct.pack(end + "HHIH", 22, bits, 0, tag) + rest
    length = len(body) if size is None else size
    chunks = b"WAVEfmt " + struct.pack(end + "I", len(fmt)) + fmt + before + b"data" + struct.pack(end + "I", length) + body
    whole = chunks + b"\0" * (len(body) % 2) + after
    return (b"RIFF" if end == "<" else b"RIFX") + struct.pack(end + "I", len(whole) & 0xFFFFFFFF) + whole


def rf64(body: bytes) -> bytes:
    """The same in the format for more than 4 GB: the lengths are in a chunk of their own."""
    plain = wav(body)
    sizes = struct.pack("<QQQI", len(plain) + 28, len(body), len(body) // 2, 0)
    whole = b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<I", len(sizes)) + sizes + plain[12:]
    return whole.replace(b"data" + struct.pack("<I", len(body)), b"data\xff\xff\xff\xff", 1)


def written(clip: np.ndarray, form: str, **how: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, clip, RATE, format=form, **how)
    return file.getvalue()


# The cases


def containers(clips: list[np.ndarray], rng: np.random.Generator) -> Iterator[Case]:
    """Every width, channel count, byte order and header that there is, with chunks before and litter behind."""
    note = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf58.29.100\0"
    for kind, (bits, tag) in KINDS.items():
        for channels in (1, 2, 8, 300):
            for form in ("plain", "big-endian", "extensible", "chunk before", "litter behind"):
                if (form == "big-endian" and kind == "u8") or (channels == 300 and form != "plain"):
                    continue
                clip = clips[rng.integers(len(clips))]
                samples = np.stack([np.roll(clip, 7 * k) for k in range(channels)], axis=1)[: 4000 if channels == 300 else None]
                end = ">" if form == "big-endian" else "<"
                body, values = encoded(samples, kind, end)
                more = {"chunk before": {"before": note}, "litter behind": {"after": rng.bytes(999)}}.get(form, {})
                made = wav(body, bits=bits, tag=tag, channels=channels, end=end, extensible=form == "extensible", **more)
                yield Case(f"{kind} x {channels}, {form}", made, values.mean(axis=1))
    for clip in clips[:3]:
        yield Case("rf64", rf64(clip.tobytes()), clip / 32768)


def rates(clips: list[np.ndarray], rng: np.random.Generator) -> Iterator[Case]:
    clip = clips[0]
    body, values = clip.tobytes(), clip / 32768
    for rate in (0, 1, 2, 7, 50, 99, 1 << 31, (1 << 31) + 1, (1 << 32) - 1):
        yield Case(f"rate {rate}", wav(body, rate=rate))
    for rate in (441, 999, 8000, 11025, 16000, 44100, 96000, 192000, 384000, 1_000_000):
        few = rate if rate < 8000 else len(clip)  # a second at most, as time is not what is tested
        yield Case(f"rate {rate}", wav(body[: 2 * few], rate=rate), values[:few], rate=rate)


def fields(clips: list[np.ndarray], rng: np.random.Generator) -> Iterator[Case]:
    """Single fields of the header that cannot be, or contradict the others."""
    clip = clips[1]
    body, values = clip.tobytes(), clip / 32768
    for channels in (0, 1025, 40000, 65535):
        yield Case(f"channels {channels}", wav(body, channels=channels))
    for bits in (0, 33, 64, 128, 255, 65535):
        yield Case(f"bits {bits}", wav(body, bits=bits))
    for tag in (0, 2, 3, 17, 49, 80, 85, 255, 0xFFFE, 0xFFFF):
        yield Case(f"format {tag}", wav(body, tag=tag))
    for align in (0, 1, 3, 4, 65535):
        yield Case(f"align {align}", wav(body, align=align), values)
    for size in (0x7FFFFFFF, 0xFFFFFFFF):
        yield Case(f"length not known, {size:x}", wav(body, size=size), values)
    for size in (0, 1, len(body) + 2, len(body) + 1000, 1 << 30, 0x80000000, 0xFFFFFF00):
        yield Case(f"length {size}", wav(body, size=size))
    for size in (2, 4000, 4001, len(body) - 2):  # what is behind it is no part of it
        yield Case(f"length {size}", wav(body, size=size), values[: size // 2])


def numbers(clips: list[np.ndarray], rng: np.random.Generator) -> Iterator[Case]:
    """Samples that are no numbers, or larger than any sound."""
    clip = clips[2].astype(np.float64) / 32768
    for value in (np.nan, -np.nan, np.inf, -np.inf, 1e300):
        for width, place in ((64, 0), (64, -1), (32, len(clip) // 2), (32, -1)):
            spoilt = clip.copy()
            spoilt[place] = value
            with np.errstate(over="ignore"):
                yield Case(f"{value} at {place}", wav(spoilt.astype(f"f{width // 8}").tobytes(), bits=width, tag=3))
    for value in (1e38, 3e38):
        pair = np.full((8000, 2), value, np.float32)  # their sum is infinite
        yield Case(f"two of {value}", wav(pair.tobytes(), bits=32, tag=3, channels=2), pair[:, 0] if value == 1e38 else None)
    opposite = np.stack([np.full(8000, np.inf), np.full(8000, -np.inf)], axis=1).astype(np.float32)
    yield Case("inf - inf", wav(opposite.tobytes(), bits=32, tag=3, channels=2))
    for value in (1e38, 1e20, 1e-38, 1e-45, 0.0, -0.0, 2.0):
        steady = np.full(8000, value, np.float32)
        yield Case(f"all {value}", wav(steady.tobytes(), bits=32, tag=3), steady)


def cut(clips: list[np.ndarray], rng: np.random.Generator) -> Iterator[Case]:
    """Files that end too early: at each byte of the header, and anywhere behind it."""
    whole = wav(clips[3].tobytes())
    for length in (*range(1, 44), 45, 46, 100, 4097, len(whole) - 100, len(whole) - 1):
        yield Case(f"cut at {length}", whole[:length])
    for form in ("OGG", "FLAC", "AIFF", "AU", "W64", "MP3"):
        packed = written(np.tile(clips[3], 3), form)
        for share in (0.02, 0.3, 0.7, 0.95):
            yield Case(f"{form} cut at {share}", packed[: int(share * len(packed))])


def renamed(clips: list[np.ndarray], rng: np.random.Generator) -> Iterator[Case]:
    """Sound under the name of another format: it is known by what it holds."""
    clip = clips[4]
    for form in ("OGG", "FLAC", "MP3", "AIFF", "AU", "CAF", "W64"):
        packed = written(clip, form)
        want = soundfile.read(io.BytesIO(packed))[0]
        for name in (f"{form} called wav.wav", f"{form}.aiff"):
            yield Case(name, packed, want, loose=form in ("OGG", "MP3"))
    for suffix in ("flac", "ogg", "mp3", "aiff"):
        yield Case(f"wav.{suffix}", wav(clip.tobytes()), clip / 32768)


def strangers(clips: list[np.ndarray], rng: np.random.Generator) -> Iterator[Case]:
    """What is no sound."""
    import zipfile

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.wav", wav(clips[0].tobytes()))
    from PIL import Image

    image = {form: io.BytesIO() for form in ("PNG", "JPEG", "GIF")}
    for form, file in image.items():
        Image.fromarray(rng.integers(0, 255, (32, 32), np.uint8)).save(file, form)
        yield Case(f"a picture, {form}.wav", file.getvalue())
    contents = [b"", b"\0", b"hello\n", "ein süßer Text\n".encode() * 50, b"<html><body>404</body></html>", b'{"a": [1, 2]}']
    contents += [packed.getvalue(), b"%PDF-1.7\n", b"\x7fELF" + bytes(100), b"\x80\x04\x95cos\nsystem\n(S'true'\ntR."]
    contents += [b"RIFF", b"RIFX", b"RF64", b"OggS", b"fLaC", b"ID3", b"FORM", b".snd", b"riff", b"caff", b"\xff\xfb"]
    contents += [each + rng.bytes(3000) for each in contents[-11:]] + [bytes(100_000), rng.bytes(100_000)]
    for number, content in enumerate(contents):
        yield Case(f"stranger {number}", content)


def flips(clips: list[np.ndarray], rng: np.random.Generator) -> Iterator[Case]:
    """Bytes of the header changed at random."""
    for number in range(70):
        clip = clips[rng.integers(len(clips))]
        spoilt = bytearray(wav(clip.tobytes()))
        for _ in range(rng.integers(1, 4)):
            spoilt[rng.integers(44)] = rng.integers(256)
        yield Case(f"flipped {number}", bytes(spoilt), free=True)
    for form in ("OGG", "FLAC", "MP3"):
        packed = written(clips[5], form)
        for number in range(8):
            spoilt = bytearray(packed)
            for place in rng.integers(0, len(packed), 5):
                spoilt[place] ^= 1 << rng.integers(8)
            yield Case(f"flipped {form} {number}", bytes(spoilt), free=True)


def bombs(clips: list[np.ndarray], rng: np.random.Generator) -> Iterator[Case]:
    """Files that promise or hold far more than the memory, and files without an end."""

    def sparse(content: bytes) -> Callable[[Path], object]:
        def put(path: Path) -> None:
            path.write_bytes(content)
            os.truncate(path, 1 << 42)

        return put

    body = clips[0].tobytes()
    yield Case("4 TB of silence", sparse(wav(body, size=0xFFFFFFFF)))
    large = bytearray(rf64(body))
    large[20:36] = struct.pack("<QQ", 1 << 42, (1 << 42) - 1000)
    yield Case("4 TB, and says so", sparse(bytes(large)))
    yield Case("4 TB of nothing", sparse(b""))
    flac = bytearray(written(clips[0], "FLAC"))
    flac[21] |= 0x0F  # the number of samples, 36 bits
    flac[22:26] = b"\xff\xff\xff\xff"
    yield Case("a flac that promises two weeks", bytes(flac))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    yield Case("a flac that does not know its length", bytes(flac))
    yield Case("a folder", lambda path: path.mkdir())
    yield Case("a link to itself", lambda path: path.symlink_to(path.name))
    yield Case("a link to nothing", lambda path: path.symlink_to("nowhere.wav"))
    yield Case("a pipe", lambda path: os.mkfifo(path))
    for device in ("zero", "null", "urandom"):
        yield Case(f"a link to {device}", lambda path, device=device: path.symlink_to(f"/dev/{device}"))


NAMES = (
    *("two words.wav", " leading.wav", "quote'.wav", 'double".wav', "back\\slash.wav", "$HOME.wav", "`id`.wav", "a;b&c|d.wav"),
    *("-rf.wav", "--run.wav", "100%s %d.wav", "{braces}.wav", "[bold red]rich[bold].wav", "[link=x].wav", "*.wav", "?.wav"),
    *("#.wav", "a,b.wav", "na\u00efve.wav", "nai\u0308ve.wav", "日本語.wav", "שלום.wav", "🐕.wav", "می\u200cخواهم.wav"),
    *(f"{'x' * 246}.wav", "UPPER.WAV", "..wav.wav", "nan.wav"),
)
ODD_NAMES = (
    *(
        "new\nline.wav",
        "car\rriage.wav",
        "tab\t.wav",
        "esc\x1b[2J\x1b[31m.wav",
        "bell\a.wav",
        "c1\x9b31m.wav",
        "rlo\u202evaw.wav",
    ),
    *(os.fsdecode(b"latin-\xe9.wav"), os.fsdecode(b"\xff\xfe.wav")),
)
DRAWN = ("$HOME $x^2$ 100%s {}.wav", "<b>&amp;\\frac{1 $$.wav")


def names(clips: list[np.ndarray], rng: np.random.Generator) -> Iterator[Case]:
    for name in NAMES:
        yield Case(name, wav(clips[6].tobytes()), clips[6] / 32768)
    for name in ODD_NAMES:
        yield Case(name, wav(clips[6].tobytes()))


FAMILIES = (containers, rates, fields, numbers, cut, renamed, strangers, flips, bombs, names)
LEAST = 300
SUFFIXES = (".wav", ".aiff", ".flac", ".ogg", ".mp3")


def cases_of(family: Callable[..., Iterator[Case]], clips: list[np.ndarray]) -> list[Case]:
    """Always the same ones."""
    return list(family(clips, np.random.default_rng(FAMILIES.index(family))))


def put(case: Case, folder: Path, number: int) -> Path:
    """The file, in a folder of its own, under its own name."""
    folder = folder / str(number)
    folder.mkdir()
    path = folder / (case.name if case.name.lower().endswith(SUFFIXES) else f"{case.name}.wav")
    if callable(case.content):
        case.content(path)
    else:
        path.write_bytes(case.content)
    return path


def as_scipy_hears(content: bytes) -> tuple[np.ndarray, int] | None:
    """The mono samples and rate of a wave file; None if scipy cannot, or will not, say."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", scipy.io.wavfile.WavFileWarning)
        try:
            rate, values = scipy.io.wavfile.read(io.BytesIO(content))
        except Exception:  # it has no error of its own
            return None
    if values.dtype == np.uint8:
        values = (values.astype(np.float64) - 128) / 128
    elif values.dtype.kind == "i":
        values = values / float(1 << (8 * values.dtype.itemsize - 1))
    return values.reshape(len(values), -1).mean(axis=1), rate


def printable(text: str) -> bool:
    """Whether a terminal shows a line as it is: no control characters, no line ends, no turns of the writing direction."""
    kinds = {unicodedata.category(letter) for letter in text}
    return not kinds & {"Cc", "Cs", "Zl", "Zp"} and not {unicodedata.bidirectional(letter) for letter in text} & TURNS


TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def refused(error: BadClip, path: Path) -> None:
    """The refusal names the file, and is a line that a terminal can show."""
    said = str(error)
    escaped = path.name.encode("unicode_escape", "surrogatepass").decode() if path.name in ODD_NAMES else path.name
    assert printable(said), ascii(said)
    assert escaped in said
    assert len(error.wrong) < 300


def judge(case: Case, path: Path) -> str:
    """How the file ends, which has to be one of two ways: heard, or refused."""
    began, made = time.monotonic(), None
    try:
        heard, rate = audio.read(path)
        at_rate, _ = audio.read(path, RATE)
    except BadClip as error:
        refused(error, path)
        if case.want is not None:
            raise
        return "refused"
    finally:
        assert time.monotonic() - began < SECONDS, case.name
    if len(at_rate) >= shortest(OPTIONS):
        made = picture(at_rate, OPTIONS)
    assert case.free or case.want is not None, f"{case.name}: heard {len(heard)} samples at {rate} Hz of what is no sound"
    assert heard.dtype == np.float32
    assert np.isfinite(heard).all()
    assert made is None or np.isfinite(made.astype(np.float16)).all()
    want, own = (case.want, case.rate) if case.want is not None else as_scipy_hears(case.content) or (None, 0)
    if want is None:
        return "heard, and nobody knows better"
    assert (rate, len(heard)) == (own, len(want)), case.name
    np.testing.assert_allclose(heard, want, rtol=1e-5, atol=2e-3 if case.loose else 1e-6, err_msg=case.name)
    if made is not None and own == RATE and not case.loose:
        np.testing.assert_allclose(made, picture(want.astype(np.float32), OPTIONS), atol=1e-3, err_msg=case.name)
    return "heard"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_each_file_is_heard_rightly_or_refused_in_a_line(family: Callable, clips: list[np.ndarray], tmp_path: Path) -> None:
    ends = {case.name: judge(case, put(case, tmp_path, number)) for number, case in enumerate(cases_of(family, clips))}
    assert len(ends) > 10


def test_there_are_enough_of_them_of_both_kinds(clips: list[np.ndarray]) -> None:
    every = [case for family in FAMILIES for case in cases_of(family, clips)]
    assert len(every) >= LEAST
    assert len({case.content for case in every if isinstance(case.content, bytes)}) > LEAST
    assert min(sum(case.want is None for case in every), sum(case.want is not None for case in every)) > 100


# Through the store, the check and the commands


GOOD = ("a.wav", "b.wav", "c.wav", "d.wav")


@pytest.fixture
def own(clips: list[np.ndarray], tmp_path: Path) -> Path:
    """A data set of two classes of four sound clips."""
    root = tmp_path / "own"
    for shift, label in enumerate(("cat", "dog")):
        (root / label).mkdir(parents=True)
        for number, name in enumerate(GOOD):
            (root / label / name).write_bytes(wav(np.roll(clips[number], 1 + shift).tobytes()))
    return root


def spoilt(clips: list[np.ndarray], root: Path) -> tuple[dict[str, Case], list[str]]:
    """A file of each kind among the clips of class dog; which can be used, by name, and the names of those that cannot."""
    good, bad = {}, []
    for family in FAMILIES:
        if family is flips:
            continue
        some = [case for case in cases_of(family, clips) if case.name not in ODD_NAMES]
        for number, case in enumerate(some[:: max(1, len(some) // 10)]):
            name = f"{family.__name__}-{number}{Path(case.name).suffix if case.name.endswith(SUFFIXES) else '.wav'}"
            path = root / "dog" / name
            if callable(case.content):
                case.content(path)
            else:
                path.write_bytes(case.content)
            if case.want is None:
                bad.append(name)
            elif len(case.want) / case.rate > 0.06:
                good[name] = case
    return good, bad


@pytest.mark.parametrize("workers", [1, 2])
def test_a_store_holds_the_right_pictures_and_names_the_others(
    clips: list[np.ndarray], own: Path, tmp_path: Path, workers: int
) -> None:
    good, bad = spoilt(clips, own)
    bottomless = [
        path for path in own.rglob("bombs*") if not path.is_dir() and not (path.is_file() and path.stat().st_size < 1e9)
    ]
    assert len(good) > 25
    assert len(bad) > 35
    with pytest.raises(UserError, match=r"bombs-\d+\.wav: cannot be read \("):
        open_store(load(str(own), tmp_path), OPTIONS, Augment(kind="none"), tmp_path / "pictures", on_bad_clip="skip")
    for path in bottomless:  # they are refused before any picture is made
        path.unlink()
    dataset = load(str(own), tmp_path)
    augment = Augment(kind="bank:1")
    store = open_store(dataset, OPTIONS, augment, tmp_path / "pictures", on_bad_clip="skip", workers=workers)
    left = {Path(name).name for name in store.skipped}
    assert left >= {Path(name).name for name in bad if (own / "dog" / name).is_file()}
    assert not left & good.keys()
    assert np.isfinite(store.clean).all()
    assert np.isfinite(store.variant(0)).all()
    for row, clip in enumerate(store.dataset.clips):
        case = good.get(clip.path.name)
        if case is not None and case.rate == RATE and not case.loose:
            np.testing.assert_allclose(
                store.clean[row].astype(np.float32),
                picture(case.want.astype(np.float32), OPTIONS),
                rtol=1e-3,
                atol=0.01,
                err_msg=case.name,
            )


def test_the_check_names_each_bad_file_and_no_good_one(clips: list[np.ndarray], own: Path, tmp_path: Path) -> None:
    good, bad = spoilt(clips, own)
    report = check.check(own)
    decoded = check._decode_all(check.layouts.read(own))
    wrong = {row.path.name for row, one in zip(check.layouts.read(own).rows, decoded, strict=True) if one.wrong}
    assert wrong >= set(bad) - {path.name for path in own.rglob("*") if path.is_dir()}
    assert not wrong & good.keys()
    assert not report.ok
    assert all(printable(example) for finding in report.findings for example in finding.examples)


def ended(main: Callable[..., None], words: list[str], positional: str | None = None) -> int:
    """The status with which a command ends."""
    try:
        cli.run(main, words, positional=positional)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_the_check_command_says_it_in_a_table(
    clips: list[np.ndarray], own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt(clips, own)
    assert ended(data.main, ["--check", str(own), "--data-root", str(tmp_path)], "names") == 1
    shown = capsys.readouterr()
    assert "not usable as it is" in shown.out
    assert "Traceback" not in shown.out + shown.err


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_a_data_set_with_a_name_that_could_steer_the_terminal_is_refused(
    clips: list[np.ndarray], own: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(own / "dog" / "a.wav", own / "dog" / name)
    assert ended(data.main, ["--check", str(own), "--data-root", str(tmp_path)], "names") == 2
    (own / "dog" / name).unlink()
    (own / "dog").rename(own / Path(name).stem)
    assert ended(data.main, ["--check", str(own), "--data-root", str(tmp_path)], "names") == 2
    own.rename(tmp_path / Path(name).stem)
    assert ended(data.main, ["--check", str(tmp_path / Path(name).stem), "--data-root", str(tmp_path)], "names") == 2
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("error: ") and printable(line) for line in lines)


taught = pytest.mark.xdist_group("bad sound")  # one worker trains for all of them


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, few_sounds: Path) -> tuple[str, Path]:
    """The key of a run that took a second, and where it is."""
    from tla.launch.study import ensure, list_runs, prepare

    root = tmp_path_factory.mktemp("trained")
    place = Place(data_root=str(root / "data"), runs=str(root / "runs"), device="cpu")
    quick = Study(data=str(few_sounds), backbone="densenet_tiny", weights="random", folds=(1,), precision="fp32")
    quick = replace(quick, picture=Picture(mels=32, frames=40), augment=Augment(kind="none"), recipe=Recipe(epochs=1, lr=1e-3))
    material = prepare(quick, place)
    (folder,) = ensure(list_runs(material), material, place)
    return folder.key, root / "runs"


@taught
def test_a_run_hears_what_can_be_heard_and_names_the_rest(
    clips: list[np.ndarray], trained: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (key, runs), root = trained, tmp_path / "heard"
    (root / "dog").mkdir(parents=True)
    good, bad = spoilt(clips, root)
    for name in (*NAMES, *ODD_NAMES):
        (root / name).write_bytes(wav(clips[6].tobytes()))
    words = [str(root), "--run", key, "--runs", str(runs), "--device", "cpu", "--csv", str(tmp_path / "p.csv")]
    assert ended(predict.main, words, "files") == 2
    shown = capsys.readouterr()
    table = pd.read_csv(tmp_path / "p.csv", index_col="file")
    assert np.isfinite(table.to_numpy()).all()
    told = {Path(file).name for file in table.index}
    assert told >= {*good, *NAMES}
    assert not told & {*bad, *ODD_NAMES}
    refused = [line for line in shown.err.splitlines() if line.startswith("error: ")]
    assert len(refused) >= len(ODD_NAMES) + sum(path.is_file() and path.name in bad for path in root.rglob("*"))
    assert all(printable(line) for line in (shown.out + shown.err).splitlines())


@taught
def test_attribution_draws_clips_with_odd_names(
    clips: list[np.ndarray], trained: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (key, runs), paths = trained, [tmp_path / name for name in DRAWN]
    for path in paths:
        path.write_bytes(wav(clips[6].tobytes()))
    words = ["--clip", json.dumps(list(map(str, paths))), "--run", key, "--runs", str(runs)]
    more = ["--figures", str(tmp_path / "figures"), "--data", "nowhere/at/all", "--device", "cpu", "--tolerance", "1"]
    assert ended(ig.main, [*words, *more]) == 0, capsys.readouterr().err
    assert all(printable(line) for line in "".join(capsys.readouterr()).splitlines())
    svg = ElementTree.parse(next((tmp_path / "figures").glob("*/fig3_ig_*_more_*.svg")))
    said = "".join(svg.getroot().itertext())
    assert all(Path(name).stem[:20] in said for name in DRAWN)


@pytest.mark.parametrize("family", [names, strangers, bombs], ids=lambda family: family.__name__)
def test_attribution_refuses_what_is_no_sound_before_the_long_work(
    family: Callable, clips: list[np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = cases_of(family, clips)
    for number, case in enumerate(some if family is names else some[::4]):
        if case.want is not None:
            continue
        path = put(case, tmp_path, number)
        assert ended(ig.main, ["--clip", json.dumps([str(path)]), "--run", "none", "--runs", str(tmp_path)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {path.parent}")
        assert printable(line)
