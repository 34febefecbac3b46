"""The network that comes with tla: what it is, where it is taken, and how it is made."""

import csv
import importlib
import importlib.util
import re
import shlex
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tla import cli, ig, predict
from tla.errors import UserError
from tla.launch.study import ensure, list_runs, prepare
from tla.options import Place, Recipe, Study, Transfer
from tla.runs import infer, packaged
from tla.runs.folder import FinishedRun, load
from tla.runs.scores import accuracy

ROOT = Path(__file__).resolve().parents[2]


# The one that is in the package


@pytest.fixture
def network() -> FinishedRun:
    if not packaged.FOLDER.is_dir():
        pytest.skip("the package holds no network: scripts/packaged_network.py makes it")
    return packaged.load()


def test_it_is_small_intact_and_loads(network: FinishedRun) -> None:
    files = [path for path in packaged.FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 500_000
    assert {path.name for path in packaged.FOLDER.iterdir()} == {network.key, "README.md", "attribution.csv"}
    assert len(network.classes) == 10
    assert "dog" in network.classes
    loaded = infer.load(network, torch.device("cpu"))  # holds the weights against their digest
    assert sum(tensor.numel() for tensor in loaded.net.parameters()) == network.result.parameters < 60_000


def test_every_clip_that_it_learned_from_is_credited(network: FinishedRun) -> None:
    rows = list(csv.DictReader((packaged.FOLDER / "attribution.csv").read_text(encoding="utf-8").splitlines()))
    authors = {row["clip"]: row["author"] for row in rows}
    clips = {Path(name).stem.rpartition("-")[0] for name in network.predictions.names}
    assert len(clips) == 400
    assert all(authors.get(clip) for clip in clips)


def test_its_page_has_the_accuracies_of_its_predictions(network: FinishedRun) -> None:
    page = (packaged.FOLDER / "README.md").read_text(encoding="utf-8")
    predicted = network.predictions
    logits, folds = predicted.logits["last"], np.array([Path(name).name[0] for name in predicted.names])
    parts = {fold: folds == fold for fold in sorted(set(folds))} | {"all": folds != ""}
    assert re.findall(r"\| (\w+) \| (\d+) \| ([\d.]+) \|", page) == [
        (fold, str(rows.sum()), f"{100 * accuracy(logits[rows], predicted.labels[rows]):.1f}") for fold, rows in parts.items()
    ]
    assert network.result.scores["last"].accuracy == accuracy(logits, predicted.labels)
    assert all(name in page for name in network.classes)


# Where it is taken


@pytest.fixture
def trained(study: Study, place: Place) -> FinishedRun:
    material = prepare(replace(study, recipe=Recipe(epochs=1, lr=1e-3)), place)
    return ensure(list_runs(material), material, place)[0]


@pytest.fixture
def standing_in(trained: FinishedRun, monkeypatch: pytest.MonkeyPatch) -> FinishedRun:
    """A small run in the place of the network that comes with tla."""
    monkeypatch.setattr(packaged, "FOLDER", trained.path.parent)
    return trained


def test_it_stands_in_where_no_run_is_finished(
    standing_in: FinishedRun, study: Study, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a file without any options; it is named, with its classes, its score and the way to another one."""
    empty, clip = replace(place, runs="nowhere"), str(next(Path(study.data).rglob("*.wav")))
    predict.main([clip], runs="nowhere")
    ig.main(Study(), empty, clip=(clip,), tolerance=0.5)
    printed = capsys.readouterr().err
    assert printed.count("with the network that comes with tla (--run packaged)") == 2
    assert ", ".join(standing_in.classes) in printed
    assert f"{100 * standing_in.result.scores['last'].accuracy:.1f} % of 20 held-out clips" in printed
    assert packaged.own() in printed
    (table,) = Path(place.figures, "packaged").glob("fig3_ig_*.csv")
    assert standing_in.key in table.read_text()


def test_the_best_run_of_the_newest_study_comes_before_it(
    trained: FinishedRun, study: Study, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = str(next(Path(study.data).rglob("*.wav")))
    predict.main([clip], runs=place.runs)
    assert capsys.readouterr().err.startswith(f"with {trained.key}, the best of the newest study")
    ig.main(Study(), place, clip=(clip,), tolerance=0.5)
    assert capsys.readouterr().err.startswith(f"with {trained.key}, the best of the newest study")


@pytest.mark.usefixtures("standing_in")
def test_what_takes_held_out_or_training_clips_does_not_take_it(study: Study, place: Place) -> None:
    clip = str(next(Path(study.data).rglob("*.wav")))
    for options in ({}, {"audit": True}):
        with pytest.raises(UserError, match=r"learned from every clip .*: give --clip FILE"):
            ig.main(Study(), place, run="packaged", **options)
    for baseline in ("mean", "clips:2"):
        with pytest.raises(UserError, match=f"--baseline {baseline} takes the training pictures .*silence and zero need none"):
            ig.main(Study(), place, run="packaged", clip=(clip,), baseline=baseline)


def test_without_it_the_way_to_a_network_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packaged, "FOLDER", tmp_path)
    with pytest.raises(UserError, match=re.escape(packaged.own())):
        packaged.load()


def test_the_command_that_trains_another_one_is_understood() -> None:
    _, _, command, *words = shlex.split(packaged.own())
    assert cli.parse(importlib.import_module(command).main, words)["study"].data == "toy"


# How it is made


@pytest.fixture
def script() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("packaged_network", ROOT / "scripts" / "packaged_network.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_is_made_without_credits(script: types.ModuleType, study: Study, place: Place, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"attribution.csv is not there"):
        script.main(study, place, to=str(tmp_path / "made"))


@pytest.mark.slow
def test_the_script_makes_a_run_with_the_predictions_of_the_folds(
    script: types.ModuleType, few_sounds: Path, study: Study, place: Place, tmp_path: Path
) -> None:
    import shutil

    sounds = Path(shutil.copytree(few_sounds, tmp_path / "sounds"))
    (sounds / "meta").mkdir()
    (sounds / "meta" / "attribution.csv").write_text("clip,author\n")
    cut = Transfer(pretrained_upto="none", kept_upto="block2")
    mine = replace(study, data=str(sounds), folds="all", transfer=cut, recipe=Recipe(epochs=1, lr=1e-3, standardise=True))
    script.main(mine, place, to=str(tmp_path / "made"))
    (made,) = (load(path.parent) for path in (tmp_path / "made").glob("*/run.json"))
    assert (made.run.fold, made.result.clips, len(set(made.predictions.names))) == (0, 100, 100)
    for run in map(load, (path.parent for path in Path(place.runs).glob("*/result.json"))):
        rows = np.isin(made.predictions.names, run.predictions.names)
        np.testing.assert_array_equal(made.predictions.logits["last"][rows], run.predictions.logits["last"])
    assert "| all | 100 |" in (tmp_path / "made" / "README.md").read_text()
