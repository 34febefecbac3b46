"""The paper's seven claims as checks on measured numbers, and what becomes of them: four words, by written rules.

A claim has parts; a part is one measured number, mostly a difference between two arms in points of accuracy, with its 95 %
interval (`tla.statistics`), and a region in which the number has to lie for the part to hold:

    holds                  the whole interval lies inside the region
    does not hold          the whole interval lies outside
    not trained to the end there are runs among them whose training loss still fell: their numbers are about the budget
    not enough evidence    the interval reaches over the region's edge, or it is one for other clips on these runs alone, or
                           there are no runs, or so few recordings that there is no interval

So a gain holds if its interval lies above 0; "adds nothing" holds if the interval lies below +3 points (`NOTHING`), which takes
more than an interval that includes 0. A claim holds if all its parts do, and does not hold if one does not. Holding needs no
correction for several parts, since all of them have to; failing is one of at most three.

A plan that is trained again gives another number, and one seed does not tell how far another. So there is no verdict on runs
of one seed, nor on a table whose interval leaves other trainings out: what the interval says of these runs is told instead,
and how many seeds would be needed.

The size that the paper states is judged apart from that, by the same rule, and only in the paper's own setting (data, backbone,
recipe, pictures) and by the paper's rule, the best epoch: it agrees if it lies in the interval; but an interval that is wider
than the stated difference, or than 6 points for one that is smaller and for an accuracy, is too wide to agree with anything.

A claim is judged on the paper's setting if there are runs in it, else on the data and backbone with most runs for it, and the
verdict is one about those.
"""

import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from tla.options import UNTRAINED
from tla.reference import CLAIMS, TABLE1, TABLE2, Claim
from tla.statistics import TRAININGS, TYPICAL, bracketed, seeds_needed

Verdict = Literal["holds", "does not hold", "not enough evidence", "not trained to the end"]
HOLDS, FAILS, OPEN = "holds", "does not hold", "not enough evidence"

MOST_TIMES = 100  # as many clips as there are: beyond, no amount is told
POINTS, LEVEL, SIMILARITY = "points", "%", "similarity"  # the units of a part
REACH = 3.0  # points to each side that an interval may have at least when the paper's size is judged

Region = tuple[float, float]
GAINS: Region = (0.0, math.inf)
LOSES: Region = (-math.inf, 0.0)
NOTHING: Region = (-math.inf, 3.0)  # adds nothing: less than 3 points
LITTLE: Region = (-math.inf, 5.0)  # costs only 2 to 3 points: less than 5, with room for two more


@dataclass(frozen=True)
class Part:
    """A number that a claim stands on: an arm of `studies.PLANS`, less another; its region; the size that the paper states."""

    claim: int
    first: str
    second: str | None
    region: Region | None  # None: only its size is judged
    paper: float | None = None


PARTS = (
    Part(1, "pretrained", "random", GAINS),
    Part(2, "fused:block3", "fused:block2", GAINS),
    Part(2, "pretrained", "fused:block3", NOTHING),
    Part(2, "fused:block3", None, None, 90.0),
    Part(3, "pretrained", "frozen:block2", LITTLE, 2.5),
    Part(3, "frozen:block2", "frozen:block3", GAINS),
    Part(3, "pretrained", "frozen:block3", None, 10.0),
    Part(4, "pretrained", "kept:block3", NOTHING, 91.16 - 90.0),
    Part(4, "kept:block3", "kept:block2", GAINS, 90.0 - 85.0),
)
COLUMNS = (
    "claim",
    "part",
    "data",
    "backbone",
    "study",
    "departures",  # from the paper's setting; empty if it is the paper's
    "protocol",
    "rule",
    "folds",
    "seeds",
    "runs",
    "unfinished",  # of these runs, how many were not trained to their end
    "clips",
    "sources",
    "unit",
    "value",
    "low",
    "high",
    "covers",  # what the interval is one for
    "region_low",
    "region_high",
    "doubled",  # the same with twice the training, where there are such runs
    "doubled_low",
    "doubled_high",
    "paper",  # the size that the paper states
    "paper_rule",  # the rule under which it is compared, and our number under it
    "paper_rule_value",
    "paper_rule_low",
    "paper_rule_high",
    "paper_rule_covers",
    "missing",
    "command",
)  # of a row of measured parts
DOUBLED = ("doubled", "doubled_low", "doubled_high")
BY_PAPER_RULE = ("paper_rule_value", "paper_rule_low", "paper_rule_high")
NUMBERS = ("value", "low", "high", "region_low", "region_high", *DOUBLED, "paper", *BY_PAPER_RULE)


