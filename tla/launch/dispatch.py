"""A queue of runs, worked off by an executor: this process, several, or a cluster.

The study reserves a run before it is trained, so of two studies on one folder of runs each trains what the other does not. A
run that fails does not stop the others. One whose process or machine died is tried again, and goes on from its last checkpoint
where that can be reached.
"""

import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from tla.console import counted, say
from tla.launch.board import Board
from tla.launch.in_process import Outcome
from tla.launch.plan import Wanted
from tla.runs.folder import FinishedRun, RunFolder, load
from tla.runs.run import Run

if TYPE_CHECKING:
    from filelock import FileLock

LOSSES = 3  # times that a run's process may die without the run having got on by an epoch in between
POLL_S = 1.0


class Executor(Protocol):
    """Trains runs, some of them at the same time."""

    def free(self, busy: int) -> bool:
        """Whether one more run can be taken on beside those that are."""

    def start(self, run: Run, folder: RunFolder) -> None:
        """Take on a run."""

    def outcomes(self) -> Sequence[Outcome]:
        """How the runs ended that have ended since; waits a moment if there is none."""

    def close(self) -> None:
        """End what is still being trained."""


class Queue:
    """Runs that are to be trained, and how those ended that have been."""

    def __init__(self, runs: Sequence[Wanted], finished: dict[str, FinishedRun], *, scores: bool = True) -> None:
        """`finished` are those that were so before. Without `scores` it is not printed what a run scored."""
        self.scores = scores
        self.wanted = {each.run.key: each for each in runs}
        self.waiting = deque(self.wanted)
        self.reserved: dict[str, FileLock] = {}  # runs in training, by key
        self.losses: dict[str, tuple[int, int]] = {}  # key -> how often its process died, epochs done when it last did
        self.finished = finished
        self.failed: list[Outcome] = []
        self.stopped: dict[str, list[float]] = {}
        """Accuracies by epoch of the runs that were stopped early."""
        self.waited = False

    def work_off(self, executor: Executor, board: Board) -> None:
        """Have all runs trained."""
        self.board = board
        try:
            while self.waiting or self.reserved:
                self._start(executor)
                if self.reserved:
                    for outcome in executor.outcomes():
                        self._end(outcome)
                elif self.waiting:
                    self._wait_for_others()
        finally:
            for lock in self.reserved.values():
                lock.release()

    def _start(self, executor: Executor) -> None:
        """Take on what there is room for, and what no other study is training."""
        for _ in range(len(self.waiting)):
            if not executor.free(len(self.reserved)):
                return
            wanted = self.wanted[self.waiting.popleft()]
            key, lock = wanted.run.key, wanted.folder.reserve()
            if lock is None:
                self.waiting.append(key)
            elif done := wanted.finished():  # by another study
                lock.release()
                self.finished[key] = done
                self.board.end(key, "done")
            else:
                self.reserved[key] = lock
                executor.start(wanted.run, wanted.folder)

    def _wait_for_others(self) -> None:
        if not self.waited:
            runs = counted(len(self.waiting), "run")
            say(f"{runs} in training by another study ({', '.join(self.waiting)}); waiting for it")
        self.waited = True
        time.sleep(POLL_S)

    def _end(self, outcome: Outcome) -> None:
        if outcome.disk is not None:
            raise outcome.disk
        run, folder = self.wanted[outcome.key].run, self.wanted[outcome.key].folder
        what = f"run {run.key} fold {run.fold} seed {run.seed}"
        if outcome.lost and self._again(outcome):
            self.board.end(run.key, "lost")
            say(f"{what}: {outcome.error}; it is tried again")
            self.waiting.append(run.key)
        elif outcome.error is not None:
            self.board.end(run.key, "failed")
            say(f"{what} failed: {outcome.error}")
            folder.note_failure(outcome.trace or outcome.error)
            self.failed.append(outcome)
        elif outcome.stopped is not None:
            self.board.end(run.key, "stopped")
            self.stopped[run.key] = outcome.stopped
        else:
            self.board.end(run.key, "done")
            folder.note_failure(None)
            self.finished[run.key] = done = load(folder.path)
            scores = done.result.scores if self.scores else {}
            scored = "  ".join(f"{rule} {100 * score.accuracy:.1f} %" for rule, score in scores.items())
            say(f"{what}: {scored or 'finished'} ({self.board})")
        self.reserved.pop(run.key).release()

    def _again(self, outcome: Outcome) -> bool:
        """Whether to try a run again whose process died: if it had got on since the last time, or that was not often."""
        times, before = self.losses.get(outcome.key, (0, 0))
        now = self.board.epochs(outcome.key)
        times = 1 if now > before else times + 1
        self.losses[outcome.key] = times, now
        return times < LOSSES
