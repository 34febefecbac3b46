"""Tables that people read, in the terminal."""

import math
from pathlib import Path

import pandas as pd

from tla import console
from tla.manifest import write_table
from tla.options import CONVERGED, LEAKS, RANDOM, UNTRAINED
from tla.statistics import CLIPS, between, bracketed

RULES = ("best", "last", "test")


def study(runs: pd.DataFrame, summary: pd.DataFrame, path: Path) -> None:
    """Print the runs and the numbers made of them, and keep both as CSV."""
    summary_path = path.with_name(f"{path.stem}_summary.csv")
    write_table(path, runs)
    write_table(summary_path, summary)
    show_runs(runs)
    print()
    show_summary(summary)
    note = f"interval for {covered(summary)}{hint(summary)}"
    if "best" in runs:
        note += "; best: the epoch picked on the clips that are scored, as in the paper"
    print(f"\n{note}\n{path}  {summary_path}")
    if line := warning(runs):
        console.say(line)


def covered(table: pd.DataFrame) -> str:
    """What the intervals of a table are for."""
    return " or ".join(dict.fromkeys(table.loc[table["low"].notna(), "covers"])) or "nothing, since there is none"


def hint(table: pd.DataFrame) -> str:
    """What it takes to cover other trainings, where that is not so."""
    alone = table["low"].notna() & table["covers"].eq(CLIPS)
    return " (--seeds 3 or more would cover other trainings)" if alone.any() else ""


def finding(summary: pd.DataFrame, rule: str) -> str:
    """What a comparison of two starts found, in a sentence that claims no more than its interval."""
    rows = summary[summary["rule"] == rule].set_index("arm")
    first, second, gap = rows.index[0], rows.index[1], rows.iloc[2]
    both = f"{first} {rows['accuracy'].iloc[0]:.1f} %, {second} {rows['accuracy'].iloc[1]:.1f} % ({rule} epoch)"
    points = f"{gap['accuracy']:+.1f} points {bracketed(gap['low'], gap['high'], '.1f')}"
    if gap["unfinished"]:
        return f"{both}. {gap['unfinished']:.0f} of these runs were {UNTRAINED}: the difference, {points}, is about the budget."
    if not (gap["low"] > 0 or gap["high"] < 0):
        return f"{both}. The difference, {points}, cannot be told from none on these clips."
    ahead = first if gap["accuracy"] > 0 else second
    return (
        f"{both}. {ahead} is ahead{' on these runs' * (gap['covers'] == CLIPS)}: {points}, 95 % interval for {gap['covers']}."
    )


def unfinished(runs: pd.DataFrame) -> int:
    """How many runs were not trained to their end."""
    return int((runs.drop_duplicates("key")["training"] != CONVERGED).sum())


def trained(runs: pd.DataFrame, mark: str = "") -> str:
    """How long runs were trained, for a caption, and how many of them not to their end; `mark` is how these are drawn."""
    first, last = int(runs["epochs"].min()), int(runs["epochs"].max())
    words = f"{first} epoch{'s' * (first != 1)}" if first == last else f"{first} to {last} epochs"
    count = unfinished(runs)
    return f"{words} ({UNTRAINED}{mark}: {count} of {runs['key'].nunique()} runs)" if count else words


def cautions(runs: pd.DataFrame) -> str:
    """What a reader of any number has to know first: the sounds are synthetic, or training and held-out clips share some."""
    return " ".join((["SYNTHETIC SOUNDS."] if runs["data"].iloc[0] == "toy" else []) + shared(runs))


def shared(runs: pd.DataFrame) -> list[str]:
    """What training and held-out clips share, in sentences."""
    return list(dict.fromkeys(runs[LEAKS].dropna())) if LEAKS in runs else []


def warning(runs: pd.DataFrame) -> str | None:
    """Lines on what clips share, and on the runs that were not trained to their end, and what to do; None if there are none."""
    lines, count = shared(runs), unfinished(runs)
    if count:
        which = f"{count} of {runs['key'].nunique()} runs"
        advice = "--recipe.until plateau trains them to the end (docs/training.md)"
        lines.append(f"{UNTRAINED}: {which}, so their numbers are about the budget and there is no verdict on them; {advice}")
    return "\n".join(lines) or None


def file_name(what: str, runs: pd.DataFrame) -> str:
    """The CSV's name: the command, the data set, the backbone."""
    return f"{what}_{runs['data'][0]}_{runs['backbone'][0]}.csv".replace(":", "_").replace("/", "_")


def show_runs(runs: pd.DataFrame) -> None:
    """One line per run."""
    rules = [rule for rule in RULES if rule in runs]
    headings = ["key", "data", "backbone", "start", "protocol", "fold", "seed", *(f"{rule} %" for rule in rules), "macro %"]
    rows = []
    for row in runs.to_dict("records"):
        mine = [rule for rule in rules if not math.isnan(row[rule])]
        scores = [f"{100 * row[rule]:.1f}" if rule in mine else "" for rule in rules]
        start = f"{row['weights'].partition(':')[0]} up to {row['pretrained_upto']}" if row["weights"] != RANDOM else RANDOM
        about = [row["key"], row["data"], row["backbone"], start, row["protocol"], row["fold"], row["seed"]]
        training = f"{row['training']} ({row['training_loss']:.2g})"
        cost = [row["epochs"], training, f"{row['lr']:g}", f"{row['seconds_per_epoch']:.1f}"]
        rows.append([*about, *scores, f"{100 * row[mine[-1] + '_macro']:.1f}", *cost])
    console.table([*headings, "epochs", "training (loss)", "lr", "s/epoch"], rows)


def show_summary(summary: pd.DataFrame) -> None:
    """One line per reported number, with its interval, spread and the paper's number."""
    has_paper = "paper" in summary and summary["paper"].notna().any()
    headings = ["", "rule", "runs", "accuracy %", "95 % interval", "spread", *(["paper %"] if has_paper else [])]
    rows = []
    for row in summary.to_dict("records"):
        spread = "" if math.isnan(row["spread"]) else f"±{row['spread']:.1f} over {row['spread_over']}"
        interval = between(row["low"], row["high"], ".1f")
        paper = [f"{row['paper']:.1f}" if not math.isnan(row["paper"]) else ""] if has_paper else []
        rows.append([row["arm"], row["rule"], row["runs"], f"{row['accuracy']:.1f}", interval, spread, *paper])
    console.table(headings, rows)
