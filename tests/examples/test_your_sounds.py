"""The notebooks of docs/examples, run as the Python files that they are, on synthetic sounds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


@pytest.mark.slow
def test_your_sounds_runs_without_any_and_says_so(tmp_path: Path) -> None:
    environment = {**os.environ, "TLA_SOUNDS": str(tmp_path / "absent"), "MPLBACKEND": "agg", "PYTHONWARNINGS": "error"}
    words = [sys.executable, str(EXAMPLES / "your_sounds.py")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "synthetic sounds take its place" in done.stdout
    assert "3 runs: 0 finished, 0 to continue, 3 to train" in done.stdout
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == 3
    for name in ("what_may_be_frozen.png", "which_classes.png", "figures/fig2c_freeze.pdf", "figures/fig2c_freeze_steps.csv"):
        assert (tmp_path / name).stat().st_size > 100, name
