"""A disk that is full or read-only: one line says so, what was there is not harmed, and with room the same command goes on."""

import shutil
from pathlib import Path

import pytest
from commands import AS_ANYBODY, FREEZE, Home, Survived, Undisturbed, one_line
from warm import trap

pytestmark = pytest.mark.xdist_group("warm")

# The files that the command writes, in order, as they are called while they are written.
PICTURES = (".clean.npy.part", ".variant-resize-0000.npy.part", ".journal.jsonl", ".clips.jsonl", ".store.json", ".SHA256SUMS")
OTHERS = (".0.npy", ".1.npy", ".run.json", ".checkpoint.safetensors", ".log.jsonl", ".predictions.npz", ".weights.safetensors")
OTHERS += (".result.json", ".SHA256SUMS", ".fig2c_freeze.csv", ".fig2c_freeze_epochs.csv", ".fig2c_freeze.pdf")
OTHERS += (".fig2c_freeze.png", ".fig2c_freeze.svg")


def full_before(home: Home, name: str, *, leave: int = 0, command: tuple[str, ...] = FREEZE) -> str:
    """The line that a command ends with if the disk is full when it has begun to write a file."""
    ballast = home.root / "ballast"
    ended = home.run(*command, trap=trap(home.folders, of=name, at=2, ballast=ballast, leave=leave))
    home.warm.seen(ballast).unlink()
    return one_line(ended)


def in_turn(home: Home, names: tuple[str, ...], leave: int = 0) -> None:
    for place, name in enumerate(names):
        pictures = name in PICTURES and name not in names[:place]  # SHA256SUMS is in the runs' folders too
        line = full_before(home, name, leave=leave)
        assert "No space left on device" in line
        assert ("--data-root" if pictures else "free some space or choose another folder") in line
        assert (str(home.data / "pictures") if pictures else name.lstrip(".")) in line


def test_full_when_a_file_is_written(small: Home, undisturbed: Undisturbed, survived: Survived) -> None:
    in_turn(small, (".journal.jsonl", ".0.npy", ".checkpoint.safetensors", ".weights.safetensors", ".fig2c_freeze.pdf"))
    assert small.run(*FREEZE).status == 0
    assert small.files() == undisturbed(*FREEZE)
    full_before(small, ".fig2c_freeze.png")
    assert small.files() == undisturbed(*FREEZE), "what was there before is not harmed"
    survived("full disks", 6)


@pytest.mark.faults
@pytest.mark.parametrize("leave", [0, 4096, 8192])
def test_full_when_any_file_is_written(small: Home, undisturbed: Undisturbed, survived: Survived, leave: int) -> None:
    large = (".0.npy", ".1.npy", ".checkpoint.safetensors", ".weights.safetensors", ".fig2c_freeze.pdf", ".fig2c_freeze.png")
    in_turn(small, large if leave else PICTURES + OTHERS, leave)
    assert small.run(*FREEZE).status == 0
    assert small.files() == undisturbed(*FREEZE)
    figures = [name for name in OTHERS if "fig2c" in name]
    for name in figures:
        full_before(small, name)
        assert small.files() == undisturbed(*FREEZE), "what was there before is not harmed"
    survived("full disks", len(large if leave else PICTURES + OTHERS) + len(figures))


def test_no_room_for_the_toy_set(small: Home) -> None:
    said = full_before(small, ".toy-", command=("tla.train", "--data", "toy"))
    assert "the toy set cannot be made there (No space left on device); give another --data-root" in said
    assert [path.name for path in small.warm.seen(small.data).iterdir()] == [".toy.lock"]


# Read-only


def protect(home: Home, folder: Path, kind: str) -> dict[str, str]:
    """Have a folder on a read-only medium, or one that this user may not write; what the command is to be started with."""
    if kind == "medium":
        if not home.warm.mounts:
            pytest.skip("needs leave to mount: root, or unshare -rm")
        home.warm.shell(f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}")
        return {}
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return {"before": AS_ANYBODY}


kinds = pytest.mark.parametrize("kind", [pytest.param("medium", marks=pytest.mark.faults), "permissions"])


@kinds
@pytest.mark.parametrize("name", ["data", "runs", "figures"])
def test_a_folder_that_cannot_be_written_is_named_at_once(home: Home, name: str, kind: str) -> None:
    folder = home.root / name
    folder.mkdir()
    line = one_line(home.run(*FREEZE, **protect(home, folder, kind)))
    assert str(folder) in line
    assert {"data": "--data-root", "runs": "another", "figures": "--figures"}[name] in line
    assert not home.logs(), "nothing was trained in vain"


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["medium", "permissions"])
def test_where_reading_will_do_nothing_is_written(
    home: Home, undisturbed: Undisturbed, sounds: Path, tmp_path: Path, kind: str
) -> None:
    undisturbed(*FREEZE)
    for name in ("data", "runs"):
        shutil.copytree(undisturbed.home.root / "0" / name, home.root / name)
        more = protect(home, home.root / name, kind)
    own = shutil.copytree(sounds, tmp_path / "own")
    protect(home, own, kind)
    before = home.files()
    (key,) = home.logs()
    again = home.run(*FREEZE, "--data", str(own), **more)
    assert again.status == 0, again.said
    assert "0 to train" in again.said
    after = home.files()
    assert {name: after[name] for name in before} == before
    elsewhere = home.run(*FREEZE, "--runs", str(tmp_path / "elsewhere"), "--recipe.epochs", "1", **more)
    assert elsewhere.status == 0, elsewhere.said
    clip = next(own.rglob("*.wav"))
    runs = ["--runs", str(home.runs)]
    for module, words in {
        "tla.runs": runs,
        "tla.predict": [str(clip), "--run", key, "--device", "cpu", *runs],
        "tla.report": ["--clips", "0", "--figures", str(home.figures), *runs],
    }.items():
        ended = home.warm.run(module, words, **more)
        assert ended.status == 0, ended.said
