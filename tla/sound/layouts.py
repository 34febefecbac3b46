"""How a data set is recognised on the disk; what is particular to one stands in a file of `tla.sound.sets`."""

from dataclasses import replace
from pathlib import Path

from tla.console import UNPRINTABLE, printable
from tla.errors import UserError
from tla.sound.sets.esc50 import ESC10, ESC50
from tla.sound.sets.gtzan import FILTERED, GTZAN
from tla.sound.sets.listing import Listing
from tla.sound.sets.own import read_folder, read_table
from tla.sound.sets.urbansound8k import URBANSOUND8K

SETS = {known.name: known for known in (ESC50, ESC10, URBANSOUND8K, GTZAN, FILTERED)}
SHAPES = {name: known.shape for name, known in SETS.items()} | {"toy": (22050, 2.0, 100)}


def recognise(folder: Path) -> str:
    """The layout of a folder."""
    if (folder / "toy.json").is_file():
        return "toy"
    return next((known.layout for known in SETS.values() if known.found(folder)), "folder")


def read(path: Path, name: str | None = None) -> Listing:
    """List the clips at `path`; `name` asks for one of the known sets, or for a part of it."""
    path = path.resolve()
    if UNPRINTABLE.search(path.name):  # it would stand in tables, figures and names of files
        raise UserError(f"{printable(str(path))}: its name holds control characters, or is not UTF-8; rename it")
    if path.is_file():
        return read_table(path)
    if not path.is_dir():
        raise UserError(f"there is no file or folder {path}")
    layout = recognise(path)
    if layout == "toy":
        return replace(read_table(path / "toy.csv"), name="toy", layout="toy", root=path)
    if layout not in SETS:
        return read_folder(path)
    part = SETS.get(name or "")
    return (part if part and part.layout == layout else SETS[layout]).read(path)
