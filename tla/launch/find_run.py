"""The run to look into where none is named, and the clips that a run learned from and held out."""

import itertools
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tla.console import counted, say
from tla.errors import UserError
from tla.launch.plan import PlanFor
from tla.launch.study import list_runs, of_runs, prepare
from tla.options import RANDOM, Augment, Place, Study, Transfer
from tla.runs import command, packaged
from tla.runs.folder import FinishedRun, folders, intact
from tla.runs.run import Run
from tla.runs.schedule import of_paper
from tla.sound import clips, spectrograms, store
from tla.sound.clips import Clip, Dataset

if TYPE_CHECKING:
    from tla.nets.stages import StagedNet

MOST_SEEDS = 20  # of a run's siblings that are looked for
CLEAN = Augment(kind="none")


def final(folder: FinishedRun) -> str:
    """The selection rule of the weights that a finished run has on disk: the last epoch or, if nested, the chosen one."""
    return "test" if folder.run.protocol == "nested" else "last"


def accuracy(folder: FinishedRun) -> float:
    """On its held-out clips, of the weights on disk."""
    return folder.result.scores[final(folder)].accuracy


def finished(study: Study, place: Place, key: str | None = None) -> FinishedRun | None:
    """The run that `key` begins, or the best finished one of the study's data, backbone and folds, if there is any."""
    if key is not None:
        return packaged.find(Path(place.runs), key)
    dataset = usable(study, place)
    there = (intact(folder.path) for folder in folders(Path(place.runs)))
    found = [run for run in there if run and not run.lost_weights and _fits(run, study, dataset)]
    if not found:
        return None
    best = pick(found)
    rule = f"the most accurate of {len(found)} runs" if len(found) > 1 else "the only run"
    say(f"looking into {best.key}, {rule} on {dataset.name} with {study.backbone} in {place.runs} ({scored(best)})")
    return best


def pick(found: Sequence[FinishedRun]) -> FinishedRun:
    """The most accurate; of equals the one of the first fold, then seed, then key.

    A network of which no stage is cut off, frozen or left at random, and which learned from all clips, comes before one that is
    an answer to another question.
    """
    return min(
        found,
        key=lambda folder: (not _whole(folder.run), -accuracy(folder), folder.run.fold, folder.run.seed, folder.key),
    )


def plan(study: Study, place: Place) -> PlanFor[FinishedRun]:
    """The first run of the study."""
    material = prepare(study, place)
    first = of_runs(list_runs(material)[:1], material, place)
    return PlanFor(first.wanted, sorted_out=lambda trained: first.sorted_out(trained)[0])


def usable(study: Study, place: Place) -> Dataset:
    """The study's clips, less those that it leaves out."""
    dataset = clips.load(study.data, place.data)
    if study.on_bad_clip == "stop":  # whether there are bad ones is for training to find out
        return dataset
    picture = spectrograms.resolve(study.picture, rate=dataset.rate, seconds=dataset.seconds, frames=dataset.frames)
    return store.open_store(dataset, picture, CLEAN, place.data / "pictures", on_bad_clip="skip").dataset


