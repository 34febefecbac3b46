"""The audit's numbers on maps, pictures and networks whose answer is known, and on a small trained run."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from scipy.stats import spearmanr
from torch import nn

from tla.attribution import audit as audits
from tla.attribution import audit_figure as draw
from tla.attribution import deletion
from tla.attribution import explainer as explainers
from tla.attribution.audit import STEPS, Audit, audit, evenly, randomised, ranked
from tla.attribution.deletion import CUTS, GRID, areas
from tla.attribution.energy import energy, regions
from tla.attribution.starts import SILENT
from tla.errors import UserError
from tla.launch.study import ensure, list_runs, prepare
from tla.nets.stages import StagedNet
from tla.nets.transfer import assemble
from tla.options import STAGES, Augment, Picture, Place, Recipe, Study, Transfer
from tla.runs import infer
from tla.runs.folder import FinishedRun
from tla.runs.infer import LoadedNetwork
from tla.runs.run import Run
from tla.sound.store import Store
from tla.statistics import mean, of_clips

CPU = torch.device("cpu")
MELS, FRAMES = 32, 40


def picture(seed: int = 0, mels: int = MELS, frames: int = FRAMES) -> np.ndarray:
    """Noise above the floor, in half precision as in the store; no two cells are alike."""
    cells = np.random.default_rng(seed).permutation(mels * frames).reshape(mels, frames)
    return np.repeat(-10 + 8 * cells[None] / cells.size, 3, axis=0).astype(np.float16)


def shares(total: np.ndarray, of: np.ndarray, chance: np.ndarray | None = None) -> dict[tuple[str, str], float]:
    return {(measure, variant): value for _, measure, variant, value in energy(total, chance, of)}


# Energy


def test_a_map_on_the_loudest_cells_has_all_of_its_share_there() -> None:
    found = regions(picture())
    assert found["loudest"].sum() == round(0.2 * MELS * FRAMES)
    level = picture().mean(axis=0)
    assert level[found["loudest"]].min() >= level[~found["loudest"]].max()
    share = shares(-found["loudest"].astype(np.float32), picture())  # whatever its sign
    assert share["loudest", "attribution"] == share["either", "attribution"] == 1
    inside = found["loudest"] & found["borders"]
    assert share["borders", "attribution"] == pytest.approx(inside.sum() / found["loudest"].sum())


def test_a_uniform_map_has_the_share_of_the_area() -> None:
    share, found = shares(np.full((MELS, FRAMES), -0.3, np.float32), picture()), regions(picture())
    assert share["loudest", "attribution"] == pytest.approx(0.2)
    for measure, mask in found.items():
        for variant in ("attribution", "shifted", "permuted"):
            assert share[measure, variant] == pytest.approx(mask.mean())


def test_borders_are_the_cells_on_either_side_of_the_edge() -> None:
    level = np.full((3, 20, 20), -9.0, np.float16)
    level[:, 4:14, 6:14] = -2  # 10 x 8 cells are 20 % of 400
    mask = regions(level)["borders"]
    expected = np.zeros((20, 20), dtype=bool)
    expected[3:15, 5:15] = True
    expected[5:13, 7:13] = False
    np.testing.assert_array_equal(mask, expected)


def test_silent_cells_are_never_loud() -> None:
    level = np.full((3, MELS, FRAMES), SILENT)
    level[0, 3:6, 10:20] = -5  # loud in one window is enough
    found = regions(level)
    assert found["loudest"].sum() == 30
    assert found["loudest"][3:6, 10:20].all()
    assert shares(np.ones((MELS, FRAMES)), level)["loudest", "permuted"] == pytest.approx(30 / (MELS * FRAMES))


def test_controls_are_the_means_that_they_stand_for() -> None:
    rng = np.random.default_rng(1)
    total, level = rng.normal(size=(MELS, FRAMES)) * np.linspace(0, 3, MELS)[:, None], picture(1, MELS, FRAMES)
    level[:, 20:] += 3
    share, strength = shares(total, level), np.abs(total) / np.abs(total).sum()
    for measure, mask in regions(level).items():
        shifted = np.mean([np.roll(strength, shift, axis=1)[mask].sum() for shift in range(FRAMES)])
        assert share[measure, "shifted"] == pytest.approx(shifted)
        permuted = [rng.permutation(strength.ravel())[mask.ravel()].sum() for _ in range(400)]
        assert share[measure, "permuted"] == pytest.approx(np.mean(permuted), abs=4 * np.std(permuted) / 20)
        distance = sum(level[k].astype(float) - SILENT for k in range(3))
        assert share[measure, "x - b"] == pytest.approx(distance[mask].sum() / distance.sum())
    assert abs(share["loudest", "shifted"] - share["loudest", "permuted"]) > 0.03  # the bands differ


def test_a_gap_is_what_the_map_has_more(linear: "Linear") -> None:
    chance = np.abs(linear.map[::-1])
    share = shares(linear.map, linear.level, chance)
    assert share["borders", "random network"] == shares(chance, linear.level)["borders", "attribution"]
    for variant in ("x - b", "shifted", "permuted", "random network"):
        assert share["loudest gap", variant] == share["loudest", "attribution"] - share["loudest", variant] != 0
    assert ("loudest", "random network") not in shares(linear.map, linear.level)


# Tiles


def test_tiles_cover_the_picture_in_a_grid() -> None:
    of = deletion.grid(128, 250)
    counts = np.bincount(of.ravel())
    assert len(counts) == GRID[0] * GRID[1]
    assert counts.min() == counts.max() == 16 * 25
    for tile in (0, 9, 79):
        rows, columns = np.nonzero(of == tile)
        assert np.ptp(rows) == 15
        assert np.ptp(columns) == 24
    uneven = np.bincount(deletion.grid(33, 47).ravel())
    assert len(uneven) == 80
    assert uneven.min() >= 4 * 4


class Linear(NamedTuple):
    """Something that hears each tile by itself; its map is known: the share of each cell."""

    weights: np.ndarray  # (mels, frames)
    level: np.ndarray

    @property
    def map(self) -> np.ndarray:
        return self.weights * (self.level.astype(float) - SILENT).sum(axis=0)

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        return ((pictures.astype(float) - SILENT).sum(axis=1) * self.weights).sum(axis=(1, 2))


@pytest.fixture
def linear() -> Linear:
    rng = np.random.default_rng(2)
    per_tile = rng.normal(0.2, 1, GRID[0] * GRID[1])
    return Linear(per_tile[deletion.grid(MELS, FRAMES)], picture(3))


def test_deletion_by_the_map_of_something_linear_is_the_steepest(linear: Linear) -> None:
    curves = deletion.curves(linear, linear.level, linear.map, np.random.default_rng(0))
    worth = np.sort(np.bincount(deletion.grid(MELS, FRAMES).ravel(), linear.map.ravel()))[::-1]
    gone = np.concatenate([[0], np.cumsum(worth)])[:: len(worth) // CUTS]
    np.testing.assert_allclose(curves["deletion", "attribution"], worth.sum() - gone, atol=1e-9 * np.abs(gone).max())
    np.testing.assert_allclose(curves["insertion", "attribution"], gone, atol=1e-9 * np.abs(gone).max())
    for ranking in ("loudness", "random"):
        assert (curves["deletion", "attribution"] <= curves["deletion", ranking] + 1e-6).all()
        assert (curves["insertion", "attribution"] >= curves["insertion", ranking] - 1e-6).all()
        assert (curves["deletion", "attribution"] < curves["deletion", ranking] - 1).sum() > CUTS // 2
    numbers = {(measure, variant): value for _, measure, variant, value in areas(curves)}
    assert numbers["deletion gap", "attribution"] > max(0, numbers["deletion gap", "loudness"])
    assert numbers["insertion gap", "attribution"] > max(0, numbers["insertion gap", "loudness"])


def test_the_loudest_tiles_go_first() -> None:
    level = np.full((3, MELS, FRAMES), -9.0, np.float16)
    level[deletion.grid(MELS, FRAMES)[None].repeat(3, axis=0) == 37] = -1

    def heard(pictures: np.ndarray) -> np.ndarray:
        return (pictures == -1).any(axis=(1, 2, 3)).astype(float)

    curves = deletion.curves(heard, level, np.zeros((MELS, FRAMES)), np.random.default_rng(0))
    np.testing.assert_array_equal(curves["deletion", "loudness"], [1] + [0] * CUTS)
    np.testing.assert_array_equal(curves["insertion", "loudness"], [0] + [1] * CUTS)


def test_random_curves_are_means_over_rankings_in_both_directions() -> None:
    """Against pictures made tile by tile, of something that is not linear."""
    level, of, count = picture(4), deletion.grid(MELS, FRAMES), GRID[0] * GRID[1]

    def loudest(pictures: np.ndarray) -> np.ndarray:
        return pictures.astype(float).max(axis=(1, 2, 3)) + 0.01 * pictures.astype(float).mean(axis=(1, 2, 3))

    curves = deletion.curves(loudest, level, np.ones((MELS, FRAMES)), np.random.default_rng(5))
    rng, deleted, inserted = np.random.default_rng(5), [], []
    for _ in range(deletion.SHUFFLES):
        order = rng.permutation(count)
        for turn in range(0, count + 1, count // CUTS):
            one, other = level.copy(), np.full_like(level, SILENT)
            for tile in order[:turn]:
                one[:, of == tile] = SILENT
            for tile in order[::-1][:turn]:
                other[:, of == tile] = level[:, of == tile]
            deleted.append(loudest(one[None])[0])
            inserted.append(loudest(other[None])[0])
    for curve, values in (("deletion", deleted), ("insertion", inserted)):
        np.testing.assert_allclose(curves[curve, "random"], np.reshape(values, (-1, CUTS + 1)).mean(axis=0))


def test_areas_and_gaps() -> None:
    falls, at_once = np.linspace(1, 0, CUTS + 1), np.zeros(CUTS + 1)
    curves = {
        (curve, ranking): falls for curve in ("deletion", "insertion") for ranking in ("attribution", "loudness", "random")
    }
    curves["deletion", "attribution"] = curves["insertion", "loudness"] = at_once
    numbers = {(measure, variant): value for _, measure, variant, value in areas(curves)}
    assert numbers["deletion", "random"] == pytest.approx(0.5)
    assert numbers["deletion gap", "attribution"] == pytest.approx(0.5)  # less is better
    assert numbers["deletion gap", "loudness"] == 0
    assert numbers["insertion gap", "loudness"] == pytest.approx(-0.5)  # more is better


# Rank correlations


def test_rank_correlation_is_spearmans_also_with_ties() -> None:
    rng = np.random.default_rng(6)
    one = rng.normal(size=(MELS, FRAMES))
    other = one + rng.normal(size=one.shape)
    one[:, :15] = 0
    other[:, 5:12] = 0
    assert ranked(one) @ ranked(other) == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic, abs=1e-6)
    assert ranked(one) @ ranked(-one) == pytest.approx(-1)


def test_other_clips_are_those_of_other_recordings() -> None:
    maps = np.random.default_rng(7).normal(size=(4, MELS, FRAMES)) + np.linspace(0, 2, FRAMES)
    ranks, sources = np.stack([ranked(total) for total in maps]), np.array(["a", "b", "a", "c"])
    with_each = spearmanr(maps.reshape(4, -1), axis=1).statistic
    found = audits.others_alike(ranks, sources)
    assert found[0] == pytest.approx((with_each[0, 1] + with_each[0, 3]) / 2, abs=1e-6)
    assert found[1] == pytest.approx((with_each[1, 0] + with_each[1, 2] + with_each[1, 3]) / 3, abs=1e-6)
    assert audits.others_alike(ranks[:2], np.array(["a", "a"])) == {}


# Networks


@pytest.fixture(scope="module")
def network() -> LoadedNetwork:
    """A network whose every tensor has been moved, as by training."""
    run = Run(
        data="few",
        data_digest="0",
        classes=4,
        picture=Picture(mels=MELS, frames=FRAMES, rate=22050, seconds=2.0),
        augment=Augment(kind="none"),
        backbone="densenet_tiny",
        weights="random",
        transfer=Transfer(pretrained_upto="none"),
        recipe=Recipe(until="epochs", epochs=1, drops=()),
        protocol="paper",
        fold=1,
        seed=0,
        precision="fp32",
    )
    net = assemble(run.backbone, run.classes, run.transfer, None, seed=run.seed).eval()
    generator = torch.Generator().manual_seed(0)
    for tensor in net.net.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator))
        else:
            tensor.add_(3)
    return LoadedNetwork(run, list("abcd"), net, CPU, None)


def state(net: StagedNet) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in net.net.state_dict().items()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_randomising_touches_the_stages_from_the_head_down_and_nothing_else(network: LoadedNetwork) -> None:
    before, generator = state(network.net), torch.random.get_rng_state()
    calibration = np.stack([picture(seed) for seed in range(4)])
    stages = ("head", *reversed(STAGES))
    for i, stage in enumerate(stages):
        other = randomised(network, stage, calibration)
        assert changed(before, state(other.net)) == {name for name in before if network.net.stage_of(name) in stages[: i + 1]}
        assert not other.net.training
        assert not any(module.training for module in other.net.modules())
    assert not changed(before, state(network.net))
    assert torch.equal(generator, torch.random.get_rng_state())


def test_a_cut_network_is_randomised_down_to_its_stem(network: LoadedNetwork) -> None:
    run = replace(network.run, transfer=replace(network.run.transfer, kept_upto="block2"))
    cut = LoadedNetwork(run, network.classes, assemble(run.backbone, 4, run.transfer, None, seed=0).eval(), CPU, None)
    before, calibration = state(cut.net), np.stack([picture(0), picture(1)])
    moved = changed(before, state(randomised(cut, "head", calibration).net))
    assert {cut.net.stage_of(name) for name in moved} == {"head"}
    moved = changed(before, state(randomised(cut, "stem", calibration).net))
    assert {cut.net.stage_of(name) for name in moved} == {"stem", "block1", "block2", "head"}


def test_random_stages_are_not_what_the_run_began_with(network: LoadedNetwork) -> None:
    run, calibration = network.run, np.stack([picture(0), picture(1)])
    began = assemble(run.backbone, run.classes, run.transfer, None, seed=run.seed)
    drawn = state(randomised(network, "stem", calibration).net)
    same = {name for name, tensor in began.net.state_dict().items() if tensor.ndim > 1 and torch.equal(tensor, drawn[name])}
    assert not same
    again = state(randomised(network, "stem", calibration).net)
    assert not changed(drawn, again)


def test_randomised_weights_are_hes_and_activations_stay_in_range(network: LoadedNetwork) -> None:
    calibration = np.stack([picture(seed) for seed in range(32)])
    net = randomised(network, "stem", calibration).net
    for name, weight in net.net.named_parameters():
        if weight.ndim == 4 and weight.numel() > 2000:
            assert float(weight.detach().std()) == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.1), name
    outputs = []
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_hook(lambda module, x, y: outputs.append(y.clone())) for norm in norms]
    with torch.no_grad():
        net(network.batch(calibration))
    for hook in hooks:
        hook.remove()
    assert len(outputs) == len(norms) > 10
    for output in outputs:
        spread = output.std(dim=(0, 2, 3))
        torch.testing.assert_close(output.mean(dim=(0, 2, 3)), torch.zeros_like(spread), atol=0.2, rtol=0)
        torch.testing.assert_close(spread[spread > 0.5], torch.ones_like(spread[spread > 0.5]), atol=0.2, rtol=0)
        assert (spread > 0.5).float().mean() > 0.5  # the others are constant, or nearly: epsilon holds them down


def test_the_network_before_training_gets_the_trained_head(network: LoadedNetwork) -> None:
    before = assemble("densenet_tiny", 4, network.run.transfer, None, seed=9)
    kept, tuned = state(before), state(network.net)
    made = audits.headed(before, network)
    of_made = state(made.net)
    heads = set(network.net.stage_tensors("head"))
    assert changed(kept, of_made) == heads == {name for name in heads if torch.equal(of_made[name], tuned[name])}
    assert before.training
    assert not made.net.training
    assert not changed(kept, state(before))


# A run


@pytest.fixture(scope="module")
def small(study: Study) -> Study:
    """Two runs that train in a second or two."""
    about = {"seeds": 2, "picture": Picture(mels=MELS, frames=FRAMES), "recipe": Recipe(epochs=2, lr=1e-3)}
    return replace(study, augment=Augment(kind="none"), **about)


@pytest.fixture(scope="module")
def trained(small: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[FinishedRun], Store]:
    """Seeds 0 and 1."""
    folder = tmp_path_factory.mktemp("audited")
    place = Place(data_root=str(folder / "data"), runs=str(folder / "runs"), device="cpu")
    material = prepare(small, place)
    return ensure(list_runs(material), material, place), material.store


def made(trained: tuple[list[FinishedRun], Store], clips: int = 4) -> Audit:
    """An audit in which every map takes the steps of the clip's own."""
    (first, second), store = trained
    run = first.run
    before = assemble(run.backbone, run.classes, run.transfer, None, seed=run.seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audits, "STEPS", 10**6)
        patch.setattr(explainers, "START", 16)  # for the test's time
        return audit(first, store, others=[second], before=before, clips=clips, tolerance=100, device=CPU)


