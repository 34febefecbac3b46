"""Runs on a real Ray: two workers on this machine, and two nodes with folders of their own."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tla.errors import RunsFailed, UserError
from tla.launch import on_ray, ray_cluster
from tla.launch import study as launch
from tla.launch.asha import Asha
from tla.launch.board import Board
from tla.launch.grid import Trial, nested, search_grid
from tla.launch.on_ray import Home, files_of, gpus_per_run, own_folder, room_for_runs, with_own_pictures
from tla.launch.study import ensure, prepare
from tla.options import Augment, Grid, Place, Recipe, Search, Study
from tla.runs import events
from tla.runs.folder import RunFolder, load

sys.path.insert(0, str(Path(__file__).parent))
from test_parallel import begun, bits, command, marked, needs_proc, same_as_in_process, started, train, until, with_failures

__all__ = ["command"]  # a fixture

pytestmark = pytest.mark.xdist_group("ray")  # one Ray is enough for this machine


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A Ray of this machine with two processors."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


def workers_of(driver: int, title: str = "ray::train") -> list[int]:
    """The processes below this one that train for Ray."""
    parents, names = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(place.name)] = (place / "cmdline").read_text().replace("\0", " ").strip()
        except OSError:
            continue  # it ended while we looked
    found = []
    for pid, name in names.items():
        above = pid
        while above > 1 and above != driver:
            above = parents.get(above, 0)
        if above == driver and name.startswith(title):
            found.append(pid)
    return found


def is_agent(pid: int) -> bool:
    """Whether a process is one of Ray's own that watch a node; after a kill they notice within a minute."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_text().startswith(("ray::DashboardAgent", "ray::RuntimeEnvAgent"))
    except OSError:
        return True  # it has ended


def test_here_in_workers_and_on_ray_the_numbers_are_the_same(
    ray: Any, study: Study, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "write", lambda run, path: None)  # what this process does when all are trained
    three = replace(study, folds=(1, 2, 3))
    alone = train(three, replace(place, threads=1))
    together = train(three, replace(place, workers=2, threads=1, runs=str(tmp_path / "workers")))
    on_ray = train(three, replace(place, launch="ray", runs=str(tmp_path / "ray"), tensorboard=True))
    assert [f.key for f in alone] == [f.key for f in together] == [f.key for f in on_ray]
    assert bits(on_ray) == bits(together) == bits(alone)
    assert all(list((run.path / "tensorboard").glob("events*")) for run in on_ray)
    for mine, other in zip(alone, on_ray, strict=True):
        np.testing.assert_array_equal(mine.predictions.logits["last"], other.predictions.logits["last"])


