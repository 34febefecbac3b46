"""Runs trained on a Ray cluster: one task each, several to a GPU if they are small.

What travels. To each node, once: the pictures, to its own disk (below $TLA_DATA there, else in its temporary folder), and the
pretrained weights, through Ray's object store. To a task: a run's options. Back from a task: the files of the finished run,
into the folder for runs of whoever started the study. On the machine of the study itself nothing travels, and with
`--shared-runs` no run does. An interrupted run goes on from its checkpoint on the node that holds it.
"""

import logging
import os
import shutil
import socket
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tla
from tla.console import say
from tla.errors import UserError
from tla.launch.dispatch import POLL_S, Board
from tla.launch.worker import Order, Outcome, Parcel, attempt, clip_name, elsewhere, order_for
from tla.manifest import SUMS
from tla.options import Place
from tla.runs.folder import RunFolder
from tla.runs.run import Run
from tla.sound.build import Sent, Shard
from tla.sound.workers import cores

PIECE = 32 << 20  # bytes of a file that travel at once
AHEAD = 4  # pieces under way
MOST_QUEUED = 64  # runs handed to Ray beyond those that it has room for; a cluster that grows by itself grows with them


def connect(launch: str) -> Any:
    """The module `ray`, connected as `--launch` says: to a cluster, or to a Ray that is started on this machine."""
    ray = load()
    if ray.is_initialized():
        return ray
    address = launch.partition(":")[2] or os.environ.get("RAY_ADDRESS") or "local"
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    logging.getLogger("ray").setLevel(logging.ERROR)
    if address == "local":
        ray.init(address="local", num_cpus=cores(), include_dashboard=False, **quiet)
        return ray
    if address.startswith("ray://"):
        raise UserError(f"--launch ray:{address}: give the command on a machine of the cluster, with --launch ray:auto")
    if address != "auto":
        _knock(address)
    try:
        ray.init(address=address, runtime_env={"py_modules": [str(Path(tla.__file__).parent)]}, **quiet)
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:  # RuntimeError: another version of Ray or Python
        why = " ".join(str(error).split())[:300]
        raise UserError(f"--launch {launch}: no Ray cluster can be reached at {address} ({why})") from None
    return ray


def _knock(address: str) -> None:
    """`UserError` where nobody listens; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"--launch ray:{address}: an address is HOST:PORT (6379, if Ray was not told another port), or auto")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(f"--launch ray:{address}: no Ray cluster listens there ({error.strerror or error})") from None


def load() -> Any:
    """The module `ray`; `UserError` names the extra that brings it."""
    try:
        import ray
    except ImportError:
        raise UserError("--launch ray needs Ray, which is not installed: pip install 'tla[ray]'") from None
    return ray


@dataclass(frozen=True, kw_only=True)
class Errand:
    """A run's order, as it goes to a node."""

    order: Order
    home: str
    """The node on which the study was started: there files are where they were."""
    shared: bool
    files: dict[str, int]
    """Names and sizes of the files that another node needs, below its own folder."""


@dataclass(frozen=True)
class Lacks:
    """A node does not have the pictures."""

    node: str


