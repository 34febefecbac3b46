"""Runs that learn from a few clips of each class: what they are fed, what stays as it was, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tla.console import Progress
from tla.errors import UserError
from tla.launch.find_run import newest_study, pick
from tla.launch.plan import Plan
from tla.launch.study import ensure, list_runs, prepare
from tla.options import Augment, Picture, Place, Recipe, Study, Transfer
from tla.runs import command, prefix
from tla.runs import fit as fitting
from tla.runs.feed import Feed
from tla.runs.folder import FinishedRun, RunFolder
from tla.runs.tables import runs_table
from tla.tables import show_runs


def train(study: Study, place: Place) -> list[FinishedRun]:
    material = prepare(study, place)
    return ensure(list_runs(material), material, place)


def fed(study: Study, place: Place) -> Feed:
    material = prepare(study, place)
    run = list_runs(material)[0]
    return Feed(material.store, run, run.split(material.dataset).train, material.device)


def test_all_clips_is_the_ordinary_run_with_its_ordinary_key(study: Study, place: Place) -> None:
    material = prepare(study, place)
    (whole,) = list_runs(material)
    (few,) = list_runs(replace(material, study=replace(study, per_class=2)))
    assert whole.key != few.key == replace(whole, per_class=2).key
    short = replace(study, recipe=replace(study.recipe, short_epochs=True))
    assert list_runs(replace(material, study=short)) == [whole]  # without --per-class it says nothing
    assert list_runs(replace(material, study=replace(short, per_class=2)))[0].key != few.key


def test_what_is_learned_from_and_what_is_held_out(study: Study, place: Place) -> None:
    dataset = prepare(study, place).dataset
    whole, few, more = (dataset.split(1, "nested", k, 0) for k in (None, 2, 4))
    assert np.bincount(dataset.labels[few.train]).tolist() == [2] * 10
    assert set(few.train) < set(more.train) < set(whole.train)
    assert np.bincount(dataset.labels[few.validation]).tolist() == [2] * 10
    assert set(few.validation) <= set(whole.validation)
    assert few.test.tolist() == whole.test.tolist()
    assert dataset.split(1, "nested", 99, 0).train.tolist() == whole.train.tolist()
    assert set(dataset.split(1, "paper", 2, 1).train) != set(dataset.split(1, "paper", 2, 0).train)
    folds = [dataset.split(fold, "paper", 2, 0).train for fold in (1, 2)]
    assert len(set(folds[0]) & set(folds[1])) < 15  # drawn anew, and not the same as far as they can be


@pytest.mark.parametrize(("augment", "pictures"), [("none", 80), ("bank:2", 160)])
def test_an_epoch_has_as_many_pictures_as_one_over_all_clips(study: Study, place: Place, augment: str, pictures: int) -> None:
    study = replace(study, per_class=3, augment=Augment(kind=augment))
    feed = fed(study, place)
    clips, variants = feed._order(0)
    assert len(clips) == len(variants) == pictures
    assert set(clips) == set(feed.train)
    taken = np.bincount(clips)[feed.train]
    assert taken.max() - taken.min() <= 1 + (augment != "none")
    assert (variants > 0).mean() == pytest.approx(0.5 if augment != "none" else 0, abs=0.1)
    assert feed.batches == fed(replace(study, per_class=None), place).batches
    short = fed(replace(study, recipe=replace(study.recipe, short_epochs=True)), place)
    assert sorted(short._order(0)[0]) == sorted(list(feed.train) * (pictures // 80))
    assert (short.batches, feed.batches) == ((1, 3) if augment == "none" else (2, 5))


def test_one_pass_is_the_order_that_it_always_was(study: Study, place: Place) -> None:
    """Recorded before epochs could have several passes."""
    feed = fed(study, place)
    rng = np.random.default_rng([0, 4])
    drawn = rng.integers(1, 3, len(feed.train))
    order = rng.permutation(2 * len(feed.train))
    clips, variants = feed._order(4)
    np.testing.assert_array_equal(clips, np.concatenate([feed.train, feed.train])[order])
    np.testing.assert_array_equal(variants, np.concatenate([0 * drawn, drawn])[order])


def test_a_clip_that_comes_again_has_another_live_picture(study: Study, place: Place) -> None:
    store = prepare(replace(study, augment=Augment(kind="live")), place).store
    first, other, again = store.live([3, 4, 3], seed=0, epoch=0)
    np.testing.assert_array_equal(first, next(store.live([3], seed=0, epoch=0)))
    assert (first != again).any()
    assert (other != again).any()


def test_pictures_are_standardised_on_the_clips_that_are_learned_from(study: Study, place: Place) -> None:
    study = replace(study, per_class=2, recipe=Recipe(epochs=1, standardise=True))
    (folder,) = train(study, place)
    feed = fed(study, place)
    values = (np.asarray(feed.store.clean[feed.train], dtype=np.float64) - folder.standard[0]) / folder.standard[1]
    np.testing.assert_allclose(values.mean(axis=(0, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(values.std(axis=(0, 3)), 1, atol=1e-3)


@pytest.mark.parametrize("standardise", [True, False])
def test_a_prefix_that_is_this_runs_alone_is_computed_of_its_own_clips(study: Study, place: Place, standardise: bool) -> None:
    recipe = Recipe(epochs=1, lr=1e-2, standardise=standardise)
    plan = Transfer(pretrained_upto="none", frozen_upto="block1")
    study = replace(study, transfer=plan, picture=Picture(mels=64, frames=72), recipe=recipe, per_class=2)
    material = prepare(study, place)
    (run,) = list_runs(material)
    net = fitting.transfer.assemble(run.backbone, run.classes, run.transfer, None, seed=0)
    feed = Feed(material.store, run, run.split(material.dataset).train, material.device)
    behind = prefix.behind(feed, net, "block1")
    assert {len(bank) for bank in behind.banks} == {40 if standardise else 100}
    split = run.split(material.dataset)
    for rows in (split.train, split.test[::3]):
        with torch.inference_mode():
            expected = net.eval().prefix(feed.pictures(rows), "block1")
        torch.testing.assert_close(behind.pictures(rows), expected, rtol=0, atol=0)
    with_prefix = train(study, place)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting.transfer, "frozen_prefix", lambda net: "none")
        without = train(study, replace(place, runs=place.runs + "2"))[0]
    assert with_prefix.weights.read_bytes() == without.weights.read_bytes()


def test_what_lies_on_an_accelerator_is_what_is_fed(study: Study, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = fed(replace(study, per_class=2), place)
    split = feed.run.split(feed.store.dataset)
    assert len(feed.rows) == 40
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 10**9))
    real = feed.device
    feed.device = torch.device("cuda")
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_, **__: self)
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *shape, dtype, device: empty(*shape, dtype=dtype))
    resident = feed._on_gpu()
    assert resident is not None
    assert len(resident) == 3 * 40  # clean, and two variants
    monkeypatch.undo()
    feed.device = real
    variants = np.arange(len(split.train)) % 3
    expected = feed.pictures(split.train, variants), feed.pictures(split.test)
    feed._resident = resident
    torch.testing.assert_close((feed.pictures(split.train, variants), feed.pictures(split.test)), expected, rtol=0, atol=0)


@pytest.mark.parametrize("change", [{}, {"protocol": "nested"}, {"recipe": Recipe(epochs=3, lr=1e-3, short_epochs=True)}])
def test_an_interrupted_run_ends_bit_identical(study: Study, place: Place, tmp_path: Path, change: dict) -> None:
    study = replace(study, per_class=3, **change)
    (whole,) = train(study, place)
    other = replace(place, runs=str(tmp_path / "interrupted"))
    material = prepare(study, other)
    (run,) = list_runs(material)

    class Stop(Progress):
        """Stops the training after so many batches, as Ctrl-C would."""

        def __init__(self, stop: int) -> None:
            super().__init__("", 0)
            self.stop = stop

        def advance(self, n: int = 1) -> None:
            super().advance(n)
            if self.done == self.stop:
                raise KeyboardInterrupt

    folder = RunFolder(Path(other.runs) / run.key)
    folder.describe(run, list(material.dataset.classes), {})
    epoch = whole.log[0]["steps"]
    for stop in (1, epoch + 1, 2 * epoch + 1):
        with pytest.raises(KeyboardInterrupt):
            fitting.fit(run, material.store, None, folder, material.device, Stop(stop))
    assert folder.count_epochs() == 2
    (again,) = ensure([run], material, other)
    assert again.weights.read_bytes() == whole.weights.read_bytes()
    for rule, logits in again.predictions.logits.items():
        np.testing.assert_array_equal(logits, whole.predictions.logits[rule])


def test_a_plan_knows_how_long_it_is(study: Study, place: Place) -> None:
    def batches(study: Study) -> int:
        material = prepare(study, place)
        (wanted,) = Plan.of(list_runs(material), material, place).wanted.values()
        return wanted.batches.most

    few = replace(study, per_class=2)
    assert batches(few) == batches(study) == 15
    assert batches(replace(few, recipe=replace(few.recipe, short_epochs=True))) == 6


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"per_class": 9}, "--per-class 9: .* has 8 clips to learn from with fold 1 held out; give 8 at most"),
        ({"per_class": 0}, "--per-class is 0"),
        ({"per_class": 7, "protocol": "nested"}, "has 6 clips to learn from"),
    ],
)
def test_more_clips_than_there_are_are_refused(study: Study, place: Place, change: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        prepare(replace(study, **change), place)


def test_a_run_is_listed_and_found_again_by_its_options(study: Study, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    study = replace(study, recipe=Recipe(epochs=1, lr=1e-3))
    (whole,) = train(study, place)
    (few,) = train(replace(study, per_class=2), place)
    (fewer,) = train(replace(study, per_class=1, recipe=replace(study.recipe, short_epochs=True)), place)
    assert "--per-class 2" in command.again(few)
    assert {"--per-class", "--recipe.short-epochs"} < set(command.again(fewer).split())
    assert "per-class" not in command.again(whole)
    capsys.readouterr()
    show_runs(runs_table([whole, few]))
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[3:]] == ["all", "2"]
    show_runs(runs_table([few]))
    assert "per_class 2" in capsys.readouterr().out
    assert pick([few, whole]) == whole
    found = newest_study(Path(place.runs))
    assert found is not None
    assert found.per_class is None  # a control of the study, though it was finished last
