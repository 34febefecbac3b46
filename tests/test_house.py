"""The rules of the house, held by walking the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tla
from tla import __main__ as listing

PACKAGE = Path(tla.__file__).parent
ROOMS = {"sound": 1, "nets": 1, "runs": 2, "measures": 3, "draw": 4, "bench": 5}  # what a room may import lies below it
GROUND = {"options", "errors", "console", "files", "seals", "cli", "statistics"}
LIGHT = {"tla", "jsonargparse", "docstring_parser", "typeshed_client", "attr", "attrs", "typing_extensions", "yaml"}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    is_command = relative.name == "__main__.py"
    return "command" if is_command or (len(relative.parts) == 1 and relative.stem not in GROUND) else relative.parts[0]


def imported(path: Path) -> set[str]:
    """Names `tla.x...` that a file imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith("tla.") or name == "tla"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    level = 6 if room == "command" else ROOMS.get(room, 0)
    for name in imported(path):
        target = name.split(".")[1] if "." in name else ""
        if target in ROOMS:
            assert ROOMS[target] < level or target == room, f"{path.name} in {room} imports {name}"
        elif target == "cli":
            assert room == "command", f"{path.name} imports the command line"
        elif target and target not in GROUND:
            assert name in ("tla.__version__",), f"{path.name} imports the command {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_only_cli_and_console_know_their_libraries() -> None:
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert path.name == "cli.py" or "jsonargparse" not in text, path
        assert path.name == "console.py" or "from rich" not in text, path


def test_nothing_is_pickled() -> None:
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert "import pickle" not in text, path
        assert "allow_pickle=True" not in text, path


@pytest.mark.parametrize("command", listing.COMMANDS)
def test_help_is_quick_to_import_and_teaches(command: str) -> None:
    """What is held is what is loaded, since a time depends on the machine: with this it is 0.2 seconds of a processor."""
    program = (
        "import sys, runpy\n"
        "before = set(sys.modules)\n"
        f"sys.argv = ['tla.{command}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('tla.{command}', run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        "    loaded = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "    print('LOADED', *sorted(loaded - set(sys.stdlib_module_names)))\n"
        "    print('ROOMS', *sorted(name for name in sys.modules if name.startswith('tla.')))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    *_, libraries, rooms = (set(line.split()[1:]) for line in done.stdout.splitlines())
    assert {name for name in libraries if "cython" not in name} <= LIGHT  # yaml is compiled with Cython
    assert rooms <= {*(f"tla.{name}" for name in GROUND), f"tla.{command}"}
    assert f"python -m tla.{command}" in done.stdout


def test_the_list_of_commands_is_complete() -> None:
    files = {path.parent.name if path.name == "__main__.py" else path.stem for path in SOURCES if room_of(path) == "command"}
    assert set(listing.COMMANDS) == files - {"tla", "__init__"}
    done = subprocess.run([sys.executable, "-m", "tla"], capture_output=True, text=True, timeout=60)
    assert all(f"python -m tla.{command}" in done.stdout for command in listing.COMMANDS)
