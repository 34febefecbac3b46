"""Measured parts of claims in words: what the number is, whether it lies where it has to, and what would settle it."""

import math

from tla.console import counted
from tla.paper.measured import FAILS, HOLDS, OPEN, Measured, Region, Unit, joined, lies_in
from tla.statistics import TRAININGS, TYPICAL, Estimate, bracketed, seeds_needed

MOST_TIMES = 100  # as many clips as there are: beyond, no amount is given


def number(estimate: Estimate, unit: Unit) -> str:
    """A number with its interval."""
    form, behind = {"points": ("+.1f", " points"), "%": (".1f", " %"), "similarity": ("+.2f", "")}[unit]
    return f"{estimate.mean:{form}}{behind} {bracketed(estimate.low, estimate.high, form)}"


def basis(part: Measured) -> str:
    """What a part's number stands on."""
    assert part.number, "it was measured"
    return (
        f"{part.rule} epoch, {part.protocol} protocol, fold{'s' * (len(part.folds) > 1)} {joined(part, 'folds')}, "
        f"{joined(part, 'seeds')} seed{'s' * (part.seeds != (1,))}, {part.runs} run{'s' * (part.runs != 1)}, "
        f"{counted(part.clips, 'clip')} of {counted(part.sources, 'recording')}; interval for {part.number.covers}"
    )


def region_words(region: Region) -> str:
    """A region as a reader sees it."""
    low, high = region
    return f"above {low:g}" if math.isinf(high) else f"below {high:g}" if math.isinf(low) else f"{low:g} to {high:g}"


def sentence(part: Measured) -> str:
    """One measured part in words."""
    assert part.number, "it was measured"
    words = f"{part.part}: {number(part.number, part.unit)} ({basis(part)})"
    if part.verdict:
        words += f": {judged(part)}"
    return "; ".join(filter(None, (words, doubled(part), compared(part))))


def doubled(part: Measured) -> str:
    """The number with twice the training; the finding hangs on the budget if its sign changes, or its interval is lost."""
    if part.number is None or part.doubled is None:
        return ""
    words = f"with twice the training {number(part.doubled, part.unit)}"
    lost = not part.doubled.excludes_zero or part.doubled.mean * part.number.mean <= 0
    return f"it hangs on the budget: {words}" if part.number.excludes_zero and lost else words


def judged(part: Measured) -> str:
    """A part's verdict with its region and, where there is none on one training, what the interval shows of these runs."""
    if part.region is None:
        return ""
    words = f"{part.verdict} (needed: {region_words(part.region)})"
    if part.number is None or math.isnan(part.number.low) or part.number.covers == TRAININGS or part.unfinished:
        return words
    here = {HOLDS: "it lies there", FAILS: "it does not lie there", OPEN: "it may lie there or not"}
    return f"{words}; on these runs, for other clips, {here[lies_in(part.number, part.region)]}"


def compared(part: Measured) -> str:
    """The size that the paper states beside ours, and whether it agrees."""
    if part.size is None or part.by_paper_rule is None:
        return ""
    known = part.by_paper_rule.covers == TRAININGS
    unsure = "the interval is too wide to judge" if known else "not to be judged without other trainings"
    agrees = {HOLDS: "agrees", FAILS: "does not agree", OPEN: unsure}[part.size]
    return f"the paper's {part.paper:.1f} against {number(part.by_paper_rule, part.unit)} ({part.paper_rule} epoch): {agrees}"


def more(part: Measured) -> str:
    """What would settle an open part, if its number stays where it is: seeds, or clips and seeds, for intervals shrink with the
    root of both.
    """
    assert part.number, "it was measured"
    assert part.region, "it has a verdict"
    value, low, high = part.number.mean, part.number.low, part.number.high
    if math.isnan(low):
        return f"{counted(part.sources, 'recording')}, or such unequal ones, are too few for an interval"
    edge = min(filter(math.isfinite, part.region), key=lambda edge: abs(value - edge))
    away, half = abs(value - edge), (high - low) / 2
    if part.number.covers != TRAININGS and part.unit == "similarity":
        return "the interval leaves out how far other trainings would move the number"
    if part.number.covers != TRAININGS:
        return _seeds(part, away, half)
    times = (half / away) ** 2 if away else math.inf
    if times > MOST_TIMES:
        return f"the number is too near to {edge:g} for any amount of clips"
    what = "clips" if 1 in part.seeds else "clips and seeds"
    return f"about {max(1.5, times):.1f} times as many {what}, if the number stays where it is (further folds, or more data)"


def _seeds(part: Measured, away: float, half: float) -> str:
    """How many seeds an interval for other trainings takes."""
    needed = seeds_needed(away / 100, half / 100, folds=len(part.folds))
    typical = f"if runs of one plan differ by {100 * TYPICAL:g} points, as is common"
    why = "one seed does not show" if 1 in part.seeds else "so few runs do not show"
    why += " how far other trainings differ"
    if needed is None:
        return f"{why}: --seeds 3 or more, and more clips too ({typical})"
    return f"{why}: --seeds {max(needed, 3)} would settle it, {typical} and the number stays where it is"
