from .asking import measure as measure
from .asking import plan as plan
from .drawing import about as about
from .drawing import figure as figure
from .explainer import Attribution as Attribution
from .gradients import integrated_gradients as integrated_gradients
from .measuring import Explained as Explained
from .measuring import read as read
from .starts import SILENT as SILENT
from .targets import Target as Target

__all__ = [
    "SILENT",
    "Attribution",
    "Explained",
    "Target",
    "about",
    "figure",
    "integrated_gradients",
    "measure",
    "plan",
    "read",
]
