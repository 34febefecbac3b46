"""The notebook on one's own network, run as the Python file that it is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "examples" / "your_network.py"


@pytest.mark.slow
def test_your_network_runs(tmp_path: Path) -> None:
    environment = {**os.environ, "MPLBACKEND": "agg", "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, str(NOTEBOOK)], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^ *(conv1|layer\d) +(\d\.\d+|NaN) ", done.stdout, re.MULTILINE)
    assert [layer for layer, _ in rows] == ["conv1", "layer1", "layer2", "layer3", "layer4"]
    (array,) = re.findall(r"^layer2: (\d\.\d+), floor \d\.\d+, 11520 points at \(12, 12\)", done.stdout, re.MULTILINE)
    assert float(array) == pytest.approx(float(dict(rows)["layer2"]), abs=0.011)
    assert (tmp_path / "what_training_changed.png").stat().st_size > 10_000
