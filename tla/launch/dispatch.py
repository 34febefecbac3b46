"""A list of runs, worked off by whatever trains them: this process, several, or a cluster.

The study reserves a run before it is trained, so of two studies on one folder of runs each trains what the other does not. A
run that fails does not stop the others. One whose process or machine died is tried again, and goes on from its last checkpoint
where that can be reached.
"""

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from tla.console import Progress, say
from tla.launch.worker import Outcome
from tla.runs.folder import RunFolder, load
from tla.runs.run import Run

if TYPE_CHECKING:
    from filelock import FileLock

LOSSES = 3  # times that a run's process may die without the run having got on by an epoch in between
POLL_S = 1.0


class Launcher(Protocol):
    """Trains runs, some of them at the same time."""

    def free(self, busy: int) -> bool:
        """Whether one more run can be taken on beside those that are."""

    def start(self, run: Run) -> None:
        """Take on a run."""

    def outcomes(self) -> Sequence[Outcome]:
        """The runs that have ended since; waits a moment if there is none."""

    def close(self) -> None:
        """End what is still being trained."""


@dataclass(frozen=True)
class Batches:
    """A run's length in batches: of an epoch, the fewest and the most in all, and those that were done before."""

    epoch: int
    least: int
    most: int
    before: int


class Board:
    """How a study gets on: batches on the bar, runs in words."""

    def __init__(self, bar: Progress, batches: Mapping[str, Batches]) -> None:
        self.bar, self.batches = bar, batches
        self.done = {key: run.before for key, run in batches.items()}
        self.left = dict(batches)  # the runs that are trained, or wait for it
        self.ended: Counter[str] = Counter()
        self.running: set[str] = set()
        self.bar.total = self._total()

    def step(self, key: str, done: int, text: str = "") -> None:
        """A run has now done so many batches."""
        self.running.add(key)
        self._show(key, done, text)

    def end(self, key: str, how: Literal["done", "failed", "lost", "stopped"]) -> None:
        """A run is trained no more; if it was lost, for now."""
        self.running.discard(key)
        self.ended[how] += 1
        if how != "lost":
            self.left.pop(key, None)
        whole = how == "done" and self.batches[key].least == self.batches[key].most  # though another study may have trained it
        self._show(key, self.batches[key].most if whole else self.done[key], "")

    def _show(self, key: str, done: int, text: str) -> None:
        before, self.done[key] = self.done[key], done
        self.bar.total = self._total()
        self.bar.text = f"{self}{text and f' ({key} {text})'}"
        self.bar.advance(done - before)

    def _total(self) -> int | None:
        """The batches of all runs. One that ends by itself is taken to be as long as those that have ended; before one has,
        nobody knows."""
        lengths = [self.done[key] for key in self.batches if key not in self.left]
        total = sum(lengths) - sum(run.before for run in self.batches.values())
        for key, run in self.left.items():
            if run.least < run.most and not lengths:
                return None
            length = run.most if run.least == run.most else sum(lengths) // len(lengths)
            total += max(self.done[key], length)
        return total

    def epochs(self, key: str) -> int:
        """Whole epochs that a run has done."""
        return self.done[key] // self.batches[key].epoch

    def __str__(self) -> str:
        failed = f", {self.ended['failed']} failed" if self.ended["failed"] else ""
        return f"{self.ended['done']} of {len(self.batches)} runs done, {len(self.running)} running{failed}"


def work_off(runs: Sequence[tuple[Run, RunFolder]], launcher: Launcher, board: Board, *, scores: bool = True) -> list[Outcome]:
    """Have all runs trained; returns those that failed."""
    return _Queue(runs, launcher, board, scores).work()


class _Queue:
    def __init__(self, runs: Sequence[tuple[Run, RunFolder]], launcher: Launcher, board: Board, scores: bool) -> None:
        self.launcher, self.board, self.scores = launcher, board, scores
        self.runs = {run.key: (run, folder) for run, folder in runs}
        self.waiting = deque(self.runs)
        self.reserved: dict[str, FileLock] = {}  # runs in training, by key
        self.losses: dict[str, tuple[int, int]] = {}  # key -> how often its process died, epochs done when it last did
        self.failed: list[Outcome] = []
        self.waited = False

    def work(self) -> list[Outcome]:
        try:
            while self.waiting or self.reserved:
                self._start()
                if self.reserved:
                    for outcome in self.launcher.outcomes():
                        self._end(outcome)
                elif self.waiting:
                    self._wait_for_others()
        finally:
            for lock in self.reserved.values():
                lock.release()
        return self.failed

    def _start(self) -> None:
        """Take on what there is room for, and what no other study is training."""
        for _ in range(len(self.waiting)):
            if not self.launcher.free(len(self.reserved)):
                return
            key = self.waiting.popleft()
            run, folder = self.runs[key]
            lock = folder.reserve()
            if lock is None:
                self.waiting.append(key)
            elif folder.intact:  # by another study
                lock.release()
                self.board.end(key, "done")
            else:
                self.reserved[key] = lock
                self.launcher.start(run)

    def _wait_for_others(self) -> None:
        if not self.waited:
            say(f"{len(self.waiting)} runs are being trained by another study ({', '.join(self.waiting)}); waiting for it")
        self.waited = True
        time.sleep(POLL_S)

    def _end(self, outcome: Outcome) -> None:
        if outcome.disk is not None:
            raise outcome.disk
        run, folder = self.runs[outcome.key]
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
        else:
            self.board.end(run.key, "done")
            folder.note_failure(None)
            scores = load(folder.path).result.scores if self.scores else {}
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
