"""The page in a browser: Debian's Chromium, driven without a network."""

import base64
import itertools
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tla.attribution import page_clips
from tla.attribution.page_clips import SHARES, Room
from tla.paper import page as draw
from tla.sound import render

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]  # one browser for all
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
KEPT = """
    window.blobs = {};
    const make = URL.createObjectURL;
    URL.createObjectURL = blob => { const url = make.call(URL, blob); window.blobs[url] = blob; return url; };
    document.addEventListener('DOMContentLoaded', () => {
        for (const sound of document.querySelectorAll('audio')) sound.defaultPlaybackRate = 0;
    });
"""  # so that a test can look into what the page plays, and a sound stands still until the test lets it go on
SAMPLES = """async id => {
    const bytes = await window.blobs[document.getElementById(id).src].arrayBuffer();
    const sound = await new OfflineAudioContext(1, 1, 22050).decodeAudioData(bytes);
    const values = new Uint8Array(sound.getChannelData(0).buffer);
    return btoa(Array.from(values, value => String.fromCharCode(value)).join(''));
}"""
PIXELS = """row => {
    const canvas = document.querySelectorAll('.picture canvas')[row];
    const image = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return [image.width, image.height, Array.from(image.data)];
}"""
CONTRAST = """() => {
    const light = colour => {
        const linear = v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(v => linear(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = element => {
        for (; element; element = element.parentElement) {
            const colour = getComputedStyle(element).backgroundColor;
            if (!/, 0\\)$/.test(colour) && colour !== 'transparent') return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const found = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
        const shown = element.checkVisibility?.({ checkOpacity: true, checkVisibilityCSS: true }) ?? true;
        if (!own || !shown || element.closest('svg, script, style, [hidden]')) continue;
        const [a, b] = [light(getComputedStyle(element).color), light(behind(element))].sort((x, y) => y - x);
        found.push([(a + 0.05) / (b + 0.05), `${element.tagName}.${element.className}: ${element.textContent.slice(0, 40)}`]);
    }
    return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("needs Chromium, and there is none (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses root otherwise
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=program, args=[*sandbox, "--autoplay-policy=no-user-gesture-required"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(whole: draw.Page, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    draw.write(whole, path)
    return path


class Opened:
    """A page in a browser, and what it complained of and asked for."""

    def __init__(self, browser: Any, file: Path, **how: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1100, "height": 900}, **how})
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page = self.context.new_page()
        self.page.on("console", lambda said: said.text.startswith("Canvas2D:") or self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.add_init_script(KEPT)
        self.page.goto(file.as_uri())
        if how.get("java_script_enabled", True):
            self.ready()

    def until(self, true: str, seconds: float = 120.0) -> None:
        """Wait until an expression is true. (Playwright's own way to wait is an eval, which the page's policy forbids.)"""
        end = time.monotonic() + seconds
        while not self.page.evaluate(true):
            assert time.monotonic() < end, f"never true: {true}"
            self.page.wait_for_timeout(20)

    def ready(self) -> None:
        """Wait until the picked clip can be heard."""
        self.until("document.getElementById('audio-clip').src.startsWith('blob:')")

    def samples(self, part: str) -> np.ndarray:
        return np.frombuffer(base64.b64decode(self.page.evaluate(SAMPLES, f"audio-{part}")), dtype="<f4")

    def pixels(self, row: int) -> np.ndarray:
        """A picture's (height, width, 3)."""
        width, height, data = self.page.evaluate(PIXELS, row)
        return np.array(data, dtype=np.uint8).reshape(height, width, 4)[..., :3]

    def slide(self, share: float) -> None:
        step = SHARES.index(share)
        self.page.evaluate(
            "step => { const s = document.getElementById('share'); s.value = step; s.dispatchEvent(new Event('input')); }", step
        )

    def focused(self) -> str:
        return self.page.evaluate(
            "document.activeElement.id || document.activeElement.name || document.activeElement.localName"
        )


@pytest.fixture
def opened(browser: Any, file: Path) -> Iterator[Opened]:
    page = Opened(browser, file)
    yield page
    page.context.close()
    assert page.complaints == []


def test_it_loads_without_a_complaint_or_a_request(opened: Opened, file: Path) -> None:
    assert opened.complaints == []
    others = [url for url in opened.asked if not url.startswith("blob:")]
    assert others == [file.as_uri()]
    assert opened.page.evaluate("document.querySelectorAll('script').length") == 2  # none was smuggled in
    assert opened.page.evaluate("document.querySelectorAll('img').length") == 0


def test_the_policy_keeps_a_request_in(opened: Opened) -> None:
    tried = "fetch('https://example.org/x').then(() => 'sent', error => error.name)"
    assert opened.page.evaluate(tried) == "TypeError"
    assert any("Content Security Policy" in said for said in opened.complaints)
    assert not [url for url in opened.asked if "example.org" in url]
    opened.complaints.clear()


