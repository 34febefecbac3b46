"""A report as a page: the claims with their numbers, the tables, the figures that there are, how it was made."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from tla.attribution.page_clips import Room
from tla.console import counted, say
from tla.errors import Damaged
from tla.manifest import vouched
from tla.options import UNTRAINED
from tla.paper import claim_words, readouts
from tla.paper.claims import Finding
from tla.paper.measured import FAILS, HOLDS, OPEN
from tla.paper.measured import Measured as MeasuredPart
from tla.paper.page import Claim, Measured, Page, Part, Plate, Table, write
from tla.paper.report import Report
from tla.paper.report_tables import NAMES, typeset
from tla.runs.tables import parsed
from tla.statistics import Estimate, between
from tla.tables import shared

TITLE = "What a network trained on photographs brings to sound"
FIGURES = {  # how a figure's file begins -> its title, in the order of the page
    "probe": "What does each stage already know, before any training?",
    "fig2a_svcca": "How much did each layer change? (Fig. 2a)",
    "fig2a": "How much did each layer change?",
    "fig2b_fusion": "Which stages need pretrained weights? (Fig. 2b)",
    "fig2b_fusion_controls": "Which stages need pretrained weights? With controls",
    "fig2c_freeze": "Which stages must be free to move? (Fig. 2c)",
    "cutoff": "Which stages are needed at all? (section IV-B)",
    "train_confusion": "What is taken for what?",
    "train_compared_confusion": "What is taken for what, from pretrained and from random weights?",
    "table2_ensemble": "Do several runs beat one? (Table II)",
    "fig3_ig": "Where does the network look? (Fig. 3)",
    "fig3_ig_audit": "Is it the energy and its borders?",
}
MORE = {"curves": "by epoch", "windows": "window by window"}  # how its name may go on
MOST_ROWS = 60  # of the numbers that are shown under a figure
MADE = ("tla", "commit", "python", "torch", "torchvision", "timm", "numpy", "scipy", "librosa", "soundfile", "safetensors")
WHERE = ("machine", "device", "cores", "system")
WORDS = ("none", "one", "two", "three", "four", "five", "six", "seven")
SYNTHETIC = "The sounds are synthetic: this page shows how tla works, not what is true of sound."


def publish(report: Report, folder: Path, room: Room | None) -> Path:
    """Write the page of a report into its folder, and print how large it is."""
    path = folder / "report.html"
    write(page(report, room), path)
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    listening = f"with {counted(len(room.clips), 'clip')} to listen to" if room else "without a listening room"
    say(f"{path}: {size}, {listening}")
    return path


def page(report: Report, room: Room | None) -> Page:
    """The page of a report, with the figures that there are."""
    tables = typeset(report)
    figures = [path for path in report.figures if path.stem not in tables]
    apart = {path: Counter(other.stem for other in figures)[path.stem] > 1 for path in figures}
    return Page(
        title=TITLE,
        about=_about(report),
        found=_found(report),
        warning=" ".join([*([SYNTHETIC] if "toy" in set(report.data["data"]) else []), *shared(report.runs)]),
        setting=_setting(*_shared(report.findings)),
        claims=[_claim(finding, *_shared(report.findings)) for finding in report.findings],
        tables=_tables(tables),
        plates=[
            plate
            for path in sorted(figures, key=lambda path: (_place(path.stem), path))
            if (plate := _plate(path.parent, path.stem, apart=apart[path]))
        ],
        made=_made(report),
        room=room,
    )


def _about(report: Report) -> str:
    runs = report.runs
    data, backbones = ([NAMES.get(name, name) for name in runs[column].unique()] for column in ("data", "backbone"))
    seeds = runs["seed"].nunique()
    size = f"{len(runs)} run{'s' * (len(runs) > 1)}, {seeds} seed{'s' * (seeds > 1)}"
    return " · ".join(
        [", ".join(data), ", ".join(backbones), size, f"tla {_values(runs['tla'])}", str(runs["finished"].max())[:10]]
    )


def _found(report: Report) -> str:
    """The headline: what needs no training at all, how many claims fare how, and what pretraining brings."""
    count = Counter(str(finding.verdict) for finding in report.findings)
    holding, failing, left, short = (count[verdict] for verdict in (HOLDS, FAILS, OPEN, UNTRAINED))
    counts = [f"{WORDS[holding]} hold{'s' * (holding == 1)} "] if holding else []
    counts += [f"{WORDS[failing]} do{'es' * (failing == 1)} not"] if failing else []
    counts += [f"for {WORDS[left]} there is not enough evidence"] if left else []
    counts += [f"of {WORDS[short]} the runs were {UNTRAINED}"] if short else []
    listed = counts[0] if len(counts) == 1 else f"{', '.join(counts[:-1])}{',' * (len(counts) > 2)} and {counts[-1]}"
    headline = (
        f"Of the seven claims of “Rethinking CNN Models for Audio Classification” (Palanisamy, Singhania, Yao, 2020), {listed}."
    )
    gains = [_gain(part, part.number) for part in report.findings[0].parts if part.number]
    return " ".join([*readouts.sentences(report.readouts), headline, *gains[:1]])


def _gain(part: MeasuredPart, number: Estimate) -> str:
    way = "gain" if number.mean >= 0 else "lose"
    low, high = sorted((abs(number.low), abs(number.high)))
    ends = between(low, high, ".1f") if number.excludes_zero else between(number.low, number.high, "+.1f")
    size = f"{abs(number.mean):.1f} points on {NAMES.get(part.data, part.data)} with {part.backbone} (95 % interval {ends})"
    return f"Pretrained weights {way} {size} over random ones."


def _tables(typeset: Mapping[str, tuple[str, pd.DataFrame, str]]) -> list[Table]:
    """All but the claims, which have a place of their own; what several have as their note, under the last of them."""
    shown = [table for name, table in typeset.items() if name != "claims"]
    last = {note: title for title, _, note in shown}
    return [Table(title=title, frame=frame, about=note if last[note] == title else "") for title, frame, note in shown]


# Claims


def _shared(findings: Sequence[Finding]) -> tuple[str, tuple[str, ...]]:
    """What all claims were measured on, and what sets all of it apart from the paper: it stands on the page once."""
    measured = [finding for finding in findings if finding.parts]
    places = {finding.on for finding in measured}
    apart = [reason for reason in measured[0].apart if all(reason in other.apart for other in measured)] if measured else []
    return places.pop() if len(places) == 1 else "", tuple(apart)


def _setting(on: str, apart: Sequence[str]) -> str:
    words = [f"Measured on {on}." if on else "", f"Apart from the paper’s setting in: {', '.join(apart)}." if apart else ""]
    return " ".join(filter(None, words))


def _claim(finding: Finding, on: str, apart: Sequence[str]) -> Claim:
    measured = [_measured(part, part.number) for part in finding.parts if part.number]
    own = [reason for reason in finding.apart if reason not in apart]
    return Claim(
        title=finding.claim.title,
        statement=f"{finding.claim.statement} ({finding.claim.where})",
        verdict=finding.verdict,
        about=_setting(finding.on if finding.on != on else "", own) if measured else "",
        measured=measured,
        missing=[(missing.what, missing.command) for missing in finding.missing],
    )


def _measured(part: MeasuredPart, number: Estimate) -> Measured:
    alone = math.isnan(number.low)  # without an interval a mark alone is drawn
    return Measured(
        what=part.part,
        number=claim_words.number(number, part.unit),
        verdict=claim_words.judged(part),
        basis=claim_words.basis(part),
        value=number.mean,
        low=number.mean if alone else number.low,
        high=number.mean if alone else number.high,
        region=part.region,
        paper=part.paper if part.size else None,
        size=claim_words.compared(part).replace("'", "’"),
    )


# Figures


def _place(stem: str) -> tuple[int, str]:
    """A figure's place on the page: known ones in order, each with its kin behind it."""
    kin = [known for known in FIGURES if stem.startswith(known)]
    return (list(FIGURES).index(max(kin, key=len)) if kin else len(FIGURES), stem)


