"""The quick tour: every question of the paper on synthetic sounds, offline.

    python -m tla.demo

Runs the commands one after another as you would type them, on sounds that it makes and with EfficientNet-Lite0, whose ImageNet
weights come with a package. All of it lands in one folder. Stopped and started again, it goes on.
"""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tla import cli, console, entry, outputs
from tla.options import Study


class Step(NamedTuple):
    """A question, and the command that answers it."""

    question: str
    command: str
    options: str


STUDY = (
    "--data toy --backbone efficientnet_lite0 --folds 1 --picture.mels 64 --picture.frames 64 --augment.kind none "
    "--recipe.batch 16 --recipe.lr 1e-3 --recipe.standardise true"
)
STEPS = (
    Step("Does pretraining on photographs help?", "train", f"{STUDY} --compare random"),
    Step("Which stages need pretraining?", "fusion", f"{STUDY} --upto block2,block3"),
    Step("Which stages must be free to move?", "freeze", f"{STUDY} --upto block2,block3"),
    Step("Which stages are needed at all?", "cutoff", f"{STUDY} --keep block2,block3"),
    Step("How much did each stage change?", "svcca", STUDY),
    Step("Where does the network look?", "ig", f"{STUDY} --tolerance 0.05 --listen"),
    Step("Do two runs beat one?", "ensemble", f"{STUDY} --members 2"),
    Step("What of the paper's claims holds?", "report", "--clips 4"),
)


def main(*, folder: str = "demo", device: str = "auto") -> None:
    """This command.

    Args:
        folder: Where sounds, runs, tables and figures go.
        device: cpu, cuda, cuda:1; auto takes the first CUDA device, else the CPU.
    """
    for number, step in enumerate(STEPS, 1):
        options = [*shlex.split(step.options), *place(folder, device)]
        command = f"{entry.typed(step.command)} {shlex.join(options)}"
        print(f"\n=== {number} of {len(STEPS)}: {step.question}\n$ {command}\n", flush=True)
        status = subprocess.run([*entry.started(step.command), *options]).returncode
        if status:
            mine = {"--folder": (folder, "demo"), "--device": (device, "auto")}
            again = " ".join(f" {name} {shlex.quote(value)}" for name, (value, usual) in mine.items() if value != usual)
            console.say(f"this step stopped with status {status}; `{entry.typed('demo')}{again}` goes on from here")
            sys.exit(status)
    show_what_there_is(folder)


def place(folder: str, device: str) -> list[str]:
    """Options that keep everything in one folder."""
    return [*shlex.split(_folders(folder)), "--device", device]


def _folders(folder: str) -> str:
    return shlex.join(["--data-root", f"{folder}/data", "--runs", f"{folder}/runs", "--figures", f"{folder}/figures"])


def show_what_there_is(folder: str) -> None:
    """Print what to open, and commands that go on from there."""
    figures = Path(folder, "figures")
    print("\nThe sounds are synthetic: this shows how tla works, not what is true of sound. Open, in this order:")
    print(f"  {figures / REPORT}    all of it on one page, to read, to listen to and to send")
    print(f"  {figures / outputs.name(cli.parse(_with, shlex.split(STUDY))['study'])}/")
    for name, shows in FILES.items():
        print(f"    {name:<20}{shows}")
    clip = next(iter(sorted(Path(folder, "data", "toy").rglob("*.wav"))))
    print("\nTo go on, on the same study:")
    for command in (f"ig --clip {shlex.quote(str(clip))}", "svcca", "fusion --upto block3"):
        print(f"  {entry.typed(command)} {_folders(folder)}")
    print(f"\nAnd your own sounds: {entry.typed('train')} {NEXT}")


def _with(study: Study) -> None:
    """A command that has the options of a study, to read these."""


REPORT = "report/report.html"
FILES = {
    "fig2b_fusion.pdf": "accuracy against the last pretrained stage",
    "fig2a_svcca.pdf": "how much each stage changed",
    "fig3_ig.pdf": "where the network looks",
}
NEXT = "--data YOUR_FOLDER --backbone efficientnet_lite0 --recipe.lr 1e-3"


if __name__ == "__main__":
    cli.run(main)
