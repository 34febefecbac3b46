"""The network that a run begins with; it fills pictures that are smaller than it takes up with silence."""

from collections.abc import Sequence

import numpy as np
import torch

from tla.nets.stages import StagedNet
from tla.nets.transfer import assemble
from tla.nets.weights import Pretrained
from tla.options import Transfer
from tla.runs.run import Run
from tla.sound.spectrograms import SILENCE

Standard = Sequence[np.ndarray]  # mean and spread (3, mels, 1) of pictures


def begin(
    run: Run,
    pretrained: Pretrained | None,
    standard: Standard | None = None,
    *,
    transfer: Transfer | None = None,
    seed: int | None = None,
) -> StagedNet:
    """A run's network before its training, or the same under another plan or from another seed.

    Args:
        pretrained: The run's weights; None where no stage starts from any.
        standard: What the run's pictures are standardised with.
    """
    seed = run.seed if seed is None else seed
    net = assemble(run.backbone, run.classes, transfer or run.transfer, pretrained, seed=seed, shape=run.shape)
    return hushed(net, standard, run.picture.mels)


def hushed(net: StagedNet, standard: Standard | None, mels: int) -> StagedNet:
    """The network, told what silence is in pictures as it takes them."""
    silent = np.full((3, mels, 1), SILENCE, dtype=np.float32)
    net.silence = torch.from_numpy(silent if standard is None else (silent - standard[0]) / standard[1])
    return net
