"""Tables I, II and III and the verdicts, from the runs and tables that exist: everything that a report shows, as one value."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from tla import console, outputs
from tla.console import counted
from tla.ensembles import measuring as ensembles
from tla.errors import UserError
from tla.options import LEAKS, RANDOM
from tla.paper import claims, evidence_from_runs, measured, readouts, studies
from tla.paper.claims import Finding
from tla.paper.evidence_from_runs import Arm, Clips
from tla.paper.evidence_from_tables import from_tables
from tla.paper.studies import Case, joined_folds
from tla.reference import DATA, TABLE1, TABLE2, TABLE3
from tla.runs import tables
from tla.runs.command import HINTS
from tla.runs.folder import FinishedRun
from tla.runs.tables import Outcomes
from tla.statistics import Estimate, difference, gain, mean, share

OWN = ("table1", "table2", "table3", "claims")  # the report's own tables in the figures folder
OPTIMISM = "best - last"  # what choosing the epoch on the scored clips brings
GAP = f"pretrained - {RANDOM}"
QUANTITY = ["quantity", "rule", "folds", "seeds", "runs", "clips", "sources"]
QUANTITY += ["accuracy", "low", "high", "covers", "macro_accuracy", "macro_low", "macro_high", "spread", "spread_over"]
EMPTY_TABLE2 = ["data", "backbone", "study", "protocol", "rule", "folds", "runs", "averaged"]
EMPTY_TABLE2 += ["single", "ensemble", "macro_single", "macro_ensemble"]


@dataclass(frozen=True, kw_only=True)
class Only:
    """What a report is restricted to: a data set, a backbone, the studies of these runs (by the beginnings of their keys)."""

    data: str | None = None
    digest: str | None = None
    """Of the clips that `data` names, where they are at hand: runs on them may call them something else."""
    backbone: str | None = None
    studies: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report shows. All tables are tidy; `tla.paper.report_tables` sets them."""

    table1: pd.DataFrame
    """One row per data set, backbone, quantity (pretrained, random, their difference) and rule; `best - last` is the optimism
    of choosing the epoch on the scored clips."""
    table2: pd.DataFrame
    """One row per data set, backbone and rule: single run, ensemble, gain, diversity, calibration."""
    table3: pd.DataFrame
    """One row per model and data set, from the literature, the paper, and here."""
    parts: pd.DataFrame
    """One row per part of a claim, data set and backbone, with its verdict."""
    findings: tuple[Finding, ...]
    """The verdict on each of the seven claims."""
    studies: pd.DataFrame
    """One row per group of comparable runs: which there are, and which of them the numbers are taken from."""
    runs: pd.DataFrame
    """One row per run of those: its options, scores, versions, commit, machine."""
    data: pd.DataFrame
    """One row per data set: its held-out clips."""
    readouts: pd.DataFrame
    """One row per line that `tla.probe` left beside a study: the readout less what fine-tuned runs have on the same clips."""
    figures: tuple[Path, ...]
    """The figures (PDF) of the studies on the same clips with the same backbone, and those that lie beside their folders."""


def gather(
    runs: Path,
    figures: Path,
    only: Only = Only(),
    *,
    rule: str | None = None,
    where: str | None = None,
) -> Report:
    """Read what there is below `runs` and `figures`. `where`: the path of the clips, for the commands that make more."""
    contexts = contexts_of(runs, only)
    rooms = _folders(figures, contexts)
    clips: Clips = functools.cache(tables.outcomes)
    taken = [studies.choose(candidates, ["pretrained", RANDOM]) for candidates in contexts.values()]
    table1 = pd.concat([_table1(case, clips) for case in taken], ignore_index=True)
    averaged = [studies.choose(candidates, ["pretrained"]) for candidates in contexts.values()]
    table2 = pd.DataFrame([row for case in averaged for row in _table2(case)])
    if table2.empty:  # a table without rows has its heads
        table2 = pd.DataFrame(columns=EMPTY_TABLE2)
    parts = [*evidence_from_runs.from_runs(contexts, rule, where, clips), *from_tables(rooms, contexts, where)]
    cases = [case for candidates in contexts.values() for case in candidates]
    named = {part.study for part in parts}
    used = [case for case in cases if case.key in named]
    return Report(
        table1=table1,
        table2=table2,
        table3=_table3(table1, table2, rule),
        parts=measured.table(parts),
        findings=claims.findings(parts),
        studies=studies.table(cases, used),
        runs=_runs(used),
        data=_data(used),
        readouts=readouts.measured(taken, rooms),
        figures=tuple(path for folder in rooms for path in sorted(folder.glob("*.pdf")) if path.stem not in OWN),
    )


def _folders(figures: Path, contexts: Mapping[tuple[str, str], Sequence[Case]]) -> list[Path]:
    """The folders that tables and figures of these studies may lie in: `figures`, and those below it on their clips."""
    known = {(case.setting.digest, case.setting.backbone) for candidates in contexts.values() for case in candidates}
    about = {path: outputs.about_of(path) or {} for path in outputs.folders(figures)}
    return [
        path for path, kept in about.items() if path == figures or (kept.get(outputs.DIGEST), kept.get("backbone")) in known
    ]


