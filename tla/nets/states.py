"""The tensors of trained networks as values: between two of them, their average, a part exchanged; and batch norm's statistics.

A state is what `state_dict()` gives. Integers in it (batch norm's count of batches) are no weights: they are the first
network's, wherever several come together.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tla.errors import UserError

State = Mapping[str, Tensor]


def between(first: State, second: State, share: float) -> dict[str, Tensor]:
    """A point on the straight line between two networks: at 0 the first, at 1 the second, bit for bit."""
    must_match(first, second)
    return {name: torch.lerp(one, second[name], share) if one.is_floating_point() else one for name, one in first.items()}


def average(states: Sequence[State]) -> dict[str, Tensor]:
    """The mean of networks, tensor by tensor; of one, that network itself."""
    if not states:
        raise UserError("there are no networks to average: give one state dict or more")
    first, *others = states
    for other in others:
        must_match(first, other)
    if not others:
        return dict(first)
    return {
        name: torch.stack([state[name] for state in states]).mean(dim=0) if tensor.is_floating_point() else tensor
        for name, tensor in first.items()
    }


def exchanged(state: State, other: State, names: Collection[str]) -> dict[str, Tensor]:
    """A network with some of its tensors taken from another one."""
    if unknown := sorted(set(names) - state.keys()):
        raise UserError(f"the network has no tensor {unknown[0]}; its first is {next(iter(state), 'none at all')}")
    must_match({name: state[name] for name in names}, {name: other[name] for name in names if name in other})
    return {name: other[name] if name in names else tensor for name, tensor in state.items()}


def must_match(first: State, second: State) -> None:
    """Refuse two networks that are not of one backbone, cut behind the same stage, with as many classes."""
    odd = [name for name in (*first, *second) if name not in first or name not in second]
    odd = odd or [name for name in first if first[name].shape != second[name].shape]
    if odd:
        raise UserError(
            f"the two networks differ in {odd[0]}{f' and {len(odd) - 1} more tensors' * (len(odd) > 1)}: weights can be "
            "mixed of networks of one backbone alone, with the same stages and classes"
        )


@contextmanager
def estimating(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Passes inside the block set the statistics of the batch norms among these modules anew: to the mean over batches.

    A norm then takes the statistics of the batch, as in training; all else is as it was. A norm without statistics, or with
    fixed weights in inference mode on purpose (a frozen stage), is not to be given.
    """
    norms = [module for module in modules if isinstance(module, _BatchNorm) and module.track_running_stats]
    before = [(norm.training, norm.momentum) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # every batch counts alike
        norm.training = True
    try:
        yield
    finally:
        for norm, (training, momentum) in zip(norms, before, strict=True):
            norm.training, norm.momentum = training, momentum
