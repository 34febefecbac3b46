"""Files of pictures: arrays on disk; rows are written in any order, by any process, and a file has its name when all are."""

import io
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from tla.errors import UserError
from tla.files import replacing

_COPIED_AT_ONCE = 64 << 20  # bytes


@dataclass(frozen=True)
class RowFile:
    """A float16 .npy file in the making. Written, not memory-mapped: a full disk is then an error and not a crash."""

    path: Path
    shape: tuple[int, ...]
    """Of a row."""

    @property
    def part(self) -> Path:
        """What it is called until it is finished."""
        return self.path.with_name(f".{self.path.name}.part")

    def begin(self, rows: int) -> None:
        """Make room for rows; a file system that can leaves it empty until they are written."""
        with self.part.open("wb") as file:
            file.write(_header(rows, self.shape))
            file.truncate(self._offset(rows))

    def begun(self, rows: int) -> bool:
        """Whether `begin` was called for so many."""
        return self.part.is_file() and self.part.stat().st_size == self._offset(rows)

    @contextmanager
    def writing(self) -> Iterator[Callable[[int, np.ndarray], None]]:
        """A function that writes a row at its place; when the block ends, the rows are on disk."""
        with self.part.open("r+b") as file:

            def write(row: int, values: np.ndarray) -> None:
                if file.tell() != (offset := self._offset(row)):
                    file.seek(offset)
                file.write(np.ascontiguousarray(values, np.float16).data)

            yield write
            file.flush()
            os.fsync(file.fileno())

    def close_gaps(self, rows: int, without: Collection[int]) -> None:
        """Make a file of so many rows less some of them, beside the part; nothing is lost if this is interrupted."""
        left_out = sorted(without)
        with replacing(self._whole) as new, new.open("wb") as out, self.part.open("rb") as file:
            out.write(_header(rows - len(left_out), self.shape))
            for start, stop in zip([-1, *left_out], [*left_out, rows], strict=True):
                file.seek(self._offset(start + 1))
                left = self._offset(stop) - self._offset(start + 1)
                while left and (block := file.read(min(left, _COPIED_AT_ONCE))):
                    out.write(block)
                    left -= len(block)

    def finish(self) -> None:
        """Give the file its name."""
        (self._whole if self._whole.is_file() else self.part).replace(self.path)
        self.part.unlink(missing_ok=True)

    @property
    def _whole(self) -> Path:
        return self.path.with_name(f".{self.path.name}.whole")

    def _offset(self, row: int) -> int:
        return len(_header(0, self.shape)) + row * nbytes(self.shape)


def _header(rows: int, shape: tuple[int, ...]) -> bytes:
    """numpy pads headers so that the number of rows does not change their length."""
    header = io.BytesIO()
    about = {"descr": np.dtype(np.float16).str, "fortran_order": False, "shape": (rows, *shape)}
    npy.write_array_header_1_0(header, about)
    return header.getvalue()


def damage(path: Path, shape: tuple[int, ...]) -> str | None:
    """What is wrong with a file of pictures, if anything is."""
    try:
        with path.open("rb") as file:
            npy.read_magic(file)
            held, _, dtype = npy.read_array_header_1_0(file)
            size = file.tell() + nbytes(shape)
    except ValueError:
        return "its header is broken"
    if held != shape or dtype != np.float16:
        return f"it holds {dtype} {held} instead of float16 {shape}"
    return None if path.stat().st_size == size else f"it has {path.stat().st_size} bytes instead of {size}"


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
