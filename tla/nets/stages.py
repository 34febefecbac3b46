"""The staged view of a network: stem, block1 ... block4 at strides 4 to 32, then the head, which is always new.

A `StagedNet` holds the original network as `.net` and runs its own modules stage by stage, so it computes exactly what
the original does and `.net.state_dict()` has the original names. Pictures are (clips, 3, mels, frames); a stage's
output is (clips, channels, height, width), the head's (clips, classes). Where a network keeps channels last or has tokens, so
do its stages' outputs; `as_map` reads them as (clips, channels, height, width).
"""

import copy
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tla.errors import UserError
from tla.nets import replay
from tla.nets.reading import Reading
from tla.nets.replay import Road
from tla.options import STAGES, Stage

HEAD = "head"
_POSITIONS = re.compile("pos_emb|position|rel_pos|pos_block|pos_proj|attention_biases|cpb_mlp|meta_mlp|(patch|pixel)_pos")


@dataclass(frozen=True)
class Layout:
    """Where the stages lie in a network: for each stage the modules that make it, in order; the classifier; the head."""

    stages: Mapping[str, tuple[str, ...]]
    classifier: tuple[str, ...]
    head: Callable[[nn.Module, Tensor], Tensor]
    road: Road | None = None
    """How the network is run by stages where it is more than its modules one after the other."""
    readings: Mapping[str, Reading] = field(default_factory=dict)
    """How a stage's output is read as (clips, channels, height, width), where it is not such."""
    owners: Mapping[str, str] = field(default_factory=dict)
    """Whose a parameter is, where its module's place does not tell: the first stage's that needs it."""


class StagedNet(nn.Module):
    """A network that runs by stages; `name` is its backbone's."""

    def __init__(self, name: str, net: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.name, self.net, self.layout = name, net, layout
        self.inference_upto: Stage = "none"
        self.silence: Tensor | None
        self.register_buffer("silence", None, persistent=False)  # (3, mels, 1): what smaller pictures are filled up with
        self._fixed = {path for path, parameter in net.named_parameters() if not parameter.requires_grad}  # in the original

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that exist, from the input to the output, without the head."""
        return tuple(self.layout.stages)

    @property
    def takes(self) -> tuple[int, int, int] | None:
        """The shape of the pictures that it is made for; None if it takes any that are large enough."""
        return self.layout.road.shape if self.layout.road else None

    def forward(self, x: Tensor, after: Stage = "none") -> Tensor:
        """Logits of pictures, or of the outputs of stage `after`."""
        return self.run(HEAD, self._through(x, self.stages[len(self.upto(after)) :]))

    def prefix(self, x: Tensor, upto: Stage) -> Tensor:
        """The output of stage `upto` for pictures; the pictures themselves for `none`."""
        return self._through(x, self.upto(upto))

    def run(self, stage: str, x: Tensor) -> Tensor:
        """One stage, or the head, on the output of the one before it."""
        return self.layout.head(self.net, x) if stage == HEAD else self._through(x, (stage,))

    def as_map(self, stage: str, output: Tensor) -> Tensor:
        """A stage's output as (clips, channels, height, width); tokens that stand for no place of the picture are left out."""
        reading = self.layout.readings.get(stage)
        return reading(output) if reading else output

    def _through(self, x: Tensor, stages: tuple[str, ...]) -> Tensor:
        """The output of the last of neighbouring stages, on the input of the first."""
        road = self.layout.road
        if road and stages:
            x = self._filled(x) if stages[0] == STAGES[0] else x
            begin, behind = (None if stages[0] == STAGES[0] else stages[0]), STAGES[STAGES.index(stages[-1]) + 1 :]
            return replay.run(self.net, road, x, begin, behind[0] if behind else None)
        for stage in stages:
            for path in self.layout.stages[stage]:
                x = self.net.get_submodule(path)(x)
        return x

    def _filled(self, pictures: Tensor) -> Tensor:
        """Pictures with silence below and behind them, up to the size that the network is made for."""
        clips, _, mels, frames = pictures.shape
        takes = self.takes or pictures.shape[1:]
        if (mels, frames) == takes[1:]:
            return pictures
        if self.silence is None or mels > takes[1] or frames > takes[2]:
            raise UserError(
                f"{self.name} is made for pictures of {takes[1]} x {takes[2]}, and these have {mels} x {frames}; fill them up"
            )
        silence = self.silence.to(pictures.dtype)
        below = silence[:, -1:].expand(clips, -1, takes[1] - mels, frames)
        taller = torch.cat([pictures, below], dim=2)
        behind = torch.cat([silence, silence[:, -1:].expand(-1, takes[1] - mels, -1)], dim=1)
        return torch.cat([taller, behind.expand(clips, -1, -1, takes[2] - frames)], dim=3)

    def stage_tensors(self, stage: str) -> dict[str, Tensor]:
        """Parameters and buffers of a stage, or of the head, by their original names."""
        return {name: tensor for name, tensor in self.net.state_dict().items() if self.stage_of(name) == stage}

    def stage_parameters(self, stage: str) -> list[nn.Parameter]:
        """The parameters of a stage, or of the head."""
        return [parameter for name, parameter in self.net.named_parameters() if self.stage_of(name) == stage]

    def stage_modules(self, stage: str) -> list[nn.Module]:
        """The modules of a stage, or of the head, at every depth; a container of several stages belongs to none."""
        return [m for name, m in self.net.named_modules() if (self._owner(name) or self._heir(m)) == stage]

    def stage_of(self, tensor: str) -> str:
        """The stage, or the head, that a tensor belongs to.

        What a timm head computes before its classifier is pretrained like the rest, so it belongs to the last stage.
        """
        return self._owner(tensor) or self.stages[-1]

    def freeze(self, upto: Stage, *, inference: bool = True) -> None:
        """The stages up to `upto`, and only they, are out of training: none of their parameters requires a gradient.

        With `inference` they also stay in inference mode, whatever `.train()` says: norms use their stored statistics, which do
        not move, and nothing drops out. Another call counts anew, so `freeze("none")` lets everything move again.
        """
        frozen = self.upto(upto)
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(name not in self._fixed and self.stage_of(name) not in frozen)
        self.inference_upto = upto if inference else "none"
        self.train(self.training)

    def train(self, mode: bool = True) -> "StagedNet":
        """As for every module, except that stages frozen in inference mode stay there.

        Call it on this network, not on its `.net`, which knows nothing of stages.
        """
        super().train(mode)
        for stage in self.upto(self.inference_upto):
            for module in self.stage_modules(stage):
                module.training = False
        return self

    def upto(self, stage: Stage) -> tuple[str, ...]:
        """The stages up to and including this one; there are none up to `none`."""
        if stage != "none" and stage not in self.stages:
            raise UserError(f"{self.name} has no stage {stage!r} here; possible are none, {', '.join(self.stages)}")
        return () if stage == "none" else self.stages[: self.stages.index(stage) + 1]

    def _owner(self, name: str) -> str | None:
        if any(_inside(name, path) for path in self.layout.classifier):
            return HEAD
        if name in self.layout.owners:
            return self.layout.owners[name]
        return next((s for s, paths in self.layout.stages.items() if any(_inside(name, path) for path in paths)), None)

    def _heir(self, module: nn.Module) -> str | None:
        """Whose a module is that lies in no stage: a timm head's norm is the last stage's, its dropout is the head's."""
        if own_tensors(module):
            return self.stages[-1]
        return None if any(module.children()) else HEAD


def _inside(name: str, path: str) -> bool:
    return name == path or name.startswith(path + ".")


def own_tensors(module: nn.Module) -> list[str]:
    """Names of the parameters and buffers that a module holds itself."""
    return [name for name, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))]


