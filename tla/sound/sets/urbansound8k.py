"""UrbanSound8K (`metadata/UrbanSound8K.csv`)."""

import re
from pathlib import Path

from tla.sound.sets.known import Archive, Known
from tla.sound.sets.listing import Listing, Row, named, ordered, read_rows, whole


def _listed_in(folder: Path) -> Path:
    return folder / "metadata" / "UrbanSound8K.csv"


def _read(root: Path) -> Listing:
    def parse(cells: dict[str, str]) -> Row | str:
        fold, number = whole(cells["fold"]), whole(cells["classID"])
        if fold is None or number is None:
            return "fold and classID must be whole numbers"
        clip = root / "audio" / f"fold{fold}" / cells["slice_file_name"]
        return Row(path=clip, label=cells["class"], number=number, fold=fold, source=cells["fsID"])

    path = _listed_in(root)
    rows, problems = read_rows(path, ("slice_file_name", "fsID", "fold", "classID", "class"), parse)
    return named(ordered(root.name, "urbansound8k", root, path, rows, problems), "urbansound8k", 10)


URBANSOUND8K = Known(
    name="urbansound8k",
    layout="urbansound8k",
    shape=(22050, 4.0, 250),
    folders=("UrbanSound8K", "urbansound8k"),
    archive=Archive(
        name="urbansound8k",
        urls=("https://zenodo.org/records/1203745/files/UrbanSound8K.tar.gz?download=1",),
        file="UrbanSound8K.tar.gz",
        checksum="md5:9aa69802bbf37fb986f71ec1483a196e",
        inner="UrbanSound8K",
        folder="UrbanSound8K",
        size=6_023_741_708,
        unpacked=7_100_000_000,
        licence="CC BY-NC 3.0",
    ),
    found=lambda folder: _listed_in(folder).is_file(),
    read=_read,
    clips=8732,
    folds=range(1, 11),
    names=re.compile(r"(?P<source>\d+)-(?P<number>\d+)-\d+-\d+"),
)
