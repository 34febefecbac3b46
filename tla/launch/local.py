"""Runs trained on this machine: one after the other in this process, or some at a time in processes of their own."""

import multiprocessing
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from tla.launch.dispatch import POLL_S, Board
from tla.launch.worker import Order, Outcome, Parcel, attempt, order_for
from tla.options import Place
from tla.runs.run import Run
from tla.sound.store import Store
from tla.sound.workers import Worker, begin

if TYPE_CHECKING:
    from tla.nets.weights import Pretrained


class InProcess:
    """Trains a run when it is taken on."""

    def __init__(self, store: Store, pretrained: "Pretrained | None", device: str, place: Place, board: Board) -> None:
        self.store, self.pretrained, self.device, self.place, self.board = store, pretrained, device, place, board
        self.ended: list[Outcome] = []

    def free(self, busy: int) -> bool:
        return busy == 0

    def start(self, run: Run) -> None:
        order = order_for(run, self.place, device=self.device, threads=self.place.threads)
        self.ended.append(attempt(order, self.store, self.pretrained, partial(self.board.step, run.key)))

    def outcomes(self) -> Sequence[Outcome]:
        ended, self.ended = self.ended, []
        return ended

    def close(self) -> None:
        pass


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    pipe: Connection
    device: str
    key: str | None = None  # of the run that it trains


class Processes:
    """Trains in processes that stay for the next run. One that dies takes nothing but its own run with it."""

    def __init__(self, parcel: Parcel, devices: Sequence[str], threads: int, place: Place, board: Board) -> None:
        self.parcel, self.devices, self.threads, self.place, self.board = parcel, devices, threads, place, board
        self.workers: list[_Worker] = []

    def free(self, busy: int) -> bool:
        return busy < len(self.devices)

    def start(self, run: Run) -> None:
        worker = next((worker for worker in self.workers if worker.key is None), None) or self._hire()
        worker.key = run.key
        with suppress(BrokenPipeError):  # it died while it was idle, as `outcomes` will find out
            worker.pipe.send(order_for(run, self.place, device=worker.device, threads=self.threads))

    def outcomes(self) -> Sequence[Outcome]:
        ended = []
        for ready in wait([worker.pipe for worker in self.workers], timeout=POLL_S):
            worker = next(worker for worker in self.workers if worker.pipe is ready)
            try:
                said = worker.pipe.recv()
            except (EOFError, ConnectionResetError):
                ended += self._bury(worker)
                continue
            if isinstance(said, Outcome):
                worker.key = None
                ended.append(said)
            else:
                self.board.step(*said)
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
        process = Worker(target=_serve, args=(its, self.parcel, self.threads), daemon=False)
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


def _serve(pipe: Connection, parcel: Parcel, threads: int) -> None:
    """A worker's life."""
    begin()
    store, pretrained = parcel.store(threads), parcel.pretrained
    while True:
        order: Order = pipe.recv()
        pipe.send(attempt(order, store, pretrained, lambda done, text: pipe.send((order.key, done, text))))  # noqa: B023


def deal(asked: str, device: str, gpus: int, workers: int) -> list[str]:
    """The device of each worker: where any GPU will do and there are several, they are dealt out in turn."""
    if asked in ("auto", "cuda") and device.startswith("cuda") and gpus:
        return [f"cuda:{number % gpus}" for number in range(workers)]
    return [device] * workers
