"""The recipes of docs/extending.md, made in a copy of the package; their commands are run on toy sounds."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tla.options import Place, Study

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^## (\d)|^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TINY = "--backbone densenet_tiny --precision fp32 --picture.mels 32 --picture.frames 40 --augment.kind none --folds 1"
TINY += " --recipe.epochs 1 --recipe.lr 1e-3 --device cpu"
ALL_COMMANDS = """
import runpy, sys
for line in sys.stdin.read().splitlines():
    sys.argv = line.split()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def recipes() -> dict[str, list[tuple[str, str]]]:
    """The blocks of each recipe, by its number: their kinds and texts."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    number = ""
    for heading, kind, text in BLOCK.findall(PAGE):
        number = heading or number
        found[number] += [(kind, text)] if kind else []
    return dict(found)


def make(root: Path, kind: str, text: str) -> None:
    """Make the change that a block describes in a copy of the project."""
    first, _, rest = text.partition("\n")
    path = root / first.removeprefix("# ")
    if kind == "python":
        path.parent.mkdir(exist_ok=True)
        assert not path.exists()
        path.write_text(rest, encoding="utf-8")
    elif kind == "diff":
        lines = rest.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] in marks) for marks in (" -", " +"))
        source = path.read_text(encoding="utf-8")
        assert source.count(old) == 1, f"{first} holds {source.count(old)} times:\n{old}"
        path.write_text(source.replace(old, new), encoding="utf-8")


def commands(blocks: list[tuple[str, str]]) -> list[str]:
    """The modules that the shell blocks run, with their options."""
    lines = [line for kind, text in blocks if kind == "sh" for line in text.splitlines()]
    return [re.sub("^tla ", "tla.", line.removeprefix("python -m ")) for line in lines]


def copied(folder: Path, *names: str) -> Path:
    """A copy of the project in which all recipes are made."""
    for name in names:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for blocks in recipes().values():
        for block in blocks:
            make(folder, *block)
    return folder


def knocks(sounds: Path, folder: Path) -> None:
    """The data set of the third recipe, of some other sounds."""
    for path in sorted(sounds.rglob("*.wav"))[:60]:
        number = int(re.sub(r"\D", "", path.stem)) % 3
        target = folder / "sounds" / ("flat", "office", "studio")[number] / f"{path.parent.name}-{path.stem}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def test_each_recipe_has_a_command_and_can_be_made_alone(tmp_path: Path) -> None:
    assert list(recipes()) == ["1", "2", "3", "4", "5"]
    for number, blocks in recipes().items():
        shutil.copytree(ROOT / "tla", tmp_path / number / "tla", ignore=shutil.ignore_patterns("__pycache__"))
        assert commands(blocks)
        for block in blocks:
            make(tmp_path / number, *block)


def test_the_recipes_commands_work(few_sounds: Path, from_donor: Study, place: Place, tmp_path: Path) -> None:
    root = copied(tmp_path / "copy", "tla")
    knocks(few_sounds, tmp_path / "data" / "knocks")
    study = f"--weights {from_donor.weights} {TINY} --data-root {place.data} --runs {place.runs} --figures {place.figures}"
    lines = []
    for line in [line for blocks in recipes().values() for line in commands(blocks) if line.startswith("tla.")]:
        more = f"--data-root {tmp_path / 'data'}" if line.startswith("tla.data ") else study
        lines.append(f"{line.replace('my/sounds', str(few_sounds))} {more}")
    environment = {**os.environ, "PYTHONPATH": str(root)}
    words = [sys.executable, "-c", ALL_COMMANDS]
    done = subprocess.run(words, input="\n".join(lines), capture_output=True, text=True, cwd=root, env=environment)
    assert done.returncode == 0, done.stderr
    for name in ("fig2a_svcca", "fig2a_match", "reliability"):
        assert list(Path(place.figures).glob(f"*/{name}.pdf"))
    for shown in ("best matching channel", "knocks", "8 runs, 2 finished", "confidence %"):
        assert shown in done.stdout, done.stdout


@pytest.mark.slow
def test_the_tests_that_the_recipes_name_pass(tmp_path: Path) -> None:
    root = copied(tmp_path, "tla", "tests")
    shutil.copy(ROOT / "pyproject.toml", root)
    environment = {**os.environ, "PYTHONPATH": str(root)}
    tests = [line for blocks in recipes().values() for line in commands(blocks) if line.startswith("pytest ")]
    for line in ["ruff check", "ruff format --check", "mypy", *tests]:
        words = [sys.executable, "-m", *shlex.split(line)]
        done = subprocess.run(words, capture_output=True, text=True, cwd=root, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
