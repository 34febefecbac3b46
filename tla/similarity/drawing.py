"""How much each layer changed (Fig. 2a) against its controls, layer by layer, drawn from their tables alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tla import console, plots
from tla.options import STAGES, UNTRAINED
from tla.plots import basis
from tla.similarity.layer_axis import few, ticks
from tla.similarity.tables import (
    EARLY_LATE,
    EARLY_LATE_ABOVE,
    PRETRAINED,
    RANDOM,
    SCALES,
    SEEDS,
    STARTS,
    SVCCA,
    WEIGHTS,
    WHOLE,
    Change,
    read,
)
from tla.tables import covered, unfinished, warning

NAMES = {PRETRAINED: "pretrained, fine-tuned", RANDOM: "random start, trained", SEEDS: "two seeds (ceiling)"}
FLOOR_LABEL = "another clip (floor)"
LOOKS = {PRETRAINED: 0, RANDOM: 1, SEEDS: 2}  # colour and marker
DODGE = 0.09  # of the distance between two layers
SHOWN = 12  # layers that are printed
FLOORED = (PRETRAINED, RANDOM)  # whose floors are drawn; two seeds have that of pretrained, nearly


def publish(change: Change, folder: Path, name: str) -> None:
    """Write the tables, draw the figure, and print what it found."""
    paths = change.write(folder, name) + draw(folder, name)
    show(change)
    console.written(paths)


def draw(folder: Path, name: str) -> list[Path]:
    """Draw the figure from the tables that lie in a folder."""
    return plots.save(figure(read(folder, name)), folder / name)


def figure(change: Change, axes: plots.Given = None) -> Figure:
    """A panel per measure: similarity (or change) at each layer, a curve per kind of pair, floors dashed.

    On given axes there is no caption: `about` has its words.
    """
    measures = list(change.points["measure"].unique())
    columns = min(len(measures), 4)
    rows = -(-len(measures) // columns)
    with plots.look():
        size = (plots.PAGE_IN, 0.5 + 1.9 * rows) if columns > 1 else (plots.COLUMN_IN, 2.7)
        page, panels = plots.panels(axes, size, len(measures), rows, columns)
        for i, (panel, measure) in enumerate(zip(panels, measures, strict=True)):
            mine = [table[table["measure"] == measure] for table in (change.points, change.runs)]
            _panel(panel, *mine, narrow=columns > 1)
            if measure == WEIGHTS:
                panel.set_ylim(0, 1.1 * mine[0][["score", "high"]].max().max() or 1.0)  # where nothing moved, all are 0
            panel.set_ylabel(SCALES[measure].label)
            bare = axes is None and columns > 1 and i + columns < len(measures)  # another panel below has the same axis
            panel.tick_params(labelbottom=not bare)
        handles, labels = _legend(panels)
        if axes is None:
            page.legend(handles, labels, loc="outside upper center", ncols=2 if columns == 1 else 4)
            plots.caption(page, about(change))
        else:
            panels[0].legend(handles, labels)
    return page


def about(change: Change) -> str:
    """What the numbers stand on."""
    runs = change.runs
    main = runs[runs["curve"] == runs["curve"].iloc[0]]
    first = main.iloc[0]
    folds = main.drop_duplicates("fold")
    scored = runs[runs["measure"] != WEIGHTS]
    parts = [
        basis(main),
        "Networks as at the last epoch."
        if first["protocol"] == "paper"
        else "Networks as at the epoch chosen on a validation fold.",
        f"{first['curve']}." if first["curve"] not in NAMES else "",
    ]
    if not scored.empty:
        points = "a point per clip (positions averaged)" if first["pool"] else f"{_span(scored['points'])} points"
        parts.append(f"{console.counted(folds['clips'].sum(), 'clip')}, {points}.")
        for measure, mine in scored[scored["keep"] != WHOLE].groupby("measure", sort=False):
            kept = _span(pd.concat([mine["kept_before"], mine["kept_after"]]))
            parts.append(f"{str(measure).upper()} keeps {mine['keep'].iloc[0]} ({kept} directions).")
        covers = covered(change.points[change.points["measure"] != WEIGHTS])
        parts.append(
            f"Bars: 95 % interval for {covers}; over clips, from leaving out "
            f"each of {_span(folds['groups'])} groups of recordings (jackknife"
            f"{'; SVCCA keeps its directions' if SVCCA in set(scored['measure']) else ''})."
            f" Floor, dashed: one of the two gets another clip."
        )
        forced = scored[scored["forced"] > 0]
        if not forced.empty:
            gone = "; left out" if forced["score"].isna().all() else ""
            where = ", ".join(dict.fromkeys(forced["measure"] + " at " + forced["layer"] + " (" + forced["curve"] + ")"))
            parts.append(f"Some canonical correlations are 1 whatever the data: {where}{gone}.")
    if WEIGHTS in set(runs["measure"]):
        parts.append("Weights: |after - before| / |before| of convolutions and matrices.")
    if known := int(main["known_clips"].max()):
        parts.append(f"{known} of the clips were in the training of {first['before']}.")
    return " ".join(filter(None, parts))


def show(change: Change) -> None:
    """Print scores against floor and ceiling, and what follows from them."""
    points = change.points
    if points["layer"].nunique() > SHOWN:
        print(f"{points['layer'].nunique()} layers: the table has them all\n")
    elif points["measure"].nunique() > 1:
        wide = points.pivot_table(index=["curve", "layer"], columns="measure", values="score", sort=False)
        rows = [
            [*index, *(_number(value) for value in values)] for index, values in zip(wide.index, wide.to_numpy(), strict=True)
        ]
        console.table(["", "layer", *wide.columns], rows)
        print()
    else:
        _print_points(points, change.runs)
    for measure in points["measure"].unique():
        head = f"{measure}: " if points["measure"].nunique() > 1 else ""
        for line in findings(change, measure):
            print(head + line)
    if note := warning(change.runs):
        console.say(note)


def findings(change: Change, measure: str) -> list[str]:
    """Sentences that claim no more than the intervals."""
    points, contrasts = (table[table["measure"] == measure] for table in (change.points, change.contrasts))
    lines = []
    for curve in [curve for curve in points["curve"].unique() if curve != SEEDS]:
        if count := unfinished(change.runs[change.runs["curve"] == curve]):
            lines.append(f"{curve}: no verdict: {count} of its runs {UNTRAINED}")
            continue
        mine = contrasts[contrasts["curve"] == curve].set_index("contrast")
        if EARLY_LATE in mine.index:
            raw, above = mine.loc[EARLY_LATE], mine.loc[EARLY_LATE_ABOVE] if EARLY_LATE_ABOVE in mine.index else None
            lines.append(f"{curve}: {_early_late(raw, above, measure)}")
    gaps = contrasts[contrasts["contrast"] == STARTS]
    if not gaps.empty and not unfinished(change.runs):
        lines.append(_starts(gaps, points[points["curve"] == RANDOM], measure))
    return lines


def _early_late(raw: pd.Series, above: pd.Series | None, measure: str) -> str:
    """Early against late layers; what is claimed has to be so above the floors as well."""
    gaps = [raw] if above is None else [raw, above]
    numbers = [
        f"{gap['difference']:+.3f}" + ("" if np.isnan(gap["low"]) else f" [{gap['low']:+.3f}, {gap['high']:+.3f}]")
        for gap in gaps
    ]
    where = f"early layers ({raw['early']}) less late ones ({raw['late']}) {', above their floors '.join(numbers)}"
    if np.isnan(raw["low"]):
        return f"{where}; {_alone(measure)}"
    signs = {int(np.sign(gap["low"])) if gap["low"] * gap["high"] > 0 else 0 for gap in gaps}
    if signs in ({1}, {-1}):
        early = (signs == {1}) == (measure != WEIGHTS)
        return f"{where}: {'early' if early else 'late'} layers changed less"
    return f"{where}: which changed less cannot be told"


def _starts(gaps: pd.DataFrame, random: pd.DataFrame, measure: str) -> str:
    seen = f"from a random start the {'change' if measure == WEIGHTS else 'similarity'} is {_between(random['score'])}"
    if gaps["low"].isna().all():
        return f"{seen}; {_alone(measure)}"
    less, more = gaps["low"] > 0, gaps["high"] < 0
    parts = [
        f"{word} than from pretrained weights at {_layers(gaps, which)}"
        for word, which in (("lower", less), ("higher", more))
        if which.any()
    ]
    unclear = f"at {_layers(gaps, ~(less | more))} it cannot be told apart" if not (less | more).all() else ""
    return f"{seen}: {'; '.join(filter(None, [*parts, unclear]))}"


def _alone(measure: str) -> str:
    return f"without an interval (it takes two {'runs' if measure == WEIGHTS else 'recordings'})"


def _layers(gaps: pd.DataFrame, which: pd.Series) -> str:
    if which.all():
        return f"all {len(which)} layers"
    names = gaps.loc[which, "layer"]
    return ", ".join(names) if len(names) <= len(STAGES) else f"{len(names)} of {len(which)} layers"


def _print_points(points: pd.DataFrame, runs: pd.DataFrame) -> None:
    relative = "relative" in points and bool(points["relative"].notna().any())
    floored, several = "floor" in points, bool(points["spread"].notna().any())
    kept = runs.groupby(["curve", "layer"])[["kept_before", "kept_after"]].mean() if "kept_before" in runs else None
    rows = []
    for row in points.to_dict("records"):
        line = [NAMES.get(row["curve"], row["curve"]), row["layer"], row["runs"], _number(row["score"])]
        line += [_interval(row["low"], row["high"]), _number(row["floor"]) if floored else ""]
        line += [f"{row['relative']:.2f}" if np.isfinite(row["relative"]) else ""] if relative else []
        line += [" and ".join(f"{n:.0f}" for n in kept.loc[(row["curve"], row["layer"])])] if kept is not None else []
        rows.append([*line, *([_number(row["spread"])] if several else [])])
    headings = ["", "layer", "runs", SCALES[points["measure"].iloc[0]].label, "95 % interval", "floor"]
    headings += ["floor to ceiling"] * relative + ["directions kept"] * (kept is not None)
    headings += ["spread"] * several
    console.table(headings, rows)
    print()


def _panel(axes: Axes, points: pd.DataFrame, runs: pd.DataFrame, *, narrow: bool) -> None:
    layers = points.drop_duplicates("layer").sort_values("order")
    named = few(list(layers["layer"]))
    places = dict(zip(layers["layer"], range(len(layers)), strict=True))
    curves = list(points["curve"].unique())
    for i, curve in enumerate(curves):
        mine = points[points["curve"] == curve].sort_values("order")
        offset = DODGE * (i - (len(curves) - 1) / 2) if named else 0.0
        look = LOOKS.get(curve, 0)
        colour, marker = plots.COLOURS[look], plots.MARKERS[look]
        hollow = unfinished(runs[runs["curve"] == curve]) > 0
        _line(axes, mine, places, offset, colour, marker if named else "", curve, hollow=hollow)
        if curve in FLOORED or len(curves) == 1:
            _floor(axes, mine, places, offset, colour)
        _dots(axes, runs[runs["curve"] == curve], places, offset, colour, named=named)
    ticks(axes, list(layers["layer"]), list(layers["stage"]), narrow=narrow)
    axes.set_xlim(-0.5, len(layers) - 0.5)
    if not named:
        axes.set_xlabel(f"depth ({len(layers)} layers)")
    low = min(0.0, float(points[["score", "low"]].min().min()), float(points.get("floor_low", pd.Series([0.0])).min()))
    axes.set_ylim(1.1 * low, 1.02)


def _line(
    axes: Axes,
    points: pd.DataFrame,
    places: dict[str, int],
    offset: float,
    colour: str,
    marker: str,
    curve: str,
    *,
    hollow: bool,
) -> None:
    """Scores with their intervals: bars at few layers, a band over many."""
    mine = points[np.isfinite(points["score"])]
    x = np.array([places[layer] + offset for layer in mine["layer"]])
    low, high = (mine[end].fillna(mine["score"]).to_numpy() for end in ("low", "high"))
    label = NAMES.get(curve, curve)
    (line,) = axes.plot(x, mine["score"], color=colour, marker=marker, markersize=3.5, label=label, zorder=3)
    if hollow:
        line.set(markerfacecolor="white", linestyle="--")
    if marker:
        axes.errorbar(x, mine["score"], [mine["score"] - low, high - mine["score"]], fmt="none", ecolor=colour, capsize=2.5)
        plots.hover(line, [f"{label}, {p.layer}: {p.score:.3f} {_interval(p.low, p.high)}" for p in mine.itertuples()])
    else:
        line.set_linewidth(0.9)
        axes.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0, zorder=2)


def _floor(axes: Axes, points: pd.DataFrame, places: dict[str, int], offset: float, colour: str) -> None:
    if "floor" not in points or points["floor"].isna().all():
        return
    mine = points[np.isfinite(points["floor"])]
    x = np.array([places[layer] + offset for layer in mine["layer"]])
    low, high = (mine[f"floor_{end}"].fillna(mine["floor"]).to_numpy() for end in ("low", "high"))
    axes.plot(x, mine["floor"], color=colour, linewidth=0.9, linestyle="--", zorder=2)
    axes.plot([], [], color=plots.FAINT, linewidth=0.9, linestyle="--", label=FLOOR_LABEL)
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0, zorder=1)


def _dots(axes: Axes, runs: pd.DataFrame, places: dict[str, int], offset: float, colour: str, *, named: bool) -> None:
    """Every run, where there are several and few layers."""
    if not named or runs.groupby("layer").size().max() < 2:
        return
    mine = runs[np.isfinite(runs["score"])]
    look: Any = {"markerfacecolor": "white", "markeredgecolor": colour, "markeredgewidth": 0.7, "markersize": 2.5}
    (line,) = axes.plot([places[layer] + offset for layer in mine["layer"]], mine["score"], "o", **look, zorder=4)
    plots.hover(line, [f"{p.layer}, fold {p.fold}, seed {p.seed}: {p.score:.3f}" for p in mine.itertuples()])


def _legend(panels: Sequence[Axes]) -> tuple[list[Any], list[str]]:
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    floor = found.pop(FLOOR_LABEL, None)  # last
    found |= {FLOOR_LABEL: floor} if floor is not None else {}
    return list(found.values()), list(found)


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else ""


def _interval(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}" if np.isfinite(low) else ""


def _between(values: pd.Series) -> str:
    return f"{values.min():.2f} to {values.max():.2f}"


def _span(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
