"""Files from strangers cannot run code, write outside their folder, fill the disk or memory, or steer a terminal or browser."""

import ast
import copy
import hashlib
import io
import json
import lzma
import os
import pickle
import re
import shutil
import socket
import stat
import struct
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

import tla
from tla import cli, console, predict, report
from tla.attribution import listening_room
from tla.attribution import measure as explained
from tla.errors import UserError
from tla.files import replacing
from tla.nets import weights
from tla.options import Augment, Picture, Place, Recipe, Study
from tla.paper import page
from tla.paper import report_tables as draw
from tla.runs import __main__ as listing
from tla.runs import infer
from tla.runs.folder import RunFolder, folders
from tla.runs.tables import finished
from tla.runs.validation import from_json
from tla.seals import digest_of, sealed, unsealed
from tla.sound import download
from tla.sound.download import Archive, obtain

pytestmark = pytest.mark.xdist_group("browser")  # one worker, where the page and its browser are
SOURCES = sorted(Path(tla.__file__).parent.rglob("*.py"))


class Trap:
    """A pickle that makes a folder when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


# The source


def called(node: ast.Call) -> str:
    """What a call names, as in `np.load`."""
    return ast.unparse(node.func)


def dangers(source: str) -> Iterator[str]:
    """Calls and imports that could run what a file says, or write where a stranger waits."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name.split(".")[0] for alias in node.names} | {getattr(node, "module", None) or ""}
            yield from names & {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
        if not isinstance(node, ast.Call):
            continue
        name = called(node)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if name in ("eval", "exec", "compile", "os.system", "os.popen", "tempfile.mktemp", "pd.read_pickle"):
            yield name
        if name.endswith(("torch.load", "load_state_dict_from_url")) and given.get("weights_only") != "True":
            yield f"{name} without weights_only"
        if given.get("allow_pickle", "False") != "False":
            yield f"{name} with pickles"
        if name.endswith("np.load") and not given.keys() & {"allow_pickle", "mmap_mode"}:
            yield f"{name} that does not say"
        if name.startswith("yaml.") and "load" in name and ast.unparse(node.args[-1]) != "_StrictYaml":
            yield f"{name} of anything"
        if given.get("shell", "False") != "False":
            yield f"{name} in a shell"
        if name.endswith("extractall"):
            yield f"{name} without a look"
        if name.endswith("open") and any("/tmp" in ast.unparse(argument) for argument in node.args):
            yield f"{name} at a name that can be guessed"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SOURCES[0].parent)))
def test_nothing_in_the_source_runs_what_a_file_says(path: Path) -> None:
    assert list(dangers(path.read_text(encoding="utf-8"))) == []


HARMFUL = (
    *("import pickle", "from joblib import load", "torch.load(p)", "torch.load(p, weights_only=False)", "np.load(p)"),
    *("np.load(p, allow_pickle=True)", "yaml.load(t, yaml.Loader)", "yaml.unsafe_load(t)", "eval(t)", "exec(t)"),
    *("run(t, shell=True)", "os.system(t)", "tempfile.mktemp()", "archive.extractall(p)", "open('/tmp/tla.txt')"),
)


@pytest.mark.parametrize("source", HARMFUL)
def test_such_source_would_be_noticed(source: str) -> None:
    assert list(dangers(source))


# Temporary files


def test_files_in_the_making_are_private_and_cannot_be_guessed(tmp_path: Path) -> None:
    names = set()
    for _ in range(20):
        with replacing(tmp_path / "table.csv") as temporary:
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
            names.add(temporary.name)
    assert len(names) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_link_where_a_file_is_to_be_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "table.csv").symlink_to("precious")
    with replacing(tmp_path / "table.csv") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "table.csv").is_symlink()


# Runs


