"""Accuracy against the number of labelled clips of each class, and what pretraining saves, drawn from the tables alone."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from tla import console, plots
from tla.few_labels.tables import ALL, TITLES, Labels, read
from tla.options import RANDOM, UNTRAINED
from tla.statistics import CLIPS, between, bracketed
from tla.tables import MACRO, covered, hint, same_macro, warning

APART = 1.04  # what the number of clips is multiplied by from one curve to the next, so that intervals do not lie on each other
EPOCHS = {"last": "Last epoch", "best": "Best epoch, picked on the scored clips", "test": "Epoch chosen on validation clips"}


def publish(labels: Labels, folder: Path, name: str) -> None:
    """Write the tables, draw the figure, and print what was found."""
    paths = labels.write(folder, name) + draw(folder, name)
    show(labels)
    console.written(paths)


def draw(folder: Path, name: str) -> list[Path]:
    """Draw the figure from the tables that lie in a folder."""
    return plots.save(figure(read(folder, name)), folder / name)


def figure(labels: Labels, axes: plots.Given = None) -> Figure:
    """Accuracy against clips of each class, a curve per start: every run a dot, mean and 95 % interval.

    A dotted line leads from what a few clips give with pretraining to where as much is had from scratch. On given axes there is
    no caption: `about` has its words.
    """
    with plots.look():
        page, (panel,) = plots.panels(axes, (plots.COLUMN_IN, 2.6))
        curves = list(labels.points["curve"].unique())
        for i, curve in enumerate(curves):
            _curve(panel, labels, curve, APART ** (i - (len(curves) - 1) / 2), i)
        _worth(panel, labels.worth)
        _counts(panel, labels.points)
        panel.set(xlabel="labelled clips of each class", ylabel="accuracy (%)")
        if axes is None:
            page.legend(*panel.get_legend_handles_labels(), loc="outside upper center", ncols=2)
            plots.caption(page, about(labels))
        else:
            panel.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none")
    return page


def _curve(axes: Axes, labels: Labels, curve: str, apart: float, number: int) -> None:
    points = labels.points[labels.points["curve"] == curve].sort_values("clips_per_class")
    colour, marker = plots.COLOURS[number % 7], plots.MARKERS[number % 7]
    x, mean = apart * points["clips_per_class"].to_numpy(), points["accuracy"].to_numpy()
    ends = np.stack([mean - points["low"], points["high"] - mean])
    bars: Any = {"marker": marker, "markersize": 4.5, "capsize": 2, "elinewidth": 0.9, "zorder": 3}
    line = axes.errorbar(x, mean, ends, color=colour, label=TITLES.get(curve, curve), **bars).lines[0]
    texts = [f"{TITLES.get(curve, curve)}, {row.point}: {row.accuracy:.1f} % {_interval(row)}" for row in points.itertuples()]
    plots.hover(line, texts)
    short = (points["unfinished"] > 0).to_numpy()
    axes.plot(x[short], mean[short], marker, color=colour, markersize=4.5, markerfacecolor="white", zorder=3.5)
    runs = labels.runs[labels.runs["curve"] == curve]
    place = dict(zip(points["point"], x, strict=True))
    rule = labels.points["rule"].iloc[0]
    dots: Any = {"markerfacecolor": "white", "markeredgecolor": colour, "markeredgewidth": 0.7, "markersize": 3, "zorder": 4}
    (line,) = axes.plot([place[point] for point in runs["point"]], 100 * runs[rule], "o", **dots)
    each = zip(runs["point"], runs["fold"], runs["seed"], 100 * runs[rule], strict=True)
    plots.hover(line, [f"{point}, fold {fold}, seed {seed}: {score:.1f} %" for point, fold, seed, score in each])


def _interval(row: Any) -> str:
    return bracketed(row.low, row.high, ".1f")


def _worth(axes: Axes, worth: pd.DataFrame) -> None:
    """A line from each point of the first curve to where the one from scratch comes as far."""
    there = worth["worth"].between(worth["fewest"], worth["most"])
    for row in worth[there & (worth["second"] == RANDOM)].itertuples():
        ends = [row.clips_per_class, row.worth]
        axes.plot(ends, [row.accuracy] * 2, color=plots.FAINT, linewidth=0.8, linestyle=":", zorder=1)


def _counts(axes: Axes, points: pd.DataFrame) -> None:
    """The axis of clips, with a mark at each number."""
    counts = points.groupby("point")["clips_per_class"].mean().sort_values()
    axes.set_xscale("log")
    axes.set_xticks(
        counts.to_numpy(), [f"{clips:.4g}" if point != ALL else f"all\n({clips:.4g})" for point, clips in counts.items()]
    )
    axes.xaxis.set_minor_locator(NullLocator())


def about(labels: Labels) -> str:
    """What the numbers stand on."""
    runs, points = labels.runs, labels.points
    draws = "The clips are the same for all curves, drawn anew for each seed and fold; a larger draw holds the smaller."
    return (
        f"{plots.basis(runs)} {EPOCHS[points['rule'].iloc[0]]}; dots: runs. {draws} "
        f"Bars: mean and 95 % interval for {covered(points)}. Dotted: where as much is had from scratch."
    )


def show(labels: Labels) -> None:
    """Print the points, the gaps between the curves, and how many labels pretraining saves."""
    points = labels.points.assign(curve=labels.points["curve"].map(lambda curve: TITLES.get(curve, curve)))
    runs = ["" if count == 0 else str(count) for count in points["runs"]]  # a probe trains none
    points = points.assign(interval=[_interval_of(row) for row in points.itertuples()], labels=points["point"], runs=runs)
    names = {"curve": "", "labels": "clips of a class", "runs": "runs", "accuracy": "accuracy %", "interval": "95 % interval"}
    names |= {} if same_macro(points) else {"macro_accuracy": "macro accuracy %"}
    shown = points[list(names)].round({"accuracy": 1, "macro_accuracy": 1})
    console.table(list(names.values()), shown.itertuples(index=False))
    if same_macro(points):
        print(f"{MACRO}, is the same number here")
    _show_gaps(labels.gaps)
    print(f"\ninterval for {covered(points)}{hint(points)}\n")
    for line in findings(labels):
        print(line)
    if caution := warning(labels.runs):
        console.say(caution)


def _interval_of(row: Any) -> str:
    return between(row.low, row.high, ".1f")


def _show_gaps(gaps: pd.DataFrame) -> None:
    print()
    rows = []
    for gap in gaps.to_dict("records"):
        p = "" if math.isnan(gap["p_holm"]) else "< 0.001" if gap["p_holm"] < 0.001 else f"{gap['p_holm']:.2g}"
        name = f"{TITLES.get(gap['first'], gap['first'])} - {TITLES.get(gap['second'], gap['second'])}"
        interval = between(gap["low"], gap["high"], "+.1f")
        rows.append([name, gap["point"], f"{gap['accuracy']:+.1f}", interval, UNTRAINED if gap["unfinished"] else p])
    console.table(["", "clips of a class", "points ahead", "95 % interval", "p (Holm)"], rows)


def findings(labels: Labels) -> list[str]:
    """What was found, in sentences that claim no more than their intervals."""
    lines = []
    for first, second in dict.fromkeys(zip(labels.gaps["first"], labels.gaps["second"], strict=True)):
        gaps, worth = (table[(table["first"] == first) & (table["second"] == second)] for table in (labels.gaps, labels.worth))
        names = TITLES.get(first, first), TITLES.get(second, second)
        lines += _ahead(gaps, *names)
        lines += [_worth_line(row, *names) for row in worth[worth["unfinished"] == 0].to_dict("records")]
    return lines


def _ahead(gaps: pd.DataFrame, first: str, second: str) -> list[str]:
    """With how many clips one curve is ahead of the other, or why that is not said."""
    found = gaps[gaps["important"]]
    if len(found):
        sides = {"ahead of": found[found["accuracy"] > 0], "behind": found[found["accuracy"] < 0]}
        clips = {side: ", ".join(some["point"]) for side, some in sides.items() if len(some)}
        return [f"{first}: {side} {second} with {which} clips of each class" for side, which in clips.items()]
    if gaps["unfinished"].all():
        return [f"{first} against {second}: no verdict, there are runs {UNTRAINED}"]
    if (gaps["covers"].eq(CLIPS) & gaps["low"].notna()).any():
        return [f"{first} against {second}: no verdict, one seed is one draw of clips and one training (--seeds 3, better 5)"]
    return [f"{first} and {second} cannot be told apart on these clips and runs"]


def _worth_line(row: dict[str, Any], first: str, second: str) -> str:
    """With how many clips the second curve does as well as the first with a few."""
    ends = dict.fromkeys(_count(row, end) for end in ("low", "high") if not math.isnan(row[end]))
    interval = f" [{' to '.join(ends)}]" if ends else ""
    return f"{first} with {_clips(row['clips_per_class'])} does as well as {second} with {_count(row, 'worth')}{interval}"


def _clips(count: float) -> str:
    return f"{count:.3g} {'clip' if count == 1 else 'clips'} of each class"


def _count(row: dict[str, Any], name: str) -> str:
    """A number of clips, or on which side of those that there are it lies."""
    if math.isinf(row[name]):
        return f"more than {row['most']:.3g}"
    return f"fewer than {row['fewest']:.3g}" if row[name] < row["fewest"] else f"{row[name]:.3g}"
