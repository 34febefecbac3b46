"""A network as ONNX gives torch's logits, for any number of pictures, and says itself what it takes; or there is no file."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import tla
from tla import cli, predict
from tla.errors import UserError
from tla.nets.transfer import assemble
from tla.options import Picture, Transfer
from tla.runs import onnx_export
from tla.runs.infer import LoadedNetwork
from tla.runs.run import Run

OLD = tuple(map(int, torch.__version__.split(".")[:2])) < onnx_export.OLDEST_TORCH
exports = pytest.mark.skipif(OLD, reason="torch exports no ONNX with the onnxscript of today")
LARGE = ["resnet50", "inception_v3", "densenet201", "timm:mobilenetv3_large_100"]
SMALL = Picture(mels=32, frames=40, rate=8000, seconds=1.0)


@pytest.fixture
def make(run: Run) -> Callable[..., LoadedNetwork]:
    """Makes a network of random weights, and other statistics than its layers begin with."""

    def made(backbone: str, picture: Picture = SMALL, precision: str = "fp32", **plan) -> LoadedNetwork:
        mine = replace(run, backbone=backbone, classes=4, picture=picture, precision=precision)
        mine = replace(mine, transfer=Transfer(pretrained_upto="none", **plan))
        net = assemble(backbone, 4, mine.transfer, None, seed=0)
        generator = torch.Generator().manual_seed(0)
        shape = (3, picture.mels, picture.frames)
        with torch.no_grad():
            net.train()(torch.randn(8, *shape, generator=generator))  # else the logits of a deep one go beyond all bounds
        spread = np.full((3, picture.mels, 1), 2.5, np.float32)
        return LoadedNetwork(mine, list("abcd"), net.eval(), torch.device("cpu"), (spread - 9, spread))

    return made


@pytest.fixture
def stem(make: Callable[..., LoadedNetwork]) -> LoadedNetwork:
    """The smallest network there is."""
    return make("densenet_tiny", kept_upto="stem")


def logits(path: Path, pictures: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"pictures": pictures.astype(np.float32)})[0]


@exports
@pytest.mark.parametrize(
    "backbone", ["densenet_tiny", "efficientnet_lite0", *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]
)
def test_every_backbone_gives_torchs_logits(backbone: str, make: Callable[..., LoadedNetwork], tmp_path: Path) -> None:
    network = make(backbone, replace(SMALL, mels=96, frames=100), frozen_upto="block2")
    made = network.export(tmp_path / "net.onnx")
    pictures = onnx_export.synthetic(network.run.picture)
    wanted = network.logits(pictures)
    assert np.ptp(wanted, axis=0).min() > 1e-3, "pictures that a network cannot tell apart show nothing"
    for count in (1, 3, 10):
        np.testing.assert_allclose(logits(made.path, pictures[:count]), wanted[:count], rtol=1e-4, atol=1e-4)
    assert made.difference <= 1e-4 * max(1, np.abs(wanted).max())


@exports
def test_a_file_says_what_it_takes_and_nothing_of_where_it_was_made(stem: LoadedNetwork, tmp_path: Path) -> None:
    import onnx

    made = stem.export(str(tmp_path / "new" / "net.onnx"))
    model = onnx.load(made.path)
    onnx.checker.check_model(model)
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(about["classes"]) == ["a", "b", "c", "d"]
    assert Picture(**json.loads(about["picture"])) == stem.run.picture
    assert (about["run"], about["tla"], about["opset"]) == (stem.run.key, tla.__version__, "18")
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    (pictures,), (outputs,) = model.graph.input, model.graph.output
    shapes = [[dim.dim_param or dim.dim_value for dim in end.type.tensor_type.shape.dim] for end in (pictures, outputs)]
    assert [pictures.name, outputs.name, *shapes] == ["pictures", "logits", ["batch", 3, 32, 40], ["batch", 4]]
    assert str(Path(tla.__file__).parent).encode() not in made.path.read_bytes()
    assert list(made.path.parent.iterdir()) == [made.path]


@exports
def test_a_run_in_other_arithmetic_is_exported_in_float32(make: Callable[..., LoadedNetwork], tmp_path: Path) -> None:
    network = make("densenet_tiny", precision="bf16", kept_upto="stem")
    pictures = onnx_export.synthetic(network.run.picture)
    found = logits(network.export(tmp_path / "net.onnx").path, pictures)
    whole = replace(network, run=replace(network.run, precision="fp32")).logits(pictures)
    np.testing.assert_allclose(found, whole, atol=1e-5)
    assert np.abs(found - network.logits(pictures)).max() > 1e-4


@exports
def test_a_network_that_comes_out_differently_is_refused_and_not_kept(
    stem: LoadedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = onnx_export._program

    def other(module: torch.nn.Module, pictures: np.ndarray, backbone: str) -> object:
        program = real(module, pictures, backbone)
        module.mean = module.mean + 0.01  # another tensor: the program has the old one
        return program

    monkeypatch.setattr(onnx_export, "_program", other)
    (tmp_path / "net.onnx").write_text("mine")
    with pytest.raises(UserError, match="from torch's, so it was not kept"):
        stem.export(tmp_path / "net.onnx", overwrite=True)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


@exports
def test_a_file_that_is_there_is_not_replaced(stem: LoadedNetwork, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_text("mine")
    with pytest.raises(UserError, match="is there: --overwrite"):
        stem.export(tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").read_text() == "mine"
    with pytest.raises(UserError, match="is a folder: name a file"):
        stem.export(tmp_path, overwrite=True)
    stem.export(tmp_path / "net.onnx", overwrite=True)
    assert (tmp_path / "net.onnx").stat().st_size > 1000


def test_what_is_lacking_is_named(stem: LoadedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.6.0+cu124")
    with pytest.raises(UserError, match=r"takes torch 2\.9 or newer, and this is 2\.6\.0\+cu124: pip install 'tla\[onnx\]'"):
        stem.export(tmp_path / "net.onnx")
    monkeypatch.setattr(onnx_export, "NEEDED", ("onnx", "onnx_of_tomorrow"))
    with pytest.raises(UserError, match=r"there is no onnx_of_tomorrow: pip install 'tla\[onnx\]'"):
        stem.export(tmp_path / "net.onnx")


@exports
def test_the_command_exports_and_a_program_without_torch_predicts(
    few_sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the module's docstring has it, with the network that comes with tla."""
    clip, net = sorted(few_sounds.rglob("*.wav"))[3], tmp_path / "net.onnx"
    words = [str(clip), "--export", str(net), "--run", "packaged", "--device", "cpu"]
    cli.run(predict.main, words, positional="files")
    printed = capsys.readouterr().out
    assert clip.name in printed
    for said in (
        f"{net}, 0.2 MB, ONNX opset 18",
        "pictures: float32 (batch, 3, 128, 250)",
        "standardised within",
        "rate 44100",
    ):
        assert said in printed
    assert "float32; the run was trained in mixed" in printed
    assert "checked     1 pictures: at most" in printed

    lines = onnx_export.__doc__.split("\n\n")[2:4]
    program = "\n".join(line.strip() for part in lines for line in part.splitlines())
    program = program.replace("net.onnx", str(net)).replace("dog.wav", str(clip))
    *steps, last = program.splitlines()
    known: dict = {}
    exec("\n".join(steps), known)
    wanted = tla.load_network(device="cpu")
    wanted = replace(wanted, run=replace(wanted.run, precision="fp32"))
    np.testing.assert_allclose(known["logits"], wanted(*soundfile.read(clip)), atol=1e-4)
    assert eval(last, known) == wanted.classes[wanted(clip)[0].argmax()]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--export", "net.onnx", "--run", "packaged,packaged"], "--export writes one network, and --run names 2"),
        (["--export", "net.onnx", "--csv", "p.csv"], "give sound files"),
    ],
)
def test_impossible_requests_are_refused(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.run(predict.main, words, positional="files")
    assert stop.value.code == 2
    assert says in capsys.readouterr().err
