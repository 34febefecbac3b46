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
from tla.sound import audio, build, windowed

CPU = torch.device("cpu")


@pytest.fixture
def trained(study: Study, place: Place) -> tuple[FinishedRun, Path]:
    """A run and the folder of its clips."""
    material = prepare(replace(study, recipe=Recipe(epochs=2, lr=1e-3, standardise=True)), place)
    return ensure(list_runs(material), material, place)[0], material.dataset.root


def test_a_held_out_clip_gets_its_logits_again(trained: tuple[FinishedRun, Path]) -> None:
    folder, root = trained
    network, outputs = infer.load(folder, CPU), folder.predictions
    for row in (0, 7, 19):
        pictures = windowed.pictures(root / str(outputs.names[row]), network.run.picture)
        np.testing.assert_allclose(network.logits(pictures)[0], outputs.logits["last"][row], atol=1e-4)


@pytest.mark.parametrize(("seconds", "windows"), [(0.06, 1), (2.0, 1), (2.9, 1), (3.1, 2), (20.0, 10)])
def test_any_length_and_format_is_classified(
    trained: tuple[FinishedRun, Path], tmp_path: Path, seconds: float, windows: int
) -> None:
    folder, _ = trained
    network = infer.load(folder, CPU)
    stereo = np.random.default_rng(0).normal(0, 0.1, (round(48000 * seconds), 2))
    for suffix in ("wav", "flac", "ogg"):
        file = tmp_path / f"a sound.{suffix}"
        soundfile.write(file, stereo, 48000)
        pictures = windowed.pictures(file, network.run.picture)
        assert pictures.shape == (windows, 3, 32, 40)
        assert network.probabilities(pictures).sum() == pytest.approx(1, abs=1e-5)


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


def test_many_files_pass_through_in_batches_and_processes_with_the_same_outputs(
    trained: tuple[FinishedRun, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Files of several windows and broken ones between them change nothing for the others."""
    folder, root = trained
    files = sorted(root.rglob("*.wav"))[:20]
    long, bad = tmp_path / "long.wav", tmp_path / "bad.wav"
    soundfile.write(long, np.concatenate([soundfile.read(file)[0] for file in files[:10]]), soundfile.info(files[0]).samplerate)
    bad.write_text("not sound")
    files[3:3], files[11:11] = [long], [bad]
    network = infer.load(folder, CPU)
    wanted = {file: network.probabilities(windowed.pictures(file, folder.run.picture)) for file in files if file != bad}
    monkeypatch.setattr(infer, "MANY_FILES", 2)
    for threads in (1, 2):
        predicted, wrong = infer.classify(files, [folder, folder], CPU, threads=threads)
        assert wrong.keys() == {bad}
        assert predicted["file"].tolist() == list(map(str, wanted))
        np.testing.assert_allclose(predicted.iloc[:, 1:].to_numpy(float), np.stack(list(wanted.values())), atol=1e-5)


def test_pictures_are_shared_and_made_only_some_way_ahead(
    trained: tuple[FinishedRun, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, root = trained
    files, read = sorted(root.rglob("*.wav"))[:40], []
    original = audio.read
    monkeypatch.setattr(audio, "read", lambda path, rate: read.append(path) or original(path, rate))
    networks = [infer.load(folder, CPU)] * 2
    for k, _ in enumerate(infer.predict(files, networks)):
        assert len(read) <= k + infer.CPU_BATCH
    assert read == files, "each file once, for both networks"


def test_what_training_refuses_is_refused_in_the_same_words(trained: tuple[FinishedRun, Path], tmp_path: Path) -> None:
    folder, _ = trained
    short, broken = tmp_path / "short.wav", tmp_path / "broken.wav"
    soundfile.write(short, np.zeros(100), 48000)
    soundfile.write(broken, np.array([0.0, np.nan] * 24000), 48000, subtype="FLOAT")
    _, wrong = infer.classify([short, broken], [folder], CPU)
    assert "is too short for a picture" in wrong[short]
    assert "holds NaN or infinite samples" in wrong[broken]
    for path, reason in wrong.items():
        with pytest.raises(audio.BadClip) as refused:
            build.pictures((path, (None,)), folder.run.picture, "resize")
        assert refused.value.wrong == reason


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
