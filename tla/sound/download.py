"""Fetching the public data sets: resumed where it stopped, checked, and unpacked without trust in the archive.

A download in progress is `ARCHIVE.part`; only what bears the right checksum loses that ending, and only a completely unpacked
folder takes its place. So fetching can be stopped at any moment and called again. (pooch begins a download that broke off anew,
and its archives are unpacked without a limit.)
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
from functools import partial
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

from tla import console
from tla.errors import UserError
from tla.files import held, scratch
from tla.sound import clips, layouts
from tla.sound.sets.known import Archive

TIMEOUT_S = 60.0
TRIES = 4  # connections for one download, each going on where the last one broke off
MOST_MEMBERS = 100_000  # of an archive: empty files take no room, but fill a disk too

_BLOCK = 1 << 18
_MB = 1_000_000


def fetch(name: str, data_root: Path) -> Path:
    """The folder of a named data set, downloaded if it is not there."""
    if name == "toy":
        return clips.find(name, data_root)[0]
    known = layouts.SETS.get(name)
    if known is None:
        raise UserError(f"cannot download {name!r}; there is {', '.join((*layouts.SETS, 'toy'))}")
    return obtain(known.archive, data_root)


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
    with console.progress(f"downloading {archive.name} (MB)", archive.size // _MB) as bar:
        for url in archive.urls:
            if (fault := _complete(url, part, bar, archive)) is None:
                part.replace(file)
                return
            faults.append(f"{urlsplit(url).netloc}: {fault}")
    raise UserError(
        f"cannot download {archive.name} ({'; '.join(faults)}). Try again when online (it goes on where it stopped), or get "
        f"{archive.urls[0]} by hand and unpack it as {file.parent / archive.folder}; `--data toy` needs no download"
    )


def _complete(url: str, part: Path, bar: console.Progress, archive: Archive) -> str | None:
    """Bring `part` to its full length, over several connections if they break off; or why that cannot be done."""
    fault = None
    for _ in range(TRIES):
        before = _size(part)
        try:
            if before != archive.size:
                _connect(url, part, bar, archive.size + archive.size // 10 + _BLOCK)
            _verify(part, archive)
            return None
        except _NETWORK as error:
            fault = console.printable(" ".join(str(getattr(error, "reason", None) or error).split()))  # it may quote the server
            if _size(part) <= before:  # it is not getting anywhere
                break
    return fault


class _NotTheFile(Exception):
    """What came is complete, but is not what was asked for."""


_NETWORK = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError, _NotTheFile)


def _connect(url: str, part: Path, bar: console.Progress, most: int) -> None:
    """Read on from where `part` ends; a server that cannot do that sends all of it again."""
    have = _size(part)
    ranged = {"Range": f"bytes={have}-"} if have else {}
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers={"User-Agent": "tla", **ranged}), timeout=TIMEOUT_S
        )
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return  # nothing follows: it is complete, or another file, as its checksum will show
    with response, part.open("ab" if response.status == HTTPStatus.PARTIAL_CONTENT else "wb") as file:
        expected = file.tell() + (response.length or 0)
        while block := response.read(_BLOCK):
            file.write(block)
            bar.advance(file.tell() // _MB - bar.done)
            if file.tell() > most:  # a server may go on for ever
                file.truncate(0)
                raise _NotTheFile(f"sent more than the {most / _MB:.0f} MB that it may be; what came was deleted")
        if response.length:
            raise ConnectionError(f"broke off after {file.tell()} of {expected} bytes")


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


# Archives

Member = tuple[str, str, Callable[[], IO[bytes] | None]]  # name, kind (file, folder, other), and how it is opened


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


def _members(file: Path) -> Iterator[Member]:
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as zipped:
            for info in zipped.infolist():
                mode = info.external_attr >> 16
                plain = stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFDIR)
                kind = "other" if not plain else "folder" if info.is_dir() else "file"
                yield info.filename, kind, partial(zipped.open, info)
    else:
        with tarfile.open(file, "r:*") as tarred:
            for entry in tarred:
                kind = "folder" if entry.isdir() else "file" if entry.isreg() else "other"
                yield entry.name, kind, partial(tarred.extractfile, entry)


def _extract(member: Member, into: Path, room: int) -> int:
    """Write one member below `into`; returns its size in bytes."""
    name, kind, opens = member
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or "\\" in name or ":" in name:
        raise _Refused(f"its member {name!r} would escape the folder")
    if kind == "other":
        raise _Refused(f"its member {name!r} is a link or a device")
    target = into.joinpath(*place.parts)
    if target.exists() and not (kind == "folder" and target.is_dir()):
        raise _Refused(f"its member {name!r} is there twice")
    if kind == "folder":
        target.mkdir(parents=True, exist_ok=True)
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    source = opens()
    assert source is not None  # only members that are no files have nothing to open
    written = 0
    with source, target.open("wb") as file:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > room:
                raise _Refused("unpacks to far more than the data set holds")
            file.write(block)
    return written
