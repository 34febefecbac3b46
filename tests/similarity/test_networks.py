"""Any two torch networks, layer by layer: against hooks and numpy by hand, and against the command's own path."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tla.bench.similarity import obvious_svcca
from tla.errors import UserError
from tla.nets.backbones import build
from tla.plots import save
from tla.runs.infer import LoadedNetwork
from tla.similarity import compare, compare_figure, networks_figure, svcca
from tla.similarity.scoring import Asked, scored
from tla.similarity.stream import accumulate, grouped, of_run, shared_layers, spooled
from tla.statistics import deal

CLIPS, BATCH = 23, 4
RECORDINGS = [f"recording {clip // 2}" for clip in range(CLIPS)]
NUMBERS = ["score", "low", "high", "floor", "floor_low", "floor_high"]


class Net(nn.Module):
    """A small network with what may go wrong: batch norm, dropout, a ReLU that works in place, twice, and a module not used."""

    def __init__(self, seed: int, width: int = 7) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.relu, self.drop = nn.ReLU(inplace=True), nn.Dropout(0.5)
        self.blocks = nn.Sequential(nn.Conv2d(6, width, 3, stride=2), nn.Conv2d(width, width, 1))
        self.unused, self.head = nn.Linear(2, 2), nn.Linear(width, 5)
        with torch.no_grad():
            for weights in self.parameters():
                weights.copy_(torch.randn(weights.shape, generator=generator) / 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.drop(self.relu(self.norm(self.first(x)))))
        return self.head(self.relu(x).mean((2, 3)))


def clips(count: int = CLIPS) -> Tensor:
    return torch.randn(count, 3, 11, 9, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def nets() -> tuple[Net, Net]:
    first = Net(0)
    second = copy.deepcopy(first)
    with torch.no_grad():
        for weights, others in zip(second.parameters(), Net(1).parameters(), strict=True):
            weights.add_(0.7 * others)
    return first, second


def by_hand(net: nn.Module, name: str) -> np.ndarray:
    """A layer's outputs for all clips, (clips, positions, channels), through a hook of one's own."""
    found: list[np.ndarray] = []
    handle = net.get_submodule(name).register_forward_hook(lambda _module, _inputs, output: found.append(output.numpy().copy()))
    net.eval()
    with torch.no_grad():
        net(clips())
    handle.remove()
    return found[0].reshape(*found[0].shape[:2], -1).transpose(0, 2, 1).astype(np.float64)


def plain_cka(x: np.ndarray, y: np.ndarray) -> float:
    x, y = (side.reshape(-1, side.shape[-1]) for side in (x, y))
    x, y = x - x.mean(0), y - y.mean(0)
    return float(np.linalg.norm(x.T @ y) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y))


def paired_with_another(groups: list[np.ndarray]) -> np.ndarray:
    """The clip that each clip is paired with for the floor: one of its batch, in the random order of its group."""
    rng, partner = np.random.default_rng(0), np.empty(CLIPS, dtype=int)
    for group in groups:
        order = rng.permutation(group)
        for batch in np.array_split(order, -(-len(order) // BATCH)):
            partner[batch] = np.roll(batch, 1)
    return partner


def test_scores_floors_and_intervals_are_those_of_hooks_and_numpy(nets: tuple[Net, Net]) -> None:
    batches = DataLoader(TensorDataset(clips(), torch.zeros(CLIPS)), batch_size=BATCH)
    table = compare(*nets, batches, "norm, blocks*, head", measures=["svcca", "cka"], groups=RECORDINGS, forced="allow")
    assert list(table["layer"].unique()) == ["norm", "blocks.0", "blocks.1", "blocks", "head"]
    groups = deal(RECORDINGS, most=10)
    partner = paired_with_another(groups)
    for row in table.to_dict("records"):
        x, y = (by_hand(net, row["layer"]) for net in nets)
        assert (row["points"], row["channels_a"], row["channels_b"]) == (x.shape[0] * x.shape[1], x.shape[2], y.shape[2])
        score = (
            plain_cka if row["measure"] == "cka" else lambda x, y: obvious_svcca(*(np.concatenate(s) for s in (x, y))).mean()
        )
        assert row["score"] == pytest.approx(score(x, y), abs=1e-5)
        assert row["floor"] == pytest.approx(score(x, y[partner]), abs=1e-5)
        if row["measure"] == "cka":
            for what, other in (("", y), ("floor_", y[partner])):
                rest = [np.delete(np.arange(CLIPS), group) for group in groups]
                without = [plain_cka(x[left], other[left]) for left in rest]
                reach = 2.262157 * np.sqrt(9 / 10 * ((without - np.mean(without)) ** 2).sum())  # Student's t, 9 degrees
                assert row[f"{what}low"] == pytest.approx(max(0, plain_cka(x, other) - reach), abs=1e-5)
                assert row[f"{what}high"] == pytest.approx(min(1, plain_cka(x, other) + reach), abs=1e-5)
        else:
            assert row["low"] < row["score"] < row["high"]


@torch.no_grad()
def test_it_is_the_commands_path(run) -> None:
    run = replace(run, backbone="densenet_tiny")
    staged = [build("densenet_tiny", 5, seed=seed).eval() for seed in (0, 1)]
    loaded = [LoadedNetwork(run, [], net, torch.device("cpu"), None) for net in staged]
    pictures = np.random.default_rng(0).normal(-5, 3, (CLIPS, 3, 32, 40)).astype(np.float32)
    couples = shared_layers(staged[0], staged[1], "stages", (3, 32, 40))
    asked = Asked(("svcca", "cka-debiased"), forced="allow")
    table = compare(
        staged[0].net,
        staged[1].net,
        pictures,
        [couple.after.module for couple in couples],
        measures=asked.measures,
        groups=RECORDINGS,
        forced="allow",
    )
    with spooled() as spool:
        accumulate(of_run(loaded[0]), of_run(loaded[1]), couples, pictures, grouped(RECORDINGS), spool)
        expected = [score for layer in range(len(couples)) for score in scored(spool, layer, asked, lambda *_: None)]
    assert len(table) == len(expected) == 10
    np.testing.assert_allclose(table["score"], [score.whole.score for score in expected], atol=1e-5)
    np.testing.assert_allclose(table["floor"], [score.null.score for score in expected], atol=1e-5)
    assert (table["low"] < table["score"]).all()


def state(net: nn.Module) -> list:
    hooks = [dict(part) for m in net.modules() for part in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks)]
    tensors = [(name, value.clone()) for name, value in net.state_dict().items()]
    return [tensors, [m.training for m in net.modules()], [(p.requires_grad, p.grad) for p in net.parameters()], hooks]


def test_networks_are_left_as_they_were_and_can_be_trained(nets: tuple[Net, Net]) -> None:
    first, second = nets
    first.train()
    first.norm.eval()
    second.eval()
    second.head.requires_grad_(False)
    for broken in (False, True):
        before = [state(net) for net in nets]
        if broken:
            with pytest.raises(RuntimeError, match="expected input"):
                compare(first, second, clips()[:, :2], "norm")
        else:
            compare(first, second, clips(), "norm")
        for net, (tensors, *rest) in zip(nets, before, strict=True):
            now, *others = state(net)
            assert others == rest
            assert all(torch.equal(mine, theirs) for (_, mine), (_, theirs) in zip(now, tensors, strict=True))
    first(clips()).sum().backward()
    assert first.first.weight.grad is not None


class Remembers(nn.Module):
    """Keeps what it makes for a number of clips, as networks do with positions."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.kept = nn.Linear(4, 3), {}

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.kept.setdefault(len(x), torch.arange(3.0) + 1)


