"""How often intervals cover the truth, in simulation, over clips, recordings, folds and seeds; and sweeps without an effect.

A clip is right if a sum of normal numbers is above a threshold: one of its recording, one of the clip, one of the run, and the
rest. How far right and wrong are correlated within a recording is set, and how far two arms have in common what makes a clip
hard; runs of one plan differ by so many points of accuracy.
Each data set is drawn anew with its recordings, clips and runs, and asked whether the interval holds the accuracy (or the
difference) that all clips and all trainings would give.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from tla.console import progress
from tla.statistics import TRAININGS, Estimate, Fold, difference, holm, share

SETS = 1000
STEPS = 5
LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Data of one kind."""

    what: str  # accuracy, difference or sweep
    clips: int
    recordings: int
    accuracy: float
    to: float | None = None  # the other arm's accuracy, of a difference
    within: float = 0.3  # correlation of right and wrong within a recording
    between: float = 0.6  # share of what makes a clip hard that arms have in common
    seeds: int = 1
    folds: int = 1
    noise: float = 0.0  # standard deviation between runs of one plan
    skewed: bool = False  # recordings of very different size
    before: float | None = None  # what percentile bootstrap intervals over clips covered

    @property
    def name(self) -> str:
        """It in words."""
        sizes = f"{self.clips} clips of {self.recordings} recordings{', unequal' * self.skewed}"
        level = f"{self.accuracy:g}" if self.to in (None, self.accuracy) else f"{self.accuracy:g} and {self.to:g}"
        runs = f"{self.seeds} seed{'s' * (self.seeds > 1)}"
        runs += f" x {self.folds} folds" if self.folds > 1 else ""
        noise = f", noise {100 * self.noise:g} points" if self.noise else ""
        return f"{self.what}, {sizes}, accuracy {level}, correlation {self.within:g}, {runs}{noise}"


def _accuracy(clips: int, recordings: int, accuracy: float, before: float | None = None, **more: Any) -> Setting:
    return Setting(what="accuracy", clips=clips, recordings=recordings, accuracy=accuracy, before=before, **more)


