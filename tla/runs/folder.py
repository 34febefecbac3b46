"""A run on disk: `runs/KEY/`, while it is made and when it is finished.

    run.json             the run's resolved options and how it was made (versions, commit, machine; where its clips lay)
    log.jsonl            a line per epoch
    checkpoint.safetensors   state after the last whole epoch; gone when the run is finished
    predictions.npz      names, labels, sources and logits of the held-out clips, by selection rule
    weights.safetensors  the trained network by its original tensor names (last epoch; nested: the chosen one)
    standard.npz         mean and spread of the training pictures, where the recipe standardises
    result.json          what the run scored
    SHA256SUMS           digests of all these but the checkpoint; written last, so that a run that has it is finished
    error.txt            why the last attempt failed; only there if it did

Selection rules: under `paper`, `best` (epoch picked on the held-out clips themselves) and `last`; under `nested`,
`test` (epoch picked on the validation fold).

`RunFolder` is a run that is being made. `load` reads a finished one, once, and holds each file against its digest: a run that
was damaged raises `Damaged`, and `intact` passes over it.
"""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import BadZipFile

import msgspec
import numpy as np

from tla import manifest
from tla.console import command, counted, say
from tla.errors import Damaged, UserError
from tla.files import held, replacing, take, write_text
from tla.options import LEAKS
from tla.runs.run import Run
from tla.runs.schedule import Training

if TYPE_CHECKING:
    from filelock import FileLock


Read = TypeVar("Read")

RUN, LOG, RESULT = "run.json", "log.jsonl", "result.json"
PREDICTIONS, STANDARD, WEIGHTS = "predictions.npz", "standard.npz", "weights.safetensors"


