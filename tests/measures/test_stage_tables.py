"""Sweeps as tables: against runs whose predictions are written by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tla.draw import stages as draw
from tla.errors import UserError
from tla.measures.stages import measure, scored
from tla.measures.statistics import holm, sign_flip_test
from tla.options import Study, Transfer
from tla.runs.folder import RunFolder
from tla.runs.sweeps import ENDS, asked


def swept(written, run, tmp_path: Path) -> dict[str, dict[str, list[RunFolder]]]:
    """A sweep in which block2 helps on every second clip, and nothing else does."""
    low, high = [1, 0] * 60, [1, 1] * 60
    right = {"none": low, "block1": low, "block2": high, "block3": high}
    points = {
        stage: [written(tmp_path, replace(run, fold=fold, transfer=Transfer(pretrained_upto=stage)), hits) for fold in (1, 2)]
        for stage, hits in right.items()
    }
    return {"pretrained": points, ENDS: {"random": points["none"]}}


def test_a_step_counts_only_where_its_interval_excludes_zero(written, run, tmp_path: Path) -> None:
    sweep = measure(swept(written, run, tmp_path), "last")
    steps = sweep.steps.set_index("after")
    assert list(steps.index) == ["block1", "block2", "block3"]
    assert list(steps["important"]) == [False, True, False]
    assert steps.loc["block2", "accuracy"] == pytest.approx(50)
    assert steps.loc["block2", "low"] > 0
    assert (steps["p_holm"] >= steps["p"]).all()
    assert list(sweep.points.query("curve == 'pretrained'")["accuracy"]) == pytest.approx([50, 50, 100, 100])
    assert len(sweep.runs) == 10
    assert set(sweep.epochs["epoch"]) == {1}


def test_tables_are_written_and_figures_drawn_the_same_twice(written, run, tmp_path: Path, capsys) -> None:
    sweep = measure(swept(written, run, tmp_path), "last")
    for folder in ("a", "b"):
        for name in ("fig2b_fusion", "fig2c_freeze", "cutoff"):
            draw.publish(sweep, tmp_path / folder, name)
    printed = capsys.readouterr().out
    assert "pretraining block2 matters (+50.0 points)" in printed
    assert "block1 matters" not in printed
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    assert b"/Type3" not in (tmp_path / "a" / "cutoff.pdf").read_bytes()


def test_a_sign_flip_test_agrees_with_the_exact_one() -> None:
    # five clusters that all gain: only two of the 32 sign patterns are as extreme
    assert sign_flip_test(np.ones(5), np.arange(5)) == pytest.approx(2 / 32, abs=0.01)
    assert sign_flip_test(np.zeros(5), np.arange(5)) == 1.0
    together = sign_flip_test(np.ones(50), np.repeat(np.arange(5), 10))  # copies add no evidence
    assert together == pytest.approx(2 / 32, abs=0.01)


def test_under_the_null_p_values_are_spread_evenly() -> None:
    rng = np.random.default_rng(0)
    p = [sign_flip_test(rng.normal(size=30), np.arange(30), resamples=500, seed=k) for k in range(200)]
    assert np.mean(np.array(p) < 0.05) < 0.1
    assert np.mean(p) == pytest.approx(0.5, abs=0.08)


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
