"""Files of options: YAML, where a key that is given twice is a mistake and 1e-3 is a number, and what tla itself wrote.

`--config` names a file by its path, or an experiment that comes with tla by its name. A file is for one command, or for several
of one study: what `--print_config` wrote, a study's `study.json`, or a run's `run.json`. Options that another command takes are
named and left out; an unknown one is a mistake. A list may be written as on the command line (`folds: 1,2`), and one value for
a list of one.
"""

import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml

from tla.console import say
from tla.errors import UserError
from tla.options import RANDOM

BESIDE = {"key", "classes", "made", "data_digest"}  # what tla writes into such a file beside options
EXPERIMENTS = Path(__file__).parent / "experiments"  # those that come with tla
Kinds = Mapping[str, Sequence[Any]]  # an option's name, as in recipe.lr -> the types that it takes


class _StrictYaml(yaml.SafeLoader):
    """YAML in which a key given twice is a mistake, and 1e-3 is a number."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := {str(key) for key in keys if keys.count(key) > 1}:
            raise yaml.constructor.ConstructorError(None, None, f"given twice: {', '.join(sorted(twice))}", node.start_mark)
        return super().construct_mapping(node, deep)


_StrictYaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def parsed(text: str) -> Any:
    """A YAML text's value; what yaml has no error of its own for is a mistake in the text too."""
    try:
        value = yaml.load(text, _StrictYaml)
    except (ValueError, KeyError, AttributeError, OverflowError) as error:
        raise yaml.YAMLError(f"a value that cannot be: {error}") from None
    if isinstance(value, dict) and not isinstance(value.get("config", ""), str):
        raise yaml.YAMLError(f"config is {value['config']!r:.80}, and not the name of a file")
    return value


def experiments(folder: Path = EXPERIMENTS) -> dict[str, Path]:
    """The experiments in a folder, by the names of their files; those that come with tla are called by these."""
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def located(value: str) -> Path | None:
    """The file that `--config` names, as an experiment or by its path; None for what is neither.

    A name means the experiment also beside a file of the same name, which is `./fig2b`: so that it is the same everywhere.
    """
    known = experiments()
    is_file = os.path.isfile(value)  # noqa: PTH113  where a name is too long, it is none
    if value in known:
        if is_file:
            say(f"--config {value} is the experiment that comes with tla; for the file here give ./{value}")
        return known[value]
    if is_file:
        return Path(value)
    if (name := re.split(r"[/\\]", value)[-1].removesuffix(".yaml")) in known:
        raise UserError(f"--config {value}: there is no such file; the experiment is called by its name: --config {name}")
    if re.fullmatch(r"[\w-]+", value):
        close = difflib.get_close_matches(value, known, n=3)
        near = f", did you mean {' or '.join(close)}?" if close else ""
        raise UserError(f"--config {value}: no such file or experiment{near} (the experiments: {', '.join(known)})")
    return None


def read(path: Path, kinds: Kinds, prog: str, elsewhere: Callable[[], Iterable[str]]) -> str:
    """The options in a file that a command takes, as JSON. `elsewhere`: the options of all commands, asked for when needed."""
    try:
        options = parsed(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"--config {path}: {' '.join(str(error).split())}") from None
    except UnicodeDecodeError:
        raise UserError(f"--config {path} is no text") from None
    if options is None:
        raise UserError(f"--config {path}: the file is empty; it takes lines such as `data: toy`")
    if not isinstance(options, dict):
        raise UserError(f"--config {path}: expected lines such as `data: toy`, and it holds {options!r:.80}")
    if isinstance(options.get("run"), dict) and "key" in options:
        options = _of_run(options["run"], path) | {name: value for name, value in options.items() if name != "run"}
    others: list[str] = []
    taken = _taken(options, "", kinds, others)
    if others:
        known = {*elsewhere(), *BESIDE}
        for name in others:
            if name not in known:
                raise UserError(f"--config {path}: {unknown(name, kinds, prog)}")
        left_out = ", ".join(dict.fromkeys(name.split(".")[0] for name in others if name not in BESIDE))
        if left_out:
            say(f"--config {path}: left out, since {prog} does not take them: {left_out}")
    return json.dumps(taken, default=str)  # a date may be the name of a folder


def unknown(name: str, known: Iterable[str], prog: str) -> str:
    """That an option is unknown, and which come close to it."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    near = f"; did you mean {' or '.join(option.replace('_', '-') for option in close)}?" if close else ""
    shown = name if re.fullmatch(r"[\w.-]+", name) else repr(name)
    return f"unknown option {shown}{near} (`{prog} --help` lists all)"


def listed(value: Any, kinds: Sequence[Any]) -> Any:
    """A value where a list may stand: 1,2 or 1 as a list; what is none, or may stand for itself, as it is."""
    words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    lists = [kind for kind in kinds if get_origin(kind) in (tuple, list)]
    if not lists or value is None or isinstance(value, list | dict) or value in words:
        return value
    parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else [value]
    if get_args(lists[0])[:1] == (str,):  # a run's key may look like a number
        return [str(part) for part in parts]
    return [parsed(part) if isinstance(part, str) else part for part in parts]


def _taken(options: Mapping[Any, Any], prefix: str, kinds: Kinds, others: list[str]) -> dict[str, Any]:
    """The options that are known, with lists where these are meant; the names of others are put into `others`."""
    taken: dict[str, Any] = {}
    for key, value in options.items():
        name = f"{prefix}{key}".replace("-", "_")
        inner = {option for option in kinds if option.startswith(f"{name}.")}
        if inner and isinstance(value, dict):
            taken[str(key).replace("-", "_")] = _taken(value, f"{name}.", kinds, others)
        elif name in kinds:
            taken[str(key).replace("-", "_")] = listed(value, kinds[name])
        else:
            others.append(name)
    return taken


def _of_run(run: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A run's options as those of a study: its fold, and as many seeds as it takes."""
    others = {name: value for name, value in run.items() if name not in ("fold", "seed", "weights")}
    start = str(run.get("weights", "")).partition(":")[0]
    if start not in (RANDOM, "imagenet"):
        raise UserError(f"--config {path}: the run started from a file or another run, and where that lies is not in it")
    return {**others, "weights": start, "folds": [run["fold"]], "seeds": run["seed"] + 1}
