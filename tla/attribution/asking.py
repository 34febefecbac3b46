"""What is asked of a run: which run it is, which clips are explained, for which target, and from which baseline."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tla.attribution.measuring import Explained, File, explain
from tla.attribution.starts import baselines, clips_of
from tla.attribution.targets import target as target_named
from tla.errors import UserError
from tla.launch import find_run
from tla.launch.find_run import Origin
from tla.launch.plan import PlanFor
from tla.options import Place, Study
from tla.runs import infer, packaged
from tla.runs.device import choose_device
from tla.runs.folder import FinishedRun
from tla.sound.spectrograms import resolved

CLASSES = 5  # in the paper's figure, where none are named
SILENCE = "silence"
_NEEDS = "takes the training pictures of the run (silence and zero need none)"


def plan(study: Study, place: Place, *, run: str | None = None) -> PlanFor[FinishedRun]:
    """The run to look into: the best finished one of the study's data, backbone and folds, or its first, which is trained.

        run = tla.train_missing(attribution.plan(study, place), place)
        tables = attribution.measure(run, study, place)                  # held-out clips of five classes
        tables = attribution.measure(run, study, place, ["dog.wav"], target="dog-cat")
        attribution.figure(tables)

    Args:
        run: The run, by the beginning of its key, or packaged: the network that comes with tla.
    """
    found = find_run.finished(study, place, run)
    return planned(found) if found else find_run.plan(study, place)


def planned(run: FinishedRun) -> PlanFor[FinishedRun]:
    """The plan for a run that is there: nothing to train."""
    return PlanFor(sorted_out=lambda _: run)


def measure(
    run: FinishedRun,
    study: Study,
    place: Place,
    clips: Sequence[str | Path] = (),
    *,
    classes: Sequence[str] = (),
    target: str | None = None,
    baseline: str = SILENCE,
    tolerance: float = 0.01,
    memory: float = 1.0,
) -> Explained:
    """What in each clip led the network of a run to its prediction, or to a target.

    Args:
        clips: Sound files; without them, of each of several classes a held-out clip that the run predicted rightly.
        classes: Those classes, without clips; by default the first five.
        target: The class whose logit is explained, or a contrast of two, as in dog-cat; by default what is predicted.
        baseline: Where the way to the clip begins: silence, mean, zero, or clips:K.
        tolerance: Largest completeness error, as a share of the output difference.
        memory: Gigabytes that the gradients may take.
    """
    wanted = target_named(target, run.classes) if target else None
    paths = list(map(Path, clips))
    files = _named(paths, run, study, place) if paths else _right(classes, find_run.origin(run, study, place))
    starts = _starts(baseline, run, study, place)
    network = infer.load(run, choose_device(place.device))
    return explain(network, files, wanted, baseline, starts, tolerance=tolerance, memory=memory)


def _named(paths: Sequence[Path], run: FinishedRun, study: Study, place: Place) -> list[File]:
    """The files that the user named, with what is known of them where the run's data set is at hand."""
    origin = find_run.at_hand(run, study, place)
    return [_file(path, origin) if origin else File(path) for path in paths]


def _right(classes: Sequence[str], origin: Origin) -> list[File]:
    """The paper's choice: of each of several classes a held-out clip that the run predicted rightly."""
    return [_file(clip.path, origin) for clip in origin.classified_rightly(classes, CLASSES)]


def _file(path: Path, origin: Origin) -> File:
    clip = origin.clip(path)
    if clip is None:
        return File(path)
    return File(path, origin.dataset.classes[clip.label], "held out" if origin.holds_out(clip) else "training")


def _starts(baseline: str, run: FinishedRun, study: Study, place: Place) -> np.ndarray:
    """The pictures from which the way to a clip begins."""
    shape = (3, run.run.picture.mels, resolved(run.run.picture)[2])
    if clips_of(baseline) == 0:
        return baselines(baseline, shape)
    if packaged.is_packaged(run):
        raise UserError(f"--baseline {baseline} {_NEEDS}, and those of the network that comes with tla are not at hand")
    try:
        store = find_run.origin(run, study, place).pictures()
    except UserError as error:
        raise UserError(f"--baseline {baseline} {_NEEDS}: {error}") from None
    return baselines(baseline, shape, pictures=store.clean, rows=run.run.split(store.dataset).train)
