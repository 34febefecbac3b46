from .activations import stage_outputs as stage_outputs
from .stages import StagedNet as StagedNet
from .transfer import STAGES as STAGES
from .transfer import Transfer as Transfer
from .transfer import staged as staged

__all__ = ["STAGES", "StagedNet", "Transfer", "stage_outputs", "staged"]
