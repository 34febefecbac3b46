"""List the runs that exist and what they scored.

python -m tla.runs
python -m tla.runs --data esc10 --csv runs.csv
python -m tla.runs --show 3f9a
"""

from pathlib import Path

from tla import cli, console
from tla.errors import UserError


def main(
    *, runs: str = "runs", data: str | None = None, backbone: str | None = None, csv: str | None = None, show: str | None = None
) -> None:
    """This command.

    Args:
        runs: Folder for runs.
        data: Only runs on this data set.
        backbone: Only runs of this backbone.
        csv: Also write the table to this file.
        show: Print everything about one run, named by the beginning of its key.
    """
    from tla.runs.folder import FinishedRun, RunFolder, find, folders, load
    from tla.runs.run import Run

    if not Path(runs).is_dir():
        raise UserError(f"there is no folder {runs}; --runs is the folder of runs (`python -m tla.train` makes some)")
    if show:
        path = find(Path(runs), show).path
        print((path / "run.json").read_text() + (path / "result.json").read_text(), end="")
        return
    begun: list[tuple[RunFolder, Run]] = []
    finished: list[FinishedRun] = []
    for folder in folders(Path(runs)):
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
    if finished:
        from tla.files import write_text
        from tla.runs.tables import runs_table
        from tla.tables import show_runs

        table = runs_table(finished).sort_values(["data", "backbone", "weights", "fold", "seed"])
        show_runs(table)
        if csv:
            write_text(Path(csv), table.to_csv(index=False))
    for folder, run in begun:
        of = f" of {run.recipe.epochs}" if run.recipe.epochs else ""
        console.say(f"{folder.key} is not finished: {folder.count_epochs()}{of} epochs so far")
    console.say(f"finished runs in {runs}: {len(finished)}")


if __name__ == "__main__":
    cli.run(main)
