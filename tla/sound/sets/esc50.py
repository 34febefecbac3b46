"""ESC-50 (`meta/esc50.csv`), and ESC-10, which is a part of it."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

from tla.sound.sets.known import Archive, Known
from tla.sound.sets.listing import Listing, Row, named, ordered, read_rows, whole

TARGETS_OF_ESC10 = frozenset({0, 1, 10, 11, 12, 20, 21, 38, 40, 41})
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_COMMIT = "33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"  # a branch's archive has no lasting checksum


def _listed_in(folder: Path) -> Path:
    return folder / "meta" / "esc50.csv"


def _read(root: Path, only_esc10: bool) -> Listing:
    def parse(cells: dict[str, str]) -> Row | str | None:
        fold, number, flag = whole(cells["fold"]), whole(cells["target"]), _FLAGS.get(cells["esc10"].lower())
        if fold is None or number is None or flag is None:
            return "fold and target must be whole numbers, and esc10 True or False"
        clip = root / "audio" / cells["filename"]
        row = Row(path=clip, label=cells["category"], number=number, fold=fold, source=cells["src_file"])
        return row if flag or not only_esc10 else None

    path = _listed_in(root)
    rows, problems = read_rows(path, ("filename", "fold", "target", "category", "esc10", "src_file"), parse)
    listing = ordered(root.name, "esc50", root, path, rows, problems)
    if {row.number for row in listing.rows} == TARGETS_OF_ESC10:
        return named(listing, "esc10", len(TARGETS_OF_ESC10))
    return named(listing, "esc50", 50)


ESC50 = Known(
    name="esc50",
    layout="esc50",
    shape=(44100, 5.0, 250),
    folders=("ESC-50", "ESC-50-master", "esc50"),
    archive=Archive(
        name="esc50",
        urls=(f"https://github.com/karolpiczak/ESC-50/archive/{_COMMIT}.zip",),
        file="ESC-50.zip",
        checksum="sha256:661183a6f53ef04f12c9bd618fed0ddc1713280d6c94a5a5431e844ba6f6a21f",
        inner=f"ESC-50-{_COMMIT}",
        folder="ESC-50",
        size=645_832_161,
        unpacked=890_000_000,
        licence="CC BY-NC 3.0; the ESC-10 clips CC BY",
    ),
    found=lambda folder: _listed_in(folder).is_file(),
    read=partial(_read, only_esc10=False),
    clips=2000,
    folds=range(1, 6),
    names=re.compile(r"(?P<fold>\d+)-(?P<source>\d+)-[A-Z]+-(?P<number>\d+)"),
)
ESC10 = replace(
    ESC50,
    name="esc10",
    folders=("ESC-10", "ESC-10-master", "esc10", *ESC50.folders),
    read=partial(_read, only_esc10=True),
    clips=400,
)
