"""Outputs of other layouts are read as (clips, channels, height, width), each number in its place."""

import pytest
import torch

from tla.nets.reading import Reading, reading_of

GRIDS = [(32, 48), (16, 24), (8, 12), (4, 6)]
MAPS = torch.arange(2 * 5 * 8 * 12, dtype=torch.float32).reshape(2, 5, 8, 12)


@pytest.mark.parametrize(
    ("output", "reading"),
    [
        (MAPS, Reading(1, (8, 12))),
        (MAPS.permute(0, 2, 3, 1), Reading(3, (8, 12))),
        (MAPS.flatten(2), Reading(1, (8, 12))),
        (MAPS.flatten(2).mT, Reading(2, (8, 12))),
        (torch.cat([torch.full((2, 3, 5), -1.0), MAPS.flatten(2).mT], dim=1), Reading(2, (8, 12), apart=3)),
    ],
)
def test_every_layout_gives_the_same_map(output: torch.Tensor, reading: Reading) -> None:
    assert reading_of(tuple(output.shape), GRIDS) == reading
    assert torch.equal(reading(output), MAPS)


def test_tokens_that_are_no_places_are_a_column() -> None:
    reading = reading_of((2, 7, 5), [(32, 48)])
    assert reading == Reading(2, (7, 1))
    assert reading(torch.zeros(2, 7, 5)).shape == (2, 5, 7, 1)
