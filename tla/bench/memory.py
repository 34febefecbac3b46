"""How much memory this process, or its accelerator, holds and has held."""

from pathlib import Path

import torch


def held_gb(device: torch.device, *, peak: bool = False) -> float | None:
    """GB that are held, or have been since `forget_peak`; None where the system does not report it."""
    if device.type == "cuda":
        return (torch.cuda.max_memory_allocated(device) if peak else torch.cuda.memory_allocated(device)) / 1e9
    status, name = Path("/proc/self/status"), "VmHWM:" if peak else "VmRSS:"
    if not status.is_file():
        return None
    return next(int(line.split()[1]) * 1024 / 1e9 for line in status.read_text().splitlines() if line.startswith(name))


def forget_peak(device: torch.device) -> None:
    """From now on, the peak is that of what follows."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif (forget := Path("/proc/self/clear_refs")).exists():
        forget.write_text("5")
