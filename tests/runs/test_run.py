"""A run is a value with a key."""

import json
from dataclasses import asdict, dataclass, replace

import msgspec

from tla import options
from tla.options import Augment, Picture, Recipe, Transfer
from tla.runs.run import Run

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
    assert RUN.key == "34f2d992ab3a"  # a change here means that runs made before are not found again: raise FORMAT instead


def test_json_and_back() -> None:
    whole = replace(RUN, recipe=replace(RUN.recipe, lr=1, head_lr=2))
    for run in (RUN, whole):
        again = msgspec.json.decode(json.dumps(asdict(run)), type=Run)
        assert again == run
        assert again.key == run.key


def test_an_option_that_is_new_and_at_its_default_leaves_the_key_as_it_is() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Recipe(options.Recipe):
        novelty: float = 0.5

    grown = Recipe(**asdict(RUN.recipe))
    assert replace(RUN, recipe=grown).key == RUN.key
    assert replace(RUN, recipe=replace(grown, novelty=0.6)).key != RUN.key


def test_runs_made_before_classes_could_be_weighted_and_clips_be_drawn_stay_valid() -> None:
    content = asdict(RUN)
    del content["recipe"]["class_weights"], content["recipe"]["short_epochs"], content["per_class"]
    old = msgspec.json.decode(json.dumps(content), type=Run)
    assert (old, old.key) == (RUN, RUN.key)
    assert replace(RUN, recipe=replace(RUN.recipe, class_weights="balanced")).key != RUN.key
    assert replace(RUN, per_class=5).key != RUN.key


def test_a_folder_by_another_name_gives_the_same_run() -> None:
    assert replace(RUN, data="renamed").key == RUN.key
