"""Studies are trained once, continue where they stopped, and end with the same bits."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tla.console import Progress
from tla.errors import UserError
from tla.launch.plan import Plan
from tla.launch.study import by_start, ensure, list_runs, prepare
from tla.nets.transfer import assemble
from tla.options import Augment, Place, Recipe, Study, Transfer
from tla.runs import fit as fitting
from tla.runs.folder import FinishedRun, RunFolder, find, folders, load
from tla.runs.schedule import judge


def train(study: Study, place: Place) -> list[FinishedRun]:
    material = prepare(study, place)
    return ensure(list_runs(material), material, place)


def without_times(log: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in log]


def test_a_run_leaves_what_its_folder_promises(study: Study, place: Place) -> None:
    (folder,) = train(study, place)
    assert not RunFolder(folder.path).checkpoint.exists()
    assert [row["epoch"] for row in folder.log] == [1, 2, 3]
    assert [row["lr"] for row in folder.log] == pytest.approx([1e-3, 1e-4, 1e-4])
    predictions = folder.predictions
    assert set(predictions.logits) == {"best", "last"}
    assert predictions.logits["last"].shape == (20, 10)
    for rule, epoch in (("best", folder.result.best_epoch), ("last", 3)):
        right = float((predictions.logits[rule].argmax(axis=1) == predictions.labels).mean())
        assert right == folder.result.scores[rule].accuracy == folder.log[epoch - 1]["accuracy"]
    assert folder.made["torch"]
    assert folder.run.key == folder.key


def test_a_run_ends_by_itself_and_notes_whether_it_was_trained_to_its_end(study: Study, place: Place) -> None:
    (short,) = train(study, place)
    assert short.result.training.state == "still falling"  # 15 steps
    (whole,) = train(replace(study, recipe=Recipe(lr=1e-3)), place)
    rates = [row["lr"] for row in whole.log]
    assert list(dict.fromkeys(rates)) == pytest.approx([1e-3, 1e-4, 1e-5])
    assert whole.result.training == judge(whole.log, 10)
    (capped,) = train(replace(study, recipe=Recipe(lr=1e-3, cap=20)), place)
    assert sum(row["steps"] for row in capped.log) == 20
    assert capped.result.training.state == "still falling"


def test_a_head_may_have_a_rate_of_its_own(study: Study, place: Place) -> None:
    material = prepare(replace(study, recipe=Recipe(epochs=2, lr=1e-3, head_lr=1e-2)), place)
    (run,) = list_runs(material)
    net = assemble(run.backbone, run.classes, run.transfer, None, seed=0)
    rest, head = fitting.make_optimizer(run, net).param_groups
    assert (rest["lr"], head["lr"]) == (1e-3, 1e-2)
    assert {id(p) for p in head["params"]} == {id(p) for p in net.stage_parameters("head")}
    (folder,) = ensure([run], material, place)
    (usual,) = train(replace(study, recipe=Recipe(epochs=2, lr=1e-3)), place)
    assert folder.log[0]["loss"] != usual.log[0]["loss"]


def test_a_finished_run_is_not_trained_again(study: Study, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder,) = train(study, place)
    monkeypatch.setattr(fitting, "train_epoch", lambda *_: pytest.fail("trained again"))
    assert train(study, place) == [folder]


def test_a_run_that_has_lost_its_weights_is_trained_again(
    study: Study, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    (first,) = train(study, place)
    weights, named = first.weights.read_bytes(), f"run {first.key} has lost its weights"
    first.weights.unlink()
    material = prepare(study, place)
    assert len(Plan.of(list_runs(material), material, place).missing()) == 1
    (again,) = train(study, place)
    assert named in capsys.readouterr().err
    assert again.trained_weights().read_bytes() == weights
    assert again.predictions.logits.keys() == first.predictions.logits.keys()


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(epochs=3, lr=1e-3),
        Recipe(lr=1e-3, head_lr=1e-2, cap=60),
        Recipe(epochs=3, lr=1e-3, class_weights="balanced"),
    ],
)
def test_an_interrupted_run_ends_bit_identical(study: Study, place: Place, tmp_path: Path, recipe: Recipe) -> None:
    study = replace(study, recipe=recipe)
    whole = train(study, place)[0]
    other = replace(place, runs=str(tmp_path / "interrupted"))
    material = prepare(study, other)
    (run,) = list_runs(material)

    class Stop(Progress):
        """Stops the training after so many batches, as Ctrl-C would."""

        def advance(self, n: int = 1) -> None:
            super().advance(n)
            if self.done in self.stops:
                raise KeyboardInterrupt

    folder = RunFolder(Path(other.runs) / run.key)
    folder.describe(run, list(material.dataset.classes), {})
    for stop in (2, 5, 6, 12):  # 5 batches an epoch: within and at the end of epochs
        watch = Stop("", 0)
        watch.stops = {stop}
        with pytest.raises(KeyboardInterrupt):
            fitting.fit(run, material.store, None, folder, material.device, watch)
    assert folder.count_epochs() == 2
    (folder,) = ensure([run], material, other)
    assert folder.weights.read_bytes() == whole.weights.read_bytes()
    assert without_times(folder.log) == without_times(whole.log)
    for rule, logits in folder.predictions.logits.items():
        np.testing.assert_array_equal(logits, whole.predictions.logits[rule])


def test_a_damaged_checkpoint_starts_the_run_over_and_says_so(
    study: Study, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train(study, place)[0]
    material = prepare(study, place)
    (run,) = list_runs(material)
    weights = whole.weights.read_bytes()
    folder = RunFolder(whole.path)
    folder.reopen()
    folder.checkpoint.write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    (folder,) = ensure([run], material, place)
    assert "damaged" in capsys.readouterr().err
    assert folder.weights.read_bytes() == weights


def test_nested_chooses_on_validation_and_scores_test_once(study: Study, place: Place) -> None:
    (folder,) = train(replace(study, protocol="nested"), place)
    assert set(folder.result.scores) == {"test"}
    assert len(folder.predictions.names) == 20
    split = prepare(study, place).dataset.split(1, "nested")
    assert len(split.validation) == 20
    assert not set(split.validation) & set(split.test) | set(split.validation) & set(split.train)
    best = max(row["accuracy"] for row in folder.log)
    assert folder.log[folder.result.best_epoch - 1]["accuracy"] == best


def test_seeds_differ_and_folds_hold_out_other_clips(study: Study, place: Place) -> None:
    found = train(replace(study, folds=(1, 2), seeds=2, recipe=Recipe(epochs=1)), place)
    assert [(f.run.fold, f.run.seed) for f in found] == [(1, 0), (2, 0), (1, 1), (2, 1)]
    assert not set(found[0].predictions.names) & set(found[1].predictions.names)
    assert (found[0].predictions.logits["last"] != found[2].predictions.logits["last"]).any()


def test_live_and_no_augmentation_train_too(study: Study, place: Place) -> None:
    for kind, batches in (("live", 5), ("none", 3)):
        (folder,) = train(replace(study, augment=Augment(kind=kind), recipe=Recipe(epochs=1)), place)
        assert folder.result.epochs == 1, (kind, batches)


def test_a_run_can_start_from_a_run_and_frozen_stages_stay(study: Study, place: Place) -> None:
    (first,) = train(study, place)
    frozen = Transfer(pretrained_upto="block2", frozen_upto="block2")
    (second,) = train(replace(study, weights=first.key[:8], transfer=frozen, recipe=Recipe(epochs=1, lr=1e-2)), place)
    from tla.nets.weights import read

    before, after = read(first.weights)[0], read(second.weights)[0]
    same = {name: bool((before[name] == after[name]).all()) for name in before}
    assert all(
        same[name] for name in same if name.startswith(("features.conv0", "features.denseblock1", "features.denseblock2"))
    )
    assert not any(same[name] for name in same if name.startswith("features.denseblock4") and name.endswith("conv1.weight"))


def test_standardised_pictures_have_mean_zero_and_spread_one(study: Study, place: Place) -> None:
    (folder,) = train(replace(study, recipe=Recipe(epochs=1, standardise=True)), place)
    store = prepare(study, place).store
    train_rows = store.dataset.split(1, "paper").train
    mean, spread = folder.standard
    values = (np.asarray(store.clean[train_rows], dtype=np.float64) - mean) / spread
    np.testing.assert_allclose(values.mean(axis=(0, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(values.std(axis=(0, 3)), 1, atol=1e-3)


def test_compare_pairs_the_same_folds_and_seeds(study: Study, place: Place) -> None:
    (first,) = train(study, place)
    arms = by_start(replace(study, weights=first.key), place, compare=["random"])
    assert [f.key for f in arms["random"]] == [first.key]  # the twin from scratch exists already
    with pytest.raises(UserError, match="compare random"):
        by_start(study, place, compare=["random"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": (9,)}, "fold 9|no fold 9|9"),
        ({"backbone": "densenet99"}, "densenet99"),
        ({"data": "esc60"}, "esc60"),
        ({"weights": "imagenet"}, "densenet_tiny has no ImageNet weights"),
        ({"weights": "absent.safetensors"}, "absent.safetensors"),
        ({"weights": "abc123"}, "no run"),
        ({"seeds": 0}, "--seeds is 0"),
        ({"augment": Augment(kind="bank:0")}, "bank"),
    ],
)
def test_what_cannot_be_is_refused_by_name(study: Study, place: Place, change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(replace(study, **change), place)


def test_a_device_that_is_not_there_is_refused(study: Study, place: Place) -> None:
    with pytest.raises(UserError, match="this machine has cpu"):
        prepare(study, replace(place, device="cuda:7"))


def test_divergence_stops_with_a_word(study: Study, place: Place) -> None:
    with pytest.raises(UserError, match=r"diverged.*--recipe\.lr"):
        train(replace(study, recipe=Recipe(epochs=4, lr=1e30)), place)


def test_runs_are_found_by_the_beginning_of_their_key(study: Study, place: Place) -> None:
    found = train(replace(study, seeds=2, recipe=Recipe(epochs=1)), place)
    runs = Path(place.runs)
    assert find(runs, found[0].key[:7]) == found[0]
    assert len(folders(runs)) == 2
    with pytest.raises(UserError, match="no run in"):
        find(runs, "xyz")
    with pytest.raises(UserError, match="fits 2 runs"):
        find(runs, "")
    (found[0].path / "run.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        find(runs, found[0].key)


def test_the_log_is_json_lines(study: Study, place: Place) -> None:
    (folder,) = train(replace(study, recipe=Recipe(epochs=2)), place)
    rows = [json.loads(line) for line in (folder.path / "log.jsonl").read_text().splitlines()]
    assert {"epoch", "lr", "loss", "train_accuracy", "heldout_loss", "accuracy", "seconds"} <= set(rows[0])


def test_a_class_that_is_held_out_whole_is_refused(few_sounds: Path, place: Place, study: Study, tmp_path: Path) -> None:
    clips = sorted(few_sounds.rglob("*.wav"))
    rows = [f"{path},{path.parent.name},{1 + (path.parent.name == 'bark')}" for path in clips]
    (tmp_path / "table.csv").write_text("\n".join(["path,label,fold", *rows]))
    with pytest.raises(UserError, match="holds out all clips of bark"):
        train(replace(study, data=str(tmp_path / "table.csv"), folds=(2,)), place)


@pytest.mark.parametrize("name", ["run.json", "result.json", "log.jsonl", "predictions.npz"])
def test_a_damaged_run_is_named_and_does_not_hide_the_others(
    study: Study, place: Place, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from tla.runs.__main__ import main as listing

    found = train(replace(study, seeds=2, recipe=Recipe(epochs=1)), place)
    (found[0].path / name).write_text("{}" if name.endswith("json") else "{broken")
    with pytest.raises(UserError, match="damaged"):
        load(found[0].path)
    listing([], runs=place.runs)
    assert found[1].key in capsys.readouterr().out


def test_a_full_disk_ends_in_one_line(study: Study, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    material = prepare(study, place)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device.*checkpoint\.safetensors"):
        ensure(list_runs(material), material, place)
