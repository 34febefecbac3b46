"""A network that is no chain of modules runs stage by stage: part of its own `forward_features` is run.

The network's code stays as it is; for the time of a call three things change. Modules that are done before the stage begins
give zeros of the right shape, without computing. The module with which the stage begins gets the output of the stage before.
And where the next stage begins, the call ends with what that would get. What stands between modules (class tokens, positions,
permutations) so is computed as it was written.

It takes one tensor that carries all between two stages. Networks are checked for it: they compute what the original does, bit
for bit, or are refused.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

BATCH = 3  # pictures on which a network is traced; a number of which few other sizes are multiples


@dataclass(frozen=True)
class Call:
    """A call of a module, as it was seen."""

    path: str
    opened: int
    """When it began, in the order of all beginnings and ends."""
    closed: int
    inputs: tuple[torch.Size | None, ...]
    """The shapes of its arguments; None for one that is no tensor."""
    output: Any
    """With tensors on the device `meta`: shapes without numbers."""


@dataclass(frozen=True)
class Road:
    """How pictures of one size pass a network."""

    shape: tuple[int, int, int]
    begins: Mapping[str, str]
    """The module with which a stage begins; the first stage begins with the picture."""
    done: Mapping[str, tuple[Call, ...]]
    """The outermost modules that are done before a stage begins."""


def trace(net: nn.Module, pictures: Tensor) -> list[Call]:
    """Every call of a module while `forward_features` runs on pictures (BATCH, 3, mels, frames), in the order of their ends."""
    open_calls: list[tuple[str, int, tuple[torch.Size | None, ...]]] = []
    calls: list[Call] = []
    clock = iter(range(10**9))

    def enter(path: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        shapes = tuple(value.shape if isinstance(value, Tensor) else None for value in (*arguments, *named.values()))
        open_calls.append((path, next(clock), shapes))

    def leave(output: Any) -> None:
        path, opened, inputs = open_calls.pop()
        shapes = tree_map_only(Tensor, lambda tensor: torch.empty_like(tensor, device="meta"), output)
        calls.append(Call(path, opened, next(clock), inputs, shapes))

    with ExitStack() as stack:
        for path, module in net.named_modules():
            if path:
                before = module.register_forward_pre_hook(
                    lambda _, arguments, named, path=path: enter(path, arguments, named), with_kwargs=True
                )
                after = module.register_forward_hook(lambda _module, _inputs, output: leave(output))
                stack.callback(before.remove)
                stack.callback(after.remove)
        with torch.no_grad():
            net.forward_features(pictures)  # type: ignore[operator]
    return calls


def done_before(calls: list[Call], begin: str) -> tuple[Call, ...]:
    """The outermost calls that end before a module is called; not those that take no tensor, as a table of positions does."""
    start = next(call.opened for call in calls if call.path == begin)
    ended = [call for call in calls if call.closed < start and any(call.inputs)]
    return tuple(
        call for call in ended if not any(other.opened < call.opened and call.closed < other.closed for other in ended)
    )


def run(net: nn.Module, road: Road, x: Tensor, begin: str | None, end: str | None) -> Tensor:
    """From where stage `begin` begins (None: pictures) to where stage `end` does (None: the end of `forward_features`)."""
    with ExitStack() as stack:
        if end is not None:
            stack.enter_context(_leaving(net.get_submodule(road.begins[end])))
        if begin is not None:
            for path, outputs in _by_module(road.done[begin]).items():
                stack.enter_context(_giving(net.get_submodule(path), outputs, x))
            stack.enter_context(_entering(net.get_submodule(road.begins[begin]), x))
            x = x.new_zeros(len(x), *road.shape)
        try:
            return net.forward_features(x)  # type: ignore[operator]
        except _Left as left:
            return left.carried


class End(nn.Module):
    """Stands where a stage began that was cut off."""

    def forward(self, x: Tensor, *others: Any, **named: Any) -> Tensor:
        raise _Left(x)


class _Left(Exception):
    def __init__(self, carried: Tensor) -> None:
        super().__init__()
        self.carried = carried


def _by_module(calls: tuple[Call, ...]) -> dict[str, list[Any]]:
    outputs: dict[str, list[Any]] = {}
    for call in calls:
        outputs.setdefault(call.path, []).append(call.output)
    return outputs


@contextmanager
def _giving(module: nn.Module, outputs: list[Any], like: Tensor) -> Iterator[None]:
    """While inside, the module gives zeros of the shapes that its first calls had, for as many clips as `like` has."""
    own, left = module.forward, list(reversed(outputs))

    def zeros(shape: Tensor) -> Tensor:
        clips, *rest = shape.shape
        return like.new_zeros(clips * len(like) // BATCH if clips % BATCH == 0 else clips, *rest)

    def forward(*arguments: Any, **named: Any) -> Any:
        return tree_map_only(Tensor, zeros, left.pop()) if left else own(*arguments, **named)

    with _instead(module, forward):
        yield


@contextmanager
def _entering(module: nn.Module, x: Tensor) -> Iterator[None]:
    own = module.forward
    with _instead(module, lambda _, *arguments, **named: own(x, *arguments, **named)):
        yield


@contextmanager
def _leaving(module: nn.Module) -> Iterator[None]:
    with _instead(module, End().forward):
        yield


@contextmanager
def _instead(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """While inside, the module computes something else."""
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
