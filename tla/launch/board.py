"""The progress of a study: batches on the progress bar, a line per run."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tla.console import Progress, counted


@dataclass(frozen=True)
class Batches:
    """A run's length in batches: of an epoch, the fewest and the most in all, and those that were done before."""

    epoch: int
    least: int
    most: int
    before: int


class Board:
    """How a study gets on."""

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
        the total is not known.
        """
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
        return f"{self.ended['done']} of {counted(len(self.batches), 'run')} done, {len(self.running)} running{failed}"
