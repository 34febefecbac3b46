"""The device that `--device` names."""

from typing import TYPE_CHECKING

from tla.errors import UserError

if TYPE_CHECKING:
    import torch


def choose_device(name: str) -> "torch.device":
    """The device of a `--device`."""
    import torch

    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError
    except (RuntimeError, AssertionError):
        have = ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        raise UserError(f"--device {name} cannot be used here; this machine has {have}") from None
    return device
