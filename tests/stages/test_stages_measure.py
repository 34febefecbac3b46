"""Sweeps as tables: against runs whose predictions are written by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from tla.errors import UserError
from tla.options import Study, Transfer
from tla.runs.scores import scored
from tla.stages import drawing as draw
from tla.stages.measuring import Curves, measure
from tla.stages.sweep import asked
from tla.stages.tables import ENDS, FIGURES, LONGER, SWEEPS
from tla.statistics import CLIPS, TRAININGS, holm


def swept(written, run, tmp_path: Path, seeds: int = 2, training: str = "converged") -> Curves:
    """A sweep in which block2 helps on every second clip, and nothing else does; two runs that differ in one clip a fold."""
    low, high = [1, 0] * 60, [1, 1] * 60
    right = {"none": low, "block1": low, "block2": high, "block3": high}
    points = {
        stage: [
            written(
                tmp_path,
                replace(run, fold=fold, seed=seed, transfer=Transfer(pretrained_upto=stage)),
                [0, *hits[1:]] if seed else hits,
                training if stage == "block1" else "converged",
            )
            for fold in (1, 2)
            for seed in range(seeds)
        ]
        for stage, hits in right.items()
    }
    return Curves("fusion", {"pretrained": points, ENDS: {"random": points["none"]}})


def test_a_step_counts_only_where_its_interval_excludes_zero(written, run, tmp_path: Path) -> None:
    sweep = measure(swept(written, run, tmp_path), "last")
    steps = sweep.steps.set_index("after")
    assert list(steps.index) == ["block1", "block2", "block3"]
    assert list(steps["important"]) == [False, True, False]
    assert steps.loc["block2", "accuracy"] == pytest.approx(50)
    assert steps.loc["block2", "low"] > 0
    assert (steps["p_holm"] >= steps["p"]).all()
    assert list(sweep.points.query("curve == 'pretrained'")["accuracy"]) == pytest.approx(
        [50 - 100 / 240] * 2 + [100 - 100 / 240] * 2
    )
    assert set(steps["covers"]) == set(sweep.points["covers"]) == {TRAININGS}
    assert len(sweep.runs) == 20
    assert set(sweep.epochs["epoch"]) == {1}


def test_on_one_seed_no_step_counts_and_the_reason_is_printed(written, run, tmp_path: Path, capsys) -> None:
    sweep = measure(swept(written, run, tmp_path, seeds=1), "last")
    steps = sweep.steps.set_index("after")
    assert steps.loc["block2", "low"] > 0
    assert not steps["important"].any()
    assert set(steps["covers"]) == {CLIPS}
    draw.show(sweep)
    assert "intervals from one seed do not cover another training (--seeds 3" in capsys.readouterr().out


def test_tables_are_written_and_figures_drawn_the_same_twice(written, run, tmp_path: Path, capsys) -> None:
    sweep = measure(swept(written, run, tmp_path), "last")
    for folder in ("a", "b"):
        for name in SWEEPS:
            draw.publish(replace(sweep, sweep=name), tmp_path / folder, FIGURES[name])
    printed = capsys.readouterr().out
    assert "pretraining block2 matters (+50.0 points)" in printed
    assert "block1 matters" not in printed
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    assert b"/Type3" not in (tmp_path / "a" / "cutoff.pdf").read_bytes()


def test_a_step_to_a_network_that_was_not_trained_to_its_end_gets_no_verdict(written, run, tmp_path: Path, capsys) -> None:
    sweep = measure(swept(written, run, tmp_path, training="still falling"), "last")
    steps = sweep.steps.set_index("after")
    assert steps["unfinished"].to_dict() == {"block1": 4, "block2": 4, "block3": 0}
    assert steps.loc["block2", "low"] > 0
    assert not steps["important"].any()
    assert sweep.points.set_index("point")["unfinished"].drop("random").tolist() == [0, 4, 0, 0]
    draw.show(sweep)
    printed = capsys.readouterr()
    assert "pretrained: no verdict: there are runs not trained to the end" in printed.out
    assert "not trained to the end: 4 of 16 runs" in printed.err
    assert "--recipe.until plateau" in printed.err
    assert "1 epoch (not trained to the end, hollow: 4 of 16 runs)" in draw.about(sweep)


def test_a_point_alone_that_was_not_trained_to_its_end_is_warned_of(written, run, tmp_path: Path, capsys) -> None:
    points = swept(written, run, tmp_path, training="still falling").runs["pretrained"]
    draw.show(measure(Curves("fusion", {"pretrained": {"block1": points["block1"]}}), "last"))
    assert "not trained to the end: 4 of 4 runs" in capsys.readouterr().err


def test_a_step_that_twice_the_training_takes_away_hangs_on_the_budget(written, run, tmp_path: Path) -> None:
    curves = swept(written, run, tmp_path).runs
    once = curves["pretrained"]
    twice = {**once, "block2": once["block1"], "block3": once["block1"]}
    sweep = measure(Curves("fusion", {"pretrained": once, LONGER: twice, ENDS: curves[ENDS]}), "last")
    (sentence,) = draw.hanging(sweep.steps)
    assert sentence.startswith("block1 > block2 hangs on the budget: +50.0 [")
    assert draw.hanging(measure(Curves("fusion", {"pretrained": once, LONGER: once}), "last").steps) == []


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_rules_and_points_are_refused_by_name() -> None:
    assert scored(Study(), None) == "last"
    assert scored(Study(protocol="nested"), None) == "test"
    with pytest.raises(UserError, match="paper has last and best"):
        scored(Study(), "test")
    assert asked([], ("a", "b"), "--upto") == ["a", "b"]
    assert asked(["b", "a"], ("a", "b"), "--upto") == ["a", "b"]
    with pytest.raises(UserError, match="possible are a, b"):
        asked(["c"], ("a", "b"), "--upto")
