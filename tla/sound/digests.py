"""Digests of files, remembered: a file is not read again while its size and its times of change stay what they were."""

import errno
import json
import stat
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from tla import console, manifest
from tla.errors import UserError
from tla.files import write_text

SETTLED_NS = 3_000_000_000  # two changes within a tick of a file system's clock, 2 s on the coarsest, look like one
_READERS = 8
_READ_AT_ONCE = 1024  # files
_SAVE_EVERY_S = 300.0

Known = tuple[int, int, int, str]  # of a file: its size, its times of change (of content, of anything), and its digest


def digest_of(path: Path) -> str:
    """The first half of the SHA-256 of a file's bytes."""
    return manifest.digest_of(path)[:32]


def digests(paths: Sequence[Path], memory: Path | None, *, most: int | None = None) -> tuple[str, ...]:
    """A digest of each file's bytes; `memory` is a JSON file, `most` how many bytes a file may have."""
    known, found, unsaved, saved = _recall(memory), [], 0, time.monotonic()
    settled = time.time_ns() - SETTLED_NS
    fresh: set[str] = set()  # keys of files that may yet be changed without a sign of it: they are not remembered
    try:
        with console.progress("reading files", len(paths)) as bar, ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(paths), _READ_AT_ONCE):
                some = paths[start : start + _READ_AT_ONCE]
                marks = [_marks(path, most) for path in some]
                keys = [str(path.absolute()) for path in some]
                new = [i for i, key in enumerate(keys) if key not in known or known[key][:3] != marks[i]]
                for i, digest in zip(new, pool.map(digest_of, [some[i] for i in new]), strict=True):
                    known[keys[i]] = (*marks[i], digest)
                found += [known[key][3] for key in keys]
                bar.advance(len(some))
                fresh |= {keys[i] for i in new if max(marks[i][1:]) > settled}
                unsaved += sum(keys[i] not in fresh for i in new)
                if unsaved and time.monotonic() - saved > _SAVE_EVERY_S:
                    _remember(known, fresh, memory)  # reading a million files takes hours, and may be interrupted
                    unsaved, saved = 0, time.monotonic()
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from None
    if unsaved:
        _remember(known, fresh, memory)
    return tuple(found)


def _marks(path: Path, most: int | None) -> tuple[int, int, int]:
    """Size and times of change of a file that ends: a pipe would be waited at, and a device read, for ever."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is not a file", str(path))
    if most is not None and found.st_size > most:
        raise OSError(errno.EINVAL, "is too large for a clip", str(path))
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _recall(memory: Path | None) -> dict[str, Known]:
    if memory is None or not memory.is_file():
        return {}
    try:
        return msgspec.json.decode(memory.read_bytes(), type=dict[str, Known])
    except (OSError, msgspec.MsgspecError, ValueError):  # it only saves work: a broken one is made anew
        return {}


def _remember(known: dict[str, Known], fresh: set[str], memory: Path | None) -> None:
    if memory is None:
        return
    try:
        write_text(memory, json.dumps({key: entry for key, entry in known.items() if key not in fresh}) + "\n")
    except OSError as error:
        console.say(f"{memory} cannot be written ({error.strerror}), so the same files will be read again next time")
