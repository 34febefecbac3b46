"""Integrated Gradients of any torch module, as one function.

(found,) = integrated_gradients(net, waveform[None], target=3)
found.map        what each sample of the waveform adds to the logit of class 3, from silence on
found.error      how far these numbers are from adding up to it, relative to it
"""

import operator
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from tla.attribution.explainer import TOLERANCE, Arithmetic, Attribution, Explainer
from tla.attribution.targets import Target, What
from tla.console import counted
from tla.errors import UserError

SAME = 0.01  # how far an output may depend on the rest of its batch, relative to itself or to what is explained


def integrated_gradients(
    module: nn.Module,
    inputs: Tensor | np.ndarray,
    target: int | What | Sequence[int | What] | Tensor | np.ndarray,
    *,
    baseline: float | Tensor | np.ndarray = 0.0,
    tolerance: float = TOLERANCE,
    steps: int | None = None,
    memory: float = 1.0,
    arithmetic: Arithmetic = "auto",
) -> list[Attribution]:
    """What in each input moved the target away from its value at a baseline: one `Attribution` for each.

    The module takes (inputs, ...) of any shape and returns (inputs, classes), or a tuple that begins with that. It is explained
    in inference mode whatever its mode, through a copy, so it stays as it is: mode, gradients, hooks. A staged network
    (`tla.nets`) takes less memory and, where that leaves the map as it is, bf16; any other module is taken as it is.

    Args:
        target: A class's index, a `Target` (a class against another), or a function that makes of the module's outputs one
            number for each input; or a sequence of these, one for each input.
        baseline: Where the way to an input begins: a number, or an array that broadcasts to one input. With one axis more,
            (K, ...), it is K baselines for every input, whose maps are averaged. 0 is silence in a waveform; in a picture of
            tla it is a loud sound, and silence is `tla.attribution.SILENT`.
        tolerance: Largest completeness error, as a share of the output difference. Steps are added until it is reached, up to
            1024 on each path; a warning says where that was not enough.
        steps: So many steps on each path, whatever the error.
        memory: Gigabytes that the gradients may take.
        arithmetic: fp32 also where bf16 would be exact enough.

    Examples:
        >>> import torch
        >>> from tla.attribution import integrated_gradients
        >>> net = torch.nn.Linear(3, 2)
        >>> (found,) = integrated_gradients(net, torch.tensor([[1.0, 2.0, 0.0]]), target=1)
        >>> torch.allclose(torch.from_numpy(found.map), net.weight[1].detach() * torch.tensor([1.0, 2.0, 0.0]))
        True
    """
    if not isinstance(module, nn.Module):
        raise UserError(f"what is to be explained is a {type(module).__name__}; give a torch module")
    _must_be_numbers(inputs)
    targets = _targets(target, len(inputs))
    with torch.inference_mode(False), _without_cudnn(any(isinstance(part, nn.RNNBase) for part in module.modules())):
        explainer = Explainer(module, memory=memory, arithmetic=arithmetic)
        with torch.autocast(explainer.device.type, enabled=False):
            starts = _starts(explainer.tensor(_numbers(baseline, "the baseline")), tuple(inputs.shape[1:]))
            _must_work(explainer, inputs, starts[:1], targets[0])
            found = []
            for i, (one, what) in enumerate(zip(inputs, targets, strict=True)):
                name = f"input {i}"
                found.append(explainer.attribute(one, what, starts, tolerance=tolerance, steps=steps, name=name))
                if steps is None and (short := found[-1].shortfall(tolerance)):
                    warnings.warn(f"{name}: {short}", stacklevel=2)
    return found


@contextmanager
def _without_cudnn(has_rnn: bool) -> Iterator[None]:
    """cuDNN's recurrent layers have no way back in inference mode; torch's own have."""
    was = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = was and not has_rnn
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = was


