"""Is a data set fit for use? Every file is decoded, and the list is held against the files and their names.

An error stops a study (a missing or broken clip, a row that cannot be read, a recording or a sound in two folds); a note is to
be known when its numbers are read (odd lengths, classes that differ in size, what the folds of a public set share). Nothing
here raises for a bad clip.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tla import console
from tla.sound import audio, layouts, leaks, spectrograms
from tla.sound.clips import Dataset, folds_or_none
from tla.sound.sets.listing import Listing, sounds

SILENT_PEAK = 1e-4  # full scale is 1; -80 dB
SHORT_S = 0.05  # half of the paper's Fourier window, which a clip must fill for its ends to be mirrored
OFF_NOMINAL_S = 0.001  # encoders add or drop a few samples
EXAMPLES = 3
UNBALANCED = 2  # times as many clips in the largest class as in the smallest one

_WRONG = {
    "there is no such file": "missing",
    "holds no samples": "empty",
    "holds NaN or infinite samples": "not finite",
    "is empty (0 bytes)": "empty",
}
_PARTS = ("esc10", "gtzan-filtered")  # asked for by name, these leave files of their folder out
_READERS = 4


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of thing that was found."""

    what: str
    count: int
    examples: tuple[str, ...]
    error: bool = False


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a check found: facts about the set, and findings, errors first."""

    name: str
    facts: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether a run can use every clip as it is."""
        return not any(finding.error for finding in self.findings)

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """For a table: error or note, what, how many, examples."""
        return [
            ("error" if finding.error else "note", finding.what, str(finding.count), "; ".join(finding.examples))
            for finding in self.findings
        ]

    @property
    def verdict(self) -> str:
        """One line."""
        errors = [f"{finding.count} {finding.what}" for finding in self.findings if finding.error]
        notes = sum(not finding.error for finding in self.findings)
        also = f" and {notes} note{'s' * (notes != 1)}" if notes else ""
        if errors:
            return f"{self.name}: not usable as it is: {', '.join(errors)}{also}"
        return f"{self.name}: usable, with{also.removeprefix(' and')}" if notes else f"{self.name}: usable, nothing found"


@dataclass(frozen=True, kw_only=True)
class _Decoded:
    """What a file holds; `wrong` is why it cannot be used."""

    wrong: str = ""
    text: str = ""
    seconds: float = 0.0
    rate: int = 0
    peak: float = 1.0
    content: str = ""

    @property
    def silent(self) -> bool:
        return self.peak < SILENT_PEAK


def check(what: Dataset | Path, name: str | None = None) -> Report:
    """Check a data set, or what lies at a path (as the named set, if a name is given), however broken its list may be."""
    listing = what.listing if isinstance(what, Dataset) else layouts.read(what, name)
    decoded, folds = _decode_all(listing), folds_or_none(listing)
    findings = [
        *_list_findings(listing),
        *_name_findings(listing),
        *_file_findings(listing, decoded),
        *_shared_findings(listing, decoded, folds),
        *_class_findings(listing, folds),
        *([] if name in _PARTS else _unlisted_findings(listing)),
    ]
    found = (finding for finding in findings if finding.count)
    return Report(
        name=listing.name,
        facts=tuple(_facts(listing, [one for one in decoded if not one.wrong])),
        findings=tuple(sorted(found, key=lambda finding: not finding.error)),
    )


def _decode_all(listing: Listing) -> list[_Decoded]:
    with console.progress("decoding", len(listing.rows)) as bar, ThreadPoolExecutor(_READERS) as pool:
        decoded = []
        for one in pool.map(_decode, [row.path for row in listing.rows]):
            decoded.append(one)
            bar.advance()
    return decoded


def _decode(path: Path) -> _Decoded:
    try:
        samples, rate = audio.read(path)
    except audio.BadClip as error:
        return _Decoded(wrong=_WRONG.get(error.wrong, "unreadable"), text=error.wrong)
    return _Decoded(
        seconds=len(samples) / rate,
        rate=rate,
        peak=float(np.abs(samples).max()),
        content=hashlib.sha256(samples.tobytes()).hexdigest(),  # of the sound, so that a copy in another format is found too
    )


def _finding(what: str, examples: Sequence[str], error: bool = False, count: int | None = None) -> Finding:
    return Finding(what=what, count=len(examples) if count is None else count, examples=tuple(examples[:EXAMPLES]), error=error)


def _list_findings(listing: Listing) -> Iterator[Finding]:
    """What is wrong with the list itself; files that are not there are found by decoding."""
    for what in dict.fromkeys(problem.what for problem in listing.problems):
        texts = [problem.text for problem in listing.problems if problem.what == what]
        if what != "missing file" or listing.name == "gtzan-filtered":
            yield _finding(what, texts, error=True)
    known = layouts.SETS.get(listing.name)
    if known and (expected := known.clips) is not None and len(listing.rows) != expected:
        text = f"{len(listing.rows)} of {expected}: numbers do not compare with published ones"
        yield _finding("clips too few or too many", [text], count=abs(expected - len(listing.rows)))


def _unlisted_findings(listing: Listing) -> Iterator[Finding]:
    """Sound files beside the listed ones: the list may be cut off."""
    if listing.layout in ("esc50", "urbansound8k", "toy"):
        listed = {row.path for row in listing.rows}
        names = [listing.name_of(path) for path in sounds(listing.root) if path not in listed]
        yield _finding("sound file not listed", names)


