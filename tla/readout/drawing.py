"""What each stage already knows of the sounds, drawn and told from its tables alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tla import console, plots
from tla.manifest import write_tables
from tla.options import RANDOM, STAGES
from tla.readout.tables import (
    ACCURACIES,
    ELSEWHERE,
    H_SCORE,
    LINEAR,
    LOGME,
    NEAREST,
    PICTURE,
    PRETRAINED,
    Readout,
    read,
)
from tla.statistics import between, bracketed
from tla.tables import LINES, cautions, covered

STYLE: dict[str, tuple[str, str]] = {PRETRAINED: (plots.COLOURS[0], "o"), RANDOM: (plots.COLOURS[6], "s")}
SPREAD = 0.08  # of the distance between two stages, between networks
HEADINGS = {LINEAR: "linear %", NEAREST: "nearest %", ELSEWHERE: "elsewhere %", LOGME: "LogME", H_SCORE: "H-score"}


def publish(readout: Readout, folder: Path, name: str, beside: Mapping[str, Path] = {}) -> None:
    """Write a readout's tables, draw its figure, and print what it found and suggests.

    beside: backbone -> the folder of the study on it, where its lines are to lie.
    """
    paths = readout.write(folder, name) + draw(folder, name)
    for backbone, other in beside.items():
        paths += write_tables(other, LINES, readout.lines_of(backbone))
    show(readout)
    console.written(dict.fromkeys(paths))


def draw(folder: Path, name: str) -> list[Path]:
    """Draw a readout's figure from the tables that lie in a folder."""
    return plots.save(figure(read(folder, name)), folder / name)


def figure(readout: Readout, axes: plots.Given = None) -> Figure:
    """The linear readout by stage, a panel per backbone: the picture and the floor as lines across.

    On given axes there is no caption: `about` has its words.
    """
    linear = readout.points[readout.points["readout"] == LINEAR]
    backbones = list(readout.ranking["backbone"].unique())
    columns = min(len(backbones), 3)
    rows = -(-len(backbones) // columns)
    size = plots.PAGE_IN if columns > 1 else plots.COLUMN_IN, 0.6 + 2.3 * rows
    with plots.look():
        page, panels = plots.panels(axes, size, len(backbones), rows, columns, sharey=True)
        for panel, backbone in zip(panels, backbones, strict=True):
            _panel(panel, linear, backbone)
            panel.set_title(backbone if len(backbones) > 1 else "")
        panels[0].set_ylabel("linear readout (%)")
        if axes is None:
            page.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2 if columns == 1 else 4)
            plots.caption(page, about(readout))
        else:
            panels[0].legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none")
    return page


def _panel(axes: Axes, linear: pd.DataFrame, backbone: str) -> None:
    picture = linear[linear["network"] == PICTURE].iloc[0]
    axes.axhline(picture["value"], color=plots.COLOURS[2], linewidth=1, linestyle="--", label="picture alone", zorder=1)
    if not np.isnan(picture["low"]):
        axes.axhspan(picture["low"], picture["high"], color=plots.COLOURS[2], alpha=0.12, linewidth=0, zorder=0)
    mine = linear[linear["backbone"] == backbone]
    axes.axhline(mine["floor"].mean(), color=plots.FAINT, linewidth=0.8, linestyle=":", label="labels permuted", zorder=1)
    networks = list(mine["network"].unique())
    for number, network in enumerate(networks):
        own = plots.COLOURS[1 + number % 5], plots.MARKERS[1 + number % 5]
        colour, marker = STYLE.get(network, own)
        some = mine[mine["network"] == network]
        x = np.array([STAGES.index(stage) for stage in some["stage"]]) + SPREAD * (number - (len(networks) - 1) / 2)
        ends = np.stack([some["value"] - some["low"], some["high"] - some["value"]])
        bars: Any = {"marker": marker, "markersize": 4.5, "capsize": 2, "elinewidth": 0.9}
        line = axes.errorbar(x, some["value"], ends, color=colour, label=network, **bars, zorder=3).lines[0]
        plots.hover(line, [f"{network}, {row.stage}: {_number(row)}" for row in some.itertuples()])
    axes.set_xticks(range(len(STAGES)), STAGES)
    axes.set_xlim(-0.5, len(STAGES) - 0.5)


