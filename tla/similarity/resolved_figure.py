"""Where in time and frequency, and for which classes, layers agree before and after: drawn from its table alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tla import console, plots
from tla.manifest import write_tables
from tla.plots import basis
from tla.runs import tables
from tla.similarity.drawing import NAMES
from tla.similarity.tables import ALL, CLASS, FREQUENCY, TIME

HERTZ = {500: "500", 1000: "1k", 2000: "2k", 5000: "5k", 10000: "10k", 20000: "20k"}
ABREAST = 12  # classes that stand beside time and frequency; more get a row of their own
SPREAD = 0.6  # of the distance between two classes, over which layers are spread


def publish(table: pd.DataFrame, runs: pd.DataFrame, folder: Path, name: str) -> None:
    """Write the table, and that of the runs that it is of, and draw the figure."""
    paths = write_tables(folder, name, {"": table, "runs": runs}) + draw(folder, name)
    console.written(paths)


def draw(folder: Path, name: str) -> list[Path]:
    """Draw the figure from the tables that lie in a folder."""
    table, runs = (tables.read(folder / f"{name}{part}.csv") for part in ("", "_runs"))
    return plots.save(figure(table.fillna({"name": ""}), runs), folder / name)


def figure(table: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """A row per curve: agreement along time, along frequency, and by class; a line per stage."""
    last = table.sort_values("order").drop_duplicates(["curve", "stage"], keep="last")[["curve", "layer"]]
    table = table.merge(last, on=["curve", "layer"])  # of several layers of a stage, the last
    curves = list(table["curve"].unique())
    abreast = table[table["part"] == CLASS]["index"].nunique() <= ABREAST
    with plots.look():
        tall = 1.75 if abreast else 3.6
        page = plots.page(plots.PAGE_IN, 0.4 + tall * len(curves))
        grid = page.add_gridspec(len(curves) * (1 if abreast else 2), 3 if abreast else 2)
        for i, curve in enumerate(curves):
            mine = table[table["curve"] == curve]
            row = i if abreast else 2 * i
            panels = [page.add_subplot(grid[row, column]) for column in (0, 1)]
            panels.append(page.add_subplot(grid[row, 2] if abreast else grid[row + 1, :]))
            _row(panels, mine, NAMES.get(curve, curve), bottom=i == len(curves) - 1 or not abreast)
        handles, labels = page.axes[0].get_legend_handles_labels()
        page.legend(handles, labels, loc="outside upper center", ncols=len(labels))
        plots.caption(page, about(runs))
    return page


def about(runs: pd.DataFrame) -> str:
    """What the numbers stand on."""
    main = runs[runs["curve"] == runs["curve"].iloc[0]]
    folds = main.drop_duplicates("fold")
    return (
        f"{basis(main)} {folds['clips'].sum()} clips. Agreement: correlation of SVCCA's canonical variates inside a column, a "
        "row or a class of the held-out pictures, each variate about its mean there. The directions for a group of recordings "
        "are fitted on the others, so unrelated layers are at 0; with few points per direction the agreement is a lower bound, "
        f"as SVCCA is an upper one. SVCCA keeps {main['keep'].dropna().iloc[0]}. Bands and bars: 95 % interval for other "
        f"clips, on these runs (jackknife over {folds['groups'].max()} groups). all: over all points."
    )


def _row(panels: list[Axes], table: pd.DataFrame, name: str, *, bottom: bool) -> None:
    time, frequency, classes = panels
    stages = table.sort_values("order").drop_duplicates("layer")
    low = min(0.0, float(table["low"].min()) if table["low"].notna().any() else float(table["agreement"].min()))
    for layer, stage, colour in zip(stages["layer"], stages["stage"], plots.shades(len(stages)), strict=True):
        mine = table[table["layer"] == layer]
        _band(time, mine[mine["part"] == TIME], "seconds", colour, stage)
        _band(frequency, mine[mine["part"] == FREQUENCY], "hertz", colour, stage)
    _classes(classes, table, list(stages["layer"]), named=bottom)
    time.set_ylabel(f"{name}\nagreement")
    if classes.get_subplotspec().colspan.start == 0:  # type: ignore[union-attr]
        classes.set_ylabel("agreement")
    frequency.set_xscale("function", functions=(_mel, _hertz))
    hertz = table[table["part"] == FREQUENCY]["hertz"]
    shown = {at: text for at, text in HERTZ.items() if hertz.min() <= at <= hertz.max()}
    frequency.set_xticks(list(shown), list(shown.values()))
    for axes in panels:
        axes.set_ylim(low, 1.02)
        axes.tick_params(labelbottom=bottom)
    if bottom:
        time.set_xlabel("time (s)")
        frequency.set_xlabel("frequency (Hz)")


def _band(axes: Axes, table: pd.DataFrame, at: str, colour: Any, label: str) -> None:
    mine = table.sort_values("index")
    axes.plot(mine[at], mine["agreement"], color=colour, linewidth=1.0, label=label, zorder=3)
    axes.fill_between(mine[at], mine["low"], mine["high"], color=colour, alpha=0.2, linewidth=0, zorder=2)


def _classes(axes: Axes, table: pd.DataFrame, layers: list[str], *, named: bool) -> None:
    """All points first, then each class."""
    mine = table[table["part"].isin([ALL, CLASS])]
    names = [ALL, *dict.fromkeys(mine[mine["part"] == CLASS].sort_values("index")["name"])]
    for i, (layer, colour) in enumerate(zip(layers, plots.shades(len(layers)), strict=True)):
        here = mine[(mine["layer"] == layer) & np.isfinite(mine["agreement"])]
        x = np.array([names.index(name or ALL) for name in here["name"]]) + SPREAD * ((i + 0.5) / len(layers) - 0.5)
        low, high = (here[end].fillna(here["agreement"]) for end in ("low", "high"))
        axes.vlines(x, low, high, color=colour, linewidth=0.9, zorder=2)
        marker = plots.MARKERS[i % len(plots.MARKERS)]
        (line,) = axes.plot(x, here["agreement"], marker, color=colour, markersize=2.5, zorder=3)
        plots.hover(line, [f"{layer}, {row.name or ALL}: {row.agreement:.2f}" for row in here.itertuples(index=False)])
    axes.set_xticks(range(len(names)), [name.replace("_", " ") for name in names] if named else [], rotation=90, fontsize=6)
    axes.axvline(0.5, color="#cccccc", linewidth=0.6, zorder=0)
    axes.set_xlim(-0.6, len(names) - 0.4)


def _mel(hertz: Any) -> Any:
    return 2595 * np.log10(1 + np.maximum(hertz, 0) / 700)


def _hertz(mel: Any) -> Any:
    return 700 * (10 ** (np.asarray(mel) / 2595) - 1)
