"""How an output is read as (clips, channels, height, width), where a network keeps channels last or has tokens."""

import math
from dataclasses import dataclass

from torch import Tensor

APART = range(9)  # class and register tokens that a network may have


@dataclass(frozen=True)
class Reading:
    """Of outputs (clips, tokens, channels), (clips, channels, tokens), or (clips, height, width, channels)."""

    channels: int = 1
    """Their axis."""
    apart: int = 0
    """Tokens in front that stand for no place of the picture: class and register tokens."""
    grid: tuple[int, ...] = ()
    """Height and width of the tokens that do."""

    def __call__(self, output: Tensor) -> Tensor:
        """(clips, channels, height, width)."""
        turned = output.movedim(self.channels, 1)
        return turned[:, :, self.apart :].unflatten(2, self.grid) if output.ndim == 3 else turned

    def tokens_apart(self, output: Tensor) -> Tensor:
        """(clips, channels, tokens): what stands for no place of the picture."""
        return output.movedim(self.channels, 1)[:, :, : self.apart]


def reading_of(shape: tuple[int, ...], picture: tuple[int, ...], apart: int = 0) -> Reading | None:
    """How outputs of a shape (clips, ...) for pictures (3, mels, frames) are read; None: not as places of the picture.

    apart: class and register tokens that the network says it has.
    """
    if len(shape) == 4:
        fits = [axis for axis, places in ((1, shape[2:]), (3, shape[1:3])) if tuple(places) in _grids(picture)]
        return Reading(fits[0]) if fits else None
    if len(shape) != 3:
        return None
    for tokens_apart in dict.fromkeys((0, apart, *APART)):
        for channels, tokens in ((2, shape[1]), (1, shape[2])):
            grids = [grid for grid in _grids(picture) if math.prod(grid) == tokens - tokens_apart]
            if grids:
                return Reading(channels, tokens_apart, grids[0])
    return None


def _grids(picture: tuple[int, ...]) -> list[tuple[int, int]]:
    """Heights and widths that a picture has at some stride, with the edges counted in or not."""
    _, mels, frames = picture
    found: dict[tuple[int, int], None] = {}
    for stride in (1, 2, 4, 8, 16, 32, 64, 12, 14, 24, 28):
        for extra in ((0, 0), (stride - 1, stride - 1), (0, stride - 1), (stride - 1, 0)):
            found[(mels + extra[0]) // stride, (frames + extra[1]) // stride] = None
    return [grid for grid in found if min(grid) > 0]