@dataclass(frozen=True)
class Predictions:
    """The outputs of a finished run for each held-out clip. logits: rule -> (clips, classes)."""

    names: np.ndarray
    labels: np.ndarray
    sources: np.ndarray
    logits: dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a run is, and how it is made: `run.json`."""

    key: str
    run: Run
    classes: list[str]
    """Their names, in the order of the logits."""
    made: dict[str, str | int | float | None]


@dataclass(frozen=True)
class Score:
    """Shares of the held-out clips that a run was right about: of all clips, and the mean of the classes' own shares."""

    accuracy: float
    macro_accuracy: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run scored under each selection rule, and what it took: `result.json`."""

    scores: dict[str, Score]
    best_epoch: int
    epochs: int
    training: Training
    clips: int
    parameters: int
    trainable: int
    multiply_adds: int
    seconds_per_epoch: float
    padded_to: tuple[int, int] | None = None
    """Mels and frames that pictures were filled up to with silence, where the network takes none of their size."""
    training_clips_per_second: float = 0.0
    finished: str = ""


@dataclass(frozen=True)
class FinishedRun:
    """A finished run as it was read. Two are equal if they lie in the same folder."""

    path: Path
    run: Run = field(compare=False, repr=False)
    classes: list[str] = field(compare=False, repr=False)
    """Their names, in the order of the logits."""
    made: dict[str, str | int | float | None] = field(compare=False, repr=False)
    result: Result = field(compare=False, repr=False)
    log: list[dict[str, Any]] = field(compare=False, repr=False)
    """One row per epoch."""
    predictions: Predictions = field(compare=False, repr=False)
    standard: tuple[np.ndarray, np.ndarray] | None = field(compare=False, repr=False)
    """Mean and spread (3, mels, 1) that pictures are standardised with, if they are."""

    @property
    def key(self) -> str:
        return self.path.name

    @property
    def data(self) -> dict[str, str]:
        """Columns of a table: the data set, and what its training and held-out clips share, if they do."""
        return {"data": self.run.data} | ({LEAKS: str(self.made[LEAKS])} if LEAKS in self.made else {})

    @property
    def weights(self) -> Path:
        return self.path / WEIGHTS

    @property
    def lost_weights(self) -> bool:
        """Whether training wrote weights that are no longer there."""
        return not self.weights.is_file() and WEIGHTS in manifest.noted(self.path)

    def trained_weights(self) -> Path:
        """The file of the weights, known to be what training wrote."""
        if self.lost_weights:
            again = f"the command that `{command('runs', self.key)}` prints makes them again"
            raise Damaged(f"run {self.key} has lost its weights ({self.weights} is gone)", again)
        try:
            manifest.check(self.weights)
        except ValueError as error:
            raise _odd(self.weights, error) from None
        return self.weights


def load(path: Path) -> FinishedRun:
    """A finished run; `Damaged` where a file of it, its weights aside, is not what was written, or not what this tla reads."""
    if not RunFolder(path).finished:
        raise UserError(f"{path} is not a finished run: it has no {manifest.SUMS}")
    content = {name: _content(path / name) for name in (RUN, RESULT, LOG, PREDICTIONS)}
    about = _described(path, content[RUN])
    return FinishedRun(
        path=path,
        run=about.run,
        classes=about.classes,
        made=about.made,
        result=_decoded(path / RESULT, content[RESULT], Result),
        log=_rows(path / LOG, content[LOG]),
        predictions=_predictions(path / PREDICTIONS, content[PREDICTIONS]),
        standard=_standard(path / STANDARD, _content(path / STANDARD)) if about.run.recipe.standardise else None,
    )


def intact(path: Path) -> FinishedRun | None:
    """The run of a folder, if it is finished; one that is damaged is named and passed over."""
    try:
        return load(path) if RunFolder(path).finished else None
    except Damaged as error:
        say(f"passed over: {error.what}")
        return None


def whole(path: Path) -> FinishedRun | None:
    """A finished run that has what training wrote, its weights too; None for one that is to be trained, or trained again."""
    try:
        run = load(path) if RunFolder(path).finished else None
    except Damaged:
        return None  # a study that needs it reports that, and trains it again
    return None if run is None or run.lost_weights else run


def _content(path: Path) -> bytes:
    try:
        return manifest.content(path)
    except ValueError as error:
        raise _odd(path, error) from None


def _decoded(path: Path, content: bytes, kind: type[Read]) -> Read:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise _odd(path, error) from None


def _described(path: Path, content: bytes) -> Description:
    about = _decoded(path / RUN, content, Description)
    if about.run.key != about.key:
        raise _odd(path / RUN, f"its options are those of run {about.run.key}")
    if about.key != path.name:
        raise _misnamed(path, about.key)
    return about


def _misnamed(path: Path, key: str) -> Damaged:
    """A run's folder that was renamed, or copied: under its own name it is a run, and a copy would count twice."""
    if (path.parent / key / RUN).is_file():
        return Damaged(f"{path} is a copy of run {key}, which is beside it", "delete the copy or move it elsewhere")
    return Damaged(f"{path} is run {key} under another name", f"rename it to {path.parent / key}")


def _rows(path: Path, content: bytes) -> list[dict[str, Any]]:
    return [_decoded(path, line, dict[str, int | float]) for line in content.splitlines()]


def _predictions(path: Path, content: bytes) -> Predictions:
    arrays = _arrays(path, content, "names", "labels", "sources")
    logits = {name.removesuffix("_logits"): values for name, values in arrays.items() if name.endswith("_logits")}
    return Predictions(arrays["names"], arrays["labels"], arrays["sources"], logits)


