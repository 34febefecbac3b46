"""Activations as a user has them, numpy or torch, as points; and which points are paired to find the floor.

An array is (points, channels), or feature maps (clips, channels, height, width), whose positions are points: each clip's one
after the other, row by row. An array of three axes is (clips, channels, positions) behind a convolution along time, and
(clips, tokens, channels) in a transformer: which of them has to be said with `channel_axis`.

For the floor every clip is paired with another one, position by position: the next one in a random order, for neighbours in a
data set are often of one class or recording. Where clips differ in length, the order is moved on by the longest: no point then
meets its own clip, and what follows upon each other stays together.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tla.errors import UserError

Array = np.ndarray | Tensor
POINTS, MAPS = 2, 4  # axes of (points, channels), and from which on channels come first, as torch has it
EXPECTED = "activations are (points, channels), or maps (clips, channels, height, width)"


class Pair(NamedTuple):
    """Both sides as (points, channels), and what they were folded from."""

    x: Tensor
    y: Tensor
    rows: int
    """Clips or, where points were given, points."""
    positions: tuple[int, ...]
    """Height and width of maps; nothing where points were given."""

    def partner(self, clips: Sequence[object] | np.ndarray | None, seed: int) -> Tensor | None:
        """For each point of x the point of y that it is paired with for the floor; None where there is no other clip.

        `clips` says which clip each row belongs to; None: each row is a clip.
        """
        labels = np.arange(self.rows) if clips is None else np.asarray(clips)
        if labels.shape != (self.rows,):
            raise UserError(f"clips has the shape {labels.shape}; it names a clip for each of the {self.rows} rows of x and y")
        _, index, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        longest = int(sizes.max(initial=0))
        if not 0 < 2 * longest <= self.rows:
            return None
        place = np.argsort(np.random.default_rng(seed).permutation(len(sizes)))
        order = np.argsort(place[index], kind="stable")  # clip after clip
        rows, positions = np.empty_like(order), np.arange(math.prod(self.positions))
        rows[order] = np.roll(order, longest)
        return torch.from_numpy((rows[:, None] * len(positions) + positions).reshape(-1))


def pair(x: Array, y: Array, channel_axis: int | None = None) -> Pair:
    """Both sides as points."""
    first = tensor("x", x)
    second = first if y is x else tensor("y", y)
    axes = [channels_at(side, values, channel_axis) for side, values in (("x", first), ("y", second))]
    (rows, *positions), (others, *elsewhere) = (
        [size for axis, size in enumerate(values.shape) if axis != channels]
        for values, channels in zip((first, second), axes, strict=True)
    )
    shapes = f"x has the shape {tuple(first.shape)}, y {tuple(second.shape)}"
    if rows != others:
        what = "clips" if positions else "points"
        raise UserError(f"x has {rows} {what} and y has {others}; the same {what} have to be seen by both ({shapes})")
    if positions != elsewhere:
        raise UserError(
            f"{shapes}: maps of other positions cannot be compared point by point; average the positions of both, so that each "
            "clip is one point: x.mean((2, 3)), y.mean((2, 3))"
        )
    if first.device != second.device:
        raise UserError(f"x is on {first.device} and y on {second.device}; bring both to one of them")
    folded = [values.movedim(axis, -1).flatten(0, -2) for values, axis in zip((first, second), axes, strict=True)]
    return Pair(folded[0], folded[0] if y is x else folded[1], rows, tuple(positions))


def tensor(side: str, values: Array) -> Tensor:
    """An array as a tensor, out of training."""
    if isinstance(values, Tensor):
        if values.is_complex():
            raise UserError(f"{side} holds complex numbers; {EXPECTED}")
        return values.detach().float() if values.dtype.itemsize == 1 else values.detach()  # torch promotes no float8
    try:
        array = np.asarray(values)
    except ValueError:
        raise UserError(f"{side} is {type(values).__name__} with rows of different lengths; {EXPECTED}") from None
    if array.dtype.kind not in "fiub":
        raise UserError(f"{side} is {type(values).__name__} and holds {array.dtype}, no numbers; {EXPECTED}")
    narrow = array.dtype.kind == "f" and array.dtype.itemsize <= 8
    array = array.astype(np.promote_types(array.dtype, np.float16) if narrow else np.float64, copy=False)
    return torch.from_numpy(array if array.flags.writeable and min(array.strides, default=0) >= 0 else array.copy())


def channels_at(side: str, values: Tensor, asked: int | None) -> int:
    """Which axis of an array holds its channels."""
    shape, axes = tuple(values.shape), values.ndim
    if axes < POINTS:
        raise UserError(f"{side} has the shape {shape}; {EXPECTED}")
    if asked is None and POINTS < axes < MAPS:
        raise UserError(
            f"{side} has the shape {shape}: is that (clips, tokens, channels) or (clips, channels, positions)? "
            "Say channel_axis=-1 or channel_axis=1"
        )
    axis = 1 if asked is None else asked + axes * (asked < 0)
    if not 1 <= axis < axes:
        raise UserError(f"channel_axis={asked}: {side} has the shape {shape}; possible are 1 to {axes - 1}, or -1 for the last")
    return axis
