"""What the room exports is light to import, and the examples in its docstrings print what they say."""

import contextlib
import inspect
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tla import similarity


def test_importing_the_room_loads_no_torch_and_drawing_neither() -> None:
    program = "import sys, tla.similarity as room; room.compare_figure; assert 'torch' not in sys.modules; room.svcca"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


EXAMPLES = ["Moments", "channel", "cka", "compare", "compare_figure", "procrustes", "pwcca", "svcca"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_print_what_they_say(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", inspect.getdoc(getattr(similarity, name)) or "", re.DOTALL)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(block, name, "exec"), {})
    for said in re.findall(r"print\(.*\)  # (.*)", block):
        assert ", ".join(f"{float(number):.2f}" for number in out.getvalue().split()) == said