def test_what_a_network_keeps_from_the_pass_can_be_trained_with() -> None:
    net, x = Remembers(), torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    compare(net, Remembers(), x, "layer")
    assert set(net.kept) == {4, 8}
    net(x[:4]).sum().backward()


def test_layers_are_named_listed_fitted_or_mapped(nets: tuple[Net, Net]) -> None:
    def names(layers: object) -> list[str]:
        return list(compare(*nets, clips(), layers, measures="cka")["layer"])  # type: ignore[arg-type]

    assert names("blocks.?") == ["blocks.0", "blocks.1"]
    assert names(["head", "first"]) == ["first", "head"]  # as they are computed
    assert names("*") == ["first", "norm", "drop", "blocks.0", "blocks.1", "blocks", "head"]
    assert names({"first": "norm", "blocks.0": "blocks.0"}) == ["first > norm", "blocks.0"]
    mapped = compare(*nets, clips(), {"first": "norm"}, measures="cka", groups=RECORDINGS)
    x, y = by_hand(nets[0], "first"), by_hand(nets[1], "norm")
    assert mapped["score"].item() == pytest.approx(plain_cka(x, y), abs=1e-5)


def refused(match: str, *given: object, **options: object) -> None:
    with pytest.raises(UserError, match=match):
        compare(*given, **options)  # type: ignore[arg-type]


