"""What the terminal shows: messages, tables, progress. Progress goes to stderr, results to stdout.

Nothing but this module imports rich. Where stderr is no terminal (a log file, a cluster job), progress is a plain
line now and then instead of a moving bar.
"""

import re
import shlex
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from tla import entry

FOLDERS = ("data_root", "runs", "figures")  # the options of a command that name folders
TAKES = {"data": ("data_root",), "runs": ("runs",), "predict": ("runs",)}  # of those that do not have all
FIRST = "--data toy --backbone efficientnet_lite0 --recipe.lr 1e-3"  # options of a study that works everywhere
_PLACES: ContextVar[Mapping[str, str]] = ContextVar("places", default=MappingProxyType({}))
PIPE_WIDTH = 200  # characters in a line that goes to a file or pipe
PLAIN_EVERY_S = 20.0  # seconds between two lines of progress in a log file
MEASURED_S = 3.0  # seconds of work after which the rest is forecast
AT_ONCE_S = 0.5  # what is there so soon was done before, and is not measured
LONG_S = 60.0  # work that takes longer is announced
# Control characters, line and paragraph ends, turns of the writing direction, and what is no character at all.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """A text from a stranger as one line that cannot steer the terminal: what would is written as in Python, `\\x1b`."""
    return UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def plain(value: object) -> str:
    """A value of an option."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def counted(count: int, what: str, plural: str | None = None) -> str:
    """A number of things: 1 run, 3 runs."""
    return f"{count} {what if count == 1 else plural or what + 's'}"


def say(message: str) -> None:
    """Print a message for the user, on stderr."""
    print("\n".join(map(printable, message.split("\n"))), file=sys.stderr, flush=True)


@contextmanager
def placed(given: Mapping[str, str]) -> Iterator[None]:
    """In it, hints name these places: the folders (`data_root`, `runs`, `figures`) that the running command was given."""
    before = _PLACES.set(given)
    try:
        yield
    finally:
        _PLACES.reset(before)


def command(name: str, more: str = "") -> str:
    """A command to be printed as a hint, which works as it is printed: with the folders that the running one was given."""
    taken = TAKES.get(name, FOLDERS)
    given = [f"--{place.replace('_', '-')} {shlex.quote(value)}" for place, value in _PLACES.get().items() if place in taken]
    return " ".join(filter(None, [entry.typed(name), more, *given]))


def written(paths: Iterable[Path]) -> None:
    """Print which files were written: their folders, and below each their names."""
    folders: dict[Path, list[str]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path.name)
    for folder, names in folders.items():
        print(f"\n{folder}/\n  {'  '.join(names)}")


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table to stdout; a column whose every cell is a number is right-aligned."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[printable(str(cell)) for cell in row] for row in rows]
    grid = Table(
        title=title and Text(printable(title)),
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=None,
        pad_edge=False,
    )
    for i, heading in enumerate(headings):
        numeric = all(re.fullmatch(r"[-+±\d.,% ]*", row[i]) for row in cells)
        last = i == len(headings) - 1  # the one that gives way where the terminal is narrow
        width = None if last else max([len(heading), *(len(row[i]) for row in cells)])
        side: Literal["right", "left"] = "right" if numeric else "left"
        grid.add_column(Text(heading), justify=side, no_wrap=not last, overflow="fold", min_width=width)
    for row in cells:
        grid.add_row(*map(Text, row))  # Text, so that a file name with brackets is not taken for markup
    Console(width=page_width(), highlight=False).print(grid)


def page_width() -> int:
    """Characters in a line of the terminal; a file or pipe is not cut at 80 columns."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_WIDTH


