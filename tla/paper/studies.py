"""Which of the runs in a folder may be compared, and what the paper's experiments still lack.

Two runs belong to one *arm* if they differ in fold and seed only. Arms belong to one *case* if they share the clips, the
picture, the augmentation, the backbone, the recipe, the protocol and the arithmetic, and start from the same pretrained
weights, or from random ones; they differ in the transfer plan. Runs of different cases are never averaged. The one exception
is the paper's own: there, networks from scratch are trained for 450 epochs against 70.

Of several cases for the same data and backbone, a number is taken from the one that starts from ImageNet weights, has most of
the arms that the number needs, has most folds x seeds in common to them, and is the newest: in this order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import pandas as pd

from tla.console import counted
from tla.options import RANDOM, STAGES, Arithmetic, Augment, Picture, Protocol, Recipe, Study, Transfer
from tla.reference import CLAIMS, Claim
from tla.runs import command
from tla.runs.folder import FinishedRun
from tla.runs.run import Run
from tla.runs.schedule import PAPER_DROPS, PAPER_DROPS_SCRATCH, PAPER_EPOCHS, PAPER_EPOCHS_SCRATCH
from tla.sound.layouts import SHAPES

PLANS: dict[str, Transfer] = {  # an arm's name -> its transfer plan, as a run's key has it
    "pretrained": Transfer(),
    RANDOM: Transfer(pretrained_upto="none"),
    **{f"fused:{stage}": Transfer(pretrained_upto=stage) for stage in STAGES[:-1]},
    **{f"frozen:{stage}": Transfer(frozen_upto=stage) for stage in STAGES},
    **{f"kept:{stage}": Transfer(pretrained_upto=stage, kept_upto=stage) for stage in STAGES[:-1]},
}
WORDS = {"fused": "pretrained up to", "frozen": "frozen up to", "kept": "cut behind"}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What runs share that may be compared: all but start, transfer plan, fold and seed."""

    data: str = field(compare=False)  # a name; the digest stands for the clips
    digest: str
    classes: int
    backbone: str
    picture: Picture
    augment: Augment
    recipe: Recipe
    protocol: Protocol
    precision: Arithmetic
    per_class: int | None = None


@dataclass(frozen=True)
class Case:
    """Runs that may be compared: a setting, the weights that its pretrained runs start from, and its arms by transfer plan."""

    setting: Setting
    weights: str
    arms: Mapping[Transfer, tuple[FinishedRun, ...]]
    scratch: tuple[FinishedRun, ...] = ()

    def arm(self, name: str) -> tuple[FinishedRun, ...]:
        """The runs of an arm of `PLANS`; none if there are none."""
        if name == RANDOM:
            return self.scratch
        return self.arms.get(PLANS[name], ()) if self.weights != RANDOM else ()

    @property
    def folders(self) -> tuple[FinishedRun, ...]:
        """All its runs, each once."""
        every = {folder.key: folder for arm in (*self.arms.values(), self.scratch) for folder in arm}
        return tuple(every.values())

    @property
    def key(self) -> str:
        """The key of the run that stands for the case: of the first fold and seed of its first arm."""
        arms = [self.arm(name) for name in PLANS if self.arm(name)] or list(self.arms.values())
        return min(arms[0], key=lambda folder: (folder.run.fold, folder.run.seed)).key

    @property
    def newest(self) -> str:
        """When its last run was finished."""
        return max(folder.result.finished for folder in self.folders)