def norm_tensors(net: StagedNet) -> set[str]:
    """Names of the weights and statistics of all norm layers, of whatever kind (batch, layer, group ...)."""
    # By class name: timm's norms do not all derive from torch's; what only contains a norm has no tensors of its own.
    norms = ((path, module) for path, module in net.net.named_modules() if "Norm" in type(module).__name__)
    return {f"{path}.{name}" for path, module in norms for name in own_tensors(module)}


def position_tensors(net: StagedNet) -> set[str]:
    """Names of the parameters that hold positions: embeddings, and biases of attention by distance."""
    return {name for name, _ in net.net.named_parameters() if _POSITIONS.search(name)}


@contextmanager
def seeded(seed: int, purpose: str = "") -> Iterator[None]:
    """Random numbers of torch on the CPU come from the seed (another stream for each purpose), and are put back after."""
    if purpose:
        seed = int.from_bytes(hashlib.sha256(f"{purpose} {seed}".encode()).digest()[:6], "big")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach for the CUDA generators as well
        yield


@dataclass(frozen=True)
class Row:
    """What one stage makes and costs; the shape is without the clips."""

    stage: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


def describe(net: StagedNet, shape: tuple[int, int, int]) -> list[Row]:
    """Stages and head for one picture of this shape (channels, mels, frames), computed from shapes alone.

    Multiply-adds are those of convolutions and matrix products, as they are usually counted.
    """
    ghost = copy.deepcopy(net).to("meta").eval().requires_grad_(False)
    rows, x = [], torch.empty(1, *(net.takes or shape), device="meta")
    for stage in (*ghost.stages, HEAD):
        try:
            x, flops = _counted(ghost, stage, x)
        except RuntimeError:
            size, least = " x ".join(map(str, shape[1:])), _smallest(ghost, shape[0])
            raise UserError(f"{net.name} cannot take pictures of {size} (mels x frames): it needs {least}") from None
        parameters = sum(p.numel() for p in ghost.stage_parameters(stage))
        rows.append(Row(stage, tuple(net.as_map(stage, x).shape[1:]), parameters, flops // 2))
    return rows


def _counted(net: StagedNet, stage: str, x: Tensor) -> tuple[Tensor, int]:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        out = net.run(stage, x)
    return out, counter.get_total_flops()


def _smallest(ghost: StagedNet, channels: int) -> str:
    """The smallest square picture that the network can take, in words."""
    low, high = 0, 512
    while high - low > 1:
        middle = (low + high) // 2
        try:
            with torch.no_grad():
                ghost(torch.empty(1, channels, middle, middle, device="meta"))
            high = middle
        except RuntimeError:
            low = middle
    return f"at least {high} x {high}" if high < 512 else "another size"
