"""The study that a command goes on with where its command line names none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tla.launch.find_run import newest_study
from tla.options import Study
from tla.runs import command
from tla.runs.folder import find


def study(arguments: Mapping[str, Any]) -> tuple[Study, str] | None:
    """The study of the run that the command is about or, if it names none, the newest in --runs; and in words whose it is."""
    runs, key = Path(arguments["place"].runs), arguments.get("run") or arguments.get("after")
    if key:
        run = find(runs, key)
        return command.study([run]), f"the study of run {run.key}"
    newest = newest_study(runs)
    return (newest, "the study at hand") if newest else None
