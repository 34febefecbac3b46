"""The commands that run others."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from tla import cli, demo, reproduce
from tla.errors import UserError
from tla.options import Place


@pytest.mark.parametrize("step", demo.STEPS, ids=lambda step: step.command)
def test_every_step_of_the_tour_is_understood(step: demo.Step) -> None:
    options = [*shlex.split(step.options), *demo.place("demo", "cpu")]
    assert cli.parse(importlib.import_module(f"tla.{step.command}").main, options)


@pytest.fixture
def experiments(tmp_path: Path, few_sounds: Path) -> Path:
    """Two experiments that share a run, and a quick variant."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    study = f"data: {few_sounds}\nbackbone: densenet_tiny\nweights: random\nfolds: [1]\naugment: {{kind: none}}\n"
    study += "picture: {mels: 32, frames: 40}\nrecipe: {epochs: 1}\n"
    for name, called, more in (
        ("one", "tla train", ""),
        ("two", "python -m tla.train", "seeds: 2\n"),
        ("one_quick", "tla fusion", ""),
    ):
        header = f"# What\n#\n#   {called} --config {name}.yaml\n#   {called} --config {name}.yaml --threads 1\n"
        (folder / f"{name}.yaml").write_text(header + study + more)
    return folder


def test_reproduction_is_planned_then_done_then_finished(
    experiments: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data-root", str(tmp_path_factory.getbasetemp() / "data"), "--runs", str(tmp_path / "runs")]
    options += ["--figures", str(tmp_path / "figures"), "--device", "cpu"]
    reproduce.main(options, plan=True, folder=str(experiments))
    printed = capsys.readouterr().out
    assert re.search(r"^one +1 +0 ", printed, re.MULTILINE)
    assert re.search(r"^two +2 +0 ", printed, re.MULTILINE)
    assert "counted once: 2 runs, 0 finished, 2 to train" in printed
    assert "quick" not in printed
    assert not list((tmp_path / "runs").glob("*/result.json"))

    reproduce.main(options, folder=str(experiments))
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == 2
    capsys.readouterr()
    reproduce.main(options, plan=True, folder=str(experiments), only=("two",))
    printed = capsys.readouterr().out
    assert re.search(r"^two +2 +2 +0.0 ", printed, re.MULTILINE)
    assert "one" not in re.findall(r"^\w+", printed, re.MULTILINE)


def test_an_experiment_may_be_for_several_commands(experiments: Path, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    lines = "#   tla train --config both --data X\n#   tla train --config both --describe\n#   tla ensemble --config both\n"
    (experiments / "both.yaml").write_text(lines + (experiments / "one.yaml").read_text().rpartition("#")[2].partition("\n")[2])
    options = ["--data-root", str(place.data_root), "--runs", place.runs, "--figures", place.figures, "--device", "cpu"]
    reproduce.main(options, plan=True, folder=str(experiments), only=("both",))
    printed = capsys.readouterr().out
    assert re.findall(r"^both\S* (\w+) +(\d)", printed, re.MULTILINE) == [("train", "1"), ("ensemble", "5")]


def test_reproduction_refuses_what_is_not_there(experiments: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="possible are one, one_quick, two"):
        reproduce.main([], only=("three",), folder=str(experiments))
    with pytest.raises(UserError, match=r"possible are cutoff, fig2a, .*table2_quick"):
        reproduce.main([], only=("three",))
    with pytest.raises(UserError, match="holds no experiments"):
        reproduce.main([], folder=str(tmp_path / "nowhere"))


def test_dry_run_trains_nothing_and_ends_well(few_sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tla import train

    words = ["--data", str(few_sounds), "--backbone", "densenet_tiny", "--weights", "random", "--augment.kind", "none"]
    words += ["--picture.mels", "32", "--picture.frames", "40", "--recipe.epochs", "3", "--folds", "1,2", "--dry-run"]
    cli.run(train.main, [*words, "--data-root", str(tmp_path / "d"), "--runs", str(tmp_path / "r"), "--figures", str(tmp_path)])
    assert "2 runs, 0 finished, 2 to train: about 0.0 hours" in capsys.readouterr().out
    assert not list((tmp_path / "r").glob("*/*.json"))