class Cluster:
    """Has runs trained by the nodes of a Ray cluster."""

    def __init__(self, parcel: Parcel, place: Place, board: Board) -> None:
        self.ray, self.place, self.board = connect(place.launch), place, board
        self.threads, self.gpus = place.threads or 1, gpus_per_run(self.ray, place)
        self.home = self.ray.get_runtime_context().get_node_id()
        self.goods = goods(parcel)
        self.parcel = self.ray.put(parcel)
        self.desk = desk(self.ray, self.home, place)
        self.training: dict[Any, Run] = {}
        self.watched: set[str] = set()  # keys of the runs in training
        resources = {"num_cpus": self.threads, "num_gpus": self.gpus}
        self.train = self.ray.remote(train).options(**resources, max_retries=0, scheduling_strategy="SPREAD")
        supply(self.ray, self.goods, [node for node in self._nodes() if node != self.home])

    def free(self, busy: int) -> bool:
        room = sum(self._nodes().values())
        return busy < room + min(max(room, 1), MOST_QUEUED)

    def start(self, run: Run) -> None:
        self.training[self.train.remote(self.errand(run), self.parcel, self.desk)] = run
        self.watched.add(run.key)

    def errand(self, run: Run) -> Errand:
        """What a node is told of a run."""
        order = order_for(run, self.place, device="cuda:0" if self.gpus else "cpu", threads=self.threads)
        sizes = {name: path.stat().st_size for name, path in self.goods.items()}
        return Errand(order=order, home=self.home, shared=self.place.shared_runs, files=sizes)

    def outcomes(self) -> Sequence[Outcome]:
        ready, _ = self.ray.wait(list(self.training), timeout=POLL_S)
        self.hear()
        ended = []
        for reference in ready:
            run = self.training.pop(reference)
            said = self._result(reference, run)
            if isinstance(said, Lacks):
                supply(self.ray, self.goods, [said.node])
                self.start(run)
            else:
                ended.append(said)
                self.watched.discard(run.key)
        return ended

    def hear(self) -> None:
        """Show how the runs in training get on."""
        for key, (done, text) in self.ray.get(self.desk.news.remote()).items():
            if key in self.watched:
                self.board.step(key, done, text)

    def close(self) -> None:
        for reference in self.training:
            self.ray.cancel(reference, force=True)
        if self.training:  # what a task holds, it lets go of by ending
            self.ray.wait(list(self.training), num_returns=len(self.training), timeout=10)
        self.ray.kill(self.desk)

    def _nodes(self) -> dict[str, int]:
        """The living nodes, and how many runs each has room for."""
        rooms = {}
        for node in self.ray.nodes():
            has = node["Resources"]
            room = has.get("CPU", 0) / self.threads
            if self.gpus:
                room = min(room, has.get("GPU", 0) / self.gpus)
            if node["Alive"] and room >= 1:
                rooms[node["NodeID"]] = int(room + 1e-6)  # a third of a GPU fits three times
        return rooms

    def _result(self, reference: Any, run: Run) -> Outcome | Lacks:
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            return Outcome(key=run.key, error=str(error.cause).partition("\n")[0], trace=str(error))
        except self.ray.exceptions.RayError as error:
            what = f"its node or process died ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
            return Outcome(key=run.key, error=what, lost=True)


def gpus_per_run(ray: Any, place: Place) -> float:
    """What a run takes of a GPU; `UserError` where that was not said and makes a difference."""
    there = ray.cluster_resources().get("GPU", 0)
    if place.gpus_per_run is None and there:
        raise UserError(
            f"the Ray cluster has {there:g} GPUs; say what a run takes: --gpus-per-run 1, 0.25 for four runs on one GPU, "
            "0 for runs on the CPU"
        )
    return place.gpus_per_run or 0.0


# On the node of the study