@pytest.fixture(scope="module")
def whole(trained: tuple[list[FinishedRun], Store]) -> Audit:
    return made(trained)


def test_every_number_is_there_for_every_clip(whole: Audit, trained: tuple[list[FinishedRun], Store]) -> None:
    (first, second), store = trained
    rows = evenly(store.dataset.split(1).test, 4)
    assert whole.clips["clip"].unique().tolist() == [store.dataset.clips[row].name for row in rows]
    variants = {part: mine["variant"].unique().tolist() for part, mine in whole.summary.groupby("part")}
    correlated = ("stages", "baselines", "runs", "position")
    assert variants.pop("strength") == [variant for part in correlated for variant in variants[part]]
    assert variants == {
        "energy": ["attribution", "x - b", "shifted", "permuted", "random network"],
        "tiles": ["attribution", "loudness", "random"],
        "stages": ["none", "head", *reversed(STAGES)],
        "baselines": ["silence / mean", "silence / zero", "silence / clips:8"],
        "runs": ["seed 0 / seed 1", "before / after"],
        "position": ["other clips"],
    }
    assert whole.clips.groupby(["part", "measure", "variant"]).size().eq(4).all()
    assert (whole.summary[["clips", "left_out"]] == [4, 0]).all(axis=None)
    for table in (whole.clips, whole.summary, whole.curves, whole.maps):
        assert not table.drop(columns=["low", "high"], errors="ignore").isna().any(axis=None)  # few clips: no intervals
    correlations = whole.clips[whole.clips["measure"] == "rank correlation"]["value"]
    assert correlations.abs().max() <= 1 + 1e-6
    assert set(whole.maps["run"]) == {first.key, second.key}
    mine = whole.maps[(whole.maps["network"] == "as trained") & (whole.maps["run"] == first.key)]
    own = mine[mine["baseline"] == "silence"].drop_duplicates("clip").set_index("clip")
    for clip, maps in whole.maps.groupby("clip"):
        gradients = maps["steps"] * np.where(maps["baseline"] == "clips:8", 8, 1)
        assert gradients.eq(own.loc[clip, "steps"]).all()


