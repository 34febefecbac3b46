"""Weights from the Hugging Face hub: safetensors alone, by name and revision; a clear line where there is no network."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors
from safetensors.torch import save_file

from tla.errors import UserError
from tla.nets import hub, staged, weights
from tla.nets.backbones import build

NAME = "hf_hub:somebody/sounds"


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_answers", lambda url: True)


@pytest.mark.usefixtures("reachable")
def test_a_name_and_a_revision_become_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = build("densenet_tiny", 3, seed=5)
    save_file(net.net.state_dict(), tmp_path / "model.safetensors")
    asked: list[tuple[Any, ...]] = []

    def download(name: str, file: str, *, revision: str | None) -> str:
        asked.append((name, file, revision))
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    found = weights.load(f"{NAME}@v1.0", "densenet_tiny")
    assert asked == [("somebody/sounds", "model.safetensors", "v1.0")]
    assert found.identity == weights.identity(str(tmp_path / "model.safetensors"), "densenet_tiny")
    assert found.identity == weights.identity(NAME, "densenet_tiny")
    assert asked[1:] == [("somebody/sounds", "model.safetensors", None)]
    twin = staged("densenet_tiny", 3, weights=NAME)
    assert all(twin.net.state_dict()[name].equal(tensor) for name, tensor in found.tensors.items())


def test_without_network_it_says_so_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_answers", lambda url: False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"hub does not answer, and its cache lacks model\.safetensors of some"):
        weights.load(NAME, "densenet_tiny")


@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (errors.RemoteEntryNotFoundError, r"holds no model\.safetensors: only safetensors are read"),
        (errors.RepositoryNotFoundError, "has no hf_hub:somebody/sounds, or not for all: give hf_hub:OWNER/NAME"),
        (errors.RevisionNotFoundError, "has no hf_hub:somebody/sounds, or not for all: give hf_hub:OWNER/NAME"),
    ],
)
def test_what_is_not_there_is_named(error: type, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*what: object, **options: object) -> str:
        failed = error.__new__(error)
        raise failed

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(UserError, match=says):
        weights.load(NAME, "densenet_tiny")


def test_what_is_no_name_is_refused() -> None:
    with pytest.raises(UserError, match="has no hf_hub:a/b/c"):
        weights.load("hf_hub:a/b/c", "densenet_tiny")
