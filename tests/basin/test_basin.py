"""The laws of stages put back, of straight paths and of averaged weights; the tables, and the command."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from tla import basin, starts
from tla.basin import changes, measuring
from tla.basin import networks as put_together
from tla.basin.networks import Pair, Point, Rewound, Scored, Scorer
from tla.basin.planning import Networks, plan
from tla.basin.tables import (
    ESTIMATED,
    FRESH,
    FROM,
    ONE,
    OTHER,
    PRETRAINED,
    SCRATCH,
    SCRATCHES,
    SEEDS,
    START,
    STARTS,
    STATISTICS,
    STORED,
    TRAINING,
    UPTO,
    WHOLE,
)
from tla.errors import UserError
from tla.launch.study import train_missing
from tla.options import RANDOM, STAGES, Augment, Place, Recipe, Study, Transfer
from tla.runs import infer
from tla.runs.folder import FinishedRun
from tla.statistics import CLIPS as CLIPS_ONLY
from tla.statistics import TRAININGS

CLIPS = 16


@pytest.fixture(scope="module")
def networks(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Networks:
    """Two seeds of fold 1 from pretrained weights and from scratch; block1 is frozen."""
    room = tmp_path_factory.mktemp("basin")
    data = str(tmp_path_factory.getbasetemp() / "data")
    place = Place(data_root=data, runs=str(room / "runs"), figures=str(room / "figures"), device="cpu")
    quick = replace(study, recipe=Recipe(epochs=1, lr=1e-3), augment=Augment(kind="none"))
    (donor,) = train_missing(starts.plan(quick, place), place)[RANDOM]
    study = replace(quick, seeds=2, weights=donor.key, transfer=Transfer(frozen_upto="block1"))
    return train_missing(plan(study, place), place)


@pytest.fixture
def runs(networks: Networks) -> list[FinishedRun]:
    return list(networks.arms[PRETRAINED][1])


def rewound(run: FinishedRun, other: FinishedRun | None, networks: Networks) -> dict[tuple[str, Rewound | None], Scored]:
    return {(s, what): one for s, what, one in put_together.rewound(run, other, networks.material, CLIPS)}


def along(pair: Pair, networks: Networks, parts: tuple[str, ...] = (WHOLE,)) -> dict[tuple[str, Point], Scored]:
    return {(s, point): one for s, point, one in put_together.along(pair, networks.material, 5, parts, CLIPS)}


def stored(run: FinishedRun) -> Scored:
    return Scored.of(run.predictions.logits["last"], run.predictions.labels)


def same(one: Scored, other: Scored) -> bool:
    """Bit for bit."""
    return all(np.array_equal(getattr(one, part), getattr(other, part)) for part in ("loss", "predicted", "right"))


def score_of(run: FinishedRun, networks: Networks) -> Callable[[Mapping[str, Tensor]], np.ndarray]:
    """The logits of a network by its state dict, computed in one piece."""
    network = infer.load(run, networks.material.device)
    pictures = networks.material.store.clean[run.run.split(networks.material.dataset).test]

    def score(state: Mapping[str, Tensor]) -> np.ndarray:
        network.net.net.load_state_dict(dict(state))
        return network.logits(pictures)

    return score


def test_stages_put_back(networks: Networks, runs: list[FinishedRun]) -> None:
    run, other = runs
    found = rewound(run, other, networks)
    np.testing.assert_allclose(found[STORED, None].loss, stored(run).loss, rtol=1e-4)
    np.testing.assert_array_equal(found[STORED, None].predicted, stored(run).predicted)
    assert {what.to for _, what in found if what} == {START, FRESH, OTHER}
    for statistics in STATISTICS:
        own = found[statistics, None]
        for stage in ("stem", "block1"):  # which were frozen
            assert same(found[statistics, Rewound(START, ONE, stage)], own)
            assert same(found[statistics, Rewound(START, UPTO, stage)], own)
            assert same(found[statistics, Rewound(OTHER, ONE, stage)], own)
            assert not same(found[statistics, Rewound(FRESH, ONE, stage)], own)
        for to in (START, FRESH, OTHER):
            assert not same(found[statistics, Rewound(to, ONE, "block3")], own)
        assert same(found[statistics, Rewound(START, FROM, "stem")], found[statistics, Rewound(START, UPTO, "block4")])
        assert same(found[statistics, Rewound(START, FROM, "block4")], found[statistics, Rewound(START, ONE, "block4")])
    assert not same(found[STORED, None], found[ESTIMATED, None])


def test_a_network_put_together_computes_what_it_computes_in_one_piece(networks: Networks, runs: list[FinishedRun]) -> None:
    """The functions on state dicts are the same mathematics as the stage by stage one of the command."""
    run, scorer = runs[0], Scorer(runs[0], networks.material, CLIPS)
    state, start = scorer.sources[put_together.OWN], put_together.start_of(run, networks.material)
    parts = {stage: list(scorer.net.stage_tensors(stage)) for stage in (*STAGES, "head")}
    score, found = score_of(run, networks), rewound(run, None, networks)
    for stage, logits in basin.rewind(state, start, score, {stage: parts[stage] for stage in STAGES}).items():
        one = found[STORED, Rewound(START, ONE, stage)]
        np.testing.assert_allclose(Scored.of(logits, scorer.labels).loss, one.loss, rtol=1e-3, atol=1e-4)
    whole = along(Pair(TRAINING, run, run), networks, (WHOLE, "block3"))
    for only, part in ((None, WHOLE), (parts["block3"], "block3")):
        for share, logits in basin.path(start, state, score, steps=5, only=only).items():
            one = whole[STORED, Point(part, share)]
            np.testing.assert_allclose(Scored.of(logits, scorer.labels).loss, one.loss, rtol=1e-3, atol=1e-4)


def test_all_stages_and_the_head_put_back_are_the_start(networks: Networks, runs: list[FinishedRun]) -> None:
    run = runs[0]
    trained = infer.load(run, networks.material.device).net.net.state_dict()
    start = put_together.start_of(run, networks.material)
    every = basin.rewind(trained, start, dict, {"all": list(trained)})["all"]
    assert all(torch.equal(every[name], start[name]) for name in start)
    assert any(not torch.equal(trained[name], start[name]) for name in start)


def test_the_ends_of_a_path_are_the_networks_that_it_leads_between(networks: Networks, runs: list[FinishedRun]) -> None:
    found = along(Pair(SEEDS, *runs), networks)
    for share, run in ((0.0, runs[0]), (1.0, runs[1])):
        np.testing.assert_allclose(found[STORED, Point(WHOLE, share)].loss, stored(run).loss, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(found[STORED, Point(WHOLE, share)].predicted, stored(run).predicted)
        assert same(found[ESTIMATED, Point(WHOLE, share)], rewound(run, None, networks)[ESTIMATED, None])
    one_stage = along(Pair(TRAINING, runs[1], runs[1]), networks, ("block3",))
    for statistics in STATISTICS:
        back = rewound(runs[1], None, networks)[statistics, Rewound(START, ONE, "block3")]
        assert same(one_stage[statistics, Point("block3", 0.0)], back)


def test_a_path_to_itself_has_no_barrier(networks: Networks, runs: list[FinishedRun]) -> None:
    found = along(Pair(SEEDS, runs[0], runs[0]), networks)
    for statistics in STATISTICS:
        losses = {point.share: one.loss.mean() for (s, point), one in found.items() if s == statistics}
        assert basin.barrier(losses) == 0
    apart = along(Pair(SEEDS, *runs), networks)
    assert not same(apart[STORED, Point(WHOLE, 0.5)], apart[STORED, Point(WHOLE, 1.0)])


def test_a_barrier_is_how_far_the_loss_rises_over_the_line_between_the_ends() -> None:
    assert basin.barrier({0.0: 1.0, 0.25: 1.0, 0.5: 4.0, 1.0: 2.0}) == 2.5
    assert basin.barrier({0.0: 1.0, 0.5: 0.5, 1.0: 1.0}) == 0
    for lacking in ({0.0: 1.0, 0.5: 2.0}, {}):
        with pytest.raises(UserError, match=r"a path begins at 0.0 and ends at 1.0; this one has"):
            basin.barrier(lacking)
    with pytest.raises(UserError, match="a path of 2 steps has nothing between its ends"):
        basin.path({}, {}, len, steps=2)


def test_a_barrier_is_read_off_on_other_recordings_than_those_that_chose_its_place() -> None:
    rng = np.random.default_rng(0)
    places, hill = np.linspace(0, 1, 5), np.array([0, 1, 2, 1, 0.0])
    recordings = {1: np.arange(80).astype(str)}
    noise = 0.1 * rng.normal(size=(3, 5, 80))
    one = measuring.barrier_of({1: (places, hill[None, :, None] + noise[:1])}, recordings)
    assert one.mean == pytest.approx(2, abs=0.05)
    assert one.low < 2 < one.high
    assert one.covers == CLIPS_ONLY
    sizes = np.array([1, 2, 3])[:, None, None]
    several = measuring.barrier_of({1: (places, sizes * hill[None, :, None] + noise)}, recordings)
    assert several.mean == pytest.approx(4, abs=0.05)
    assert several.low < 2.5 < 5.5 < several.high
    assert several.covers == TRAININGS
    flat = [rng.normal(size=(1, 11, 40)) for _ in range(40)]
    found = [measuring.barrier_of({1: (np.linspace(0, 1, 11), each)}, {1: np.arange(40).astype(str)}) for each in flat]
    assert np.mean([each.low > 0 for each in found]) <= 0.1, "a path without a hill has no barrier"
    highest = [measuring.barriers(np.linspace(0, 1, 11), each.mean(axis=2)).mean() for each in flat]
    assert np.mean(highest) > 2 * np.mean([each.mean for each in found])


def test_a_soup_of_one_is_the_run_and_of_two_of_one_training_is_their_middle(
    networks: Networks, runs: list[FinishedRun]
) -> None:
    one, other = (infer.load(run, networks.material.device).net.net.state_dict() for run in runs)
    score = score_of(runs[0], networks)
    np.testing.assert_allclose(score(basin.soup([one])), runs[0].predictions.logits["last"], rtol=1e-3, atol=1e-4)
    middle = basin.path(one, other, score, steps=3)[0.5]
    np.testing.assert_allclose(score(basin.soup([one, other])), middle, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "change", [{"backbone": "resnet50"}, {"fold": 2}, {"transfer": Transfer(kept_upto="block2")}, {"data_digest": "x"}]
)
def test_runs_that_no_line_leads_between_are_refused(networks: Networks, runs: list[FinishedRun], change: dict) -> None:
    other = replace(runs[1], run=replace(runs[1].run, **change))
    with pytest.raises(
        UserError, match=f"runs {runs[0].key} and {other.key} differ in their .*: weights are mixed of runs of one"
    ):
        along(Pair(SEEDS, runs[0], other), networks)


def test_the_tables(networks: Networks) -> None:
    svcca = pd.DataFrame(
        [
            {"key": run.key, "stage": stage, "similarity": 1 - 0.1 * i}
            for run in networks.arms[PRETRAINED][1]
            for i, stage in enumerate(STAGES)
        ]
    )
    made = basin.measure(networks, steps=3, travel=(WHOLE, "block3"), clips=CLIPS, svcca=svcca)
    assert set(made.barriers["kind"]) == {TRAINING, SCRATCH, SEEDS, SCRATCHES, STARTS}
    assert (made.barriers["highest"] >= made.barriers["barrier"] - 1e-9).all()
    assert (made.barriers["barrier"] >= 0).all()
    assert dict(made.barriers.groupby("kind")["pairs"].first()) == {TRAINING: 2, SCRATCH: 2, SEEDS: 1, SCRATCHES: 1, STARTS: 2}
    assert set(made.paths["share"]) == {0, 0.5, 1}
    stages = made.stages.set_index(["curve", "to", "span", "stage", "statistics"])
    frozen = stages.loc[(PRETRAINED, START, ONE, "block1", STORED)]
    assert (frozen["gain"], frozen["rise"], frozen["changed"], frozen["important"]) == (0, 0, 0, False)
    assert (stages["runs"] == 2).all()
    mean = made.each[made.each["stage"] == "block3"].groupby(["curve", "to", "span", "statistics"])["accuracy"].mean()
    for (curve, to, span, statistics), accuracy in mean.items():  # type: ignore[misc]
        assert stages.loc[(curve, to, span, "block3", statistics), "accuracy"] == pytest.approx(accuracy)
    assert len(made.svcca) == 2 * 2 * len(STAGES)
    assert set(made.ranks["by"]) == {"accuracy", "loss"}
    assert (made.ranks["low"] <= made.ranks["high"]).all()
    without = basin.measure(networks, steps=3, pairs=0, clips=CLIPS)
    assert without.svcca.empty
    assert without.barriers.empty
    pd.testing.assert_frame_equal(without.stages, made.stages)


def test_ranks_are_those_of_spearman_and_the_interval_narrows_with_the_recordings() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(1)
    change, wide = np.arange(5.0), []
    for count in (20, 2000):
        cost = np.array([0.0, 0.1, 0.05, 0.3, 0.4])[:, None] + rng.normal(size=(5, count)) * 0.3
        found = changes.rank_correlation([(change, cost, 1)], {1: np.arange(count).astype(str)})
        assert found.mean == pytest.approx(spearmanr(change, cost.mean(axis=1)).statistic)
        assert found.low <= found.mean <= found.high
        wide.append(found.high - found.low)
    assert wide[1] < wide[0]
    flat = changes.rank_correlation([(change, np.zeros((5, 20)), 1)], {1: np.arange(20).astype(str)})
    assert flat.mean == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"steps": 2}, "a path of 2 steps"),
        ({"pairs": -1}, "--pairs is -1: give how many lines"),
        ({"clips": 1}, "--clips is 1: statistics are estimated on 2 to 200 clips"),
        ({"clips": 201}, "--clips is 201"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        measuring.check(**{"steps": 11, "pairs": 2, "clips": 96} | options)


def test_a_run_from_random_weights_has_one_curve(study: Study, place: Place) -> None:
    networks = train_missing(plan(study, place), place)
    assert list(networks.arms) == [RANDOM]
    made = basin.measure(networks, steps=3, clips=CLIPS)
    assert set(made.barriers["kind"]) == {SCRATCH}
    assert set(made.stages["to"]) == {START, FRESH}, "there is no other seed to take a stage from"
