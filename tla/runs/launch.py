"""A list of runs, executed: what a study needs is made ready once, runs that exist are kept, the others are trained."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tla.console import progress, say
from tla.errors import UserError
from tla.options import Place, Study, Transfer
from tla.runs.folder import RunFolder, find
from tla.runs.run import Run, resolve_recipe
from tla.sound import clips, spectrograms, store

if TYPE_CHECKING:
    import torch

    from tla.nets.weights import Pretrained


@dataclass(frozen=True)
class Material:
    """What the runs of a study share: pictures of the data set, pretrained tensors, the device."""

    study: Study
    store: store.Store
    pretrained: "Pretrained | None"  # None: from scratch
    device: "torch.device"
    precision: Literal["fp32", "bf16"]

    @property
    def dataset(self) -> clips.Dataset:
        return self.store.dataset


def prepare(study: Study, place: Place) -> Material:
    """Find or make everything that training needs; what can be refused is refused before the long work."""
    from tla.nets import backbones, weights
    from tla.nets.stages import describe

    device = choose_device(place.device)
    for folder in (place.runs, place.figures):  # found out now, not after the training
        Path(folder).mkdir(parents=True, exist_ok=True)
    net = backbones.build(study.backbone, 2, seed=0)
    dataset = clips.load(study.data, place.data)
    held_out(study, dataset)
    resolve_recipe(study.recipe, scratch=False)
    picture = spectrograms.resolve(study.picture, rate=dataset.rate, seconds=dataset.seconds, frames=dataset.frames)
    describe(net, (3, picture.mels, picture.frames or 0))  # refuses a picture too small for the network
    pretrained = None if study.weights == "random" else weights.load(_weights_source(study, place), study.backbone)
    pictures = store.open_store(dataset, picture, study.augment, place.data / "pictures", on_bad_clip=study.on_bad_clip)
    for name, wrong in pictures.skipped.items():
        say(f"left out: {name} ({wrong})")
    return Material(study, pictures, pretrained, device, choose_precision(study.precision, device))


def list_runs(material: Material, *, plan: Transfer | None = None, scratch: bool = False) -> list[Run]:
    """The runs of a study, one per fold and seed, for its own transfer plan or another, or from scratch."""
    from tla.nets.transfer import canonical

    study, dataset = material.study, material.dataset
    start = "random" if scratch or material.pretrained is None else material.pretrained.identity
    transfer, weights = canonical(plan or study.transfer, start)
    first = Run(
        data=dataset.name,
        data_digest=dataset.digest,
        classes=len(dataset.classes),
        picture=material.store.picture,
        augment=study.augment,
        backbone=study.backbone,
        weights=weights,
        transfer=transfer,
        recipe=resolve_recipe(study.recipe, scratch=start == "random"),
        protocol=study.protocol,
        fold=0,
        seed=0,
        precision=material.precision,
    )
    folds = held_out(study, dataset)
    return [replace(first, fold=fold, seed=seed) for seed in range(study.seeds) for fold in folds]


def by_start(study: Study, place: Place, *, compare: bool) -> dict[str, list[RunFolder]]:
    """The finished runs of a study under the name of their start and, to compare, those of its twin from random weights."""
    if compare and study.weights == "random":
        raise UserError(
            "--compare random compares with random weights, and --weights is random: give imagenet, a file or a run"
        )
    material = prepare(study, place)
    runs = list_runs(material)
    others = list_runs(material, scratch=True) if compare else []
    folders = ensure(runs + others, material, place)
    start = "random" if study.weights == "random" else "pretrained"
    return {start: folders[: len(runs)]} | ({"random": folders[len(runs) :]} if compare else {})


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
    if not folds:
        raise UserError(f"--folds names no fold; {dataset.name} has {', '.join(map(str, dataset.folds))}")
    return folds


def ensure(runs: Sequence[Run], material: Material, place: Place) -> list[RunFolder]:
    """The finished folders of the runs, trained where they are missing, continued where they were interrupted."""
    folders = [RunFolder(Path(place.runs) / run.key) for run in runs]
    if not runs:
        return []
    missing = [(run, folder) for run, folder in zip(runs, folders, strict=True) if not folder.finished]
    begun = sum(folder.checkpoint.is_file() for _, folder in missing)
    say(f"{len(runs)} runs: {len(runs) - len(missing)} finished, {begun} to continue, {len(missing) - begun} to train")
    for number, (run, folder) in enumerate(missing, 1):
        _train(run, folder, material, place, f"run {number} of {len(missing)} {run.key} fold {run.fold} seed {run.seed}")
    return folders


def _train(run: Run, folder: RunFolder, material: Material, place: Place, what: str) -> None:
    from tla.runs.feed import count_batches
    from tla.runs.fit import fit
    from tla.runs.made import provenance

    with folder.locked():
        if folder.finished:  # by the process that we waited for
            return
        folder.describe(run, list(material.dataset.classes), provenance(str(material.device)))
        train = material.dataset.split(run.fold, run.protocol).train
        steps = (run.recipe.epochs or 0) * count_batches(run, len(train))
        pretrained = material.pretrained if run.weights != "random" else None
        with progress(what, steps) as watch:
            fit(run, material.store, pretrained, folder, material.device, watch, tensorboard=place.tensorboard)
    scores = "  ".join(f"{rule} {100 * score['accuracy']:.1f} %" for rule, score in folder.result["scores"].items())
    say(f"{what}: {scores}")


def choose_device(name: str) -> "torch.device":
    """The device of a `--device`."""
    import torch

    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError
    except (RuntimeError, AssertionError):
        have = ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        raise UserError(f"--device {name} cannot be used here; this machine has {have}") from None
    return device


def choose_precision(asked: str, device: "torch.device") -> Literal["fp32", "bf16"]:
    """The arithmetic of a `--precision`: bf16 needs the processor's own instructions to pay."""
    import torch

    if asked == "auto":
        pays = torch.cuda.is_bf16_supported() if device.type == "cuda" else device.type == "cpu" and _cpu_has_bf16()
        return "bf16" if pays else "fp32"
    return "bf16" if asked == "bf16" else "fp32"


def _cpu_has_bf16() -> bool:
    info = Path("/proc/cpuinfo")
    flags = info.read_text().split() if info.is_file() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _weights_source(study: Study, place: Place) -> str:
    """A file's path or `imagenet` as they are; the key of a run becomes its weights file."""
    if study.weights == "imagenet" or Path(study.weights).exists() or "." in study.weights or "/" in study.weights:
        return study.weights
    return str(find(Path(place.runs), study.weights).weights)
