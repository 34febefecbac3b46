"""Where figures and tables lie: a folder per study below --figures, named after its options, which stand in a file in it.

    figures/esc10-efficientnet_lite0-folds1+2-augment_none-lr1e-3-standardise/
        study.json        the options, and the digest of the clips; `--config` takes it
        fig2b_fusion.pdf

The name is made of options alone: data set, backbone, and what differs from the defaults. The same study finds its folder
again; another one that would have the same name (two folders called `sounds`) gets one that ends in -2, -3, ... A report, which
judges the runs of several studies, has a folder of its own kind, with `report.json`.
"""

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from tla.console import say, written
from tla.errors import UserError
from tla.files import held, write_text
from tla.options import Place, Study

STUDY, REPORT = "study.json", "report.json"
DIGEST = "data_digest"  # of the clips, as in a run's own file
LONGEST = 80  # characters of a folder's name
LONGEST_WORD = 40  # characters that a clip or class adds to the name of a file
SETS = ("esc10", "esc50", "urbansound8k", "gtzan")  # data sets that have one name wherever they lie
SPEAK_ALONE = ("until", "optimizer", "protocol", "precision", "rest")  # options whose values need no name before them
OTHERWISE = {"kind": "augment"}  # and options that another word names better


# Names


def plain(text: str) -> str:
    """A text without what a shell or LaTeX would take for something else."""
    return re.sub(r"[^A-Za-z0-9+_-]+", "_", text).strip("_-")


def words(study: Study) -> list[str]:
    """What names a study, the shortest way: data set, backbone, start, and every option that differs from its default."""
    start = [] if study.weights == Study().weights else [study.weights]
    if start and start != ["random"]:
        start = [f"from_{plain(Path(study.weights).stem)}"]
    named = dataclasses.replace(study, data=Study().data, backbone=Study().backbone, weights=Study().weights)
    return [_data(study.data), plain(study.backbone), *start, *_differing(named, Study())]


def name(study: Study) -> str:
    """The same as the name of a folder."""
    return cut("-".join(words(study)))


def several(names: Iterable[str]) -> str:
    """Clips or classes in the name of a file: the first, and how many more there are."""
    first, *others = names
    return plain(first)[:LONGEST_WORD] + (f"_and_{len(others)}_more" if others else "")


def _data(data: str) -> str:
    path = Path(data).expanduser()
    last = (path.stem if path.suffix.lower() == ".csv" else path.name) or path.resolve().name
    bare = re.sub(r"[^a-z0-9]", "", last.lower())
    return bare if bare in SETS else plain(last) or "data"


