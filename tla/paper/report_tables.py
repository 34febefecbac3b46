"""A report's tables, set: as CSV (tidy), LaTeX (booktabs) and PDF, the paper's numbers beside ours; and in the terminal."""

import json
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tla import console, plots
from tla.files import write_text
from tla.manifest import vouched, vouching, write_table
from tla.paper.claims import FAILS, HOLDS, Finding, number, region_words
from tla.paper.report import GAP, OPTIMISM, Report
from tla.paper.studies import RANDOM
from tla.reference import DATA, TABLE1, TABLE2
from tla.statistics import bracketed

NONE = "–"
POINT_IN = 1 / 72
DPI = 720  # at which widths are measured, fine enough for hinting not to matter
FONT, SMALLEST = 7.0, 5.0  # points
WIDE = 40  # letters in a cell from which on a LaTeX column is a paragraph
LATEX = str.maketrans(
    {letter: rf"\{letter}" for letter in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "<": r"$<$", ">": r"$>$", "|": r"$|$"}
    | {"±": r"$\pm$", "–": "--", "[": "{[}"}  # a bracket after the end of a row would be its option
)
GUTTER, LINE = 0.9, 1.35  # between columns and from line to line, in units of the font's size
NAMES = {
    "esc50": "ESC-50",
    "esc10": "ESC-10",
    "urbansound8k": "UrbanSound8K",
    "gtzan": "GTZAN",
    "gtzan-filtered": "GTZAN filtered",
}
NOTE = (
    "Brackets: 95 % interval, for other clips and other trainings where there are two seeds or more (three for a single arm of "
    "one fold), else for other clips on these runs; differences are paired clip by clip. best: the epoch picked "
    "on the clips that are scored, as in the paper; last: the last epoch; test: picked on a validation fold. best - last: what "
    "that picking brings. ±: standard deviation over runs."
)
CLAIMS_NOTE = (
    "holds: the whole 95 % interval lies in the region that the claim needs (in brackets); does not hold: it lies outside; "
    "else there is not enough evidence, nor is there where the interval is one for other clips on these runs alone, as with "
    "one seed. A verdict is one about the data, backbone and recipe named, for other clips and other trainings. "
    "Its size: whether the number that the paper states lies in the interval, asked in the paper's setting only."
)


def publish(report: Report, folder: Path) -> list[Path]:
    """Write everything that a report says into the figures folder."""
    tidy = {
        "table1": report.table1,
        "table2": report.table2,
        "table3": report.table3,
        "claims": report.parts,
        "report_studies": report.studies,
        "report_runs": report.runs,
        "report_data": report.data,
    }
    paths = []
    for name, table in tidy.items():
        paths.append(folder / f"{name}.csv")
        write_table(paths[-1], table)
    for name, (title, table, note) in typeset(report).items():
        paths.append(folder / f"{name}.tex")
        write_text(paths[-1], latex(table, title, note, name))
        with vouching(folder / f"{name}.json") as temporary:
            temporary.write_text(json.dumps({"title": title, "note": note, **table.astype(str).to_dict("split")}))
        paths += draw(folder, name)
    return paths


def draw(folder: Path, name: str) -> list[Path]:
    """Draw a table from its texts that lie in a folder."""
    kept = json.loads(vouched(folder / f"{name}.json"))
    heads = [tuple(head) if isinstance(head, list) else head for head in kept["columns"]]
    columns = pd.MultiIndex.from_tuples(heads) if isinstance(heads[0], tuple) else heads
    return plots.save(plate(pd.DataFrame(kept["data"], columns=columns), kept["title"], kept["note"]), folder / name)


