"""Agreement along time, frequency and class: on activations whose agreement is planted."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from tla.options import Picture
from tla.similarity import resolved
from tla.similarity.methods import Similarity, svcca
from tla.similarity.moments import Moments, fold
from tla.similarity.resolved import Side, canonical, resolve, summary
from tla.similarity.scoring import Asked, scored
from tla.similarity.stream import spooled
from tla.similarity.sums import Sums, neighbours
from tla.similarity.tables import ALL, CLASS, FREQUENCY, TIME

CLIPS, CHANNELS, HEIGHT, WIDTH = 60, 8, 4, 6
GROUPS = [np.arange(i, CLIPS, 10) for i in range(10)]
LABELS = np.arange(CLIPS) % 3
Agreements = Callable[[np.ndarray, np.ndarray], tuple[pd.DataFrame, Similarity]]


@pytest.fixture
def agreements(monkeypatch: pytest.MonkeyPatch) -> Agreements:
    """All agreements of two layers' outputs (clips, channels, height, width), and the layers' SVCCA."""

    def measure(x: np.ndarray, y: np.ndarray) -> tuple[pd.DataFrame, Similarity]:
        first, second = (torch.from_numpy(values.astype(np.float32)) for values in (x, y))
        with spooled() as spool:
            for clips in GROUPS:
                sums = Sums.over(first.shape[1], second.shape[1])
                x_points = fold(first[clips])
                sums.add(x_points, fold(second[clips]), neighbours(len(x_points), len(clips)))
                spool.put({"layer": sums})
            (score,) = scored(spool, 0, Asked(resolve=True), lambda *_: None)
        monkeypatch.setattr(resolved, "forward", lambda *rest: rest[-1]("layer", first[rest[-2]], second[rest[-2]]))
        couple = SimpleNamespace(name="layer", after=SimpleNamespace(positions=first.shape[2:]))
        rows = resolve(None, None, [couple], {"layer": score.sides}, np.arange(CLIPS), GROUPS, LABELS)  # type: ignore[arg-type,list-item]
        return pd.DataFrame(rows), score.whole

    return measure


def of(rows: pd.DataFrame, part: str) -> np.ndarray:
    return rows.query("part == @part and group == 0").sort_values("index")["agreement"].to_numpy()


def outputs(seed: int, channels: int = CHANNELS) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(CLIPS, channels, HEIGHT, WIDTH))


def turned(x: np.ndarray) -> np.ndarray:
    matrix = np.random.default_rng(9).normal(size=(x.shape[1], x.shape[1]))
    return np.einsum("nchw,cd->ndhw", x, matrix)


def test_agreement_is_found_where_it_was_planted(agreements: Agreements) -> None:
    x, y = outputs(0), turned(outputs(0))
    y[..., 3:] = outputs(1)[..., 3:]  # later columns have nothing in common
    rows, score = agreements(x, y)
    np.testing.assert_allclose(of(rows, TIME), [1, 1, 1, 0, 0, 0], atol=0.1)
    assert of(rows, ALL)[0] == pytest.approx(score.score, abs=0.06)
    y = turned(outputs(0))
    y[:, :, 1] = outputs(1)[:, :, 1]
    np.testing.assert_allclose(of(agreements(x, y)[0], FREQUENCY), [1, 0, 1, 1], atol=0.1)
    y = turned(outputs(0))
    y[LABELS == 2] = outputs(1)[LABELS == 2]
    np.testing.assert_allclose(of(agreements(x, y)[0], CLASS), [1, 1, 0], atol=0.1)


def test_unrelated_layers_agree_by_nothing_however_few_the_points(agreements: Agreements) -> None:
    rows, score = agreements(outputs(0, 200), outputs(1, 200))
    assert score.score > 0.25  # fitted
    assert of(rows, ALL)[0] == pytest.approx(0, abs=0.02)
    assert np.abs(of(rows, TIME)).max() < 0.05


def test_layers_that_are_one_agree_everywhere(agreements: Agreements) -> None:
    rows, _ = agreements(outputs(0), outputs(0))
    np.testing.assert_allclose(rows["agreement"], 1, atol=1e-5)


def test_what_differs_between_parts_only_is_not_agreement_within_them(agreements: Agreements) -> None:
    x, y = outputs(0), outputs(1)
    for values in (x, y):
        values[..., :3] += 5  # both sides hear that the clip has begun
    rows, score = agreements(x, y)
    assert score.correlations[0] > 0.9
    assert np.abs(of(rows, TIME)).max() < 0.1
    assert of(rows, CLASS).min() > 0.08


def test_where_nothing_varies_there_is_no_agreement(agreements: Agreements) -> None:
    x, y = outputs(0), turned(outputs(0))
    x[:, :, 3], y[:, :, 3] = 1.0, -2.0
    assert list(np.isnan(of(agreements(x, y)[0], FREQUENCY))) == [False, False, False, True]


def test_canonical_directions_are_the_correlations_own() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 6, dtype=torch.float64, generator=generator) @ torch.randn(
        6, 6, dtype=torch.float64, generator=generator
    )
    y = x[:, :4] ** 2 + x[:, :4]
    m = Moments(6, 4)
    m.add(x, y)
    a, b = canonical(m)
    u, v = ((values - values.mean(0)) @ turn for values, turn in ((x, a), (y, b)))
    np.testing.assert_allclose((u * u).mean(0), 1, rtol=1e-6)
    np.testing.assert_allclose((u.T @ v / 500).numpy(), np.diag(svcca(x, y, keep=1.0).correlations), atol=1e-6)


def test_a_side_turns_activations_by_its_groups_own_matrix() -> None:
    side = Side(torch.ones(2), torch.eye(2), [torch.eye(2), 2 * torch.eye(2)])
    assert torch.equal(side.variates(torch.tensor([[2.0, 3.0]]), 1), torch.tensor([[2.0, 4.0]]))


def test_the_summary_knows_seconds_hertz_and_classes(agreements: Agreements) -> None:
    rows, _ = agreements(outputs(0), turned(outputs(0)) + outputs(1))
    place = {"curve": "pretrained", "fold": 1, "seed": 0, "stage": "stem", "order": 0}
    picture = Picture(rate=44100, seconds=5.0, frames=250)
    table = summary(rows.assign(**place), picture, ["dog", "rain", "sea"]).set_index("part")
    assert list(table.loc[TIME, "seconds"]) == pytest.approx([5 * (i + 0.5) / 6 for i in range(6)])
    assert list(table.loc[CLASS, "name"]) == ["dog", "rain", "sea"]
    hertz = table.loc[FREQUENCY, "hertz"]
    assert hertz.is_monotonic_increasing
    assert 100 < hertz.iloc[0] < 1000
    assert ((table["low"] < table["agreement"]) & (table["agreement"] < table["high"])).all()
    assert len(table) == 1 + 3 + 6 + 4