def _number(row: Any) -> str:
    return f"{row.value:.1f} % {bracketed(row.low, row.high, '.1f')}"


def about(readout: Readout) -> str:
    """What the numbers stand on."""
    points = readout.points
    first = points.iloc[0]
    linear = points[points["readout"] == LINEAR]
    folds = f"held-out fold{'s' * ('+' in str(first['folds']))} {str(first['folds']).replace('+', ', ')}"
    seeds = linear.loc[linear["network"] == RANDOM, "runs"]
    words = f"{cautions(points)} {first['data']}, {folds} ({linear['clips'].max()} clips). "
    words += "Ridge regression on each stage's output, averaged over positions (picture: mean and spread of each mel band over "
    words += "time); learned from the other folds, its penalty chosen there by leaving recordings out. "
    words += f"Bars and band: 95 % interval for {covered(linear)}."
    words += f" Random: {console.counted(int(seeds.max()), 'network')}." if len(seeds) else ""
    words += " Pictures standardised by mel band." if first["standardised"] else ""
    return words.strip()


def show(readout: Readout) -> None:
    """Print what was found, all stages, and what is suggested for this data."""
    print(f"{found(readout)}\n")
    points = readout.points.fillna({"backbone": "", "stage": ""})
    there = [name for name in HEADINGS if (points["readout"] == name).any()]
    rows = []
    for (network, backbone, stage), mine in _by_rank(points, readout.ranking).items():
        linear = mine[LINEAR]
        values = [_value(mine[name]) if name in mine else "" for name in there]
        floor = f"{linear['floor']:.1f}, most {linear['floor_high']:.1f}"
        rows.append([network, backbone, stage, *values, between(linear["low"], linear["high"], ".1f"), floor])
    headings = ["", "backbone", "stage", *(HEADINGS[name] for name in there), "95 % interval (linear)", "labels permuted"]
    console.table(headings, rows)
    print(f"\ninterval for {covered(points)}\n")
    for line in suggestion(readout):
        print(line)


def _by_rank(points: pd.DataFrame, ranking: pd.DataFrame) -> dict[tuple[str, str, str], dict[str, dict[str, Any]]]:
    """Network, backbone, stage -> readout -> its row; the picture first, then network by network, the best stage first."""
    ranks = {key: rank for rank, key in enumerate(zip(ranking["backbone"], ranking["stage"], strict=True))}
    order = {network: place for place, network in enumerate(points["network"].unique())}
    groups: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
    for row in points.to_dict("records"):
        mine = groups.setdefault((row["network"], row["backbone"], row["stage"]), {})
        mine[row["readout"]] = {str(column): value for column, value in row.items()}
    return dict(sorted(groups.items(), key=lambda item: (order[item[0][0]], ranks.get(item[0][1:], 0))))


def _value(row: dict[str, Any]) -> str:
    return f"{row['value']:.1f}" if row["readout"] in ACCURACIES else f"{row['value']:.3f}"


def found(readout: Readout) -> str:
    """Whether any stage gives more than the picture, in a sentence that claims no more than its interval."""
    best, points = readout.ranking.iloc[0], readout.points
    picture = points[(points["network"] == PICTURE) & (points["readout"] == LINEAR)].iloc[0]
    both = f"{best['stage']} of {best['backbone']} ({best['network']}) {_read(best)}, the picture alone {_read(picture)}"
    gap = _against(readout, best, PICTURE)
    points_gained = f"{gap['value']:+.1f} points {bracketed(gap['low'], gap['high'], '+.1f')}"
    if gap["low"] > 0:
        return f"The best stage knows more of {best['data']} than the picture: {both} ({points_gained})."
    if gap["high"] < 0:
        return f"The picture alone is read out better than any stage on {best['data']}: {both} ({points_gained})."
    return f"No stage can be told from the picture alone on {best['data']}: {both} ({points_gained})."


