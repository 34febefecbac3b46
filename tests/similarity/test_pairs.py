"""Which networks are compared: a study's with its controls, or any two."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tla.errors import UserError
from tla.launch.material import Material
from tla.launch.plan import PlanFor
from tla.launch.study import ensure, list_runs, prepare, train_missing
from tla.options import Place, Recipe, Study, Transfer
from tla.similarity.measuring import WEIGHTS, measure
from tla.similarity.pairs import Compared, Pair, controlled, named, to_train
from tla.similarity.scoring import Asked
from tla.similarity.tables import PRETRAINED, RANDOM, SEEDS

CPU = torch.device("cpu")
QUICK = Recipe(epochs=1, lr=1e-3)


@pytest.fixture
def material(from_donor: Study, place: Place) -> Material:
    """What the runs of a study from a trained network share."""
    return prepare(from_donor, place)


def untrained(plan: PlanFor[Compared], place: Place, written) -> Sequence[Pair]:
    """The pairs of a plan whose runs are finished without training."""
    runs = {wanted.run.key: written(Path(place.runs), wanted.run, [1]) for wanted in plan.wanted.values()}
    return plan.sorted_out(runs).pairs


def test_a_study_is_compared_with_its_controls(material: Material, place: Place, written) -> None:
    needed = controlled(material, place)
    lines = to_train(needed)
    found = untrained(needed, place, written)
    assert [pair.curve for pair in found] == [PRETRAINED, RANDOM, SEEDS]
    tuned, random, seeds = found
    assert len(lines) == 2  # the random one is the donor, and finished
    assert f"{tuned.after.folder.key} pretrained, fold 1, seed 0" in lines[0]
    assert seeds.before.folder == tuned.after.folder
    assert (seeds.before.folder.run.seed, seeds.after.folder.run.seed) == (0, 1)
    assert random.run.weights == RANDOM
    rows = tuned.clips(material.store)
    assert rows == random.clips(material.store) == material.dataset.split(1).test.tolist()
    assert tuned.known(material.store) == seeds.known(material.store) == 0
    assert to_train(needed) == []


def test_several_folds_and_seeds(material: Material, place: Place, written) -> None:
    more = replace(material, study=replace(material.study, folds=(1, 2), seeds=3))
    found = untrained(controlled(more, place), place, written)
    assert Counter(pair.curve for pair in found) == {PRETRAINED: 6, RANDOM: 6, SEEDS: 4}
    for pair in [pair for pair in found if pair.curve == SEEDS]:
        first, second = pair.before.folder.run, pair.after.folder.run
        assert (first.fold, first.seed + 1) == (second.fold, second.seed)


def test_from_random_weights_there_is_one_start(study: Study, place: Place, written) -> None:
    found = untrained(controlled(prepare(replace(study, recipe=QUICK), place), place), place, written)
    assert [pair.curve for pair in found] == [RANDOM, SEEDS]


def test_before_is_the_very_network_that_training_began_with(material: Material, place: Place) -> None:
    unmoved = Recipe(epochs=1, lr=1e-30, standardise=True)  # trains, and moves no weight
    still = replace(material, study=replace(material.study, recipe=unmoved))
    for pair in train_missing(controlled(still, place), place).pairs[:2]:
        networks = [side.load(CPU) for side in (pair.before, pair.after)]
        assert all(network.standard is not None for network in networks)
        assert not any(module.training for network in networks for module in network.net.modules())
        before, after = (dict(network.net.net.named_parameters()) for network in networks)
        assert all(torch.allclose(before[name], weight, rtol=1e-6, atol=1e-20) for name, weight in after.items())
    pretrained, random = train_missing(controlled(still, place), place).pairs[:2]
    change = measure(Compared([Pair("starts", random.before, pretrained.before)], still.store, CPU), Asked((WEIGHTS,)))
    assert (change.runs["score"] > 0.01).all()


def test_any_two_are_compared_by_name(material: Material, place: Place) -> None:
    study = replace(material.study, transfer=Transfer(pretrained_upto="block2", kept_upto="block2"))
    runs = list_runs(material, plan=study.transfer) + list_runs(replace(material, study=replace(study, folds=(2,))))
    cut, other = ensure(runs, material, place)
    needed = named("random", cut.key[:6], study, place)
    assert len(needed) == 0
    found = train_missing(needed, place)
    (pair,), store = found.pairs, found.store
    assert pair.curve == f"random > {cut.key}"
    assert pair.before.load(CPU).net.stages == pair.after.load(CPU).net.stages == ("stem", "block1", "block2")
    assert len(pair.clips(store)) == 20
    (pair,) = train_missing(named(other.key, cut.key, study, place), place).pairs
    assert pair.known(store) == 20  # fold 1 is trained on where fold 2 is held out
    assert pair.before.label == other.key


def test_what_cannot_be_compared_is_refused(material: Material, study: Study, place: Place, few_sounds, written) -> None:
    run = written(Path(place.runs), list_runs(material)[0], [1])
    seen = replace(run.run, picture=replace(run.run.picture, frames=48))
    other = written(Path(place.runs), seen, [1])
    with pytest.raises(UserError, match="are the same run"):
        named(run.key, run.key, study, place)
    with pytest.raises(UserError, match=r"take other pictures.*--picture"):
        named(other.key, run.key, study, place)
    with pytest.raises(UserError, match=r"no run in .* begins with 'absent'"):
        named("random", "absent", study, place)
    half = few_sounds.parent / "half.csv"
    half.write_text("\n".join(["path,label", *(f"{p},{p.parent.name}" for p in sorted(few_sounds.rglob("*.wav"))[::2])]))
    with pytest.raises(UserError, match="holds other clips"):
        named("random", run.key, replace(study, data=str(half)), place)
    with pytest.raises(UserError, match=r"imagenet|ImageNet"):
        named("imagenet", run.key, study, place)  # there are none for the toy network
