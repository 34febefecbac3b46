"""The arithmetic that a network computes in: float32, bf16, or bf16 with grouped convolutions in float32.

bf16 is faster where the processor has instructions that multiply matrices in it. A grouped (depthwise) convolution is no
matrix product, and CPU libraries have no good bf16 code for it: its backward pass takes several times longer than in float32.
`mixed` therefore computes these layers in float32 and hands their outputs on in bf16. Weights are float32 in all of them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tla.options import Arithmetic

AMPERE = (8, 0)  # the first GPUs that multiply in bf16

_CONV2D: Any = torch.conv2d
_GROUPS = 6  # the place of `groups` among the arguments of torch.conv2d


@contextmanager
def computing(device: torch.device, precision: Arithmetic) -> Iterator[None]:
    """Forward passes inside the block compute so; a backward pass follows its forward pass, but for `full_precision`."""
    ways: dict[Arithmetic, Callable[[], AbstractContextManager[Any]]]
    ways = {"fp32": full_precision, "bf16": nullcontext, "mixed": partial(_GroupedInFloat, device.type)}
    with torch.autocast(device.type, torch.bfloat16, enabled=precision != "fp32"), ways[precision]():
        yield


@contextmanager
def full_precision() -> Iterator[None]:
    """float32 is float32 inside the block, also in backward passes: GPUs would multiply with 10 bits (TF32) otherwise."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def choose(asked: str, device: torch.device, net: nn.Module | None = None) -> Arithmetic:
    """The arithmetic of a `--precision`; auto: bf16 where the processor has instructions for it, `mixed` on CPUs where the
    network has grouped convolutions."""
    if asked == "fp32" or (asked == "auto" and not _has_bf16(device)):
        return "fp32"
    grouped = net is not None and any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in net.modules())
    if asked == "auto":
        return "mixed" if grouped and device.type == "cpu" else "bf16"
    return "mixed" if asked == "mixed" else "bf16"


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= AMPERE  # torch says yes also where it emulates
    info = Path("/proc/cpuinfo")
    flags = info.read_text().split() if device.type == "cpu" and info.is_file() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags


class _GroupedInFloat(TorchFunctionMode):
    """Computes grouped convolutions in float32, and hands their outputs on in bf16."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        options = kwargs or {}
        if function is _CONV2D and options.get("groups", args[_GROUPS] if len(args) > _GROUPS else 1) > 1:
            with torch.autocast(self.device, enabled=False):
                values = [arg.float() if isinstance(arg, Tensor) else arg for arg in args]
                return function(*values, **options).to(torch.bfloat16)
        return function(*args, **options)
