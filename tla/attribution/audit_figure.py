"""The numbers behind "it looks at the energy and its borders", in small multiples drawn from their tables alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tla import console, plots
from tla.manifest import write_table
from tla.options import CONVERGED, STAGES, UNTRAINED
from tla.runs import tables
from tla.statistics import between
from tla.tables import cautions

if TYPE_CHECKING:
    from tla.attribution.audit import Audit

HEAD_DOWN = ("none", "head", *reversed(STAGES))
MEASURES = {"loudest": "loudest\n20 %", "borders": "their\nborders", "either": "either"}
MAPS = {
    "attribution": "attribution",
    "random network": "of a random network",
    "x - b": "picture less silence",
    "shifted": "shifted in time",
    "permuted": "cells permuted",
}
STRENGTH = "of |map|"
ENDS = ["value", "low", "high"]
RANKINGS = {"attribution": "-", "loudness": "--", "random": ":"}


def publish(audit: "Audit", folder: Path, name: str, run: pd.DataFrame) -> None:
    """Write an audit's tables, and that of its run, draw its figure, and print its summary."""
    paths = [*audit.write(folder, name), folder / f"{name}_run.csv"]
    write_table(paths[-1], run)
    paths += draw(folder, name)
    show(audit.summary)
    print(f"\n{about(audit.clips, audit.maps, run)}")
    console.written(paths)


def draw(folder: Path, name: str) -> list[Path]:
    """Draw the figure from the tables that lie in a folder."""
    parts = ("", "_summary", "_curves", "_maps", "_run")
    clips, summary, curves, maps, run = (tables.read(folder / f"{name}{part}.csv") for part in parts)
    return plots.save(figure(summary, curves, about(clips, maps, run)), folder / name)


def about(numbers: pd.DataFrame, maps: pd.DataFrame, runs: pd.DataFrame) -> str:
    """What the numbers stand on."""
    own, run = maps.drop_duplicates("clip"), runs.iloc[0]  # a clip's own map is its first
    clips, error = numbers["clip"].nunique(), 100 * own["error"]
    out = len(own) - clips
    parts = [
        cautions(runs),
        f"{run['data']}, {run['backbone']}, run {run['key']}, {console.counted(clips, 'clip')} of held-out fold {run['fold']}"
        + (f" ({out} more are the same everywhere)." if out else "."),
        f"The run was {UNTRAINED}." if run["training"] != CONVERGED else "",
        "Integrated Gradients of the logit of the class that the run predicts, from silence, summed over the three windows;",
        f"completeness error: median {error.median():.2f} %, 95th percentile {error.quantile(0.95):.2f} %.",
        "Randomised down to none: the same network with fewer steps, the most that maps can agree. Grey: other recordings.",
        f"Hollow: {STRENGTH}, whatever its sign.",
        "Bars and bands: mean and 95 % interval for other recordings, on these runs.",
    ]
    return " ".join(filter(None, parts))


def show(summary: pd.DataFrame) -> None:
    """One line per number, with its interval over clips."""
    rows = [
        [
            row["part"],
            row["measure"],
            row["variant"],
            row["clips"],
            f"{row['value']:.3f}",
            between(row["low"], row["high"], ".3f"),
        ]
        for row in summary.to_dict("records")
    ]
    console.table(["part", "measure", "of", "clips", "mean", "95 % interval"], rows)


def figure(summary: pd.DataFrame, curves: pd.DataFrame, note: str) -> Figure:
    """Where the attribution lies; what deleting and inserting tiles does; what randomising does; how far maps agree."""
    with plots.look():
        whole = plots.page(plots.PAGE_IN, 4.9)
        above, below = np.asarray(whole.subfigures(2, 1, height_ratios=(1, 1.05)))
        energy, deletion, insertion = above.subplots(1, 3, width_ratios=(1.15, 1, 1))
        stages, agreement = below.subplots(1, 2)
        _energy(energy, summary[summary["part"] == "energy"])
        for axes, curve in ((deletion, "deletion"), (insertion, "insertion")):
            _tiles(axes, curves[curves["curve"] == curve], curve)
        deletion.set_ylabel("probability of the class")
        insertion.tick_params(labelleft=False)
        _legend(deletion)
        chance = summary[summary["part"] == "position"]
        strength = summary[summary["part"] == "strength"].set_index("variant")
        _stages(stages, summary[summary["part"] == "stages"], strength, chance)
        _agreement(agreement, summary[summary["part"].isin(["baselines", "runs"])], strength, chance)
        plots.caption(whole, note)
    return whole


