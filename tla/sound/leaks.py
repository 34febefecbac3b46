"""Sounds on both sides: of one recording, or equal, in training and held-out clips; or equal sounds under two labels.

A network can be right about such a clip without having learned its class, so a study of them is refused unless it is asked
for. The folds of public sets are used as they are, and what they share is noted.
"""

import shlex
from collections import defaultdict
from collections.abc import Hashable, Sequence

from tla import console
from tla.errors import UserError
from tla.sound import layouts
from tla.sound.clips import Dataset

RECORDINGS, EQUAL, LABELS = "source in several folds", "same sound across folds", "same sound with different labels"
TWICE = "same sound"  # twice in one fold, under one label: a waste, and no leak
_WORDS = {
    RECORDINGS: "{} in training and held-out clips",
    EQUAL: "{} twice, in training and held-out clips",
    LABELS: "{} under two labels",
}
_NOUNS = {RECORDINGS: "recording", EQUAL: "sound", LABELS: "sound"}


def shared(
    labels: Sequence[str], folds: Sequence[int | None], sources: Sequence[str], contents: Sequence[Hashable]
) -> dict[str, list[list[int]]]:
    """What is shared by clips -> for each such thing the rows of its clips. An empty source or content is nobody's."""
    found: dict[str, list[list[int]]] = {LABELS: [], EQUAL: [], TWICE: [], RECORDINGS: []}
    for rows in _alike(contents):
        several = LABELS if _differ(labels, rows) else EQUAL if _differ(folds, rows) else TWICE
        found[several].append(rows)
    found[RECORDINGS] = [rows for rows in _alike(sources) if _differ(folds, rows)]
    return found


def _alike(values: Sequence[Hashable]) -> list[list[int]]:
    rows: dict[Hashable, list[int]] = defaultdict(list)
    for row, value in enumerate(values):
        if value:
            rows[value].append(row)
    return [alike for alike in rows.values() if len(alike) > 1]


def _differ(values: Sequence[Hashable], rows: Sequence[int]) -> bool:
    return len({values[row] for row in rows}) > 1


def is_public(layout: str) -> bool:
    """Whether folds are used as they are, whatever they share."""
    return layout in layouts.SETS


def note(data: Dataset) -> str:
    """What training and held-out clips share, in a sentence for captions; nothing if nothing is known of."""
    counts = {what: len(groups) for what, groups in _of(data).items() if groups and what in _WORDS}
    found = [_WORDS[what].format(f"{count} {_NOUNS[what]}{'s' * (count > 1)}") for what, count in counts.items()]
    known = layouts.SETS[data.name].caution if is_public(data.layout) and data.name in layouts.SETS else ""
    return " ".join(filter(None, [f"LEAKS: {'; '.join(found)}." if found else "", known]))


def refuse(data: Dataset) -> None:
    """Stop where clips of one's own share what they must not."""
    for what, groups in _of(data).items() if not is_public(data.layout) else ():
        if groups and what in _WORDS:
            clips = [data.clips[row] for row in groups[0]]
            other = next(clip for clip in clips if (clip.fold, clip.label) != (clips[0].fold, clips[0].label))
            named = f"{clips[0].source}, in " if what == RECORDINGS else ""
            two = " and ".join(f"{clip.name} (fold {clip.fold}, {data.classes[clip.label]})" for clip in (clips[0], other))
            more = f", and {len(groups) - 1} more" if len(groups) > 1 else ""
            check = console.command("data", f"--check {shlex.quote(str(data.root))}")
            raise UserError(
                f"{data.root}: {what}: {named}{two}{more}. A network can be right about such clips without having learned "
                "their classes. Delete copies, give all clips of a recording one fold and a sound one label "
                f"(`{check}` lists them all), or go on with --allow-leaks (allow_leaks=True): tables and captions then note it"
            )


def _of(data: Dataset) -> dict[str, list[list[int]]]:
    labels, folds = [data.classes[clip.label] for clip in data.clips], [clip.fold for clip in data.clips]
    return shared(labels, folds, data.sources, data.contents)