def test_what_is_as_trained_agrees_with_itself(whole: Audit) -> None:
    value = whole.summary.groupby(["part", "variant"])["value"].first()
    assert [value[part, "none"] for part in ("stages", "strength")] == pytest.approx([1, 1], abs=1e-6)
    assert value["strength", "stem"] > value["stages", "stem"] + 0.05  # x - b is in every map
    assert value["stages", "stem"] < 0.9
    assert value["runs", "seed 0 / seed 1"] < 0.99


def test_the_target_is_what_the_run_hears(whole: Audit, trained: tuple[list[FinishedRun], Store]) -> None:
    folder = trained[0][0]
    said = folder.predictions
    heard = dict(zip(said.names.tolist(), said.logits["last"].argmax(axis=1), strict=True))
    labels = dict(zip(said.names.tolist(), said.labels, strict=True))
    for row in whole.clips.drop_duplicates("clip").to_dict("records"):
        assert row["target"] == folder.classes[heard[row["clip"]]]
        assert row["class"] == folder.classes[labels[row["clip"]]]


def test_curves_begin_with_the_clip_and_end_in_silence(whole: Audit, trained: tuple[list[FinishedRun], Store]) -> None:
    (folder, *_), store = trained
    network, rows = infer.load(folder, CPU), evenly(store.dataset.split(1).test, 4)
    targets = network.logits(store.clean[rows]).argmax(axis=1)
    silence = np.full((1, *store.clean.shape[1:]), SILENT)
    whole_clip = np.mean([network.probabilities(store.clean[row][None])[t] for row, t in zip(rows, targets, strict=True)])
    silent = np.mean(network.probabilities(silence)[targets])
    for (curve, _), mine in whole.curves.groupby(["curve", "ranking"]):
        values = mine.sort_values("share")["value"].to_numpy()
        ends = (whole_clip, silent) if curve == "deletion" else (silent, whole_clip)
        assert (values[0], values[-1]) == pytest.approx(ends, abs=1e-5)
        area = np.trapezoid(values, mine["share"])
        table = whole.summary.set_index(["part", "measure", "variant"])["value"]
        assert table["tiles", curve, mine["ranking"].iloc[0]] == pytest.approx(area, abs=1e-9)


