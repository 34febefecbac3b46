"""The steps that every question has, for every command in the list: the plan is the plan and nothing else."""

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import pytest

from tla import __main__ as listing
from tla import cli, plots
from tla.console import counted
from tla.launch.plan import Plan
from tla.launch.study import by_start, ensure, list_runs, prepare
from tla.options import Augment, Picture, Place, Recipe, Study
from tla.runs.folder import RunFolder, folders
from tla.stages.sweep import selffer

NEITHER_TRAIN_NOR_DRAW = {"demo", "reproduce", "predict", "runs", "data", "bench", "versus"}  # or have others do it
TRAIN = [command for command in listing.COMMANDS if command not in NEITHER_TRAIN_NOR_DRAW]
MORE = {  # options of a command beside the study's, so that it trains all kinds of runs that it has
    "probe": ["--tuned"],
    "train": ["--compare", "random"],
    "fusion": ["--upto", "none,block2", "--controls"],
    "freeze": ["--upto", "block2", "--controls"],
    "cutoff": ["--keep", "block2", "--controls"],
    "svcca": ["--resolve"],
    "rewind": ["--steps", "3", "--clips", "20"],
    "ig": ["--tolerance", "0.5"],
    "ensemble": ["--members", "2"],
    "labels": ["--clips", "1,all"],
    "report": ["--complete", "--page", "false"],
    "tune": ["--grid.lr", "1e-3,1e-4"],
}
STUDY = ["--backbone", "densenet_tiny", "--precision", "fp32", "--picture.mels", "32", "--picture.frames", "40"]
STUDY += ["--augment.kind", "none", "--recipe.epochs", "1", "--recipe.lr", "1e-3", "--folds", "1"]


REDRAW = """
import importlib, sys
from tla import cli, plots
cli.run(importlib.import_module(sys.argv[1]).main, sys.argv[2:])
assert "torch" not in sys.modules
"""


