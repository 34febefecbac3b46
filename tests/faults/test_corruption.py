"""Files damaged at random: whatever tla wrote, and reads back, gives the very same numbers, or is named and refused."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from tla import manifest
from tla.attribution import make_page_clips, page_clips
from tla.errors import Damaged, UserError
from tla.launch.study import ensure, list_runs, prepare
from tla.nets import transfer, weights
from tla.options import Augment, Picture, Place, Recipe, Study, Transfer
from tla.paper import evidence_from_tables, page_contents
from tla.runs import fit, infer, prefix
from tla.runs.feed import Feed
from tla.runs.folder import FinishedRun, RunFolder, load
from tla.runs.run import Run
from tla.sound import build, digests
from tla.sound.clips import Clip, Dataset
from tla.sound.spectrograms import resolve
from tla.sound.store import Store, open_store
from tla.stages.sweep import sweep

RATE = 8000
OPTIONS = resolve(Picture(mels=16), rate=RATE, seconds=0.5, frames=20)
BANK = Augment(kind="bank:1")
SAME, NAMED, TOLD_APART = "the same numbers", "named and refused", "told apart"
EACH, LONG = 14, 125  # corruptions of each kind of file

Read = Callable[[], Any]
Ways = tuple[Callable[[bytes, np.random.Generator], bytes], ...]


@dataclass(frozen=True)
class Kind:
    """A kind of file: those that are damaged, all that may be changed by reading them, and what is read of them."""

    files: tuple[Path, ...]
    around: Path
    read: Read
    ways: Ways = ()
    """How they are damaged; by default in all the ways."""


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    at, bit = rng.integers(len(content)), 1 << rng.integers(8)
    return content[:at] + bytes([content[at] ^ int(bit)]) + content[at + 1 :]


def zeroed(content: bytes, rng: np.random.Generator) -> bytes:
    start, length = rng.integers(len(content)), rng.integers(1, 600)
    return content[:start] + bytes(len(content[start : start + length])) + content[start + length :]


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(len(content))]


def emptied(content: bytes, rng: np.random.Generator) -> bytes:
    return b""


CUTS: Ways = (cut, cut, emptied)  # of what is not held against a digest: only whether it is whole
TEXT: Ways = (cut, zeroed, emptied)
WAYS: Ways = (
    cut,
    flipped,
    flipped,  # the ones that are hardest to see
    zeroed,
    lambda content, rng: content + rng.bytes(1),
    emptied,
)


def damage(kind: Kind, count: int, seed: int, said: Callable[[], str]) -> Counter[str]:
    """Damage a kind's files so often, and count what comes of it; anything but the same or a refusal fails."""
    rng, outcomes = np.random.default_rng(seed), Counter[str]()
    kept = {path: path.read_bytes() for path in kind.around.rglob("*") if path.is_file()}
    right = kind.read()
    for number in range(count):
        ways = kind.ways or WAYS
        path, way = kind.files[number % len(kind.files)], ways[number // len(kind.files) % len(ways)]
        while (spoilt := way(kept[path], rng)) == kept[path]:
            pass
        path.write_bytes(spoilt)
        said()
        try:
            got = kind.read()
        except UserError as error:
            got = str(error)
        told = said()
        if isinstance(got, str):  # a word on what is wrong, in place of numbers
            assert path.name in got + told, (path, way, got)
            outcomes[TOLD_APART if got == TOLD_APART else NAMED] += 1
        else:
            assert same(got, right), (path, way, f"{len(spoilt)} bytes of {len(kept[path])}", told)
            outcomes[SAME] += 1
            outcomes["said"] += bool(told)
        for file in [file for file in kind.around.rglob("*") if file.is_file()]:
            if file not in kept and not file.name.endswith("lock"):
                file.unlink()
        for file, content in kept.items():
            if not file.is_file() or file.read_bytes() != content:
                file.write_bytes(content)
    return outcomes


def same(one: Any, other: Any) -> bool:
    """Whether two values hold the same numbers, bit by bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor | np.ndarray):
        one, other = np.asarray(one), np.asarray(other)
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    return one.equals(other) if isinstance(one, pd.DataFrame) else one == other


# What there is to be damaged


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Five short clips, one of which cannot be read."""
    root, rng = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for number in range(5):
        soundfile.write(root / f"{number}.wav", rng.normal(size=RATE // 2) * 0.1, RATE)
    (root / "1.wav").write_bytes(b"RIFF")
    found = [Clip(name=path.name, path=path, label=0, fold=1, source=path.stem) for path in sorted(root.iterdir())]
    return Dataset(name="noise", root=root, classes=("a",), clips=tuple(found), rate=RATE, seconds=0.5, frames=20)


def opened(noise: Dataset, root: Path) -> Store:
    return open_store(noise, OPTIONS, BANK, root, on_bad_clip="skip", workers=1)


def read_pictures(noise: Dataset, root: Path) -> list[Any]:
    store = opened(noise, root)
    return [dict(store.skipped), np.array(store.clean), np.array(store.variant(0))]


@pytest.fixture(scope="module")
def half_made(noise: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose making was interrupted at the last clip."""
    root, made, real = tmp_path_factory.mktemp("half"), [], build.pictures

    def pictures(job: build.Job, *rest: Any) -> np.ndarray:
        made.append(job)
        if len(made) == len(noise.clips):
            raise KeyboardInterrupt
        return real(job, *rest)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(build, "pictures", pictures)
        with pytest.raises(KeyboardInterrupt):
            opened(noise, root)
    return root


@pytest.fixture(scope="module")
def world(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Place]:
    root = tmp_path_factory.mktemp("world")
    study = Study(
        data=str(sounds),
        backbone="densenet_tiny",
        weights="random",
        folds=(1,),
        precision="fp32",
        picture=Picture(mels=32, frames=40),
        augment=BANK,
        transfer=Transfer(pretrained_upto="none", frozen_upto="block1"),
        recipe=Recipe(epochs=2, lr=1e-3, standardise=True),
    )
    return study, Place(data_root=str(root / "data"), runs=str(root / "runs"), figures=str(root / "figures"), device="cpu")


@pytest.fixture(scope="module")
def run(world: tuple[Study, Place]) -> FinishedRun:
    """A finished run."""
    study, place = world
    material = prepare(study, place)
    return ensure(list_runs(material), material, place)[0]


def read_run(path: Path) -> list[Any]:
    """All that a finished run says, but its network."""
    folder = load(path)
    said = folder.predictions
    held = [folder.run, folder.classes, folder.made, folder.result, folder.log, folder.standard]
    return [*held, said.names, said.labels, said.sources, said.logits]


def net_of(one: Run) -> Any:
    return transfer.assemble(one.backbone, one.classes, one.transfer, None, seed=one.seed)


def read_checkpoint(folder: RunFolder, run: Run) -> list[Any] | str:
    net = net_of(run)
    state = fit.State(net, fit.make_optimizer(run, net))
    fit._restore(state, folder)
    if not state.history:
        assert same(net.state_dict(), net_of(run).state_dict()), "it starts over, half restored"
        return "from the beginning"
    return [state.history, state.kept, net.state_dict(), state.optimizer.state_dict()["state"]]


def a_room(path: Path) -> None:
    cells = np.arange(32, dtype=np.uint8).reshape(4, 8)
    about = {
        "name": "a",
        "label": "bell",
        "predicted": "drum",
        "probability": 0.5,
        "credit": "",
        "samples": None,
        "span": (0, 9),
    }
    arrays = {"picture": cells[None], "strength": cells, "attribution": cells.astype(np.int8), "answers": np.eye(2)}
    clip = page_clips.Clip(**about, **arrays, limit=1.0, error=0.01)
    page_clips.Room(run="k", data="d", backbone="b", fold=1, picture=OPTIONS, clips=(clip,)).write(path)


def kinds(
    noise: Dataset, half_made: Path, world: tuple[Study, Place], run: FinishedRun, tmp_path: Path
) -> Iterator[tuple[str, Kind]]:
    """Every kind of file that is written and read back."""
    pictures = tmp_path / "pictures"
    place = opened(noise, pictures).folder
    for name, ways in (("clean.npy", WAYS), ("variant-resize-0000.npy", WAYS), ("store.json", WAYS), (manifest.SUMS, WAYS)):
        yield f"pictures' {name}", Kind((place / name,), pictures, lambda: read_pictures(noise, pictures), ways)
    left = tmp_path / "left"
    shutil.copytree(half_made, left)
    for pattern, ways in (("*/.journal.jsonl", TEXT), ("*/.*.part", CUTS)):
        yield pattern, Kind(tuple(sorted(left.glob(pattern))), left, lambda: read_half_made(noise, left), ways)

    memory = tmp_path / "memory" / "contents.json"
    assert replace(noise, memory=memory).contents == noise.contents
    yield "contents.json", Kind((memory,), memory.parent, lambda: replace(noise, memory=memory).contents, TEXT)

    folder = RunFolder(tmp_path / "runs" / run.key)
    shutil.copytree(run.path, folder.path)
    for name in ("run.json", "result.json", "log.jsonl", "predictions.npz", "standard.npz", "SHA256SUMS"):
        yield f"run's {name}", Kind((folder.path / name,), folder.path, lambda: read_run(folder.path))
    heard = np.random.default_rng(0).normal(size=(2, 3, 32, 40))
    copied = load(folder.path)
    yield "weights", Kind((folder.weights,), folder.path, lambda: infer.load(copied, torch.device("cpu")).logits(heard))

    stopped = RunFolder(tmp_path / "stopped" / run.key)
    shutil.copytree(run.path, stopped.path)
    stopped.reopen()
    net = net_of(run.run)
    state = fit.State(net, fit.make_optimizer(run.run, net), run.log, {"logits": torch.ones(2, 3)})
    net(torch.from_numpy(heard).float()).sum().backward()
    state.optimizer.step()
    fit.save_checkpoint(state, stopped)
    yield "checkpoint", Kind((stopped.checkpoint,), stopped.path, lambda: read_checkpoint(stopped, run.run), ways=CUTS)

    study, where = world
    material = prepare(study, where)
    feed = Feed(material.store, run.run, material.dataset.split(1, "paper").train, material.device)
    stages = material.store.folder / "stages"
    behind = Kind(tuple(sorted(stages.glob("*/*.npy"))), stages, lambda: read_behind(feed, net_of(run.run)))
    yield "stages/*/*.npy", behind

    own = tmp_path / "own" / "mine.safetensors"
    own.parent.mkdir()
    shutil.copy(run.weights, own)
    identity = weights.identity(str(own), "densenet_tiny")
    yield "weights FILE", Kind((own,), own.parent, lambda: read_weights(own, identity))

    figures = tmp_path / "figures"
    table = pd.DataFrame({"run": ["a", "b"], "value": [0.125, 2.5]})
    manifest.write_table(figures / "table.csv", table)
    for name in ("table.csv", manifest.SUMS):
        yield name, Kind((figures / name,), figures, lambda: read_table(figures / "table.csv"))
    with manifest.vouching(figures / "plot.svg") as new:
        new.write_text("<svg>" + "<use x='12.5'/>" * 99 + "</svg>")
    yield "plot.svg", Kind((figures / "plot.svg",), figures, lambda: page_contents._plate(figures, "plot") or "left out")
    a_room(figures / "listening.npz")
    yield "listening.npz", Kind((figures / "listening.npz",), figures, lambda: read_room(figures / "listening.npz"))


def read_half_made(noise: Dataset, root: Path) -> list[Any]:
    """The store, once it is made to its end."""
    made = read_pictures(noise, root)
    for path in root.rglob("*.npy"):
        path.unlink()
    next(root.rglob("store.json")).unlink()
    return made


def read_behind(feed: Feed, net: Any) -> list[np.ndarray]:
    return [np.array(bank) for bank in prefix.behind(feed, net, "block1").banks]


def read_weights(path: Path, identity: str) -> dict[str, torch.Tensor] | str:
    """A file that somebody gives; it is not known what it should hold, but other bytes have another name, and other runs."""
    found = weights.load(str(path), "densenet_tiny")
    if found.identity != identity:
        print(path.name)
        return TOLD_APART
    return found.tensors


def read_table(path: Path) -> pd.DataFrame | str:
    found = evidence_from_tables._read(path, "run", "value")
    return found if isinstance(found, pd.DataFrame) else "left out"


def read_room(path: Path) -> list[Any] | str:
    room = make_page_clips.kept(path)
    return "left out" if room is None else [vars(room.clips[0]), replace(room, clips=())]


def all_of_it(each: int, found: Iterator[tuple[str, Kind]], capsys: pytest.CaptureFixture[str]) -> dict[str, Counter[str]]:
    return {name: damage(kind, each, seed, lambda: "".join(capsys.readouterr())) for seed, (name, kind) in enumerate(found)}


def check(outcomes: dict[str, Counter[str]], each: int) -> None:
    assert len(outcomes) * each >= 200
    for name, counts in outcomes.items():
        assert counts[SAME] + counts[NAMED] + counts[TOLD_APART] == each, name
    rebuilt = ("pictures' clean.npy", "pictures' variant-resize-0000.npy", "pictures' store.json", "stages/*/*.npy")
    for name in (*rebuilt, "pictures' SHA256SUMS", "*/.journal.jsonl", "*/.*.part", "contents.json"):
        assert outcomes[name][SAME] == each, f"{name} can be made again, and was not: {outcomes[name]}"
    for name in rebuilt:
        assert outcomes[name]["said"] >= 0.8 * each, f"nobody was told of {name}: {outcomes[name]}"
    for name in (
        "run's run.json",
        "run's result.json",
        "run's log.jsonl",
        "run's predictions.npz",
        "run's standard.npz",
        "weights",
        "checkpoint",
        "table.csv",
        "plot.svg",
        "listening.npz",
    ):
        assert outcomes[name][NAMED] == each, f"{name}: {outcomes[name]}"


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips that were written a moment ago are remembered too."""
    monkeypatch.setattr(digests, "SETTLED_NS", 0)


def test_no_corruption_is_believed(
    noise: Dataset,
    half_made: Path,
    world: tuple[Study, Place],
    run: FinishedRun,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    check(all_of_it(EACH, kinds(noise, half_made, world, run, tmp_path), capsys), EACH)


@pytest.mark.faults
def test_no_corruption_is_believed_however_many(
    noise: Dataset,
    half_made: Path,
    world: tuple[Study, Place],
    run: FinishedRun,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcomes = all_of_it(LONG, kinds(noise, half_made, world, run, tmp_path), capsys)
    check(outcomes, LONG)
    assert len(outcomes) * LONG >= 2000


# What comes of it


def spoil(path: Path) -> None:
    """One bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_file_is_made_again_when_the_store_is_opened(
    noise: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = opened(noise, tmp_path).folder / "variant-resize-0000.npy"
    right = path.read_bytes()
    spoil(path)
    opened(noise, tmp_path)
    assert path.read_bytes() == right
    assert f"{path}: it, or SHA256SUMS beside it, was edited or damaged; it is made again" in capsys.readouterr().err
    opened(noise, tmp_path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("lost", ["gone", "another"])
def test_a_damaged_file_whose_clips_are_not_here_any_more_is_refused(noise: Dataset, tmp_path: Path, lost: str) -> None:
    root = tmp_path / "noise"
    shutil.copytree(noise.root, root)
    clips = tuple(replace(clip, path=root / clip.name) for clip in noise.clips)
    mine = replace(noise, clips=clips)
    spoil(opened(mine, tmp_path / "pictures").folder / "clean.npy")
    (root / "2.wav").unlink() if lost == "gone" else (root / "2.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match=r"2\.wav: .*--on-bad-clip skip"):
        opened(mine, tmp_path / "pictures")


@pytest.fixture
def mine(world: tuple[Study, Place], tmp_path: Path) -> tuple[Study, Place]:
    """The same study, with a folder of runs of its own."""
    return world[0], replace(world[1], runs=str(tmp_path / "runs"))


@pytest.mark.parametrize("name", ["result.json", "run.json", "log.jsonl", "predictions.npz", "standard.npz"])
def test_a_study_trains_a_damaged_run_again_and_says_so(
    mine: tuple[Study, Place], run: FinishedRun, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study, place = mine
    shutil.copytree(run.path, Path(place.runs) / run.key)
    spoil(Path(place.runs) / run.key / name)
    material = prepare(study, place)
    (again,) = ensure(list_runs(material), material, place)
    said = capsys.readouterr().err
    assert f"{again.path / name} is damaged" in said
    assert "the run is trained again" in said
    assert again.result.scores == run.result.scores
    assert again.weights.read_bytes() == run.weights.read_bytes()
    ensure(list_runs(material), material, place)
    assert "1 run: 1 finished" in capsys.readouterr().err


def test_runs_beside_a_study_that_are_damaged_are_passed_over(
    mine: tuple[Study, Place], run: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    study, place = mine
    shutil.copytree(run.path, Path(place.runs) / run.key)
    material = prepare(study, place)
    assert list(sweep(material, {"block1": study.transfer}, [], place)) == ["block1"]
    spoil(Path(place.runs) / run.key / "predictions.npz")
    assert sweep(material, {"block1": study.transfer}, [], place) == {}
    assert "passed over: " in (said := capsys.readouterr().err)
    assert "predictions.npz is damaged" in said


@pytest.mark.parametrize("way", ["key", "path"])
def test_a_run_does_not_start_from_damaged_weights(mine: tuple[Study, Place], run: FinishedRun, way: str) -> None:
    study, place = mine
    folder = RunFolder(Path(place.runs) / run.key)
    shutil.copytree(run.path, folder.path)
    start = replace(study, weights=folder.key if way == "key" else str(folder.weights), transfer=Transfer())
    assert prepare(start, place).pretrained is not None
    spoil(folder.weights)
    with pytest.raises(Damaged, match=r"weights\.safetensors is damaged .* delete .* to have the run made again"):
        prepare(start, place)


def test_a_run_under_another_ones_name_is_none(mine: tuple[Study, Place], run: FinishedRun) -> None:
    other = Path(mine[1].runs) / ("0" * 12)
    shutil.copytree(run.path, other)
    with pytest.raises(Damaged, match=f"is run {run.key} under another name; rename it to"):
        load(other)


def test_weights_that_were_downloaded_are_what_their_name_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    file = tmp_path / "checkpoints" / "net.pth"
    file.parent.mkdir()
    torch.save({"a": torch.arange(99.0)}, file)
    cached = file.rename(file.with_name(f"net-{manifest.digest_of(file)[:8]}.pth"))
    enum = type("Enum", (), {"url": f"http://127.0.0.1:9/{cached.name}"})
    monkeypatch.setattr(weights, "_torchvision", lambda _: enum)
    assert same(weights._from_torchvision("resnet50"), {"a": torch.arange(99.0)})
    spoil(cached)
    with pytest.raises(UserError, match=rf"{cached.name}: is broken .*; delete it, and it is downloaded again"):
        weights._from_torchvision("resnet50")
