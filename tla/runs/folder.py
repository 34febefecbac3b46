"""A run on disk: `runs/KEY/`, and how to find it.

    run.json             the run's resolved options and how it was made (versions, commit, machine)
    log.jsonl            a line per epoch
    checkpoint.safetensors   state after the last whole epoch; gone when the run is finished
    predictions.npz      names, labels, sources and logits of the held-out clips, by selection rule
    weights.safetensors  the trained network by its original tensor names (last epoch; nested: the chosen one)
    standard.npz         mean and spread of the training pictures, where the recipe standardises
    result.json          what the run scored; written last, so that its presence says finished
    error.txt            why the last attempt failed; only there if it did

Selection rules: under `paper`, `best` (epoch picked on the held-out clips themselves) and `last`; under `nested`,
`test` (epoch picked on the validation fold).
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from tla.errors import UserError
from tla.files import held, replacing, take, write_json, write_text
from tla.runs.run import Run, from_json

if TYPE_CHECKING:
    from filelock import FileLock


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
        return self.path / "weights.safetensors"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def run(self) -> Run:
        try:
            return from_json(self._json("run.json")["run"])
        except (KeyError, TypeError, AttributeError) as error:
            raise self._odd("run.json", error) from None

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of the logits."""
        return self._json("run.json")["classes"]

    @property
    def made(self) -> dict[str, Any]:
        return self._json("run.json")["made"]

    @property
    def result(self) -> dict[str, Any]:
        result = self._json("result.json")
        if not isinstance(result, dict) or "scores" not in result:
            raise self._odd("result.json", "it holds no scores")
        return result

    @property
    def log(self) -> list[dict[str, Any]]:
        """One row per epoch so far."""
        path = self.path / "log.jsonl"
        try:
            return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
        except json.JSONDecodeError as error:
            raise self._odd("log.jsonl", error) from None

    @property
    def predictions(self) -> Predictions:
        try:
            with np.load(self.path / "predictions.npz", allow_pickle=False) as file:
                logits = {name.removesuffix("_logits"): file[name] for name in file.files if name.endswith("_logits")}
                return Predictions(file["names"], file["labels"], file["sources"], logits)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise self._odd("predictions.npz", error) from None

    @property
    def standard(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and spread (3, mels, 1) that pictures are standardised with, if they are."""
        path = self.path / "standard.npz"
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as file:
            return file["mean"], file["spread"]

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            raise UserError(f"{self.path} is not a finished run: it has no {name}") from None
        except json.JSONDecodeError as error:
            raise self._odd(name, error) from None

    def _odd(self, name: str, why: object) -> UserError:
        what = f"{self.path / name} is damaged or of another version of tla ({why})"
        return UserError(f"{what}; delete {self.path} to have the run made again")

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
        write_json(self.path / "run.json", {"key": run.key, "run": asdict(run), "classes": classes, "made": made})

    def write_log(self, rows: list[dict[str, Any]]) -> None:
        write_text(self.path / "log.jsonl", "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))

    def write_predictions(self, predictions: Predictions) -> None:
        logits = {f"{rule}_logits": values for rule, values in predictions.logits.items()}
        arrays: dict[str, Any] = {
            "names": predictions.names,
            "labels": predictions.labels,
            "sources": predictions.sources,
            **logits,
        }
        with replacing(self.path / "predictions.npz") as temporary:
            np.savez(temporary, **arrays)

    def write_standard(self, mean: np.ndarray, spread: np.ndarray) -> None:
        with replacing(self.path / "standard.npz") as temporary:
            np.savez(temporary, mean=mean, spread=spread)

    def finish(self, result: dict[str, Any]) -> None:
        """Mark the run as finished. Everything else has to be on disk before."""
        write_json(self.path / "result.json", result)
        self.checkpoint.unlink(missing_ok=True)


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
            f"run {found[0].key} is not finished ({len(found[0].log)} epochs so far); repeat the command that began it"
        )
    return found[0]