@dataclass(frozen=True)
class Origin:
    """A finished run, and the data set that it learned from and was scored on."""

    folder: FinishedRun
    dataset: Dataset
    study: Study
    place: Place

    def pictures(self) -> store.Store:
        """The data set's pictures, as in the run's training, without augmented ones."""
        whole = clips.load(self.study.data, self.place.data)
        folder, bad = self.place.data / "pictures", self.study.on_bad_clip
        return store.open_store(whole, self.folder.run.picture, CLEAN, folder, on_bad_clip=bad)

    def clip(self, path: Path) -> Clip | None:
        """The data set's clip that lies there."""
        return next((clip for clip in self.dataset.clips if clip.path.resolve() == path.resolve()), None)

    def holds_out(self, clip: Clip) -> bool:
        return clip.fold == self.folder.run.fold

    def classified_rightly(self, names: Sequence[str], most: int) -> list[Clip]:
        """Of each class, the first held-out clip by name that the run classified rightly.

        Of the first `most` classes that have one, or of the named classes, each of which has to.
        """
        predictions, classes = self.folder.predictions, self.folder.classes
        unknown = [name for name in names if name not in classes]
        if unknown:
            raise UserError(f"--classes {','.join(unknown)}: {self.dataset.name} has {', '.join(classes)}")
        right = predictions.logits[final(self.folder)].argmax(axis=1) == predictions.labels
        first: dict[str, str] = {}
        for name, label in sorted(zip(predictions.names[right].tolist(), predictions.labels[right].tolist(), strict=True)):
            first.setdefault(classes[label], name)
        wanted = names or [name for name in classes if name in first][:most]
        missed = [name for name in wanted if name not in first]
        if missed or not wanted:
            which = ", ".join(missed) or "any class"
            raise UserError(
                f"run {self.folder.key} classified no held-out clip of {which} rightly: choose other --classes or another run"
            )
        by_name = {clip.name: clip for clip in self.dataset.clips}
        return [by_name[first[name]] for name in wanted]


def data_of(folder: FinishedRun, place: Place, on_bad_clip: Literal["stop", "skip"] = "stop") -> str:
    """The `--data` that holds a run's clips: the path where they lay when it was trained, or its name below the data root."""
    run, wrong = folder.run, []
    for data in dict.fromkeys((command.given([folder], "data_given") or run.data, run.data)):
        try:
            if usable(_on(data, folder, on_bad_clip), place).digest == run.data_digest:
                return data
            wrong.append(f"{data} holds other clips now")
        except UserError as error:
            wrong.append(str(error).partition("\n")[0])
    raise UserError(f"the clips of run {folder.key} are not found ({'; '.join(wrong)}): give them with --data PATH")


def origin(folder: FinishedRun, study: Study, place: Place) -> Origin:
    """A run with its data set: the study's or, where that names none but the one by default, the one that the run kept."""
    if study.data == Study().data:
        study = _on(data_of(folder, place, study.on_bad_clip), folder, study.on_bad_clip)
        say(f"the clips of run {folder.key}: {study.data}")
    dataset = usable(study, place)
    if dataset.digest != folder.run.data_digest:
        given = command.given([folder], "data_given") or folder.run.data
        raise UserError(
            f"run {folder.key} was trained on {folder.run.data}, and --data {study.data} holds other clips: "
            f"give --data {shlex.quote(given)}"
        )
    return Origin(replace(folder, run=replace(folder.run, data=dataset.name)), dataset, study, place)


def _on(data: str, folder: FinishedRun, on_bad_clip: Literal["stop", "skip"]) -> Study:
    """Options for a run's clips, where they lie; bad ones are left out if they were in training."""
    skipped = "skip" in (on_bad_clip, command.given([folder], "on_bad_clip"))
    return Study(data=data, picture=folder.run.picture, on_bad_clip="skip" if skipped else "stop")


def newest_or_packaged(runs: Path) -> FinishedRun:
    """The best run of the newest study below a folder, or the network that comes with tla where there is none."""
    found = [folder for folder in _newest_runs(runs) if not folder.lost_weights]
    if not found:
        say(f"there is no finished run in {runs}")
        return packaged.find(runs, packaged.NAME)
    best = pick(found)
    rest = f"{best.run.backbone} on {best.run.data} ({scored(best)})"
    say(f"with {best.key}, the best of the newest study in {runs} ({counted(len(found), 'run')}, whole networks first): {rest}")
    return best


def newest_study(runs: Path) -> Study | None:
    """The study at hand: that of the run below a folder which was finished last, on the folds and seeds that there are.

    Its clips and weights are named as the user named them.
    """
    same = _newest_runs(runs)
    if not same:
        return None
    started = [folder for folder in same if folder.run.weights != RANDOM and command.donor(folder) is None]
    first = (started or same)[0]
    folds = sorted({folder.run.fold for folder in same})
    return replace(command.study([first]), folds=tuple(folds), seeds=_seeds(same, folds))


