import errno
import hashlib
import io
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tla.errors import UserError
from tla.sound import download, layouts
from tla.sound.download import Archive, fetch, obtain


class Server(ThreadingHTTPServer):
    """Serves one file to loopback, with faults on demand."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = b""
        self.ranges: list[str | None] = []  # the Range header of each request
        self.knows_ranges = True
        self.break_after: list[int] = []  # bytes after which the next connections break off

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/set.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        wanted, content, start = self.headers.get("Range"), self.server.content, 0
        self.server.ranges.append(wanted)
        if wanted and self.server.knows_ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + self.server.break_after.pop(0) if self.server.break_after else len(content)
        self.wfile.write(content[start:end])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


NOISE = np.random.default_rng(0).bytes(1_000_000)


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(*entries: tarfile.TarInfo) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for entry in entries:
            archive.addfile(entry, io.BytesIO(b"x" * entry.size))
    return file.getvalue()


GOOD = zipped({"top/meta/esc50.csv": b"filename\n", "top/audio/a.wav": NOISE, "top/audio/._a.wav": b""})


def serve(server: Server, content: bytes = GOOD) -> Archive:
    server.content = content
    return Archive(
        name="esc50",
        urls=(server.url,),
        file="set.zip",
        checksum="sha256:" + hashlib.sha256(content).hexdigest(),
        inner="top",
        folder="ESC-50",
        size=len(content),
        unpacked=1_100_000,
        licence="free",
    )


def test_downloads_checks_unpacks_and_does_it_once(server: Server, tmp_path: Path) -> None:
    archive = serve(server)
    folder = obtain(archive, tmp_path / "data")
    assert folder == tmp_path / "data" / "ESC-50"
    assert (folder / "audio" / "a.wav").read_bytes() == NOISE
    assert {path.name for path in folder.parent.iterdir()} <= {"ESC-50", ".set.zip.lock"}
    assert obtain(archive, tmp_path / "data") == folder
    assert server.ranges == [None]


def test_a_broken_connection_is_taken_up_again(server: Server, tmp_path: Path) -> None:
    archive = serve(server)
    server.break_after = [300_000, 200_000]
    obtain(archive, tmp_path)
    assert server.ranges == [None, "bytes=300000-", "bytes=500000-"]


def test_a_stopped_download_goes_on_later(server: Server, tmp_path: Path) -> None:
    archive = serve(server)
    server.break_after = [100_000] * download.TRIES
    with pytest.raises(
        UserError, match=r"cannot download esc50 \(127.*broke off after 400000 of .*it goes on where it stopped"
    ):
        obtain(archive, tmp_path)
    assert (tmp_path / "set.zip.part").stat().st_size == 400_000
    obtain(archive, tmp_path)
    assert server.ranges[-1] == "bytes=400000-"


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    archive = serve(server)
    server.knows_ranges = False
    (tmp_path / "set.zip.part").write_bytes(b"something else")
    folder = obtain(archive, tmp_path)
    assert server.ranges == ["bytes=14-"]
    assert (folder / "audio" / "a.wav").read_bytes() == NOISE


@pytest.mark.parametrize("known_size", [True, False])
def test_a_part_that_is_whole_is_not_read_again(server: Server, tmp_path: Path, known_size: bool) -> None:
    archive = serve(server)
    (tmp_path / "set.zip.part").write_bytes(GOOD)
    obtain(archive if known_size else replace(archive, size=archive.size - 1), tmp_path)
    assert server.ranges == ([] if known_size else [f"bytes={len(GOOD)}-"])


def test_a_wrong_checksum_is_said_and_deleted(server: Server, tmp_path: Path) -> None:
    archive = serve(server)
    server.content = GOOD[:-1] + b"!"
    with pytest.raises(UserError, match=r"127.*wrong checksum, sha256 \w+ instead of \w+; the file was deleted"):
        obtain(archive, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []


def test_a_part_of_another_file_is_started_over(server: Server, tmp_path: Path) -> None:
    archive = serve(server)
    (tmp_path / "set.zip.part").write_bytes(bytes(len(GOOD) + 5))
    with pytest.raises(UserError, match="wrong checksum"):
        obtain(archive, tmp_path)
    assert obtain(archive, tmp_path).is_dir()


def test_mirrors_are_tried_in_turn(server: Server, tmp_path: Path) -> None:
    archive = serve(server)
    assert obtain(replace(archive, urls=("http://127.0.0.1:9/set.zip", server.url)), tmp_path).is_dir()


def test_no_connection_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    urls = ("http://127.0.0.1:9/ESC-50.zip",)
    archive = replace(layouts.SETS["esc10"].archive, urls=urls, size=1, unpacked=1)
    monkeypatch.setitem(layouts.SETS, "esc10", replace(layouts.SETS["esc10"], archive=archive))
    with pytest.raises(
        UserError, match=r"cannot download esc50 .*refused.*by hand and unpack it as .*ESC-50; `--data toy`"
    ) as caught:
        fetch("esc10", tmp_path)
    assert "\n" not in str(caught.value)


def test_unknown_name_and_toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=f"cannot download 'mnist'; there is {', '.join((*layouts.SETS, 'toy'))}"):
        fetch("mnist", tmp_path)
    monkeypatch.setattr("tla.sound.toy.make", lambda folder: folder.mkdir())
    assert fetch("toy", tmp_path) == tmp_path / "toy"


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, "/etc/passwd"
    return entry


def plain(name: str, size: int = 10) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry


def zip_link() -> bytes:
    info = zipfile.ZipInfo("top/link")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return file.getvalue()


HOSTILE = {
    "zip, parent": (zipped({"top/../../evil": b"x"}), "'top/../../evil' would escape"),
    "zip, absolute": (zipped({"/tmp/evil": b"x"}), "'/tmp/evil' would escape"),
    "zip, drive": (zipped({"C:/evil": b"x"}), "would escape"),
    "zip, backslash": (zipped({"top\\..\\..\\evil": b"x"}), "would escape"),
    "zip, link": (zip_link(), "'top/link' is a link or a device"),
    "zip, bomb": (zipped({"top/zeros": bytes(3_000_000)}), "unpacks to far more"),
    "zip, many": (zipped({f"top/{i}": bytes(500_000) for i in range(5)}), "unpacks to far more"),
    "zip, folder missing": (zipped({"other/a.wav": b"x"}), "has no folder top in it"),
    "tar, parent": (tarred(plain("../evil")), "would escape"),
    "tar, absolute": (tarred(plain("/tmp/evil")), "would escape"),
    "tar, symlink": (tarred(link("top/link", tarfile.SYMTYPE)), "is a link or a device"),
    "tar, hard link": (tarred(link("top/link", tarfile.LNKTYPE)), "is a link or a device"),
    "tar, device": (tarred(link("top/dev", tarfile.CHRTYPE)), "is a link or a device"),
    "tar, pipe": (tarred(link("top/pipe", tarfile.FIFOTYPE)), "is a link or a device"),
    "tar, bomb": (tarred(plain("top/zeros", 3_000_000)), "unpacks to far more"),
    "no archive": (b"<html>sorry</html>", "cannot be unpacked .* delete it and try again"),
    "cut off": (tarred(plain("top/a", 1_000_000))[:-500], "cannot be unpacked"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused_and_leave_nothing(server: Server, tmp_path: Path, case: str) -> None:
    content, message = HOSTILE[case]
    with pytest.raises(UserError, match=message):
        obtain(serve(server, content), tmp_path / "a" / "b")
    left = {path.name for path in tmp_path.rglob("*")}
    assert left <= {"a", "b", "set.zip", ".set.zip.lock"}


def test_a_good_tar_with_folders(server: Server, tmp_path: Path) -> None:
    top = tarfile.TarInfo("top/meta")
    top.type = tarfile.DIRTYPE
    folder = obtain(serve(server, tarred(top, plain("./top/meta/esc50.csv"))), tmp_path)
    assert (folder / "meta" / "esc50.csv").read_bytes() == b"x" * 10


def test_what_is_in_the_way_is_left_alone(server: Server, tmp_path: Path) -> None:
    (tmp_path / "ESC-50").mkdir()
    (tmp_path / "ESC-50" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is in the way and is not esc50"):
        obtain(serve(server), tmp_path)
    assert not server.ranges


def test_a_disk_without_room(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = serve(server)
    with pytest.raises(UserError, match=r"needs 9000000\.0 GB there and"):
        obtain(replace(archive, unpacked=9 * 10**15), tmp_path)

    def full(*_: object, room: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_extract", full)
    with pytest.raises(UserError, match="the disk is full; make room, or give another --data-root"):
        obtain(archive, tmp_path)
    assert (tmp_path / "set.zip").exists()
    monkeypatch.undo()
    assert obtain(archive, tmp_path).is_dir()


def test_a_place_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        obtain(serve(server), tmp_path / "file")


def test_two_at_once_download_once(server: Server, tmp_path: Path) -> None:
    archive = serve(server)
    threads = [threading.Thread(target=obtain, args=(archive, tmp_path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.ranges == [None]


@pytest.mark.parametrize("archive", [known.archive for known in layouts.SETS.values()])
def test_the_catalogue_is_well_formed(archive: Archive) -> None:
    algorithm, digits = archive.checksum.split(":")
    assert len(bytes.fromhex(digits)) == hashlib.new(algorithm).digest_size
    assert archive.urls
    assert archive.size < archive.unpacked < 2 * archive.size