def _standard(path: Path, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    arrays = _arrays(path, content, "mean", "spread")
    return arrays["mean"], arrays["spread"]


def _arrays(path: Path, content: bytes, *needed: str) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise _odd(path, error) from None
    if lacking := set(needed) - arrays.keys():
        raise _odd(path, f"it has no {', '.join(sorted(lacking))}")
    return arrays


def _odd(path: Path, why: object) -> Damaged:
    what = f"{path} is damaged or of another version of tla ({why})"
    return Damaged(what, f"delete {path.parent} to have the run made again")


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run that is being made, or is to be."""

    path: Path

    @property
    def key(self) -> str:
        return self.path.name

    @property
    def finished(self) -> bool:
        return (self.path / manifest.SUMS).is_file()

    @property
    def weights(self) -> Path:
        return self.path / WEIGHTS

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    def description(self) -> Description:
        """What the run is, finished or not."""
        return _described(self.path, (self.path / RUN).read_bytes())

    def read_log(self) -> list[dict[str, Any]]:
        """One row per epoch so far."""
        path = self.path / LOG
        return _rows(path, path.read_bytes()) if path.is_file() else []

    def count_epochs(self) -> int:
        """How many there have been so far, by the lines of the log."""
        path = self.path / LOG
        return path.read_bytes().count(b"\n") if path.is_file() else 0

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
        _write_json(self.path / RUN, Description(key=run.key, run=run, classes=classes, made=made))

    def write_log(self, rows: list[dict[str, Any]]) -> None:
        """Have the log hold these rows; one that does is left as it is."""
        path, text = self.path / LOG, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        if (path.read_bytes() if path.is_file() else b"") != text.encode():
            write_text(path, text)

    def write_predictions(self, predictions: Predictions) -> None:
        arrays: dict[str, Any] = {name: getattr(predictions, name) for name in ("names", "labels", "sources")}
        arrays |= {f"{rule}_logits": values for rule, values in predictions.logits.items()}
        with replacing(self.path / PREDICTIONS) as temporary:
            np.savez(temporary, **arrays)

    def write_standard(self, mean: np.ndarray, spread: np.ndarray) -> None:
        with replacing(self.path / STANDARD) as temporary:
            np.savez(temporary, mean=mean, spread=spread)

    def finish(self, result: Result) -> None:
        """Mark the run as finished. Everything else has to be on disk before: it is vouched for here."""
        _write_json(self.path / RESULT, result)
        names = (RUN, LOG, PREDICTIONS, STANDARD, WEIGHTS, RESULT)
        manifest.vouch(self.path, [name for name in names if (self.path / name).is_file()])
        self.checkpoint.unlink(missing_ok=True)

    def reopen(self) -> None:
        """Mark the run as not finished."""
        (self.path / manifest.SUMS).unlink(missing_ok=True)


def _write_json(path: Path, value: Any) -> None:
    """Write a dataclass; NaN is refused."""
    write_text(path, json.dumps(asdict(value), indent=2, allow_nan=False) + "\n")


def folders(runs: Path) -> list[RunFolder]:
    """Every run below a folder, finished or not, by key."""
    if not runs.is_dir():
        return []
    return [RunFolder(path) for path in sorted(runs.iterdir()) if (path / RUN).is_file()]


def find(runs: Path, prefix: str) -> FinishedRun:
    """The finished run whose key begins with `prefix`; the folder of a copy is not taken for it."""
    keys = {folder: _recorded_key(folder) for folder in folders(runs)}
    found = [folder for folder, key in keys.items() if key == folder.key and key.startswith(prefix)]
    if len(found) > 1:
        raise UserError(f"{prefix!r} fits {len(found)} runs: {', '.join(folder.key for folder in found)}; give more of the key")
    if not found:
        for folder, key in keys.items():
            if folder.key.startswith(prefix) or key.startswith(prefix):
                folder.description()  # raises, with what it is
        known = ", ".join(folder.key for folder in list(keys)[:6]) or "none"
        raise UserError(
            f"no run in {runs} has a key that begins with {prefix!r}; there: {known} (`{command('runs')}` lists them)"
        )
    if not found[0].finished:
        epochs = counted(found[0].count_epochs(), "epoch")
        raise UserError(f"run {found[0].key} is not finished ({epochs} so far); repeat the command that began it")
    return load(found[0].path)


def _recorded_key(folder: RunFolder) -> str:
    """The key under which a run was written; its folder's name where that cannot be read, which is then found out."""
    try:
        return _decoded(folder.path / RUN, (folder.path / RUN).read_bytes(), Description).key
    except Damaged:
        return folder.key
