"""Files of pictures: arrays on disk that are written row by row, and are there whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from tla.errors import UserError
from tla.files import replacing


class Rows:
    """A float16 .npy file that grows row by row. Written, not memory-mapped: a full disk is then an error and not a crash."""

    def __init__(self, file: BinaryIO, shape: tuple[int, ...]) -> None:
        self.file, self.shape, self.rows = file, shape, 0
        self._header()

    def add(self, row: np.ndarray) -> None:
        self.file.write(np.ascontiguousarray(row, np.float16).data)
        self.rows += 1

    def finish(self) -> None:
        self.file.seek(0)
        self._header()  # numpy pads headers so that one with another number of rows fits in its place

    def _header(self) -> None:
        header = {"descr": np.dtype(np.float16).str, "fortran_order": False, "shape": (self.rows, *self.shape)}
        npy.write_array_header_1_0(self.file, header)


@contextmanager
def writing_rows(path: Path, shape: tuple[int, ...]) -> Iterator[Rows]:
    """A file of rows of that shape; it gets its name when the block succeeds."""
    with replacing(path) as part, part.open("wb") as file:
        rows = Rows(file, shape)
        yield rows
        rows.finish()


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
    """Remove what a killed process had begun to write; the caller holds the lock."""
    for leftover in place.glob(".*"):
        leftover.unlink()


@contextmanager
def writing_to(place: Path, size: int) -> Iterator[None]:
    """Make the folder; a disk that is full or read-only is the user's to mend."""
    what = f"{place}: the pictures ({size / 1e6:.0f} MB) cannot be written there"
    advice = "make room, or say with --data-root where there is some"
    try:
        place.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(place).free
        if free < size:
            raise UserError(f"{what} ({free / 1e6:.0f} MB are free); {advice}")
        yield
    except OSError as error:
        raise UserError(f"{what} ({error.strerror or error}); {advice}") from None