def cases(folders: Iterable[FinishedRun]) -> list[Case]:
    """The runs, by what may be compared."""
    groups: dict[tuple[Setting, str, Transfer], list[FinishedRun]] = {}
    for folder in folders:
        run = folder.run
        groups.setdefault((setting_of(run), run.weights, run.transfer), []).append(folder)
    arms = {key: tuple(sorted(group, key=lambda f: (f.run.fold, f.run.seed))) for key, group in groups.items()}
    sources: dict[Setting, list[str]] = {}
    for setting, weights, _ in arms:
        sources.setdefault(setting, []).append(weights)
    twins = {_twin(setting) for setting, every in sources.items() if set(every) != {RANDOM}}
    found = []
    for setting, every in sources.items():
        starts = [start for start in dict.fromkeys(every) if start != RANDOM]
        if not starts and setting in twins:
            continue  # it stands in the case that it is the twin of
        for start in starts or [RANDOM]:
            mine = {plan: arm for (s, w, plan), arm in arms.items() if s == setting and w in (start, RANDOM)}
            long = arms.get((_twin(setting), RANDOM, PLANS[RANDOM]), ())
            found.append(Case(setting, start, mine, long or mine.get(PLANS[RANDOM], ())))
    return found


def setting_of(run: Run) -> Setting:
    """The setting that a run belongs to."""
    shared = {name: getattr(run, name) for name in Setting.__dataclass_fields__ if name != "digest"}
    return Setting(digest=run.data_digest, **shared)


def _twin(setting: Setting) -> Setting:
    """The setting of networks from scratch that stand against these: the paper trains them longer."""
    recipe = setting.recipe
    if (recipe.epochs, recipe.drops) == (PAPER_EPOCHS, PAPER_DROPS):
        recipe = replace(recipe, epochs=PAPER_EPOCHS_SCRATCH, drops=PAPER_DROPS_SCRATCH)
    return replace(setting, recipe=recipe)


def choose(candidates: Sequence[Case], needed: Sequence[str]) -> Case:
    """The case that a number is taken from which needs these arms."""

    def merit(case: Case) -> tuple[bool, bool, int, int, str]:
        there = [{(folder.run.fold, folder.run.seed) for folder in case.arm(name)} for name in needed if case.arm(name)]
        in_common = set.intersection(*there) if there else set()
        usual = case.setting.recipe.times == 1 and not case.setting.per_class  # no control, and no study of fewer labels
        return usual, case.weights.startswith("imagenet"), len(there), len(in_common), case.newest

    return max(candidates, key=merit)


def words(arm: str) -> str:
    """What an arm is called in a table."""
    kind, _, stage = arm.partition(":")
    return f"{WORDS[kind]} {stage}" if stage else kind


def departures(case: Case, claim: Claim) -> list[str]:
    """What sets a case apart from the setting of a claim; folds and seeds that are missing do not, they widen the interval."""
    setting, recipe = case.setting, case.setting.recipe
    scratch_only = case.weights == RANDOM
    epochs = PAPER_EPOCHS_SCRATCH if scratch_only else PAPER_EPOCHS
    drops = PAPER_DROPS_SCRATCH if scratch_only else PAPER_DROPS
    same = {
        f"data {setting.data}": setting.data in claim.data,
        f"backbone {setting.backbone}": setting.backbone in claim.backbones,
        f"weights {case.weights}": case.weights.startswith("imagenet") or scratch_only,
        f"{counted(recipe.epochs or 0, 'epoch')} instead of {epochs}": recipe.epochs in (None, epochs),
        f"trained until the loss is flat instead of {epochs} epochs": recipe.until == "epochs",
        f"trained {recipe.times:g} times as long": recipe.times == 1,
        "other drops of the rate": recipe.epochs != epochs or recipe.drops == drops,
        f"lr {recipe.lr:g} instead of {Recipe().lr:g}": recipe.lr == Recipe().lr,
        f"lr of the head {recipe.head_lr}": recipe.head_lr is None,
        f"weight decay {recipe.weight_decay:g}": recipe.weight_decay == Recipe().weight_decay,
        f"batch {recipe.batch}": recipe.batch == Recipe().batch,
        f"optimizer {recipe.optimizer}": recipe.optimizer == Recipe().optimizer,
        "standardised pictures": not recipe.standardise,
        "classes weighted in the loss": recipe.class_weights == "none",
        f"{setting.per_class} clips of each class to learn from": setting.per_class is None,
        f"protocol {setting.protocol}": setting.protocol == "paper",
        **{f"picture {name} {mine} instead of {usual}": mine == usual for name, mine, usual in _pictures(setting)},
        f"rate multiplied by {recipe.drop_factor:g} instead of {Recipe().drop_factor:g} at a drop": (
            recipe.drop_factor == Recipe().drop_factor
        ),
        "no augmentation": setting.augment.kind != "none",
        "stretches that keep their length": setting.augment.kind == "none" or setting.augment.length == "resize",
    }
    return [what for what, as_in_the_paper in same.items() if not as_in_the_paper]