def span(seconds: float) -> str:
    """A time as people give it: 45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


class Progress:
    """Counts finished parts of a long piece of work; `advance` moves it, `note` sets the text behind the count.

    The rest is forecast from the parts that are measured, those behind the first ones if these were there at once. Work that
    will take more than a minute is announced as soon as a few seconds of it are done, once, with `fewer`, the way to less of
    it. `rounds`: how many times as much work there will be, this piece included.
    """

    def __init__(self, what: str, total: int | None, unit: str = "", *, rounds: int = 1, fewer: str = "") -> None:
        self.what, self.total, self.unit, self.done, self.text = printable(what), total, unit, 0, ""
        self.rounds, self.fewer = rounds, fewer
        self._start = self._printed = time.monotonic()
        self._before: int | None = None  # parts that are not measured; None: no part has been done
        self._announced = False

    def advance(self, n: int = 1) -> None:
        self.done += n
        now = time.monotonic()
        if self._before is None:
            at_once = now - self._start < AT_ONCE_S
            self._before, self._start = (self.done, now) if at_once else (0, self._start)
        self._announce(now - self._start)
        self._show()

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest of this piece will take; None as long as that is not known."""
        measured = self.done - (self._before or 0)
        if not self.total or measured <= 0:
            return None
        return (time.monotonic() - self._start) / measured * max(self.total - self.done, 0)

    @property
    def pace(self) -> str:
        """How fast it goes, as in 3.2 clips/s, or 12 s each."""
        measured, seconds = self.done - (self._before or 0), max(time.monotonic() - self._start, 1e-9)
        if measured > seconds:
            return f"{measured / seconds:.1f} {self.unit or 'parts'}/s"
        each = seconds / max(measured, 1)
        return f"{each:.1f} s each" if each < 10 else f"{span(each)} each"

    @property
    def rest(self) -> str:
        """What stands behind the count: the unit, how fast it goes, how long it will still take."""
        left_s = self.left_s
        return f" {self.unit}".rstrip() + ("" if left_s is None else f", {self.pace}, {span(left_s)} left")

    def _announce(self, measured_s: float) -> None:
        measured = self.done - (self._before or 0)
        if self._announced or not self.total or measured <= 0 or measured_s < MEASURED_S:
            return
        self._announced = True
        left_s = measured_s / measured * (self.total * self.rounds - self.done)
        if left_s >= LONG_S:
            times = f", {self.rounds} times" if self.rounds > 1 else ""
            fewer = f"; {self.fewer}" if self.fewer else ""
            say(f"{self.what}: about {span(left_s)} for {self.total} {self.unit or 'parts'}{times} ({self.pace}){fewer}")

    def note(self, text: str) -> None:
        self.text = printable(text)
        self._show()

    def _show(self) -> None:
        now = time.monotonic()
        if self.total == 0 or now - self._printed < PLAIN_EVERY_S:
            return
        self._printed = now
        of = f" of {self.total}" if self.total else ""
        say(f"{self.what}: {self.done}{of}{self.rest} {self.text}".rstrip())


class _Bar(Progress):
    def __init__(self, what: str, total: int | None, unit: str = "", *, rounds: int = 1, fewer: str = "") -> None:
        super().__init__(what, total, unit, rounds=rounds, fewer=fewer)
        from rich import progress
        from rich.console import Console

        columns = (
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rest]}", markup=False),
            progress.TextColumn("{task.fields[text]}", markup=False),
        )
        self.bar = progress.Progress(*columns, console=Console(stderr=True), transient=True)
        self.task = self.bar.add_task(self.what, total=total, text="", rest=self.rest)

    def _show(self) -> None:
        self.bar.update(self.task, total=self.total, completed=self.done, text=self.text, rest=self.rest)


@contextmanager
def progress(what: str, total: int | None, unit: str = "", *, rounds: int = 1, fewer: str = "") -> Iterator[Progress]:
    """A progress display for `total` parts of `what`, in this unit; None: how many is not known yet."""
    if sys.stderr.isatty():
        bar = _Bar(what, total, unit, rounds=rounds, fewer=fewer)
        with bar.bar:
            yield bar
    else:
        yield Progress(what, total, unit, rounds=rounds, fewer=fewer)
