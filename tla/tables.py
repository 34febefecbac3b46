"""Tables that people read, in the terminal."""

import io
import math
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from tla import console
from tla.manifest import vouched
from tla.options import CONVERGED, LEAKS, RANDOM, UNTRAINED, Augment, Picture, Recipe, Transfer
from tla.statistics import CLIPS, between, bracketed

RULES = ("best", "last", "test")
BARE = ("data", "backbone", "start")  # options whose value needs no name in front of it
LINES = "probe"  # begins the names of tables beside a study's figures: what is read out without training, and of which clips
READ_OUT = "Read out: ridge regression on the mel bands, or on the best stage's output, without training."
LEAST = ("s/epoch", "loss", "macro accuracy %", "epochs")  # columns that make room in a narrow terminal, in this order
OPTIONS = {  # options that are shown where runs differ in them or all have another value than this, the usual one
    "short_epochs": Recipe().short_epochs,
    "batch": Recipe().batch,
    "weight_decay": Recipe().weight_decay,
    "drop_factor": Recipe().drop_factor,
    "standardise": Recipe().standardise,
    "class_weights": Recipe().class_weights,
    "head_lr": None,  # None: where runs on the same data differ in them
    "drops": None,
    "cap": None,
    "augment": Augment().kind,
    "augment_length": Augment().length,
    **{f"picture_{name}": value for name, value in asdict(Picture()).items()},
    "precision": None,
}
ABOUT: tuple[str, ...] = ("data", "backbone", "start", "protocol", "fold", "seed", "per_class", "length", "lr", "optimizer")
ABOUT += (*OPTIONS, "training")
SAME = 1e-9  # of percent: up to this two numbers are one
MACRO = "macro accuracy, the mean of the classes' own accuracies"


def show_study(runs: pd.DataFrame, summary: pd.DataFrame) -> None:
    """Print the runs and the numbers made of them."""
    show_runs(runs)
    print()
    show_summary(summary)
    note = f"interval for {covered(summary)}{hint(summary)}"
    if "best" in runs:
        note += "; best: the epoch picked on the clips that are scored, as in the paper"
    note += f"; {MACRO}" + (", is the same number here" if same_macro(summary) else "")
    print(f"\n{note}")
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


def lines(folder: Path) -> pd.DataFrame | None:
    """What is read out without training, if `tla.probe` left it in a study's folder: a row per line, in percent."""
    path = folder / f"{LINES}_lines.csv"
    return pd.read_csv(io.BytesIO(vouched(path)), keep_default_na=False) if path.is_file() else None


def read_out(lines: pd.DataFrame) -> str:
    """The same in a sentence."""
    rows = lines.assign(low=pd.to_numeric(lines["low"]), high=pd.to_numeric(lines["high"])).to_dict("records")
    words = []
    for row in rows:
        name = f"{row['line']} ({row['stages']})" if row["stages"] else row["line"]
        words.append(f"{name} {row['value']:.1f} % {bracketed(row['low'], row['high'], '.1f')}")
    return f"read out without training, on the same clips: {'; '.join(words)}"


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
        which = f"{count} of {console.counted(runs['key'].nunique(), 'run')}"
        advice = "--recipe.until plateau trains them to the end (docs/training.md)"
        lines.append(f"{UNTRAINED}: {which}, so their numbers are about the budget and there is no verdict on them; {advice}")
    return "\n".join(lines) or None


def start(weights: str, plan: Transfer) -> str:
    """What a run starts from, and the rest of its transfer plan: pretrained, frozen up to block3."""
    kind, _, content = weights.partition(":")
    words = [RANDOM if plan.pretrained_upto == "none" else "pretrained"]
    if plan.pretrained_upto not in ("none", plan.kept_upto):
        words[0] += f" up to {plan.pretrained_upto}"
    words[0] += f" (file {content[:8]})" * (kind == "file")
    words += {"all": [], "conv": ["convolutions only"], "norm": ["batch norm only"]}[plan.parts]
    words += ["random positions"] * (plan.positions == "random")
    words += ["rest: mean and variance"] * (plan.rest == "meanvar")
    if plan.frozen_upto != "none":
        words.append(f"frozen up to {plan.frozen_upto}{' with live norm' * (plan.frozen_norm == 'live')}")
    token = " with a head on the class token" * (plan.cut_head == "token")
    words += [f"cut behind {plan.kept_upto}{token}"] * (plan.kept_upto != Transfer().kept_upto)
    return ", ".join(words)