def _pictures(setting: Setting) -> list[tuple[str, object, object]]:
    """Each option of the picture, and what it is in the paper; own data have no shape there that theirs could differ from."""
    usual = asdict(Picture()) | dict(zip(command.SHAPE, SHAPES.get(setting.data, ()), strict=False))
    return [(name, mine, usual[name]) for name, mine in asdict(setting.picture).items() if usual[name] is not None]


def study(case: Case, data: str | None = None, *, folds: Sequence[int] | None = None, seeds: int | None = None) -> Study:
    """The options that name a case: with them, its runs are found and further ones made. `data` is where the clips lie."""
    recipe, folders = case.setting.recipe, case.folders
    mine = [replace(f, run=replace(f.run, recipe=recipe)) for f in folders if f.run.weights == case.weights]
    return replace(
        command.study(mine),
        data=data or command.given(folders, "data_given") or case.setting.data,
        folds=tuple(folds or sorted({folder.run.fold for folder in folders})),
        seeds=seeds or 1 + max(folder.run.seed for folder in folders),
    )


def joined_folds(folds: Iterable[int]) -> str:
    """Folds in a cell."""
    return ",".join(map(str, sorted(set(folds))))


def _length(recipe: Recipe) -> str:
    """How long runs are trained, in a cell."""
    times = f", {recipe.times:g} times as long" if recipe.times != 1 else ""
    return f"{recipe.epochs or 'plateau'}{times}"


def differences(case: Case, used: Sequence[Case]) -> list[str]:
    """What sets a case apart from the one of these that is most like it."""

    def apart(other: Case) -> list[str]:
        mine, theirs = (replace(study(each), data=each.setting.data, folds=(), seeds=1) for each in (case, other))
        found = command.differences(mine, theirs)
        if mine.weights == theirs.weights and case.weights != other.weights:
            found.append(f"weights {case.weights} instead of {other.weights}")
        if mine.data == theirs.data and case.setting.digest != other.setting.digest:
            found.append(f"other clips called {mine.data}")
        return found

    return min(map(apart, used), key=len, default=[])


def table(candidates: Sequence[Case], chosen: Sequence[Case]) -> pd.DataFrame:
    """One row per case: what it is, how much of it there is, whether numbers are taken from it, and if not, what is other."""
    taken = {case.key for case in chosen}
    rows = []
    for case in candidates:
        runs = [folder.run for folder in case.folders]
        rows.append(
            {
                "study": case.key,
                "data": case.setting.data,
                "backbone": case.setting.backbone,
                "weights": study(case).weights,
                "protocol": case.setting.protocol,
                "epochs": _length(case.setting.recipe),
                "lr": case.setting.recipe.lr,
                "augment": case.setting.augment.kind,
                "precision": case.setting.precision,
                "folds": joined_folds(run.fold for run in runs),
                "seeds": len({run.seed for run in runs}),
                "arms": len({run.transfer for run in runs}),
                "runs": len(runs),
                "finished": case.newest,
                "used": case.key in taken,
                "differs_in": "" if case.key in taken else "; ".join(differences(case, chosen)),
                "not_as_in_the_paper": "; ".join(departures(case, CLAIMS[0])),
                "command": command.command("train", study(case)),
            }
        )
    return pd.DataFrame(rows)
