"""How a run was made: versions, commit, machine."""

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import tla

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "librosa", "soundfile", "safetensors")


@functools.cache
def provenance(device: str) -> dict[str, Any]:
    """What a reader of the run's numbers may want to know of their making."""
    import torch

    versions = {name: metadata.version(name) for name in PACKAGES}
    machine = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    return {
        "tla": tla.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        **versions,
        "device": device,
        "machine": machine,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
    }


def _commit() -> str | None:
    """The commit of a checkout, with `+` where files differ from it; None for an installed package."""
    root = Path(tla.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10)
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=root, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "") if head.returncode == 0 else None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.is_file()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()
