"""Is it the energy and its borders? Numbers behind the maps of Integrated Gradients, over a run's held-out clips (claim 6).

What is explained of a clip is the class that the run predicts; its map is the one from silence, summed over the windows.

    energy     share of |map| on the loudest 20 % of the cells, on the borders of these regions, and on either. Beside it: the
               map shifted in time, which keeps its frequencies but has other times; its cells permuted; x - b, the factor that
               every map contains: the map of a gradient that is the same everywhere; and the map of a random network. A gap is
               how much larger the share of the map is than that of one of these
    tiles      the class's probability as tiles of the picture are silenced (deletion), or come back into silence (insertion),
               in the order of the map, of loudness, or at random: the area under it, and how much better than random that is
    stages     rank correlation with the map of the network randomised from the head down to a stage
    baselines  the same with the map from another baseline
    runs       the same with the map of another seed's run, and with that of the network before fine-tuning, which gets the
               fine-tuned head: its own was random
    position   the same with the maps of other recordings: what maps share by the place of their cells alone
    strength   all these once more, of |map|: where it is strong, whatever its sign

Shifts and permutations are averaged over all there are, which has a closed form. A cell at the log floor never counts as
loud, however few others there are: there a map from silence is zero by definition. A randomised stage is drawn as for
training from scratch, by a generator of its own, and its batch norms get the statistics of clean training clips, so that
activations stay in range. A map that a clip's own is compared with takes STEPS gradients at most; with no stage randomised,
the correlation shows how alike two maps of one network are with so few steps, and the others cannot be higher.

A clip that is the same everywhere, as silence is, or whose map is, has no loud cells and no ranks: its numbers are left out, as
are those of another map without ranks, and the summary counts them. Intervals are for other recordings, on the same runs.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from scipy.stats import rankdata
from torch import nn

from tla.attribution import deletion
from tla.attribution.energy import energy
from tla.attribution.explainer import TOLERANCE, Attribution, Explainer
from tla.attribution.starts import baselines
from tla.attribution.targets import Target
from tla.console import Progress, counted, progress, say
from tla.errors import UserError
from tla.manifest import write_tables
from tla.nets import transfer
from tla.nets.stages import HEAD, StagedNet
from tla.options import Transfer
from tla.runs import infer
from tla.runs.folder import FinishedRun
from tla.runs.infer import LoadedNetwork
from tla.sound.store import Store
from tla.statistics import mean as mean_of
from tla.statistics import of_clips

BASELINE, OTHER_BASELINES = "silence", ("mean", "zero")
FEWER = "--clips takes fewer, evenly spread"
DRAWN = 8  # training clips that are a baseline too, or as many as there are
STEPS = 32  # gradients of a map that a clip's own is compared with
CALIBRATION = 32  # clean training clips that give randomised batch norms their statistics
FRESH = 2**31  # added to a run's seed: no training began with these random weights
CORRELATION, TRAINED = "rank correlation", "as trained"

NUMBER = ("part", "measure", "variant", "value")
Number = tuple[str, str, str, float]


@dataclass(frozen=True)
class Audit:
    """The tables that are on disk."""

    clips: pd.DataFrame
    """A row per clip and number: clip, source, class, target, part, measure, variant, value."""
    summary: pd.DataFrame
    """Means over clips: part, measure, variant, clips, left_out, value, low, high."""
    curves: pd.DataFrame
    """The class's probability after a share of the tiles, mean over clips: curve, ranking, share, value, low, high."""
    maps: pd.DataFrame
    """A row per map: clip, run, network, target, baseline, value, baseline_value, error, steps, arithmetic."""

    def write(self, folder: Path, name: str) -> list[Path]:
        """The tables as `name.csv`, `name_summary.csv`, `name_curves.csv` and `name_maps.csv`."""
        parts = {"": self.clips, "summary": self.summary, "curves": self.curves, "maps": self.maps}
        return write_tables(folder, name, parts)