def _name_findings(listing: Listing) -> Iterator[Finding]:
    """Folds that the set does not have, and rows that contradict the file's name."""
    known = layouts.SETS.get(listing.layout)
    if known is None:
        return
    if (folds := known.folds) is not None:
        out = [f"{listing.name_of(row.path)}: fold {row.fold}" for row in listing.rows if row.fold not in folds]
        yield _finding("fold out of range", out, error=True)
    if known.names is None:
        return
    against: dict[str, list[str]] = {"number": [], "fold": [], "source": []}
    odd = []
    for row in listing.rows:
        found = known.names.fullmatch(row.path.stem)
        if found is None:
            odd.append(listing.name_of(row.path))
            continue
        for part, value in found.groupdict().items():
            listed = getattr(row, part)
            if str(listed) != value and listed != -1:
                against[part].append(f"{listing.name_of(row.path)}: listed as {listed}")
    yield _finding("file name not of the set's form", odd)
    for part, what in (("number", "label"), ("fold", "fold"), ("source", "source")):
        yield _finding(f"{what} contradicts the file name", against[part], error=True)


def _file_findings(listing: Listing, decoded: Sequence[_Decoded]) -> Iterator[Finding]:
    """What is wrong with single files."""
    pairs = list(zip(listing.rows, decoded, strict=True))
    for wrong in ("missing", "unreadable", "empty", "not finite"):
        texts = [f"{listing.name_of(row.path)}: {one.text}" for row, one in pairs if one.wrong == wrong]
        yield _finding(wrong, texts, error=True)
    good = [(listing.name_of(row.path), one) for row, one in pairs if not one.wrong]
    yield _finding("silent", [name for name, one in good if one.silent])
    far = [f"{name}: peak {one.peak:.3g} in place of 1" for name, one in good if one.peak > spectrograms.BEYOND]
    yield _finding("far beyond full scale", far)
    yield _finding(
        "too short for a picture", [f"{name}: {one.seconds:.4f} s" for name, one in good if one.seconds <= SHORT_S], error=True
    )
    if listing.layout in layouts.SHAPES:
        nominal = layouts.SHAPES[listing.layout][1]
        off = [f"{name}: {one.seconds:.2f} s" for name, one in good if abs(one.seconds - nominal) > OFF_NOMINAL_S]
        yield _finding(f"not {nominal:g} s long", off)


def _shared_findings(listing: Listing, decoded: Sequence[_Decoded], folds: Sequence[int | None]) -> Iterator[Finding]:
    """One sound or one recording more than once: worst first, and an error where a study would stop."""
    rows = listing.rows
    found = leaks.shared([row.label for row in rows], folds, [row.source for row in rows], [one.content for one in decoded])
    for what, groups in found.items():
        texts = [" = ".join(listing.name_of(rows[row].path) for row in group) for group in groups]
        if what == leaks.RECORDINGS:
            places = [", ".join(map(str, sorted({folds[row] or 0 for row in group}))) for group in groups]
            texts = [f"{rows[group[0]].source} (folds {where})" for group, where in zip(groups, places, strict=True)]
        yield _finding(what, sorted(texts), error=what != leaks.TWICE and not leaks.is_public(listing.layout))


def _class_findings(listing: Listing, folds: Sequence[int | None]) -> Iterator[Finding]:
    """Classes that are too small, too few, in one fold only, or far from equal in size."""
    counts = Counter(row.label for row in listing.rows)
    if not counts:
        return
    yield _finding("class with one clip", sorted(label for label, count in counts.items() if count == 1), error=True)
    yield _finding("class in all", sorted(counts) if len(counts) == 1 else [], error=True)
    homes = Counter(
        label for label, fold in {(row.label, fold) for row, fold in zip(listing.rows, folds, strict=True)} if fold is not None
    )
    yield _finding("class in one fold only", sorted(label for label, home in homes.items() if home == 1 < counts[label]))
    (most, largest), (fewest, smallest) = counts.most_common()[0], counts.most_common()[-1]
    if largest >= UNBALANCED * smallest:
        share = largest / counts.total()
        text = (
            f"{most} has {largest} clips, {fewest} {smallest}: always naming {most} would be {share:.0%} accurate; see macro "
        )
        yield _finding("classes far from equal in size", [text + "accuracy, and --recipe.class-weights balanced"])


def _facts(listing: Listing, decoded: Sequence[_Decoded]) -> Iterator[tuple[str, str]]:
    counts = Counter(row.label for row in listing.rows).values()
    folds = Counter(row.fold for row in listing.rows if row.fold is not None)
    yield "clips", str(len(listing.rows))
    if counts:
        yield "classes", f"{len(counts)}, of {min(counts)} to {max(counts)} clips"
    yield "folds", ", ".join(f"{fold}: {folds[fold]}" for fold in sorted(folds)) or "none given; they are made from a seed"
    yield "sources", str(len({row.source for row in listing.rows if row.source}) or "none given")
    if decoded:
        seconds = np.array([one.seconds for one in decoded])
        lengths = f"{seconds.min():.2f} / {np.median(seconds):.2f} / {seconds.max():.2f} s"
        yield "shortest / median / longest", f"{lengths}; {seconds.sum() / 3600:.2f} h in all"
        rates = Counter(one.rate for one in decoded).most_common()
        yield "sampling rates", ", ".join(f"{rate} Hz: {count}" for rate, count in rates)
