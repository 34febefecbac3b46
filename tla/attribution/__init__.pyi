from .asking import measure as measure
from .asking import plan as plan
from .drawing import about as about
from .drawing import figure as figure
from .measuring import Explained as Explained
from .measuring import read as read
