"""Two networks layer by layer, drawn from the table that `compare` makes: each score with its interval, and its floor."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tla import plots
from tla.console import counted
from tla.errors import UserError
from tla.similarity.layer_axis import few, ticks
from tla.similarity.tables import SCALES, WHOLE

COLUMNS = {"layer", "measure", "score", "low", "high", "floor", "floor_low", "floor_high"}
MOST = 3  # panels beside each other


def compare_figure(table: pd.DataFrame, axes: Axes | None = None) -> Figure:
    """A panel per measure: similarity at each layer with its 95 % interval, and the floor, dashed.

    On given axes one measure is drawn, without the caption that says what the numbers stand on. `save` of `tla.plots` writes a
    figure as the commands do.

    ```python
    import torch
    from tla.similarity import compare, compare_figure

    torch.manual_seed(0)
    nets = [torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()) for _ in range(2)]
    table = compare(*nets, torch.randn(20, 3, 12, 12), layers="*", measures="cka")
    compare_figure(table).savefig("change.pdf", bbox_inches="tight")
    ```
    """
    if missing := COLUMNS - set(table.columns):
        raise UserError(f"the table has no column {', '.join(sorted(missing))}; compare makes one that has")
    measures = list(dict.fromkeys(table["measure"]))
    with plots.look():
        if axes is not None:
            if len(measures) != 1:
                raise UserError(
                    f"axes show one measure, and the table has {len(measures)} ({', '.join(measures)}): draw a part of it"
                )
            _panel(axes, table)
            axes.legend()
            return axes.figure.figure  # the page, also of axes in a part of it
        page = _page(table, measures)
        plots.caption(page, about(table))
    return page


def about(table: pd.DataFrame) -> str:
    """What the numbers stand on."""
    first = table.iloc[0]
    points = "a point per clip (positions averaged)" if first["pool"] else f"{_span(table['points'])} points"
    parts = [f"{counted(first['clips'], 'clip')}, {points}."]
    for measure, mine in table[table["keep"] != WHOLE].groupby("measure", sort=False):
        kept = _span(pd.concat([mine["kept_a"], mine["kept_b"]]))
        parts.append(f"{str(measure).upper()} keeps {mine['keep'].iloc[0]} ({kept} directions).")
    if table["low"].notna().any():
        parts.append(
            f"Bars: 95 % interval for other recordings, from leaving out each of {first['groups']} groups (jackknife)."
        )
    parts.append("Floor, dashed: one of the two gets another clip.")
    if gone := [f"{row.measure} at {row.layer}" for row in table[table["score"].isna()].itertuples()]:
        parts.append(f"Left out: {', '.join(gone)} (the table says why).")
    return " ".join(parts)


def _page(table: pd.DataFrame, measures: list[str]) -> Figure:
    columns = min(len(measures), MOST)
    rows = -(-len(measures) // columns)
    page = plots.page(*((plots.PAGE_IN, 0.5 + 2.1 * rows) if columns > 1 else (plots.COLUMN_IN, 2.7)))
    grid = page.subplots(rows, columns, squeeze=False)
    for axes, measure in zip(grid.flat, measures, strict=False):
        _panel(axes, table[table["measure"] == measure], narrow=columns > 1)
    for axes in grid.flat[len(measures) :]:
        axes.set_visible(False)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    page.legend(handles, labels, loc="outside upper center", ncols=2)
    return page


def _panel(axes: Axes, table: pd.DataFrame, *, narrow: bool = False) -> None:
    layers = list(table["layer"])
    ticks(axes, layers, [layer.partition(".")[0] for layer in layers], narrow=narrow)
    if not few(layers):
        axes.set_xlabel(f"depth ({len(layers)} layers)")
    x, colour, named = np.arange(len(table)), plots.COLOURS[0], few(layers)
    known = np.isfinite(table["score"].to_numpy(float))
    mine, at = table[known], x[known]
    low, high = (mine[end].fillna(mine["score"]).to_numpy(float) for end in ("low", "high"))
    marker = plots.MARKERS[0] if named else ""
    (line,) = axes.plot(at, mine["score"], color=colour, marker=marker, markersize=3.5, label="the two networks", zorder=3)
    if named:
        axes.errorbar(at, mine["score"], [mine["score"] - low, high - mine["score"]], fmt="none", ecolor=colour, capsize=2.5)
        plots.hover(line, [f"{row.layer}: {row.score:.3f}" for row in mine.itertuples()])
    else:
        axes.fill_between(at, low, high, color=colour, alpha=0.25, linewidth=0, zorder=2)
    axes.plot(at, mine["floor"], color=plots.FAINT, linestyle="--", linewidth=0.9, label="another clip (floor)", zorder=2)
    low, high = (mine[end].fillna(mine["floor"]).to_numpy(float) for end in ("floor_low", "floor_high"))
    axes.fill_between(at, low, high, color=plots.FAINT, alpha=0.3, linewidth=0, zorder=1)
    axes.set_xlim(-0.5, len(layers) - 0.5)
    lows = table[["score", "low", "floor", "floor_low"]].min().min()
    axes.set_ylim(1.1 * min(0.0, lows), 1.02)
    axes.set_ylabel(SCALES[table["measure"].iloc[0]].label)


def _span(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return "no" if np.isnan(low) else f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