def _energy(axes: Axes, rows: pd.DataFrame) -> None:
    """The share of the attribution on the loudest cells and their borders, beside those of maps that do not depend on them."""
    measures = [measure for measure in MEASURES if measure in set(rows["measure"])]
    variants = [variant for variant in MAPS if variant in set(rows["variant"])]
    for i, variant in enumerate(variants):
        mine = rows[rows["variant"] == variant].set_index("measure").loc[measures]
        x = np.arange(len(measures)) + 0.16 * (i - (len(variants) - 1) / 2)
        _points(axes, x, 100 * mine[ENDS], plots.COLOURS[i], plots.MARKERS[i], MAPS[variant])
    axes.set_xticks(range(len(measures)), [MEASURES[measure] for measure in measures])
    axes.set(ylabel="share of |map| (%)", xlim=(-0.5, len(measures) - 0.5), ylim=(0, None))
    _legend(axes)


def _tiles(axes: Axes, rows: pd.DataFrame, curve: str) -> None:
    """What is left of the decision as tiles go, or come, in the order of a ranking."""
    for i, (ranking, dashes) in enumerate(RANKINGS.items()):
        mine = rows[rows["ranking"] == ranking].sort_values("share")
        share = 100 * mine["share"]
        axes.plot(share, mine["value"], dashes, color=plots.COLOURS[i], label=ranking)
        axes.fill_between(share, mine["low"], mine["high"], color=plots.COLOURS[i], alpha=0.2, linewidth=0)
    axes.set(xlabel={"deletion": "tiles deleted (%)", "insertion": "tiles inserted (%)"}[curve], xlim=(0, 100))


def _stages(axes: Axes, rows: pd.DataFrame, strength: pd.DataFrame, chance: pd.DataFrame) -> None:
    """How like the trained network's map is that of one randomised from the head down to a stage."""
    stages = [stage for stage in HEAD_DOWN if stage in set(rows["variant"])]
    mine, x = rows.set_index("variant").loc[stages], np.arange(len(stages))
    _chance(axes, chance)
    _points(axes, x, mine[ENDS], plots.COLOURS[0], "o", "", line=True)
    if len(strength):
        _points(axes, x, strength.loc[stages, ENDS], plots.COLOURS[0], "o", STRENGTH, hollow=True)
        axes.legend(loc="best")
    axes.set_xticks(x, stages, rotation=0)
    axes.set(xlabel="randomised from the head down to", ylabel="rank correlation of maps", xlim=(-0.5, len(stages) - 0.5))


def _agreement(axes: Axes, rows: pd.DataFrame, strength: pd.DataFrame, chance: pd.DataFrame) -> None:
    """How like two maps of a clip are, from other baselines and from other networks."""
    _chance(axes, chance, across=False)
    mine = rows.iloc[::-1]
    for y, (part, variant) in enumerate(zip(mine["part"], mine["variant"], strict=True)):
        colour = plots.COLOURS[0] if part == "baselines" else plots.COLOURS[1]
        _points(axes, y, mine.iloc[[y]][ENDS], colour, "o", "", across=True)
        if len(strength):
            _points(axes, y - 0.25, strength.loc[[variant], ENDS], colour, "o", "", across=True, hollow=True)
    axes.set_yticks(range(len(mine)), mine["variant"])
    axes.grid(axis="x", visible=True)
    axes.grid(axis="y", visible=False)
    axes.set(xlabel="rank correlation of maps", ylim=(-0.6, len(mine) - 0.4))


def _points(
    axes: Axes,
    at: Any,
    rows: pd.DataFrame,
    colour: str,
    marker: str,
    label: str,
    *,
    line: bool = False,
    hollow: bool = False,
    across: bool = False,
) -> None:
    """Means with their intervals, upwards or across."""
    ends = np.stack([rows["value"] - rows["low"], rows["high"] - rows["value"]])
    look: Any = {"linestyle": "-" if line else "none", "markersize": 4, "capsize": 2, "elinewidth": 0.9, "label": label}
    look |= {"color": colour, "marker": marker} | ({"markerfacecolor": "white"} if hollow else {})
    look |= {"x": rows["value"], "y": at, "xerr": ends} if across else {"x": at, "y": rows["value"], "yerr": ends}
    texts = [f"{row['value']:.3g} {between(row['low'], row['high'], '.3g')}" for row in rows.to_dict("records")]
    plots.hover(axes.errorbar(**look).lines[0], texts)


def _chance(axes: Axes, chance: pd.DataFrame, *, across: bool = True) -> None:
    """Where the maps of two clips that have nothing to do with each other lie."""
    for row in chance.to_dict("records"):
        band, line = (axes.axhspan, axes.axhline) if across else (axes.axvspan, axes.axvline)
        if not np.isnan(row["low"]):
            band(row["low"], row["high"], color="#dddddd", zorder=0)
        line(row["value"], color=plots.FAINT, linestyle="--", linewidth=0.9, zorder=1, label=row["variant"])
    if len(chance) and across:
        axes.legend(loc="best")


def _legend(axes: Axes) -> None:
    """Above the axes, where it hides nothing."""
    axes.legend(loc="lower left", bbox_to_anchor=(-0.05, 1.0), ncols=2, columnspacing=1, handletextpad=0.4, borderpad=0.2)
