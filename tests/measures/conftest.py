"""A run."""

import pytest

from tla.options import Augment, Picture, Recipe, Transfer
from tla.runs.run import Run

RUN = Run(
    data="esc50",
    data_digest="0",
    classes=2,
    picture=Picture(rate=44100, seconds=5.0, frames=250),
    augment=Augment(),
    backbone="densenet201",
    weights="imagenet:x",
    transfer=Transfer(),
    recipe=Recipe(until="epochs", epochs=1, drops=()),
    protocol="paper",
    fold=1,
    seed=0,
    precision="fp32",
)


@pytest.fixture
def run() -> Run:
    """A run on fold 1 from pretrained weights."""
    return RUN
