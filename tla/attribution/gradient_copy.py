"""A copy of a module for gradients with respect to its inputs: less memory, less time, and the module stays untouched."""

import copy
from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from tla.errors import UserError
from tla.nets.stages import HEAD, StagedNet

Net = TypeVar("Net", bound=nn.Module)


def placed(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where a module is, and the precision that its gradients are taken in: its own, but single precision at least."""
    tensors = [*module.parameters(), *module.buffers()]
    types = [tensor.dtype for tensor in tensors if tensor.is_floating_point()]
    return next((tensor.device for tensor in tensors), torch.device("cpu")), reduce(torch.promote_types, types, torch.float32)


def copy_of(net: Net, dtype: torch.dtype = torch.float32, *, half: bool = False) -> Net:
    """The module in inference mode, its parameters without gradients; a staged network is channels-last too.

    With `half`, convolutions and linear layers behind the stem hold bf16: autocast would round them anew for every batch.
    Grouped convolutions do not, since `mixed` arithmetic computes them in float32.
    """
    try:
        lean = copy.deepcopy(net)
    except Exception as error:  # what a module holds may refuse in any way
        mend = "if it keeps outputs of its last pass, let it keep them detached"
        raise UserError(f"{type(net).__name__} cannot be copied ({error}); {mend}") from error
    lean = lean.eval().requires_grad_(False).to(dtype)
    if isinstance(lean, StagedNet):
        lean = lean.to(memory_format=torch.channels_last)
        for stage in (*lean.stages[1:], HEAD) if half else ():
            for module in lean.stage_modules(stage):
                if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
                    module.to(torch.bfloat16)
    return lean


def first(outputs: Any) -> Tensor:
    """A module's outputs, or the first of several."""
    found = outputs[0] if isinstance(outputs, tuple | list) and outputs else outputs
    if not isinstance(found, Tensor):
        kind = type(found).__name__
        raise UserError(f"the module returns a {kind}, not a tensor or a tuple that begins with one: wrap it in one that does")
    return found


def kept(forward: Callable[[Tensor], Tensor], one: Tensor, net: nn.Module) -> tuple[int, int]:
    """Bytes that the way back to one input (1, ...) will need, in all and in the largest piece.

    What autograd keeps on the way forward is counted; the module's own tensors are not.
    """
    fixed = {tensor.untyped_storage().data_ptr() for tensor in net.state_dict().values()}
    pieces: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in fixed:
            pieces[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # a node that holds its own output whole, with its way back to the node, is never freed

    with torch.enable_grad(), saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = forward(one.clone().requires_grad_())  # holds every piece, so that no two have had the same place
    del outputs
    return sum(pieces.values()), max(pieces.values(), default=one.nbytes)


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
        raise ValueError("batch norm uses the statistics of its batch, so what it makes of an input depends on the others")
    return _Scale.apply(x, mean, var, weight, bias, eps)


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        scale = torch.rsqrt(var + eps)
        scale = scale if weight is None else scale * weight
        ctx.scale = scale.view(-1, *(1,) * (x.ndim - 2)).to(x.dtype)
        return functional.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0] * ctx.scale, None, None, None, None, None
