"""Where the stages lie in a network of timm that is no chain of modules.

Its blocks are looked for from the outside to the inside, until they can be told apart into stages. In a network that works at
the strides 4, 8, 16 and 32 a stage ends with the last block at its stride. In one that keeps its resolution, or has others, the
stem is what comes before the first block, with its tokens and positions, and block1 to block4 are quarters of the blocks; the
final norm belongs to block4.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from tla.nets.reading import Reading, reading_of
from tla.nets.replay import Call, Road, done_before
from tla.nets.stages import StagedNet
from tla.options import STAGES

CONTAINERS = (nn.Sequential, nn.ModuleList)
WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d)
EDGES = 2  # columns that the sides of a map may be off from those of the picture, for what happens at the edges
LEVELS = 4  # containers inside containers that are looked into


def candidates(net: nn.Module, calls: Sequence[Call], shape: tuple[int, int, int]) -> list[dict[str, str]]:
    """For each stage but the stem the module with which it begins: possible ways, the outermost blocks first."""
    found = []
    for level in range(LEVELS):
        blocks = _blocks(net, calls, level)
        cuts = _cuts(net, calls, blocks, shape)
        for begins in (_behind(calls, blocks, cuts), _at(blocks, cuts)) if cuts else ():
            if len(set(begins.values())) == len(begins) and begins not in found:
                found.append(begins)
    return found


def _blocks(net: nn.Module, calls: Sequence[Call], level: int) -> list[Call]:
    """The outermost modules with two layers of weights or more; so many levels of containers inside them are opened."""
    modules = dict(net.named_modules())
    heavy = [call for call in calls if sum(isinstance(part, WEIGHTS) for part in modules[call.path].modules()) > 1]
    closed = [c for c in heavy if _in_container(c.path, modules) or not isinstance(modules[c.path], CONTAINERS)]
    blocks = outermost(closed)
    for _ in range(level):
        opened = []
        for block in blocks:
            inside = [call for call in closed if block.opened < call.opened and call.closed < block.closed]
            parts = outermost([call for call in inside if _in_container(call.path, modules)])
            opened += parts if len(parts) > 1 else [block]
        blocks = opened
    return sorted(blocks, key=lambda call: call.opened)


def outermost(calls: Sequence[Call]) -> list[Call]:
    """Those that lie in no other one."""
    return [call for call in calls if not any(o.opened < call.opened and call.closed < o.closed for o in calls)]


def _in_container(path: str, modules: Mapping[str, nn.Module]) -> bool:
    return isinstance(modules[path.rpartition(".")[0]], CONTAINERS)


def _cuts(net: nn.Module, calls: Sequence[Call], blocks: Sequence[Call], shape: tuple[int, int, int]) -> list[int] | None:
    """The places among the blocks at which block1 to block4 begin; None if there are too few."""
    if not blocks:
        return None
    grids = grids_of((call.output for call in calls), shape)
    strides = [_stride(block.output, grids, shape) for block in blocks]
    whole = blocks[0].inputs[0] is not None and tuple(blocks[0].inputs[0][1:]) == shape  # the first one takes the picture
    if {4, 8, 16, 32} <= set(strides):
        ends = [max(place for place, stride in enumerate(strides) if stride == s) + 1 for s in (4, 8, 16)]
        before = [place for place, stride in enumerate(strides[: ends[0]]) if stride is not None and stride < 4]
        cuts = [max(before, default=whole - 1) + 1, *ends]
    else:
        modules = dict(net.named_modules())
        kinds = [type(modules[block.path]) for block in blocks]
        first = max(kinds.index(Counter(kinds).most_common(1)[0][0]), int(whole))
        cuts = [first + round((len(blocks) - first) * quarter / 4) for quarter in range(4)]
    if any(end <= start for start, end in pairwise([*cuts, len(blocks)])):
        return None
    return cuts


def _behind(calls: Sequence[Call], blocks: Sequence[Call], cuts: Sequence[int]) -> dict[str, str]:
    """Stages that begin with what is called right behind the last block of the one before: a container, or a smaller module."""
    opened = {call.opened: call.path for call in calls if call.inputs and call.inputs[0] is not None}
    ends = [blocks[cut - 1].closed if cut else -1 for cut in cuts]
    return {stage: opened[min(time for time in opened if time > end)] for stage, end in zip(STAGES[1:], ends, strict=True)}


def _at(blocks: Sequence[Call], cuts: Sequence[int]) -> dict[str, str]:
    """Stages that begin with their first block."""
    return {stage: blocks[cut].path for stage, cut in zip(STAGES[1:], cuts, strict=True)}


def _stride(output: object, grids: Sequence[tuple[int, int]], shape: tuple[int, int, int]) -> int | None:
    """At which stride of the picture an output is."""
    if not isinstance(output, Tensor) or output.ndim not in (3, 4):
        return None
    height, width = reading_of(tuple(output.shape), grids).grid
    off = {stride: max(abs(shape[1] / stride - height), abs(shape[2] / stride - width)) for stride in (1, 2, 4, 8, 16, 32, 64)}
    nearest = min(off, key=lambda stride: off[stride])
    return nearest if off[nearest] <= 1 else None


def road_of(calls: list[Call], begins: Mapping[str, str], shape: tuple[int, int, int]) -> Road:
    """The way through a network whose stages begin with these modules."""
    return Road(shape, begins, {stage: done_before(calls, path) for stage, path in begins.items()})


def modules_of(calls: Sequence[Call], begins: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The outermost modules of each stage, in order: those that are called and done between where it and the next one begin."""
    opened = {call.path: call.opened for call in calls}
    starts = [0, *(opened[path] for path in begins.values()), max(call.closed for call in calls) + 1]
    inside = [[c for c in calls if start <= c.opened and c.closed < end] for start, end in pairwise(starts)]
    return {stage: tuple(call.path for call in outermost(found)) for stage, found in zip(STAGES, inside, strict=True)}


def readings(carried: Mapping[str, Tensor], calls: Sequence[Call], shape: tuple[int, int, int]) -> dict[str, Reading]:
    """How each stage's output is read."""
    grids = grids_of((call.output for call in calls), shape)
    return {stage: reading_of(tuple(output.shape), grids) for stage, output in carried.items()}


def grids_of(outputs: Iterable[object], shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Heights and widths of the maps that a network makes of a picture, the largest first."""
    found = set()
    for output in outputs:
        if isinstance(output, Tensor) and output.ndim == 4:
            for height, width in (output.shape[2:], output.shape[1:3]):
                if height and abs(height * shape[2] / shape[1] - width) <= EDGES:
                    found.add((height, width))
    # Maps that are kept as tokens do not show; they are smaller by halves.
    halves = {(-(-height // part), -(-width // part)) for height, width in found for part in (2, 4, 8)}
    return [*sorted(found, reverse=True), *sorted(halves - found, reverse=True)]


def first_to_need(staged: StagedNet, pictures: Tensor) -> dict[str, str]:
    """Whose each parameter is: the first stage's whose output hangs on it. Those that no stage needs are left out."""
    owners: dict[str, str] = {}
    left, x = dict(staged.net.named_parameters()), pictures
    for stage in staged.stages:
        x = staged.run(stage, x.detach())
        found = torch.autograd.grad(x.float().sum(), list(left.values()), allow_unused=True)
        mine = [name for name, gradient in zip(left, found, strict=True) if gradient is not None]
        owners |= dict.fromkeys(mine, stage)
        left = {name: parameter for name, parameter in left.items() if name not in owners}
    return owners
