"""A typed function becomes a command. The only importer of the command-line library.

A parameter that is a dataclass of options is laid out flat (`study: Study` gives `--data`, `--recipe.lr`, ...); any other
parameter is an option of that command alone, explained in the docstring's `Args:`. The module's docstring is the top of
`--help`. `--config FILE.yaml` takes the same names, `--print_config` writes them. Dashes and underscores in option names
mean the same. A user's mistake ends in one line on stderr and exit status 2.
"""

import dataclasses
import difflib
import errno
import inspect
import json
import os
import re
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Protocol, Union, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace, set_loader, set_parsing_settings

from tla.console import say
from tla.errors import UserError

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
UNREACHABLE = (errno.EACCES, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG)  # read or written
INTERRUPTED = 130  # the shell's own status for Ctrl-C


class Planned(Protocol):
    """What a command returns that was asked what it would train, and nothing else."""

    def show(self) -> None:
        """Print it."""


class _Parser(ArgumentParser):
    """A parser that says it plainly when --config is no name."""

    def parse_string(self, content: str, *args: Any, **kwargs: Any) -> Namespace:
        try:
            held = _read_yaml(content)
        except yaml.YAMLError:
            held = None  # said in full where it is read
        if isinstance(held, dict) and not isinstance(held.get("config", ""), str):  # the library would stumble over it
            raise UserError(f"config is {held['config']!r:.80}, and not the name of a file")
        return super().parse_string(content, *args, **kwargs)


class _Help(DefaultHelpFormatter):
    """Help with the module's docstring as written and option names with dashes."""

    def _format_action_invocation(self, action: Any) -> str:
        return re.sub(r"--[\w.]+", lambda name: name[0].replace("_", "-"), super()._format_action_invocation(action))

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in text.strip().splitlines())

    def _expand_help(self, action: Any) -> str:
        text = re.sub(r"\(type: .*, default: (.*)\)$", r"(default: \1)", super()._expand_help(action), flags=re.DOTALL)
        return re.sub(r" \((required, )?type: [^()]*\)$|, default: null\)$| \(default: null\)$", "", text)

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any) -> str:
        return f"usage: {self._prog} [options]\n\n"


class _StrictYaml(yaml.SafeLoader):
    """YAML in which a key given twice is a mistake, and 1e-3 is a number."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"given twice: {', '.join(sorted(twice))}", node.start_mark)
        return super().construct_mapping(node, deep)


def _read_yaml(text: str, **_: Any) -> Any:
    """A YAML text's value; a number or date that cannot be is a mistake in the text, for which yaml has no error of its own."""
    try:
        return yaml.load(text, _StrictYaml)
    except (ValueError, KeyError, AttributeError, OverflowError) as error:
        raise yaml.YAMLError(f"a value that cannot be: {error}") from None


_StrictYaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def build_parser(main: Callable[..., Any], positional: str | None = None) -> ArgumentParser:
    """The parser that `main`'s signature describes; `positional` names the parameter that takes the bare words."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True, validate_defaults=True)
    set_loader("yaml", _read_yaml, exceptions=(yaml.YAMLError,))
    module = sys.modules[main.__module__]
    name = module.__spec__.name if module.__spec__ else main.__module__
    parser = _Parser(
        prog=f"python -m {name.removesuffix('.__main__')}",
        description=module.__doc__,
        formatter_class=_Help,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="Read options from a YAML file; later options win.")
    groups = _groups(main)
    if positional:
        described = re.search(rf"^\s+{positional}: (.*)$", main.__doc__ or "", re.MULTILINE)
        parser.add_argument(positional, nargs="*", type=str, help=described[1] if described else None)
    skip: set[Any] = set(groups) | ({positional} if positional else set())
    parser.add_function_arguments(main, skip=skip, as_group=True)
    for group in groups.values():
        parser.add_class_arguments(group, as_positional=False)
    for action in parser._actions:  # a whole group from a file of its own: one way to name a file is enough
        if action.help == "Path to a configuration file.":
            action.help = SUPPRESS
    return parser


def run(main: Callable[..., Any], argv: Sequence[str] | None = None, *, positional: str | None = None) -> None:
    """Parse the command line, call `main`, show the plan that it returns if it was asked for one, and end as it should."""
    try:
        arguments = parse(main, sys.argv[1:] if argv is None else argv, positional)
        with _styled(arguments):
            plan = main(**arguments)
        if plan is not None:
            plan.show()
    except UserError as error:
        _stop(str(error), error.status)
    except KeyboardInterrupt:
        print("\nstopped; the same command again goes on from what is finished", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = error.filename or "a file"
        if error.errno in UNWRITABLE:
            _stop(f"cannot write {where}: {error.strerror}; free some space or choose another folder, then repeat")
        if error.errno in UNREACHABLE:
            _stop(f"{where}: {error.strerror}; mend that or name another place, then repeat")
        raise


def _styled(arguments: dict[str, Any]) -> AbstractContextManager[None]:
    """The look that the user gives to figures, if any."""
    style = getattr(arguments.get("place"), "style", None)
    if style is None:
        return nullcontext()
    from tla import plots

    return plots.styled(Path(style))


def parse(main: Callable[..., Any], argv: Sequence[str], positional: str | None = None) -> dict[str, Any]:
    """The arguments that `main` is to be called with; `UserError` for a command line that it cannot take."""
    parser = build_parser(main, positional)
    options = {option: action for action in parser._actions for option in action.option_strings}
    try:
        values = parser.parse_args(_spelled(argv, options))
    except ArgumentError as error:
        raise UserError(_explained(str(error), options, parser.prog)) from None
    except UnicodeDecodeError:
        raise UserError("--config names a file that is no text") from None
    for name in (field.name for group in _groups(main).values() for field in dataclasses.fields(group)):
        if any(option.startswith(f"--{name}.") for option in options) and not isinstance(values[name], Namespace):
            raise UserError(f"--{name}: is a group of options, as in {name}: {{...}}, and not {values[name]!r:.80}")
    values = parser.instantiate(values)
    groups = {
        parameter: group(**{field.name: values[field.name] for field in dataclasses.fields(group)})
        for parameter, group in _groups(main).items()
    }
    rest = {name: values[name] for name in inspect.signature(main).parameters if name not in groups}
    return {**groups, **rest}


def _groups(main: Callable[..., Any]) -> dict[str, Any]:
    return {name: hint for name, hint in get_type_hints(main).items() if dataclasses.is_dataclass(hint) and name != "return"}


def _spelled(argv: Sequence[str], options: dict[str, Any]) -> list[str]:
    """The command line as the parser knows it: underscores in names, `[1,2]` for `1,2`, `--flag=true` for `--flag`."""
    words: list[str] = []
    lists: set[str] = set()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        name = name.replace("-", "_").replace("__", "--", 1)
        action = options.get(name)
        if word == "--":
            return [*words, word, *rest]
        if _takes_list(action):  # a second one would silently replace the first
            if name in lists:
                raise UserError(f"{name.replace('_', '-')} is given twice; a list is written as 1,2")
            lists.add(name)
        if action is None:
            words.append(word)
        elif action.nargs == 0:
            words.append(name + equals + value)
        elif equals or (_is_flag(action) and rest[:1] not in (["true"], ["false"])):
            words.append(f"{name}={_listed(value, action) if equals else 'true'}")
        else:  # joined, so that a value may begin with a dash
            words.append(f"{name}={_listed(rest.pop(0), action)}" if rest else name)
    return words


def _is_flag(action: Any) -> bool:
    return getattr(action, "_typehint", None) is bool


def _kinds(action: Any) -> tuple[Any, ...]:
    hint = getattr(action, "_typehint", None)
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _takes_list(action: Any) -> bool:
    return any(get_origin(kind) in (tuple, list) for kind in _kinds(action))


def _listed(value: str, action: Any) -> str:
    kinds = _kinds(action)
    words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    if not _takes_list(action) or value in (*words, "null") or value.startswith("["):
        return value
    if any(get_args(kind)[:1] == (str,) for kind in kinds):  # quoted: a run's key may look like a number
        return json.dumps([word.strip() for word in value.split(",") if word.strip()])
    return f"[{value}]"


def _explained(message: str, options: dict[str, Any], prog: str) -> str:
    """The parser's complaint in one line, with what is possible."""
    unknown = re.search(r"[Uu]nrecognized arguments: (\S+)|does not accept option '(\S+)'", message)
    if unknown:
        name = (unknown[1] or unknown[2]).partition("=")[0]
        close = difflib.get_close_matches(name.replace("-", "_").replace("__", "--", 1), options, n=3, cutoff=0.5)
        near = f"; did you mean {' or '.join(option.replace('_', '-') for option in close)}?" if close else ""
        return f"unknown option {name}{near} (`{prog} --help` lists all)"
    message = re.sub(r"^Parser key \"?([\w.]+)\"?:", r"--\1:", message.strip())
    message = re.sub(r"Expected a typing.Literal\[(.*?)\]", lambda m: f"expected one of {m[1].replace(chr(39), '')}", message)
    for kind, words in (("int", "a whole number"), ("float", "a number"), ("bool", "true or false"), ("str", "a word")):
        message = message.replace(f"Expected a <class '{kind}'>", f"expected {words}")
    message = re.sub(
        r"\s*Does not validate against any of the Union subtypes|Subtypes:.*?Errors:\s*", " ", message, flags=re.DOTALL
    )
    return f"{' '.join(message.split())} (`{prog} --help` explains)"


def _stop(message: str, status: int = UserError.status) -> None:
    say(f"error: {message}")
    sys.exit(status)


def config_file(path: Path, main: Callable[..., Any]) -> dict[str, Any]:
    """The arguments that `main` would get from one YAML file."""
    return parse(main, ["--config", str(path)])
