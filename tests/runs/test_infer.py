"""A finished run gives new files the outputs that it gave its clips in training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tla.errors import UserError
from tla.launch.study import ensure, list_runs, prepare
from tla.options import Place, Recipe, Study
from tla.runs import infer
from tla.runs.folder import FinishedRun

CPU = torch.device("cpu")


@pytest.fixture
def trained(study: Study, place: Place) -> tuple[FinishedRun, Path]:
    """A run and the folder of its clips."""
    material = prepare(replace(study, recipe=Recipe(epochs=2, lr=1e-3, standardise=True)), place)
    return ensure(list_runs(material), material, place)[0], material.dataset.root


def test_a_held_out_clip_gets_its_logits_again(trained: tuple[FinishedRun, Path]) -> None:
    folder, root = trained
    listener, outputs = infer.load(folder, CPU), folder.predictions
    for row in (0, 7, 19):
        pictures = infer.pictures(root / str(outputs.names[row]), listener.run.picture)
        np.testing.assert_allclose(listener.logits(pictures)[0], outputs.logits["last"][row], atol=1e-4)


@pytest.mark.parametrize(("seconds", "windows"), [(0.01, 1), (2.0, 1), (2.9, 1), (3.1, 2), (20.0, 10)])
def test_any_length_and_format_is_classified(
    trained: tuple[FinishedRun, Path], tmp_path: Path, seconds: float, windows: int
) -> None:
    folder, _ = trained
    listener = infer.load(folder, CPU)
    stereo = np.random.default_rng(0).normal(0, 0.1, (round(48000 * seconds), 2))
    for suffix in ("wav", "flac", "ogg"):
        file = tmp_path / f"a sound.{suffix}"
        soundfile.write(file, stereo, 48000)
        pictures = infer.pictures(file, listener.run.picture)
        assert pictures.shape == (windows, 3, 32, 40)
        assert listener.probabilities(pictures).sum() == pytest.approx(1, abs=1e-5)


def test_folders_are_classified_broken_files_named_and_runs_averaged(trained: tuple[FinishedRun, Path], tmp_path: Path) -> None:
    folder, root = trained
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    clip = root / str(folder.predictions.names[0])
    (sounds / "good.wav").write_bytes(clip.read_bytes())
    (sounds / "bad.wav").write_text("not sound")
    predicted, wrong = infer.classify([sounds], [folder, folder], CPU)
    assert [Path(name).name for name in predicted["file"]] == ["good.wav"]
    assert list(predicted.columns[1:]) == folder.classes
    assert "cannot be decoded" in wrong[sounds / "bad.wav"]
    alone, _ = infer.classify([sounds / "good.wav"], [folder], CPU)
    np.testing.assert_allclose(predicted.iloc[0, 1:].astype(float), alone.iloc[0, 1:].astype(float), atol=1e-6)


def test_weights_load_into_the_plain_network(study: Study, place: Place) -> None:
    from safetensors.torch import load_file
    from torchvision.models import resnet50

    material = prepare(replace(study, backbone="resnet50", recipe=Recipe(epochs=1)), place)
    (folder,) = ensure(list_runs(material), material, place)
    net = resnet50(num_classes=10)
    net.load_state_dict(load_file(folder.weights))
    rows = material.dataset.split(1, "paper").test
    pictures = torch.from_numpy(np.asarray(material.store.clean[rows], dtype=np.float32))
    with torch.inference_mode():
        np.testing.assert_allclose(net.eval()(pictures).numpy(), folder.predictions.logits["last"], atol=1e-3)


def test_missing_and_empty_places_are_refused(trained: tuple[FinishedRun, Path], tmp_path: Path) -> None:
    predicted, wrong = infer.classify([tmp_path / "absent.wav"], [trained[0]], CPU)
    assert predicted.empty
    assert wrong == {tmp_path / "absent.wav": "there is no such file or folder"}
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="no sound files"):
        infer.classify([tmp_path / "nothing"], [trained[0]], CPU)