def _must_be_numbers(inputs: Any) -> None:
    """Inputs are finite floating-point numbers, one input at least."""
    if not isinstance(inputs, Tensor | np.ndarray):
        raise UserError(f"the inputs are a {type(inputs).__name__}; give a tensor or an array (inputs, ...)")
    if inputs.ndim == 0 or len(inputs) == 0:
        raise UserError(f"the inputs are {tuple(inputs.shape)}; give one at least, as (inputs, ...)")
    is_float = inputs.is_floating_point() if isinstance(inputs, Tensor) else np.issubdtype(inputs.dtype, np.floating)
    if not is_float:
        raise UserError(f"the inputs are {inputs.dtype}; gradients with respect to them need floating-point numbers")
    if broken := [i for i, one in enumerate(inputs) if not _is_finite(one)]:
        raise UserError(f"input {broken[0]} holds NaN or infinity")


def _is_finite(values: Tensor | np.ndarray) -> bool:
    return bool((torch.isfinite(values) if isinstance(values, Tensor) else np.isfinite(values)).all())


def _numbers(values: Any, name: str) -> Tensor | np.ndarray:
    """A number, a tensor or an array, all of it finite."""
    try:
        found = values if isinstance(values, Tensor) else np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{name} is a {type(values).__name__}; give a number, a tensor or an array") from None
    if not _is_finite(found):
        raise UserError(f"{name} holds NaN or infinity")
    return found


def _starts(baseline: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Baselines (K, ...) for inputs of a shape."""
    several = baseline.ndim == len(shape) + 1
    try:
        return baseline.expand(len(baseline) or 1 if several else 1, *shape).contiguous()
    except RuntimeError:
        raise UserError(
            f"the baseline is {tuple(baseline.shape)} and an input is {shape}; "
            f"give a number, what broadcasts to {shape}, or several baselines (K, {', '.join(map(str, shape))})"
        ) from None


def _targets(target: Any, count: int) -> list[What]:
    """A target for each of so many inputs."""
    if _is_index(target) or isinstance(target, Target) or callable(target):
        return [_what(target)] * count
    if not isinstance(target, Sequence | np.ndarray | Tensor) or isinstance(target, str) or getattr(target, "ndim", 1) != 1:
        possible = "a class's index, a Target, a function of the outputs, or a list of these"
        raise UserError(f"the target is {target!r}; give {possible}")
    if len(target) != count:
        raise UserError(f"there are {counted(len(target), 'target')} for {counted(count, 'input')}; give one, or one for each")
    return [_what(one) for one in target]


def _what(target: Any) -> What:
    if isinstance(target, Target) or callable(target):
        return target
    if not _is_index(target):
        raise UserError(f"the target {target!r} is no class's index, Target or function of the outputs")
    return Target(operator.index(target))


def _is_index(target: Any) -> TypeGuard[int]:
    try:
        operator.index(target)
    except TypeError:
        return False
    return True


def _must_work(explainer: Explainer, inputs: Tensor | np.ndarray, b: Tensor, what: What) -> None:
    """The module takes such inputs, is differentiable with respect to them, and what it makes of one is its own."""
    x = explainer.tensor(inputs[:1])
    pair = torch.cat([x, b]).requires_grad_()
    try:
        with torch.enable_grad():
            together = explainer.values(pair, what)
            slope = torch.autograd.grad(together.sum(), pair, allow_unused=True)[0] if together.requires_grad else None
            alone = explainer.values(x, what).detach()
    except (UserError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        taken_as = f"the inputs are {tuple(inputs.shape)}, so one is {tuple(inputs.shape[1:])}"
        raise UserError(f"{taken_as}, and {explainer.name} cannot be explained on that: {why}") from error
    if slope is None:
        raise UserError(
            f"{explainer.name} is not differentiable with respect to its inputs: what is explained does not depend on them, or "
            "goes through something without gradient, such as detach, argmax or numpy"
        )
    by_itself, beside, other = float(alone[0]), float(together[0].detach()), float(together[1].detach())
    if abs(by_itself - beside) > SAME * (abs(beside) + abs(beside - other)) + 1e-6:
        raise UserError(
            f"{explainer.name} makes {by_itself:.4g} of an input alone, and {beside:.4g} beside another: it draws at random, "
            "or uses its batch, also in inference mode"
        )
