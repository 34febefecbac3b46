"""Integrated Gradients: what in an input moves a module's output away from that for a baseline (Fig. 3).

    map = (x - b) * integral over a in (0, 1) of dF(b + a (x - b)) / dx        its cells sum to F(x) - F(b)

F is a class's logit, that minus another's, or any number made of the module's outputs, in single precision. Everything is in
the input's own units (of a picture: log-mel), also where a network standardises its pictures: that is an affine map of each
cell, under which the attribution stays as it is.

captum computes the sum, with Gauss-Legendre nodes. The gradient of a network of ReLUs jumps so often along the path that the
error falls only as one over the number of steps, which grows until the map sums to F(x) - F(b).
`error` is relative to this difference.

Speed (`python -m tla.bench ig`): a few steps at a time, as the memory allows, through a copy of the module that is made for it
(`attribution.gradient_copy`); and in a staged network bf16 behind the stem where that leaves the map as it is. A weight rounded
to bf16 moves the places where ReLUs open, above all in the first layers, and in a small network that can change the map by a
third: so the map of each picture is made both ways on a few steps, and bf16 is taken where they agree.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from tla.attribution import gradient_copy
from tla.attribution.targets import What, taken
from tla.errors import UserError
from tla.nets.arithmetic import choose, computing, full_precision
from tla.nets.stages import StagedNet

TOLERANCE = 0.01
START, CAP = 64, 1024  # steps to begin with, shared by a picture's paths, and at most on each; below 64 a sum is right by luck
CHUNK = 16  # steps at a time at most: more are no quicker
ROUNDING = 0.03  # how far bf16 may move a map, relative to its norm
PROBE_STEPS = 8  # on which that is found out; over more steps rounding averages out
BF16_UPTO = 256  # steps; a sum that has not come right by then is made in single precision
METHOD = "gausslegendre"  # captum's trapezoids have weights that sum to 1 - 1/n
UNDER_WAY = 4  # activations and gradients that exist beside those that are kept, counted at the largest one's size

Arithmetic = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Attribution:
    """What in one input moved the target, cell by cell."""

    map: np.ndarray = field(repr=False)
    """float32, of the input's shape, such as (3, mels, frames), in the target's units (logits)."""
    target: What
    """What is explained."""
    value: float
    """F(x)."""
    baseline_value: float
    """F(b); the mean over the baselines."""
    error: float
    """How far the map's sum is from F(x) - F(b), relative to that; 0 where both are 0, as for a silent clip."""
    steps: int
    """Gradients on each path."""
    arithmetic: str
    """fp32 (fp64 of a module in double precision), or bf16 where that was found to be exact enough."""

    @property
    def total(self) -> np.ndarray:
        """The sum over the first axis: of a picture, that over the three windows (mels, frames)."""
        return self.map.sum(axis=0)

    def shortfall(self, tolerance: float) -> str | None:
        """In words, how far the map's sum is off, where that is more than the tolerance."""
        if self.error <= tolerance:
            return None
        off, asked = f"{100 * self.error:.2g} %", f"{100 * tolerance:g} %"
        return f"the attribution's sum is {off} off after {self.steps} steps, not {asked} as asked"


