"""Classify sounds of any format and length with a trained run, or with the average of several.

    python -m tla.predict dog.wav                         with the best run of the newest study
    python -m tla.predict dog.wav --run packaged          with the network that comes with tla: ten classes of ESC-10
    python -m tla.predict dog.wav --run 3f9a
    python -m tla.predict recordings/ --run 3f9a,77b0 --top 5 --csv predicted.csv
    python -m tla.predict --export net.onnx --run 3f9a    the network as ONNX, for programs without torch

Long files are cut into windows of the data set's clip length and the probabilities averaged. Where --runs holds no finished
run, the network that comes with tla classifies.
"""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tla import cli, console, entry
from tla.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from tla.runs.onnx_export import Exported

CHECKED = 8  # files that a network as ONNX is held against torch on, at most


def main(
    files: list[str],
    *,
    run: tuple[str, ...] = (),
    top: int = 3,
    csv: str | None = None,
    json: str | None = None,
    export: str | None = None,
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
        export: Write the network to this file as ONNX, its standardisation included, checked against torch on the first of
            the sounds, or on synthetic ones (needs the extra `onnx`).
        overwrite: Replace these files even if they are not such tables, and that of --export.
        runs: Folder for runs.
        device: cpu, cuda, cuda:1; auto takes the first CUDA device, else the CPU.
        threads: CPU threads, some of them in processes that make pictures; by default all.
    """
    if not files and (csv or json or not export):
        raise UserError(f"give sound files or folders of them, as in `{entry.typed('predict')} dog.wav`")
    if top < 1:
        raise UserError(f"--top is {top}; at least one class is named")
    if threads is not None and threads < 1:
        raise UserError(f"--threads is {threads}; at least 1 is needed")
    if export and len(run) > 1:
        raise UserError(f"--export writes one network, and --run names {len(run)}; give one")
    from tla.launch import find_run
    from tla.runs import packaged
    from tla.runs.device import choose_device
    from tla.runs.infer import classify, load

    folders = [packaged.find(Path(runs), key) for key in run] or [find_run.newest_or_packaged(Path(runs))]
    chosen = choose_device(device)
    wrong: dict[Path, str] = {}
    heard: list[str] = []
    if files:
        predicted, wrong = classify([Path(name) for name in files], folders, chosen, threads=threads)
        _report(predicted, wrong, top, csv, json, overwrite)
        heard = predicted["file"].tolist()
    if export:
        _describe(load(folders[0], chosen).export(export, files=heard[:CHECKED], overwrite=overwrite))
    for file, reason in wrong.items():
        console.say(f"error: {file}: {reason}")
    if wrong:
        sys.exit(2)


def _report(
    predicted: "pd.DataFrame", wrong: dict[Path, str], top: int, csv: str | None, json: str | None, overwrite: bool
) -> None:
    """Print the likeliest classes of each file, and write those of all."""
    from tla.outputs import write_over

    if predicted.empty:
        raise UserError("; ".join(f"{file}: {reason}" for file, reason in wrong.items()))
    best = predicted.set_index("file").apply(lambda row: row.nlargest(top).items(), axis=1)
    rows = [[file, *(f"{name} {100 * p:.1f} %" for name, p in items)] for file, items in best.items()]
    console.table(["file", *(f"{place}." for place in range(1, min(top, predicted.shape[1] - 1) + 1))], rows)
    if csv:
        write_over(Path(csv), predicted.to_csv(index=False), overwrite=overwrite)
    if json:
        write_over(Path(json), predicted.to_json(orient="records", indent=2), overwrite=overwrite)


def _describe(made: "Exported") -> None:
    """Print what was exported."""
    run, size = made.run, made.path.stat().st_size / 1e6
    options = ", ".join(f"{name} {console.plain(value)}" for name, value in asdict(run.picture).items())
    within = "; standardised within" if run.recipe.standardise else ""
    rows = [
        ("file", f"{made.path}, {size:.1f} MB, ONNX opset {made.opset}"),
        ("network", f"{run.backbone} of run {run.key}, kept up to {run.transfer.kept_upto}"),
        (
            "input",
            f"pictures: float32 (batch, 3, {run.picture.mels}, {run.picture.frames}), as tla.sound.picture makes them{within}",
        ),
        ("", options),
        ("output", f"logits: float32 (batch, {len(made.classes)}): {', '.join(made.classes)}"),
        ("arithmetic", "float32" if run.precision == "fp32" else f"float32; the run was trained in {run.precision}"),
        ("checked", f"{made.pictures} pictures: at most {made.difference:.1g} from torch's logits"),
    ]
    console.table(["", ""], rows)


if __name__ == "__main__":
    cli.run(main, positional="files")
