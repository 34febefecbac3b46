"""What each start predicts of each class, drawn from its tables alone."""

from pathlib import Path

from matplotlib.figure import Figure

from tla import console, plots
from tla import tables as words
from tla.runs import classes_figure
from tla.starts.measuring import Starts, read

SUFFIX = "_confusion"  # ends the name of the figure


def publish(starts: Starts, folder: Path, name: str) -> None:
    """Write the tables, draw the figure, and print the runs, the numbers made of them, and the classes missed most."""
    paths = starts.write(folder, name) + draw(folder, name + SUFFIX)
    words.show_study(starts.runs, starts.summary)
    if (known := words.lines(folder)) is not None:
        print(words.read_out(known))
    print(f"\n{classes_figure.hardest(starts.by_class)}")
    console.written(paths)


def draw(folder: Path, name: str) -> list[Path]:
    """Draw the figure from the tables that lie in a folder."""
    return plots.save(figure(read(folder, name.removesuffix(SUFFIX))), folder / name)


def figure(starts: Starts, axes: plots.Given = None) -> Figure:
    """For each start two panels, a row per class: what its clips were taken for, and its accuracy with the interval."""
    return classes_figure.figure(starts.by_class, axes)
