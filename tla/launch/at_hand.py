"""The study that a command goes on with where its command line names none.

A finished run keeps its options resolved. Where figures of its study lie below --figures, the options stand there as they were
given, and the figures made now lie beside those.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tla import outputs
from tla.errors import UserError
from tla.options import RANDOM, Picture, Place, Recipe, Study


def study(arguments: Mapping[str, Any]) -> tuple[Study, str] | None:
    """The study of the run that the command is about or, if it names none, the newest in --runs; and in words whose it is."""
    from tla.launch.find_run import newest_study
    from tla.runs import command
    from tla.runs.folder import find

    place: Place = arguments["place"]
    if key := arguments.get("run") or arguments.get("after"):
        try:
            run = find(Path(place.runs), key)
        except UserError:
            return None  # the command refuses it when its turn has come
        return command.study([run]), f"the study of run {run.key}"
    newest = newest_study(Path(place.runs))
    return (_as_given(newest, Path(place.figures)) or newest, "the study at hand") if newest else None


def _as_given(resolved: Study, figures: Path) -> Study | None:
    """The study as its options were given: that of its figures which were made last."""
    import msgspec

    from tla.manifest import SUMS

    kept = {path: outputs.about_of(path) for path in outputs.folders(figures)}
    made = {path: (path / SUMS).stat().st_mtime for path, about in kept.items() if about and (path / SUMS).is_file()}
    for path in sorted(made, key=lambda path: made[path], reverse=True):
        try:
            given = msgspec.convert(kept[path], Study, strict=False)
        except msgspec.ValidationError:  # of another version of tla
            continue
        if _is_same(given, resolved):
            return given
    return None


def _is_same(given: Study, resolved: Study) -> bool:
    """Whether options ask for a study that is known by its runs; folds and seeds may be others."""
    if outputs.words(given)[:2] != outputs.words(resolved)[:2] or not resolved.weights.startswith(given.weights):
        return False
    if given.folds != "all" and resolved.folds != "all" and not set(given.folds) & set(resolved.folds):
        return False  # of none of these runs, but of the network that comes with tla for instance, which holds no fold out
    pictures = all(mine in (None, getattr(resolved.picture, name)) for name, mine in _fields(given.picture))
    same = ("protocol", "augment", "transfer", "per_class")
    asked = all(getattr(given, name) == getattr(resolved, name) for name in same)
    return asked and pictures and _trained(given.recipe, resolved) == _trained(resolved.recipe, resolved)


def _fields(picture: Picture) -> list[tuple[str, object]]:
    return list(vars(picture).items())


def _trained(recipe: Recipe, study: Study) -> Recipe:
    from tla.runs import schedule

    paper = schedule.of_paper(outputs.words(study)[0], study.protocol)
    return schedule.resolve(recipe, scratch=study.weights == RANDOM, paper=paper)