class Desk:
    """Hears how runs get on, and writes what comes back into the folder for runs."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.steps: dict[str, tuple[int, str]] = {}
        self.outcomes: list[Outcome] = []

    def step(self, key: str, done: int, text: str) -> None:
        self.steps[key] = done, text

    def end(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def ended(self) -> list[Outcome]:
        return self.outcomes

    def news(self) -> dict[str, tuple[int, str]]:
        """What was heard since the last time."""
        steps, self.steps = self.steps, {}
        return steps

    def write(self, name: str, offset: int, piece: bytes) -> None:
        write_piece(self.runs, name, offset, piece, "back")

    def finish(self, name: str) -> None:
        finish_file(self.runs, name, "back")


def desk(ray: Any, home: str, place: Place) -> Any:
    """A desk on this node."""
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": 3, "scheduling_strategy": _on(ray, home)}
    return ray.remote(Desk).options(**options).remote(Path(place.runs).absolute())


def goods(parcel: Parcel) -> dict[str, Path]:
    """The files that another node needs, by their names there."""
    store = parcel.store(1)
    files = {f"pictures/{store.folder.name}/{path.name}": path for path in store.files}
    if parcel.augment.kind == "live":
        contents = parcel.dataset.contents
        clips = zip(parcel.dataset.clips, contents, strict=True)
        files |= {f"clips/{clip_name(clip.path, content)}": clip.path for clip, content in clips}
    return files


def supply(ray: Any, files: dict[str, Path], nodes: Sequence[str]) -> None:
    """Bring files to nodes that lack them, piece by piece, so that they never lie in memory as a whole."""
    depots = {node: ray.remote(Depot).options(num_cpus=0, scheduling_strategy=_on(ray, node)).remote() for node in nodes}
    sizes = {name: path.stat().st_size for name, path in files.items()}
    try:
        lacking = {node: ray.get(depot.lacking.remote(sizes)) for node, depot in depots.items()}
        size = sum(sizes[name] for name in set().union(*lacking.values()))
        if size:
            say(f"pictures go to {sum(map(bool, lacking.values()))} nodes: {size / 1e6:.0f} MB")
        under_way: deque[Any] = deque()
        for name, path in files.items():
            takers = [depots[node] for node in nodes if name in lacking[node]]
            for offset, piece in _pieces(path) if takers else ():
                reference = ray.put(piece)
                under_way.append([taker.write.remote(name, offset, reference) for taker in takers])
                if len(under_way) > AHEAD:
                    ray.get(under_way.popleft())
            under_way.append([taker.finish.remote(name) for taker in takers])
        for references in under_way:
            ray.get(references)
    except ray.exceptions.RayTaskError as error:
        raise UserError(f"a node cannot take in the pictures: {error.cause}") from None
    except ray.exceptions.RayActorError:
        say("a node died while it was given the pictures")  # tasks that come to another one that lacks them will say so
    finally:
        for depot in depots.values():
            ray.kill(depot)


def _pieces(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        offset = 0
        while piece := file.read(PIECE):
            yield offset, piece
            offset += len(piece)


def _on(ray: Any, node: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=False)


class Makers:
    """The nodes of a cluster as workers that make pictures."""

    def __init__(self, launch: str) -> None:
        self.ray = connect(launch)
        self.task = self.ray.remote(_make).options(num_cpus=1, max_retries=3, scheduling_strategy="SPREAD")
        self.carry = False  # whether some node does not see the sounds

    @property
    def workers(self) -> int:
        return max(1, int(self.ray.cluster_resources().get("CPU", 1)))

    def submit(self, work: Callable[[Any], Any], shard: Any, /) -> Any:
        return _Making(self, work, shard)

    def send(self, work: Callable[[Any], Any], shard: Shard) -> Any:
        return self.task.remote(work, shard.with_sounds() if self.carry else shard)


class _Making:
    """A shard under way; with its sounds, once one has come back for lack of them."""

    def __init__(self, makers: Makers, work: Callable[[Shard], Sent | None], shard: Shard) -> None:
        self.makers, self.work, self.shard = makers, work, shard
        self.reference = makers.send(work, shard)

    def result(self) -> Sent:
        sent = self._get()
        if sent is None:
            self.makers.carry = True
            self.reference = self.makers.send(self.work, self.shard)
            sent = self._get()
        return sent

    def cancel(self) -> None:
        self.makers.ray.cancel(self.reference)

    def _get(self) -> Any:
        exceptions = self.makers.ray.exceptions
        try:
            return self.makers.ray.get(self.reference)
        except exceptions.RayTaskError:
            raise
        except exceptions.RayError as error:
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise UserError(f"the cluster lost some pictures ({why}); the same command goes on with the rest") from None


def _make(work: Callable[[Shard], Sent | None], shard: Shard) -> Sent | None:
    """Do a piece of work on one thread."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return work(shard)


# On the other nodes


