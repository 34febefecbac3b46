"""Fetching the public data sets: resumed where it stopped, checked, and unpacked without trust in the archive.

A download in progress is `ARCHIVE.part`; only what bears the right checksum loses that ending, and only a completely unpacked
folder takes its place. So fetching can be stopped at any moment and called again.
"""

import errno
import gzip
import hashlib
import http.client
import lzma
import shutil
import ssl
import stat
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import IO, Literal
from urllib.parse import urlsplit

from tla import console
from tla.errors import UserError
from tla.files import held, scratch
from tla.sound import clips, layouts

TIMEOUT_S = 60.0
TRIES = 4  # connections for one download, each going on where the last one broke off

MOST_MEMBERS = 100_000  # of an archive: empty files take no room, but fill a disk too

_BLOCK = 1 << 18
_MB = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A data set to download."""

    name: str
    urls: tuple[str, ...]
    """The same file at several places, tried in turn."""
    file: str
    checksum: str
    """As algorithm:hexadecimal digits."""
    inner: str
    """The archive's top folder."""
    folder: str
    """What it becomes below the data root."""
    size: int
    """Bytes to download."""
    unpacked: int
    """Bytes on the disk; an archive that unpacks to more than twice as much is refused."""
    licence: str


_ESC50_COMMIT = "33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"  # a branch's archive has no lasting checksum

CATALOGUE = {
    "esc50": Archive(
        name="esc50",
        urls=(f"https://github.com/karolpiczak/ESC-50/archive/{_ESC50_COMMIT}.zip",),
        file="ESC-50.zip",
        checksum="sha256:661183a6f53ef04f12c9bd618fed0ddc1713280d6c94a5a5431e844ba6f6a21f",
        inner=f"ESC-50-{_ESC50_COMMIT}",
        folder=clips.FOLDERS["esc50"][0],
        size=645_832_161,
        unpacked=890_000_000,
        licence="CC BY-NC 3.0; the ESC-10 clips CC BY",
    ),
    "urbansound8k": Archive(
        name="urbansound8k",
        urls=("https://zenodo.org/records/1203745/files/UrbanSound8K.tar.gz?download=1",),
        file="UrbanSound8K.tar.gz",
        checksum="md5:9aa69802bbf37fb986f71ec1483a196e",
        inner="UrbanSound8K",
        folder=clips.FOLDERS["urbansound8k"][0],
        size=6_023_741_708,
        unpacked=7_100_000_000,
        licence="CC BY-NC 3.0",
    ),
    "gtzan": Archive(
        name="gtzan",
        urls=(
            "https://huggingface.co/datasets/marsyas/gtzan/resolve/main/data/genres.tar.gz",
            "http://opihi.cs.uvic.ca/sound/genres.tar.gz",
        ),
        file="genres.tar.gz",
        checksum="md5:5b3d6dddb579ab49814ab86dba69e7c7",
        inner="genres",
        folder=clips.FOLDERS["gtzan"][0],
        size=1_230_000_000,
        unpacked=1_330_000_000,
        licence="none given; for research, do not pass clips on",
    ),
}
_PARTS = {"esc10": "esc50", "gtzan-filtered": "gtzan"}


def fetch(name: str, data_root: Path) -> Path:
    """The folder of a named data set, downloaded if it is not there."""
    if name == "toy":
        return clips.find(name, data_root)[0]
    archive = CATALOGUE.get(_PARTS.get(name, name))
    if archive is None:
        raise UserError(f"cannot download {name!r}; there is {', '.join((*CATALOGUE, *_PARTS, 'toy'))}")
    return obtain(archive, data_root)


def obtain(archive: Archive, data_root: Path) -> Path:
    """Download, check and unpack an archive below `data_root`; whatever was done before is not done again."""
    folder = data_root / archive.folder
    with _disk(data_root):
        data_root.mkdir(parents=True, exist_ok=True)
        with held(data_root / f".{archive.file}.lock", f"another process is fetching {archive.name}; waiting for it"):
            if folder.is_dir() and layouts.recognise(folder) != "folder":
                return folder
            if folder.exists():
                raise UserError(f"{folder}: is in the way and is not {archive.name}; move it and try again")
            file = data_root / archive.file
            if not file.is_file():
                _download(archive, file)
            _unpack(archive, file, folder)
            file.unlink()
    return folder


