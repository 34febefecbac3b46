"""The arithmetic of a network: what is computed in which type."""

import pytest
import torch
from torch import nn

from tla.nets import arithmetic
from tla.nets.arithmetic import choose, computing

CPU = torch.device("cpu")


def dense_and_grouped() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1))


def outputs(net: nn.Sequential, precision: arithmetic.Arithmetic) -> list[torch.Tensor]:
    x, found = torch.linspace(-1, 1, 3 * 9 * 9).reshape(1, 3, 9, 9), []
    with computing(CPU, precision):
        for layer in net:
            x = layer(x)
            found.append(x)
    return found


def test_mixed_computes_grouped_convolutions_in_float32_and_hands_on_bf16() -> None:
    net = dense_and_grouped()
    plain, mixed = outputs(net, "bf16"), outputs(net, "mixed")
    assert all(output.dtype == torch.bfloat16 for output in plain + mixed)
    assert torch.equal(plain[0], mixed[0])
    exact = net[1](mixed[0].float())  # float32 products of what came in, rounded once
    assert torch.equal(mixed[1], exact.to(torch.bfloat16))


def test_gradients_of_mixed_follow_its_forward_pass() -> None:
    net, gradients = dense_and_grouped(), {}
    for precision in ("fp32", "bf16", "mixed"):
        net.zero_grad()
        outputs(net, precision)[-1].float().square().sum().backward()  # type: ignore[arg-type]
        gradients[precision] = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
    far = {name: float((g - gradients["fp32"]).norm() / gradients["fp32"].norm()) for name, g in gradients.items()}
    assert 0 < far["mixed"] < 0.02
    assert far["mixed"] <= far["bf16"]


def test_fp32_is_untouched() -> None:
    net = dense_and_grouped()
    assert torch.equal(outputs(net, "fp32")[-1], net(torch.linspace(-1, 1, 3 * 9 * 9).reshape(1, 3, 9, 9)))


@pytest.mark.parametrize(("has", "grouped", "found"), [(True, True, "mixed"), (True, False, "bf16"), (False, True, "fp32")])
def test_auto_goes_by_the_processor_and_the_network(
    has: bool, grouped: bool, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arithmetic, "_has_bf16", lambda device: has)
    net = dense_and_grouped() if grouped else nn.Sequential(nn.Conv2d(3, 8, 3))
    assert choose("auto", CPU, net) == found
    assert choose("bf16", CPU, net) == "bf16"
    assert choose("mixed", CPU, net) == "mixed"
