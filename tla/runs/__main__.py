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
    from tla.runs.folder import find, folders

    if not Path(runs).is_dir():
        raise UserError(f"there is no folder {runs}; --runs says where runs are kept (`python -m tla.train` makes some)")
    if show:
        folder = find(Path(runs), show)
        print((folder.path / "run.json").read_text() + (folder.path / "result.json").read_text(), end="")
        return
    found = [f for f in folders(Path(runs)) if data in (None, f.run.data) and backbone in (None, f.run.backbone)]
    finished = [folder for folder in found if folder.finished]
    if finished:
        from tla.draw.tables import show_runs
        from tla.files import write_text
        from tla.measures.tables import runs_table

        table = runs_table(finished).sort_values(["data", "backbone", "weights", "fold", "seed"])
        show_runs(table)
        if csv:
            write_text(Path(csv), table.to_csv(index=False))
    for folder in found:
        if not folder.finished:
            console.say(f"{folder.key} is not finished: {len(folder.log)} of {folder.run.recipe.epochs} epochs")
    console.say(f"{len(finished)} finished runs in {runs}")


if __name__ == "__main__":
    cli.run(main)
