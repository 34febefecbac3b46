"""A study's runs: what they need is made ready once, runs that exist are kept, the others are trained."""

import os
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import numpy as np

from tla.console import counted, progress, say, table
from tla.errors import Damaged, RunsFailed, UserError
from tla.launch.board import Board
from tla.launch.dispatch import Executor, Queue
from tla.launch.in_process import InProcess, Outcome
from tla.launch.material import Material
from tla.launch.plan import Found, Plan, PlanFor, Wanted, tally
from tla.launch.processes import Processes, deal
from tla.options import RANDOM, Place, Study, Transfer
from tla.runs import events, schedule
from tla.runs.device import choose_device
from tla.runs.folder import RESULT, WEIGHTS, FinishedRun, RunFolder, find, load
from tla.runs.run import Run
from tla.sound import clips, leaks, spectrograms, store

if TYPE_CHECKING:
    from tla.launch.asha import Asha


def prepare(study: Study, place: Place) -> Material:
    """Find or make everything that training needs; what can be refused is refused before the long work."""
    from tla.nets import arithmetic, backbones, weights
    from tla.nets.stages import describe

    if place.tensorboard:
        events.load()
    on_ray_gpus = check_launch(place) == "ray" and bool(place.gpus_per_run)
    _check_start(study)
    device = choose_device(place.device)
    if not place.dry_run:
        _make_folders(place)  # found out now, not after the training
    dataset = clips.load(study.data, place.data)
    held_out(study, dataset)
    if not study.allow_leaks:
        leaks.refuse(dataset)
    schedule.resolve(study.recipe, scratch=False, paper=schedule.of_paper(dataset.name, study.protocol))
    picture = spectrograms.resolve(study.picture, rate=dataset.rate, seconds=dataset.seconds, frames=dataset.frames)
    shape = (3, picture.mels, picture.frames or 0)
    net = backbones.build(study.backbone, 2, seed=0, shape=shape)
    describe(net, shape)  # refuses a picture too small for the network
    pretrained = None if study.weights == RANDOM else weights.load(_weights_source(study, place), study.backbone, shape)
    pictures = store.open_store(dataset, picture, study.augment, place.data / "pictures", on_bad_clip=study.on_bad_clip)
    for name, wrong in pictures.skipped.items():
        say(f"left out: {name} ({wrong})")
    asked = "bf16" if study.precision == "auto" and on_ray_gpus else study.precision  # the cluster's GPUs, not ours
    return Material(study, pictures, pretrained, device, arithmetic.choose(asked, device, net), _given(study, place))


def _given(study: Study, place: Place) -> dict[str, str]:
    """Where the clips and weights of a study lie, whatever folder later commands are given in."""
    data = study.data if study.data in clips.NAMES else str(Path(study.data).expanduser().absolute())
    weights = str(Path(study.weights).absolute()) if Path(study.weights).is_file() else study.weights
    root = str(place.data.absolute())
    return {"data_given": data, "data_root": root, "weights_given": weights, "on_bad_clip": study.on_bad_clip}


def _check_start(study: Study) -> None:
    """Refuse a transfer plan that is about pretrained weights where there are none."""
    plan, usual = study.transfer, Transfer()
    if study.weights != RANDOM:
        return
    if plan.pretrained_upto not in (usual.pretrained_upto, "none"):
        raise UserError(
            f"--weights random has no weights for --transfer.pretrained-upto {plan.pretrained_upto}: "
            "leave one of the two out, or give --weights imagenet, a file or the key of a run"
        )
    for name in ("rest", "parts", "positions"):
        value, default = getattr(plan, name), getattr(usual, name)
        if value != default:
            raise UserError(f"--transfer.{name} {value} is about pretrained weights, and --weights is random: leave one out")


def _make_folders(place: Place) -> None:
    for folder in (place.runs, place.figures):
        Path(folder).mkdir(parents=True, exist_ok=True)
    if not os.access(place.figures, os.W_OK):  # runs that are finished may lie where only reading is allowed
        raise UserError(f"{place.figures}: figures cannot be written there; choose another folder with --figures")


