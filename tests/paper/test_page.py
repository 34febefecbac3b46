"""The page as a text: everything escaped, nothing fetched, the same twice; and the figures that stand in it."""

import base64
import hashlib
import io
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import soundfile
from matplotlib.figure import Figure

from tla import plots
from tla.attribution import page_clips
from tla.attribution.page_clips import SHARES, STRENGTHS, Room
from tla.paper import page as draw
from tla.plots import SVG
from tla.sound import render


class Parsed(HTMLParser):
    """Tags with their attributes, and the text inside scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and not self.scripts[-1][1]:
            self.scripts[-1] = (self.scripts[-1][0], data)
        else:
            self.words.append(data)


@pytest.fixture(scope="module")
def text(whole: draw.Page) -> str:
    return draw.html(whole)


def test_hostile_names_are_words_and_not_markup(text: str, hostile: tuple[str, ...]) -> None:
    found = Parsed(text)
    assert [attributes.get("type") for attributes, _ in found.scripts] == ["application/json", None]
    assert not [tag for tag, _ in found.tags if tag == "img"]
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    words = "".join(found.words)
    for name in hostile:
        assert name in words, name
    data = json.loads(found.scripts[0][1])
    assert data["clips"][2]["label"] == hostile[0]
    assert "<" not in found.scripts[0][1]


def test_the_page_fetches_nothing(text: str) -> None:
    found = Parsed(text)
    for tag, attributes in found.tags:
        for name in ("src", "href", "xlink:href", "srcset", "poster", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), f"{tag} {name}={value}"
    assert not re.search(r"@import|url\((?!#)", text)
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", text))
    assert addresses <= {SVG, plots.XLINK}  # names of markup languages, which nobody fetches
    assert not [tag for tag, _ in found.tags if tag in ("link", "iframe", "object", "embed", "base", "form")]


def test_the_policy_lets_only_the_pages_own_script_run(text: str) -> None:
    found = Parsed(text)
    (policy,) = [a["content"] for tag, a in found.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(found.scripts[-1][1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_the_same_page_is_the_same_text(whole: draw.Page, text: str, tmp_path: Path) -> None:
    assert draw.html(whole) == text
    draw.write(whole, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == text


def test_ids_are_given_once_and_every_reference_has_its_target(text: str) -> None:
    found = Parsed(text)
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r'(?:href="|url\(|for="|aria-labelledby="|aria-describedby=")#?([\w-]+)', text))
    assert wanted <= set(ids)


def test_a_page_without_tables_figures_and_room_has_no_empty_sections() -> None:
    text = draw.html(draw.Page(title="t", about="a", found="f"))
    assert 'id="claims"' in text
    for part in ("tables", "figures", "room", "room-data"):
        assert f'id="{part}"' not in text


def test_numbers_stand_to_the_right_and_missing_ones_are_empty() -> None:
    columns = {"name": ["a1", "b"], "x": [1.5, float("nan")], "y": ["90.1 [88.0, 92.1]", "–"], "folds": ["1, 2", "all"]}
    frame = pd.DataFrame(columns)
    text = draw.html(draw.Page(title="t", about="a", found="f", tables=[draw.Table(title="T", frame=frame)]))
    for number in ("1.5", "90.1 [88.0, 92.1]", "–", ""):
        assert f'<td class="number">{number}</td>' in text
    for word in ("a1", "1, 2", "all"):
        assert f"<td>{word}</td>" in text


def test_columns_in_groups_have_two_lines_of_heads() -> None:
    columns = pd.MultiIndex.from_tuples([("", "data"), ("here", "pretrained"), ("here", "random"), ("paper", "pretrained")])
    frame = pd.DataFrame([["x", "1", "2", "3"]], columns=columns)
    text = draw.html(draw.Page(title="t", about="a", found="f", tables=[draw.Table(title="T", frame=frame)]))
    heads = re.findall(r'<th colspan="(\d)"[^>]*>(\w*)</th>', text)
    assert heads == [("1", ""), ("2", "here"), ("1", "paper")]


# Figures


def saved(folder: Path, values: list[float], texts: list[str]) -> ElementTree.Element:
    figure = Figure(figsize=(3, 2))
    axes = figure.subplots()
    (line,) = axes.plot(range(len(values)), values, "o-")
    plots.hover(line, texts)
    for bar, says in zip(axes.bar([0, 1], [1, 2], alpha=0.3), ("low bar", "high bar"), strict=True):
        plots.hover(bar, [says])
    plots.caption(figure, "What a reader has to know of DenseNet-201, said at such a length that it takes more than one line.")
    plots.save(figure, folder / "a figure")
    return ElementTree.parse(folder / "a figure.svg").getroot()


def test_markers_say_what_stands_behind_them(tmp_path: Path) -> None:
    root = saved(tmp_path, [1.0, 2.0, 3.0], ["one", "two & <three>", "three"])
    said = {title.text: parent for parent in root.iter() for title in parent.findall(f"{{{SVG}}}title")}
    assert list(said) == ["low bar", "high bar", "one", "two & <three>", "three"]
    heights = [float(said[text].attrib["y"]) for text in ("one", "two & <three>", "three")]
    assert heights == sorted(heights, reverse=True)  # each text is at its own marker: higher values are further up
    with pytest.raises(ValueError, match="2 texts for 3 markers"):
        saved(tmp_path, [1.0, 2.0, 3.0], ["one", "two"])


def test_an_svg_names_its_parts_after_the_file_and_is_the_same_twice(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        saved(tmp_path / folder, [1.0, 2.0], ["x", "y"])
    drawn = sorted((tmp_path / "a").glob("a figure.*"))
    assert [path.suffix for path in drawn] == [".pdf", ".png", ".svg"]
    for path in drawn:
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    text = (tmp_path / "a" / "a figure.svg").read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert ids
    assert all(name.startswith("a_figure-") for name in ids)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) == set(ids)
    assert "DenseNet-201" in text  # text is text, and words are whole in the description


def test_a_figure_gives_its_caption_to_the_page(tmp_path: Path) -> None:
    root = saved(tmp_path, [1.0, 2.0], ["x", "y"])
    drawn = draw._plate((tmp_path / "a figure.svg").read_text(encoding="utf-8"), "T")
    assert drawn["caption"].startswith("What a reader has to know of DenseNet-201, said at such")
    assert "What a reader" not in drawn["svg"]
    height, full = (
        float(text.split()[-1]) for text in (re.search(r'viewBox="([^"]+)', drawn["svg"])[1], root.attrib["viewBox"])
    )
    lowest = max(float(y) for y in re.findall(r'<text [^>]*y="([\d.]+)"', drawn["svg"]))  # the baseline of the ticks' labels
    assert lowest < height < full
    assert "<style" not in drawn["svg"]


# The listening room


def test_a_room_is_read_as_it_was_written(room: Room, tmp_path: Path) -> None:
    room.write(tmp_path / "room.npz")
    again = page_clips.read(tmp_path / "room.npz")
    assert (again.run, again.picture, len(again.clips)) == (room.run, room.picture, 4)
    for clip, mine in zip(again.clips, room.clips, strict=True):
        for field, value in vars(mine).items():
            np.testing.assert_array_equal(getattr(clip, field), value, err_msg=field)
    assert again.clips[3].samples is None


def test_a_strength_in_bytes_is_off_by_half_a_step_at_most() -> None:
    strength = np.random.default_rng(0).lognormal(0, 2, (32, 40))
    kept = STRENGTHS[page_clips.quantised(strength)] * strength.max()
    loud = strength > strength.max() / 1000
    assert np.abs(20 * np.log10(kept[loud] / strength[loud])).max() <= page_clips.STEP_DB / 2 + 1e-9
    assert not page_clips.quantised(np.zeros((4, 5))).any()


def test_the_share_that_the_rendering_takes_gives_its_mask() -> None:
    attribution = np.random.default_rng(0).normal(size=(3, 32, 40)) ** 3
    at = SHARES.index(render.STRONGEST)
    found = page_clips.masks(page_clips.quantised(render.strength(attribution)))[at]
    np.testing.assert_allclose(found, render.mask(attribution), atol=0.04)


def test_more_of_the_attribution_lets_more_through_and_all_of_it_everything() -> None:
    strength = page_clips.quantised(np.random.default_rng(0).lognormal(0, 1, (32, 40)))
    found = page_clips.masks(strength)
    for less, more in itertools.pairwise(found):
        assert (less <= more).all()
    assert (found[-1] == 1).all()
    values = STRENGTHS[strength]
    for share, mask in zip(SHARES, found, strict=True):
        gathered = values[mask == 1].sum() / values.sum()
        assert share - 1e-9 <= gathered < share + 0.02 or share == 1
    nothing = page_clips.masks(np.zeros((4, 5), np.uint8))
    assert not nothing[0].any()
    assert (nothing[-1] == 1).all()


def test_the_page_holds_what_the_room_holds(room: Room, text: str) -> None:
    data = json.loads(Parsed(text).scripts[0][1])
    assert len(data["clips"]) == 4
    clip, stored = room.clips[0], data["clips"][0]
    assert base64.b64decode(stored["strength"]) == clip.strength.tobytes()
    assert base64.b64decode(stored["picture"]) == clip.picture.tobytes()
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(stored["sound"])), dtype="int16")
    assert rate == 22050
    np.testing.assert_array_equal(samples, clip.samples)
    assert data["clips"][3]["sound"] is None
    assert stored["levels"] == page_clips.levels(clip.strength)