class Explainer:
    """A module made ready for gradients with respect to its inputs; the module itself is not touched."""

    def __init__(
        self,
        module: nn.Module,
        standard: tuple[np.ndarray, np.ndarray] | None = None,
        *,
        memory: float = 1.0,
        arithmetic: Arithmetic = "auto",
    ) -> None:
        """standard: mean and spread by which inputs are standardised first. memory: in GB, for the gradients and what they
        need, beside the module and the inputs."""
        if not 0 < memory < math.inf:
            raise UserError(f"memory is {memory} GB; it has to be above 0, and a number")
        self.name = module.name if isinstance(module, StagedNet) else type(module).__name__
        self.device, self.dtype = gradient_copy.placed(module)
        self.memory, self.arithmetic = memory, arithmetic
        may_round = isinstance(module, StagedNet) and self.dtype == torch.float32
        if arithmetic == "bf16" and not may_round:
            raise UserError(f"{self.name} cannot be explained in bf16, which takes a staged network in float32: give auto")
        self._quick = choose("auto", self.device, module) if may_round else "fp32"  # the quickest arithmetic on this device
        if arithmetic == "auto" and self._quick == "fp32":
            self.arithmetic = "fp32"
        self._nets = {"fp32": gradient_copy.copy_of(module, self.dtype)}
        if self.arithmetic != "fp32":
            self._nets["bf16"] = gradient_copy.copy_of(module, self.dtype, half=True)
        self._standard = None if standard is None else tuple(map(self.tensor, standard))
        self._chunks: dict[str, int] = {}

    def attribute(
        self,
        picture: np.ndarray | Tensor,
        what: What,
        baselines: np.ndarray | Tensor,
        *,
        tolerance: float = TOLERANCE,
        steps: int | None = None,
        cap: int = CAP,
        name: str = "a picture",
    ) -> Attribution:
        """The attribution of one input, such as a picture (3, mels, frames), averaged over baselines (K, 3, mels, frames).

        Steps grow until the error is within the tolerance, up to a cap (`Attribution.shortfall` says where that was not
        enough), or are as given. `name` is the input's, for messages.
        """
        if not tolerance > 0:
            raise UserError(f"tolerance is {tolerance}; it has to be above 0")
        if steps is not None and steps < 1:
            raise UserError(f"{steps} steps along the path; it takes 1 at least")
        x, b = self.tensor(picture[None]), self.tensor(baselines)
        value, base = self._value(x, what), self._value(b, what)
        if not (math.isfinite(value) and math.isfinite(base)):
            raise UserError(f"{name} cannot be explained: the target is {value:g} for it, and {base:g} at the baseline")
        if bool((x == b).all()):  # nothing lies between the two
            return Attribution(np.zeros(tuple(x.shape[1:]), np.float32), what, value, base, 0.0, 0, self._called("fp32"))
        quick = self._quickest(x, what, b[:1]) if self.arithmetic == "auto" else self.arithmetic
        n = steps or min(cap, max(4, START // len(b)))
        while True:
            how = quick if steps or n <= BF16_UPTO else "fp32"
            total = self._integrate(x, what, b, n, how)
            error = _error(total, value - base)
            if not math.isfinite(error):
                why = "on the way from the baseline the gradient is not finite, as that of a root at 0"
                raise UserError(f"{name} cannot be explained: {why}")
            if steps or error <= tolerance or n >= cap:
                break
            n = min(cap, n * (4 if error > 3 * tolerance else 2))
        return Attribution(total.astype(np.float32), what, value, base, error, n, self._called(how))

    def values(self, inputs: Tensor, what: What, how: str = "fp32") -> Tensor:
        """The target for each input (inputs,), differentiable."""
        return taken(what, self._outputs(inputs, how), len(inputs))

    def tensor(self, values: np.ndarray | Tensor) -> Tensor:
        """A copy of some numbers on the module's device, in its precision."""
        if isinstance(values, Tensor):
            return values.detach().clone().to(self.device, self.dtype)
        precision = np.float64 if self.dtype == torch.float64 else np.float32
        return torch.from_numpy(np.array(values, dtype=precision)).to(self.device)

    def _called(self, how: str) -> str:
        """The name of an arithmetic."""
        return "fp64" if self.dtype == torch.float64 else how

    def _value(self, inputs: Tensor, what: What) -> float:
        """F, averaged over inputs."""
        with torch.no_grad(), full_precision():
            values = [self.values(part, what).cpu().double() for part in inputs.split(CHUNK)]
        return float(torch.cat(values).mean())

    def _integrate(self, x: Tensor, what: What, b: Tensor, steps: int, how: str) -> np.ndarray:
        """captum's map, averaged over the baselines, in the input's shape, float64."""
        from captum.attr import IntegratedGradients

        gradients, chunk = IntegratedGradients(lambda inputs: self.values(inputs, what, how)), self._chunk(x, how)
        total = np.zeros(x.shape[1:])
        for part in b.split(chunk):
            with full_precision():
                maps = gradients.attribute(x.expand_as(part), part, n_steps=steps, internal_batch_size=chunk, method=METHOD)
            total += maps.detach().cpu().numpy().sum(axis=0, dtype=np.float64)
        return total / len(b)

    def _outputs(self, inputs: Tensor, how: str) -> Tensor:
        """What the module makes of inputs in their own units; of a staged network, float32 logits."""
        net = self._nets[how]
        if self._standard is not None:
            inputs = (inputs - self._standard[0]) / self._standard[1]
        with gradient_copy.ConstantNorms():
            if not isinstance(net, StagedNet):
                return gradient_copy.first(net(inputs.clone()))  # it may overwrite what it is given
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            if how == "fp32":
                return net(inputs)
            stem = net.prefix(inputs, "stem").to(torch.bfloat16)
            with computing(self.device, "mixed" if self._quick == "mixed" else "bf16"):
                return net(stem, after="stem").float()

    def _quickest(self, x: Tensor, what: What, b: Tensor) -> str:
        """bf16 if this picture's map is the same in it, up to ROUNDING; so it does not matter which pictures came before."""
        exact, rounded = (self._integrate(x, what, b, PROBE_STEPS, how) for how in ("fp32", "bf16"))
        return "bf16" if np.linalg.norm(rounded - exact) <= ROUNDING * np.linalg.norm(exact) else "fp32"

    def _chunk(self, x: Tensor, how: str) -> int:
        """Steps at a time that fit into the memory: what one input's way through the module leaves behind is counted."""
        if how not in self._chunks:
            kept, largest = gradient_copy.kept(lambda inputs: self._outputs(inputs, how), x, self._nets[how])
            weights = sum(tensor.nbytes for net in self._nets.values() for tensor in net.state_dict().values())
            one = kept + UNDER_WAY * largest
            room = int((1e9 * self.memory - weights) / one)
            if room < 1:
                needed = f"{self.name} needs {(weights + one) / 1e9:.2g} GB for a single step"
                raise UserError(f"memory is {self.memory} GB, and {needed}")
            self._chunks[how] = min(CHUNK, room)
        return self._chunks[how]


def _error(total: np.ndarray, difference: float) -> float:
    """How far a map's sum is from what it should be, relative to that; where that is 0, to all that the map moves."""
    off = abs(float(total.sum()) - difference)
    return off / (abs(difference) or float(np.abs(total).sum()) or 1.0)
