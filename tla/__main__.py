"""`python -m tla` lists the commands."""

import ast
from pathlib import Path

ROOM = Path(__file__).parent
COMMANDS = (
    "demo",
    "probe",
    "train",
    "fusion",
    "freeze",
    "cutoff",
    "svcca",
    "ig",
    "ensemble",
    "labels",
    "report",
    "tune",
    "reproduce",
    "predict",
    "runs",
    "data",
    "bench",
)  # in the order of a newcomer's day


def summary(command: str) -> str:
    """The first line of a command's docstring, read without importing it."""
    module, package = ROOM / f"{command}.py", ROOM / command / "__main__.py"
    tree = ast.parse((module if module.is_file() else package).read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def main() -> None:
    """Print each command with the question that it answers."""
    print(f"{__import__('tla').__doc__}\n")
    width = 1 + max(map(len, COMMANDS))
    for command in COMMANDS:
        print(f"  python -m tla.{command:<{width}}{summary(command)}")
    print("\nEach takes --help. Start with `python -m tla.demo`.")


if __name__ == "__main__":
    from tla import cli

    cli.run(main)
