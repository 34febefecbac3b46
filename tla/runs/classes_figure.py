"""The confusion matrix and the accuracy of each class, drawn from their tables alone."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from tla import plots
from tla.plots import basis
from tla.runs.classes import Confusion
from tla.statistics import bracketed
from tla.tables import MACRO

NUMBERED = 20  # with more classes, a predicted class is named by its number
WRITTEN = 12  # up to so many classes, the share stands in each cell
ROW_IN, LOW_ROW_IN = 0.2, 0.115  # height of a row, and where there are many
DARK = 55  # percent from which on a cell's number is white
HARDEST = 3  # classes that are printed


def hardest(confusion: Confusion) -> str:
    """The classes with the lowest accuracy, in a line for each arm."""
    lines = []
    for arm, classes in confusion.classes.groupby("arm", sort=False):
        worst = classes.sort_values("accuracy", kind="stable").head(HARDEST)
        each = [
            f"{row.clazz} {row.accuracy:.1f} %{_taken(row.taken_for)}"
            for row in worst.rename(columns={"class": "clazz"}).itertuples()
        ]
        lines.append(f"{arm} ({classes['rule'].iloc[0]}), lowest accuracy: {'; '.join(each)}")
    return "\n".join(lines)


def _taken(name: Any) -> str:
    return f" (most often taken for {name})" if isinstance(name, str) else ""


def figure(confusion: Confusion, axes: plots.Given = None) -> Figure:
    """For each arm two panels, a row per class: what its clips were taken for, in percent, and its accuracy with the interval.

    On given axes there is no caption: `about` has its words.
    """
    arms = list(confusion.classes["arm"].unique())
    rows = confusion.classes.groupby("arm").size().max()
    names, many = list(confusion.pairs["predicted"].unique()), _many(confusion)
    height = rows * (LOW_ROW_IN if len(names) > WRITTEN else ROW_IN) + (0.45 if many else 1.1)
    with plots.look():
        size, columns, widths = (plots.COLUMN_IN * len(arms), height), 2 * len(arms), [3.0 if many else 3.6, 1.0]
        page, grid = plots.panels(axes, size, columns, 1, columns, width_ratios=widths * len(arms))
        for arm, matrix, dots in zip(arms, grid[::2], grid[1::2], strict=True):
            classes = confusion.classes[confusion.classes["arm"] == arm].reset_index(drop=True)
            pairs = confusion.pairs[confusion.pairs["arm"] == arm]
            _matrix(matrix, classes, pairs, names)
            _accuracies(dots, classes, many)
            if len(arms) > 1:
                matrix.set_title(arm, loc="left")
        if axes is None:
            plots.caption(page, about(confusion))
    return page


def _many(confusion: Confusion) -> bool:
    """Whether columns are too narrow for names."""
    return confusion.pairs["predicted"].nunique() > NUMBERED


def about(confusion: Confusion) -> str:
    """What the numbers stand on."""
    classes = confusion.classes
    covers = " or ".join(dict.fromkeys(classes.loc[classes["low"].notna(), "covers"])) or "no class: recordings are too few"
    lacking = "; none where recordings are too few" if classes["low"].isna().any() else ""
    beside = " Right: what it is most often taken for, in percent." if _many(confusion) else ""
    macro = [f"{arm} {mine['accuracy'].mean():.1f} %" for arm, mine in classes.groupby("arm", sort=False)]
    return (
        f"{basis(confusion.runs)} Selection rule: {classes['rule'].iloc[0]}. Rows: the class of a clip; columns: the predicted "
        f"class; shade: percent of the class's clips. Dots: accuracy of the class; bars: 95 % interval for {covers}{lacking}."
        f"{beside} {MACRO[0].upper()}{MACRO[1:]}: {', '.join(macro)}."
    )


def _matrix(axes: Axes, classes: pd.DataFrame, pairs: pd.DataFrame, names: list[str]) -> None:
    """A cell for each pair of classes that occurs, darker where it is more of the clips."""
    there = pairs[pairs["predictions"] > 0]
    row = there["class"].map({name: i for i, name in enumerate(classes["class"])}).to_numpy()
    column = there["predicted"].map({name: i for i, name in enumerate(names)}).to_numpy()
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    shades = colormaps["Blues"](0.12 + 0.88 * there["share"].to_numpy() / 100)
    cells = PolyCollection(np.stack([column, row], axis=1)[:, None] + corners, facecolors=shades, linewidths=0)
    axes.add_collection(cells)
    plots.hover(
        cells,
        [
            f"{true} taken for {name}: {count} predictions, {share:.1f} %"
            for true, name, count, share in there[["class", "predicted", "predictions", "share"]].itertuples(index=False)
        ],
    )
    if len(names) <= WRITTEN:
        for x, y, share in zip(column, row, there["share"], strict=True):
            colour = "white" if share > DARK else "#222222"
            axes.text(x, y, f"{share:.0f}", ha="center", va="center", fontsize=5.5, color=colour)
    many = len(names) > NUMBERED
    small: Any = {"fontsize": 7 if len(names) <= WRITTEN else 5.5}
    place = {name: i + 1 for i, name in enumerate(names)}
    rows = [f"{name}  {place[name]}" if many else name for name in classes["class"]]
    axes.set_yticks(range(len(rows)), rows, **small)
    if many:
        numbered = range(9, len(names), 10)
        axes.set_xticks(numbered, [str(i + 1) for i in numbered], **small)
    else:
        axes.set_xticks(range(len(names)), names, rotation=90, **small)
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(rows) - 0.5, -0.5), xlabel="predicted class")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for at in range(5, len(names), 5) if many else ():
        axes.axvline(at - 0.5, color="#e4e4e4", linewidth=0.4, zorder=0)
        axes.axhline(at - 0.5, color="#e4e4e4", linewidth=0.4, zorder=0)
    axes.spines[:].set(visible=True, linewidth=0.5)


def _accuracies(axes: Axes, classes: pd.DataFrame, many: bool) -> None:
    """A dot with its interval for each class; where columns have no names, what it is most often taken for beside it."""
    y = np.arange(len(classes))
    axes.hlines(y, classes["low"], classes["high"], color=plots.COLOURS[0], linewidth=0.9)
    face = "white" if classes["unfinished"].any() else plots.COLOURS[0]
    (dots,) = axes.plot(
        classes["accuracy"],
        y,
        "o",
        color=plots.COLOURS[0],
        markerfacecolor=face,
        markersize=2.2 if many else 3.5,
        clip_on=False,
    )
    plots.hover(
        dots,
        [
            f"{row['class']}: {row['accuracy']:.1f} % {bracketed(row['low'], row['high'], '.1f')}, {row['clips']} clips"
            for row in classes.to_dict("records")
        ],
    )
    axes.set(xlim=(0, 100), ylim=(len(classes) - 0.5, -0.5), xlabel="accuracy (%)")
    axes.set_xticks([0, 50, 100])
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.yaxis.tick_right()
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if many:
        taken = [
            f"{name} {share:.0f}" if isinstance(name, str) else ""
            for name, share in zip(classes["taken_for"], classes["taken_for_share"], strict=True)
        ]
        axes.set_yticks(y, taken, fontsize=5.5)
    else:
        axes.set_yticks([])