def test_the_same_audit_gives_the_same_tables(whole: Audit, trained: tuple[list[FinishedRun], Store], tmp_path: Path) -> None:
    again = made(trained)
    for name in ("clips", "summary", "curves", "maps"):
        pd.testing.assert_frame_equal(getattr(whole, name), getattr(again, name))
    paths = whole.write(tmp_path, "fig3_ig_audit")
    assert [path.name for path in paths] == [f"fig3_ig_audit{what}.csv" for what in ("", "_summary", "_curves", "_maps")]
    pd.testing.assert_frame_equal(pd.read_csv(paths[1]), whole.summary)


def test_the_figure_is_drawn_from_these_tables(whole: Audit) -> None:
    figure = draw.figure(whole.summary, whole.curves, "a note")
    figure.draw_without_rendering()
    labels = {text.get_text() for axes in figure.findobj(Axes) for text in axes.get_xticklabels()}
    assert {"head", "block4", "stem"} <= labels


def test_summaries_go_by_recordings() -> None:
    values, sources = np.array([0.1, 0.2, 0.6, 0.9, 0.3, 0.4, 0.5]), np.array(list("aabcdef"))
    rows = [
        {"part": "p", "measure": "m", "variant": "v", "source": s, "value": v} for s, v in zip(sources, values, strict=True)
    ]
    (row,) = audits.summarised(pd.DataFrame(rows), audited=9).to_dict("records")
    expected = mean(of_clips(values, sources))
    assert (row["value"], row["low"], row["high"]) == (expected.mean, expected.low, expected.high)
    assert (row["clips"], row["left_out"]) == (7, 2)


