"""A backbone's name becomes a staged network with random weights.

torchvision's DenseNet, ResNet and Inception are cut by their modules' names. timm's networks are cut by their feature
information: a stage ends with the last feature at its stride. Batch-norm momentum is 0.1 in every backbone: with the
0.01 of some EfficientNets, the statistics of a network trained from scratch on a small set stay near their start.
"""

import difflib
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tla.errors import UserError
from tla.nets.stages import HEAD, Layout, StagedNet, seeded
from tla.options import STAGES

NAMES = ("densenet201", "resnet50", "inception_v3", "efficientnet_lite0", "densenet_tiny")
TIMM = "timm:"
MOMENTUM = 0.1


def build(name: str, classes: int, *, seed: int) -> StagedNet:
    """The backbone with random weights that depend on the seed alone."""
    with seeded(seed):
        net = _original(name, classes)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = MOMENTUM
    layout = _LAYOUTS[name] if name in _LAYOUTS else _timm_layout(name, net)
    staged = StagedNet(name, net, layout)
    if name.startswith(TIMM):
        _check_chain(staged)
    return staged


def timm_name(name: str) -> str | None:
    """What timm calls the backbone, if it is one of timm's."""
    if name == "efficientnet_lite0":
        return "tf_efficientnet_lite0"
    return name.removeprefix(TIMM) if name.startswith(TIMM) else None


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
        case "densenet_tiny":
            return models.DenseNet(growth_rate=8, block_config=(2, 4, 6, 4), num_init_features=16, num_classes=classes)
    return _timm_original(name, classes)


def _timm_original(name: str, classes: int) -> nn.Module:
    import timm

    inner = timm_name(name)
    if inner is None:
        near = f" (did you mean {TIMM}{name}?)" if timm.is_model(name) else _meant(name, NAMES)
        raise UserError(f"there is no backbone {name!r}{near}; there are {', '.join(NAMES)} and {TIMM}NAME")
    if not timm.is_model(inner):
        near = _meant(inner, timm.list_models(), TIMM)
        raise UserError(f"timm knows no network {inner!r}{near}; python -c 'import timm; print(timm.list_models())' lists them")
    try:
        return timm.create_model(inner, num_classes=classes)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise UserError(f"timm cannot make {inner!r}: {_first_line(error)}") from None


def _meant(name: str, names: tuple[str, ...] | list[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    return f" (did you mean {' or '.join(prefix + match for match in near)}?)" if near else ""


def _densenet_head(net: nn.Module, x: Tensor) -> Tensor:
    # Not in place, as the original's ReLU is: x may be a caller's tensor.
    return net.get_submodule("classifier")(F.adaptive_avg_pool2d(F.relu(x), (1, 1)).flatten(1))


def _resnet_head(net: nn.Module, x: Tensor) -> Tensor:
    return net.get_submodule("fc")(net.get_submodule("avgpool")(x).flatten(1))


def _inception_head(net: nn.Module, x: Tensor) -> Tensor:
    return net.get_submodule("fc")(net.get_submodule("dropout")(net.get_submodule("avgpool")(x)).flatten(1))


def _timm_head(net: nn.Module, x: Tensor) -> Tensor:
    return net.forward_head(x)  # type: ignore[operator]  # every timm network has it


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
    "classifier",
    _densenet_head,
)
_RESNET = Layout(_paths("conv1 bn1 relu maxpool", "layer1", "layer2", "layer3", "layer4"), "fc", _resnet_head)
_INCEPTION = Layout(
    _paths(
        "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3",
        "maxpool1 Conv2d_3b_1x1 Conv2d_4a_3x3",
        "maxpool2 Mixed_5b Mixed_5c Mixed_5d",
        "Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e",
        "Mixed_7a Mixed_7b Mixed_7c",
    ),
    "fc",
    _inception_head,
)
_LAYOUTS = {"densenet201": _DENSENET, "densenet_tiny": _DENSENET, "resnet50": _RESNET, "inception_v3": _INCEPTION}

_PROBE = (1, 3, 128, 160)  # a picture on which timm's networks are traced and checked


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")


def _not_a_chain(name: str, why: str) -> UserError:
    works = ", ".join(TIMM + network for network in ("resnet18", "convnext_tiny", "mobilenetv3_large_100"))
    return UserError(f"{name} cannot be cut into stages at strides 4, 8, 16 and 32: {why}; what works: {works} and their like")


def _timm_layout(name: str, net: nn.Module) -> Layout:
    marks = _features(name, net)
    chain = [part for path in _calls(name, net) for part in _expanded(net, path, set(marks.values()))]
    lost = [mark for mark in marks.values() if mark not in chain]
    if lost:
        raise _not_a_chain(name, f"{lost[0] or 'its stem'} is not a module of its main road")
    ends = [chain.index(marks[stride]) + 1 for stride in (4, 8, 16)]
    bounds = [0, chain.index(marks[2]) + 1 if 2 in marks else ends[0] - 1, *ends, len(chain)]
    if any(end <= start for start, end in pairwise(bounds)):
        raise _not_a_chain(name, "a stage would be empty")
    stages: dict[str, tuple[str, ...]] = {
        stage: tuple(chain[start:end]) for stage, (start, end) in zip(STAGES, pairwise(bounds), strict=True)
    }
    return Layout(stages, _classifier(name, net), _timm_head)


def _features(name: str, net: nn.Module) -> dict[int, str]:
    """The last feature module at each stride."""
    info = getattr(net, "feature_info", None) or []
    marks = {int(feature["reduction"]): str(feature["module"]) for feature in info}
    if missing := {4, 8, 16, 32} - marks.keys():
        raise _not_a_chain(name, f"it has no feature at stride {min(missing)}")
    return {stride: marks[stride] for stride in (2, 4, 8, 16, 32) if stride in marks}


def _calls(name: str, net: nn.Module) -> list[str]:
    """The outermost modules that `forward_features` calls, in order."""
    calls: list[str] = []
    depth = [0]

    def enter(path: str) -> None:
        if depth[0] == 0:
            calls.append(path)
        depth[0] += 1

    def leave() -> None:
        depth[0] -= 1

    handles = []
    for path, module in net.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, path=path: enter(path)))
        handles.append(module.register_forward_hook(lambda *_: leave()))
    try:
        with torch.no_grad():
            net.eval().forward_features(torch.zeros(_PROBE))  # type: ignore[operator]
    except (RuntimeError, ValueError, AssertionError) as error:
        raise _not_a_chain(name, f"it cannot take a picture of {_PROBE[2]} x {_PROBE[3]} ({_first_line(error)})") from None
    finally:
        net.train()
        for handle in handles:
            handle.remove()
    return calls


