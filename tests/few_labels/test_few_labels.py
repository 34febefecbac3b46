"""The question as runs, tables, figure and command."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tla
from tla import cli, few_labels, labels
from tla.errors import UserError
from tla.few_labels import drawing, readouts
from tla.few_labels.measuring import Curves
from tla.few_labels.tables import ALL, PICTURE, PRETRAINED, PROBE
from tla.launch.study import prepare
from tla.options import RANDOM, Place, Study, Transfer
from tla.runs.folder import FinishedRun
from tla.sound.clips import Clip, Dataset

COUNTS = {"2": 2, "4": 4, ALL: None}


def dataset() -> Dataset:
    """Two classes; eight clips of each in each of three folds, two to a recording."""
    rows = [(fold, label, number) for fold in (1, 2, 3) for label in (0, 1) for number in range(8)]
    clips = [Clip(name=f"{f}-{n}-{k}", path=Path("x"), label=k, fold=f, source=f"{f}-{n // 2}-{k}") for f, k, n in rows]
    return Dataset(name="d", root=Path("x"), classes=("a", "b"), clips=tuple(clips), rate=1, seconds=1, frames=1)


def learned(written, run, folder: Path, seeds: int = 2, training: str = "converged") -> Curves:
    """Pretrained networks are right about 60 % of the clips with 2, and all with 4; from scratch it is 30, 60 and 90."""
    shares = {PRETRAINED: (0.6, 1.0, 1.0), RANDOM: (0.3, 0.6, 0.9)}
    curves: dict[str, dict[str, list[FinishedRun]]] = {}
    for curve, each in shares.items():
        weights = RANDOM if curve == RANDOM else "imagenet:x"
        plan = Transfer(pretrained_upto="none" if curve == RANDOM else "block4")
        for (point, per_class), share in zip(COUNTS.items(), each, strict=True):
            right = [int(i % 10 < 10 * share) for i in range(120)]
            curves.setdefault(curve, {})[point] = [
                written(
                    folder,
                    replace(run, fold=fold, seed=seed, per_class=per_class, weights=weights, transfer=plan),
                    [0, *right[1:]] if seed else right,
                    training if per_class == 4 and curve == RANDOM else "converged",
                )
                for fold in (1, 2)
                for seed in range(seeds)
            ]
    return Curves(curves, dataset())


def test_the_tables_say_how_far_each_number_of_clips_leads(written, run, tmp_path: Path) -> None:
    found = few_labels.measure(learned(written, run, tmp_path))
    points = found.points.set_index(["curve", "point"])
    assert list(points.loc[RANDOM, "clips_per_class"]) == [2, 4, 16]
    assert list(points.loc[RANDOM, "recordings_per_class"])[-1] == 8
    assert list(points.loc[RANDOM, "accuracy"]) == pytest.approx([30 - 100 / 240, 60 - 100 / 240, 90 - 100 / 240])
    gaps = found.gaps.set_index("point")
    assert list(gaps["accuracy"]) == pytest.approx([30, 40, 10], abs=0.5)
    assert gaps["important"].all()
    worth = found.worth.set_index("point")
    assert worth.loc["2", "worth"] == pytest.approx(4, rel=0.01)
    assert worth.loc["2", "low"] < 4 < worth.loc["2", "high"]
    assert worth.loc["4", "worth"] == np.inf
    lines = drawing.findings(found)
    assert lines[0] == "pretrained and fine-tuned: ahead of from scratch with 2, 4, all clips of each class"
    assert lines[1].startswith("pretrained and fine-tuned with 2 clips of each class does as well as from scratch with 4 [")
    assert lines[2].endswith("from scratch with more than 16 [more than 16]")


def test_one_seed_or_a_run_that_was_stopped_has_no_verdict(written, run, tmp_path: Path) -> None:
    one = few_labels.measure(learned(written, run, tmp_path / "one", seeds=1))
    assert "no verdict, one seed is one draw of clips and one training (--seeds 3" in drawing.findings(one)[0]
    assert not one.gaps["important"].any()
    short = few_labels.measure(learned(written, run, tmp_path / "short", training="still falling"))
    assert list(short.gaps["important"]) == [True, False, True]
    assert not any("does as well" in line for line in drawing.findings(short))  # the whole curve is needed for that
    assert "not trained to the end" in few_labels.about(short)


def test_tables_are_read_and_drawn_as_they_were_written(written, run, tmp_path: Path) -> None:
    found = few_labels.measure(learned(written, run, tmp_path / "runs"))
    for folder in ("a", "b"):
        drawing.publish(found, tmp_path / folder, "labels")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    again = few_labels.read(tmp_path / "a", "labels")
    for name in ("points", "gaps", "worth"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(again, name), check_dtype=False)
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    assert few_labels.figure(again, axes) is axes.figure
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "4", "all\n(16)"]


def test_points_are_those_that_the_data_have(from_donor: Study, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    plan = few_labels.plan(from_donor, place)
    assert len(plan) == 8  # 1, 2, 5 and all, of 8 clips of a class; from the donor, and from scratch
    assert len(plan.missing()) == 7  # the donor itself is the run from scratch on all clips
    assert "left out: 10, 20 clips of each class, since" in capsys.readouterr().err
    assert {wanted.run.per_class for wanted in few_labels.plan(from_donor, place, [3, ALL]).wanted.values()} == {3, None}
    assert len(few_labels.plan(from_donor, place, ["8"])) == 2
    assert "8 clips of each class are all that there are" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "clips", "says"),
    [
        ({}, ["9"], r"--clips: 9 of each class are more than there are: \w+ has 8 clips to learn from; give fewer, or all"),
        ({}, ["0"], "--clips 0: give numbers of clips of each class, 1 or more, and the word all, as in 1,5,all"),
        ({}, ["five"], "--clips five: give numbers"),
        ({}, ["-1"], "--clips -1: give numbers"),
        ({"weights": RANDOM}, [], "it is pretraining that is asked about, and --weights is random"),
        ({"per_class": 5}, [], "--per-class makes runs on one number of clips, .* give --clips 1,5,all"),
    ],
)
def test_mistakes_are_answered_with_what_is_possible(
    from_donor: Study, place: Place, change: dict, clips: list[str], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        few_labels.plan(replace(from_donor, **change), place, clips)


def test_probes_read_from_the_very_clips_that_the_runs_learned_from(
    from_donor: Study, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    material = prepare(replace(from_donor, seeds=2), place)
    given: list[np.ndarray] = []
    real = readouts.scores.linear
    monkeypatch.setattr(readouts.scores, "linear", lambda learned, *rest: (given.append(learned), real(learned, *rest))[1])
    found, chosen = readouts.read_out(material, ["2", ALL])
    assert [len(features) for features in given] == [20] * 12 + [80] * 6  # two draws, and all; five stages and the picture
    assert {name: list(curve) for name, curve in found.items()} == {PROBE: ["2", ALL], PICTURE: ["2", ALL]}
    assert [found[PICTURE][point][1].right.shape for point in ("2", ALL)] == [(2, 20), (2, 20)]
    first, second = found[PICTURE][ALL][1].right
    np.testing.assert_array_equal(first, second)  # without a draw all seeds are one
    assert (found[PICTURE]["2"][1].right[0] != found[PICTURE]["2"][1].right[1]).any()
    assert sum(chosen["2"].values()) == 2
    pictures = readouts.of_pictures(material.store)
    np.testing.assert_array_equal(given[11], pictures[material.dataset.split(1, "paper", 2, 1).train])


def test_the_command_trains_draws_and_finds_what_exists(
    from_donor: Study, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    labels.main(from_donor, place, clips=("2",))
    printed = capsys.readouterr()
    assert "2 runs: 0 finished, 0 to continue, 2 to train" in printed.err
    assert "linear probe of the picture" in printed.out
    curves = tla.train_missing(few_labels.plan(from_donor, place, ["4"]), place)
    assert list(curves.runs[PRETRAINED]) == ["2", "4"]  # the first call's point too
    assert list(curves.runs[RANDOM]) == ["2", "4", ALL]  # and the donor
    (folder,) = (path.parent for path in Path(place.figures).glob("*/labels_worth.csv"))
    assert (folder / "labels.pdf").stat().st_size > 2000
    with pytest.raises(UserError, match="the protocol paper has last and best"):
        labels.main(from_donor, place, rule="test")


def test_the_study_at_hand_is_taken_with_all_of_its_clips(from_donor: Study, place: Place) -> None:
    other = replace(place, runs=place.runs + "2")
    tla.train_missing(tla.plan(replace(from_donor, per_class=2, weights=RANDOM), other), other)
    words = ["--runs", other.runs, "--figures", place.figures, "--data-root", str(place.data_root)]
    assert cli.parse(labels.main, words)["study"].per_class is None
    assert cli.parse(importlib.import_module("tla.freeze").main, words)["study"].per_class == 2
