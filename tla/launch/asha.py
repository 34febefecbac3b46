"""Which runs of a grid search are stopped early: asynchronous successive halving (ASHA; Li et al., 2020)."""

from collections.abc import Mapping, Sequence

import numpy as np

THIRD = 3  # of the runs that reach a rung, one in so many goes on


class Asha:
    """Compares runs of the same length at rungs: epochs `grace`, 3 `grace`, 9 `grace`, ... before the last.

    A run goes on past a rung if it is among the best third of those that have come to it so far, itself not counted; so the
    first always does. What was decided once holds, also for a run that comes by again after its process died.
    """

    def __init__(self, grace: int, epochs: int) -> None:
        self.rungs: dict[int, dict[str, float]] = {}  # epoch -> key of a run -> its accuracy
        while grace < epochs:
            self.rungs[grace] = {}
            grace *= THIRD
        self.behind: dict[str, int] = {}  # key -> the epoch after which it is stopped

    def stopped_at(self, key: str, accuracies: Sequence[float]) -> list[float] | None:
        """The accuracies of a run, by epoch, up to the rung at which it falls behind; None: it goes on."""
        for epoch, before in self.rungs.items():
            if epoch > len(accuracies) or key in self.behind:
                break
            if key not in before:
                mine = accuracies[epoch - 1]
                if before and mine < np.percentile(list(before.values()), 100 * (1 - 1 / THIRD)):
                    self.behind[key] = epoch
                before[key] = mine
        return list(accuracies[: self.behind[key]]) if key in self.behind else None

    def note(self, finished: Mapping[str, Sequence[float]]) -> None:
        """Have finished runs take part, by key: the others are compared with them."""
        for epoch, before in self.rungs.items():
            before.update({key: accuracies[epoch - 1] for key, accuracies in finished.items()})
