"""A command line becomes typed options, or one line that says what is wrong."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from tla import cli
from tla.errors import UserError
from tla.options import Place, Recipe, Study


def command(
    files: list[str], study: Study, place: Place, *, compare: Literal["random"] | None = None, go: bool = False
) -> None:
    """A command.

    Args:
        files: Files.
        compare: With what.
        go: Whether.
    """
    raise AssertionError("only parsed here")


def parse(*words: str) -> dict:
    return cli.parse(command, words, "files")


def test_defaults_are_the_dataclasses_own() -> None:
    assert parse() == {"files": [], "study": Study(), "place": Place(), "compare": None, "go": False}


def test_names_values_lists_and_flags() -> None:
    got = parse("a b", "c", "--folds", "1,2", "--recipe.drops=8,10", "--recipe.lr", "1e-3", "--data-root", "-x", "--go")
    assert got["files"] == ["a b", "c"]
    assert got["study"] == replace(Study(), folds=(1, 2), recipe=Recipe(drops=(8, 10), lr=1e-3))
    assert got["place"].data_root == "-x"
    assert got["go"] is True


def test_dashes_and_underscores_are_the_same() -> None:
    assert parse("--on-bad-clip", "skip") == parse("--on_bad_clip=skip")


def test_yaml_says_the_same_as_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("data: toy\nfolds: [1, 2]\nrecipe:\n  lr: 1e-3\n  epochs: 4\n")
    flags = ["--data", "toy", "--folds", "1,2", "--recipe.lr", "1e-3", "--recipe.epochs", "4"]
    assert parse("--config", str(file)) == parse(*flags)
    assert parse("--config", str(file), "--recipe.epochs", "9")["study"].recipe == Recipe(lr=1e-3, epochs=9)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--foldz", "1"], "unknown option --foldz; did you mean --folds"),
        (["--recipe.lr", "quick"], "--recipe.lr: expected a number. Got value: quick"),
        (["--recipe.epochs", "1.5"], "whole number"),
        (["--folds", "one"], "--folds.*one"),
        (["--protocol", "papr"], "expected one of paper, nested. Got value: papr"),
        (["--transfer.kept-upto", "block9"], "one of none, stem, block1.*block9"),
        (["--data"], "--data: expected one argument"),
        (["--config", "absent.yaml"], "does not exist"),
        (["--rec", "1"], "unknown option --rec"),
    ],
)
def test_mistakes_are_explained_in_one_line(words: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        parse(*words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("data: toy\ndata: esc50\n", "given twice: data"),
        ("recipe:\n  learning_rate: 1\n", "study.yaml: unknown option recipe.learning_rate; did you mean .*recipe.lr"),
        ("recipe:\n  lr: high\n", "expected a number"),
        ("seeds: three\n", "whole number"),
        ("data: [\n", "config"),
    ],
)
def test_mistakes_in_files_are_explained(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=says):
        parse("--config", str(file))


def test_a_user_error_ends_in_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    def failing(*, x: int = 1) -> None:
        raise UserError("no such thing; there is only this")

    with pytest.raises(SystemExit) as stop:
        cli.run(failing, [])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: no such thing; there is only this\n"


def test_a_full_disk_and_ctrl_c_are_told_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    def full(*, x: int = 1) -> None:
        raise OSError(28, "No space left on device", "/runs/x")

    def stopped(*, x: int = 1) -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        cli.run(full, [])
    assert stop.value.code == 2
    assert "error: cannot write /runs/x: No space left on device" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        cli.run(stopped, [])
    assert stop.value.code == 130


def test_what_cannot_be_read_is_not_told_as_what_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    def lacking(*, x: int = 1) -> None:
        raise FileNotFoundError(2, "No such file or directory", "my.csv")

    with pytest.raises(SystemExit) as stop:
        cli.run(lacking, [])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: my.csv: No such file or directory; mend that or name another place, then repeat\n"


def test_a_bug_is_not_dressed_up() -> None:
    def buggy(*, x: int = 1) -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        cli.run(buggy, [])


def listening(*, run: tuple[str, ...] = ()) -> None:
    """A command.

    Args:
        run: Keys.
    """


def test_a_key_that_looks_like_a_number_stays_a_word() -> None:
    assert cli.parse(listening, ["--run", "56562,1e5, abc"])["run"] == ("56562", "1e5", "abc")


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(UserError, match="--run is given twice"):
        cli.parse(listening, ["--run", "a", "--run", "b"])


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("folds: 1", ["--folds", "1"]),
        ('folds: "1,2"', ["--folds", "1,2"]),
        ("folds: all", ["--folds", "all"]),
        ("recipe: {drops: 3}", ["--recipe.drops", "3"]),
        ("on-bad-clip: skip", ["--on-bad-clip", "skip"]),
    ],
)
def test_a_list_in_a_file_may_be_written_as_on_the_command_line(tmp_path: Path, text: str, flags: list[str]) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    assert parse("--config", str(file)) == parse(*flags)


def test_an_empty_file_and_one_without_options_are_named(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    for text, says in (("# nothing\n", "the file is empty"), ("- 1\n", "expected lines such as")):
        file.write_text(text)
        with pytest.raises(UserError, match=f"study.yaml: {says}"):
            parse("--config", str(file))


def test_what_is_printed_for_one_command_is_taken_by_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tla import fusion, svcca

    with pytest.raises(SystemExit):
        cli.parse(fusion.main, ["--data", "toy", "--upto", "block3", "--recipe.lr", "1e-3", "--print_config"])
    file = tmp_path / "fusion.yaml"
    file.write_text(capsys.readouterr().out)
    assert cli.parse(svcca.main, ["--config", str(file)])["study"] == Study(data="toy", recipe=Recipe(lr=1e-3))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "fusion.yaml: left out, since python -m tla.svcca does not take them: upto, controls, rest, parts, rule" in said
    assert cli.parse(fusion.main, ["--config", str(file)])["upto"] == ("block3",)


def test_an_experiment_is_called_by_its_name_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    by_name = parse("--config", "table1_quick")
    study = by_name["study"]
    assert (study.data, study.backbone, study.folds, study.recipe.until) == ("esc10", "efficientnet_lite0", (1,), "plateau")
    assert capsys.readouterr().err == ""
    (tmp_path / "table1_quick").write_text("data: toy\n")
    assert parse("--config", "table1_quick") == by_name, "it means the same wherever it is given"
    assert "for the file here give ./table1_quick" in capsys.readouterr().err
    assert parse("--config", "./table1_quick")["study"] == Study(data="toy")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("fig2", r"no such file or experiment, did you mean fig2\w or .*\(the experiments: cutoff, fig2a,"),
        ("nothing", r"no such file or experiment \(the experiments: cutoff"),
        ("experiments/fig2b.yaml", r"no such file; the experiment is called by its name: --config fig2b$"),
        ("fig2b.yaml", "called by its name: --config fig2b$"),
        ("my/own.yaml", "does not exist"),
    ],
)
def test_what_is_no_file_and_no_experiment_is_told_from_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says):
        parse("--config", given)
