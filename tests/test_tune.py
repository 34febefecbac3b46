"""The grid search: every combination once, chosen on validation clips alone, and the choice fit for use."""

import dataclasses
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tla import cli, train, tune
from tla.errors import UserError
from tla.launch import grid_figure as draw
from tla.launch.grid import combinations, measure, nested, search_grid, validation_clips
from tla.launch.study import prepare
from tla.options import Grid, Place, Recipe, Search, Study
from tla.runs import fit as fitting
from tla.runs.folder import RunFolder, load

SEARCH = Search(grid=Grid(lr=(1e-2, 1e-4), weight_decay=(0.0, 1e-3)))


@pytest.fixture
def quick(study: Study) -> Study:
    return replace(study, recipe=Recipe(epochs=2, standardise=True))


def found(place: Place, end: str) -> Path:
    """The one file of a search that ends so."""
    (path,) = Path(place.figures).glob(f"few-densenet_tiny-*/tune_lr*{end}")
    return path


def test_every_option_of_the_recipe_can_be_searched() -> None:
    assert [f.name for f in dataclasses.fields(Grid)] == [f.name for f in dataclasses.fields(Recipe)]


def test_combinations_are_the_product_in_order() -> None:
    grid = Grid(lr=(1e-3, 1e-4), standardise=(False, True), drops=((8,), (4, 8)))
    found = combinations(grid)
    assert len(found) == 8
    assert found[0] == {"lr": 1e-3, "drops": (8,), "standardise": False}
    assert found[1] == {"lr": 1e-3, "drops": (8,), "standardise": True}
    assert found[-1] == {"lr": 1e-4, "drops": (4, 8), "standardise": True}
    for options in found:
        replace(Recipe(), **options)


def test_values_are_given_as_lists() -> None:
    words = [
        "--grid.lr",
        "1e-3,1e-4",
        "--grid.weight-decay",
        "0",
        "--grid.optimizer",
        "adam,sgd",
        "--grid.standardise",
        "true,false",
    ]
    words += ["--grid.drops", "[[8],[4,8]]", "--grid.batch", "16"]
    search = cli.parse(tune.main, words)["search"]
    assert search.grid == Grid(
        lr=(1e-3, 1e-4),
        weight_decay=(0.0,),
        optimizer=("adam", "sgd"),
        standardise=(True, False),
        drops=((8,), (4, 8)),
        batch=(16,),
    )