@pytest.fixture(scope="module")
def donor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs with one finished run, on twenty clips of two classes."""
    from tla.launch.study import ensure, list_runs, prepare
    from tla.sound import toy

    root = tmp_path_factory.mktemp("stranger")
    toy.make(root / "toys", clips_per_class=10)
    rows = [f"{path},{path.parent.name},{k % 2 + 1}" for k, path in enumerate(sorted(root.rglob("*.wav"))[:20])]
    (root / "mine.csv").write_text("\n".join(["path,label,fold", *rows]))
    study = Study(data=str(root / "mine.csv"), backbone="densenet_tiny", weights="random", folds=(1,), precision="fp32")
    study = replace(
        study,
        picture=Picture(mels=32, frames=40),
        augment=Augment(kind="none"),
        recipe=Recipe(epochs=1, lr=1e-3, batch=4, standardise=True),
    )
    place = Place(data_root=str(root / "data"), runs=str(root / "runs"), device="cpu")
    material = prepare(study, place)
    ensure(list_runs(material), material, place)
    return root / "runs"


@pytest.fixture
def theirs(donor: Path, tmp_path: Path) -> RunFolder:
    """A copy of the run, as a stranger might send it."""
    shutil.copytree(donor, tmp_path / "runs")
    (folder,) = folders(tmp_path / "runs")
    return folder


def reseal(folder: RunFolder, change: Callable[[dict, dict], None] = lambda run, result: None) -> RunFolder:
    """Change what the documents say, and vouch for all of it, as a stranger can."""
    run, result = (unsealed(json.loads((folder.path / name).read_text())) for name in ("run.json", "result.json"))
    change(run, result)
    (folder.path / "run.json").write_text(json.dumps(sealed(run)))
    for name in result["files"] if isinstance(result.get("files"), dict) else ():
        result["files"][name] = digest_of(folder.path / name)
    (folder.path / "result.json").write_text(json.dumps(sealed(result)))
    try:
        key = from_json(run["run"]).key
    except ValueError:
        return folder
    return RunFolder(folder.path.rename(folder.path.with_name(key)))


def put(*path: str | int, value: Any, of: int = 0) -> Callable[[dict, dict], None]:
    """A change of one value in run.json (0) or result.json (1)."""

    def change(*documents: dict) -> None:
        place: Any = documents[of]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = copy.deepcopy(value)

    return change


RUN_LIES: dict[str, Callable[[dict, dict], None]] = {
    **{
        f"data {name!a}": put("run", "data", value=name)
        for name in ("../../x", "/etc/x", "..", "", "a\\b", "\x1b[2J", "a\nb", 7, None)
    },
    **{f"backbone {name!a}": put("run", "backbone", value=name) for name in (["timm:x"], None, 3, "a\x1b[2Jb", {"a": 1})},
    **{f"classes {count!r}": put("run", "classes", value=count) for count in (10**12, -1, 0, 2.5, "2", True, None, [2])},
    **{f"mels {mels!r}": put("run", "picture", "mels", value=mels) for mels in (10**9, 0, -1, "128", 10**30)},
    "frames": put("run", "picture", "frames", value=10**9),
    "rate": put("run", "picture", "rate", value=10**12),
    "seconds": put("run", "picture", "seconds", value=1e12),
    "seconds inf": put("run", "picture", "seconds", value=float("inf")),
    "lr": put("run", "recipe", "lr", value=float("nan")),
    "drops": put("run", "recipe", "drops", value="30"),
    "fold": put("run", "fold", value={"a": 1}),
    "seed": put("run", "seed", value=10**4000),
    "protocol": put("run", "protocol", value="<b>"),
    "stage": put("run", "transfer", "kept_upto", value="../block4"),
    "unknown": put("run", "__class__", value="x"),
    "recipe": put("run", "recipe", value=[]),
    "no run": put("run", value=[]),
}
CLASS_LIES: dict[str, Callable[[dict, dict], None]] = {
    **{
        f"names {names!a:.30}": put("classes", value=names)
        for names in ("ab", ["a"], ["a", "a"], [1, 2], ["a", "\x1b[2J"], None, {})
    },
    "three for two": put("classes", value=["a", "b", "c"]),
    "made": put("made", value=[1]),
    "made of what": put("made", value={"python": {"a": 1}}),
    "made steering": put("made", value={"machine": "\x1b]0;x\x07"}),
}
RESULT_LIES: dict[str, Callable[[dict, dict], None]] = {
    **{
        f"accuracy {share!r}": put("scores", "last", "accuracy", value=share, of=1)
        for share in (2, -1, "1", None, float("nan"), True, [])
    },
    "rule": put("scores", "<img>", value={"accuracy": 1.0, "macro_accuracy": 1.0}, of=1),
    "scores": put("scores", value=[], of=1),
    "no scores": put("scores", value={}, of=1),
    "epochs": put("epochs", value="many", of=1),
    "parameters": put("parameters", value=10**400, of=1),
    "finished": put("finished", value="\x1b[2J", of=1),
    "nested": put("clips", value={"a": []}, of=1),
    "files": put("files", value=["../../x"], of=1),
    "no files": put("files", value=None, of=1),
}


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.suffix != ".lock"}


def refused_everywhere(theirs: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Commands that read runs pass it over or refuse it in lines that steer nothing, and write nothing."""
    clip = next(Path(theirs.path).parents[2].rglob("*.wav"), tmp_path / "x.wav")
    before, ends = tree(tmp_path), []
    runs, figures = str(theirs.path.parent), str(tmp_path / "figures")
    for main, words, positional in (
        (listing.main, ["--runs", runs], None),
        (report.main, ["--runs", runs, "--figures", figures, "--page", "false"], None),
        (predict.main, [str(clip), "--run", theirs.key[:4], "--runs", runs, "--device", "cpu"], "files"),
    ):
        try:
            cli.run(main, words, positional=positional)
        except SystemExit as stop:
            ends.append(stop.code)
        said = "".join(capsys.readouterr())
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", said), ascii(said)
        assert "Traceback" not in said
    assert ends == [2, 2]  # the list of runs passes it over
    assert tree(tmp_path) == before