def contexts_of(runs: Path, only: Only) -> dict[tuple[str, str], list[Case]]:
    """The studies that there are, by data set and backbone; where one is chosen, it alone."""
    found: dict[tuple[str, str], list[Case]] = {}
    for case in studies.cases(_by_one_name(tables.finished(runs), only)):
        place = case.setting.data, case.setting.backbone
        if only.data in (None, place[0]) and only.backbone in (None, place[1]):
            found.setdefault(place, []).append(case)
    if not found:
        what = f"on {only.data or 'any data'} with {only.backbone or 'any backbone'}"
        raise UserError(f"no finished run in {runs} is {what}; `{console.command('runs')}` lists those that there are")
    for prefix in only.studies:
        fitting = {
            place: [case for case in cases if any(folder.key.startswith(prefix) for folder in case.folders)]
            for place, cases in found.items()
        }
        places = [place for place, cases in fitting.items() if cases]
        if len(places) != 1 or len(fitting[places[0]]) != 1:
            fits = counted(sum(map(len, fitting.values())), "study", "studies") if places else "no study"
            raise UserError(
                f"--study {prefix} fits {fits}: give the beginning of a run's key (`{console.command('runs')}` lists them)"
            )
        found[places[0]] = fitting[places[0]]
    return found


def _by_one_name(runs: Sequence[FinishedRun], only: Only) -> list[FinishedRun]:
    """The runs, with one name for the same clips: as they are called in this command, else as the newest run calls them."""
    names: dict[str, str] = {}
    for folder in sorted(runs, key=lambda folder: (folder.run.data == only.data, folder.result.finished)):
        names[folder.run.data_digest] = folder.run.data
    if only.data and only.digest:
        names[only.digest] = only.data
    return [replace(folder, run=replace(folder.run, data=names[folder.run.data_digest])) for folder in runs]


def _table1(case: Case, clips: Clips) -> pd.DataFrame:
    arms = {name: case.arm(name) for name in ("pretrained", RANDOM) if case.arm(name)}
    held_out = {name: _held_out(arm, clips) for name, arm in arms.items()}
    runs = {name: _scored(arm) for name, arm in arms.items()}
    rows = []
    for name in arms:
        means = {
            rule: [(gain if rule == OPTIMISM else share)(tables.folds_of(study, macro=macro)) for macro in (False, True)]
            for rule, study in held_out[name].items()
        }
        counts = tables.counted(tables.folds_of(next(iter(held_out[name].values()))))
        rows += _quantity(name, means, counts, runs[name])
    if len(arms) == 2:
        rows += _gap(held_out, runs)
    setting = case.setting
    known = TABLE1.get((setting.backbone, setting.data))
    stated = {} if known is None else {"pretrained": known[0], RANDOM: known[1], GAP: known[0] - known[1]}
    about = {"data": setting.data, "backbone": setting.backbone, "study": case.key, "protocol": setting.protocol}
    table = pd.DataFrame([about | row for row in rows], columns=[*about, *QUANTITY])
    return table.assign(paper=table["quantity"].map(stated).where(table["rule"] == "best"))  # it reports the best epoch


def _gap(held_out: Mapping[str, Mapping[str, Outcomes]], runs: Mapping[str, pd.DataFrame]) -> list[dict[str, object]]:
    """What pretraining gains under each rule, and how much of it is optimism; nothing where no fold is in common."""
    (first, second), (left, right) = held_out.values(), runs.values()
    folds = set(left["fold"]) & set(right["fold"])
    if not folds:
        return []
    pairs = {
        rule: [tables.matched(first[rule], second[rule], macro=macro) for macro in (False, True)]
        for rule in first
        if rule in second
    }
    gained = {rule: [(mean if rule == OPTIMISM else difference)(*pair) for pair in both] for rule, both in pairs.items()}
    counts = tables.counted(next(iter(pairs.values()))[0][0])
    common = pd.DataFrame({"fold": left["fold"], "seed": left["seed"]}).merge(right[["fold", "seed"]], on=["fold", "seed"])
    each = common
    for rule in gained:
        each = each.merge(tables.less(left, right, rule), on=["fold", "seed"])
    count = int(left["fold"].isin(folds).sum() + right["fold"].isin(folds).sum())
    return [row | {"runs": count, "folds": joined_folds(folds)} for row in _quantity(GAP, gained, counts, each)]


def _quantity(
    name: str, means: Mapping[str, Sequence[Estimate]], counts: dict[str, int], runs: pd.DataFrame
) -> list[dict[str, object]]:
    """A quantity under each rule, of accuracy and of macro accuracy, and its optimism; `runs` has it run by run."""
    rows = []
    for rule, (estimate, macro) in means.items():
        row = tables.reported(name, rule, estimate, runs) | tables.macro_columns(macro)
        row["quantity"] = row.pop("arm")
        rows.append(row | {"folds": joined_folds(runs["fold"]), "seeds": runs["seed"].nunique()} | counts)
    return rows


