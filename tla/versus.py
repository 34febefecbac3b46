"""Two studies side by side: which predicts these sounds better, and which classes? Paired clip by clip, from finished runs.

    python -m tla.versus 3f9a 77b0                                      the runs of two keys, over their folds and seeds
    python -m tla.versus table1_quick my.yaml                           an experiment, and a file of options
    python -m tla.versus figures/STUDY figures/OTHER --rule best        the studies whose figures lie there

A study is named by an experiment, a file of options, its folder below --figures, or the beginning of a run's key: then it is
all finished runs that differ from that one in fold and seed alone. Both have to be on the same clips, and a clip counts where
both held it out in the same fold. Nothing is trained: how many runs of a study are missing is said (--dry-run: forecast).
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tla import cli, config, console
from tla.errors import UserError
from tla.options import Place, Study

if TYPE_CHECKING:
    from tla.launch.plan import PlanFor
    from tla.runs.folder import FinishedRun

NAME = "versus"
KEY = re.compile(r"[0-9a-f]{1,12}")


def main(
    studies: list[str],
    place: Place,
    *,
    data: str | None = None,
    rule: Literal["best", "last", "test"] | None = None,
) -> cli.Planned | None:
    """This command.

    Args:
        studies: The two that are compared: the first less the second.
        data: The clips of studies that are named by options, where they lie elsewhere than those say.
        rule: The epoch that is scored; by default the last one (nested protocol: the chosen one).
    """
    from tla import outputs
    from tla.differences import drawing

    if place.redraw:
        outputs.redraw(place, outputs.folders(Path(place.figures)), outputs.stems(f"{NAME}_", "_runs.csv"), drawing.draw)
        return None
    if len(studies) != 2:
        raise UserError(f"two studies are compared, and {len(studies)} given: `{console.command(NAME)} ONE OTHER`")
    from tla.differences.measuring import measure
    from tla.launch.plan import Plan
    from tla.runs import command

    if place.dry_run:
        return sum((_plan(name, place, data) or Plan() for name in studies), Plan())
    first, second = (_runs(name, place, data) for name in studies)
    made = measure(first, second, rule)
    folder = outputs.folder(command.study(first), place, first[0].run.data_digest)
    drawing.publish(made, folder, f"{NAME}_{first[0].key}_{second[0].key}" + (f"_{rule}" if rule else ""))
    return None


def _runs(name: str, place: Place, data: str | None) -> "list[FinishedRun]":
    """The finished runs of a study that is named."""
    from tla.runs.arms import find_arm

    plan = _plan(name, place, data)
    if plan is None and not KEY.fullmatch(name):
        raise UserError(f"{name} names no study: it is no experiment, file of options, folder of figures, or key of a run")
    if plan is None:
        return find_arm(name, place.runs)
    found = plan.finished()
    if not found:
        raise UserError(f"none of the {len(plan)} runs of {name} is finished in {place.runs}; train it, then repeat")
    if missing := plan.missing():
        console.say(f"{name}: {plan}; without those that are missing ({len(missing)})")
    return found


def _plan(name: str, place: Place, data: str | None) -> "PlanFor[list[FinishedRun]] | None":
    """The runs of a study that a file of options or a folder names; None for what may be a key."""
    study = _study(name, place)
    if study is None:
        return None
    from tla.launch.study import plan

    return plan(replace(study, data=data or study.data), place)


def _study(name: str, place: Place) -> Study | None:
    """The options in a file, or in the file of a folder of figures."""
    from tla.outputs import STUDY

    kept = [path / STUDY for path in (Path(name), Path(place.figures) / name) if (path / STUDY).is_file()]
    if not kept and not Path(name).is_file() and name not in config.experiments():
        return None
    return cli.parse(_with, ["--config", str(kept[0] if kept else name)])["study"]


def _with(study: Study) -> None:
    """A command that has the options of a study, to read these."""


if __name__ == "__main__":
    cli.run(main, positional="studies")
