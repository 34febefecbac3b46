"""Commands of a study in processes of their own, and what they have to leave behind whatever happens to them."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from warm import Command, Warm

from tla.manifest import SUMS, digest_of

# What the wall clock or the machine decides, wherever it is written, and the digests of what holds some of it.
TIMES = ("seconds", "finished", "training_clips_per_second", "made")
OPTIONS = ["--backbone", "densenet_tiny", "--weights", "random", "--folds", "1", "--precision", "fp32", "--device", "cpu"]
OPTIONS += ["--picture.mels", "32", "--picture.frames", "40", "--augment.kind", "bank:1", "--threads", "1"]
OPTIONS += ["--recipe.epochs", "3", "--recipe.lr", "1e-3"]
TRAIN = ("tla.train", "--transfer.frozen-upto", "block2")  # pictures, what frozen stages say of them, a run, tables
FREEZE = ("tla.freeze", "--upto", "block2")  # the same, and a figure

MEMORIES = ("contents.json", ".digests.json")  # what saves reading files that are old enough

# Lines of Python to be run before a command
WITH_WORKERS = "from tla.sound import build; build._TINY_S = 0.0"
AS_ANYBODY = "import warm; warm.drop_powers()"

Survived = Callable[[str, int], None]


@dataclass(frozen=True)
class Home:
    """Where a command has everything."""

    warm: Warm
    sounds: Path
    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    @property
    def folders(self) -> tuple[Path, Path, Path]:
        return self.data, self.runs, self.figures

    def sub(self, name: str) -> "Home":
        """One more, inside."""
        return replace(self, root=self.root / name)

    def start(self, module: str, *words: str, **more: Any) -> Command:
        """Start a command of a study; later words win."""
        places = ["--data", self.sounds, "--data-root", self.data, "--runs", self.runs, "--figures", self.figures]
        return self.warm.start(module, [*map(str, places), *OPTIONS, *words], **more)

    def run(self, module: str, *words: str, **more: Any) -> Command:
        return self.start(module, *words, **more).wait()

    def logs(self) -> dict[str, str]:
        """The log of each run, as it stands."""
        return {path.parent.name: path.read_text() for path in self.runs.glob("*/log.jsonl")}

    def files(self) -> dict[str, object]:
        """All that lies there, by path: bytes, less what the clock wrote, and what only saves work."""
        found = (path for folder in self.folders for path in self.warm.seen(folder).rglob("*") if path.is_file())
        outside = self.warm.seen(self.root)
        return {path.relative_to(outside).as_posix(): _timeless(path) for path in found if path.name not in MEMORIES}


class Undisturbed:
    """What commands leave when nothing happens to them."""

    def __init__(self, home: Home) -> None:
        self.home, self.known = home, dict[tuple[str, ...], dict[str, object]]()

    def __call__(self, *command: str) -> dict[str, object]:
        if command not in self.known:
            home = self.home.sub(str(len(self.known)))
            done = home.run(*command)
            assert done.status == 0, done.said
            self.known[command] = home.files()
        return self.known[command]


def _timeless(path: Path) -> object:
    """What a file holds, less what the clock wrote, and less what only says how a run was made."""
    if path.suffix == ".csv":
        return [_without(row) for row in csv.DictReader(io.StringIO(path.read_text()))]
    if path.name == "log.jsonl":
        return [_without(json.loads(line)) for line in path.read_text().splitlines()]
    if path.name in ("result.json", "run.json"):
        return _without(json.loads(path.read_text()))
    if path.name == SUMS:
        noted = [line.split("  ") for line in path.read_text().splitlines()]
        return {name: digest_of(path.with_name(name)) == digest for digest, name in noted}
    return path.read_bytes()


def _without(row: dict[str, Any]) -> dict[str, Any]:
    inner = {name: _without(value) if isinstance(value, dict) else value for name, value in row.items()}
    return {name: value for name, value in inner.items() if not any(word in name for word in TIMES)}


def one_line(command: Command, *, status: int = 2) -> str:
    """The line with which a command ended that could not go on: the only error, and no traceback."""
    assert command.status == status, command.said
    assert "Traceback" not in command.said, command.said
    assert command.said.count("error: ") == (status == 2), command.said
    return command.said.splitlines()[-1]
