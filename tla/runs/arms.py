"""Finished runs by their keys: one of them, or all that differ from it in fold and seed alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tla.runs.folder import FinishedRun, find, folders, intact
from tla.runs.run import Run
from tla.tables import start

START = ("weights", "transfer")  # of a run, for which there are words of their own
APART = ("data", "data_digest", "classes", "fold", "seed", *START)


def find_run(key: str, runs: str | Path = "runs") -> FinishedRun:
    """The finished run whose key begins so."""
    return find(Path(runs), key)


def find_arm(key: str, runs: str | Path = "runs") -> list[FinishedRun]:
    """The finished runs that differ from the one whose key begins so in fold and seed alone, and itself."""
    first = find(Path(runs), key)
    found = (intact(folder.path) for folder in folders(Path(runs)))
    mine = [run for run in found if run and _arm(run.run) == _arm(first.run)]
    return sorted(mine, key=lambda run: (run.run.seed, run.run.fold))


def _arm(run: Run) -> Run:
    return replace(run, data="", fold=0, seed=0)


def names(first: Sequence[FinishedRun], second: Sequence[FinishedRun]) -> tuple[str, str]:
    """What each of two arms is called beside the other: the options in which they differ or, if in none, a key of each."""
    one, other = first[0].run, second[0].run
    mine, theirs = _options(one), _options(other)
    apart = [name for name in mine if mine[name] != theirs[name]]
    words = [[_word(name, options[name]) for name in apart] for options in (mine, theirs)]
    if (one.weights, one.transfer) != (other.weights, other.transfer):
        for each, run in zip(words, (one, other), strict=True):
            each.insert(0, start(run.weights, run.transfer))
    called = ", ".join(words[0]), ", ".join(words[1])
    return called if called[0] != called[1] else (first[0].key, second[0].key)


def _options(group: object, prefix: str = "") -> dict[str, object]:
    """The options of a run, those of its groups under their own names."""
    options: dict[str, object] = {}
    for name, value in vars(group).items():
        if not prefix and name in APART:
            continue
        options |= _options(value, f"{name}.") if hasattr(value, "__dataclass_fields__") else {prefix + name: value}
    return options


def _word(name: str, value: object) -> str:
    return str(value) if name == "backbone" else f"{name.rpartition('.')[2].replace('_', ' ')} {value}"
