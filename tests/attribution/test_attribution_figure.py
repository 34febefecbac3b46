"""Figures of attributions: axes in seconds and hertz, scales, titles, and a redraw from the files alone."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from tla.attribution import drawing as draw
from tla.attribution.measuring import Explained, Shown, read
from tla.options import Picture
from tla.sound.spectrograms import mel_frequencies, resolve

HERTZ = mel_frequencies(resolve(Picture(), rate=44100, seconds=5.0, frames=250))
ROW = {
    "file": "x.wav",
    "part": "held out",
    "predicted": "cat",
    "probability": 0.875,
    "target": "cat-dog",
    "target_probability": 0.875,
    "value": 3.25,
    "baseline_value": -1.5,
    "error": 0.004,
    "baseline": "silence",
    "run": "7a3689e55e71",
    "data": "esc10",
    "backbone": "densenet_tiny",
    "fold": 1,
    "training": "converged",
}


def made(*names: str, columns: int = 60, scale: float = 1.0) -> Explained:
    rng = np.random.default_rng(0)
    rows, shown = [], []
    for i, name in enumerate(names):
        spans = {"clip": name, "true": "dog", "window": 0, "start_s": 0.0, "stop_s": 2.0 + i, "steps": 16 << i}
        rows.append({**spans, **ROW})
        images = rng.normal(-5, 4, (3, 128, columns)).astype(np.float16), scale * rng.normal(0, 1, (3, 128, columns))
        shown.append(Shown(images[0], images[1].astype(np.float32), (0.0, 2.0 + i)))
    return Explained(pd.DataFrame(rows), shown, HERTZ)


def panels(figure: Figure) -> list:
    """The axes that show an image, without colour bars."""
    return [axes for axes in figure.axes if axes.get_images()]


def test_several_clips_are_two_columns_and_one_is_its_windows() -> None:
    several = draw.figure(made("a", "b", "c"))
    assert len(panels(several)) == 6
    assert round(several.get_figwidth(), 1) == 7.2
    assert len(panels(draw.figure(made("a")))) == 8
    assert len(panels(draw.windows_figure(made("a", "b")))) == 16


def test_axes_are_seconds_and_hertz() -> None:
    axes = panels(draw.figure(made("a", "b")))[3]
    left, right, bottom, top = axes.get_images()[0].get_extent()
    assert (left, right) == (0.0, 3.0)
    assert (bottom, top) == (-0.5, 127.5)
    for place, label in zip(axes.get_yticks(), ("100", "500", "1k", "2k", "5k", "10k", "20k"), strict=True):
        hertz = float(label.replace("k", "000"))
        below, above = HERTZ[int(place)], HERTZ[int(place) + 1]
        assert below <= hertz <= above, label


def test_a_cell_is_drawn_where_its_band_and_time_are() -> None:
    explained = made("a", columns=50)
    attribution = np.zeros((3, 128, 50), np.float32)
    band = int(np.abs(HERTZ - 5000).argmin())
    attribution[:, band, 40] = 1
    explained = replace(explained, shown=[replace(explained.shown[0], attribution=attribution)])
    axes = panels(draw.figure(explained))[-1]
    image = axes.get_images()[0]
    row, column = np.unravel_index(np.argmax(image.get_array()), (128, 50))
    assert image.origin == "lower"
    assert row == band == pytest.approx(axes.get_yticks()[4], abs=0.5)  # where the test above reads 5k
    assert (column + 0.5) / 50 * 2.0 == pytest.approx(1.62)


def test_one_scale_per_row_and_attributions_centred_at_zero() -> None:
    axes = panels(draw.figure(made("a")))
    above, below = axes[:4], axes[4:]
    assert len({one.get_images()[0].get_clim() for one in above}) == 1
    assert len({one.get_images()[0].get_clim() for one in below}) == 1
    low, high = below[0].get_images()[0].get_clim()
    assert low == -high
    total = made("a").shown[0].attribution.sum(axis=0)
    assert (np.abs(total) > high).mean() == pytest.approx(0.005, abs=0.001)
    np.testing.assert_allclose(below[3].get_images()[0].get_array(), total, rtol=1e-6)


def test_titles_say_class_prediction_probability_and_target() -> None:
    title = draw.figure(made("a", "b")).axes[0].get_title(loc="left")
    assert title == "dog, predicted cat (87.5 %)"
    unknown = made("recording of mine", "b")
    unknown.table["true"] = ""
    assert draw.figure(unknown).axes[0].get_title(loc="left") == "recording of mine: predicted cat (87.5 %)"
    assert "for cat-dog: output 3.2 (baseline -1.5)" in draw.figure(made("a", "b")).axes[1].get_title(loc="left")
    trained = made("a", "b")
    trained.table["part"] = "training"
    assert "dog, training, predicted" in draw.figure(trained).axes[0].get_title(loc="left")


def test_the_caption_says_what_the_numbers_stand_on() -> None:
    text = draw.about(made("a", "b").table)
    for word in ("silence", "7a3689e55e71", "fold 1", "16 to 32 steps", "0.40 %"):
        assert word in text
    synthetic = made("a").table.assign(data="toy")
    assert draw.about(synthetic).startswith("SYNTHETIC")


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_maps_without_any_structure_are_drawn(value: float) -> None:
    """A silent clip, and one that is the same everywhere, have no outline and a scale that is not empty."""
    flat = np.full((3, 128, 60), value, np.float32)
    explained = replace(made("a"), shown=[Shown(flat.astype(np.float16), flat, (0.0, 2.0))])
    figure = draw.figure(explained)
    figure.draw_without_rendering()
    low, high = panels(figure)[-1].get_images()[0].get_clim()
    assert high >= 1e-3
    assert low == -high
    assert not panels(figure)[3].collections


def test_the_outline_is_around_the_strongest() -> None:
    explained = made("a", scale=1e-3)
    explained.shown[0].attribution[:, 40:60, 20:30] += 1
    axes = panels(draw.figure(explained))[3]
    (outline,) = axes.collections
    points = np.concatenate([path.vertices for path in outline.get_paths()])
    assert points[:, 0].min() > 18 / 60 * 2.0
    assert points[:, 0].max() < 32 / 60 * 2.0
    assert points[:, 1].min() > 37
    assert points[:, 1].max() < 62


def test_it_is_drawn_again_from_its_files_without_torch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explained = made("a")
    explained.table["true"] = ""
    draw.publish(explained, tmp_path, "fig")
    printed = capsys.readouterr().out
    assert "87.5" in printed
    assert "fig.npz" in printed
    kept = read(tmp_path, "fig")
    np.testing.assert_array_equal(kept.shown[0].attribution, explained.shown[0].attribution)
    assert kept.shown[0].seconds == (0.0, 2.0)
    assert kept.table["true"].tolist() == [""]
    assert (tmp_path / "fig.pdf").stat().st_size > 5000
    program = (
        "import sys; from pathlib import Path; from tla.attribution import drawing as attribution; "
        "from tla import plots as style\n"
        "from tla.attribution.measuring import read\n"
        f"style.save(attribution.figure(read(Path({str(tmp_path)!r}), 'fig')), Path({str(tmp_path / 'again')!r}))\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
    assert (tmp_path / "again.pdf").read_bytes() == (tmp_path / "fig.pdf").read_bytes()


def test_what_is_heard_in_the_parts_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = {"clip": ["dog", "dog"], "attended": ["dog", "cat"], "rest": ["cat", "cat"]}
    rows = [
        {"clip": f"c{i}", "part": part, "file": f"c{i}_{part}.wav", "predicted": heard[i], "target": "dog"}
        for i in range(2)
        for part, heard in said.items()
    ]
    numbers = {"level_db": -20.0, "energy": 0.5, "probability": 0.9, "target_probability": 0.4}
    draw.publish_listening(pd.DataFrame(rows).assign(**numbers), tmp_path, "fig")
    assert "what was attended to in 1 of 2 clips, the rest in 0" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "fig_listen.csv")) == 6
