from .methods import Similarity as Similarity
from .methods import channel as channel
from .methods import cka as cka
from .methods import procrustes as procrustes
from .methods import pwcca as pwcca
from .methods import svcca as svcca
from .moments import Moments as Moments
from .networks import compare as compare
from .networks_figure import compare_figure as compare_figure

__all__ = ["Moments", "Similarity", "channel", "cka", "compare", "compare_figure", "procrustes", "pwcca", "svcca"]
