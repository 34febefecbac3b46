"""The device that `--device` names, and the CPU threads of a piece of work."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tla.errors import UserError

if TYPE_CHECKING:
    import torch


def choose_device(name: str) -> "torch.device":
    """The device of a `--device`."""
    import torch

    if name == "auto":
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError
    except (RuntimeError, AssertionError):
        have = ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        raise UserError(f"--device {name} cannot be used here; this machine has {have}") from None
    return device


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """So many CPU threads for torch inside the block. Their number decides how sums are rounded."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
