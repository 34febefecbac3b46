"""How much layers changed, measured on trained toy networks, and drawn."""

from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pandas as pd
import pytest
import torch

from tla import svcca
from tla.errors import UserError
from tla.launch.study import ensure, list_runs, prepare, train_missing
from tla.options import Augment, Picture, Place, Recipe, Study, Transfer
from tla.similarity import drawing as draw
from tla.similarity import map_figure as draw_maps
from tla.similarity import measuring as change
from tla.similarity import resolved_figure as draw_resolved
from tla.similarity.maps import layer_map
from tla.similarity.measuring import MEASURES, measure
from tla.similarity.methods import Similarity
from tla.similarity.pairs import Compared, Network, Pair, controlled
from tla.similarity.scoring import Asked, Scored
from tla.similarity.tables import PRETRAINED, SCALES, SEEDS, Change
from tla.sound.store import Store

CPU = torch.device("cpu")
World = tuple[list[Pair], Store]


@pytest.fixture(scope="module")
def world(study: Study, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A study from a trained network, frozen up to block1, with its controls."""
    base = tmp_path_factory.getbasetemp()
    place = Place(data_root=str(base / "data"), runs=str(base / "change"), figures=str(base / "figures"), device="cpu")
    about = {"picture": Picture(mels=64, frames=100), "recipe": Recipe(epochs=2, lr=1e-3, standardise=True)}
    study = replace(study, augment=Augment(kind="none"), **about)
    material = prepare(study, place)
    (donor,) = ensure(list_runs(material), material, place)
    material = prepare(replace(study, weights=donor.key, transfer=Transfer(frozen_upto="block1")), place)
    return train_missing(controlled(material, place), place).pairs, material.store


@pytest.fixture(scope="module")
def everything(world: World) -> Change:
    """All measures at all stages."""
    pairs, store = world
    return measure(Compared(pairs, store, CPU), Asked(MEASURES, forced="allow", resolve=True))


def test_a_measure_has_a_function_a_scale_and_a_word_on_the_command_line() -> None:
    assert SCALES.keys() == set(MEASURES)
    assert {*MEASURES, "all"} == set(get_args(get_type_hints(svcca.main)["measure"]))


def of(change: Change, curve: str, name: str) -> pd.DataFrame:
    return change.points.query("curve == @curve and measure == @name").set_index("layer")


def test_a_frozen_stage_has_not_changed_and_a_free_one_has(everything: Change) -> None:
    for name in MEASURES:
        points = of(everything, PRETRAINED, name)
        same = 0.0 if name == "weights" else 1.0
        for layer in ("stem", "block1"):
            assert points.loc[layer, "score"] == pytest.approx(same, abs=2e-4 if name == "pwcca" else 1e-5), name
        assert abs(points.loc["block4", "score"] - same) > 1e-3, name
        assert (points["score"] <= points["high"].fillna(np.inf) + 1e-12).all()


def test_every_score_has_a_floor_and_an_interval(everything: Change) -> None:
    heard = everything.points[everything.points["measure"] != "weights"]
    assert heard[["score", "low", "high", "floor", "floor_low", "floor_high"]].notna().all(axis=None)
    assert (heard["low"] <= heard["score"]).all()
    ours = heard[(heard["curve"] == PRETRAINED) & heard["measure"].isin(["svcca", "cka-debiased", "procrustes"])]
    assert (ours["floor"] < ours["score"]).all()
    weights = everything.points[everything.points["measure"] == "weights"]
    assert weights[["low", "high"]].isna().all(axis=None)  # one run
    runs = everything.runs.query("measure == 'svcca'").iloc[0]
    assert runs["clips"] == 20
    assert runs["points"] == 20 * 16 * 25
    assert runs["groups"] == 10
    assert runs["keep"] == "99 % of the variance"


def test_svcca_on_its_own_is_what_it_is_among_all(world: World, everything: Change) -> None:
    pairs, store = world
    alone = measure(Compared(pairs[:1], store, CPU), Asked(("svcca",), forced="allow"))
    wanted = of(everything, PRETRAINED, "svcca")
    pd.testing.assert_frame_equal(
        of(alone, PRETRAINED, "svcca")[["score", "low", "high", "floor"]], wanted[["score", "low", "high", "floor"]]
    )
    assert alone.resolved is None


def test_what_is_forced_is_left_out_and_said_or_allowed_or_warned_of(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    pairs, store = world
    refused = measure(Compared(pairs[:1], store, CPU), Asked(("pwcca",)))
    points = of(refused, PRETRAINED, "pwcca")
    assert np.isnan(points.loc["block4", "score"])  # 68 and 68 channels, 120 points
    assert np.isfinite(points.loc["stem", "score"])
    assert refused.runs.set_index("layer").loc["block4", "forced"] > 0
    assert "left out: pwcca at block4 (pretrained)" in (said := capsys.readouterr().err)
    assert "canonical correlations are 1 whatever the data" in said
    assert "--forced allow" in said
    pooled = measure(Compared(pairs[:1], store, CPU), Asked(("pwcca", "cka"), pool=True))
    assert "--pool leaves a clip one point" in capsys.readouterr().err
    assert set(pooled.runs["points"]) == {20}
    assert of(pooled, PRETRAINED, "pwcca")["score"].notna().all()
    with pytest.raises(UserError, match="nothing could be scored"):
        measure(Compared(pairs[:1], store, CPU), Asked(("pwcca",), layers="block4"))


def test_layers_keep_and_weights_of_modules(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    pairs, store = world
    asked = Asked(("svcca", "weights"), layers="features.pool0,features.denseblock?,features.transition1.conv", keep=3)
    change = measure(Compared(pairs[:1], store, CPU), asked)
    svcca = change.runs.query("measure == 'svcca'")
    assert list(svcca["layer"])[:3] == ["features.pool0", "features.denseblock1", "features.transition1.conv"]
    assert (svcca[["kept_before", "kept_after"]] == 3).all(axis=None)
    assert set(svcca["keep"]) == {"3 directions"}
    assert "weights at features.pool0 (pretrained): it has no weights of its own" in capsys.readouterr().err
    half = measure(Compared(pairs[:1], store, CPU), Asked(("svcca",), keep=0.5, keep_by="values")).runs
    assert set(half["keep"]) == {"50 % of the sum of singular values"}
    assert (half["kept_after"] < half["channels_after"]).all()


def test_without_several_recordings_there_is_no_interval(world: World) -> None:
    pairs, store = world
    one = replace(store, dataset=replace(store.dataset, clips=tuple(replace(c, source="one") for c in store.dataset.clips)))
    points = measure(Compared(pairs[:1], one, CPU), Asked(("cka",))).points
    assert points["score"].notna().all()
    assert points[["low", "high", "floor_low"]].isna().all(axis=None)


def test_a_network_against_itself_is_all_ones(world: World) -> None:
    pairs, store = world
    same = Pair("itself", pairs[0].after, Network("again", pairs[0].after.folder))
    change = measure(Compared([same], store, CPU), Asked(("svcca", "cka", "procrustes", "channel", "weights")))
    scores = change.runs.set_index("measure")["score"]
    np.testing.assert_allclose(scores.drop("weights"), 1, atol=1e-5)
    np.testing.assert_array_equal(scores["weights"], 0)


def test_tables_are_written_and_figures_drawn_the_same_twice(
    world: World, everything: Change, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs, store = world
    layers = measure(Compared(pairs[:1], store, CPU), Asked(("svcca",), layers="all", forced="allow"))
    table = layer_map(Compared(pairs, store, CPU), "all")
    for folder in ("a", "b"):
        draw.publish(everything, tmp_path / folder, "fig2a_all")
        draw.publish(layers, tmp_path / folder, "fig2a_svcca")
        draw_resolved.publish(everything.resolved, everything.runs, tmp_path / folder, "fig2a_resolved")
        draw_maps.publish(table, tmp_path / folder, "fig2a_map")
    assert "39 layers: the table has them all" in capsys.readouterr().out
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    assert {path.suffix for path in (tmp_path / "a").glob("fig2a_map*")} >= {".csv", ".pdf", ".png"}
    assert b"/Type3" not in (tmp_path / "a" / "fig2a_all.pdf").read_bytes()


def test_figures_are_drawn_from_their_tables_alone(everything: Change, tmp_path: Path) -> None:
    everything.write(tmp_path, "fig2a_all")
    again = Change(*(pd.read_csv(tmp_path / f"fig2a_all{part}.csv") for part in ("", "_points", "_contrasts")))
    assert draw.about(again) == draw.about(everything)
    assert "SYNTHETIC SOUNDS" in draw.about(again)
    assert "20 clips" in draw.about(again)
    assert "jackknife" in draw.about(again)
    for name in MEASURES:
        assert draw.findings(again, name) == draw.findings(everything, name)


def finding(training: str = "converged", **numbers: tuple[float, float, float]) -> str:
    """What is said of differences (value, low, high) between early and late layers."""
    rows = [
        {"measure": "svcca", "contrast": name, "curve": "pretrained", "early": "stem", "late": "block4"}
        | dict(zip(("difference", "low", "high"), values, strict=True))
        for name, values in ((key.replace("_", " "), value) for key, value in numbers.items())
    ]
    contrasts = pd.DataFrame(rows).replace({"contrast": {"raw": "early - late", "above": "early - late, above floor"}})
    points = pd.DataFrame([{"measure": "svcca", "curve": "pretrained", "layer": "stem", "score": 1.0}])
    runs = pd.DataFrame([{"curve": "pretrained", "key": "x", "training": training}])
    (line,) = draw.findings(Change(runs, points, contrasts), "svcca")
    return line


def test_a_finding_claims_no_more_than_the_intervals() -> None:
    assert finding(raw=(0.2, 0.1, 0.3), above=(0.4, 0.3, 0.5)).endswith("early layers changed less")
    assert finding(raw=(-0.2, -0.3, -0.1), above=(-0.4, -0.5, -0.3)).endswith("late layers changed less")
    assert finding(raw=(0.2, 0.1, 0.3), above=(0.1, -0.1, 0.3)).endswith("which changed less cannot be told")
    assert finding(raw=(0.2, 0.1, 0.3), above=(-0.4, -0.5, -0.3)).endswith("which changed less cannot be told")
    assert finding(raw=(0.2, 0.1, 0.3)).endswith("early layers changed less")
    assert "without an interval" in finding(raw=(0.2, np.nan, np.nan))
    assert finding("still falling", raw=(0.2, 0.1, 0.3)) == "pretrained: no verdict: 1 of its runs not trained to the end"


def test_seeds_are_compared_with_each_other(world: World, everything: Change) -> None:
    pairs, _ = world
    mine = everything.runs[everything.runs["curve"] == SEEDS]
    assert set(mine["before"]) == {pairs[0].after.label}
    assert of(everything, SEEDS, "cka").loc["stem", "score"] == pytest.approx(1, abs=1e-5)  # frozen in both
    assert of(everything, SEEDS, "cka")["relative"].isna().all()


@pytest.mark.parametrize(("fewest", "forced"), [(864, 95), (959, 0)])
def test_correlations_that_are_forced_without_a_group_count_as_forced(fewest: int, forced: int) -> None:
    """404 and 554 directions of 959 points are just not forced; without a group of 95 points, 95 correlations are 1."""
    whole = Similarity(0.9, np.full(404, 0.9), (404, 554), 959, (512, 600), 0, (0, 0))
    place = {"curve": "pretrained", "layer": "block4", "fold": 1, "seed": 0, "clips": 959, "fewest_clips": fewest}
    found = change._Found()
    change._note(found, place, Asked(), Scored("svcca", whole, whole, [(0.9, 0.1)] * 10))
    assert found.runs[0]["forced"] == forced
    assert np.isnan(found.runs[0]["score"]) == bool(forced)
    assert len(found.left_out) == bool(forced)
    if forced:
        assert "95 of 404 canonical correlations, without a group of recordings, are 1" in next(iter(found.left_out))
