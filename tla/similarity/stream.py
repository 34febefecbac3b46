"""One pass over clips: each layer's activations in two networks, as sums that do not grow with the clips.

Positions fold into points. The clips are dealt into groups of whole recordings; a group's sums go to disk when it is done, so
that memory holds one group's, and any number can be computed with and without each group (jackknife). In the same pass every
clip is also paired with another one of its batch, position by position: how alike two networks are on different clips is the
floor of their similarity. Both pairings share the sums of each side, since a batch paired with itself in another order has
the same mean and products.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tla.errors import UserError
from tla.files import scratch
from tla.nets.activations import STAGE_LAYERS, Layer, layers, tapped
from tla.nets.arithmetic import computing
from tla.nets.stages import StagedNet
from tla.runs.infer import LoadedNetwork
from tla.similarity.moments import Cross, fold
from tla.similarity.sums import Sums, neighbours
from tla.statistics import deal

GROUPS = 10
BATCH = 8  # clips; one network's outputs of a batch are held at a time: at 16, DenseNet-201 would need 0.8 GB instead of 0.4


class Passed(NamedTuple):
    """A network that pictures are passed through."""

    net: nn.Module
    """The plain network, whose modules the layers name."""
    run: Callable[[Any], object]
    """Passes pictures through it, in its own arithmetic."""
    read: Callable[[Layer, Any], Tensor] = lambda layer, output: output
    """What a layer puts out, as (clips, channels, ...)."""


class Couple(NamedTuple):
    """A layer in one network, and the one in another that it is compared with: the same, unless told otherwise."""

    before: Layer
    after: Layer

    @property
    def name(self) -> str:
        one, other = self.before.name, self.after.name
        return one if one == other else f"{one} > {other}"


def of_run(network: LoadedNetwork) -> Passed:
    """A run's network, which takes pictures as in training, in the run's precision."""

    def run(pictures: np.ndarray) -> None:
        with computing(network.device, network.run.precision):
            network.net(network.batch(pictures))

    return Passed(network.net.net, run)


def shared_layers(before: StagedNet, after: StagedNet, which: str, shape: tuple[int, int, int]) -> list[Couple]:
    """The layers that both networks have; they have to look at the same positions of the picture."""
    first = {layer.name: layer for layer in layers(before, which, shape)}
    couples = [Couple(first[layer.name], layer) for layer in layers(after, which, shape) if layer.name in first]
    if not couples:
        raise UserError(
            f"{before.name} and {after.name} have no layer in common: compare their stages (--layers {STAGE_LAYERS})"
        )
    for one, other in couples:
        if one.positions != other.positions:
            sizes = " and ".join(" x ".join(map(str, layer.positions)) for layer in (one, other))
            raise UserError(
                f"{one.name} has {sizes} positions in {before.name} and {after.name}: point by point these cannot be compared; "
                "--map compares clip by clip"
            )
    return couples


def forward(
    before: Passed, after: Passed, couples: Sequence[Couple], pictures: Any, take: Callable[[str, Tensor, Tensor], None]
) -> None:
    """Pass pictures through both networks; `take(name, x, y)` gets a layer's outputs in each, (clips, channels, ...).

    What `take` computes is in full precision, whatever the networks compute in.
    """
    firsts, seconds = ({couple.name: couple[side] for couple in couples} for side in (0, 1))
    kept: dict[str, Tensor] = {}

    def keep(name: str, output: Any) -> None:
        kept[name] = before.read(firsts[name], output).clone()  # an in-place operation may overwrite it

    def both(name: str, output: Any) -> None:
        y = after.read(seconds[name], output)
        with computing(y.device, "fp32"):
            take(name, kept.pop(name).to(y.device), y)

    with torch.no_grad():  # in inference mode, what a network keeps for later could not be trained with
        with tapped(before.net, _called(firsts), keep):
            before.run(pictures)
        with tapped(after.net, _called(seconds), both):
            after.run(pictures)


def _called(wanted: dict[str, Layer]) -> list[Layer]:
    return [replace(layer, name=name) for name, layer in wanted.items()]


class Spool:
    """The sums of each layer and group of clips, on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.groups = folder, 0

    def expect(self, groups: int, couples: Sequence[Couple]) -> None:
        """Refuse sums that there is no room for."""
        sizes = [(couple.before.channels, couple.after.channels) for couple in couples]
        needed, free = groups * sum(8 * (p + q) ** 2 for p, q in sizes), shutil.disk_usage(self.folder).free
        if needed > free:
            raise UserError(
                f"the sums of {len(couples)} layers take {needed / 1e9:.1f} GB on disk while they are made, and "
                f"{self.folder.parent} has {free / 1e9:.1f}: name a larger place as TMPDIR in the environment, or fewer layers"
            )

    def put(self, sums: dict[str, Sums]) -> None:
        """Write down a group's sums; they are used up."""
        for i, name in enumerate(list(sums)):
            arrays = {f"{part}.{k}": v for part, cross in sums.pop(name)._asdict().items() for k, v in cross.tensors().items()}
            np.savez(self._file(i, self.groups), **arrays)
        self.groups += 1

    def part(self, layer: int, group: int, use: Callable[[str, Cross], Cross] = lambda name, cross: cross) -> Sums:
        """The sums of a layer, by its place in the order, over a group; `use` turns each of the four, by its name, into what is
        wanted of it, so that no more than one is in memory beside that.
        """
        with np.load(self._file(layer, group), allow_pickle=False) as file:
            return Sums(*(use(name, _cross(file, name)) for name in Sums._fields))

    def total(self, layer: int) -> Sums:
        """The sums of a layer over all groups."""
        whole = self.part(layer, 0)
        for group in range(1, self.groups):
            self.part(layer, group, lambda name, cross: _joined(getattr(whole, name), cross))
        return whole

    def without(self, layer: int, group: int, total: Sums) -> Sums:
        """The total without a group."""
        return self.part(layer, group, lambda name, cross: getattr(total, name).merge(cross, -1))

    def _file(self, layer: int, group: int) -> Path:
        return self.folder / f"{layer}-{group}.npz"


