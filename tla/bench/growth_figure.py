"""How time and memory grow: every phase against what grows, both as multiples of the first size, beside what is linear."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context

from tla import console
from tla.manifest import write_table
from tla.plots import COLOURS, MARKERS, PAGE_IN, RC, caption, save


def publish(table: pd.DataFrame, folder: Path) -> None:
    """Write and print the table, and draw it."""
    stem = folder / "bench_growth"
    write_table(stem.with_suffix(".csv"), table)
    paths = draw(table, stem)
    rows = [
        [
            phase,
            grows,
            f"{part['size'].iloc[0]} to {part['size'].iloc[-1]}",
            f"{exponent(part):.2f}",
            _span(part["seconds"]),
            _span(part["mb"]),
        ]
        for (phase, grows), part in table.groupby(["phase", "grows"], sort=False)
    ]
    console.table(["", "grows", "sizes", "exponent", "seconds", "MB above the start"], rows, title="growth")
    print("\n" + "  ".join(map(str, [stem.with_suffix(".csv"), *paths])))


def exponent(part: pd.DataFrame) -> float:
    """k of time ~ size^k over the last two doublings, where what does not grow weighs least."""
    last = part.iloc[-3:]
    return float(np.polyfit(np.log(last["size"]), np.log(last["seconds"]), 1)[0])


def draw(table: pd.DataFrame, stem: Path) -> list[Path]:
    """Time as a multiple of the smallest size's, and memory in MB."""
    from matplotlib.figure import Figure

    with rc_context(RC):
        figure = Figure(figsize=(PAGE_IN, 3.0), layout="constrained")
        time, memory = figure.subplots(1, 2)
        for i, ((phase, grows), part) in enumerate(table.groupby(["phase", "grows"], sort=False)):
            look = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)], "markersize": 3.5}
            dashed = "-" if i < len(COLOURS) else "--"
            times = part["size"] / part["size"].iloc[0]
            time.plot(
                times,
                part["seconds"] / part["seconds"].iloc[0],
                dashed,
                label=f"{phase}: {grows} ({exponent(part):.1f})",
                **look,
            )
            memory.plot(times, part["mb"], dashed, **look)
        widest = float((table["size"] / table.groupby(["phase", "grows"])["size"].transform("first")).max())
        slowest = float((table["seconds"] / table.groupby(["phase", "grows"])["seconds"].transform("first")).max())
        time.plot([1, slowest], [1, slowest], ":", color="black", linewidth=0.8, zorder=5, label="linear")
        time.set(ylabel="time / time at smallest size")
        time.set_yscale("log", base=2)
        memory.set(ylabel="peak memory above start (MB)", ylim=(0, None))
        for axes in (time, memory):
            axes.set_xscale("log", base=2)
            axes.set(xlabel="size / smallest size", xlim=(0.9, 1.1 * widest))
            axes.xaxis.set_major_formatter("{x:g}")
        time.yaxis.set_major_formatter("{x:g}")
        figure.legend(loc="outside right center")
        caption(
            figure,
            "Small network, sounds of 0.25 s, one CPU thread. In brackets: k of time ~ size^k over the larger sizes. "
            "A process each; the quicker of two turns.",
        )
        return save(figure, stem)


def _span(values: pd.Series) -> str:
    return f"{values.iloc[0]:.3g} to {values.iloc[-1]:.3g}"
