"""Files that are whole or not there: written under a temporary name, flushed, renamed. And locks between processes."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tla.console import say

if TYPE_CHECKING:
    from filelock import FileLock


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes `path`'s place if the block succeeds, else it goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk does not say for which file
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as readable JSON; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


@contextmanager
def held(lock: Path, busy: str) -> Iterator[None]:
    """Hold a lock file; while another process does, say `busy` and wait. A process that dies lets go."""
    from filelock import FileLock

    mine = take(lock)
    if mine is None:
        say(busy)
        mine = FileLock(lock)
        mine.acquire()
    try:
        yield
    finally:
        mine.release()


def take(lock: Path) -> "FileLock | None":
    """Take a lock file at once, to be given back with `release`; None if another process, or this one, has it."""
    from filelock import FileLock, Timeout

    lock.parent.mkdir(parents=True, exist_ok=True)
    mine = FileLock(lock)
    try:
        mine.acquire(timeout=0)
    except Timeout:
        return None
    return mine


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
