from .explainer import Attribution as Attribution
from .gradients import integrated_gradients as integrated_gradients
from .starts import SILENT as SILENT
from .targets import Target as Target

__all__ = ["SILENT", "Attribution", "Target", "integrated_gradients"]
