"""Named stage outputs."""

import pytest
import torch
from torch import nn

from tla.nets.backbones import build
from tla.nets.stages import HEAD
from tla.nets.taps import stage_outputs
from tla.options import STAGES

NAMES = ("densenet_tiny", "efficientnet_lite0", "timm:resnet10t", "timm:nf_resnet26")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("last", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_outputs_are_those_of_the_prefixes(name: str, last: torch.memory_format) -> None:
    net = build(name, 5, seed=0).eval().to(memory_format=last)
    x = torch.randn(2, 3, 64, 80, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=last)
    before = x.clone()
    outputs = stage_outputs(net, x)
    assert list(outputs) == [*STAGES, HEAD]
    for stage in STAGES:
        assert torch.equal(outputs[stage], net.prefix(x, stage)), stage  # type: ignore[arg-type]
    assert torch.equal(outputs[HEAD], net.net(x))
    assert torch.equal(x, before)
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in net.modules())


@torch.no_grad()
def test_norm5_is_handed_out_before_the_relu() -> None:
    net = build("densenet_tiny", 5, seed=0).train()
    x = torch.randn(2, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    outputs = stage_outputs(net, x)
    assert (outputs["block4"] < 0).any()
    original = net.net.features(x)
    torch.testing.assert_close(outputs["block4"], original)


@torch.no_grad()
def test_in_place_operations_of_a_later_stage_do_not_reach_an_output() -> None:
    net = build("densenet_tiny", 5, seed=0).eval()
    for block in ("denseblock2", "denseblock3"):  # a stage that begins in place, as pre-activation networks may
        net.net.features.add_module(block, nn.Sequential(nn.ReLU(inplace=True), net.net.features.get_submodule(block)))
        net.net.features.get_submodule("denseblock1").denselayer1.conv1.weight.neg_()
    x = torch.randn(2, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    outputs = stage_outputs(net, x)
    for stage in STAGES:
        assert torch.equal(outputs[stage], net.prefix(x, stage)), stage  # type: ignore[arg-type]
    assert (outputs["block1"] < 0).any()


def test_gradients_reach_every_stage() -> None:
    net = build("densenet_tiny", 5, seed=0)
    outputs = stage_outputs(net, torch.randn(2, 3, 64, 80))
    grads = torch.autograd.grad(outputs[HEAD].sum(), [outputs[stage] for stage in STAGES])
    assert all(grad.abs().sum() > 0 for grad in grads)


def test_a_cut_network_has_fewer_outputs() -> None:
    from tla.nets.stages import cut

    net = cut(build("densenet_tiny", 5, seed=0), "block1", 5, seed=0)
    assert list(stage_outputs(net, torch.zeros(2, 3, 64, 64))) == ["stem", "block1", HEAD]