@dataclass
class _Clip:
    """A held-out clip, its own map, and the numbers that come of it."""

    row: int  # of the store
    about: dict[str, str]  # clip, source, class, target
    picture: np.ndarray
    what: Target
    own: Attribution
    random: np.ndarray | None = None  # the map of a random network
    numbers: list[Number] = field(default_factory=list)

    @property
    def has_structure(self) -> bool:
        """Whether it has loud cells, and its map has ranks."""
        return bool(np.ptp(self.picture.mean(axis=0, dtype=np.float32)) > 0 and has_ranks(self.own.total))

    @cached_property
    def ranks(self) -> tuple[np.ndarray, np.ndarray]:
        """Of its own map, and of where that is strong."""
        return ranked(self.own.total), ranked(np.abs(self.own.total))

    def compare(self, part: str, variant: str, total: np.ndarray) -> None:
        """Note how alike its own map and another are."""
        signed, strong = self.ranks
        self.numbers.append((part, CORRELATION, variant, float(signed @ ranked(total))))
        self.numbers.append(("strength", CORRELATION, variant, float(strong @ ranked(np.abs(total)))))

    def map(self, made: Attribution, run: str, network: str, baseline: str) -> dict[str, Any]:
        """A row of the table of maps."""
        about = {"clip": self.about["clip"], "run": run, "network": network}
        about |= {"target": self.about["target"], "baseline": baseline}
        return about | {name: getattr(made, name) for name in ("value", "baseline_value", "error", "steps", "arithmetic")}


class _Rival(NamedTuple):
    """A network and a baseline whose maps the clips' own are compared with."""

    part: str
    variant: str
    run: str
    network: str
    baseline: str
    load: Callable[[], LoadedNetwork]
    is_random: bool = False  # every stage of it


def audit(
    folder: FinishedRun,
    store: Store,
    *,
    others: Sequence[FinishedRun] = (),
    before: StagedNet | None = None,
    clips: int | None = None,
    tolerance: float = TOLERANCE,
    memory: float = 1.0,
    device: torch.device,
) -> Audit:
    """The audit of a run on its held-out clips, or on so many of them, evenly spread.

    others: runs that held out the same clips. before: the network that the run's training began with.
    """
    network, split = infer.load(folder, device), folder.run.split(store.dataset)
    shape, kinds = store.clean.shape[1:], (*OTHER_BASELINES, f"clips:{min(DRAWN, len(split.train))}")
    rivals = _rivals(folder, network, others, before, store.clean[evenly(split.train, CALIBRATION)], kinds)
    starts = {kind: baselines(kind, shape, pictures=store.clean, rows=split.train) for kind in (BASELINE, *kinds)}
    rows = evenly(split.test, clips)
    with progress(f"auditing {folder.key}, {len(rows)} clips", None, "gradients", fewer=FEWER) as watch:
        every = _own_maps(network, store, rows, starts[BASELINE], tolerance, memory, watch, 1 + len(rivals))
        kept = _with_structure(every)
        curves = [_tiled(network, clip, watch) for clip in kept]
        maps = [clip.map(clip.own, folder.key, TRAINED, BASELINE) for clip in every]
        for rival in rivals:
            maps += _compare(rival, kept, starts[rival.baseline], memory, watch)
    sources = np.array([clip.about["source"] for clip in kept])
    for k, part in enumerate(("position", "strength")):
        for i, value in others_alike(np.stack([clip.ranks[k] for clip in kept]), sources).items():
            kept[i].numbers.append((part, CORRELATION, "other clips", value))
    for clip, found in zip(kept, curves, strict=True):
        clip.numbers.sort(key=lambda number: number[0] == "strength")  # it comes last
        clip.numbers[:0] = energy(clip.own.total, clip.random, clip.picture) + deletion.areas(found)
    numbers = [{**clip.about, **dict(zip(NUMBER, number, strict=True))} for clip in kept for number in clip.numbers]
    table = pd.DataFrame(numbers)
    return Audit(table, summarised(table, len(every)), deletion.table(curves, sources), pd.DataFrame(maps))


def evenly(rows: np.ndarray, count: int | None) -> np.ndarray:
    """So many of the rows, evenly spread, or all."""
    if count is None or count >= len(rows):
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(int)]


# Rank correlations