@pytest.mark.parametrize("lie", [*RUN_LIES, *CLASS_LIES, *RESULT_LIES])
def test_a_run_that_says_what_no_run_says_is_passed_over(
    theirs: RunFolder, capsys: pytest.CaptureFixture[str], lie: str
) -> None:
    folder = reseal(theirs, {**RUN_LIES, **CLASS_LIES, **RESULT_LIES}[lie])
    with pytest.raises(UserError, match="there is no finished run"):
        finished(folder.path.parent)
    assert "passed over" in capsys.readouterr().err


@pytest.mark.parametrize(
    "lie", ["data '../../x'", "classes 1000000000000", "names ['a', '\\x1b[2J']", "three for two", "files", "rule"]
)
def test_no_command_believes_it(theirs: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], lie: str) -> None:
    refused_everywhere(reseal(theirs, {**RUN_LIES, **CLASS_LIES, **RESULT_LIES}[lie]), tmp_path, capsys)


def test_an_honest_copy_is_believed(theirs: RunFolder) -> None:
    assert [folder.key for folder in finished(reseal(theirs).path.parent)] == [theirs.key]


@pytest.mark.parametrize(
    "content", [b"", b"[" * 100_000, b'{"a":' * 50_000, b"9" * 100_000, b"\xff\xfe", b"null", b"[]", b'"x"', b"{}", b"NaN"]
)
@pytest.mark.parametrize("name", ["run.json", "result.json"])
def test_documents_that_are_none(theirs: RunFolder, name: str, content: bytes) -> None:
    (theirs.path / name).write_bytes(content)
    with pytest.raises(UserError, match="there is no finished run"):
        finished(theirs.path.parent)


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"9" * 100_000, b"\xff\xfe", b"null", b"[]", b'"x"', b'{"epoch": {}}', b'{"rate": "\\u001b"}']
)
def test_logs_that_are_none(theirs: RunFolder, content: bytes) -> None:
    (theirs.path / "log.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=r"log\.jsonl is damaged"):
        _ = reseal(theirs).log


def npz(path: Path, **arrays: np.ndarray) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, array in arrays.items():
            file = io.BytesIO()
            np.lib.format.write_array(file, array, allow_pickle=True)
            packed.writestr(f"{name}.npy", file.getvalue())


def promised(shape: tuple[int, ...], kind: str = "<f4") -> bytes:
    """An array that says that it is larger than it is."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(64)


ARRAYS = ("predictions.npz", "standard.npz")


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_objects_are_not_opened(theirs: RunFolder, tmp_path: Path, name: str) -> None:
    trap = np.array([Trap(tmp_path / "hacked")], dtype=object)
    pickled = pickle.dumps(Trap(tmp_path / "hacked"))
    npz(theirs.path / name, names=trap, labels=trap, sources=trap, last_logits=trap, mean=trap, spread=trap)
    held = (theirs.path / name).read_bytes()
    for content in (held, pickled, b"\x93NUMPY\x01\x00" + struct.pack("<H", 2) + b"{}" + pickled):
        (theirs.path / name).write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            _ = getattr(reseal(theirs), name.removesuffix(".npz"))
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize(
    "content", [promised((1 << 50,)), promised((1 << 62, 8)), promised((-1,)), b"\x93NUMPY", b"PK\x05\x06" + bytes(18), b""]
)
def test_arrays_that_promise_more_than_there_is(theirs: RunFolder, name: str, content: bytes) -> None:
    with zipfile.ZipFile(theirs.path / name, "w") as packed:
        for array in ("names", "labels", "sources", "last_logits", "mean", "spread"):
            packed.writestr(f"{array}.npy", content)
    for whole in ((theirs.path / name).read_bytes(), content):
        (theirs.path / name).write_bytes(whole)
        with pytest.raises(UserError, match="damaged"):
            _ = getattr(reseal(theirs), name.removesuffix(".npz"))


def arrays(rows: int = 4, classes: int = 2) -> dict[str, np.ndarray]:
    texts = np.array([f"{k}.wav" for k in range(rows)])
    return {
        "names": texts,
        "labels": np.zeros(rows, np.int64),
        "sources": texts,
        "last_logits": np.zeros((rows, classes), np.float32),
    }


@pytest.mark.parametrize(
    "odd",
    [
        {"labels": np.full(4, 9)},
        {"labels": np.full(4, -1)},
        {"labels": np.zeros(4)},
        {"labels": np.zeros(3, np.int64)},
        {"names": np.zeros(4)},
        {"names": np.array(["\x1b[2J"] * 4)},
        {"sources": np.zeros((4, 1), "U3")},
        {"last_logits": np.full((4, 2), np.nan, np.float32)},
        {"last_logits": np.zeros((4, 2), np.int64)},
        {"last_logits": np.zeros(4, np.float32)},
        {"last_logits": np.zeros((4, 2), complex)},
    ],
    ids=lambda odd: f"{next(iter(odd))} {next(iter(odd.values())).dtype} {next(iter(odd.values())).shape}",
)
def test_predictions_that_cannot_be(theirs: RunFolder, odd: dict[str, np.ndarray]) -> None:
    np.savez(theirs.path / "predictions.npz", **arrays())
    assert reseal(theirs).predictions.names.size == 4
    np.savez(theirs.path / "predictions.npz", **{**arrays(), **odd})
    with pytest.raises(UserError, match="damaged"):
        _ = reseal(theirs).predictions


def test_what_lies_beside_figures_cannot_run_code(tmp_path: Path) -> None:
    trap = np.array([Trap(tmp_path / "hacked")], dtype=object)
    npz(tmp_path / "listening.npz", about=trap)
    assert listening_room._kept(tmp_path / "listening.npz") is None
    npz(tmp_path / "fig3_ig.npz", **{"0_picture": trap, "0_attribution": trap, "0_seconds": trap, "hertz": trap})
    (tmp_path / "fig3_ig.csv").write_text("clip,run\na,b\n")
    with pytest.raises((ValueError, UserError)):
        explained.read(tmp_path, "fig3_ig")
    assert not (tmp_path / "hacked").exists()


# Weights


def safetensors(header: bytes | dict, body: bytes = b"", length: int | None = None) -> bytes:
    told = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(told) if length is None else length) + told + body


def tensor(shape: list[int], start: int, stop: int, kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [start, stop]}


SAFE_LIES = {
    "header of an exabyte": safetensors(b"{}", length=1 << 60),
    "header without end": safetensors(b"{" + b" " * 100, length=1 << 40),
    "header of all bits": safetensors(b"{}", length=(1 << 64) - 1),
    "deep header": safetensors(b'{"a":' * 50_000),
    "no object": safetensors(b"{" + b"x" * 10),
    "outside": safetensors({"a": tensor([1], 1 << 40, (1 << 40) + 4)}, bytes(4)),
    "backwards": safetensors({"a": tensor([1], 4, 0)}, bytes(4)),
    "larger than its bytes": safetensors({"a": tensor([1 << 40], 0, 4)}, bytes(4)),
    "a shape past all counting": safetensors({"a": tensor([1 << 62, 1 << 62], 0, 4)}, bytes(4)),
    "overlapping": safetensors({"a": tensor([1], 0, 4), "b": tensor([1], 0, 4)}, bytes(4)),
    "with a hole": safetensors({"a": tensor([1], 4, 8)}, bytes(8)),
    "unknown numbers": safetensors({"a": tensor([1], 0, 4, "Q99")}, bytes(4)),
    "another network": safetensors({"../../x": tensor([1], 0, 4)}, bytes(4)),
}


@pytest.mark.parametrize("lie", SAFE_LIES)
def test_weights_that_lie_are_refused(theirs: RunFolder, tmp_path: Path, lie: str) -> None:
    (tmp_path / "w.bin").write_bytes(SAFE_LIES[lie])
    with pytest.raises(UserError, match=r"w\.bin"):
        weights.load(str(tmp_path / "w.bin"), "densenet_tiny")
    theirs.weights.write_bytes(SAFE_LIES[lie])
    with pytest.raises(UserError, match=r"weights\.safetensors"):
        infer.load(reseal(theirs), torch.device("cpu"))


def test_weights_of_other_shapes_are_refused_by_name(theirs: RunFolder) -> None:
    good, about = weights.read(theirs.weights)
    for name, odd in (("conv0", torch.zeros(3)), ("conv0", torch.zeros(0)), ("classifier", torch.zeros(10**6, 1))):
        found = next(each for each in good if name in each)
        weights.save({**good, found: odd}, theirs.weights, about)
        with pytest.raises(UserError, match=f"does not fit the run's network in {re.escape(found)}"):
            infer.load(reseal(theirs), torch.device("cpu"))


def test_a_packed_torch_file_cannot_fill_the_memory(tmp_path: Path) -> None:
    plain, packed = io.BytesIO(), tmp_path / "w.pt"
    torch.save({"a": torch.zeros(1_000_000)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for info in source.infolist():
            target.writestr(info.filename, source.read(info))
    assert packed.stat().st_size < 20_000
    assert torch.load(packed, weights_only=True)["a"].numel() == 1_000_000  # torch itself does not mind
    with pytest.raises(UserError, match="refused, because it is packed"):
        weights.load(str(packed), "densenet_tiny")


def test_a_tensor_far_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(1 << 40)}, tmp_path / "w.pt")
    assert (tmp_path / "w.pt").stat().st_size < 10_000
    with pytest.raises(UserError, match=r"w\.pt does not fit densenet_tiny"):
        weights.load(str(tmp_path / "w.pt"), "densenet_tiny")


# Archives


def archive_of(content: bytes, folder: Path, **how: Any) -> Archive:
    """An archive that is downloaded already, so that nothing has vouched for it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "set.zip").write_bytes(content)
    about: dict[str, Any] = {
        "name": "esc50",
        "urls": (),
        "file": "set.zip",
        "checksum": "md5:0",
        "inner": "top",
        "folder": "ESC-50",
    }
    return Archive(**{**about, "size": len(content), "unpacked": 1_000_000, "licence": "free", **how})


