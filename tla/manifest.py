"""The manifest of a folder: `SHA256SUMS`, the digests of the files in it, so that damage is noticed and not believed.

`sha256sum -c SHA256SUMS` reads it too. A run writes its own once, when it is finished (`vouch`); tables, figures and arrays
beside them enter theirs one by one (`vouching`).
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from tla import files
from tla.errors import Damaged, UserError
from tla.files import held, replacing

if TYPE_CHECKING:
    import pandas as pd

SUMS = "SHA256SUMS"
_CHANGED = f"it, or {SUMS} beside it, was edited or damaged"
_OVERWRITE = ContextVar("overwrite", default=False)


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


# Folders that are written once


def vouch(folder: Path, names: Iterable[str]) -> None:
    """Note the digests of a folder's files, in place of any that were noted before."""
    _note(folder / SUMS, {name: digest_of(folder / name) for name in names})


def vouch_also(folder: Path, names: Iterable[str]) -> None:
    """Note the digests of some files of a folder, beside those that were noted before and are still there."""
    kept = {name: digest for name, digest in noted(folder).items() if (folder / name).is_file()}
    _note(folder / SUMS, kept | {name: digest_of(folder / name) for name in names})


def content(path: Path) -> bytes:
    """What a file holds that was vouched for; `ValueError` with the reason if it is anything else."""
    there = path.read_bytes() if path.is_file() else None
    _compare(path, None if there is None else hashlib.sha256(there).hexdigest())
    return there or b""


def check(path: Path) -> None:
    """`ValueError` with the reason if a file is not what was vouched for."""
    _compare(path, digest_of(path) if path.is_file() else None)


def _compare(path: Path, found: str | None) -> None:
    known = noted(path.parent).get(path.name)
    if found is None:
        raise ValueError("it is gone")
    if found != known:
        raise ValueError(_CHANGED if known else f"{SUMS} beside it does not know it")


# Files beside figures


@contextmanager
def overwriting() -> Iterator[None]:
    """In it `vouching` also replaces files that are not its own."""
    before = _OVERWRITE.set(True)
    try:
        yield
    finally:
        _OVERWRITE.reset(before)


@contextmanager
def vouching(path: Path) -> Iterator[Path]:
    """As `tla.files.replacing`, and the file's digest is noted beside it; a file that was never noted there is not replaced."""
    sums = path.with_name(SUMS)
    path.parent.mkdir(parents=True, exist_ok=True)
    with held(path.with_name(f".{SUMS}.lock"), f"another process is writing to {path.parent}; waiting for it"):
        if path.exists() and path.name not in noted(path.parent) and not _OVERWRITE.get():
            why = f"{path} is there, and tla did not write it ({SUMS} beside it does not name it)"
            raise UserError(f"{why}: --overwrite replaces it, or choose another folder with --figures")
        with replacing(path) as temporary:
            yield temporary
            new = digest_of(temporary)
            known = {name: digest for name, digest in noted(path.parent).items() if path.with_name(name).is_file()}
            if not path.exists():  # a process killed after the next step has left a file that is known
                _note(sums, known | {path.name: new})
        _note(sums, known | {path.name: new})


def write_text(path: Path, text: str) -> None:
    """Write a whole text file, vouched for."""
    with vouching(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a table as CSV, vouched for."""
    write_text(path, table.to_csv(index=False))


def write_tables(folder: Path, name: str, tables: "Mapping[str, pd.DataFrame]") -> list[Path]:
    """Write tables by what is added to the name of their files: `name.csv` for "", `name_runs.csv` for "runs"; their paths."""
    paths = {folder / f"{name}{'_' * bool(part)}{part}.csv": table for part, table in tables.items()}
    for path, table in paths.items():
        write_table(path, table)
    return list(paths)


def vouched(path: Path) -> bytes:
    """What a file holds that `vouching` wrote; `Damaged` if it holds anything else."""
    try:
        return content(path)
    except ValueError as error:
        raise Damaged(f"{path} is not what was written there ({error})", "repeat the command that makes it") from None


def _note(sums: Path, digests: dict[str, str]) -> None:
    files.write_text(sums, "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())))


def noted(folder: Path) -> dict[str, str]:
    """Digests by name, as a folder's manifest has them; a line that is broken is none."""
    sums = folder / SUMS
    if not sums.is_file():
        return {}
    lines = (line.partition("  ") for line in sums.read_text(encoding="utf-8", errors="replace").splitlines())
    return {name: digest for digest, _, name in lines if name}
