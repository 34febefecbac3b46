"""Arrays on disk: they grow batch by batch, have their name when they are whole, and are held against their folder's manifest.

The manifest (`SHA256SUMS`, see `tla.manifest`) is written last: a file that it does not name is not finished. A file is read
for its digest once, and again only if its size or its times of change are others than then.
"""

import io
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from tla import manifest
from tla.errors import UserError
from tla.sound.digests import digests

MEMORY = ".digests.json"
_BLOCK = 1 << 22


class Growing:
    """An .npy file in the making. Written, not memory-mapped: a full disk is then an error and not a crash."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str = "<f2") -> None:
        """`shape` is that of a row."""
        self.path, self.shape, self.dtype, self.rows = path, shape, np.dtype(dtype), 0
        self.sum = 0  # CRC-32 of the rows
        self.part = path.with_name(f".{path.name}.part")

    def size(self, rows: int) -> int:
        """Bytes of a file of so many rows."""
        return len(self._header()) + rows * int(np.prod(self.shape)) * self.dtype.itemsize

    def resume(self, rows: int, checksum: int = 0) -> bool:
        """Go on behind the first `rows`, and begin anew if these are not there, or not what was written."""
        if rows and self.path.is_file() and not self.part.is_file():
            self.path.replace(self.part)  # it was finished, but not yet named in the manifest
        there = bool(rows) and self.part.is_file() and self.part.stat().st_size >= self.size(rows)
        there = there and self._sum_of(rows) == checksum
        self.rows, self.sum = (rows, checksum) if there else (0, 0)
        with self.part.open("r+b" if there else "wb") as file:
            file.write(self._header())
            file.truncate(self.size(self.rows))
        return there

    def append(self, values: np.ndarray) -> None:
        """Add rows; they are on disk when this returns."""
        with self.part.open("ab") as file:
            file.write(content := np.ascontiguousarray(values, self.dtype).data)
            file.flush()
            os.fsync(file.fileno())
        self.sum = zlib.crc32(content, self.sum)
        self.rows += len(values)

    def finish(self) -> None:
        """Note how many rows there are, and give the file its name."""
        with self.part.open("r+b") as file:
            file.write(self._header())
            file.flush()
            os.fsync(file.fileno())
        self.part.replace(self.path)

    def _sum_of(self, rows: int) -> int:
        found, left = 0, rows * int(np.prod(self.shape)) * self.dtype.itemsize
        with self.part.open("rb") as file:
            file.seek(len(self._header()))
            while block := file.read(min(left, _BLOCK)):
                found, left = zlib.crc32(block, found), left - len(block)
        return found

    def _header(self) -> bytes:
        """numpy pads headers so that the number of rows does not change their length."""
        header, about = io.BytesIO(), {"descr": self.dtype.str, "fortran_order": False, "shape": (self.rows, *self.shape)}
        npy.write_array_header_1_0(header, about)
        return header.getvalue()


def opened(path: Path) -> np.ndarray:
    """A finished file's array, memory-mapped."""
    return np.load(path, mmap_mode="r", allow_pickle=False)


def lacking(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The files that are to be made: those that are not there (""), and those that are not as the manifest has them (how)."""
    noted, wrong = manifest.noted(folder), dict.fromkeys(names, "")
    there = [name for name in wrong if (folder / name).is_file()]
    for name, digest in zip(there, digests([folder / name for name in there], folder / MEMORY), strict=True):
        if noted.get(name, "").startswith(digest):
            del wrong[name]
        else:
            wrong[name] = f"it, or {manifest.SUMS} beside it, was edited or damaged"
    return wrong


def _on_disk(file: os.stat_result) -> int:
    """The bytes that a file takes: of one with holes, fewer than its size. Windows does not say, and makes no holes."""
    return 512 * file.st_blocks if hasattr(file, "st_blocks") else file.st_size


@contextmanager
def writing_to(place: Path, size: int) -> Iterator[None]:
    """Make the folder; a disk that is full or read-only is the user's to mend."""
    what = f"{place}: the pictures ({size / 1e6:.0f} MB) cannot be written there"
    advice = "make room, or say with --data-root where there is some"
    try:
        place.mkdir(parents=True, exist_ok=True)
        begun = sum(_on_disk(path.stat()) for path in place.glob(".*.part"))
        free = shutil.disk_usage(place).free + begun
        if free < size:
            raise UserError(f"{what} ({free / 1e6:.0f} MB are free); {advice}")
        yield
    except OSError as error:
        raise UserError(f"{what} ({error.strerror or error}); {advice}") from None