def _cross(file: "np.lib.npyio.NpzFile", part: str) -> Cross:
    return Cross.from_tensors({name.partition(".")[2]: file[name] for name in file.files if name.startswith(f"{part}.")})


def _joined(total: Cross, part: Cross) -> Cross:
    total.join(part)
    return total


@contextmanager
def spooled() -> Iterator[Spool]:
    """A spool in the system's folder for temporary files (TMPDIR)."""
    with scratch(Path(tempfile.gettempdir()), "tla-sums-") as folder:
        yield Spool(folder)


def grouped(sources: Sequence[str]) -> list[np.ndarray]:
    """Clips in groups of whole recordings, the same for all that is measured on them."""
    return deal(sources, most=GROUPS)


def batches(rows: np.ndarray, rng: np.random.Generator, size: int | None = None) -> list[np.ndarray]:
    """Clips in random order, a batch at a time; none is alone, unless it is the only one."""
    order = rng.permutation(rows)
    return np.array_split(order, max(1, -(-len(order) // (size or BATCH))))


def accumulate(
    before: Passed,
    after: Passed,
    couples: Sequence[Couple],
    pictures: Any,
    groups: Sequence[np.ndarray],
    spool: Spool,
    *,
    pool: bool = False,
    products: torch.dtype = torch.float32,
    batch: int | None = None,
    advance: Callable[[int], None] = lambda clips: None,
) -> None:
    """Spool the sums of all layers for groups of clips (rows of `pictures`, an array); `advance` gets how many are done."""
    spool.expect(len(groups), couples)
    rng = np.random.default_rng(0)
    for group in groups:
        sums = {couple.name: Sums.over(couple.before.channels, couple.after.channels, products) for couple in couples}
        for rows in batches(group, rng, batch):

            def take(name: str, x: Tensor, y: Tensor, sums: dict[str, Sums] = sums, clips: int = len(rows)) -> None:
                first = points(x, pool=pool)
                sums[name].add(first, points(y, pool=pool), neighbours(len(first), clips))

            forward(before, after, couples, pictures[rows], take)
            advance(len(rows))
        spool.put(sums)


def points(x: Tensor, *, pool: bool) -> Tensor:
    """Outputs (clips, channels, ...) as points (clips * positions, channels) or, averaged over positions, (clips, channels)."""
    return x.float().flatten(2).mean(2) if pool and x.ndim > 2 else fold(x)
