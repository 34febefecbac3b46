"""What notebooks call: each question's plan, measure and figure, and what they have in common."""

import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

import tla
from tla import differences, ensembles, plots, stages, starts
from tla.errors import UserError
from tla.launch.plan import Plan, PlanFor
from tla.launch.study import train_missing
from tla.options import Place, Study, Transfer
from tla.runs.folder import FinishedRun
from tla.runs.run import Run
from tla.stages.tables import FIGURES

PACKAGE = Path(tla.__file__).parent
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.pyi"))
QUESTIONS = {
    "attribution",
    "ensembles",
    "paper",
    "readout",
    "similarity",
    "stages",
    "starts",
}  # that have runs of their own to plan


def arm(written: Callable[..., FinishedRun], run: Run, folder: Path, hits: list[int], **changes: Any) -> list[FinishedRun]:
    """Two folds and seeds, of which the second misses the first clip."""
    each = [(fold, seed) for seed in (0, 1) for fold in (1, 2)]
    return [
        written(folder, replace(run, fold=fold, seed=seed, **changes), [0, *hits[1:]] if seed else hits) for fold, seed in each
    ]


@pytest.fixture
def made(written, run: Run, tmp_path: Path) -> dict[str, tuple[Any, str, Any, Any]]:
    """Of each room: its tables, the name of its figure, its functions, and its tables as pandas alone reads their files."""
    folder = tmp_path / "runs"
    low, high = (arm(written, run, folder, hits, transfer=Transfer(frozen_upto=upto)) for upto, hits in HITS.items())
    curves = stages.Curves("freeze", {"pretrained": {"none": low, "stem": high}})
    return {
        "stages": (stages.measure(curves), FIGURES["freeze"], stages),
        "ensembles": (ensembles.measure(low), "table2_ensemble", ensembles),
        "starts": (starts.measure({"pretrained": low, "random": high}), "train", starts),
        "differences": (differences.measure(low, high), "versus_a_b", differences),
    }


HITS = {"none": [1, 0, 1, 1] * 10, "stem": [1, 1, 0, 1] * 10}


@pytest.mark.parametrize("name", ["stages", "ensembles", "starts", "differences"])
def test_a_figure_is_the_same_from_memory_from_its_files_and_from_what_pandas_reads(made, name: str, tmp_path: Path) -> None:
    """And `publish`, which the commands call, writes these very bytes."""
    tables, stem, room = made[name]
    importlib.import_module(f"tla.{name}.drawing").publish(tables, tmp_path, stem)
    files = {path.stem.removeprefix(stem): pd.read_csv(path) for path in tmp_path.glob(f"{stem}*.csv")}
    parts = [field for field in vars(tables) if isinstance(getattr(tables, field), pd.DataFrame)]
    from_pandas = type(tables)(**{**vars(tables), **{part: files.get(f"_{part}", files.get("")) for part in parts}})
    command = tmp_path / (f"{stem}_confusion.pdf" if name == "starts" else f"{stem}.pdf")
    for number, each in enumerate((tables, room.read(tmp_path, stem), from_pandas)):
        (again, *_) = plots.save(room.figure(each), tmp_path / "again" / f"{name}{number}")
        assert again.read_bytes() == command.read_bytes()


@pytest.mark.parametrize(("name", "count"), [("stages", 1), ("ensembles", 4), ("starts", 4), ("differences", 2)])
def test_a_figure_is_drawn_on_axes_that_are_given(made, name: str, count: int) -> None:
    tables, _, room = made[name]
    page, axes = pyplot.subplots(1, count, squeeze=False)
    before = [len(one.get_children()) for one in axes.flat]
    assert room.figure(tables, axes=axes) is page
    assert all(len(one.get_children()) > least for one, least in zip(axes.flat, before, strict=True))
    assert page.texts == [], "a caption is for a page of its own"
    page.canvas.draw()
    pyplot.close(page)
    for wrong in ([axes.flat[0]] * (count + 1), ["x"] * count):
        with pytest.raises(UserError, match=f"this figure has {count} panel"):
            room.figure(tables, axes=wrong)


def test_one_axes_needs_no_list_and_a_part_of_a_figure_will_do(made) -> None:
    tables, _, room = made["stages"]
    page = pyplot.figure()
    axes = page.subfigures(1, 2)[1].subplots()
    assert room.figure(tables, axes=axes) is page
    assert axes.get_xlabel() == "frozen up to"
    pyplot.close(page)


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_are_functions_and_values_that_say_what_they_are(room: str) -> None:
    module = importlib.import_module(f"tla.{room}")
    assert module.__all__
    for name in module.__all__:
        value = getattr(module, name)
        assert not inspect.ismodule(value), f"tla.{room}.{name} is a module, so the function is not found"
        if callable(value):
            assert inspect.getdoc(value), f"tla.{room}.{name} has no docstring"
    submodules = {path.stem for path in (PACKAGE / room).glob("*.py")}
    assert not submodules & set(module.__all__)


@pytest.mark.parametrize("room", sorted(QUESTIONS))
def test_every_question_has_the_same_three_functions(room: str) -> None:
    module = importlib.import_module(f"tla.{room}")
    assert set(module.__all__) >= {"plan", "measure", "figure"}


def test_drawing_by_the_public_names_loads_no_torch(made, tmp_path: Path) -> None:
    tables, stem, _ = made["stages"]
    tables.write(tmp_path, stem)
    program = f"""
import sys
from pathlib import Path
import tla
tla.stages.figure(tla.stages.read(Path({str(tmp_path)!r}), {stem!r})).savefig({str(tmp_path / "x.png")!r})
assert "torch" not in sys.modules, "torch"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.png").is_file()


def test_importing_tla_and_its_rooms_loads_nothing_heavy() -> None:
    lines = [f"import tla.{room}" for room in ROOMS]
    program = "\n".join(["import sys, tla", "tla.Study, tla.Place, tla.Transfer", *lines])
    program += "\nassert not {'torch', 'librosa', 'pandas', 'matplotlib', 'numpy'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_plan_gives_what_its_question_measures(study: Study, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    plan = starts.plan(replace(study, seeds=2), place)
    assert isinstance(plan, PlanFor)
    assert repr(plan) == "2 runs: 0 finished, 0 to continue, 2 to train"
    assert plan.finished() == []
    assert not list(Path(place.runs).glob("*/run.json")), "a plan trains nothing"
    assert capsys.readouterr().out == ""
    arms = train_missing(plan, place)
    assert [run.run.seed for run in arms["random"]] == [0, 1]
    assert plan.finished() == arms["random"] == tla.find_arm(arms["random"][1].key[:6], place.runs)
    assert tla.find_run(arms["random"][1].key[:6], place.runs) == arms["random"][1]
    both = plan + tla.plan(study, place)
    assert type(both) is Plan
    assert train_missing(both, place).keys() == {run.key for run in arms["random"]}
    capsys.readouterr()
    tables = starts.measure(arms)
    starts.figure(tables)
    assert capsys.readouterr() == ("", ""), "functions for notebooks print nothing"
    assert tables.summary.set_index("rule").loc["last", "accuracy"] == pytest.approx(100 * np.mean(tables.runs["last"]))


def test_a_sweep_that_there_is_not_is_answered_with_those_that_there_are(study: Study, place: Place) -> None:
    with pytest.raises(UserError, match="no sweep 'melt': possible are fusion, freeze, cutoff"):
        stages.plan(study, place, "melt")  # type: ignore[arg-type]
