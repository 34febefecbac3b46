"""`python -m tla.report` as a user types it, and the tables for notebooks."""

import contextlib
import importlib
import importlib.util
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import tla
from tla import cli, plots, report, train
from tla.errors import UserError
from tla.options import Place
from tla.paper import typesetting as draw
from tla.runs import fit as fitting

TINY = ["--backbone", "densenet_tiny", "--augment.kind", "none", "--device", "cpu", "--folds", "1"]
TINY += ["--picture.mels", "32", "--picture.frames", "40", "--recipe.epochs", "1"]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    room = tmp_path_factory.mktemp("report")
    pictures = tmp_path_factory.getbasetemp() / "data"  # shared by the tests of a session
    return ["--data-root", str(pictures), "--runs", str(room / "runs"), "--figures", str(room / "figures")]


@pytest.fixture(scope="module")
def donor(few_sounds: Path, places: list[str]) -> str:
    """A run from scratch on fold 1, and two that start from it: what ImageNet is to larger networks."""
    room = Path(places[3])
    cli.run(train.main, ["--data", str(few_sounds), *TINY, *places, "--weights", "random"])
    (first,) = room.iterdir()
    cli.run(train.main, ["--data", str(few_sounds), *TINY, *places, "--weights", first.name, "--seeds", "2"])
    return first.name


