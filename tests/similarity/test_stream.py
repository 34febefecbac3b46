"""One pass over clips: sums that are those of all activations at once, whatever the groups and batches."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tla.errors import UserError
from tla.nets.activations import layers, outputs
from tla.nets.backbones import build
from tla.nets.cutting import cut
from tla.runs.infer import LoadedNetwork
from tla.similarity import stream
from tla.similarity.methods import cka, svcca
from tla.similarity.stream import Spool, accumulate, batches, forward, grouped, of_run, points, shared_layers, spooled
from tla.similarity.sums import Sums, neighbours, projected

SHAPE = (3, 32, 40)
CPU = torch.device("cpu")


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).normal(-5, 3, (23, *SHAPE)).astype(np.float16)


@pytest.fixture
def networks(run) -> tuple[LoadedNetwork, LoadedNetwork]:
    """Two networks with other weights, one of which standardises its pictures."""
    run = replace(run, backbone="densenet_tiny")
    nets = [build("densenet_tiny", 5, seed=seed).eval().to(memory_format=torch.channels_last) for seed in (0, 1)]
    standard = (np.full((3, 32, 1), -5, dtype=np.float32), np.full((3, 32, 1), 3, dtype=np.float32))
    return LoadedNetwork(run, [], nets[0], CPU, None), LoadedNetwork(run, [], nets[1], CPU, standard)


@torch.no_grad()
def test_the_pass_gives_what_all_activations_at_once_give(
    networks: tuple[LoadedNetwork, LoadedNetwork], pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BATCH", 5)
    before, after = networks
    couples = shared_layers(before.net, after.net, "stages", SHAPE)
    groups = grouped([f"source {i // 2}" for i in range(23)])
    done = []
    with spooled() as spool:
        accumulate(of_run(before), of_run(after), couples, pictures, groups, spool, advance=done.append)
        assert len(list(spool.folder.iterdir())) == len(couples) * len(groups)
        totals = [spool.total(i) for i in range(len(couples))]
        folder = spool.folder
    assert not folder.exists()
    assert sum(done) == 23
    firsts = outputs(before.net, before.batch(pictures), [couple.before for couple in couples])
    seconds = outputs(after.net, after.batch(pictures), [couple.after for couple in couples])
    for couple, total in zip(couples, totals, strict=True):
        x, y = (points(side[couple.name], pool=False) for side in (firsts, seconds))
        assert total.paired.points == len(x) == 23 * np.prod(couple.after.positions)
        assert svcca(total.paired, forced="allow").score == pytest.approx(svcca(x, y, forced="allow").score, abs=1e-4)
        assert cka(total.paired, debiased=True).score == pytest.approx(cka(x, y, debiased=True).score, abs=1e-4)


def test_the_floor_pairs_every_clip_with_another_at_the_same_position() -> None:
    x, y = (torch.randn(4, 3, 2, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    sums = Sums.over(3, 3)
    sums.add(points(x, pool=False), points(y, pool=False), neighbours(40, 4))
    moved = cka(points(x, pool=False).double(), points(y.roll(1, 0), pool=False).double())
    assert cka(sums.permuted).score == pytest.approx(moved.score, rel=1e-5)
    assert sums.permuted.xx is sums.paired.xx
    assert cka(sums.permuted).score != pytest.approx(cka(sums.paired).score, rel=1e-2)


@pytest.fixture
def spool_and_sums(tmp_path: Path) -> tuple[Spool, list[Sums]]:
    """Sums of three groups: on disk, and the same in memory."""
    generator, spool, parts = torch.Generator().manual_seed(0), Spool(tmp_path), []
    for _ in range(3):
        x = torch.randn(40, 6, generator=generator) + 3
        parts.append(Sums.over(6, 4))
        parts[-1].add(x, x[:, :4] + torch.randn(40, 4, generator=generator), neighbours(40, 10))
        spool.put({"layer": Sums(*(cross.copy() for cross in parts[-1]))})
    return spool, parts


def test_sums_come_back_from_disk_as_they_went(spool_and_sums: tuple[Spool, list[Sums]]) -> None:
    spool, parts = spool_and_sums
    for group, part in enumerate(parts):
        for mine, theirs in zip(part, spool.part(0, group), strict=True):
            assert all(np.array_equal(value, theirs.tensors()[name]) for name, value in mine.tensors().items())


def test_a_group_taken_out_is_as_if_it_had_never_been_there(spool_and_sums: tuple[Spool, list[Sums]]) -> None:
    spool, parts = spool_and_sums
    total, wanted = spool.total(0), parts[0].joined(parts[2])
    for side in ("paired", "permuted"):
        rest = getattr(spool.without(0, 1, total), side)
        assert svcca(rest).score == pytest.approx(svcca(getattr(wanted, side)).score, abs=1e-10)
        assert cka(rest, debiased=True).score == pytest.approx(cka(getattr(wanted, side), debiased=True).score, abs=1e-10)
    assert total.xx.points == 120  # not used up


def test_projected_sums_are_those_of_projected_activations(spool_and_sums: tuple[Spool, list[Sums]]) -> None:
    spool, (part, *_) = spool_and_sums
    u, w = torch.linalg.qr(torch.randn(6, 3, dtype=torch.float64)).Q, torch.linalg.qr(torch.randn(4, 2, dtype=torch.float64)).Q
    ours = spool.part(0, 0, partial(projected, u=u, w=w))
    for mine, whole, (left, right) in zip(ours, part, ((u, u), (w, w), (u, w), (u, w)), strict=True):
        torch.testing.assert_close(mine.s, left.T @ whole.s @ right)
    for mine, theirs in zip(ours, part.project(u, w), strict=True):
        torch.testing.assert_close(mine.s, theirs.s)


def test_no_clip_is_alone_in_a_batch() -> None:
    rng = np.random.default_rng(0)
    for count in range(2, 70):
        cuts = batches(np.arange(count), rng)
        assert sorted(np.concatenate(cuts)) == list(range(count))
        assert 2 <= min(map(len, cuts)) <= max(map(len, cuts)) <= stream.BATCH


@torch.no_grad()
def test_outputs_are_in_the_runs_precision_and_sums_are_not(
    networks: tuple[LoadedNetwork, LoadedNetwork], pictures: np.ndarray
) -> None:
    before, after = (replace(network, run=replace(network.run, precision="bf16")) for network in networks)
    couples = shared_layers(before.net, after.net, "stages", SHAPE)
    seen: dict[str, tuple[torch.dtype, torch.dtype]] = {}

    def take(name: str, x: torch.Tensor, y: torch.Tensor) -> None:
        seen[name] = (x.dtype, (torch.ones(2, 2) @ torch.ones(2, 2)).dtype)

    forward(of_run(before), of_run(after), couples, pictures[:2], take)
    assert seen["stem"] == (torch.bfloat16, torch.float32)
    assert list(seen) == [couple.name for couple in couples]


def nets() -> Iterator[tuple]:
    tiny = build("densenet_tiny", 5, seed=0)
    yield tiny, cut(build("densenet_tiny", 5, seed=0), "block2", 5, seed=0), "stages", ["stem", "block1", "block2"]
    yield tiny, build("resnet50", 5, seed=0), "stem", ["stem"]


def test_layers_in_common() -> None:
    for before, after, which, expected in nets():
        assert [couple.name for couple in shared_layers(before, after, which, (3, 128, 256))] == expected
    tiny, other = build("densenet_tiny", 5, seed=0), build("efficientnet_lite0", 5, seed=0)
    assert layers(other, "blocks.0.0", (3, 128, 256))
    with pytest.raises(UserError, match=r"stem has 32 x 64 and 64 x 128 positions.*--map"):
        shared_layers(tiny, other, "stages", (3, 128, 256))


def test_averaged_positions_leave_a_point_per_clip() -> None:
    x = torch.arange(24.0).reshape(2, 3, 2, 2)
    assert torch.equal(points(x, pool=True), x.mean((2, 3)))
    assert points(x, pool=False).shape == (8, 3)
    assert torch.equal(points(x[:, :, 0, 0], pool=True), x[:, :, 0, 0])
