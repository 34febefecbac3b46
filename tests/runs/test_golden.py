"""A refactor leaves a fixed-seed result as it was."""

import importlib.util
import json
from pathlib import Path

import pytest

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def test_a_tiny_run_is_what_it_was(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_tiny_run", GOLDEN / "make_tiny_run.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    for got, golden in zip(maker.tiny_run(tmp_path), json.loads((GOLDEN / "tiny_run.json").read_text()), strict=True):
        assert got["loss"] == pytest.approx(golden["loss"], rel=2e-3)  # other processors round otherwise
        assert got["heldout_loss"] == pytest.approx(golden["heldout_loss"], rel=2e-2)
        assert (got["epoch"], got["lr"]) == (golden["epoch"], golden["lr"])
