"""A process that has imported everything and forks a child for each command: a hundred kills do not pay for a hundred imports.

It reads a request per line and answers each with a line. Where the system lets it, it lives in mount points of its own, so that
small disks and read-only ones can be put anywhere and are gone with it. A child can be told to send itself a signal, or to fill
the disk, just before its n-th change to files below some folders, which is where an accident hurts.
"""

import atexit
import ctypes
import importlib
import json
import os
import runpy
import signal as signals
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

WITHOUT_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # forking forbids them
PRELOADED = (
    "torch.optim",
    "torchvision",
    "librosa",
    "soundfile",
    "scipy.signal",
    "scipy.stats",
    "pandas",
    "seaborn",
    "matplotlib.backends.backend_pdf",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "jsonargparse",
    "rich.table",
    "filelock",
    "safetensors.torch",
    "threadpoolctl",
    "tla.cli",
    "tla.runs.fit",
    "tla.launch.study",
    "tla.runs.infer",
    "tla.runs.tables",
    "tla.stages.measuring",
    "tla.tables",
    "tla.stages.drawing",
)
CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "tempfile.mkstemp", "tempfile.mkdtemp")

_DIE_WITH_PARENT = 1  # of prctl


# Inside


def _serve() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a child of fork has the threads of its parent in name only"
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "shell" in asked:
            done = subprocess.run(asked["shell"], shell=True, capture_output=True, text=True)
            print(json.dumps([done.returncode, done.stderr]), flush=True)
        elif "wait" in asked:
            print(os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1]), flush=True)
        elif pid := os.fork():
            print(pid, flush=True)
        else:
            _become(**asked)


def _become(module: str, words: list[str], out: str, err: str, env: dict[str, str], before: str, trap: Any) -> NoReturn:
    """Go on as `python -m module words` would, in a session of its own."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signals.SIGKILL)  # also if it stands still
    os.setsid()
    for stream, path in ((0, os.devnull), (1, out), (2, err)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(opened, stream)
        os.close(opened)
    os.environ.update(env)
    exec(before, {})
    if trap:
        _set(**trap)
    sys.argv = [module, *words]
    status: Any = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # the interpreter would look once more at all that the child never touched: seconds


def _set(below: list[str], at: int, of: str, signal: int, ballast: str | None, leave: int) -> None:
    """Act before the `at`-th change below some folders (to paths that hold `of`): with a signal, or by filling the disk."""
    changes = 0

    def hear(event: str, given: tuple[Any, ...]) -> None:
        nonlocal changes
        if event not in CHANGES or (event == "open" and not given[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        paths = [os.fsdecode(path) for path in given[:2] if isinstance(path, str | bytes | os.PathLike)]
        if not paths or not paths[0].startswith(tuple(below)) or of not in paths[0] or ballast == paths[0]:
            return
        changes += 1
        if changes == at and ballast:
            fill(Path(ballast), leave)
        elif changes == at:
            os.kill(os.getpid(), signal)

    sys.addaudithook(hear)


def fill(ballast: Path, leave: int) -> None:
    """Fill the disk that a file is on with this file, but for some bytes."""
    ballast.unlink(missing_ok=True)
    disk = os.statvfs(ballast.parent)
    with ballast.open("wb") as file:
        file.write(bytes(max(0, disk.f_bavail * disk.f_frsize - leave)))


def drop_powers() -> None:
    """Let permissions bind this process even if it is root's."""
    header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, nothing):
        raise OSError(ctypes.get_errno(), "capset")


# Outside


@dataclass
class Command:
    """A command under way, or ended."""

    warm: "Warm"
    pid: int
    out: Path
    err: Path
    status: int | None = None
    """Its exit status once it has ended; minus the signal that ended it."""

    def wait(self) -> "Command":
        if self.status is None:
            self.status = int(self.warm.ask(wait=self.pid))
        return self

    def send(self, signal: int, *, family: bool = False) -> None:
        """A signal to it, or to all its processes, as the terminal does."""
        (os.killpg if family else os.kill)(self.pid, signal)

    @property
    def said(self) -> str:
        return self.err.read_text()

    @property
    def printed(self) -> str:
        return self.out.read_text()


@dataclass
class Warm:
    """The process, from outside."""

    scratch: Path
    mounts: bool = False
    """Whether it may put file systems where it likes."""
    process: subprocess.Popen = field(init=False)
    begun: int = 0

    def __enter__(self) -> "Warm":
        own = next((way for way in (["unshare", "-m"], ["unshare", "-rm"]) if _works([*way, "true"])), [])
        self.mounts = bool(own)
        command = [*own, sys.executable, __file__]
        environment = {**os.environ, **WITHOUT_THREADS}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True, cwd=self.scratch)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self.process as process:
            process.kill()

    def ask(self, **what: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(what), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def shell(self, command: str) -> None:
        """Run something where it lives: a mount, say."""
        status, said = self.ask(shell=command)
        assert status == 0, said

    def seen(self, path: Path) -> Path:
        """A path as it sees it, with its own mount points."""
        return Path(f"/proc/{self.process.pid}/root{path}")

    def living(self, command: Command) -> list[int]:
        """The processes of a command that have not ended."""
        states = {int(place.name): _state(place) for place in Path("/proc").glob("[0-9]*")}
        return [pid for pid, (state, session) in states.items() if session == command.pid and state not in "ZX"]

    def stopped(self, command: Command) -> bool:
        """Whether it stands still, by SIGSTOP."""
        return _state(Path(f"/proc/{command.pid}"))[0] == "T"

    def start(self, module: str, words: Iterable[str], *, before: str = "", trap: Any = None, **env: str) -> Command:
        """Start a command, after some lines of Python if need be."""
        self.begun += 1
        out, err = self.scratch / f"{self.begun}.out", self.scratch / f"{self.begun}.err"
        err.touch()
        about = {"module": module, "words": list(words), "env": env, "before": before, "trap": trap}
        return Command(self, self.ask(**about, out=str(out), err=str(err)), out, err)

    def run(self, module: str, words: Iterable[str], **more: Any) -> Command:
        return self.start(module, words, **more).wait()


def trap(
    below: Iterable[Path], *, at: int = 1, of: str = "", signal: int = 0, ballast: Path | None = None, leave: int = 0
) -> dict[str, Any]:
    """What `Warm.start` takes to have a command meet with an accident before its n-th change below some folders."""
    place = str(ballast) if ballast else None
    return {"below": [str(path) for path in below], "at": at, "of": of, "signal": signal, "ballast": place, "leave": leave}


def _state(process: Path) -> tuple[str, int]:
    """The state of a process, and its session."""
    try:
        state, _, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return "X", 0  # it ended while we looked
    return state, int(session)


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    _serve()
