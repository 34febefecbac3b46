"""Files of pictures: arrays on disk; rows are written in any order, by any process, and a file has its name when all are.

Behind the rows, where numpy does not look, stands the sum of each: a row that is not what was written is noticed when it is
read, and made again.
"""

import io
import os
import re
import shutil
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from tla.console import say
from tla.errors import Damaged, UserError
from tla.files import replacing

_COPIED_AT_ONCE = 64 << 20  # bytes
_SUM = np.dtype("<u4")
_HEADER = re.compile(rb"\{'descr': '(<f2|<f4|<u2)', 'fortran_order': False, 'shape': \(((?:\d+, )+\d+)\), \} *\n")


@dataclass(frozen=True)
class RowFile:
    """An .npy file in the making. Written, not memory-mapped: a full disk is then an error and not a crash."""

    path: Path
    shape: tuple[int, ...]
    """Of a row."""
    dtype: str = "<f2"

    @property
    def part(self) -> Path:
        """What it is called until it is finished."""
        return self.path.with_name(f".{self.path.name}.part")

    def begin(self, rows: int) -> None:
        """Make room for rows; a file system that can leaves it empty until they are written."""
        with self.part.open("wb") as file:
            file.write(self.header(rows))
            file.truncate(self.size(rows))

    def begun(self, rows: int) -> bool:
        """Whether `begin` was called for so many."""
        return self.part.is_file() and self.part.stat().st_size == self.size(rows)

    @contextmanager
    def writing(self, path: Path | None = None) -> Iterator[Callable[[int, np.ndarray], None]]:
        """A function that writes a row, and its sum, at its place in the part, or in another file; when the block ends,
        the rows are on disk.
        """
        sums: dict[int, int] = {}
        with (path or self.part).open("r+b") as file:

            def write(row: int, values: np.ndarray) -> None:
                if file.tell() != (offset := self.offset(row)):
                    file.seek(offset)
                ready = np.ascontiguousarray(values, self.dtype)
                file.write(ready.data)
                sums[row] = self.sum(ready)

            yield write
            size = os.fstat(file.fileno()).st_size
            rows = (size - self.offset(0)) // (self._row + _SUM.itemsize)
            for row, value in sums.items():
                file.seek(self.offset(rows) + row * _SUM.itemsize)
                file.write(np.array(value, _SUM).tobytes())
            file.flush()
            os.fsync(file.fileno())

    def close_gaps(self, rows: int, without: Collection[int]) -> None:
        """Make a file of so many rows less some of them, beside the part; nothing is lost if this is interrupted."""
        left_out = sorted(without)
        with replacing(self._whole) as new, new.open("wb") as out, self.part.open("rb") as file:
            out.write(self.header(rows - len(left_out)))
            for start, stop in zip([-1, *left_out], [*left_out, rows], strict=True):
                file.seek(self.offset(start + 1))
                left = self.offset(stop) - self.offset(start + 1)
                while left and (block := file.read(min(left, _COPIED_AT_ONCE))):
                    out.write(block)
                    left -= len(block)
            out.write(np.delete(self.sums(rows, self.part), left_out).tobytes())

    def finish(self) -> None:
        """Give the file its name."""
        (self._whole if self._whole.is_file() else self.part).replace(self.path)
        self.part.unlink(missing_ok=True)

    def header(self, rows: int) -> bytes:
        """numpy pads headers so that the number of rows does not change their length."""
        header = io.BytesIO()
        npy.write_array_header_1_0(header, {"descr": self.dtype, "fortran_order": False, "shape": (rows, *self.shape)})
        return header.getvalue()

    def offset(self, row: int) -> int:
        """Where a row begins; behind the last one, where the sums do."""
        return len(self.header(0)) + row * self._row

    def size(self, rows: int) -> int:
        """Bytes of a file of so many rows."""
        return self.offset(rows) + rows * _SUM.itemsize

    def sum(self, values: np.ndarray) -> int:
        """What stands behind the rows for this one; no row of zeros that was never written has it."""
        return zlib.crc32(values.data, zlib.crc32(f"{self.dtype} {self.shape}".encode()))

    def sums(self, rows: int, path: Path) -> np.ndarray:
        """What stands behind the rows."""
        with path.open("rb") as file:
            file.seek(self.offset(rows))
            return np.frombuffer(file.read(rows * _SUM.itemsize), _SUM)

    @property
    def _whole(self) -> Path:
        return self.path.with_name(f".{self.path.name}.whole")

    @property
    def _row(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


def opened(path: Path) -> tuple[RowFile, int]:
    """A finished file, and how many rows it has; `ValueError` says what is wrong with it."""
    with path.open("rb") as begun:
        start = begun.read(1 << 10)
    found = _HEADER.search(start)
    if not found:
        raise ValueError("its header is broken")
    rows, *shape = (int(length) for length in found[2].split(b", "))
    file = RowFile(path, tuple(shape), found[1].decode())
    if not start.startswith(file.header(rows)):
        raise ValueError("its header is broken")
    if (size := path.stat().st_size) != file.size(rows):
        raise ValueError(f"it has {size} bytes instead of {file.size(rows)}")
    return file, rows


def damage(path: Path, rows: int, shape: tuple[int, ...]) -> str | None:
    """What is wrong with a file of pictures as a whole, if anything is."""
    try:
        file, held = opened(path)
    except ValueError as error:
        return str(error)
    if (file.dtype, held, file.shape) == (RowFile.dtype, rows, shape):
        return None
    return f"it holds {np.dtype(file.dtype)} {(held, *file.shape)} instead of float16 {(rows, *shape)}"


class Rows:
    """The rows of a finished file, on disk; reads as an array does. Each is checked the first time that it is read."""

    def __init__(self, path: Path, again: Callable[[int], np.ndarray | None]) -> None:
        """`again` makes a damaged row once more; None where it cannot."""
        try:
            self.file, rows = opened(path)
        except ValueError as error:
            raise Damaged(f"{path}: {error}", "delete it and repeat the command: it is made again") from None
        self.again = again
        self._values = np.memmap(path, self.file.dtype, "r", self.file.offset(0), (rows, *self.file.shape))
        self._sums = self.file.sums(rows, path)
        self._numbers, self._checked = np.arange(rows), np.zeros(rows, dtype=bool)

    @property
    def shape(self) -> tuple[Any, ...]:
        return self._values.shape

    @property
    def dtype(self) -> np.dtype:
        return self._values.dtype

    @property
    def nbytes(self) -> int:
        return self._values.nbytes

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, index: Any) -> np.ndarray:
        """A row, or those of a slice, an array of numbers or a mask."""
        chosen = np.atleast_1d(self._numbers[index])
        for row in chosen[~self._checked[chosen]].tolist():
            self._check(row)
        return self._values[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self[:], dtype)

    def _check(self, row: int) -> None:
        if not self._checked[row] and self.file.sum(self._values[row]) != self._sums[row]:
            self._mend(row)
        self._checked[row] = True

    def _mend(self, row: int) -> None:
        path = self.file.path
        what, remedy = f"{path}: row {row} is damaged", f"delete {path} and repeat the command: it is made again"
        made = self.again(row)
        if made is None:
            raise Damaged(f"{what}, and what it was made from is not here any more", remedy)
        made = np.ascontiguousarray(made, self.file.dtype)
        if self.file.sum(made) != self._sums[row] and made.tobytes() != self._values[row].tobytes():
            raise Damaged(f"{what}, and made again it does not have the sum that was noted", remedy)
        try:
            with self.file.writing(path) as write:
                write(row, made)
        except OSError as error:
            raise Damaged(f"{what} and cannot be written ({error.strerror})", remedy) from None
        say(f"{what}; it is made again")


def nbytes(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape)) * np.dtype(np.float16).itemsize


def clear_leftovers(place: Path) -> None:
    """Remove what was begun and is not wanted any more; the caller holds the lock."""
    for leftover in place.glob(".*"):
        leftover.unlink()


@contextmanager
def writing_to(place: Path, size: int) -> Iterator[None]:
    """Make the folder; a disk that is full or read-only is the user's to mend."""
    what = f"{place}: the pictures ({size / 1e6:.0f} MB) cannot be written there"
    advice = "make room, or say with --data-root where there is some"
    try:
        place.mkdir(parents=True, exist_ok=True)
        begun = sum(path.stat().st_blocks * 512 for path in place.glob(".*.part"))
        free = shutil.disk_usage(place).free + begun
        if free < size:
            raise UserError(f"{what} ({free / 1e6:.0f} MB are free); {advice}")
        yield
    except OSError as error:
        raise UserError(f"{what} ({error.strerror or error}); {advice}") from None
