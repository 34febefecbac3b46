"""tla: what does a CNN pretrained on photographs bring to sound, where in the network, and can we trust the answer?"""

from typing import TYPE_CHECKING, Any

from tla import interrupts

if TYPE_CHECKING:
    from tla.runs.tables import load_clips, load_epochs, load_runs

__version__ = "0.1.0"
__all__ = ["__version__", "load_clips", "load_epochs", "load_runs"]


def __getattr__(name: str) -> Any:
    """The tables for notebooks, which need pandas, come when they are asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("tla.runs.tables"), name)


if interrupts.is_command():
    interrupts.install()
