"""An axis of layers: their names where they are few, the stages that they lie in where they are many."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes

from tla.options import STAGES

NAMED = 8  # layers that have their names on the axis
CROWDED = 0.15  # of the axis, below which two stages' names do not stand beside each other


def few(layers: Sequence[str]) -> bool:
    """Whether layers are named one by one."""
    return len(layers) <= NAMED


def ticks(
    axes: Axes, layers: Sequence[str], stages: Sequence[str], which: Literal["x", "y"] = "x", *, narrow: bool = False
) -> None:
    """Name layers at 0, 1, 2, ...; of many, name the stages in the middle of theirs, with a line where a stage begins.

    On a narrow x axis, and where names are long, they lean.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    if few(layers):
        names = [layer.removeprefix("features.") for layer in layers]
        axis.set_ticks(range(len(names)), names)
        if which == "x" and (narrow or not set(names) <= set(STAGES)):
            _lean(axes)
        return
    places, names = np.arange(len(layers)), list(dict.fromkeys(stages))
    of = np.array([names.index(stage) for stage in stages])
    line = axes.axvline if which == "x" else axes.axhline
    for start in places[1:][of[1:] != of[:-1]]:
        line(start - 0.5, color="#cccccc", linewidth=0.6, zorder=1)
    middles = [float(places[of == i].mean()) for i in range(len(names))]
    axis.set_ticks(middles, names)
    axes.tick_params(axis=which, length=0)
    if which == "x" and (narrow or min(np.diff(middles), default=len(layers)) < CROWDED * len(layers)):
        _lean(axes)


def _lean(axes: Axes) -> None:
    axes.tick_params(axis="x", rotation=40)
    for label in axes.get_xticklabels():
        label.set(horizontalalignment="right", rotation_mode="anchor")