def _held_out(arm: Arm, clips: Clips) -> dict[str, Outcomes]:
    """What an arm was right about under each rule, and its optimism."""
    each = {rule: clips(arm, rule) for rule in _rules(arm)}
    return each | ({OPTIMISM: tables.within(each["best"], each["last"])} if "best" in each else {})


def _scored(arm: Arm) -> pd.DataFrame:
    """An arm's runs, likewise."""
    runs = tables.runs_table(arm)
    return runs.assign(**{OPTIMISM: runs["best"] - runs["last"]}) if "best" in runs else runs


def _rules(arm: Arm) -> list[str]:
    return list(arm[0].result.scores)


def _table2(case: Case) -> list[dict]:
    runs = evidence_from_runs.grid(case.arm("pretrained"))
    if not runs:
        return []
    setting, known = case.setting, TABLE2.get((case.setting.backbone, case.setting.data))
    about = {"data": setting.data, "backbone": setting.backbone, "study": case.key, "protocol": setting.protocol}
    rows = []
    for rule in _rules(runs):
        one = ensembles.members(runs, rule)
        for how in ensembles.HOWS:
            stands_on = {"rule": rule, "folds": joined_folds(folder.run.fold for folder in runs), "runs": len(runs)}
            score = ensembles.score(ensembles.ALL, one, how)
            del score["fold"]
            paper = known if known and (rule, how) == ("best", "softmax") else (None, None, None)
            beside = dict(zip(("paper_single", "paper_spread", "paper_ensemble"), paper, strict=True))
            rows.append(about | stands_on | score | beside)
    return rows


def _table3(table1: pd.DataFrame, table2: pd.DataFrame, asked: str | None) -> pd.DataFrame:
    """The literature, the paper, and what was measured here."""
    rows: list[dict[str, object]] = [
        {"source": "literature", "model": model, "data": data, "accuracy": accuracy}
        for model, known in TABLE3.items()
        for data, accuracy in known.items()
    ]
    for data in DATA:  # the paper's table has DenseNet only
        start, end = TABLE1[("densenet201", data)], TABLE2[("densenet201", data)]
        for model, accuracy in ((RANDOM, start[1]), ("pretrained", start[0]), ("ensemble of 5", end[2])):
            rows.append({"source": "paper", "model": f"densenet201, {model}", "data": data, "accuracy": accuracy})
    macro = ["macro_accuracy", "macro_low", "macro_high"]
    same = ["data", "accuracy", "low", "high", *macro, "study", "rule", "protocol", "folds", "runs"]
    here = table1[table1["quantity"].isin(["pretrained", RANDOM])]
    for row in here.to_dict("records"):
        rows.append({"source": "here", "model": f"{row['backbone']}, {row['quantity']}", **{name: row[name] for name in same}})
    for row in table2.to_dict("records"):
        if row["averaged"] == "softmax":
            model = f"{row['backbone']}, ensemble of {row['members']}"
            measured_here = {name: row.get(name) for name in same} | {
                "accuracy": row["ensemble"],
                macro[0]: row["macro_ensemble"],
            }
            rows.append({"source": "here", "model": model, **measured_here})
    table = pd.DataFrame(rows, columns=["source", "model", *same])
    wanted = {asked if asked in ("best", "last") else "last", "test"}
    return table[(table["source"] != "here") | table["rule"].isin(wanted)].reset_index(drop=True)


def _runs(used: Sequence[Case]) -> pd.DataFrame:
    """The runs of the studies that numbers are taken from, and how each was made."""
    folders = {folder.key: folder for case in used for folder in case.folders}.values()
    private = {*HINTS, LEAKS}  # where things lie is not for a page that is sent to others; leaks are a column of the runs
    how = [{name: value for name, value in folder.made.items() if name not in private} for folder in folders]
    made = pd.DataFrame([{"key": f.key, **each, "finished": f.result.finished} for f, each in zip(folders, how, strict=True)])
    study = pd.DataFrame([{"key": folder.key, "study": case.key} for case in used for folder in case.folders])
    return study.drop_duplicates("key").merge(tables.runs_table(folders), on="key").merge(made, on="key")


def _data(used: Sequence[Case]) -> pd.DataFrame:
    """The held-out clips of each data set: how many, of how many recordings, and which of these are in two folds."""
    rows = []
    for digest in dict.fromkeys(case.setting.digest for case in used):
        mine = [case for case in used if case.setting.digest == digest]
        first = {folder.run.fold: folder for case in mine for folder in case.folders}  # any run of a fold holds out the same
        each = [
            pd.DataFrame({"fold": fold, "source": f.predictions.sources, "label": f.predictions.labels})
            for fold, f in sorted(first.items())
        ]
        clips = pd.concat(each, ignore_index=True)
        across = clips.groupby("source")["fold"].nunique()
        rows.append(
            {
                "data": mine[0].setting.data,
                "digest": digest,
                "classes": mine[0].setting.classes,
                "folds": joined_folds(first),
                "clips": len(clips),
                "fewest_clips_of_a_class": int(clips["label"].value_counts().min()),
                "recordings": clips["source"].nunique(),
                "recordings_in_two_folds": " ".join(map(str, across.index[across > 1])),
            }
        )
    return pd.DataFrame(rows)