def _plate(folder: Path, stem: str, *, apart: bool = False) -> Plate | None:
    """A figure that lies in a folder; where others have its name, `apart`, it is named after the folder too."""
    svg = folder / f"{stem}.svg"
    if not svg.is_file():
        say(f"{folder / stem}.pdf has no SVG beside it and is not on the page; repeat the command that drew it")
        return None
    kin = max((known for known in FIGURES if stem.startswith(known)), key=len, default="")
    more = stem.removeprefix(kin).strip("_")
    drawn = _as_written(svg)
    if drawn is None:
        return None
    title = ": ".join(filter(None, (FIGURES.get(kin), MORE.get(more, more.replace("_", " ")), folder.name * apart)))
    markup = drawn.decode()
    if apart:  # each id once in a page
        name, prefix = (re.sub(r"[^\w-]", "_", text) for text in (stem, folder.name))
        markup = re.sub(rf'(id="|href="#|url\(#){name}-', rf"\g<1>{prefix}-{name}-", markup)
    return Plate(title=title, svg=markup, table=_numbers(folder, stem))


def _numbers(folder: Path, stem: str) -> Table | None:
    """A figure's own table, where it is short enough to be read."""
    for name in (f"{stem}_points.csv", f"{stem}_summary.csv", f"{stem}.csv"):
        if (folder / name).is_file():
            table = _as_written(folder / name)
            frame = None if table is None else parsed(table)
            return Table(title=name, frame=frame) if frame is not None and len(frame) <= MOST_ROWS else None
    return None


