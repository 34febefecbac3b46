"""The executor that trains some runs at a time, each in a process of its own on this machine."""

import multiprocessing
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from tla.launch.board import Board
from tla.launch.dispatch import POLL_S
from tla.launch.in_process import Outcome, attempt
from tla.launch.material import Material
from tla.options import Place
from tla.runs.folder import RunFolder
from tla.runs.run import Run
from tla.sound.workers import Worker, begin


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    pipe: Connection
    device: str
    key: str | None = None  # of the run that it trains


class Processes:
    """Trains in processes that stay for the next run. One that dies takes nothing but its own run with it."""

    def __init__(self, material: Material, place: Place, board: Board, devices: Sequence[str], threads: int) -> None:
        self.material, self.place, self.board, self.devices, self.threads = material, place, board, devices, threads
        self.workers: list[_Worker] = []

    def free(self, busy: int) -> bool:
        return busy < len(self.devices)

    def start(self, run: Run, folder: RunFolder) -> None:
        worker = next((worker for worker in self.workers if worker.key is None), None) or self._hire()
        worker.key = run.key
        with suppress(BrokenPipeError):  # it died while it was idle, as `outcomes` will find out
            worker.pipe.send((run, folder))

    def outcomes(self) -> Sequence[Outcome]:
        ended = []
        for ready in wait([worker.pipe for worker in self.workers], timeout=POLL_S):
            worker = next(worker for worker in self.workers if worker.pipe is ready)
            try:
                received = worker.pipe.recv()
            except (EOFError, ConnectionResetError):
                ended += self._bury(worker)
                continue
            if isinstance(received, Outcome):
                worker.key = None
                ended.append(received)
            else:
                self.board.step(*received)
        return ended

    def close(self) -> None:
        for worker in self.workers:
            worker.process.kill()  # idle, or not wanted any more; files are whole whenever it comes
        for worker in self.workers:
            worker.process.join()

    def _hire(self) -> _Worker:
        taken = [worker.device for worker in self.workers]
        device = min(self.devices, key=lambda name: taken.count(name) / self.devices.count(name))
        mine, its = multiprocessing.Pipe()
        given = self.material.on(device, self.threads), self.threads, self.place.tensorboard
        process = Worker(target=_serve, args=(its, *given), daemon=False)
        process.start()
        its.close()  # so that its death closes the pipe
        self.workers.append(_Worker(process, mine, device))
        return self.workers[-1]

    def _bury(self, worker: _Worker) -> list[Outcome]:
        self.workers.remove(worker)
        worker.process.join()
        status = worker.process.exitcode or 0
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        why = f"its process ended {how} (memory may have run out, or somebody ended it)"
        return [] if worker.key is None else [Outcome(key=worker.key, error=why, lost=True)]


def _serve(pipe: Connection, material: Material, threads: int, tensorboard: bool) -> None:
    """What a worker process does."""
    begin()
    while True:
        run, folder = pipe.recv()

        def report(done: int, text: str, key: str = folder.key) -> None:
            pipe.send((key, done, text))

        pipe.send(attempt(run, folder, material, report, threads, tensorboard))


def deal(asked: str, device: str, gpus: int, workers: int) -> list[str]:
    """The device of each worker: where any GPU will do and there are several, they are dealt out in turn."""
    if asked in ("auto", "cuda") and device.startswith("cuda") and gpus:
        return [f"cuda:{number % gpus}" for number in range(workers)]
    return [device] * workers
