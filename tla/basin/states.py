"""The mathematics, on any networks' state dicts: parts put back, the straight path between two networks, the mean of several.

Rewinding is that of Zhang, Bengio and Singer (2022), the path that of Neyshabur et al. (2020), the mean the uniform soup of
Wortsman et al. (2022). What a network's score is, the caller says: a function of a state dict.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

import numpy as np
from torch import Tensor

from tla.errors import UserError
from tla.nets import states
from tla.nets.states import State

Score = TypeVar("Score")
Scorer = Callable[[Mapping[str, Tensor]], Score]
STEPS = 11  # networks on a path, its ends among them


def rewind(trained: State, start: State, score: Scorer[Score], parts: Mapping[str, Collection[str]]) -> dict[str, Score]:
    """Each part of a network in turn put back to its start, everything else as trained: the score of each of these networks.

    Args:
        start: The state before training; with a fresh one, or that of another training, the part is exchanged for it.
        score: Gives the score of a network by its state dict.
        parts: The names of the tensors of each part.

    >>> import torch
    >>> from tla.basin import rewind
    >>> trained, start = {"a": torch.tensor(2.0), "b": torch.tensor(3.0)}, {"a": torch.tensor(0.0), "b": torch.tensor(0.0)}
    >>> rewind(trained, start, lambda state: float(state["a"] + state["b"]), {"first": ["a"], "both": ["a", "b"]})
    {'first': 3.0, 'both': 0.0}
    """
    return {part: score(states.exchanged(trained, start, names)) for part, names in parts.items()}


def path(
    before: State, after: State, score: Scorer[Score], *, steps: int = STEPS, only: Collection[str] | None = None
) -> dict[float, Score]:
    """Scores along the straight line between two networks, by the share of the way: 0 is the first, 1 the second.

    Args:
        score: Gives the score of a network by its state dict.
        steps: Networks on the line, both ends among them.
        only: The tensors that travel; the others stay those of the second network.

    >>> import torch
    >>> from tla.basin import path
    >>> line = path({"a": torch.tensor(-1.0)}, {"a": torch.tensor(1.0)}, lambda state: float(state["a"] ** 2), steps=3)
    >>> line
    {0.0: 1.0, 0.5: 0.0, 1.0: 1.0}
    """
    first = before if only is None else states.exchanged(after, before, only)
    return {share: score(states.between(first, after, share)) for share in shares(steps)}


def shares(steps: int) -> list[float]:
    """Where the networks of a path stand on the line."""
    if steps < 3:
        raise UserError(f"a path of {steps} steps has nothing between its ends: 3 are the fewest, 11 are usual")
    return [step / (steps - 1) for step in range(steps)]


def barrier(losses: Mapping[float, float]) -> float:
    """How far the loss rises over the straight line between its values at the ends of a path; 0 where it does not.

    >>> from tla.basin import barrier
    >>> barrier({0.0: 1.0, 0.5: 4.0, 1.0: 2.0})
    2.5
    """
    if not {0.0, 1.0} <= losses.keys():
        raise UserError(f"a path begins at 0.0 and ends at 1.0; this one has {', '.join(map(str, losses)) or 'nothing'}")
    places = np.array(list(losses))
    return float(barriers(places, np.array(list(losses.values()))))


def barriers(places: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """The same of many paths: losses (..., places)."""
    return rises(places, losses).max(axis=-1)


def rises(places: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """How far losses (..., places) lie above the straight line between those at the ends of the path."""
    first, last = (losses[..., [int(np.flatnonzero(places == end)[0])]] for end in (0.0, 1.0))
    over = losses - (1 - places) * first - places * last
    over[..., (places == 0) | (places == 1)] = 0.0  # and not what rounding makes of it
    return over


def soup(networks: Sequence[State]) -> dict[str, Tensor]:
    """The mean of several networks' weights, tensor by tensor: one network, at the cost of one.

    Batch norm's statistics are averaged too; `tla.nets.states.estimating` makes new ones.

    >>> import torch
    >>> from tla.basin import soup
    >>> soup([{"a": torch.tensor(1.0)}, {"a": torch.tensor(3.0)}])
    {'a': tensor(2.)}
    """
    return states.average(networks)
