"""A run on disk: `runs/KEY/`, and how to find it.

    run.json             the run's resolved options and how it was made (versions, commit, machine)
    log.jsonl            a line per epoch
    checkpoint.safetensors   state after the last whole epoch; gone when the run is finished
    predictions.npz      names, labels, sources and logits of the held-out clips, by selection rule
    weights.safetensors  the trained network by its original tensor names (last epoch; nested: the chosen one)
    standard.npz         mean and spread of the training pictures, where the recipe standardises
    result.json          what the run scored, and digests of the files above; written last, so that its presence says finished
    error.txt            why the last attempt failed; only there if it did

Selection rules: under `paper`, `best` (epoch picked on the held-out clips themselves) and `last`; under `nested`,
`test` (epoch picked on the validation fold).

What is read is held against the seals of the two JSON files and against those digests: a finished run that was damaged
raises `Damaged`, or is as good as none.
"""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tla import seals
from tla.console import say
from tla.errors import Damaged, UserError
from tla.files import held, replacing, take, write_text
from tla.runs import validation
from tla.runs.run import Run
from tla.runs.validation import from_json

if TYPE_CHECKING:
    from filelock import FileLock


Told = TypeVar("Told")

LOG, PREDICTIONS, STANDARD, WEIGHTS = "log.jsonl", "predictions.npz", "standard.npz", "weights.safetensors"