def _as_written(path: Path) -> bytes | None:
    """What a file holds; None, with a message, if it was damaged."""
    try:
        return vouched(path)
    except Damaged as error:
        say(f"not on the page: {error}")
        return None


# How it was made


def _made(report: Report) -> list[Part]:
    runs = report.runs
    parts = [_study(row) for row in report.studies[report.studies["used"]].to_dict("records")]
    parts.append(
        Part(title="Software and machine", items=[(name, _values(runs[name])) for name in (*MADE, *WHERE) if name in runs])
    )
    parts += [_data(row) for row in report.data.to_dict("records")]
    return parts


def _study(row: Mapping) -> Part:
    names = {"weights": "weights", "protocol": "protocol", "epochs": "epochs", "lr": "learning rate", "augment": "augmentation"}
    names |= {"precision": "arithmetic", "folds": "folds", "seeds": "seeds", "runs": "runs"}
    items = [(word, str(row[name])) for name, word in names.items()]
    items.append(("apart from the paper in", row["not_as_in_the_paper"] or "nothing"))
    items.append(("made by", row["command"]))
    return Part(title=f"{NAMES.get(row['data'], row['data'])}, {row['backbone']}: study {row['study']}", items=items)


def _data(row: Mapping) -> Part:
    doubles = row["recordings_in_two_folds"]
    items = [
        ("held-out clips", f"{row['clips']} of {counted(row['recordings'], 'recording')}, in folds {row['folds']}"),
        ("classes", f"{row['classes']}, of the rarest {counted(row['fewest_clips_of_a_class'], 'clip')}"),
        ("recordings in two folds", str(doubles) if doubles else "none"),
        ("digest of the clips", row["digest"]),
    ]
    return Part(title=f"Data check: {NAMES.get(row['data'], row['data'])}", items=items)


def _values(column: pd.Series) -> str:
    """What the runs have in common, or all that they have."""
    return ", ".join(dict.fromkeys(str(value) for value in column.dropna())) or "not known"