def muted(store: Store, changes: dict[int, float]) -> Store:
    """A store in which some rows are the same everywhere."""
    pictures = np.array(store.clean)
    for row, level in changes.items():
        pictures[row] = level
    other = replace(store)
    vars(other)["clean"] = pictures
    return other


def test_clips_that_are_the_same_everywhere_are_left_out_and_counted(
    trained: tuple[list[FinishedRun], Store], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder, *_), store = trained
    rows = evenly(store.dataset.split(1).test, 4)
    found = audit(folder, muted(store, {rows[0]: SILENT, rows[2]: -3.0}), clips=4, tolerance=0.3, device=CPU)
    assert (found.summary[["clips", "left_out"]] == [2, 2]).all(axis=None)
    assert not found.summary.drop(columns=["low", "high"]).isna().any(axis=None)
    said = capsys.readouterr().err
    for row in rows[[0, 2]]:
        assert store.dataset.clips[row].name in said
    silent = found.maps[found.maps["clip"] == store.dataset.clips[rows[0]].name]
    assert (silent["steps"].item(), silent["error"].item()) == (0, 0)
    assert "runs" not in set(found.summary["part"])  # none was given
    maps = found.maps[found.maps["clip"] == store.dataset.clips[rows[1]].name]
    assert maps["error"].iloc[0] <= 0.3
    assert maps["steps"].iloc[0] > STEPS
    assert maps["steps"].iloc[1:].isin([STEPS, STEPS // 8]).all()


def test_an_audit_of_nothing_is_refused(trained: tuple[list[FinishedRun], Store]) -> None:
    (folder, *_), store = trained
    rows = evenly(store.dataset.split(1).test, 2)
    with pytest.raises(UserError, match="each of the 2 clips is silent"):
        audit(folder, muted(store, dict.fromkeys(rows, SILENT)), clips=2, tolerance=0.3, device=CPU)


def test_runs_that_held_out_other_clips_are_refused(trained: tuple[list[FinishedRun], Store], tmp_path: Path) -> None:
    (folder, _), store = trained
    run = replace(folder.run, fold=2)
    other = replace(folder, path=tmp_path / run.key, run=run)
    with pytest.raises(UserError, match="their fold is 1 and 2"):
        audit(folder, store, others=[other], clips=1, device=CPU)


def test_clips_are_spread_evenly() -> None:
    rows = np.arange(100, 180)
    assert evenly(rows, None) is rows
    assert evenly(rows, 200) is rows
    chosen = evenly(rows, 9)
    assert (chosen[0], chosen[-1], len(set(chosen))) == (100, 179, 9)
    assert {b - a for a, b in pairwise(chosen)} <= {9, 10}
