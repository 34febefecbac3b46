"""The mean of several runs' weights, one network at the cost of one (the uniform soup of Wortsman et al., 2022), scored.

Batch norm's statistics are re-estimated on clips of training with everything else fixed: those of the members are of other
weights. A member alone is left as it is. Of a number of members not all subsets are tried but each member with those that
follow it, after the last the first, so that each comes as often as any other.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tla.console import progress
from tla.runs.folder import FinishedRun

if TYPE_CHECKING:
    from tla.launch.material import Material
    from tla.nets.states import State

Which = tuple[int, ...]  # members by their place, in order
Soups = Mapping[int, Mapping[Which, np.ndarray]]  # fold -> members -> logits (clips, classes)


def windows(count: int) -> list[Which]:
    """The subsets of so many members that are tried, of two and more."""
    found = [
        tuple(sorted((first + step) % count for step in range(size))) for size in range(2, count + 1) for first in range(count)
    ]
    return list(dict.fromkeys(found))


def averaged_weights(folders: Sequence[FinishedRun], material: "Material") -> Soups:
    """The logits of averaged weights for the held-out clips of each fold; members are a fold's runs in the order of seeds."""
    by_fold: dict[int, list[FinishedRun]] = {}
    for folder in sorted(folders, key=lambda folder: (folder.run.fold, folder.run.seed)):
        by_fold.setdefault(folder.run.fold, []).append(folder)
    with progress("averaging weights", len(by_fold), "folds") as watch:
        found = {}
        for fold, runs in by_fold.items():
            found[fold] = _of_fold(runs, material)
            watch.advance()
    return found


def _of_fold(runs: Sequence[FinishedRun], material: "Material") -> dict[Which, np.ndarray]:
    from tla.nets.states import average
    from tla.runs import infer, mixing

    network, *others = [infer.load(run, material.device) for run in runs]
    names = {part: list(network.net.stage_tensors(part)) for part in mixing.parts(network)}
    states = [{name: tensor.clone() for name, tensor in one.net.net.state_dict().items()} for one in (network, *others)]

    def take(which: Hashable, part: str) -> "State":
        assert isinstance(which, tuple)
        return average([{name: states[member][name] for name in names[part]} for member in which])

    mixes = [(which,) * len(names) for which in windows(len(runs))]
    clips = mixing.clips_of(network, material.store)
    made = mixing.logits(network, mixes, take, clips, estimate=True)
    return {mix[0]: logits for mix, logits in made}  # type: ignore[misc]
