"""The activations of a network's layers for a batch of pictures.

Layers are the stages by default. `all` takes every convolution and every block, that is the innermost module that holds
convolutions and lies in the network itself or in a container: DenseNet's dense layers and transitions, ResNet's bottlenecks,
Inception's mixed blocks, EfficientNet's inverted residuals. A convolution whose output a block hands on unchanged is listed as
that block. Anything else is a comma list of stages and of patterns over the network's own module names (* stands for dots too).
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from tla.errors import UserError
from tla.nets.reading import Reading, reading_of
from tla.nets.roads import grids_of
from tla.nets.stages import HEAD, StagedNet

STAGE_LAYERS, ALL_LAYERS = "stages", "all"
_CONTAINERS = (nn.Sequential, nn.ModuleDict, nn.ModuleList)


@dataclass(frozen=True)
class Layer:
    """A place in a network whose output is taken: (clips, channels, *positions)."""

    name: str
    """A stage, or a module by its name in the network."""
    module: str
    """The module whose output it is."""
    stage: str
    """The stage that it lies in."""
    channels: int
    positions: tuple[int, ...]
    """Height and width; nothing behind a pooling that folded them away."""
    reading: Reading | None = None
    """How its output is read as (clips, channels, *positions), if it is not such."""


def stage_outputs(net: StagedNet, x: Tensor) -> dict[str, Tensor]:
    """The output of each stage for the pictures, and the head's logits; gradients flow through them.

    No hooks: a later stage works on a copy, so that its in-place operations cannot overwrite what is handed out.
    """
    outputs = {}
    for stage in (*net.stages, HEAD):
        x = net.run(stage, x)
        outputs[stage] = net.as_map(stage, x)
        x = x.clone()
    return outputs


def layers(net: StagedNet, which: str, shape: tuple[int, int, int]) -> list[Layer]:
    """The layers that `which` names (stages, all, or a comma list), in the order in which a picture passes them."""
    called = _trace(net, shape)
    grids = grids_of(called.values(), net.takes) if net.takes else None
    every = {name: _layer(name, name, net.stage_of(name), output, grids) for name, output in called.items()}
    ends = {stage: next(path for path in reversed(paths) if path in called) for stage, paths in net.layout.stages.items()}
    stages = {stage: _layer(stage, end, stage, called[end], grids) for stage, end in ends.items()}
    if which == STAGE_LAYERS:
        return list(stages.values())
    blocks = {name: every[name] for name in _blocks(net, called) if every[name].stage != HEAD}
    found = list(blocks.values()) if which == ALL_LAYERS else _fitting(net.name, which, stages, every, list(blocks))
    order = {name: i for i, name in enumerate(called)}
    return sorted(found, key=lambda layer: order[layer.module])


def outputs(net: StagedNet, x: Tensor, wanted: Sequence[Layer]) -> dict[str, Tensor]:
    """The outputs of the layers for the pictures, by name: copies, which no later in-place operation can reach."""
    kept: dict[str, Tensor] = {}
    with tapped(net.net, wanted, lambda name, output: kept.update({name: output.clone()})):
        net(x)
    return kept


@contextmanager
def tapped(net: nn.Module, wanted: Sequence[Layer], take: Callable[[str, Tensor], None]) -> Iterator[None]:
    """While inside, `take(name, output)` is called at the moment a layer of a plain network has made its output.

    The output is the network's own tensor, which a later in-place operation may overwrite: what is kept of it has to be copied.
    """
    handles = []
    try:
        for layer in wanted:
            handles.append(net.get_submodule(layer.module).register_forward_hook(_hook(layer, take)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(layer: Layer, take: Callable[[str, Tensor], None]) -> Callable[[nn.Module, object, Tensor], None]:
    def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
        take(layer.name, layer.reading(output) if layer.reading else output)

    return hook


def _trace(net: StagedNet, shape: tuple[int, int, int]) -> dict[str, Tensor]:
    """Names of the modules that are called once and make one map or vector per clip, in order of their end; their outputs,
    which are shapes without numbers.
    """
    ghost = copy.deepcopy(net).to("meta").eval()
    calls: list[tuple[str, object]] = []
    for name, module in ghost.net.named_modules():
        module.register_forward_hook(lambda _module, _inputs, output, name=name: calls.append((name, output)))
    with torch.no_grad():
        ghost(torch.empty(2, *(net.takes or shape), device="meta"))
    counts: dict[str, int] = {}
    for name, _ in calls:
        counts[name] = counts.get(name, 0) + 1
    axes = (2, 3, 4) if net.takes else (2, 4)  # with tokens, or without
    return {name: output for name, output in calls if counts[name] == 1 and isinstance(output, Tensor) and output.ndim in axes}


def _layer(name: str, module: str, stage: str, output: Tensor, grids: Sequence[tuple[int, int]] | None) -> Layer:
    reading = reading_of(tuple(output.shape), grids) if grids and output.ndim > 2 else None
    read = reading(output) if reading else output
    return Layer(name, module, stage, read.shape[1], tuple(read.shape[2:]), reading)


def _blocks(net: StagedNet, called: dict[str, Tensor]) -> list[str]:
    """The modules that `all` takes, those of the head included."""
    modules = dict(net.net.named_modules())
    convolutions = [name for name in called if isinstance(modules[name], nn.Conv2d)]
    weighted = [name for name in called if isinstance(modules[name], nn.Linear)] if net.takes else convolutions
    holds = {name: any(inner.startswith(name + ".") for inner in weighted) for name in called if name}
    loose = [name for name in called if name and holds[name] and _in_container(name, modules)]
    blocks = [name for name in loose if not any(other.startswith(name + ".") for other in loose)]
    handed_on = {id(called[name]) for name in blocks}
    return [name for name in convolutions if id(called[name]) not in handed_on] + blocks


def _in_container(name: str, modules: dict[str, nn.Module]) -> bool:
    parent = name.rpartition(".")[0]
    return not parent or isinstance(modules[parent], _CONTAINERS)


def _fitting(net: str, which: str, stages: dict[str, Layer], every: dict[str, Layer], blocks: Sequence[str]) -> list[Layer]:
    """The layers of a comma list; `UserError` for a word that no layer fits."""
    found: dict[str, Layer] = {}
    for word in filter(None, (word.strip() for word in which.split(","))):
        fitting = [layer for name, layer in every.items() if name and fnmatchcase(name, word)]
        mine = [stages[word]] if word in stages else fitting
        if not mine:
            some = ", ".join([blocks[0], blocks[len(blocks) // 2], blocks[-1]])
            raise UserError(
                f"no layer of {net} fits {word!r}; possible are stages, all, {', '.join(stages)}, "
                f"and patterns over module names such as {some}"
            )
        found |= {layer.name: layer for layer in mine}
    if not found:
        raise UserError(f"--layers names no layer; possible are stages, all, {', '.join(stages)}, and patterns")
    return list(found.values())
