"""What the runs of a study share."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tla.options import Arithmetic, Study
from tla.sound import clips, store

if TYPE_CHECKING:
    import torch

    from tla.nets.weights import Pretrained


@dataclass(frozen=True)
class Material:
    """What the runs of a study share: pictures of the data set, pretrained tensors, the device."""

    study: Study
    store: store.Store
    pretrained: "Pretrained | None"  # None: from scratch
    device: "torch.device"
    precision: Arithmetic

    @property
    def dataset(self) -> clips.Dataset:
        return self.store.dataset
