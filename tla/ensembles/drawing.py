"""What averaging several runs brings (Table II): accuracy against their number, what they miss together, calibration."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tla import console, plots
from tla.ensembles.measuring import ALL, HOWS, Ensemble, read
from tla.options import UNTRAINED
from tla.plots import basis
from tla.reference import TABLE2
from tla.statistics import between, bracketed
from tla.tables import MACRO, same_macro, unfinished, warning

EPOCHS = {
    "last": "last epoch",
    "best": "best epoch, picked on the scored clips",
    "test": "epoch chosen on a validation fold",
}


def publish(ensemble: Ensemble, folder: Path, name: str) -> None:
    """Write an ensemble's tables, draw its figure, and print what it found."""
    paths = ensemble.write(folder, name) + draw(folder, name)
    show(ensemble)
    console.written(paths)


def draw(folder: Path, name: str) -> list[Path]:
    """Draw an ensemble's figure from the tables that lie in a folder."""
    return plots.save(figure(read(folder, name)), folder / name)


def figure(ensemble: Ensemble, axes: plots.Given = None) -> Figure:
    """Every subset of the members a dot; how many members miss a clip; NLL and calibration error by number of members.

    These are four panels, in this order. On given axes there is no caption: `about` has its words.
    """
    with plots.look():
        page, (accuracy, wrong, upper, lower) = _panels() if axes is None else plots.on(axes, 4)
        _accuracy(accuracy, ensemble)
        _missed(wrong, ensemble)
        _calibration(upper, ensemble, "nll", "NLL (nats)")
        _calibration(lower, ensemble, "ece", "calib. error (%)", 100)
        lower.set_xlabel("runs averaged")
        if axes is None:
            upper.tick_params(labelbottom=False)
            plots.caption(page, about(ensemble))
        else:
            upper.set_xlabel("runs averaged")
    return page


def _panels() -> tuple[Figure, list[Axes]]:
    page = plots.page(plots.PAGE_IN, 2.5)
    grid = page.add_gridspec(2, 3, width_ratios=(1.15, 1.0, 1.0))
    return page, [page.add_subplot(place) for place in (grid[:, 0], grid[:, 1], grid[0, 2], grid[1, 2])]


def about(ensemble: Ensemble) -> str:
    """What the numbers of an ensemble stand on."""
    whole = _whole(ensemble, "softmax")
    return (
        f"{basis(ensemble.runs)} {EPOCHS[ensemble.rule].capitalize()}. Dots: all subsets of the {whole['members']} runs; "
        f"lines: their mean; bars: 95 % interval for {whole['covers']} ({whole['clips']} clips). Calibration error in "
        f"{whole['bins']} bins of equal width; dotted: what a perfectly calibrated ensemble would show on as many clips."
    )


def show(ensemble: Ensemble) -> None:
    """Print Table II for these runs, and a verdict that claims no more than its interval."""
    same = same_macro(ensemble.scores, "single", "macro_single") and same_macro(ensemble.scores, "ensemble", "macro_ensemble")
    rows = []
    for row in ensemble.scores.to_dict("records"):
        rows.append(
            [
                row["fold"],
                row["averaged"],
                f"{row['single']:.1f} ±{row['spread']:.1f}",
                f"{row['ensemble']:.1f}",
                f"{row['gain']:+.1f}",
                between(row["gain_low"], row["gain_high"], "+.1f"),
                *([] if same else [f"{row['macro_single']:.1f} > {row['macro_ensemble']:.1f}"]),
                f"{row['disagreement']:.1f}",
                "" if np.isnan(row["error_correlation"]) else f"{row['error_correlation']:.2f}",
                f"{row['nll_single']:.3f} > {row['nll_ensemble']:.3f}",
                f"{100 * row['ece_single']:.1f} > {100 * row['ece_ensemble']:.1f}",
            ]
        )
    headings = [
        "fold",
        "averaged",
        "single %",
        "ensemble %",
        "gain",
        "95 % interval",
        *([] if same else ["macro accuracy %"]),
        "disagree %",
        "error corr.",
        "NLL",
        "ECE %",
    ]
    console.table(headings, rows, title=basis(ensemble.runs))
    if same:
        print(f"\n{MACRO}, is the same number here")
    first = ensemble.runs.iloc[0]
    if (known := TABLE2.get((first["backbone"], first["data"]))) and first["pretrained_upto"] == "block4":
        print(f"\nthe paper (best epoch, five runs): single {known[0]:.2f} ±{known[1]:.2f}, ensemble {known[2]:.2f}")
    print(f"\n{finding(ensemble)}")
    if line := warning(ensemble.runs):
        console.say(line)


