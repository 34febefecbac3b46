"""The executor that trains on a Ray cluster: one task per run, several to a GPU if they are small.

What travels. To a task: the run and, through Ray's object store once per node, the pretrained weights and the list of clips.
A node that lacks the pictures fetches them to its own disk, below $TLA_DATA there, else in its temporary folder. Back: the
files of the finished run, into the folder for runs of whoever started the study. On the machine of the study itself nothing
travels, and with `--shared-runs` no run does. An interrupted run goes on from its checkpoint on the node that holds it.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from tla.errors import UserError
from tla.files import held, replacing
from tla.launch.asha import Asha
from tla.launch.board import Board
from tla.launch.dispatch import POLL_S
from tla.launch.in_process import Outcome, Report, Stopped, attempt
from tla.launch.material import Material
from tla.launch.ray_cluster import connect, on_node, this_node
from tla.manifest import SUMS
from tla.options import Place
from tla.runs.folder import RunFolder
from tla.runs.run import Run
from tla.sound.clips import Dataset

PIECE = 32 << 20  # bytes of a file that travel at once
MOST_QUEUED = 64  # runs handed to Ray beyond those that it has room for; a cluster that grows by itself grows with them
UNFINISHED = "unfinished"  # below a node's own folder: runs on their way; another name than that of any folder for runs

Read = Callable[[Path, int], bytes]  # a piece of a file, from there on; of no bytes at its end


class Cluster:
    """Has runs trained by the nodes of a Ray cluster; `asha` decides which of them are stopped early."""

    def __init__(self, material: Material, place: Place, board: Board, asha: Asha | None = None) -> None:
        self.ray, self.board = connect(place.launch), board
        self.threads, self.gpus = place.threads or 1, gpus_per_run(self.ray, place)
        self.place = replace(place, threads=self.threads)
        self.material = self.ray.put(material.on("cuda:0" if self.gpus else "cpu", self.threads))
        self.node = this_node(self.ray)
        lasting = {"max_restarts": -1, "max_task_retries": 3}
        self.home = self.ray.remote(Home).options(**on_node(self.node), **lasting).remote(asha)
        self.training: dict[Any, str] = {}  # task -> key of the run
        resources = {"num_cpus": self.threads, "num_gpus": self.gpus}
        self.train = self.ray.remote(train).options(**resources, max_retries=0, scheduling_strategy="SPREAD")

    def free(self, busy: int) -> bool:
        room = room_for_runs(self.ray.nodes(), self.threads, self.gpus)
        return busy < room + min(max(room, 1), MOST_QUEUED)

    def start(self, run: Run, folder: RunFolder) -> None:
        folder = RunFolder(folder.path.absolute())
        self.training[self.train.remote(run, folder, self.material, self.place, self.home, self.node)] = run.key

    def outcomes(self) -> Sequence[Outcome]:
        ready, _ = self.ray.wait(list(self.training), timeout=POLL_S)
        watched = set(self.training.values())
        for key, (done, text) in self.ray.get(self.home.news.remote()).items():
            if key in watched:
                self.board.step(key, done, text)
        return [self._outcome(task) for task in ready]

    def close(self) -> None:
        for task in self.training:
            self.ray.cancel(task, force=True)
        if self.training:  # what a task holds, it releases by ending
            self.ray.wait(list(self.training), num_returns=len(self.training), timeout=10)
        self.ray.kill(self.home)

    def _outcome(self, task: Any) -> Outcome:
        key = self.training.pop(task)
        try:
            return self.ray.get(task)
        except self.ray.exceptions.RayTaskError as error:
            trace = "" if isinstance(error.cause, UserError) else str(error)
            return Outcome(key=key, error=str(error.cause).partition("\n")[0], trace=trace)
        except self.ray.exceptions.RayError as error:
            what = f"its node or process died ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
            return Outcome(key=key, error=what, lost=True)


def room_for_runs(nodes: Sequence[Mapping[str, Any]], threads: int, gpus: float) -> int:
    """How many runs, of so many threads and GPUs each, the living nodes have room for."""
    rooms = 0
    for node in nodes:
        has = node["Resources"]
        room = has.get("CPU", 0) / threads
        if gpus:
            room = min(room, has.get("GPU", 0) / gpus)
        rooms += int(room + 1e-6) if node["Alive"] else 0  # a third of a GPU fits three times
    return rooms


def gpus_per_run(ray: Any, place: Place) -> float:
    """What a run takes of a GPU; `UserError` where that was not given and makes a difference."""
    there = ray.cluster_resources().get("GPU", 0)
    if place.gpus_per_run is None and there:
        raise UserError(
            f"the Ray cluster has {there:g} GPUs; give what a run takes: --gpus-per-run 1, 0.25 for four runs on one GPU, "
            "0 for runs on the CPU"
        )
    return place.gpus_per_run or 0.0


# On the node of the study


class Home:
    """What tasks on all nodes share: it notes how runs get on, decides which to stop, and reads and writes files."""

    def __init__(self, asha: Asha | None = None) -> None:
        self.asha = asha
        self.steps: dict[str, tuple[int, str]] = {}

    def step(self, key: str, done: int, text: str) -> None:
        self.steps[key] = done, text

    def news(self) -> dict[str, tuple[int, str]]:
        """The steps since the last time."""
        steps, self.steps = self.steps, {}
        return steps

    def stopped(self, key: str, accuracies: Sequence[float]) -> list[float] | None:
        """The accuracies on which a run is to be stopped, or None."""
        return self.asha.stopped_at(key, accuracies) if self.asha else None

    def read(self, path: Path, start: int) -> bytes:
        """A piece of a file."""
        with path.open("rb") as file:
            file.seek(start)
            return file.read(PIECE)

    def receive(self, folder: Path, files: Mapping[str, bytes]) -> None:
        """Write the files of a finished run; the one that marks it as finished comes last."""
        for name in sorted(files, key=lambda name: name == SUMS):
            with replacing(folder / name) as new:
                new.write_bytes(files[name])


# On every node


def train(run: Run, folder: RunFolder, material: Material, place: Place, home: Any, home_node: str) -> Outcome:
    """Train a run on the node on which this is called; what it leaves comes home."""
    import ray

    away = this_node(ray) != home_node
    travels = away and not place.shared_runs
    mine = RunFolder(own_folder() / UNFINISHED / folder.key) if travels else folder
    if away:
        if not travels and not folder.path.parent.is_dir():
            raise UserError(f"--shared-runs: the node {os.uname().nodename} does not see the folder {folder.path.parent}")
        home.step.remote(folder.key, 0, "its node looks for the pictures")
        material = with_own_pictures(material, own_folder(), lambda path, start: ray.get(home.read.remote(path, start)))
    outcome = attempt(run, mine, material, _report(mine, home), place.threads, place.tensorboard)
    if not travels:
        return outcome
    if outcome.error is None and outcome.stopped is None:
        try:
            ray.get(home.receive.remote(folder.path, files_of(mine)))
        except OSError as error:  # of the disk at home
            return Outcome(key=folder.key, error=str(error.cause), disk=error.cause)  # type: ignore[attr-defined]  # Ray's
        shutil.rmtree(mine.path)
    return replace(outcome, disk=None)  # one node's disk does not stop the study


def _report(folder: RunFolder, home: Any) -> Report:
    """Reports to the node of the study, which may stop the run after any epoch."""
    import ray

    reported = 0

    def report(done: int, text: str) -> None:
        nonlocal reported
        home.step.remote(folder.key, done, text)
        if folder.count_epochs() > reported:
            accuracies = [row["accuracy"] for row in folder.read_log()]
            reported = len(accuracies)
            if stopped := ray.get(home.stopped.remote(folder.key, accuracies)):
                raise Stopped(stopped)

    return report


def files_of(folder: RunFolder) -> dict[str, bytes]:
    """The files of a finished run, by their names in its folder."""
    files = [path for path in folder.path.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {path.relative_to(folder.path).as_posix(): path.read_bytes() for path in files}


def own_folder() -> Path:
    """Where a node keeps pictures and unfinished runs."""
    return Path(os.environ.get("TLA_DATA") or Path(tempfile.gettempdir()) / f"tla-{os.getuid()}").absolute()


def with_own_pictures(material: Material, root: Path, read: Read) -> Material:
    """The same material with pictures and, for live augmentation, sound files below the node's own folder.

    `read(path, start)` is a piece of a file of the study's node; what is here already is not read. Where files lie is decided
    by their content.
    """
    folder, dataset = root / "pictures" / material.store.folder.name, material.dataset
    files = {folder / path.name: path for path in material.store.files}
    if material.study.augment.kind == "live":
        dataset = _clips_in(root / "clips", dataset)
        files |= {mine.path: clip.path for mine, clip in zip(dataset.clips, material.dataset.clips, strict=True)}
    lacking = [mine for mine in files if not mine.is_file()]
    try:
        busy = f"{root}: another process fetches the pictures; waiting for it"
        with held(root / f"{folder.name}.lock", busy) if lacking else nullcontext():
            for mine in lacking:
                if not mine.is_file():  # by now another task may have fetched it
                    _fetch(files[mine], mine, read)
    except OSError as error:
        why = error.strerror or str(error).splitlines()[-1]  # what Ray raises has many lines
        raise UserError(
            f"{os.uname().nodename}: the pictures cannot be fetched to {root} ({why}); make room there, or start "
            "Ray on it with TLA_DATA set to a folder that has some"
        ) from None
    return replace(material, store=replace(material.store, folder=folder, dataset=dataset))


def _fetch(path: Path, mine: Path, read: Read) -> None:
    with replacing(mine) as new, new.open("wb") as file:
        while piece := read(path, file.tell()):
            file.write(piece)


def _clips_in(folder: Path, dataset: Dataset) -> Dataset:
    """The data set with sound files that are called by their content and lie in one folder."""
    contents = dataset.contents
    clips = [
        replace(clip, path=folder / f"{content}{clip.path.suffix}")
        for clip, content in zip(dataset.clips, contents, strict=True)
    ]
    moved = replace(dataset, clips=tuple(clips), memory=None)
    moved.__dict__["contents"] = contents  # known; the files are not read for it again
    return moved
