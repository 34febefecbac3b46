"""Measures of arrays as users have them: feature maps, any dtype and library, and the floor, against what the command does."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tla.errors import UserError
from tla.similarity.arrays import pair
from tla.similarity.methods import MEASURES, Similarity, cka, procrustes, svcca
from tla.similarity.moments import Moments, fold
from tla.similarity.sums import Sums, neighbours

Measure = Callable[..., Similarity]
CLIPS, SIZE = 12, (4, 5)


def maps(seed: int = 0, channels: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Feature maps (clips, channels, height, width) of two networks, half of which they have in common."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(CLIPS, channels, *SIZE))
    return common + rng.normal(size=common.shape), common + rng.normal(size=common.shape)


def as_points(x: np.ndarray) -> np.ndarray:
    return x.transpose(0, 2, 3, 1).reshape(-1, x.shape[1])


@pytest.fixture(params=MEASURES)
def measure(request: pytest.FixtureRequest) -> Measure:
    return MEASURES[request.param]


def test_positions_of_maps_are_points_and_the_result_says_so(measure: Measure) -> None:
    x, y = maps()
    found, points = measure(x, y), measure(as_points(x), as_points(y))
    assert found.score == pytest.approx(points.score, abs=1e-12)
    assert (found.positions, found.points, points.positions) == (SIZE, CLIPS * 20, ())
    assert "positions=(4, 5)" in repr(found)
    assert "correlations" not in repr(found)


def test_channels_may_be_elsewhere() -> None:
    x, y = maps()
    wanted = svcca(x, y)
    last = svcca(np.moveaxis(x, 1, -1), np.moveaxis(y, 1, -1), channel_axis=-1)
    tokens = [side.reshape(CLIPS, 6, 20) for side in (x, y)]
    along = svcca(*tokens, channel_axis=1)
    transformer = svcca(*(np.moveaxis(side, 1, 2) for side in tokens), channel_axis=2)
    for found, positions in ((last, SIZE), (along, (20,)), (transformer, (20,))):
        assert (found.score, found.floor) == (pytest.approx(wanted.score), pytest.approx(wanted.floor))
        assert found.positions == positions


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "longdouble", "int64"])
def test_arrays_of_any_dtype_and_memory(dtype: str) -> None:
    x, y = (np.round(8 * side).astype(dtype) for side in maps())
    wanted = svcca(np.float64(x), np.float64(y))
    x.flags.writeable = False  # as in a file that is mapped into memory
    for found in (svcca(x, y), svcca(x[::-1], y[::-1])):
        assert found.score == pytest.approx(wanted.score, abs=1e-9)
    assert svcca(x, y).floor == wanted.floor


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn])
def test_tensors_of_any_dtype_that_may_take_part_in_training(dtype: torch.dtype) -> None:
    x, y = (torch.from_numpy(side).to(dtype) for side in maps())
    found = svcca(x.requires_grad_(), y)
    wanted = svcca(x.detach().double(), y.double())
    assert (found.score, found.floor) == (pytest.approx(wanted.score, abs=1e-12), pytest.approx(wanted.floor, abs=1e-12))
    assert x.grad is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_on_a_gpu(measure: Measure) -> None:
    x, y = (torch.from_numpy(side) for side in maps())
    found, wanted = measure(x.cuda(), y.cuda(), clips=np.arange(CLIPS) // 2), measure(x, y, clips=np.arange(CLIPS) // 2)
    assert (found.score, found.floor) == (pytest.approx(wanted.score, abs=1e-9), pytest.approx(wanted.floor, abs=1e-9))
    with pytest.raises(UserError, match="x is on cpu and y on cuda:0"):
        measure(x, y.cuda())


def test_the_floor_of_maps_is_that_of_the_command(measure: Measure) -> None:
    """Which pairs each clip of a batch with the one before, in the random order in which batches are made."""
    x, y = (torch.from_numpy(side) for side in maps())
    order = np.random.default_rng(3).permutation(CLIPS)
    sums = Sums.over(6, 6, torch.float64)
    sums.add(fold(x[order]), fold(y[order]), neighbours(CLIPS * 20, CLIPS))
    found = measure(x, y, seed=3)
    assert found.floor == pytest.approx(measure(sums.permuted).score, abs=1e-10)
    assert found.score == pytest.approx(measure(sums.paired).score, abs=1e-10)
    assert measure(x, y).floor != found.floor


def test_for_the_floor_every_point_meets_one_of_another_clip_once() -> None:
    for clips in (None, np.arange(30), np.arange(30) // 5, np.repeat(["a", "b", "c", "d"], [3, 15, 4, 8])):
        labels = np.arange(30) if clips is None else clips
        for seed in range(5):
            partner = pair(np.zeros((30, 2)), np.zeros((30, 2))).partner(clips, seed)
            assert partner is not None
            assert sorted(partner.tolist()) == list(range(30))
            assert not (labels[partner.numpy()] == labels).any()


def test_clips_of_one_length_are_paired_frame_by_frame() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(6), 5))  # the frames of a clip need not follow each other
    partner = pair(np.zeros((30, 2)), np.zeros((30, 2))).partner(labels, 0)
    assert partner is not None
    frames = {clip: list(np.flatnonzero(labels == clip)) for clip in range(6)}
    for clip, mine in frames.items():
        assert list(partner[mine].numpy()) in [theirs for other, theirs in frames.items() if other != clip]


def test_points_with_their_clips_have_the_floor_of_the_maps(measure: Measure) -> None:
    x, y = maps()
    found = measure(as_points(x), as_points(y), clips=np.repeat(np.arange(CLIPS), 20))
    assert found.floor == pytest.approx(measure(x, y).floor, abs=1e-10)


def test_frames_that_are_alike_need_their_clips_named() -> None:
    """Unrelated sides, all frames of a clip the same: 12 clips are what counts, and the floor has to see it."""
    rng = np.random.default_rng(0)
    x, y = (np.repeat(rng.normal(size=(CLIPS, 4)), 50, axis=0) for _ in range(2))
    named, not_named = (svcca(x, y, clips=clips) for clips in (np.repeat(np.arange(CLIPS), 50), None))
    assert named.floor == pytest.approx(svcca(x[::50], y[::50]).floor, abs=1e-9)
    assert abs(named.floor - named.score) < 0.15
    assert not_named.floor < named.score / 3


def test_floors_in_closed_form() -> None:
    """Two clips can only be exchanged: the sides' points in the other's order."""
    x = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])  # centred; the columns are orthogonal
    y = x[[2, 3, 0, 1]] * [1.0, 2.0]
    labels = [0, 0, 1, 1]
    assert cka(x, x, clips=labels).floor == pytest.approx(1)  # the channels are exchanged, which CKA does not see
    assert procrustes(x, y, clips=labels).floor == pytest.approx(3 / 10**0.5)  # (1 + 2) / sqrt(2 * 5) of diagonal sums
    assert MEASURES["channel"](x, x, clips=labels).floor == pytest.approx(0, abs=1e-12)
    assert MEASURES["channel"](x, y, clips=labels).floor == pytest.approx(1)


def test_the_floor_of_noise_is_what_chance_gives() -> None:
    """Mean squared correlation of p and q directions of M independent points is near max(p, q) / (M - 1)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 10))
    found = svcca(x, x @ rng.normal(size=(10, 10)), keep=1.0)
    assert found.score == pytest.approx(1)
    chance = svcca(rng.normal(size=(4000, 10)), rng.normal(size=(4000, 10)), keep=1.0)
    assert np.mean(chance.correlations**2) == pytest.approx(10 / 3999, rel=0.3)
    assert found.floor == pytest.approx(chance.score, rel=0.25)


