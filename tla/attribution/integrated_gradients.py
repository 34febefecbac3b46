"""Integrated Gradients: what in a picture moves a class's logit away from that of a baseline (Fig. 3).

    map = (x - b) * integral over a in (0, 1) of dF(b + a (x - b)) / dx        its cells sum to F(x) - F(b)

F is a class's logit, or that minus another's, in single precision. Everything is in the picture's own units, log-mel, also
where the network standardises its pictures: that is an affine map of each cell, under which the attribution stays as it is.
Silence is the log floor in every cell; zero is a loud sound, whose every cell has power 1.

captum computes the sum, with Gauss-Legendre nodes. The gradient of a network of ReLUs jumps so often along the path that the
error falls only as one over the number of steps, which grows until the map sums to F(x) - F(b).
`error` is relative to this difference.

Speed (`python -m tla.bench ig`): a few steps at a time, as the memory allows, through a copy of the network that is made for
it (`attribution.gradient_copy`); and bf16 behind the stem where that leaves the map as it is. A weight rounded to bf16 moves
the places where ReLUs open, above all in the first layers, and in a small network that can change the map by a third: so the
first picture's map is made both ways, and bf16 is kept if they agree.
"""

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tla.attribution import gradient_copy
from tla.console import counted, say
from tla.errors import UserError
from tla.nets.arithmetic import choose, computing
from tla.runs.infer import LoadedNetwork
from tla.sound.spectrograms import SILENCE

SILENT = float(np.float16(SILENCE))  # a silent cell as pictures are kept: in half precision
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
class Target:
    """What is explained: a class's logit, or that minus another's."""

    of: int
    against: int | None = None

    def name(self, classes: Sequence[str]) -> str:
        """As `target` reads it."""
        return classes[self.of] if self.against is None else f"{classes[self.of]}-{classes[self.against]}"

    def value(self, logits: Any) -> Any:
        """The target of logits (n, classes), an array or a tensor: (n,)."""
        return logits[:, self.of] if self.against is None else logits[:, self.of] - logits[:, self.against]


def target(text: str, classes: Sequence[str]) -> Target:
    """The target that `dog` or `dog-cat` names; a class's own name may hold dashes."""
    if text in classes:
        return Target(classes.index(text))
    cuts = [(text[: dash.start()], text[dash.end() :]) for dash in re.finditer("-", text)]
    found = [(of, against) for of, against in cuts if of in classes and against in classes]
    if not found:
        near = difflib.get_close_matches(text, classes, n=2)
        meant = f" (did you mean {' or '.join(near)}?)" if near else ""
        pair = f"two of them, as in {classes[0]}-{classes[-1]}"
        raise UserError(f"the target {text!r} is no class{meant}; give one of {', '.join(classes)}, or {pair}")
    of, against = found[0]
    if of == against:
        raise UserError(f"the target {text} is a class against itself, which is always 0")
    return Target(classes.index(of), classes.index(against))


@dataclass(frozen=True)
class Attribution:
    """What in one picture moved the target, cell by cell."""

    map: np.ndarray
    """float32 (3, mels, frames), in logits."""
    target: Target
    value: float
    """F(x)."""
    baseline_value: float
    """F(b); the mean over the baselines."""
    error: float
    """How far the map's sum is from F(x) - F(b), relative to that; 0 where both are 0, as for a silent clip."""
    steps: int
    """Gradients on each path."""
    arithmetic: str
    """fp32, or bf16 where that was found to be exact enough."""

    @property
    def total(self) -> np.ndarray:
        """The sum over the three windows (mels, frames)."""
        return self.map.sum(axis=0)


# Baselines


def clips_of(kind: str) -> int | None:
    """The training clips that a baseline is made of: K for clips:K, None (all) for mean, 0 for silence and zero."""
    found = re.fullmatch(r"clips:([1-9]\d*)", kind)
    known: dict[str, int | None] = {"silence": 0, "zero": 0, "mean": None}
    if not found and kind not in known:
        raise UserError(f"--baseline {kind}: it is silence, mean, zero, or clips:K, the average over K training clips")
    return int(found[1]) if found else known[kind]


