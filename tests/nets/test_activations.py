"""Named stage outputs."""

import pytest
import torch
from torch import nn

from tla.errors import UserError
from tla.nets.activations import layers, outputs, stage_outputs, tapped
from tla.nets.backbones import build
from tla.nets.cutting import cut
from tla.nets.stages import HEAD
from tla.options import STAGES

SHAPE = (3, 64, 80)
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
    net = cut(build("densenet_tiny", 5, seed=0), "block1", 5, seed=0)
    assert list(stage_outputs(net, torch.zeros(2, 3, 64, 64))) == ["stem", "block1", HEAD]
    assert [layer.name for layer in layers(net, "stages", SHAPE)] == ["stem", "block1"]


def pictures() -> torch.Tensor:
    return torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", [*NAMES, "resnet50", "inception_v3"])
@torch.no_grad()
def test_stage_layers_are_the_stages(name: str) -> None:
    net, shape = build(name, 5, seed=0).eval(), (3, 128, 96)
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    wanted, expected = layers(net, "stages", shape), stage_outputs(net, x)
    kept = outputs(net, x, wanted)
    assert list(kept) == [layer.name for layer in wanted] == list(STAGES)
    for layer in wanted:
        assert torch.equal(kept[layer.name], expected[layer.name]), layer
        assert kept[layer.name].shape[1:] == (layer.channels, *layer.positions)


def test_all_is_every_dense_layer_convolution_and_transition() -> None:
    net = build("densenet_tiny", 5, seed=0)
    found = [layer.name for layer in layers(net, "all", SHAPE)]
    convolutions = [name for name, module in net.net.named_modules() if isinstance(module, nn.Conv2d)]
    inner = {name for name in convolutions if not name.endswith(".conv2")}  # a dense layer hands its conv2's output on
    dense = {name.removesuffix(".conv2") for name in convolutions if name.endswith(".conv2")}
    assert set(found) == inner | dense | {f"features.transition{i}" for i in (1, 2, 3)}
    assert len(dense) == 16
    assert found[:3] == ["features.conv0", "features.denseblock1.denselayer1.conv1", "features.denseblock1.denselayer1"]
    assert found.index("features.transition1.conv") + 1 == found.index("features.transition1")


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("resnet50", ["layer1.0", "layer4.2"]),
        ("inception_v3", ["Conv2d_1a_3x3", "Mixed_5b", "Mixed_7c"]),
        ("efficientnet_lite0", ["blocks.0.0", "blocks.6.0"]),
    ],
)
def test_all_holds_the_blocks_of_other_backbones(name: str, blocks: list[str]) -> None:
    net = build(name, 5, seed=0)
    found = [layer.name for layer in layers(net, "all", (3, 128, 128))]
    assert set(blocks) <= set(found)
    assert {path for path, module in net.net.named_modules() if isinstance(module, nn.Conv2d)} <= set(found)
    assert len(found) == len(set(found))
    assert not {"layer1", "blocks.1", "relu", "fc", "classifier"} & set(found)


@torch.no_grad()
def test_what_in_place_operations_overwrite_is_copied() -> None:
    net = build("densenet_tiny", 5, seed=0).eval()
    wanted = layers(net, "features.norm0,*.norm2", SHAPE)
    assert len(wanted) == 17
    before = outputs(net, pictures(), wanted)
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    after = outputs(net, pictures(), wanted)
    assert all((before[layer.name] < 0).any() for layer in wanted)
    assert all(torch.equal(before[layer.name], after[layer.name]) for layer in wanted)


@torch.no_grad()
def test_taps_take_each_layer_in_order_change_nothing_and_are_removed_even_after_an_error() -> None:
    net, seen = build("densenet_tiny", 5, seed=0).eval(), []
    wanted = layers(net, "all", SHAPE)
    expected = net(pictures())
    with tapped(net.net, wanted, lambda name, output: seen.append(name)):
        assert torch.equal(net(pictures()), expected)
    assert seen == [layer.name for layer in wanted]
    assert not any(module._forward_hooks for module in net.modules())

    def refuse(name: str, output: torch.Tensor) -> None:
        raise ValueError(name)

    with pytest.raises(ValueError, match="conv0"), tapped(net.net, wanted, refuse):
        net(pictures())
    assert not any(module._forward_hooks for module in net.modules())


def test_layers_are_named_by_patterns_and_know_their_stage() -> None:
    net = build("densenet_tiny", 5, seed=0)
    found = layers(net, "block3, features.transition?,features.pool0,classifier", SHAPE)
    assert [layer.name for layer in found] == [
        "features.pool0",
        "features.transition1",
        "features.transition2",
        *(layer.name for layer in layers(net, "block3,features.transition3", SHAPE)),
        "classifier",
    ]
    assert [layer.stage for layer in found] == ["stem", "block1", "block2", "block3", "block3", HEAD]
    assert found[-1].positions == ()
    with pytest.raises(UserError, match=r"no layer of densenet_tiny fits 'conv9'.*stem.*features\.conv0"):
        layers(net, "stem,conv9", SHAPE)
    with pytest.raises(UserError, match="names no layer"):
        layers(net, ",", SHAPE)
    with pytest.raises(UserError, match=r"fits 'layer1\.0\.relu'"):  # called three times: it has no one output
        layers(build("resnet50", 5, seed=0), "layer1.0.relu", SHAPE)
