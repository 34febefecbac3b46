"""The first thing to run: do photographs help to hear? EfficientNet-Lite0 on synthetic sounds, offline, in minutes.

    python -m tla.demo

Trains from ImageNet weights and from random ones with the same budget, and says what it found. Stopped and started again,
it goes on.
"""

from dataclasses import replace
from pathlib import Path

from tla import cli
from tla.options import Augment, Place, Recipe, Study

STUDY = Study(
    data="toy",
    backbone="efficientnet_lite0",
    folds=(1,),
    augment=Augment(kind="none"),
    recipe=Recipe(epochs=5, lr=1e-3, standardise=True),
)


def main(place: Place, *, seeds: int = 1) -> None:
    """This command.

    Args:
        seeds: Runs from each start.
    """
    from tla.draw import tables as draw
    from tla.measures import tables
    from tla.runs.launch import by_start

    arms = by_start(replace(STUDY, seeds=seeds), place, compare=True)
    runs = tables.runs_table(folder for folders in arms.values() for folder in folders)
    summary = tables.summary(arms)
    path = Path(place.figures) / draw.file_name("demo", runs)
    draw.study(runs, summary, path)
    print(f"\n{draw.finding(summary, rule='last')}")
    print(f"The sounds are synthetic: this shows how tla works, not what is true of sound.\nNext: {NEXT}")


NEXT = "python -m tla.train --data YOUR_FOLDER --backbone efficientnet_lite0 --recipe.epochs 12 --recipe.lr 1e-3"


if __name__ == "__main__":
    cli.run(main)
