"""Two networks to be compared on the same clips: before and after training, trained twice, or any two that are named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tla.errors import UserError
from tla.launch.find_run import origin
from tla.launch.material import Material
from tla.launch.plan import Plan, PlanFor
from tla.launch.study import list_runs, prepare
from tla.nets.activations import STAGE_LAYERS
from tla.options import Place, Study, Transfer
from tla.runs import command
from tla.runs.device import choose_device
from tla.runs.folder import FinishedRun, find
from tla.runs.run import Run
from tla.similarity.tables import PRETRAINED, RANDOM, SEEDS
from tla.sound.store import Store

if TYPE_CHECKING:
    import torch

    from tla.nets.weights import Pretrained
    from tla.runs.infer import LoadedNetwork

IMAGENET = "imagenet"


@dataclass(frozen=True)
class Network:
    """A finished run's network or, with `start`, the one that a training by that plan begins with, from the run's own seed.

    Either takes pictures as the run does.
    """

    label: str
    folder: FinishedRun
    start: Transfer | None = None
    pretrained: "Pretrained | None" = None

    def load(self, device: "torch.device") -> "LoadedNetwork":
        """The network, in inference mode."""
        from tla.runs import infer

        if self.start is None:
            return infer.load(self.folder, device)
        return infer.load_start(self.folder, device, self.pretrained, self.start)


@dataclass(frozen=True)
class Pair:
    """Two networks to be compared on the clips that the second one's run held out; `curve` is what a figure calls them."""

    curve: str
    before: Network
    after: Network

    @property
    def run(self) -> Run:
        """The run of the second network."""
        return self.after.folder.run

    def clips(self, store: Store) -> list[int]:
        """The rows of the store that hold the clips."""
        return self.run.split(store.dataset).test.tolist()

    def known(self, store: Store) -> int:
        """How many of these clips the first network was trained on."""
        if self.before.start is not None:
            return 0
        run = self.before.folder.run
        return len(set(self.clips(store)) & set(run.split(store.dataset).train.tolist()))

    def about(self, store: Store) -> dict[str, Any]:
        """The columns of tables that hold what was compared."""
        run, trained = self.run, self.after.folder
        return {
            "curve": self.curve,
            "before": self.before.label,
            "after": self.after.label,
            **trained.data,
            "backbone": run.backbone,
            "fold": run.fold,
            "seed": run.seed,
            "key": run.key,
            "epochs": trained.result.epochs,
            "training": trained.result.training.state,
            "lr": run.recipe.lr,
            "augment": run.augment.kind,
            "protocol": run.protocol,
            "precision": run.precision,
            "known_clips": self.known(store),
        }


@dataclass(frozen=True)
class Compared:
    """Pairs of networks to be compared on clips of one data set."""

    pairs: Sequence[Pair]
    store: Store
    device: "torch.device"
    study: Study = field(default_factory=Study)
    """Whose networks are compared."""


def plan(
    study: Study, place: Place, *, layers: str = STAGE_LAYERS, before: str | None = None, after: str | None = None
) -> PlanFor[Compared]:
    """The runs that are compared, for `measure` and `layer_map`: a study's with their controls, or two that are named.

        compared = tla.train_missing(similarity.plan(study, place), place)
        tables = similarity.measure(compared)                                     # SVCCA at every stage
        tables = similarity.measure(compared, similarity.Asked(measures=("cka",), layers="all"))
        similarity.figure(tables)

    Args:
        layers: Those that the network has to have, or it is refused before any training.
        before: A run, by the beginning of its key, imagenet or random; compared with the run `after`. Nothing is trained then.
    """
    if (before is None) != (after is None):
        raise UserError("--before and --after belong together: --before RUN, imagenet or random, and --after RUN")
    if before is not None and after is not None:
        return named(before, after, study, place)
    material = prepare(study, place)
    from tla.nets import activations, backbones

    shape = material.store.clean.shape[1:]
    activations.layers(backbones.build(study.backbone, 2, seed=0, shape=shape), layers, shape)
    return controlled(material, place)


def controlled(material: Material, place: Place) -> PlanFor[Compared]:
    """A study's runs against their own starts, with the controls: the same from random weights, and two seeds of a fold.

    It takes the study's runs in two seeds at least and, where these are pretrained, from random weights.
    """
    tuned = list_runs(replace(material, study=replace(material.study, seeds=max(2, material.study.seeds))))
    scratch = [] if tuned[0].weights == RANDOM else list_runs(material, start=RANDOM)

    def sorted_out(folders: Mapping[str, FinishedRun]) -> Compared:
        main = [run for run in tuned if run.seed < material.study.seeds]
        found = [_from_start(run, folders[run.key], material) for run in main + scratch]
        by_place = {(run.fold, run.seed): folders[run.key] for run in tuned}
        for (fold, seed), folder in by_place.items():
            if other := by_place.get((fold, seed + 1)):
                found.append(Pair(SEEDS, Network(folder.key, folder), Network(other.key, other)))
        return Compared(found, material.store, material.device, material.study)

    return PlanFor(Plan.of(tuned + scratch, material, place).wanted, sorted_out=sorted_out)


def named(before: str, after: str, study: Study, place: Place) -> PlanFor[Compared]:
    """Any two networks: `after` the key of a run and `before` another, imagenet or random."""
    from tla.nets import weights

    folder = find(Path(place.runs), after)
    run, store = folder.run, origin(folder, study, place).pictures()
    if before in (IMAGENET, RANDOM):
        upto = run.transfer.kept_upto
        transfer = Transfer(pretrained_upto=upto if before == IMAGENET else "none", kept_upto=upto)
        pretrained = weights.load(IMAGENET, run.backbone, run.shape) if before == IMAGENET else None
        first = Network(before, folder, transfer, pretrained)
    else:
        other = find(Path(place.runs), before)
        first = Network(other.key, other)
        _must_share_pictures(other, folder)
    pair = Pair(f"{first.label} > {folder.key}", first, Network(folder.key, folder))
    compared = Compared([pair], store, choose_device(place.device), command.study([folder]))
    return PlanFor(sorted_out=lambda _: compared)


def to_train(plan: Plan) -> list[str]:
    """The runs of a plan that are missing, each in a line."""
    runs = [wanted.run for wanted in plan.missing()]
    return [
        f"to train: {run.key} {_curve(run)}, fold {run.fold}, seed {run.seed} ({run.backbone} on {run.data})" for run in runs
    ]


def _curve(run: Run) -> str:
    return RANDOM if run.weights == RANDOM else PRETRAINED


def _from_start(run: Run, folder: FinishedRun, material: Material) -> Pair:
    pretrained = None if run.weights == RANDOM else material.pretrained
    return Pair(_curve(run), Network(f"start of {folder.key}", folder, run.transfer, pretrained), Network(folder.key, folder))


def _must_share_pictures(one: FinishedRun, other: FinishedRun) -> None:
    first, second = one.run, other.run
    if one.key == other.key:
        raise UserError(f"--before and --after are the same run {one.key}: give two, or --before imagenet or random")
    if first.data_digest != second.data_digest:
        raise UserError(
            f"run {one.key} was trained on {first.data} and run {other.key} on other clips ({second.data}): "
            "compare runs on one data set"
        )
    if first.picture != second.picture:
        raise UserError(
            f"runs {one.key} and {other.key} take other pictures of the same clips ({first.picture}; {second.picture}): "
            "compare runs with the same --picture options"
        )
