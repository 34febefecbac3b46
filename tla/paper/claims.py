"""The paper's seven claims as checks on measured numbers, and a verdict on each: one of four, by written rules.

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

A plan that is trained again gives another number, and one seed does not show how different that is. So there is no verdict on
runs of one seed, nor on a table whose interval leaves other trainings out: the table has instead what the interval shows of
these runs, and how many seeds would be needed.

The size that the paper states is judged apart from that, by the same rule, and only in the paper's own setting (data, backbone,
recipe, pictures) and by the paper's rule, the best epoch: it agrees if it lies in the interval; but an interval that is wider
than the stated difference, or than 6 points for one that is smaller and for an accuracy, is too wide to agree with anything.

A claim is judged on the paper's setting if there are runs in it, else on the data and backbone with most runs for it, and the
verdict is one about those.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tla.console import counted
from tla.options import RANDOM
from tla.paper.claim_words import more
from tla.paper.measured import FAILS, GAINS, HOLDS, LITTLE, NOTHING, OPEN, SHORT, Measured, Region, Verdict
from tla.reference import CLAIMS, TABLE1, TABLE2, Claim


@dataclass(frozen=True)
class Part:
    """A number that a claim stands on: an arm of `studies.PLANS`, less another; its region; the size that the paper states."""

    claim: int
    first: str
    second: str | None
    region: Region | None  # None: only its size is judged
    paper: float | None = None


PARTS = (
    Part(1, "pretrained", RANDOM, GAINS),
    Part(2, "fused:block3", "fused:block2", GAINS),
    Part(2, "pretrained", "fused:block3", NOTHING),
    Part(2, "fused:block3", None, None, 90.0),
    Part(3, "pretrained", "frozen:block2", LITTLE, 2.5),
    Part(3, "frozen:block2", "frozen:block3", GAINS),
    Part(3, "pretrained", "frozen:block3", None, 10.0),
    Part(4, "pretrained", "kept:block3", NOTHING, 91.16 - 90.0),
    Part(4, "kept:block3", "kept:block2", GAINS, 90.0 - 85.0),
)


@dataclass(frozen=True)
class Missing:
    """What a claim lacks, and the command that makes it, if one does."""

    what: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.command}" if self.command else self.what


@dataclass(frozen=True)
class Finding:
    """What the runs show of one claim."""

    claim: Claim
    verdict: Verdict
    size: Verdict | None
    """Whether the size that the paper states agrees; None where that cannot be asked."""
    on: str
    """The data and backbones that it is one about."""
    apart: tuple[str, ...]
    """What sets them apart from the paper's setting; nothing if it is the paper's."""
    parts: tuple[Measured, ...]
    """What it was judged on."""
    missing: tuple[Missing, ...]


def stated(part: Part, data: str, backbone: str) -> float | None:
    """The size that the paper states for a part, in points."""
    known = TABLE1.get((backbone, data))
    return known[0] - known[1] if part.claim == 1 and known else part.paper


def stated_gain(data: str, backbone: str) -> float | None:
    """What the paper's ensemble gains over its single network, in points."""
    known = TABLE2.get((backbone, data))
    return known[2] - known[0] if known else None


def findings(parts: Sequence[Measured]) -> tuple[Finding, ...]:
    """The verdict on each of the seven claims."""
    return tuple(_finding(claim, [part for part in parts if part.claim == claim.number]) for claim in CLAIMS)


def _finding(claim: Claim, parts: Sequence[Measured]) -> Finding:
    scope = _scope(parts)
    verdicts = [part.verdict for part in scope if part.verdict]
    sizes = [part.size for part in scope if part.size]
    on = dict.fromkeys(f"{part.data}, {part.backbone}" for part in scope)
    apart = dict.fromkeys(reason for part in scope for reason in part.departures)
    size = _together(sizes) if sizes else None
    return Finding(claim, _together(verdicts), size, "; ".join(on), tuple(apart), tuple(scope), _missing(claim, scope))


def _together(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on several parts."""
    for decisive in (FAILS, SHORT):
        if decisive in verdicts:
            return decisive
    return HOLDS if set(verdicts) == {HOLDS} else OPEN


def _scope(parts: Sequence[Measured]) -> list[Measured]:
    """The parts that a claim is judged on: those in the paper's setting; else those of the data and backbone with most runs."""
    measured = [part for part in parts if part.number] or parts
    chosen = {(part.data, part.backbone) for part in measured if not part.departures}
    if measured and not chosen:
        runs: dict[tuple[str, str], int] = {}
        for part in measured:
            runs[part.data, part.backbone] = runs.get((part.data, part.backbone), 0) + part.runs
        chosen = {max(runs, key=lambda place: runs[place])}  # the first of equals
    return [part for part in parts if (part.data, part.backbone) in chosen]


def _missing(claim: Claim, scope: Sequence[Measured]) -> tuple[Missing, ...]:
    """What the open parts of a claim need, with the commands that make it."""
    lacking: dict[str, dict[str, None]] = {}  # command -> what it makes, in order
    wider = []
    for part in scope:
        if part.unfinished:
            what = f"{part.unfinished} of {counted(part.runs, 'run')} trained to their end ({part.part})"
            lacking.setdefault(part.command, {})[what] = None
        elif part.missing:
            lacking.setdefault(part.command, {}).update(dict.fromkeys(part.missing))
        elif part.verdict == OPEN:
            wider.append(Missing(f"{part.part}: {more(part)}"))
    here = {part.data for part in scope}
    elsewhere = [] if any(part.departures for part in scope) else [data for data in claim.data if data not in here]
    further = [Missing(f"runs on {' and '.join(elsewhere)}, which the claim is about too")] if elsewhere else []
    return (*(Missing(", ".join(what), command) for command, what in lacking.items()), *wider, *further)