def cut(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    return f"{text[: LONGEST - 7].rpartition('-')[0]}-{digest}"


def _differing(group: Any, usual: Any) -> Iterator[str]:
    for field in dataclasses.fields(group):
        value, default = getattr(group, field.name), getattr(usual, field.name)
        if dataclasses.is_dataclass(value):
            yield from _differing(value, default)
        elif value != default:
            yield word(OTHERWISE.get(field.name, field.name), value)


def word(option: str, value: object) -> str:
    if isinstance(value, bool):
        return option if value else f"no_{option}"
    if isinstance(value, tuple):
        return option + "+".join(map(number, value))
    if isinstance(value, int | float):
        return option + number(value)
    return plain(str(value)) if option in SPEAK_ALONE else f"{option}_{plain(str(value).replace(':', ''))}"


def number(value: object) -> str:
    """A number without a point: 0.001 is 1e-3."""
    if not isinstance(value, float):
        return plain(str(value))
    _, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    number = "".join(map(str, digits))
    return f"{number}e{exponent}" if isinstance(exponent, int) and exponent < 0 else f"{value:g}".replace("+", "")


# Folders


def folder(study: Study, place: Place, digest: str | None = None, called: str | None = None) -> Path:
    """A study's folder below --figures; made, if there is none.

    digest: of the clips, where they are known.
    called: its name, if that is not made of the options.
    """
    options = _plain_options(study)

    def same(kept: Mapping[str, Any]) -> bool:
        known = digest and kept.get(DIGEST)
        return _fits(kept, study) and (known == digest if known else kept.get("data") == study.data)

    return _claim(Path(place.figures), called or name(study), STUDY, {**options, DIGEST: digest}, same)


def report_folder(place: Place, asked: Mapping[str, Any]) -> Path:
    """The folder of a report on the runs of --runs, and on what else it was asked for."""
    given = [(option, value) for option, value in asked.items() if value]
    named = [_data(value) if option == "data" else word(option, value) for option, value in given]
    about = json.loads(json.dumps({**asked, "runs": place.runs}))
    return _claim(Path(place.figures), cut("-".join(["report", *named])), REPORT, about, lambda kept: kept == about)


def reports(figures: Path, asked: Mapping[str, Any]) -> list[Path]:
    """The folders of reports below `figures`, and itself; where something is asked for, of those on that alone."""
    given = json.loads(json.dumps({option: value for option, value in asked.items() if value}))
    kept = {path: about_of(path, REPORT) for path in folders(figures)}
    fitting = [path for path, about in kept.items() if about and all(about.get(name) == given[name] for name in given)]
    return fitting if given else list(kept)


def _claim(figures: Path, name: str, file: str, about: Mapping[str, Any], same: Callable[[Mapping[str, Any]], bool]) -> Path:
    """The first of name, name-2, name-3, ... that is the same one's, or nobody's."""
    figures.mkdir(parents=True, exist_ok=True)
    with held(figures / ".folders.lock", f"another process is making a folder in {figures}; waiting for it"):
        for number in itertools.count(1):
            path = figures / (name if number == 1 else f"{name}-{number}")
            kept = about_of(path, file)
            if kept is not None and same(kept):
                return path
            if not path.exists() or (path.is_dir() and not any(path.iterdir())):
                path.mkdir(exist_ok=True)
                write_text(path / file, json.dumps(about, indent=2) + "\n")
                if number > 1:
                    say(f"{figures / name} holds something else of that name, so this goes to {path}")
                return path
    raise AssertionError("there is always a next number")


def about_of(path: Path, file: str = STUDY) -> dict[str, Any] | None:
    """What a folder's file says it is for; None if it has none that can be read."""
    try:
        kept = json.loads((path / file).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not a folder of this kind
        return None
    return kept if isinstance(kept, dict) else None


def folders(figures: Path, study: Study | None = None) -> list[Path]:
    """`figures` and the folders of studies and reports below it; where a study is named, its own alone."""
    there = sorted(figures.iterdir()) if figures.is_dir() else []
    kept = {path: about for path in [figures, *there] if (about := about_of(path)) is not None}
    if study is None or not study.data:
        return [path for path in [figures, *there] if path == figures or path in kept or about_of(path, REPORT) is not None]
    mine = [path for path, about in kept.items() if _data(str(about.get("data"))) == _data(study.data) and _fits(about, study)]
    return [path for path in mine if kept[path].get("data") == study.data] or mine


def _fits(kept: Mapping[str, Any], study: Study) -> bool:
    """Whether options that were kept are a study's, its data aside; what was not kept was not an option then."""
    return _filled(kept, Study()) | {"data": ""} == _plain_options(study) | {"data": ""}


def _filled(kept: Mapping[str, Any], usual: object) -> dict[str, Any]:
    """Options that were kept, and the defaults of those that were not."""
    default = _plain_options(usual)
    return {
        option: _filled(kept.get(option) or {}, getattr(usual, option)) if isinstance(value, dict) else kept.get(option, value)
        for option, value in default.items()
    }


def _plain_options(group: Any) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(group)))


# Drawing again


def redraw(
    place: Place, among: Iterable[Path], names: Callable[[Path], Iterable[str]], draw: Callable[[Path, str], list[Path]]
) -> None:
    """Draw again the figures whose tables lie in one of these folders; `names` finds those of a folder."""
    there = [(path, stem) for path in among for stem in names(path)]
    if not there:
        what = f"{place.figures} holds no tables of this command's figures (of the study that is asked for)"
        raise UserError(f"--redraw: {what}; without --redraw it makes them")
    written([path for path, stem in there for path in draw(path, stem)])


def stems(begin: str, end: str, *, whole: bool = False) -> Callable[[Path], list[str]]:
    """Finds the names of a folder's figures by a file that each has: its name, which begins so, and the end.

    whole: the end of the file is that of the figure's name too.
    """
    rest = ".csv" if whole else end
    return lambda folder: [path.name.removesuffix(rest) for path in sorted(folder.glob(f"{begin}*{end}"))]


# Files at other places


def write_over(path: Path, text: str, *, overwrite: bool) -> None:
    """Write a CSV or JSON file. In place of one that is there only if that has the same columns, or if it may be replaced."""
    if path.is_file() and not overwrite and _columns(path.read_text(encoding="utf-8", errors="replace")) != _columns(text):
        raise UserError(f"{path} is there, and holds no such table: --overwrite replaces it, or name another file")
    write_text(path, text)


def _columns(text: str) -> list[str]:
    try:
        rows = json.loads(text)
        return list(rows[0])
    except (ValueError, LookupError, TypeError):  # not JSON, or not rows
        return text.partition("\n")[0].strip().split(",")
