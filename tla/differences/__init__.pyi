from .drawing import about as about
from .drawing import figure as figure
from .measuring import Difference as Difference
from .measuring import measure as measure
from .measuring import read as read

__all__ = [
    "Difference",
    "about",
    "figure",
    "measure",
    "read",
]