def test_layers_that_cannot_be_compared(nets: tuple[Net, Net]) -> None:
    x = clips()
    refused(
        r"network a has no module 'layer9'; possible are names and patterns such as first, norm, relu, \.\.\.",
        *nets,
        x,
        "layer9",
    )
    refused("network b has no module 'nothing'", *nets, x, {"first": "nothing"})
    refused("relu in network a cannot be compared: it is called 2 times", *nets, x, "relu")
    refused("unused in network a.*called 0 times", *nets, x, ["first", "unused"])
    refused("layers names none", *nets, x, " , ")
    other = nn.Sequential(nn.Conv2d(3, 4, 3))
    refused("no module 'first'", nets[0], other, x, "first")
    refused(r'no layer has one name.*first, norm, drop, \.\.\.,.*in a, 0 in b.*layers=\{"name in a"', nets[0], other, x, "*")
    refused("first > blocks.0 has 9 x 7 and 4 x 3 positions.*pool=True", *nets, x, {"first": "blocks.0"})
    refused("first > head has 9 x 7 and no positions", *nets, x, {"first": "head"})
    pooled = compare(*nets, x, {"first": "blocks.0"}, measures=["svcca", "cka"], pool=True)
    assert list(pooled["points"]) == [CLIPS, CLIPS]
    x, y = (by_hand(net, name).mean(1) for net, name in zip(nets, ("first", "blocks.0"), strict=True))
    assert pooled["score"][1] == pytest.approx(plain_cka(x, y), abs=1e-5)


