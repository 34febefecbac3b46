"""Two arms beside each other: by hand, and by the command."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tla import cli, differences, versus
from tla.differences.drawing import finding
from tla.differences.measuring import ALL, MACRO
from tla.errors import UserError
from tla.options import Place, Transfer
from tla.runs import tables
from tla.runs.arms import names
from tla.runs.folder import FinishedRun
from tla.runs.run import Run
from tla.statistics import CLIPS, TRAININGS, difference, holm, of_clips

GOOD, BAD = [1] * 120, [0, 1] * 60  # clips are of class a and b in turn: the bad one misses all of a


@pytest.fixture
def arms(written, run: Run, tmp_path: Path):
    """Makes an arm of two folds and some seeds."""

    def make(
        right: list[int], upto: str = "block4", seeds: int = 2, training: str = "converged", **changes
    ) -> list[FinishedRun]:
        plan = Transfer(pretrained_upto=upto)
        each = [replace(run, fold=fold, seed=seed, transfer=plan, **changes) for fold in (1, 2) for seed in range(seeds)]
        return [written(tmp_path, one, right if one.seed == 0 else [1 - right[0], *right[1:]], training) for one in each]

    return make


def test_differences_are_those_of_the_statistics(arms) -> None:
    first, second = arms(GOOD), arms(BAD, "block2")
    made = differences.measure(first, second)
    rows = made.classes.set_index("class")
    assert list(rows.index) == [ALL, MACRO, "a", "b"]
    expected = tables.difference(first, second, "last")
    assert rows.loc[ALL, ["difference", "low", "high"]].tolist() == pytest.approx(
        [100 * x for x in (expected.mean, expected.low, expected.high)]
    )
    assert rows.loc[ALL, "p"] == pytest.approx(expected.p)
    assert rows.loc["b", "difference"] == pytest.approx(0)
    assert rows["clips"].tolist() == [240, 240, 120, 120]
    assert rows["covers"].eq(TRAININGS).all()
    assert rows["differs"].to_dict() == {ALL: True, MACRO: True, "a": True, "b": False}
    assert rows["p_holm"].tolist()[2:] == holm(rows["p"].tolist()[2:])
    assert (
        finding(made)
        == f"the first is ahead: {rows.loc[ALL, 'difference']:+.1f} points " + finding(made).partition("points ")[2]
    )
    back = differences.measure(second, first).classes.set_index("class")
    assert np.allclose(back["difference"], -rows["difference"])
    assert np.allclose(back["low"], -rows["high"])
    assert "the second is ahead" in finding(differences.measure(second, first))


def test_one_class_alone_by_hand(arms) -> None:
    made = differences.measure(arms(GOOD, seeds=1), arms(BAD, "block2", seeds=1)).classes.set_index("class")
    by_hand = difference(of_clips(np.ones(60), np.arange(60)) * 2, of_clips(np.zeros(60), np.arange(60)) * 2)
    assert made.loc["a", "difference"] == pytest.approx(100 * by_hand.mean) == 100
    assert set(made["covers"]) == {CLIPS}
    assert not made["differs"].any(), "one seed does not cover other trainings"


def test_runs_that_were_not_trained_to_their_end_get_no_verdict(arms) -> None:
    made = differences.measure(arms(GOOD, training="still falling"), arms(BAD, "block2"))
    assert not made.classes["differs"].any()
    assert "4 of the runs were not trained to the end, so there is no verdict" in finding(made)


def test_arms_are_called_by_what_differs(arms) -> None:
    one = arms(GOOD)
    assert names(one, arms(GOOD, "block2")) == ("pretrained", "pretrained up to block2")
    other = arms(GOOD, "block2", backbone="resnet50", picture=replace(one[0].run.picture, mels=64))
    assert names(one, other) == ("pretrained, mels 128, densenet201", "pretrained up to block2, mels 64, resnet50")
    assert names(one[:1], one[1:2]) == (one[0].key, one[1].key)
    assert list(differences.measure(one, arms(BAD, "block2"), names=("x", "y")).runs["arm"].unique()) == ["x", "y"]


def test_what_cannot_be_paired_is_refused(arms) -> None:
    one = arms(GOOD)
    with pytest.raises(UserError, match=r"is about esc50, and run \w+ about other clips \(mine\)"):
        differences.measure(one, arms(GOOD, "block2", data="mine", data_digest="1"))
    with pytest.raises(UserError, match="is on both sides"):
        differences.measure(one, one[1:])
    with pytest.raises(UserError, match="one of them is empty"):
        differences.measure(one, [])
    with pytest.raises(UserError, match="two runs of one fold and seed"):
        differences.measure([*one, *arms(BAD, "block2")], arms(BAD, "block3"))
    with pytest.raises(UserError, match="no held-out fold in common"):
        differences.measure(one[:2], arms(BAD, "block2")[2:])
    with pytest.raises(UserError, match=r"--rule test: run .* has best and last"):
        differences.measure(one, arms(BAD, "block2"), "test")


def test_the_command_takes_keys_and_draws_again_without_torch(arms, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = arms(GOOD), arms(BAD, "block2")
    where = ["--runs", str(tmp_path), "--figures", str(tmp_path / "figures")]
    main = versus.main
    cli.run(main, [first[3].key, second[1].key[:7], *where], positional="studies")
    printed = capsys.readouterr().out
    assert "second: pretrained up to block2" in printed
    assert "Classes that differ: a (+" in printed
    (pdf,) = (tmp_path / "figures").glob(f"*/versus_{first[0].key}_{second[0].key}.pdf")
    drawn = pdf.read_bytes()
    pdf.unlink()
    program = f"import sys; from tla import cli, versus; cli.run(versus.main, {['--redraw', *where]!r}, positional='studies')\n"
    done = subprocess.run([sys.executable, "-c", program + "assert 'torch' not in sys.modules"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert pdf.read_bytes() == drawn
    for words, says in (([first[0].key], "two studies are compared, and 1 given"), (["x1", first[0].key], "x1 names no study")):
        with pytest.raises(SystemExit):
            cli.run(main, [*words, *where], positional="studies")
        assert says in capsys.readouterr().err


def test_the_command_takes_files_of_options_and_folders_of_figures(
    study, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tla import freeze
    from tla.launch.study import by_start
    from tla.options import Recipe

    quick = replace(study, recipe=Recipe(epochs=1, lr=1e-3))
    freeze.main(quick, place, upto=("none",))
    slower = replace(quick, recipe=Recipe(epochs=1, lr=1e-4), seeds=2)
    by_start(replace(slower, seeds=1), place)
    (folder,) = (path.parent for path in Path(place.figures).glob("*/study.json"))
    file = tmp_path / "slower.yaml"
    file.write_text(
        f"data: {study.data}\nbackbone: densenet_tiny\nweights: random\nfolds: [1]\nseeds: 2\nprecision: fp32\n"
        "picture: {mels: 32, frames: 40}\naugment: {kind: 'bank:2'}\nrecipe: {epochs: 1, lr: 1e-4}\n"
    )
    capsys.readouterr()
    versus.main([folder.name, str(file)], place)
    printed = capsys.readouterr()
    assert "first: lr 0.001\nsecond: lr 0.0001" in printed.out
    assert "2 runs: 1 finished, 0 to continue, 1 to train; without those that are missing (1)" in printed.err
    plan = versus.main([folder.name, str(file)], replace(place, dry_run=True))
    assert (len(plan), len(plan.missing())) == (3, 1)
