"""A staged network in a training loop of one's own: what is frozen stays frozen, whatever the loop does."""

import copy
import doctest
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision import models

import tla.nets
from tla.errors import UserError
from tla.nets import STAGES, StagedNet, Transfer, stage_outputs, staged, transfer
from tla.nets.stages import HEAD

TINY = "densenet_tiny"
SHAPE = (3, 64, 64)


def state(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def different(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


def train(net: nn.Module, *, keep_gradients: bool = False) -> None:
    """A plain loop that knows nothing of stages: ten steps in five epochs, all parameters given to the optimizer."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        net.train()
        for _ in range(2):
            x, labels = torch.randn(4, *SHAPE, generator=generator), torch.tensor([0, 1, 2, 3])
            optimizer.zero_grad(set_to_none=not keep_gradients)
            nn.functional.cross_entropy(net(x), labels).backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            net(x)


def frozen_names(net: StagedNet, upto: str) -> set[str]:
    return {name for stage in net.upto(upto) for name in net.stage_tensors(stage)}  # type: ignore[arg-type]


def statistics(names: set[str]) -> set[str]:
    return {name for name in names if name.endswith(("running_mean", "running_var", "num_batches_tracked"))}


@pytest.mark.parametrize("name", [TINY, "efficientnet_lite0", "timm:convnext_atto"])
@pytest.mark.parametrize("keep_gradients", [False, True])
def test_ten_steps_of_a_plain_loop_leave_every_frozen_tensor_bit_identical(name: str, keep_gradients: bool) -> None:
    net = staged(name, 4, weights="random", transfer=Transfer(frozen_upto="block2"), seed=3)
    before, frozen = state(net.net), frozen_names(net, "block2")
    assert {n for n, p in net.net.named_parameters() if not p.requires_grad} == frozen & dict(net.net.named_parameters()).keys()
    train(net, keep_gradients=keep_gradients)
    moved = different(before, state(net.net))
    assert not moved & frozen
    assert moved == before.keys() - frozen
    assert all(p.grad is None for n, p in net.net.named_parameters() if n in frozen)


def test_live_norms_move_their_statistics_and_nothing_else() -> None:
    net = staged(TINY, 4, weights="random", transfer=Transfer(frozen_upto="block2", frozen_norm="live"))
    before, frozen = state(net.net), frozen_names(net, "block2")
    train(net)
    assert different(before, state(net.net)) & frozen == statistics(frozen) != set()


def test_frozen_inside_another_module_and_after_a_copy_and_a_move() -> None:
    net = staged(TINY, 4, weights="random", transfer=Transfer(frozen_upto="block3"))
    twin = copy.deepcopy(net).to(torch.float64).to(torch.float32).to(memory_format=torch.channels_last)
    before, frozen = state(twin.net), frozen_names(twin, "block3")
    train(nn.Sequential(nn.BatchNorm2d(3), twin))
    assert different(before, state(twin.net)) == before.keys() - frozen
    assert not different(before, state(net.net)), "the copy's training reaches the original"


def test_what_is_frozen_can_be_changed() -> None:
    net = staged(TINY, 4, weights="random", transfer=Transfer(frozen_upto="block4"))

    def free() -> list[str]:
        return [stage for stage in (*STAGES, HEAD) if all(p.requires_grad for p in net.stage_parameters(stage))]

    assert free() == [HEAD]
    net.freeze("block1")
    assert free() == ["block2", "block3", "block4", HEAD]
    before, frozen = state(net.net), frozen_names(net, "block1")
    train(net)
    assert different(before, state(net.net)) == before.keys() - frozen
    net.freeze("none")
    assert free() == [*STAGES, HEAD]
    train(net)
    assert different(before, state(net.net)) == before.keys()


def test_a_parameter_that_the_original_never_trains_stays_so() -> None:
    net = staged(TINY, 4, weights="random")
    net.net.features.conv0.weight.requires_grad_(False)
    again = StagedNet(TINY, net.net, net.layout)
    again.freeze("block1")
    again.freeze("none")
    assert [n for n, p in again.net.named_parameters() if not p.requires_grad] == ["features.conv0.weight"]


def test_the_state_is_the_plain_networks(tmp_path: Path) -> None:
    net = staged("resnet50", 10, weights="random", transfer=Transfer(frozen_upto="stem"), seed=1).eval()
    buffer = io.BytesIO()
    torch.save(net.net.state_dict(), buffer)
    plain = models.resnet50(num_classes=10)
    buffer.seek(0)
    plain.load_state_dict(torch.load(buffer, weights_only=True))
    x = torch.randn(2, *SHAPE)
    with torch.no_grad():
        assert torch.equal(plain.eval()(x), net(x))


def test_pretrained_stages_come_from_a_file_and_the_rest_from_the_seed(tmp_path: Path) -> None:
    donor, path = staged(TINY, 7, weights="random", seed=9), tmp_path / "donor.safetensors"
    save_file(donor.net.state_dict(), path)
    plan = Transfer(pretrained_upto="block2")
    net, same, other = (staged(TINY, 4, weights=path, transfer=plan, seed=seed) for seed in (0, 0, 1))
    tensors, early = load_file(path), frozen_names(net, "block2")
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in net.net.state_dict().items() if name in early)
    assert not different(state(net.net), state(same.net))
    apart = different(state(net.net), state(other.net))
    assert apart
    assert not apart & early


def test_imagenet_is_the_default_and_comes_with_a_package() -> None:
    net, random = staged("efficientnet_lite0", 4), staged("efficientnet_lite0", 4, weights="random")
    assert {net.stage_of(name) for name in different(state(net.net), state(random.net))} == set(STAGES)


def test_outputs_of_the_stages() -> None:
    net = staged(TINY, 4, weights="random", transfer=Transfer(kept_upto="block2")).eval()
    x = torch.randn(2, *SHAPE)
    found = stage_outputs(net, x)
    assert {stage: tuple(output.shape) for stage, output in found.items()} == {
        "stem": (2, 16, 16, 16), "block1": (2, 16, 8, 8), "block2": (2, 24, 4, 4), HEAD: (2, 4)}  # fmt: skip
    assert torch.equal(found[HEAD], net(x))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"backbone": "resnet51"}, "there is no backbone 'resnet51'"),
        ({"classes": 0}, "0 classes; a network has one at least"),
        ({"weights": "imagnet"}, "the weights are 'imagnet'; they can be imagenet, random, hf_hub:NAME or a file"),
        ({"weights": "imagenet"}, "densenet_tiny has no ImageNet weights"),
        ({"transfer": Transfer(frozen_upto="block9")}, "frozen_upto is 'block9'; it can be none, stem, block1"),  # type: ignore
        ({"transfer": Transfer(frozen_norm="off")}, "frozen_norm is 'off'; it can be inference, live"),  # type: ignore
        ({"transfer": Transfer(frozen_upto="block3", kept_upto="block2")}, "frozen up to block3, but kept only up to block2"),
    ],
)
def test_mistakes_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        staged(**{"backbone": TINY, "classes": 4, "weights": "random", **wrong})


def test_the_example_is_right_and_importing_the_room_is_light() -> None:
    assert doctest.testmod(transfer).attempted >= 3
    assert not doctest.testmod(transfer).failed
    light = "import sys, tla.nets; assert 'torch' not in sys.modules; print(*tla.nets.__all__)"
    done = subprocess.run([sys.executable, "-c", light], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(tla.nets.__all__) == dir(tla.nets)
