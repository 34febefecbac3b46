"""Integrated Gradients of any module: closed forms, captum's numbers, completeness; what cannot be explained is refused."""

import copy
import doctest
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn
from torch.nn import functional

import tla.attribution
from tla.attribution import SILENT, Target, gradients, integrated_gradients
from tla.attribution import explainer as explainers
from tla.attribution.gradient_copy import first
from tla.errors import UserError
from tla.nets import staged


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Of(nn.Module):
    """A function as a module."""

    def __init__(self, f: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Any:
        return self.f(x)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """A module with random weights whose batch norms have learned something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def wave_net() -> nn.Module:
    """A 1-D network on waveforms (clips, 1, samples)."""
    return nn.Sequential(
        nn.Conv1d(1, 8, 9, 4), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Conv1d(8, 8, 9, 4), nn.Tanh(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip


def picture_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 8, 3, 2, groups=4), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(8), nn.Linear(8, 5),
    )  # fmt: skip


class Recurrent(nn.Module):
    """Frames (clips, frames, bands) to logits and states."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(6, 8, batch_first=True), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        frames, states = self.gru(x)
        return self.head(frames.mean(1)), states


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "waveform": (wave_net, (1, 400)),
    "picture": (picture_net, (3, 20, 30)),
    "recurrent, a tuple": (Recurrent, (12, 6)),
    "vector": (lambda: nn.Sequential(nn.Linear(7, 16), nn.BatchNorm1d(16), nn.Softplus(), nn.Linear(16, 5)), (7,)),
    "transformer": (
        lambda: nn.Sequential(nn.TransformerEncoderLayer(6, 2, 16, batch_first=True), nn.Flatten(), nn.Linear(72, 5)),
        (12, 6),
    ),
}


@pytest.fixture(params=MODULES)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    """A module, and three inputs for it."""
    make, shape = MODULES[request.param]
    module, x = seeded(make), noise(3, *shape)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        module.train()(noise(32, *shape, seed=7))
    return module, x


# Closed forms


@pytest.mark.parametrize("shape", [(6,), (1, 6), (2, 1, 3)])
def test_of_a_linear_module_it_is_weight_times_difference(shape: tuple[int, ...]) -> None:
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(6, 4)), noise(2, *shape)
    weight = net[1].weight.detach().numpy().reshape(4, *shape)
    for one, found in zip(x, integrated_gradients(net, x, 2, baseline=0.5), strict=True):
        np.testing.assert_allclose(found.map, weight[2] * (one.numpy() - 0.5), rtol=1e-4, atol=1e-6)
        assert found.value == pytest.approx(float(net(one[None])[0, 2].detach()), rel=1e-5)
        assert found.baseline_value == pytest.approx(float(net(torch.full((1, *shape), 0.5))[0, 2].detach()), rel=1e-5)
        assert found.error < 1e-4
        assert (found.arithmetic, found.target, found.map.dtype) == ("fp32", Target(2), np.float32)


def test_of_a_quadratic_form_it_is_exact_in_two_steps() -> None:
    a = noise(5, 5, seed=1)
    x, b = noise(2, 5), noise(5, seed=2)
    form = Of(lambda x: torch.einsum("ni,ij,nj->n", x, a, x))
    for one, found in zip(x, integrated_gradients(form, x, lambda outputs: outputs, baseline=b, steps=2), strict=True):
        expected = (one - b) * ((a + a.T) @ ((one + b) / 2))
        np.testing.assert_allclose(found.map, expected, rtol=1e-3, atol=1e-5)
        assert found.map.sum() == pytest.approx(float(one @ a @ one - b @ a @ b), rel=1e-4)