def test_the_slider_changes_the_overlay_as_the_mask_says(opened: Opened, room: Room) -> None:
    opened.slide(1.0)
    full = opened.pixels(1)
    opened.slide(0.3)
    part = opened.pixels(1)
    mask = page_clips.masks(room.clips[0].strength)[SHARES.index(0.3)][::-1]  # low frequencies are at the bottom
    assert (full[mask == 1] == part[mask == 1]).all()  # what is attended to is as it was
    differs = np.abs(full.astype(int) - part).max(axis=2)
    assert (differs[mask < 0.5] > 10).mean() > 0.9  # the rest is veiled
    opened.slide(0.05)
    least = opened.pixels(1)
    assert np.abs(least.astype(int) - part).max() > 10
    weakest = mask < np.quantile(mask, 0.1)
    assert np.ptp(least[weakest], axis=1).mean() < 0.3 * np.ptp(full[weakest], axis=1).mean()  # and nearly grey


def test_the_parts_sound_as_they_are_rendered_and_add_up(opened: Opened, room: Room) -> None:
    clip = room.clips[0]
    samples = clip.samples / np.float32(32768)
    np.testing.assert_allclose(opened.samples("clip"), samples, atol=2 / 32768)
    for share in (0.1, 0.5):
        before = opened.page.evaluate("document.getElementById('audio-attended').src")
        opened.slide(share)
        opened.page.check("input[name=part][value=attended]", force=True)
        opened.until(f"document.getElementById('audio-attended').src !== {before!r}")  # once the slider has come to rest
        heard, rest = render.split(samples, page_clips.masks(clip.strength)[SHARES.index(share)], room.picture, clip.span)
        np.testing.assert_allclose(opened.samples("attended"), heard, atol=2 / 32768)
        np.testing.assert_allclose(opened.samples("rest"), rest, atol=2 / 32768)
        assert 0.01 < np.square(heard).sum() / np.square(samples).sum() < 0.99  # neither of them is silent


def test_audio_elements_hold_sound_of_the_clips_length(opened: Opened, room: Room) -> None:
    opened.page.check("input[name=part][value=rest]", force=True)
    for part in ("clip", "attended", "rest"):
        opened.until(f"document.getElementById('audio-{part}').duration > 0")
        duration = opened.page.evaluate(f"document.getElementById('audio-{part}').duration")
        assert duration == pytest.approx(len(room.clips[0].samples) / 22050, abs=0.02)
        assert np.square(opened.samples(part)).mean() > 1e-7


def test_everything_can_be_done_by_keyboard(opened: Opened) -> None:
    page = opened.page
    page.focus("input[name=clip]:checked")
    page.keyboard.press("ArrowRight")
    opened.ready()
    assert page.input_value("input[name=clip]:checked") == "1"
    assert "It is drum" in page.inner_text("#answer")
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(opened.focused())
    assert reached == ["play", "part", "share", "pictures"]

    before = page.inner_text("#percent")
    page.focus("#share")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#percent") != before
    assert "%" in page.get_attribute("#share", "aria-valuetext")

    page.focus("#pictures")
    for key, moment in (("ArrowRight", 0.1), ("PageUp", 1.1), ("ArrowLeft", 1.0), ("Home", 0.0)):
        page.keyboard.press(key)
        assert page.evaluate("document.getElementById('audio-clip').currentTime") == pytest.approx(moment, abs=0.02)
        assert float(page.get_attribute("#pictures", "aria-valuenow")) == pytest.approx(moment, abs=0.02)

    for place in ("#pictures", "#share", "input[name=part]:checked"):
        page.focus(place)
        page.keyboard.press(" ")
        opened.until("!document.getElementById('audio-clip').paused")
        opened.until("document.getElementById('play').getAttribute('aria-label') === 'Pause'")
        page.keyboard.press(" ")
        opened.until("document.getElementById('audio-clip').paused")
    page.focus("#play")
    page.keyboard.press("Enter")
    page.evaluate("document.getElementById('audio-clip').playbackRate = 1")
    opened.until("document.getElementById('audio-clip').currentTime > 0.05")


