"""How figures look, and how they are saved: PNG, and PDF without a date and with Type-42 fonts, so a redraw is byte-equal."""

import textwrap
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from tla.files import replacing

COLUMN_IN = 3.5  # a column of a two-column paper, in inches
PAGE_IN = 7.2
COLOURS = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#949494")  # seaborn's colour-blind palette
MARKERS = "osD^vPX"
FAINT = "#8a8a8a"

RC: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
}


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem.pdf` and `stem.png`."""
    paths = []
    with rc_context(RC):
        for suffix, metadata in ((".pdf", {"CreationDate": None}), (".png", {})):
            paths.append(stem.with_suffix(suffix))
            with replacing(paths[-1]) as temporary:
                figure.savefig(temporary, dpi=200, metadata=metadata, bbox_inches="tight", pad_inches=0.04)
    return paths


def caption(figure: Figure, text: str) -> None:
    """What a reader has to know of the numbers, in small print below the axes."""
    width = round(figure.get_figwidth() * 23)
    figure.text(0.02, -0.02, textwrap.fill(text, width), fontsize=6, color="#444444", va="top", ha="left")