def list_runs(material: Material, *, plan: Transfer | None = None, start: str | None = None) -> list[Run]:
    """The runs of a study, one per fold and seed, for its own transfer plan or another, from its own weights or others.

    `start` is what those are: `random`, or the identity of pretrained ones.
    """
    from tla.nets.transfer import canonical

    study, dataset = material.study, material.dataset
    start = start or (RANDOM if material.pretrained is None else material.pretrained.identity)
    transfer, weights = canonical(plan or study.transfer, start)
    recipe = schedule.resolve(study.recipe, scratch=start == RANDOM, paper=schedule.of_paper(dataset.name, study.protocol))
    first = Run(
        data=dataset.name,
        data_digest=dataset.digest,
        classes=len(dataset.classes),
        picture=material.store.picture,
        augment=study.augment,
        backbone=study.backbone,
        weights=weights,
        transfer=transfer,
        recipe=recipe if study.per_class else replace(recipe, short_epochs=False),  # which without it says nothing
        per_class=study.per_class,
        protocol=study.protocol,
        fold=0,
        seed=0,
        precision=material.precision,
    )
    folds = held_out(study, dataset)
    return [replace(first, fold=fold, seed=seed) for seed in range(study.seeds) for fold in folds]


def plan(study: Study, place: Place) -> PlanFor[list[FinishedRun]]:
    """The runs of a study: one per fold and seed, in the order of the seeds."""
    material = prepare(study, place)
    return of_runs(list_runs(material), material, place)


def of_runs(runs: Sequence[Run], material: Material, place: Place) -> PlanFor[list[FinishedRun]]:
    """The plan of some runs on one material."""
    wanted = Plan.of(runs, material, place).wanted
    return PlanFor(wanted, sorted_out=lambda trained: [trained[run.key] for run in runs])


def plan_by_start(study: Study, place: Place, *, compare: Sequence[str] = ()) -> PlanFor[dict[str, list[FinishedRun]]]:
    """The runs of a study under the name of their start and, to compare, those of its twins from other weights."""
    if study.weights in compare:
        raise UserError(
            f"--compare {','.join(compare)} compares with {study.weights}, and --weights is {study.weights} already"
        )
    material = prepare(study, place)
    arms = {start_name(study.weights, plain=not set(compare) - {RANDOM}): of_runs(list_runs(material), material, place)}
    for weights in compare:
        if (name := start_name(weights)) in arms:
            raise UserError(f"--compare {','.join(compare)}: two of the starts are called {name}; give files of other names")
        twin = material if weights == RANDOM else _from(material, weights, place)
        arms[name] = of_runs(list_runs(twin, start=RANDOM if weights == RANDOM else None), twin, place)
    every = sum(arms.values(), Plan()).wanted
    return PlanFor(every, sorted_out=lambda trained: {name: arm.sorted_out(trained) for name, arm in arms.items()})


def start_name(weights: str, *, plain: bool = False) -> str:
    """What tables call a start: random, imagenet, a file, a repository, a run; `plain`: pretrained, if it is not random."""
    if weights == RANDOM or plain:
        return RANDOM if weights == RANDOM else "pretrained"
    path = Path(weights)
    if path.name == WEIGHTS:  # of a run
        return f"run {path.absolute().parent.name}"
    if path.is_file():
        return path.stem
    return weights.rpartition("/")[2] if "/" in weights or weights == "imagenet" else f"run {weights}"


def _from(material: Material, weights: str, place: Place) -> Material:
    """The same study from other weights."""
    from tla.nets.weights import load as load_weights

    study = replace(material.study, weights=weights)
    pretrained = load_weights(_weights_source(study, place), study.backbone, material.shape)
    return replace(material, study=study, pretrained=pretrained, given=_given(study, place))


def by_start(study: Study, place: Place, *, compare: Sequence[str] = ()) -> dict[str, list[FinishedRun]]:
    """The same, trained where they are missing."""
    return train_missing(plan_by_start(study, place, compare=compare), place)


def held_out(study: Study, dataset: clips.Dataset) -> tuple[int, ...]:
    """The folds that the study asks for; `UserError` for one that the data set does not have."""
    if study.seeds < 1:
        raise UserError(f"--seeds is {study.seeds}; a study has at least one run per fold")
    folds = dataset.folds if study.folds == "all" else tuple(dict.fromkeys(study.folds))
    for fold in folds:
        split = dataset.split(fold, study.protocol)
        unknown = set(dataset.labels[split.test]) - set(dataset.labels[split.train])
        if unknown:
            names = ", ".join(dataset.classes[label] for label in sorted(unknown))
            raise UserError(f"fold {fold} of {dataset.name} holds out all clips of {names}: nothing is left to learn them from")
        if study.per_class is not None:
            _check_draw(study.per_class, dataset.labels[split.train], fold, dataset)
    if not folds:
        raise UserError(f"--folds names no fold; {dataset.name} has {', '.join(map(str, dataset.folds))}")
    return folds