def typeset(report: Report) -> dict[str, tuple[str, pd.DataFrame, str]]:
    """Title, table of texts and note, by name; a column's name is (group, name)."""
    synthetic = "SYNTHETIC SOUNDS (toy). " if "toy" in set(report.data["data"]) else ""
    note = synthetic + NOTE
    about = f"{synthetic}{CLAIMS_NOTE} {apart(report.findings)}"
    return {
        "table1": ("Table I: pretrained weights against random ones, accuracy in %", table1(report.table1), note),
        "table2": ("Table II: a single run against the average of several, accuracy in %", table2(report.table2), note),
        "table3": ("Table III: beside other models, accuracy in %", table3(report.table3), note),
        "claims": ("The paper's claims", claims(report.findings), about),
    }


def table1(tidy: pd.DataFrame) -> pd.DataFrame:
    """Table I: a row per data set, backbone and rule; the paper's rows also where there are no runs."""
    rows = []
    for data, backbone in _places(tidy, TABLE1):
        mine = tidy[(tidy["data"] == data) & (tidy["backbone"] == backbone)]
        known = TABLE1.get((backbone, data))
        for rule in mine["rule"].unique() if len(mine) else ["best"]:
            each = {row["quantity"]: row for row in mine[mine["rule"] == rule].to_dict("records")}
            paper = [f"{known[0]:.2f}", f"{known[1]:.2f}", f"{known[0] - known[1]:+.2f}"] if known and rule == "best" else []
            signed = "+" if rule == OPTIMISM else ""
            ours = [
                _interval(each.get("pretrained"), signed),
                _interval(each.get(RANDOM), signed),
                _interval(each.get(GAP), "+"),
            ]
            runs, seeds = (_both(each, what) for what in ("runs", "seeds"))
            first = next(iter(each.values()), None)
            stands_on = [_spaced(first["folds"]), first["protocol"]] if first else [NONE] * 2
            rows.append([NAMES.get(data, data), backbone, rule, *ours, *(paper or [NONE] * 3), runs, seeds, *stands_on])
    columns = [("", "data"), ("", "backbone"), ("", "epoch")]
    columns += [("here", name) for name in ("pretrained", "random", "difference")]
    columns += [("paper", name) for name in ("pretrained", "random", "difference")]
    columns += [("", name) for name in ("runs", "seeds", "folds", "protocol")]
    return _thin(pd.DataFrame(rows, columns=pd.MultiIndex.from_tuples(columns)))


def _both(each: dict[str, dict], what: str) -> str:
    """A count for both starts."""
    return " | ".join(str(each[arm][what]) if arm in each else "0" for arm in ("pretrained", RANDOM)) if each else NONE


def table2(tidy: pd.DataFrame) -> pd.DataFrame:
    """Table II: likewise."""
    rows = []
    for data, backbone in _places(tidy, TABLE2):
        mine = tidy[(tidy["data"] == data) & (tidy["backbone"] == backbone)] if len(tidy) else tidy
        known = TABLE2.get((backbone, data))
        for rule in mine["rule"].unique() if len(mine) else ["best"]:
            each = {row["averaged"]: row for row in mine[mine["rule"] == rule].to_dict("records")} if len(mine) else {}
            ours, stands_on = [NONE] * 4, [NONE] * 4
            if each:
                row, of_logits = each["softmax"], each["logits"]
                gain = f"{row['gain']:+.1f} {bracketed(row['gain_low'], row['gain_high'], '+.1f')}"
                ours = [
                    f"{row['single']:.1f} ±{row['spread']:.1f}",
                    f"{row['ensemble']:.1f}",
                    gain,
                    f"{of_logits['ensemble']:.1f}",
                ]
                stands_on = [str(row["members"]), str(row["runs"]), _spaced(row["folds"]), row["protocol"]]
            paper = [NONE] * 3
            if known and rule == "best":
                paper = [f"{known[0]:.2f} ±{known[1]:.2f}", f"{known[2]:.2f}", f"{known[2] - known[0]:+.2f}"]
            rows.append([NAMES.get(data, data), backbone, rule, *ours, *paper, *stands_on])
    columns = [("", "data"), ("", "backbone"), ("", "epoch")]
    columns += [("here", name) for name in ("single", "ensemble", "gain", "of logits")]
    columns += [("paper", name) for name in ("single", "ensemble", "gain")]
    columns += [("", name) for name in ("members", "runs", "folds", "protocol")]
    return _thin(pd.DataFrame(rows, columns=pd.MultiIndex.from_tuples(columns)))


