"""A network without its later stages, and the head that it gets."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from tla.errors import UserError
from tla.nets import replay
from tla.nets.reading import Reading
from tla.nets.stages import StagedNet, describe, seeded
from tla.options import STAGES, CutHead, Stage

CUT_HEAD = "cut_head"  # the name, inside a cut network, of its fresh norm and linear layer


class TokenHead(nn.Module):
    """The head of a cut network with tokens or channels last: layer norm, as its blocks begin with, of the mean or a token."""

    def __init__(self, channels: int, classes: int, reading: Reading, reads: CutHead) -> None:
        super().__init__()
        self.reading, self.reads = reading, reads
        self.norm = nn.LayerNorm(channels)
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        if self.reads == "token":
            return self.linear(self.norm(self.reading.token(x)))
        places = self.reading(x).flatten(2).transpose(1, 2)
        return self.linear(self.norm(places).mean(1))


class MapHead(nn.Module):
    """The head of a cut network with channels first: the earlier stages end without norm and ReLU, so it brings its own."""

    def __init__(self, channels: int, classes: int, reading: Reading | None) -> None:
        super().__init__()
        self.reading = reading
        self.norm = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reading(x) if self.reading else x
        return self.linear(torch.relu(self.norm(x)).mean((2, 3)))


def cut(net: StagedNet, upto: Stage, classes: int, *, seed: int, reads: CutHead = "mean") -> StagedNet:
    """The network without the stages behind `upto`, and with a fresh head; the network given is used up."""
    if upto == net.stages[-1]:
        return net
    kept = {stage: net.layout.stages[stage] for stage in net.upto(upto)}
    channels, reading = _channels(net, upto), net.layout.readings.get(upto)
    if reads == "token" and not _has_token(net, upto):
        raise UserError(f"{net.name} has no class token behind its {upto}: its cut head can read the mean over places")
    if net.layout.road:
        _cut_road(net, net.layout.road.begins[STAGES[STAGES.index(upto) + 1]], kept)
    else:
        _prune(net.net, "", [path for paths in kept.values() for path in paths])
    with seeded(seed, "the head of a cut network"):
        if reading and reading.channels > 1:
            net.net.add_module(CUT_HEAD, TokenHead(channels, classes, reading, reads))
        else:
            net.net.add_module(CUT_HEAD, MapHead(channels, classes, reading))
    owners = {name: stage for name, stage in net.layout.owners.items() if stage in kept}
    layout = replace(net.layout, stages=kept, classifier=(CUT_HEAD,), head=_cut_head, owners=owners)
    return StagedNet(net.name, net.net, layout).train(net.training)


def _has_token(net: StagedNet, upto: Stage) -> bool:
    reading = net.layout.readings.get(upto)
    tokens = [name for name, _ in net.net.named_parameters() if name.rpartition(".")[2] == "cls_token"]
    return reading is not None and reading.apart > 0 and any(net.stage_of(name) in net.upto(upto) for name in tokens)


def _cut_road(net: StagedNet, begin: str, kept: Mapping[str, tuple[str, ...]]) -> None:
    """Put an end where the next stage begins, and delete the modules and parameters of what comes behind it."""
    gone = {name for name, _ in net.net.named_parameters() if net.stage_of(name) not in kept}
    holder, _, name = begin.rpartition(".")
    setattr(net.net.get_submodule(holder), name, replay.End())
    _delete(net.net, "", gone, begin)


def _delete(module: nn.Module, path: str, gone: set[str], end: str) -> None:
    """Delete parameters, and modules that have no others; what has none may be asked for its shape or its name."""
    for name, _ in list(module.named_parameters(recurse=False)):
        if path + name in gone:
            module.register_parameter(name, None)
    for name, child in list(module.named_children()):
        inside = {f"{path}{name}.{parameter}" for parameter, _ in child.named_parameters()}
        if inside and inside <= gone and not end.startswith(f"{path}{name}."):
            delattr(module, name)
        else:
            _delete(child, f"{path}{name}.", gone, end)


def _cut_head(net: nn.Module, x: Tensor) -> Tensor:
    return net.get_submodule(CUT_HEAD)(x)


def _channels(net: StagedNet, stage: str) -> int:
    return next(row.shape[0] for row in describe(net, (3, 128, 128)) if row.stage == stage)


def _prune(module: nn.Module, path: str, kept: list[str]) -> None:
    """Delete the modules that are neither kept nor contain a kept one."""
    for name, child in list(module.named_children()):
        here = f"{path}.{name}".lstrip(".")
        if any(keep.startswith(here + ".") for keep in kept):
            _prune(child, here, kept)
        elif here not in kept:
            delattr(module, name)
