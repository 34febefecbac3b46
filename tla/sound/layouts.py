"""What a folder or a CSV says about its clips, before any judgement.

A `Listing` holds every clip that is named, in order of name, and beside them what is wrong with the list itself: rows that
cannot be understood, files that are not there. Loading stops at the first such problem, checking shows them all.
Only what leaves nothing to list (no such columns, no sound files) is an error here.

Known layouts: ESC-50 (`meta/esc50.csv`), UrbanSound8K (`metadata/UrbanSound8K.csv`), GTZAN (ten folders of `genre.000nn`
files), the toy set, a CSV (`path,label[,fold][,source]`), and else one sub-folder per class.
"""

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tla.console import UNPRINTABLE, printable
from tla.errors import UserError
from tla.sound.audio import SUFFIXES

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
ESC10 = frozenset({0, 1, 10, 11, 12, 20, 21, 38, 40, 41})
SHAPES = {  # name: rate in hertz, seconds, picture columns
    "esc50": (44100, 5.0, 250),
    "esc10": (44100, 5.0, 250),
    "urbansound8k": (22050, 4.0, 250),
    "gtzan": (22050, 30.0, 1500),
    "gtzan-filtered": (22050, 30.0, 1500),
    "toy": (22050, 2.0, 100),
}
BROKEN = "jazz.00054"  # cannot be decoded, so that many copies of GTZAN leave it out
FILTERED_FOLDS = {"test": 1, "valid": 2, "train": 3}  # the fold numbers of GTZAN's filtered split

_LISTS = Path(__file__).parent / "lists"
_CSV_FORM = "path,label[,fold][,source]"
_PARTS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One clip as it is listed."""

    path: Path
    label: str
    number: int = -1  # the class's number in the set, which orders the classes; -1 where labels order themselves
    fold: int | None = None
    source: str = ""  # the recording it was cut from; its own where none is given


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something wrong with a list: what kind of thing, and one sentence that names the place."""

    what: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All clips that a folder or a CSV names, and what is wrong with the list."""

    name: str
    layout: str  # esc50, urbansound8k, gtzan, toy, csv, folder
    root: Path
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...] = ()

    def name_of(self, row: Row) -> str:
        """The clip's path below the root, with forward slashes."""
        return Path(os.path.relpath(row.path, self.root)).as_posix()

    @property
    def classes(self) -> tuple[str, ...]:
        """In order of the set's class numbers; else labels that are all numbers by value, else by name."""
        numbers = {row.label: row.number for row in self.rows}
        as_numbers = all(label.isdecimal() for label in numbers)
        return tuple(sorted(numbers, key=lambda label: (numbers[label], int(label) if as_numbers else 0, label)))


def recognise(folder: Path) -> str:
    """The layout of a folder."""
    if (folder / "meta" / "esc50.csv").is_file():
        return "esc50"
    if (folder / "metadata" / "UrbanSound8K.csv").is_file():
        return "urbansound8k"
    if (folder / "toy.json").is_file():
        return "toy"
    return "gtzan" if _genres(folder) else "folder"


def read(path: Path, name: str | None = None) -> Listing:
    """List the clips at `path`; `name` asks for one of the known sets, or for a part of it."""
    path = path.resolve()
    if UNPRINTABLE.search(path.name):  # it would stand in tables, figures and names of files
        raise UserError(f"{printable(str(path))}: its name holds control characters, or is not UTF-8; rename it")
    if path.is_file():
        return _csv_listing(path)
    if not path.is_dir():
        raise UserError(f"there is no file or folder {path}")
    layout = recognise(path)
    if layout == "esc50":
        return _esc50(path, only_esc10=name == "esc10")
    if layout == "gtzan":
        return _filtered(_gtzan(path)) if name == "gtzan-filtered" else _gtzan(path)
    return {"urbansound8k": _urbansound8k, "toy": _toy, "folder": _folder}[layout](path)


