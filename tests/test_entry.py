"""`tla fusion` is `python -m tla.fusion`: what it answers, how it ends, what it loads, and as what an installed wheel finds."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import tla
from tla import entry

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "numpy", "pandas", "matplotlib", "librosa")
INSTALLED = "import sys\nfrom tla.__main__ import main\nif __name__ == '__main__':\n    sys.exit(main())\n"


@pytest.fixture
def script(tmp_path: Path) -> list[str]:
    """The command `tla` as pip would install it."""
    path = tmp_path / "bin" / "tla"
    path.parent.mkdir()
    path.write_text(INSTALLED)
    return [sys.executable, str(path)]


def called(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True)


@pytest.mark.parametrize("command", ["fusion", "runs", "bench"])
def test_the_help_of_a_command_is_the_same_in_every_form(script: list[str], command: str) -> None:
    module = called(sys.executable, "-m", f"tla.{command}", "--help")
    both = called(sys.executable, "-m", "tla", command, "--help")
    short = called(*script, command, "--help")
    assert (module.returncode, both.returncode, short.returncode) == (0, 0, 0), short.stderr
    assert module.stdout == both.stdout
    assert short.stdout == entry_told(module.stdout)
    assert f"usage: tla {command} [options]" in short.stdout
    assert "python -m" not in short.stdout


def entry_told(text: str) -> str:
    """A text for `python -m tla.X` as `tla X` has it; a comment stays in its column."""
    told = []
    for line in text.splitlines(keepends=True):
        short = re.sub(r"python -m tla\.(\w+)", r"tla \1", line)
        comment = re.search(r"python -m .*?\S(  +)\S", line)
        told.append(short if comment is None else short.replace(comment[1], comment[1] + 10 * " ", 1))
    return "".join(told)


def test_the_help_of_a_command_loads_nothing_heavy(script: list[str]) -> None:
    shown = called(sys.executable, "-X", "importtime", script[1], "train", "--help").stderr
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in shown.splitlines()}
    assert "tla" in loaded
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ([], 0, r"(?m)^  tla fusion +Which stages need pretrained weights"),
        (["--help"], 0, r"Start with `tla demo`"),
        (["--version"], 0, rf"^tla {re.escape(tla.__version__)}\n$"),
        (["fuson"], 2, r"^error: there is no command fuson; did you mean fusion\? \(`tla --help` lists all\)\n$"),
        (["FUSION"], 2, r"did you mean fusion\?"),
        (["--verison"], 2, r"did you mean --version\?"),
        (["--data", "toy"], 2, r"there is no command --data"),
        (["fusion", "--foldz", "1"], 2, r"did you mean --folds\? \(`tla fusion --help` lists all\)"),
        (["predict"], 2, r"as in `tla predict dog.wav`"),
        (["bench", "nothing"], 2, r"`tla bench` takes pictures"),
    ],
)
def test_what_it_answers_and_how_it_ends(script: list[str], words: list[str], status: int, says: str) -> None:
    short, long = called(*script, *words), called(sys.executable, "-m", "tla", *words)
    assert (short.returncode, long.returncode) == (status, status)
    assert re.search(says, short.stdout + short.stderr)
    assert "Traceback" not in short.stderr + long.stderr
    assert "python -m" not in short.stdout + short.stderr
    assert not re.search(r"(?m)(^  |`)tla ", long.stdout + long.stderr)


def test_a_reader_that_goes_away_is_no_mistake(script: list[str]) -> None:
    done = called("sh", "-c", f"{' '.join(script)} | head -1; {' '.join(script)} fusion --help | head -1")
    assert done.stdout.splitlines() == [tla.__doc__, "usage: tla fusion [options]"]
    assert done.stderr == ""


def test_other_commands_are_started_as_this_one_was(monkeypatch: pytest.MonkeyPatch) -> None:
    assert entry.SCRIPT is None, "pytest is no command of tla"
    assert (entry.typed(), entry.typed("ig")) == ("python -m tla", "python -m tla.ig")
    assert entry.started("ig") == [sys.executable, "-m", "tla.ig"]
    assert entry.retold("`python -m tla.ig --clip x`  it") == "`python -m tla.ig --clip x`  it"
    monkeypatch.setattr(entry, "SCRIPT", "/bin/tla")
    assert (entry.typed(), entry.typed("ig")) == ("tla", "tla ig")
    assert entry.started("ig") == [sys.executable, "/bin/tla", "ig"]
    assert entry.retold("  python -m tla.ig --clip x  it\n  python -m tla.ig") == "  tla ig --clip x            it\n  tla ig"


@pytest.mark.parametrize("name", ["tla.py", "mine", "tlab"])
def test_a_program_of_another_name_is_not_taken_for_it(tmp_path: Path, name: str) -> None:
    program = tmp_path / name
    program.write_text("import tla.entry\nprint(tla.entry.is_command(), tla.entry.SCRIPT)\n")
    environment = os.environ | {"PYTHONSAFEPATH": "1"}  # else tla.py would be what it imports
    done = subprocess.run([sys.executable, str(program), "tla"], capture_output=True, text=True, env=environment)
    assert done.stdout == "False None\n", done.stderr


def test_a_process_that_it_starts_is_none_itself() -> None:
    program = "import sys; sys.argv[0] = '/bin/tla'; from tla import entry; print(entry.is_command(), entry.SCRIPT)"
    assert called(sys.executable, "-c", program).stdout == "False None\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the files that are here, built without network."""
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for folder in ("tla", "tests"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", made, source], check=True)
    (path,) = made.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tla` of an environment that has this wheel, and sees what else is installed here."""
    home = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    python = home / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True)
    (site / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")  # behind its own; its .pth files are not read
    return home / "bin" / "tla"


@pytest.mark.slow
def test_the_wheel_holds_what_the_package_reads_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tla").rglob("*") if path.is_file()}
    assert held == {name for name in files if "__pycache__" not in name}
    for name in ("py.typed", "__init__.pyi", "experiments/table1_quick.yaml", "paper/page.html", "packaged/attribution.csv"):
        assert f"tla/{name}" in held


@pytest.mark.slow
def test_an_installed_wheel_works_in_any_folder(installed: Path, tmp_path: Path, few_sounds: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TLA_DATA")}

    def run(*words: str) -> str:
        done = subprocess.run([installed, *words], capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    python = [str(installed.with_name("python")), "-c", "import tla; print(tla.__file__)"]
    found = subprocess.run(python, capture_output=True, text=True, cwd=tmp_path, env=environment, check=True).stdout
    assert Path(found).is_relative_to(installed.parents[1]), "it is the wheel that is tried, not the checkout"
    assert run("--version") == f"tla {tla.__version__}\n"
    assert "tla fusion " in run()
    assert "usage: tla demo" in run("demo", "--help")
    small = ["--data", str(few_sounds), "--picture.mels", "64", "--picture.frames", "64"]
    planned = run("reproduce", "--plan", "--only", "table1_quick", "--", *small)
    assert re.search(r"table1_quick +2 +0 ", planned)
    clip = next(few_sounds.rglob("*.wav"))
    looked = run("ig", "--clip", str(clip), "--tolerance", "0.2")
    assert "with the network that comes with tla" in looked
    assert list((tmp_path / "figures").rglob("*.pdf"))
