"""One file to send to a colleague: what was found, the tables and figures, how it was made, and a section to listen in.

Everything is inside the file, and its policy forbids the browser to fetch anything. What comes from data is escaped by the
template. The script in the page draws that section's pictures and makes its sounds from the bytes of
`tla.attribution.page_clips`.
"""

import base64
import hashlib
import io
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd

import tla
from tla.attribution.page_clips import RANGE_DB, SHARES, STRENGTHS, Clip, Room, levels
from tla.console import counted
from tla.manifest import write_text
from tla.plots import SVG, XLINK
from tla.sound import render
from tla.sound.spectrograms import WINDOWS_S, fft_length, mel_frequencies, resolved, window_and_hop

HERE = Path(__file__).parent
_WINDOWS = [f"{1000 * window:g} ms" for window, _ in WINDOWS_S]
MINUS = re.compile(r"(?<!\w)-(?=\d)")
ABOUT = (f"{{{SVG}}}metadata", f"{{{SVG}}}style")  # of a figure's file as a whole; in a page they would be about the page
CAPTION_RISE = 8.0  # points from a caption's first baseline up to where the figure may be cut
FIRST_SHARE = SHARES.index(render.STRONGEST)  # where the slider stands at first


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the page. A column's name may be (group, name)."""

    title: str
    frame: pd.DataFrame
    about: str = ""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A number that a claim stands on, in words and as it is drawn: on a line with its interval."""

    what: str
    number: str
    verdict: str
    basis: str
    value: float
    low: float
    high: float
    region: tuple[float, float] | None = None
    """Where the number has to lie for the claim to hold."""
    paper: float | None = None
    """What the paper states."""
    size: str = ""
    """Whether that agrees."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One of the paper's claims, and what the runs show of it."""

    title: str
    statement: str
    verdict: str
    about: str
    measured: Sequence[Measured] = ()
    missing: Sequence[tuple[str, str]] = ()
    """What is missing, and the command that makes it."""