@dataclass(frozen=True)
class Predictions:
    """What a finished run said of each held-out clip. logits: rule -> (clips, classes)."""

    names: np.ndarray
    labels: np.ndarray
    sources: np.ndarray
    logits: dict[str, np.ndarray]


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @property
    def key(self) -> str:
        return self.path.name

    @property
    def finished(self) -> bool:
        return (self.path / "result.json").is_file()

    @property
    def weights(self) -> Path:
        return self.path / WEIGHTS

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def run(self) -> Run:
        run = self._told("run.json", "run", from_json)
        if run.key != self.key:
            raise self._odd("run.json", f"its options are those of run {run.key}")
        return run

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of the logits."""
        names = self._told("run.json", "classes", validation.names)
        if len(names) != self.run.classes:
            raise self._odd("run.json", f"it names {len(names)} classes, and says that there are {self.run.classes}")
        return names

    @property
    def made(self) -> dict[str, Any]:
        return self._told("run.json", "made", validation.facts)

    @property
    def result(self) -> dict[str, Any]:
        return self._told("result.json", None, validation.result)

    @property
    def log(self) -> list[dict[str, Any]]:
        """One row per epoch so far."""
        content = self._content(LOG)
        try:
            return [validation.facts(json.loads(line)) for line in (content or b"").splitlines()]
        except (ValueError, RecursionError) as error:
            raise self._odd(LOG, error) from None

    @property
    def epochs(self) -> int:
        """How many there have been so far, for all that the log says."""
        path = self.path / LOG
        return path.read_bytes().count(b"\n") if path.is_file() else 0

    @property
    def predictions(self) -> Predictions:
        content = self._content(PREDICTIONS)
        if content is None:
            raise UserError(f"{self.path} is not a finished run: it has no {PREDICTIONS}")
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                logits = {name.removesuffix("_logits"): file[name] for name in file.files if name.endswith("_logits")}
                validation.predictions(file, len(self.classes))
                return Predictions(file["names"], file["labels"], file["sources"], logits)
        except (*validation.BROKEN, KeyError) as error:
            raise self._odd(PREDICTIONS, error) from None

    @property
    def standard(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and spread (3, mels, 1) that pictures are standardised with, if they are."""
        content = self._content(STANDARD)
        if content is None:
            return None
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                return validation.standard(file["mean"], file["spread"], self.run.picture.mels)
        except (*validation.BROKEN, KeyError) as error:
            raise self._odd(STANDARD, error) from None

    @property
    def damage(self) -> str | None:
        """What is wrong with a finished run, its weights aside: they are large, and looked at when they are read."""
        try:
            _ = self.run, self.classes, self.made, self.log, self.predictions, self.standard
        except Damaged as error:
            return error.what
        except UserError as error:
            return str(error)
        return None

    @property
    def intact(self) -> bool:
        """Whether the run is finished and, its weights aside, not damaged."""
        return self.finished and self.damage is None

    def usable(self) -> bool:
        """Whether the run is intact; one that is finished and damaged is named and passed over."""
        damage = self.damage if self.finished else None
        if damage:
            say(f"passed over: {damage}")
        return self.finished and not damage

    def trained_weights(self) -> Path:
        """The file of the weights, known to be what training wrote."""
        self._must_be_as_written(WEIGHTS, seals.digest_of(self.weights) if self.weights.is_file() else None)
        return self.weights

    def _content(self, name: str) -> bytes | None:
        """What a file holds, if it is there; once the run is finished, only if it is what was there then."""
        path = self.path / name
        content = path.read_bytes() if path.is_file() else None
        self._must_be_as_written(name, None if content is None else seals.digest(content))
        return content

    def _must_be_as_written(self, name: str, found: str | None) -> None:
        if self.finished and found != self.result["files"].get(name):
            raise self._odd(name, seals.CHANGED if found else "it is gone")

    def _told(self, name: str, part: str | None, check: Callable[[Any], Told]) -> Told:
        """A file, or a part of it, that says what it should."""
        value = self._json(name)
        try:
            return check(value[part] if part else value)
        except (KeyError, TypeError, ValueError) as error:
            raise self._odd(name, error) from None

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            return seals.read_json(path)
        except FileNotFoundError:
            raise UserError(f"{self.path} is not a finished run: it has no {name}") from None
        except (ValueError, RecursionError) as error:  # no JSON, no text, a number of a million digits, a million brackets
            raise self._odd(name, error) from None

    def _odd(self, name: str, why: object) -> Damaged:
        what = f"{self.path / name} is damaged or of another version of tla ({why})"
        return Damaged(what, f"delete {self.path} to have the run made again")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; a second process waits. A killed process lets go by dying."""
        with held(self.path / ".lock", f"run {self.key} is being trained by another process; waiting for it"):
            yield

    def reserve(self) -> "FileLock | None":
        """Keep the run for one study, until `release` or its death; None if another study has it. Does not wait."""
        return take(self.path / ".reserved")

    def note_failure(self, why: str | None) -> None:
        """Write why the run failed; None: it did not."""
        path = self.path / "error.txt"
        if why is None:
            path.unlink(missing_ok=True)
        else:
            write_text(path, why.rstrip() + "\n")

    def describe(self, run: Run, classes: list[str], made: dict[str, Any]) -> None:
        """Write what the run is and how it is made."""
        seals.write_json(self.path / "run.json", {"key": run.key, "run": asdict(run), "classes": classes, "made": made})

    def write_log(self, rows: list[dict[str, Any]]) -> None:
        """Have the log say this; one that does is left as it is."""
        path, text = self.path / LOG, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        if (path.read_bytes() if path.is_file() else b"") != text.encode():
            write_text(path, text)

    def write_predictions(self, predictions: Predictions) -> None:
        logits = {f"{rule}_logits": values for rule, values in predictions.logits.items()}
        arrays: dict[str, Any] = {
            "names": predictions.names,
            "labels": predictions.labels,
            "sources": predictions.sources,
            **logits,
        }
        with replacing(self.path / PREDICTIONS) as temporary:
            np.savez(temporary, **arrays)

    def write_standard(self, mean: np.ndarray, spread: np.ndarray) -> None:
        with replacing(self.path / STANDARD) as temporary:
            np.savez(temporary, mean=mean, spread=spread)

    def finish(self, result: dict[str, Any]) -> None:
        """Mark the run as finished. Everything else has to be on disk before: it is vouched for here."""
        there = [self.path / name for name in (LOG, PREDICTIONS, STANDARD, WEIGHTS) if (self.path / name).is_file()]
        files = {path.name: seals.digest_of(path) for path in there}
        seals.write_json(self.path / "result.json", {**result, "files": files})
        self.checkpoint.unlink(missing_ok=True)

    def reopen(self) -> None:
        """Mark the run as not finished."""
        (self.path / "result.json").unlink(missing_ok=True)


def folders(runs: Path) -> list[RunFolder]:
    """Every run below a folder, finished or not, by key."""
    if not runs.is_dir():
        return []
    return [RunFolder(path) for path in sorted(runs.iterdir()) if (path / "run.json").is_file()]


def find(runs: Path, prefix: str) -> RunFolder:
    """The finished run whose key begins with `prefix`."""
    found = [folder for folder in folders(runs) if folder.key.startswith(prefix)]
    if not found:
        known = ", ".join(folder.key for folder in folders(runs)[:6]) or "none"
        raise UserError(
            f"no run in {runs} has a key that begins with {prefix!r}; there: {known} (`python -m tla.runs` lists them)"
        )
    if len(found) > 1:
        raise UserError(f"{prefix!r} fits {len(found)} runs: {', '.join(folder.key for folder in found)}; give more of the key")
    if not found[0].finished:
        raise UserError(
            f"run {found[0].key} is not finished ({found[0].epochs} epochs so far); repeat the command that began it"
        )
    return found[0]
