from .runs.tables import load_clips as load_clips
from .runs.tables import load_epochs as load_epochs
from .runs.tables import load_runs as load_runs

__version__: str