@dataclass(frozen=True)
class Finding:
    """What the runs say of one claim."""

    claim: Claim
    verdict: Verdict
    size: Verdict | None
    """Whether the size that the paper states agrees; None where that cannot be asked."""
    on: str
    """The data and backbones that it is one about."""
    apart: tuple[str, ...]
    """What sets them apart from the paper's setting; nothing if it is the paper's."""
    parts: tuple[dict, ...]
    """The rows of the measured parts that it was judged on (columns: `COLUMNS`, verdict, size)."""
    measured: tuple[str, ...]
    """One sentence per part: the number, its interval, what it stands on."""
    missing: tuple[str, ...]
    """What would be needed, with the command that makes it."""


def verdict(low: float, high: float, region: Region) -> Verdict:
    """Whether a number with this interval lies in a region."""
    if region[0] < low and high < region[1]:
        return "holds"
    return "does not hold" if high <= region[0] or region[1] <= low else "not enough evidence"


def agreement(low: float, high: float, stated: float, *, level: bool = False) -> Verdict:
    """Whether the size that the paper states, of a difference or of a level, agrees with this interval."""
    if not low <= stated <= high:
        return "does not hold"
    reach = REACH if level else max(REACH, abs(stated) / 2)
    return "holds" if (high - low) / 2 <= reach else "not enough evidence"


def stated(part: Part, data: str, backbone: str) -> float | None:
    """The size that the paper states for a part, in points."""
    known = TABLE1.get((backbone, data))
    return known[0] - known[1] if part.claim == 1 and known else part.paper


def stated_gain(data: str, backbone: str) -> float | None:
    """What the paper's ensemble gains over its single network, in points."""
    known = TABLE2.get((backbone, data))
    return known[2] - known[0] if known else None


def judge(parts: pd.DataFrame) -> pd.DataFrame:
    """The measured parts with `verdict` (none where only the size is judged) and `size`."""
    judged = parts.astype(dict.fromkeys(NUMBERS, float))
    rows = judged.to_dict("records")
    judged["verdict"] = pd.Series([_verdict(row) for row in rows], index=parts.index, dtype=object)
    judged["size"] = pd.Series([_size(row) for row in rows], index=parts.index, dtype=object)
    return judged


def _verdict(row: dict) -> Verdict | None:
    if pd.isna(row["region_low"]):
        return None
    if row["unfinished"]:
        return "not trained to the end"
    if pd.isna(row["low"]) or row["covers"] != TRAININGS:
        return "not enough evidence"
    return verdict(row["low"], row["high"], (row["region_low"], row["region_high"]))


def _size(row: dict) -> Verdict | None:
    if row["departures"] or pd.isna(row["paper"]) or row["unfinished"]:
        return None
    if pd.isna(row["paper_rule_low"]) or row["paper_rule_covers"] != TRAININGS:
        return "not enough evidence"
    return agreement(row["paper_rule_low"], row["paper_rule_high"], row["paper"], level=row["unit"] == LEVEL)


def findings(judged: pd.DataFrame) -> tuple[Finding, ...]:
    """The verdict on each of the seven claims."""
    return tuple(_finding(claim, judged[judged["claim"] == claim.number]) for claim in CLAIMS)


