"""Loss and accuracy along straight lines between networks, and their barriers, drawn from the tables alone."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tla import console, plots
from tla.basin.tables import DASHES, ESTIMATED, MARKS, STATISTICS, TITLES, WHOLE, Basin
from tla.options import UNTRAINED
from tla.statistics import between, bracketed


def path_figure(basin: Basin, axes: plots.Given = None) -> Figure:
    """Loss and accuracy along the lines between whole networks, a thin line per pair, and the barriers.

    These are three panels, in this order; the last has a row for each part that travels.
    """
    with plots.look():
        rows = basin.barriers.drop_duplicates(["kind", "part"])
        page, panels = plots.panels(axes, (plots.PAGE_IN, max(2.8, 1.2 + 0.2 * len(rows))), 3, 1, 3)
        whole = basin.paths[
            basin.paths["part"] == (WHOLE if WHOLE in set(basin.paths["part"]) else basin.paths["part"].iloc[0])
        ]
        for panel, number, label in zip(panels, ("loss", "accuracy"), ("loss (nats)", "accuracy (%)"), strict=False):
            for place, (kind, mine) in enumerate(whole.groupby("kind", sort=False)):
                _lines(panel, mine, number, plots.COLOURS[place], TITLES[str(kind)])
            panel.set(xlabel="share of the way", ylabel=label)
        _barriers(panels[2], basin.barriers)
        if axes is None:
            page.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
            plots.caption(page, _about(basin, whole))
        else:
            panels[0].legend(loc="best")
    return page


def _lines(axes: Axes, paths: pd.DataFrame, number: str, colour: str, label: str) -> None:
    for statistics in STATISTICS:
        some = paths[paths["statistics"] == statistics]
        look: Any = {"color": colour, "linestyle": DASHES[statistics]}
        for _, pair in some.groupby(["before", "after"], sort=False):
            axes.plot(pair["share"], pair[number], linewidth=0.5, alpha=0.5, zorder=2, **look)
        mean = some.groupby("share")[number].mean()
        (line,) = axes.plot(mean.index, mean, marker="." if statistics == ESTIMATED else "", zorder=3, **look)
        if statistics == ESTIMATED:
            line.set_label(label)
            plots.hover(line, [f"{label}, {share:.2f} of the way: {value:.3g}" for share, value in mean.items()])


def _barriers(axes: Axes, barriers: pd.DataFrame) -> None:
    """The barrier of each kind of line and part, with its interval."""
    kinds = list(barriers["kind"].unique())
    names = barriers.drop_duplicates(["kind", "part"])
    places = {(row.kind, row.part): -place for place, row in enumerate(names.itertuples())}
    for offset, statistics in zip((0.15, -0.15), STATISTICS, strict=True):
        rows = barriers[barriers["statistics"] == statistics]
        for row in rows.itertuples():
            y, colour = places[row.kind, row.part] + offset, plots.COLOURS[kinds.index(row.kind)]
            ends = [[row.barrier - row.low], [row.high - row.barrier]]
            look: Any = {"marker": MARKS[statistics], "markersize": 3.5, "capsize": 2, "elinewidth": 0.8, "color": colour}
            drawn = axes.errorbar(row.barrier, y, xerr=None if np.isnan(row.low) else ends, linestyle="none", **look).lines[0]
            if row.unfinished:
                drawn.set_markerfacecolor("white")
            interval = bracketed(row.low, row.high, ".2f")
            plots.hover(drawn, [f"{TITLES[row.kind]}, {row.part}, {statistics}: {row.barrier:.2f} {interval}"])
    shown = [TITLES[kind] if part == WHOLE else f"{part}: {TITLES[kind]}" for kind, part in places]
    axes.set_yticks(list(places.values()), shown, fontsize=6.5)
    axes.grid(visible=True, axis="x")
    axes.set_xlabel("barrier (nats)")
    axes.set_xlim(left=0 - 0.03 * max(barriers["high"].max(), barriers["barrier"].max(), 0.1))


def _about(basin: Basin, whole: pd.DataFrame) -> str:
    part = whole["part"].iloc[0]
    travels = "the whole network travels" if part == WHOLE else f"{part} travels in the network at the end"
    covers = " or ".join(dict.fromkeys(basin.barriers.loc[basin.barriers["low"].notna(), "covers"]))
    return (
        f"{plots.basis(basin.runs)} Lines: {travels}; thin: pairs, thick: their mean. Dashed, crosses: batch norm's "
        "statistics mixed as stored; solid, dots: re-estimated at each point. Barrier: how far the loss rises over the line "
        f"between its ends; bars: 95 % interval for {covers or 'nothing, since there is none'}."
    )


def show_paths(basin: Basin) -> None:
    """Print the barriers."""
    print()
    rows = [
        [
            TITLES[row["kind"]],
            row["part"],
            row["statistics"],
            row["pairs"],
            f"{row['barrier']:.2f}",
            UNTRAINED if row["unfinished"] else between(row["low"], row["high"], ".2f"),
        ]
        for row in basin.barriers.to_dict("records")
    ]
    console.table(["path", "travels", "statistics", "pairs", "barrier (nats)", "95 % interval"], rows)
