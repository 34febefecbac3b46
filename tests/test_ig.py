"""Any sound file is explained, drawn and made audible; the run to look into is found or trained; mistakes are answered."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from tla import cli, ig, plots
from tla.attribution import audit, explainer
from tla.attribution import measuring as explained
from tla.errors import UserError
from tla.launch import find_run
from tla.launch.study import ensure, list_runs, prepare
from tla.nets import weights
from tla.nets.transfer import assemble
from tla.options import Place, Recipe, Study, Transfer
from tla.runs import infer
from tla.runs.folder import FinishedRun, RunFolder, load
from tla.sound import audio, windowed

ROUGH = 0.2  # completeness error that will do where the map is not looked at


@pytest.fixture
def place(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Figures of the test's own; the runs are shared by the tests of this module."""
    return replace(place, runs=str(tmp_path_factory.getbasetemp() / "runs of ig"))


@pytest.fixture
def folder(study: Study, place: Place) -> FinishedRun:
    """A trained run."""
    material = prepare(study, place)
    return ensure(list_runs(material), material, place)[0]


@pytest.fixture
def drawn() -> None:
    """For a test that looks at the files of figures."""


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Elsewhere figures are made but, for their time, not written; their names."""
    names: list[str] = []
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(plots, "save", lambda figure, stem: names.append(stem.name) or [])
    return names


@pytest.fixture
def noise(tmp_path: Path) -> Callable[..., str]:
    """Writes a stereo file of so many seconds at 48 kHz."""

    def write(name: str, seconds: float, level: float = 0.1) -> str:
        samples = level * np.random.default_rng(0).normal(0, 1, (round(48000 * seconds), 2)).clip(-3, 3)
        soundfile.write(tmp_path / name, samples, 48000)
        return str(tmp_path / name)

    return write


def file(place: Place, end: str = ".npz") -> Path:
    """The one file of a figure that ends so."""
    (found,) = Path(place.figures).glob(f"*/*{end}")
    return found


def table(place: Place, end: str = "") -> pd.DataFrame:
    return pd.read_csv(file(place, f"{end}.csv") if end else file(place).with_suffix(".csv"), keep_default_na=False)


def held_out(folder: FinishedRun, root: str) -> Path:
    return Path(root) / str(folder.predictions.names[0])


@pytest.mark.usefixtures("drawn")
def test_a_clip_of_the_data_set_is_explained(folder: FinishedRun, study: Study, place: Place) -> None:
    """Its class is known, the network says of it what it said after training, and the map adds up to what it says."""
    said, clip = folder.predictions, held_out(folder, study.data)
    ig.main(study, place, clip=(str(clip),), run=folder.key)
    (row,) = table(place).to_dict("records")
    odds = torch.softmax(torch.from_numpy(said.logits["last"][0]), 0).numpy()
    assert row["true"] == folder.classes[said.labels[0]]
    assert row["part"] == "held out"
    assert row["predicted"] == row["target"] == folder.classes[odds.argmax()]
    assert row["probability"] == pytest.approx(odds.max(), abs=1e-3)
    assert row["value"] == pytest.approx(said.logits["last"][0].max(), abs=2e-3)
    assert row["error"] <= 0.01
    (shown,) = explained.read(file(place).parent, file(place).stem).shown
    assert shown.attribution.sum() == pytest.approx(row["value"] - row["baseline_value"], rel=0.0101 + 1e-4)
    pictures = windowed.pictures(clip, folder.run.picture)
    np.testing.assert_array_equal(shown.picture, pictures[0])
    for suffix in ("pdf", "png", "npz"):
        assert file(place, f"_{clip.stem}_{folder.key}.{suffix}").stat().st_size > 2000


@pytest.mark.parametrize(
    ("name", "seconds", "windows"), [("stereo.mp3", 2.0, 1), ("long.ogg", 9.0, 5), ("short.wav", 0.06, 1), ("a b.flac", 2.9, 1)]
)
def test_any_format_and_length(
    noise: Callable[..., str], study: Study, place: Place, folder: FinishedRun, name: str, seconds: float, windows: int
) -> None:
    ig.main(study, place, clip=(noise(name, seconds),), run=folder.key, tolerance=ROUGH)
    rows = table(place)
    (shown,) = explained.read(file(place).parent, file(place).stem).shown
    assert len(rows) == windows
    assert set(rows["true"]) == {""}
    assert shown.seconds == pytest.approx((0, seconds), abs=0.06)  # mp3 pads
    assert shown.picture.shape == shown.attribution.shape == (3, 32, 40 if windows == 1 else 180)
    assert rows["stop_s"].max() == pytest.approx(shown.seconds[1])
    if windows > 1:
        assert rows["start_s"].tolist() == pytest.approx([0, 2, 4, 6, 7])


def test_a_silent_clip_has_nothing_to_attribute(
    noise: Callable[..., str], study: Study, place: Place, folder: FinishedRun
) -> None:
    ig.main(study, place, clip=(noise("silent.wav", 2.0, level=0.0),), run=folder.key, listen=True)
    (row,) = table(place).to_dict("records")
    assert row["value"] == pytest.approx(row["baseline_value"], abs=1e-4)
    assert row["error"] == 0
    assert not explained.read(file(place).parent, file(place).stem).shown[0].attribution.any()
    assert set(table(place, "_listen")["energy"]) == {0.0}


def test_a_sum_that_does_not_come_right_is_said(
    noise: Callable[..., str],
    study: Study,
    place: Place,
    folder: FinishedRun,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attribute = explainer.Explainer.attribute
    monkeypatch.setattr(attribute, "__kwdefaults__", {**attribute.__kwdefaults__, "cap": 64})
    ig.main(study, place, clip=(noise("loud.wav", 2.0),), run=folder.key, tolerance=1e-9)
    assert "loud: the attribution's sum is" in (said := capsys.readouterr().err)
    assert "% off after 64 steps, not 1e-07 % as asked" in said


def test_a_contrast_of_two_classes(folder: FinishedRun, study: Study, place: Place) -> None:
    one, other = folder.classes[2], folder.classes[5]
    clip = held_out(folder, study.data)
    ig.main(study, place, clip=(str(clip),), run=folder.key, target=f"{one}-{other}")
    (row,) = table(place).to_dict("records")
    logits = folder.predictions.logits["last"][0]
    assert row["target"] == f"{one}-{other}"
    assert row["value"] == pytest.approx(logits[2] - logits[5], abs=2e-3)


@pytest.mark.parametrize("baseline", ["mean", "clips:2", "zero"])
def test_other_baselines(folder: FinishedRun, study: Study, place: Place, baseline: str) -> None:
    clip = str(held_out(folder, study.data))
    ig.main(study, place, clip=(clip,), run=folder.key, baseline=baseline, tolerance=ROUGH)
    (row,) = table(place).to_dict("records")
    assert row["baseline"] == baseline
    if baseline == "mean":
        store = prepare(study, place).store
        pictures = np.asarray(store.clean[store.dataset.split(1).train], np.float32)
        wanted = infer.load(folder, torch.device("cpu")).logits(pictures.mean(axis=0, keepdims=True))[0]
        assert row["baseline_value"] == pytest.approx(wanted[folder.classes.index(row["target"])], abs=2e-3)


def test_the_papers_figure(
    folder: FinishedRun, study: Study, place: Place, undrawn: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A rightly heard held-out clip for each of several classes, or of those that are named."""
    said = folder.predictions
    right = said.logits["last"].argmax(axis=1) == said.labels
    some = sorted({folder.classes[label] for label in said.labels[right]})
    ig.main(study, place, tolerance=ROUGH)
    rows = table(place)
    assert rows["true"].tolist() == rows["predicted"].tolist() == some[:5]
    assert set(rows["part"]) == {"held out"}
    assert undrawn == ["fig3_ig", "fig3_ig_windows"]
    names = {str(Path(study.data) / name): name for name in said.names[right]}
    assert set(rows["file"]) <= set(names)
    assert folder.key in capsys.readouterr().err
    ig.main(study, place, classes=(some[-1], some[0]), tolerance=ROUGH)
    assert table(place, "_and_1_more")["true"].tolist() == [some[-1], some[0]]
    never = sorted(set(folder.classes) - set(some))
    with pytest.raises(UserError, match="classified no held-out clip of"):
        ig.main(study, place, classes=(never[0],))
    with pytest.raises(UserError, match=r"--classes platypus: .* has"):
        ig.main(study, place, classes=("platypus",))


