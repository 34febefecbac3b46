"""A trained network as ONNX, for programs without torch; the file is held against torch before it gets its name.

Input: `pictures`, float32 (batch, 3, mels, frames), what `tla.sound.picture` makes of a sound; the standardisation of the
run's recipe is in the file. Output: `logits`, float32 (batch, classes). What the pictures are and what the classes are called
stand in the file's metadata, so that this is all that it takes:

    import json, onnxruntime, soundfile
    from tla.sound import Picture, picture

    session = onnxruntime.InferenceSession("net.onnx")
    about = session.get_modelmeta().custom_metadata_map
    image = picture(*soundfile.read("dog.wav"), Picture(**json.loads(about["picture"])))
    (logits,) = session.run(None, {"pictures": image[None]})
    json.loads(about["classes"])[logits[0].argmax()]

A network computes in float32 there, whatever the arithmetic of its run.
"""

import copy
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import tla
from tla.errors import UserError
from tla.files import replacing
from tla.nets.stages import StagedNet
from tla.options import Picture
from tla.runs.feed import network_input
from tla.runs.run import Run
from tla.sound import toy, windowed

NEEDED = ("onnx", "onnxruntime", "onnxscript")
OLDEST_TORCH = (2, 9)  # the exporters of before do not work with the onnxscript of today
OPSET = 18
INPUT, OUTPUT = "pictures", "logits"
TOLERANCE = 1e-4  # of the largest logit or, where that is below 1, as it is


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written."""

    path: Path
    opset: int
    run: Run
    classes: tuple[str, ...]
    pictures: int
    """How many it was held against torch on."""
    difference: float
    """How far its logits are from torch's, at most."""


def export(
    net: StagedNet,
    standard: tuple[np.ndarray, np.ndarray] | None,
    run: Run,
    classes: Sequence[str],
    pictures: np.ndarray,
    path: Path,
    *,
    overwrite: bool = False,
) -> Exported:
    """Write a run's network; `UserError`, and no file, where it gives other logits than torch on the pictures."""
    _check(path, overwrite)
    module = _Standardised(net, standard)
    program = _program(module, pictures, run.backbone)
    about = {
        "tla": tla.__version__,
        "run": run.key,
        "backbone": run.backbone,
        "data": run.data,
        "classes": json.dumps(list(classes)),
        "picture": json.dumps(asdict(run.picture)),
        "opset": str(OPSET),
        "arithmetic": "fp32",
        "trained_in": run.precision,
    }
    program.model.metadata_props.update(about)
    for node in program.model.graph:
        node.metadata_props.clear()  # which lines of which files it came from
    with replacing(path) as temporary:
        program.save(temporary, external_data=False)
        difference = _difference(temporary, module, pictures)
    return Exported(path=path, opset=OPSET, run=run, classes=tuple(classes), pictures=len(pictures), difference=difference)


def synthetic(picture: Picture) -> np.ndarray:
    """Pictures of a synthetic sound of each toy class."""
    rng = np.random.default_rng(0)
    return np.concatenate([windowed.in_memory(toy.sound(label, rng), toy.RATE, picture)[:1] for label in toy.CLASSES])


def _check(path: Path, overwrite: bool) -> None:
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise UserError(f"ONNX takes the packages {', '.join(NEEDED)}; there is no {missing[0]}: pip install 'tla[onnx]'")
    if tuple(map(int, torch.__version__.split(".")[:2])) < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        raise UserError(f"ONNX takes torch {oldest} or newer, and this is {torch.__version__}: pip install 'tla[onnx]'")
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file, as in {path / 'net.onnx'}")
    if path.exists() and not overwrite:
        raise UserError(f"{path} is there: --overwrite (overwrite=True) replaces it, or name another file")


class _Standardised(nn.Module):
    """A copy of the network on the CPU, with what comes before it."""

    mean: Tensor
    spread: Tensor

    def __init__(self, net: StagedNet, standard: tuple[np.ndarray, np.ndarray] | None) -> None:
        super().__init__()
        self.net, self.standardises = copy.deepcopy(net).cpu(), standard is not None
        if standard is not None:
            self.register_buffer("mean", torch.from_numpy(standard[0]).float())
            self.register_buffer("spread", torch.from_numpy(standard[1]).float())
        self.eval()

    def forward(self, pictures: Tensor) -> Tensor:
        return self.net(network_input(pictures, (self.mean, self.spread) if self.standardises else None))


def _program(module: nn.Module, pictures: np.ndarray, backbone: str) -> Any:
    example = torch.zeros(2, *pictures.shape[1:])  # of one picture, the exporter would think that there is never another
    try:
        with torch.no_grad():
            return torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"torch cannot export {backbone} as ONNX: {why}") from error


def _difference(path: Path, module: nn.Module, pictures: np.ndarray) -> float:
    """How far the file's logits are from torch's, with all pictures at once and with one; `UserError` if that is too far."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    values = np.asarray(pictures, np.float32)
    furthest = 0.0
    for some in (values, values[:1]):
        with torch.inference_mode():
            wanted = module(torch.from_numpy(some)).numpy()
        (found,) = session.run([OUTPUT], {INPUT: some})
        difference = float(np.abs(found - wanted).max())
        if not difference <= TOLERANCE * max(1.0, float(np.abs(wanted).max())):
            raise UserError(
                f"the network as ONNX gives logits that are {difference:.2g} from torch's, so it was not kept; try other "
                f"versions of torch (here {torch.__version__}) and onnxruntime ({onnxruntime.__version__})"
            )
        furthest = max(furthest, difference)
    return furthest
