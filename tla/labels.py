"""How many labels does pretraining save? Accuracy against labelled clips of each class, pretrained and from scratch.

    python -m tla.labels --data my/sounds                       1, 2, 5, 10, 20 clips of each class, and all
    python -m tla.labels --data my/sounds --clips 1,5,all --seeds 3
    python -m tla.train --data my/sounds --per-class 5          one such run

Each seed draws other clips: recordings in a random order, until there are enough clips of a class, so that 5 clips hold the 2;
both starts learn from the same. Held-out folds stay whole. An epoch has as many pictures as one over all clips, so that epochs
and steps mean the same however few clips there are; with --recipe.short-epochs it is one pass. It ends with what is quoted: how
many clips from scratch do as well as a few with pretraining. docs/questions/labels.md explains.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from tla import cli
from tla.launch import at_hand
from tla.options import Place, Study

NAME = "labels"


def _at_hand(arguments: Mapping[str, Any]) -> tuple[Study, str] | None:
    """The study at hand on all of its clips, also where its runs learned from a few."""
    found = at_hand.study(arguments)
    return found and (replace(found[0], per_class=None), found[1])


@cli.takes_study_at_hand(_at_hand)
def main(
    study: Study, place: Place, *, clips: tuple[str, ...] = (), rule: Literal["best", "last", "test"] | None = None
) -> cli.Planned | None:
    """This command.

    Args:
        clips: How many of each class, as in 1,5,all; by default 1, 2, 5, 10, 20 and all, as far as there are so many.
        rule: The epoch that is scored; by default the last one (nested protocol: the chosen one).
    """
    from tla import outputs
    from tla.few_labels import drawing

    if place.redraw:
        outputs.redraw(place, outputs.folders(Path(place.figures), study), outputs.stems(NAME, "_worth.csv"), drawing.draw)
        return None
    from tla.few_labels.measuring import measure
    from tla.few_labels.planning import plan
    from tla.launch.study import train_missing
    from tla.runs.scores import scored

    chosen = scored(study, rule)
    needed = plan(study, place, clips)
    if place.dry_run:
        return needed
    labels = measure(train_missing(needed, place), chosen)
    variant = f"_{chosen}" * (chosen != scored(study, None))
    drawing.publish(labels, outputs.folder(study, place, needed.data_digest), NAME + variant)
    return None


if __name__ == "__main__":
    cli.run(main)
