"""List the runs that exist and what they scored, or print one.

python -m tla.runs                                what there is; what all runs share stands above the table
python -m tla.runs --data esc10 --csv runs.csv    only these; every option and score as a table
python -m tla.runs --tensorboard board            these runs' curves, options and scores for TensorBoard
python -m tla.runs 3f9a                           one run, by the beginning of its key: its options, the command that makes
                                                  it again, its curves, its scores by class
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from tla import cli, console
from tla.errors import UserError

if TYPE_CHECKING:
    from tla.runs.folder import FinishedRun, RunFolder
    from tla.runs.run import Run


def main(
    keys: list[str],
    *,
    runs: str = "runs",
    data: str | None = None,
    backbone: str | None = None,
    csv: str | None = None,
    tensorboard: str | None = None,
    overwrite: bool = False,
) -> None:
    """This command.

    Args:
        keys: Runs to print, by the beginnings of their keys; without one, all are listed.
        runs: Folder for runs.
        data: Only runs on this data set.
        backbone: Only runs of this backbone.
        csv: Also write the table to this file.
        tensorboard: Also write the curves, options and scores of these runs as TensorBoard event files, a folder for each run
            below this one (needs the extra `tensorboard`).
        overwrite: Replace that file even if it is not such a table.
    """
    if not Path(runs).is_dir():
        make = console.command("train", console.FIRST)
        raise UserError(f"there is no folder {runs}; --runs is the folder of runs (`{make}` makes some)")
    if keys:
        show_each(keys, Path(runs), tensorboard)
        return
    finished, begun = read(Path(runs), data, backbone)
    if finished:
        from tla.outputs import write_over
        from tla.runs.tables import runs_table
        from tla.tables import show_runs

        table = runs_table(finished).sort_values(["data", "backbone", "weights", "start", "fold", "seed"])
        show_runs(table)
        if csv:
            write_over(Path(csv), table.to_csv(index=False), overwrite=overwrite)
        if tensorboard:
            write_events(finished, Path(tensorboard))
    show_unfinished(finished, begun)
    console.say(f"finished runs in {runs}: {len(finished)}")


def show_each(keys: list[str], runs: Path, tensorboard: str | None = None) -> None:
    """Print the runs of these keys, and write the event files that are asked for."""
    from tla.runs.details import show
    from tla.runs.folder import find

    found = [find(runs, key) for key in keys]
    for run in found:
        show(run)
    if tensorboard:
        write_events(found, Path(tensorboard))


def write_events(finished: "list[FinishedRun]", folder: Path) -> None:
    """Write the event files of these runs, and say how to look at them."""
    from tla.runs import events

    with console.progress("event files", len(finished), "runs") as bar:
        for run in finished:
            events.write(run, folder / events.called(run))
            bar.advance()
    console.say(
        f"{console.counted(len(finished), 'run')} in {folder}: `tensorboard --logdir {shlex.quote(str(folder))}` shows them"
    )


def read(runs: Path, data: str | None, backbone: str | None) -> "tuple[list[FinishedRun], list[tuple[RunFolder, Run]]]":
    """The runs that are finished, and those that are not; what is no run, or none any more, is named."""
    from tla.runs.folder import folders, load

    finished, begun = [], []
    for folder in folders(runs):
        try:
            run = folder.description().run
            if data not in (None, run.data) or backbone not in (None, run.backbone):
                continue
            if folder.finished:
                finished.append(load(folder.path))
            else:
                begun.append((folder, run))
        except UserError as error:
            console.say(f"passed over: {error}")
    return finished, begun


def show_unfinished(finished: "list[FinishedRun]", begun: "list[tuple[RunFolder, Run]]") -> None:
    """Name the runs that are still to be trained, or to be trained again."""
    from tla.tables import start

    for folder, run in begun:
        what = f"{run.data}, {run.backbone}, {start(run.weights, run.transfer)}, fold {run.fold}, seed {run.seed}"
        what += f", {run.per_class} per class" * (run.per_class is not None)
        done = folder.count_epochs()
        epochs = (
            f"{done} of {console.counted(run.recipe.epochs, 'epoch')}" if run.recipe.epochs else console.counted(done, "epoch")
        )
        console.say(f"{folder.key} is not finished: {epochs} so far ({what})")
    for lost in (folder for folder in finished if folder.lost_weights):
        again = f"the command that `{console.command('runs', lost.key)}` prints makes them again"
        console.say(f"{lost.key} has lost its weights ({lost.weights} is gone); {again}")


if __name__ == "__main__":
    cli.run(main, positional="keys")
