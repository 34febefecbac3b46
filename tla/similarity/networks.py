"""Any two networks on the same clips, layer by layer: what `tla.svcca` computes, for two torch modules and a loader.

The clips are read once, and written to a temporary file (TMPDIR): both networks get the same ones, each clip is paired with
another one in a random order to find the floor, and clips of a group pass together, so that each group can be left out for the
interval. From there on it is the path of the command (`stream`, `scoring`), and memory does not grow with clips.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tla.errors import UserError
from tla.nets.activations import Layer
from tla.similarity import methods
from tla.similarity.arrays import Array, channels_at, tensor
from tla.similarity.scoring import Asked, Scored, scored
from tla.similarity.stream import BATCH, Couple, Passed, Spool, accumulate, grouped, spooled
from tla.similarity.tables import SCALES
from tla.statistics import jackknife

Layers = str | Sequence[str] | Mapping[str, str]
ChannelAxis = int | Mapping[str, int] | None
NAMED = 6  # modules that an error names
NUMBERS = ["score", "low", "high", "floor", "floor_low", "floor_high"]
SIDES = [f"{what}_{side}" for what in ("kept", "channels", "dead") for side in "ab"]
BASIS = ["keep", "clips", "groups", "positions", "pool"]
COLUMNS = ["layer", "measure", *NUMBERS, "points", "forced", *SIDES, *BASIS, "left_out"]


def compare(
    net_a: nn.Module,
    net_b: nn.Module,
    loader: Iterable[Any] | Dataset | Array,
    layers: Layers,
    *,
    measures: str | Sequence[str] = "svcca",
    groups: Sequence[object] | None = None,
    pool: bool = False,
    channel_axis: ChannelAxis = None,
    keep: float | int | None = None,
    keep_by: methods.KeepBy = "variance",
    forced: methods.Forced = "refuse",
) -> pd.DataFrame:
    """How alike two networks are on the same clips: a row per layer and measure, with floor and intervals.

    ```python
    import copy
    import torch
    from tla.similarity import compare, compare_figure

    torch.manual_seed(0)
    before = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3))
    after = copy.deepcopy(before)
    torch.nn.init.normal_(after[2].weight)  # instead of training
    table = compare(before, after, torch.randn(20, 3, 12, 12), layers="*", measures=["svcca", "cka"])
    print(table[["layer", "measure", "score", "low", "high", "floor"]])
    figure = compare_figure(table)
    ```

    Both networks compute in inference mode, each on its own device, and are left as they were. `low` to `high` is the 95 %
    interval of the score for other recordings; `floor` is the score with each clip paired with another one, and has an interval
    too. A score that means nothing is left out, as in the command, and `left_out` says why (x is network a, y is b). `kept_a`
    and `kept_b` are the directions that were compared, `forced` the canonical correlations that are 1 whatever the data,
    `dead_a` and `dead_b` the channels that do not vary.

    Args:
        net_a: A network.
        net_b: Another, or the same after training (`copy.deepcopy` it before).
        loader: Yields batches of clips, or tuples whose first item they are. Or a torch data set, or an array of all clips.
        layers: Names of modules and patterns over them, as a list or with commas between them: those that both networks have.
            `layer?` is layer1 to layer4 of a ResNet, `layer*` also all that is inside of them. A mapping compares modules of
            other names: `{"layer4": "blocks.11"}`. A module whose output is a tuple stands for the first item.
        measures: svcca, pwcca, cka, cka-debiased, procrustes, channel.
        groups: For each clip, in the loader's order, what it was cut from (its recording). Clips of one are not independent, so
            intervals leave them out together. Left out, each clip is its own.
        pool: Average the positions, so that a clip is one point: for maps of different sizes. Forced correlations are then
            counted, but not refused.
        channel_axis: Where a layer's output has its channels: 1 in (clips, channels, height, width), which is what an output of
            two or four axes is taken for; -1 in a transformer's (clips, tokens, channels), which has to be said. A mapping
            from patterns is for some of the layers: `{"encoder*": -1}`.
        keep: For svcca and pwcca, the share of the variance that is kept (0.99 and 1.0), or a number of directions.
        keep_by: What the share is of: variance, or values, the sum of singular values.
        forced: What to do about scores with forced correlations: refuse, or allow.
    """
    asked = _asked(measures, pool=pool, keep=keep, keep_by=keep_by, forced=forced)
    first, second = (Passed(net, partial(_run, net), partial(_read, channel_axis)) for net in (net_a, net_b))
    with spooled() as spool, _at_rest(net_a, net_b):
        clips, batch = _clips(loader, spool.folder)
        dealt = grouped(_sources(groups, len(clips)))
        couples = _couples((first, second), layers, clips[:batch], pool=pool)
        accumulate(first, second, couples, clips, dealt, spool, pool=pool, products=asked.products, batch=batch)
        rows = [row for layer, couple in enumerate(couples) for row in _rows(spool, layer, couple, asked, dealt)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    if table["score"].isna().all():
        reasons = "; ".join(f"{row.measure} at {row.layer}: {row.left_out}" for row in table.itertuples())
        raise UserError(f"nothing could be scored: {reasons}")
    return table


def _asked(measures: str | Sequence[str], *, forced: methods.Forced, **options: Any) -> Asked:
    names = (measures,) if isinstance(measures, str) else tuple(measures)
    unknown = [name for name in names if name not in methods.MEASURES]
    if unknown or not names:
        raise UserError(f"measures={measures!r}: possible are {', '.join(methods.MEASURES)}")
    if forced not in get_args(methods.Forced):
        raise UserError(f"forced={forced!r}: possible are {' and '.join(get_args(methods.Forced))}")
    return Asked(tuple(dict.fromkeys(names)), forced=forced, **options)


@contextmanager
def _at_rest(*nets: nn.Module) -> Iterator[None]:
    """The networks in inference mode; afterwards each module is in the mode that it was in."""
    modes = {module: module.training for net in nets for module in net.modules()}
    try:
        for module in modes:
            module.training = False  # not .eval(), which some modules use to do more
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _run(net: nn.Module, clips: Tensor) -> None:
    weights = next(itertools.chain(net.parameters(), net.buffers()), None)
    net(clips if weights is None else clips.to(weights.device))


# Clips


def _clips(loader: Any, folder: Path) -> tuple[Tensor, int]:
    """All clips, which lie on disk if they came one batch after the other; and how many pass through a network at once."""
    if isinstance(loader, Tensor | np.ndarray):
        clips, batch = tensor("the loader", loader), BATCH
    else:
        one_by_one = hasattr(loader, "__getitem__") and not isinstance(loader, list | tuple | Mapping)  # a data set
        clips, batch = _written(DataLoader(loader, batch_size=BATCH) if one_by_one else loader, folder / "clips")
    if len(clips) < 2:
        raise UserError(
            f"the loader gives {len(clips)} clips; a comparison takes 2 at least, and means something with many more"
        )
    return clips, max(2, batch)


def _written(loader: Iterable[Any], path: Path) -> tuple[Tensor, int]:
    sizes: list[int] = []
    first: Tensor | None = None
    with path.open("wb") as file:
        for item in loader:
            batch = _batch(item)
            first = batch if first is None else first
            if (batch.shape[1:], batch.dtype) != (first.shape[1:], first.dtype):
                kinds = " and then ".join(f"{tuple(b.shape[1:])} {b.dtype}" for b in (first, batch))
                raise UserError(f"the loader gives clips of {kinds}; clips of one shape and dtype pass through a network")
            sizes.append(len(batch))
            try:
                file.write(batch.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
            except OSError as error:
                raise UserError(
                    f"{path.parent}: after {sum(sizes)} clips no more can be written there ({error.strerror}); name a larger "
                    "place as TMPDIR in the environment, or give fewer clips"
                ) from None
    if first is None or not sum(sizes):
        raise UserError("the loader gives no clips")
    clips = torch.from_file(str(path), size=sum(sizes) * first[0].numel(), dtype=first.dtype)
    return clips.reshape(sum(sizes), *first.shape[1:]), max(sizes)


def _batch(item: Any) -> Tensor:
    first = item[0] if isinstance(item, tuple | list) and item else item
    if not isinstance(first, Tensor | np.ndarray) or not first.ndim:
        raise UserError(
            f"the loader yields {type(first).__name__}; possible are batches of clips, or tuples that begin with one"
        )
    return tensor("a batch", first)


def _sources(groups: Sequence[object] | None, clips: int) -> list[str]:
    if groups is None:
        return [str(clip) for clip in range(clips)]
    if len(groups) != clips:
        raise UserError(f"groups has {len(groups)} entries and the loader gives {clips} clips; it names what each was cut from")
    return [str(group) for group in groups]


# Layers


def _couples(passes: Sequence[Passed], layers: Layers, clips: Tensor, *, pool: bool) -> list[Couple]:
    """The layers that are compared, in the order in which the second network computes them."""
    words = [list(layers), list(layers.values())] if isinstance(layers, Mapping) else [_words(layers)] * 2
    sides = [_layers(each, net, mine, clips) for each, net, mine in zip(passes, "ab", words, strict=True)]
    pairs = layers.items() if isinstance(layers, Mapping) else [(name, name) for name in sides[1] if name in sides[0]]
    if not pairs:
        raise UserError(
            f"no layer has one name in both networks: {_some(sides[0])} in a, {_some(sides[1])} in b; say which are to be "
            'compared, as in layers={"name in a": "name in b"}'
        )
    order = {name: place for place, name in enumerate(sides[1])}
    couples = [Couple(sides[0][one], sides[1][other]) for one, other in sorted(pairs, key=lambda pair: order[pair[1]])]
    for couple in couples:
        if not pool and couple.before.positions != couple.after.positions:
            sizes = " and ".join(" x ".join(map(str, layer.positions)) or "no" for layer in couple)
            raise UserError(
                f"{couple.name} has {sizes} positions in the two networks: point by point these cannot be compared; pool=True "
                "compares clip by clip"
            )
    return couples


def _words(layers: str | Sequence[str]) -> list[str]:
    words = [word.strip() for word in (layers.split(",") if isinstance(layers, str) else layers)]
    if not any(words):
        raise UserError("layers names none; give names of modules, or patterns such as layer?")
    return [word for word in words if word]


def _layers(passed: Passed, which: str, words: Sequence[str], clips: Tensor) -> dict[str, Layer]:
    """The layers that fit the words, by name, in the order in which they are computed."""
    modules = [name for name, _ in passed.net.named_modules() if name]
    fitting = {word: [name for name in modules if fnmatchcase(name, word)] for word in words}
    for word, names in fitting.items():
        if not names:
            raise UserError(f"network {which} has no module {word!r}; possible are names and patterns such as {_some(modules)}")
    called = _called(passed, {name for names in fitting.values() for name in names}, clips)
    wrong = {name: _wrong(called.get(name, []), len(clips)) for names in fitting.values() for name in names}
    for names in fitting.values():
        if all(wrong[name] for name in names):
            raise UserError(f"{names[0]} in network {which} cannot be compared: {wrong[names[0]]}")
    return {name: _layer(passed, name, outputs[0]) for name, outputs in called.items() if not wrong[name]}


def _called(passed: Passed, names: set[str], clips: Tensor) -> dict[str, list[Any]]:
    """What modules put out for some clips, as shapes without numbers, in the order of their last calls."""
    found: dict[str, list[Any]] = {}

    def hook(name: str, output: Any) -> None:
        value = _first(output)
        shape = torch.empty_like(value, device="meta") if isinstance(value, Tensor) else value
        found[name] = [*found.pop(name, []), shape]

    handles = [
        passed.net.get_submodule(name).register_forward_hook(lambda _module, _inputs, output, name=name: hook(name, output))
        for name in names
    ]
    try:
        with torch.no_grad():
            passed.run(clips)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _wrong(outputs: Sequence[Any], clips: int) -> str:
    """Why a module's outputs cannot be compared; empty if they can."""
    if len(outputs) != 1:
        return f"it is called {len(outputs)} times in a pass, so it has no one output"
    (output,) = outputs
    if not isinstance(output, Tensor):
        return f"it puts out {type(output).__name__}, no tensor"
    if output.ndim < 2 or len(output) != clips:
        return f"it puts out {tuple(output.shape)} for {clips} clips, which is not (clips, channels, ...)"
    return ""


