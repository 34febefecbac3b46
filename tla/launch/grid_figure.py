"""A grid search, drawn from its tables alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tla import console, plots
from tla.console import plain
from tla.runs import tables
from tla.statistics import between, bracketed
from tla.tables import cautions, covered, same_macro, trained

if TYPE_CHECKING:
    from tla.launch.grid import Found

SPREAD = 0.4  # of the distance between two values, over which lines are spread
NAMES = {
    "lr": "learning rate",
    "weight_decay": "weight decay",
    "drop_factor": "drop factor",
    "drops": "drops after",
    "batch": "batch size",
}


def publish(found: "Found", stem: Path) -> None:
    """Write the tables, draw the figure, and print what was found."""
    paths = found.write(stem) + draw(stem.parent, stem.name)
    show(found)
    console.written(paths)


def draw(folder: Path, name: str) -> list[Path]:
    """Draw the figure from the tables that lie in a folder."""
    runs, points = (tables.read(folder / f"{name}{part}.csv") for part in ("", "_points"))
    return plots.save(figure(runs, points, list(runs.columns[: runs.columns.get_loc("key")])), folder / name)


def figure(runs: pd.DataFrame, points: pd.DataFrame, options: list[str]) -> Figure:
    """Validation accuracy over the option with the most values; a line for each combination of the others."""
    across = max(options, key=lambda option: points[option].nunique())
    others = [option for option in options if option != across]
    values = list(points[across].unique())
    lines = [("", points)] if not others else [(label(o, others), mine) for o, mine in points.groupby(others, sort=False)]
    wide = len(lines) > 1
    with plots.look():
        page = plots.page(plots.PAGE_IN * 0.7 if wide else plots.COLUMN_IN, 2.5)
        axes = page.subplots()
        for number, (name, mine) in enumerate(lines):
            offset = SPREAD * (number / (len(lines) - 1) - 0.5) if wide else 0.0
            _line(axes, mine, {value: values.index(value) + offset for value in values}, across, number, name)
        axes.set_xticks(range(len(values)), [plain(value) for value in values])
        axes.set_xlim(-0.5, len(values) - 0.5)
        axes.set(xlabel=NAMES.get(across, across), ylabel="validation accuracy (%)")
        if wide or points["stopped"].any():
            page.legend(*axes.get_legend_handles_labels(), loc="outside right center")
        plots.caption(page, about(runs, points))
    return page


def _line(axes: Axes, points: pd.DataFrame, place: dict[Any, float], across: str, number: int, name: str) -> None:
    colour, marker = plots.COLOURS[number % 7], plots.MARKERS[number % 7]
    ended, stopped = points[~points["stopped"]], points[points["stopped"]]
    x, mean = ended[across].map(place).to_numpy(dtype=float), ended["accuracy"].to_numpy(dtype=float)
    bars: Any = {"marker": marker, "markersize": 4.5, "capsize": 2, "elinewidth": 0.9}
    if len(ended):
        ends = np.stack([mean - ended["low"], ended["high"] - mean])
        line = axes.errorbar(x, mean, ends, color=colour, label=name or "trained to the end", **bars, zorder=3).lines[0]
        rows = zip(mean, ended["low"], ended["high"], strict=True)
        plots.hover(line, [f"{score:.1f} % {bracketed(low, high, '.1f')}" for score, low, high in rows])
    if len(stopped):
        at = stopped[across].map(place).to_numpy(dtype=float)
        hollow: Any = {"marker": marker, "markersize": 4.5, "markerfacecolor": "white", "linestyle": "none"}
        what = "stopped early" if not name else "_" if len(ended) else name  # the caption explains what hollow means
        (line,) = axes.plot(at, stopped["accuracy"], color=colour, label=what, **hollow, zorder=3)
        plots.hover(line, [f"{p.accuracy:.1f} %, stopped after epoch {p.epochs}" for p in stopped.itertuples()])
    best = points[points["best"]]
    if len(best):
        ring: Any = {"marker": "o", "markersize": 10, "markerfacecolor": "none", "markeredgecolor": "#222222"}
        axes.plot(best[across].map(place), best["accuracy"], linestyle="none", **ring, zorder=2)


def label(values: Any, options: list[str]) -> str:
    """A combination in words."""
    each = zip(options, values if isinstance(values, tuple) else (values,), strict=True)
    return ", ".join(f"{NAMES.get(option, option)} {plain(value)}" for option, value in each)


def about(runs: pd.DataFrame, points: pd.DataFrame) -> str:
    """What the numbers stand on."""
    first, folds, seeds = runs.iloc[0], sorted(runs["held_out"].unique()), runs["seed"].nunique()
    parts = [
        cautions(runs),
        f"{first['data']}, {first['backbone']}, {first['weights']} weights, {seeds} seed{'s' * (seeds > 1)}; nested protocol, "
        f"fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))} held out and not looked at.",
        "Accuracy of the best epoch on the validation fold, which chose epoch and options alike and so flatters both; bars: "
        f"95 % interval for {covered(points)}. Ring: the best.",
        "Hollow: stopped early (ASHA)." if points["stopped"].any() else "",
        f"{trained(runs[~runs['stopped']]).capitalize()}." if not runs["stopped"].all() else "",
    ]
    return " ".join(filter(None, parts))


def show(found: "Found") -> None:
    """Print every combination, and a verdict that claims no more than the intervals."""
    rows, level = [], []
    macro = [] if same_macro(found.points[~found.points["stopped"]]) else ["macro_accuracy"]
    for row in found.points.sort_values("accuracy", ascending=False, kind="stable").to_dict("records"):
        values = [plain(row[option]) for option in found.options]
        about = [
            row["runs"],
            row["epochs"],
            f"{row['accuracy']:.1f}",
            *("" if row["stopped"] else f"{row[m]:.1f}" for m in macro),
        ]
        if row["stopped"]:
            rows.append([*values, *about, "", "stopped early"])
            continue
        interval = between(row["low"], row["high"], ".1f")
        if row["best"]:
            rows.append([*values, *about, interval, "best"])
            continue
        behind = f"{row['behind']:+.1f} {bracketed(row['behind_low'], row['behind_high'], '+.1f')}"
        rows.append([*values, *about, interval, behind])
        if not (row["behind_low"] > 0 or row["behind_high"] < 0):
            level.append(label(tuple(row[option] for option in found.options), found.options))
    headings = [NAMES.get(option, option) for option in found.options]
    console.table(
        [*headings, "runs", "epochs", "validation %", *("macro accuracy %" for _ in macro), "95 % interval", "to the best"],
        rows,
    )
    chosen = label(tuple(found.best[option] for option in found.options), found.options)
    compared = (~found.points["stopped"]).sum() - 1
    if compared and len(level) == compared:
        print(f"\nbest: {chosen}; on these clips none of those trained to their end can be distinguished from it")
    else:
        print(
            "; ".join([f"\nbest: {chosen}", *(f"not to be distinguished from it on these clips: {other}" for other in level)])
        )
