"""Tables that people read, in the terminal."""

import math
from pathlib import Path

import pandas as pd

from tla import console
from tla.manifest import write_table
from tla.options import CONVERGED, RANDOM, UNTRAINED
from tla.statistics import CLIPS, between, bracketed

RULES = ("best", "last", "test")
SAME = 1e-9  # of percent: up to this two numbers are one
MACRO = "macro accuracy, the mean of the classes' own accuracies"


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
    note += f"; {MACRO}" + (", is the same number here" if same_macro(summary) else "")
    print(f"\n{note}\n{path}  {summary_path}")
    if line := warning(runs):
        console.say(line)


def same_macro(table: pd.DataFrame, accuracy: str = "accuracy", macro: str = "macro_accuracy") -> bool:
    """Whether macro accuracy is the same number as accuracy in each row, as it is where all classes have as many clips."""
    return bool(((table[macro] - table[accuracy]).abs().fillna(0) <= SAME).all())


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
    words = console.counted(first, "epoch") if first == last else f"{first} to {last} epochs"
    count = unfinished(runs)
    return f"{words} ({UNTRAINED}{mark}: {count} of {console.counted(runs['key'].nunique(), 'run')})" if count else words


def warning(runs: pd.DataFrame) -> str | None:
    """A line on the runs that were not trained to their end, and what to do; None if all were."""
    count = unfinished(runs)
    if not count:
        return None
    return (
        f"{UNTRAINED}: {count} of {console.counted(runs['key'].nunique(), 'run')}, so their numbers are about the budget and "
        "there is no verdict on them; --recipe.until plateau trains them to the end (docs/training.md)"
    )


def show_runs(runs: pd.DataFrame) -> None:
    """One line per run."""
    rules = [rule for rule in RULES if rule in runs]
    macro = [] if all(same_macro(runs, rule, f"{rule}_macro") for rule in rules) else ["macro accuracy %"]
    headings = ["key", "data", "backbone", "start", "protocol", "fold", "seed", *(f"{rule} %" for rule in rules), *macro]
    rows = []
    for row in runs.to_dict("records"):
        mine = [rule for rule in rules if not math.isnan(row[rule])]
        scores = [f"{100 * row[rule]:.1f}" if rule in mine else "" for rule in rules]
        start = f"{row['weights'].partition(':')[0]} up to {row['pretrained_upto']}" if row["weights"] != RANDOM else RANDOM
        about = [row["key"], row["data"], row["backbone"], start, row["protocol"], row["fold"], row["seed"]]
        training = f"{row['training']} ({row['training_loss']:.2g})"
        cost = [row["epochs"], training, f"{row['lr']:g}", f"{row['seconds_per_epoch']:.1f}"]
        rows.append([*about, *scores, *(f"{100 * row[mine[-1] + '_macro']:.1f}" for _ in macro), *cost])
    console.table([*headings, "epochs", "training (loss)", "lr", "s/epoch"], rows)


def show_summary(summary: pd.DataFrame) -> None:
    """One line per reported number, with its interval, spread and the paper's number."""
    has_paper = "paper" in summary and summary["paper"].notna().any()
    has_macro = not same_macro(summary)
    macro_headings = ["macro accuracy %", "95 % interval"] if has_macro else []
    headings = ["", "rule", "runs", "accuracy %", "95 % interval", *macro_headings, "spread"]
    headings += ["paper %"] if has_paper else []
    rows = []
    for row in summary.to_dict("records"):
        spread = "" if math.isnan(row["spread"]) else f"±{row['spread']:.1f} over {row['spread_over']}"
        interval = between(row["low"], row["high"], ".1f")
        paper = [f"{row['paper']:.1f}" if not math.isnan(row["paper"]) else ""] if has_paper else []
        macro = [f"{row['macro_accuracy']:.1f}", between(row["macro_low"], row["macro_high"], ".1f")] if has_macro else []
        rows.append([row["arm"], row["rule"], row["runs"], f"{row['accuracy']:.1f}", interval, *macro, spread, *paper])
    console.table(headings, rows)
