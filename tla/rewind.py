"""Which stage's change mattered, and do two trainings end in one basin? Finished networks, put together anew; no training.

    python -m tla.rewind --data my/sounds                      stages put back, and straight paths
    python -m tla.rewind --travel whole,block3                 also paths on which block3 alone travels
    python -m tla.rewind --pairs 0                             no paths

SVCCA says how much a stage changed, not whether that mattered. Here one stage of a trained network is put back to its start
(and: all stages up to it, all from it on), to fresh random values, or to the same stage of another seed's run, everything else
as trained: accuracy, loss, and the share of predictions that change, on the held-out clips. Paths are straight lines from a
run's start to its end, between two seeds, and between pretrained and from scratch; the barrier is how far the loss rises over
the line between its ends. All of it twice: with batch norm's statistics as stored, and re-estimated on clips of training.

Runs that exist are read, the others are trained. If `tla.svcca` has left its table, the figure sets its change beside this.
"""

from pathlib import Path

from tla import cli
from tla.launch import at_hand
from tla.options import Place, Study

NAME = "rewind"


@cli.takes_study_at_hand(at_hand.study)
def main(
    study: Study,
    place: Place,
    *,
    steps: int = 11,
    travel: tuple[str, ...] = ("whole",),
    pairs: int = 2,
    clips: int = 200,
) -> cli.Planned | None:
    """This command.

    Args:
        steps: Networks on a path, its ends among them.
        travel: What travels on a path, the other parts staying those of its end: whole, or stages, as in whole,block3.
        pairs: Paths of a kind on each fold; 0: none.
        clips: Of training, that batch norm's statistics are re-estimated on; 200 at most. With far fewer the network suffers.
    """
    from tla import outputs
    from tla.basin import drawing

    if place.redraw:
        outputs.redraw(place, outputs.folders(Path(place.figures), study), outputs.stems(NAME, "_stages.csv"), drawing.draw)
        return None
    from tla.basin.changes import find_svcca
    from tla.basin.measuring import check, measure, parts
    from tla.basin.planning import plan
    from tla.launch.study import train_missing
    from tla.runs.device import cpu_threads

    check(steps, pairs, clips)  # found out now, not after the training
    moving = parts(travel, study.transfer.kept_upto)
    needed = plan(study, place)
    if place.dry_run:
        return needed
    networks = train_missing(needed, place)
    folder = outputs.folder(study, place, needed.data_digest)
    svcca = find_svcca(folder, Path(place.figures), needed.finished())
    with cpu_threads(place.threads):
        made = measure(networks, steps=steps, travel=moving, pairs=pairs, clips=clips, svcca=svcca)
    drawing.publish(made, folder, NAME + _variant(steps, travel, pairs, clips))
    return None


def _variant(steps: int, travel: tuple[str, ...], pairs: int, clips: int) -> str:
    """What sets the name of the files apart from that of others of the same study."""
    from tla.outputs import number

    words = {"steps": (steps, 11), "pairs": (pairs, 2), "clips": (clips, 200)}
    named = [f"{word}{number(value)}" for word, (value, usual) in words.items() if value != usual]
    named += ["+".join(travel)] * (travel != ("whole",))
    return "".join(f"_{word}" for word in named)


if __name__ == "__main__":
    cli.run(main)
