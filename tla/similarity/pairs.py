"""Two networks that hear the same clips: before and after training, trained twice, or any two that are asked for."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tla.console import say
from tla.errors import UserError
from tla.launch.find_run import origin
from tla.launch.material import Material
from tla.launch.plan import Plan
from tla.launch.study import list_runs, train
from tla.options import Place, Study, Transfer
from tla.runs.folder import FinishedRun, find
from tla.runs.run import Run
from tla.sound.store import Store

if TYPE_CHECKING:
    import torch

    from tla.nets.weights import Pretrained
    from tla.runs.infer import Listener

PRETRAINED, RANDOM, SEEDS = "pretrained", "random", "two seeds"  # what a pair may be in a study with its controls
IMAGENET = "imagenet"


@dataclass(frozen=True)
class Network:
    """A finished run's network or, with `start`, the one that a training by that plan begins with, from the run's own seed.

    Either hears pictures as the run does.
    """

    label: str
    folder: FinishedRun
    start: Transfer | None = None
    pretrained: "Pretrained | None" = None

    def load(self, device: "torch.device") -> "Listener":
        """The network, in inference mode."""
        import torch

        from tla.nets.transfer import assemble
        from tla.runs import infer

        if self.start is None:
            return infer.load(self.folder, device)
        run = self.folder.run
        net = assemble(run.backbone, run.classes, self.start, self.pretrained, seed=run.seed)
        net = net.to(device).to(memory_format=torch.channels_last).eval()
        return infer.Listener(run, self.folder.classes, net, device, self.folder.standard)


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
        return store.dataset.split(self.run.fold, self.run.protocol).test.tolist()

    def known(self, store: Store) -> int:
        """How many of these clips the first network was trained on."""
        if self.before.start is not None:
            return 0
        run = self.before.folder.run
        return len(set(self.clips(store)) & set(store.dataset.split(run.fold, run.protocol).train.tolist()))


def plan(material: Material, place: Place) -> Plan:
    """A study's runs in two seeds at least and, where these are pretrained, from random weights."""
    tuned, scratch = _runs(material)
    return Plan.of(tuned + scratch, material, place)


def controlled(material: Material, place: Place) -> list[Pair]:
    """A study's runs against their own starts, with the controls: the same from random weights, and two seeds of a fold.

    What is missing is said, and trained.
    """
    tuned, scratch = _runs(material)
    needed = plan(material, place)
    for wanted in needed.missing():
        run, begins = wanted.run, RANDOM if wanted.run.weights == RANDOM else PRETRAINED
        say(f"to train: {run.key} {begins}, fold {run.fold}, seed {run.seed} ({run.backbone} on {run.data})")
    folders = train(needed, place)
    main = [run for run in tuned if run.seed < material.study.seeds]
    pairs = [_from_start(RANDOM if run.weights == RANDOM else PRETRAINED, run, folders[run.key], material) for run in main]
    pairs += [_from_start(RANDOM, run, folders[run.key], material) for run in scratch]
    by_place = {(run.fold, run.seed): folders[run.key] for run in tuned}
    for (fold, seed), folder in by_place.items():
        if other := by_place.get((fold, seed + 1)):
            pairs.append(Pair(SEEDS, Network(folder.key, folder), Network(other.key, other)))
    return pairs


def named(before: str, after: str, study: Study, place: Place) -> tuple[Pair, Store]:
    """Any two networks, `after` the key of a run and `before` another, imagenet or random; and the pictures that they hear."""
    from tla.nets import weights

    folder = find(Path(place.runs), after)
    run, store = folder.run, origin(folder, study, place).pictures()
    if before in (IMAGENET, RANDOM):
        upto = run.transfer.kept_upto
        plan = Transfer(pretrained_upto=upto if before == IMAGENET else "none", kept_upto=upto)
        pretrained = weights.load(IMAGENET, run.backbone) if before == IMAGENET else None
        first = Network(before, folder, plan, pretrained)
    else:
        first = Network("", find(Path(place.runs), before))
        first = replace(first, label=first.folder.key)
        _must_hear_the_same(first.folder, folder)
    return Pair(f"{first.label} > {folder.key}", first, Network(folder.key, folder)), store


def _runs(material: Material) -> tuple[list[Run], list[Run]]:
    """The study's own runs and those from random weights."""
    tuned = list_runs(replace(material, study=replace(material.study, seeds=max(2, material.study.seeds))))
    return tuned, [] if tuned[0].weights == RANDOM else list_runs(material, start=RANDOM)


def _from_start(curve: str, run: Run, folder: FinishedRun, material: Material) -> Pair:
    pretrained = None if run.weights == RANDOM else material.pretrained
    return Pair(curve, Network(f"start of {folder.key}", folder, run.transfer, pretrained), Network(folder.key, folder))


def _must_hear_the_same(one: FinishedRun, other: FinishedRun) -> None:
    first, second = one.run, other.run
    if one.key == other.key:
        raise UserError(f"--before and --after are the same run {one.key}: give two, or --before imagenet or random")
    if first.data_digest != second.data_digest:
        raise UserError(
            f"run {one.key} learned from {first.data} and run {other.key} from other clips ({second.data}): "
            "compare runs on one data set"
        )
    if first.picture != second.picture:
        raise UserError(
            f"runs {one.key} and {other.key} see other pictures of the same clips ({first.picture}; {second.picture}): "
            "compare runs with the same --picture options"
        )
