"""One run, trained in this process, whichever executor asked for it; and the executor that trains runs here, one by one."""

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tla.console import Progress
from tla.errors import UserError
from tla.launch.board import Board
from tla.launch.material import Material
from tla.options import LEAKS, RANDOM, Place
from tla.runs.device import cpu_threads
from tla.runs.folder import RunFolder, whole
from tla.runs.run import Run
from tla.sound import leaks

REPORT_EVERY_S = 0.5  # between two reports of a run on how it gets on

Report = Callable[[int, str], None]  # batches done so far, and a few words


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the training of a run ended: finished, failed, lost with the process or machine that it was on, or stopped."""

    key: str
    error: str | None = None
    """Why it failed, in a line."""
    trace: str = ""
    """Where in the code, if that helps."""
    lost: bool = False
    stopped: list[float] | None = None
    """Of a run that was stopped early: its accuracies by epoch up to there."""
    disk: OSError | None = field(default=None, compare=False)
    """A folder cannot be written: the other runs would fail the same way."""


class Stopped(Exception):
    """A run is to be stopped early; the accuracies by epoch on which that was decided."""

    def __init__(self, accuracies: list[float]) -> None:
        super().__init__(accuracies)
        self.accuracies = accuracies


class InProcess:
    """Trains a run when it is taken on."""

    def __init__(self, material: Material, place: Place, board: Board) -> None:
        self.material, self.place, self.board = material, place, board
        self.ended: list[Outcome] = []

    def free(self, busy: int) -> bool:
        return busy == 0

    def start(self, run: Run, folder: RunFolder) -> None:
        report = partial(self.board.step, run.key)
        self.ended.append(attempt(run, folder, self.material, report, self.place.threads, self.place.tensorboard))

    def outcomes(self) -> Sequence[Outcome]:
        ended, self.ended = self.ended, []
        return ended

    def close(self) -> None:
        pass


def attempt(run: Run, folder: RunFolder, material: Material, report: Report, threads: int | None, tensorboard: bool) -> Outcome:
    """Train a run to its end, from its last checkpoint if there is one; whatever goes wrong is in the outcome, not raised.

    `report` may raise `Stopped`.
    """
    key = folder.key
    try:
        if run.key != key:
            raise UserError("another version of tla is installed here than where the command was given")
        _train(run, folder, material, _Reporter(report), threads, tensorboard)
    except Stopped as stop:
        return Outcome(key=key, stopped=stop.accuracies)
    except UserError as error:
        return Outcome(key=key, error=str(error))
    except OSError as error:
        plain = OSError(error.errno, error.strerror, error.filename)
        return Outcome(key=key, error=str(plain), trace=traceback.format_exc(), disk=plain)
    except Exception as error:  # a failing run does not stop the others
        what = f"{type(error).__name__}: {error}".partition("\n")[0]
        return Outcome(key=key, error=what, trace=traceback.format_exc())
    return Outcome(key=key)


class _Reporter(Progress):
    """Reports how a run gets on, at most twice a second, and at the end of each epoch."""

    def __init__(self, report: Report) -> None:
        super().__init__("", 0)
        self.report, self._reported = report, 0.0

    def advance(self, n: int = 1) -> None:
        self.done += n
        if time.monotonic() - self._reported > REPORT_EVERY_S:
            self.note(self.text)

    def note(self, text: str) -> None:
        self.text, self._reported = text, time.monotonic()
        self.report(self.done, text)


def _train(run: Run, folder: RunFolder, material: Material, watch: Progress, threads: int | None, tensorboard: bool) -> None:
    from tla.runs.fit import fit

    with folder.locked(), cpu_threads(threads):
        if whole(folder.path):  # by the process that we waited for
            return
        folder.reopen()
        folder.describe(run, list(material.dataset.classes), _made(material))
        start = material.pretrained if run.weights != RANDOM else None
        fit(run, material.store, start, folder, material.device, watch, tensorboard=tensorboard)


def _made(material: Material) -> dict[str, Any]:
    """How a run is made, and what its training and held-out clips share, if they do."""
    from tla.runs.provenance import provenance

    shared = leaks.note(material.dataset)
    return {**provenance(str(material.device)), **material.given, **({LEAKS: shared} if shared else {})}
