"""How figures look, and how they are saved: without a date, so that a redraw is byte-equal.

PDF has Type-42 fonts. SVG has text as text, holds the numbers behind its markers (`hover`), and names its parts after the
file, so that several can stand in one page.
"""

import io
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from matplotlib import rc_context, rc_params_from_file
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tla.console import counted
from tla.errors import UserError
from tla.manifest import vouching
from tla.tables import cautions, trained

COLUMN_IN = 3.5  # a column of a two-column paper, in inches
PAGE_IN = 7.2
COLOURS = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#949494")  # seaborn's colour-blind palette
MARKERS = "osD^vPX"
FAINT = "#8a8a8a"

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_HOVER, _CAPTION = "hover:", "caption:"  # begin the ids of groups that carry texts to the SVG

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
    "text.parse_math": False,  # a class may be called $
}
_LOOK: ContextVar[Any] = ContextVar("look", default=RC)


@contextmanager
def styled(path: Path) -> Iterator[None]:
    """Draw with a matplotlib style file on top of the look of figures."""
    if not path.is_file():
        raise UserError(f"--style {path}: there is no such file; give a matplotlib style file, as in my.mplstyle")
    before = _LOOK.set(RC | rc_params_from_file(path, use_default_template=False))
    try:
        yield
    finally:
        _LOOK.reset(before)


def look() -> AbstractContextManager[None]:
    """In it figures are made as they are to look."""
    return rc_context(_LOOK.get())


def page(width: float, height: float) -> Figure:
    """A figure of this size in inches, or of the style file's."""
    return Figure(figsize=_LOOK.get().get("figure.figsize", (width, height)), layout="constrained")


Given = Axes | Iterable[Axes] | None  # axes to draw on: one, or as many as a figure has panels, row by row


def panels(
    axes: Given, size: tuple[float, float], count: int = 1, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure and its panels: those that are given or, if none are, new ones in rows and columns on a page of this size."""
    if axes is not None:
        return on(axes, count)
    figure = page(*size)
    every = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for unused in every[count:]:
        unused.set_visible(False)
    return figure, every[:count]


def on(axes: Axes | Iterable[Axes], count: int) -> tuple[Figure, list[Axes]]:
    """The axes that are given, and their figure; `UserError` if they are not as many as there are panels."""
    given = list(np.ravel(np.array(axes, dtype=object)))
    if len(given) != count or not all(isinstance(one, Axes) for one in given):
        what = f"axes= has {len(given)}" if all(isinstance(one, Axes) for one in given) else f"axes= is {axes!r:.60}"
        raise UserError(f"this figure has {counted(count, 'panel')}, and {what}: give a matplotlib Axes for each")
    return given[0].figure.figure, given


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem.pdf`, `stem.png` and `stem.svg`."""
    undated = {".pdf": {"CreationDate": None}, ".png": {}, ".svg": dict.fromkeys(("Creator", "Date", "Format", "Type"))}
    paths = []
    with look():
        for suffix, metadata in undated.items():
            paths.append(stem.with_suffix(suffix))
            drawn = io.BytesIO()  # so that it is Python that writes: to matplotlib, a full disk is a mistake in the figure
            figure.savefig(drawn, format=suffix[1:], dpi=200, metadata=metadata, bbox_inches="tight", pad_inches=0.04)
            with vouching(paths[-1]) as temporary:
                temporary.write_bytes(drawn.getvalue())
                if suffix == ".svg":
                    _finish(temporary, re.sub(r"[^\w-]", "_", stem.name))
    return paths


def shades(count: int) -> list[tuple[float, ...]]:
    """Colours for what has an order, stages for instance: from the first, dark, to the last, light."""
    from matplotlib import colormaps

    return [colormaps["viridis"](0.92 * i / max(1, count - 1)) for i in range(count)]


def hover(artist: Artist, texts: Sequence[str]) -> None:
    """What the SVG shows for each marker of a line or collection, in their order, or of a bar."""
    artist.set_gid(_HOVER + json.dumps(list(texts)))  # the artist carries it to where its markers are written


def caption(figure: Figure, text: str) -> None:
    """What a reader has to know of the numbers, in small print below the axes."""
    width = round(figure.get_figwidth() * 23)
    small: Any = {"fontsize": 6, "color": "#444444", "va": "top", "ha": "left"}
    figure.text(0.02, -0.02, textwrap.fill(text, width), gid=_CAPTION + json.dumps(text), **small)


def lines(axes: Axes, known: pd.DataFrame | None) -> None:
    """Lines across for what is read out without training (`tla.tables.lines`), if that is known."""
    for row, dashes in zip([] if known is None else known.to_dict("records"), ("-.", (0, (1, 1))), strict=False):
        axes.axhline(row["value"], color=COLOURS[2], linewidth=1, linestyle=dashes, label=f"{row['line']}, read out", zorder=1)


def basis(runs: pd.DataFrame) -> str:
    """What runs of one study have in common, in a sentence."""
    first, folds, seeds = runs.iloc[0], sorted(runs["fold"].unique()), runs["seed"].nunique()
    held_out = f"held-out fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))}, {counted(seeds, 'seed')}"
    if _all_few(runs):
        held_out += f", {runs['per_class'].iloc[0]:.0f} clips of each class to learn from"
    recipe = f"{trained(runs, ', hollow')}, lr {first['lr']:g}, augmentation {first['augment']}"
    return f"{cautions(runs)} {first['data']}, {first['backbone']}, {held_out}, {recipe}.".lstrip()


def _all_few(runs: pd.DataFrame) -> bool:
    """Whether all runs learned from the same few clips of each class."""
    return "per_class" in runs and runs["per_class"].nunique(dropna=False) == 1 and bool(runs["per_class"].notna().all())


def _finish(path: Path, name: str) -> None:
    """Turn what `hover` and `caption` left into titles and a description, and name the ids after the figure, in order."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    tree = ElementTree.parse(path)
    for group in tree.iter(f"{{{SVG}}}g"):
        if group.get("id", "").startswith(_CAPTION):
            group.set("class", "caption")
            ElementTree.SubElement(group, f"{{{SVG}}}desc").text = json.loads(group.attrib["id"].removeprefix(_CAPTION))
        if group.get("id", "").startswith(_HOVER):
            texts = json.loads(group.attrib["id"].removeprefix(_HOVER))
            markers = list(group.iter(f"{{{SVG}}}use")) or group.findall(f"{{{SVG}}}path")
            if len(markers) != len(texts):
                raise ValueError(f"{len(texts)} texts for {len(markers)} markers; is one outside the axes, or not a number?")
            for marker, text in zip(markers, texts, strict=True):
                ElementTree.SubElement(marker, f"{{{SVG}}}title").text = text
    used = dict.fromkeys(re.findall(r'(?:href="|url\()#([^")]+)', ElementTree.tostring(tree.getroot(), "unicode")))
    numbered = {old: f"{name}-{i}" for i, old in enumerate(used)}
    for element in tree.iter():
        if element.get("id") not in numbered:
            element.attrib.pop("id", None)
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, numbered[value])
            elif "#" in value:  # a reference, or a colour
                element.set(key, re.sub(r"(?<=#)[^\s)]+", lambda to: numbered.get(to[0], to[0]), value))
    tree.write(path, encoding="utf-8", xml_declaration=True)