@pytest.fixture(scope="module")
def printed(few_sounds: Path, places: list[str], donor: str) -> str:
    """What a report on these runs prints; it may not train."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(fitting, "train_epoch", lambda *_, **__: pytest.fail("trained"))
        cli.run(report.main, [*places, "--data", str(few_sounds), "--page", "false"])
    return out.getvalue()


def test_a_report_says_what_it_found_and_what_is_missing(few_sounds: Path, places: list[str], printed: str) -> None:
    assert len(re.findall(r"^\d\. ", printed, re.MULTILINE)) == 7
    assert "pretrained - random:" in printed
    assert "ensemble of 2 - single run:" in printed
    lacking = "missing: no runs pretrained up to block3, no runs pretrained up to block2: python -m tla.fusion"
    assert f"{lacking} --data {few_sounds} " in printed
    assert "(*) Not the paper's setting:" in printed
    assert "1 epoch instead of 70" in printed
    figures = Path(places[5]) / "report-few"
    for name in ("table1", "table2", "table3", "claims"):
        for suffix in (".csv", ".tex", ".pdf", ".png"):
            assert (figures / f"{name}{suffix}").stat().st_size > 100, name
    assert set(pd.read_csv(figures / "report_runs.csv")["key"]) == {path.name for path in Path(places[3]).iterdir()}


def test_the_commands_that_are_printed_name_the_study_and_can_be_typed(
    few_sounds: Path, places: list[str], printed: str, donor: str
) -> None:
    commands = set(pd.read_csv(Path(places[5]) / "report-few" / "claims.csv")["command"].dropna())
    assert len(commands) == 7  # fusion, freeze, cutoff, svcca, ig; and train and ensemble once more, to the end
    for command in commands:
        module, *words = shlex.split(command)[2:]
        assert words[words.index("--weights") + 1] == donor  # found by the content of its weights
        if importlib.util.find_spec(module):
            study = cli.parse(importlib.import_module(module).main, words)["study"]
            assert (study.data, study.backbone, study.folds) == (str(few_sounds), "densenet_tiny", (1,))
            assert (study.recipe.until, study.recipe.epochs) in ((None, 1), ("plateau", None))


@pytest.mark.slow
def test_complete_trains_what_the_claims_miss_and_nothing_twice(
    few_sounds: Path, places: list[str], donor: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = [*places, "--data", str(few_sounds), "--page", "false", "--complete", "--device", "cpu"]
    cli.run(report.main, complete)
    said = capsys.readouterr()
    assert "for the claims: pretrained up to block3, pretrained up to block2, frozen up to block2" in said.err
    assert "ensemble of 5 - single run:" in said.out
    parts = pd.read_csv(Path(places[5]) / "report-few" / "claims.csv")
    assert parts[parts["claim"].isin([1, 2, 3, 4, 7])]["value"].notna().all()
    monkeypatch.setattr(fitting, "train_epoch", lambda *_, **__: pytest.fail("trained again"))
    cli.run(report.main, complete)


def test_what_there_is_not_is_told_by_name(places: list[str], donor: str) -> None:
    with pytest.raises(UserError, match="no finished run in nowhere"):
        report.main(tla_place(places, runs="nowhere"))
    with pytest.raises(UserError, match="with resnet50"):
        report.main(tla_place(places), backbone="resnet50")
    with pytest.raises(UserError, match="--study xyz fits no study"):
        report.main(tla_place(places), study=("xyz",))


def tla_place(places: list[str], **more: str) -> Place:
    return Place(**{"data_root": places[1], "runs": places[3], "figures": places[5], **more})


def test_latex_is_escaped_and_whole() -> None:
    heads = pd.MultiIndex.from_tuples([("", "data"), ("here", "a_b"), ("here", "50 %")])
    table = pd.DataFrame([["R&B #1 {x} ~ ^ \\ < >", "91.0 ±0.5", "–"], ["[x]", "6 | 2", "$1"]], columns=heads)
    text = draw.latex(table, "A_title", "100 % of it.", "t")
    assert r"R\&B \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} $<$ $>$ & 91.0 $\pm$0.5 & --" in text
    assert r"{[}x] & 6 $|$ 2 & \$1" in text
    assert r"\multicolumn{2}{c}{here}" in text
    assert r"a\_b & 50 \% \\" in text
    assert r"\caption{A\_title. 100 \% of it.}" in text
    assert text.count(r"\begin") == text.count(r"\end") == 2
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(rf"\{rule}") == 1


def test_a_plate_is_drawn_the_same_twice_and_no_text_leaves_its_column(tmp_path: Path) -> None:
    heads = pd.MultiIndex.from_tuples([("", "the paper says"), ("", "verdict"), ("here", "gain")])
    table = pd.DataFrame([["word " * 40, "not enough evidence", "+1.0 [0.1, 2.0]"]] * 3, columns=heads)
    plates = [draw.plate(table, "A title", "A note.") for _ in range(2)]
    for plate, name in zip(plates, "ab", strict=True):
        plots.save(plate, tmp_path / name)
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
    renderer = FigureCanvasAgg(plates[0]).get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in plates[0].texts]
    says = [box for text, box in boxes if text.startswith("word")]
    verdicts = [box for text, box in boxes if text in ("not enough", "evidence")]
    assert len(says) > 10
    assert len(verdicts) == 6
    assert max(box.x1 for box in says) < min(box.x0 for box in verdicts)


def test_notebooks_get_tidy_tables(places: list[str], donor: str) -> None:
    runs = tla.load_runs(places[3])
    assert donor in set(runs["key"])
    assert runs["last"].between(0, 1).all()
    clips = tla.load_clips(places[3], rule="last")
    assert len(clips) == runs["clips"].sum()
    assert clips.groupby("key")["right"].mean().to_dict() == pytest.approx(runs.set_index("key")["last"].to_dict())
    assert ((clips["label"] == clips["predicted"]) == (clips["right"] == 1)).all()
    assert clips["probability"].between(0.1, 1).all()
    assert len(tla.load_clips(places[3])) == 2 * len(clips)
    epochs = tla.load_epochs(places[3])
    last = epochs.groupby("key")["accuracy"].last().to_dict()
    assert last == pytest.approx(runs.set_index("key")["last"].to_dict())
    with pytest.raises(UserError, match="rule test"):
        tla.load_clips(places[3], rule="test")
    with pytest.raises(UserError, match="no finished run"):
        tla.load_runs("nowhere")
    with pytest.raises(AttributeError, match="load_anything"):
        _ = tla.load_anything


def test_importing_tla_imports_nothing_heavy() -> None:
    program = "import sys, tla; print({'pandas', 'torch', 'numpy', 'matplotlib'} & set(sys.modules)); tla.load_runs"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stdout + done.stderr
