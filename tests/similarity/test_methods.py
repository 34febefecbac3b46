"""The measures against independent computations on the arrays, their invariances, and what they say of degenerate input."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tla.bench.similarity import obvious_svcca
from tla.errors import UserError
from tla.similarity import moments
from tla.similarity.eigenvalues import Spectrum
from tla.similarity.methods import MEASURES, channel, cka, directions, procrustes, pwcca, svcca, weight_change
from tla.similarity.moments import Batch, Cross, Moments, fold

F32, F64 = torch.float32, torch.float64


def correlated(points: int, p: int, q: int, seed: int = 0, decay: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Activations (points, p) and (points, q) with decaying spectra, offsets, and half of their sources in common."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(points, max(p, q)))

    def side(width: int) -> np.ndarray:
        mixed = (common[:, :width] + rng.normal(size=(points, width))) * decay ** np.arange(width)
        return mixed @ np.linalg.qr(rng.normal(size=(width, width)))[0] + 3 * rng.normal(size=width)

    return side(p), side(q)


def streamed(x: np.ndarray, y: np.ndarray, size: int, products: torch.dtype = F64) -> Moments:
    """Moments in batches of `size` points."""
    m = Moments(x.shape[1], y.shape[1], products=products)
    for start in range(0, len(x), size):
        m.add(torch.from_numpy(x[start : start + size]), torch.from_numpy(y[start : start + size]))
    return m


@pytest.mark.parametrize(("keep", "keep_by"), [(0.99, "variance"), (0.99, "values"), (0.8, "values"), (7, "variance")])
@pytest.mark.parametrize(("products", "tolerance"), [(F64, 1e-8), (F32, 1e-5)])
def test_svcca_is_the_reference_recipe(keep: float | int, keep_by: str, products: torch.dtype, tolerance: float) -> None:
    for seed, decay in ((0, 0.9), (1, 0.8), (2, 1.0)):
        x, y = correlated(900, 40, 30, seed, decay)
        rho = obvious_svcca(x, y, keep=keep, keep_by=keep_by)
        result = svcca(streamed(x, y, 128, products), keep=keep, keep_by=keep_by)  # type: ignore[arg-type]
        assert min(result.kept) == len(rho)
        assert result.score == pytest.approx(rho.mean(), abs=tolerance)
        np.testing.assert_allclose(result.correlations, rho, atol=10 * tolerance)
        assert (result.points, result.channels, result.dead, result.forced) == (900, (40, 30), (0, 0), 0)


def test_the_rank_rules_differ_and_the_arrays_own_interface_agrees() -> None:
    x, y = correlated(600, 30, 30, decay=0.85)
    variance, values = svcca(x, y, keep=0.99, keep_by="variance"), svcca(x, y, keep=0.99, keep_by="values")
    assert max(variance.kept) < min(values.kept)
    assert abs(variance.score - values.score) > 0.01
    assert svcca(torch.from_numpy(x), torch.from_numpy(y)).score == variance.score
    assert list(variance.correlations) == sorted(variance.correlations, reverse=True)


def test_a_known_answer() -> None:
    basis = np.random.default_rng(0).normal(size=(50, 4))
    basis = np.linalg.qr(basis - basis.mean(0))[0]  # orthonormal and centred
    x, y = basis[:, [0, 1]], np.stack([basis[:, 0], 0.6 * basis[:, 1] + 0.8 * basis[:, 2]], axis=1)
    np.testing.assert_allclose(svcca(x, y, keep=1.0).correlations, [1, 0.6], atol=1e-9)
    assert cka(x, y).score == pytest.approx((1 + 0.36) / 2)
    assert procrustes(x, y).score == pytest.approx((1 + 0.6) / 2)
    assert channel(x, y).score == pytest.approx((1 + 0.6) / 2)


@given(st.integers(0, 1000), st.lists(st.integers(1, 150), max_size=6))
@settings(max_examples=25, deadline=None)
def test_batch_size_and_order_change_nothing(seed: int, cuts: list[int]) -> None:
    x, y = correlated(200, 9, 9, seed, 0.9)
    y[:60] += 50  # the batches' means differ by far more than what varies within them
    order = np.random.default_rng(seed).permutation(200)
    pieces = np.split(order, sorted(cuts))  # some of them may be empty
    m = Moments(9, 9)
    for piece in pieces:
        m.add(torch.from_numpy(x[piece]), torch.from_numpy(y[piece]))
    for name, measure in MEASURES.items():
        assert measure(m).score == pytest.approx(measure(x, y).score, abs=1e-9), name


def test_a_large_offset_costs_float32_nothing() -> None:
    x, y = correlated(800, 12, 12, decay=0.9)
    for name, measure in MEASURES.items():
        expected = measure(x, y).score
        shifted = measure(streamed(x + 1e5, y - 1e4, 100, F32)).score
        assert shifted == pytest.approx(expected, abs=1e-5), name


def test_cka_golden_values() -> None:
    np.random.seed(1337)  # noqa: NPY002  # the generator of the published example
    x = np.random.randn(100, 10)  # noqa: NPY002
    y = np.random.randn(100, 10) + x  # noqa: NPY002
    assert round(cka(x, y).score, 5) == 0.55761
    assert round(cka(x, y, debiased=True).score, 5) == 0.51346
    assert round(cka(streamed(x, y, 7), debiased=True).score, 5) == 0.51346
    assert round(cka(streamed(x, y, 7, F32), debiased=True).score, 5) == 0.51346


def test_debiased_cka_is_the_ratio_of_unbiased_criteria() -> None:
    def criterion(k: np.ndarray, m: np.ndarray) -> float:
        """Song et al. (2012), equation 5, from kernel matrices."""
        n = len(k)
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        return float(np.trace(k @ m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k.sum(0) @ m.sum(0)))

    for points, p, q in ((40, 5, 8), (12, 30, 20), (4, 3, 3)):
        x, y = correlated(points, p, q, points)
        k, m = x @ x.T, y @ y.T
        expected = criterion(k, m) / np.sqrt(criterion(k, k) * criterion(m, m))
        assert cka(x, y, debiased=True).score == pytest.approx(expected, abs=1e-9)


def test_debiased_cka_of_noise_is_about_zero_where_the_biased_one_is_not() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 200)), rng.normal(size=(100, 200))
    assert cka(x, y).score > 0.6
    assert abs(cka(x, y, debiased=True).score) < 0.03


@pytest.mark.parametrize(("p", "q"), [(8, 8), (6, 11), (11, 6)])
def test_pwcca_weighs_as_in_its_paper(p: int, q: int) -> None:
    x, y = correlated(300, p, q, decay=0.95)
    a, b = x - x.mean(0), y - y.mean(0)
    left, rho, right = np.linalg.svd(np.linalg.qr(a)[0].T @ np.linalg.qr(b)[0], full_matrices=False)
    variables, activations = (np.linalg.qr(a)[0] @ left, x) if p <= q else (np.linalg.qr(b)[0] @ right.T, y)
    weights = np.abs(variables.T @ activations).sum(1)
    result = pwcca(x, y)
    assert result.score == pytest.approx(weights @ rho / weights.sum(), abs=1e-7)
    np.testing.assert_allclose(result.correlations, rho, atol=1e-7)


def test_pwcca_forgets_what_carries_no_variance() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(500, 3))
    x, y = (np.hstack([shared, 1e-3 * rng.normal(size=(500, 5))]) for _ in range(2))
    assert svcca(x, y, keep=1.0).score < 0.6
    assert pwcca(x, y).score > 0.99


def test_procrustes_is_scipys() -> None:
    from scipy.spatial import procrustes as scipys

    x, y = correlated(200, 7, 7)
    assert procrustes(x, y).score == pytest.approx(np.sqrt(1 - scipys(x, y)[2]), abs=1e-10)


def test_channel_is_the_mean_correlation() -> None:
    x, y = correlated(200, 7, 7)
    each = [np.corrcoef(x[:, i], y[:, i])[0, 1] for i in range(7)]
    result = channel(x, y)
    assert result.score == pytest.approx(np.mean(each), abs=1e-12)
    np.testing.assert_allclose(result.correlations, sorted(each, reverse=True), atol=1e-12)


SEEDS = st.integers(0, 10_000)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_cca_is_blind_to_invertible_maps(seed: int) -> None:
    x, y = correlated(150, 6, 8, seed, 0.95)
    rng = np.random.default_rng(seed + 1)
    a, b = (np.linalg.qr(rng.normal(size=(n, n)))[0] * rng.uniform(0.2, 5, n) for n in (6, 8))
    before, after = svcca(x, y, keep=1.0), svcca(7 + x @ a, y @ b - 100, keep=1.0)
    np.testing.assert_allclose(after.correlations, before.correlations, atol=1e-6)


@given(SEEDS, st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
@settings(max_examples=20, deadline=None)
def test_rotations_and_scale_do_not_matter(seed: int, scale_x: float, scale_y: float) -> None:
    x, y = correlated(150, 6, 8, seed, 0.9)
    rng = np.random.default_rng(seed + 1)
    a, b = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (6, 8))
    for name in ("svcca", "cka", "cka-debiased", "procrustes"):
        measure = MEASURES[name]
        assert measure(scale_x * x @ a, scale_y * y @ b).score == pytest.approx(measure(x, y).score, abs=1e-7), name


@given(SEEDS, st.sampled_from([F64, F32]))
@settings(max_examples=20, deadline=None)
def test_a_thing_compared_with_itself_is_one(seed: int, products: torch.dtype) -> None:
    x, _ = correlated(120, 10, 10, seed, 0.9)
    for name, measure in MEASURES.items():
        result = measure(streamed(x, x.copy(), 50, products))
        assert result.score == pytest.approx(1, abs=1e-7 if products == F64 else 1e-5), name
        assert result.correlations.max(initial=0) <= 1


def test_unrelated_activations_score_low_if_there_are_enough_points() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20_000, 8)), rng.normal(size=(20_000, 8))
    for name, measure in MEASURES.items():
        assert abs(measure(x, y).score) < 0.03, name


def test_forced_correlations_are_counted_and_refused() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 25)), rng.normal(size=(40, 30))
    for measure in (svcca, pwcca):
        with pytest.raises(UserError, match="25 and 30 directions of 40 points: 16 of 25 canonical correlations are 1"):
            measure(x, y, keep=1.0)
    allowed = svcca(x, y, keep=1.0, forced="allow")
    assert allowed.forced == 16
    assert int((allowed.correlations > 1 - 1e-6).sum()) == 16
    assert svcca(x, y, keep=15).forced == 0  # what is counted is what is kept
    assert svcca(x[:, :10], y[:, :29], keep=1.0).forced == 0
    assert svcca(x[:, :10], y, keep=1.0, forced="allow").forced == 1


def test_dead_and_constant_channels_add_nothing() -> None:
    x, y = correlated(300, 8, 8, decay=0.9)
    padded = np.insert(x, [2, 5, 5], [0.0, 1 / 3, -1e4], axis=1)  # one of them without exact representation
    for products in (F64, F32):
        m = streamed(padded, y, 70, products)
        for name in ("svcca", "pwcca", "cka", "cka-debiased", "procrustes"):
            result = MEASURES[name](m)
            assert result.dead == (3, 0)
            assert result.score == pytest.approx(MEASURES[name](x, y).score, abs=1e-5), name
    assert pwcca(padded, y).kept == (8, 8)


def test_a_channel_dead_on_one_side_counts_as_nothing_and_on_both_is_left_out() -> None:
    x, y = correlated(100, 4, 4)
    each = channel(x, y).correlations
    x[:, 0] = y[:, 0] = 1.5
    two_sided = channel(x, y)
    assert two_sided.dead == (1, 1)
    assert len(two_sided.correlations) == 3
    assert set(np.round(two_sided.correlations, 9)) < set(np.round(each, 9))
    y[:, 1] = 0
    one_sided = channel(x, y)
    assert one_sided.score == pytest.approx(np.mean(one_sided.correlations))
    assert (one_sided.correlations == 0).sum() == 1
    x[:, 2:] = 0
    assert channel(np.delete(x, 3, 1), np.delete(y, 3, 1)).score == 0
    with pytest.raises(UserError, match="x has 4, y 3; take svcca or cka"):
        channel(x, y[:, :3])


def test_duplicated_channels_add_no_direction() -> None:
    x, y = correlated(300, 8, 8, decay=0.95)
    for products in (F64, F32):
        m = streamed(np.hstack([x, x[:, :5]]).astype(np.float32), y.astype(np.float32), 100, products)
        assert pwcca(m).kept == (8, 8)
        assert svcca(m, keep=1.0).score == pytest.approx(svcca(x, y, keep=1.0).score, abs=1e-5)
        assert svcca(m, keep=13).kept == (8, 8)  # no more than there are
        assert all(np.isfinite(measure(m).score) for name, measure in MEASURES.items() if name != "channel")


def test_what_varies_by_rounding_alone_is_dead() -> None:
    x, y = (side.astype(np.float32) for side in correlated(300, 4, 4))
    x[:, 1] = 1e4
    x[::3, 1] = np.nextafter(np.float32(1e4), np.float32(2e4))
    assert svcca(streamed(x, y, 70, F32)).dead == (1, 0)
    assert svcca(streamed(x, y, 70, F64)).dead == (0, 0)  # which can tell


@pytest.mark.parametrize("products", [F32, F64])
def test_directions_of_rounding_are_none(products: torch.dtype) -> None:
    x, y = correlated(300, 6, 6, decay=0.9)
    wide = x @ np.random.default_rng(0).normal(size=(6, 40))
    m = streamed(wide, y, 100, products)
    assert pwcca(m).kept == (6, 6)
    assert svcca(m, keep=1.0).score == pytest.approx(svcca(x, y, keep=1.0).score, abs=1e-5)


@pytest.mark.parametrize("name", MEASURES)
def test_all_dead_is_refused(name: str) -> None:
    x, y = correlated(50, 3, 3)
    with pytest.raises(UserError, match="all 3 channels of y are constant over 50 points"):
        MEASURES[name](x, np.full_like(y, 0.1))
    with pytest.raises(UserError, match="all 3 channels of x are constant"):
        MEASURES[name](np.zeros_like(x), y)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(name: str, value: float) -> None:
    x, y = correlated(50, 3, 3)
    y[7, 1] = value
    with pytest.raises(UserError, match="1 of y's 3 channels hold NaN or infinity \\(the first is channel 1\\)"):
        MEASURES[name](x, y)


@pytest.mark.parametrize("name", MEASURES)
def test_more_channels_than_points_is_finite_or_refused(name: str) -> None:
    x, y = correlated(20, 50, 50, decay=1.0)
    if name in ("svcca", "pwcca"):
        with pytest.raises(UserError, match="whatever the data"):
            MEASURES[name](x, y)
        result = MEASURES[name](x, y, keep=1.0, forced="allow")
        assert result.kept == (19, 19)
        assert result.forced == 19
        assert result.score == pytest.approx(1, abs=1e-6)
    else:
        assert -1 <= MEASURES[name](x, y).score <= 1


def test_too_few_points_and_wrong_shapes_are_refused() -> None:
    x, y = correlated(50, 3, 3)
    for measure in MEASURES.values():
        with pytest.raises(UserError, match="x has 50 points and y has 49"):
            measure(x, y[:49])
        with pytest.raises(UserError, match="0 points; this takes"):
            measure(x[:0], y[:0])
        with pytest.raises(UserError, match="1 points; this takes"):
            measure(x[:1], y[:1])
        with pytest.raises(UserError, match=r"y has the shape \(50,\)"):
            measure(x, y[:, 0])
        with pytest.raises(UserError, match="two arrays"):
            measure(x)
    with pytest.raises(UserError, match="3 points; this takes 4"):
        cka(x[:3], y[:3], debiased=True)
    with pytest.raises(UserError, match="equally far apart"):
        cka(np.eye(6), y[:6], debiased=True)
    with pytest.raises(UserError, match="leave y, clips and channel_axis out"):
        svcca(streamed(x, y, 50), y)
    m = streamed(x, y, 50)
    with pytest.raises(UserError, match="x and y have 2 and 3 channels; those before had 3 and 3"):
        m.add(torch.from_numpy(x[:, :2]), torch.from_numpy(y))
    assert m.points == m.xx.points == m.yy.points == 50  # what was refused left no trace
    with pytest.raises(UserError, match="overflow"):
        cka(streamed(1e30 * x, y, 50, F32))


@pytest.mark.parametrize("keep", [0, 0.0, -3, 1.5, True, float("nan")])
def test_what_cannot_be_kept_is_refused(keep: float) -> None:
    x, y = correlated(50, 3, 3)
    with pytest.raises(UserError, match="possible are a share above 0 and up to 1"):
        svcca(x, y, keep=keep)
    with pytest.raises(UserError, match="possible are variance"):
        svcca(x, y, keep_by="sum")  # type: ignore[arg-type]


def test_one_is_a_direction_and_one_point_nothing_all_of_them() -> None:
    x, y = correlated(50, 3, 3)
    assert svcca(x, y, keep=1).kept == (1, 1)
    assert svcca(x, y, keep=1.0).kept == (3, 3)


@pytest.mark.parametrize("keep_by", ["variance", "values"])
def test_projected_on_its_directions_the_score_is_the_same(keep_by: str) -> None:
    x, y = correlated(500, 30, 25, decay=0.8)
    m = streamed(x, y, 100)
    u, w = directions(m, 0.95, keep_by)  # type: ignore[arg-type]
    whole = svcca(m, keep=0.95, keep_by=keep_by)  # type: ignore[arg-type]
    assert (u.shape, w.shape) == ((30, whole.kept[0]), (25, whole.kept[1]))
    torch.testing.assert_close(u.T @ u, torch.eye(u.shape[1], dtype=F64))
    small = Moments.from_tensors(m.project(u, w).tensors())
    assert svcca(small, keep=1.0).score == pytest.approx(whole.score, abs=1e-8)
    assert small.channels == whole.kept
    # a replicate: the same directions, fewer points
    part = streamed(x[:400], y[:400], 100)
    expected = obvious_svcca(x[:400] @ u.numpy(), y[:400] @ w.numpy(), keep=1.0).mean()
    assert svcca(part.project(u, w), keep=1.0).score == pytest.approx(expected, abs=1e-8)
    with pytest.raises(UserError, match="projected moments"):
        cka(small, debiased=True)
    assert cka(small).score == pytest.approx(cka(x @ u.numpy(), y @ w.numpy()).score)


def test_groups_add_up_and_can_be_left_out() -> None:
    x, y = correlated(300, 6, 6, decay=0.9)
    x[:100] += 20
    groups = [streamed(x[i : i + 100], y[i : i + 100], 30) for i in (0, 100, 200)]
    total, rest = Moments.total(groups), Moments.total(groups[1:])
    for name, measure in MEASURES.items():
        assert measure(total).score == pytest.approx(measure(x, y).score, abs=1e-9), name
        expected = measure(x[100:], y[100:]).score
        assert measure(rest).score == pytest.approx(expected, abs=1e-9), name
        assert measure(groups[1].merge(groups[2])).score == pytest.approx(expected, abs=1e-9), name
        assert measure(total.without(groups[0])).score == pytest.approx(expected, abs=1e-9), name
    assert [group.points for group in groups] == [100, 100, 100]  # and none of them is changed
    assert groups[0].sxx.allclose(streamed(x[:100], y[:100], 30).sxx)
    with pytest.raises(UserError, match="leave nothing"):
        groups[0].without(groups[1])
    with pytest.raises(UserError, match="do not belong together"):
        total.merge(Moments(6, 7))
    with pytest.raises(UserError, match="no moments"):
        Moments.total([])
    assert Moments.total([Moments(6, 6), *groups]).points == 300


def test_adding_points_after_a_score_changes_the_score() -> None:
    x, y = correlated(300, 6, 6, decay=0.9)
    m = streamed(x[:150], y[:150], 50)
    svcca(m)
    m.add(torch.from_numpy(x[150:]), torch.from_numpy(y[150:]))
    assert svcca(m).score == pytest.approx(svcca(x, y).score, abs=1e-9)


@pytest.mark.parametrize("products", [F32, F64])
def test_moments_come_back_from_a_file(products: torch.dtype, tmp_path: object) -> None:
    import io

    m = streamed(*correlated(100, 5, 4), 30, products)
    file = io.BytesIO()
    np.savez(file, **m.tensors())  # type: ignore[arg-type]
    file.seek(0)
    back = Moments.from_tensors(np.load(file))
    assert (back.points, back.channels) == (100, (5, 4))
    for name in ("svcca", "cka-debiased"):
        assert MEASURES[name](back).score == MEASURES[name](m).score
    assert back.xx.products == products


def test_crosses_share_what_several_comparisons_need() -> None:
    x, y = correlated(200, 5, 6, decay=0.9)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    xx, yy, xy, null = Cross(5, 5), Cross(6, 6), Cross(5, 6), Cross(5, 6)
    shuffled = []
    for start in range(0, 200, 50):
        bx, by = (Batch(torch.from_numpy(v[start : start + 50])) for v in (x, y))
        xx.add(bx, bx)
        yy.add(by, by)
        xy.add(bx, by)
        null.add(bx, by.reordered(order))
        shuffled.append(y[start : start + 50][order.numpy()])
    for name in ("svcca", "pwcca", "cka", "cka-debiased", "procrustes"):
        measure: Callable = MEASURES[name]
        assert measure(Moments.of(xx, yy, xy)).score == pytest.approx(measure(x, y).score, abs=1e-9), name
        floor = measure(Moments.of(xx, yy, null)).score
        assert floor == pytest.approx(measure(x, np.concatenate(shuffled)).score, abs=1e-9), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_mode_of_the_forward_pass_does_not_reach_the_products(dtype: torch.dtype) -> None:
    x, y = (torch.from_numpy(v).to(dtype) for v in correlated(200, 6, 6))
    expected = svcca(x.to(F64), y.to(F64)).score
    m = Moments(6, 6, products=F32)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        m.add(x[:90], y[:90])
    m.add(x[90:].requires_grad_(), y[90:])
    assert svcca(m).score == pytest.approx(expected, abs=1e-5)
    assert not m.sxx.requires_grad


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_positions_fold_into_points(layout: torch.memory_format) -> None:
    x = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5).contiguous(memory_format=layout)
    points = fold(x)
    assert points.shape == (40, 3)
    for clip, row, column in ((0, 0, 1), (1, 3, 4)):
        assert torch.equal(points[clip * 20 + row * 5 + column], x[clip, :, row, column])
    assert fold(torch.zeros(7, 3)).shape == (7, 3)
    assert (points.data_ptr() == x.data_ptr()) == (layout == torch.channels_last)


def test_a_side_paired_with_itself_in_another_order() -> None:
    x, _ = correlated(120, 6, 6)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    own, null = Cross(6, 6), Cross(6, 6)
    for part in np.split(x, 3):
        batch = Batch(torch.from_numpy(part))
        own.add(batch, batch)
        null.add(batch, batch.reordered(order))
    shuffled = np.concatenate([part[order] for part in np.split(x, 3)])
    found = cka(Moments.of(own, own, null), debiased=True).score
    assert found == pytest.approx(cka(x, shuffled, debiased=True).score, abs=1e-9)


def test_products_are_the_same_in_pieces_and_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = correlated(400, 300, 5, decay=0.99)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    for piece in (400, 128, 57):
        monkeypatch.setattr(moments, "PIECE", piece)
        first, second = Batch(torch.from_numpy(x)), Batch(torch.from_numpy(y), side="y")
        assert len(first.pieces) == -(-400 // piece)
        m = Moments(300, 5)
        m.add(torch.from_numpy(x), torch.from_numpy(y))
        np.testing.assert_allclose(m.sxx / 399, np.cov(x.T), atol=1e-12)
        np.testing.assert_allclose(m.xy.mean_x, x.mean(0), atol=1e-14)
        null = Cross(300, 5)
        null.add(first, second.reordered(order))
        np.testing.assert_allclose(null.s, (x - x.mean(0)).T @ y[order], atol=1e-10)
        assert cka(m, debiased=True).score == pytest.approx(cka(x, y, debiased=True).score, abs=1e-12)


@pytest.mark.parametrize("rows", [1, 100, 300])
def test_a_spectrum_in_part_is_part_of_the_whole(rows: int) -> None:
    x, _ = correlated(1000, rows, rows, decay=0.98)
    matrix = np.cov(x.T).reshape(rows, rows)
    values, vectors = np.linalg.eigh(matrix)
    for count in {1, rows // 3, rows} - {0}:
        spectrum = Spectrum(torch.from_numpy(matrix))
        np.testing.assert_allclose(spectrum.values, values[::-1], atol=1e-12)
        found = spectrum.vectors(count).numpy()
        np.testing.assert_allclose(found.T @ found, np.eye(count), atol=1e-10)
        np.testing.assert_allclose(found @ found.T, vectors[:, rows - count :] @ vectors[:, rows - count :].T, atol=1e-8)


def test_few_of_many_directions_are_the_reference_recipes() -> None:
    x, y = correlated(900, 300, 200, decay=0.97)
    x[:, 7] = 2.5  # and one of them dead
    rho = obvious_svcca(x, y)
    result = svcca(x, y)
    assert min(result.kept) == len(rho) < 100
    assert result.dead == (1, 0)
    np.testing.assert_allclose(result.correlations, rho, atol=1e-8)


def test_weight_change() -> None:
    before, after = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 5.0])
    assert weight_change(before, after) == pytest.approx(0.2)
    assert weight_change(before, before) == 0
    assert weight_change([before, torch.zeros(2)], [after, torch.full((2,), 2.0)]) == pytest.approx(3 / 5)
    with pytest.raises(UserError, match="not the same weights"):
        weight_change(before, torch.ones(3))
    with pytest.raises(UserError, match="are 0"):
        weight_change(torch.zeros(2), after)
    with pytest.raises(UserError, match="NaN"):
        weight_change(before, torch.tensor([0.0, torch.nan]))