def _read(row: pd.Series) -> str:
    return f"{row['value']:.1f} % {bracketed(row['low'], row['high'], '.1f')}"


def _against(readout: Readout, stage: pd.Series, other: str) -> pd.Series:
    """The difference of a ranked stage from what it is held against."""
    table = readout.contrasts
    mine = (table[["backbone", "network", "stage"]] == stage[["backbone", "network", "stage"]].to_numpy()).all(axis=1)
    return table[mine & (table["against"] == other)].iloc[0]


def suggestion(readout: Readout) -> list[str]:
    """What the readouts suggest for this data, and how sure that is, in lines."""
    ranking, points = readout.ranking, readout.points
    best = ranking.iloc[0]
    own = (points["backbone"] == best["backbone"]) & (points["network"] == best["network"]) & (points["stage"] == best["stage"])
    if (gap := _against(readout, best, PICTURE))["high"] < 0:
        return [f"no stage is suggested: the best is read out worse than the picture alone, {_less(gap, 1)}"]
    if best["value"] <= (floor := points[own & (points["readout"] == LINEAR)]["floor_high"].iloc[0]):
        return [f"nothing is suggested: no stage is read out better than permuted labels ({floor:.1f} % at most)"]
    stage, name = best["stage"], best["backbone"]
    lines = [f"suggested: {name}, cut behind {stage}, or frozen up to {stage}", "how sure:"]
    lines.append(
        f"  chosen on the clips that are learned from alone in {best['chosen']} of {console.counted(best['folds'], 'fold')}"
    )
    if best["network"] == PRETRAINED:
        gap = _against(readout, best, RANDOM)
        apart = "cannot be told from it" if gap["low"] <= 0 <= gap["high"] else "gives less" if gap["low"] > 0 else "gives more"
        lines.append(f"  the same stage with random weights {apart}: {_less(gap)}")
    mine = ranking[(ranking["backbone"] == name) & (ranking["stage"] != stage)]
    close = mine[mine["behind_low"] <= 0]
    for row in close.to_dict("records"):
        cost = f"{100 * row['multiply_adds'] / best['multiply_adds']:.0f} % of its multiply-adds"
        lines.append(f"  {row['stage']} cannot be told from it: {_behind(row)}, {cost}")
    for row in mine[mine["behind_low"] > 0].to_dict("records"):
        if STAGES.index(row["stage"]) > STAGES.index(stage):
            lines.append(f"  {row['stage']} gives less: {_behind(row)}; where it is kept, it has to move")
    for other in ranking[ranking["backbone"] != name].drop_duplicates("backbone").to_dict("records"):
        apart = "cannot be told from it" if other["behind_low"] <= 0 else "gives less"
        lines.append(f"  {other['backbone']}, at best {other['stage']}, {apart}: {_behind(other)}")
    lines.append(f"  intervals for {covered(ranking)}; `--check` holds such a suggestion against finished runs")
    return lines


def _behind(row: dict[str, Any]) -> str:
    """How far a stage is from the best."""
    return _points(-row["behind"], -row["behind_high"], -row["behind_low"])


def _less(gap: pd.Series, sign: int = -1) -> str:
    """A difference in words, seen from the other side or, with sign 1, from its own."""
    low, high = sorted((sign * gap["low"], sign * gap["high"]))
    return _points(sign * gap["value"], low, high)


def _points(value: float, low: float, high: float) -> str:
    return f"{value + 0.0:+.1f} points {bracketed(low + 0.0, high + 0.0, '+.1f')}"  # + 0.0: there is no -0.0
