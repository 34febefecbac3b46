"""One finished run, printed: its options, the command that makes it again, its curves and its scores by class."""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from tla import console
from tla.console import counted
from tla.runs import command
from tla.runs.folder import FinishedRun
from tla.tables import start

EPOCHS = 12  # of a run's curves, in the terminal
BAR = 20  # characters that 100 % takes
MADE = ("tla", "commit", "python", "torch", "machine", "device", "threads")
CURVES = {"lr": "lr", "loss": "loss", "training_loss": "loss in inference", "heldout_loss": "held-out loss"}


def show(folder: FinishedRun) -> None:
    """Print a finished run."""
    run, result = folder.run, folder.result
    scores = "  ".join(f"{rule} {100 * score.accuracy:.1f} %" for rule, score in result.scores.items())
    plan = start(run.weights, run.transfer)
    print(f"run {folder.key}: {run.data}, {run.backbone}, {plan}, fold {run.fold} held out, seed {run.seed}")
    print(f"{scores}  ({counted(result.clips, 'clip')}; {counted(result.epochs, 'epoch')}, {result.training.state})")
    if folder.lost_weights:
        print(f"its weights are lost: {folder.weights} is gone")
    print()
    console.table(["", ""], _options(folder))
    print(f"\nto make it again:\n  {command.again(folder)}")
    if run.seed:
        print(f"  (seeds are counted from 0, so this makes those below {run.seed} too)")
    if not folder.made.get("data_given"):
        print(f"  (where the clips lay was not kept: give --data PATH if {run.data} is not below --data-root)")
    print()
    show_curves(folder)
    print()
    show_classes(folder)


def _options(folder: FinishedRun) -> list[tuple[str, str]]:
    """The options by group, and how the run was made."""
    run = folder.run
    rows = [("weights", run.weights), ("protocol", run.protocol), ("precision", run.precision)]
    rows += [("per_class", str(run.per_class))] * (run.per_class is not None)
    if folder.result.padded_to:
        rows.append(("padded to", "{} x {} (mels x frames), with silence".format(*folder.result.padded_to)))
    for name in ("picture", "augment", "transfer", "recipe"):
        rows.append((name, _listed(asdict(getattr(run, name)))))
    made = {name: folder.made[name] for name in MADE if name in folder.made}
    return [*rows, ("made by", _listed(made)), ("finished", folder.result.finished)]


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {_cell(value)}" for name, value in values.items() if value is not None)


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def show_curves(folder: FinishedRun) -> None:
    """Some epochs, evenly spread: rate, losses, and the accuracy on held-out clips (nested: on those that chose)."""
    log = folder.log
    rows = sorted({*np.linspace(0, len(log) - 1, min(EPOCHS, len(log))).round().astype(int).tolist()})
    names = [name for name in CURVES if name in log[0]]
    cells = []
    for row in (log[index] for index in rows):
        bar = "#" * round(BAR * row["accuracy"])
        cells.append([row["epoch"], *(_cell(float(row[name])) for name in names), f"{100 * row['accuracy']:.1f}", bar])
    console.table(["epoch", *(CURVES[name] for name in names), "accuracy %", ""], cells)


def show_classes(folder: FinishedRun) -> None:
    """Each class under each selection rule, the hardest first, and what it was most often taken for."""
    outputs, rules = folder.predictions, list(folder.predictions.logits)
    predicted = {rule: logits.argmax(axis=1) for rule, logits in outputs.logits.items()}
    rows = []
    for label in np.unique(outputs.labels):
        mine = outputs.labels == label
        right = [100 * float((predicted[rule][mine] == label).mean()) for rule in rules]
        wrong = np.bincount(predicted[rules[-1]][mine & (predicted[rules[-1]] != label)], minlength=len(folder.classes))
        taken = f"{folder.classes[int(wrong.argmax())]} ({wrong.max()})" if wrong.any() else ""
        rows.append((right[-1], [folder.classes[label], int(mine.sum()), *(f"{share:.1f}" for share in right), taken]))
    cells = [cells for _, cells in sorted(rows, key=lambda row: row[0])]
    console.table(["class", "clips", *(f"{rule} %" for rule in rules), f"most often taken for ({rules[-1]})"], cells)
