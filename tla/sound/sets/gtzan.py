"""GTZAN (ten folders of `genre.000nn` files), and its artist-aware, fault-filtered split."""

import re
from dataclasses import replace
from pathlib import Path

from tla.sound.sets.known import Archive, Known
from tla.sound.sets.listing import Listing, Problem, Row, sounds

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
BROKEN = "jazz.00054"  # cannot be decoded, so that many copies of GTZAN leave it out
FILTERED_FOLDS = {"test": 1, "valid": 2, "train": 3}  # the fold numbers of the filtered split

_LISTS = Path(__file__).parent / "lists"


def _genres(folder: Path) -> Path | None:
    """The folder below (or at) `folder` that holds the ten genres, each with files called genre.000nn."""
    for base in (folder, folder / "genres", folder / "genres_original", folder / "Data" / "genres_original"):
        if all(any((base / genre).glob(f"{genre}.[0-9]*.*")) for genre in GENRES):
            return base
    return None


def _read(folder: Path) -> Listing:
    root = _genres(folder) or folder
    pattern = re.compile(r"[a-z]+\.\d{5}")
    rows = [
        Row(path=path, label=genre)
        for genre in GENRES
        for path in sounds(root / genre)
        if pattern.fullmatch(path.stem) and path.stem.startswith(genre + ".")
    ]
    return Listing(name="gtzan", layout="gtzan", root=root, rows=tuple(sorted(rows, key=lambda row: row.path)))


def _filtered(folder: Path) -> Listing:
    """The split, as folds 1 (test), 2 (validation) and 3 (train)."""
    listing = _read(folder)
    folds = {name: fold for part, fold in FILTERED_FOLDS.items() for name in filtered_names(part)}
    rows = tuple(replace(row, fold=folds[row.path.stem]) for row in listing.rows if row.path.stem in folds)
    lost = sorted(folds.keys() - {row.path.stem for row in rows} - {BROKEN})
    problems = [
        Problem(what="missing file", text=f"{listing.root}: there is no {name}, which the filtered split lists")
        for name in lost
    ]
    return replace(listing, name="gtzan-filtered", rows=rows, problems=(*listing.problems, *problems))


def filtered_names(part: str) -> list[str]:
    """The clips of one part (train, valid, test) of the filtered split."""
    lines = (_LISTS / f"gtzan_filtered_{part}.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


GTZAN = Known(
    name="gtzan",
    layout="gtzan",
    shape=(22050, 30.0, 1500),
    folders=("genres", "gtzan", "GTZAN"),
    archive=Archive(
        name="gtzan",
        urls=(
            "https://huggingface.co/datasets/marsyas/gtzan/resolve/main/data/genres.tar.gz",
            "http://opihi.cs.uvic.ca/sound/genres.tar.gz",
        ),
        file="genres.tar.gz",
        checksum="md5:5b3d6dddb579ab49814ab86dba69e7c7",
        inner="genres",
        folder="genres",
        size=1_230_000_000,
        unpacked=1_330_000_000,
        licence="none given; for research, do not pass clips on",
    ),
    found=lambda folder: _genres(folder) is not None,
    read=_read,
    clips=1000,
    caution="GTZAN holds recordings and artists more than once, also in training and held-out clips; gtzan-filtered does not.",
)
FILTERED = replace(GTZAN, name="gtzan-filtered", read=_filtered, clips=None, caution="")