def test_without_another_clip_there_is_no_floor() -> None:
    x, y = maps()
    assert np.isnan(svcca(x[:1], y[:1]).floor)
    assert np.isnan(svcca(x, y, clips=[0] * 7 + [1] * 5).floor)  # one has more than half
    assert np.isfinite(svcca(x, y, clips=[0] * 6 + [1] * 6).floor)
    m = Moments(6, 6)
    m.add(x, y)
    assert np.isnan(svcca(m).floor)
    assert svcca(m).score == pytest.approx(svcca(x, y).score, abs=1e-12)


def test_moments_take_maps_like_the_measures() -> None:
    x, y = maps()
    m = Moments(6, 6)
    for rows in np.split(np.arange(CLIPS), 3):
        m.add(np.moveaxis(x[rows], 1, -1), np.moveaxis(y[rows], 1, -1), channel_axis=-1)
    assert cka(m).score == pytest.approx(cka(x, y).score, abs=1e-12)


def refused(match: str, *arrays: object, **options: object) -> None:
    for measure in MEASURES.values():
        with pytest.raises(UserError, match=match):
            measure(*arrays, **options)


def test_shapes_that_do_not_fit_are_refused_with_the_callers_own() -> None:
    x, y = maps()
    refused(r"x has 12 clips and y has 11.*x has the shape \(12, 6, 4, 5\), y \(11, 6, 4, 5\)", x, y[:11])
    refused(r"\(12, 6, 4, 5\), y \(12, 6, 2, 5\): maps of other positions.*average", x, y[:, :, :2])
    refused(r"x has the shape \(12, 6, 4, 5\), y \(12, 6\)", x, y.mean((2, 3)))
    refused(r"y has the shape \(12, 6, 20\): is that \(clips, tokens, channels\).*channel_axis=-1 or", x, y.reshape(12, 6, 20))
    refused("channel_axis=0: x has the shape.*possible are 1 to 3", x, y, channel_axis=0)
    refused("channel_axis=4", x, y, channel_axis=4)
    refused("channel_axis=-4", x, y, channel_axis=-4)
    refused(r"clips has the shape \(3,\); it names a clip for each of the 12 rows", x, y, clips=[1, 2, 3])
    refused("leave y, clips and channel_axis out", Moments(6, 6), clips=[1])
    refused("x is list with rows of different lengths", [[1.0, 2.0], [1.0]], y)
    refused("x is ndarray and holds <U1, no numbers", np.array([["a"]]), y)
    refused("x is ndarray and holds complex128", x + 1j, y)
    refused("y holds complex numbers", x, torch.from_numpy(y + 1j))
    with pytest.raises(UserError, match="forced='maybe': possible are refuse and allow"):
        svcca(x, y, forced="maybe")  # type: ignore[arg-type]
