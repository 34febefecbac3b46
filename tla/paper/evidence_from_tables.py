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
  network: the share less what x - b alone gives stands beside it and is not judged.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
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
    ("loudest", "shifted", "attribution on the loudest cells, less that of shifted maps", GAINS),
    ("loudest", "x - b", "attribution on the loudest cells, less what the picture alone gives", None),
    ("borders", "shifted", "attribution on their borders, less that of shifted maps", GAINS),
    ("borders", "x - b", "attribution on their borders, less what the picture alone gives", None),
)


@dataclass(frozen=True)
class _Unread:
    """Why there is no table."""

    why: str
    lack: Lack = "nothing"


Tables = tuple[pd.DataFrame | _Unread, pd.DataFrame | _Unread]  # that one command wrote: its own, and the one beside it


def from_tables(folders: Sequence[Path], contexts: Contexts, where: str | None = None) -> list[Measured]:
    """The parts of claims 5 and 6, from the tables in these folders. `where`: the path of the clips, for commands."""
    changes = [_changed(folder) for folder in folders if (folder / f"{CHANGES}.csv").is_file()] or [_changed(folders[0])]
    audits = [_audited(folder, name) for folder in folders for name in _audits(folder)] or [_audited(folders[0], AUDIT)]
    found: list[Measured] = []
    for candidates in contexts.values():
        found += _changes(changes, candidates, where)
        found += _energy(audits, candidates, where)
    return found


def _changed(folder: Path) -> Tables:
    columns = ("measure", "contrast", "curve", "layer", "difference", "low", "high")
    changes = _read(folder / f"{CHANGES}.csv", "measure", "curve", "after")
    return changes, _read(folder / f"{CHANGES}_contrasts.csv", *columns)


def _audited(folder: Path, name: str) -> Tables:
    audit = _read(folder / f"{name}.csv", "clip", "source", "part", "measure", "variant", "value")
    return audit, _read(folder / f"{name}_maps.csv", "run")


def _audits(folder: Path) -> list[str]:
    """The names of a folder's audits, each of which has a table of its maps."""
    named = [path.name.removesuffix("_maps.csv") for path in sorted(folder.glob(f"{AUDIT}_*_maps.csv"))]
    return [*([AUDIT] if (folder / f"{AUDIT}.csv").is_file() else []), *named]


def _changes(tables: Sequence[Tables], candidates: Sequence[Case], where: str | None) -> Iterator[Measured]:
    """Claim 5."""
    case, (changes, contrasts) = _about(candidates, tables, lambda each: _column(each[0], "after"))
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


def _energy(tables: Sequence[Tables], candidates: Sequence[Case], where: str | None) -> Iterator[Measured]:
    """Claim 6."""
    case, (audit, maps) = _about(candidates, tables, lambda each: _column(each[1], "run")[:1])
    key = _column(maps, "run")[:1]
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


def _about(candidates: Sequence[Case], tables: Sequence[Tables], keys: Callable[[Tables], list[str]]) -> tuple[Case, Tables]:
    """The case that tables are about, and these; where none are, the case with both starts, and the first tables."""
    known = [(case, each) for case in candidates for each in tables if _known(case, keys(each))]
    case = studies.choose([case for case, _ in known] or candidates, ["pretrained", RANDOM])
    mine = [each for other, each in known if other is case]
    return case, max(mine, key=lambda each: len(set(keys(each)))) if mine else tables[0]


def _column(table: pd.DataFrame | _Unread, name: str) -> list[str]:
    return [] if isinstance(table, _Unread) else list(table[name])


def _known(case: Case, keys: Iterable[str]) -> list[FinishedRun]:
    """The runs that a table names, if all of them are the case's; else none."""
    mine, named = {folder.key: folder for folder in case.folders}, list(dict.fromkeys(keys))
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
