"""What runs say of each part of claims 1 to 4 and 7: a row per part, data set and backbone, also where there are no runs.

Claims 1 to 4 come from differences between arms, claim 7 from ensembles, all of them from the logits that runs left. Claims 5
and 6 come from tables that other commands wrote (`readings`).
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import pandas as pd

from tla.ensembles import measure as ensembles
from tla.errors import UserError
from tla.options import CONVERGED, Study
from tla.paper import claims, studies
from tla.paper.claims import COLUMNS, DOUBLED, GAINS, LEVEL, LOSES, PARTS, POINTS, Part
from tla.paper.studies import RANDOM, Case, words
from tla.reference import CLAIMS
from tla.runs.folder import FinishedRun
from tla.runs.tables import Outcomes, counted, folds_of, matched, outcomes
from tla.statistics import Estimate, difference, share

Arm = tuple[FinishedRun, ...]
Clips = Callable[[Arm, str], Outcomes]  # `tables.outcomes`, remembered or not
Contexts = Mapping[tuple[str, str], Sequence[Case]]  # data set and backbone -> the cases there are

MEMBERS = 5  # the paper's ensembles
MAKE = {  # claim -> the command that makes its runs, and what that command is to be told beside the study
    1: ("train", "--compare random"),
    2: ("fusion", "--upto block2,block3"),
    3: ("freeze", "--upto block2,block3"),
    4: ("cutoff", "--keep block3,block2"),
    7: ("ensemble", f"--members {MEMBERS}"),
    5: ("svcca", ""),
    6: ("ig", "--audit"),
}
TRAINED = (1, 2, 3, 4, 7)  # the claims that need runs and nothing else


def rule_of(case: Case, asked: str | None) -> str:
    """The selection rule of a case: as asked, if its protocol has it; else the last epoch, or the chosen one."""
    if case.setting.protocol == "nested":
        return "test"
    return asked if asked in ("best", "last") else "last"


def paper_rule(case: Case) -> str:
    """The rule that the paper's numbers are compared under: the best epoch, which is how the paper chose."""
    return "test" if case.setting.protocol == "nested" else "best"


def from_runs(contexts: Contexts, asked: str | None, where: str | None = None, clips: Clips = outcomes) -> pd.DataFrame:
    """The parts of claims 1 to 4 and 7. `where`: the path of the clips, for the commands that would make what is missing."""
    rows = []
    for candidates in contexts.values():
        for number in (1, 2, 3, 4):
            case = studies.choose(candidates, _arms(number))
            longer = _longer(case, candidates)
            rows += [_part(part, case, longer, asked, where, clips) for part in PARTS if part.claim == number]
        rows.append(_ensemble(studies.choose(candidates, _arms(7)), asked, where))
    return pd.DataFrame(rows, columns=COLUMNS)


def lacking(candidates: Sequence[Case], where: str | None = None) -> list[tuple[Case, Study, list[str]]]:
    """What claims 1 to 4 and 7 miss of runs: the cases that they are judged on, options that name these, the arms to train."""
    needs: dict[tuple[str, Study], tuple[Case, Study, list[str]]] = {}
    for claim in TRAINED:
        arms = _arms(claim)
        case = studies.choose(candidates, arms)
        missing = [arm for arm in arms if not case.arm(arm)]
        if claim == 7 and _seeds(grid(case.arm("pretrained"))) < MEMBERS:
            missing = ["pretrained"]
        if missing:
            options = _options(case, claim, where)
            held = needs.setdefault((case.key, options), (case, options, []))[2]
            held += [arm for arm in missing if arm not in held]
    return list(needs.values())


def must_fit(case: Case, digest: str, weights: str) -> None:
    """Refuse to go on with a case on other clips or from other weights."""
    if digest != case.setting.digest:
        name = case.setting.data
        raise UserError(f"the clips of {name} are not those of study {case.key}: give the path of those, --data PATH")
    if case.weights not in (RANDOM, weights):
        raise UserError(f"study {case.key} starts from {case.weights}, not from {weights}: give those, --weights FILE")


def _arms(claim: int) -> list[str]:
    """The arms that a claim needs."""
    if claim == 7:
        return ["pretrained"]
    return list(dict.fromkeys(arm for part in PARTS if part.claim == claim for arm in (part.first, part.second) if arm))


def grid(arm: Arm) -> Arm:
    """The most runs of an arm that are a run of each of their seeds in each of their folds; of equals those with most seeds."""
    seeds: dict[int, dict[int, FinishedRun]] = {}
    for folder in arm:
        seeds.setdefault(folder.run.fold, {})[folder.run.seed] = folder
    best: tuple[int, int, Arm] = (0, 0, ())
    for size in range(1, len(seeds) + 1):
        for folds in itertools.combinations(sorted(seeds), size):
            shared = sorted(set.intersection(*(set(seeds[fold]) for fold in folds)))[: ensembles.MOST]
            if len(shared) > 1:
                runs = tuple(seeds[fold][seed] for fold in folds for seed in shared)
                best = max(best, (len(runs), len(shared), runs), key=lambda found: found[:2])
    return best[2]


def _longer(case: Case, candidates: Sequence[Case]) -> Case | None:
    """The control of a case: the same with twice the training."""
    recipe = replace(case.setting.recipe, times=2 * case.setting.recipe.times)
    wanted = replace(case.setting, recipe=recipe), case.weights
    return next((other for other in candidates if (other.setting, other.weights) == wanted), None)


