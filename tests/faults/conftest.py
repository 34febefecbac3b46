"""What the tests of accidents share."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import Home, Survived, Undisturbed
from warm import Warm


@pytest.fixture
def survived(record_property: Callable[[str, object], None]) -> Survived:
    """Takes down how many accidents of a kind a test has seen end well; all of them are said at the end."""
    return lambda kind, count: record_property(f"survived {kind}", count)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", []):
        counts.update({kind: count for kind, count in report.user_properties if kind.startswith("survived ")})
    if counts:
        terminalreporter.write_line("survived: " + ", ".join(f"{n} {kind.partition(' ')[2]}" for kind, n in counts.items()))


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    with Warm(tmp_path_factory.mktemp("warm")) as started:
        yield started


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 synthetic clips in ten classes and four folds: little enough for one process to make their pictures."""
    from tla.sound import toy

    folder = tmp_path_factory.mktemp("sounds") / "sounds"
    toy.make(folder, clips_per_class=4)
    return folder


@pytest.fixture
def home(warm: Warm, sounds: Path, tmp_path: Path) -> Home:
    return Home(warm, sounds, tmp_path)


@pytest.fixture
def small(home: Home) -> Home:
    """A home on a small disk of its own."""
    if not home.warm.mounts:
        pytest.skip("needs leave to mount: root, or unshare -rm")
    home.warm.shell(f"mount -t tmpfs -o size=24m none {home.root}")
    return home


@pytest.fixture(scope="session")
def undisturbed(warm: Warm, sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(Home(warm, sounds, tmp_path_factory.mktemp("quiet")))
