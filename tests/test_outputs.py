"""Where figures and tables lie, and what is never replaced."""

import importlib
import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest

from tla import cli, console, manifest, outputs
from tla.errors import UserError
from tla.options import Augment, Picture, Place, Recipe, Study, Transfer
from tla.runs.folder import FinishedRun

QUICK = Study(
    data="PATH/ESC-10",
    backbone="efficientnet_lite0",
    folds=(1, 2),
    augment=Augment(kind="none"),
    recipe=Recipe(until="plateau", lr=1e-3, standardise=True),
)


def test_a_name_is_made_of_what_differs_from_the_defaults() -> None:
    assert outputs.name(Study()) == "esc50-densenet201"
    assert outputs.name(QUICK) == "esc10-efficientnet_lite0-folds1+2-augment_none-plateau-lr1e-3-standardise"
    assert outputs.name(replace(QUICK, data="esc10")) == outputs.name(QUICK)
    assert outputs.name(Study(weights="random", data="my/some sounds.csv")) == "some_sounds-densenet201-random"
    plan = Transfer(frozen_upto="block3", rest="meanvar")
    named = outputs.name(Study(weights="a/donor.safetensors", backbone="timm:vit_tiny.aug", transfer=plan))
    assert named == "esc50-timm_vit_tiny_aug-from_donor-frozen_upto_block3-meanvar"


@pytest.mark.parametrize("data", ["my sounds", "a'b\"c$d", "x;rm -rf ~", "100%#&{}\\", "-x", "日本", "."])
def test_a_name_means_nothing_to_a_shell_or_to_latex(data: str) -> None:
    name = outputs.name(Study(data=data, recipe=Recipe(lr=0.00025, drop_factor=0.5, weight_decay=0.015)))
    assert name == shlex.quote(name)
    assert not set(name) & set(".~%#&{}\\$ ^")
    assert name[0].isalnum()


def test_a_long_name_is_cut_at_a_word_and_stays_its_own() -> None:
    picture = Picture(mels=64, frames=100, length="pad", rate=22050, seconds=2.5)
    long = replace(QUICK, seeds=3, protocol="nested", picture=picture)
    names = {outputs.name(long), outputs.name(replace(long, recipe=Recipe(batch=8)))}
    assert len(names) == 2
    assert all(len(name) <= outputs.LONGEST for name in names)


def test_a_study_finds_its_folder_again_and_no_other_one_does(place: Place) -> None:
    study = Study(data="a/sounds")
    first = outputs.folder(study, place, "digest")
    assert outputs.folder(study, place, "digest") == first == Path(place.figures) / "sounds-densenet201"
    assert outputs.folder(study, place) == first
    assert outputs.folder(replace(study, data="moved/sounds"), place, "digest") == first, "the same clips"
    other = outputs.folder(replace(study, data="b/sounds"), place, "another digest")
    assert other.name == "sounds-densenet201-2"
    assert outputs.folder(replace(study, data="b/sounds"), place, "another digest") == other
    mine = Path(place.figures) / "sounds-densenet201-folds1"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    assert outputs.folder(replace(study, folds=(1,)), place, "digest").name == "sounds-densenet201-folds1-2"
    kept = json.loads((first / "study.json").read_text())
    assert kept == json.loads(json.dumps(asdict(study))) | {"data_digest": "digest"}


def test_an_option_that_is_new_leaves_folders_valid(place: Place) -> None:
    folder = outputs.folder(QUICK, place, "digest")
    kept = json.loads((folder / "study.json").read_text())
    del kept["seeds"], kept["recipe"]["times"]
    (folder / "study.json").write_text(json.dumps(kept))
    assert outputs.folder(QUICK, place, "digest") == folder


def test_folders_of_all_studies_or_of_one(place: Place) -> None:
    figures = Path(place.figures)
    mine, other = outputs.folder(QUICK, place, "d"), outputs.folder(replace(QUICK, folds=(1,)), place, "d")
    report = outputs.report_folder(place, {"data": "PATH/ESC-10", "rule": None})
    assert report.name == "report-esc10"
    (figures / "else").mkdir()
    assert set(outputs.folders(figures)) == {figures, mine, other, report}
    assert outputs.folders(figures, QUICK) == [mine]
    assert set(outputs.folders(figures, replace(QUICK, data=""))) == {figures, mine, other, report}
    assert outputs.reports(figures, {"data": "PATH/ESC-10"}) == [report]
    assert outputs.reports(figures, {"data": "esc50"}) == []


