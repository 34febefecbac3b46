"""Sweeps over stages: accuracy at each point (Fig. 2b, 2c, section IV-B) and by epoch, drawn from their tables alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tla import console, plots
from tla.options import STAGES, UNTRAINED
from tla.reference import REPLICATION, TEXT
from tla.stages.tables import ENDS, LONGER, Sweep, SweepName, read
from tla.statistics import CLIPS, between, bracketed
from tla.tables import MACRO, READ_OUT, covered, hint, lines, read_out, same_macro, warning

POINTS: tuple[str, ...] = ("none", *STAGES)
SPREAD = 0.5  # of the distance between two points, over which several curves are spread


class Step(NamedTuple):
    """A step between two points and what it gains."""

    before: str
    after: str
    accuracy: float


@dataclass(frozen=True)
class Kind:
    """What a sweep is called on the axis of its figure, and in words."""

    axis: str
    verdict: str  # on a step that counts


KINDS: dict[SweepName, Kind] = {
    "fusion": Kind("pretrained up to", "pretraining {stages} matters"),
    "freeze": Kind("frozen up to", "freezing {stages} changes the result"),
    "cutoff": Kind("multiply-adds (billions)", "{stages} changes the result"),
}


def publish(sweep: Sweep, folder: Path, name: str) -> None:
    """Write a sweep's tables, draw its figures, and print what it found."""
    paths = sweep.write(folder, name) + draw(folder, name)
    show(replace(sweep, lines=lines(folder)))
    console.written(paths)


def draw(folder: Path, name: str) -> list[Path]:
    """Draw a sweep's figures from the tables that lie in a folder."""
    sweep = read(folder, name)
    return plots.save(figure(sweep), folder / name) + plots.save(epochs_figure(sweep), folder / f"{name}_curves")


def figure(sweep: Sweep, axes: plots.Given = None) -> Figure:
    """Accuracy at each point: every run a dot, mean and 95 % interval, the two ends as lines, the paper's numbers faint.

    Points are stages; for cut networks, what these cost. On given axes there is no caption: `about` has its words.
    """
    wide = len(_curves(sweep.points)) > 1 and sweep.sweep != "cutoff"
    with plots.look():
        page, (panel,) = plots.panels(axes, (plots.PAGE_IN if wide else plots.COLUMN_IN, 2.6))
        plots.lines(panel, sweep.lines)
        (_cut if sweep.sweep == "cutoff" else _stages)(panel, sweep)
        panel.set(xlabel=KINDS[sweep.sweep].axis, ylabel="accuracy (%)")
        _legend(panel, outside=wide and axes is None)
        if axes is None:
            plots.caption(page, about(sweep))
    return page


def _stages(axes: Axes, sweep: Sweep) -> None:
    """Accuracy at each stage."""
    runs, points = sweep.runs, sweep.points
    curves = _curves(points)
    _paper(axes, sweep)
    _ends(axes, points)
    for i, curve in enumerate(curves):
        offset = SPREAD * (i / (len(curves) - 1) - 0.5) if len(curves) > 1 else 0.0
        place = {point: POINTS.index(point) + offset for point in POINTS}
        _curve(axes, runs[runs["curve"] == curve], points[points["curve"] == curve], place, i, curve)
    axes.set_xticks(range(len(POINTS)), POINTS)
    axes.set_xlim(-0.5, len(POINTS) - 0.5)


def _cut(axes: Axes, sweep: Sweep) -> None:
    """Accuracy of cut networks against what they cost."""
    runs, points = sweep.runs, sweep.points
    _ends(axes, points)
    for i, curve in enumerate(_curves(points)):
        mine = points[points["curve"] == curve]
        place = dict(zip(mine["point"], mine["multiply_adds"] / 1e9, strict=True))
        _curve(axes, runs[runs["curve"] == curve], mine, place, i, curve)
        _paper(axes, sweep, place)
        for row in mine.itertuples():
            at = (place[row.point], row.accuracy if np.isnan(row.high) else row.high)
            axes.annotate(f"up to {row.point}", at, (0, 4), textcoords="offset points", ha="center", fontsize=7)
    axes.margins(x=0.15, y=0.15)
    axes.xaxis.set_major_locator(MaxNLocator(5))


