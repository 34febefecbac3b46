"""How often intervals cover the truth, before and now, and how often a sweep without an effect names a step."""

from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from tla import console
from tla.manifest import write_table
from tla.plots import COLOURS, FAINT, PAGE_IN, RC, caption, save

BAND = (0.93, 0.98)  # where coverage is to lie
MOST = 0.07  # of sweeps without an effect that may name a step
SWEEP = "sweep"


def publish(table: pd.DataFrame, folder: Path) -> None:
    """Write and print the table, and draw it."""
    stem = folder / "bench_coverage"
    write_table(stem.with_suffix(".csv"), table)
    paths = save(figure(table), stem)
    rows = [
        [row["setting"], row["covers"], _number(row["before"]), _number(row["now"]) or "none printed"]
        for row in table.to_dict("records")
    ]
    console.table(["", "interval for", "before", "now"], rows, title="95 % intervals: share that cover; sweeps: share that err")
    print("\n" + "  ".join(map(str, [stem.with_suffix(".csv"), *paths])))


def figure(table: pd.DataFrame) -> Figure:
    """Coverage above, sweeps below; hollow: before, full: now."""
    parts = [table[table["what"] != SWEEP], table[table["what"] == SWEEP]]
    with rc_context(RC):
        page = Figure(figsize=(PAGE_IN, 0.9 + 0.15 * len(table)), layout="constrained")
        above, below = page.subplots(2, 1, height_ratios=[len(part) + 2 for part in parts])
        above.axvspan(*BAND, color=FAINT, alpha=0.35, linewidth=0)
        above.axvline(0.95, color="black", linewidth=0.6)
        below.axvspan(0, MOST, color=FAINT, alpha=0.35, linewidth=0)
        for axes, part in zip((above, below), parts, strict=True):
            places = range(len(part))
            looks = {"before": {"markerfacecolor": "white"}, "now": {}}
            for name, look in looks.items():
                axes.plot(part[name], places, "o", color=COLOURS[0], markersize=3.5, label=name, **look)
            axes.set_yticks(places, part["setting"].str.removeprefix(f"{SWEEP}, "), fontsize=5.5)
            axes.set_ylim(len(part) - 0.5, -0.5)
        above.set(xlabel="share of 95 % intervals that cover", xlim=(0.45, 1.0))
        below.set(xlabel="share of sweeps of five steps without an effect that name one", xlim=(-0.01, 0.45))
        above.legend(loc="lower left")
        caption(
            page,
            "1000 simulated data sets a line. Grey: what is asked for. No mark: no interval is printed. Before: percentile "
            "bootstrap over recordings and sign-flip test, over clips alone.",
        )
    return page


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"