def test_a_module_in_double_precision_stays_in_it_and_one_in_half_is_explained_in_single() -> None:
    net, x = nn.Sequential(nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 3)), noise(1, 7)
    (double,) = integrated_gradients(copy.deepcopy(net).double(), x, 1, tolerance=1e-8)  # captum's weights are single
    assert (double.arithmetic, double.error <= 1e-8) == ("fp64", True)
    half = copy.deepcopy(net).bfloat16()
    (found,) = integrated_gradients(half, x.bfloat16(), 1, tolerance=1e-4)
    (same,) = integrated_gradients(half.float(), x.bfloat16().float(), 1, tolerance=1e-4)
    np.testing.assert_array_equal(found.map, same.map)
    assert found.arithmetic == "fp32"


# Real modules


def test_the_map_sums_to_what_it_should(case: tuple[nn.Module, Tensor]) -> None:
    module, x = case
    near = x[0] + 0.5 * noise(*x.shape[1:], seed=6)
    with torch.no_grad():
        logits, start = (first(copy.deepcopy(module).eval()(each)) for each in (x, near[None]))
    for i, found in enumerate(integrated_gradients(module, x, Target(1, 3), baseline=near, tolerance=0.005)):
        moved = float((logits[i, 1] - logits[i, 3]) - (start[0, 1] - start[0, 3]))
        assert abs(float(found.map.sum()) - moved) <= 0.0051 * abs(moved)
        assert found.map.shape == tuple(x.shape[1:])
        assert found.value == pytest.approx(float(logits[i, 1] - logits[i, 3]), abs=1e-5)


def test_it_is_captums_map_at_equal_steps(case: tuple[nn.Module, Tensor]) -> None:
    module, x = case
    wanted, start = torch.tensor([0, 4, 2]), noise(*x.shape[1:], seed=5)
    mine = np.stack([found.map for found in integrated_gradients(module, x, wanted, baseline=start, steps=20)])
    plain = copy.deepcopy(module).eval()
    theirs = IntegratedGradients(lambda x: first(plain(x))).attribute(x, start[None].expand_as(x), target=wanted, n_steps=20)
    assert np.linalg.norm(mine - theirs.detach().numpy()) < 1e-4 * np.linalg.norm(mine)


def test_a_staged_network_and_the_same_as_any_module_have_one_map() -> None:
    net, x = staged("densenet_tiny", 4, weights="random"), noise(2, 3, 32, 40)
    with torch.no_grad():
        net(noise(8, 3, 32, 40, seed=3))
    options: dict[str, Any] = {"baseline": noise(3, 32, 40, seed=2), "steps": 8}
    quick = integrated_gradients(net, x, 1, arithmetic="fp32", **options)
    plain = integrated_gradients(net.net, x, 1, **options)
    for one, other in zip(quick, plain, strict=True):
        assert np.linalg.norm(one.map - other.map) < 1e-4 * np.linalg.norm(other.map)
        assert one.value == pytest.approx(other.value, rel=1e-4)


def test_several_baselines_are_averaged(case: tuple[nn.Module, Tensor]) -> None:
    module, x = case
    starts = noise(3, *x.shape[1:], seed=4)
    (together,) = integrated_gradients(module, x[:1], 2, baseline=starts.numpy(), steps=6)
    alone = [integrated_gradients(module, x[:1], 2, baseline=start, steps=6)[0] for start in starts]
    np.testing.assert_allclose(together.map, np.mean([one.map for one in alone], axis=0), rtol=1e-3, atol=1e-6)
    assert together.baseline_value == pytest.approx(np.mean([one.baseline_value for one in alone]), rel=1e-4)


def test_baselines_may_be_a_number_or_broadcast() -> None:
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), nn.Tanh()), noise(1, 3, 4)
    number, array, rows = (
        integrated_gradients(net, x, 0, baseline=b, steps=8)[0].map for b in (SILENT, np.full((3, 4), SILENT), [[SILENT]] * 3)
    )
    np.testing.assert_array_equal(number, array)
    np.testing.assert_array_equal(number, rows)


