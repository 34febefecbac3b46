"""The networks that are read out: the study's own start, random ones, and finished runs before and after their training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tla.errors import UserError
from tla.launch.find_run import beginning, origin
from tla.launch.material import Material
from tla.launch.study import held_out, prepare
from tla.nets.stages import StagedNet, describe
from tla.nets.transfer import assemble
from tla.options import RANDOM, Augment, Place, Study, Transfer
from tla.readout.features import Network, of_network, of_pictures
from tla.readout.measuring import Clips, Stage
from tla.readout.tables import PICTURE, PRETRAINED, TUNED
from tla.runs import infer
from tla.runs.feed import standard_of
from tla.runs.folder import FinishedRun, find
from tla.sound.store import Store

if TYPE_CHECKING:
    import torch

CLEAN = Augment(kind="none")


def backbones(study: Study) -> list[Study]:
    """The study on each of the backbones that it names, as in densenet201,resnet50."""
    names = list(dict.fromkeys(name.strip() for name in study.backbone.split(",") if name.strip()))
    if not names:
        raise UserError(f"--backbone {study.backbone!r} names no network; give one, or several as in densenet201,resnet50")
    return [replace(study, backbone=name) for name in names]


def materials(study: Study, place: Place) -> list[Material]:
    """What reading out takes, for each backbone: pictures, without augmented ones, and pretrained weights."""
    return [prepare(replace(one, augment=CLEAN), place) for one in backbones(study)]


def clips_of(material: Material) -> Clips:
    """The data set's clips, in the folds that the study holds out; under --per-class it is learned from what seed 0 draws."""
    data, study = material.dataset, material.study
    splits = {fold: data.split(fold, study.protocol, study.per_class, 0) for fold in held_out(study, data)}
    return Clips(
        names=np.array([clip.name for clip in data.clips]),
        labels=data.labels,
        recordings=np.array(data.sources),
        folds=np.array([clip.fold for clip in data.clips]),
        splits={fold: (split.train, split.test) for fold, split in splits.items()},
    )


def costs(materials: Sequence[Material]) -> dict[tuple[str, str], int]:
    """Multiply-adds for a clip up to each stage of each backbone."""
    found: dict[tuple[str, str], int] = {}
    for material in materials:
        rows = describe(_start(material, 0, RANDOM), material.store.clean.shape[1:])
        total = np.cumsum([row.multiply_adds for row in rows])
        found |= {(material.study.backbone, row.stage): int(cost) for row, cost in zip(rows, total, strict=True)}
    return found


def stages(materials: Sequence[Material]) -> Iterator[Stage]:
    """The picture, then the stages of each backbone: of the network that the study starts from, and of random ones, as many as
    the study has seeds."""
    yield Stage("", PICTURE, "", [of_pictures(materials[0].store)])
    for material in materials:
        store = material.store
        standard = standard_of(store.clean, np.arange(len(store.clean))) if material.study.recipe.standardise else None
        starts = {} if material.pretrained is None else {PRETRAINED: 1}
        for name, seeds in {**starts, RANDOM: material.study.seeds}.items():
            found: list[dict[str, np.ndarray]] = []
            for seed in range(seeds):
                net = _on(_start(material, seed, name), material.device)
                found.append(of_network(Network(name, net, material.device, standard), store))
            for stage in found[0]:
                yield Stage(material.study.backbone, name, stage, [features[stage] for features in found])


def _start(material: Material, seed: int, name: str) -> StagedNet:
    study, pretrained = material.study, material.pretrained
    plan = study.transfer if name == PRETRAINED else Transfer(pretrained_upto="none", kept_upto=study.transfer.kept_upto)
    pretrained = pretrained if name == PRETRAINED else None
    return assemble(study.backbone, len(material.dataset.classes), plan, pretrained, seed=seed, shape=material.shape)


def _on(net: StagedNet, device: "torch.device") -> StagedNet:
    import torch

    return net.to(device).to(memory_format=torch.channels_last).eval()


def of_study(folders: Sequence[FinishedRun], material: Material) -> Iterator[Stage]:
    """The stages of a study's runs after training, each on the fold that it holds out."""
    by_fold: dict[int, list[FinishedRun]] = {}
    for folder in folders:
        by_fold.setdefault(folder.run.fold, []).append(folder)
    found = {fold: [_after(run, material.store, material.device, TUNED) for run in runs] for fold, runs in by_fold.items()}
    yield from _by_stage(material.study.backbone, TUNED, found)


def of_run(key: str, study: Study, place: Place, material: Material) -> Iterator[Stage]:
    """The stages of a run before and after its training, on the fold that it holds out."""
    folder = find(Path(place.runs), key)
    store = origin(folder, study, place).pictures()
    if store.dataset.digest != material.dataset.digest:
        raise UserError(f"run {folder.key} was trained on other clips ({folder.run.data}) than {material.dataset.name}")
    run, device = folder.run, material.device
    if run.fold not in held_out(material.study, material.dataset):
        raise UserError(f"run {folder.key} holds fold {run.fold} out, which --folds leaves out")
    if (net := beginning(folder)) is not None:
        before = Network(f"before {folder.key}", _on(net, device), device, folder.standard)
        yield from _by_stage(run.backbone, before.name, {run.fold: [of_network(before, store)]})
    name = f"after {folder.key}"
    yield from _by_stage(run.backbone, name, {run.fold: [_after(folder, store, device, name)]})


def _after(folder: FinishedRun, store: Store, device: "torch.device", name: str) -> dict[str, np.ndarray]:
    loaded = infer.load(folder, device)
    return of_network(Network(f"{name}, run {folder.key}", loaded.net, device, loaded.standard), store)


def _by_stage(backbone: str, name: str, found: Mapping[int, Sequence[Mapping[str, np.ndarray]]]) -> Iterator[Stage]:
    for stage in next(iter(found.values()))[0]:
        yield Stage(backbone, name, stage, {fold: [run[stage] for run in runs] for fold, runs in found.items()})
