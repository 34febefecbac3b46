"""Sweeps train what is missing and no more, and their endpoints are their parents."""

from dataclasses import replace
from pathlib import Path

import pytest

from tla import cli, cutoff, freeze, fusion
from tla.errors import UserError
from tla.launch.study import list_runs, prepare, train_missing
from tla.options import STAGES, Place, Recipe, Study, Transfer
from tla.runs import fit as fitting
from tla.runs.run import Run
from tla.stages.sweep import ends, selffer, sweep
from tla.stages.tables import ENDS


def fusions() -> dict[str, Transfer]:
    return {stage: Transfer(pretrained_upto=stage) for stage in ("none", *STAGES)}


def test_the_ends_of_a_fusion_are_the_runs_of_both_parents(from_donor: Study, place: Place) -> None:
    material = prepare(from_donor, place)
    points = sweep(material, fusions(), ["none", "block4"], place)
    assert list(points) == ["none", "block4"]
    assert [f.key for f in points["block4"]] == [run.key for run in list_runs(material)]
    assert points["none"][0].run.weights == "random"
    assert ends(material, place) == {"pretrained": points["block4"], "random": points["none"]}


def test_an_interrupted_sweep_trains_only_what_is_missing(
    from_donor: Study, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    material, trained = prepare(from_donor, place), []
    real, trips = fitting.fit, 2

    def counted(run: Run, *rest: object, **more: object) -> None:
        if len(trained) == trips:
            raise KeyboardInterrupt
        trained.append(run.transfer.pretrained_upto)
        real(run, *rest, **more)

    monkeypatch.setattr(fitting, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        sweep(material, fusions(), ["stem", "block1", "block2"], place)
    trips = 9
    points = sweep(material, fusions(), ["stem", "block1", "block2"], place)
    assert trained == ["stem", "block1", "block2"]
    assert list(points) == ["none", "stem", "block1", "block2"]  # the first is the donor itself


def test_keeping_all_is_the_whole_network(from_donor: Study, place: Place) -> None:
    material = prepare(from_donor, place)
    plans = {stage: replace(from_donor.transfer, kept_upto=stage) for stage in STAGES}
    points = sweep(material, plans, ["block4", "block2"], place)
    assert points["block4"][0].key == list_runs(material)[0].key
    results = {stage: folders[0].result for stage, folders in points.items()}
    assert results["block2"].parameters < results["block4"].parameters
    assert results["block2"].multiply_adds < results["block4"].multiply_adds


def test_selffers_start_from_the_run_of_their_own_fold(study: Study, place: Place) -> None:
    material = prepare(replace(study, folds=(1, 2), recipe=Recipe(epochs=1, lr=1e-3)), place)
    curve = selffer(material, fusions(), ["none", "block1"], place)
    points = curve.finished(train_missing(curve.plan, place))
    donors = {run.fold: run.key for run in list_runs(material, start="random")}
    assert [f.key for f in points["none"]] == [donors[1], donors[2]]  # nothing taken over: the donors themselves
    first, second = points["block1"]
    assert (first.run.fold, second.run.fold) == (1, 2)
    assert first.run.weights != second.run.weights


def test_the_commands_write_what_they_name(from_donor: Study, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    fusion.main(from_donor, place, upto=("block3",))
    fusion.main(from_donor, place, upto=("none",))
    freeze.main(from_donor, place, upto=("none", "block4"))
    cutoff.main(from_donor, place, keep=("block4", "block1"))
    assert "all pretrained" not in capsys.readouterr().err
    (figures,) = (path.parent for path in Path(place.figures).glob("*/study.json"))
    for name in ("fig2b_fusion", "fig2b_fusion_curves", "fig2c_freeze", "fig2c_freeze_curves", "cutoff", "cutoff_curves"):
        assert (figures / f"{name}.pdf").stat().st_size > 2000
        assert (figures / f"{name}.png").stat().st_size > 2000
    header = (figures / "fig2b_fusion.csv").read_text().splitlines()[0].split(",")
    wanted = {"curve", "point", "fold", "seed", "best", "last", "last_macro", "trainable", "parameters", "frozen_norm"}
    assert wanted | {"multiply_adds", "seconds_per_epoch"} <= set(header)
    points = [line.split(",")[1] for line in (figures / "fig2b_fusion_points.csv").read_text().splitlines()[1:]]
    assert points[:2] == ["none", "block3"]  # the second call drew the first one's point too
    assert ENDS in (figures / "fig2b_fusion_points.csv").read_text()


def test_controls_are_drawn_together(from_donor: Study, place: Place) -> None:
    fusion.main(from_donor, place, upto=("stem", "block4"), controls=True)
    text = next(Path(place.figures).glob("*/fig2b_fusion_controls_points.csv")).read_text()
    for curve in (
        "rest: mean and variance",
        "convolutions only",
        "batch norm only",
        "pretrained, frozen",
        "own sounds, frozen",
    ):
        assert curve in text


def test_mistakes_are_answered_with_what_is_possible(study: Study, place: Place) -> None:
    with pytest.raises(UserError, match=r"--upto.*one of none, stem"):
        cli.parse(fusion.main, ["--upto", "block9"])
    with pytest.raises(UserError, match="fusion needs pretrained weights"):
        fusion.main(study, place)
    with pytest.raises(UserError, match="--keep none: possible are stem"):
        cutoff.main(study, place, keep=("none",))