def test_a_target_may_be_anything_that_is_one_number_per_input(case: tuple[nn.Module, Tensor]) -> None:
    module, x = case

    def maps(target: Any) -> list[np.ndarray]:
        return [found.map for found in integrated_gradients(module, x, target, steps=4)]

    first, last, contrast = maps(0), maps(4), maps(Target(0, 4))
    same = maps(lambda outputs: outputs[:, 0] - outputs[:, 4])
    mixed = maps([0, Target(0, 4), lambda outputs: outputs[:, 4]])
    assert all(np.array_equal(*pair) for pair in zip(contrast, same, strict=True))
    assert all(np.array_equal(*pair) for pair in zip(mixed, (first[0], contrast[1], last[2]), strict=True))
    assert all(np.array_equal(*pair) for pair in zip(maps(np.int64(4)), last, strict=True))
    framewise = Of(lambda x: x.flatten(1)[:, :6].reshape(-1, 2, 3))
    (found, *_) = integrated_gradients(framewise, x, lambda outputs: outputs[:, 1].sum(-1), steps=4)
    np.testing.assert_allclose(found.map.ravel()[:6], [0, 0, 0, *x[0].flatten()[3:6]], rtol=1e-4)


# Nothing is left behind, wherever it is called from


def test_the_module_stays_as_it_is(case: tuple[nn.Module, Tensor]) -> None:
    module, x = case
    module.train()
    next(module.modules()).register_forward_hook(lambda *_: None)
    next(iter(module.children())).eval()
    parameter, *_ = module.parameters()
    parameter.requires_grad_(False)
    parameter.grad = torch.ones_like(parameter)
    before, given, generator = copy.deepcopy(module), x.clone(), torch.get_rng_state()
    integrated_gradients(module, x, 0, steps=4)
    assert torch.equal(x, given)
    assert torch.equal(torch.get_rng_state(), generator)
    assert module.state_dict().keys() == before.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(module.state_dict().values(), before.state_dict().values(), strict=True))
    for mine, old in zip(module.parameters(), before.parameters(), strict=True):
        assert mine.requires_grad == old.requires_grad
        assert mine.grad is None or mine is parameter
    assert torch.equal(parameter.grad, torch.ones_like(parameter))
    for mine_module, old_module in zip(module.modules(), before.modules(), strict=True):
        assert mine_module.training == old_module.training
        assert vars(mine_module).keys() == vars(old_module).keys()
        for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
            assert len(getattr(mine_module, hooks)) == len(getattr(old_module, hooks))
    assert torch.backends.cudnn.enabled


def test_a_module_may_overwrite_what_it_is_given() -> None:
    net, x, start = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2)), noise(1, 4), noise(4, seed=1)
    given, began = x.clone(), start.clone()
    (found,) = integrated_gradients(net, x, 1, baseline=start, tolerance=0.02)
    difference = net(x.relu())[0, 1] - net(start.relu()[None])[0, 1]
    assert found.map.sum() == pytest.approx(float(difference.detach()), rel=0.021)
    assert torch.equal(x, given)
    assert torch.equal(start, began)


def test_the_mode_of_the_module_and_of_the_caller_do_not_matter(case: tuple[nn.Module, Tensor]) -> None:
    module, x = case
    expected = [found.map for found in integrated_gradients(module.eval(), x, 0, steps=4)]
    module.train()
    with torch.no_grad():
        quiet = integrated_gradients(module, x, 0, steps=4)
    with torch.inference_mode():
        inference = integrated_gradients(module, x + 0, 0, steps=4)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = integrated_gradients(module, x, 0, steps=4)
    for found in (quiet, inference, rounded):
        assert all(np.array_equal(one.map, other) for one, other in zip(found, expected, strict=True))


def test_recurrent_layers_are_computed_without_cudnn() -> None:
    """Which has no gradient for them in inference mode."""
    seen = []
    net = seeded(Recurrent)
    net.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.enabled))
    integrated_gradients(net, noise(1, 12, 6), 0, steps=2)
    assert set(seen) == {False}
    assert torch.backends.cudnn.enabled


