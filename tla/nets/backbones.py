"""A backbone's name becomes a staged network with random weights.

torchvision's DenseNet, ResNet and Inception are cut by their modules' names, timm's as `timm_networks` tells. Batch-norm
momentum is 0.1 in every backbone: with the 0.01 of some EfficientNets, the statistics of a network trained from scratch on a
small set stay near their start.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from tla.errors import UserError
from tla.nets import timm_networks
from tla.nets.stages import Layout, StagedNet, seeded
from tla.options import STAGES

NAMES = ("densenet201", "resnet50", "inception_v3", "efficientnet_lite0", "densenet_tiny")
TIMM = timm_networks.PREFIX
Shape = timm_networks.Shape
SHAPE: Shape = (3, 128, 250)  # of pictures, where nothing else is known of them
MOMENTUM = 0.1


def build(name: str, classes: int, *, seed: int, shape: Shape = SHAPE) -> StagedNet:
    """The backbone for pictures of a shape, with random weights that depend on the seed alone."""
    if name in _LAYOUTS:
        with seeded(seed):
            staged = StagedNet(name, _original(name, classes), _LAYOUTS[name])
    elif timm_networks.inner_name(name) is not None:
        staged = timm_networks.make(name, classes, shape, seed=seed)
    else:
        raise UserError(f"there is no backbone {name!r}{_near(name)}; there are {', '.join(NAMES)} and {TIMM}NAME")
    for module in staged.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = MOMENTUM
    return staged


def _near(name: str) -> str:
    import timm

    return f" (did you mean {TIMM}{name}?)" if timm.is_model(name) else timm_networks.meant(name, NAMES)


def _original(name: str, classes: int) -> nn.Module:
    from torchvision import models

    match name:
        case "densenet201":
            return models.densenet201(num_classes=classes)
        case "resnet50":
            return models.resnet50(num_classes=classes)
        case "inception_v3":
            # transform_input is off from any start, so that pretrained and random networks see the same picture.
            return models.inception_v3(num_classes=classes, aux_logits=False, transform_input=False, init_weights=True)
    return models.DenseNet(growth_rate=8, block_config=(2, 4, 6, 4), num_init_features=16, num_classes=classes)


def _densenet_head(net: nn.Module, x: Tensor) -> Tensor:
    # Not in place, as the original's ReLU is: x may be a caller's tensor.
    return net.get_submodule("classifier")(F.adaptive_avg_pool2d(F.relu(x), (1, 1)).flatten(1))


def _resnet_head(net: nn.Module, x: Tensor) -> Tensor:
    return net.get_submodule("fc")(net.get_submodule("avgpool")(x).flatten(1))


def _inception_head(net: nn.Module, x: Tensor) -> Tensor:
    return net.get_submodule("fc")(net.get_submodule("dropout")(net.get_submodule("avgpool")(x)).flatten(1))


def _paths(*stages: str, inside: str = "") -> dict[str, tuple[str, ...]]:
    """The modules of the five stages, each given as a line of names."""
    return {stage: tuple(inside + name for name in line.split()) for stage, line in zip(STAGES, stages, strict=True)}


_DENSENET = Layout(
    _paths(
        "conv0 norm0 relu0 pool0",
        "denseblock1 transition1",
        "denseblock2 transition2",
        "denseblock3 transition3",
        "denseblock4 norm5",
        inside="features.",
    ),
    ("classifier",),
    _densenet_head,
)
_RESNET = Layout(_paths("conv1 bn1 relu maxpool", "layer1", "layer2", "layer3", "layer4"), ("fc",), _resnet_head)
_INCEPTION = Layout(
    _paths(
        "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3",
        "maxpool1 Conv2d_3b_1x1 Conv2d_4a_3x3",
        "maxpool2 Mixed_5b Mixed_5c Mixed_5d",
        "Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e",
        "Mixed_7a Mixed_7b Mixed_7c",
    ),
    ("fc",),
    _inception_head,
)
_LAYOUTS = {"densenet201": _DENSENET, "densenet_tiny": _DENSENET, "resnet50": _RESNET, "inception_v3": _INCEPTION}