def test_a_search_finds_its_best_on_validation_clips_alone(
    quick: Study, place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tune.main(quick, place, SEARCH)
    printed = capsys.readouterr()
    assert "test" not in printed.err, "nobody is to know what a run scored on the held-out fold"
    runs = pd.read_csv(found(place, "3.csv"))
    points = pd.read_csv(found(place, "_points.csv"))
    assert list(zip(runs["lr"], runs["weight_decay"], strict=True)) == [(1e-2, 0), (1e-2, 1e-3), (1e-4, 0), (1e-4, 1e-3)]
    assert points["best"].sum() == 1
    assert points.loc[points["best"], "accuracy"].item() == points["accuracy"].max() == 100 * runs["validation"].max()
    assert (points["low"] <= points["accuracy"]).all()
    assert (points["accuracy"] <= points["high"]).all()
    np.testing.assert_allclose(points["behind"], points["accuracy"] - points["accuracy"].max(), atol=1e-9)

    for key in runs["key"]:  # whatever the runs scored on the held-out fold, the choice is the same
        folder = RunFolder(Path(place.runs) / key)
        run = load(folder.path)
        score = replace(run.result.scores["test"], accuracy=float(key == runs["key"].iloc[-1]))
        folder.write_predictions(replace(run.predictions, logits={"test": -run.predictions.logits["test"]}))
        folder.finish(replace(run.result, scores={"test": score}))
    monkeypatch.setattr(fitting, "train_epoch", lambda *_: pytest.fail("trained again"))
    tune.main(quick, place, SEARCH)
    pd.testing.assert_frame_equal(pd.read_csv(found(place, "_points.csv")), points)


def test_the_best_options_are_taken_by_other_commands(quick: Study, place: Place) -> None:
    tune.main(quick, place, Search(grid=Grid(lr=(1e-2, 1e-5))))
    path = found(place, "_best.yaml")
    assert path.read_text().startswith("# Chosen by tla.tune: ")
    points = pd.read_csv(found(place, "_points.csv"))
    given = cli.parse(train.main, ["--config", str(path), "--folds", "1,2"])["study"]
    assert given.recipe.lr == points.loc[points["best"], "lr"].item()
    assert replace(given, folds=quick.folds, recipe=quick.recipe) == quick


def test_a_score_is_that_of_the_chosen_network_on_the_validation_clips(quick: Study, place: Place) -> None:
    search = Search(grid=Grid(lr=(1e-2, 1e-3)))
    study = nested(replace(quick, seeds=2), search, place)
    material = prepare(study, place)
    trials = search_grid(material, search, place)
    assert [(trial.options["lr"], trial.run.seed) for trial in trials] == [(1e-2, 0), (1e-2, 1), (1e-3, 0), (1e-3, 1)]
    for trial in trials:
        assert trial.run.protocol == "nested"
        (clips,) = validation_clips([trial], material).values()
        assert clips.right.mean() == max(trial.accuracies) == max(row["accuracy"] for row in trial.folder.log)
        held_out = {str(name) for name in trial.folder.predictions.names}
        assert not held_out & set(clips.clips.tolist())
    found = measure(trials, material)
    pairs = [np.mean([max(t.accuracies) for t in trials[i : i + 2]]) for i in (0, 2)]
    np.testing.assert_allclose(found.points["accuracy"], 100 * np.array(pairs))
    assert found.best == {"lr": (1e-2, 1e-3)[int(np.argmax(pairs))]}
    assert list(found.points["runs"]) == [2, 2]


def test_what_was_stopped_is_drawn_but_not_chosen(quick: Study, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    material = prepare(nested(quick, SEARCH, place), place)
    trials = search_grid(material, SEARCH, place)
    trials[1] = replace(trials[1], folder=None, accuracies=[1.0])
    found = measure(trials, material)
    assert list(found.points["stopped"]) == [False, True, False, False]
    assert found.points["accuracy"].iloc[1] == 100
    assert found.best != trials[1].options
    draw.publish(found, Path(place.figures) / "tuned")
    assert "stopped early" in capsys.readouterr().out
    assert "Hollow" in draw.about(found.runs, found.points)
    picture = (Path(place.figures) / "tuned.pdf").read_bytes()
    (Path(place.figures) / "tuned.pdf").unlink()
    tables = [pd.read_csv(Path(place.figures) / name) for name in ("tuned.csv", "tuned_points.csv")]
    from tla import plots

    plots.save(draw.figure(*tables, found.options), Path(place.figures) / "tuned")
    assert (Path(place.figures) / "tuned.pdf").read_bytes() == picture
    with pytest.raises(UserError, match="every combination was stopped early"):
        measure([replace(trial, folder=None, accuracies=[0.5]) for trial in trials], material)


@pytest.mark.parametrize(
    ("change", "search", "message"),
    [
        ({}, Search(), "give values to try, as in --grid.lr"),
        ({}, Search(grid=Grid(lr=(1e-3, 1e-3))), "--grid.lr names a value twice: 0.001, 0.001"),
        ({}, replace(SEARCH, asha=True), "add --launch ray"),
        ({"launch": "ray", "folds": "all"}, replace(SEARCH, asha=True), "one fold .* and one seed"),
        ({"launch": "ray", "seeds": 2}, replace(SEARCH, asha=True), "one fold .* and one seed"),
        ({"launch": "ray"}, Search(asha=True, grid=Grid(epochs=(2, 4))), "give --recipe.epochs, and no --grid.epochs"),
        ({"launch": "ray"}, replace(SEARCH, asha=True, grace=0), "--grace is 0"),
        ({"launch": "ray"}, replace(SEARCH, asha=True, grace=2), "--grace is 2 and runs have 2 epochs"),
        ({}, Search(grid=Grid(lr=(-1.0,))), "--recipe.lr is -1"),
    ],
)
def test_a_search_that_cannot_be_is_refused(quick: Study, place: Place, change: dict, search: Search, message: str) -> None:
    where = {name: value for name, value in change.items() if name == "launch"}
    what = {name: value for name, value in change.items() if name != "launch"}
    with pytest.raises(UserError, match=message):
        tune.main(replace(quick, **what), replace(place, **where), search)