@contextmanager
def _disk(data_root: Path) -> Iterator[None]:
    """Faults of the disk, as the user's to mend."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        wrong = "the disk is full" if full else f"cannot be written ({error.strerror or error})"
        raise UserError(f"{data_root}: {wrong}; make room, or give another --data-root. What was downloaded is kept") from None


def _download(archive: Archive, file: Path) -> None:
    part = file.with_name(file.name + ".part")
    needed, free = archive.size - _size(part) + archive.unpacked, shutil.disk_usage(file.parent).free
    if free < needed:
        sizes = f"needs {needed / 1e9:.1f} GB there and {free / 1e9:.1f} GB are free"
        raise UserError(f"{file.parent}: {archive.name} {sizes}; make room, or give another --data-root")
    console.say(f"{archive.name}: {archive.size / 1e9:.1f} GB; licence: {archive.licence}")
    faults = []
    for url in archive.urls:
        try:
            _complete(url, part, archive)
            _verify(part, archive)
        except _NETWORK as error:
            why = " ".join(str(getattr(error, "reason", None) or error).split())  # it may quote the server
            faults.append(f"{urlsplit(url).netloc}: {console.printable(why)}")
        else:
            part.replace(file)
            return
    raise UserError(
        f"cannot download {archive.name} ({'; '.join(faults)}). Try again when online (it goes on where it stopped), or get "
        f"{archive.urls[0]} by hand and unpack it as {file.parent / archive.folder}; `--data toy` needs no download"
    )


class _NotTheFile(Exception):
    """What came is complete, but is not what was asked for."""


_NETWORK = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError, _NotTheFile)


def _complete(url: str, part: Path, archive: Archive) -> None:
    """Bring `part` to its full length, over several connections if they break off."""
    with console.progress(f"downloading {archive.name} (MB)", archive.size // _MB) as bar:
        for tries_left in reversed(range(TRIES)):
            before = _size(part)
            if before == archive.size:
                return
            try:
                return _connect(url, part, bar, archive.size + archive.size // 10 + _BLOCK)
            except _NETWORK:
                if not tries_left or _size(part) <= before:  # it is not getting anywhere
                    raise


def _connect(url: str, part: Path, bar: console.Progress, most: int) -> None:
    """Read on from where `part` ends; a server that cannot do that sends all of it again."""
    have = _size(part)
    ranged = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers={"User-Agent": "tla", **ranged})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if error.headers.get("Content-Range", "").endswith(f"/{have}"):
            return  # it was complete already
        part.unlink()
        raise
    with response:
        resumed = response.status == HTTPStatus.PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise _NotTheFile("sent another part of the file than was asked for")
        length = response.headers.get("Content-Length")
        with part.open("ab" if resumed else "wb") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                bar.advance(file.tell() // _MB - bar.done)
                if file.tell() > most:  # a server may go on for ever
                    break
    if _size(part) > most:
        part.unlink()
        raise _NotTheFile(f"sent more than the {most / _MB:.0f} MB that it may be; what came was deleted")
    expected = int(length) + have * resumed if length else _size(part)
    if _size(part) < expected:
        raise ConnectionError(f"broke off after {_size(part)} of {expected} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _verify(file: Path, archive: Archive) -> None:
    """Check the file's digest; one that differs is deleted, so that the next try starts afresh."""
    algorithm, expected = archive.checksum.split(":")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != expected:
        file.unlink()
        raise _NotTheFile(f"wrong checksum, {algorithm} {digest.hexdigest()} instead of {expected}; the file was deleted")


@dataclass(frozen=True, kw_only=True)
class _Member:
    """A file or folder inside an archive."""

    name: str
    kind: Literal["file", "folder", "other"]
    open: Callable[[], IO[bytes] | None]


def _unpack(archive: Archive, file: Path, folder: Path) -> None:
    with scratch(folder.parent, ".unpack-") as new:
        try:
            with console.progress(f"unpacking {archive.name} (MB)", archive.unpacked // _MB) as bar:
                written = 0
                for number, member in enumerate(_members(file)):
                    if number == MOST_MEMBERS:
                        raise _Refused(f"has more than {MOST_MEMBERS} files and folders in it")
                    written += _extract(member, new, room=2 * archive.unpacked - written)
                    bar.advance(written // _MB - bar.done)
        except _Refused as error:
            raise UserError(f"{file}: {error}; nothing was kept of it") from None
        except _BROKEN as error:
            raise UserError(f"{file}: cannot be unpacked ({str(error).partition(':')[0]}); delete it and try again") from None
        if not (new / archive.inner).is_dir():
            raise UserError(f"{file}: has no folder {archive.inner} in it; delete it and try again")
        (new / archive.inner).rename(folder)


class _Refused(Exception):
    """An archive that tries something that no data set needs."""


_BROKEN = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)


def _members(file: Path) -> Iterator[_Member]:
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as zipped:
            for info in zipped.infolist():
                mode = info.external_attr >> 16
                plain = stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFDIR)
                kind: Literal["file", "folder", "other"] = "other" if not plain else "folder" if info.is_dir() else "file"
                yield _Member(name=info.filename, kind=kind, open=partial(zipped.open, info))
    else:
        with tarfile.open(file, "r:*") as tarred:
            for entry in tarred:
                kind = "folder" if entry.isdir() else "file" if entry.isreg() else "other"
                yield _Member(name=entry.name, kind=kind, open=partial(tarred.extractfile, entry))


def _extract(member: _Member, into: Path, room: int) -> int:
    """Write one member below `into`; returns its size in bytes."""
    place = PurePosixPath(member.name)
    if place.is_absolute() or ".." in place.parts or "\\" in member.name or ":" in member.name:
        raise _Refused(f"its member {member.name!r} would escape the folder")
    if member.kind == "other":
        raise _Refused(f"its member {member.name!r} is a link or a device")
    target = into.joinpath(*place.parts)
    if target.exists() and not (member.kind == "folder" and target.is_dir()):
        raise _Refused(f"its member {member.name!r} is there twice")
    if member.kind == "folder":
        target.mkdir(parents=True, exist_ok=True)
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    assert source is not None  # only members that are no files have nothing to open
    written = 0
    with source, target.open("wb") as file:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > room:
                raise _Refused("unpacks to far more than the data set holds")
            file.write(block)
    return written