def _esc50(root: Path, only_esc10: bool) -> Listing:
    table = root / "meta" / "esc50.csv"
    needed = ("filename", "fold", "target", "category", "esc10", "src_file")
    rows, problems = [], []
    for line, cells, problem in _table(table, needed):
        fold, number, flag = _whole(cells.get("fold")), _whole(cells.get("target")), _FLAGS.get(cells.get("esc10", "").lower())
        if problem is None and (fold is None or number is None or flag is None):
            problem = _bad_row(table, line, "fold and target must be whole numbers, and esc10 True or False")
        if problem is not None:
            problems.append(problem)
        elif flag or not only_esc10:
            path = root / "audio" / cells["filename"]
            rows.append(
                (line, Row(path=path, label=cells["category"], number=number or 0, fold=fold, source=cells["src_file"]))
            )
    listing = _sorted(root.name, "esc50", root, table, rows, problems)
    if {row.number for row in listing.rows} == ESC10:
        return _named(listing, "esc10", len(ESC10))
    return _named(listing, "esc50", 50)


def _urbansound8k(root: Path) -> Listing:
    table = root / "metadata" / "UrbanSound8K.csv"
    needed = ("slice_file_name", "fsID", "fold", "classID", "class")
    rows, problems = [], []
    for line, cells, problem in _table(table, needed):
        fold, number = _whole(cells.get("fold")), _whole(cells.get("classID"))
        if problem is None and (fold is None or number is None):
            problem = _bad_row(table, line, "fold and classID must be whole numbers")
        if problem is not None:
            problems.append(problem)
        else:
            path = root / "audio" / f"fold{fold}" / cells["slice_file_name"]
            rows.append((line, Row(path=path, label=cells["class"], number=number or 0, fold=fold, source=cells["fsID"])))
    return _named(_sorted(root.name, "urbansound8k", root, table, rows, problems), "urbansound8k", 10)


def _toy(root: Path) -> Listing:
    return replace(_csv_listing(root / "toy.csv"), name="toy", layout="toy", root=root)


def _genres(folder: Path) -> Path | None:
    """The folder below (or at) `folder` that holds GTZAN's ten genres, each with files called genre.000nn."""
    for base in (folder, folder / "genres", folder / "genres_original", folder / "Data" / "genres_original"):
        if all(any((base / genre).glob(f"{genre}.[0-9]*.*")) for genre in GENRES):
            return base
    return None


def _gtzan(folder: Path) -> Listing:
    root = _genres(folder) or folder
    pattern = re.compile(r"[a-z]+\.\d{5}")
    rows = [
        Row(path=path, label=genre)
        for genre in GENRES
        for path in sounds(root / genre)
        if pattern.fullmatch(path.stem) and path.stem.startswith(genre + ".")
    ]
    return Listing(name="gtzan", layout="gtzan", root=root, rows=tuple(sorted(rows, key=lambda row: row.path)))


def _filtered(listing: Listing) -> Listing:
    """GTZAN's artist-aware, fault-filtered split, as folds 1 (test), 2 (validation) and 3 (train)."""
    folds = {name: fold for part, fold in FILTERED_FOLDS.items() for name in filtered_names(part)}
    rows = tuple(replace(row, fold=folds[row.path.stem]) for row in listing.rows if row.path.stem in folds)
    lost = sorted(folds.keys() - {row.path.stem for row in rows} - {BROKEN})
    problems = [
        Problem(what="missing file", text=f"{listing.root}: there is no {name}, which the filtered split lists")
        for name in lost
    ]
    return replace(listing, name="gtzan-filtered", rows=rows, problems=(*listing.problems, *problems))


def filtered_names(part: str) -> list[str]:
    """The clips of one part (train, valid, test) of GTZAN's filtered split."""
    lines = (_LISTS / f"gtzan_filtered_{part}.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _csv_listing(table: Path) -> Listing:
    base = table.parent
    rows, problems = [], []
    for line, cells, problem in _table(table, ("path", "label")):
        fold = _whole(cells.get("fold"))
        if problem is None and not (cells["path"] and cells["label"]):
            problem = _bad_row(table, line, "path and label must not be empty")
        if problem is None and "fold" in cells and fold is None:
            problem = _bad_row(table, line, f"fold must be a whole number, not {cells['fold']!r}")
        if problem is not None:
            problems.append(problem)
        else:
            path = Path(os.path.normpath(base / cells["path"]))
            rows.append((line, Row(path=path, label=cells["label"], fold=fold, source=cells.get("source", ""))))
    # The root is the deepest folder that holds all clips, so that a set is the same wherever its list lies.
    root = Path(os.path.commonpath([row.path.parent for _, row in rows])) if rows else base
    return _sorted(table.stem, "csv", root, table, rows, problems)


def _folder(root: Path) -> Listing:
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    for folder in folders:
        _must_be_printable(root, folder.name)
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


def sounds(folder: Path) -> list[Path]:
    """The sound files below a folder, by name; hidden ones (such as the `._*` litter of some archives) are no clips."""
    found = []
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(where, name) for name in files if not name.startswith(".")]
    for path in found:
        _must_be_printable(folder, path.name)
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES)


