"""Minibatch CKA of every layer against every other."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from tla.errors import UserError
from tla.nets.backbones import build
from tla.runs.infer import LoadedNetwork
from tla.similarity import maps
from tla.similarity.maps import layer_map, unbiased
from tla.similarity.methods import cka
from tla.similarity.pairs import Compared

CPU = torch.device("cpu")


def kernels(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x @ x.T)[None]


def test_the_golden_value_of_debiased_cka() -> None:
    rng = np.random.RandomState(1337)
    x = rng.randn(100, 10)
    y = rng.randn(100, 10) + x
    k, l = kernels(x), kernels(y)  # noqa: E741
    found = unbiased(k, l) / (unbiased(k, k) * unbiased(l, l)).sqrt()
    assert found.item() == pytest.approx(0.51346, abs=5e-6)


def test_the_criterion_is_unbiased_whatever_the_size_of_a_batch() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20000, 3))
    y = x[:, :2] + rng.normal(size=(20000, 2)) + 7
    wanted = float((np.cov(x.T, y.T)[:3, 3:] ** 2).sum())
    for size in (4, 5, 20):
        parts = np.array(
            [
                unbiased(kernels(a), kernels(b)).item()
                for a, b in zip(np.split(x, 20000 // size), np.split(y, 20000 // size), strict=True)
            ]
        )
        error = parts.std() / len(parts) ** 0.5
        assert abs(parts.mean() - wanted) < 4 * error
        assert error < 0.2 * wanted


@pytest.fixture
def world(run):
    """A store of pictures, and pairs of toy networks that hear them."""
    run = replace(run, backbone="densenet_tiny")
    pictures = np.random.default_rng(0).normal(-5, 3, (24, 3, 32, 40)).astype(np.float16)
    store = SimpleNamespace(clean=pictures, dataset=SimpleNamespace(sources=[f"{i // 2}" for i in range(24)]))

    def pair(curve: str, first: int, second: int, fold: int = 1, seed: int = 0) -> SimpleNamespace:
        networks = [
            SimpleNamespace(
                load=lambda device, s=s: LoadedNetwork(run, [], build("densenet_tiny", 5, seed=s).eval(), CPU, None)
            )
            for s in (first, second)
        ]
        of = replace(run, fold=fold, seed=seed)
        networks[1].folder = SimpleNamespace(
            data={"data": "toy"}, result=SimpleNamespace(epochs=1, training=SimpleNamespace(state="converged"))
        )
        return SimpleNamespace(curve=curve, before=networks[0], after=networks[1], run=of, clips=lambda store: list(range(24)))

    return store, pair


def test_a_map_is_debiased_cka_of_whole_outputs_and_one_on_its_own_diagonal(world, monkeypatch: pytest.MonkeyPatch) -> None:
    store, pair = world
    monkeypatch.setattr(maps, "BATCH", 24)
    table = layer_map(Compared([pair("same", 0, 0), pair("other", 0, 1)], store, CPU), "stages")
    own = table[(table["curve"] == "same") & (table["before"] == table["after"])]
    assert len(own) == 5
    np.testing.assert_allclose(own["cka"], 1, atol=1e-5)
    nets = [build("densenet_tiny", 5, seed=seed).eval() for seed in (0, 1)]
    x = torch.from_numpy(store.clean.astype(np.float32))
    with torch.no_grad():
        wanted = cka(nets[0].prefix(x, "block1").flatten(1), nets[1].prefix(x, "block3").flatten(1), debiased=True)
    found = table.query("curve == 'other' and before == 'block1' and after == 'block3'").iloc[0]
    assert found["cka"] == pytest.approx(wanted.score, abs=1e-4)
    assert np.isnan(found["low"])  # one batch says nothing of others
    assert found["clips"] == 24


def test_batches_give_intervals_and_runs_are_averaged(world, monkeypatch: pytest.MonkeyPatch) -> None:
    store, pair = world
    monkeypatch.setattr(maps, "BATCH", 6)
    pairs = [pair("a", 0, 1, fold=1), pair("a", 2, 3, fold=2)]
    both, one, other = (layer_map(Compared(some, store, CPU), "stem,block4") for some in (pairs, pairs[:1], pairs[1:]))
    np.testing.assert_allclose(both["cka"], (one["cka"] + other["cka"]) / 2)
    assert (both["low"] < both["cka"]).all()
    assert (both["high"] - both["low"]).sum() < (one["high"] - one["low"]).sum()
    assert (both["runs"].iloc[0], both["clips"].iloc[0], both["folds"].iloc[0]) == (2, 48, "1, 2")


def test_layers_of_any_shape_are_compared_and_too_few_clips_refused(world) -> None:
    store, pair = world
    table = layer_map(Compared([pair("a", 0, 0)], store, CPU), "all")
    assert len(table) == 39**2
    assert table["cka"].between(-1, 1 + 1e-9).all()
    assert isinstance(table, pd.DataFrame)
    few = pair("a", 0, 0)
    few.clips = lambda store: [0, 1, 2]
    with pytest.raises(UserError, match="holds out 3 clips; a map takes 4"):
        layer_map(Compared([few], store, CPU), "stages")