def test_the_playhead_follows_the_sound_and_a_click_seeks(opened: Opened) -> None:
    page = opened.page
    page.locator("#pictures").scroll_into_view_if_needed()
    box = page.locator(".picture canvas").nth(2).bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 20)
    length = page.evaluate("document.getElementById('audio-clip').duration")
    assert page.evaluate("document.getElementById('audio-clip').currentTime") == pytest.approx(0.75 * length, abs=0.05)
    head = page.locator(".frame i").first.bounding_box()
    assert head["x"] + 1 == pytest.approx(box["x"] + 0.75 * box["width"], abs=4)
    page.click("#play")
    page.evaluate("document.getElementById('audio-clip').currentTime += 0.1")
    opened.until(f"document.querySelector('.frame i').getBoundingClientRect().x > {head['x'] + 3}")
    moment = page.evaluate("document.getElementById('audio-clip').currentTime")
    page.check("input[name=part][value=attended]", force=True)  # the parts are compared at the same moment
    assert page.evaluate("document.getElementById('audio-clip').paused")
    opened.until("!document.getElementById('audio-attended').paused")
    assert page.evaluate("document.getElementById('audio-attended').currentTime") >= moment - 0.05
    page.evaluate("document.getElementById('audio-attended').playbackRate = 1")
    opened.until("document.getElementById('audio-attended').ended")
    opened.until("document.getElementById('play').getAttribute('aria-label') === 'Play'")


def test_hostile_names_are_shown_as_they_are(opened: Opened, hostile: tuple[str, ...]) -> None:
    opened.page.check("input[name=clip][value='2']", force=True)
    opened.ready()
    assert opened.page.inner_text("h1") == hostile[0]
    assert hostile[1] in opened.page.inner_text("#answer")
    assert hostile[0] in opened.page.inner_text("#credit")
    assert opened.page.evaluate("document.querySelectorAll('img, script').length") == 2


def test_a_clip_that_may_not_be_passed_on_is_seen_and_not_heard(opened: Opened) -> None:
    opened.page.check("input[name=clip][value='3']", force=True)
    opened.until("document.getElementById('play').disabled")
    assert opened.page.get_attribute("#audio-clip", "src") is None
    assert np.ptp(opened.pixels(0)) > 50
    opened.page.focus("#pictures")
    opened.page.keyboard.press(" ")
    opened.page.keyboard.press("ArrowRight")


def test_markers_tell_their_numbers_to_pointer_and_keyboard(opened: Opened, hostile: tuple[str, ...]) -> None:
    page = opened.page
    markers = page.locator(".plate svg").first.locator("[role=img]")
    assert markers.count() == 3
    markers.first.scroll_into_view_if_needed()
    box = markers.nth(1).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 + 4, box["y"] + box["height"] / 2 + 4)
    assert page.inner_text("#tip") == "second: 3 %"
    page.mouse.move(0, 0)
    assert not page.is_visible("#tip")
    assert page.locator(".plate svg").first.locator("[tabindex='0']").count() == 1
    markers.first.focus()
    assert page.inner_text("#tip") == "first: 1 %"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#tip") == hostile[0]
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == hostile[0]


@pytest.mark.parametrize("width", [360, 320, 1440])
def test_nothing_sticks_out_sideways(browser: Any, file: Path, width: int) -> None:
    opened = Opened(browser, file, viewport={"width": width, "height": 740})
    opened.page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    small = opened.page.evaluate(
        "[...document.querySelectorAll('p, td, dd, span, label, summary')].filter(e => e.checkVisibility())"
        ".map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(small) >= 12
    opened.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(browser: Any, file: Path, scheme: str) -> None:
    opened = Opened(browser, file, color_scheme=scheme)
    ground = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = np.mean([int(channel) for channel in re.findall(r"\d+", ground)[:3]])
    assert brightness > 200 if scheme == "light" else brightness < 60
    found = opened.page.evaluate(CONTRAST)
    assert len(found) > 50
    weak = [(round(ratio, 2), what) for ratio, what in found if ratio < 4.5]
    assert weak == []  # WCAG AA
    card = opened.page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor")
    assert card == "rgb(255, 255, 255)"  # figures are drawn for white paper
    opened.context.close()


def test_everything_has_a_name_for_those_who_do_not_see_it(opened: Opened) -> None:
    nameless = opened.page.evaluate(
        "[...document.querySelectorAll('button, input, [role=img], [role=slider], [role=region], [role=group]')]"
        ".filter(e => !(e.getAttribute('aria-label') || e.labels?.length || e.getAttribute('aria-labelledby')))"
        ".map(e => e.outerHTML.slice(0, 120))"
    )
    assert nameless == []
    headings = opened.page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(e => +e.localName[1])")
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))


def test_without_scripts_all_but_the_room_is_there(browser: Any, file: Path) -> None:
    opened = Opened(browser, file, java_script_enabled=False)
    assert opened.page.locator("noscript p").inner_text().startswith("The listening room needs JavaScript")
    assert opened.page.locator(".claims > li").count() == 8
    assert opened.page.locator(".plate svg title").count() == 6  # the browser's own tooltips
    opened.context.close()


def test_it_prints(browser: Any, file: Path) -> None:
    opened = Opened(browser, file, color_scheme="dark")
    opened.page.emulate_media(media="print")
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert opened.page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert not opened.page.is_visible("#play")
    assert opened.page.pdf().startswith(b"%PDF")
    opened.context.close()
