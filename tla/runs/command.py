"""A finished run back as what a user asks for: the options of its study, and the command line with them.

A run's options are resolved: the picture has its width, the recipe its epochs. Here they become as short as they can be and
still give the run its key. Where the clips and the weights lay is no part of the key; `run.json` keeps it as a hint.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tla import console, entry, manifest
from tla.options import LEAKS, RANDOM, Picture, Place, Recipe, Study, Transfer
from tla.runs import schedule
from tla.runs.folder import WEIGHTS, FinishedRun
from tla.sound.layouts import SHAPES

SHAPE = ("rate", "seconds", "frames")  # of a picture: what a data set asks for
HINTS = ("data_given", "data_root", "weights_given", "on_bad_clip")  # what a run keeps of where its clips and weights lay
FILE = "FILE"  # in place of the name of a weights file, of which only the content is known


def given(runs: Sequence[FinishedRun], name: str) -> str | None:
    """One of the `HINTS`, from the newest of these runs that kept it."""
    newest_first = sorted(runs, key=lambda folder: folder.result.finished, reverse=True)
    return next((str(folder.made[name]) for folder in newest_first if folder.made.get(name) is not None), None)


def study(runs: Sequence[FinishedRun]) -> Study:
    """The options of runs that differ in fold, seed and transfer plan; the plan is left out."""
    run = runs[0].run
    return Study(
        data=given(runs, "data_given") or run.data,
        backbone=run.backbone,
        weights=_weights(runs),
        folds=tuple(sorted({folder.run.fold for folder in runs})),
        seeds=1 + max(folder.run.seed for folder in runs),
        per_class=run.per_class,
        protocol=run.protocol,
        precision=run.precision,
        allow_leaks=str(given(runs, LEAKS)).startswith(LEAKS.upper()),
        on_bad_clip="skip" if given(runs, "on_bad_clip") == "skip" else "stop",
        picture=open_picture(run.picture, run.data),
        augment=run.augment,
        recipe=open_recipe(run.recipe, scratch=run.weights == RANDOM, paper=schedule.of_paper(run.data, run.protocol)),
    )


def alone(folder: FinishedRun) -> Study:
    """The options of one run. Seeds are counted from 0, so they also make the runs of the smaller seeds."""
    plan = folder.run.transfer
    if plan.pretrained_upto == plan.kept_upto or folder.run.weights == RANDOM:
        plan = replace(plan, pretrained_upto=Transfer().pretrained_upto)
    return replace(study([folder]), transfer=plan)


def open_picture(picture: Picture, data: str) -> Picture:
    """The picture's options as a user would have given them: what a known data set asks for is left to it."""
    asked = SHAPES.get(data) == tuple(getattr(picture, name) for name in SHAPE)
    return replace(picture, rate=None, seconds=None, frames=None) if asked else picture


def open_recipe(recipe: Recipe, *, scratch: bool, paper: bool) -> Recipe:
    """The recipe likewise."""
    bare = replace(recipe, until=None, cap=None)
    for shorter in (replace(bare, epochs=None, drops=None), replace(bare, drops=None), bare):
        if schedule.resolve(shorter, scratch=scratch, paper=paper) == recipe:
            return shorter
    return recipe


def donor(folder: FinishedRun) -> str | None:
    """The key of the run beside a run whose trained weights it started from."""
    kind, _, content = folder.run.weights.partition(":")
    if kind != "file":
        return None
    beside = sorted(folder.path.parent.glob(f"*/{WEIGHTS}"))
    return next(
        (path.parent.name for path in beside if manifest.noted(path.parent).get(path.name, "").startswith(content)), None
    )


def _weights(runs: Sequence[FinishedRun]) -> str:
    """What `--weights` was; of a file that left no hint only the content is known, not where it lies."""
    kind = runs[0].run.weights.partition(":")[0]
    return kind if kind != "file" else donor(runs[0]) or given(runs, "weights_given") or FILE


def command(name: str, options: Study, more: str = "") -> str:
    """The command line that runs a study, in the folders of the running command; what is as by default is left out."""
    return console.command(name, " ".join(filter(None, [*_options(options), more])))


def again(folder: FinishedRun) -> str:
    """The command line that makes a run again, or finds it finished."""
    places = [] if str(folder.path.parent) == Place().runs else [f"--runs {shlex.quote(str(folder.path.parent))}"]
    root = given([folder], "data_root")
    if root and Path(root) != Place().data.absolute():
        places.append(f"--data-root {shlex.quote(root)}")
    return " ".join([entry.typed("train"), *_options(alone(folder)), *places])


def _options(options: Study) -> list[str]:
    """The options of a study that are not as by default, as on the command line."""
    parts = []
    for name, mine, _ in _differing("", options, Study()):
        option = f"--{name}".replace("_", "-")
        parts.append(option if mine is True else f"{option} {shlex.quote(_text(mine))}")
    return parts


def differences(options: Study, other: Study) -> list[str]:
    """What sets a study apart from another, in words."""
    words = []
    for name, mine, theirs in _differing("", options, other):
        has, had = ("" if value is None else f"{name} {_text(value)}" for value in (mine, theirs))
        words.append(f"{has} instead of {_text(theirs)}" if has and had else has or f"no {had}")
    return words


def _differing(prefix: str, value: object, other: object) -> Iterator[tuple[str, object, object]]:
    for name in vars(value):
        mine, theirs = getattr(value, name), getattr(other, name)
        if hasattr(mine, "__dataclass_fields__"):
            yield from _differing(f"{prefix}{name}.", mine, theirs)
        elif mine != theirs:
            yield f"{prefix}{name}", mine, theirs


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return console.plain(value)
