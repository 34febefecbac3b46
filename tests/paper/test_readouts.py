"""Whether fine-tuning beats what is read out without training: on tables that are written by hand."""

from dataclasses import replace

import pandas as pd
import pytest

from tla import outputs
from tla.manifest import write_tables
from tla.options import Study
from tla.paper import readouts
from tla.paper.studies import PLANS, cases
from tla.tables import LINES


@pytest.fixture
def made(written, run, tmp_path, place):
    """A study in which both starts are right about every other of 60 clips, and lines beside it."""
    random = replace(run, weights="random", transfer=PLANS["random"])
    right = [i // 2 % 2 for i in range(60)]
    (case,) = cases([written(tmp_path / "runs", one, right) for one in (run, random)])
    folder = outputs.folder(Study(data="esc50"), place, case.setting.digest)

    def write(picture, best, name="block3"):
        lines = {"picture": ("", picture), "best stage": (name, best)}
        rows = [
            {"backbone": "", "line": line, "stages": stages, "value": 0.0, "low": 0.0, "high": 0.0, "clips": 60}
            for line, (stages, _) in lines.items()
        ]
        each = [
            {"line": line, "fold": 1, "clip": f"1-{i}", "source": f"1-{i}", "right": float(is_right)}
            for line, (_, known) in lines.items()
            for i, is_right in enumerate(known)
        ]
        write_tables(folder, LINES, {"lines": pd.DataFrame(rows), "clips": pd.DataFrame(each)})
        return readouts.measured([case], [folder.parent, folder])

    return write


def test_a_readout_that_beats_fine_tuning_is_said_with_its_interval(made):
    table = made([0] * 60, [1] * 60)
    row = table.set_index("line").loc["best stage"]
    assert (row["readout"], row["accuracy"], row["difference"], row["clips"]) == (100, 50, 50, 60)
    assert row["low"] > 30
    (line,) = readouts.sentences(table)
    assert line.startswith(
        "Ridge regression on the output of block3, without any training of the network, beats fine-tuning on esc50"
    )
    assert "100.0 % against 50.0 %, +50.0 points" in line


def test_the_picture_is_held_against_training_from_scratch_and_chance_is_called_so(made):
    ahead = [i // 2 % 2 for i in range(60)]
    ahead[0] = 1
    (line,) = readouts.sentences(made(ahead, [0] * 60))
    assert line.startswith("Ridge regression on the picture alone is ahead of, and cannot be told from, training from scratch")


def test_what_is_not_ahead_is_not_said(made):
    assert readouts.sentences(made([0] * 60, [0] * 60)) == []


def test_without_such_tables_there_is_nothing(tmp_path, made):
    assert readouts.measured([], [tmp_path]).empty
    assert readouts.sentences(readouts.measured([], [tmp_path])) == []
