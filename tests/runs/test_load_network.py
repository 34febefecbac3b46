"""A trained network in a notebook: sounds in, logits out, whatever form they come in."""

import inspect
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from scipy.special import softmax

import tla
from tla.errors import UserError
from tla.launch.study import ensure, list_runs, prepare
from tla.nets.backbones import build
from tla.options import Place, Recipe, Study
from tla.runs import infer
from tla.runs.folder import FinishedRun
from tla.sound.audio import BadClip


@pytest.fixture(scope="module")
def network() -> tla.LoadedNetwork:
    """The network that comes with tla."""
    return tla.load_network(device="cpu")


@pytest.fixture
def clips(few_sounds: Path) -> list[Path]:
    return sorted(few_sounds.rglob("*.wav"))[::25]


@pytest.fixture
def trained(study: Study, place: Place) -> FinishedRun:
    material = prepare(replace(study, recipe=Recipe(epochs=1, lr=1e-3, standardise=True)), place)
    return ensure(list_runs(material), material, place)[0]


def test_a_sound_comes_as_file_array_or_tensor(network: tla.LoadedNetwork, clips: list[Path]) -> None:
    samples, rate = soundfile.read(clips[0])
    wanted = network(clips[0])
    assert wanted.shape == (1, 10)
    both = np.stack([samples, samples])
    for sound in (samples, torch.from_numpy(samples), both, both.T):
        np.testing.assert_allclose(network(sound, rate), wanted, atol=1e-5)
    np.testing.assert_array_equal(network(str(clips[0])), wanted)
    np.testing.assert_array_equal(network(network.pictures(clips[0])), wanted)
    assert not np.allclose(network(samples, 2 * rate), wanted, atol=1e-2)


def test_a_long_sound_has_logits_for_each_window_and_one_mean_of_probabilities(
    network: tla.LoadedNetwork, clips: list[Path], tmp_path: Path
) -> None:
    long = np.concatenate([soundfile.read(clip)[0] for clip in clips * 2])
    soundfile.write(tmp_path / "long.wav", long, 22050, subtype="DOUBLE")
    logits = network(long, 22050)
    assert logits.shape == (4, 10), "16 s, in windows of 5 s"
    odds = network.probabilities(long, 22050)
    np.testing.assert_allclose(odds, softmax(logits, axis=1).mean(axis=0), atol=1e-6)
    several = network.probabilities([tmp_path / "long.wav", clips[1]])
    np.testing.assert_allclose(several, [odds, network.probabilities(clips[1])], atol=1e-5)
    apart = network([str(tmp_path / "long.wav"), str(clips[1])])
    assert [each.shape for each in apart] == [(4, 10), (1, 10)]
    np.testing.assert_allclose(apart[0], logits, atol=1e-5)


def test_files_of_a_table_are_files(network: tla.LoadedNetwork, clips: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    column = pd.Series([str(clip) for clip in clips])
    here = network.probabilities(column)
    monkeypatch.setattr(infer, "MANY_FILES", 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    np.testing.assert_allclose(network.probabilities(column), here, atol=1e-5)


def test_what_the_parts_give_is_what_the_whole_gives(trained: FinishedRun, clips: list[Path]) -> None:
    network = tla.load_network(trained.key[:6], trained.path.parent, device="cpu")
    assert network.classes == trained.classes
    assert not network.net.training
    wanted = network(clips[2])
    taken = network.preprocess(clips[2])
    assert taken.shape == (1, 3, 32, 40)
    with torch.inference_mode():
        for net in (network.net, network.plain):
            np.testing.assert_allclose(net(taken), wanted, atol=1e-5)
    fresh = build("densenet_tiny", 10, seed=1).net
    fresh.load_state_dict(load_file(trained.weights))
    for name, tensor in network.plain.state_dict().items():
        torch.testing.assert_close(tensor, fresh.state_dict()[name])


def test_a_run_is_found_by_its_key_or_its_folder(trained: FinishedRun, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    runs = trained.path.parent
    monkeypatch.chdir(runs.parent)
    capsys.readouterr()
    for key in (trained.key, trained.path, str(trained.path), f"runs/{trained.key}", Path("runs", trained.key)):
        assert tla.load_network(key, device="cpu").run == trained.run
    assert tla.load_network("packaged").run.data == "esc10"
    assert capsys.readouterr() == ("", "")
    for key, says in (
        ("ffffff", "no run in runs has a key that begins with 'ffffff'"),
        ("runs/absent", "absent is not a finished run"),
        (Path("absent"), "absent is not a finished run"),
    ):
        with pytest.raises(UserError, match=says):
            tla.load_network(key)
    with pytest.raises(UserError, match="tpu9"):
        tla.load_network(device="tpu9")


def test_the_examples_run(trained: FinishedRun, clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dog.wav").write_bytes(clips[0].read_bytes())
    in_module = inspect.cleandoc("\n".join(re.findall(r"^    .*|^$", infer.__doc__, re.MULTILINE))).replace("3f9a", trained.key)
    exec(in_module.replace('network.export("net.onnx")', ""), {"samples": np.ones(44100) * 0.1})
    assert "network.export" in in_module
    exec(inspect.cleandoc(inspect.getdoc(tla.load_network).split("\n\n")[1]), {"tla": tla})


def test_what_is_no_sound_is_refused(network: tla.LoadedNetwork, clips: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("not sound")
    for wrong, says in (
        ([np.zeros(8000)], "samples come with theirs"),
        ([torch.zeros(2, 8000)], "samples come with theirs"),
        ([np.zeros(8000, np.int16), 8000], "have to be floats"),
        ([np.zeros(10), 8000], "samples: is too short for a picture"),
        ([clips[0], 8000], "has a rate of its own"),
        ([[]], "no sounds are given"),
        ([tmp_path / "bad.wav"], "cannot be decoded"),
        ([tmp_path], "is not a file"),
        ([[clips[0], tmp_path / "bad.wav"]], "cannot be decoded"),
    ):
        for use in (network, network.probabilities):
            with pytest.raises(UserError, match=says):
                use(*wrong)
    with pytest.raises(BadClip, match=r"bad\.wav"):
        network.preprocess(tmp_path / "bad.wav")
    with pytest.raises(UserError, match="is cut behind block2"):
        network.plain  # noqa: B018
    assert repr(network).startswith("LoadedNetwork(30fc8961bf37: efficientnet_lite0 trained on esc10, on cpu; classes dog, ")
