"""README and the pages of docs/: Python blocks are run, commands are understood, and those of the tutorial are run.

docs/extending.md changes the package, and has a test of its own.
"""

import importlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from safetensors.torch import save_file

from tla import cli
from tla.errors import UserError
from tla.nets import transfer
from tla.options import RANDOM, Place, Study, Transfer
from tla.sound import toy

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES.remove(ROOT / "docs" / "extending.md")
POSITIONAL = {
    "predict": "files",
    "data": "names",
    "bench": "names",
    "runs": "keys",
    "reproduce": "options",
    "versus": "studies",
}
TINY = "--backbone densenet_tiny --precision fp32 --picture.mels 32 --picture.frames 40 --recipe.until epochs --recipe.epochs 1"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def lines(page: Path) -> list[str]:
    """The lines of a page's shell blocks."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [line for kind, text in found if kind == "sh" for line in text.splitlines()]


def commands(page: Path) -> list[str]:
    """The commands of tla in a page: in its shell blocks, and in backticks."""
    quoted = re.findall(r"`([^`\n]+)`", BLOCK.sub("", page.read_text(encoding="utf-8")))
    return [line for line in [*lines(page), *quoted] if re.match(r"(python -m tla\.|tla )\w", line)]


def parsed(line: str) -> tuple[Callable[..., object], list[str], str | None]:
    """The function behind a command, and its words; `UserError` where its parser does not take them."""
    command, *words = shlex.split(re.sub(r"^(python -m tla\.|tla )", "", line), comments=True)
    module = importlib.import_module(f"tla.{command}")
    main = getattr(module, "main", None) or importlib.import_module(f"tla.{command}.__main__").main
    words = [word for word in words if word != "..."]
    cli.parse(main, words, POSITIONAL.get(command))
    return main, words, POSITIONAL.get(command)


@pytest.mark.parametrize("line", dict.fromkeys(line for page in PAGES for line in commands(page)))
def test_commands_are_understood(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small.yaml").write_text("seeds: 2\n")
    monkeypatch.chdir(tmp_path)
    assert parsed(line)


def test_a_command_with_an_option_that_there_is_not_is_noticed() -> None:
    with pytest.raises(UserError, match="--hold-out"):
        parsed("tla train --data my/sounds --hold-out 3      # which does not exist")


def blocks(page: Path) -> list[str]:
    """The Python blocks of a page, each on the lines on which it stands there."""
    text = page.read_text(encoding="utf-8")
    found = [(block.start(2), block[2]) for block in BLOCK.finditer(text) if block[1] == "python"]
    return [text[:start].count("\n") * "\n" + source for start, source in found]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_python_blocks_run_and_print_what_they_say(
    page: Path,
    from_donor: Study,
    place: Place,
    few_sounds: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    desk = Path(place.runs).parent  # where the author of the page sits
    shutil.copytree(few_sounds / "audio", desk / "my" / "sounds")
    shutil.copy(next(few_sounds.rglob("*.wav")), desk / "dog.wav")
    weights_of_densenet201(desk / "runs" / "KEY")
    monkeypatch.chdir(desk)
    names: dict[str, object] = {}
    for block in blocks(page):
        capsys.readouterr()
        exec(compile(block, page, "exec"), names)
        assert capsys.readouterr().out.splitlines() == re.findall("^#> (.*)$", block, re.MULTILINE)


def weights_of_densenet201(folder: Path) -> None:
    """The weights that a run of DenseNet-201 on ten classes leaves."""
    plan, _ = transfer.canonical(Transfer(), RANDOM)
    folder.mkdir(parents=True)
    save_file(transfer.assemble("densenet201", 10, plan, None, seed=0).net.state_dict(), folder / "weights.safetensors")


def follow(page: Path, more: str) -> None:
    """Do what a page says in the current folder; studies get more options."""
    for name, text in re.findall(r"`(\w+\.yaml)`:\n\n```yaml\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        Path(name).write_text(text, encoding="utf-8")
    for line in lines(page):
        if line.startswith("tla "):
            main, words, positional = parsed(line)
            cli.run(main, [*words, *(shlex.split(more) if "--config" in words else [])], positional=positional)
        else:
            subprocess.run(["bash", "-c", line], check=True)


@pytest.mark.parametrize("size", ["tiny", pytest.param("as typed", marks=pytest.mark.slow)])
def test_the_tutorial_can_be_followed(
    size: str, from_donor: Study, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Path(place.runs).parent
    monkeypatch.chdir(desk)
    if size == "tiny":
        monkeypatch.setattr(toy, "make", partial(toy.make, clips_per_class=10))
    follow(ROOT / "docs" / "tutorial.md", f"{TINY} --weights {from_donor.weights}" if size == "tiny" else "")
    printed = capsys.readouterr()
    assert "sounds: usable, nothing found" in printed.out
    assert "8 runs: 2 finished, 0 to continue, 6 to train" in printed.err
    for figure in ("train_compared_confusion", "fig2c_freeze", "fig3_ig*"):
        assert list(desk.glob(f"figures/*/{figure}.pdf")), figure