def _part(part: Part, case: Case, longer: Case | None, asked: str | None, where: str | None, clips: Clips) -> dict[str, object]:
    arms = [case.arm(name) for name in (part.first, part.second) if name]
    lacking = [f"no runs {words(name)}" for name in (part.first, part.second) if name and not case.arm(name)]
    folds = set.intersection(*({folder.run.fold for folder in arm} for arm in arms))
    name = words(part.first) + (f" - {words(part.second)}" if part.second else "")
    row = head(part.claim, name, case, asked) | {
        "unit": POINTS if part.second else LEVEL,
        "paper": claims.stated(part, case.setting.data, case.setting.backbone),
        "region_low": part.region[0] if part.region else None,
        "region_high": part.region[1] if part.region else None,
    }
    if lacking or not folds:
        lacking = lacking or [f"no fold in common of {name.replace(' - ', ' and ')}"]
        return row | {"missing": "; ".join(lacking), "command": make(case, part.claim, where)}
    shared = tuple(tuple(folder for folder in arm if folder.run.fold in folds) for arm in arms)
    rule = rule_of(case, asked)
    about = counted(folds_of(clips(shared[0], rule)))
    numbers = percent(_estimate(shared, rule, clips)) | percent(_estimate(shared, paper_rule(case), clips), "paper_rule_")
    if longer and all(twice := [longer.arm(name) for name in (part.first, part.second) if name]):
        control = percent(_estimate(twice, rule, clips))
        numbers |= dict(zip(DOUBLED, (control[name] for name in ("value", "low", "high")), strict=True))
    return to_the_end(row | stands_on(*shared) | about | numbers, case, where)


def _estimate(arms: Sequence[Arm], rule: str, clips: Clips) -> Estimate:
    """The accuracy of an arm, or what it gains over another."""
    studies = [clips(arm, rule) for arm in arms]
    return difference(*matched(*studies)) if len(studies) > 1 else share(folds_of(studies[0]))


def _ensemble(case: Case, asked: str | None, where: str | None) -> dict[str, object]:
    runs = grid(case.arm("pretrained"))
    data = case.setting.data
    region = LOSES if data == "gtzan" else GAINS  # what the paper's text says of each
    count = _seeds(runs)
    row = head(7, f"ensemble of {count or MEMBERS} - single run", case, asked) | {
        "unit": POINTS,
        "paper": claims.stated_gain(data, case.setting.backbone),
        "region_low": region[0],
        "region_high": region[1],
    }
    if not runs:
        return row | {"missing": "no runs of one fold that differ in seed", "command": make(case, 7, where)}
    if count < MEMBERS:
        row["departures"] = "; ".join(filter(None, (str(row["departures"]), f"{count} runs averaged instead of {MEMBERS}")))
    one = ensembles.members(runs, rule_of(case, asked))
    other = ensembles.members(runs, paper_rule(case))
    about = {"clips": len(one.labels), "sources": len(set(one.sources.tolist()))}
    numbers = {**percent(ensembles.gain(one)), **percent(ensembles.gain(other), "paper_rule_")}
    return to_the_end(row | stands_on(runs) | about | numbers, case, where)


def make(case: Case, claim: int, where: str | None = None) -> str:
    """The command that makes the runs which a claim needs."""
    name, more = MAKE[claim]
    options = _options(case, claim, where)
    return studies.command(name, replace(options, seeds=1) if claim == 7 else options, more)


def _options(case: Case, claim: int, where: str | None) -> Study:
    """The study of a case on the folds and seeds that it has, or with the seeds that an ensemble has."""
    arm = case.arm("pretrained") or case.folders
    folds = sorted({folder.run.fold for folder in arm})
    options = studies.study(case, where, folds=folds, seeds=MEMBERS if claim == 7 else _seeds(arm))
    return replace(options, weights="imagenet") if options.weights == RANDOM else options


def head(claim: int, name: str, case: Case, asked: str | None) -> dict[str, object]:
    """A row about a part of which nothing is known yet."""
    empty: dict[str, object] = dict.fromkeys(COLUMNS)
    return empty | {
        "claim": claim,
        "part": name,
        "data": case.setting.data,
        "backbone": case.setting.backbone,
        "study": case.key,
        "departures": "; ".join(studies.departures(case, CLAIMS[claim - 1])),
        "protocol": case.setting.protocol,
        "rule": rule_of(case, asked),
        "paper_rule": paper_rule(case),
        "runs": 0,
        "unfinished": 0,
        "clips": 0,
        "sources": 0,
        "missing": "",
        "command": "",
    }


def to_the_end(row: dict[str, object], case: Case, where: str | None) -> dict[str, object]:
    """The row, with the command that trains its runs to their end where some were not."""
    if not row["unfinished"]:
        return row
    setting = replace(case.setting, recipe=replace(case.setting.recipe, until="plateau", epochs=None, drops=None))
    return row | {"command": make(replace(case, setting=setting), cast(int, row["claim"]), where)}


def stands_on(*arms: Sequence[FinishedRun]) -> dict[str, object]:
    """What a number made of these arms stands on; the seeds of each, where they are not as many in each."""
    runs = {folder.key: folder.run for arm in arms for folder in arm}
    seeds = dict.fromkeys(str(_seeds(arm)) for arm in arms)
    folds = sorted({run.fold for run in runs.values()})
    unfinished = len({f.key for arm in arms for f in arm if f.result.training.state != CONVERGED})
    return {"folds": ",".join(map(str, folds)), "seeds": " and ".join(seeds), "runs": len(runs), "unfinished": unfinished}


def _seeds(runs: Sequence[FinishedRun]) -> int:
    return len({folder.run.seed for folder in runs})


def percent(estimate: Estimate, prefix: str = "") -> dict[str, float | str]:
    """A row's number and its interval."""
    return {
        f"{prefix}value": 100 * estimate.mean,
        f"{prefix}low": 100 * estimate.low,
        f"{prefix}high": 100 * estimate.high,
        f"{prefix}covers": estimate.covers,
    }