def table3(tidy: pd.DataFrame) -> pd.DataFrame:
    """Table III: a row per model, a column per data set."""
    sets = [*DATA, *(data for data in tidy["data"].unique() if data not in DATA)]
    rows = []
    for (source, model), mine in tidy.groupby(["source", "model"], sort=False):
        cells = {}
        for row in mine.to_dict("records"):
            digits = 1 if source == "here" else 2
            cells[row["data"]] = f"{row['accuracy']:.{digits}f}"
            if not math.isnan(row["low"]):
                cells[row["data"]] += f" [{row['low']:.1f}, {row['high']:.1f}]"
        stands_on = dict.fromkeys(
            f"{rule} epoch, folds {_spaced(folds)}" for rule, folds in zip(mine["rule"], mine["folds"], strict=True)
        )
        cells_of = [cells.get(data, NONE) for data in sets]
        rows.append([source, model, *cells_of, "; ".join(stands_on) if source == "here" else ""])
    columns = [("", "source"), ("", "model"), *(("", NAMES.get(data, data)) for data in sets), ("", "stands on")]
    return _thin(pd.DataFrame(rows, columns=pd.MultiIndex.from_tuples(columns)), 1)


def claims(findings: Sequence[Finding]) -> pd.DataFrame:
    """The verdicts: a row per part of a claim, with its number, what the claim needs, and what it stands on."""
    rows, shown = [], ""
    for finding in findings:
        about = [str(finding.claim.number), finding.claim.title, finding.verdict, size(finding.size)]
        if not finding.parts:
            rows.append([*about, *[NONE] * 9])
        for row in finding.parts:
            place = f"{NAMES.get(row['data'], row['data'])}, {row['backbone']}{' (*)' if row['departures'] else ''}"
            rows.append([*about, place if place != shown else "", row["part"], *_part(row)])
            about, shown = [""] * 4, place
    columns = [("", ""), ("", "claim"), ("", "verdict"), ("", "its size")]
    names = ("on", "number", "measured", "needed", "verdict", "epoch", "folds", "seeds", "clips")
    columns += [("its parts", name) for name in names]
    return pd.DataFrame(rows, columns=pd.MultiIndex.from_tuples(columns))


def _part(row: dict) -> list[str]:
    """What was measured of a part, in the cells of a row."""
    needed = NONE if math.isnan(row["region_low"]) else region_words((row["region_low"], row["region_high"]))
    if math.isnan(row["value"]):
        lacking = " ".join(row["missing"].split()[:2]) if row["missing"].startswith("no ") else "nothing"
        return [lacking, needed, *[NONE] * 5]
    stands_on = [row["rule"], _spaced(row["folds"]), row["seeds"], f"{row['clips']:.0f}"]
    return [number(row), needed, row["verdict"] or NONE, *stands_on]


def size(agreement: str | None) -> str:
    """Whether the size that the paper states agrees, in a word or two."""
    return {HOLDS: "agrees", FAILS: "does not agree", None: NONE}.get(agreement, "not enough evidence")


def apart(findings: Sequence[Finding]) -> str:
    """What sets the runs apart from the paper's."""
    reasons = dict.fromkeys(reason for finding in findings for reason in finding.apart)
    return f"(*) Not the paper's setting: {', '.join(reasons)}." if reasons else ""


