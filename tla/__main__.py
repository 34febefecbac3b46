"""`tla` lists the commands, `tla fusion ...` is one of them; `python -m tla` and `python -m tla.fusion ...` are the same."""

import ast
import difflib
import runpy
import sys
from pathlib import Path

ROOM = Path(__file__).parent
COMMANDS = (
    "demo",
    "probe",
    "train",
    "fusion",
    "freeze",
    "cutoff",
    "svcca",
    "ig",
    "ensemble",
    "versus",
    "labels",
    "report",
    "tune",
    "reproduce",
    "predict",
    "runs",
    "data",
    "bench",
)  # in the order of a newcomer's day
HELP, VERSION = ("--help", "-h"), "--version"


def main() -> None:
    """The command that the first word names, in this process, as if Python had been started with it; without one, the list."""
    name, *options = sys.argv[1:] or HELP[:1]
    if name in COMMANDS:
        sys.argv[1:] = options
        runpy.run_module(f"tla.{name}", run_name="__main__", alter_sys=True)
        return
    from tla import cli

    with cli.ending():
        _answer(name)


def _answer(word: str) -> None:
    import tla
    from tla import entry
    from tla.errors import UserError

    if word in HELP:
        show()
    elif word == VERSION:
        print(f"tla {tla.__version__}")
    else:
        close = difflib.get_close_matches(word.lower(), [*COMMANDS, *HELP[:1], VERSION], n=3)
        near = f"; did you mean {' or '.join(close)}?" if close else ""
        raise UserError(f"there is no command {word}{near} (`{entry.typed()} --help` lists all)")


def show() -> None:
    """Print each command with the question that it answers."""
    import tla
    from tla import entry

    print(f"{tla.__doc__}\n")
    width = 1 + max(map(len, COMMANDS))
    for command in COMMANDS:
        print(f"  {entry.typed(f'{command:<{width}}')}{summary(command)}")
    print(f"\nEach takes --help; `{entry.typed()} {VERSION}` prints the version. Start with `{entry.typed('demo')}`.")


def summary(command: str) -> str:
    """The first line of a command's docstring, read without importing it."""
    module, package = ROOM / f"{command}.py", ROOM / command / "__main__.py"
    tree = ast.parse((module if module.is_file() else package).read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


if __name__ == "__main__":
    main()
