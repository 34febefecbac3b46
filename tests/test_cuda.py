"""What runs on a GPU, without one: torch's fake tensors know their device, and refuse a CPU tensor among those of a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tla.attribution import gradient_copy
from tla.attribution.explainer import Explainer
from tla.attribution.targets import Target
from tla.nets import arithmetic
from tla.nets.activations import layers, tapped
from tla.nets.arithmetic import choose, computing
from tla.nets.backbones import build
from tla.runs.feed import network_input
from tla.similarity.stream import points
from tla.similarity.sums import Sums, neighbours

GPU = torch.device("cuda:0")
SHAPE = (3, 64, 80)
BACKBONES = ("densenet_tiny", "efficientnet_lite0")


@pytest.fixture(autouse=True)
def autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autocast would be off where there is no GPU."""
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))


@contextmanager
def on_fake_gpu() -> Iterator[None]:
    with FakeTensorMode(), GPU:
        yield


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "mixed"])
def test_a_prediction_stays_on_the_gpu(backbone: str, precision: arithmetic.Arithmetic) -> None:
    with on_fake_gpu(), torch.no_grad(), computing(GPU, precision):
        net = build(backbone, 5, seed=0).eval()
        standard = torch.zeros(3, 64, 1), torch.ones(3, 64, 1)
        logits = net(network_input(torch.empty(2, *SHAPE, dtype=torch.float16), standard))
    assert (logits.device, tuple(logits.shape)) == (GPU, (2, 5))
    assert logits.dtype == (torch.float32 if precision == "fp32" else torch.bfloat16)


def test_a_tensor_left_on_the_cpu_is_found() -> None:
    with on_fake_gpu(), torch.no_grad():
        net = build("densenet_tiny", 5, seed=0).eval()
        with pytest.raises(RuntimeError, match="device"):
            net(torch.empty(2, *SHAPE, device="cpu"))


def test_activations_are_folded_and_multiplied_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "nonzero", lambda self: ())  # what is asked of numbers, and fake tensors have none
    wanted = layers(build("densenet_tiny", 5, seed=0), "stages", SHAPE)
    with on_fake_gpu(), torch.no_grad():
        net = build("densenet_tiny", 5, seed=0).eval()
        found = {layer.name: Sums.over(layer.channels, layer.channels) for layer in wanted}

        def take(name: str, output: torch.Tensor) -> None:
            first = points(output, pool=False)
            found[name].add(first, first + 1, neighbours(len(first), clips=4))

        with tapped(net.net, wanted, take):
            net(torch.empty(4, *SHAPE))
    assert {sums.xy.s.device for sums in found.values()} == {GPU}
    assert {tuple(sums.null.s.shape) for sums in found.values()} == {(layer.channels,) * 2 for layer in wanted}


def test_what_is_explained_stays_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient_copy, "copy_of", lambda net, *_, **__: net)  # fake tensors are not copied
    with on_fake_gpu():
        explainer = Explainer(build("efficientnet_lite0", 5, seed=0).eval(), arithmetic="fp32")
        values = explainer.values(torch.empty(3, *SHAPE, requires_grad=True), Target(0, 1))
    assert explainer.device == GPU
    assert (values.device, values.dtype, tuple(values.shape)) == (GPU, torch.float32, (3,))
    assert values.requires_grad


@pytest.mark.parametrize(("capability", "found"), [((7, 0), "fp32"), ((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_bf16_is_not_emulated(capability: tuple[int, int], found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability if device == GPU else (0, 0))
    assert choose("auto", GPU, torch.nn.Conv2d(3, 8, 3)) == found


def test_float32_is_not_rounded_to_tf32() -> None:
    def allowed() -> tuple[bool, bool]:
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    before = allowed()
    with computing(GPU, "bf16"):
        assert allowed() == before
    with arithmetic.full_precision():
        assert allowed() == (False, False)
    assert allowed() == before
