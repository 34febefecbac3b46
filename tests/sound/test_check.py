import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tla.errors import UserError
from tla.sound.check import Finding, Report, check
from tla.sound.clips import load

HEADER = ("filename", "fold", "target", "category", "esc10", "src_file", "take")


def tone(seed: int, seconds: float = 5.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * 1000))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A sound data set in ESC-50's layout: ten ESC-10 classes of five clips."""
    root = tmp_path / "ESC-10"
    rows: list[tuple[str, ...]] = [HEADER]
    (root / "audio").mkdir(parents=True)
    (root / "meta").mkdir()
    for target in (0, 1, 10, 11, 12, 20, 21, 38, 40, 41):
        for fold in range(1, 6):
            name = f"{fold}-{100 * target + fold}-A-{target}.wav"
            soundfile.write(root / "audio" / name, tone(100 * target + fold), 1000)
            rows.append((name, str(fold), str(target), f"s{target}", "True", str(100 * target + fold), "A"))
    write(root, rows)
    return root


def write(root: Path, rows: list[tuple[str, ...]]) -> None:
    with (root / "meta" / "esc50.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def edit(old: str, new: str) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        table = root / "meta" / "esc50.csv"
        assert old in table.read_text()
        table.write_text(table.read_text().replace(old, new, 1))

    return apply


def put(name: str, content: bytes | np.ndarray) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        path = root / "audio" / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            soundfile.write(path, content, 1000, subtype="FLOAT")

    return apply


def copy(old: str, new: str) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        shutil.copy(root / "audio" / old, root / "audio" / new)

    return apply


def cross(root: Path) -> None:
    edit("2-2-A-0.wav,2,0,s0,True,2", "2-1-A-0.wav,2,0,s0,True,1")(root)
    (root / "audio" / "2-2-A-0.wav").rename(root / "audio" / "2-1-A-0.wav")


def found(report: Report, what: str) -> Finding:
    match = [finding for finding in report.findings if finding.what == what]
    assert match, f"{what} not in {[finding.what for finding in report.findings]}"
    return match[0]


def test_a_sound_set(root: Path) -> None:
    report = check(root)
    assert report.ok
    assert [finding.what for finding in report.findings] == ["clips too few or too many"]  # 50 where ESC-10 has 400
    facts = dict(report.facts)
    assert facts["clips"] == "50"
    assert facts["classes"] == "10, of 5 to 5 clips"
    assert facts["folds"] == "1: 10, 2: 10, 3: 10, 4: 10, 5: 10"
    assert facts["shortest / median / longest"].startswith("5.00 / 5.00 / 5.00 s")
    assert facts["sampling rates"] == "1000 Hz: 50"
    assert report.verdict == "esc10: usable, with 1 note"


CLIP = "1-1-A-0.wav"
NAN = np.array([0.1, np.nan, 0.1])
CASES: dict[str, tuple[Callable[[Path], None], str, bool, str]] = {
    "missing": (lambda root: (root / "audio" / CLIP).unlink(), "missing", True, CLIP),
    "zero bytes": (put(CLIP, b""), "empty", True, CLIP),
    "no samples": (put(CLIP, np.zeros(0)), "empty", True, "holds no samples"),
    "text": (put(CLIP, b"hello, I am no sound"), "unreadable", True, "cannot be decoded"),
    "nan": (put(CLIP, NAN), "not finite", True, CLIP),
    "silent": (put(CLIP, np.zeros(5000)), "silent", False, CLIP),
    "integers written as floats": (put(CLIP, 3e4 * np.sin(np.arange(5000))), "far beyond full scale", False, "peak 3e+04"),
    "one sample": (put(CLIP, np.array([0.5])), "too short for a picture", True, "0.0010 s"),
    "length": (put(CLIP, tone(9, 4.9)), "not 5 s long", False, "4.90 s"),
    "copy": (copy("1-1-A-0.wav", "2-2-A-0.wav"), "same sound across folds", False, f"audio/{CLIP} = audio/2-2-A-0.wav"),
    "copy, other label": (copy("1-1-A-0.wav", "1-101-A-1.wav"), "same sound with different labels", False, CLIP),
    "fold out of range": (edit(f"{CLIP},1", f"{CLIP},6"), "fold out of range", True, "fold 6"),
    "fold against name": (edit(f"{CLIP},1", f"{CLIP},2"), "fold contradicts the file name", True, "listed as 2"),
    "label against name": (edit(f"{CLIP},1,0,s0", f"{CLIP},1,1,s1"), "label contradicts the file name", True, "listed as 1"),
    "source against name": (edit("True,1,A", "True,7,A"), "source contradicts the file name", True, "listed as 7"),
    "sources cross": (cross, "source in several folds", False, "1 (folds 1, 2)"),
    "bad fold": (edit(f"{CLIP},1", f"{CLIP},x"), "bad row", True, "fold and target must be whole numbers"),
    "ragged": (edit(f"{CLIP},1,", f"{CLIP},"), "bad row", True, "has 6 cells, the header 7"),
    "twice": (edit("2-2-A-0.wav", CLIP), "listed twice", True, CLIP),
    "not listed": (copy(CLIP, "1-1-B-0.wav"), "sound file not listed", False, "1-1-B-0.wav"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_found(root: Path, case: str) -> None:
    spoil, what, error, example = CASES[case]
    spoil(root)
    report = check(root)
    finding = found(report, what)
    assert (finding.error, finding.count) == (error, 1)
    assert example in finding.examples[0]
    assert report.ok is not error
    assert (what in report.verdict) is error
    assert ("error" if error else "note", what, "1") in [row[:3] for row in report.rows]


def test_a_copy_in_another_format_is_found(root: Path) -> None:
    samples, rate = soundfile.read(root / "audio" / CLIP)
    soundfile.write(root / "audio" / "2-2-A-0.wav", samples, rate, format="FLAC", subtype="PCM_16")
    assert found(check(root), "same sound across folds").count == 1


def test_examples_are_few_and_errors_first(root: Path) -> None:
    for path in sorted((root / "audio").iterdir())[:20]:
        path.write_bytes(b"")
    put("5-5-A-0.wav", np.zeros(5000))(root)
    report = check(root)
    assert report.findings[0] == found(report, "empty")
    assert (report.findings[0].count, len(report.findings[0].examples)) == (20, 3)
    assert report.verdict.startswith("esc10: not usable as it is: 20 empty and ")


def test_classes_that_differ_in_size_are_noted(root: Path, tmp_path: Path) -> None:
    rows = [("path", "label"), *((f"audio/{path.name}", path.stem.split("-")[-1]) for path in (root / "audio").iterdir())]
    table = root / "list.csv"
    for labels, note in ((("0", "1"), ()), (("0", "1", "10"), ("0 has 10 clips, 1 5: always naming 0 would be 67% accurate",))):
        chosen = [(path, "0" if label == "10" else label) for path, label in rows if label in ("label", *labels)]
        with table.open("w", newline="") as file:
            csv.writer(file).writerows(chosen)
        findings = {finding.what: finding for finding in check(table).findings}
        assert ("classes far from equal in size" in findings) == bool(note)
        for text in note:
            (example,) = findings["classes far from equal in size"].examples
            assert example == f"{text}; see macro accuracy, and --recipe.class-weights balanced"
            assert check(table).ok


def test_several_labels_are_an_error(root: Path) -> None:
    table = root / "list.csv"
    table.write_text("path,label\naudio/1-1-A-0.wav,dog|cat\naudio/2-2-A-0.wav,dog\naudio/2-2-A-0.wav,cat\n")
    finding = found(check(table), "several labels")
    assert (finding.error, finding.count) == (True, 2)


def test_a_loaded_set(root: Path, tmp_path: Path) -> None:
    data = load(str(root), tmp_path)
    assert check(data).ok
    put(CLIP, b"")(root)
    assert found(check(data), "empty").count == 1
    assert check(data.without([f"audio/{CLIP}"])).ok


def test_own_folder_with_a_lonely_class(tmp_path: Path) -> None:
    for i, label in enumerate("aab"):
        (tmp_path / "own" / label).mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "own" / label / f"{i}.wav", tone(i), 1000)
    report = check(tmp_path / "own")
    assert found(report, "class with one clip").examples == ("b",)
    assert dict(report.facts)["folds"].startswith("none given")


def test_a_set_asked_for_by_name_may_leave_files_out(root: Path) -> None:
    copy(CLIP, "1-1-B-0.wav")(root)
    assert "sound file not listed" not in [finding.what for finding in check(root, "esc10").findings]


def test_no_data_set_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has nothing in it"):
        check(tmp_path)


def test_esc10_as_it_is(esc10: Path) -> None:
    report = check(esc10)
    assert report.verdict == "esc10: usable, with 1 note"
    assert found(report, "not 5 s long").count == 20
