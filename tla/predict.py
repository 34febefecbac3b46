"""Classify sounds of any format and length with a trained run, or with the average of several.

    python -m tla.predict dog.wav                         with the best run of the newest study
    python -m tla.predict dog.wav --run packaged          with the network that comes with tla: ten classes of ESC-10
    python -m tla.predict dog.wav --run 3f9a
    python -m tla.predict recordings/ --run 3f9a,77b0 --top 5 --csv predicted.csv

Long files are cut into windows of the data set's clip length and the probabilities averaged. Where --runs holds no finished
run, the network that comes with tla classifies.
"""

import sys
from pathlib import Path

from tla import cli, console, entry
from tla.errors import UserError


def main(
    files: list[str],
    *,
    run: tuple[str, ...] = (),
    top: int = 3,
    csv: str | None = None,
    json: str | None = None,
    overwrite: bool = False,
    runs: str = "runs",
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """This command.

    Args:
        files: Sound files, or folders of them.
        run: The run that classifies, by the beginning of its key, or packaged; several, as in 3f9a,77b0, are averaged.
        top: How many classes to name.
        csv: Write every class's probability for every file to this file.
        json: The same as JSON.
        overwrite: Replace these files even if they are not such tables.
        runs: Folder for runs.
        device: cpu, cuda, cuda:1, mps; auto takes the first CUDA device, else the CPU.
        threads: CPU threads, some of them in processes that make pictures; by default all.
    """
    if not files:
        raise UserError(f"give sound files or folders of them, as in `{entry.typed('predict')} dog.wav`")
    if top < 1:
        raise UserError(f"--top is {top}; at least one class is named")
    if threads is not None and threads < 1:
        raise UserError(f"--threads is {threads}; at least 1 is needed")
    from tla.launch import find_run
    from tla.outputs import write_over
    from tla.runs import packaged
    from tla.runs.device import choose_device
    from tla.runs.infer import classify

    folders = [packaged.find(Path(runs), key) for key in run] or [find_run.newest_or_packaged(Path(runs))]
    predicted, wrong = classify([Path(name) for name in files], folders, choose_device(device), threads=threads)
    if predicted.empty:
        raise UserError("; ".join(f"{file}: {reason}" for file, reason in wrong.items()))
    best = predicted.set_index("file").apply(lambda row: row.nlargest(top).items(), axis=1)
    rows = [[file, *(f"{name} {100 * p:.1f} %" for name, p in items)] for file, items in best.items()]
    console.table(["file", *(f"{place}." for place in range(1, min(top, predicted.shape[1] - 1) + 1))], rows)
    if csv:
        write_over(Path(csv), predicted.to_csv(index=False), overwrite=overwrite)
    if json:
        write_over(Path(json), predicted.to_json(orient="records", indent=2), overwrite=overwrite)
    for file, reason in wrong.items():
        console.say(f"error: {file}: {reason}")
    if wrong:
        sys.exit(2)


if __name__ == "__main__":
    cli.run(main, positional="files")
