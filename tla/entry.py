"""How tla was called: as `tla fusion`, as `python -m tla.fusion`, or by a program that imports it.

What names a command (help, hints, a command that runs others) names it in the form that was called, so that it works as it is
printed.
"""

import os
import re
import sys

NAMES = ("tla", "tla.exe", "tla-script.py")  # under which the command is installed
EXAMPLE = r"python -m tla\.(\w+)(?P<options>(?: \S+)*)(?P<gap>  +)?"  # behind the gap stands what it does


def _script() -> str | None:
    first = next(iter(sys.argv), None)  # its processes have that too, but were not started by it
    return first if first in sys.orig_argv and os.path.basename(first).lower() in NAMES else None  # noqa: PTH119  quick


SCRIPT = _script()  # the file of the command `tla`, if that is what runs; as long as no other command has taken its place


def is_command() -> bool:
    """Whether this process is a `tla ...`, or a `python -m tla...` that is about to be loaded."""
    module = sys.argv[:1] == ["-m"] and any(word.removeprefix("-m").split(".")[0] == "tla" for word in sys.orig_argv[1:])
    return module or SCRIPT is not None


def typed(command: str = "") -> str:
    """A command as a user types it; without a name, the one that lists them."""
    beginning, between = ("tla", " ") if SCRIPT else ("python -m tla", ".")
    return beginning + (between + command if command else "")


def started(command: str) -> list[str]:
    """The words that start a command in a process of its own, called in the same form."""
    return [sys.executable, SCRIPT, command] if SCRIPT else [sys.executable, "-m", f"tla.{command}"]


def retold(text: str) -> str:
    """A text with its commands in the form that was called; what stands behind them stays in its column."""

    def told(found: re.Match[str]) -> str:
        short = typed(found[1]) + found["options"]
        return short.ljust(len(found[0])) if found["gap"] else short

    return re.sub(EXAMPLE, told, text)
