"""What runs show of claims 1 to 4 and 7: each part, measured for each data set and backbone, also where there are no runs.

Claims 1 to 4 come from differences between arms, claim 7 from ensembles, all of them from the logits that runs left. Claims 5
and 6 come from tables that other commands wrote (`evidence_from_tables`).
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tla.ensembles import measuring as ensembles
from tla.errors import UserError
from tla.options import CONVERGED, RANDOM, Study
from tla.paper import claims, studies
from tla.paper.claims import PARTS, Part
from tla.paper.measured import GAINS, LOSES, Measured
from tla.paper.studies import Case, words
from tla.reference import CLAIMS
from tla.runs import command
from tla.runs.folder import FinishedRun
from tla.runs.tables import Outcomes, counted, folds_of, matched, outcomes
from tla.statistics import Estimate, difference, share

Arm = tuple[FinishedRun, ...]
Clips = Callable[[Arm, str], Outcomes]  # `tables.outcomes`, remembered or not
Contexts = Mapping[tuple[str, str], Sequence[Case]]  # data set and backbone -> the cases there are

MEMBERS = 5  # the paper's ensembles
MAKE = {  # claim -> the command that makes its runs, and that command's options beside the study
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
    return rule_of(case, "best")


def from_runs(contexts: Contexts, asked: str | None, where: str | None = None, clips: Clips = outcomes) -> list[Measured]:
    """The parts of claims 1 to 4 and 7. `where`: the path of the clips, for the commands that would make what is missing."""
    found = []
    for candidates in contexts.values():
        for claim in TRAINED[:-1]:
            case = studies.choose(candidates, _arms(claim))
            longer = _longer(case, candidates)
            found += [_part(part, case, longer, asked, where, clips) for part in PARTS if part.claim == claim]
        found.append(_ensemble(studies.choose(candidates, _arms(7)), asked, where))
    return found


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
            listed = needs.setdefault((case.key, options), (case, options, []))[2]
            listed += [arm for arm in missing if arm not in listed]
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


def _part(part: Part, case: Case, longer: Case | None, asked: str | None, where: str | None, clips: Clips) -> Measured:
    names = [name for name in (part.first, part.second) if name]
    arms = [case.arm(name) for name in names]
    paper = claims.stated(part, case.setting.data, case.setting.backbone)
    about = nothing_yet(part.claim, " - ".join(map(words, names)), case, asked)
    about |= {"unit": "points" if part.second else "%", "region": part.region, "paper": paper}
    folds = set.intersection(*({folder.run.fold for folder in arm} for arm in arms))
    if not folds:
        make_it = make(case, part.claim, where)
        if absent := tuple(f"no runs {words(name)}" for name, arm in zip(names, arms, strict=True) if not arm):
            return Measured(**about, missing=absent, lack="no runs", command=make_it)
        apart = f"no fold in common of {' and '.join(map(words, names))}"
        return Measured(**about, missing=(apart,), lack="no fold", command=make_it)
    rule, shared = rule_of(case, asked), [tuple(folder for folder in arm if folder.run.fold in folds) for arm in arms]
    about |= counted(folds_of(clips(shared[0], rule))) | {"number": _estimate(shared, rule, clips)}
    about["by_paper_rule"] = _estimate(shared, paper_rule(case), clips)
    if longer and all(twice := [longer.arm(name) for name in names]):
        about["doubled"] = _estimate(twice, rule, clips)
    return complete(about, shared, case, where)


def _estimate(arms: Sequence[Arm], rule: str, clips: Clips) -> Estimate:
    """The accuracy of an arm in percent, or what it gains over another."""
    taken = [clips(arm, rule) for arm in arms]
    return percent(difference(*matched(*taken)) if len(taken) > 1 else share(folds_of(taken[0])))


def _ensemble(case: Case, asked: str | None, where: str | None) -> Measured:
    runs, data = grid(case.arm("pretrained")), case.setting.data
    count = _seeds(runs)
    about = nothing_yet(7, f"ensemble of {count or MEMBERS} - single run", case, asked)
    about |= {"unit": "points", "region": LOSES if data == "gtzan" else GAINS}  # what the paper's text claims of each
    about["paper"] = claims.stated_gain(data, case.setting.backbone)
    if not runs:
        missing, make_it = ("no runs of one fold that differ in seed",), make(case, 7, where)
        return Measured(**about, missing=missing, lack="no runs", command=make_it)
    if count < MEMBERS:
        about["departures"] += (f"{count} runs averaged instead of {MEMBERS}",)
    one, other = (ensembles.members(runs, rule) for rule in (rule_of(case, asked), paper_rule(case)))
    about |= {"clips": len(one.labels), "sources": len(set(one.sources.tolist()))}
    about |= {"number": percent(ensembles.gain(one)), "by_paper_rule": percent(ensembles.gain(other))}
    return complete(about, [runs], case, where)


def make(case: Case, claim: int, where: str | None = None) -> str:
    """The command that makes the runs which a claim needs."""
    name, more = MAKE[claim]
    options = _options(case, claim, where)
    return command.command(name, replace(options, seeds=1) if claim == 7 else options, more)


def _options(case: Case, claim: int, where: str | None) -> Study:
    """The study of a case on the folds and seeds that it has, or with the seeds that an ensemble has."""
    arm = case.arm("pretrained") or case.folders
    folds = sorted({folder.run.fold for folder in arm})
    options = studies.study(case, where, folds=folds, seeds=MEMBERS if claim == 7 else _seeds(arm))
    return replace(options, weights="imagenet") if options.weights == RANDOM else options


def nothing_yet(claim: int, name: str, case: Case, asked: str | None) -> dict[str, Any]:
    """The fields of a part of which nothing is known yet."""
    return {
        "claim": claim,
        "part": name,
        "data": case.setting.data,
        "backbone": case.setting.backbone,
        "study": case.key,
        "departures": tuple(studies.departures(case, CLAIMS[claim - 1])),
        "protocol": case.setting.protocol,
        "rule": rule_of(case, asked),
        "paper_rule": paper_rule(case),
    }


def complete(about: dict[str, Any], arms: Sequence[Sequence[FinishedRun]], case: Case, where: str | None) -> Measured:
    """A part with what its number stands on, and the command that trains these runs to their end where some were not."""
    runs = {folder.key: folder for arm in arms for folder in arm}.values()
    part = Measured(
        **about,
        folds=tuple(sorted({folder.run.fold for folder in runs})),
        seeds=tuple(dict.fromkeys(map(_seeds, arms))),
        runs=len(runs),
        unfinished=sum(folder.result.training.state != CONVERGED for folder in runs),
    )
    if not part.unfinished:
        return part
    setting = replace(case.setting, recipe=replace(case.setting.recipe, until="plateau", epochs=None, drops=None))
    return replace(part, command=make(replace(case, setting=setting), part.claim, where))


def _seeds(runs: Sequence[FinishedRun]) -> int:
    return len({folder.run.seed for folder in runs})


def percent(estimate: Estimate) -> Estimate:
    return replace(estimate, mean=100 * estimate.mean, low=100 * estimate.low, high=100 * estimate.high)
