from .drawing import figure as figure
from .measuring import Starts as Starts
from .measuring import measure as measure
from .measuring import read as read
from .planning import plan as plan

__all__ = [
    "Starts",
    "figure",
    "measure",
    "plan",
    "read",
]