def latex(table: pd.DataFrame, title: str, note: str, name: str) -> str:
    """A table for a paper, in booktabs' style; with a wide text, its columns are paragraphs."""
    escaped = table.map(_escaped)
    heads = [(_escaped(group), _escaped(head)) for group, head in _heads(table)]
    grouped = any(group for group, _ in heads)
    escaped.columns = pd.MultiIndex.from_tuples(heads) if grouped else pd.Index([head for _, head in heads])
    longest = [max([len(str(cell)) for cell in table[column]], default=0) for column in table.columns]
    shares = [max(12, min(length, 60)) for length in longest]
    if max(longest) > WIDE:
        form = "".join(f"p{{{0.9 * share / sum(shares):.2f}\\linewidth}}" for share in shares)
    else:
        form = "".join("r" if _is_number(table[column]) else "l" for column in table.columns)
    body = escaped.to_latex(index=False, escape=False, multicolumn_format="c", column_format=form).strip()
    caption = rf"\caption{{{_escaped(f'{title}. {note}')}}}"
    parts = [r"\begin{table*}", r"\centering", r"\footnotesize", body, caption, rf"\label{{tab:{name}}}", r"\end{table*}"]
    return "\n".join([r"% needs \usepackage{booktabs}", *parts, ""])


def _escaped(text: object) -> str:
    """A text that LaTeX takes as it is."""
    return str(text).translate(LATEX)


def plate(table: pd.DataFrame, title: str, note: str) -> Figure:
    """A table as a figure: rules above, below and under the head, numbers to the right, long texts broken."""
    font = FONT
    while True:
        broken, widths = _measured(table, font)
        total = sum(widths) + GUTTER * font * POINT_IN * (len(widths) - 1)
        if total <= plots.PAGE_IN or font <= SMALLEST:
            break
        font -= 0.25
    line = LINE * font * POINT_IN
    heights = [line * max(str(cell).count("\n") + 1 for cell in row) for row in broken]
    heads = _heads(table)
    grouped = any(group for group, _ in heads)
    paragraphs = any("\n" in str(cell) for row in broken for cell in row)
    between = 0.45 * line if paragraphs else 0.0
    head = line * (2.3 if grouped else 1.2)
    tall = 1.8 * line + head + sum(heights) + between * len(heights) + 0.8 * line
    wide = max(total, plots.COLUMN_IN)
    with plots.look():
        figure = Figure(figsize=(wide, tall))
        pen = _Pen(figure, wide, tall, font)
        lefts = [sum(widths[:i]) + GUTTER * font * POINT_IN * i for i in range(len(widths))]
        y = tall - line
        pen.write(0, y, title, weight="bold", size=font + 1)
        y -= 0.5 * line
        pen.rule(0, total, y, 0.9)
        y -= line
        if grouped:
            for group in dict.fromkeys(group for group, _ in heads if group):
                inside = [i for i, (own, _) in enumerate(heads) if own == group]
                left, right = lefts[inside[0]], lefts[inside[-1]] + widths[inside[-1]]
                pen.write((left + right) / 2, y, group, align="center")
                pen.rule(left, right, y - 0.3 * line, 0.5)
            y -= 1.1 * line
        numbers = [_is_number(table[column]) for column in table.columns]
        for (_, name), left, width, number in zip(heads, lefts, widths, numbers, strict=True):
            pen.write(left + width if number else left, y, name, align="right" if number else "left")
        y -= 0.4 * line
        pen.rule(0, total, y, 0.5)
        for row, height in zip(broken, heights, strict=True):
            y -= line + between / 2
            for cell, left, width, number in zip(row, lefts, widths, numbers, strict=True):
                for i, text in enumerate(str(cell).split("\n")):
                    pen.write(left + width if number else left, y - i * line, text, align="right" if number else "left")
            y -= height - line + between / 2
        pen.rule(0, total, y - 0.4 * line, 0.9)
        plots.caption(figure, note)
    return figure


class _Pen:
    """Writes on a figure, in inches from its lower left corner."""

    def __init__(self, figure: Figure, wide: float, tall: float, font: float) -> None:
        self.figure, self.wide, self.tall, self.font = figure, wide, tall, font

    def write(self, x: float, y: float, text: str, *, align: Any = "left", weight: str = "normal", size: float = 0) -> None:
        where: Any = {"ha": align, "va": "baseline", "fontsize": size or self.font, "fontweight": weight, "parse_math": False}
        self.figure.text(x / self.wide, y / self.tall, text, **where)

    def rule(self, left: float, right: float, y: float, width: float) -> None:
        ends, height = [left / self.wide, right / self.wide], y / self.tall
        self.figure.add_artist(Line2D(ends, [height, height], color="black", linewidth=width))


