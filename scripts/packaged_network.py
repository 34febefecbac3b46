"""Make the network that comes with tla: trained to its end on all clips of a data set, with the accuracy that the recipe has.

    python scripts/packaged_network.py --config scripts/packaged_network.yaml --data PATH/ESC-10

The study's own runs, one per fold, are trained first (or found, where they are finished): their predictions of clips that they
did not learn from are the packaged network's score. One more network learns from every clip, below the runs in `packaged/`.
It becomes a finished run of fold 0, to which no clip belongs, beside the credits of the recordings.
"""

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from tla import cli, manifest
from tla.console import counted, progress, say
from tla.errors import UserError
from tla.launch.material import Material
from tla.options import Place, Study
from tla.runs.folder import (
    LOG,
    PREDICTIONS,
    RESULT,
    RUN,
    STANDARD,
    WEIGHTS,
    FinishedRun,
    Predictions,
    Result,
    RunFolder,
    Score,
    intact,
    load,
)
from tla.runs.packaged import FOLDER
from tla.runs.run import Run
from tla.runs.scores import accuracy, macro_accuracy
from tla.sound.clips import Dataset, Split

CREDITS = "meta/attribution.csv"
PAGE = """# The network that comes with tla

EfficientNet-Lite0 cut behind block2 ({parameters} parameters), pretrained on ImageNet and trained to its end ({epochs})
on all {clips} clips of ESC-10 (Piczak, 2015; the part of ESC-50 that is licensed CC BY). Its ten classes:
{classes}.
`attribution.csv` names author and licence of every recording (CC0, CC BY; two CC Sampling+). Made by

    python scripts/packaged_network.py --config scripts/packaged_network.yaml --data PATH/ESC-10

Accuracy of the same recipe on clips that were held out, by a run for each fold (these predictions are in `predictions.npz`):

| fold | clips | accuracy, % |
|---|---|---|
{table}

The packaged network itself learned from all of these clips, so its own accuracy on them is no measure of it.
"""


@dataclass(frozen=True, kw_only=True)
class Whole(Dataset):
    """A data set of which every clip is trained on."""

    def split(self, fold: int, protocol: str = "paper") -> Split:
        every = np.arange(len(self.clips))
        return Split(train=every, validation=every[:0], test=every)


def main(study: Study, place: Place, *, to: str = str(FOLDER)) -> None:
    """This command.

    Args:
        to: The folder that is made; the one in the package by default.
    """
    from tla.launch.plan import Plan
    from tla.launch.study import list_runs, prepare, train

    material = prepare(study, place)
    credits = material.dataset.root / CREDITS
    if not credits.is_file():
        raise UserError(f"{credits} is not there: a network is packaged only with the credits of what it learned from")
    runs = list_runs(material)
    folds = list(train(Plan.of(runs, material, place), place).values())
    run = replace(runs[0], fold=0)
    folder = RunFolder(Path(place.runs) / "packaged" / run.key)
    if not intact(folder.path):
        train_on_all(run, folder, material, place.threads)
    score(folder, folds)
    package(folder.path, credits, folds, Path(to))


def train_on_all(run: Run, folder: RunFolder, material: Material, threads: int | None) -> None:
    """Train a network on every clip."""
    import torch

    from tla.runs.fit import fit
    from tla.runs.provenance import provenance

    dataset = material.dataset
    whole = Whole(**{field.name: getattr(dataset, field.name) for field in dataclasses.fields(dataset)})
    torch.set_num_threads(threads or torch.get_num_threads())
    with folder.locked(), progress("training on all clips", None) as watch:
        folder.describe(run, list(dataset.classes), provenance(str(material.device)))
        fit(run, replace(material.store, dataset=whole), material.pretrained, folder, material.device, watch)


def score(folder: RunFolder, folds: Sequence[FinishedRun]) -> None:
    """Give the network the predictions, and the score, of the runs that did not learn from the clips they are of."""
    parts = [fold.predictions for fold in folds]
    names, labels, sources = (np.concatenate([getattr(p, name) for p in parts]) for name in ("names", "labels", "sources"))
    logits = np.concatenate([part.logits["last"] for part in parts])
    folder.write_predictions(Predictions(names, labels, sources, {"last": logits}))
    scores = {"last": Score(accuracy(logits, labels), macro_accuracy(logits, labels))}
    folder.finish(replace(load_unscored(folder), scores=scores, clips=len(labels)))


def load_unscored(folder: RunFolder) -> Result:
    """What training on all clips wrote, whatever predictions stand beside it."""
    return msgspec.json.decode((folder.path / RESULT).read_bytes(), type=Result)


def package(run: Path, credits: Path, folds: Sequence[FinishedRun], package: Path) -> None:
    """Copy the run and the credits into the package, with a page on what they are."""
    if package.exists():
        shutil.rmtree(package)
    target = package / run.name
    target.mkdir(parents=True)
    for name in (RUN, LOG, PREDICTIONS, STANDARD, WEIGHTS, RESULT, manifest.SUMS):
        if (run / name).is_file():  # not every recipe standardises
            shutil.copyfile(run / name, target / name)
    shutil.copyfile(credits, package / "attribution.csv")
    network = load(target)
    rows = [f"| {fold.run.fold} | {fold.result.clips} | {100 * fold.result.scores['last'].accuracy:.1f} |" for fold in folds]
    all_clips = f"| all | {network.result.clips} | {100 * network.result.scores['last'].accuracy:.1f} |"
    text = PAGE.format(
        classes=", ".join(network.classes),
        parameters=f"{network.result.parameters:,}",
        epochs=counted(network.result.epochs, "epoch"),
        clips=network.result.clips,
        table="\n".join([*rows, all_clips]),
    )
    (package / "README.md").write_text(text, encoding="utf-8")
    say(f"{target}: {100 * network.result.scores['last'].accuracy:.1f} % of {network.result.clips} held-out clips")


if __name__ == "__main__":
    cli.run(main)
