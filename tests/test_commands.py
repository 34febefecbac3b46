"""The commands as a user types them: what they print, write and refuse."""

import importlib
import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tla import cli, config, data, predict, train
from tla.errors import UserError
from tla.options import Pictures
from tla.runs import __main__ as listing

EXPERIMENTS = config.experiments()
TINY = ["--backbone", "densenet_tiny", "--weights", "random", "--augment.kind", "none", "--device", "cpu"]
TINY += ["--picture.mels", "32", "--picture.frames", "40"]


@pytest.fixture
def words(few_sounds: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a study that trains in a second, in folders of its own."""
    places = ["--data-root", str(tmp_path_factory.getbasetemp() / "data")]
    places += ["--runs", str(tmp_path / "runs"), "--figures", str(tmp_path / "figures")]
    return ["--data", str(few_sounds), *TINY, *places, "--recipe.epochs", "1"]


def test_train_lists_predicts(words: list[str], few_sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(train.main, [*words, "--folds", "1,2", "--seeds", "2"])
    printed = capsys.readouterr().out
    assert "95 % interval" in printed
    assert "over 2 seeds" in printed
    runs = pd.read_csv(next((tmp_path / "figures").glob("*/train.csv")))
    assert len(runs) == 4
    summary = pd.read_csv(next((tmp_path / "figures").glob("*/train_summary.csv")))
    assert set(summary["rule"]) == {"best", "last"}

    cli.run(listing.main, ["--runs", str(tmp_path / "runs"), "--csv", str(tmp_path / "runs.csv")], positional="keys")
    assert runs["key"][0] in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "runs.csv")) == 4

    keys = ",".join(runs["key"][:2])
    clip = next(few_sounds.rglob("*.wav"))
    written = ["--csv", str(tmp_path / "p.csv"), "--json", str(tmp_path / "p.json")]
    cli.run(predict.main, [str(clip), "--run", keys, "--runs", str(tmp_path / "runs"), *written], positional="files")
    assert clip.name in capsys.readouterr().out
    probabilities = pd.read_csv(tmp_path / "p.csv").iloc[0, 1:].astype(float)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert len(json.loads((tmp_path / "p.json").read_text())[0]) == 11


def test_compare_prints_the_difference(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(train.main, [*words, "--folds", "1"])
    (run,) = (tmp_path / "runs").iterdir()
    cli.run(train.main, [*words, "--folds", "1", "--weights", run.name, "--compare", "random"])
    assert "pretrained - random" in capsys.readouterr().out


def test_describe_prints_stages_that_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(train.main, ["--backbone", "densenet_tiny", "--describe"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    table = {
        line[0]: line for line in lines if line and line[0] in ("stem", "block1", "block2", "block3", "block4", "head", "all")
    }
    counts = {stage: int(line[-2].replace(",", "")) for stage, line in table.items()}
    assert len(counts) == 7
    assert counts.pop("all") == sum(counts.values())


def test_the_missing_default_data_comes_with_a_command_that_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.run(train.main, ["--data-root", str(tmp_path), "--backbone", "densenet_tiny"])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "python -m tla.data esc50" in said
    assert "--data toy --backbone efficientnet_lite0" in said


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--folds", "7"], "7"),
        (["--transfer.kept-upto", "none"], "kept"),
        (["--transfer.frozen-upto", "block3", "--transfer.kept-upto", "block1"], "frozen up to block3"),
        (["--device", "tpu9"], "tpu9"),
    ],
)
def test_train_refuses_by_name(words: list[str], more: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.run(train.main, [*words, *more])
    assert stop.value.code == 2
    assert says in capsys.readouterr().err


def test_check_gives_a_verdict_and_a_status(few_sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(data.main, ["--check", str(few_sounds), "--data-root", str(tmp_path)], positional="names")
    assert "usable" in capsys.readouterr().out
    for label in ("a", "b"):
        (tmp_path / "mine" / label).mkdir(parents=True)
        for k in range(3):
            source = sorted(few_sounds.rglob("*.wav"))[k + 10 * (label == "b")]
            (tmp_path / "mine" / label / f"{k}.wav").write_bytes(source.read_bytes())
    (tmp_path / "mine" / "a" / "0.wav").write_bytes(b"")
    with pytest.raises(SystemExit) as stop:
        cli.run(data.main, ["--check", str(tmp_path / "mine")], positional="names")
    assert stop.value.code == 1
    assert "empty" in capsys.readouterr().out


def test_check_refuses_what_training_would_refuse(few_sounds: Path, tmp_path: Path) -> None:
    rows = [f"{path},{path.parent.name},one" for path in sorted(few_sounds.rglob("*.wav"))[:20]]
    (tmp_path / "onesource.csv").write_text("\n".join(["path,label,source", *rows]))
    with pytest.raises(SystemExit) as stop:
        cli.run(data.main, ["--check", str(tmp_path / "onesource.csv"), "--data-root", str(tmp_path)], positional="names")
    assert stop.value.code == 2


def test_folds_can_be_written_down_and_used(few_sounds: Path, tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    cli.run(data.main, ["--folds", str(table), str(few_sounds), "--data-root", str(tmp_path)], positional="names")
    assert {"path", "label", "fold", "source"} <= set(pd.read_csv(table))


def test_nothing_to_do_is_said() -> None:
    with pytest.raises(UserError, match="say what to do"):
        data.main([], Pictures())
    with pytest.raises(UserError, match="give sound files or folders"):
        predict.main([])
    with pytest.raises(UserError, match="--threads is 0"):
        predict.main(["x.wav"], threads=0)
    with pytest.raises(UserError, match="no folder"):
        listing.main([], runs="absent")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_parse_and_open_with_what_they_are(name: str) -> None:
    text = EXPERIMENTS[name].read_text()
    header = text[: text.index("\ndata:")]
    for word in ("Expected", "Time:"):
        assert word in header, f"{name} does not say {word}"
    commands = re.findall(r"#   tla (\w+) (.*?)(?:  .*)?\n", header)
    assert commands, f"{name} names no command that takes it"
    for command, words in commands:
        assert f"--config {name}" in words
        arguments = cli.parse(importlib.import_module(f"tla.{command}").main, words.split())
        if words == f"--config {name}":
            assert arguments["study"].data == yaml.safe_load(text)["data"]
