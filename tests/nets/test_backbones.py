"""Backbones by name: equal to the originals, made from the seed alone, cut at the right places."""

import copy

import pytest
import torch
from torch import Tensor

from tla.errors import UserError
from tla.nets.backbones import NAMES, build
from tla.nets.stages import HEAD, StagedNet, describe, seeded
from tla.options import STAGES

TIMM = ("timm:resnet10t", "timm:convnext_atto", "timm:mobilenetv3_small_050", "timm:resnetv2_18")
EVERY = (*NAMES, *TIMM)
SMALL = ("densenet_tiny", "efficientnet_lite0", *TIMM)


def pictures(clips: int = 1, seed: int = 0, size: tuple[int, int] = (80, 96)) -> Tensor:
    return torch.randn(clips, 3, *size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=EVERY)
def net(request: pytest.FixtureRequest) -> StagedNet:
    """Each backbone, made once; tests leave it as it is."""
    return build(request.param, 7, seed=3)


@torch.no_grad()
def test_staged_logits_are_those_of_the_original(net: StagedNet) -> None:
    net.eval()
    x = pictures()
    assert torch.equal(net(x), net.net(x))
    assert net(x).shape == (1, 7)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net(x), net.net(x))


@torch.no_grad()
def test_channels_last_changes_nothing_but_rounding(net: StagedNet) -> None:
    turned = copy.deepcopy(net).eval().to(memory_format=torch.channels_last)
    x = pictures().contiguous(memory_format=torch.channels_last)
    assert torch.equal(turned(x), turned.net(x))
    torch.testing.assert_close(turned(x), net.eval()(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("bf16", [False, True])
def test_training_step_is_that_of_the_original(name: str, bf16: bool) -> None:
    staged, twin = build(name, 7, seed=3), build(name, 7, seed=3)
    x = pictures(3, size=(64, 64))
    for function, parameters in ((staged, staged), (twin.net, twin)):
        with seeded(0), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            function(x).float().square().mean().backward()
        assert all(p.grad is not None for p in parameters.parameters())
    for (key, one), other in zip(staged.net.named_parameters(), twin.net.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), key
    for (key, one), other in zip(staged.net.named_buffers(), twin.net.buffers(), strict=True):
        assert torch.equal(one, other), key


@torch.no_grad()
def test_any_stage_can_be_started_behind(net: StagedNet) -> None:
    net.eval()
    x = pictures()
    logits = net(x)
    for stage in ("none", *STAGES):
        middle = net.prefix(x, stage)
        before = middle.clone()
        assert torch.equal(net(middle, after=stage), logits), stage
        assert torch.equal(middle, before), f"what follows {stage} overwrites its input"
    assert net.prefix(x, "none") is x


def test_every_tensor_belongs_to_one_stage_or_the_head(net: StagedNet) -> None:
    parts = [net.stage_tensors(stage) for stage in (*STAGES, HEAD)]
    assert sorted(name for part in parts for name in part) == sorted(net.net.state_dict())
    assert all(parts)
    assert sum(len(net.stage_parameters(stage)) for stage in (*STAGES, HEAD)) == len(list(net.parameters()))
    modules = [module for stage in (*STAGES, HEAD) for module in net.stage_modules(stage)]
    assert len(modules) == len(set(modules))
    with_tensors = {m for m in net.net.modules() if [*m.parameters(recurse=False), *m.buffers(recurse=False)]}
    assert with_tensors <= set(modules)
    for stage in (*STAGES, HEAD):
        held = {id(p) for module in net.stage_modules(stage) for p in module.parameters(recurse=False)}
        assert held == set(map(id, net.stage_parameters(stage)))


def test_stages_lie_at_their_strides(net: StagedNet) -> None:
    heights = [row.shape[1] for row in describe(net, (3, 256, 256)) if row.stage in STAGES[1:]]
    stem = describe(net, (3, 256, 256))[0].shape[1]
    assert stem >= 60
    if "inception" in net.name:  # its convolutions are without padding
        assert heights == [60, 29, 14, 6]
    elif "densenet" in net.name:  # a transition is counted to the block before it
        assert heights == [32, 16, 8, 8]
    else:
        assert heights == [64, 32, 16, 8]


def test_random_weights_come_from_the_seed_alone() -> None:
    for name in SMALL:
        state = torch.get_rng_state()
        first, again, other = (build(name, 5, seed=seed).net.state_dict() for seed in (1, 1, 2))
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(first[key], again[key]) for key in first)
        assert any(not torch.equal(first[key], other[key]) for key in first)
        torch.rand(1)


def test_cuda_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[object] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda *what: touched.append(what))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *what: touched.append(what))
    build("densenet_tiny", 2, seed=0)
    assert touched == []


def test_batch_norm_momentum_is_the_same_everywhere(net: StagedNet) -> None:
    norms = [m for m in net.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert {norm.momentum for norm in norms} <= {0.1}
    assert norms or "convnext" in net.name


def test_another_momentum_of_the_original_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    original = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **options: original(name, bn_momentum=0.01, **options))
    norms = [m for m in build("efficientnet_lite0", 2, seed=0).modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert {norm.momentum for norm in norms} == {0.1}


def test_building_leaves_no_hooks_and_training_mode(net: StagedNet) -> None:
    fresh = build("timm:resnet10t", 2, seed=0)
    assert fresh.training
    assert all(module.training for module in fresh.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_inception_sees_the_picture_as_it_is() -> None:
    net = build("inception_v3", 4, seed=0).net
    assert net.transform_input is False
    assert net.AuxLogits is None


def test_tiny_is_tiny() -> None:
    assert sum(p.numel() for p in build("densenet_tiny", 10, seed=0).parameters()) == 66_330


@pytest.mark.parametrize("classes", [1, 50])
def test_head_has_the_classes(classes: int) -> None:
    for name in SMALL:
        assert describe(build(name, classes, seed=0), (3, 128, 100))[-1].shape == (classes,)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet500", r"no backbone 'resnet500' \(did you mean resnet50 .*densenet201, resnet50.*timm:NAME"),
        ("resnet18", r"no backbone 'resnet18' \(did you mean timm:resnet18\?\)"),
        ("", "there are densenet201"),
        ("timm:resnet1888", r"timm knows no network 'resnet1888' \(did you mean timm:resnet"),
        ("timm:", "timm knows no network ''"),
        ("timm:resnet18.nonsense", "timm cannot make 'resnet18.nonsense'"),
        ("timm:hrnet_w18_small", "as a chain of modules, stem is not a module of its main road; otherwise, "),
        ("timm:tnt_s_legacy_patch16_224", "more than one tensor of one row per clip leads out of its stem"),
        ("timm:efficientformer_l1", "takes no pictures of 128 x 250 .* nor a little larger ones"),
    ],
)
def test_what_is_no_backbone_is_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(name, 10, seed=0)


def test_a_network_with_more_than_its_modules_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from timm.models.resnet import ResNet

    original = ResNet.forward_features
    monkeypatch.setattr(ResNet, "forward_features", lambda self, x: original(self, x) + x.mean())
    more = "it computes more than its modules one after the other"
    with pytest.raises(UserError, match=f"as a chain of modules, {more}; otherwise, {more}"):
        build("timm:resnet10t", 10, seed=0, shape=(3, 64, 72))  # a shape for which it was not cut yet
