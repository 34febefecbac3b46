"""`python -m tla.report` writes the page: from runs to one file."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from tla import cli, manifest, plots, report, train
from tla.attribution import make_page_clips

TINY = ["--backbone", "densenet_tiny", "--augment.kind", "none", "--device", "cpu", "--folds", "1"]
TINY += ["--picture.mels", "32", "--picture.frames", "40", "--recipe.epochs", "1"]


@pytest.fixture(scope="module")
def words(few_sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Where one run lies, and a figure with its table."""
    room = tmp_path_factory.mktemp("page")
    pictures = tmp_path_factory.getbasetemp() / "data"  # shared by the tests of a session
    places = ["--data-root", str(pictures), "--runs", str(room / "runs"), "--figures", str(room / "figures")]
    cli.run(train.main, ["--data", str(few_sounds), *TINY, *places, "--weights", "random"])
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([1, 2], [3, 4])
    plots.save(figure, room / "figures" / "fig2b_fusion")
    manifest.write_table(room / "figures" / "fig2b_fusion_points.csv", pd.DataFrame([{"point": "block1", "accuracy": 41.25}]))
    return [*places, "--data", str(few_sounds)]


@pytest.fixture
def no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables' own files are not what these tests are about, and take seconds to draw."""
    monkeypatch.setattr("tla.paper.report_tables.publish", lambda *_: [])


def written(words: list[str]) -> str:
    return (Path(words[5]) / "report-few" / "report.html").read_text(encoding="utf-8")


def test_the_page_holds_claims_tables_figures_and_clips(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.run(report.main, [*words, "--clips", "2"])
    said = capsys.readouterr()
    assert "report.html" in said.out
    assert re.search(r"report\.html: \d\.\d MB, with 2 clips to listen to", said.err)
    text = written(words)
    assert text.count('class="verdict') == 7
    assert "Of the seven claims of “Rethinking CNN Models" in text
    assert "Missing: no runs " in text
    assert "python -m tla.freeze" in text
    for title in ("Table I: ", "Table II: ", "Table III: ", "Which stages need pretrained weights? (Fig. 2b)", "Data check: "):
        assert title in text, title
    assert len(re.findall(r"<svg xmlns", text)) == 2  # the classes of tla.train, and this one; tables are tables
    assert "fig2b_fusion_points.csv" in text
    assert ">41.25<" in text
    room = json.loads(re.search(r'id="room-data">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    assert len(room["clips"]) == 2

    # a second time, nothing is listened to again, and the page is the same
    monkeypatch.setattr("tla.paper.report_tables.publish", lambda *_: [])
    monkeypatch.setattr(make_page_clips, "make", lambda *_, **__: pytest.fail("the room is kept"))
    cli.run(report.main, [*words, "--clips", "2"])
    assert written(words) == text


@pytest.mark.usefixtures("no_tables")
def test_a_page_can_do_without_a_room_and_a_report_without_a_page(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(report.main, [*words, "--clips", "0"])
    assert 'id="room"' not in written(words)
    assert "without a listening room" in capsys.readouterr().err
    (Path(words[5]) / "report-few" / "report.html").unlink()
    cli.run(report.main, [*words, "--page", "false"])
    assert not (Path(words[5]) / "report-few" / "report.html").exists()


@pytest.mark.usefixtures("no_tables")
def test_clips_are_found_where_they_lay_and_why_there_is_no_room_is_printed(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    cli.run(report.main, [*words[:6], "--clips", "2"])  # without --data
    assert "with 2 clips to listen to" in capsys.readouterr().err
    assert 'id="claims"' in (Path(words[5]) / "report" / "report.html").read_text(encoding="utf-8")
    for weights in Path(words[3]).glob("*/weights.safetensors"):
        weights.rename(weights.with_suffix(".away"))
    cli.run(report.main, words)
    assert "none of the runs has its weights in" in capsys.readouterr().err
