"""What the runs of a study share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tla.options import Arithmetic, Study
from tla.sound import clips, store

if TYPE_CHECKING:
    import numpy as np
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
    given: Mapping[str, str] = field(default_factory=dict)
    """Where the user's clips and weights lie: hints that each run keeps, so that these are found again."""

    @property
    def dataset(self) -> clips.Dataset:
        return self.store.dataset

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the pictures: channels, mels, frames."""
        picture = self.store.picture
        return 3, picture.mels, picture.frames or 0

    def on(self, device: str, workers: int) -> "Material":
        """The same on another device, with so many worker processes for live pictures."""
        import torch

        return replace(self, device=torch.device(device), store=replace(self.store, workers=workers))

    def __reduce__(self) -> tuple[Callable[..., "Material"], tuple[Any, ...]]:
        """How it goes to another process: pretrained tensors as arrays; pictures stay on disk, where `store.folder` is."""
        pictures = replace(self.store, folder=self.store.folder.absolute())
        tensors, identity = None, ""
        if self.pretrained is not None:
            tensors = {name: tensor.numpy() for name, tensor in self.pretrained.tensors.items()}
            identity = self.pretrained.identity
        return _received, (self.study, pictures, tensors, identity, str(self.device), self.precision, self.given)


def _received(
    study: Study,
    pictures: store.Store,
    tensors: "dict[str, np.ndarray] | None",
    identity: str,
    device: str,
    precision: Arithmetic,
    given: Mapping[str, str],
) -> Material:
    """A material in the process to which it was sent."""
    import torch

    from tla.nets.weights import Pretrained

    pretrained = None
    if tensors is not None:
        pretrained = Pretrained({name: torch.tensor(values) for name, values in tensors.items()}, identity)
    return Material(study, pictures, pretrained, torch.device(device), precision, given)
