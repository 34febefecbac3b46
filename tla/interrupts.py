"""Ctrl-C ends a command in a line, within seconds, however often and at whatever moment it comes.

The first one raises KeyboardInterrupt, so that what is half done is tidied up; the others change nothing. A thread ends the
process, and its worker processes, where that takes too long: an exception can be swallowed by the code that it comes to, and
does not come to code that is not Python's. Nothing here is for a program that imports tla: there Ctrl-C is the program's own.
"""

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

STATUS = 130  # the shell's own for Ctrl-C
GRACE_S = 2.0  # for tidying up
STOPPED = "\nstopped; the same command again goes on from what is finished"


class _Ctrl:
    """What has come, and what is being held back."""

    came = raised = False
    holding = 0


def install() -> None:
    """Take over Ctrl-C in this process, once."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with held_back():  # so that the thread, and what it starts, never gets the signal
        threading.Thread(target=_end_late, args=(reader,), daemon=True).start()
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)  # written to also while the process is not in Python code
    signal.signal(signal.SIGINT, _interrupt)
    atexit.register(_end_of_python)  # the first that is registered is the last that is called
    shown, ignored, in_thread = sys.excepthook, sys.unraisablehook, threading.excepthook

    def show(*about: Any) -> None:
        _end() if _Ctrl.came else shown(*about)

    sys.excepthook = show
    sys.unraisablehook = lambda about: None if _Ctrl.came else ignored(about)
    threading.excepthook = lambda about: None if _Ctrl.came else in_thread(about)


@contextmanager
def held_back() -> Iterator[None]:
    """Ctrl-C waits until the block ends; a process or a thread that is started in it does not get it at all."""
    masked = hasattr(signal, "pthread_sigmask")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masked else set()
    _Ctrl.holding += 1
    try:
        yield
    finally:
        _Ctrl.holding -= 1
        if masked:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if _Ctrl.came and threading.current_thread() is threading.main_thread():
            _raise_once()


def _interrupt(number: int, frame: FrameType | None) -> None:
    _Ctrl.came = True
    _raise_once()


def _raise_once() -> None:
    if not _Ctrl.raised and not _Ctrl.holding:
        _Ctrl.raised = True
        raise KeyboardInterrupt


def _end_late(reader: int) -> None:
    while os.read(reader, 1) != bytes([signal.SIGINT]):
        pass
    time.sleep(GRACE_S)
    _end()


def _end_of_python() -> None:
    """Python would end a process by the signal itself that got it in code given as a string, also if it was dealt with."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # its end restores the system's default for any other handler
    if _Ctrl.came:
        sys.stdout.flush()
        os._exit(STATUS)


def _end() -> NoReturn:
    active_children = getattr(sys.modules.get("multiprocessing"), "active_children", list)
    for child in active_children():
        child.kill()
    print(STOPPED, file=sys.stderr, flush=True)
    os._exit(STATUS)
