from . import attribution as attribution
from . import differences as differences
from . import ensembles as ensembles
from . import few_labels as few_labels
from . import paper as paper
from . import similarity as similarity
from . import sound as sound
from . import stages as stages
from . import starts as starts
from .launch.plan import Plan as Plan
from .launch.study import plan as plan
from .launch.study import train_missing as train_missing
from .options import Augment as Augment
from .options import Picture as Picture
from .options import Place as Place
from .options import Recipe as Recipe
from .options import Study as Study
from .options import Transfer as Transfer
from .runs.arms import find_arm as find_arm
from .runs.arms import find_run as find_run
from .runs.infer import LoadedNetwork as LoadedNetwork
from .runs.infer import load_network as load_network
from .runs.tables import load_clips as load_clips
from .runs.tables import load_epochs as load_epochs
from .runs.tables import load_runs as load_runs

__version__: str
