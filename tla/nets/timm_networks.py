"""timm's networks as staged ones: made for the size of the pictures, cut into stages, and checked to compute what they did.

A network whose features are modules in a row is a chain: a stage ends with the last feature at its stride. Others are replayed
(`nets.replay`), and made for one size of pictures: the pictures' own, or the next one that the network can take.
"""

import copy
import difflib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from tla.errors import UserError
from tla.nets import replay, roads
from tla.nets.stages import HEAD, Layout, StagedNet, seeded
from tla.options import STAGES

PREFIX = "timm:"
Shape = tuple[int, int, int]

_FAILS = (RuntimeError, ValueError, AssertionError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError)
_PROBE = (3, 128, 160)  # a picture on which chains are traced and checked
_CHECKED = 2  # pictures on which roads are checked: other than they are traced on
_EDGE = 2  # rows or columns of a picture that no network may leave out; convolutions without padding leave out fewer
_MULTIPLES = (1, 2, 4, 8, 14, 16, 28, 32, 48, 56, 64, 96, 128)  # of which a picture's sides may have to be


@dataclass(frozen=True)
class _Cut:
    """How a network is cut, and the size that it has to be made for."""

    layout: Layout
    img_size: tuple[int, int] | None = None


def inner_name(name: str) -> str | None:
    """What timm calls the backbone, if it is one of timm's."""
    if name == "efficientnet_lite0":
        return "tf_efficientnet_lite0"
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else None


def make(name: str, classes: int, shape: Shape, *, seed: int) -> StagedNet:
    """The network for pictures (3, mels, frames), with random weights that depend on the seed alone."""
    cut = _cut(name, shape)
    with seeded(seed):
        net = _create(name, classes, cut.img_size)
    return StagedNet(name, net, cut.layout)


def _create(name: str, classes: int, size: tuple[int, int] | None = None) -> nn.Module:
    import timm

    inner = inner_name(name)
    if inner is None or not timm.is_model(inner):
        near = meant(inner or name, timm.list_models(), PREFIX)
        raise UserError(f"timm knows no network {inner!r}{near}; python -c 'import timm; print(timm.list_models())' lists them")
    try:
        options: dict[str, Any] = {} if size is None else {"img_size": size}
        return timm.create_model(inner, num_classes=classes, **options)
    except _FAILS as error:
        raise UserError(f"timm cannot make {inner!r}: {_first_line(error)}") from None


def meant(name: str, names: tuple[str, ...] | list[str], prefix: str = "") -> str:
    """The names that a wrong one is like, as a question."""
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    return f" (did you mean {' or '.join(prefix + match for match in near)}?)" if near else ""


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")


class _Not(Exception):
    """Why a network cannot be cut in some way."""


@lru_cache
@torch.inference_mode(False)  # wherever a network is made, gradients tell whose a tensor is
@torch.enable_grad()
def _cut(name: str, shape: Shape) -> _Cut:
    with seeded(0):
        net = _create(name, 2)
    try:
        chain = _chain(name, net)
        if _can_take(net, shape):
            return _Cut(chain)
        why = f"it takes no pictures of {shape[1]} x {shape[2]}"
    except _Not as error:
        why = str(error)
    net.eval().requires_grad_()  # of fixed tensors too it is asked whose they are
    for size in _sizes(shape):
        for img_size in (size, None):  # not all networks can be told a size, nor have all to be told
            try:
                return _Cut(_road(name, _made_for(name, img_size) if img_size else net, (3, *size)), img_size)
            except _TooOdd:
                continue
            except _Not as error:
                raise UserError(f"{name} cannot be cut into stages: as a chain of modules, {why}; otherwise, {error}") from None
    raise UserError(f"{name} takes no pictures of {shape[1]} x {shape[2]} (mels x frames), nor a little larger ones")


def _can_take(net: nn.Module, shape: Shape) -> bool:
    """Whether pictures of this shape pass, by shapes alone."""
    ghost = copy.deepcopy(net).to("meta").eval()
    try:
        with torch.no_grad():
            ghost(torch.empty(1, *shape, device="meta"))
    except RuntimeError:
        return False
    return True


