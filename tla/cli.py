"""A typed function becomes a command. The only importer of the command-line library.

A parameter that is a dataclass of options is laid out flat (`study: Study` gives `--data`, `--recipe.lr`, ...); any other
parameter is an option of that command alone, explained in the docstring's `Args:`. The module's docstring is the top of
`--help`. `--config FILE.yaml` takes the same names, `--print_config` writes them. Beyond what the library does: dashes and
underscores in names mean the same, a flag needs no value, a list is written as 1,2, and a user's mistake ends in one line on
stderr and exit status 2.
"""

import dataclasses
import difflib
import errno
import inspect
import json
import os
import re
import sys
from argparse import SUPPRESS, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Protocol, Union, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace, set_loader, set_parsing_settings

from tla.console import say
from tla.errors import UserError

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
UNREACHABLE = (errno.EACCES, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG)  # read or written
INTERRUPTED = 130  # the shell's own status for Ctrl-C
EXPECTED = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", NoneType: "null"}


class Planned(Protocol):
    """What a command returns that was asked what it would train, and nothing else."""

    def show(self) -> None:
        """Print it."""


class _Help(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Behind the explanation of an option its default, if there is one, and not its type."""

    def _get_help_string(self, action: Any) -> str:
        default = hasattr(action, "_typehint") and action.default is not None
        return f"{action.help} (default: %(default)s)" if default else action.help or ""


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


def _read_yaml(text: str, **_: Any) -> Any:
    """A YAML text's value; what yaml has no error of its own for is a mistake in the text too."""
    try:
        value = yaml.load(text, _StrictYaml)
    except (ValueError, KeyError, AttributeError, OverflowError) as error:
        raise yaml.YAMLError(f"a value that cannot be: {error}") from None
    if isinstance(value, dict) and not isinstance(value.get("config", ""), str):
        raise yaml.YAMLError(f"config is {value['config']!r:.80}, and not the name of a file")
    return value


def build_parser(main: Callable[..., Any], positional: str | None = None) -> ArgumentParser:
    """The parser that `main`'s signature describes; `positional` names the parameter that takes the bare words."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True, validate_defaults=True)
    set_loader("yaml", _read_yaml, exceptions=(yaml.YAMLError,))
    module = sys.modules[main.__module__]
    parser = ArgumentParser(
        prog=f"python -m {(module.__spec__.name if module.__spec__ else main.__module__).removesuffix('.__main__')}",
        usage="%(prog)s [options]",
        description=(module.__doc__ or "").strip(),
        formatter_class=_Help,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="Read options from a YAML file; later options win.")
    groups, words = _groups(main), [positional] if positional else []
    for name in words:
        described = re.search(rf"^\s+{name}: (.*)$", main.__doc__ or "", re.MULTILINE)
        parser.add_argument(name, nargs="*", type=str, help=described[1] if described else None)
    parser.add_function_arguments(main, skip={*groups, *words}, as_group=True)
    for group in groups.values():
        parser.add_class_arguments(group, as_positional=False)
    for action in parser._actions:
        action.option_strings = [option.replace("_", "-") for option in action.option_strings]  # as help shows them
        if action.help == "Path to a configuration file.":  # of a group alone: one way to name a file is enough
            action.help = SUPPRESS
    return parser


def run(main: Callable[..., Any], argv: Sequence[str] | None = None, *, positional: str | None = None) -> None:
    """Parse the command line, call `main`, show the plan that it returns if it was asked for one, and end as it should."""
    try:
        arguments = parse(main, sys.argv[1:] if argv is None else argv, positional)
        with ExitStack() as stack:
            if style := getattr(arguments.get("place"), "style", None):
                from tla import plots

                stack.enter_context(plots.styled(Path(style)))
            plan = main(**arguments)
        if plan is not None:
            plan.show()
    except UserError as error:
        say(f"error: {error}")
        sys.exit(error.status)
    except KeyboardInterrupt:
        say("\nstopped; the same command again goes on from what is finished")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = error.filename or "a file"
        if error.errno in UNWRITABLE:
            say(f"error: cannot write {where}: {error.strerror}; free some space or choose another folder, then repeat")
        elif error.errno in UNREACHABLE:
            say(f"error: {where}: {error.strerror}; mend that or name another place, then repeat")
        else:
            raise
        sys.exit(UserError.status)


def parse(main: Callable[..., Any], argv: Sequence[str], positional: str | None = None) -> dict[str, Any]:
    """The arguments that `main` is to be called with; `UserError` for a command line that it cannot take."""
    parser, groups = build_parser(main, positional), _groups(main)
    options = parser._option_string_actions
    try:
        values = parser.parse_args(_joined(argv, options))
    except ArgumentError as error:
        raise UserError(_explained(str(error), options, parser.prog)) from None
    except UnicodeDecodeError:
        raise UserError("--config names a file that is no text") from None
    for name, hint in (item for group in groups.values() for item in get_type_hints(group).items()):
        if dataclasses.is_dataclass(hint) and not isinstance(values[name], Namespace):
            raise UserError(f"--{name}: is a group of options, as in {name}: {{...}}, and not {values[name]!r:.80}")
    values = parser.instantiate(values)
    made = {
        name: group(**{field.name: values[field.name] for field in dataclasses.fields(group)}) for name, group in groups.items()
    }
    return {name: made[name] if name in made else values[name] for name in inspect.signature(main).parameters}


def _groups(main: Callable[..., Any]) -> dict[str, Any]:
    return {name: hint for name, hint in get_type_hints(main).items() if dataclasses.is_dataclass(hint) and name != "return"}


def _joined(argv: Sequence[str], options: dict[str, Any]) -> list[str]:
    """The command line as the library knows it: an option and its value in one word, `--folds=[1,2]` for `--folds 1,2`."""
    words: list[str] = []
    lists: set[str] = set()
    rest = list(argv)
    while rest and rest[0] != "--":
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        name = _spelled(name)
        action = options.get(name)
        if action is None or action.nargs == 0:
            words.append(word if action is None else name + equals + value)
            continue
        kinds = _kinds(getattr(action, "_typehint", None))
        if not equals and bool in kinds and rest[:1] not in (["true"], ["false"]):
            value = "true"
        elif not equals and not rest:
            words.append(name)
            continue
        elif not equals:
            value = rest.pop(0)
        if any(map(_is_list, kinds)):
            if name in lists:  # the second would silently replace the first
                raise UserError(f"{name.replace('_', '-')} is given twice; a list is written as 1,2")
            lists.add(name)
            value = _listed(value, kinds)
        words.append(f"{name}={value}")  # in one word, so that a value may begin with a dash
    return words + rest


def _spelled(name: str) -> str:
    return name.replace("-", "_").replace("__", "--", 1)


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _is_list(kind: Any) -> bool:
    return get_origin(kind) in (tuple, list)


def _listed(value: str, kinds: Sequence[Any]) -> str:
    literals = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    if value in (*literals, "null") or value.startswith("["):
        return value
    if any(get_args(kind)[:1] == (str,) for kind in kinds):  # quoted: a run's key may look like a number
        return json.dumps([word.strip() for word in value.split(",") if word.strip()])
    return f"[{value}]"


def _explained(message: str, options: dict[str, Any], prog: str) -> str:
    """The library's complaint in one line, with what is possible."""
    if unknown := re.search(r"[Uu]nrecognized arguments: (\S+)|does not accept option '(\S+)'", message):
        name = (unknown[1] or unknown[2]).partition("=")[0]
        shown = [option for option, action in options.items() if action.help != SUPPRESS]
        close = difflib.get_close_matches(_spelled(name), shown, n=3, cutoff=0.5)
        near = f"; did you mean {' or '.join(option.replace('_', '-') for option in close)}?" if close else ""
        return f"unknown option {name}{near} (`{prog} --help` lists all)"
    wrong = re.search(r'^Parser key "([\w.]+)":.*(?:Got|Given) value: (.*)', message, re.DOTALL)
    if wrong and (hint := getattr(options.get(f"--{wrong[1]}"), "_typehint", None)):
        message = f"--{wrong[1].replace('_', '-')}: expected {_expected(hint)}. Got value: {wrong[2]}"
    message = re.sub(r'^Parser key "([\w.]+)":', r"--\1:", message)
    return f"{' '.join(message.split())} (`{prog} --help` explains)"


def _expected(hint: Any) -> str:
    """What an option takes, in words."""
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if _is_list(hint):
        return f"a list, each {_expected(get_args(hint)[0])}"
    return EXPECTED.get(hint) or ", or ".join(map(_expected, _kinds(hint)))