def _finding(claim: Claim, parts: pd.DataFrame) -> Finding:
    scope = _scope(parts)
    words = [word for word in scope["verdict"] if word]
    found: Verdict = "not enough evidence"
    if FAILS in words:
        found = "does not hold"
    elif UNTRAINED in words:
        found = "not trained to the end"
    elif words and set(words) == {HOLDS}:
        found = "holds"
    sizes = [word for word in scope["size"] if word]
    size: Verdict | None = None
    if sizes:
        size = "does not hold" if FAILS in sizes else "holds" if set(sizes) == {HOLDS} else "not enough evidence"
    rows = scope.to_dict("records")
    measured = tuple(sentence(row) for row in rows if not pd.isna(row["value"]))
    on = dict.fromkeys(f"{row['data']}, {row['backbone']}" for row in rows)
    apart = dict.fromkeys(reason for reasons in scope["departures"] for reason in reasons.split("; ") if reason)
    return Finding(claim, found, size, "; ".join(on), tuple(apart), tuple(rows), measured, _missing(claim, scope))


def _scope(parts: pd.DataFrame) -> pd.DataFrame:
    """The rows that a claim is judged on: those in the paper's setting; else those of the data and backbone with most runs."""
    measured = parts[parts["value"].notna()]
    if measured.empty:
        measured = parts
    same = measured[measured["departures"] == ""]
    if same.empty and len(measured):
        totals = measured.groupby(["data", "backbone"], sort=False)["runs"].transform("sum")
        most = measured.iloc[int(totals.to_numpy().argmax())]  # the first of equals
        same = measured[(measured["data"] == most["data"]) & (measured["backbone"] == most["backbone"])]
    chosen = set(zip(same["data"], same["backbone"], strict=True))
    kept = [place in chosen for place in zip(parts["data"], parts["backbone"], strict=True)]
    return parts[pd.Series(kept, index=parts.index, dtype=bool)]


def number(row: dict, value: str = "value", low: str = "low", high: str = "high") -> str:
    """A part's number with its interval."""
    form, unit = {POINTS: ("+.1f", " points"), LEVEL: (".1f", " %"), SIMILARITY: ("+.2f", "")}[row["unit"]]
    return f"{row[value]:{form}}{unit} {bracketed(row[low], row[high], form)}"


def basis(row: dict) -> str:
    """What a part's number stands on."""
    folds = f"fold{'s' * (',' in row['folds'])} {row['folds']}"
    seeds = f"{row['seeds']} seed{'s' * (row['seeds'] != '1')}"
    return (
        f"{row['rule']} epoch, {row['protocol']} protocol, {folds}, {seeds}, "
        f"{row['runs']:.0f} run{'s' * (row['runs'] != 1)}, {row['clips']:.0f} clips of {row['sources']:.0f} recordings; "
        f"interval for {row['covers']}"
    )


def region_words(region: Region) -> str:
    """A region as a reader sees it."""
    low, high = region
    return f"above {low:g}" if math.isinf(high) else f"below {high:g}" if math.isinf(low) else f"{low:g} to {high:g}"


def sentence(row: dict) -> str:
    """One part in words."""
    told = f"{row['part']}: {number(row)} ({basis(row)})"
    if row["verdict"]:
        told += f": {judged(row)}"
    if not pd.isna(row["doubled"]):
        told += f"; {doubled(row)}"
    if row["size"]:
        told += f"; {compared(row)}"
    return told


def doubled(row: dict) -> str:
    """The number with twice the training; the finding hangs on the budget if its sign changes, or its interval is lost."""
    told = f"with twice the training {number(row, *DOUBLED)}"
    once, twice = (row[low] > 0 or row[high] < 0 for low, high in (("low", "high"), DOUBLED[1:]))
    hangs = once and (not twice or row["doubled"] * row["value"] <= 0)
    return f"it hangs on the budget: {told}" if hangs else told


