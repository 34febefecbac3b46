from .drawing import about as about
from .drawing import figure as figure
from .measuring import Ensemble as Ensemble
from .measuring import measure as measure
from .measuring import read as read
from .planning import plan as plan
from .soups import averaged_weights as averaged_weights

__all__ = [
    "Ensemble",
    "about",
    "averaged_weights",
    "figure",
    "measure",
    "plan",
    "read",
]