def _check_draw(per_class: int, labels: np.ndarray, fold: int, dataset: clips.Dataset) -> None:
    """Refuse to draw more clips of a class than there are to learn from."""
    if per_class < 1:
        raise UserError(f"--per-class is {per_class}; at least 1 clip of each class is learned from")
    counts = np.bincount(labels, minlength=len(dataset.classes))
    scarce = int(np.where(counts, counts, len(labels) + 1).argmin())  # a class that only choosing or no clips have is no matter
    if counts[scarce] < per_class:
        has = f"{dataset.classes[scarce]} has {counted(int(counts[scarce]), 'clip')} to learn from with fold {fold} held out"
        raise UserError(f"--per-class {per_class}: {has}; give {counts[scarce]} at most, or leave that class out")


@overload
def train_missing(plan: PlanFor[Found], place: Place) -> Found: ...  # type: ignore[overload-overlap]


@overload
def train_missing(plan: Plan, place: Place) -> dict[str, FinishedRun]: ...


def train_missing(plan: Plan, place: Place) -> object:
    """Have the runs of a plan trained where they are missing, and give what its question measures.

    This is the one place of training. Runs that are finished are read, one that was stopped goes on, `place` says how many are
    trained at a time and where (`workers`, `launch`). Plans that were added up give their runs by key.
    """
    trained = train(plan, place)
    return plan.sorted_out(trained) if isinstance(plan, PlanFor) else trained


def train(plan: Plan, place: Place) -> dict[str, FinishedRun]:
    """A plan's runs, finished, by the keys that they have there: first of those that start from no other run."""
    groups: dict[tuple[int, int, RunFolder | None], list[Wanted]] = {}
    for wanted in sorted(plan.wanted.values(), key=lambda wanted: wanted.donor is not None):
        material = wanted.material
        groups.setdefault((id(material.store), id(material.pretrained), wanted.donor), []).append(wanted)
    finished: dict[str, FinishedRun] = {}
    for (_, _, donor), group in groups.items():
        mine = group if donor is None else _from_donor(group, donor, place)
        queue = work_off(mine, place)
        for wanted, own in zip(group, mine, strict=True):
            found = queue.finished[own.run.key]
            finished[wanted.run.key] = replace(found, run=replace(found.run, data=own.run.data))  # as this study calls them
    return finished


def _from_donor(group: Sequence[Wanted], donor: RunFolder, place: Place) -> list[Wanted]:
    """The same runs from the weights of their donor, which is trained by now."""
    from tla.nets import weights

    pretrained = weights.load(str(load(donor.path).trained_weights()), group[0].run.backbone, group[0].run.shape)
    first = group[0].material
    material = replace(first, pretrained=pretrained, given={**first.given, "weights_given": donor.key})
    runs = [replace(wanted.run, weights=pretrained.identity) for wanted in group]
    return list(Plan.of(runs, material, place).wanted.values())


def ensure(runs: Sequence[Run], material: Material, place: Place) -> list[FinishedRun]:
    """The finished runs, trained where they are missing."""
    finished = train(Plan.of(runs, material, place), place)
    return [finished[run.key] for run in runs]


def work_off(runs: Sequence[Wanted], place: Place, *, scores: bool = True, asha: "Asha | None" = None) -> Queue:
    """Have runs on one material trained where they are missing or damaged, and continued where they were interrupted.

    Runs that fail do not keep the others from being trained; they are named at the end, and `RunsFailed` is raised. Without
    `scores` it is not printed what a run scored. `asha` may stop runs early, on Ray.
    """
    assert not place.dry_run
    finished = _finished(runs)
    missing = [wanted for wanted in runs if wanted.run.key not in finished]
    say(tally(len(runs), missing))
    queue = Queue(missing, finished, scores=scores)
    if missing:
        if asha:
            asha.note({key: [row["accuracy"] for row in run.log] for key, run in finished.items()})
        with progress("training", None, "batches") as bar:
            board = Board(bar, {wanted.run.key: wanted.batches for wanted in missing})
            with closing(_executor(runs[0].material, place, board, len(missing), asha)) as executor:
                queue.work_off(executor, board)
    for run in queue.finished.values() if place.tensorboard else ():
        events.write(run, run.path / events.FOLDER)
    if queue.failed:
        raise _failure(queue.failed, {wanted.run.key: wanted for wanted in runs})
    return queue