def judged(row: dict) -> str:
    """A part's verdict with its region and, where there is none on one training, what the interval says of these runs."""
    region = row["region_low"], row["region_high"]
    told = f"{row['verdict']} ({region_words(region)})"
    if pd.isna(row["low"]) or row["covers"] == TRAININGS or row["unfinished"]:
        return told
    here = {HOLDS: "it lies there", FAILS: "it does not lie there", OPEN: "it cannot be told either"}
    return f"{told}; on these runs, for other clips, {here[verdict(row['low'], row['high'], region)]}"


def compared(row: dict) -> str:
    """The size that the paper states beside ours, and whether it agrees."""
    ours = number(row, *BY_PAPER_RULE)
    known = row["paper_rule_covers"] == TRAININGS
    unsure = "the interval is too wide to say" if known else "not to be said without other trainings"
    agrees = {HOLDS: "agrees", FAILS: "does not agree", OPEN: unsure}[row["size"]]
    return f"the paper's {row['paper']:.1f} against {ours} ({row['paper_rule']} epoch): {agrees}"


def _missing(claim: Claim, scope: pd.DataFrame) -> tuple[str, ...]:
    """What the open parts of a claim need, with the commands that make it."""
    lacking: dict[str, dict[str, None]] = {}  # command -> what it makes, in order
    wider = []
    for row in scope.to_dict("records"):
        if row["unfinished"]:
            what = f"{row['unfinished']:.0f} of {row['runs']:.0f} runs trained to their end ({row['part']})"
            lacking.setdefault(row["command"], {})[what] = None
        elif row["missing"]:
            lacking.setdefault(row["command"], {}).update(dict.fromkeys(row["missing"].split("; ")))
        elif row["verdict"] == OPEN:
            wider.append(f"{row['part']}: {more(row)}")
    elsewhere = [] if set(scope["departures"]) - {""} else [data for data in claim.data if data not in set(scope["data"])]
    further = [f"runs on {' and '.join(elsewhere)}, of which the claim speaks too"] if elsewhere else []
    return (*(f"{', '.join(what)}: {command}" for command, what in lacking.items()), *wider, *further)


def more(row: dict) -> str:
    """What would settle an open part, if its number stays where it is: seeds, or clips and seeds, for intervals shrink with the
    root of both.
    """
    if pd.isna(row["low"]):
        return f"{row['sources']:.0f} recordings, or such unequal ones, are too few for an interval"
    edge = min((e for e in (row["region_low"], row["region_high"]) if math.isfinite(e)), key=lambda e: abs(row["value"] - e))
    away, half = abs(row["value"] - edge), (row["high"] - row["low"]) / 2
    if row["covers"] != TRAININGS and row["unit"] == SIMILARITY:
        return "the interval leaves out how far other trainings would move the number"
    if row["covers"] != TRAININGS:
        return _seeds(row, away, half)
    times = (half / away) ** 2 if away else math.inf
    if times > MOST_TIMES:
        return f"the number is too near to {edge:g} for any amount of clips"
    what = "clips and seeds" if "1" not in str(row["seeds"]).split(" and ") else "clips"
    return f"about {max(1.5, times):.1f} times as many {what}, if the number stays where it is (further folds, or more data)"


def _seeds(row: dict, away: float, half: float) -> str:
    """How many seeds an interval for other trainings takes."""
    folds = len(str(row["folds"]).split(","))
    needed = seeds_needed(away / 100, half / 100, folds=folds)
    typical = f"if runs of one plan differ by {100 * TYPICAL:g} points, as is common"
    alone = "1" in str(row["seeds"]).split(" and ")
    told = "one seed says nothing of another training" if alone else "so few runs do not say how far others differ"
    if needed is None:
        return f"{told}: --seeds 3 or more, and more clips too ({typical})"
    return f"{told}: --seeds {max(needed, 3)} would settle it, {typical} and the number stays where it is"
