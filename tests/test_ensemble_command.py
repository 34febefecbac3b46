"""`python -m tla.ensemble` as a user types it."""

from pathlib import Path

import pandas as pd
import pytest

from tla import cli, ensemble
from tla.runs import fit as fitting

TINY = ["--backbone", "densenet_tiny", "--weights", "random", "--augment.kind", "none", "--device", "cpu"]
TINY += ["--picture.mels", "32", "--picture.frames", "40", "--recipe.epochs", "1"]


@pytest.fixture
def words(few_sounds: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a study that trains in a second, in folders of its own."""
    places = ["--data-root", str(tmp_path_factory.getbasetemp() / "data")]
    places += ["--runs", str(tmp_path / "runs"), "--figures", str(tmp_path / "figures")]
    return ["--data", str(few_sounds), *TINY, *places]


def test_a_member_more_trains_one_run_per_fold(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.run(ensemble.main, [*words, "--folds", "1,2", "--members", "2"])
    assert len(list((tmp_path / "runs").iterdir())) == 4
    capsys.readouterr()
    cli.run(ensemble.main, [*words, "--folds", "1,2", "--members", "3"])
    said = capsys.readouterr()
    assert "6 runs: 4 finished, 0 to continue, 2 to train" in said.err
    assert "3 runs averaged against one (last epoch)" in said.out
    (figures,) = (path.parent for path in (tmp_path / "figures").glob("*/study.json"))
    scores = pd.read_csv(figures / "table2_ensemble_of3.csv")
    assert list(scores["fold"].unique()) == ["1", "2", "all"]
    assert set(scores["members"]) == {3}
    subsets = pd.read_csv(figures / "table2_ensemble_of3_subsets.csv", dtype={"seeds": str})
    assert len(subsets) == 3 * 7  # of three members each with the next, so all pairs, and their weights averaged too
    assert (figures / "table2_ensemble_of3.pdf").stat().st_size > 1000

    monkeypatch.setattr(fitting, "train_epoch", lambda *_, **__: pytest.fail("trained again"))
    cli.run(ensemble.main, [*words, "--folds", "1,2", "--seeds", "3", "--rule", "best"])
    assert "best epoch, picked on the scored clips" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--members", "1"], "two members at least"),
        (["--members", "13"], "8191 subsets"),
        (["--members", "3", "--seeds", "4"], "a member is a seed"),
        (["--bins", "0"], "one bin"),
        (["--rule", "test"], "the protocol paper has last and best"),
        (["--folds", "9"], "9"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    words: list[str], more: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.run(ensemble.main, [*words, *more])
    assert stop.value.code == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())
