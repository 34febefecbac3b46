"""The pooled outputs of stages: what they are, that they are kept, and that they are whole or made again."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tla.errors import UserError
from tla.launch.study import prepare
from tla.nets.transfer import assemble
from tla.options import Augment, Transfer
from tla.readout import features
from tla.readout.features import FOLDER, Network, of_network, of_pictures, pool
from tla.runs.feed import network_input, standard_of


@pytest.fixture
def store(study, place):
    return prepare(replace(study, augment=Augment(kind="none")), place).store


@pytest.fixture
def own(store, tmp_path):
    """The same pictures in a folder where nothing is kept yet."""
    (tmp_path / "clean.npy").write_bytes((store.folder / "clean.npy").read_bytes())
    return replace(store, folder=tmp_path)


def network(seed=0, upto="block4", standard=None):
    plan = Transfer(pretrained_upto="none", kept_upto=upto)
    net = assemble("densenet_tiny", 10, plan, None, seed=seed).eval()
    return Network(f"random {seed}", net, torch.device("cpu"), standard)


def test_features_are_the_means_over_positions_of_what_stages_give(own):
    standard = standard_of(own.clean, np.arange(len(own.clean)))
    mine = network(standard=standard)
    found = of_network(mine, own)
    with torch.inference_mode():
        x = network_input(torch.from_numpy(np.array(own.clean[:5], dtype=np.float32)), list(map(torch.from_numpy, standard)))
        for stage in mine.net.stages:
            x = mine.net.run(stage, x)
            np.testing.assert_allclose(found[stage][:5], x.mean((2, 3)).numpy(), rtol=1e-4, atol=1e-5)
    assert list(found) == list(mine.net.stages)
    assert all(values.dtype == np.float32 and len(values) == 100 for values in found.values())


def test_vectors_are_features_as_they_are():
    vectors = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(pool(vectors), vectors)
    assert torch.equal(pool(vectors[:, :, None, None].expand(2, 3, 4, 5)), vectors)


def test_the_pictures_features_are_mean_and_spread_over_time(own):
    found = of_pictures(own)
    first = np.asarray(own.clean[7], dtype=np.float64)
    np.testing.assert_allclose(found[7], np.concatenate([first.mean(2), first.std(2)]).ravel(), rtol=1e-3, atol=1e-3)
    assert found.shape == (100, 2 * 3 * 32)


def test_a_second_call_reads_and_networks_that_begin_alike_share(own, monkeypatch):
    whole = of_network(network(), own)
    kept = {path: path.stat().st_mtime_ns for path in (own.folder / FOLDER).iterdir() if path.suffix == ".npy"}
    monkeypatch.setattr(features, "_stages", lambda *_: pytest.fail("computed again"))
    for again in (of_network(network(), own), of_network(network(upto="block2"), own)):
        for stage, values in again.items():
            np.testing.assert_array_equal(values, whole[stage])
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    monkeypatch.undo()
    other = of_network(network(seed=1), own)
    assert not np.array_equal(other["stem"], whole["stem"])
    standard = standard_of(own.clean, np.arange(100))
    assert not np.array_equal(of_network(network(standard=standard), own)["stem"], whole["stem"])


def test_a_damaged_file_is_named_and_made_again(own, capsys):
    whole = of_network(network(), own)
    (path,) = (own.folder / FOLDER).glob("block2-*.npy")
    path.write_bytes(path.read_bytes()[:-4] + b"junk")
    again = of_network(network(), own)
    assert f"{path}: it, or SHA256SUMS beside it, was edited or damaged; it is made again" in capsys.readouterr().err
    np.testing.assert_array_equal(again["block2"], whole["block2"])


def test_numbers_that_are_none_are_refused_with_the_clip(own):
    broken = network()
    with torch.no_grad():
        next(iter(broken.net.stage_parameters("block3"))).fill_(float("nan"))
    with pytest.raises(
        UserError, match=rf"block3 of densenet_tiny \(random 0\) gives NaN or infinity for {own.dataset.clips[0].name}"
    ):
        of_network(broken, own)
    assert not list((own.folder / FOLDER).glob("*.npy"))
