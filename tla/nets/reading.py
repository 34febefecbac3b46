"""How an output is read as (clips, channels, height, width), where a network keeps channels last or has tokens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

APART = 8  # class and register tokens that a network may have


@dataclass(frozen=True)
class Reading:
    """Of outputs with channels first or last, and with height and width or tokens."""

    channels: int
    """Their axis."""
    grid: tuple[int, int]
    """Height and width."""
    apart: int = 0
    """Tokens in front that stand for no place of the picture: class and register tokens."""

    def __call__(self, output: Tensor) -> Tensor:
        """(clips, channels, height, width)."""
        turned = output.movedim(self.channels, 1)
        return turned if output.ndim == 4 else turned[:, :, self.apart :].unflatten(2, self.grid)

    def token(self, output: Tensor) -> Tensor:
        """The first of the tokens that stand apart (clips, channels): the class token, where there is one."""
        return output.movedim(self.channels, 1)[:, :, 0]


def reading_of(shape: tuple[int, ...], grids: Sequence[tuple[int, int]]) -> Reading:
    """How outputs of a shape (clips, ...) are read in a network that makes maps of these heights and widths.

    Tokens that fit none of them stand for no places: they are read as a column.
    """
    sizes = {math.prod(grid): grid for grid in reversed(grids)}  # the first of a size counts
    if len(shape) == 4:
        last = shape[2:] not in grids and (shape[1:3] in grids or math.prod(shape[1:3]) in sizes)  # or groups of places
        return Reading(3, (shape[1], shape[2])) if last else Reading(1, (shape[2], shape[3]))
    for channels, tokens in ((2, shape[1]), (1, shape[2])):
        for apart in range(APART):
            if tokens - apart in sizes:
                return Reading(channels, sizes[tokens - apart], apart)
    return Reading(2, (shape[1], 1))