def test_what_tla_did_not_write_is_replaced_only_if_asked(tmp_path: Path) -> None:
    path, table = tmp_path / "table.csv", pd.DataFrame({"a": [1]})
    path.write_text("mine")
    with pytest.raises(UserError, match=r"table\.csv is there, and tla did not write it .* --overwrite replaces it"):
        manifest.write_table(path, table)
    assert path.read_text() == "mine"
    with manifest.overwriting():
        manifest.write_table(path, table)
    manifest.write_table(path, table.assign(b=2))
    assert manifest.vouched(path) == b"a,b\n1,2\n"


def test_a_table_elsewhere_is_replaced_by_one_of_its_kind(tmp_path: Path) -> None:
    for name, first, same, other in (
        ("t.csv", "a,b\n1,2\n", "a,b\n3,4\n", "a,c\n1,2\n"),
        ("t.json", '[{"a": 1}]', '[{"a": 2}]', '[{"b": 1}]'),
        ("sound.wav", "RIFF", "RIFF", "a,b\n"),
    ):
        path = tmp_path / name
        outputs.write_over(path, first, overwrite=False)
        outputs.write_over(path, same, overwrite=False)
        with pytest.raises(UserError, match="--overwrite replaces it"):
            outputs.write_over(path, other, overwrite=False)
        assert path.read_text() == same
        outputs.write_over(path, other, overwrite=True)
        assert path.read_text() == other


def test_a_hint_names_the_folders_that_were_given_and_works_as_it_is_printed() -> None:
    assert console.command("runs") == "python -m tla.runs"
    with console.placed({"runs": "my runs", "figures": "f", "data_root": "d"}):
        assert console.command("runs") == "python -m tla.runs --runs 'my runs'"
        assert console.command("data", "esc50") == "python -m tla.data esc50 --data-root d"
        line = console.command("svcca", "--data toy")
    assert line == "python -m tla.svcca --data toy --runs 'my runs' --figures f --data-root d"
    place = cli.parse(importlib.import_module("tla.svcca").main, shlex.split(line)[3:])["place"]
    assert (place.runs, place.figures, place.data_root) == ("my runs", "f", "d")


def test_a_command_takes_the_study_at_hand_with_what_is_given(
    from_donor: Study, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module("tla.fusion").main
    words = ["--runs", place.runs, "--figures", place.figures, "--data-root", str(place.data_root)]
    (run,) = Path(place.runs).iterdir()
    capsys.readouterr()
    found = cli.parse(main, words)["study"]
    assert (found.data, found.backbone, found.folds) == (from_donor.data, "densenet_tiny", (1,))
    said = capsys.readouterr().err
    assert said.startswith("the study at hand: few with densenet_tiny, random, folds1")
    assert said.endswith("(--data, --config name another)\n")
    asked = cli.parse(main, [*words, "--folds", "all", "--recipe.lr", "1e-4"])["study"]
    assert asked == replace(found, folds="all", recipe=replace(found.recipe, lr=1e-4))
    assert cli.parse(main, [*words, "--data", "esc10"])["study"] == Study(data="esc10")
    assert cli.parse(importlib.import_module("tla.train").main, words)["study"] == Study()
    assert cli.parse(main, ["--runs", str(Path(place.runs) / "none")])["study"] == Study()

    given = replace(found, picture=from_donor.picture, precision="auto")  # where its figures lie, as it was asked for
    manifest.write_text(outputs.folder(given, place, "d") / "fig.csv", "a\n")
    assert cli.parse(main, words)["study"] == given
    ig = importlib.import_module("tla.ig").main
    assert cli.parse(ig, [*words, "--run", run.name[:6]])["study"].recipe.lr == from_donor.recipe.lr
    assert f"the study of run {run.name}: " in capsys.readouterr().err


def test_a_run_and_a_study_are_files_of_options(written, run, tmp_path: Path, place: Place) -> None:
    folder: FinishedRun = written(tmp_path / "runs", replace(run, fold=2, seed=1), [1, 0])
    main = importlib.import_module("tla.svcca").main
    study = cli.parse(main, ["--config", str(folder.path / "run.json")])["study"]
    assert (study.folds, study.seeds, study.weights) == ((2,), 2, "imagenet")
    assert (study.recipe, study.picture) == (run.recipe, run.picture)
    kept = outputs.folder(QUICK, place, "digest") / "study.json"
    assert cli.parse(main, ["--config", str(kept)])["study"] == QUICK
