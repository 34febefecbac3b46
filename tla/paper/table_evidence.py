"""What other commands' tables say of claims 5 and 6, where those tables speak of runs that are here.

Claim 5 is read from what `python -m tla.svcca` writes: `fig2a_svcca.csv` (a row per measure, pair of networks and layer; its
columns measure, curve, after) and `fig2a_svcca_contrasts.csv` (measure, contrast, curve, layer, difference, low, high). Claim
6 is read from what `python -m tla.ig --audit` writes: `fig3_ig_audit.csv` (a row per clip and number; its columns clip,
source, part, measure, variant, value) and `fig3_ig_audit_maps.csv`, whose first row names the run that was audited.

- "Early layers change least" is judged above the floor, since layers with few channels are alike to anything: early layers
  less late ones, each less its floor. The same of a random start stands beside it and is not judged: there, too, early layers
  may change least.
- "From a random start it is low" is judged at every layer: the row holds the smallest difference, and its interval goes from
  the lowest lower end to the lowest upper end.
- "It looks at energy and its borders": the share of the attribution there, less the share of the same maps shifted in time.
  A map from silence is a product with x - b, the picture's distance from silence, so some of this is arithmetic and not the
  network: the share less that of x - b alone stands beside it and is not judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tla import manifest
from tla.console import say
from tla.errors import Damaged
from tla.paper import studies
from tla.paper.claims import COLUMNS, GAINS, POINTS, SIMILARITY, Region
from tla.paper.evidence import Contexts, head, make, percent, stands_on, to_the_end
from tla.paper.studies import RANDOM, Case
from tla.runs.folder import FinishedRun
from tla.runs.tables import parsed
from tla.statistics import CLIPS, TRAININGS, mean, of_clips

CHANGES, AUDIT = "fig2a_svcca", "fig3_ig_audit"


@dataclass(frozen=True)
class Contrast:
    """A part of claim 5: a contrast of the table, the curve that it stands under, the curves whose runs it is made of."""

    name: str
    contrast: str
    under: str
    curves: tuple[str, ...]
    region: Region | None


CONTRASTS = (
    Contrast("early - late layers, above floor", "early - late, above floor", "pretrained", ("pretrained",), GAINS),
    Contrast("the same from a random start", "early - late, above floor", "random", ("random",), None),
    Contrast("pretrained - random, where least", "pretrained - random", "random", ("pretrained", "random"), GAINS),
)
ENERGY = (  # measure, the control that it is held against, the part's name, its region
    ("loudest", "shifted", "attribution on loudest cells - of shifted maps", GAINS),
    ("loudest", "x - b", "attribution on loudest cells - of x - b alone", None),
    ("borders", "shifted", "attribution on borders - of shifted maps", GAINS),
    ("borders", "x - b", "attribution on borders - of x - b alone", None),
)


def from_tables(figures: Path, contexts: Contexts, where: str | None = None) -> pd.DataFrame:
    """The parts of claims 5 and 6. `where`: the path of the clips, for the commands that would make the tables."""
    changes = _read(figures / f"{CHANGES}.csv", ("measure", "curve", "after"))
    contrasts = _read(
        figures / f"{CHANGES}_contrasts.csv", ("measure", "contrast", "curve", "layer", "difference", "low", "high")
    )
    audit = _read(figures / f"{AUDIT}.csv", ("clip", "source", "part", "measure", "variant", "value"))
    maps = _read(figures / f"{AUDIT}_maps.csv", ("run",))
    rows = []
    for candidates in contexts.values():
        rows += _changes(changes, contrasts, candidates, where)
        rows += _energy(audit, maps, candidates, where)
    return pd.DataFrame(rows, columns=COLUMNS)


def _changes(
    changes: pd.DataFrame | str, contrasts: pd.DataFrame | str, candidates: Sequence[Case], where: str | None
) -> list[dict[str, object]]:
    """Claim 5."""
    case = _case_of(candidates, changes if isinstance(changes, str) else changes["after"])
    rows = []
    for part in CONTRASTS:
        row = _row(5, part.name, case, SIMILARITY, part.region)
        if isinstance(changes, str) or isinstance(contrasts, str):
            why = changes if isinstance(changes, str) else str(contrasts)
            rows.append(row | {"missing": why, "command": make(case, 5, where)})
            continue
        said = contrasts[(contrasts["measure"] == "svcca") & (contrasts["contrast"] == part.contrast)]
        said = said[said["curve"] == part.under].dropna(subset=["difference", "low", "high"])
        runs = _known(case, changes[(changes["measure"] == "svcca") & changes["curve"].isin(part.curves)]["after"])
        if said.empty or not runs:
            what = f"{CHANGES}_contrasts.csv says nothing of {part.contrast} ({part.under}) of these runs"
            rows.append(row | {"missing": what, "command": make(case, 5, where)})
        else:
            least = {"value": said["difference"].min(), "low": said["low"].min(), "high": said["high"].min()}
            known = "covers" in said and said["covers"].eq(TRAININGS).all()
            numbers = least | {"covers": TRAININGS if known else CLIPS}
            rows.append(to_the_end(row | _heard(runs) | numbers, case, where))
    return rows


def _energy(
    audit: pd.DataFrame | str, maps: pd.DataFrame | str, candidates: Sequence[Case], where: str | None
) -> list[dict[str, object]]:
    """Claim 6."""
    key = maps if isinstance(maps, str) else maps["run"].head(1)
    case = _case_of(candidates, key)
    rows = []
    for measure, control, name, region in ENERGY:
        row = _row(6, name, case, POINTS, region)
        if isinstance(audit, str) or isinstance(key, str):
            why = audit if isinstance(audit, str) else str(key)
            rows.append(row | {"missing": why, "command": make(case, 6, where)})
            continue
        mine = audit[(audit["part"] == "energy") & (audit["measure"] == measure)]
        shares = mine.pivot_table(index=["clip", "source"], columns="variant", values="value")
        runs = _known(case, key)
        if not runs or not {"attribution", control} <= set(shares.columns):
            what = f"{AUDIT}.csv says nothing of {measure} and {control} of these runs"
            rows.append(row | {"missing": what, "command": make(case, 6, where)})
            continue
        gap = (shares["attribution"] - shares[control]).dropna()
        sources = gap.index.get_level_values("source").to_numpy()
        about = {"clips": len(gap), "sources": len(set(sources))}
        numbers = about | percent(mean(of_clips(gap.to_numpy(), sources)))
        rows.append(to_the_end(row | _heard(runs) | numbers, case, where))
    return rows


def _row(claim: int, name: str, case: Case, unit: str, region: Region | None) -> dict[str, object]:
    low, high = region or (None, None)
    return head(claim, name, case, None) | {"unit": unit, "region_low": low, "region_high": high}


def _case_of(candidates: Sequence[Case], keys: pd.Series | str) -> Case:
    """The case that a table speaks of; where it speaks of none, or there is no table, the one with both starts."""
    for case in candidates:
        if not isinstance(keys, str) and _known(case, keys):
            return case
    return studies.choose(candidates, ["pretrained", RANDOM])


def _known(case: Case, keys: pd.Series) -> list[FinishedRun]:
    """The runs that a table names, if all of them are the case's; else none."""
    mine = {folder.key: folder for folder in case.folders}
    named = list(dict.fromkeys(keys))
    return [mine[key] for key in named] if named and set(named) <= set(mine) else []


def _heard(runs: Sequence[FinishedRun]) -> dict[str, object]:
    """What a number made from networks stands on: these runs, and the clips that they held out."""
    first = {folder.run.fold: folder.predictions for folder in runs}
    clips = sum(len(said.names) for said in first.values())
    sources = len({source for said in first.values() for source in said.sources.tolist()})
    return stands_on(runs) | {"clips": clips, "sources": sources}


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame | str:
    """A table, or why it cannot be read."""
    if not path.is_file():
        return f"no table {path.name}"
    try:
        table = parsed(manifest.vouched(path))
    except Damaged as error:
        say(str(error))
        return error.what
    lacking = [name for name in columns if name not in table]
    return f"{path.name} is of another version of tla (no column {', '.join(lacking)})" if lacking else table
