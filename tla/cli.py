"""A typed function becomes a command. The only importer of the command-line library.

A parameter that is a dataclass of options is laid out flat (`study: Study` gives `--data`, `--recipe.lr`, ...); any other
parameter is an option of that command alone, explained in the docstring's `Args:`. The module's docstring is the top of
`--help`. `--config FILE` takes the same names, `--print_config` writes them. Beyond what the library does: dashes and
underscores in names mean the same, a flag needs no value, a list is written as 1,2, and a user's mistake ends in one line on
stderr and exit status 2.
"""

import dataclasses
import errno
import importlib
import inspect
import json
import os
import re
import sys
from argparse import SUPPRESS, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Protocol, Union, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace, set_loader, set_parsing_settings

from tla import config, console, entry, outputs
from tla.console import say
from tla.errors import UserError
from tla.options import Place, Study

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
UNREACHABLE = (errno.EACCES, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG)  # read or written
INTERRUPTED = 130  # the shell's own status for Ctrl-C
AT_HAND = "study_at_hand"  # an attribute of a command
ABOUT_AT_HAND = """

Without --data and --config it takes the study at hand, with the options that are given: that of the run in --runs that was
finished last, or of the run that --run or --after names. Where there is none, the defaults below."""
CONFIG = "Options from a YAML file, or from an experiment by its name ({}); later options win."
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


def takes_study_at_hand(find: Callable[[Mapping[str, Any]], tuple[Study, str] | None]) -> Callable[[Callable], Callable]:
    """A command that goes on with the study at hand where the command line names none.

    `find` is given the command's arguments, and returns that study and in words whose it is, or None if there is none.
    """

    def mark(main: Callable[..., Any]) -> Callable[..., Any]:
        setattr(main, AT_HAND, find)
        return main

    return mark


def build_parser(main: Callable[..., Any], positional: str | None = None) -> ArgumentParser:
    """The parser that `main`'s signature describes; `positional` names the parameter that takes the bare words."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True, validate_defaults=True)
    set_loader("yaml", config.parsed, exceptions=(yaml.YAMLError,))
    module = sys.modules[main.__module__]
    name = module.__spec__.name if module.__spec__ else main.__module__
    parser = ArgumentParser(
        prog=entry.typed(name.removesuffix(".__main__").removeprefix("tla.")),
        usage="%(prog)s [options]",
        description=entry.retold((module.__doc__ or "").strip()) + ABOUT_AT_HAND * hasattr(main, AT_HAND),
        formatter_class=_Help,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help=CONFIG.format(", ".join(config.experiments())))
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
    with ending():
        arguments = parse(main, sys.argv[1:] if argv is None else argv, positional)
        with ExitStack() as stack:
            _set_up(arguments, stack)
            plan = main(**arguments)
        if plan is not None:
            plan.show()


@contextmanager
def ending() -> Iterator[None]:
    """What ends a command other than its end: a user's mistake, Ctrl-C, a disk, each in a line and with its exit status."""
    try:
        yield
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


def _set_up(arguments: Mapping[str, Any], stack: ExitStack) -> None:
    """What holds for as long as a command runs: the look of figures, what may be replaced, the places that hints name."""
    place = arguments.get("place")
    given = {name: getattr(place, name, arguments.get(name)) for name in console.FOLDERS}
    apart = {name: str(value) for name, value in given.items() if value not in (None, getattr(Place(), name))}
    stack.enter_context(console.placed(apart))
    if place and place.style:
        from tla import plots

        stack.enter_context(plots.styled(Path(place.style)))
    if place and place.overwrite:
        from tla import manifest

        stack.enter_context(manifest.overwriting())