def head(net: nn.Module, x: Tensor) -> Tensor:
    """What a network of timm computes behind its features."""
    return net.forward_head(x)  # type: ignore[operator]  # every network of timm has it


def _classifier(net: nn.Module) -> tuple[str, ...]:
    """The layers that make logits: one, or two in networks that were distilled."""
    found = net.get_classifier()  # type: ignore[operator]
    every = found if isinstance(found, tuple | list) else (found,)
    paths = tuple(path for path, module in net.named_modules() if any(module is one for one in every))
    if len(paths) != len(every):
        raise _Not("its classifier is not a module")
    return paths


# Chains


def _chain(name: str, net: nn.Module) -> Layout:
    """Where the stages of a chain end, by the features that timm tells of."""
    marks = _features(net)
    chain = [part for path in _calls(net) for part in _expanded(net, path, set(marks.values()))]
    lost = [mark for mark in marks.values() if mark not in chain]
    if lost:
        raise _Not(f"{lost[0] or 'its stem'} is not a module of its main road")
    ends = [chain.index(marks[stride]) + 1 for stride in (4, 8, 16)]
    bounds = [0, chain.index(marks[2]) + 1 if 2 in marks else ends[0] - 1, *ends, len(chain)]
    if any(end <= start for start, end in pairwise(bounds)):
        raise _Not("a stage would be empty")
    stages: dict[str, tuple[str, ...]] = {
        stage: tuple(chain[start:end]) for stage, (start, end) in zip(STAGES, pairwise(bounds), strict=True)
    }
    layout = Layout(stages, _classifier(net), head)
    _check_chain(StagedNet(name, net, layout))
    return layout


def _features(net: nn.Module) -> dict[int, str]:
    """The last feature module at each stride."""
    info = getattr(net, "feature_info", None) or []
    marks = {int(feature["reduction"]): str(feature["module"]) for feature in info}
    if missing := {4, 8, 16, 32} - marks.keys():
        raise _Not(f"it has no feature at stride {min(missing)}")
    return {stride: marks[stride] for stride in (2, 4, 8, 16, 32) if stride in marks}


def _calls(net: nn.Module) -> list[str]:
    """The outermost modules that `forward_features` calls, in order."""
    net.eval()
    try:
        calls = replay.trace(net, torch.zeros(1, *_PROBE))
    except _FAILS as error:
        raise _Not(f"it cannot take a picture of {_PROBE[1]} x {_PROBE[2]} ({_first_line(error)})") from None
    finally:
        net.train()
    return [call.path for call in sorted(roads.outermost(calls), key=lambda call: call.opened)]


def _expanded(net: nn.Module, path: str, marks: set[str]) -> list[str]:
    """The module, or the parts of a sequence if a feature ends strictly inside it."""
    module = net.get_submodule(path)
    if not isinstance(module, nn.Sequential) or not any(mark.startswith(path + ".") for mark in marks):
        return [path]
    return [part for name, _ in module.named_children() for part in _expanded(net, f"{path}.{name}", marks)]


def _check_chain(staged: StagedNet) -> None:
    channels = {str(feature["module"]): feature["num_chs"] for feature in staged.net.feature_info}  # type: ignore[union-attr]

    def check(stage: str, x: object) -> None:
        wanted = channels.get(staged.layout.stages[stage][-1])
        if not isinstance(x, Tensor) or x.ndim != 4:
            raise _Not(f"its {stage} does not give (clips, channels, height, width)")
        fits = wanted in (None, x.shape[1])
        if fits and stage == "stem":  # width and height differ, so that (clips, height, width, channels) shows here
            fits = any(0.8 * _PROBE[1] < x.shape[2] * stride < 1.1 * _PROBE[1] for stride in (2, 4))
        if not fits:
            raise _Not(f"its {stage} gives {tuple(x.shape)}, not (clips, channels, height, width)")

    try:
        _check(staged, _random(1, _PROBE), check)
    except _FAILS as error:
        raise _Not(_first_line(error)) from None