@dataclass(frozen=True, kw_only=True)
class Plate:
    """A figure: its SVG as `tla.plots.save` wrote it, and its numbers as a table, for those who cannot see it."""

    title: str
    svg: str
    table: Table | None = None


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of how it was made: a text, terms with their values, or both."""

    title: str
    text: str = ""
    items: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class Page:
    """The contents of the page."""

    title: str
    about: str
    found: str
    warning: str = ""
    setting: str = ""
    """What all claims were measured on."""
    claims: Sequence[Claim] = ()
    tables: Sequence[Table] = ()
    plates: Sequence[Plate] = ()
    made: Sequence[Part] = ()
    room: Room | None = None


def write(page: Page, path: Path) -> None:
    """Write the page."""
    write_text(path, html(page))


def html(page: Page) -> str:
    """The page as text; the same page is the same text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    script, style = ((HERE / f"page.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    rules = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=FileSystemLoader(HERE), **rules)  # type: ignore[arg-type]
    environment.filters |= {"plate": _plate, "grid": _grid, "places": _places}
    room = page.room
    values: dict[str, Any] = {"style": style, "script": script, "policy": _policy(script), "version": tla.__version__}
    values |= {"shares": SHARES, "first_share": FIRST_SHARE, "range_db": RANGE_DB, "windows": _WINDOWS}
    return environment.get_template("page.html").render(
        page=page, room=room, data=room and _data(room), about_room=room and _about(room), **values
    )


def _policy(script: str) -> str:
    """What the browser may do: run this one script, and show and play what the file holds."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    inside = f"script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; media-src blob:"
    return f"default-src 'none'; {inside}; base-uri 'none'; form-action 'none'"


# Tables


def _grid(frame: pd.DataFrame) -> dict[str, Any]:
    """A table's cells as texts; columns of numbers; and, where columns have (group, name), the groups over how many columns."""
    names = [name if isinstance(name, tuple) else ("", name) for name in frame.columns]
    texts = [[_text(value) for value in frame.iloc[:, i]] for i in range(len(names))]
    numbers = [_is_numeric(column) for column in texts]
    columns = [
        [MINUS.sub("−", text) for text in column] if is_number else column
        for column, is_number in zip(texts, numbers, strict=True)
    ]
    groups = [(group, len(list(same))) for group, same in itertools.groupby(group for group, _ in names)]
    return {
        "groups": groups if any(group for group, _ in groups) else [],
        "names": [name for _, name in names],
        "numbers": numbers,
        "rows": list(zip(*columns, strict=True)),
    }


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_numeric(column: Sequence[str]) -> bool:
    cells = [cell for cell in column if cell not in ("", "–")]
    return bool(cells) and all(re.match(r"[-+−±]?\d[^a-zA-Z]*$", cell) for cell in cells)


# Claims


def _places(measured: Measured) -> dict[str, float]:
    """Where on its line (0 to 100) each thing lies that is drawn of a number; no region beyond the line's ends."""
    edges = [edge for edge in measured.region or () if math.isfinite(edge)]
    shown = [measured.low, measured.high, *edges, *([] if measured.paper is None else [measured.paper])]
    margin = 0.08 * (max(shown) - min(shown)) or 1.0
    first, last = min(shown) - margin, max(shown) + margin
    region = measured.region or (math.inf, math.inf)
    known = {"low": measured.low, "high": measured.high, "value": measured.value, "from": region[0], "to": region[1]}
    known |= {} if measured.paper is None else {"paper": measured.paper}
    return {name: round(100 * (min(max(value, first), last) - first) / (last - first), 2) for name, value in known.items()}


# Figures


def _plate(svg: str, title: str) -> dict[str, Any]:
    """An SVG made ready to stand in a page: markup without a caption of its own, that caption, and its width in points."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(svg)
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    caption = ""
    for parent in root.iter():
        for child in list(parent):
            if child.get("class") == "caption":  # a page has room to say it in readable type
                caption = child.findtext(f"{{{SVG}}}desc") or ""
                lines = re.findall(
                    r"translate\([\d.-]+ ([\d.-]+)|rotate\(\S+ [\d.-]+ ([\d.-]+)", ElementTree.tostring(child, "unicode")
                )
                height = min([height, *(float(y or turned) - top - CAPTION_RISE for y, turned in lines)])
                parent.remove(child)
            elif child.tag in ABOUT:
                parent.remove(child)
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.set("viewBox", f"{left:g} {top:g} {width:g} {height:g}")
    root.set("role", "group")
    root.set("aria-label", title)
    return {"svg": ElementTree.tostring(root, "unicode"), "caption": caption, "width": width}


# The listening room


def _about(room: Room) -> str:
    run, off = f"run {room.run} ({room.backbone} on {room.data})", max(clip.error for clip in room.clips)
    return (
        f"{counted(len(room.clips), 'clip')} of fold {room.fold}, which {run} did not train on, drawn at random "
        f"with up to four in ten that it got wrong. Attribution: Integrated Gradients from silence, of the logit of the "
        f"predicted class; on every clip its sum is right within {max(1, math.ceil(100 * off))} %."
    )


def _data(room: Room) -> dict[str, Any]:
    """What the script needs."""
    from matplotlib import colormaps

    rate, _, _ = resolved(room.picture)
    window, hop = window_and_hop(rate, render.WINDOW_S, render.HOP_S)
    bands = np.arange(room.picture.mels, dtype=np.float64)[:, None]
    bins = render.gains(bands, room.picture)[:, 0]  # between which two bands each frequency of the FFT lies
    return {
        "rate": rate,
        "mels": room.picture.mels,
        "hertz": [round(float(hertz), 1) for hertz in mel_frequencies(room.picture)],
        "shares": SHARES,
        "strengths": [float(f"{value:.6g}") for value in STRENGTHS],
        "range_db": RANGE_DB,
        "magma": _bytes(np.round(255 * colormaps["magma"](np.arange(256))[:, :3]).astype(np.uint8)),
        "plan": {"fft": fft_length(rate), "window": window, "hop": hop, "bins": _bytes(bins.astype("<f4"))},
        "clips": [_clip(clip, rate) for clip in room.clips],
    }


def _clip(clip: Clip, rate: int) -> dict[str, Any]:
    return {
        "label": clip.label,
        "predicted": clip.predicted,
        "probability": round(clip.probability, 4),
        "credit": f"{clip.name}. {clip.credit}" if clip.credit else clip.name,
        "seconds": (clip.span[1] if clip.samples is None else len(clip.samples)) / rate,
        "span": clip.span,
        "columns": clip.picture.shape[-1],
        "sound": None if clip.samples is None else _flac(clip.samples, rate),
        "picture": _bytes(clip.picture),
        "strength": _bytes(clip.strength),
        "attribution": _bytes(clip.attribution),
        "limit": clip.limit,
        "levels": levels(clip.strength),
        "answers": np.round(clip.answers, 4).tolist(),
    }


def _flac(samples: np.ndarray, rate: int) -> str:
    """Without loss, so that the page computes with the very samples of the clip; half the size of a wave file."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC", subtype="PCM_16")
    return base64.b64encode(file.getvalue()).decode()


def _bytes(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