def _expanded(net: nn.Module, path: str, marks: set[str]) -> list[str]:
    """The module, or the parts of a sequence if a feature ends strictly inside it."""
    module = net.get_submodule(path)
    if not isinstance(module, nn.Sequential) or not any(mark.startswith(path + ".") for mark in marks):
        return [path]
    return [part for name, _ in module.named_children() for part in _expanded(net, f"{path}.{name}", marks)]


def _classifier(name: str, net: nn.Module) -> str:
    classifier = net.get_classifier()  # type: ignore[operator]
    paths = [path for path, module in net.named_modules() if module is classifier]
    if not paths:
        raise _not_a_chain(name, "its classifier is not one module")
    return paths[0]


def _check_chain(staged: StagedNet) -> None:
    """A network that computes more than its modules one after the other is refused, not silently changed."""
    pictures = torch.randn(_PROBE, generator=torch.Generator().manual_seed(0))
    staged.eval()
    try:
        with torch.no_grad():
            original, x = staged.net(pictures), pictures
            for stage in staged.stages:
                version, before = x._version, x
                x = staged.run(stage, x)
                _check_output(staged, stage, x)
                if before._version != version:
                    raise _not_a_chain(staged.name, f"its {stage} overwrites its own input")
            same = torch.equal(staged.run(HEAD, x), original)
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise _not_a_chain(staged.name, _first_line(error)) from None
    finally:
        staged.train()
    if not same:
        raise _not_a_chain(staged.name, "it computes more than its modules one after the other")


def _check_output(staged: StagedNet, stage: str, x: object) -> None:
    """A stage's output is (clips, channels, height, width), at its stride and with the channels that timm promises."""
    channels = {str(feature["module"]): feature["num_chs"] for feature in staged.net.feature_info}  # type: ignore[union-attr]
    wanted = channels.get(staged.layout.stages[stage][-1])
    if not isinstance(x, Tensor) or x.ndim != 4:
        raise _not_a_chain(staged.name, f"its {stage} does not give (clips, channels, height, width)")
    fits = wanted in (None, x.shape[1])
    if fits and stage == "stem":  # width and height differ, so that (clips, height, width, channels) shows here
        fits = any(0.8 * _PROBE[2] < x.shape[2] * stride < 1.1 * _PROBE[2] for stride in (2, 4))
    if not fits:
        raise _not_a_chain(staged.name, f"its {stage} gives {tuple(x.shape)}, not (clips, channels, height, width)")
