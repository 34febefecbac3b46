"""What does each stage already know of these sounds, before any training? Labels read out of its output.

    python -m tla.probe --data my/sounds                                       the study's network, a random one, the picture
    python -m tla.probe --data my/sounds --backbone resnet50,densenet201       which backbone, and up to where?
    python -m tla.probe --run 3f9a                                             a run, before and after its training
    python -m tla.probe --tuned                                                the study's own runs, after training
    python -m tla.probe --check                                                is what it suggests any good?

No network is trained: each stage's output, averaged over positions, is computed once per clip and kept. Out of that the classes
are read by ridge regression and by nearest neighbours, on the study's folds and never across a recording, and three scores
are taken that hold no clips out (LogME, shrunk H-score, neighbours of other recordings). Floors: the same with permuted labels,
a random network (as many as --seeds), and the picture alone (mean and spread of each mel band over time). At the end stands
what is suggested for this data: backbone, where to cut, up to where to freeze, and how sure that is. Networks
compute in float32.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tla import cli
from tla.errors import UserError
from tla.launch import at_hand
from tla.options import Place, Study

NAME = "probe"


def _at_hand(arguments: Mapping[str, Any]) -> tuple[Study, str] | None:
    return at_hand.study({**arguments, "run": next(iter(arguments["run"]), None)})


@cli.takes_study_at_hand(_at_hand)
def main(
    study: Study, place: Place, *, run: tuple[str, ...] = (), tuned: bool = False, check: bool = False
) -> cli.Planned | None:
    """This command.

    Args:
        run: Finished runs, by the beginnings of their keys: also their stages, before and after training, on the held-out fold.
        tuned: Also the stages of the study's own runs after training; those that are missing are trained.
        check: Hold what readouts suggest against the finished cutoff, freezing and fusion runs in --runs.
    """
    from tla import outputs
    from tla.readout import drawing

    if place.redraw:
        outputs.redraw(place, outputs.folders(Path(place.figures), study), outputs.stems(NAME, "_ranking.csv"), drawing.draw)
        return None
    from tla.launch.study import train_missing
    from tla.readout import checking, networks
    from tla.readout.measuring import measure
    from tla.readout.planning import plan
    from tla.runs.device import cpu_threads

    if check:
        if run or tuned or place.dry_run:
            raise UserError("--check reads the finished runs in --runs and trains none: leave --run, --tuned and --dry-run out")
        with cpu_threads(place.threads):
            rows = checking.observed(study, place)
        checking.publish(rows, outputs.folder(study, place), f"{NAME}_check")
        return None
    needed = plan(study, place, run=run, tuned=tuned)
    if place.dry_run:
        return needed
    asked = train_missing(needed, place)
    with cpu_threads(place.threads):
        readout = measure(asked)
    beside = {one.backbone: outputs.folder(one, place, asked.digest) for one in networks.backbones(study)}
    variant = "_tuned" * tuned + "".join(f"_{key}" for key in run)
    drawing.publish(readout, outputs.folder(study, place, asked.digest), NAME + variant, beside)
    return None


if __name__ == "__main__":
    cli.run(main)
