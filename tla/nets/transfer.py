"""The transfer plan, applied: which stages start pretrained, which may move, which are there at all.

A network is first made at random from its seed, so head, random stages and fresh norms are the same for every plan of
that seed; then the plan's pretrained tensors overwrite it. Choices that the paper leaves open:
- A stage that is not pretrained has fresh norm layers, weights and statistics, also under `meanvar`, which draws every
  other parameter of the stage from the normal distribution with that pretrained tensor's mean and standard deviation.
- All of a frozen stage is in inference mode: norms use their stored statistics and nothing drops out, so the leading
  frozen stages are a constant function of the picture.

`staged` is for a training loop of one's own; `assemble` is the same for a run, whose weights are loaded once for many.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import torch
from torch import Tensor, nn

from tla.errors import UserError
from tla.nets import hub
from tla.nets.backbones import SHAPE, Shape, build
from tla.nets.cutting import cut
from tla.nets.stages import StagedNet, norm_tensors, position_tensors, seeded
from tla.nets.weights import IMAGENET, Pretrained, load
from tla.options import RANDOM, Stage
from tla.options import STAGES as STAGES
from tla.options import Transfer as Transfer

RESTS: dict[str, Callable[[Tensor], Tensor]] = {  # draws a tensor of a stage that is not pretrained from the pretrained one
    "meanvar": lambda t: torch.randn(t.shape) * t.std(correction=0) + t.mean(),
}


def staged(
    backbone: str,
    classes: int,
    *,
    transfer: Transfer | None = None,
    weights: str | Path = IMAGENET,
    picture: tuple[int, int] = SHAPE[1:],
    seed: int = 0,
) -> StagedNet:
    """A network of named stages under a transfer plan, to be trained in a loop of one's own.

    What the plan freezes stays frozen through `.train()`: its parameters require no gradient, so that an optimizer over
    `net.parameters()` neither moves nor decays them, and by default its norms keep their statistics (`Transfer.frozen_norm`).
    `net.net` is the original network, with the original names in its state dict. `net.freeze` changes what is frozen.

    Args:
        backbone: densenet201, resnet50, inception_v3, efficientnet_lite0, densenet_tiny, or timm:NAME.
        classes: Outputs of the head, which is always new.
        transfer: Which stages start pretrained, are frozen, are there; by default all are pretrained, none is frozen.
        weights: Where pretrained stages start: imagenet, a file of tensors (as a run's weights.safetensors), or
            hf_hub:OWNER/NAME or hf_hub:OWNER/NAME@REVISION, safetensors on the Hugging Face hub. With random, no stage is
            pretrained, whatever the plan says.
        picture: Mels and frames of the pictures. A network that is made for one size, as a vision transformer is, is made for
            this one, or for the next larger one that it can take: `net.takes` says which.
        seed: Of all that starts at random.

    Examples:
        >>> from tla.nets import Transfer, staged
        >>> net = staged("densenet_tiny", 10, weights="random", transfer=Transfer(frozen_upto="block2"))
        >>> [stage for stage in net.stages if any(p.requires_grad for p in net.stage_parameters(stage))]
        ['block3', 'block4']
    """
    if classes < 1:
        raise UserError(f"{classes} classes; a network has one at least")
    plan, source = canonical(transfer or Transfer(), str(weights))
    if source not in (IMAGENET, RANDOM) and not source.startswith(hub.PREFIX) and not Path(source).is_file():
        possible = f"imagenet, random, {hub.PREFIX}NAME or a file"
        raise UserError(f"the weights are {source!r}; they can be {possible}, and there is no such file")
    shape = (3, *picture)
    pretrained = None if source == RANDOM else load(source, backbone, shape)
    return assemble(backbone, classes, plan, pretrained, seed=seed, shape=shape)


def assemble(
    backbone: str, classes: int, plan: Transfer, pretrained: Pretrained | None, *, seed: int, shape: Shape = SHAPE
) -> StagedNet:
    """The network that training starts from."""
    _check(plan)
    if pretrained is None and (plan.pretrained_upto != "none" or plan.rest != "random"):
        what = f"pretrained up to {plan.pretrained_upto}" if plan.pretrained_upto != "none" else f"rest {plan.rest}"
        raise UserError(f"the transfer plan is {what}, but the weights are random: give weights, or pretrain up to none")
    net = build(backbone, classes, seed=seed, shape=shape)
    if pretrained is not None:
        own = net.net.state_dict()
        for name, tensor in _chosen(net, plan, pretrained.tensors, seed).items():
            own[name].copy_(tensor)
    if plan.frozen_norm == "live" and not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules()):
        raise UserError(f"{backbone} has no batch norm, so its frozen stages have no live norms: leave frozen-norm live out")
    net = cut(net, plan.kept_upto, classes, seed=seed, reads=plan.cut_head)
    net.freeze(plan.frozen_upto, inference=plan.frozen_norm == "inference")
    return net


def canonical(plan: Transfer, weights: str) -> tuple[Transfer, str]:
    """The plan and the source of weights, the same for all that give the same network: a run's key is made of them."""
    _check(plan)
    plan = replace(plan, pretrained_upto=_earlier(plan.pretrained_upto, plan.kept_upto))
    if weights == RANDOM:
        plan = replace(plan, pretrained_upto="none", rest="random")
    if plan.pretrained_upto == plan.kept_upto:
        plan = replace(plan, rest="random")  # there is no rest
    if plan.pretrained_upto == "none":
        plan = replace(plan, parts="all", positions="pretrained")
        weights = RANDOM if plan.rest == "random" else weights
    if plan.parts == "norm":
        plan = replace(plan, positions="pretrained")  # none is taken
    if plan.kept_upto == STAGES[-1]:
        plan = replace(plan, cut_head="mean")
    if plan.frozen_upto == "none":
        plan = replace(plan, frozen_norm="inference")
    return plan, weights


def trainable(net: nn.Module) -> list[nn.Parameter]:
    """The parameters that training moves."""
    return [parameter for parameter in net.parameters() if parameter.requires_grad]


def counts(net: nn.Module) -> tuple[int, int]:
    """How many numbers training moves, and how many parameters there are."""
    return sum(p.numel() for p in trainable(net)), sum(p.numel() for p in net.parameters())


def frozen_prefix(net: StagedNet) -> Stage:
    """The last of the leading stages that are a constant function of the picture; `none` if there are none."""
    return net.inference_upto


def _check(plan: Transfer) -> None:
    for name, kind in get_type_hints(Transfer).items():
        if (value := getattr(plan, name)) not in (possible := get_args(kind)):
            raise UserError(f"the transfer plan's {name} is {value!r}; it can be {', '.join(possible)}")
    if plan.kept_upto == "none":
        raise UserError(f"a network cannot be kept up to none: possible are {', '.join(STAGES)}")
    if _earlier(plan.frozen_upto, plan.kept_upto) != plan.frozen_upto:
        raise UserError(
            f"frozen up to {plan.frozen_upto}, but kept only up to {plan.kept_upto}: "
            f"freeze up to {plan.kept_upto} at most, or keep more"
        )


def _earlier(one: Stage, other: Stage) -> Stage:
    return min(one, other, key=("none", *STAGES).index)


def _chosen(net: StagedNet, plan: Transfer, tensors: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """The tensors that replace random ones: pretrained ones and, in the stages of the rest, what `RESTS` makes of them."""
    norms = norm_tensors(net)
    taken = {"all": set(tensors), "conv": set(tensors) - norms, "norm": norms}[plan.parts]
    if plan.positions == "random":
        positions = position_tensors(net)
        if not positions:
            raise UserError(f"{net.name} holds no positions that could start at random: leave --transfer.positions out")
        taken -= positions
    upto = net.upto(plan.pretrained_upto)
    chosen = {name: tensors[name] for name in tensors if name in taken and net.stage_of(name) in upto}
    if plan.rest != "random":
        weights = {name: tensors[name] for name, _ in net.net.named_parameters() if name in tensors.keys() - norms}
        # All are drawn, whichever are used: a stage's draw then does not depend on where the pretrained part ends.
        with seeded(seed, "mean and variance"):
            drawn = {name: RESTS[plan.rest](tensor) for name, tensor in weights.items()}
        chosen |= {name: tensor for name, tensor in drawn.items() if net.stage_of(name) not in upto}
    return chosen
