"""A run is a value with a key."""

import json
from dataclasses import asdict, replace

import pytest

from tla.errors import UserError
from tla.options import Augment, Picture, Recipe, Transfer
from tla.runs.run import Run, from_json, learning_rate, resolve_recipe

RUN = Run(
    data="toy",
    data_digest="0" * 16,
    classes=10,
    picture=Picture(rate=22050, seconds=2.0, frames=100),
    augment=Augment(),
    backbone="densenet_tiny",
    weights="random",
    transfer=Transfer(pretrained_upto="none"),
    recipe=Recipe(epochs=3, drops=(1, 2)),
    protocol="paper",
    fold=1,
    seed=0,
    precision="fp32",
)


def test_the_key_is_the_contents() -> None:
    assert RUN.key == replace(RUN).key
    changed = [replace(RUN, seed=1), replace(RUN, fold=2), replace(RUN, recipe=replace(RUN.recipe, lr=1e-3))]
    changed += [replace(RUN, picture=replace(RUN.picture, mels=64)), replace(RUN, data_digest="1" * 16)]
    assert len({run.key for run in [RUN, *changed]}) == 6


def test_the_key_is_the_same_on_every_machine() -> None:
    assert RUN.key == "46e5350b14cd"  # a change here means that runs made before are not found again: raise FORMAT instead


def test_json_and_back() -> None:
    assert from_json(json.loads(json.dumps(asdict(RUN)))) == RUN


@pytest.mark.parametrize(
    ("recipe", "scratch", "epochs", "drops"),
    [
        (Recipe(), False, 70, (30, 60)),
        (Recipe(), True, 450, (300, 350)),
        (Recipe(epochs=12), False, 12, (5, 10)),
        (Recipe(epochs=12), True, 12, (5, 10)),
        (Recipe(epochs=1), False, 1, (1,)),
        (Recipe(epochs=12, drops=()), False, 12, ()),
        (Recipe(drops=(9,)), True, 450, (9,)),
    ],
)
def test_recipes_resolve(recipe: Recipe, scratch: bool, epochs: int, drops: tuple[int, ...]) -> None:
    resolved = resolve_recipe(recipe, scratch=scratch)
    assert (resolved.epochs, resolved.drops) == (epochs, drops)


def test_the_paper_schedule_fires_where_it_should() -> None:
    recipe = resolve_recipe(Recipe(), scratch=False)
    rates = [learning_rate(recipe, epoch) for epoch in (0, 29, 30, 59, 60, 69)]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6])


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (Recipe(lr=0), "--recipe.lr is 0"),
        (Recipe(batch=-1), "--recipe.batch"),
        (Recipe(epochs=0), "at least one epoch"),
        (Recipe(drops=(0,)), "--recipe.drops holds 0"),
        (Recipe(weight_decay=-1), "not negative"),
    ],
)
def test_senseless_recipes_are_refused(recipe: Recipe, says: str) -> None:
    with pytest.raises(UserError, match=says):
        resolve_recipe(recipe, scratch=False)


def test_a_folder_by_another_name_gives_the_same_run() -> None:
    assert replace(RUN, data="renamed").key == RUN.key