def _newest_runs(runs: Path) -> list[FinishedRun]:
    """The runs of the study that was finished last, the newest first.

    Runs of one study differ in fold, seed and transfer plan, and in the weights where some start at random; a control with
    twice the training counts with the study that it controls, and so do runs that learned from a few clips of each class.
    """
    found = [run for folder in folders(runs) if (run := intact(folder.path))]
    found.sort(key=lambda folder: (folder.result.finished, folder.key), reverse=True)
    same = [folder for folder in found if _shared(folder) & _shared(found[0])]
    shortest = min((folder.run.recipe.times for folder in same), default=1.0)
    same = [folder for folder in same if folder.run.recipe.times == shortest]
    most = max((folder.run.per_class or math.inf for folder in same), default=math.inf)
    return [folder for folder in same if (folder.run.per_class or math.inf) == most]


def _shared(folder: FinishedRun) -> set[Run]:
    """What a run shares with the others of its study: its options resolved, and as they were given."""
    run = replace(folder.run, data="", weights="", transfer=Transfer(), fold=0, seed=0, per_class=None)
    recipe = replace(run.recipe, times=1.0, short_epochs=False)
    paper = of_paper(folder.run.data, run.protocol)
    given = command.open_recipe(folder.run.recipe, scratch=folder.run.weights == RANDOM, paper=paper)
    return {replace(run, recipe=recipe), replace(run, recipe=replace(given, times=1.0, short_epochs=False))}


def _seeds(runs: Sequence[FinishedRun], folds: Sequence[int]) -> int:
    """The most seeds that an arm has on each of the folds; 1 if there is no such arm."""
    arms: dict[tuple[str, Transfer], set[tuple[int, int]]] = {}
    for run in (folder.run for folder in runs):
        arms.setdefault((run.weights, run.transfer), set()).add((run.fold, run.seed))
    counts = range(2, MOST_SEEDS + 1)
    return max([1, *(n for arm in arms.values() for n in counts if arm >= set(itertools.product(folds, range(n))))])


def at_hand(folder: FinishedRun, study: Study, place: Place) -> Origin | None:
    """A run with its data set, if that is found."""
    try:
        return origin(folder, study, place)
    except UserError:
        return None


def siblings(folder: FinishedRun) -> list[FinishedRun]:
    """The finished runs beside a run that differ from it in the seed alone."""
    run, runs = folder.run, folder.path.parent
    others = (intact(runs / replace(run, seed=seed).key) for seed in range(MOST_SEEDS) if seed != run.seed)
    return [other for other in others if other]


def beginning(folder: FinishedRun) -> "StagedNet | None":
    """The network that a run's training began with; None, with a message, if its weights are not at hand."""
    from tla.nets import weights
    from tla.runs.begin import begin

    run, pretrained = folder.run, None
    if run.weights != RANDOM:
        if run.weights != weights.identity("imagenet", run.backbone):
            say(
                f"run {folder.key} began with the weights {run.weights}, which are not at hand: no map from before its training"
            )
            return None
        pretrained = weights.load("imagenet", run.backbone, run.shape)
    return begin(run, pretrained, folder.standard)


def _whole(run: Run) -> bool:
    """Whether every stage is there, free to move, and pretrained in full if any is, and no clip was left out."""
    return run.per_class is None and run.transfer in (Transfer(), replace(Transfer(), pretrained_upto="none"))


def _fits(folder: FinishedRun, study: Study, dataset: Dataset) -> bool:
    if (folder.run.data_digest, folder.run.backbone) != (dataset.digest, study.backbone):
        return False
    return study.folds == "all" or folder.run.fold in study.folds


def scored(folder: FinishedRun) -> str:
    """Which clips a run held out, and how many of them it is right about, in words."""
    return f"fold {folder.run.fold} held out, seed {folder.run.seed}, {100 * accuracy(folder):.1f} %"
