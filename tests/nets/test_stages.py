"""The staged view: costs, cutting, and stages held in inference mode."""

import copy
import pickle

import pytest
import torch

from tla.errors import UserError
from tla.nets.backbones import NAMES, build
from tla.nets.cutting import cut
from tla.nets.stages import HEAD, describe, norm_tensors, seeded
from tla.options import STAGES


def test_densenet201_costs_what_is_published() -> None:
    """torchvision: 20,013,928 parameters with 1000 classes and 4.29 G multiply-adds at 224 x 224."""
    rows = describe(build("densenet201", 1000, seed=0), (3, 224, 224))
    assert sum(row.parameters for row in rows[:-1]) == 18_092_928
    assert sum(row.parameters for row in rows) == 20_013_928
    assert sum(row.multiply_adds for row in rows) == 4_291_365_888
    assert [row.shape for row in rows] == [
        (64, 56, 56),
        (128, 28, 28),
        (256, 14, 14),
        (896, 7, 7),
        (1920, 7, 7),
        (1000,),
    ]


def test_describing_leaves_the_network_as_it_is() -> None:
    net = build("densenet_tiny", 3, seed=0)
    before = copy.deepcopy(net.net.state_dict())
    rows = describe(net, (3, 128, 250))
    assert [row.stage for row in rows] == [*STAGES, HEAD]
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.net.state_dict().items())
    x = torch.zeros(1, 3, 128, 250)
    assert [row.shape for row in rows[:-1]] == [tuple(net.eval().prefix(x, stage).shape[1:]) for stage in STAGES]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_pictures_of_all_data_sets_fit_every_backbone(name: str) -> None:
    net = build(name, 10, seed=0)
    for frames in (100, 250, 1500):
        assert describe(net, (3, 128, frames))[-1].shape == (10,)


@pytest.mark.parametrize(("name", "least"), [("inception_v3", 75), ("densenet_tiny", 29)])
def test_too_small_pictures_are_refused_with_the_least_size(name: str, least: int) -> None:
    net = build(name, 2, seed=0)
    with pytest.raises(UserError, match=f"{name} cannot take pictures of 20 x 250 .* at least {least} x {least}"):
        describe(net, (3, 20, 250))
    describe(net, (3, least, least))


@pytest.mark.parametrize(
    ("name", "upto"),
    [
        *(("densenet_tiny", stage) for stage in STAGES[:-1]),
        ("efficientnet_lite0", "block2"),
        ("timm:mobilenetv3_small_050", "block3"),
        ("timm:convnext_atto", "block1"),
    ],
)
def test_a_cut_network_is_the_beginning_of_the_whole(name: str, upto: str) -> None:
    whole, short = build(name, 6, seed=4).eval(), cut(build(name, 6, seed=4), upto, 6, seed=4).eval()  # type: ignore[arg-type]
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert short.stages == STAGES[: STAGES.index(upto) + 1]
    assert torch.equal(short.prefix(x, upto), whole.prefix(x, upto))  # type: ignore[arg-type]
    assert short(x).shape == (2, 6)
    later = {name for stage in STAGES[STAGES.index(upto) + 1 :] for name in whole.stage_tensors(stage)}
    assert not later & set(short.net.state_dict())
    assert set(short.stage_tensors(HEAD)) == {f"cut_head.norm.{t}" for t in _NORM} | {
        "cut_head.linear.weight",
        "cut_head.linear.bias",
    }
    assert sum(row.parameters for row in describe(short, (3, 64, 64))) == sum(p.numel() for p in short.parameters())
    short.train()(x).sum().backward()
    assert all(p.grad is not None for p in short.parameters())


_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def test_cut_at_the_end_is_the_whole_network() -> None:
    net = build("densenet_tiny", 6, seed=4)
    assert cut(net, "block4", 6, seed=4) is net


def test_a_cut_networks_head_is_batch_norm_relu_mean_linear() -> None:
    net = cut(build("densenet_tiny", 6, seed=4), "block2", 6, seed=4).eval()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features = net.prefix(x, "block2") / (1 + 1e-5) ** 0.5  # the fresh statistics are mean 0, variance 1
    expected = features.clamp(min=0).mean((2, 3)) @ net.net.cut_head.linear.weight.T + net.net.cut_head.linear.bias
    torch.testing.assert_close(net(x), expected)


def test_a_stage_that_was_cut_cannot_be_used() -> None:
    net = cut(build("densenet_tiny", 6, seed=4), "block2", 6, seed=4)
    with pytest.raises(UserError, match="no stage 'block3' here; possible are none, stem, block1, block2"):
        net(torch.zeros(1, 3, 64, 64), after="block3")


@pytest.mark.parametrize("name", ["densenet_tiny", "timm:mobilenetv3_small_050", "inception_v3"])
def test_frozen_stages_stay_in_inference_mode(name: str) -> None:
    net = build(name, 6, seed=0)
    for upto in ("block2", "block4", "none"):
        net.freeze(upto, inference=True)  # type: ignore[arg-type]
        for _ in range(2):
            net.eval()
            assert not any(m.training for m in net.modules())
            net.train()
            held = {m for stage in net.upto(upto) for m in net.stage_modules(stage)}  # type: ignore[arg-type]
            assert {m for m in net.net.modules() if not m.training} == held
            assert bool(held) == (upto != "none")
    if name == "inception_v3":
        net.freeze("block4", inference=True)
        assert net.net.dropout.training


def test_norm_tensors_are_those_of_norm_layers() -> None:
    assert norm_tensors(build("densenet_tiny", 2, seed=0)) == {
        name for name in build("densenet_tiny", 2, seed=0).net.state_dict() if "norm" in name
    }
    convnext = build("timm:convnext_atto", 2, seed=0)
    assert {"stem.1.weight", "stages.0.blocks.0.norm.bias", "head.norm.weight"} <= norm_tensors(convnext)
    assert not any("conv_dw" in name or "fc" in name for name in norm_tensors(convnext))


def test_seeded_streams_differ_by_purpose_and_leave_the_global_one() -> None:
    state = torch.get_rng_state()
    draws = []
    for seed, purpose in ((0, ""), (0, "a"), (0, "b"), (1, "a"), (0, "a")):
        with seeded(seed, purpose):
            draws.append(torch.rand(1).item())
    assert len(set(draws)) == 4
    assert draws[1] == draws[4]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_staged_network_can_be_copied_and_sent() -> None:
    net = cut(build("densenet_tiny", 3, seed=0), "block1", 3, seed=0).eval()
    x = torch.zeros(1, 3, 64, 64)
    assert torch.equal(copy.deepcopy(net)(x), net(x))
    assert torch.equal(pickle.loads(pickle.dumps(net))(x), net(x))
