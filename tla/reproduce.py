"""Every experiment of the paper at full size: first the plan, in runs, hours and disk; then one after another.

    python -m tla.reproduce --plan                        what there is to do, and how long it takes here
    python -m tla.reproduce                               all of it; stopped and started again, it goes on
    python -m tla.reproduce --only fig2b,table1
    python -m tla.reproduce -- --launch ray:auto          what comes after -- is handed to each command

An experiment is a YAML file whose first lines name the command that reads it, or several; `--config fig2b` gives it to that
command alone. Runs that several experiments share are trained once.
"""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tla import cli, config, console, entry
from tla.errors import UserError

if TYPE_CHECKING:
    from tla.launch.forecast import Forecast, Times
    from tla.launch.plan import Plan

COMMAND = re.compile(r"^#\s+(?:tla |python -m tla\.)(\w+) --config \S+", re.MULTILINE)
QUICK = "_quick"  # ends the names of what is not at full size


def main(
    options: list[str],
    *,
    only: tuple[str, ...] = (),
    plan: bool = False,
    folder: str | None = None,
) -> None:
    """This command.

    Args:
        options: Handed to each command, as in --device cuda:1 or --launch ray:auto.
        only: Experiments, by their names; by default all that are not quick variants.
        plan: Print the plan and stop.
        folder: Where experiments of your own are (YAML files as tla/experiments has them); by default those that come with tla.
    """
    steps = _steps(Path(folder) if folder else None, only)
    times: Times = {}  # of kinds of runs, which experiments share
    _show({name: _forecast(name, command, [*words, *options], times) for name, (command, words) in steps.items()})
    if plan:
        return
    for name, (command, words) in steps.items():
        print(f"\n=== {name}\n$ {entry.typed(command)} {shlex.join([*words, *options])}\n", flush=True)
        status = subprocess.run([*entry.started(command), *words, *options]).returncode
        if status:
            console.say(f"{name} stopped with status {status}; the same command goes on from here")
            sys.exit(status)


def _steps(folder: Path | None, only: tuple[str, ...]) -> dict[str, tuple[str, list[str]]]:
    """The commands of each experiment, by their names, and the words that name its file to them."""
    files = config.experiments(folder) if folder else config.experiments()
    if not files:
        raise UserError(f"{folder} holds no experiments (*.yaml); --folder names where they are")
    wrong = [name for name in only if name not in files]
    if wrong:
        raise UserError(f"--only {','.join(wrong)}: possible are {', '.join(files)}")
    steps = {}
    for name in only or [name for name in files if not name.endswith(QUICK)]:
        commands = dict.fromkeys(COMMAND.findall(files[name].read_text(encoding="utf-8")))
        if not commands:
            raise UserError(f"{files[name]} does not name the command that reads it: a line `#   tla X --config FILE`")
        for command in commands:
            step = name if len(commands) == 1 else f"{name}, {command}"
            steps[step] = command, ["--config", str(files[name]) if folder else name]
    return steps


def _forecast(name: str, command: str, words: list[str], times: "Times") -> "Forecast":
    """What an experiment would take. Its plan goes, and with it pictures and weights, before the next one is made."""
    console.say(f"planning {name}")
    command_main = importlib.import_module(f"tla.{command}").main
    plan: Plan = command_main(**cli.parse(command_main, [*words, "--dry_run", "true"]))
    return plan.forecast(times)


def _show(forecasts: "dict[str, Forecast]") -> None:
    from tla.launch.forecast import Forecast

    rows = [[name, f.runs, f.finished, f"{f.hours[1]:.1f}", f"{f.gigabytes:.2f}"] for name, f in forecasts.items()]
    console.table(["experiment", "runs", "finished", "hours at most", "GB"], rows)
    print(f"\nall together, a run that several share counted once: {sum(forecasts.values(), Forecast())}")


if __name__ == "__main__":
    cli.run(main, positional="options")
