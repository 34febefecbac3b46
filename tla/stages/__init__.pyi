from .drawing import about as about
from .drawing import epochs_figure as epochs_figure
from .drawing import figure as figure
from .measuring import Curves as Curves
from .measuring import measure as measure
from .planning import plan as plan
from .tables import Sweep as Sweep
from .tables import read as read

__all__ = [
    "Curves",
    "Sweep",
    "about",
    "epochs_figure",
    "figure",
    "measure",
    "plan",
    "read",
]