@pytest.mark.slow  # test_parallel holds it for processes
@needs_proc
def test_a_killed_worker_costs_nothing_but_time(
    ray: Any, study: Study, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    two = replace(study, folds=(1, 2), recipe=Recipe(epochs=12, lr=1e-3))
    killed: list[tuple[Path, list[dict]]] = []

    class Killing(Board):
        """Ends the processes that train once a run has done three epochs."""

        def step(self, key: str, done: int, text: str = "") -> None:
            super().step(key, done, text)
            if not killed and self.epochs(key) >= 3:
                folder = RunFolder(Path(place.runs) / key)
                killed.append((folder.path, folder.read_log()))
                for pid in workers_of(os.getpid()):
                    os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(launch, "Board", Killing)
    folders = train(two, replace(place, launch="ray"))
    assert "it is tried again" in capsys.readouterr().err
    monkeypatch.undo()
    assert bits(folders) == bits(train(two, replace(place, threads=1, runs=str(tmp_path / "alone"))))
    ((folder, log),) = killed
    assert RunFolder(folder).read_log()[: len(log)] == log, "epochs that were done, with their times, were not done again"


@pytest.mark.slow  # test_parallel holds it for processes
def test_a_failing_run_does_not_stop_the_others(
    ray: Any, study: Study, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, good, material = with_failures(study, place)
    with pytest.raises(RunsFailed, match="2 of 4 runs failed"):
        ensure(runs, material, replace(place, launch="ray"))
    table = capsys.readouterr().out
    assert "diverged" in table
    assert "RuntimeError" in table
    assert all(RunFolder(Path(place.runs) / run.key).finished for run in good)
    assert "load_state_dict" in (Path(place.runs) / runs[2].key / "error.txt").read_text()


# What travels


def test_a_node_fetches_the_pictures_that_it_lacks_piece_by_piece(
    study: Study, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "PIECE", 100_000)
    material, home, read = prepare(study, place), Home(), []

    def reading(path: Path, start: int) -> bytes:
        read.append(path.name)
        return home.read(path, start)

    there = with_own_pictures(material, tmp_path, reading).store
    names = ["store.json", "clean.npy", "variant-resize-0000.npy", "variant-resize-0001.npy", "SHA256SUMS"]
    assert list(dict.fromkeys(read)) == names
    assert len(read) > 2 * len(names)
    assert there.folder == tmp_path / "pictures" / material.store.folder.name
    for mine, other in zip(there.files, material.store.files, strict=True):
        assert mine.read_bytes() == other.read_bytes()
    read.clear()
    (there.folder / "clean.npy").unlink()
    with_own_pictures(material, tmp_path, reading)
    assert set(read) == {"clean.npy"}, "what is there already is not read"


def test_a_node_without_room_is_named(study: Study, place: Place, tmp_path: Path) -> None:
    def full(path: Path, start: int) -> bytes:
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"No space left on device\); make room there.*TLA_DATA"):
        with_own_pictures(prepare(study, place), tmp_path, full)
    assert not list(tmp_path.rglob("*.npy"))


def test_what_comes_back_is_finished_last(study: Study, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = train(study, place)
    files, written = files_of(RunFolder(run.path)), []
    assert set(files) >= {"SHA256SUMS", "run.json", "log.jsonl", "weights.safetensors"}
    replacing = on_ray.replacing
    monkeypatch.setattr(on_ray, "replacing", lambda path: written.append(path.name) or replacing(path))
    Home().receive(tmp_path / "home" / run.key, {"SHA256SUMS": files.pop("SHA256SUMS"), **files})
    assert written[-1] == "SHA256SUMS"
    assert bits([load(tmp_path / "home" / run.key)]) == bits([run])


def test_live_augmentation_takes_the_sounds_along(study: Study, place: Place, tmp_path: Path) -> None:
    material = prepare(replace(study, augment=Augment(kind="live")), place)
    there = with_own_pictures(material, tmp_path, Home().read).store
    assert len({clip.path for clip in there.dataset.clips}) == 100
    assert all(clip.path.is_file() and clip.path.is_relative_to(tmp_path) for clip in there.dataset.clips)
    pairs = zip(there.live([3, 5], seed=1, epoch=2), material.store.live([3, 5], seed=1, epoch=2), strict=True)
    assert all(np.array_equal(mine, other) for mine, other in pairs)


def test_a_node_has_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLA_DATA", "/scratch/me")
    assert own_folder() == Path("/scratch/me")
    monkeypatch.delenv("TLA_DATA")
    assert own_folder().name == f"tla-{os.getuid()}"


# Clusters


class Nodes:
    """A Ray of which only the resources are asked."""

    def __init__(self, resources: dict[str, float]) -> None:
        self.resources = resources

    def cluster_resources(self) -> dict[str, float]:
        return self.resources


@pytest.mark.parametrize(
    ("threads", "gpus", "room"),
    [(1, 0.0, 24), (3, 0.0, 7), (1, 0.25, 8), (4, 0.25, 4), (1, 1 / 3, 6), (1, 2, 1), (32, 0.0, 0)],
)
def test_as_many_runs_as_fit(threads: int, gpus: float, room: int) -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": 16, "GPU": 2}}, {"Alive": True, "Resources": {"CPU": 8}}]
    assert room_for_runs(nodes, threads, gpus) == room
    assert room_for_runs([*nodes, {"Alive": False, "Resources": {"CPU": 64, "GPU": 8}}], threads, gpus) == room


def test_where_there_are_gpus_what_a_run_takes_has_to_be_given(place: Place) -> None:
    with pytest.raises(UserError, match=r"has 2 GPUs.*--gpus-per-run 1, 0\.25"):
        gpus_per_run(Nodes({"GPU": 2}), place)
    assert gpus_per_run(Nodes({"GPU": 2}), replace(place, gpus_per_run=0.25)) == 0.25
    assert gpus_per_run(Nodes({"CPU": 2}), place) == 0


def test_gpus_of_a_cluster_decide_the_arithmetic(study: Study, place: Place) -> None:
    auto = replace(study, precision="auto")
    assert prepare(auto, replace(place, launch="ray", gpus_per_run=0.25)).precision == "bf16"
    assert prepare(study, replace(place, launch="ray", gpus_per_run=0.25)).precision == "fp32"


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(UserError, match=r"--launch ray:ray://head:10001: give the command on a machine of the cluster"):
        ray_cluster.connect("ray:ray://head:10001")

    with pytest.raises(UserError, match=r"--launch ray:somewhere: an address is HOST:PORT"):
        ray_cluster.connect("ray:somewhere")
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{port.getsockname()[1]}"
        with pytest.raises(UserError, match=rf"--launch ray:{address}: no Ray cluster listens there \(Connection refused\)"):
            ray_cluster.connect(f"ray:{address}")
        port.listen()

        def refuse(**options: Any) -> None:
            assert options["address"] == address
            raise RuntimeError("Version mismatch:\n  Ray: 2.9")

        monkeypatch.setattr(ray, "init", refuse)
        with pytest.raises(UserError, match=rf"no Ray cluster can be reached at {address} \(Version mismatch: Ray: 2\.9\)"):
            ray_cluster.connect(f"ray:{address}")


# Slow: studies in processes of their own, each with its own Ray


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
def test_a_study_that_is_ended_leaves_no_process_and_goes_on(
    study: Study, place: Place, command: tuple, tmp_path: Path, end: signal.Signals
) -> None:
    words, environment, mark = command
    words = [*words, "--launch", "ray"]
    process = started(words, environment)
    until(lambda: begun(place.runs))
    if end == signal.SIGINT:
        os.killpg(process.pid, end)  # as the terminal does
        _, printed = process.communicate(timeout=60)
        assert process.returncode == 130
        assert printed.rstrip().endswith("the same command again goes on from what is finished")
        assert "Traceback" not in printed
    else:
        os.kill(process.pid, end)
        process.communicate(timeout=60)
    until(lambda: not [pid for pid in marked(mark) if not is_agent(pid)], 30)
    done = {path.parent: path.read_text() for path in Path(place.runs).glob("*/log.jsonl")}
    subprocess.run(words, env=environment, check=True, capture_output=True, timeout=300)
    assert all((folder / "log.jsonl").read_text().startswith(log) for folder, log in done.items())
    same_as_in_process(study, place, tmp_path)


@pytest.mark.slow
def test_two_studies_on_one_folder_train_no_run_twice(study: Study, place: Place, command: tuple, tmp_path: Path) -> None:
    words, environment, _ = command
    both = [started([*words, "--launch", "ray"], environment) for _ in range(2)]
    printed = [process.communicate(timeout=500)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    trained = [line.split()[1] for text in printed for line in text.splitlines() if line.startswith("run ")]
    assert len(trained) == len(set(trained)) == 4
    same_as_in_process(study, place, tmp_path)


# The grid search


def test_a_run_goes_on_past_a_rung_if_it_is_among_the_best_third_so_far() -> None:
    asha = Asha(grace=1, epochs=9)
    asha.note({"finished": [0.5] * 9})
    assert asha.stopped_at("worse", [0.4]) == [0.4]
    assert asha.stopped_at("better", [0.6]) is None
    assert asha.stopped_at("better", [0.6, 0.1]) is None, "epoch 2 is no rung"
    assert asha.stopped_at("better", [0.6, 0.1, 0.4]) == [0.6, 0.1, 0.4]
    assert asha.stopped_at("worse", [0.4, 0.9]) == [0.4], "what was decided holds"
    assert asha.stopped_at("best", [0.9] * 9) is None, "the last epoch is no rung"
    assert Asha(grace=1, epochs=9).stopped_at("first", [0.0] * 8) is None


SEARCH = Search(grid=Grid(lr=(1e-2, 1e-3, 1e-5), weight_decay=(0.0, 1e-3)))


def searched(study: Study, place: Place, search: Search) -> list[Trial]:
    return search_grid(prepare(nested(study, search, place), place), search, place)


@pytest.mark.slow
def test_trials_on_ray_are_the_runs_that_one_process_trains(
    ray: Any, study: Study, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = Search(grid=Grid(lr=(1e-2, 1e-5)))
    here = searched(study, replace(place, threads=1), search)
    there = searched(study, replace(place, launch="ray", runs=str(tmp_path / "tune")), search)
    assert bits([trial.folder for trial in there]) == bits([trial.folder for trial in here])
    assert [trial.accuracies for trial in there] == [trial.accuracies for trial in here]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "2 finished, 0 to continue, 0 to train" not in printed.err
    assert [t.folder.path for t in searched(study, replace(place, launch="ray", runs=str(tmp_path / "tune")), search)] == [
        t.folder.path for t in there
    ]
    assert "2 finished, 0 to continue, 0 to train" in capsys.readouterr().err


@needs_proc
@pytest.mark.slow
def test_asha_stops_what_falls_behind_and_a_killed_trial_goes_on(
    ray: Any, study: Study, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nine = replace(study, recipe=Recipe(epochs=9))
    killed = []

    class Killing(Board):
        """Ends the processes of the trials once one has done two epochs."""

        def step(self, key: str, done: int, text: str = "") -> None:
            super().step(key, done, text)
            if not killed and self.epochs(key) >= 2:
                killed.extend(workers_of(os.getpid()))
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(launch, "Board", Killing)
    trials = searched(nine, replace(place, launch="ray"), replace(SEARCH, asha=True))
    assert killed
    stopped, ended = [t for t in trials if t.stopped], [t for t in trials if not t.stopped]
    assert stopped
    assert ended
    assert {len(t.accuracies) for t in stopped} <= {1, 3}, "they are stopped at the rungs"
    assert not any(RunFolder(Path(place.runs) / t.run.key).finished for t in stopped)
    assert max(t.accuracies[0] for t in trials) in {t.accuracies[0] for t in trials if len(t.accuracies) > 1}
    alone = {t.run.key: t for t in searched(nine, replace(place, threads=1, runs=str(tmp_path / "alone")), SEARCH)}
    for trial in trials:
        assert trial.accuracies == alone[trial.run.key].accuracies[: len(trial.accuracies)]
    assert bits([t.folder for t in ended]) == bits([alone[t.run.key].folder for t in ended])


@pytest.mark.slow
def test_a_trial_that_fails_is_named_and_the_others_are_kept(
    ray: Any, study: Study, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunsFailed, match="diverged"):
        searched(study, replace(place, launch="ray"), Search(grid=Grid(lr=(1e30, 1e-3))))
    assert "failed run" in capsys.readouterr().out
    assert sum(path.is_file() for path in Path(place.runs).glob("*/SHA256SUMS")) == 1
    assert sum(path.is_file() for path in Path(place.runs).glob("*/error.txt")) == 1


# Nodes with folders of their own


@pytest.fixture
def two_nodes(tmp_path: Path) -> Iterator[tuple[Any, dict[Any, Path]]]:
    """A cluster of a head that trains nothing and two nodes that have a folder each, all on this machine."""
    from ray.cluster_utils import Cluster as Machines

    machines = Machines(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    folders = {}
    for name in ("a", "b"):
        node = machines.add_node(num_cpus=1, env_vars={"TLA_DATA": str(tmp_path / name)})
        folders[node] = tmp_path / name
    yield machines, folders
    machines.shutdown()


@needs_proc
@pytest.mark.slow
def test_results_come_back_from_nodes_with_folders_of_their_own(
    study: Study, place: Place, command: tuple, two_nodes: tuple, tmp_path: Path
) -> None:
    words, environment, _ = command
    machines, folders = two_nodes
    done = subprocess.run([*words, "--launch", f"ray:{machines.address}"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ours = {path.name: path.read_bytes() for path in Path(str(place.data_root)).glob("pictures/*/*.npy")}
    for folder in folders.values():
        theirs = {path.name: path.read_bytes() for path in folder.glob("pictures/*/*.npy")}
        assert theirs
        assert theirs.items() <= ours.items()
        assert not list(folder.glob("runs/*")), "what has come back is not kept"
    same_as_in_process(study, place, tmp_path)
    times = {path: path.stat().st_mtime_ns for folder in folders.values() for path in folder.glob("pictures/*/*.npy")}
    again = [*words, "--seeds", "3", "--launch", f"ray:{machines.address}"]
    done = subprocess.run(again, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in times} == times, "the pictures are kept, and are not sent again"


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True], ids=["own folders", "shared runs"])
def test_a_lost_node_costs_nothing_but_time(
    study: Study, place: Place, command: tuple, two_nodes: tuple, tmp_path: Path, shared: bool
) -> None:
    words, environment, _ = command
    machines, folders = two_nodes
    process = started([*words, "--launch", f"ray:{machines.address}", *["--shared-runs"] * shared], environment)
    lost, own = next(iter(folders.items()))
    runs = place.runs if shared else str(own / "unfinished")
    until(lambda: begun(runs, folders=2 if shared else 1), 120)
    logs = {path: path.read_text() for path in Path(runs).glob("*/log.jsonl")}
    machines.remove_node(lost, allow_graceful=False)
    _, printed = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    assert "it is tried again" in printed
    if shared:
        assert all(path.read_text().startswith(log) for path, log in logs.items()), "checkpoints outlive the node"
    same_as_in_process(study, place, tmp_path)
