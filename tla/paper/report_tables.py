"""A report's tables: as CSV (tidy), LaTeX and PDF, the paper's numbers beside ours; and in the terminal."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
from matplotlib.figure import Figure

from tla import console, plots
from tla.errors import UserError
from tla.manifest import vouched, write_table, write_text
from tla.options import RANDOM
from tla.paper import readouts
from tla.paper.claim_words import number, region_words, sentence
from tla.paper.claims import Finding
from tla.paper.measured import FAILS, HOLDS, Measured, Verdict, joined
from tla.paper.report import GAP, OPTIMISM, OWN, Report
from tla.paper.typesetting import NONE, latex, plate
from tla.reference import DATA, TABLE1, TABLE2
from tla.statistics import bracketed
from tla.tables import SAME, same_macro, shared

STARTS = ("pretrained", RANDOM)
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
    "that picking brings. ±: standard deviation over runs. Macro accuracy, the mean of the classes' own accuracies, is there "
    "where it is another number."
)
CLAIMS_NOTE = (
    "holds: the whole 95 % interval lies in the region that the claim needs; does not hold: it lies outside; "
    "else there is not enough evidence, nor is there where the interval is one for other clips on these runs alone, as with "
    "one seed. A verdict is one about the data, backbone and recipe named, for other clips and other trainings. "
    "The paper's number: whether it lies in the interval, asked in the paper's setting only."
)


def publish(report: Report, folder: Path) -> list[Path]:
    """Write everything that a report shows into the figures folder."""
    tidy = {
        "table1": report.table1,
        "table2": report.table2,
        "table3": report.table3,
        "claims": report.parts,
        "report_studies": report.studies,
        "report_runs": report.runs,
        "report_data": report.data,
        "report_readouts": report.readouts,
    }
    paths = []
    for name, table in tidy.items():
        paths.append(folder / f"{name}.csv")
        write_table(paths[-1], table)
    for name, (title, table, note) in typeset(report).items():
        paths.append(folder / f"{name}.tex")
        write_text(paths[-1], latex(table, title, note, name))
        write_text(folder / f"{name}.json", json.dumps({"title": title, "note": note, **table.astype(str).to_dict("split")}))
        paths += draw(folder, name)
    return paths


def drawn(folder: Path) -> list[str]:
    """The tables that lie in a folder as texts."""
    return [name for name in OWN if (folder / f"{name}.json").is_file()]


def draw(folder: Path, name: str) -> list[Path]:
    """Draw a table from its texts that lie in a folder."""
    kept = json.loads(vouched(folder / f"{name}.json"))
    heads = [tuple(head) if isinstance(head, list) else head for head in kept["columns"]]
    columns = pd.MultiIndex.from_tuples(heads) if isinstance(heads[0], tuple) else heads
    return plots.save(plate(pd.DataFrame(kept["data"], columns=columns), kept["title"], kept["note"]), folder / name)


def figure(report: Report, which: Literal["table1", "table2", "table3", "claims"] = "claims") -> Figure:
    """A table of a report as it is printed: one of the paper's, or its claims with their verdicts."""
    tables = typeset(report)
    if which not in tables:
        raise UserError(f"a report has no table {which!r}: possible are {', '.join(tables)}")
    title, table, note = tables[which]
    return plate(table.astype(str), title, note)


def typeset(report: Report) -> dict[str, tuple[str, pd.DataFrame, str]]:
    """Title, table of texts and note, by name; a column's name is (group, name)."""
    synthetic = ["SYNTHETIC SOUNDS (toy)."] if "toy" in set(report.data["data"]) else []
    first = "".join(f"{caution} " for caution in synthetic + shared(report.runs))
    note = first + NOTE
    about = f"{first}{CLAIMS_NOTE} {apart(report.findings)}"
    return {
        "table1": ("Table I: pretrained weights against random ones, accuracy in %", table1(report.table1), note),
        "table2": ("Table II: a single run against the average of several, accuracy in %", table2(report.table2), note),
        "table3": ("Table III: beside other models, accuracy in %", table3(report.table3), note),
        "claims": ("The paper's claims", claims(report.findings), about),
    }


