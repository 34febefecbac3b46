"""Two arms beside each other, and their paired difference, over all clips and class by class: drawn from the tables alone."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tla import console, plots
from tla.differences.measuring import ALL, LEVEL, MACRO, Difference, read
from tla.options import UNTRAINED
from tla.statistics import CLIPS, between, bracketed
from tla.tables import SAME, cautions, covered, hint, trained, warning

ROW_IN, LOW_ROW_IN, MANY = 0.2, 0.115, 20  # height of a row, and where there are many
WRAPPED = 40  # characters of a name in a legend
FIRST, SECOND = plots.COLOURS[0], plots.COLOURS[1]


def publish(made: Difference, folder: Path, name: str) -> None:
    """Write the tables, draw the figure, and print what was found."""
    paths = made.write(folder, name) + draw(folder, name)
    show(made)
    console.written(paths)


def draw(folder: Path, name: str) -> list[Path]:
    """Draw the figure from the tables that lie in a folder."""
    return plots.save(figure(read(folder, name)), folder / name)


def figure(made: Difference, axes: plots.Given = None) -> Figure:
    """Two panels, a row per class below one for all clips: left both accuracies, right the difference with its interval.

    On given axes there is no caption: `about` has its words.
    """
    rows = _shown(made)
    many = len(rows) > MANY
    with plots.look():
        size = (plots.PAGE_IN, 1.0 + len(rows) * (LOW_ROW_IN if many else ROW_IN))
        page, (left, right) = plots.panels(axes, size, 2, 1, 2, sharey=True)
        _accuracies(left, rows)
        _differences(right, rows)
        for panel in (left, right):
            panel.set_yticks(range(len(rows)), [row["class"] for row in rows], fontsize=5.5 if many else 7)
            panel.set_ylim(len(rows) - 0.5, -0.5)
            panel.axhline(sum(row["class"] in (ALL, MACRO) for row in rows) - 0.5, color="#cccccc", linewidth=0.6)
            panel.grid(visible=True, axis="x")
            panel.grid(visible=False, axis="y")
        right.tick_params(axis="y", length=0)
        if axes is None:
            page.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=2)
            plots.caption(page, about(made))
        else:
            left.legend()
    return page


def _accuracies(axes: Axes, rows: list[dict[str, Any]]) -> None:
    y = np.arange(len(rows))
    hollow = bool(rows[0]["unfinished"])
    axes.hlines(y, [r["accuracy_first"] for r in rows], [r["accuracy_second"] for r in rows], color="#bbbbbb", linewidth=0.9)
    for side, colour, marker, large in (("first", FIRST, "o", 3.2), ("second", SECOND, "s", 4.8)):  # equal ones are both seen
        values = [row[f"accuracy_{side}"] for row in rows]
        look: Any = {"color": colour, "marker": marker, "markersize": large, "markerfacecolor": "white" if hollow else colour}
        (dots,) = axes.plot(values, y, linestyle="none", label=_cut(rows[0][side]), clip_on=False, zorder=6 - large / 2, **look)
        plots.hover(dots, [f"{row['class']}, {row[side]}: {value:.1f} %" for row, value in zip(rows, values, strict=True)])
    axes.set(xlabel="accuracy (%)", xlim=(0, 100))


def _differences(axes: Axes, rows: list[dict[str, Any]]) -> None:
    y = np.arange(len(rows))
    colour = [plots.COLOURS[2] if row["differs"] else "#444444" for row in rows]
    axes.axvline(0, color=plots.FAINT, linewidth=0.8, linestyle="--", zorder=1)
    axes.hlines(y, [row["low"] for row in rows], [row["high"] for row in rows], color=colour, linewidth=1.0, zorder=2)
    for sure, look in ((True, plots.COLOURS[2]), (False, "#444444")):
        mine = [i for i, row in enumerate(rows) if bool(row["differs"]) == sure]
        face = "white" if rows[0]["unfinished"] else look
        values = [rows[i]["difference"] for i in mine]
        (dots,) = axes.plot(values, mine, "o", color=look, markersize=3.5, markerfacecolor=face, zorder=3)
        plots.hover(dots, [_words(rows[i]) for i in mine])
    axes.set(xlabel="difference (points), first less second")


def about(made: Difference) -> str:
    """What the numbers stand on."""
    first, runs = made.classes.iloc[0], made.runs
    folds = ", ".join(map(str, sorted(set(runs["fold"]))))
    seeds = [runs[runs["arm"] == first[side]]["seed"].nunique() for side in ("first", "second")]
    count = console.counted(seeds[0], "seed") if seeds[0] == seeds[1] else f"seeds: {seeds[0]} first, {seeds[1]} second"
    parts = [
        cautions(runs),
        f"{runs['data'].iloc[0]}, held-out fold{'s' * (',' in folds)} {folds} ({count}), {first['clips']} clips of both, "
        f"{trained(runs, ', hollow')}.",
        f"First: {first['first']}. Second: {first['second']}. Selection rule: {first['rule']}.",
        f"Bars: 95 % interval of the paired difference for {covered(made.classes)}.",
        f"Green: differs (the interval excludes 0, p is below {100 * LEVEL:.0f} %, for classes after Holm's correction; two "
        "seeds or more, runs trained to their end).",
    ]
    return " ".join(filter(None, parts))


def show(made: Difference) -> None:
    """Print the table, and what was found, in a sentence that claims no more than its interval."""
    rows = []
    for row in _shown(made):
        p = "" if np.isnan(row["p_holm"]) else "< 0.001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.2g}"
        numbers = [f"{row[name]:.1f}" for name in ("accuracy_first", "accuracy_second")]
        interval = between(row["low"], row["high"], "+.1f")
        rows.append([row["class"], row["clips"], *numbers, f"{row['difference']:+.1f}", interval, p])
    first = made.classes.iloc[0]
    print(f"first: {first['first']}\nsecond: {first['second']}\n")
    console.table(["class", "clips", "first %", "second %", "points gained", "95 % interval", "p (Holm)"], rows)
    print(f"\ninterval for {covered(made.classes)}{hint(made.classes)}\n\n{finding(made)}")
    if line := warning(made.runs):
        console.say(line)


def finding(made: Difference) -> str:
    """What was found, over all clips and of which classes."""
    whole = made.classes.iloc[0]
    points = f"{whole['difference']:+.1f} points {bracketed(whole['low'], whole['high'], '+.1f')}"
    if whole["unfinished"]:
        return f"first less second: {points}. {whole['unfinished']} of the runs were {UNTRAINED}, so there is no verdict."
    if not (whole["low"] > 0 or whole["high"] < 0):
        verdict = f"first less second: {points}, cannot be told from none on these {whole['clips']} clips."
    else:
        ahead = "the first is ahead" if whole["difference"] > 0 else "the second is ahead"
        verdict = f"{ahead}{' on these runs' * (whole['covers'] == CLIPS)}: {points}."
    if whole["covers"] == CLIPS:
        return f"{verdict} Of classes nothing is said: intervals from one seed do not cover another training."
    classes = made.classes[~made.classes["class"].isin([ALL, MACRO])]
    sure = [f"{row['class']} ({row['difference']:+.1f})" for row in classes[classes["differs"]].to_dict("records")]
    return f"{verdict} Classes that differ: {', '.join(sure) or 'none that can be told from none'}."


def _shown(made: Difference) -> list[dict[str, Any]]:
    """The rows, that of macro accuracy only where it is another number; classes by their difference."""
    rows: list[dict[str, Any]] = made.classes.to_dict("records")  # type: ignore[assignment]
    whole, macro, *classes = rows
    gaps = (abs(whole[name] - macro[name]) for name in ("accuracy_first", "accuracy_second"))
    top = [whole] if max(gaps) <= SAME else [whole, macro]
    return [*top, *sorted(classes, key=lambda row: -row["difference"])]


def _words(row: dict[str, Any]) -> str:
    numbers = f"{row['difference']:+.1f} points {bracketed(row['low'], row['high'], '+.1f')}"
    return f"{row['class']}: {numbers}, {row['clips']} clips"


def _cut(text: str) -> str:
    return text if len(text) <= WRAPPED else f"{text[: WRAPPED - 3]}..."