def test_what_was_listened_to_and_the_rest_add_up(folder: FinishedRun, study: Study, place: Place) -> None:
    clip = held_out(folder, study.data)
    ig.main(study, place, clip=(str(clip),), run=folder.key, listen=True, tolerance=ROUGH)
    rows = table(place, "_listen").set_index("part")
    rate = folder.run.picture.rate
    sounds = {part: soundfile.read(rows["file"][part], dtype="float32") for part in ("clip", "attended", "rest")}
    assert {found for _, found in sounds.values()} == {rate}
    original, _ = audio.read(clip, rate)
    np.testing.assert_allclose(sounds["clip"][0], original, atol=1e-7)
    np.testing.assert_allclose(sounds["attended"][0] + sounds["rest"][0], original, atol=1e-4)
    assert 0.02 < rows["energy"]["attended"] < 0.999
    network = infer.load(folder, torch.device("cpu"))
    for part in ("clip", "attended", "rest"):
        odds = network.probabilities(windowed.pictures(Path(rows["file"][part]), folder.run.picture))
        assert rows["predicted"][part] == folder.classes[odds.argmax()]
        assert rows["target_probability"][part] == pytest.approx(odds[folder.classes.index(rows["target"][part])], abs=1e-6)


def test_files_of_one_name_do_not_overwrite_each_other() -> None:
    paths = [Path("a/dog.wav"), Path("b/dog.wav"), Path("dog_2.wav"), Path("cat.mp3"), Path("b/dog.ogg")]
    assert explained.names(paths) == ["dog", "dog_2", "dog_2_2", "cat", "dog_3"]


