"""The rules of the house, held by walking the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tla
from tla import __main__ as listing

PACKAGE = Path(tla.__file__).parent
GROUND = {"cli", "config", "console", "entry", "errors", "files", "interrupts", "options", "outputs", "plots"}
GROUND |= {"reference", "manifest", "statistics", "tables"}
CIRCLES: set[frozenset[str]] = set()  # modules that import each other in a circle; nothing is ever added here
LIGHT = {
    "tla",
    "lazy_loader",
    "jsonargparse",
    "docstring_parser",
    "typeshed_client",
    "attr",
    "attrs",
    "typing_extensions",
    "yaml",
}
SOURCES = sorted(PACKAGE.rglob("*.py"))
ROOMS = {path.relative_to(PACKAGE).parts[0] for path in SOURCES if path.parent != PACKAGE}
# What a room may import lies on a lower floor, or in the room itself; a room that is not named here is a question
BELOW: tuple[set[str], ...] = ({"sound", "nets"}, {"runs"}, {"launch"}, {"readout"})  # readouts: a question that others ask too
ABOVE: tuple[set[str], ...] = ({"paper"}, {"bench"}, {"command"})
QUESTIONS = ROOMS - set().union(*BELOW, *ABOVE)
FLOOR = {room: level for level, rooms in enumerate((*BELOW, QUESTIONS, *ABOVE), start=1) for room in rooms}


def room_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    if relative.name == "__main__.py" or (len(relative.parts) == 1 and relative.stem not in GROUND):
        return "command"
    return relative.parts[0] if len(relative.parts) > 1 else "ground"


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[str]:
    """Names `tla.x...` that a file imports anywhere in it, also late and for types alone."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith("tla.") or name == "tla"}


def import_graph() -> dict[str, set[str]]:
    """Module -> the modules that it imports, wherever in the file; a name of a room that is no module is the room's own."""
    modules = {module_of(path) for path in SOURCES}
    graph = {}
    for path in SOURCES:
        reached = {name if name in modules else name.rpartition(".")[0] for name in imported(path)}
        graph[module_of(path)] = (reached & modules) - {module_of(path)}
    return graph


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The largest groups in which each module reaches each other one."""
    reached = {module: set(targets) for module, targets in graph.items()}
    for via in graph:
        for targets in reached.values():
            if via in targets:
                targets |= reached[via]
    return {frozenset(other for other in graph if other in reached[one] and one in reached[other]) for one in graph} - {
        frozenset()
    }


def test_what_is_named_here_is_there() -> None:
    assert FLOOR.keys() - {"command"} == ROOMS
    assert {path.stem for path in SOURCES if path.parent == PACKAGE} >= GROUND


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_every_room_names_the_question_that_it_answers(room: str) -> None:
    first, *_ = (ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))) or "").splitlines()
    assert "?" in first


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    for name in imported(path):
        target = name.split(".")[1] if "." in name else ""
        if target in FLOOR:
            assert target == room or FLOOR[target] < FLOOR.get(room, 0), f"{path.name} in {room} imports {name}"
        elif target == "cli":
            assert room == "command", f"{path.name} imports the command line"
        elif target and target not in GROUND:
            assert name in ("tla.__version__",), f"{path.name} imports the command {name}"


def test_no_imports_go_round_in_a_circle() -> None:
    """Also late imports count: where two modules need each other, something stands in the wrong one."""
    assert circles(import_graph()) == CIRCLES


def test_a_circle_is_seen() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "e"}, "e": {"f"}, "f": {"e"}, "g": {"d"}}
    assert circles(graph) == {frozenset("abc"), frozenset("ef")}
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == set()
    assert "tla.sound.workers" in import_graph()["tla.launch.processes"]
    assert "tla.launch.ray_cluster" in import_graph()["tla.data"], "a late import"


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
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *_, libraries, rooms = (set(line.split()[1:]) for line in done.stdout.splitlines())
    assert {name for name in libraries if "cython" not in name} <= LIGHT  # yaml is compiled with Cython
    at_hand = {"tla.launch", "tla.launch.at_hand"}  # which finds the study that a command goes on with, when it is called
    assert rooms <= {*(f"tla.{name}" for name in GROUND), f"tla.{command}", *at_hand}
    assert f"python -m tla.{command}" in done.stdout


def test_the_list_of_commands_is_complete() -> None:
    files = {path.parent.name if path.name == "__main__.py" else path.stem for path in SOURCES if room_of(path) == "command"}
    assert set(listing.COMMANDS) == files - {"tla", "__init__"}
    done = subprocess.run([sys.executable, "-m", "tla"], capture_output=True, text=True)
    assert all(f"python -m tla.{command}" in done.stdout for command in listing.COMMANDS)
