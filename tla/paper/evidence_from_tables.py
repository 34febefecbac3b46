"""What other commands' tables show of claims 5 and 6, where those tables are about runs that are here.

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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tla import manifest
from tla.console import say
from tla.errors import Damaged
from tla.options import RANDOM
from tla.paper import studies
from tla.paper.evidence_from_runs import Contexts, complete, make, nothing_yet, percent
from tla.paper.measured import GAINS, Lack, Measured, Region
from tla.paper.studies import Case
from tla.runs.folder import FinishedRun
from tla.runs.tables import parsed
from tla.statistics import CLIPS, TRAININGS, Estimate, mean, of_clips

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
    Contrast("the same from a random start", "early - late, above floor", RANDOM, (RANDOM,), None),
    Contrast("pretrained - random, where least", "pretrained - random", RANDOM, ("pretrained", RANDOM), GAINS),
)
ENERGY = (  # measure, the control that it is held against, the part's name, its region
    ("loudest", "shifted", "attribution on loudest cells - of shifted maps", GAINS),
    ("loudest", "x - b", "attribution on loudest cells - of x - b alone", None),
    ("borders", "shifted", "attribution on borders - of shifted maps", GAINS),
    ("borders", "x - b", "attribution on borders - of x - b alone", None),
)


@dataclass(frozen=True)
class _Unread:
    """Why there is no table."""

    why: str
    lack: Lack = "nothing"


def from_tables(figures: Path, contexts: Contexts, where: str | None = None) -> list[Measured]:
    """The parts of claims 5 and 6. `where`: the path of the clips, for the commands that would make the tables."""
    changes = _read(figures / f"{CHANGES}.csv", "measure", "curve", "after")
    columns = ("measure", "contrast", "curve", "layer", "difference", "low", "high")
    contrasts = _read(figures / f"{CHANGES}_contrasts.csv", *columns)
    audit = _read(figures / f"{AUDIT}.csv", "clip", "source", "part", "measure", "variant", "value")
    maps = _read(figures / f"{AUDIT}_maps.csv", "run")
    found: list[Measured] = []
    for candidates in contexts.values():
        found += _changes(changes, contrasts, candidates, where)
        found += _energy(audit, maps, candidates, where)
    return found


def _changes(
    changes: pd.DataFrame | _Unread, contrasts: pd.DataFrame | _Unread, candidates: Sequence[Case], where: str | None
) -> Iterator[Measured]:
    """Claim 5."""
    case = _case_of(candidates, None if isinstance(changes, _Unread) else changes["after"])
    for part in CONTRASTS:
        about = nothing_yet(5, part.name, case, None) | {"unit": "similarity", "region": part.region}
        if isinstance(changes, _Unread):
            yield _missing(about, changes, case, where)
            continue
        if isinstance(contrasts, _Unread):
            yield _missing(about, contrasts, case, where)
            continue
        rows = contrasts[(contrasts["measure"] == "svcca") & (contrasts["contrast"] == part.contrast)]
        rows = rows[rows["curve"] == part.under].dropna(subset=["difference", "low", "high"])
        runs = _known(case, changes[(changes["measure"] == "svcca") & changes["curve"].isin(part.curves)]["after"])
        if rows.empty or not runs:
            what = f"{CHANGES}_contrasts.csv holds nothing on {part.contrast} ({part.under}) of these runs"
            yield _missing(about, _Unread(what), case, where)
            continue
        covers = TRAININGS if "covers" in rows and rows["covers"].eq(TRAININGS).all() else CLIPS
        value, low, high = (float(rows[name].min()) for name in ("difference", "low", "high"))
        first = {folder.run.fold: folder.predictions for folder in runs}
        clips = sum(len(outputs.names) for outputs in first.values())
        sources = len({source for outputs in first.values() for source in outputs.sources.tolist()})
        yield complete(
            about | {"number": Estimate(value, low, high, covers), "clips": clips, "sources": sources}, [runs], case, where
        )


def _energy(
    audit: pd.DataFrame | _Unread, maps: pd.DataFrame | _Unread, candidates: Sequence[Case], where: str | None
) -> Iterator[Measured]:
    """Claim 6."""
    key = None if isinstance(maps, _Unread) else maps["run"].head(1)
    case = _case_of(candidates, key)
    for measure, control, name, region in ENERGY:
        about = nothing_yet(6, name, case, None) | {"unit": "points", "region": region}
        if isinstance(audit, _Unread):
            yield _missing(about, audit, case, where)
            continue
        if isinstance(maps, _Unread):
            yield _missing(about, maps, case, where)
            continue
        mine = audit[(audit["part"] == "energy") & (audit["measure"] == measure)]
        shares = mine.pivot_table(index=["clip", "source"], columns="variant", values="value")
        runs = _known(case, key)
        if not runs or not {"attribution", control} <= set(shares.columns):
            what = f"{AUDIT}.csv holds nothing on {measure} and {control} of these runs"
            yield _missing(about, _Unread(what), case, where)
            continue
        gap = (shares["attribution"] - shares[control]).dropna()
        sources = gap.index.get_level_values("source").to_numpy()
        number = percent(mean(of_clips(gap.to_numpy(), sources)))
        yield complete(about | {"number": number, "clips": len(gap), "sources": len(set(sources))}, [runs], case, where)


def _missing(about: dict[str, Any], table: _Unread, case: Case, where: str | None) -> Measured:
    return Measured(**about, missing=(table.why,), lack=table.lack, command=make(case, about["claim"], where))


def _case_of(candidates: Sequence[Case], keys: pd.Series | None) -> Case:
    """The case that a table is about; where it is about none, or there is no table, the one with both starts."""
    known = (case for case in candidates if _known(case, keys))
    return next(known, None) or studies.choose(candidates, ["pretrained", RANDOM])


def _known(case: Case, keys: pd.Series | None) -> list[FinishedRun]:
    """The runs that a table names, if all of them are the case's; else none."""
    mine = {folder.key: folder for folder in case.folders}
    named = [] if keys is None else list(dict.fromkeys(keys))
    return [mine[key] for key in named] if set(named) <= set(mine) else []


def _read(path: Path, *columns: str) -> pd.DataFrame | _Unread:
    """A table, or why it cannot be read."""
    if not path.is_file():
        return _Unread(f"no table {path.name}", "no table")
    try:
        table = parsed(manifest.vouched(path))
    except Damaged as error:
        say(str(error))
        return _Unread(error.what)
    if lacking := [name for name in columns if name not in table]:
        return _Unread(f"{path.name} is of another version of tla (no column {', '.join(lacking)})")
    return table