class Tokens(nn.Module):
    """(clips, tokens, channels) from one layer, a tuple from another, something else from a third."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.embed, self.lstm = nn.Linear(11, 8), nn.LSTM(8, 5, batch_first=True)
            self.other, self.turned = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.embed(x.mean(1).transpose(1, 2))  # (clips, 9 tokens, 8)
        self.other({"y": y})
        self.turned(y.transpose(0, 1))
        return self.lstm(y)[0]


def test_tokens_have_their_channels_last_if_that_is_said() -> None:
    nets, x = (Tokens(0), Tokens(1)), clips()
    refused(r"embed has the shape \(8, 9, 8\): is that \(clips, tokens, channels\)", *nets, x, "embed")
    wanted = [
        svcca(a := by_hand_tokens(nets[0], name, x), b := by_hand_tokens(nets[1], name, x), channel_axis=-1)
        for name in ("embed", "lstm")
    ]
    assert a.shape == b.shape == (CLIPS, 9, 5)
    for axis in (-1, 2, {"e*": -1, "lstm": 2}):
        table = compare(*nets, x, "embed,lstm", channel_axis=axis)
        np.testing.assert_allclose(table["score"], [found.score for found in wanted], atol=1e-5)
        assert list(table["positions"]) == ["9", "9"]
        assert list(table["channels_a"]) == [8, 5]
    refused("embed has the shape", *nets, x, "embed,lstm", channel_axis={"lstm": -1})
    refused("channel_axis=3: embed has", *nets, x, "embed", channel_axis=3)
    refused("other in network a.*it puts out dict", *nets, x, "other")
    refused(r"turned.*it puts out \(9, 8, 8\) for 8 clips", *nets, x, "turned", channel_axis=-1)


def by_hand_tokens(net: nn.Module, name: str, x: Tensor) -> np.ndarray:
    found: list = []
    handle = net.get_submodule(name).register_forward_hook(lambda _module, _inputs, output: found.append(output))
    with torch.no_grad():
        net(x)
    handle.remove()
    return (found[0][0] if isinstance(found[0], tuple) else found[0]).numpy()


def test_a_dead_layer_is_left_out_and_the_table_says_why(nets: tuple[Net, Net]) -> None:
    with torch.no_grad():
        nets[1].norm.weight.zero_()
    table = compare(*nets, clips(), "first,norm", measures=["svcca", "cka"]).set_index(["layer", "measure"])
    assert table.loc["first", "score"].notna().all()
    assert table.loc["norm", NUMBERS].isna().all(axis=None)
    assert set(table.loc["norm", "left_out"]) == {
        "all 6 channels of y are constant over 1449 points; there is nothing to compare"
    }
    refused("nothing could be scored: cka at norm: all 6 channels", *nets, clips(), "norm", measures="cka")


def test_forced_correlations_are_refused_or_allowed(nets: tuple[Net, Net]) -> None:
    options = {"measures": ["pwcca", "cka"], "groups": RECORDINGS[:8]}
    table = compare(*nets, clips(8), "first,head", **options).set_index(["layer", "measure"])
    row = table.loc[("head", "pwcca")]
    assert (row["points"], row["kept_a"], row["forced"]) == (8, 5, 5)
    assert "canonical correlations" in row["left_out"]
    assert "forced='allow'" in row["left_out"]
    assert row[NUMBERS].isna().all()
    assert table.loc[("head", "cka"), "left_out"] == ""
    assert np.isfinite(table.loc[("head", "cka"), "score"])
    assert table.loc[("first", "pwcca"), "forced"] == 0
    allowed = compare(*nets, clips(8), "first,head", forced="allow", **options)
    assert allowed["score"].notna().all()
    refused("nothing could be scored: pwcca at head: ", *nets, clips(8), "head", measures="pwcca")


Loader = Callable[[Tensor], object]


def by_fours(x: Tensor) -> Iterator[tuple[Tensor, str]]:
    yield from ((batch, "label") for batch in x.split(BATCH))


@pytest.mark.parametrize(
    "loader",
    [
        by_fours,
        lambda x: [batch.numpy() for batch in x.split(BATCH)],
        lambda x: [[batch] for batch in x.split(BATCH)],
        partial(DataLoader, batch_size=BATCH),
        lambda x: TensorDataset(x, torch.zeros(len(x))),
    ],
    ids=["tuples", "arrays", "lists", "loader", "dataset"],
)
def test_clips_come_in_many_ways(loader: Loader, nets: tuple[Net, Net], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tla.similarity.networks.BATCH", BATCH)
    wanted = compare(*nets, clips(), "norm")
    pd.testing.assert_frame_equal(compare(*nets, loader(clips()), "norm"), wanted)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(compare(*nets, clips().numpy(), "norm"), wanted)


def test_networks_may_compute_in_half_precision(nets: tuple[Net, Net]) -> None:
    wanted = compare(*nets, clips(), "norm")
    halves = [copy.deepcopy(net).bfloat16() for net in nets]
    table = compare(*halves, list(clips().bfloat16().split(8)), "norm")
    assert table["score"].item() == pytest.approx(wanted["score"].item(), abs=0.02)
    assert table["score"].item() != wanted["score"].item()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_networks_may_be_on_different_devices(nets: tuple[Net, Net]) -> None:
    wanted = compare(*nets, clips(), "norm,head", measures="cka")
    table = compare(nets[0], copy.deepcopy(nets[1]).cuda(), clips(), "norm,head", measures="cka")
    np.testing.assert_allclose(table[NUMBERS], wanted[NUMBERS], atol=1e-4)


def test_clips_and_options_that_do_not_fit(nets: tuple[Net, Net]) -> None:
    x = clips()
    refused("the loader yields str", *nets, {"x": x}, "norm")
    refused("the loader yields dict; possible are batches of clips", *nets, [{"x": x}], "norm")
    refused("the loader yields Tensor", *nets, iter(torch.ones(3)), "norm")
    refused("the loader gives no clips", *nets, [], "norm")
    refused("the loader gives 1 clips; a comparison takes 2", *nets, x[:1], "norm")
    refused(r"\(3, 11, 9\) torch.float32 and then \(3, 11, 8\)", *nets, [x, x[..., :8]], "norm")
    refused("groups has 3 entries and the loader gives 23 clips", *nets, x, "norm", groups=[1, 2, 3])
    refused("measures='SVCCA': possible are svcca, pwcca, cka", *nets, x, "norm", measures="SVCCA")
    refused(r"measures=\[\]", *nets, x, "norm", measures=[])
    refused("forced='yes': possible are refuse and allow", *nets, x, "norm", forced="yes")
    refused("nothing could be scored.*possible are a share", *nets, x, "norm", keep=-1)


def test_one_group_has_no_interval(nets: tuple[Net, Net]) -> None:
    row = compare(*nets, clips(), "norm", groups=["one"] * CLIPS).iloc[0]
    assert np.isfinite(row[["score", "floor"]].astype(float)).all()
    assert row[["low", "high", "floor_low"]].isna().all()


@pytest.fixture
def table(nets: tuple[Net, Net]) -> pd.DataFrame:
    return compare(*nets, clips(), "*", measures=["svcca", "cka"])


def test_the_figure_is_drawn_from_the_table_alone_the_same_twice(table: pd.DataFrame, tmp_path: Path) -> None:
    table.to_csv(tmp_path / "table.csv", index=False)
    save(compare_figure(table), tmp_path / "a")
    save(compare_figure(pd.read_csv(tmp_path / "table.csv")), tmp_path / "b")
    for suffix in ("pdf", "png"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_the_figure_shows_scores_intervals_and_floors(table: pd.DataFrame) -> None:
    page = compare_figure(table)
    assert [axes.get_ylabel() for axes in page.axes] == ["SVCCA similarity", "linear CKA"]
    score, *_, floor = page.axes[1].lines
    mine = table[table["measure"] == "cka"]
    np.testing.assert_allclose(score.get_ydata(), mine["score"])
    np.testing.assert_allclose(floor.get_ydata(), mine["floor"])
    assert [label.get_text() for label in page.axes[1].get_xticklabels()] == list(mine["layer"])
    assert "23 clips" in networks_figure.about(table)
    assert "each of 10 groups" in networks_figure.about(table)


def test_it_draws_on_given_axes_and_refuses_other_tables(table: pd.DataFrame) -> None:
    from matplotlib.figure import Figure

    page = Figure()
    axes = page.subplots(2)
    assert compare_figure(table[table["measure"] == "cka"], axes[1]) is page
    assert not axes[0].lines
    assert len(axes[1].lines) > 1
    with pytest.raises(UserError, match=r"axes show one measure, and the table has 2 \(svcca, cka\)"):
        compare_figure(table, axes[0])
    with pytest.raises(UserError, match="the table has no column floor, score"):
        compare_figure(table.drop(columns=["floor", "score"]))
