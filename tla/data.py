"""Fetch data sets, check that one is fit for use, make its pictures.

    python -m tla.data esc50                        download, verify and unpack into --data-root; goes on where it stopped
    python -m tla.data --check my/sounds            decode every clip, hold the list against the files; a table and a verdict
    python -m tla.data --folds mine.csv my/sounds   write down the folds that a folder or a CSV without folds is given
    python -m tla.data --prepare my/sounds          make the pictures now, on all cores; goes on where it stopped
    python -m tla.data --prepare esc50 --launch ray:auto          the same on the nodes of a Ray cluster

Other commands make the pictures that they lack themselves; for a large set it is better done before, once, with the --picture
and --augment options that will be used.

Names: esc50, esc10, urbansound8k, gtzan, gtzan-filtered, toy. Your own: a folder with one sub-folder per class, or a CSV with
the columns path,label and, if you have them, fold and source (clips of one source never share a training and a test set: a
study of a list where they would stops). There may be other columns, and semicolons or tabs in place of the commas.
"""

import sys
from pathlib import Path

from tla import cli, console
from tla.errors import UserError
from tla.options import Pictures, Place


def main(
    names: list[str],
    pictures: Pictures,
    *,
    check: str | None = None,
    folds: str | None = None,
    overwrite: bool = False,
    prepare: str | None = None,
    launch: str = "local",
    workers: int | None = None,
    data_root: str | None = None,
) -> None:
    """This command.

    Args:
        names: Data sets to download, or, with --folds, the folder or CSV to give folds.
        check: The name or path of a data set to check; exits with 1 if it cannot be used as it is.
        folds: Write the clips with their labels and folds to this CSV, which can be edited and used as --data; of a CSV all
            columns and the order of the rows are kept.
        overwrite: Let --folds replace a file, for instance the list itself.
        prepare: The name or path of a data set whose pictures are made.
        launch: Where --prepare makes them: local, ray, ray:auto or ray:ADDRESS (docs/clusters.md).
        workers: Processes of --prepare on this machine; by default one per core.
        data_root: Folder for data sets; by default $TLA_DATA, else ./data.
    """
    root = Place(data_root=data_root).data
    if folds:
        return write_folds(names, Path(folds), root, overwrite=overwrite)
    if not names and not check and not prepare:
        what = "the name of a data set to download it, --check PATH, or --prepare PATH"
        raise UserError(f"say what to do: {what} (--help tells more)")
    for name in names:
        from tla.sound.download import fetch

        print(f"{name}: {fetch(name, root)}")
    if check:
        show_check(check, root)
    if prepare:
        make_pictures(prepare, pictures, root, launch, workers)


def show_check(data: str, root: Path) -> None:
    """Check a data set, print what was found, and exit with its status."""
    from tla.sound.check import check
    from tla.sound.clips import find, load

    report = check(*find(data, root))
    console.table(["", ""], report.facts, title=report.name)
    if report.rows:
        print()
        console.table(["", "found", "how many", "such as"], report.rows)
    print(f"\n{report.verdict}")
    if report.ok:
        load(data, root)  # whether it can be divided into folds; `UserError` if not
    else:
        sys.exit(1)


def write_folds(names: list[str], path: Path, root: Path, *, overwrite: bool) -> None:
    """Write the folds of one data set as a CSV."""
    from tla.sound.clips import find, load
    from tla.sound.sets.own import write_list

    if len(names) != 1:
        raise UserError(f"--folds writes the folds of one data set; {len(names)} were named")
    data, _ = find(names[0], root)
    write_list(load(names[0], root).listing, path, data if data.is_file() else None, overwrite=overwrite)
    print(f"{path}: use it with --data {path}")


def make_pictures(data: str, pictures: Pictures, root: Path, launch: str, workers: int | None) -> None:
    """Make the pictures of a data set, and print where they are."""
    from tla.launch.study import check_launch
    from tla.sound.clips import load
    from tla.sound.spectrograms import resolve
    from tla.sound.store import open_store

    if workers is not None and workers < 1:
        raise UserError(f"--workers is {workers}; at least 1 is needed")
    pool = None
    if check_launch(Place(launch=launch)) == "ray":
        from tla.launch.ray_cluster import PictureMakers

        pool = PictureMakers(launch)
    dataset = load(data, root)
    picture = resolve(pictures.picture, rate=dataset.rate, seconds=dataset.seconds, frames=dataset.frames)
    place, bad = root / "pictures", pictures.on_bad_clip
    store = open_store(dataset, picture, pictures.augment, place, on_bad_clip=bad, workers=workers, pool=pool)
    for name, wrong in store.skipped.items():
        console.say(f"left out: {name} ({wrong})")
    size = sum(path.stat().st_size for path in store.files)
    each = console.counted(1 + store.variants, "picture")
    print(f"{store.folder}: {len(store.clean)} clips, {each} of each, {size / 1e6:.0f} MB")


if __name__ == "__main__":
    cli.run(main, positional="names")