def epochs_figure(sweep: Sweep, axes: plots.Given = None) -> Figure:
    """Accuracy by epoch at each point, a panel per curve: how fast is part of what transfers."""
    epochs = sweep.epochs
    curves = _curves(epochs)
    columns = min(len(curves), 3)
    rows = -(-len(curves) // columns)
    size = plots.PAGE_IN if columns > 1 else plots.COLUMN_IN, 0.6 + 2.0 * rows
    with plots.look():
        page, panels = plots.panels(axes, size, len(curves), rows, columns, sharey=True)
        shades = dict(zip(POINTS, plots.shades(len(POINTS)), strict=True))
        for panel, curve in zip(panels, curves, strict=True):
            mine = epochs[epochs["curve"] == curve]
            for point in [point for point in POINTS if point in set(mine["point"])]:
                mean = mine[mine["point"] == point].groupby("epoch")["accuracy"].mean()
                (line,) = panel.plot(mean.index, mean, color=shades[point], marker=".", markersize=3, label=point)
                plots.hover(line, [f"{point}, epoch {epoch}: {score:.1f} %" for epoch, score in mean.items()])
            panel.set_title(curve if len(curves) > 1 else "")
            panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        title = KINDS[sweep.sweep].axis if sweep.sweep != "cutoff" else "kept up to"
        _legend(panels[0], title=title, outside=axes is None)
        if axes is None:
            page.supxlabel("epoch", fontsize=8)
            page.supylabel("held-out accuracy (%)", fontsize=8)
            plots.caption(page, f"{about(sweep, points=False)} Mean over the runs that were still trained at an epoch.")
        for panel in panels if axes is not None else ():
            panel.set(xlabel="epoch", ylabel="held-out accuracy (%)")
    return page


def _curves(table: pd.DataFrame) -> list[str]:
    return [curve for curve in table["curve"].unique() if curve != ENDS]


def about(sweep: Sweep, *, points: bool = True) -> str:
    """What the numbers of a sweep stand on."""
    runs, rule = sweep.runs, sweep.points["rule"].iloc[0]
    norms = "inference statistics" if runs["frozen_norm"].iloc[0] == "inference" else "statistics of each batch"
    epoch = {
        "last": "last epoch",
        "best": "best epoch, picked on the scored clips",
        "test": "epoch chosen on a validation fold",
    }
    parts = [
        plots.basis(runs),
        f"{epoch[rule].capitalize()}; dots: runs." if points else "",
        f"Bars: mean and 95 % interval for {covered(sweep.points)}." if points else "",
        f"Batch norm: fresh in parts not pretrained, {norms} in frozen parts.",
        READ_OUT if points and sweep.lines is not None else "",
    ]
    return " ".join(filter(None, parts))


def show(sweep: Sweep) -> None:
    """Print the points, the steps between them, and a verdict that claims no more than the intervals."""
    points = sweep.points.assign(interval=_interval(sweep.points, ".1f"))
    names = {"curve": "", "point": "point", "runs": "runs", "accuracy": "accuracy %", "interval": "95 % interval"}
    names |= {} if same_macro(points) else {"macro_accuracy": "macro accuracy %"}
    shown = points[list(names)].round({"accuracy": 1, "macro_accuracy": 1})
    console.table(list(names.values()), shown.itertuples(index=False))
    if same_macro(points):
        print(f"{MACRO}, is the same number here")
    if sweep.lines is not None:
        print(read_out(sweep.lines))
    if not sweep.steps.empty:
        _show_steps(sweep.steps, KINDS[sweep.sweep])
    if line := warning(sweep.runs):
        console.say(line)


def _show_steps(table: pd.DataFrame, kind: Kind) -> None:
    print()
    steps = table.assign(interval=_interval(table, "+.1f"), step=table["before"] + " > " + table["after"])
    p_values = ["" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.2g}" for p in steps["p_holm"]]
    p_values = [UNTRAINED if count else p for count, p in zip(steps["unfinished"], p_values, strict=True)]
    shown = steps.assign(p=p_values)[["curve", "step", "accuracy", "interval", "p"]].round({"accuracy": 1})
    console.table(["", "step", "points gained", "95 % interval", "p (Holm)"], shown.itertuples(index=False))
    print(f"\ninterval for {covered(table)}{hint(table)}\n")
    for curve, mine in steps.groupby("curve", sort=False):
        found = [
            f"{kind.verdict.format(stages=_stages_between(s.before, s.after))} ({s.accuracy:+.1f} points)"
            for s in map(Step._make, mine.loc[mine["important"], Step._fields].itertuples(index=False))
        ]
        print(f"{curve}: {'; '.join(found) or _none(mine)}")
    for line in hanging(table):
        print(line)


def hanging(steps: pd.DataFrame) -> list[str]:
    """The steps that change their sign or lose their interval with twice the training, each in a sentence."""
    other = steps[steps["curve"] == LONGER].set_index(["before", "after"])
    sentences = []
    for row in steps[steps["curve"] == steps["curve"].iloc[0]].to_dict("records") if len(other) else []:
        place = row["before"], row["after"]
        if place not in other.index or not (row["low"] > 0 or row["high"] < 0):
            continue
        twice = other.loc[place]
        if twice["accuracy"] * row["accuracy"] <= 0 or not (twice["low"] > 0 or twice["high"] < 0):
            numbers = f"{row['accuracy']:+.1f} {bracketed(row['low'], row['high'], '+.1f')}, with twice the training "
            numbers += f"{twice['accuracy']:+.1f} {bracketed(twice['low'], twice['high'], '+.1f')}"
            sentences.append(f"{' > '.join(place)} hangs on the budget: {numbers}")
    return sentences


def _none(steps: pd.DataFrame) -> str:
    """Why no step counts."""
    if steps["unfinished"].any():
        return f"no verdict: there are runs {UNTRAINED}"
    alone = steps["covers"].eq(CLIPS) & steps["low"].notna()
    if alone.any():
        return "no step counts: intervals from one seed do not cover another training (--seeds 3, better 5)"
    return "no step between neighbours can be distinguished from none on these clips and runs"


def _stages_between(before: str, after: str) -> str:
    """The stages that a step from one point to a later one takes in."""
    first = POINTS[POINTS.index(before) + 1]
    return after if first == after else f"{first} to {after}"


def _interval(table: pd.DataFrame, form: str) -> list[str]:
    return [between(low, high, form) for low, high in zip(table["low"], table["high"], strict=True)]


def _curve(axes: Axes, runs: pd.DataFrame, points: pd.DataFrame, place: Mapping[str, float], number: int, label: str) -> None:
    rule = points["rule"].iloc[0]
    colour, marker = plots.COLOURS[number % 7], plots.MARKERS[number % 7]
    x, mean = np.array([place[p] for p in points["point"]]), points["accuracy"].to_numpy()
    ends = np.stack([mean - points["low"], points["high"] - mean])
    bars: Any = {"marker": marker, "markersize": 4.5, "capsize": 2, "elinewidth": 0.9}
    order = np.array([POINTS.index(point) for point in points["point"]])
    gaps = np.flatnonzero(np.diff(order) > 1) + 1  # stages that were not measured: no line leads across them
    dashes = "none" if len(gaps) else "-"
    line = axes.errorbar(x, mean, ends, color=colour, label=label, linestyle=dashes, **bars, zorder=3).lines[0]
    for some in np.split(np.arange(len(x)), gaps) if len(gaps) else ():
        axes.plot(x[some], mean[some], color=colour, zorder=3)
    unfinished = (points["unfinished"] > 0).to_numpy()
    axes.plot(x[unfinished], mean[unfinished], marker, color=colour, markersize=4.5, markerfacecolor="white", zorder=3.5)
    rows = zip(points["point"], mean, points["low"], points["high"], strict=True)
    plots.hover(line, [f"{label}, {point}: {score:.1f} % {bracketed(low, high, '.1f')}" for point, score, low, high in rows])
    dots: Any = {"markerfacecolor": "white", "markeredgecolor": colour, "markeredgewidth": 0.7, "markersize": 3}
    (line,) = axes.plot([place[p] for p in runs["point"]], 100 * runs[rule], "o", **dots, zorder=4)
    each = zip(runs["point"], runs["fold"], runs["seed"], 100 * runs[rule], strict=True)
    plots.hover(line, [f"{point}, fold {fold}, seed {seed}: {score:.1f} %" for point, fold, seed, score in each])


def _ends(axes: Axes, points: pd.DataFrame) -> None:
    ends = points[points["curve"] == ENDS]
    for end, accuracy in zip(ends["point"], ends["accuracy"], strict=True):
        dashes = "--" if end == "pretrained" else ":"
        axes.axhline(accuracy, color="#444444", linewidth=0.8, linestyle=dashes, zorder=1, label=f"all {end}")


def _paper(axes: Axes, sweep: Sweep, place: Mapping[str, float] | None = None) -> None:
    if set(sweep.runs["data"]) != {"esc50"} or set(sweep.runs["backbone"]) != {"densenet201"}:
        return
    where = place or {point: POINTS.index(point) for point in POINTS}
    for numbers, dashes, label in ((TEXT, "-", "paper (text)"), (REPLICATION, "-.", "replication, fold 1")):
        mine = {point: value for point, value in numbers[sweep.sweep].items() if point in where}
        axes.plot(
            [where[p] for p in mine], list(mine.values()), dashes, color=plots.FAINT, linewidth=0.8, label=label, zorder=0
        )


def _legend(axes: Axes, *, title: str | None = None, outside: bool = False) -> None:
    if outside:
        axes.figure.legend(*axes.get_legend_handles_labels(), title=title, loc="outside right center")
    else:
        axes.legend(title=title, loc="best", frameon=True, framealpha=0.9, edgecolor="none")
