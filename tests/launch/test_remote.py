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
from tla.launch import dispatch, remote, tuning
from tla.launch import study as launch
from tla.launch.remote import Cluster, Depot, Desk, goods, own_folder
from tla.launch.study import ensure, prepare
from tla.launch.tuning import Trial, nested, search_grid
from tla.launch.worker import elsewhere, pack
from tla.options import Augment, Grid, Place, Recipe, Search, Study
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


def test_here_in_workers_and_on_ray_the_numbers_are_the_same(ray: Any, study: Study, place: Place, tmp_path: Path) -> None:
    three = replace(study, folds=(1, 2, 3))
    alone = train(three, replace(place, threads=1))
    together = train(three, replace(place, workers=2, threads=1, runs=str(tmp_path / "workers")))
    on_ray = train(three, replace(place, launch="ray", runs=str(tmp_path / "ray")))
    assert [f.key for f in alone] == [f.key for f in together] == [f.key for f in on_ray]
    assert bits(on_ray) == bits(together) == bits(alone)
    for mine, other in zip(alone, on_ray, strict=True):
        np.testing.assert_array_equal(mine.predictions.logits["last"], other.predictions.logits["last"])


@needs_proc
def test_a_killed_worker_costs_nothing_but_time(
    ray: Any, study: Study, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    two = replace(study, folds=(1, 2), recipe=Recipe(epochs=12, lr=1e-3))
    killed: list[tuple[Path, list[dict]]] = []

    class Killing(dispatch.Board):
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


def test_files_travel_in_pieces_and_have_their_names_when_they_are_whole(
    study: Study, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLA_DATA", str(tmp_path / "node"))
    monkeypatch.setattr(remote, "PIECE", 100_000)
    material = prepare(study, place)
    files = goods(pack(material.store, None))
    assert [Path(name).name for name in files] == [
        "store.json",
        "clean.npy",
        "variant-resize-0000.npy",
        "variant-resize-0001.npy",
        "SHA256SUMS",
    ]
    sizes = {name: path.stat().st_size for name, path in files.items()}
    depot, other = Depot(), Depot()
    assert depot.lacking(sizes) == list(files)
    for name, path in files.items():
        for offset, piece in remote._pieces(path):
            depot.write(name, offset, piece)
            other.write(name, 0, b"another one's beginning")
        assert not (tmp_path / "node" / name).exists()
        depot.finish(name)
        assert (tmp_path / "node" / name).read_bytes() == path.read_bytes()
    assert depot.lacking(sizes) == []
    assert other.lacking({**sizes, next(iter(files)): 1}) == [next(iter(files))], "a file of another size is not the file"


def test_a_node_without_room_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLA_DATA", str(tmp_path / "node"))
    with pytest.raises(UserError, match=r"MB free and 1000000000000 MB are needed; make room there.*TLA_DATA"):
        Depot().lacking({"clean.npy": 10**18})


def test_what_comes_back_is_finished_last(study: Study, place: Place, tmp_path: Path) -> None:
    (folder,) = train(study, place)
    desk, names = Desk(tmp_path / "home"), []

    class Call:
        """A call of an actor, made at once."""

        def __init__(self, method: Any) -> None:
            self.remote = method

    class Proxy:
        write, finish = Call(desk.write), Call(lambda name: (names.append(name), desk.finish(name)))

    remote._bring_home(folder, Proxy, lambda result: result)
    assert names[-1] == f"{folder.key}/SHA256SUMS"
    assert bits([load(tmp_path / "home" / folder.key)]) == bits([folder])
    assert not list((tmp_path / "home" / folder.key).glob(".*"))


def test_live_augmentation_takes_the_sounds_along(study: Study, place: Place, tmp_path: Path) -> None:
    material = prepare(replace(study, augment=Augment(kind="live")), place)
    parcel = pack(material.store, None)
    clips = {name: path for name, path in goods(parcel).items() if name.startswith("clips/")}
    assert len(clips) == 100
    for name, path in clips.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(path.read_bytes())
    there = elsewhere(parcel, parcel.folder, tmp_path / "clips").store(1)
    assert str(there.dataset.clips[0].path).startswith(str(tmp_path))
    pairs = zip(there.live([3, 5], seed=1, epoch=2), material.store.live([3, 5], seed=1, epoch=2), strict=True)
    assert all(np.array_equal(mine, other) for mine, other in pairs)


def test_a_node_has_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLA_DATA", "/scratch/me")
    assert own_folder() == Path("/scratch/me")
    monkeypatch.delenv("TLA_DATA")
    assert own_folder().name == f"tla-{os.getuid()}"


# Clusters


class Nodes:
    """A Ray of which only the list of nodes is asked."""

    def __init__(self, *resources: dict[str, float], alive: bool = True) -> None:
        self.all = [{"NodeID": str(i), "Alive": alive, "Resources": has} for i, has in enumerate(resources)]

    def nodes(self) -> list[dict]:
        return self.all

    def cluster_resources(self) -> dict[str, float]:
        return {"GPU": sum(node["Resources"].get("GPU", 0) for node in self.all)}


@pytest.mark.parametrize(
    ("threads", "gpus", "rooms"),
    [
        (1, 0.0, {"0": 16, "1": 8}),
        (3, 0.0, {"0": 5, "1": 2}),
        (1, 0.25, {"0": 8}),
        (4, 0.25, {"0": 4}),
        (1, 1 / 3, {"0": 6}),
        (1, 2, {"0": 1}),
        (32, 0.0, {}),
    ],
)
def test_as_many_runs_as_fit(threads: int, gpus: float, rooms: dict[str, int]) -> None:
    cluster = object.__new__(Cluster)
    cluster.ray, cluster.threads, cluster.gpus = Nodes({"CPU": 16, "GPU": 2}, {"CPU": 8}), threads, gpus
    assert cluster._nodes() == rooms


def test_where_there_are_gpus_it_has_to_be_said_what_a_run_takes(place: Place) -> None:
    with pytest.raises(UserError, match=r"has 2 GPUs.*--gpus-per-run 1, 0\.25"):
        remote.gpus_per_run(Nodes({"GPU": 2}), place)
    assert remote.gpus_per_run(Nodes({"GPU": 2}), replace(place, gpus_per_run=0.25)) == 0.25
    assert remote.gpus_per_run(Nodes({"CPU": 2}), place) == 0


def test_gpus_of_a_cluster_decide_the_arithmetic(study: Study, place: Place) -> None:
    auto = replace(study, precision="auto")
    assert prepare(auto, replace(place, launch="ray", gpus_per_run=0.25)).precision == "bf16"
    assert prepare(study, replace(place, launch="ray", gpus_per_run=0.25)).precision == "fp32"


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(UserError, match=r"--launch ray:ray://head:10001: give the command on a machine of the cluster"):
        remote.connect("ray:ray://head:10001")

    with pytest.raises(UserError, match=r"--launch ray:somewhere: an address is HOST:PORT"):
        remote.connect("ray:somewhere")
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{port.getsockname()[1]}"
        with pytest.raises(UserError, match=rf"--launch ray:{address}: no Ray cluster listens there \(Connection refused\)"):
            remote.connect(f"ray:{address}")
        port.listen()

        def refuse(**options: Any) -> None:
            assert options["address"] == address
            raise RuntimeError("Version mismatch:\n  Ray: 2.9")

        monkeypatch.setattr(ray, "init", refuse)
        with pytest.raises(UserError, match=rf"no Ray cluster can be reached at {address} \(Version mismatch: Ray: 2\.9\)"):
            remote.connect(f"ray:{address}")


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
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert said.rstrip().endswith("the same command again goes on from what is finished")
        assert "Traceback" not in said
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
    said = [process.communicate(timeout=500)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    trained = [line.split()[1] for text in said for line in text.splitlines() if line.startswith("run ")]
    assert len(trained) == len(set(trained)) == 4
    same_as_in_process(study, place, tmp_path)


# The grid search on Ray Tune

SEARCH = Search(grid=Grid(lr=(1e-2, 1e-3, 1e-5), weight_decay=(0.0, 1e-3)))


def searched(study: Study, place: Place, search: Search) -> list[Trial]:
    return search_grid(prepare(nested(study, search, place), place), search, place)


@pytest.mark.slow
def test_trials_of_ray_tune_are_the_runs_that_one_process_trains(
    ray: Any, study: Study, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = Search(grid=Grid(lr=(1e-2, 1e-5)))
    here = searched(study, replace(place, threads=1), search)
    there = searched(study, replace(place, launch="ray", runs=str(tmp_path / "tune")), search)
    assert bits([trial.folder for trial in there]) == bits([trial.folder for trial in here])
    assert [trial.accuracies for trial in there] == [trial.accuracies for trial in here]
    said = capsys.readouterr()
    assert said.out == "", "Ray Tune is quiet"
    assert "2 finished, 0 to train" not in said.err
    assert [t.folder.path for t in searched(study, replace(place, launch="ray", runs=str(tmp_path / "tune")), search)] == [
        t.folder.path for t in there
    ]
    assert "2 finished, 0 to train" in capsys.readouterr().err


@needs_proc
@pytest.mark.slow
def test_asha_stops_what_falls_behind_and_a_killed_trial_goes_on(
    ray: Any, study: Study, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nine = replace(study, recipe=Recipe(epochs=9))
    killed = []

    class Killing(dispatch.Board):
        """Ends the processes of the trials once one has done two epochs."""

        def step(self, key: str, done: int, text: str = "") -> None:
            super().step(key, done, text)
            if not killed and self.epochs(key) >= 2:
                killed.extend(workers_of(os.getpid(), "ray::ImplicitFunc"))
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(tuning, "Board", Killing)
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
    assert "pictures go to 2 nodes" in done.stderr
    ours = {path.name: path.read_bytes() for path in Path(str(place.data_root)).glob("pictures/*/*.npy")}
    for folder in folders.values():
        theirs = {path.name: path.read_bytes() for path in folder.glob("pictures/*/*.npy")}
        assert theirs
        assert theirs.items() <= ours.items()
        assert not list(folder.glob("runs/*")), "what has come back is not kept"
    same_as_in_process(study, place, tmp_path)
    again = [*words, "--seeds", "3", "--launch", f"ray:{machines.address}"]
    done = subprocess.run(again, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pictures go" not in done.stderr


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
    runs = place.runs if shared else str(own / "runs")
    until(lambda: begun(runs, folders=2 if shared else 1), 120)
    logs = {path: path.read_text() for path in Path(runs).glob("*/log.jsonl")}
    machines.remove_node(lost, allow_graceful=False)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "it is tried again" in said
    if shared:
        assert all(path.read_text().startswith(log) for path, log in logs.items()), "checkpoints outlive the node"
    same_as_in_process(study, place, tmp_path)
