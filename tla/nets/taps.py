"""Named stage outputs for a batch of pictures."""

from torch import Tensor

from tla.nets.stages import HEAD, StagedNet


def stage_outputs(net: StagedNet, x: Tensor) -> dict[str, Tensor]:
    """What each stage makes of the pictures, and the head's logits; gradients flow through them.

    No hooks: a later stage works on a copy, so that its in-place operations cannot overwrite what is handed out.
    """
    outputs = {}
    for stage in (*net.stages, HEAD):
        outputs[stage] = x = net.run(stage, x)
        x = x.clone()
    return outputs
