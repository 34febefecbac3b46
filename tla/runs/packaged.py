"""The network that comes with tla: it classifies sounds, and is looked into, before any other is trained.

It was trained on all clips of its data set, so none is held out. Its predictions and its score are those of the runs of the
same recipe, one per fold, for the clips that each of them held out (scripts/packaged_network.py).
"""

from pathlib import Path

from tla import entry
from tla.console import say
from tla.errors import UserError
from tla.runs import folder
from tla.runs.folder import FinishedRun

NAME = "packaged"  # what --run takes for it; a key has digits from 0 to f, and cannot be this word
FOLDER = Path(__file__).resolve().parent.parent / NAME
OWN = "--data toy --folds 1 --backbone efficientnet_lite0 --recipe.lr 1e-3"


def own() -> str:
    """The command that trains another one."""
    return f"{entry.typed('train')} {OWN}"


def load() -> FinishedRun:
    """The network that comes with tla."""
    for run in folder.folders(FOLDER):
        return folder.load(run.path)
    raise UserError(f"{FOLDER} holds no network: this tla was installed without it; train one with `{own()}`")


def find(runs: Path, key: str) -> FinishedRun:
    """The finished run whose key begins with `key`, or the network that comes with tla."""
    if key != NAME:
        return folder.find(runs, key)
    introduce(run := load())
    return run


def introduce(run: FinishedRun) -> None:
    """Print what the network is, how good it is, and how to get another one."""
    about, percent = run.run, 100 * run.result.scores["last"].accuracy
    say(
        f"with the network that comes with tla (--run {NAME}): {about.backbone} cut behind {about.transfer.kept_upto}, trained "
        f"on {about.data}\n"
        f"its {len(run.classes)} classes: {', '.join(run.classes)}\n"
        f"runs of the same recipe predicted {percent:.1f} % of {run.result.clips} held-out clips rightly\n"
        f"one of your own: {own()}\n"
        "(in place of toy, which is synthetic, the folder of your sounds, a sub-folder for each class), then the same again"
    )


def is_packaged(run: FinishedRun) -> bool:
    """Whether a run is the network that comes with tla."""
    return run.path.parent == FOLDER
