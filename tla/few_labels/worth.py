"""How many clips of each class take one curve as far as another one is with a few: the number that is quoted.

A curve lies straight between its points, on an axis of the logarithm of the number of clips. The number is the fewest clips at
which it reaches the other's accuracy. Its interval holds the numbers at which the paired difference of the two, clip by clip,
cannot be told from none: so it covers what the interval of that difference covers (`tla.statistics.difference`), the draw of
the clips included where there are several seeds, since each has drawn its own. Beyond the curve's ends nothing is known: a
number below its first point is 0 (fewer than it has), one beyond its last is infinite (more than there are).

Resampling recordings and draws covers as well where clips are most of what varies, and less where two or three draws are
(docs/questions/labels.md has both in simulation).
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from tla.statistics import Estimate, Fold, difference

STEPS = 12  # between two points of a curve


def worth_of(accuracy: Sequence[Fold], curve: Mapping[float, Sequence[Fold]]) -> Estimate:
    """How many clips of each class take a curve to an accuracy, with the 95 % interval; 0: fewer than it has, inf: more.

        right = lambda share: [Fold(np.arange(200)[None] < 200 * share, np.arange(200))]
        worth_of(right(0.7), {1: right(0.3), 10: right(0.7), 100: right(0.9)}).mean     # 10.0

    Args:
        accuracy: What the runs that are compared with were right about, fold by fold (`tla.statistics.Fold`).
        curve: The same of other runs, on the same clips in the same order, by the number of clips that they learned from.
    """
    counts = sorted(curve)
    places = [(a, b, share) for a, b in itertools.pairwise(counts) for share in np.arange(STEPS) / STEPS]
    places.append((counts[-1], counts[-1], 0.0))
    gaps = [difference(accuracy, _between(curve[a], curve[b], share)) for a, b, share in places]
    at = np.array([math.log(a) + share * (math.log(b) - math.log(a)) for a, b, share in places])
    if any(math.isnan(gap.low) for gap in gaps):
        low = high = math.nan
    else:
        low = _reached(at, np.array([gap.low for gap in gaps]))
        beyond = _reached(-at[::-1], np.array([-gap.high for gap in gaps])[::-1])  # the same, seen from the other end
        high = 1 / beyond if beyond else math.inf
    return Estimate(_reached(at, np.array([gap.mean for gap in gaps])), low, high, gaps[0].covers)


def _between(first: Sequence[Fold], second: Sequence[Fold], share: float) -> list[Fold]:
    """What a run between two points would be right about, on average: so much of the second, the rest of the first."""
    return [
        Fold((1 - share) * a.values + share * b.values, a.recordings, a.weights) for a, b in zip(first, second, strict=True)
    ]


def _reached(at: np.ndarray, ahead: np.ndarray) -> float:
    """The first number, given as its logarithm, at which what is ahead no longer is; 0: at none of them; inf: at all."""
    behind = np.flatnonzero(ahead <= 0)
    if not len(behind):
        return math.inf
    first = int(behind[0])
    if first == 0:
        return math.exp(at[0]) if ahead[0] == 0 else 0.0
    share = ahead[first - 1] / (ahead[first - 1] - ahead[first])
    return math.exp(at[first - 1] + share * (at[first] - at[first - 1]))