class Depot:
    """Takes in files, below the node's own folder."""

    def __init__(self) -> None:
        self.root, self.tag = own_folder(), uuid.uuid4().hex

    def lacking(self, sizes: dict[str, int]) -> list[str]:
        """Names of the files that are not here; `UserError` if there is no room for them."""
        names = [name for name in sizes if not _is_there(self.root / name, sizes[name])]
        need = sum(sizes[name] for name in names)
        self.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if free < need:
            raise UserError(
                f"{os.uname().nodename}: {self.root} has {free / 1e6:.0f} MB free and {need / 1e6:.0f} MB are needed; "
                "make room there, or start Ray on it with TLA_DATA set to a folder that has some"
            )
        return names

    def write(self, name: str, offset: int, piece: bytes) -> None:
        write_piece(self.root, name, offset, piece, self.tag)

    def finish(self, name: str) -> None:
        finish_file(self.root, name, self.tag)


def write_piece(root: Path, name: str, offset: int, piece: bytes, tag: str) -> None:
    """Write a part of a file, under a temporary name."""
    part = _part(root / name, tag)
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("r+b" if offset else "wb") as file:
        file.seek(offset)
        file.write(piece)


def finish_file(root: Path, name: str, tag: str) -> None:
    """Give a file that was written in parts its name."""
    part = _part(root / name, tag)
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as file:  # a file of no bytes has had no parts
        os.fsync(file.fileno())
    part.replace(root / name)


def _part(path: Path, tag: str) -> Path:
    return path.with_name(f".{path.name}.{tag}")


def own_folder() -> Path:
    """Where a node keeps pictures and unfinished runs."""
    return Path(os.environ.get("TLA_DATA") or Path(tempfile.gettempdir()) / f"tla-{os.getuid()}").absolute()


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


# On every node


def train(
    errand: Errand, parcel: Parcel, desk: Any, on_epochs: Callable[[list[dict[str, Any]]], None] | None = None
) -> Outcome | Lacks:
    """Train a run on the node on which this is called; what it leaves comes home. `on_epochs` gets the log as it grows."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    order, away = errand.order, here != errand.home
    if away:
        root = own_folder()
        if not all(_is_there(root / name, size) for name, size in errand.files.items()):
            return Lacks(here)
        clips = root / "clips" if parcel.augment.kind == "live" else None
        parcel = elsewhere(parcel, root / "pictures" / parcel.folder.name, clips)
        if errand.shared and not order.folder.parent.is_dir():
            what = f"--shared-runs: the node {os.uname().nodename} does not see the folder {order.folder.parent}"
            return Outcome(key=order.key, error=what)
        if not errand.shared:
            order = replace(order, folder=root / "runs" / order.key)
    folder = RunFolder(order.folder)

    def report(done: int, text: str) -> None:
        desk.step.remote(order.key, done, text)
        if on_epochs:
            on_epochs(folder.read_log())

    outcome = attempt(order, parcel.store(order.threads or 1), parcel.pretrained, report)
    if on_epochs and outcome.error is None:
        on_epochs(folder.read_log())
    if away and not errand.shared and outcome.error is None:
        try:
            _bring_home(folder, desk, ray.get)
        except OSError as error:  # of the desk's disk
            return Outcome(key=order.key, error=f"the result cannot be brought home: {str(error).splitlines()[-1]}")
        shutil.rmtree(order.folder)
    return replace(outcome, disk=None)  # one node's disk does not stop the study


def _bring_home(folder: RunFolder, desk: Any, get: Callable[[Any], Any]) -> None:
    """Send the run's files to the desk; the one that says finished comes last."""
    files = [path for path in folder.path.rglob("*") if path.is_file() and not path.name.startswith(".")]
    for path in sorted(files, key=lambda path: path.name == SUMS):
        name = f"{folder.key}/{path.relative_to(folder.path).as_posix()}"
        for offset, piece in _pieces(path):
            get(desk.write.remote(name, offset, piece))
        get(desk.finish.remote(name))