# Steps, memory


def test_a_sum_that_does_not_come_right_is_said_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        explainers.Explainer.attribute, "__kwdefaults__", {**explainers.Explainer.attribute.__kwdefaults__, "cap": 64}
    )
    jumps = Of(lambda x: torch.relu(torch.sin(200 * x)).sum(1, keepdim=True))
    x = noise(2, 4)
    with pytest.warns(UserWarning, match=r"input \d: the attribution's sum is .* % off after 64 steps, not 0.0001 % as asked"):
        found = integrated_gradients(jumps, x, 0, tolerance=1e-6)
    assert all(one.error > 1e-6 and one.steps == 64 for one in found)
    integrated_gradients(jumps, x, 0, steps=3)  # as many as asked for: nothing to say


def test_memory_is_kept_to() -> None:
    net, x = wave_net(), noise(1, 1, 40_000)
    counts = []
    net.register_forward_hook(lambda _module, inputs, _outputs: counts.append(len(inputs[0])))
    for memory in (0.01, 1.0):
        counts.clear()
        integrated_gradients(net, x, 0, steps=40, memory=memory)
        assert max(counts) <= explainers.CHUNK
        assert (max(counts[3:]) == explainers.CHUNK) == (memory == 1.0)
    with pytest.raises(UserError, match=r"memory is 0.0001 GB, and Sequential needs 0.00\d+ GB for a single step"):
        integrated_gradients(net, x, 0, memory=1e-4)


# What cannot be explained