def zipped(*members: tuple[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as made:
        for name, content in members:
            if name in made.namelist():
                import warnings

                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    made.writestr(name, content)
            else:
                made.writestr(name, content)
    return file.getvalue()


def tarred(*entries: tuple[str, bytes | None], how: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=how) as made:  # type: ignore[call-overload]
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(content or b""), tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            made.addfile(info, io.BytesIO(content or b""))
    return file.getvalue()


def understated(content: bytes) -> bytes:
    """A zip whose index says that each member has one byte."""
    spoilt, at = bytearray(content), 0
    while (at := spoilt.find(b"PK\x01\x02", at)) >= 0:
        spoilt[at + 24 : at + 28] = struct.pack("<I", 1)
        at += 4
    return bytes(spoilt)


def sparse_tar() -> bytes:
    """A tar whose one member has 8 GB of nothing."""
    info = tarfile.TarInfo("top/hole")
    info.size, info.type = 512, tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"00000000000\0" + b"00000001000\0"
    header[483:495] = b"77777777777\0"
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(512) + bytes(1024)


BOMB = zipped(("top/zeros", bytes(30_000_000)), how=zipfile.ZIP_DEFLATED)
FATAL: dict[str, tuple[Callable[[], bytes], str]] = {
    "a packed bomb": (lambda: BOMB, "unpacks to far more"),
    "a bomb that understates itself": (lambda: understated(BOMB), "unpacks to far more|cannot be unpacked"),
    "a bomb in xz": (lambda: tarred(("top/zeros", bytes(30_000_000)), how="w:xz"), "unpacks to far more"),
    "a bomb in bz2": (lambda: tarred(("top/zeros", bytes(30_000_000)), how="w:bz2"), "unpacks to far more"),
    "a hole": (sparse_tar, "unpacks to far more"),
    "one file twice": (lambda: zipped(("top/a", b"1"), ("top/a", b"2")), "'top/a' is there twice"),
    "one file twice, tar": (lambda: tarred(("top/a", b"1"), ("./top/a", b"2")), "'./top/a' is there twice"),
    "a file, then a folder": (lambda: tarred(("top/a", b"1"), ("top/a", None)), "is there twice"),
    "a folder, then a file": (lambda: tarred(("top/a", None), ("top/a", b"1")), "is there twice"),
    "a file as folder": (lambda: tarred(("top", b"1"), ("top/a", b"1")), "."),
    "a name too long": (lambda: tarred(("top/" + "x" * 300, b"1")), "."),
    "a path too long": (lambda: tarred(("top/" + "x/" * 3000, b"1")), "."),
    "broken xz": (lambda: lzma.compress(tarred(("top/a", os.urandom(300_000))))[:200_000] + bytes(1000), "cannot be unpacked"),
    "many": (lambda: zipped(*((f"top/{k}", b"") for k in range(60))), "has more than 50 files and folders"),
    "many, tar": (lambda: tarred(*((f"top/{k}", b"") for k in range(60))), "has more than 50 files and folders"),
    "many folders": (lambda: tarred(*((f"top/{k}", None) for k in range(60))), "has more than 50 files and folders"),
}


@pytest.mark.parametrize("case", FATAL)
def test_an_archive_cannot_fill_the_disk_or_overwrite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setattr(download, "MOST_MEMBERS", 50)
    make, message = FATAL[case]
    archive = archive_of(make(), tmp_path / "data")
    with pytest.raises(UserError, match=message) as caught:
        obtain(archive, tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert tree(tmp_path) == {"data", "data/set.zip"}


def test_links_that_lead_out_are_not_followed_by_what_comes_after(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        link = tarfile.TarInfo("top")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
        made.addfile(link)
        inner = tarfile.TarInfo("top/evil")
        inner.size = 4
        made.addfile(inner, io.BytesIO(b"evil"))
    (tmp_path / "outside").mkdir()
    with pytest.raises(UserError, match="is a link or a device"):
        obtain(archive_of(file.getvalue(), tmp_path / "data"), tmp_path / "data")
    assert list((tmp_path / "outside").iterdir()) == []


# Downloads


class Liar:
    """A server that answers each request with the given bytes, and goes on with others for as long as they are taken."""

    def __init__(self, answer: bytes, more: bytes = b"") -> None:
        self.answer, self.more, self.sent, self.asked = answer, more, 0, 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/set.zip"
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            self.asked += 1
            with peer:
                peer.recv(65536)
                try:
                    peer.sendall(self.answer)
                    while self.more:
                        self.sent += peer.send(self.more)
                except OSError:
                    continue

    def close(self) -> None:
        self.socket.close()


CONTENT = zipped(("top/meta/esc50.csv", b"filename\n"), ("top/a", os.urandom(1000)))
OK = b"HTTP/1.1 200 OK\r\n"
LIES: dict[str, tuple[bytes, bytes, str]] = {
    "without end": (OK + b"\r\n", bytes(1 << 16), "sent more than the .* MB that it may be"),
    "an exabyte": (OK + b"Content-Length: 1000000000000000000\r\n\r\n", bytes(1 << 16), "sent more than"),
    "a length and no content": (OK + b"Content-Length: %d\r\n\r\n" % len(CONTENT), b"", "broke off"),
    "less than it says": (OK + b"Content-Length: %d\r\n\r\n" % len(CONTENT) + CONTENT[:-9], b"", "broke off"),
    "more than it says": (OK + b"Content-Length: 9\r\n\r\n" + CONTENT, b"", "wrong checksum"),
    "a negative length": (OK + b"Content-Length: -5\r\n\r\n" + CONTENT[:-1], b"", "wrong checksum"),
    "no length, cut off": (OK + b"\r\n" + CONTENT[:-1], b"", "wrong checksum"),
    "chunks without end": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        b"10000\r\n" + bytes(1 << 16) + b"\r\n",
        "sent more than",
    ),
    "broken chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"", "cannot download"),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n", b"", "cannot download"),
    "headers without end": (OK, b"X: y\r\n" * 1000, "cannot download"),
    "a line without end": (b"HTTP/1.1 200 ", b"x" * 10000, "cannot download"),
    "to a file": (b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", b"", "cannot download"),
    "to itself": (b"HTTP/1.1 302 Found\r\nLocation: /set.zip\r\nContent-Length: 0\r\n\r\n", b"", "cannot download"),
}


@pytest.mark.parametrize("case", LIES)
def test_a_server_that_lies_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setenv("no_proxy", "*")
    answer, more, message = LIES[case]
    liar = Liar(answer, more)
    archive = archive_of(CONTENT, tmp_path / "made", urls=(liar.url,), checksum=f"sha256:{hashlib.sha256(CONTENT).hexdigest()}")
    began = time.monotonic()
    try:
        with pytest.raises(UserError, match=message) as caught:
            obtain(archive, tmp_path / "data")
    finally:
        liar.close()
    assert "\n" not in str(caught.value)
    left = {path.name: path.stat().st_size for path in (tmp_path / "data").iterdir() if not path.name.startswith(".")}
    assert left.keys() <= {"set.zip.part"}
    assert sum(left.values()) <= len(CONTENT)
    assert liar.sent < 100_000_000
    assert time.monotonic() - began < 120


def test_an_honest_server_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    liar = Liar(OK + b"Content-Length: %d\r\n\r\n" % len(CONTENT) + CONTENT)
    sums = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    assert obtain(archive_of(CONTENT, tmp_path / "made", urls=(liar.url,), checksum=sums), tmp_path / "data").is_dir()
    liar.close()


# The terminal


STEERING = ("\x1b[2J\x1b[1;1H", "\x1b]0;title\x07", "\x9b31m", "\r\x1b[K", "\b\b", "\u202e", "\x00", "\x7f", "\udc80")
MARKUP = ("[bold red]x", "[link=http://x]y", "[blink]", "\\[x]")


def test_what_is_shown_steers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    console.say(f"a {''.join(STEERING)} b\nsecond line")
    console.table(["name"], [[name] for name in (*STEERING, "line\nend")], title=f"t{STEERING[0]}")
    with console.progress(f"x{STEERING[0]}", 2) as bar:
        bar.note(STEERING[1])
    shown = capsys.readouterr()
    assert (
        shown.err
        == "a \\x1b[2J\\x1b[1;1H\\x1b]0;title\\x07\\x9b31m\\r\\x1b[K\\x08\\x08\\u202e\\x00\\x7f\\udc80 b\nsecond line\n"
    )
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", shown.out + shown.err)
    assert "line\\nend" in shown.out


@pytest.mark.parametrize("name", MARKUP)
def test_brackets_are_no_markup(capsys: pytest.CaptureFixture[str], name: str) -> None:
    console.table([name], [[name]], title=name)
    assert capsys.readouterr().out.split() == [*name.split()] * 3
    bar = console._Bar(name, 3)
    bar.note(name)
    file = io.StringIO()
    Console(file=file, width=200).print(bar.bar.get_renderable())
    assert file.getvalue().count(name) == 2
    bar.bar.stop()


def test_an_error_of_a_command_steers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    def failing(*, x: int = 1) -> None:
        raise UserError(f"no {''.join(STEERING)}")

    with pytest.raises(SystemExit):
        cli.run(failing, [])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()


# LaTeX


def test_latex_runs_no_command_of_a_name() -> None:
    names = [
        r"\input{/etc/passwd}",
        r"\write18{rm -rf ~}",
        "a & b",
        "50 % off",
        "x_1^2",
        "$x$",
        "#1",
        "{",
        "}",
        "~",
        "[3em]",
        "^^5cinput",
        r"\\",
    ]
    table = pd.DataFrame({("", "class"): names, ("", r"\input{x}"): ["1"] * len(names)})
    text = draw.latex(table, r"\input{title} 1 %", r"\write18{note}", "name")
    for command in ("input", "write"):
        assert rf"\{command}" not in text
        assert "^^" not in text
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    rows = [row for row in body.replace(r"\midrule", "").split("\\\\\n") if row.strip()]
    assert len(rows) == len(names)
    for row in rows:
        bare = re.sub(r"\\text\w+\{\}|\\[&%$#_{}]|\{\[\}|\$[<>|]\$|\$\\pm\$", "", row)
        assert not re.search(r"[\\%$#_^~{}]", bare), row
        assert bare.count("&") == 1, row


# The page


PAYLOADS = (
    "</script><img src=x onerror=alert(1)>",
    "<svg onload=alert(2)>",
    "'\"><script>alert(3)</script>",
    "{{7*7}}{% raw %}",
    "javascript:alert(4)",
)


class Parsed(HTMLParser):
    """Tags, attributes and words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def harmless(text: str) -> Parsed:
    """A page in which nothing runs but its own two scripts, and nothing is fetched."""
    found = Parsed(text)
    scripts = [attributes.get("type") for tag, attributes in found.tags if tag == "script"]
    assert scripts in ([None], ["application/json", None])
    assert not {tag for tag, _ in found.tags} & {
        "img",
        "iframe",
        "object",
        "embed",
        "foreignobject",
        "form",
        "link",
        "base",
        "animate",
        "set",
    }
    for tag, attributes in found.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name.endswith(("href", "src")):
                assert (value or "").startswith(("#", "data:image/png")), (tag, name, value)
    return found


EVIL_SVG = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
 xmlns:h="http://www.w3.org/1999/xhtml" viewBox="0 0 10 10" onload="alert(1)">
<script>alert(2)</script><h:script>alert(3)</h:script>
<foreignObject><h:img src="x" onerror="alert(4)"/></foreignObject>
<a href="javascript:alert(5)"><text>click</text></a>
<image xlink:href="http://127.0.0.1:9/x.png"/><use href="http://x/y.svg#z"/>
<set attributeName="href" to="javascript:alert(6)"/><animate onbegin="alert(7)"/>
<g onclick="alert(8)" style="fill: url(http://x/)"><text>kept</text></g>
<style>@import url(http://x)</style></svg>"""


def test_a_strangers_figure_is_only_a_drawing() -> None:
    made = page.html(page.Page(title="t", about="a", found="f", plates=[page.Plate(title="p", svg=EVIL_SVG)]))
    assert "kept" in harmless(made).words
    assert ">click<" not in made
    assert "alert" not in made
    assert "http://x" not in made


def test_a_drawing_that_swells_is_refused() -> None:
    laughs = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True))
    drawing = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><text>&j;</text></svg>'
    swelling = f'<!DOCTYPE svg [<!ENTITY a "ha">{laughs}]>{drawing}'
    with pytest.raises(Exception, match=r"(?i)entit|amplification|undefined"):
        page._plate(swelling, "t")


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The figures folder of a report on a data set, classes and clips with names that would like to be markup."""
    from tla.launch.study import ensure, list_runs, prepare
    from tla.sound import toy

    root = tmp_path_factory.mktemp("page")
    toy.make(root / "toys", clips_per_class=4)
    sounds = sorted((root / "toys").rglob("*.wav"))
    data = root / "<script>alert(0)<"
    for number, path in enumerate(sounds[:16]):
        payload = PAYLOADS[number % 4].replace("/", "⁄")
        (data / payload).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, data / payload / f"{number}{payload}.wav")
    study = Study(data=str(data), backbone="densenet_tiny", weights="random", folds=(1,), precision="fp32")
    study = replace(
        study, picture=Picture(mels=32, frames=40), augment=Augment(kind="none"), recipe=Recipe(epochs=1, lr=1e-3, batch=4)
    )
    place = Place(data_root=str(root / "data"), runs=str(root / "runs"), figures=str(root / "figures"), device="cpu")
    material = prepare(study, place)
    ensure(list_runs(material), material, place)
    report.main(place, data=str(data), clips=4)
    return root / "figures"


def test_the_page_of_a_hostile_data_set_is_harmless(reported: Path) -> None:
    text = (reported / "report.html").read_text(encoding="utf-8")
    found = harmless(text)
    words = "".join(found.words)
    assert "<script>alert(0)<" in words
    room = json.loads(re.search(r'type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    assert {clip["label"] for clip in room["clips"]} <= {payload.replace("/", "⁄") for payload in PAYLOADS}
    assert "49" not in [word.strip() for word in found.words]
    for tex in reported.glob("*.tex"):
        assert "<" not in re.sub(r"\$<\$", "", tex.read_text()), tex.name


@pytest.mark.browser
def test_nothing_runs_in_a_browser(reported: Path) -> None:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("needs Chromium, and there is none (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
    heard: list[str] = []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        opened = browser.new_page()
        opened.on("dialog", lambda dialog: (heard.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        opened.on("pageerror", lambda error: heard.append(str(error)))
        opened.on("request", lambda asked: asked.url.startswith(("file:", "data:", "blob:")) or heard.append(asked.url))
        opened.goto((reported / "report.html").as_uri())
        for label in opened.locator("main button, main input, main select, main summary").all()[:40]:
            if label.is_visible() and label.is_enabled():
                label.focus()
        opened.wait_for_timeout(500)
        browser.close()
    assert heard == []