def _check(staged: StagedNet, pictures: Tensor, check: Callable[[str, object], None]) -> None:
    """A network that computes anything else by stages than as a whole is refused, not silently changed."""
    staged.eval()
    try:
        with torch.no_grad():
            original, x = staged.net(pictures), pictures
            for stage in staged.stages:
                version, before = x._version, x
                x = staged.run(stage, x)
                check(stage, x)
                if before._version != version:
                    raise _Not(f"its {stage} overwrites its own input")
            same = torch.equal(staged.run(HEAD, x), original)
    finally:
        staged.train()
    if not same:
        raise _Not("it computes more than its modules one after the other")


# Roads


class _TooOdd(Exception):
    """A network cannot take pictures of a size."""


def _sizes(shape: Shape) -> Iterator[tuple[int, int]]:
    """The size of the pictures, then larger ones, the smallest first; the sides of some networks' pictures have to be equal."""
    _, mels, frames = shape
    wide = {tuple(math.ceil(side / m) * m for side in (mels, frames)) for m in _MULTIPLES}
    square = {(math.ceil(max(mels, frames) / m) * m,) * 2 for m in _MULTIPLES}
    yield from sorted(wide | square, key=math.prod)  # type: ignore[misc]


def _made_for(name: str, img_size: tuple[int, int]) -> nn.Module:
    """The network in inference mode; `_TooOdd` if it cannot be made for such pictures, or cannot be told."""
    try:
        with seeded(0):
            return _create(name, 2, img_size).eval().requires_grad_()
    except UserError as error:
        raise _TooOdd(str(error)) from None


def _road(name: str, net: nn.Module, shape: Shape) -> Layout:
    """The first way to cut the network under which it computes what it did."""
    try:
        calls = replay.trace(net, _random(replay.BATCH, shape))
    except _FAILS as error:
        raise _TooOdd(_first_line(error)) from None
    why = "its blocks cannot be told apart"
    for begins in roads.candidates(net, calls, shape):
        try:
            return _on_road(name, net, calls, begins, shape)
        except _Not as error:
            why = str(error)
        except _FAILS as error:
            why = _first_line(error)
    raise _Not(why)


def _on_road(name: str, net: nn.Module, calls: list[replay.Call], begins: dict[str, str], shape: Shape) -> Layout:
    """The layout of a network whose stages begin with these modules; `_Not` if they cannot."""
    road = roads.road_of(calls, begins, shape)
    staged = StagedNet(name, net, Layout(roads.modules_of(calls, begins), _classifier(net), head, road)).eval()
    pictures = _random(_CHECKED, shape)
    _must_see_all(staged, pictures)
    carried: dict[str, Tensor] = {}

    def check(stage: str, output: object) -> None:
        if not isinstance(output, Tensor) or len(output) != _CHECKED or output.ndim not in (3, 4):
            raise _Not(f"more than one tensor of one row per clip leads out of its {stage}")
        carried[stage] = output

    _check(staged, pictures, check)
    owners = roads.first_to_need(staged, pictures)
    return replace(staged.layout, readings=roads.readings(carried, calls, shape), owners=owners)


def _must_see_all(staged: StagedNet, pictures: Tensor) -> None:
    """`_TooOdd` if the network leaves out the last rows or columns of a picture, as it may where they fill no whole patch."""
    with torch.no_grad():
        seen = staged.prefix(pictures, "stem")
        if torch.equal(staged.prefix(pictures + 1, "stem"), seen):
            raise _Not("its stem does not hang on the picture")
        for edge in ((..., slice(-_EDGE, None), slice(None)), (..., slice(-_EDGE, None))):
            changed = pictures.clone()
            changed[edge] += 1
            if torch.equal(staged.prefix(changed, "stem"), seen):
                raise _TooOdd("it leaves the edge of such pictures out")


def _random(clips: int, shape: Shape) -> Tensor:
    return torch.randn(clips, *shape, generator=torch.Generator().manual_seed(0))