def table1(tidy: pd.DataFrame) -> pd.DataFrame:
    """Table I: a row per data set, backbone and rule; the paper's rows also where there are no runs."""

    accuracies = ["", *([] if same_macro(tidy) else ["macro_"])]

    def ours(rule: str, each: Mapping[str, dict]) -> list[str]:
        signed = "+" if rule == OPTIMISM else ""
        arms = (("pretrained", signed), (RANDOM, signed), (GAP, "+"))
        return [_interval(each.get(name), sign, of) for of in accuracies for name, sign in arms]

    def stands_on(each: Mapping[str, dict]) -> list[str]:
        first = next(iter(each.values()))
        counts = [" | ".join(str(each[arm][what]) if arm in each else "0" for arm in STARTS) for what in ("runs", "seeds")]
        return [*counts, _spaced(first["folds"]), first["protocol"]]

    papers = {place: [f"{a:.2f}", f"{b:.2f}", f"{a - b:+.2f}"] for place, (a, b) in TABLE1.items()}
    names = [*STARTS, "difference"]
    here = [f"{name}{', macro accuracy' if of else ''}" for of in accuracies for name in names]
    return _beside(tidy, "quantity", papers, ours, stands_on, here, names, ["runs", "seeds", "folds", "protocol"])


def table2(tidy: pd.DataFrame) -> pd.DataFrame:
    """Table II: likewise."""
    same = same_macro(tidy, "single", "macro_single") and same_macro(tidy, "ensemble", "macro_ensemble")
    macro = [] if same else ["single, macro accuracy", "ensemble, macro accuracy"]

    def ours(_: str, each: Mapping[str, dict]) -> list[str]:
        if not each:
            return [NONE] * (4 + len(macro))
        row = each["softmax"]
        gain = f"{row['gain']:+.1f} {bracketed(row['gain_low'], row['gain_high'], '+.1f')}"
        single = f"{row['single']:.1f} ±{row['spread']:.1f}"
        beside = [f"{row['macro_single']:.1f}", f"{row['macro_ensemble']:.1f}"] if macro else []
        return [single, f"{row['ensemble']:.1f}", gain, f"{each['logits']['ensemble']:.1f}", *beside]

    def stands_on(each: Mapping[str, dict]) -> list[str]:
        row = each["softmax"]
        return [str(row["members"]), str(row["runs"]), _spaced(row["folds"]), row["protocol"]]

    papers = {place: [f"{a:.2f} ±{sd:.2f}", f"{b:.2f}", f"{b - a:+.2f}"] for place, (a, sd, b) in TABLE2.items()}
    here, behind = ["single", "ensemble", "gain", "of logits", *macro], ["members", "runs", "folds", "protocol"]
    return _beside(tidy, "averaged", papers, ours, stands_on, here, here[:3], behind)


def _beside(
    tidy: pd.DataFrame,
    kind: str,
    papers: Mapping[tuple[str, str], list[str]],
    ours: Callable[[str, Mapping[str, dict]], list[str]],
    stands_on: Callable[[Mapping[str, dict]], list[str]],
    here: Sequence[str],
    paper: Sequence[str],
    behind: Sequence[str],
) -> pd.DataFrame:
    """A row per data set, backbone and rule: our cells, the paper's, what ours stand on, from the tidy rows by their `kind`."""
    rows = []
    measured = list(dict.fromkeys(zip(tidy["data"], tidy["backbone"], strict=True)))
    known = sorted(((data, backbone) for backbone, data in papers), key=lambda place: DATA.index(place[0]))
    for data, backbone in [*measured, *(place for place in known if place not in measured)]:
        mine = tidy[(tidy["data"] == data) & (tidy["backbone"] == backbone)]
        for rule in mine["rule"].unique() if len(mine) else ["best"]:
            each = {row[kind]: row for row in mine[mine["rule"] == rule].to_dict("records")}
            stated = papers.get((backbone, data)) if rule == "best" else None
            basis = stands_on(each) if each else [NONE] * len(behind)
            rows.append([NAMES.get(data, data), backbone, rule, *ours(rule, each), *(stated or [NONE] * len(paper)), *basis])
    groups = {"": ("data", "backbone", "epoch"), "here": here, "paper": paper}
    columns = [(group, name) for group, names in groups.items() for name in names] + [("", name) for name in behind]
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
            if abs(row["macro_accuracy"] - row["accuracy"]) > SAME:  # not a number for what was not measured here
                cells[row["data"]] += f", macro accuracy {row['macro_accuracy']:.1f}"
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
        for part in finding.parts:
            place = f"{NAMES.get(part.data, part.data)}, {part.backbone}{' (*)' if part.departures else ''}"
            rows.append([*about, place if place != shown else "", part.part, *_part(part)])
            about, shown = [""] * 4, place
    columns = [("", ""), ("", "claim"), ("", "verdict"), ("", "the paper's number")]
    names = ("on", "number", "measured", "needed", "verdict", "epoch", "folds", "seeds", "clips")
    columns += [("its parts", name) for name in names]
    return pd.DataFrame(rows, columns=pd.MultiIndex.from_tuples(columns))