def _finished(runs: Sequence[Wanted]) -> dict[str, FinishedRun]:
    """The runs that are finished; one that is damaged, or has lost its weights, is named."""
    finished = {}
    for wanted in runs:
        folder = wanted.folder
        try:
            if folder.finished:
                run = load(folder.path)
                if run.lost_weights:
                    say(f"run {run.key} has lost its weights; it is trained again")
                    continue
                finished[folder.key] = run
                if folder.checkpoint.is_file():  # it was killed in its very last step
                    with suppress(OSError):  # where that may not be written it may stay
                        folder.checkpoint.unlink(missing_ok=True)
        except Damaged as error:
            say(f"{error.what}; the run is trained again")
    return finished


def _executor(material: Material, place: Place, board: Board, runs: int, asha: "Asha | None") -> Executor:
    """What `--launch` names."""
    if check_launch(place) == "ray":
        from tla.launch.on_ray import Cluster

        return Cluster(material, place, board, asha)
    if place.workers == 1:
        return InProcess(material, place, board)
    import torch

    workers = min(place.workers, runs)
    threads = place.threads or max(1, torch.get_num_threads() // place.workers)
    devices = deal(place.device, str(material.device), torch.cuda.device_count(), workers)
    return Processes(material, place, board, devices, threads)


def check_launch(place: Place) -> Literal["local", "ray"]:
    """Where runs are trained; `UserError` for what cannot be."""
    kind = place.launch.partition(":")[0]
    if kind not in ("local", "ray") or place.launch in ("ray:", "local:") or place.launch.startswith("local:"):
        raise UserError(f"--launch {place.launch}: possible are local, ray, ray:auto and ray:ADDRESS")
    for name, value in (("workers", place.workers), ("threads", place.threads)):
        if value is not None and value < 1:
            raise UserError(f"--{name} is {value}; at least 1 is needed")
    if place.gpus_per_run is not None and place.gpus_per_run < 0:
        raise UserError(f"--gpus-per-run is {place.gpus_per_run:g}; it cannot be negative")
    if kind == "local" and (place.gpus_per_run is not None or place.shared_runs):
        option = "--shared-runs" if place.shared_runs else "--gpus-per-run"
        raise UserError(f"{option} goes with --launch ray; --launch local takes --workers and --threads")
    if kind == "ray":
        if place.workers != 1:
            raise UserError("--workers goes with --launch local; on Ray, --threads and --gpus-per-run decide how many runs fit")
        from tla.launch.ray_cluster import load

        load()
        return "ray"
    return "local"


def _failure(failed: Sequence[Outcome], runs: Mapping[str, Wanted]) -> RunsFailed:
    """Print which runs failed, and why; returns what is to be raised."""
    rows = []
    for outcome in failed:
        run = runs[outcome.key].run
        rows.append([run.key, run.fold, run.seed, run.transfer.pretrained_upto, outcome.error])
    table(["failed run", "fold", "seed", "pretrained", "why"], rows)
    first = failed[0]
    where = f" ({runs[first.key].folder.path / 'error.txt'})" if first.trace else ""
    others = f"{len(failed)} of {counted(len(runs), 'run')} failed" if len(failed) > 1 else f"run {first.key} failed"
    return RunsFailed(f"{others}: {first.error}{where}; finished runs are kept, and the same command tries again")


def _weights_source(study: Study, place: Place) -> str:
    """A file's path or `imagenet` as they are; the key of a run becomes its weights file."""
    path = Path(study.weights)
    if path.name == WEIGHTS and (path.parent / RESULT).is_file():
        return str(load(path.parent).trained_weights())
    if study.weights == "imagenet" or path.exists() or "." in study.weights or "/" in study.weights:
        return study.weights
    return str(find(Path(place.runs), study.weights).trained_weights())
