from .command import plan as plan
from .drawing import figure as figure
from .drawing import suggestion as suggestion
from .measuring import Clips as Clips
from .measuring import Outcome as Outcome
from .measuring import Stage as Stage
from .measuring import measure as measure
from .measuring import read_out as read_out
from .networks import clips_of as clips_of
from .networks import costs as costs
from .networks import materials as materials
from .networks import stages as stages
from .scores import Linear as Linear
from .scores import h_score as h_score
from .scores import linear as linear
from .scores import logme as logme
from .scores import nearest as nearest
from .scores import nearest_elsewhere as nearest_elsewhere
from .tables import Readout as Readout

__all__ = [
    "Clips",
    "Linear",
    "Outcome",
    "Readout",
    "Stage",
    "clips_of",
    "costs",
    "figure",
    "h_score",
    "linear",
    "logme",
    "materials",
    "measure",
    "nearest",
    "nearest_elsewhere",
    "plan",
    "read_out",
    "stages",
    "suggestion",
]