def baselines(
    kind: str,
    shape: Sequence[int],
    *,
    pictures: np.ndarray | None = None,
    rows: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Baselines (K, 3, mels, frames) for pictures of a shape (3, mels, frames); the paths from all of them are averaged.

    `pictures[rows]` are the training clips, for those that are made of them.
    """
    count = clips_of(kind)
    if count == 0:
        return np.full((1, *shape), SILENT if kind == "silence" else 0.0, dtype=np.float32)
    if pictures is None or rows is None:
        raise ValueError(f"a baseline of {kind} needs the training clips")
    if count is None:
        total = np.zeros(shape)
        for row in rows:
            total += pictures[row]
        return (total / len(rows)).astype(np.float32)[None]
    if count > len(rows):
        raise UserError(f"--baseline {kind}: the training folds hold {counted(len(rows), 'clip')}")
    chosen = np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))
    return np.asarray(pictures[chosen], dtype=np.float32)


# Gradients


class Explainer:
    """A trained network made ready for gradients with respect to its pictures; the network itself is not touched."""

    def __init__(self, network: LoadedNetwork, *, memory: float = 1.0, arithmetic: Arithmetic = "auto") -> None:
        """memory: in GB, for the gradients and what they need, beside the network and the pictures."""
        if not 0 < memory < math.inf:
            raise UserError(f"--memory is {memory} GB; it has to be above 0, and a number")
        self.network, self.memory, self.arithmetic = network, memory, arithmetic
        self._quick = choose("auto", network.device, network.net)  # the quickest arithmetic on this device
        if arithmetic == "auto" and self._quick == "fp32":
            self.arithmetic = "fp32"
        self._nets = {"fp32": gradient_copy.copy_of(network.net)}
        if self.arithmetic != "fp32":
            self._nets["bf16"] = gradient_copy.copy_of(network.net, half=True)
        self._standard = None if network.standard is None else tuple(map(self._tensor, network.standard))
        self._chunks: dict[str, int] = {}

    def attribute(
        self,
        picture: np.ndarray,
        what: Target,
        baselines: np.ndarray,
        *,
        tolerance: float = TOLERANCE,
        steps: int | None = None,
        cap: int = CAP,
        name: str = "a picture",
    ) -> Attribution:
        """The attribution of one picture (3, mels, frames), averaged over baselines (K, 3, mels, frames).

        Steps grow until the error is within the tolerance, up to a cap, or are as given.
        """
        if not tolerance > 0:
            raise UserError(f"--tolerance is {tolerance}; it has to be above 0")
        if steps is not None and steps < 1:
            raise UserError(f"{steps} steps along the path; it takes 1 at least")
        x, b = self._tensor(picture[None]), self._tensor(baselines)
        value, base = self._value(x, what), self._value(b, what)
        if bool((x == b).all()):  # nothing lies between the two
            return Attribution(np.zeros(picture.shape, np.float32), what, value, base, 0.0, 0, "fp32")
        if self.arithmetic == "auto":
            self._choose(x, what, b[:1])
        n = steps or min(cap, max(4, START // len(b)))
        while True:
            how = self.arithmetic if steps or n <= BF16_UPTO else "fp32"
            total = self._integrate(x, what, b, n, how)
            error = _error(total, value - base)
            if steps or error <= tolerance or n >= cap:
                break
            n = min(cap, n * (4 if error > 3 * tolerance else 2))
        if not steps and error > tolerance:
            say(f"{name}: the attribution's sum is {100 * error:.2g} % off after {n} steps, not {100 * tolerance:g} % as asked")
        return Attribution(total.astype(np.float32), what, value, base, error, n, how)

    def _value(self, pictures: Tensor, what: Target) -> float:
        """F, averaged over pictures."""
        with torch.no_grad():
            values = [what.value(self._logits(part, "fp32")).double().cpu() for part in pictures.split(CHUNK)]
        return float(torch.cat(values).mean())

    def _integrate(self, x: Tensor, what: Target, b: Tensor, steps: int, how: str) -> np.ndarray:
        """captum's map, averaged over the baselines (3, mels, frames), float64."""
        from captum.attr import IntegratedGradients

        gradients, chunk = IntegratedGradients(lambda pictures: what.value(self._logits(pictures, how))), self._chunk(x, how)
        total = np.zeros(x.shape[1:])
        for part in b.split(chunk):
            maps = gradients.attribute(x.expand_as(part), part, n_steps=steps, internal_batch_size=chunk, method=METHOD)
            total += maps.detach().cpu().numpy().sum(axis=0, dtype=np.float64)
        return total / len(b)

    def _logits(self, pictures: Tensor, how: str) -> Tensor:
        """float32 logits of pictures in their own units."""
        net = self._nets[how]
        if self._standard is not None:
            pictures = (pictures - self._standard[0]) / self._standard[1]
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        with gradient_copy.ConstantNorms():
            if how == "fp32":
                return net(pictures)
            stem = net.prefix(pictures, "stem").to(torch.bfloat16)
            with computing(self.network.device, "mixed" if self._quick == "mixed" else "bf16"):
                return net(stem, after="stem").float()

    def _choose(self, x: Tensor, what: Target, b: Tensor) -> None:
        """bf16 if this picture's map is the same in it, up to ROUNDING."""
        exact, rounded = (self._integrate(x, what, b, PROBE_STEPS, how) for how in ("fp32", "bf16"))
        same = np.linalg.norm(rounded - exact) <= ROUNDING * np.linalg.norm(exact)
        self.arithmetic = "bf16" if same else "fp32"

    def _chunk(self, x: Tensor, how: str) -> int:
        """Steps at a time that fit into the memory: what one picture's way through the network leaves behind is counted."""
        if how not in self._chunks:
            kept, largest = gradient_copy.kept(lambda pictures: self._logits(pictures, how), x, self._nets[how])
            weights = sum(tensor.nbytes for net in self._nets.values() for tensor in net.state_dict().values())
            one = kept + UNDER_WAY * largest
            room = int((1e9 * self.memory - weights) / one)
            if room < 1:
                needed = f"{self.network.net.name} needs {(weights + one) / 1e9:.2g} GB for a single step"
                raise UserError(f"--memory is {self.memory} GB, and {needed}")
            self._chunks[how] = min(CHUNK, room)
        return self._chunks[how]

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(values, dtype=np.float32)).to(self.network.device)


def _error(total: np.ndarray, difference: float) -> float:
    """How far a map's sum is from what it should be, relative to that; where that is 0, to all that the map moves."""
    off = abs(float(total.sum()) - difference)
    return off / (abs(difference) or float(np.abs(total).sum()) or 1.0)