class Stateful(nn.Module):
    """Keeps its last outputs with their way back."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.last = self.linear(torch.ones(1, 4))


LINEAR = nn.Linear(4, 2)
X = noise(3, 4)
REFUSED: dict[str, tuple[nn.Module, Any, Any, dict[str, Any], str]] = {
    "a function": (LINEAR.forward, X, 0, {}, "is a method; give a torch module"),  # type: ignore[dict-item]
    "a list": (LINEAR, [X], 0, {}, "the inputs are a list; give a tensor or an array"),
    "no input": (LINEAR, X[:0], 0, {}, r"the inputs are \(0, 4\); give one at least"),
    "integers": (LINEAR, torch.ones(3, 4, dtype=torch.long), 0, {}, "the inputs are torch.int64; .* need floating-point"),
    "integers in numpy": (LINEAR, np.ones((3, 4), np.int16), 0, {}, "the inputs are int16; .* need floating-point"),
    "NaN": (LINEAR, torch.stack([X[0], X[1] * torch.nan]), 0, {}, "input 1 holds NaN or infinity"),
    "shape": (LINEAR, noise(3, 5), 0, {}, r"inputs are \(3, 5\), so one is \(5,\), and Linear cannot .*mat1 and mat2"),
    "class": (LINEAR, X, 2, {}, "there is no class 2: the module returns 2 of them, so give 0 to 1"),
    "negative class": (LINEAR, X, Target(0, -1), {}, "there is no class -1"),
    "a name": (LINEAR, X, "dog", {}, "the target is 'dog'; give a class's index, a Target"),
    "half a class": (LINEAR, X, 0.5, {}, "the target is 0.5; give a class's index"),
    "half classes": (LINEAR, X, torch.ones(3), {}, r"the target tensor\(1.\) is no class's index"),
    "too few targets": (LINEAR, X, [0, 1], {}, "there are 2 targets for 3 inputs; give one, or one for each"),
    "a target of all": (LINEAR, X, lambda outputs: outputs.sum(), {}, r"makes Tensor of outputs \(2, 2\); .* \(2,\)"),
    "a target per class": (LINEAR, X, lambda outputs: outputs, {}, r"makes \(2, 2\) of outputs \(2, 2\)"),
    "no classes": (Of(lambda x: x.sum(1)), X, 0, {}, r"the module returns \(2,\) for 2 inputs, not \(inputs, classes\)"),
    "one for all": (Of(lambda x: x.sum(0)), X, 0, {}, r"the module returns \(4,\) for 2 inputs; it has to return"),
    "a dictionary": (Of(lambda x: {"logits": x}), X, 0, {}, "the module returns a dict, not a tensor or a tuple"),
    "detached": (Of(lambda x: x.detach()), X, 0, {}, "is not differentiable with respect to its inputs"),
    "half detached": (Of(lambda x: x.detach().requires_grad_()), X, 0, {}, "is not differentiable with respect to its inputs"),
    "argmax": (Of(lambda x: x.argmax(1, keepdim=True).float()), X, 0, {}, "is not differentiable"),
    "numpy": (Of(lambda x: torch.from_numpy(x.numpy())), X, 0, {}, r"Of cannot be explained on that: Can't call numpy"),
    "NaN out": (Of(lambda x: x / 0 - x / 0), X, 0, {}, "input 0 cannot be explained: the target is nan for it, and nan at"),
    "a root": (Of(lambda x: x.abs().sqrt() * 0 + 1e30 * x * x), 1e20 * X, 0, {}, "the target is inf"),
    "no gradient": (Of(lambda x: (x - x.detach()).abs().sqrt() + x), X, 0, {}, "on the way from the baseline .* not finite"),
    "at random": (Of(lambda x: functional.dropout(x) @ torch.ones(99, 2)), noise(1, 99), 0, {}, "alone, and .* at random"),
    "its batch": (Of(lambda x: x - x.mean(0)), X, 0, {}, "or uses its batch, also in inference mode"),
    "norm of a batch": (
        nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False)), X, 0, {}, "batch norm uses the statistics of its batch"
    ),
    "not copied": (Stateful(), X, 0, {}, "Stateful cannot be copied .* let it keep them detached"),
    "baseline": (LINEAR, X, 0, {"baseline": noise(5)}, r"the baseline is \(5,\) and an input is \(4,\); .* baselines \(K, 4\)"),
    "no baselines": (LINEAR, X, 0, {"baseline": noise(0, 4)}, r"the baseline is \(0, 4\) and an input is \(4,\)"),
    "baseline per input": (LINEAR, X, 0, {"baseline": noise(1, 3, 4)}, r"the baseline is \(1, 3, 4\)"),
    "NaN baseline": (LINEAR, X, 0, {"baseline": float("nan")}, "the baseline holds NaN"),
    "a named baseline": (LINEAR, X, 0, {"baseline": "silence"}, "the baseline is a str; give a number"),
    "tolerance": (LINEAR, X, 0, {"tolerance": 0}, "tolerance is 0; it has to be above 0"),
    "steps": (LINEAR, X, 0, {"steps": 0}, "0 steps along the path"),
    "memory": (LINEAR, X, 0, {"memory": -1}, "memory is -1 GB"),
    "bf16": (LINEAR, X, 0, {"arithmetic": "bf16"}, "Linear cannot be explained in bf16"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_cannot_be_explained_is_refused(case: str) -> None:
    module, inputs, target, options, says = REFUSED[case]
    with pytest.raises(UserError, match=says):
        integrated_gradients(module, inputs, target, **options)


def test_the_example_is_right_and_importing_the_room_is_light() -> None:
    assert doctest.testmod(gradients).attempted >= 4
    assert not doctest.testmod(gradients).failed
    light = "import sys, tla.attribution; assert 'torch' not in sys.modules; print(*tla.attribution.__all__)"
    done = subprocess.run([sys.executable, "-c", light], capture_output=True, text=True, check=True)
    assert done.stdout.split() == dir(tla.attribution)
    assert not {path.stem for path in Path(explainers.__file__).parent.glob("*.py")} & set(tla.attribution.__all__)
