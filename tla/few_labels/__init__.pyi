from .drawing import about as about
from .drawing import figure as figure
from .measuring import Curves as Curves
from .measuring import measure as measure
from .planning import plan as plan
from .tables import Labels as Labels
from .tables import read as read
from .worth import worth_of as worth_of

__all__ = ["Curves", "Labels", "about", "figure", "measure", "plan", "read", "worth_of"]
