"""Several processes train what one would, and no accident changes a number."""

import os
import pickle
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tla.console import Progress
from tla.errors import RunsFailed, UserError
from tla.launch.board import Batches, Board
from tla.launch.dispatch import Queue
from tla.launch.in_process import Outcome
from tla.launch.plan import Plan
from tla.launch.processes import Processes, deal
from tla.launch.study import ensure, list_runs, prepare
from tla.options import Place, Recipe, Study
from tla.runs.folder import FinishedRun, RunFolder, load
from tla.runs.run import Run

LONG = Recipe(epochs=20, lr=1e-3)


def train(study: Study, place: Place) -> list[FinishedRun]:
    material = prepare(study, place)
    return ensure(list_runs(material), material, place)


def bits(folders: list[FinishedRun]) -> dict[str, tuple[bytes, list[float]]]:
    """What must not depend on who trained a run."""
    return {f.key: (f.weights.read_bytes(), [row["heldout_loss"] for row in f.log]) for f in folders}


def until(happens, seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.01)


# Processes under test, found by a mark in their environment, wherever in the tree of processes they are


def marked(mark: str) -> list[int]:
    """The living processes that carry a mark."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            alive = (place / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
            if alive and mark.encode() in (place / "environ").read_bytes():
                found.append(int(place.name))
        except OSError:
            continue  # it ended while we looked, or is not ours
    return found


@pytest.fixture
def command(few_sounds: Path, place: Place) -> Iterator[tuple[list[str], dict[str, str], str]]:
    """A command that trains four runs, its environment, and the mark of all processes that come of it; none survives."""
    words = ["--data", str(few_sounds), "--data-root", str(place.data_root), "--runs", place.runs, "--figures", place.figures]
    words += ["--backbone", "densenet_tiny", "--weights", "random", "--folds", "1,2", "--seeds", "2", "--precision", "fp32"]
    words += ["--picture.mels", "32", "--picture.frames", "40", "--augment.kind", "bank:2", "--device", "cpu"]
    words += ["--recipe.epochs", str(LONG.epochs), "--recipe.lr", "1e-3", "--threads", "1"]
    mark = f"TLA_TEST_MARK={uuid.uuid4().hex}"
    name, _, value = mark.partition("=")
    yield [sys.executable, "-m", "tla.train", *words], {**os.environ, name: value}, mark
    for pid in marked(mark):
        os.kill(pid, signal.SIGKILL)


def begun(runs: str, folders: int = 2) -> bool:
    """Whether so many runs are under way: two epochs or more are done."""
    return sum(path.read_text().count("\n") >= 2 for path in Path(runs).glob("*/log.jsonl")) >= folders


def started(command: list[str], environment: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def same_as_in_process(study: Study, place: Place, tmp_path: Path) -> None:
    """The folder of runs holds what one process would have made."""
    four = replace(study, folds=(1, 2), seeds=2, recipe=LONG)
    alone = train(four, replace(place, runs=str(tmp_path / "alone"), threads=1))
    assert bits([load(Path(place.runs) / folder.key) for folder in alone]) == bits(alone)


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")


# Worker processes


@needs_proc
def test_two_workers_train_what_one_process_does_also_if_one_is_killed(
    study: Study, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    two = replace(study, folds=(1, 2), recipe=Recipe(epochs=8, lr=1e-3))
    killed: dict[str, list[dict]] = {}

    class Killing(Board):
        """Ends the process of the first run that has done three epochs."""

        def step(self, key: str, done: int, text: str = "") -> None:
            super().step(key, done, text)
            if not killed and self.epochs(key) >= 3:
                killed[key] = RunFolder(Path(place.runs) / key).read_log()
                worker = next(worker for worker in executors[0].workers if worker.key == key)
                os.kill(worker.process.pid, signal.SIGKILL)

    from tla.launch import study as launch

    executors: list[Processes] = []
    monkeypatch.setattr(launch, "Board", Killing)
    monkeypatch.setattr(launch, "Processes", lambda *given: executors.append(Processes(*given)) or executors[-1])
    folders = train(two, replace(place, threads=1, workers=2))
    assert "its process ended by signal 9" in capsys.readouterr().err
    alone = train(two, replace(place, threads=1, runs=str(tmp_path / "alone")))
    assert [folder.key for folder in folders] == [folder.key for folder in alone]
    assert bits(folders) == bits(alone)
    assert {folder.made["threads"] for folder in folders} == {1}
    ((key, log),) = killed.items()
    after = RunFolder(Path(place.runs) / key).read_log()
    assert after[: len(log) - 1] == log[:-1], "epochs that were done, with their times, were not done again"


@needs_proc
def test_ctrl_c_leaves_no_process(place: Place, command: tuple) -> None:
    words, environment, mark = command
    process = started([*words, "--workers", "2"], environment)
    until(lambda: begun(place.runs))
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does: to the study and its workers alike
    _, printed = process.communicate(timeout=20)
    assert process.returncode == 130
    assert printed.rstrip().endswith("the same command again goes on from what is finished")
    assert "Traceback" not in printed
    until(lambda: not marked(mark), 10)


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
def test_a_study_that_is_ended_leaves_no_process_and_goes_on(
    study: Study, place: Place, command: tuple, tmp_path: Path, end: signal.Signals
) -> None:
    words, environment, mark = command
    words = [*words, "--workers", "2"]
    process = started(words, environment)
    until(lambda: begun(place.runs))
    os.kill(process.pid, end)  # the study alone, as a batch system may
    process.communicate(timeout=20)
    until(lambda: not marked(mark), 10)
    done = {path.parent: path.read_text() for path in Path(place.runs).glob("*/log.jsonl")}
    subprocess.run(words, env=environment, check=True, capture_output=True, timeout=300)
    assert all((folder / "log.jsonl").read_text().startswith(log) for folder, log in done.items())
    same_as_in_process(study, place, tmp_path)


@pytest.mark.slow
def test_two_studies_on_one_folder_share_the_work(study: Study, place: Place, command: tuple, tmp_path: Path) -> None:
    words, environment, _ = command
    both = [started(words, environment) for _ in range(2)]
    printed = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    trained = [[line.split()[1] for line in text.splitlines() if line.startswith("run ")] for text in printed]
    assert len(trained[0]) + len(trained[1]) == 4, trained
    assert len({*trained[0], *trained[1]}) == 4, "a run was trained twice"
    assert all(trained), "one of them did nothing"
    same_as_in_process(study, place, tmp_path)


def test_a_material_goes_to_another_process_with_its_weights_and_without_its_pictures(study: Study, place: Place) -> None:
    (donor,) = train(replace(study, recipe=Recipe(epochs=1)), place)
    material = prepare(replace(study, weights=donor.key), place)
    assert material.store.clean[0].any(), "the pictures are open"
    sent = pickle.dumps(material)
    assert len(sent) < donor.weights.stat().st_size + 200_000 < material.store.clean.nbytes
    there = pickle.loads(sent)
    assert there.pretrained.identity == material.pretrained.identity
    assert all((there.pretrained.tensors[name] == tensor).all() for name, tensor in material.pretrained.tensors.items())
    assert list_runs(there) == list_runs(material)
    assert (there.store.clean[3] == material.store.clean[3]).all()


# Failing runs


def with_failures(study: Study, place: Place) -> tuple[list[Run], list[Run], object]:
    """Four runs of which two cannot be trained: one diverges, one has a checkpoint that does not fit."""
    material = prepare(replace(study, folds=(1, 2)), place)
    diverging = list_runs(replace(material, study=replace(study, recipe=Recipe(epochs=4, lr=1e30))))
    odd = list_runs(replace(material, study=replace(study, recipe=Recipe(epochs=2))))
    good = list_runs(material)
    checkpoint = RunFolder(Path(place.runs) / odd[0].key).checkpoint
    checkpoint.parent.mkdir(parents=True)
    save_file({"net.features.conv0.weight": torch.zeros(1)}, checkpoint, {"history": "[]"})
    return [diverging[0], good[0], odd[0], good[1]], good, material


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_run_does_not_stop_the_others(
    study: Study, place: Place, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    runs, good, material = with_failures(study, place)
    with pytest.raises(RunsFailed, match=r"2 of 4 runs failed.*finished runs are kept") as caught:
        ensure(runs, material, replace(place, workers=workers, threads=1))
    assert caught.value.status == 1
    assert all(RunFolder(Path(place.runs) / run.key).finished for run in good)
    table = capsys.readouterr().out
    assert "diverged" in table
    assert "RuntimeError" in table
    assert runs[0].key in table
    assert runs[2].key in table
    assert good[0].key not in table
    traces = {run.key: (Path(place.runs) / run.key / "error.txt") for run in runs}
    assert "Traceback" in traces[runs[2].key].read_text()
    assert not traces[good[0].key].exists()
    RunFolder(Path(place.runs) / runs[2].key).checkpoint.unlink()
    (mended,) = ensure([runs[2]], material, place)
    assert mended.result.finished
    assert not traces[mended.key].exists()


class Flaky:
    """An executor of which the first so many attempts at a run die; a run gets on by so many batches before."""

    def __init__(self, finish: Callable[[Run], object], board: Board, deaths: int, batches: int) -> None:
        self.finish, self.board, self.deaths, self.batches = finish, board, deaths, batches
        self.attempts, self.ended = 0, []

    def free(self, busy: int) -> bool:
        return busy == 0

    def start(self, run: Run, folder: RunFolder) -> None:
        self.attempts += 1
        self.board.step(run.key, self.attempts * self.batches)
        if self.attempts <= self.deaths:
            self.ended = [Outcome(key=run.key, error="it died", lost=True)]
        else:
            self.finish(run)
            self.ended = [Outcome(key=run.key)]

    def outcomes(self) -> list[Outcome]:
        return self.ended

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("deaths", "batches", "attempts", "fails"), [(2, 0, 3, False), (9, 0, 3, True), (9, 10, 10, False)])
def test_a_run_is_given_up_if_its_process_dies_again_and_again_and_it_does_not_get_on(
    study: Study, place: Place, deaths: int, batches: int, attempts: int, fails: bool, written
) -> None:
    material = prepare(study, place)
    plan = Plan.of(list_runs(material), material, place)
    ((key, wanted),) = ((wanted.run.key, wanted) for wanted in plan.wanted.values())
    board = Board(Progress("", 0), {key: Batches(epoch=10, least=200, most=200, before=0)})
    flaky = Flaky(lambda run: written(Path(place.runs), run, [1]), board, deaths, batches)
    queue = Queue([wanted], {})
    queue.work_off(flaky, board)
    assert flaky.attempts == attempts
    assert [bool(queue.failed), bool(queue.finished)] == [fails, not fails]
    assert board.bar.done == board.bar.total


def test_gpus_are_dealt_out_in_turn() -> None:
    assert deal("auto", "cuda:0", gpus=2, workers=3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert deal("cuda:1", "cuda:1", gpus=2, workers=2) == ["cuda:1", "cuda:1"]
    assert deal("auto", "cpu", gpus=0, workers=2) == ["cpu", "cpu"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"launch": "slurm"}, "possible are local, ray, ray:auto"),
        ({"launch": "local:2"}, "possible are local"),
        ({"workers": 0}, "--workers is 0"),
        ({"threads": 0}, "--threads is 0"),
        ({"gpus_per_run": 0.5}, "--gpus-per-run goes with --launch ray"),
        ({"shared_runs": True}, "--shared-runs goes with --launch ray"),
        ({"launch": "ray", "workers": 2}, "--workers goes with --launch local"),
        ({"launch": "ray", "gpus_per_run": -1.0}, "cannot be negative"),
    ],
)
def test_what_cannot_be_launched_is_refused_first(study: Study, place: Place, change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepare(replace(study, data="absent"), replace(place, **change))


def test_without_ray_the_extra_is_named(study: Study, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"pip install 'tla\[ray\]'"):
        prepare(study, replace(place, launch="ray"))
