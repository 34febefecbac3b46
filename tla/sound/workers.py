"""Work on clips in processes of their own: results in the order of the items, computed some way ahead of their use.

Processes are spawned, never forked (the parent may hold the threads of torch), use one thread each, and end with their parent.
They do not import the main module of the program that starts them: a script needs no `if __name__ == "__main__"`.
"""

import functools
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any, Protocol, TypeVar

from tla.errors import UserError
from tla.interrupts import held_back

Item = TypeVar("Item")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)

AHEAD = 8  # items in work or waiting for their use, per worker


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def crew(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Workers for one piece of work; they end with it, also when it is interrupted."""
    context = _Context()
    given_up, give_up = context.Pipe(duplex=False)  # an Event would wait for a worker that was killed to wake up
    pool = _Crew(workers, mp_context=context, initializer=_begin_in_crew, initargs=(given_up,))
    with given_up, give_up:
        try:
            yield pool
        except BaseException:
            give_up.send_bytes(b".")  # else all that is under way would be waited for
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Crew(ProcessPoolExecutor):
    def submit(self, work: Callable[..., Result], /, *items: Any, **more: Any) -> "Future[Result]":
        return super().submit(_do, work, *items, **more)


def _do(work: Callable[..., Result], *items: Any, **more: Any) -> Result:
    _HAS_WORKED.set()
    return work(*items, **more)


class GivenUp(Exception):
    """In a worker: nobody waits for this work any more."""


_GIVEN_UP: list[Connection] = []  # of this process, if it is a worker of a crew: what is sent is for all, so nobody takes it
_HAS_WORKED = threading.Event()  # and may be sending what it made: to end it then would break off a message


def _begin_in_crew(given_up: Connection) -> None:
    _GIVEN_UP.append(given_up)
    threading.Thread(target=_end_before_work, args=(given_up,), daemon=True).start()
    begin()


def _end_before_work(given_up: Connection) -> None:
    """The libraries of the first piece of work take seconds to load."""
    given_up.poll(None)
    if not _HAS_WORKED.is_set():
        os._exit(1)


def stop_if_given_up() -> None:
    """To be called now and then by long work: raises `GivenUp`."""
    if any(given_up.poll() for given_up in _GIVEN_UP):
        raise GivenUp


@functools.cache
def standing_crew(workers: int) -> ProcessPoolExecutor:
    """Workers that stay for the next piece of work, until this process ends."""
    return ProcessPoolExecutor(workers, mp_context=_Context(), initializer=begin)


class Promise(Protocol[Result_co]):
    """A piece of work that is under way."""

    def result(self) -> Result_co: ...

    def cancel(self) -> object: ...


class Pool(Protocol):
    """Workers, here or elsewhere."""

    def submit(self, work: Callable[[Item], Result], item: Item, /) -> Promise[Result]: ...


def ordered(pool: Pool, work: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[Result]:
    """Results in the order of the items, at most `ahead` of them begun before the first is taken."""
    begun: deque[Promise[Result]] = deque()
    try:
        for item in items:
            with held_back():  # also by the pool's own threads
                begun.append(pool.submit(work, item))
            if len(begun) >= ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    except BrokenProcessPool:
        standing_crew.cache_clear()
        raise UserError("a worker process died, most likely for lack of memory; free some") from None
    finally:
        for future in begun:
            future.cancel()


class Worker(SpawnProcess):
    """A process that does not import the main module of this one, and does not get Ctrl-C."""

    def start(self) -> None:
        with _STARTING, held_back():
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")  # else its file would be run once more, from the top
            try:
                super().start()
            finally:
                sys.modules["__main__"] = main


class _OfCrew(Worker):
    """One that is ended when this process ends."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more, daemon=True)


class _Context(SpawnContext):
    Process = _OfCrew


_STARTING = threading.Lock()


def begin() -> None:
    """How a worker process starts: one thread, Ctrl-C ignored, and not outliving its parent."""
    import numpy as np  # noqa: F401  loads the library whose threads are limited here
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be held back
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threadpool_limits(1)


def _end_with_parent() -> None:
    """A killed parent cannot end its workers, and they would wait for it for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
