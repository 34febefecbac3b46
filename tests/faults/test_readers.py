"""Lists of clips and files of options that nobody would write: each is understood, or refused in a line."""

import contextlib
import csv
import io
import random
import string
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import soundfile
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tla import cli, train
from tla.errors import UserError
from tla.options import Picture, Recipe
from tla.sound import check
from tla.sound.clips import Dataset, load

EXAMPLES = 120
quick = settings(
    max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
thorough = settings(quick, max_examples=5000, derandomize=False)


# Lists of clips


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of two classes, and other things beside them."""
    root = tmp_path_factory.mktemp("readers") / "set"
    root.mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 4000)
    for number in range(12):
        soundfile.write(root / f"{number}.wav", np.roll(noise, number), 8000)
    (root / "notes.txt").write_text("no sound")
    (root / "sub.wav").mkdir()
    return root


def loaded(table: Path, content: bytes) -> Dataset | str:
    """The data set of a CSV, or why there is none; anything else is for the test to report."""
    table.write_bytes(content)
    try:
        found = load(str(table), table.parent)
    except UserError as error:
        said = str(error)
        assert said.startswith(str(table.parent))
        return said
    assert found.clips
    assert all(clip.path.is_file() and clip.label < len(found.classes) for clip in found.clips)
    assert len({clip.name for clip in found.clips}) == len(found.clips)
    for fold in found.folds:
        parts = found.split(fold)
        assert not set(parts.train) & set(parts.test)
    return found


ROWS = [f"{number}.wav,{'cat' if number % 2 else 'dog'},{number % 3 + 1},{number}" for number in range(12)]
HEADER = "path,label,fold,source"
GOOD = "\n".join([HEADER, *ROWS, ""])

NAMES = (
    *(f"{k}.wav" for k in range(12)),
    *("./0.wav", "sub/../1.wav", "../set/2.wav", "../../../../etc/passwd", "/etc/passwd", "/dev/zero", "", " ", ".", "..", "/"),
    *("sub.wav", "notes.txt", "no.wav", "x" * 300 + ".wav", "a\0b.wav", "\x1b[31m.wav", "~/0.wav", "C:\\0.wav"),
)
LABELS = (
    "cat",
    "dog",
    "",
    " ",
    "0",
    "1",
    "-1",
    "1e5",
    "nan",
    "=cmd",
    "<b>",
    "\x1b[2J",
    "\\input{x}",
    "x" * 10_000,
    "é",
    "\ud800",
)
names, labels = st.sampled_from(NAMES), st.sampled_from(LABELS)
folds = st.sampled_from(["1", "2", "3", "0", "-1", "+2", "٣", "1.0", "", "x", "9" * 30, "1e3", " 1 ", "0x1", "²"])
cells = st.text(st.characters(codec="utf-8"), max_size=6)


@st.composite
def tables(draw: st.DrawFn) -> str:
    """A list with the right columns, or others, whose cells may be anything."""
    header = draw(st.permutations(["path", "label", "fold", "source"]).map(lambda some: some[: draw(st.integers(1, 4))]))
    header += draw(st.lists(st.sampled_from(["path", "label", "fold", "note", "", "Label", "\ufeffpath"]), max_size=2))
    kinds = {"path": names, "label": labels, "fold": folds, "source": cells}
    made = io.StringIO()
    how = {"lineterminator": draw(st.sampled_from(["\n", "\r\n", "\r"])), "quoting": draw(st.sampled_from([0, 1]))}
    writer = csv.writer(made, **how, escapechar=None if sys.version_info >= (3, 11) else "\\")  # 3.10 has to escape NUL
    writer.writerow(header)
    for _ in range(draw(st.integers(0, 8))):
        row = [draw(st.one_of(kinds.get(column, cells), cells)) for column in header]
        writer.writerow(row[: draw(st.sampled_from([len(row)] * 9 + [1]))])
    return made.getvalue()


def any_list(tmp_path: Path, folder: Path, text: str) -> None:
    loaded(folder / "list.csv", text.encode("utf-8", "surrogatepass"))


@quick
@given(text=tables())
def test_a_list_is_a_data_set_or_refused(tmp_path: Path, folder: Path, text: str) -> None:
    any_list(tmp_path, folder, text)


@pytest.mark.faults
@thorough
@given(text=tables())
def test_a_list_is_a_data_set_or_refused_at_length(tmp_path: Path, folder: Path, text: str) -> None:
    any_list(tmp_path, folder, text)


@quick
@given(content=st.binary(max_size=200))
def test_bytes_are_a_data_set_or_refused(folder: Path, content: bytes) -> None:
    assert isinstance(loaded(folder / "list.csv", content), str)


def mutated(rng: random.Random, text: bytes) -> bytes:
    """A few bytes or lines changed, lost, doubled or swapped."""
    for _ in range(rng.randint(1, 3)):
        lines = text.split(b"\n")
        at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        kind = rng.randrange(6)
        if kind == 0:
            lines[at] = lines[other]
        elif kind == 1:
            del lines[at]
        elif kind == 2:
            lines[at] = lines[at].replace(b",", rng.choice([b",,", b";", b"\t", b"", b'"', b"\r"]), rng.randint(1, 3))
        text = b"\n".join(lines)
        if kind > 2 and text:
            place = rng.randrange(len(text))
            text = (
                text[:place]
                + (rng.randbytes(1) if kind == 3 else b"" if kind == 4 else text[place : place + 9] * 2)
                + text[place + 1 :]
            )
    return text


def test_a_damaged_list_is_a_data_set_or_refused(folder: Path) -> None:
    rng, ends = random.Random(0), []
    for _ in range(150):
        ends.append(loaded(folder / "list.csv", mutated(rng, GOOD.encode())))
    read = [end for end in ends if isinstance(end, Dataset)]
    assert 10 < len(read) < 140


ODD_LISTS: dict[str, tuple[bytes, str | None]] = {
    "as it should be": (GOOD.encode(), None),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD.encode(), None),
    "CRLF": (GOOD.replace("\n", "\r\n").encode(), None),
    "old Mac": (GOOD.replace("\n", "\r").encode(), None),
    "more columns": (GOOD.replace("\n", ",x\n").encode(), None),
    "no end of line": (GOOD.rstrip().encode(), None),
    "blank lines": (GOOD.replace("\n", "\n\n").encode(), None),
    "through another folder": (GOOD.replace("\n0.wav", "\n../set/0.wav").encode(), None),
    "UTF-16": (GOOD.encode("utf-16"), "is not UTF-8 text"),
    "latin-1": (GOOD.replace("cat", "caf\xe9").encode("latin-1"), "is not UTF-8 text"),
    "NUL in a name": (GOOD.replace("0.wav", "0\0.wav", 1).encode(), "line 2: holds control characters|line contains NUL"),
    "NUL everywhere": (bytes(1000), "lacks the columns path, label|line contains NUL"),
    "an escape in a label": (GOOD.replace("dog", "d\x1b[2Jog").encode(), "line 2: holds control characters"),
    "an end of line in a label": (GOOD.replace("dog", '"d\nog"').encode(), "holds control characters"),
    "a turn of direction": (GOOD.replace("dog", "d\u202eog").encode(), "line 2: holds control characters"),
    "a name too long to be one": (GOOD.replace("0.wav", "x" * 5000, 1).encode(), "line 2: there is no file"),
    "a path too long to be one": (GOOD.replace("0.wav", "x/" * 5000 + "0.wav", 1).encode(), "line 2: there is no file"),
    "a column twice": (GOOD.replace("label", "path").replace("source", "label").encode(), "has the column path more than once"),
    "two columns for the fold": (GOOD.replace("source", "fold").encode(), "has the column fold more than once"),
    "a clip twice": (GOOD.replace("1.wav", "./0.wav", 1).encode(), "is listed already in line 2"),
    "a clip twice, by another way": (GOOD.replace("\n1.wav", "\n../set/0.wav", 1).encode(), "is listed already in line 2"),
    "a device": (GOOD.replace("0.wav", "/dev/zero", 1).encode(), "line 2: there is no file /dev/zero"),
    "a folder": (GOOD.replace("0.wav", "sub.wav", 1).encode(), "line 2: there is no file"),
    "a quote that never ends": (GOOD.replace("0.wav", '"0.wav', 1).encode(), "line 13: has 1 cells"),
    "a cell of a megabyte": (GOOD.replace("dog", "d" * 1_000_000, 1).encode(), r"cannot be read as CSV \(field larger than"),
    "header only": (HEADER.encode(), "lists no clips"),
    "nothing": (b"", "it has no header"),
    "only a mark": (b"\xef\xbb\xbf", "it has no header"),
    "a fold too large": (GOOD.replace(",1,", ",99999999999,", 1).encode(), "fold must be a whole number"),
}


@pytest.mark.parametrize("case", ODD_LISTS)
def test_odd_lists(folder: Path, case: str) -> None:
    content, message = ODD_LISTS[case]
    found = loaded(folder / "list.csv", content)
    if message is None:
        assert isinstance(found, Dataset)
        assert [clip.name for clip in found.clips] == sorted(f"{number}.wav" for number in range(12))
        assert found.classes == ("cat", "dog")
        assert found.folds == (1, 2, 3)
    else:
        assert isinstance(found, str)
        with pytest.raises(UserError, match=message):
            load(str(folder / "list.csv"), folder)
    try:
        assert check.check(folder / "list.csv").ok is (message is None)
    except UserError:
        if message is None:
            raise


@pytest.mark.parametrize("layout", ["meta/esc50.csv", "metadata/UrbanSound8K.csv", "toy.csv"])
def test_damaged_lists_of_known_sets_are_refused(tmp_path: Path, layout: str) -> None:
    table, rng = tmp_path / layout, random.Random(layout)
    table.parent.mkdir(exist_ok=True)
    (tmp_path / "toy.json").write_text("{}")
    for _ in range(60):
        table.write_bytes(mutated(rng, LISTS[layout].encode()))
        with pytest.raises(UserError):  # its clips are not there in any case
            load(str(tmp_path), tmp_path)
        with contextlib.suppress(UserError):
            assert not check.check(tmp_path).ok


LISTS = {
    "meta/esc50.csv": "filename,fold,target,category,esc10,src_file,take\n"
    "1-1-A-0.wav,1,0,dog,True,1,A\n2-2-A-1.wav,2,1,cat,True,2,A\n",
    "metadata/UrbanSound8K.csv": "slice_file_name,fsID,start,end,salience,fold,classID,class\n1-0-0-0.wav,1,0,1,1,1,0,dog\n",
    "toy.csv": "path,label,fold,source\na.wav,a,1,1\nb.wav,b,2,2\n",
}


# Files of options


@dataclass(frozen=True, kw_only=True)
class Options:
    """Some of a study's: a parser for all of them takes a tenth of a second to make."""

    data: str = "esc50"
    folds: tuple[int, ...] | Literal["all"] = "all"
    seeds: int = 1
    recipe: Recipe = field(default_factory=Recipe)
    picture: Picture = field(default_factory=Picture)


def command(study: Options) -> None:
    """A command."""
    raise AssertionError("only parsed here")


def parsed(content: bytes | str, path: Path, main: Callable[..., Any] = command) -> dict[str, Any] | str:
    """The options of a file, or why there are none; anything else is for the test to report."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    try:
        return cli.parse(main, ["--config", str(path)])
    except UserError as error:
        said = str(error)
    assert "\n" not in said
    return said


ODD_FILES: dict[str, tuple[bytes | str, str]] = {
    "code": ("data: !!python/object/apply:os.mkdir [HACKED]\n", "could not determine a constructor"),
    "a name of code": ("data: !!python/name:os.system\n", "could not determine a constructor"),
    "a module": ("data: !!python/module:os\n", "could not determine a constructor"),
    "code by class_path": ("recipe: {class_path: os.mkdir, init_args: {path: HACKED}}\n", "os.mkdir|unknown option"),
    "a tag of its own": ("data: !secret x\n", "could not determine a constructor"),
    "a number of many digits": (f"seeds: {'9' * 5000}\n", "a value that cannot be"),
    "no number": ("seeds: !!int foo\n", "a value that cannot be"),
    "no float": ("recipe: {lr: !!float foo}\n", "a value that cannot be"),
    "half a number": ("seeds: 0x_\n", "a value that cannot be"),
    "no date": ("data: 2024-99-99\n", "a value that cannot be"),
    "a key twice": ("data: toy\ndata: toy\n", "given twice: data"),
    "a key twice, deep": ("recipe: {lr: 1, lr: 2}\n", "given twice: lr"),
    "no group": ("recipe: null\n", "--recipe: is a group of options"),
    "a number as group": ("picture: 3\n", "--picture: is a group of options"),
    "a list as group": ("recipe: []\n", "recipe"),
    "a file as group": ("recipe: /etc/passwd\n", "recipe"),
    "itself": ("config: c.yaml\n", "loop"),
    "no file": ("config: 0\n", "config is 0, and not the name of a file"),
    "several files": ("config: [a, b]\n", "and not the name of a file"),
    "two documents": ("data: toy\n---\ndata: esc50\n", "single document"),
    "a list": ("- data: toy\n", "config"),
    "a word": ("toy\n", "config"),
    "nothing": ("", "config"),
    "null": ("~\n", "config"),
    "no text, latin-1": (b"data: caf\xe9\n", "no text"),
    "no text, UTF-16": ("data: toy\n".encode("utf-16"), "no text"),
    "NUL": ("data: a\0b\n", "special characters are not allowed"),
    "no key": ("'': 1\n", "unknown option ''"),
    "a number as key": ("1: 2\n", "unknown option 1"),
    "a list as key": ("{[1]: 2}\n", "unhashable key"),
    "an end of line as key": ('"a\\nb": 1\n', "unknown option 'a"),
    "dunder": ("__class__: 1\n", "unknown option __class__"),
    "unknown": ("recipe: {lrr: 1}\n", "unknown option recipe.lrr"),
    "help": ("help: true\n", "not accepted"),
    "a mapping for a list": ("folds: {a: 1}\n", "folds"),
    "truth for a number": ("seeds: true\n", "whole number"),
    "a tab": ("data:\ttoy\n\tx: 1\n", "config"),
}


@pytest.mark.parametrize("case", ODD_FILES)
def test_odd_files_of_options_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    content, message = ODD_FILES[case]
    monkeypatch.chdir(tmp_path)
    said = parsed(content, tmp_path / "c.yaml")
    assert isinstance(said, str), said
    with pytest.raises(UserError, match=message):
        cli.parse(command, ["--config", str(tmp_path / "c.yaml")])
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


@pytest.mark.parametrize("place", ["/dev/null", "folder", "nowhere", "x" * 300, "loop"])
def test_what_is_no_file_of_options_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("loop").symlink_to("loop")
    with pytest.raises(UserError):
        cli.parse(command, ["--config", place])
    Path("c.yaml").write_text(f"config: {place}\n")
    with pytest.raises(UserError):
        cli.parse(command, ["--config", "c.yaml"])


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_and_ends_of_lines_are_as_good_as_any(tmp_path: Path, mark: str, end: str) -> None:
    found = parsed(f"{mark}data: toy{end}recipe:{end}  lr: 1e-3{end}", tmp_path / "c.yaml")
    assert isinstance(found, dict)
    assert (found["study"].data, found["study"].recipe.lr) == ("toy", 1e-3)


def test_a_refused_file_ends_the_command_in_one_line_that_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for content in (
        '"\\e[2J\\e[31m": 1\n',
        'recipe: {"\\x9b31m": 1}\n',
        'seeds: "\\u202e\\e]0;x\\a"\n',
        'picture: "\\e[2J"\n',
    ):
        (tmp_path / "c.yaml").write_text(content)
        with pytest.raises(SystemExit) as stop:
            cli.run(train.main, ["--config", str(tmp_path / "c.yaml")])
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert line.isprintable(), ascii(line)


words = st.sampled_from(
    [
        "toy",
        "all",
        "true",
        "null",
        "[1, 2]",
        "1e-3",
        ".nan",
        "-.inf",
        "0x10",
        "1_0",
        "12:30:00",
        "2001-01-01",
        "~",
        "=",
        "<<",
        "é",
        "",
    ]
)
keys = st.sampled_from(
    [
        "data",
        "folds",
        "seeds",
        "recipe",
        "picture",
        "lr",
        "epochs",
        "drops",
        "mels",
        "upto",
        "augment",
        "kind",
        "config",
        "recipe.lr",
        "x",
    ]
)
values = st.recursive(
    st.one_of(words, st.integers(), st.floats(), st.booleans(), st.none(), st.text(string.printable, max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.one_of(keys, words), inner, max_size=3)),
    max_leaves=6,
)


def any_options(tmp_path: Path, content: dict, flow: bool) -> None:
    found = parsed(yaml.safe_dump(content, default_flow_style=flow, allow_unicode=True), tmp_path / "c.yaml")
    if isinstance(found, dict):
        assert isinstance(found["study"], Options)
        assert isinstance(found["study"].recipe, Recipe)


@settings(quick, max_examples=40)
@given(content=st.dictionaries(keys, values, max_size=3), flow=st.booleans())
def test_any_options_are_options_or_refused(tmp_path: Path, content: dict, flow: bool) -> None:
    any_options(tmp_path, content, flow)


@pytest.mark.faults
@settings(thorough, max_examples=2000)
@given(content=st.dictionaries(keys, values, max_size=3), flow=st.booleans())
def test_any_options_are_options_or_refused_at_length(tmp_path: Path, content: dict, flow: bool) -> None:
    any_options(tmp_path, content, flow)


@settings(quick, max_examples=40)
@given(text=st.text(st.sampled_from("ab:-?!&*[]{},#|>@`\"'%<= \n\t\\0\x1b\x85\ufeff\u2028"), max_size=40))
def test_any_text_is_options_or_refused(tmp_path: Path, text: str) -> None:
    parsed(text, tmp_path / "c.yaml")


def test_a_damaged_file_of_options_is_read_or_refused(tmp_path: Path) -> None:
    good = yaml.safe_dump(
        {"data": "toy", "folds": [1, 2], "recipe": {"lr": 0.001, "drops": [3, 4]}, "picture": {"mels": 32}}
    ).encode()
    rng, ends = random.Random(1), []
    for _ in range(40):
        ends.append(parsed(mutated(rng, good), tmp_path / "c.yaml"))
    read = [end for end in ends if isinstance(end, dict)]
    assert 3 < len(read) < 37
