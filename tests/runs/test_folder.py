"""A finished run is read as it was written, or it is named what is wrong with it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tla import manifest
from tla.errors import Damaged, UserError
from tla.runs.folder import FinishedRun, RunFolder, find, intact, load, whole
from tla.runs.run import Run


@pytest.fixture
def finished(written: Callable[..., FinishedRun], run: Run, tmp_path: Path) -> FinishedRun:
    return written(tmp_path, run, [1, 0, 1])


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a JSON file holds, as another version of tla might have written it."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    manifest.vouch(path.parent, [file.name for file in path.parent.iterdir() if file.name != manifest.SUMS])


def test_what_was_written_is_read(finished: FinishedRun, run: Run) -> None:
    assert (finished.run, finished.key, finished.classes) == (run, run.key, ["a", "b"])
    assert finished.result.scores["last"].accuracy == pytest.approx(2 / 3)
    assert finished.result.training.state == "converged"
    assert finished.log[0]["epoch"] == 1
    assert finished.predictions.logits["best"].shape == (3, 2)
    assert finished.standard is None


def test_sha256sum_reads_the_manifest(finished: FinishedRun) -> None:
    if not shutil.which("sha256sum"):
        pytest.skip("needs sha256sum")
    checked = subprocess.run(["sha256sum", "-c", manifest.SUMS], cwd=finished.path, capture_output=True, text=True, check=True)
    assert checked.stdout.split()[::2] == ["log.jsonl:", "predictions.npz:", "result.json:", "run.json:"]


def test_a_file_of_another_version_is_named(finished: FinishedRun) -> None:
    changed(finished.path / "result.json", lambda result: result.pop("epochs"))
    with pytest.raises(Damaged, match=rf"result\.json is damaged or of another version .*`epochs`.* delete {finished.path} "):
        load(finished.path)


def test_a_run_of_another_versions_key_is_named(finished: FinishedRun, capsys: pytest.CaptureFixture[str]) -> None:
    changed(finished.path / "run.json", lambda held: held["run"].update(seed=1))
    other = replace(finished.run, seed=1).key
    with pytest.raises(Damaged, match=f"another version of tla .its options are those of run {other}"):
        load(finished.path)
    assert intact(finished.path) is None
    assert "passed over" in capsys.readouterr().err


def test_an_option_that_this_version_does_not_know_is_passed_over_at_its_default(finished: FinishedRun) -> None:
    changed(finished.path / "run.json", lambda held: held["run"]["recipe"].update(novelty=0.5))
    assert load(finished.path).run == finished.run


def test_a_run_without_its_manifest_is_not_finished(finished: FinishedRun) -> None:
    RunFolder(finished.path).reopen()
    assert intact(finished.path) is None
    with pytest.raises(UserError, match="is not a finished run: it has no SHA256SUMS"):
        load(finished.path)


def test_a_folder_that_was_renamed_names_its_run(finished: FinishedRun, tmp_path: Path) -> None:
    mine = finished.path.rename(tmp_path / "my best run")
    for lookup in (lambda: load(mine), lambda: find(tmp_path, "my"), lambda: find(tmp_path, finished.key[:4])):
        with pytest.raises(Damaged, match=f"is run {finished.key} under another name; rename it to {tmp_path / finished.key}$"):
            lookup()


def test_a_copy_beside_its_run_is_passed_over(
    finished: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(finished.path, tmp_path / f"{finished.key}-copy"))
    assert find(tmp_path, finished.key[:4]) == finished
    assert intact(copy) is None
    assert f"passed over: {copy} is a copy of run {finished.key}, which is beside it" in capsys.readouterr().err


def test_weights_that_were_written_and_are_gone_are_lost(finished: FinishedRun) -> None:
    assert not finished.lost_weights  # none were written
    folder = RunFolder(finished.path)
    finished.weights.write_bytes(b"weights")
    folder.finish(finished.result)
    assert whole(folder.path) == finished
    finished.weights.unlink()
    assert load(folder.path).lost_weights
    assert whole(folder.path) is None
    with pytest.raises(Damaged, match=f"run {finished.key} has lost its weights .* `python -m tla.runs {finished.key}`"):
        load(folder.path).trained_weights()
