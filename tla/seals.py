"""Seals: what tla writes and reads back is known by a digest of its content, so that damage is noticed and not believed.

A JSON document carries its own. A finished run's other files are vouched for by its `result.json`; tables and arrays beside
figures by `SHA256SUMS`, which `sha256sum -c` reads too. Pictures have a sum for each row, at the end of their file
(`tla.sound.rows`), and a checkpoint has one inside (`tla.runs.fit`).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tla.errors import Damaged
from tla.files import held, replacing, write_text

if TYPE_CHECKING:
    import pandas as pd

SUMS = "SHA256SUMS"
CHANGED = f"it, or {SUMS} beside it, was edited or damaged"
_SEAL = "seal"


def digest(content: bytes) -> str:
    """What tells some bytes apart from all others."""
    return hashlib.sha256(content).hexdigest()


def digest_of(path: Path) -> str:
    """What tells a file's bytes apart from all others."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


# Folders that are written once


def vouch(folder: Path, names: Iterable[str]) -> None:
    """Note the digests of a folder's files, in place of any that were noted before."""
    _note(folder / SUMS, {name: digest_of(folder / name) for name in names})


def content(path: Path) -> bytes:
    """What a file holds that was vouched for; `ValueError` says why it is anything else."""
    held = path.read_bytes() if path.is_file() else None
    _compare(path, None if held is None else digest(held))
    return held or b""


def check(path: Path) -> None:
    """`ValueError` says why a file is not what was vouched for."""
    _compare(path, digest_of(path) if path.is_file() else None)


def _compare(path: Path, found: str | None) -> None:
    known = _noted(path.with_name(SUMS)).get(path.name)
    if found is None:
        raise ValueError("it is gone")
    if found != known:
        raise ValueError(CHANGED if known else f"{SUMS} beside it does not know it")


# Documents


def sealed(value: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with a seal beside its members."""
    return {**value, _SEAL: _seal(value)}


def unsealed(value: Any) -> dict[str, Any]:
    """What `sealed` was given; `ValueError` if this is anything else."""
    if not isinstance(value, dict):
        raise ValueError("it holds no JSON object")
    seal = value.pop(_SEAL, None)
    if seal != _seal(value):
        raise ValueError(CHANGED)
    return value


def write_json(path: Path, value: dict[str, Any], *, indent: int | None = 2) -> None:
    """Write a JSON object with its seal; NaN is refused."""
    write_text(path, json.dumps(sealed(value), indent=indent, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote; `ValueError` if it is anything else."""
    return unsealed(json.loads(path.read_bytes()))


def _seal(value: dict[str, Any]) -> str:
    return digest(json.dumps(value, sort_keys=True).encode())


# Files beside figures


@contextmanager
def vouching(path: Path) -> Iterator[Path]:
    """As `tla.files.replacing`, and the file's digest is noted beside it."""
    sums = path.with_name(SUMS)
    path.parent.mkdir(parents=True, exist_ok=True)
    with held(path.with_name(f".{SUMS}.lock"), f"another process is writing to {path.parent}; waiting for it"):
        with replacing(path) as temporary:
            yield temporary
            new = digest_of(temporary)
        known = {name: seal for name, seal in _noted(sums).items() if path.with_name(name).is_file()}
        _note(sums, known | {path.name: new})


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a table as CSV, vouched for."""
    with vouching(path) as temporary:
        temporary.write_text(table.to_csv(index=False), encoding="utf-8")


def vouched(path: Path) -> bytes:
    """What a file holds that `vouching` wrote; `Damaged` if it holds anything else."""
    try:
        return content(path)
    except ValueError as error:
        raise Damaged(f"{path} is not what was written there ({error})", "repeat the command that makes it") from None


def _note(sums: Path, digests: dict[str, str]) -> None:
    write_text(sums, "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())))


def _noted(sums: Path) -> dict[str, str]:
    """Digests by name; a line that is broken is none."""
    if not sums.is_file():
        return {}
    lines = (line.partition("  ") for line in sums.read_text(encoding="utf-8", errors="replace").splitlines())
    return {name: seal for seal, _, name in lines if name}
