"""Clips of your own: a CSV (`path,label[,fold][,source]`), or one sub-folder per class."""

import csv
import io
import os
from pathlib import Path

from tla.errors import UserError
from tla.files import write_text
from tla.sound.audio import SUFFIXES
from tla.sound.sets.listing import Listing, Row, must_be_printable, ordered, read_cells, read_rows, sounds, whole

_PARTS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}


def read_table(path: Path) -> Listing:
    """A CSV (`path,label[,fold][,source]`)."""
    base = path.parent

    def parse(cells: dict[str, str]) -> Row | str:
        fold = whole(cells.get("fold"))
        if not (cells["path"] and cells["label"]):
            return "path and label must not be empty"
        if "fold" in cells and fold is None:
            return f"fold must be a whole number, not {cells['fold']!r}"
        return Row(path=_place(base, cells["path"]), label=cells["label"], fold=fold, source=cells.get("source", ""))

    rows, problems = read_rows(path, ("path", "label"), parse)
    # The root is the deepest folder that holds all clips, so that a set is the same wherever its list lies.
    root = Path(os.path.commonpath([row.path.parent for _, row in rows])) if rows else base
    return ordered(path.stem, "csv", root, path, rows, problems)


def _place(base: Path, cell: str) -> Path:
    """The file that a cell names; backslashes part folders, as on Windows, unless there is a file with them in its name."""
    written = Path(os.path.normpath(base / cell))
    return written if "\\" not in cell or written.is_file() else Path(os.path.normpath(base / cell.replace("\\", "/")))


def write_list(listing: Listing, path: Path, like: Path | None = None, *, overwrite: bool = False) -> None:
    """Write clips with their folds as a CSV that loads back to the same data set.

    like: the CSV that they come from; its rows stay in their order, with all columns that it has.
    """
    here, text = path.parent.resolve(), io.StringIO()
    if like is None:
        separator, lines = ",", [["path", "label", "fold", "source"]]
        lines += [[_from(here, row.path), row.label, str(row.fold), row.source] for row in listing.rows]
    else:
        folds, table = {row.path: str(row.fold) for row in listing.rows}, read_cells(like, ("path", "label"))
        where, base = table.columns.index("path"), like.parent.resolve()
        fold = table.columns.index("fold") if "fold" in table.columns else len(table.columns)
        separator, lines = table.separator, [[*table.header[:fold], *(table.header[fold:] or ["fold"])]]
        for _, cells in table.lines:
            clip = _place(base, cells[where])
            cells[where] = cells[where] if here == base else _from(here, clip)
            lines.append([*cells[:fold], folds[clip], *cells[fold + 1 :]])
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(lines)
    try:
        if path.exists() and not overwrite and path.read_bytes() != text.getvalue().encode():
            raise UserError(f"{path} is there already: --overwrite replaces it, or name another file")
        write_text(path, text.getvalue())
    except OSError as error:
        raise UserError(f"{path}: the folds cannot be written there ({error.strerror})") from None


def _from(folder: Path, path: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def read_folder(root: Path) -> Listing:
    """One sub-folder of sound files per class."""
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    for folder in folders:
        must_be_printable(root, folder.name)
    if not folders:
        loose = any(entry.suffix.lower() in SUFFIXES for entry in root.iterdir())
        has = "sound files but no sub-folders" if loose else "no sub-folders" if any(root.iterdir()) else "nothing in it"
        raise UserError(f"{root}: has {has}; a data set needs one sub-folder of sound files per class, or a CSV (path,label)")
    if {folder.name.lower() for folder in folders} <= _PARTS:
        parts = ", ".join(folder.name for folder in folders)
        raise UserError(
            f"{root}: its sub-folders ({parts}) are parts of a split, not classes; list the clips in a CSV (path,label,fold)"
        )
    rows = tuple(Row(path=path, label=folder.name) for folder in folders for path in sounds(folder))
    if not rows:
        raise UserError(f"{root}: there are no sound files in its {len(folders)} sub-folders (wav, flac, ogg, mp3, aiff, ...)")
    if len(folders) == 1 and any(entry.is_dir() for entry in folders[0].iterdir()):
        raise UserError(f"{root}: has one sub-folder only, so one class; did you mean {folders[0]}?")
    return Listing(name=root.name, layout="folder", root=root, rows=rows)