def _must_be_printable(folder: Path, name: str) -> None:
    if UNPRINTABLE.search(name):
        why = "is not UTF-8" if name != name.encode(errors="replace").decode() else "holds control characters"
        raise UserError(f"{folder}: the file name {name!a} {why}, and cannot be used; rename it")


def _table(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str], Problem | None]]:
    """Line number, cells by column, and what is wrong with the row's form, for each row of a CSV with a header."""
    try:
        reader = csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline=""))
        header = [cell.strip() for cell in next(reader, [])]
        used = (*needed, "fold", "source")
        twice = [column for column in used if header.count(column) > 1]
        if twice:
            raise UserError(f"{path}: has the column {twice[0]} more than once")
        lacking = [column for column in needed if column not in header]
        if lacking:
            has = ",".join(header) or "no header"
            raise UserError(
                f"{path}: lacks the column{'s' * (len(lacking) > 1)} {', '.join(lacking)}; "
                f"it has {has}, and needs {_CSV_FORM if 'path' in needed else ','.join(needed)}, separated by commas"
            )
        for cells in reader:
            if len(cells) == len(header):
                row = dict(zip(header, map(str.strip, cells), strict=True))
                odd = any(UNPRINTABLE.search(row.get(column, "")) for column in used)  # as in names of files
                wrong = _bad_row(path, reader.line_num, "holds control characters") if odd else None
                yield reader.line_num, {} if wrong else row, wrong
            elif any(map(str.strip, cells)):
                yield reader.line_num, {}, _bad_row(path, reader.line_num, f"has {len(cells)} cells, the header {len(header)}")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (at byte {error.start}); save it as CSV in UTF-8") from None
    except (csv.Error, OSError) as error:
        raise UserError(f"{path}: cannot be read as CSV ({error})") from None


def _bad_row(table: Path, line: int, text: str) -> Problem:
    return Problem(what="bad row", text=f"{table} line {line}: {text}")


def _whole(cell: str | None) -> int | None:
    return int(cell) if cell is not None and re.fullmatch(r"[+-]?\d{1,9}", cell) else None


def _sorted(
    name: str, layout: str, root: Path, table: Path, lined: Sequence[tuple[int, Row]], problems: list[Problem]
) -> Listing:
    """The listing of a CSV's rows, with the problems that show only when they are seen together, or on the disk."""
    if not lined and not problems:
        raise UserError(f"{table}: lists no clips")
    first: dict[Path, int] = {}
    classes: dict[tuple[str, int], int] = {}
    for line, row in lined:
        if row.path in first:
            text = f"{table} line {line}: {row.path} is listed already in line {first[row.path]}"
            problems.append(Problem(what="listed twice", text=text))
        elif not _is_file(row.path):
            problems.append(Problem(what="missing file", text=f"{table} line {line}: there is no file {row.path}"))
        first.setdefault(row.path, line)
        classes.setdefault((row.label, row.number), line)
    problems += _contradictions(table, classes)
    rows = tuple(sorted((row for _, row in lined), key=lambda row: row.path))
    return Listing(name=name, layout=layout, root=root, rows=rows, problems=tuple(problems))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long to be one, a folder that may not be looked into
        return False


def _contradictions(table: Path, classes: dict[tuple[str, int], int]) -> Iterator[Problem]:
    """Class names with several numbers, and numbers with several names; `classes` gives the first line of each pair."""
    names = Counter(label for label, _ in classes)
    numbers = Counter(number for _, number in classes if number != -1)
    for (label, number), line in classes.items():
        if names[label] > 1 or numbers[number] > 1:
            yield _bad_row(table, line, f"class {number} is called {label} here, and other lines of the list contradict it")


def _named(listing: Listing, name: str, classes: int) -> Listing:
    """Only with all its classes does a folder in a set's layout bear the set's name."""
    return replace(listing, name=name if len(listing.classes) == classes else listing.root.name)
