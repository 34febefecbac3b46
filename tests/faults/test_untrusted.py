"""Files from strangers cannot run code, write outside their folder, fill the disk or memory, or steer a terminal or browser."""

import ast
import hashlib
import io
import json
import lzma
import os
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

import pandas as pd
import pytest
import torch
from rich.console import Console

import tla
from tla import cli, console, report
from tla.errors import UserError
from tla.files import replacing
from tla.nets import backbones, weights
from tla.options import Augment, Picture, Place, Recipe, Study
from tla.paper import typesetting as draw
from tla.sound import download
from tla.sound.download import Archive, obtain

pytestmark = pytest.mark.xdist_group("browser")  # one worker, where the page and its browser are
SOURCES = sorted(Path(tla.__file__).parent.rglob("*.py"))


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
def test_weights_that_lie_are_refused(tmp_path: Path, lie: str) -> None:
    (tmp_path / "w.bin").write_bytes(SAFE_LIES[lie])
    with pytest.raises(UserError, match=r"w\.bin"):
        weights.load(str(tmp_path / "w.bin"), "densenet_tiny")
    with pytest.raises(UserError, match=r"w\.bin"):
        weights.into(backbones.build("densenet_tiny", 2, seed=0), tmp_path / "w.bin")


def test_weights_of_other_shapes_are_refused_by_name(tmp_path: Path) -> None:
    net, path = backbones.build("densenet_tiny", 2, seed=0), tmp_path / "w.safetensors"
    for name, odd in (("conv0", torch.zeros(3)), ("conv0", torch.zeros(0)), ("classifier", torch.zeros(10**6, 1))):
        found = next(each for each in net.state_dict() if name in each)
        weights.save({**net.state_dict(), found: odd}, path, {})
        with pytest.raises(UserError, match=f"does not fit the run's network in {re.escape(found)}"):
            weights.into(net, path)


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


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.suffix != ".lock"}


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
    return next((root / "figures").glob("*/report.html")).parent


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
