"""Files that are whole or not there: written under a temporary name, flushed, renamed. And locks between processes."""

import glob
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tla.console import say

if TYPE_CHECKING:
    from filelock import FileLock

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_RANDOM = 8  # characters that tempfile puts into a name


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes `path`'s place if the block succeeds, else it goes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_leftovers(path.parent, f".{path.name}.", path.suffix)
        with _locked(lambda: tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)) as temporary:
            try:
                yield temporary
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
                temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk does not say for which file


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """A folder below `parent` that goes with the block; what processes that were killed left of theirs goes first."""

    def make() -> tuple[int, str]:
        name = tempfile.mkdtemp(dir=parent, prefix=prefix)
        return (os.open(name, os.O_RDONLY) if fcntl else os.open(os.devnull, os.O_RDONLY)), name

    clear_leftovers(parent, prefix)
    with _locked(make) as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # what cannot be removed now is a leftover for the next one


def clear_leftovers(parent: Path, prefix: str, suffix: str = "") -> None:
    """Remove the temporary files and folders of processes that were killed: those that nobody locks."""
    for left in parent.glob(f"{glob.escape(prefix)}{'?' * _RANDOM}{glob.escape(suffix)}") if fcntl else ():
        with suppress(OSError):  # it is locked, another user's, or gone by now
            handle = os.open(left, os.O_RDONLY if left.is_dir() else os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            finally:
                os.close(handle)


@contextmanager
def _locked(make: Callable[[], tuple[int, str]]) -> Iterator[Path]:
    """A new temporary file or folder, locked as long as this process lives and the block lasts."""
    while True:
        handle, name = make()
        if fcntl is None:  # there, what is open cannot be renamed; and what cannot be locked is not cleared away
            os.close(handle)
            yield Path(name)
            return
        try:
            with suppress(OSError):  # nor is it on file systems without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:  # else it was taken for a leftover before it was locked
                yield Path(name)
                return
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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
