"""Readouts of stages as tables: who learns from what, floors, and what is held against what."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from tla import plots
from tla.errors import UserError
from tla.options import RANDOM
from tla.readout import measuring as of
from tla.readout.drawing import figure, found, suggestion
from tla.readout.measuring import Asked, Clips, Stage, apart, measure, read_out
from tla.readout.tables import BEFORE, BEST, LINEAR, PICTURE, PRETRAINED, Readout, read

SIGNALS = {  # what a class differs by, in spreads
    ("", PICTURE, ""): 0.4,
    ("net", PRETRAINED, "stem"): 0.4,
    ("net", PRETRAINED, "block1"): 2.0,
    ("net", PRETRAINED, "block2"): 0.0,
    ("net", RANDOM, "stem"): 0.0,
    ("net", RANDOM, "block1"): 0.0,
    ("net", RANDOM, "block2"): 0.0,
}

ABOUT = {"data": "made", "folds": "1+2+3", "standardised": False}


def clips(count: int = 180, folds: int = 3) -> Clips:
    """Two clips to a recording, of one class; folds hold whole recordings."""
    recordings = np.array([f"r{i // 2}" for i in range(count)])
    fold = (np.arange(count) // 6) % folds + 1
    rows = np.arange(count)
    splits = {f: (rows[fold != f], rows[fold == f]) for f in range(1, folds + 1)}
    return Clips(rows.astype(str), (np.arange(count) // 2) % 3, recordings, fold, splits)


def stages(task: Clips, seed: int = 0) -> list[Stage]:
    rng = np.random.default_rng(seed)
    made = []
    for name, signal in SIGNALS.items():
        means = signal * rng.normal(size=(3, 10))
        made.append(Stage(*name, [rng.normal(size=(len(task.labels), 10)) + means[task.labels]]))
    return made


@pytest.fixture(scope="module")
def readout():
    task = clips()
    costs = {("net", stage): cost for cost, stage in enumerate(("stem", "block1", "block2"), start=1)}
    return measure(Asked(lambda: stages(task), task, ABOUT, costs))


def test_each_number_stands_beside_its_interval_and_its_floor(readout):
    points = readout.points
    assert len(points) == 5 * len(SIGNALS)
    percent = points[points["macro"].notna()]
    assert ((percent["low"] <= percent["value"]) & (percent["value"] <= percent["high"])).all()
    assert percent["floor"].between(25, 42).all()
    best = percent[(percent["network"] == PRETRAINED) & (percent["stage"] == "block1")]
    assert (best["value"] > 90).all()
    assert (best["value"] > best["floor_high"]).all()
    noise = percent[percent["network"] == RANDOM]
    assert noise["value"].between(20, 47).all()
    assert (points["clips"] == 180).all()
    np.testing.assert_allclose(percent["macro"], percent["value"])  # classes of one size


def test_stages_are_held_against_the_picture_the_random_network_and_the_stage_before(readout):
    table = readout.contrasts.set_index(["network", "stage", "against"])["value"]
    values = readout.points[readout.points["readout"] == LINEAR].set_index(["network", "stage"])["value"]
    mine = values[PRETRAINED, "block1"]
    assert table[PRETRAINED, "block1", PICTURE] == pytest.approx(mine - values[PICTURE, ""])
    assert table[PRETRAINED, "block1", RANDOM] == pytest.approx(mine - values[RANDOM, "block1"])
    assert table[PRETRAINED, "block1", BEFORE] == pytest.approx(mine - values[PRETRAINED, "stem"])
    assert (RANDOM, "stem", RANDOM) not in table
    assert (PRETRAINED, "stem", BEFORE) not in table


def test_the_best_stage_is_suggested_with_how_sure_that_is(readout):
    ranking = readout.ranking
    assert list(ranking["stage"][:1]) == ["block1"]
    assert set(ranking["network"]) == {PRETRAINED}
    assert ranking["chosen"].to_list()[0] == ranking["folds"].to_list()[0] == 3
    assert found(readout).startswith("The best stage knows more of made than the picture: block1 of net")
    lines = suggestion(readout)
    assert lines[0] == "suggested: net, cut behind block1, or frozen up to block1"
    assert any(line.startswith("  the same stage with random weights gives less: -") for line in lines)
    assert any(line.startswith("  block2 gives less: -") and "has to move" in line for line in lines)
    assert not any("stem" in line for line in lines), "an earlier stage that gives clearly less is no choice"


def test_the_line_of_the_best_stage_is_chosen_without_the_held_out_clips(readout):
    lines = readout.lines.set_index("line")
    values = readout.points[readout.points["readout"] == LINEAR].set_index(["network", "stage"])["value"]
    assert lines.loc[BEST, "stages"] == "block1"
    assert lines.loc[BEST, "value"] == pytest.approx(values[PRETRAINED, "block1"])
    assert lines.loc[PICTURE, "value"] == pytest.approx(values[PICTURE, ""])
    task = clips()
    noise = [stage for stage in stages(task, 1) if stage.network != PRETRAINED]
    many = [Stage("net", PRETRAINED, name, noise[-1 - i].features) for i, name in enumerate(("stem", "block1", "block2"))]
    outcomes = [read_out(stage, task, task.labels[None]) for stage in many]
    highest = max(of.share(outcome.folds(task)).mean for outcome in outcomes)
    (line,), each = of._lines(outcomes, task)
    assert line["value"] == pytest.approx(100 * np.mean([row["right"] for row in each]))
    assert {row["clip"] for row in each} == set(task.names)
    assert line["value"] <= 100 * highest + 1e-9


def test_where_the_picture_is_best_the_first_sentence_says_so():
    task = clips()
    some = {stage.network: stage for stage in stages(task) if stage.stage != "block1"}
    known = next(stage for stage in stages(task) if (stage.network, stage.stage) == (PRETRAINED, "block1"))
    given = [
        Stage("", PICTURE, "", known.features),
        replace(some[PRETRAINED], stage="stem"),
        replace(some[RANDOM], stage="stem"),
    ]
    readout = measure(Asked(lambda: given, task, ABOUT, {("net", "stem"): 1}))
    assert found(readout).startswith("The picture alone is read out better than any stage on made")
    (line,) = suggestion(readout)
    assert line.startswith("no stage is suggested: the best is read out worse than the picture alone, -")


def test_nothing_is_suggested_where_nothing_can_be_read_out():
    task = clips()
    noise = np.random.default_rng(2).normal(size=(180, 10))
    given = [Stage("", PICTURE, "", [noise]), Stage("net", PRETRAINED, "stem", [noise]), Stage("net", RANDOM, "stem", [noise])]
    readout = measure(Asked(lambda: given, task, ABOUT, {("net", "stem"): 1}))
    assert "no stage is read out better than permuted labels" in suggestion(readout)[0]
    assert found(readout).startswith("No stage can be told from the picture alone")


def test_labels_are_permuted_within_folds():
    task = clips()
    uneven = replace(task, labels=np.where(task.folds == 1, 0, task.labels))
    sets = uneven.permuted(np.random.default_rng(0), times=4)
    assert (sets[0] == uneven.labels).all()
    assert (sets[:, task.folds == 1] == 0).all()
    for mine in sets[1:]:
        assert (mine != uneven.labels).any()
        np.testing.assert_array_equal(np.sort(mine[task.folds == 2]), np.sort(uneven.labels[task.folds == 2]))


def test_no_clip_is_learned_from_whose_recording_is_held_out():
    task = clips()
    shared = task.recordings.copy()
    shared[task.folds == 2] = shared[task.folds == 1]
    learned, held_out = apart(replace(task, recordings=shared)).splits[1]
    assert set(task.folds[learned]) == {3}
    assert set(task.folds[held_out]) == {1}


@pytest.mark.parametrize(
    ("recordings", "says"),
    [
        (lambda task: np.full(180, "one"), "fold 1: all clips to learn from are of recordings that are held out too"),
        (lambda task: task.folds.astype(str), None),
        (lambda task: np.where(task.folds == 1, "one", "other"), r"come from one recording \(other\)"),
    ],
)
def test_too_few_recordings_are_refused_by_name(recordings, says):
    task = replace(clips(), recordings=recordings(clips()))
    if says is None:
        assert apart(task).splits.keys() == {1, 2, 3}  # two recordings are left: a speaker in each fold
        return
    with pytest.raises(UserError, match=says):
        apart(task)


def test_networks_of_each_fold_are_scored_on_clips_that_they_have_not_learned_from():
    task = apart(clips())
    known = np.eye(3)[task.labels] * 9
    nothing = np.random.default_rng(0).normal(size=(180, 3))
    own = {fold: [np.where((task.folds == fold)[:, None], nothing, known)] for fold in task.splits}
    outcome = read_out(Stage("net", "fine-tuned", "stem", own), task, task.permuted(np.random.default_rng(0)))
    assert outcome.folds(task)[0].values.mean() < 0.6
    assert outcome.scores["logme"][0].mean < of.scores.logme(known + nothing / 9, task.labels, 3)
    assert sum(len(rows) for rows, _ in outcome.right["elsewhere"]) == 180


def test_the_figure_has_a_panel_per_backbone(readout):
    other = {name: table.assign(backbone=table["backbone"].replace("net", "other")) for name, table in vars(readout).items()}
    both = Readout(**{name: pd.concat([table, other[name]], ignore_index=True) for name, table in vars(readout).items()})
    drawn = figure(both)
    assert [axes.get_title() for axes in drawn.axes if axes.get_visible()] == ["net", "other"]
    assert [text.get_text() for text in drawn.axes[0].get_legend().get_texts()][:2] == ["picture alone", "labels permuted"]


def test_a_figure_is_the_same_from_memory_and_from_its_files(readout, tmp_path):
    readout.write(tmp_path, "probe")
    first, second = (
        plots.save(figure(each), tmp_path / str(i))[0] for i, each in enumerate((readout, read(tmp_path, "probe")))
    )
    assert first.read_bytes() == second.read_bytes()
    axes = Figure().subplots()
    assert figure(readout, axes=axes) is axes.figure
    assert axes.figure.texts == [], "a caption is for a page of its own"
