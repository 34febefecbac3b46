"""Where the network looks (Fig. 3): spectrograms and attributions over seconds and hertz, from their table and arrays alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from tla import console, plots
from tla.attribution import measuring as measured
from tla.attribution.measuring import Explained, Shown
from tla.manifest import write_table
from tla.options import CONVERGED, UNTRAINED
from tla.sound.render import SMOOTH_CELLS, STRONGEST, strength
from tla.sound.spectrograms import WINDOWS_S
from tla.tables import cautions

SPECTROGRAM, ATTRIBUTION = "magma", "RdBu_r"
OUTLINE = "#35f2e8"
HERTZ = {100: "100", 500: "500", 1000: "1k", 2000: "2k", 5000: "5k", 10000: "10k", 20000: "20k"}
CLIPPED = 0.995  # of the cells lie inside the attribution's colour scale
LEAST = 1e-3  # logits; less than that is not worth a colour
LONGEST = 24  # letters of a clip's name in a title
WIDE = 500  # columns; more than that are finer than a screen, and are averaged
WINDOWS = [f"{1000 * window:g} ms" for window, _ in WINDOWS_S]


def publish(explained: Explained, folder: Path, name: str) -> None:
    """Write the table and the arrays, draw the figures from them, and print the prediction for each clip."""
    paths = explained.write(folder, name) + draw(folder, name)
    show(measured.read(folder, name).table)
    console.written(paths)


def draw(folder: Path, name: str) -> list[Path]:
    """Draw the figures from the table and the arrays that lie in a folder."""
    kept = measured.read(folder, name)
    paths = plots.save(figure(kept), folder / name)
    return paths + (plots.save(windows_figure(kept), folder / f"{name}_windows") if len(kept.shown) > 1 else [])


def show(table: pd.DataFrame) -> None:
    """One line per clip."""
    headings = ["clip", "class", "predicted", "probability %", "target", "output", "output at baseline", "error %", "steps"]
    rows = []
    for name, clip in table.groupby("clip", sort=False):
        first, error = clip.iloc[0], 100 * clip["error"].max()
        sure = f"{100 * first['probability']:.1f}"
        ends = f"{clip['value'].mean():.2f}", f"{clip['baseline_value'].mean():.2f}"
        cells = [name, first["true"] or "?", first["predicted"], sure, first["target"]]
        rows.append([*cells, *ends, f"{error:.2f}", _range(clip["steps"])])
    console.table(headings, rows)


def publish_listening(parts: pd.DataFrame, folder: Path, name: str) -> None:
    """Write and print the predictions for what was attended to in each clip, and for the rest."""
    path = folder / f"{name}_listen.csv"
    write_table(path, parts)
    print()
    shown = parts.assign(
        level=parts["level_db"].map("{:.1f}".format).where(parts["level_db"].notna(), "silent"),
        energy=(100 * parts["energy"]).map("{:.1f}".format),
        sure=(100 * parts["probability"]).map("{:.1f}".format),
        meant=(100 * parts["target_probability"]).map("{:.1f}".format),
    )
    columns = ["clip", "part", "level", "energy", "predicted", "sure", "target", "meant", "file"]
    headings = ["clip", "part", "dB FS", "energy %", "predicted", "%", "target", "of target %", "file"]
    console.table(headings, shown[columns].itertuples(index=False))
    print(f"\n{_listening(parts)}\n{path}")


def _listening(parts: pd.DataFrame) -> str:
    """In how many clips each part alone gets the prediction of the whole clip."""
    predicted = parts.pivot(index="clip", columns="part", values="predicted")
    same = {part: int((predicted[part] == predicted["clip"]).sum()) for part in ("attended", "rest")}
    return (
        f"Predicted like the whole clip: what was attended to in {same['attended']} of {len(predicted)} clips, "
        f"the rest in {same['rest']}."
    )


def figure(explained: Explained, axes: plots.Given = None) -> Figure:
    """The paper's figure, a row per clip: spectrogram left, attribution right; one clip alone is drawn window by window.

    On given axes there are these two panels for each clip, also for one alone, and no caption: `about` has its words.
    """
    alone = len(explained.shown) == 1 and axes is None
    return windows_figure(explained) if alone else clips_figure(explained, axes)


def clips_figure(explained: Explained, axes: plots.Given = None) -> Figure:
    """A row per clip: left the spectrogram with the strongest regions outlined, right the attribution, summed over windows."""
    count = len(explained.shown)
    with plots.look():
        whole, panels = plots.panels(axes, (plots.PAGE_IN, 0.3 + 1.35 * count), 2 * count, count, 2)
        pairs = zip(panels[::2], panels[1::2], strict=True)
        clips = explained.table.groupby("clip", sort=False)
        for (left, right), (_, clip), shown in zip(pairs, clips, explained.shown, strict=True):
            _bar(whole, _picture(left, shown, explained.hertz, shown.picture[1], outline=True), left, "ln power")
            total = shown.attribution.sum(axis=0)
            _bar(whole, _attribution(right, shown, explained.hertz, total, _reach([total])), right, "logit per cell")
            left.set_title(_prediction(clip) if clip["true"].iloc[0] else f"{_name(clip)}: {_prediction(clip)}", loc="left")
            right.set_title(_looked(clip), loc="left")
            left.set_ylabel("frequency (Hz)")
            right.tick_params(labelleft=False)
        for panel in panels[-2:]:
            panel.set_xlabel("time (s)")
        if axes is None:
            about_sides = f"Left: the {WINDOWS[1]} window. Right: the sum over the three windows."
            plots.caption(whole, f"{about_sides} {about(explained.table)}")
    return whole


def windows_figure(explained: Explained) -> Figure:
    """Two rows per clip: above the spectrogram of each window, below the attribution of each, and their sum."""
    with plots.look():
        whole = plots.page(plots.PAGE_IN, 0.3 + 2.8 * len(explained.shown))
        parts = np.atleast_1d(np.asarray(whole.subfigures(len(explained.shown), 1)))
        for part, (_, clip), shown in zip(parts, explained.table.groupby("clip", sort=False), explained.shown, strict=True):
            above, below = part.subplots(2, 4, sharex=True, sharey=True)
            mean = shown.picture.mean(axis=0, dtype=np.float32)
            low, high = float(shown.picture.min()), float(shown.picture.max())
            for axes, image in zip(above, (*shown.picture, mean), strict=True):
                drawn = _picture(axes, shown, explained.hertz, image, (low, high), outline=axes is above[-1])
            _bar(part, drawn, above, "ln power")
            total = shown.attribution.sum(axis=0)
            reach = _reach([*shown.attribution, total])
            for axes, image in zip(below, (*shown.attribution, total), strict=True):
                drawn = _attribution(axes, shown, explained.hertz, image, reach)
                axes.set_xlabel("time (s)")
            _bar(part, drawn, below, "logit per cell")
            for axes, title in zip(above, (*WINDOWS, "mean, outlined"), strict=True):
                axes.set_title(title)
            for axes, title in zip(below, (*WINDOWS, "sum"), strict=True):
                axes.set_title(title)
            for axes in (above[0], below[0]):
                axes.set_ylabel("frequency (Hz)")
            part.suptitle(f"{_name(clip)}: {_prediction(clip)}; {_looked(clip)}", fontsize=8)
        plots.caption(
            whole, f"Above: the spectrogram of each analysis window. Below: its attribution. {about(explained.table)}"
        )
    return whole


def about(table: pd.DataFrame) -> str:
    """What the maps stand on."""
    first, cut = table.iloc[0], table["window"].max() > 0
    steps, error = table["steps"], 100 * table["error"].max()
    part = f"fold {first['fold']} held out" if first["fold"] else "no clip held out"  # from the network that comes with tla
    parts = [
        cautions(table),
        f"Integrated Gradients of the logit, from the baseline {first['baseline']}; {first['backbone']}, run {first['run']} "
        f"({first['data']}, {part}{'' if first['training'] == CONVERGED else f'; {UNTRAINED}'}).",
        f"{_range(steps)} steps; the map's sum misses the output difference by {error:.2f} % at most.",
        "Output: the target's logit, and in brackets that of the baseline"
        + (" (mean over the clip's windows, which are attributed one by one)." if cut else "."),
        f"Outlined: the strongest cells, which hold {100 * STRONGEST:.0f} % of positive attribution (smoothed by a Gaussian "
        f"of {SMOOTH_CELLS} cells). Colours: one scale per row; 0.5 % of the cells lie beyond it.",
    ]
    return " ".join(filter(None, parts))


def _prediction(clip: pd.DataFrame) -> str:
    first = clip.iloc[0]
    predicted = f"predicted {first['predicted']} ({100 * first['probability']:.1f} %)"
    part = f", {first['part']}" if first["part"] == "training" else ""
    return f"{first['true']}{part}, {predicted}" if first["true"] else predicted


def _name(clip: pd.DataFrame) -> str:
    name = clip["clip"].iloc[0]
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _looked(clip: pd.DataFrame) -> str:
    if clip["steps"].max() == 0:
        return "its picture is the baseline: there is nothing to attribute"
    return f"for {clip['target'].iloc[0]}: output {clip['value'].mean():.1f} (baseline {clip['baseline_value'].mean():.1f})"


def _range(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low}" if low == high else f"{low} to {high}"


def _reach(images: Sequence[np.ndarray]) -> float:
    """The largest value of a colour scale that is centred at zero."""
    return max(float(np.quantile(np.abs(images[-1]), CLIPPED)), LEAST)


def _picture(
    axes: Axes,
    shown: Shown,
    hertz: np.ndarray,
    image: np.ndarray,
    ends: tuple[float, float] | None = None,
    *,
    outline: bool,
) -> AxesImage:
    low, high = ends or (float(image.min()), float(image.max()))
    drawn = _image(axes, shown, hertz, image, cmap=SPECTROGRAM, vmin=low, vmax=max(high, low + 1))
    strong = strength(shown.attribution)
    if outline and strong.max() > 1 > strong.min():
        axes.contour(strong, [1.0], extent=_extent(shown, hertz), origin="lower", colors=OUTLINE, linewidths=0.6)
    return drawn


def _attribution(axes: Axes, shown: Shown, hertz: np.ndarray, image: np.ndarray, reach: float) -> AxesImage:
    return _image(axes, shown, hertz, image, cmap=ATTRIBUTION, vmin=-reach, vmax=reach)


def _image(axes: Axes, shown: Shown, hertz: np.ndarray, image: np.ndarray, **colours: Any) -> AxesImage:
    """Cells over seconds and hertz: the mel bands are evenly spaced, and the ticks lie where their frequencies do."""
    drawn = axes.imshow(
        image.astype(np.float32),
        origin="lower",
        aspect="auto",
        extent=_extent(shown, hertz),
        interpolation="none" if image.shape[1] <= WIDE else "auto",
        **colours,
    )
    ticks = [tick for tick in HERTZ if hertz[0] <= tick <= hertz[-1]]
    axes.set_yticks(np.interp(ticks, hertz, np.arange(len(hertz))), [HERTZ[tick] for tick in ticks])
    axes.grid(visible=False)
    return drawn


def _extent(shown: Shown, hertz: np.ndarray) -> tuple[float, float, float, float]:
    return (*shown.seconds, -0.5, len(hertz) - 0.5)


def _bar(part: Any, drawn: AxesImage, axes: Any, label: str) -> None:
    bar = part.colorbar(drawn, ax=axes, pad=0.015, aspect=14, fraction=0.05)
    bar.set_label(label, fontsize=7)
    bar.ax.tick_params(labelsize=6.5)
    bar.outline.set_linewidth(0.5)