def _layer(passed: Passed, name: str, output: Tensor) -> Layer:
    layer = Layer(name, name, "", 0, ())
    shape = passed.read(layer, output).shape
    return Layer(name, name, "", shape[1], tuple(shape[2:]))


def _read(channel_axis: ChannelAxis, layer: Layer, output: Any) -> Tensor:
    """A layer's output as (clips, channels, ...)."""
    axes = channel_axis if isinstance(channel_axis, Mapping) else {"*": channel_axis}
    asked = next((axis for pattern, axis in axes.items() if fnmatchcase(layer.name, pattern)), None)
    values = _first(output)
    return values.movedim(channels_at(layer.name, values, asked), 1)


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple | list) and output else output


def _some(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(every if len(every) <= NAMED else [*every[: NAMED // 2], "...", *every[-NAMED // 2 :]]) or "none"


# Rows


def _rows(spool: Spool, layer: int, couple: Couple, asked: Asked, groups: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """A row per measure, also of those that are not defined at this layer."""
    refused: dict[str, str] = {}
    found = {score.measure: score for score in scored(spool, layer, asked, refused.__setitem__)}
    about = {"layer": couple.name, "positions": " x ".join(map(str, couple.after.positions)), "pool": asked.pool}
    about |= {"clips": sum(map(len, groups)), "groups": len(groups)}
    rows = []
    for measure in asked.measures:
        numbers = _numbers(found[measure], groups, asked) if measure in found else {"left_out": refused[measure]}
        rows.append({**about, "measure": measure, "keep": asked.rule(measure), **numbers})
    return rows


def _numbers(found: Scored, groups: Sequence[np.ndarray], asked: Asked) -> dict[str, Any]:
    """What is known of a score; not the score itself if it is refused."""
    clips, largest = sum(map(len, groups)), max(map(len, groups))
    forced = found.forced(clips, clips - largest * (len(groups) > 1))
    sides = [count for pair in (found.whole.kept, found.whole.channels, found.whole.dead) for count in pair]
    row = {"points": found.whole.points, "forced": forced, **dict(zip(SIDES, sides, strict=True)), "left_out": ""}
    if forced and asked.forced == "refuse" and not asked.pool:
        remedy = "keep fewer (keep=0.9), bring more clips, or take it with forced='allow'"
        return {**row, "left_out": f"{found.why(forced)}; {remedy}"}
    rest = np.array(found.without).reshape(-1, 2).T
    ends = SCALES[found.measure].ends
    estimates = [
        jackknife(one.score, [without], ends=ends) for one, without in zip((found.whole, found.null), rest, strict=True)
    ]
    values = [number for found in estimates for number in (found.mean, found.low, found.high)]
    return {**row, **dict(zip(NUMBERS, values, strict=True))}
