from .drawing import about as about
from .drawing import figure as figure
from .maps import layer_map as layer_map
from .measuring import measure as measure
from .methods import Similarity as Similarity
from .methods import channel as channel
from .methods import cka as cka
from .methods import procrustes as procrustes
from .methods import pwcca as pwcca
from .methods import svcca as svcca
from .moments import Moments as Moments
from .networks import compare as compare
from .networks_figure import compare_figure as compare_figure
from .pairs import Compared as Compared
from .pairs import plan as plan
from .scoring import Asked as Asked
from .tables import Change as Change
from .tables import read as read

__all__ = [
    "Asked",
    "Change",
    "Compared",
    "Moments",
    "Similarity",
    "about",
    "channel",
    "cka",
    "compare",
    "compare_figure",
    "figure",
    "layer_map",
    "measure",
    "plan",
    "procrustes",
    "pwcca",
    "read",
    "svcca",
]
