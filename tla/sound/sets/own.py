"""Clips of your own: a CSV (`path,label[,fold][,source]`), or one sub-folder per class."""

import os
from pathlib import Path

from tla.errors import UserError
from tla.sound.audio import SUFFIXES
from tla.sound.sets.listing import Listing, Row, bad_row, must_be_printable, ordered, sounds, table, whole

_PARTS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def read_table(path: Path) -> Listing:
    """A CSV (`path,label[,fold][,source]`)."""
    base = path.parent
    rows, problems = [], []
    for line, cells, problem in table(path, ("path", "label")):
        fold = whole(cells.get("fold"))
        if problem is None and not (cells["path"] and cells["label"]):
            problem = bad_row(path, line, "path and label must not be empty")
        if problem is None and "fold" in cells and fold is None:
            problem = bad_row(path, line, f"fold must be a whole number, not {cells['fold']!r}")
        if problem is not None:
            problems.append(problem)
        else:
            clip = Path(os.path.normpath(base / cells["path"]))
            rows.append((line, Row(path=clip, label=cells["label"], fold=fold, source=cells.get("source", ""))))
    # The root is the deepest folder that holds all clips, so that a set is the same wherever its list lies.
    root = Path(os.path.commonpath([row.path.parent for _, row in rows])) if rows else base
    return ordered(path.stem, "csv", root, path, rows, problems)


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
