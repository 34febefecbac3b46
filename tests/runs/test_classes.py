"""What runs made of each class: counted by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tla import plots, starts
from tla.errors import UserError
from tla.runs import classes, classes_figure
from tla.runs.run import Run
from tla.starts import drawing
from tla.statistics import of_clips, share


def test_a_class_has_the_accuracy_and_interval_of_its_own_clips(written, run: Run, tmp_path: Path) -> None:
    right = [1, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1, 0]  # a: 4 of 6, b: 5 of 6
    table = classes.per_class(written(tmp_path, run, right)).set_index("class")
    assert list(table.index) == ["a", "b"]
    assert table["clips"].tolist() == table["recordings"].tolist() == [6, 6]
    expected = share(of_clips(np.array(right[::2]), np.arange(6)))
    assert table.loc["a", ["accuracy", "low", "high"]].tolist() == pytest.approx(
        [100 * value for value in (expected.mean, expected.low, expected.high)]
    )
    assert table.loc["a", ["taken_for", "taken_for_share"]].tolist() == ["b", pytest.approx(100 / 3)]


def test_the_confusion_matrix_counts_predictions_and_its_diagonal_is_the_accuracy(written, run: Run, tmp_path: Path) -> None:
    """Also where one fold has more runs than another: a clip counts once, whatever its runs."""
    arm = [
        written(tmp_path, run, [1, 1, 0, 1]),
        written(tmp_path, replace(run, seed=1), [0, 1, 1, 1]),
        written(tmp_path, replace(run, fold=2), [1, 0]),
    ]
    made = classes.measure({"pretrained": arm})
    pairs = made.pairs.set_index(["class", "predicted"])
    assert pairs["predictions"].to_dict() == {("a", "a"): 3, ("a", "b"): 2, ("b", "a"): 1, ("b", "b"): 4}
    for name, accuracy in zip(made.classes["class"], made.classes["accuracy"], strict=True):
        assert pairs.loc[(name, name), "share"] == pytest.approx(accuracy)
    assert made.classes["accuracy"].tolist() == pytest.approx([200 / 3, 200 / 3])


def test_a_class_that_is_not_held_out_or_never_wrong_has_nothing_to_be_taken_for(written, run: Run, tmp_path: Path) -> None:
    made = written(tmp_path, replace(run, classes=4), [1, 1, 1, 0])
    table = classes.per_class([made])
    assert table["class"].tolist() == ["a", "b"]
    assert table["taken_for"].isna().tolist() == [True, False]
    assert len(classes.confused([made])) == 2 * 4


def test_runs_of_different_classes_are_not_mixed(written, run: Run, tmp_path: Path) -> None:
    other = written(tmp_path, replace(run, classes=3), [1, 1])
    with pytest.raises(UserError, match="differ in their classes"):
        classes.per_class([written(tmp_path, run, [1, 1]), other])


@pytest.mark.parametrize("count", [2, 15, 50])
def test_the_figure_is_drawn_from_what_was_written(written, run: Run, tmp_path: Path, count: int) -> None:
    """Also with classes that nothing was taken for; names of classes are shown as they are."""
    arms = {
        "pretrained": [written(tmp_path, replace(run, classes=count), [1, 1, 0, 1] * 3, "still falling")],
        "random": [written(tmp_path, replace(run, classes=count, weights="random"), [1, 0, 0, 1] * 3)],
    }
    made = classes.measure(arms)
    plots.save(classes_figure.figure(made), tmp_path / "now")
    starts.measure(arms).write(tmp_path, "train_x")
    drawing.draw(tmp_path, "train_x_confusion")
    for suffix in ("pdf", "png"):
        assert (tmp_path / f"train_x_confusion.{suffix}").read_bytes() == (tmp_path / f"now.{suffix}").read_bytes()
    svg = (tmp_path / "train_x_confusion.svg").read_text()
    for text in (
        "a taken for a: 3 predictions, 50.0 %",
        "b: 100.0 % [",
        "hollow: 1 of 2 runs",
        "pretrained 75.0 %, random 50.0 %",
    ):
        assert text in svg


def test_the_classes_that_are_missed_most_are_printed(written, run: Run, tmp_path: Path) -> None:
    made = classes.measure({"pretrained": [written(tmp_path, run, [1, 1, 0, 1])]})
    line = "pretrained (last), lowest accuracy: a 50.0 % (most often taken for b); b 100.0 %"
    assert classes_figure.hardest(made) == line
