from .runs.infer import LoadedNetwork as LoadedNetwork
from .runs.infer import load_network as load_network
from .runs.tables import load_clips as load_clips
from .runs.tables import load_epochs as load_epochs
from .runs.tables import load_runs as load_runs

__version__: str