def parse(main: Callable[..., Any], argv: Sequence[str], positional: str | None = None) -> dict[str, Any]:
    """The arguments that `main` is to be called with; `UserError` for a command line that it cannot take."""
    parser, groups = build_parser(main, positional), _groups(main)
    options = parser._option_string_actions
    words = _joined(argv, parser)
    try:
        values = parser.parse_args(words)
    except ArgumentError as error:
        raise UserError(_explained(str(error), options, parser.prog)) from None
    for name, hint in (item for group in groups.values() for item in get_type_hints(group).items()):
        if dataclasses.is_dataclass(hint) and not isinstance(values[name], Namespace):
            raise UserError(f"--{name}: is a group of options, as in {name}: {{...}}, and not {values[name]!r:.80}")
    values = parser.instantiate(values)
    made = {
        name: group(**{field.name: values[field.name] for field in dataclasses.fields(group)}) for name, group in groups.items()
    }
    arguments = {name: made[name] if name in made else values[name] for name in inspect.signature(main).parameters}
    given = set(parser.parse_args(words, defaults=False).keys())
    if isinstance(made.get("study"), Study) and "data" not in given and not any(word.startswith("--config=") for word in words):
        arguments["study"] = _unnamed(arguments, given, getattr(main, AT_HAND, None))
    return arguments


def _unnamed(arguments: Mapping[str, Any], given: set[str], find: Callable | None) -> Study:
    """The study of a command line that names none: the one at hand with the options that are given; in a redraw, any."""
    asked: Study = arguments["study"]
    if getattr(arguments.get("place"), "redraw", False):
        return dataclasses.replace(asked, data="")
    found = find(arguments) if find else None
    if found is None:
        return asked
    study, whose = found
    merged: Study = _overlaid(study, asked, given)
    data, backbone, *others = outputs.words(merged)
    say(f"{whose}: {', '.join([f'{data} with {backbone}', *others])} (--data, --config name another)")
    return merged


def _overlaid(group: Any, asked: Any, given: set[str], prefix: str = "") -> Any:
    """A group of options with those of another one that are given."""
    changes = {}
    for field in dataclasses.fields(group):
        value, name = getattr(asked, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            changes[field.name] = _overlaid(getattr(group, field.name), value, given, f"{name}.")
        elif name in given:
            changes[field.name] = value
    return dataclasses.replace(group, **changes)


def _groups(main: Callable[..., Any]) -> dict[str, Any]:
    return {name: hint for name, hint in get_type_hints(main).items() if dataclasses.is_dataclass(hint) and name != "return"}


def _joined(argv: Sequence[str], parser: ArgumentParser) -> list[str]:
    """The command line as the library knows it: an option and its value in one word, `--folds=[1,2]` for `--folds 1,2`.

    In place of a file of options stands what is in it.
    """
    options = parser._option_string_actions
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
        if name == "--config" and (file := config.located(value)):
            taken = {action.dest: _kinds(getattr(action, "_typehint", None)) for action in parser._actions}
            value = config.read(file, taken, parser.prog, _options_of_all)
        elif any(map(_is_list, kinds)):
            if name in lists:  # the second would silently replace the first
                raise UserError(f"{name.replace('_', '-')} is given twice; a list is written as 1,2")
            lists.add(name)
            value = value if value == "null" or value.startswith("[") else _text(config.listed(value, kinds))
        words.append(f"{name}={value}")  # in one word, so that a value may begin with a dash
    return words + rest


def _spelled(name: str) -> str:
    return name.replace("-", "_").replace("__", "--", 1)


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _is_list(kind: Any) -> bool:
    return get_origin(kind) in (tuple, list)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _options_of_all() -> set[str]:
    """The names of the options of every command."""
    named: set[str] = set()
    for command in importlib.import_module("tla.__main__").COMMANDS:
        module = importlib.import_module(f"tla.{command}")
        main = getattr(module, "main", None) or importlib.import_module(f"tla.{command}.__main__").main
        named |= {action.dest for action in build_parser(main)._actions}
    return named


def _explained(message: str, options: dict[str, Any], prog: str) -> str:
    """The library's complaint in one line, with what is possible."""
    if unknown := re.search(r"[Uu]nrecognized arguments: (\S+)|does not accept option '(\S+)'", message):
        name = (unknown[1] or unknown[2]).partition("=")[0]
        shown = [option for option, action in options.items() if action.help != SUPPRESS]
        return config.unknown(name, shown, prog)
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
