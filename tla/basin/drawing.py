"""Which stage's change mattered, and the loss along straight lines, drawn from the tables alone; and the words."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tla import console, plots
from tla.basin.path_drawing import path_figure, show_paths
from tla.basin.tables import (
    DASHES,
    ESTIMATED,
    FRESH,
    FROM,
    MARKS,
    ONE,
    OTHER,
    START,
    STATISTICS,
    TITLES,
    UPTO,
    Basin,
    read,
)
from tla.options import UNTRAINED
from tla.statistics import CLIPS, between, bracketed
from tla.tables import warning

SPREAD = 0.4  # of the distance between two stages, over which curves are spread
PANELS = {
    (START, ONE): "one stage put back to its start",
    (FRESH, ONE): "one stage put to fresh values",
    (OTHER, ONE): "one stage of another seed's run",
    (START, UPTO): "all stages up to here put back",
    (START, FROM): "all stages from here on put back",
}


def publish(basin: Basin, folder: Path, name: str) -> None:
    """Write the tables, draw the figures, and print what was found."""
    paths = basin.write(folder, name) + draw(folder, name)
    show(basin)
    console.written(paths)


def draw(folder: Path, name: str) -> list[Path]:
    """Draw the figures from the tables that lie in a folder."""
    basin = read(folder, name)
    paths = plots.save(figure(basin), folder / name)
    return paths if basin.barriers.empty else paths + plots.save(path_figure(basin), folder / f"{name}_path")


def figure(basin: Basin, axes: plots.Given = None) -> Figure:
    """Accuracy with stages put back, to fresh values, or exchanged, by stage; and what it costs beside SVCCA's change.

    These are six panels, in this order. On given axes there is no caption: `about` has its words.
    """
    with plots.look():
        page, panels = plots.panels(axes, (plots.PAGE_IN, 4.8), 6, 2, 3)
        for panel, ((to, span), title) in zip(panels, PANELS.items(), strict=False):
            _stages(panel, basin, basin.stages[(basin.stages["to"] == to) & (basin.stages["span"] == span)])
            panel.set_title(title)
            panel.set_ylabel("accuracy (%)")
        ends = np.array([panel.get_ylim() for panel in panels[:-1]])
        for panel in panels[:-1]:
            panel.set_ylim(ends[:, 0].min(), ends[:, 1].max())
        _beside(panels[-1], basin)
        if axes is None:
            page.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
            plots.caption(page, about(basin))
        else:
            panels[0].legend(loc="best")
    return page


def _stages(axes: Axes, basin: Basin, table: pd.DataFrame) -> None:
    """A curve per start and statistics: mean over runs and 95 % interval; lines across are the networks as trained."""
    names = list(dict.fromkeys(basin.stages.sort_values("order")["stage"]))
    curves = list(basin.stages["curve"].unique())
    lines = [(curve, statistics) for curve in curves for statistics in STATISTICS]
    for number, (curve, statistics) in enumerate(lines):
        rows = table[(table["curve"] == curve) & (table["statistics"] == statistics)].sort_values("order")
        colour = plots.COLOURS[curves.index(curve)]
        own = basin.each[(basin.each["curve"] == curve) & (basin.each["statistics"] == statistics)].drop_duplicates("key")
        axes.axhline(own["trained_accuracy"].mean(), color=colour, linewidth=0.7, linestyle=DASHES[statistics], zorder=1)
        x = rows["order"].to_numpy() + SPREAD * (number / (len(lines) - 1) - 0.5)
        mean = rows["accuracy"].to_numpy()
        ends = np.stack([mean - rows["accuracy_low"], rows["accuracy_high"] - mean])
        look: Any = {
            "marker": MARKS[statistics],
            "markersize": 3.5,
            "capsize": 1.5,
            "elinewidth": 0.7,
            "zorder": 3,
        }
        label = f"{TITLES[curve]}, statistics {statistics}"
        drawn = axes.errorbar(x, mean, ends, color=colour, linestyle=DASHES[statistics], label=label, **look)
        line = drawn.lines[0]
        if rows["unfinished"].any():
            line.set_markerfacecolor("white")
        plots.hover(line, [_hovered(row) for row in rows.itertuples()])
    axes.set_xticks(range(len(names)), names, rotation=30)
    axes.set_xlim(-0.5, len(names) - 0.5)
    if table.empty:
        axes.text(0.5, 0.5, "no other seed is finished", transform=axes.transAxes, ha="center", color=plots.FAINT)


def _hovered(row: Any) -> str:
    points = f"{row.gain:+.1f} points {bracketed(row.gain_low, row.gain_high, '+.1f')}"
    return (
        f"{row.stage}, {row.curve}, {row.statistics}: {row.accuracy:.1f} %, {points}, {row.changed:.1f} % predicted otherwise"
    )


def _beside(axes: Axes, basin: Basin) -> None:
    """What putting a stage back costs against how much it changed: a dot per stage and run."""
    table = basin.svcca[basin.svcca["statistics"] == ESTIMATED] if not basin.svcca.empty else basin.svcca
    curves = list(basin.stages["curve"].unique())
    for curve, mine in table.groupby("curve", sort=False):
        number = curves.index(curve)
        dots: Any = {"color": plots.COLOURS[number], "marker": plots.MARKERS[number], "linestyle": "none", "markersize": 3.5}
        (line,) = axes.plot(mine["change"], -mine["gain"], **dots, zorder=3)
        words = [
            f"{row['stage']}, fold {row['fold']}, seed {row['seed']}: {-row['gain']:.1f} points, changed by {row['change']:.2f}"
            for row in mine.to_dict("records")
        ]
        plots.hover(line, words)
        first = mine.drop_duplicates("stage")
        for stage, at in zip(first["stage"], zip(first["change"], -first["gain"], strict=True), strict=True):
            axes.annotate(stage, at, (3, 2), textcoords="offset points", fontsize=6, color=plots.COLOURS[number])
    axes.set(title="does what changed most matter most?", xlabel="1 - SVCCA of start and end", ylabel="points lost")
    axes.margins(x=0.2)
    if table.empty:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no table of SVCCA\n(tla svcca makes it)", transform=axes.transAxes, ha="center", color=plots.FAINT)


def about(basin: Basin) -> str:
    """What the numbers stand on."""
    covers = " or ".join(basin.stages["covers"].unique())
    return (
        f"{plots.basis(basin.runs)} Last epoch (nested: the chosen one). Bars: mean over runs and 95 % interval for {covers}. "
        "Lines across: the networks as trained. Dashed, crosses: batch norm's statistics as stored; solid, dots: re-estimated "
        "on clips of training, in the trained networks too. Last panel: a dot per stage and run, statistics re-estimated."
    )


def show(basin: Basin) -> None:
    """Print what each stage costs, the barriers, the rank correlation, and a verdict that claims no more than the intervals."""
    rows = []
    for row in basin.stages[basin.stages["span"] == ONE].to_dict("records"):
        p = "" if math.isnan(row["p_holm"]) else f"{row['p_holm']:.2g}"
        what = [
            TITLES[row["curve"]],
            PANELS[row["to"], row["span"]].removeprefix("one stage "),
            row["stage"],
            row["statistics"],
        ]
        numbers = [f"{row['accuracy']:.1f}", f"{row['gain']:+.1f}", between(row["gain_low"], row["gain_high"], "+.1f")]
        rows.append([*what, *numbers, f"{row['changed']:.0f}", f"{row['rise']:+.2f}", UNTRAINED if row["unfinished"] else p])
    headings = [
        "",
        "one stage",
        "stage",
        "statistics",
        "accuracy %",
        "points",
        "95 % interval",
        "changed %",
        "loss",
        "p (Holm)",
    ]
    console.table(headings, rows)
    if not basin.barriers.empty:
        show_paths(basin)
    print()
    for line in [*findings(basin), *_rank_lines(basin)]:
        print(line)
    if caution := warning(basin.runs):
        console.say(caution)


def findings(basin: Basin) -> list[str]:
    """Which stages' change mattered, a sentence for each curve and what they are put to."""
    lines = []
    alone = basin.stages[(basin.stages["span"] == ONE) & (basin.stages["statistics"] == ESTIMATED)]
    for (curve, to), mine in alone.groupby(["curve", "to"], sort=False):
        head = f"{TITLES[str(curve)]}, {PANELS[str(to), ONE]}"
        found = [f"{row.stage} {row.gain:+.1f}" for row in mine[mine["important"]].itertuples()]
        if found:
            lines.append(f"{head}: counts for {', '.join(found)} points")
        elif mine["unfinished"].any():
            lines.append(f"{head}: no verdict, there are runs {UNTRAINED}")
        elif mine["covers"].eq(CLIPS).any():
            lines.append(f"{head}: no verdict, intervals from one seed do not cover another training (--seeds 3, better 5)")
        else:
            lines.append(f"{head}: no stage can be told from none on these clips and runs")
    return lines


def _rank_lines(basin: Basin) -> list[str]:
    """Whether what changed most matters most."""
    if basin.svcca.empty:
        return ["SVCCA's change is not beside it: there is no table of these runs (`tla svcca` makes it)"]
    rows = basin.ranks[basin.ranks["statistics"] == ESTIMATED].to_dict("records")
    return [
        f"{TITLES[row['curve']]}: rank correlation of SVCCA's change and of what a stage costs in {row['by']}: "
        f"{row['correlation']:+.2f} {bracketed(row['low'], row['high'], '+.2f')} "
        f"({row['stages']} stages, {console.counted(row['runs'], 'run')}; interval for {row['covers']})"
        for row in rows
    ]