def redrawn(command: str, figures: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The command with --redraw, in a process that may not import torch."""
    words = [sys.executable, "-c", REDRAW, f"tla.{command}", "--figures", str(figures), "--redraw", *more]
    return subprocess.run(words, capture_output=True, text=True)


@pytest.fixture(scope="module")
def donor(few_sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a network trained on the same sounds: what ImageNet is to larger networks."""
    room = tmp_path_factory.mktemp("donor")
    place = Place(data_root=str(tmp_path_factory.getbasetemp() / "data"), runs=str(room), figures=str(room), device="cpu")
    (folder,) = by_start(replace(tiny(few_sounds), seeds=2), place)["random"][1:]  # no study's own first run
    return folder.weights.rename(room / "donor.safetensors")


def tiny(sounds: Path) -> Study:
    recipe, picture = Recipe(epochs=1, lr=1e-3), Picture(mels=32, frames=40)
    about = {"backbone": "densenet_tiny", "weights": "random", "folds": (1,), "precision": "fp32"}
    return Study(data=str(sounds), recipe=recipe, picture=picture, augment=Augment(kind="none"), **about)  # type: ignore[arg-type]


@pytest.fixture
def words(few_sounds: Path, donor: Path, place: Place) -> list[str]:
    """Options of every command."""
    where = ["--data-root", str(place.data), "--runs", place.runs, "--figures", place.figures, "--device", "cpu"]
    return ["--data", str(few_sounds), "--weights", str(donor), *where]


def files(place: Place) -> dict[Path, bytes]:
    return {
        path: path.read_bytes() for folder in (place.runs, place.figures) for path in Path(folder).rglob("*") if path.is_file()
    }


def pictures(place: Place) -> dict[Path, bytes]:
    return {path: text for path, text in files(place).items() if path.suffix in (".pdf", ".png", ".svg")}


def finished(place: Place) -> set[str]:
    return {folder.key for folder in folders(Path(place.runs)) if folder.finished}


def test_every_command_plans_what_it_trains_or_trains_nothing() -> None:
    assert set(listing.COMMANDS) >= NEITHER_TRAIN_NOR_DRAW
    assert MORE.keys() <= set(TRAIN)
    for command in TRAIN:
        hints = get_type_hints(importlib.import_module(f"tla.{command}").main)
        assert hints["place"] is Place, command
        assert hints["return"] == cli.Planned | None, f"{command} has no plan to return"


@pytest.mark.parametrize("command", TRAIN)
def test_a_dry_run_counts_and_writes_nothing_and_a_redraw_is_byte_equal_without_torch(
    command: str, words: list[str], place: Place, donor: Path, few_sounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module(f"tla.{command}").main
    words += [] if command == "report" else STUDY
    words += MORE.get(command, [])
    if command == "ig":
        words += ["--clip", str(next(few_sounds.rglob("*.wav")))]
    if command == "report":  # which needs a study of which something is missing
        by_start(replace(tiny(few_sounds), weights=str(donor)), place)

    before = files(place)
    plan = main(**cli.parse(main, [*words, "--dry-run"]))
    assert isinstance(plan, Plan)
    plan.show()
    printed = capsys.readouterr().out
    assert files(place) == before
    missing = len(plan.missing())
    assert printed.startswith(f"{counted(len(plan), 'run')}, {len(plan) - missing} finished, {missing} to train: ")

    had = finished(place)
    cli.run(main, words)
    assert len(finished(place) - had) == missing > 0
    drawn = pictures(place)
    for path in drawn:
        path.unlink()
    done = redrawn(command, Path(place.figures))
    assert done.returncode == 0, done.stderr
    assert pictures(place) == drawn != {}


def test_a_grid_on_ray_is_planned_without_a_cluster(words: list[str], place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    on_ray = pytest.importorskip("tla.launch.on_ray")
    pytest.importorskip("ray")
    monkeypatch.setattr(on_ray, "Cluster", lambda *_: pytest.fail("a cluster was asked for"))
    main = importlib.import_module("tla.tune").main
    plan = main(**cli.parse(main, [*words, *STUDY, *MORE["tune"], "--launch", "ray", "--dry-run"]))
    assert len(plan.missing()) == 2
    assert not Path(place.runs).exists()


def test_plans_add_up_and_a_shared_run_counts_once(study: Study, place: Place) -> None:
    material = prepare(study, place)
    one = Plan.of(list_runs(material), material, place)
    both = Plan.of(list_runs(replace(material, study=replace(study, seeds=2))), material, place)
    assert (len(one), len(both), len(one + both), len(sum([one, both, one], Plan()))) == (1, 2, 2, 2)
    assert one + Plan() == one == Plan() + one
    assert str(both) == "2 runs: 0 finished, 0 to continue, 2 to train"
    ensure(list_runs(material), material, place)
    assert (len(one.missing()), len((one + both).missing())) == (0, 1)


def test_a_run_whose_donor_is_not_trained_is_counted_and_forecast(study: Study, place: Place, donor: Path) -> None:
    material = prepare(replace(study, folds=(1, 2), weights=str(donor)), place)
    plan = selffer(material, {"block1": replace(study.transfer, pretrained_upto="block1")}, ["block1"], place).plan
    assert len(plan) == len(plan.missing()) == 4
    assert [wanted.donor for wanted in plan.wanted.values()][:2] == [None, None]
    assert all(isinstance(wanted.donor, RunFolder) for wanted in list(plan.wanted.values())[2:])
    told = plan.forecast()
    assert (told.runs, told.finished) == (4, 0)
    assert told.hours[1] > 0


def test_a_style_file_lies_on_top_of_the_look_and_only_as_long_as_it_is_asked_for(tmp_path: Path) -> None:
    style = tmp_path / "my.mplstyle"
    style.write_text("figure.figsize: 5, 4\nfont.size: 11\n")

    def drawn() -> tuple[tuple[float, float], float, bool]:
        with plots.look():
            figure = plots.page(3.5, 2.6)
            axes = figure.subplots()
            return tuple(figure.get_size_inches()), axes.text(0, 0, "x").get_fontsize(), axes.spines["top"].get_visible()

    assert drawn() == ((3.5, 2.6), 8, False)
    with plots.styled(style):
        assert drawn() == ((5, 4), 11, False)
    assert drawn() == ((3.5, 2.6), 8, False)


def test_style_and_redraw_are_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = importlib.import_module("tla.cutoff").main
    for words, says in ((["--style", "absent.mplstyle"], "absent.mplstyle"), (["--figures", str(tmp_path)], "holds no tables")):
        with pytest.raises(SystemExit) as stop:
            cli.run(main, ["--redraw", *words])
        assert stop.value.code == 2
        assert says in capsys.readouterr().err