def _part(part: Measured) -> list[str]:
    """What was measured of a part, in the cells of a row."""
    needed = region_words(part.region) if part.region else NONE
    if part.number is None:
        return [part.lack, needed, *[NONE] * 5]
    stands_on = [part.rule, _spaced(joined(part, "folds")), joined(part, "seeds"), str(part.clips)]
    return [number(part.number, part.unit), needed, part.verdict or NONE, *stands_on]


def size(agreement: Verdict | None) -> str:
    """Whether the size that the paper states agrees, in a word or two."""
    return {HOLDS: "agrees", FAILS: "does not agree", None: NONE}.get(agreement, "not enough evidence")


def apart(findings: Sequence[Finding]) -> str:
    """What sets the runs apart from the paper's."""
    about = [finding for finding in findings if finding.apart]
    if not about:
        return ""
    shared = [reason for reason in about[0].apart if all(reason in finding.apart for finding in findings)]
    parts = [", ".join(shared)] if shared else []
    for finding in about:
        if own := [reason for reason in finding.apart if reason not in shared]:
            parts.append(f"claim {finding.claim.number}: {', '.join(own)}")
    return f"(*) Not the paper's setting: {'; '.join(parts)}."


def _spaced(folds: object) -> str:
    return str(folds).replace(",", ", ")


def _interval(row: dict | None, signed: str = "", of: str = "") -> str:
    """An accuracy with its interval; `of`: `macro_` for macro accuracy."""
    if row is None:
        return NONE
    low, high = row[f"{of}low"], row[f"{of}high"]
    return f"{row[f'{of}accuracy']:{signed}.1f} {bracketed(low, high, f'{signed}.1f')}"


def _thin(table: pd.DataFrame, columns: int = 2) -> pd.DataFrame:
    """Leave out of the first columns what the row above holds too."""
    heads = table.iloc[:, :columns]
    same = (heads == heads.shift()).cumprod(axis=1).astype(bool)
    thin = table.copy()
    thin.iloc[:, :columns] = heads.mask(same, "")
    return thin


def show(report: Report) -> None:
    """Print what needs no training at all, the verdicts, what they stand on, and what is missing."""
    for line in readouts.sentences(report.readouts):
        print(f"{line}\n")
    rows = [[f.claim.number, f.claim.title, f.verdict, size(f.size)] for f in report.findings]
    console.table(["", "claim", "verdict", "the paper's size"], rows)
    for finding in report.findings:
        print(f"\n{finding.claim.number}. {finding.claim.statement} ({finding.claim.where})")
        print(f"   {finding.verdict.upper()}{' on ' if finding.on else ''}{finding.on}{' (*)' if finding.apart else ''}")
        for part in finding.parts:
            if part.number:
                print(f"   - {sentence(part)}")
        for missing in finding.missing:
            print(f"   missing: {missing}")
    if note := apart(report.findings):
        print(f"\n{note}")
    others = report.studies[~report.studies["used"]]
    if len(others):
        print("\nother studies, from which no number is taken (--study KEY takes one):")
        names = ["study", "data", "backbone", "folds", "seeds", "runs", "differs_in"]
        cells = others[names].astype(str).itertuples(index=False)
        console.table([*names[:-1], "differs from the nearest one that is taken in"], cells)
