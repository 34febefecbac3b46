"""What `python -m tla.runs` prints of the runs in a folder, and of one of them."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import tla
from tla import cli, console, train
from tla.launch.study import list_runs, prepare
from tla.options import Picture, Place, Recipe, Study, Transfer
from tla.runs import __main__ as listing
from tla.runs import command
from tla.runs.folder import FinishedRun, RunFolder
from tla.runs.run import Run
from tla.tables import start

Write = Callable[..., FinishedRun]
SGD = Recipe(until="epochs", epochs=1, drops=(), optimizer="sgd")


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    cli.run(listing.main, words, positional="keys")
    return capsys.readouterr()


@pytest.mark.parametrize(
    ("weights", "plan", "words"),
    [
        ("imagenet:x", Transfer(), "pretrained"),
        ("imagenet:x", Transfer(frozen_upto="block3"), "pretrained, frozen up to block3"),
        ("imagenet:x", Transfer(pretrained_upto="block2"), "pretrained up to block2"),
        ("imagenet:x", Transfer(pretrained_upto="block2", kept_upto="block2"), "pretrained, cut behind block2"),
        ("imagenet:x", Transfer(pretrained_upto="block2", parts="conv"), "pretrained up to block2, convolutions only"),
        ("imagenet:x", Transfer(pretrained_upto="none", rest="meanvar"), "random, rest: mean and variance"),
        ("file:0123456789", Transfer(pretrained_upto="stem"), "pretrained up to stem (file 01234567)"),
        ("random", Transfer(pretrained_upto="none", frozen_upto="stem"), "random, frozen up to stem"),
    ],
)
def test_a_start_and_its_plan_in_words(weights: str, plan: Transfer, words: str) -> None:
    assert start(weights, plan) == words


def test_what_differs_is_in_columns_and_what_all_runs_share_stands_once_above(
    written: Write, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, run, [1, 0])
    written(tmp_path, replace(run, transfer=Transfer(frozen_upto="block3"), recipe=SGD), [1, 1])
    out, err = printed(capsys, "--runs", str(tmp_path))
    shared, _, headings, *rows = out.splitlines()
    assert shared == "2 runs: esc50, densenet201, protocol paper, fold 1, seed 0, length 1 epoch, lr 0.0001, training converged"
    assert headings.split()[:3] == ["key", "start", "optimizer"]
    assert ["pretrained, frozen up to block3  sgd" in row for row in rows] == [False, True]
    assert "finished runs in" in err
    monkeypatch.setattr(console, "page_width", lambda: 70)
    out, err = printed(capsys, "--runs", str(tmp_path))
    assert max(map(len, out.splitlines()[2:])) <= 70
    assert "left out, for want of room: s/epoch, loss, epochs" in err


def test_two_data_sets_differ_in_their_pictures_as_a_matter_of_course(
    written: Write, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = Picture(rate=22050, seconds=2.0, frames=100)
    written(tmp_path, run, [1, 0])
    written(tmp_path, replace(run, data="toy", data_digest="1", picture=small), [1, 0])
    assert "picture" not in printed(capsys, "--runs", str(tmp_path))[0]
    written(tmp_path, replace(run, picture=replace(run.picture, frames=100)), [1, 0])
    assert "picture_frames" in printed(capsys, "--runs", str(tmp_path))[0]


def test_load_runs_has_every_option(written: Write, run: Run, tmp_path: Path) -> None:
    written(tmp_path, replace(run, recipe=replace(SGD, drops=(3, 7))), [1, 0])
    (row,) = tla.load_runs(tmp_path).to_dict("records")
    assert (row["start"], row["optimizer"], row["drops"], row["epochs_asked"]) == ("pretrained", "sgd", "3,7", 1)
    assert (row["picture_mels"], row["augment"], row["augment_length"], row["frozen_norm"]) == (
        128,
        "bank:4",
        "resize",
        "inference",
    )


def test_what_is_still_to_be_trained_is_named(
    written: Write, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = written(tmp_path, run, [1, 0])
    lost.weights.write_bytes(b"weights")
    RunFolder(lost.path).finish(lost.result)
    lost.weights.unlink()
    begun = RunFolder(tmp_path / replace(run, seed=1).key)
    begun.describe(replace(run, seed=1), ["a", "b"], {})
    _, err = printed(capsys, "--runs", str(tmp_path))
    assert f"{lost.key} has lost its weights" in err
    assert f"{begun.key} is not finished: 0 of 1 epoch so far (esc50, densenet201, pretrained, fold 1, seed 1)" in err
    assert "its weights are lost" in printed(capsys, lost.key[:6], "--runs", str(tmp_path))[0]


def test_one_run_is_printed_with_its_curves_and_classes(
    written: Write, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = written(tmp_path, run, [1, 0, 1, 0, 1, 1])
    out, _ = printed(capsys, one.key[:5], "--runs", str(tmp_path))
    assert f"run {one.key}: esc50, densenet201, pretrained, fold 1 held out, seed 0" in out
    table = [line.split() for line in out.splitlines()]
    assert ["b", "3", "33.3", "33.3", "a", "(2)"] in table, "the second class was taken for the first twice"
    assert ["1", "1", "66.7", "#" * 13] in table


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"seeds": 2, "recipe": Recipe(lr=1e-3, cap=60, standardise=True), "protocol": "nested"},
        {
            "transfer": Transfer(frozen_upto="block1", frozen_norm="live"),
            "backbone": "efficientnet_lite0",
            "weights": "imagenet",
        },
        {"transfer": Transfer(kept_upto="block2"), "on_bad_clip": "skip"},
        {"data": "toy", "picture": Picture(windows="one"), "recipe": Recipe(until="epochs", drop_factor=0.5)},
    ],
    ids=["random", "plateau", "frozen", "cut", "a named set"],
)
def test_the_command_that_is_printed_makes_the_run(
    written: Write, study: Study, place: Place, capsys: pytest.CaptureFixture[str], change: dict
) -> None:
    if "weights" in change:
        change = change | {"picture": Picture()}
    material = prepare(replace(study, **change), place)
    wanted = list_runs(material)[-1]
    written(Path(place.runs), wanted, [1, 0], made=material.given)
    out, _ = printed(capsys, wanted.key, "--runs", place.runs)
    (line,) = [line for line in out.splitlines() if "python -m tla.train" in line]
    parsed = cli.parse(train.main, shlex.split(line)[3:])
    assert (parsed["place"].runs, parsed["place"].data_root) == (place.runs, place.data_root)
    assert list_runs(prepare(parsed["study"], parsed["place"]))[-1].key == wanted.key


def test_a_run_that_starts_from_another_one_names_it(written: Write, run: Run, tmp_path: Path) -> None:
    donor = written(tmp_path, replace(run, weights="random", transfer=Transfer(pretrained_upto="none")), [1, 0])
    donor.weights.write_bytes(b"weights")
    folder = RunFolder(donor.path)
    folder.finish(donor.result)
    from tla.nets.weights import identity

    child = written(tmp_path, replace(run, weights=identity(str(donor.weights), "densenet201")), [1, 0])
    assert command.donor(child) == command.alone(child).weights == donor.key
    own = written(tmp_path, replace(run, weights="file:0123"), [1, 0], made={"weights_given": "/there/w.pth"})
    assert command.alone(own).weights == "/there/w.pth"


def test_studies_differ_in_what_is_named_and_nothing_else() -> None:
    one = Study(recipe=Recipe(lr=1e-3, epochs=8))
    other = replace(one, recipe=Recipe(lr=1e-4), picture=Picture(mels=64), folds=(1, 2))
    assert command.differences(one, other) == [
        "folds all instead of 1,2",
        "picture.mels 128 instead of 64",
        "recipe.epochs 8",
        "recipe.lr 0.001 instead of 0.0001",
    ]
    assert command.differences(other, one)[2] == "no recipe.epochs 8"
    assert command.differences(one, one) == []


def test_a_table_of_runs_is_read_back(written: Write, run: Run, tmp_path: Path) -> None:
    written(tmp_path / "runs", run, [1, 0])
    cli.run(listing.main, ["--runs", str(tmp_path / "runs"), "--csv", str(tmp_path / "runs.csv")], positional="keys")
    assert set(pd.read_csv(tmp_path / "runs.csv").columns) == set(tla.load_runs(tmp_path / "runs").columns)