def finding(ensemble: Ensemble) -> str:
    """What averaging brought, in a sentence."""
    row = _whole(ensemble, "softmax")
    points = f"{row['gain']:+.1f} points {bracketed(row['gain_low'], row['gain_high'], '+.1f')}"
    words = f"{row['members']} runs averaged against one ({EPOCHS[ensemble.rule]}): {points}"
    if count := unfinished(ensemble.runs):
        return f"{words}; {count} of these runs were {UNTRAINED}, so there is no verdict."
    if row["gain_low"] > 0 or row["gain_high"] < 0:
        return f"{words}, 95 % interval for {row['covers']}."
    return f"{words}: cannot be told from none on these {row['clips']} clips."


def _accuracy(axes: Axes, ensemble: Ensemble) -> None:
    for i, how in enumerate(HOWS):
        _by_size(axes, ensemble, how, "accuracy", i, f"{how} averaged", 1)
        whole = _whole(ensemble, how)
        ends = [[whole["ensemble"] - whole["low"]], [whole["high"] - whole["ensemble"]]]
        at = whole["members"] + _offset(i)
        axes.errorbar(at, whole["ensemble"], ends, color=plots.COLOURS[i], capsize=2, elinewidth=0.9, zorder=1)
    axes.set(xlabel="runs averaged", ylabel="accuracy (%)")
    axes.legend(loc="upper left")
    axes.margins(y=0.12)


def _by_size(axes: Axes, ensemble: Ensemble, how: str, column: str, number: int, label: str, scale: float) -> None:
    """Every subset a dot, their mean a line; its markers are hollow where there are runs that were not trained to their end."""
    table = ensemble.subsets[ensemble.subsets["averaged"] == how]
    colour, marker, offset = plots.COLOURS[number], plots.MARKERS[number], _offset(number)
    values = scale * table[column]
    dots: Any = {"markerfacecolor": "white", "markeredgecolor": colour, "markeredgewidth": 0.6, "markersize": 2.5}
    (line,) = axes.plot(table["size"] + offset, values, marker, linestyle="none", **dots, zorder=2)
    plots.hover(line, [f"seeds {seeds}: {value:.3g}" for seeds, value in zip(table["seeds"], values, strict=True)])
    mean = values.groupby(table["size"]).mean()
    (line,) = axes.plot(mean.index + offset, mean, color=colour, marker=marker, markersize=4, label=label, zorder=3)
    if unfinished(ensemble.runs):
        line.set_markerfacecolor("white")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _offset(number: int) -> float:
    return 0.1 * (2 * number - 1)


def _whole(ensemble: Ensemble, how: str) -> pd.Series:
    """The scores of all members on all folds."""
    scores = ensemble.scores
    return scores[(scores["fold"] == ALL) & (scores["averaged"] == how)].iloc[0]


def _missed(axes: Axes, ensemble: Ensemble) -> None:
    table = ensemble.missed[ensemble.missed["members"] > 0]
    bottom = 0 * table["clips"]
    parts = {"ensemble right": table["ensemble_right"], "ensemble wrong": table["clips"] - table["ensemble_right"]}
    for (label, heights), colour in zip(parts.items(), plots.COLOURS[2:4], strict=True):
        drawn = axes.bar(table["members"], heights, bottom=bottom, color=colour, width=0.7, label=label)
        bottom = bottom + heights
        for bar, count, k in zip(drawn, heights, table["members"], strict=True):
            plots.hover(bar, [f"missed by {k}: {console.counted(count, 'clip')}, {label}"])
    axes.set(xlabel=f"missed by k of {table['members'].max()} runs", ylabel="clips")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_ylim(0, max(1, 1.35 * table["clips"].max()))
    axes.legend(loc="upper right")


def _calibration(axes: Axes, ensemble: Ensemble, column: str, label: str, scale: float = 1) -> None:
    for i, how in enumerate(HOWS):
        _by_size(axes, ensemble, how, column, i, how, scale)
    if column == "ece":
        floor = scale * _whole(ensemble, "softmax")["ece_ensemble_if_calibrated"]
        axes.axhline(floor, color="#444444", linewidth=0.8, linestyle=":", zorder=1)
    axes.set_ylabel(label)
    axes.set_ylim(0, 1.15 * scale * ensemble.subsets[column].max() or 1.0)  # runs that are sure and right have none