def test_the_audit(
    folder: FinishedRun, study: Study, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It looks into the run, the runs beside it and the network that training began with."""
    monkeypatch.setattr(audit, "STEPS", 2)
    material = prepare(replace(study, seeds=2), place)
    ensure(list_runs(material), material, place)
    ig.main(study, place, run=folder.key, audit=True, clips=2, tolerance=ROUGH)
    summary = table(place, "_summary")
    assert {"energy", "tiles", "stages", "baselines", "runs", "position", "strength"} == set(summary["part"])
    assert {"seed 0 / seed 1", "before / after"} <= set(summary["variant"])
    assert table(place, f"_2_clips_{folder.key}")["clip"].nunique() == 2
    assert "2 clips of held-out fold 1" in capsys.readouterr().out


# Which run


def test_one_is_trained_if_there_is_none_and_only_then(
    study: Study, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = replace(place, runs=str(tmp_path / "runs"))
    quick = replace(study, folds=(2, 3), recipe=Recipe(epochs=1, lr=1e-3))
    clip = str(next(Path(study.data).rglob("*.wav")))
    with pytest.raises(UserError, match="platypus"):
        ig.main(quick, empty, clip=(clip,), target="platypus")
    assert not list(Path(empty.runs).glob("*")), "a wrong name is told before training"
    ig.main(quick, empty, clip=(clip,), tolerance=ROUGH)
    (run,) = Path(empty.runs).iterdir()
    assert load(run).run.fold == 2
    assert "training one" in capsys.readouterr().err
    ig.main(quick, empty, clip=(clip,), tolerance=ROUGH)
    assert f"looking into {run.name}, the only run" in capsys.readouterr().err
    assert list(Path(empty.runs).iterdir()) == [run]


def test_the_best_run_is_the_most_accurate_of_data_backbone_and_folds(
    study: Study, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], written
) -> None:
    mine = replace(place, runs=str(tmp_path / "runs"))
    material = prepare(study, mine)
    first = list_runs(material)[0]
    for changes, right in (
        ({"seed": 0}, 5),
        ({"seed": 3}, 8),
        ({"seed": 2}, 8),
        ({"fold": 2}, 9),
        ({"transfer": replace(first.transfer, kept_upto="block2")}, 10),  # an answer to another question
        ({"backbone": "resnet50"}, 10),
        ({"data_digest": "other clips"}, 10),
    ):
        written(Path(mine.runs), replace(first, **changes), [1] * right + [0] * (10 - right))
    unfinished = RunFolder(Path(mine.runs) / replace(first, seed=9).key)
    unfinished.describe(replace(first, seed=9), list(material.dataset.classes), {})
    found = find_run.finished(study, mine)
    assert found is not None
    assert (found.run.fold, found.run.seed) == (1, 2)
    found = find_run.finished(replace(study, folds="all"), mine)
    assert found is not None
    assert found.run.fold == 2
    (found.path / "result.json").write_text("{}")
    found = find_run.finished(replace(study, folds="all"), mine)
    assert found is not None
    assert found.run.seed == 2
    assert "passed over" in capsys.readouterr().err
    assert find_run.finished(replace(study, folds=(4,)), mine) is None


def test_what_a_runs_training_began_with(
    study: Study, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], written
) -> None:
    """ImageNet's weights and the run's own random head; or nothing, and that is said."""
    identity = weights.identity("imagenet", "efficientnet_lite0")
    first = list_runs(prepare(study, place))[0]
    run = replace(first, backbone="efficientnet_lite0", weights=identity, transfer=Transfer(), seed=3)
    known, foreign = (written(tmp_path, one, [1]) for one in (run, replace(run, weights="file:0123")))
    net = find_run.beginning(known)
    assert net is not None
    pretrained = weights.load("imagenet", "efficientnet_lite0")
    state, fresh = net.net.state_dict(), assemble("efficientnet_lite0", 10, Transfer(), pretrained, seed=3)
    assert all(torch.equal(state[name], tensor) for name, tensor in pretrained.tensors.items())
    assert all(torch.equal(state[name], tensor) for name, tensor in fresh.stage_tensors("head").items())
    assert find_run.beginning(foreign) is None
    assert "file:0123, which are not at hand" in capsys.readouterr().err


def test_siblings_are_the_finished_runs_of_other_seeds(folder: FinishedRun, tmp_path: Path, written) -> None:
    run, runs = folder.run, tmp_path / "runs"
    others = (run, replace(run, seed=4), replace(run, seed=2), replace(run, seed=5, fold=2))
    mine, *_ = [written(runs, one, [1]) for one in others]
    RunFolder(runs / replace(run, seed=7).key).describe(replace(run, seed=7), folder.classes, {})
    assert [other.run.seed for other in find_run.siblings(mine)] == [2, 4]


def test_a_run_and_clips_that_do_not_belong_together(
    folder: FinishedRun, study: Study, place: Place, noise: Callable[..., str], tmp_path: Path
) -> None:
    """The clips of another data set are refused where they are needed; without them a file's class is not known."""
    sounds = tmp_path / "others"
    for i in range(8):
        (sounds / f"c{i % 2}").mkdir(parents=True, exist_ok=True)
        Path(noise(f"{i}.wav", 1.0)).rename(sounds / f"c{i % 2}" / f"{i}.wav")
    other, clip = replace(study, data=str(sounds)), str(held_out(folder, study.data))
    with pytest.raises(UserError, match="holds other clips: give --data"):
        ig.main(other, place, run=folder.key)
    with pytest.raises(UserError, match="holds other clips"):
        ig.main(other, place, run=folder.key, clip=(clip,), baseline="mean")
    ig.main(other, place, run=folder.key, clip=(clip,), tolerance=ROUGH)
    assert table(place)["true"].tolist() == [""]


# Mistakes


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["--clip", "absent.wav"], "absent.wav: there is no such file"),
        (["--clip", "."], "is a folder; --clip takes sound files"),
        (["--clip", __file__], "cannot be decoded"),
        (["--classes", "a", "--clip", "b.wav"], "one of the two"),
        (["--audit", "--clip", "b.wav", "--listen"], "leave --clip and --listen out"),
        (["--clips", "4"], "--audit"),
        (["--audit", "--clips", "0"], "--clips is 0"),
        (["--audit", "--baseline", "mean"], "leave --baseline out"),
        (["--baseline", "noise"], "noise"),
        (["--run", "nothing"], "nothing"),
    ],
)
def test_mistakes_are_one_clear_line(
    study: Study, place: Place, more: list[str], match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", study.data, "--backbone", "densenet_tiny", "--runs", place.runs, "--figures", place.figures]
    with pytest.raises(SystemExit) as stop:
        cli.run(ig.main, [*words, *more])
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert match in said
    assert said.count("\n") == 1


def test_bad_numbers_are_refused(folder: FinishedRun, study: Study, place: Place) -> None:
    clip = (str(held_out(folder, study.data)),)
    with pytest.raises(UserError, match="tolerance"):
        ig.main(study, place, clip=clip, run=folder.key, tolerance=0.0)
    with pytest.raises(UserError, match="memory"):
        ig.main(study, place, clip=clip, run=folder.key, memory=1e-6)
