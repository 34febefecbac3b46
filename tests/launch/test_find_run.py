"""The study at hand and the clips of a run, found again from what finished runs keep."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tla.errors import UserError
from tla.launch.find_run import at_hand, data_of, newest_study, origin
from tla.launch.study import list_runs, prepare
from tla.options import Picture, Place, Recipe, Study, Transfer
from tla.runs.folder import FinishedRun
from tla.runs.run import Run

Write = Callable[..., FinishedRun]
TEN = [1, 0] * 5
IMAGENET = {"weights": "imagenet", "backbone": "efficientnet_lite0", "picture": Picture()}


def keys(study: Study, place: Place, plan: Transfer | None = None) -> set[str]:
    return {run.key for run in list_runs(prepare(study, place), plan=plan)}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"recipe": Recipe(lr=1e-3, cap=60), "protocol": "nested", "on_bad_clip": "skip"},
        {"recipe": Recipe(until="plateau", standardise=True), **IMAGENET},
        {"recipe": Recipe(epochs=70, drops=(2,), optimizer="sgd"), "precision": "auto", **IMAGENET},
        {"data": "toy", "recipe": Recipe(until="epochs"), **IMAGENET},
    ],
    ids=["random", "random, plateau", "imagenet, plateau", "imagenet, epochs", "a named set"],
)
def test_the_study_at_hand_has_the_keys_of_its_runs(
    study: Study, place: Place, written: Write, options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(study, folds=(1, 3), seeds=2, **options)
    if asked.data != "toy":  # as one gives it in the folder where it lies
        monkeypatch.chdir(Path(study.data).parent)
        asked = replace(asked, data=Path(study.data).name)
    material = prepare(asked, place)
    for run in list_runs(material):
        written(Path(place.runs), run, TEN, made=material.given)
    monkeypatch.chdir(place.runs)
    found = newest_study(Path(place.runs))
    assert found is not None
    assert (found.folds, found.seeds, found.data) == ((1, 3), 2, material.given["data_given"])
    assert keys(found, place) == keys(replace(asked, data=found.data), place) == {path.name for path in Path().iterdir()}


@pytest.mark.parametrize("picture", [Picture(mels=32, frames=40), Picture(mels=32)])
def test_the_study_at_hand_of_ones_own_clips_has_their_pictures(
    study: Study, place: Place, written: Write, picture: Picture, tmp_path: Path
) -> None:
    mine = shutil.copytree(Path(study.data) / "audio", tmp_path / "mine")
    asked = replace(study, data=str(mine), picture=picture)
    material = prepare(asked, place)
    (run,) = list_runs(material)
    written(Path(place.runs), run, TEN, made=material.given)
    found = newest_study(Path(place.runs))
    assert found is not None
    assert keys(found, place) == {run.key}


def test_the_study_at_hand_is_the_newest_with_its_starts_and_plans(written: Write, run: Run, tmp_path: Path) -> None:
    assert newest_study(tmp_path) is None
    paper = replace(run, recipe=Recipe(until="epochs", epochs=70, drops=(30, 60)))
    scratch = {"weights": "random", "transfer": Transfer(pretrained_upto="none")}
    long = Recipe(until="epochs", epochs=450, drops=(300, 350))
    written(tmp_path, replace(run, backbone="resnet50"), TEN, when="2026-01-01")
    for day, one in enumerate(
        (
            *(replace(paper, fold=fold, seed=seed) for fold, seed in ((1, 0), (1, 1), (2, 0), (2, 1), (1, 2))),
            replace(paper, transfer=Transfer(pretrained_upto="block2"), fold=3),
            replace(paper, **scratch),
            replace(paper, **scratch, recipe=long),
            replace(paper, recipe=replace(paper.recipe, times=2.0)),
        )
    ):
        written(tmp_path, one, TEN, when=f"2026-02-{10 + day}")
        found = newest_study(tmp_path)
        assert found is not None
        assert (found.backbone, found.weights, found.recipe) == ("densenet201", "imagenet", Recipe()), one
    assert (found.folds, found.seeds) == ((1, 2, 3), 1)
    shutil.rmtree(tmp_path / replace(paper, transfer=Transfer(pretrained_upto="block2"), fold=3).key)
    found = newest_study(tmp_path)
    assert found is not None
    assert (found.folds, found.seeds) == ((1, 2), 2), "seed 2 is there on one fold only"


def test_the_clips_of_a_run_are_found_where_they_lay_or_by_name(
    study: Study, place: Place, written: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Path(shutil.copytree(study.data, tmp_path / "my sounds"))
    material = prepare(replace(study, data=str(mine)), place)
    (run,) = list_runs(material)
    folder = written(Path(place.runs), replace(run, data="as it was called once"), TEN, made=material.given)
    monkeypatch.chdir(tmp_path)
    assert data_of(folder, place) == str(mine)
    assert origin(folder, Study(), place).dataset.root == mine  # no --data is given
    assert origin(folder, replace(study, data=study.data), place).folder.run.data == "toy", "as it is called now"
    next(mine.rglob("*.wav")).unlink()
    with pytest.raises(UserError, match=f"the clips of run {run.key} are not found .*: give them with --data PATH"):
        data_of(folder, place)
    assert at_hand(folder, Study(), place) is None


def test_a_transfer_plan_about_weights_that_are_random_is_refused(study: Study, place: Place) -> None:
    for transfer, named in (
        (Transfer(pretrained_upto="block3"), "no weights for --transfer.pretrained-upto block3"),
        (Transfer(parts="norm"), "--transfer.parts norm is about pretrained weights"),
    ):
        with pytest.raises(UserError, match=named):
            prepare(replace(study, transfer=transfer), place)
