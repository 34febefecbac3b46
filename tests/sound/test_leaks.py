"""Clips that share a recording, or a sound with one or two labels: a study of them stops, unless it is asked for."""

import csv
import itertools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tla import plots, tables
from tla.errors import UserError
from tla.launch.study import ensure, list_runs, prepare
from tla.options import Place, Study
from tla.runs.command import again
from tla.runs.tables import runs_table
from tla.sound import leaks
from tla.sound.check import check
from tla.sound.clips import load

Rows = list[dict[str, str]]


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    """Two classes of six clips, in three folds, each clip of a recording of its own."""
    found = []
    for number, (label, fold, i) in enumerate(itertools.product("ab", "123", range(2))):
        name = f"{label}{fold}{i}.wav"
        soundfile.write(tmp_path / name, np.random.default_rng(number).uniform(-0.5, 0.5, 4000), 8000)
        found.append({"path": name, "label": label, "fold": fold, "source": f"r{number}"})
    return found


def write(folder: Path, rows: Rows, *columns: str) -> str:
    with (folder / "list.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, columns or list(rows[0]), extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
    return str(folder / "list.csv")


def one_recording(folder: Path, rows: Rows) -> None:
    rows[0]["source"] = rows[2]["source"]


def one_sound(folder: Path, rows: Rows) -> None:
    shutil.copy(folder / rows[0]["path"], folder / rows[2]["path"])


def two_labels(folder: Path, rows: Rows) -> None:
    shutil.copy(folder / rows[0]["path"], folder / rows[6]["path"])


CASES: dict[str, tuple[Callable[[Path, Rows], None], str, str]] = {
    leaks.RECORDINGS: (
        one_recording,
        "r2, in a10.wav .fold 1, a. and a20.wav .fold 2, a",
        "1 recording in training and held-out",
    ),
    leaks.EQUAL: (one_sound, "a10.wav .fold 1, a. and a20.wav .fold 2, a", "1 sound twice, in training and held-out"),
    leaks.LABELS: (two_labels, "a10.wav .fold 1, a. and b10.wav .fold 1, b", "1 sound under two labels"),
}


@pytest.mark.parametrize("what", CASES)
def test_each_leak_is_refused_and_noted(tmp_path: Path, rows: Rows, what: str) -> None:
    spoil, message, note = CASES[what]
    clean = load(write(tmp_path, rows), tmp_path)
    leaks.refuse(clean)
    assert leaks.note(clean) == ""
    spoil(tmp_path, rows)
    data = load(write(tmp_path, rows), tmp_path)
    with pytest.raises(UserError, match=f"{what}: {message}.*--allow-leaks"):
        leaks.refuse(data)
    assert leaks.note(data).startswith(f"LEAKS: {note}")
    found = [finding for finding in check(tmp_path / "list.csv").findings if finding.what == what]
    assert [(finding.count, finding.error) for finding in found] == [(1, True)]


def test_copies_in_folds_that_are_made(tmp_path: Path, rows: Rows) -> None:
    path = write(tmp_path, rows, "path", "label")
    folds = {clip.name: clip.fold for clip in load(path, tmp_path).clips}
    other = next(row["path"] for row in rows[1:6] if folds[row["path"]] != folds[rows[0]["path"]])
    shutil.copy(tmp_path / rows[0]["path"], tmp_path / other)
    with pytest.raises(UserError, match="same sound across folds"):
        leaks.refuse(load(path, tmp_path))
    assert not check(Path(path)).ok


def test_a_copy_within_a_fold_is_no_leak(tmp_path: Path, rows: Rows) -> None:
    shutil.copy(tmp_path / rows[0]["path"], tmp_path / rows[1]["path"])
    data = load(write(tmp_path, rows), tmp_path)
    leaks.refuse(data)
    assert leaks.note(data) == ""
    assert check(data).ok


def test_public_folds_are_used_as_they_are(tmp_path: Path, rows: Rows) -> None:
    one_recording(tmp_path, rows)
    data = replace(load(write(tmp_path, rows), tmp_path), layout="urbansound8k", name="urbansound8k")
    leaks.refuse(data)
    assert leaks.note(data).startswith("LEAKS: 1 recording")
    gtzan = replace(data, layout="gtzan", name="gtzan", clips=data.clips[4:])
    leaks.refuse(gtzan)
    assert leaks.note(gtzan).startswith("GTZAN holds recordings and artists more than once")


def test_real_folds_share_nothing(shared: Path, tmp_path: Path) -> None:
    for name in ("ESC-10", "FSDD/fsdd.csv"):
        if (shared / "data" / name).exists():
            data = load(str(shared / "data" / name), tmp_path)
            leaks.refuse(data)
            assert leaks.note(data) == "", name


def test_a_study_stops_or_its_tables_and_captions_note_it(study: Study, place: Place, tmp_path: Path, few_sounds: Path) -> None:
    table = few_sounds / "toy.csv"
    with table.open(newline="") as file:
        rows = [row | {"path": str(few_sounds / row["path"])} for row in csv.DictReader(file)]
    rows[0]["source"] = next(row["source"] for row in rows if row["fold"] != rows[0]["fold"])
    leaky = replace(study, data=write(tmp_path, rows, "path", "label", "fold", "source"))
    with pytest.raises(UserError, match="source in several folds"):
        prepare(leaky, place)
    material = prepare(replace(leaky, allow_leaks=True), place)
    finished = ensure(list_runs(material), material, place)
    assert "--allow-leaks" in again(finished[0])
    runs = runs_table(finished)
    assert plots.basis(runs).startswith("LEAKS: 1 recording in training and held-out clips. list, densenet_tiny")
    assert "LEAKS" in str(tables.warning(runs))
    clean = prepare(study, place)
    assert "leaks" not in runs_table(ensure(list_runs(clean), clean, place))
