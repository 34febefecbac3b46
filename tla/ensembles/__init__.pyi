from .drawing import about as about
from .drawing import figure as figure
from .measuring import Ensemble as Ensemble
from .measuring import measure as measure
from .measuring import read as read
from .planning import plan as plan

__all__ = [
    "Ensemble",
    "about",
    "figure",
    "measure",
    "plan",
    "read",
]
