from .planning import measure as measure
from .planning import plan as plan
from .report import Report as Report
from .report_tables import figure as figure

__all__ = [
    "Report",
    "figure",
    "measure",
    "plan",
]
