"""The copy that gradients with respect to pictures are taken through says what the network says, and keeps less."""

import gc

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tla.attribution import gradient_copy
from tla.nets.backbones import build
from tla.nets.stages import StagedNet


@pytest.fixture
def net() -> StagedNet:
    """A small network whose norms have learned something."""
    net, generator = build("densenet_tiny", 4, seed=0), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.rand(parameter.shape, generator=generator))
        net.train()(torch.randn(8, 3, 32, 40, generator=generator))
    return net.eval()


def gradient(net: StagedNet, pictures: Tensor) -> Tensor:
    pictures = pictures.clone().requires_grad_()
    return torch.autograd.grad(net(pictures)[:, 1].sum(), pictures)[0]


def test_logits_and_gradients_are_the_networks(net: StagedNet) -> None:
    pictures = torch.randn(3, 3, 32, 40, generator=torch.Generator().manual_seed(2))
    copy = gradient_copy.copy_of(net)
    with gradient_copy.ConstantNorms():
        torch.testing.assert_close(copy(pictures), net(pictures), rtol=1e-5, atol=1e-5)
        slim = gradient(copy, pictures)
    torch.testing.assert_close(slim, gradient(net, pictures), rtol=1e-4, atol=1e-6)


def test_norms_keep_nothing_for_the_way_back(net: StagedNet) -> None:
    picture, copy = torch.randn(1, 3, 32, 40), gradient_copy.copy_of(net)
    before, largest = gradient_copy.kept(copy, picture, copy)
    with gradient_copy.ConstantNorms():
        after, _ = gradient_copy.kept(copy, picture, copy)
    assert picture.nbytes <= largest < after < 0.75 * before


def test_what_is_kept_is_counted_by_hand() -> None:
    conv, picture = torch.nn.Conv2d(3, 5, 1), torch.randn(1, 3, 4, 6)
    conv.requires_grad_(False)
    total, largest = gradient_copy.kept(lambda x: functional.relu(conv(x)), picture, conv)  # type: ignore[arg-type]
    assert (total, largest) == (4 * 4 * 6 * (3 + 5), 4 * 4 * 6 * 5)  # the convolution's input and the ReLU's output


def test_half_a_copy_holds_bf16_behind_the_stem(net: StagedNet) -> None:
    copy = gradient_copy.copy_of(net, half=True)
    types = {name: tensor.dtype for name, tensor in copy.net.state_dict().items()}
    assert types["features.conv0.weight"] == types["features.denseblock1.denselayer1.norm1.weight"] == torch.float32
    assert types["features.denseblock1.denselayer1.conv1.weight"] == types["classifier.weight"] == torch.bfloat16


def test_norms_of_a_batch_are_refused(net: StagedNet) -> None:
    with gradient_copy.ConstantNorms(), pytest.raises(ValueError, match="statistics of its batch"):
        net.train()(torch.randn(2, 3, 32, 40))


def test_counting_keeps_nothing_itself(net: StagedNet) -> None:
    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(each), Tensor) for each in gc.get_objects())

    picture, copy = torch.randn(1, 3, 32, 40), gradient_copy.copy_of(net)
    before = tensors()
    with gradient_copy.ConstantNorms():
        gradient_copy.kept(copy, picture, copy)
    assert tensors() == before
