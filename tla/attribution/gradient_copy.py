"""A copy of a network for gradients with respect to its pictures: less memory, less time, and the network stays untouched."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from tla.nets.stages import HEAD, StagedNet


def copy_of(net: StagedNet, *, half: bool = False) -> StagedNet:
    """The network in inference mode, channels-last, its parameters without gradients.

    With `half`, convolutions and linear layers behind the stem hold bf16: autocast would round them anew for every batch.
    Grouped convolutions do not, since `mixed` arithmetic computes them in float32.
    """
    lean = copy.deepcopy(net).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    for stage in (*lean.stages[1:], HEAD) if half else ():
        for module in lean.stage_modules(stage):
            if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
                module.to(torch.bfloat16)
    return lean


def kept(forward: Callable[[Tensor], Tensor], picture: Tensor, net: StagedNet) -> tuple[int, int]:
    """Bytes that the way back from a picture (1, 3, mels, frames) will need, in all and in the largest piece.

    What autograd keeps on the way forward is counted; the network's own tensors are not.
    """
    fixed = {tensor.untyped_storage().data_ptr() for tensor in net.state_dict().values()}
    pieces: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in fixed:
            pieces[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # a node that holds its own output whole, with its way back to the node, is never freed

    with torch.enable_grad(), saved_tensors_hooks(note, lambda tensor: tensor):
        logits = forward(picture.clone().requires_grad_())  # holds every piece, so that no two have had the same place
    del logits
    return sum(pieces.values()), max(pieces.values(), default=picture.nbytes)


class ConstantNorms(TorchFunctionMode):
    """Batch norm in inference mode is a constant scale and shift: its gradient needs the scale alone; torch keeps the input."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (_batch_norm if func is functional.batch_norm else func)(*args, **(kwargs or {}))


def _batch_norm(
    x: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if training or mean is None or var is None:
        raise ValueError("batch norm uses the statistics of its batch; put the network into inference mode")
    return _Scale.apply(x, mean, var, weight, bias, eps)


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        scale = torch.rsqrt(var + eps)
        ctx.scale = (scale if weight is None else scale * weight)[:, None, None].to(x.dtype)
        return functional.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0] * ctx.scale, None, None, None, None, None
