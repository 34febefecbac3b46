"""What TensorBoard is shown of a run: what its log, options and result say, whenever it is written."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tla import cli
from tla.errors import UserError
from tla.launch.study import ensure, list_runs, prepare
from tla.options import Place, Recipe, Study, Transfer
from tla.runs import __main__ as listing
from tla.runs import events
from tla.runs.folder import FinishedRun, RunFolder
from tla.runs.run import Run

Write = Callable[..., FinishedRun]


def shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The curves that TensorBoard reads from a folder: step and value, by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (_,) = folder.iterdir()  # in one file, so that no epoch is there twice
    read = EventAccumulator(str(folder))
    read.Reload()
    return {name: [(event.step, event.value) for event in read.Scalars(name)] for name in read.Tags()["scalars"]}


def as_logged(run: FinishedRun) -> dict[str, list[tuple[int, float]]]:
    """The curves as they should be."""
    curves = {name: [(row["epoch"], pytest.approx(row[name])) for row in run.log] for name in events.CURVES}
    for rule, score in run.result.scores.items():
        curves[f"{rule}/accuracy"] = [(run.result.epochs, pytest.approx(score.accuracy))]
        curves[f"{rule}/macro_accuracy"] = [(run.result.epochs, pytest.approx(score.macro_accuracy))]
    return curves


@pytest.mark.parametrize("workers", [1, 2])
def test_the_events_of_a_study_are_its_logs_also_of_runs_that_were_finished(study: Study, place: Place, workers: int) -> None:
    asked = replace(place, tensorboard=True, workers=workers, threads=1)
    (before,) = trained(study, place)
    assert not (before.path / events.FOLDER).exists()
    for run in [*trained(replace(study, folds=(1, 2)), asked), *trained(study, asked)]:
        assert shown(run.path / events.FOLDER) == as_logged(run)


def trained(study: Study, place: Place) -> list[FinishedRun]:
    material = prepare(study, place)
    return ensure(list_runs(material), material, place)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_events_are_there_while_it_trains(
    study: Study, place: Place, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(events, "write", lambda run, path: None)  # what this process does when all are trained
    for run in trained(replace(study, folds=(1, 2)), replace(place, tensorboard=True, workers=workers, threads=1)):
        curves = as_logged(run)
        assert shown(run.path / events.FOLDER) == {name: curves[name] for name in events.CURVES}


def test_a_run_that_goes_on_shows_the_epochs_of_before(study: Study, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begun without event files, ended after two epochs, gone on with them."""
    from tla.errors import RunsFailed
    from tla.runs import fit

    real, epochs = fit.run_epoch, []

    def ending(*given: object) -> object:
        if len(epochs) == 2:
            raise UserError("ended")
        epochs.append(1)
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(fit, "run_epoch", ending)
    with pytest.raises(RunsFailed):
        trained(study, place)
    monkeypatch.setattr(fit, "run_epoch", real)
    monkeypatch.setattr(events, "write", lambda run, path: None)  # only what is written as it trains
    (run,) = trained(study, replace(place, tensorboard=True))
    curves = as_logged(run)
    assert shown(run.path / events.FOLDER) == {name: curves[name] for name in events.CURVES}


def test_any_finished_runs_are_written_by_their_names(
    written: Write, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = written(tmp_path / "runs", run, [1, 0], when="2026-01-02T03:04:05+0000")
    plan = Transfer(pretrained_upto="block2")
    two = written(tmp_path / "runs", replace(run, data="My sounds/é", seed=1, transfer=plan), [1, 1])
    begun = RunFolder(tmp_path / "runs" / replace(run, seed=7).key)
    begun.describe(replace(run, seed=7), ["a", "b"], {})
    board = tmp_path / "my board"
    for _ in range(2):  # the second time it is as after the first
        cli.run(listing.main, ["--runs", str(tmp_path / "runs"), "--tensorboard", str(board)], positional="keys")
        assert f"2 runs in {board}: `tensorboard --logdir '{board}'` shows them" in capsys.readouterr().err
        assert {path.name for path in board.iterdir()} == {
            f"esc50-densenet201-pretrained-fold1-seed0-{one.key}",
            f"My_sounds_é-densenet201-pretrained_up_to_block2-fold1-seed1-{two.key}",
        }
        assert shown(board / events.called(one))["accuracy"] == [(1, 0.5)]
        assert shown(board / events.called(two))["last/macro_accuracy"] == [(1, 1.0)]
    cli.run(
        listing.main, [two.key[:6], "--runs", str(tmp_path / "runs"), "--tensorboard", str(tmp_path / "b")], positional="keys"
    )
    assert [path.name for path in (tmp_path / "b").iterdir()] == [events.called(two)]


def test_options_are_named_as_on_the_command_line_and_of_kinds_that_tensorboard_takes(run: Run) -> None:
    named = events.options(replace(run, recipe=Recipe(until="epochs", epochs=9, drops=(3, 7), lr=1e-3)))
    assert (named["recipe.lr"], named["recipe.drops"], named["picture.frames"]) == (1e-3, "3,7", 250)
    assert named["start"] == "pretrained"
    assert "recipe.head_lr" not in named, "it is not set"
    assert {type(value) for value in named.values()} <= {str, int, float, bool}


def test_times_are_those_of_the_training(written: Write, run: Run, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    one = written(tmp_path, run, [1, 0], when="1970-01-01T01:00:00+0000")
    rows = [{"epoch": number, "loss": 1.0, "seconds": 10.0} for number in (1, 2, 3)]
    events.write(replace(one, log=rows), tmp_path / "board")
    read = EventAccumulator(str(tmp_path / "board"))
    read.Reload()
    assert [event.wall_time for event in read.Scalars("loss")] == [3580.0, 3590.0, 3600.0]
    assert "_hparams_/session_start_info" in read.summary_metadata, "the options are there too"


def test_without_tensorboard_it_is_refused_before_anything_is_made(
    study: Study, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'tla\[tensorboard\]'"):
        prepare(study, replace(place, tensorboard=True))
    assert not Path(place.runs).exists()
