"""UrbanSound8K (`metadata/UrbanSound8K.csv`)."""

import re
from pathlib import Path

from tla.sound.sets.known import Archive, Known
from tla.sound.sets.listing import Listing, Row, bad_row, named, ordered, table, whole


def _listed_in(folder: Path) -> Path:
    return folder / "metadata" / "UrbanSound8K.csv"


def _read(root: Path) -> Listing:
    path, needed = _listed_in(root), ("slice_file_name", "fsID", "fold", "classID", "class")
    rows, problems = [], []
    for line, cells, problem in table(path, needed):
        fold, number = whole(cells.get("fold")), whole(cells.get("classID"))
        if problem is None and (fold is None or number is None):
            problem = bad_row(path, line, "fold and classID must be whole numbers")
        if problem is not None:
            problems.append(problem)
        else:
            clip = root / "audio" / f"fold{fold}" / cells["slice_file_name"]
            rows.append((line, Row(path=clip, label=cells["class"], number=number or 0, fold=fold, source=cells["fsID"])))
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