def show_runs(runs: pd.DataFrame) -> None:
    """One line per run; what all runs share, and is not as by default, stands once above."""
    cells = _run_cells(runs)
    same = {heading: column[0] for heading, column in cells.items() if len(set(column)) == 1 and heading in ABOUT}
    shared = [value if heading in BARE else f"{heading} {value}" for heading, value in same.items() if value]
    print(f"{console.counted(len(runs), 'run')}: {', '.join(shared)}\n")
    table = {heading: column for heading, column in cells.items() if heading not in same}
    left_out = []
    for heading in (heading for heading in LEAST if heading in table):
        if _width(table) > console.page_width():
            left_out.append(heading)
            del table[heading]
    if _width(table) > console.page_width() and "start" in table:
        table["start"] = table.pop("start")  # to the end, where a column gives way
    console.table(list(table), list(zip(*table.values(), strict=True)))
    if left_out:
        console.say(f"left out, for want of room: {', '.join(left_out)}")


def _run_cells(runs: pd.DataFrame) -> dict[str, list[str]]:
    """The cells of the runs by heading; of the options that have no heading of their own those that differ, or are unusual."""
    rules = [rule for rule in RULES if rule in runs]
    rows = runs.to_dict("records")
    cells = {heading: [str(row[heading]) for row in rows] for heading in ("key", *ABOUT[: ABOUT.index("per_class")])}
    if runs["per_class"].notna().any():
        cells["per_class"] = [labels(row["per_class"]) for row in rows]
    cells["length"] = [_length(row) for row in rows]
    cells |= {"lr": [f"{row['lr']:g}" for row in rows], "optimizer": [row["optimizer"] for row in rows]}
    for name, usual in OPTIONS.items():
        values = ["" if pd.isna(row[name]) else console.plain(row[name]) for row in rows]
        by_data = {(row["data"] if usual is None else "", value) for row, value in zip(rows, values, strict=True) if value}
        if len(by_data) > len({data for data, _ in by_data}) or (usual is not None and values[0] != console.plain(usual)):
            cells[name] = values
    cells |= {f"{rule} %": [_percent(row[rule]) for row in rows] for rule in rules}
    if not all(same_macro(runs, rule, f"{rule}_macro") for rule in rules):
        macros = [[rule for rule in rules if not math.isnan(row[rule])][-1] + "_macro" for row in rows]
        cells["macro accuracy %"] = [_percent(row[macro]) for row, macro in zip(rows, macros, strict=True)]
    cells |= {"epochs": [str(row["epochs"]) for row in rows], "training": [row["training"] for row in rows]}
    cells["loss"] = [f"{row['training_loss']:.2g}" for row in rows]
    cells["s/epoch"] = [f"{row['seconds_per_epoch']:.1f}" for row in rows]
    return cells


def labels(per_class: float | None) -> str:
    """From how many clips of each class a run learned; `all` where that was not limited."""
    return "all" if per_class is None or math.isnan(per_class) else f"{per_class:.0f}"


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.1f}"


def _length(row: dict) -> str:
    """How long a run is trained."""
    length = console.counted(int(row["epochs_asked"]), "epoch") if row["until"] == "epochs" else "plateau"
    return length if row["times"] == 1 else f"{length} x {row['times']:g}"


def _width(table: dict[str, list[str]]) -> int:
    """Characters that a line of a table takes."""
    return sum(2 + max(len(heading), *map(len, column)) for heading, column in table.items()) - 2


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
