from .drawing import about as about
from .drawing import figure as figure
from .drawing import suggestion as suggestion
from .measuring import Asked as Asked
from .measuring import Clips as Clips
from .measuring import Outcome as Outcome
from .measuring import Stage as Stage
from .measuring import measure as measure
from .measuring import read_out as read_out
from .planning import plan as plan
from .scores import Linear as Linear
from .scores import h_score as h_score
from .scores import linear as linear
from .scores import logme as logme
from .scores import nearest as nearest
from .scores import nearest_elsewhere as nearest_elsewhere
from .tables import Readout as Readout
from .tables import read as read

__all__ = [
    "Asked",
    "Clips",
    "Linear",
    "Outcome",
    "Readout",
    "Stage",
    "about",
    "figure",
    "h_score",
    "linear",
    "logme",
    "measure",
    "nearest",
    "nearest_elsewhere",
    "plan",
    "read",
    "read_out",
    "suggestion",
]
