"""What a list of clips holds, before any judgement.

A `Listing` holds every clip that is named, in order of name, and beside them what is wrong with the list itself: rows that
cannot be understood, files that are not there. Loading stops at the first such problem, checking shows them all.
Only what leaves nothing to list (no such columns, no sound files) is an error here.
"""

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tla.console import UNPRINTABLE
from tla.errors import UserError
from tla.sound.audio import SUFFIXES

SEPARATORS = (",", ";", "\t")
_ONE_LABEL = "here a clip has one label, so keep one, or leave the clip out"
_CSV_FORM = "path,label[,fold][,source]"
_SEVERAL = re.compile(r"\s*[;|]\s*|,(?!\s)")  # between the labels of a clip that has several; not as in `Speech, male`


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

    def name_of(self, path: Path) -> str:
        """A clip's path below the root, with forward slashes."""
        return Path(os.path.relpath(path, self.root)).as_posix()

    @property
    def classes(self) -> tuple[str, ...]:
        """In order of the set's class numbers; else labels that are all numbers by value, else by name."""
        numbers = {row.label: row.number for row in self.rows}
        as_numbers = all(label.isdecimal() for label in numbers)
        return tuple(sorted(numbers, key=lambda label: (numbers[label], int(label) if as_numbers else 0, label)))


def sounds(folder: Path) -> list[Path]:
    """The sound files below a folder, by name; hidden ones (such as the `._*` litter of some archives) are no clips."""
    found = []
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(where, name) for name in files if not name.startswith(".")]
    for path in found:
        must_be_printable(folder, path.name)
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES)


def must_be_printable(folder: Path, name: str) -> None:
    if UNPRINTABLE.search(name):
        why = "is not UTF-8" if name != name.encode(errors="replace").decode() else "holds control characters"
        raise UserError(f"{folder}: the file name {name!a} {why}, and cannot be used; rename it")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A CSV with a header, its cells without the blanks around them; lines without anything in them are left out."""

    path: Path
    separator: str
    header: list[str]
    """As it is written."""
    columns: list[str]
    """As the columns are called here, whatever the case of their names."""
    lines: list[tuple[int, list[str]]]
    """The number and the cells of each line below the header."""


def read_cells(path: Path, needed: Sequence[str]) -> Table:
    """A CSV that has the needed columns; the separator is the one that gives most of them."""
    used = (*needed, "fold", "source")
    found = [_separated(path, separator, used) for separator in SEPARATORS]
    best = min(found, key=lambda table: len(set(needed) - set(table.columns)))
    for column in used:
        if best.columns.count(column) > 1:
            raise UserError(f"{path}: has the column {column} more than once")
    if lacking := [column for column in needed if column not in best.columns]:
        has = best.separator.join(best.header) or "no header"
        form = _CSV_FORM if "path" in needed else ",".join(needed)
        raise UserError(
            f"{path} line 1: lacks the column{'s' * (len(lacking) > 1)} {', '.join(lacking)}; "
            f"it has {has}, and needs {form}, separated by commas, semicolons or tabs"
        )
    return best


def _separated(path: Path, separator: str, used: Sequence[str]) -> Table:
    try:
        text = io.StringIO(path.read_text("utf-8-sig"), newline="")
        reader = csv.reader(text, delimiter=separator, skipinitialspace=True)
        lines = [(reader.line_num, cells) for row in reader if any(cells := [cell.strip() for cell in row])]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (at byte {error.start}); save it as CSV in UTF-8") from None
    except (csv.Error, OSError) as error:
        raise UserError(f"{path}: cannot be read as CSV ({error})") from None
    header = lines[0][1] if lines else []
    names = {name.lower(): name for name in used}
    columns = [names.get(cell.lower(), cell) for cell in header]
    return Table(path=path, separator=separator, header=header, columns=columns, lines=lines[1:])


def read_rows(
    path: Path, needed: Sequence[str], parse: Callable[[dict[str, str]], Row | str | None]
) -> tuple[list[tuple[int, Row]], list[Problem]]:
    """The lines of a CSV with their numbers, and what is wrong with some.

    parse: of a line's cells by column, makes the clip, or what is wrong with them, or None where the clip is not of the set.
    """
    table, rows, problems = read_cells(path, needed), [], []
    for line, cells in table.lines:
        by_column = dict(zip(table.columns, cells, strict=False))
        if len(cells) != len(table.columns):
            found: Row | str | None = f"has {len(cells)} cells, the header {len(table.columns)}"
        elif any(UNPRINTABLE.search(by_column.get(column, "")) for column in (*needed, "fold", "source")):
            found = "holds control characters"  # as in names of files
        else:
            found = parse(by_column)
        if isinstance(found, str):
            problems.append(bad_row(path, line, found))
        elif found is not None:
            rows.append((line, found))
    return rows, problems


def bad_row(table: Path, line: int, text: str) -> Problem:
    return Problem(what="bad row", text=f"{table} line {line}: {text}")


def whole(cell: str | None) -> int | None:
    return int(cell) if cell is not None and re.fullmatch(r"[+-]?\d{1,9}", cell) else None


def ordered(
    name: str, layout: str, root: Path, table: Path, lined: Sequence[tuple[int, Row]], problems: list[Problem]
) -> Listing:
    """The listing of a CSV's rows, with the problems that show only when they are seen together, or on the disk."""
    if not lined and not problems:
        raise UserError(f"{table}: lists no clips")
    first: dict[Path, tuple[int, str]] = {}
    classes: dict[tuple[str, int], int] = {}
    for line, row in lined:
        if row.path in first:
            before, label = first[row.path]
            what, also = ("listed twice", "") if label == row.label else ("several labels", f" as {label}: {_ONE_LABEL}")
            text = f"{table} line {line}: {row.path} is listed already in line {before}{also}"
            problems.append(Problem(what=what, text=text))
        elif not _is_file(row.path):
            problems.append(Problem(what="missing file", text=f"{table} line {line}: there is no file {row.path}"))
        first.setdefault(row.path, (line, row.label))
        classes.setdefault((row.label, row.number), line)
    problems += _contradictions(table, classes)
    problems += _several_labels(table, classes)
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
            yield bad_row(table, line, f"class {number} is called {label} here, and other lines of the list contradict it")


def _several_labels(table: Path, classes: dict[tuple[str, int], int]) -> Iterator[Problem]:
    """Labels such as `dog;cat` of which a part is a part of another label too."""
    parts = {label: set(_SEVERAL.split(label)) for label, _ in classes}
    counts = Counter(part for each in parts.values() for part in each)
    for (label, _), line in classes.items():
        if len(parts[label]) > 1 and any(counts[part] > 1 for part in parts[label]):
            text = f"{table} line {line}: {label!r} is more than one label: {_ONE_LABEL}"
            yield Problem(what="several labels", text=text)


def named(listing: Listing, name: str, classes: int) -> Listing:
    """Only with all its classes does a folder in a set's layout bear the set's name."""
    return replace(listing, name=name if len(listing.classes) == classes else listing.root.name)