SETTINGS = (
    *(_accuracy(160, 100, 0.85, before, within=r) for r, before in ((0.05, 0.956), (0.3, 0.946), (0.8, 0.925))),
    _accuracy(160, 100, 0.97, 0.915),
    _accuracy(40, 8, 0.7, 0.879),
    _accuracy(40, 8, 0.9, 0.772),
    _accuracy(40, 4, 0.9, 0.797),
    _accuracy(40, 2, 0.9, 0.497),
    _accuracy(80, 80, 0.98, 0.796, within=0.0),
    _accuracy(80, 80, 0.99, 0.544, within=0.0),
    _accuracy(400, 20, 0.9),
    _accuracy(160, 100, 0.85, skewed=True),
    Setting(what="difference", clips=160, recordings=100, accuracy=0.85, to=0.75, between=0.0, before=0.924),
    Setting(what="difference", clips=40, recordings=8, accuracy=0.85, to=0.75, between=0.0, before=0.855),
    Setting(what="difference", clips=160, recordings=100, accuracy=0.85, to=0.8),
    Setting(what="difference", clips=400, recordings=100, accuracy=0.9, to=0.6),
    *(
        Setting(what=what, clips=clips, recordings=clips * 5 // 8, accuracy=0.85, to=to, seeds=seeds, folds=folds, noise=noise)
        for what, to in (("accuracy", None), ("difference", 0.8))
        for clips, seeds, folds in ((160, 3, 1), (400, 3, 1), (400, 5, 1), (80, 2, 5))
        for noise in (0.0, 0.03)
    ),
    *(
        Setting(what="difference", clips=clips, recordings=clips * 5 // 8, accuracy=0.85, to=0.85, seeds=2, noise=0.03)
        for clips in (160, 400)
    ),
)
SWEEPS = tuple(
    Setting(
        what="sweep", clips=clips, recordings=clips * 5 // 8, accuracy=0.85, to=0.85, seeds=seeds, noise=noise, before=before
    )
    for clips, seeds, noise, before in (
        (160, 1, 0.03, 0.16),
        (400, 1, 0.03, 0.40),
        (160, 2, 0.03, None),
        (400, 2, 0.03, None),
        (160, 3, 0.03, None),
        (400, 3, 0.03, None),
        (400, 5, 0.03, None),
        (400, 3, 0.0, None),
    )
)


def bench_coverage(sets: int = SETS) -> pd.DataFrame:
    """A row per setting: how many intervals there were, the share that covered, their mean width; of a sweep without an effect
    the share in which a step counts.
    """
    rows = []
    with progress("simulating", len(SETTINGS) + len(SWEEPS), "settings") as watch:
        for number, setting in enumerate((*SETTINGS, *SWEEPS)):
            rows.append(measured(setting, sets, np.random.default_rng(number)))
            watch.advance()
    return pd.DataFrame(rows)


def measured(setting: Setting, sets: int, rng: np.random.Generator) -> dict[str, object]:
    """A row of the table."""
    row: dict[str, object] = {"setting": setting.name, "what": setting.what, "before": setting.before}
    if setting.what == "sweep":
        named = np.mean([_names_a_step(arms_of(setting, STEPS + 1, rng)) for _ in range(sets)])
        return row | {"covers": "", "printed": 1.0, "now": float(named), "width": np.nan}
    estimates = [_estimate(arms_of(setting, 1 if setting.to is None else 2, rng)) for _ in range(sets)]
    truth = setting.accuracy if setting.to is None else setting.accuracy - setting.to
    there = [one for one in estimates if not np.isnan(one.low)]
    held = [one.low <= truth <= one.high for one in there]
    return row | {
        "covers": estimates[0].covers,
        "printed": len(there) / sets,
        "now": float(np.mean(held)) if there else np.nan,
        "width": float(np.mean([one.high - one.low for one in there])) if there else np.nan,
    }


def _estimate(arms: Sequence[list[Fold]]) -> Estimate:
    return share(arms[0]) if len(arms) == 1 else difference(arms[0], arms[1])


def _names_a_step(arms: Sequence[list[Fold]]) -> bool:
    """Whether one of the steps of a sweep counts: as `tla.stages.measuring` does it."""
    steps = []
    for k in range(len(arms) - 1):
        others = [arm for i, arm in enumerate(arms) if i not in (k, k + 1)]
        steps.append(difference(arms[k + 1], arms[k], others))
    corrected = holm([step.p for step in steps])
    return any(step.excludes_zero and step.covers == TRAININGS and p < LEVEL for step, p in zip(steps, corrected, strict=True))


def arms_of(setting: Setting, count: int, rng: np.random.Generator) -> list[list[Fold]]:
    """The folds of each arm: right or wrong (runs, clips)."""
    from scipy.stats import norm

    levels = [setting.accuracy] if setting.to is None else [setting.accuracy] + [setting.to] * (count - 1)
    arms: list[list[Fold]] = [[] for _ in range(count)]
    for fold in range(setting.folds):
        of = _recordings(setting)
        own, common = _parts(setting), np.zeros(len(of))
        common = own[0] * rng.standard_normal(setting.recordings)[of] + own[1] * rng.standard_normal(len(of))
        for arm, level in zip(arms, levels, strict=True):
            mine = common + own[2] * rng.standard_normal(setting.recordings)[of]
            runs = setting.noise / norm.pdf(norm.ppf(level)) * rng.standard_normal((setting.seeds, 1))
            rest = own[3] * rng.standard_normal((setting.seeds, len(of)))
            spread = np.sqrt(1 + (setting.noise / norm.pdf(norm.ppf(level))) ** 2)
            right = mine + runs + rest + spread * norm.ppf(level) > 0
            arm.append(Fold(right.astype(float), of + fold * setting.recordings))
    return arms


def _parts(setting: Setting) -> tuple[float, float, float, float]:
    """Standard deviations of what is common to arms (of the recording, of the clip), of the arm's recording, and of a run's
    clip; their squares add up to 1.
    """
    shared, within = setting.between, _latent(setting.within, setting.accuracy)
    recording = min(within, shared)
    return recording**0.5, (shared - recording) ** 0.5, (within - recording) ** 0.5, (1 - max(shared, within)) ** 0.5


@cache
def _latent(within: float, share: float) -> float:
    """The correlation of two normal numbers of which being above a threshold, by a share of them, is correlated so far."""
    from scipy.optimize import brentq
    from scipy.stats import multivariate_normal, norm

    def beyond(latent: float) -> float:
        both = multivariate_normal([0, 0], [[1, latent], [latent, 1]]).cdf([norm.ppf(share)] * 2)
        return float(both - share**2) / (share * (1 - share)) - within

    return float(brentq(beyond, 1e-9, 0.999, xtol=1e-4)) if within else 0.0


def _recordings(setting: Setting) -> np.ndarray:
    """The recording of each clip (clips,)."""
    if not setting.skewed:
        return np.arange(setting.clips) % setting.recordings
    sizes = 1 / np.arange(1, setting.recordings + 1) ** 0.7
    sizes = np.maximum(1, np.round(sizes / sizes.sum() * setting.clips)).astype(int)
    return np.repeat(np.arange(setting.recordings), sizes)[: setting.clips]
