from .drawing import about as about
from .drawing import figure as figure
from .measuring import measure as measure
from .path_drawing import path_figure as path_figure
from .planning import plan as plan
from .states import barrier as barrier
from .states import path as path
from .states import rewind as rewind
from .states import soup as soup
from .tables import Basin as Basin
from .tables import read as read

__all__ = ["Basin", "about", "barrier", "figure", "measure", "path", "path_figure", "plan", "read", "rewind", "soup"]