BREAK = {"claim": 22, "verdict": 12, "its size": 12, "on": 24, "number": 32, "model": 52}  # letters in a line, by column


def _measured(table: pd.DataFrame, font: float) -> tuple[list[list[str]], list[float]]:
    """The cells with their lines broken, and the width of each column in inches."""
    names = [name for _, name in _heads(table)]
    broken = [
        ["\n".join(textwrap.wrap(str(cell), BREAK.get(name, 60))) for name, cell in zip(names, row, strict=True)]
        for row in table.itertuples(index=False)
    ]
    figure = Figure(figsize=(1, 1), dpi=DPI)
    renderer = FigureCanvasAgg(figure).get_renderer()
    widths = []
    with plots.look():
        for i, name in enumerate(names):
            lines = {name, *(line for row in broken for line in row[i].split("\n"))}
            texts = [figure.text(0, 0, line, fontsize=font, parse_math=False) for line in lines]
            widths.append(max(text.get_window_extent(renderer).width for text in texts) / DPI)
    return broken, widths


def _heads(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Group and name of each column."""
    return [(str(column[0]), str(column[1])) for column in table.columns.to_list()]


def _places(tidy: pd.DataFrame, known: dict) -> list[tuple[str, str]]:
    """Data set and backbone of each row: what was measured, then what the paper has beside."""
    mine = list(dict.fromkeys(zip(tidy["data"], tidy["backbone"], strict=True))) if len(tidy) else []
    papers = sorted(((data, backbone) for backbone, data in known), key=lambda place: DATA.index(place[0]))
    return [*mine, *(place for place in papers if place not in mine)]


def _spaced(folds: object) -> str:
    return str(folds).replace(",", ", ")


def _interval(row: dict | None, signed: str = "") -> str:
    if row is None:
        return NONE
    return f"{row['accuracy']:{signed}.1f} {bracketed(row['low'], row['high'], f'{signed}.1f')}"


def _thin(table: pd.DataFrame, columns: int = 2) -> pd.DataFrame:
    """Leave out of the first columns what the row above says too."""
    heads = table.iloc[:, :columns]
    same = (heads == heads.shift()).cumprod(axis=1).astype(bool)
    thin = table.copy()
    thin.iloc[:, :columns] = heads.mask(same, "")
    return thin


def _is_number(column: pd.Series) -> bool:
    cells = [str(cell) for cell in column if cell not in ("", NONE)]
    return bool(cells) and all(cell[0] in "+-0123456789" and any(c.isdigit() for c in cell) for cell in cells)


def show(report: Report) -> None:
    """Print the verdicts, what they stand on, and what is missing."""
    rows = [[f.claim.number, f.claim.title, f.verdict, size(f.size)] for f in report.findings]
    console.table(["", "claim", "verdict", "the paper's size"], rows)
    for finding in report.findings:
        print(f"\n{finding.claim.number}. {finding.claim.says} ({finding.claim.where})")
        print(f"   {finding.verdict.upper()}{' on ' if finding.on else ''}{finding.on}{' (*)' if finding.apart else ''}")
        for text in finding.measured:
            print(f"   - {text}")
        for text in finding.missing:
            print(f"   missing: {text}")
    print(f"\n{apart(report.findings)}")
    others = report.studies[~report.studies["used"]]
    if len(others):
        print("\nother studies, from which no number is taken (--study KEY takes one):")
        names = ["study", "data", "backbone", "weights", "protocol", "epochs", "lr", "folds", "seeds", "runs"]
        console.table(names, others[names].astype(str).itertuples(index=False))
