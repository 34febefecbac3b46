"""How much did each layer change? As a user asks it."""

from pathlib import Path

import pandas as pd
import pytest

from tla import cli, svcca
from tla.errors import UserError
from tla.options import Place, Study


def test_what_is_missing_is_named_and_trained_once_and_the_rest_is_drawn(
    from_donor: Study, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    svcca.main(from_donor, place, resolve=True)
    (figures,) = (path.parent for path in Path(place.figures).glob("*/study.json"))
    printed = capsys.readouterr()
    assert printed.err.count("to train: ") == 2
    assert "pretrained: no verdict: 1 of its runs not trained to the end" in printed.out  # after one epoch
    assert "random: no verdict" in printed.out
    for name in ("fig2a_svcca", "fig2a_resolved"):
        for suffix in (".pdf", ".png", ".csv"):
            assert (figures / f"{name}{suffix}").stat().st_size > 1000
    points = pd.read_csv(figures / "fig2a_svcca_points.csv")
    assert list(points["curve"].unique()) == ["pretrained", "random", "two seeds"]
    assert points[["low", "high", "floor", "floor_low"]].notna().all(axis=None)
    assert set(pd.read_csv(figures / "fig2a_resolved.csv")["part"]) == {"all", "time", "frequency", "class"}

    svcca.main(from_donor, place, measure="cka", layers="stem,features.transition?", pool=True)
    svcca.main(from_donor, place, map=True, layers="stages")
    assert "to train: " not in capsys.readouterr().err
    assert len(pd.read_csv(figures / "fig2a_cka_layers_stem_features_transition_pooled.csv")) == 3 * 4
    assert len(pd.read_csv(figures / "fig2a_map_layers_stages.csv")) == 3 * 5 * 5

    runs = pd.read_csv(figures / "fig2a_svcca.csv").drop_duplicates("curve").set_index("curve")["after"]
    first, second = runs["pretrained"], runs["two seeds"]
    svcca.main(from_donor, place, measure="weights", before=first[:8], after=second)
    assert f"{first} > {second}: no verdict" in capsys.readouterr().out
    weights = pd.read_csv(next(figures.parent.glob(f"*/fig2a_weights_{first}_{second}.csv")))
    assert (weights["score"] > 0).all()
    svcca.main(from_donor, place, before="random", after=first)
    assert list(figures.parent.glob(f"*/fig2a_svcca_random_{first}.pdf"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--before", "imagenet"], "--before and --after belong together"),
        (["--after", "3f9a"], "--before and --after belong together"),
        (["--measure", "cka", "--resolve"], "--resolve follows SVCCA"),
        (["--map", "--resolve"], "--resolve follows SVCCA"),
        (["--keep", "2.5"], "--keep 2.5: give a share"),
        (["--keep", "-1"], "--keep -1: give a share"),
        (["--measure", "cca"], "expected one of svcca, pwcca"),
    ],
)
def test_mistakes_are_answered_with_what_is_possible(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.run(svcca.main, words)
    assert stop.value.code == 2
    assert says in capsys.readouterr().err


def test_a_layer_that_there_is_not_is_refused_before_training(study: Study, place: Place) -> None:
    with pytest.raises(UserError, match=r"no layer of densenet_tiny fits 'bolck1'"):
        svcca.main(study, place, layers="bolck1")
    assert not list(Path(place.runs).iterdir())