def has_ranks(total: np.ndarray) -> bool:
    """Whether a map, and so its size, is anything but constant."""
    return bool(np.ptp(np.abs(total)) > 0)


def ranked(total: np.ndarray) -> np.ndarray:
    """A map's ranks, of mean 0 and length 1: the product of two is Spearman's correlation. The map may not be constant."""
    ranks = rankdata(total.ravel())
    ranks -= ranks.mean()
    return (ranks / np.linalg.norm(ranks)).astype(np.float32)


def others_alike(ranks: np.ndarray, sources: np.ndarray) -> dict[int, float]:
    """For each map (maps, cells) its mean rank correlation with the maps of other recordings, where there are any."""
    apart = sources[:, None] != sources
    correlations = np.where(apart, ranks @ ranks.T, 0).sum(axis=1, dtype=np.float64)
    return {i: float(correlations[i] / count) for i, count in enumerate(apart.sum(axis=1)) if count}


def randomised(network: LoadedNetwork, stage: str, calibration: np.ndarray) -> LoadedNetwork:
    """A copy randomised from the head down to a stage; batch norms get the statistics of the calibration's pictures."""
    run, net = network.run, copy.deepcopy(network.net)
    plan = Transfer(pretrained_upto="none", kept_upto=run.transfer.kept_upto)
    fresh = transfer.assemble(run.backbone, run.classes, plan, None, seed=FRESH + run.seed, shape=run.shape)
    parts = (*net.stages, HEAD)
    gone = parts[parts.index(stage) :]
    drawn = {name: tensor for part in gone for name, tensor in fresh.stage_tensors(part).items()}
    net.net.load_state_dict({**net.net.state_dict(), **drawn})
    modules = [module for part in gone for module in net.stage_modules(part)]
    norms = [module for module in modules if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum, norm.training = None, True  # the statistics of this batch, as they are
    with torch.no_grad():
        net(network.batch(calibration))
    for norm in norms:
        norm.training = False
    return replace(network, net=net)


def headed(before: StagedNet, network: LoadedNetwork) -> LoadedNetwork:
    """The network as it was before its training, but for the head."""
    net = copy.deepcopy(before).to(network.device).eval()
    net.net.load_state_dict({**net.net.state_dict(), **network.net.stage_tensors(HEAD)})
    return replace(network, net=net)


def _rivals(
    folder: FinishedRun,
    network: LoadedNetwork,
    others: Sequence[FinishedRun],
    before: StagedNet | None,
    calibration: np.ndarray,
    kinds: Sequence[str],
) -> list[_Rival]:
    """All that the clips' own maps are compared with."""
    key, seed, device = folder.key, folder.run.seed, network.device
    rivals = [_Rival("stages", "none", key, TRAINED, BASELINE, lambda: network)]
    for stage in (HEAD, *reversed(network.net.stages)):
        load = partial(randomised, network, stage, calibration)
        is_random = stage == network.net.stages[0]
        rivals.append(_Rival("stages", stage, key, f"randomised down to {stage}", BASELINE, load, is_random))
    for kind in kinds:
        rivals.append(_Rival("baselines", f"{BASELINE} / {kind}", key, TRAINED, kind, lambda: network))
    by_seed = len({seed, *(other.run.seed for other in others)}) > len(others)
    for other in others:
        _must_share(folder, other)
        names = f"seed {seed} / seed {other.run.seed}" if by_seed else f"{key} / {other.key}"
        rivals.append(_Rival("runs", names, other.key, TRAINED, BASELINE, partial(infer.load, other, device)))
    if before is not None:
        name = "before training, with the trained head"
        rivals.append(_Rival("runs", "before / after", key, name, BASELINE, partial(headed, before, network)))
    return rivals


def _must_share(folder: FinishedRun, other: FinishedRun) -> None:
    """Two runs whose maps are compared take the same pictures of the same clips, and held the same ones out."""
    for name in ("data_digest", "picture", "protocol", "fold"):
        mine, theirs = getattr(folder.run, name), getattr(other.run, name)
        if mine != theirs:
            raise UserError(
                f"runs {folder.key} and {other.key} cannot be compared clip by clip: their {name} is {mine} and {theirs}; "
                "give runs that differ in their seed"
            )


# Maps


def _own_maps(
    network: LoadedNetwork,
    store: Store,
    rows: np.ndarray,
    start: np.ndarray,
    tolerance: float,
    memory: float,
    watch: Progress,
    others: int,
) -> list[_Clip]:
    """Each clip's map from silence, for the class that is predicted; so many further ones of each clip will follow."""
    explainer, made = Explainer(network.net, network.standard, memory=memory), []
    for row, predicted in zip(rows, network.logits(store.clean[rows]).argmax(axis=1), strict=True):
        what, picture, clip = Target(int(predicted)), np.asarray(store.clean[row]), store.dataset.clips[row]
        about = {"clip": clip.name, "source": clip.source, "class": network.classes[clip.label]}
        own = explainer.attribute(picture, what, start, tolerance=tolerance, name=clip.name)
        if short := own.shortfall(tolerance):
            say(f"{clip.name}: {short}")
        own = replace(own, map=own.total[None])  # the sum is all that is looked at
        made.append(_Clip(int(row), about | {"target": what.name(network.classes)}, picture, what, own))
        whole = sum(_gradients(clip) + others * _steps(clip) for clip in made)
        watch.total = round(whole / len(made) * len(rows))
        watch.advance(_gradients(made[-1]))
    return made


def _steps(clip: _Clip) -> int:
    """The steps of each map that a clip's own is compared with."""
    return min(STEPS, clip.own.steps)


def _gradients(clip: _Clip) -> int:
    """About what a clip's own map took: its steps grew two- or fourfold until they sufficed."""
    return 3 * clip.own.steps // 2


def _with_structure(clips: Sequence[_Clip]) -> list[_Clip]:
    """The clips that have numbers; the others are named."""
    kept = [clip for clip in clips if clip.has_structure]
    if not kept:
        raise UserError(f"nothing can be audited: each of the {counted(len(clips), 'clip')} is silent, or the same everywhere")
    if left_out := [clip.about["clip"] for clip in clips if not clip.has_structure]:
        say(f"left out, for they are silent or the same everywhere: {', '.join(left_out)}")
    return kept


def _tiled(network: LoadedNetwork, clip: _Clip, watch: Progress) -> deletion.Curves:
    """The curves of the probability of the class that is predicted for a clip."""

    def probability(pictures: np.ndarray) -> np.ndarray:
        return softmax(network.logits(pictures).astype(np.float64), axis=1)[:, clip.what.of]

    rng = np.random.default_rng([network.run.seed, clip.row])
    curves = deletion.curves(probability, clip.picture, clip.own.total, rng)
    watch.advance(_steps(clip))
    return curves


def _compare(rival: _Rival, clips: Sequence[_Clip], starts: np.ndarray, memory: float, watch: Progress) -> list[dict[str, Any]]:
    """Hold each clip's own map against the rival's of the same target; rows of the table of maps."""
    network, rows = rival.load(), []
    explainer = Explainer(network.net, network.standard, memory=memory)
    for clip in clips:
        steps = max(2, math.ceil(_steps(clip) / len(starts)))
        made = explainer.attribute(clip.picture, clip.what, starts, steps=steps)
        rows.append(clip.map(made, rival.run, rival.network, rival.baseline))
        if has_ranks(made.total):
            clip.compare(rival.part, rival.variant, made.total)
            if rival.is_random:
                clip.random = made.total
        watch.advance(_steps(clip))
    return rows


# Tables


def summarised(clips: pd.DataFrame, audited: int) -> pd.DataFrame:
    """The mean of each number over clips, with its interval, and how many of the clips audited have none."""
    rows = []
    for (part, measure, variant), mine in clips.groupby(["part", "measure", "variant"], sort=False):
        mean = mean_of(of_clips(mine["value"].to_numpy(), mine["source"].to_numpy()))
        counts = {"clips": len(mine), "left_out": audited - len(mine)}
        numbers = {"value": mean.mean, "low": mean.low, "high": mean.high}
        rows.append({"part": part, "measure": measure, "variant": variant, **counts, **numbers})
    return pd.DataFrame(rows)
