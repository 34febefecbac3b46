"""The command as a user types it: what it prints, writes and refuses."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tla import cli, probe
from tla.launch.study import ensure, list_runs, prepare
from tla.readout import networks
from tla.tables import lines, read_out

TINY = ["--backbone", "densenet_tiny", "--weights", "random", "--device", "cpu", "--recipe.epochs", "1"]
TINY += ["--picture.mels", "32", "--picture.frames", "40", "--augment.kind", "none", "--precision", "fp32"]


@pytest.fixture
def words(few_sounds: Path, place):
    return [*TINY, "--data-root", str(place.data), "--runs", place.runs, "--figures", place.figures]


def refused(words, capsys):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.run(probe.main, words)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_it_ranks_stages_and_leaves_lines_for_other_figures(words, few_sounds, place, capsys):
    cli.run(probe.main, [*words, "--data", str(few_sounds), "--seeds", "2"])
    printed = capsys.readouterr().out
    assert "the picture alone" in printed.splitlines()[0]
    (folder,) = (path for path in Path(place.figures).iterdir() if path.is_dir())
    points = pd.read_csv(folder / "probe.csv")
    assert set(points["network"]) == {"picture", "random"}
    assert set(points.loc[points["network"] == "random", "runs"]) == {2}
    known = lines(folder)
    assert list(known["line"]) == ["picture", "best stage"]
    assert read_out(known).startswith("read out without training, on the same clips: picture ")
    assert len(pd.read_csv(folder / "probe_clips.csv")) == 200
    assert lines(folder.parent) is None


def test_a_run_is_read_out_before_and_after_its_training(words, study, place, few_sounds, capsys):
    material = prepare(study, place)
    (folder,) = ensure(list_runs(material), material, place)
    cli.run(probe.main, [*words, "--run", folder.key[:6], "--folds", "1,2", "--data", str(few_sounds)])
    points = pd.read_csv(next(Path(place.figures).glob(f"*/probe_{folder.key[:6]}.csv")))
    mine = points[points["network"].isin([f"before {folder.key}", f"after {folder.key}"])]
    assert set(mine["clips"]) == {20}, "those that it has not learned from"
    assert mine.groupby("network")["stage"].nunique().to_list() == [5, 5]
    said = refused([*words, "--run", folder.key, "--folds", "2", "--data", str(few_sounds)], capsys)
    assert f"run {folder.key} holds fold 1 out, which --folds leaves out" in said
    assert "no run in" in refused([*words, "--run", "zzz", "--data", str(few_sounds)], capsys)


def test_what_cannot_be_read_out_is_refused_in_a_line(words, few_sounds, place, tmp_path, capsys):
    sounds = sorted(few_sounds.rglob("*.wav"))
    some = [path for path in sounds if path.parent.name in {sounds[0].parent.name, sounds[-1].parent.name}]

    def listed(name, row):
        path = tmp_path / f"{name}.csv"
        head = "path,label,fold,source"
        path.write_text("\n".join([head, *(row(i, sound) for i, sound in enumerate(some))]) + "\n")
        return ["--data", str(path)]

    one_clip = listed("clip", lambda i, sound: f"{sound},{'rare' if i == 0 else sound.parent.name},{i % 2 + 1},{i}")
    assert "class 'rare' has one clip" in refused([*words, *one_clip], capsys)
    one_fold = listed("fold", lambda i, sound: f"{sound},{sound.parent.name},1,{i}")
    assert "all clips are in fold 1" in refused([*words, *one_fold], capsys)
    one_recording = listed("recording", lambda i, sound: f"{sound},{sound.parent.name},{i % 2 + 1},{i % 2}")
    assert "fold 1: all clips to learn from come from one recording (1)" in refused([*words, *one_recording], capsys)
    shared = listed("shared", lambda i, sound: f"{sound},{sound.parent.name},{i % 2 + 1},one")
    said = refused([*words, *shared, "--allow-leaks"], capsys)
    assert "all clips to learn from are of recordings that are held out too" in said


def test_options_that_do_not_go_together_are_refused(words, few_sounds, capsys):
    data = ["--data", str(few_sounds)]
    assert "--check reads the finished runs" in refused([*words, *data, "--check", "--tuned"], capsys)
    assert "there is no finished run in" in refused([*words, *data, "--check"], capsys)
    assert "names no network" in refused([*words, *data, "--backbone", ","], capsys)


def test_several_backbones_are_ranked_together(words, few_sounds, place, capsys):
    cli.run(probe.main, [*words, "--data", str(few_sounds), "--folds", "1,2", "--backbone", "densenet_tiny, densenet_tiny"])
    assert list(pd.read_csv(next(Path(place.figures).glob("*/probe_ranking.csv")))["backbone"].unique()) == ["densenet_tiny"]


def test_it_learns_from_as_few_clips_as_the_studys_runs_do(study, place):
    material = prepare(replace(study, per_class=2), place)
    (learned, held_out) = networks.clips_of(material).splits[1]
    (run,) = list_runs(material)
    assert learned.tolist() == run.split(material.dataset).train.tolist()
    assert (len(learned), len(held_out)) == (20, 20)
