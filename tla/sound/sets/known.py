"""What there is to know of a public data set: where it is found, how it is listed, and what it should hold.

To add one: a file beside this one that makes a `Known`, and its name in `tla.sound.layouts.SETS`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tla.sound.sets.listing import Listing


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


@dataclass(frozen=True, kw_only=True)
class Known:
    """A data set, or a part of one, that has a name."""

    name: str
    layout: str
    """The set that it lies on the disk as: its own name, but for a part."""
    shape: tuple[int, float, int]
    """Rate in hertz, seconds, picture columns."""
    folders: tuple[str, ...]
    """Where it may lie below the data root."""
    archive: Archive
    found: Callable[[Path], bool]
    """Whether a folder holds it."""
    read: Callable[[Path], Listing]
    """Lists the clips of such a folder."""
    clips: int | None = None
    """How many it has, if it is complete."""
    folds: range | None = None
    """The folds that it has, if it comes with some."""
    caution: str = ""
    """What a reader of scores on it has to know."""
    names: re.Pattern[str] | None = None
    """What the name of a file gives away: groups fold, source, number."""
