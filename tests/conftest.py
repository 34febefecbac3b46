"""What every test may use."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: small tensors, and tests run side by side

import pytest

from tla.options import Augment, Picture, Place, Recipe, Study, Transfer

if TYPE_CHECKING:
    from tla.runs.folder import FinishedRun
    from tla.runs.run import Run

LARGE = 100_000  # weights of a layer: more than any of the toy network has
SHARED = Path(__file__).resolve().parents[2] / "shared"


# A shell has what it starts in the background ignore Ctrl-C, and so would all that the tests start and interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="skip what trains a network or starts a process, when it comes to that"
    )


@pytest.fixture(scope="session", autouse=True)
def quick(request: pytest.FixtureRequest) -> Iterator[None]:
    """With --quick, a test is skipped once it is to train, make a large network, write a figure or start a process."""
    if not request.config.getoption("quick"):
        yield
        return
    import torch
    from matplotlib.figure import Figure

    def skip(*_: object, **__: object) -> None:
        pytest.skip("not with --quick: it trains, makes a large network, writes a figure or starts a process")

    def initialise(
        weights: torch.Tensor, *given: object, real: Callable = torch.nn.init.kaiming_uniform_, **more: object
    ) -> object:
        return skip() if weights.numel() > LARGE else real(weights, *given, **more)

    slow = [(torch.optim.Optimizer, "__init__"), (Figure, "savefig"), (subprocess.Popen, "__init__"), (BaseProcess, "start")]
    with pytest.MonkeyPatch.context() as patch:
        for owner, method in slow:
            patch.setattr(owner, method, skip)
        patch.setattr(torch.nn.init, "kaiming_uniform_", initialise)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips and weights that may lie beside the project; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs real data: there is no folder {SHARED.name}/ beside the project")
    return SHARED


@pytest.fixture(scope="session")
def esc10(shared: Path) -> Path:
    """400 real clips in ESC-50's layout."""
    folder = shared / "data" / "ESC-10"
    if not folder.is_dir():
        pytest.skip("needs the ESC-10 clips")
    return folder


@pytest.fixture(scope="session")
def few_sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 synthetic clips in ten classes and five folds."""
    from tla.sound import toy

    folder = tmp_path_factory.mktemp("sounds") / "few"
    toy.make(folder, clips_per_class=10)
    return folder


@pytest.fixture(scope="session")
def study(few_sounds: Path) -> Study:
    """A study that trains in a second: small pictures, a toy network, one fold."""
    return Study(
        data=str(few_sounds),
        backbone="densenet_tiny",
        weights="random",
        folds=(1,),
        precision="fp32",
        picture=Picture(mels=32, frames=40),
        augment=Augment(kind="bank:2"),
        recipe=Recipe(epochs=3, lr=1e-3),
    )


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Its own folder for runs and figures; pictures are shared by the tests of a session."""
    pictures = tmp_path_factory.getbasetemp() / "data"
    return Place(data_root=str(pictures), runs=str(tmp_path / "runs"), figures=str(tmp_path / "figures"), device="cpu")


@pytest.fixture
def from_donor(study: Study, place: Place) -> Study:
    """A study of one epoch that starts from a network trained on the same sounds."""
    from tla.launch.study import ensure, list_runs, prepare

    quick = replace(study, recipe=Recipe(epochs=1, lr=1e-3), augment=Augment(kind="none"))
    material = prepare(quick, place)
    (folder,) = ensure(list_runs(material), material, place)
    return replace(quick, weights=folder.key)


@pytest.fixture
def written() -> "Callable[[Path, Run, list[int]], FinishedRun]":
    """Writes a finished run that is right about the clips, of its first two classes, that it is told to be right about."""
    import numpy as np

    from tla.runs.folder import Predictions, Result, RunFolder, Score, load
    from tla.runs.schedule import Training
    from tla.runs.scores import accuracy, macro_accuracy

    def write(
        runs: Path,
        run: "Run",
        right: list[int],
        training: str = "converged",
        made: Mapping[str, str] | None = None,
        when: str = "",
    ) -> "FinishedRun":
        folder = RunFolder(runs / run.key)
        labels = np.arange(len(right)) % 2
        logits = np.eye(run.classes, dtype=np.float32)[np.where(right, labels, 1 - labels)]
        names = np.array([f"{run.fold}-{i}" for i in range(len(right))])
        folder.describe(run, ["a", "b", *map(str, range(2, run.classes))], dict(made or {}))
        folder.write_log([{"epoch": 1, "loss": 1.0, "accuracy": accuracy(logits, labels)}])
        folder.write_predictions(Predictions(names, labels, names, {"best": logits, "last": logits}))
        if run.recipe.standardise:
            folder.write_standard(np.zeros((3, run.picture.mels, 1)), np.ones((3, run.picture.mels, 1)))
        score = Score(accuracy(logits, labels), macro_accuracy(logits, labels))
        counts = {"best_epoch": 1, "epochs": 1, "clips": len(right), "trainable": 1, "parameters": 1}
        costs = {"multiply_adds": 10**9 * (1 + len(set(right))), "seconds_per_epoch": 1.0}
        judged = Training(training, 0.01, 0.01, 0.0)
        folder.finish(Result(scores={"best": score, "last": score}, training=judged, finished=when, **counts, **costs))
        return load(folder.path)

    return write


@pytest.fixture
def run() -> "Run":
    """A run on fold 1 from pretrained weights."""
    from tla.runs.run import Run

    return Run(
        data="esc50",
        data_digest="0",
        classes=2,
        picture=Picture(rate=44100, seconds=5.0, frames=250),
        augment=Augment(),
        backbone="densenet201",
        weights="imagenet:x",
        transfer=Transfer(),
        recipe=Recipe(until="epochs", epochs=1, drops=()),
        protocol="paper",
        fold=1,
        seed=0,
        precision="fp32",
    )
