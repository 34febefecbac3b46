"""Every layer of one network against every layer of the other, as heat maps drawn from their table alone."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from tla import console, plots
from tla.manifest import write_tables
from tla.runs import tables
from tla.similarity import layer_axis
from tla.similarity.drawing import NAMES
from tla.similarity.tables import SEEDS
from tla.tables import cautions, trained

AXES = {SEEDS: ("one seed", "another seed")}  # else before and after


def publish(table: pd.DataFrame, folder: Path, name: str) -> None:
    """Write the table, draw the figure, and print what it shows."""
    paths = write_tables(folder, name, {"": table}) + draw(folder, name)
    show(table)
    console.written(paths)


def draw(folder: Path, name: str) -> list[Path]:
    """Draw the figure from the table that lies in a folder."""
    return plots.save(figure(tables.read(folder / f"{name}.csv")), folder / name)


def figure(table: pd.DataFrame, axes: plots.Given = None) -> Figure:
    """A heat map per curve. On given axes there is no caption: `about` has its words."""
    curves = list(table["curve"].unique())
    with plots.look():
        size = (plots.COLUMN_IN, 2.9) if len(curves) == 1 else (plots.PAGE_IN, 2.5)
        page, panels = plots.panels(axes, size, len(curves), 1, len(curves))
        for panel, curve in zip(panels, curves, strict=True):
            drawn = _panel(panel, table[table["curve"] == curve])
            before, after = AXES.get(curve, ("before", "after"))
            panel.set(xlabel=after, ylabel=before)
            if len(curves) > 1:
                panel.set_title(NAMES.get(curve, curve))
        bar = page.colorbar(drawn, ax=panels, shrink=0.8, aspect=22, pad=0.015)
        bar.set_label("debiased linear CKA")
        bar.outline.set_linewidth(0.5)
        if axes is None:
            plots.caption(page, about(table))
    return page


def about(table: pd.DataFrame) -> str:
    """What the numbers stand on."""
    first, folds = table.iloc[0], str(table["folds"].iloc[0])
    seeds, sizes = int(first["seeds"]), [len(_order(table, side)) for side in ("before", "after")]
    parts = [
        cautions(table),
        f"{first['data']}, {first['backbone']}, held-out fold{'s' * (',' in folds)} {folds}, {seeds} seed{'s' * (seeds > 1)}, "
        f"{trained(table)}.",
        f"{console.counted(first['clips'], 'clip')}, each one point: all channels and positions of a layer are its features.",
        f"{sizes[0]} x {sizes[1]} layers in the order of the network; unrelated ones are at 0 on average.",
        "95 % intervals for other clips, on these runs (in the table) "
        f"reach {((table['high'] - table['low']) / 2).median():.2f} to either side in the median."
        if table["low"].notna().any()
        else "",
        "" if first["curve"] in NAMES else f"{first['curve']}.",
    ]
    return " ".join(filter(None, parts))


def show(table: pd.DataFrame) -> None:
    """Print, for each stage, how alike it is to itself in the other network, and to which stage it is most alike."""
    stages = list(dict.fromkeys(table.sort_values("before_order")["before_stage"]))
    rows = []
    for curve, mine in table.groupby("curve", sort=False):
        own = mine[mine["before"] == mine["after"]]
        for stage in stages:
            here = mine[mine["before_stage"] == stage].groupby("after_stage", sort=False)["cka"].mean()
            same = own[own["before_stage"] == stage]["cka"]
            span = f"{same.min():.2f} to {same.max():.2f}" if same.notna().any() else ""
            nearest = f"{here.idxmax()} ({here.max():.2f})" if here.notna().any() else ""
            rows.append([NAMES.get(str(curve), curve), stage, span, nearest])
    console.table(["", "stage", "CKA of its layers with themselves", "nearest stage of the other, on average"], rows)


def _order(table: pd.DataFrame, side: str) -> pd.DataFrame:
    return table.drop_duplicates(f"{side}_order").sort_values(f"{side}_order")


def _panel(axes: Axes, table: pd.DataFrame) -> AxesImage:
    image = table.pivot(index="before_order", columns="after_order", values="cka").to_numpy()
    drawn = axes.imshow(np.clip(image, 0, 1), origin="lower", vmin=0, vmax=1, cmap="viridis", aspect="auto", rasterized=True)
    for side, which in (("after", "x"), ("before", "y")):
        there = _order(table, side)
        layer_axis.ticks(axes, list(there[side]), list(there[f"{side}_stage"]), which, narrow=True)  # type: ignore[arg-type]
    axes.grid(visible=False)
    axes.set_box_aspect(1)
    return drawn
