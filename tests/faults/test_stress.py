"""Numbers under stress: a clear stop or honest numbers; never a figure, a table or a sentence of NaN."""

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from tla import cutoff, ensemble, freeze, fusion, ig, report, statistics, svcca, train
from tla import tables as draw_tables
from tla.attribution import audit as audits
from tla.attribution.explainer import Explainer
from tla.attribution.targets import Target
from tla.ensembles import drawing as draw_ensembles
from tla.ensembles import measuring as ensembles
from tla.errors import RunsFailed, UserError
from tla.launch.material import Material
from tla.launch.study import by_start, ensure, list_runs, prepare
from tla.nets import transfer
from tla.options import Augment, Picture, Place, Recipe, Study
from tla.paper import claim_words, measured
from tla.runs import schedule, tables
from tla.runs.folder import FinishedRun, RunFolder, load
from tla.runs.run import Run
from tla.similarity import methods
from tla.similarity.moments import Moments
from tla.sound.store import Store
from tla.stages import drawing as draw_stages
from tla.stages.tables import Sweep
from tla.statistics import Estimate

RATE, LENGTH = 8000, 3200
QUICK = Recipe(epochs=1, lr=1e-3)
NO_NUMBER = re.compile(r"(?<![A-Za-z#])[-+]?(nan|inf)(?![A-Za-z])")
CLAIMED = {"accuracy", "single", "ensemble", "gain", "nll", "ece", "cka", "best", "last", "test", "loss", "probability"}

Row = tuple[str, int, str | None, np.ndarray]  # label, fold, source, samples


def tone(hertz: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(LENGTH) / RATE) + 0.05 * rng.normal(size=LENGTH)


def healthy(folds: int = 3, classes: int = 3, clips: int = 2) -> list[Row]:
    """Tones and noise, so many clips of each class in each fold, each its own recording."""
    seeds = iter(range(10_000))
    return [
        (f"c{c}", fold, None, tone(300 * (c + 1), next(seeds)))
        for c in range(classes)
        for fold in range(1, folds + 1)
        for _ in range(clips)
    ]


def made(folder: Path, rows: Iterable[Row]) -> str:
    """A data set on disk: its CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("path", "label", "fold", "source"))
    for i, (label, fold, source, samples) in enumerate(rows):
        soundfile.write(folder / f"{i:02}.wav", samples, RATE, subtype="FLOAT")
        table.writerow((f"{i:02}.wav", label, fold, source or i))
    (folder / "sounds.csv").write_text(text.getvalue())
    return str(folder / "sounds.csv")


def study_of(data: str, **changes: Any) -> Study:
    small = Study(
        data=data,
        backbone="densenet_tiny",
        weights="random",
        folds=(1,),
        precision="fp32",
        picture=Picture(mels=32, frames=32),
        augment=Augment(kind="none"),
        recipe=QUICK,
        allow_leaks=True,  # the same few sounds stand for many
    )
    return replace(small, **changes)


@pytest.fixture(scope="module")
def fit_for_all(tmp_path_factory: pytest.TempPathFactory) -> tuple[Material, Place]:
    """Twelve clips to learn from and six held out, whose runs stay out of each other's way by their keys."""
    folder = tmp_path_factory.mktemp("healthy")
    place = Place(
        data_root=str(folder / "data"), runs=str(folder / "runs"), figures=str(folder / "figures"), device="cpu", threads=1
    )
    return prepare(study_of(made(folder / "sounds", healthy())), place), place


def trained(data: str, place: Place, **changes: Any) -> list[FinishedRun]:
    material = prepare(study_of(data, **changes), replace(place, threads=1))
    return ensure(list_runs(material), material, place)


def numbers_of(folder: FinishedRun) -> list[float]:
    """Every number that a finished run left."""
    log = [value for row in folder.log for value in row.values()]
    scores = [value for score in folder.result.scores.values() for value in (score.accuracy, score.macro_accuracy)]
    logits = [float(value) for values in folder.predictions.logits.values() for value in values.ravel()]
    return [*log, *scores, *logits]


# Recipes


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        (Recipe(epochs=2, lr=1e3), "--recipe.lr 1000 is"),
        (Recipe(epochs=2, lr=1e10), r"--recipe.lr 1e\+10 is"),
        (Recipe(epochs=2, lr=1e30, optimizer="sgd"), r"--recipe.lr 1e\+30 is"),
        (Recipe(epochs=2, lr=1e300), r"--recipe.lr 1e\+300 is"),
        (Recipe(epochs=2, lr=1e-3, weight_decay=1e10, optimizer="adamw"), r"or --recipe.weight-decay 1e\+10 is"),
        (Recipe(epochs=3, lr=1e-3, drop_factor=1e300, drops=(1,)), r"or --recipe.drop-factor 1e\+300 is"),
    ],
)
def test_what_diverges_is_stopped_by_name_and_leaves_no_result(
    fit_for_all: tuple[Material, Place], recipe: Recipe, names: str
) -> None:
    material, place = fit_for_all
    mine = replace(material, study=replace(material.study, recipe=recipe))
    (run,) = list_runs(mine)
    with pytest.raises(RunsFailed, match=f"run {run.key} diverged: in epoch .*{names} likely too high"):
        ensure([run], mine, place)
    folder = RunFolder(Path(place.runs) / run.key)
    assert not folder.finished
    there = {path.name for path in folder.path.iterdir()}
    assert not there & {"predictions.npz", "weights.safetensors", "result.json", "SHA256SUMS"}
    assert all(math.isfinite(value) for row in folder.read_log() for value in row.values())


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(epochs=1, lr=1e-30),
        Recipe(epochs=2, lr=1e-300),
        Recipe(epochs=2, lr=1e-3, weight_decay=1e10),
        Recipe(epochs=1, lr=1e-3, batch=100_000),
        Recipe(epochs=1, lr=1e-3, batch=11),
        Recipe(epochs=1, lr=1e-3, drop_factor=1e-300, drops=(1,)),
    ],
    ids=["no step", "a step below all numbers", "all weights go", "larger than the data", "one is left over", "no rate left"],
)
def test_what_is_extreme_but_possible_leaves_numbers(fit_for_all: tuple[Material, Place], recipe: Recipe) -> None:
    material, place = fit_for_all
    mine = replace(material, study=replace(material.study, recipe=recipe))
    (folder,) = ensure(list_runs(mine), mine, place)
    assert all(map(math.isfinite, numbers_of(folder)))


@pytest.mark.parametrize("name", ["lr", "drop_factor", "weight_decay"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_options_that_are_no_numbers_are_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"--recipe\.{name.replace('_', '-')} is {value}; it has to be a number"):
        schedule.resolve(replace(QUICK, **{name: value}), scratch=False, paper=False)


@pytest.mark.parametrize("keep", [math.nan, math.inf])
def test_a_share_that_is_no_number_is_refused(fit_for_all: tuple[Material, Place], keep: float) -> None:
    material, place = fit_for_all
    with pytest.raises(UserError, match="--keep"):
        svcca.main(material.study, place, keep=keep)


# Pictures


class Spoiled(Store):
    """A store in which one clip's picture is not what it was."""

    row: int
    value: float

    @property
    def clean(self) -> np.ndarray:  # type: ignore[override]
        pictures = np.array(super().clean[np.arange(len(self.dataset.clips))])
        pictures[self.row, 1, 3] = self.value
        return pictures


def spoiled(store: Store, row: int, value: float) -> Store:
    other = Spoiled(**{field.name: getattr(store, field.name) for field in fields(store)})
    vars(other).update(row=row, value=value)
    return other


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("standardise", [False, True])
def test_a_picture_that_is_no_number_is_named(fit_for_all: tuple[Material, Place], value: float, standardise: bool) -> None:
    """In half precision, a cell above 65504 would be infinite."""
    material, place = fit_for_all
    recipe = replace(QUICK, standardise=standardise, weight_decay=abs(hash(value)) % 7 / 1e4)  # a key of its own
    mine = replace(material, study=replace(material.study, recipe=recipe))
    split = mine.dataset.split(1)
    for row in (split.train[2], split.test[1]):
        bad = replace(mine, store=spoiled(material.store, row, value))
        name = re.escape(mine.dataset.clips[row].name)
        with pytest.raises(RunsFailed, match=f"fed of {name} holds NaN or infinity; .* delete"):
            ensure(list_runs(bad), bad, place)


def test_a_test_clip_is_looked_at_too_where_only_validation_chooses(fit_for_all: tuple[Material, Place]) -> None:
    """Its outputs enter no loss: the largest of several NaN is the first class, which would pass for an answer."""
    material, place = fit_for_all
    mine = replace(material, study=replace(material.study, protocol="nested"))
    row = mine.dataset.split(1, "nested").test[0]
    bad = replace(mine, store=spoiled(material.store, row, math.nan))
    with pytest.raises(RunsFailed, match=f"fed of {re.escape(mine.dataset.clips[row].name)} holds NaN"):
        ensure(list_runs(bad), bad, place)


def test_the_loudest_that_a_file_can_say_makes_pictures(tmp_path: Path, place: Place) -> None:
    """Floating-point files go up to 3e38 times full scale; stretched and shifted copies go through single precision."""
    gains = [1e36 if i % 4 == 0 else 1e30 if i % 4 == 1 else 1.0 for i in range(18)]
    rows = [(*about, samples * gain) for (*about, samples), gain in zip(healthy(), gains, strict=True)]
    changes: dict[str, Any] = {"augment": Augment(kind="bank:2"), "recipe": replace(QUICK, standardise=True)}
    (folder,) = trained(made(tmp_path / "sounds", rows), place, **changes)
    assert all(map(math.isfinite, numbers_of(folder)))


def test_sounds_with_samples_that_are_no_numbers_are_refused(tmp_path: Path, place: Place) -> None:
    rows = healthy()
    rows[3][3][5] = np.inf
    data = made(tmp_path / "sounds", rows)
    with pytest.raises(UserError, match=r"03\.wav.*NaN or infinite.*--on-bad-clip skip"):
        trained(data, place)
    (folder,) = trained(data, place, on_bad_clip="skip")
    assert all(map(math.isfinite, numbers_of(folder)))


@pytest.mark.parametrize("samples", [np.zeros(LENGTH), np.full(LENGTH, 0.5), tone(440)], ids=["silence", "constant", "same"])
def test_bands_that_never_change_are_standardised_to_nothing(tmp_path: Path, place: Place, samples: np.ndarray) -> None:
    rows = [(label, fold, source, samples) for label, fold, source, _ in healthy()]
    (folder,) = trained(made(tmp_path / "sounds", rows), place, recipe=replace(QUICK, standardise=True))
    assert all(map(math.isfinite, numbers_of(folder)))
    mean, spread = folder.standard or pytest.fail("no standard")
    assert np.isfinite(mean).all()
    assert (spread > 0).all()


# Folds and classes


def without(rows: Sequence[Row], *, label: str, fold: Callable[[int], bool]) -> list[Row]:
    return [row for row in rows if not (row[0] == label and fold(row[1]))]


@pytest.mark.parametrize(
    ("rows", "changes", "says"),
    [
        (without(healthy(), label="c2", fold=lambda fold: fold != 1), {}, "fold 1 of sounds holds out all clips of c2"),
        (without(healthy(), label="c2", fold=lambda fold: fold == 3), {"protocol": "nested"}, "holds out all clips of c2"),
        (healthy(classes=1), {}, r"one class only \(c0\); telling sounds apart takes two"),
        (healthy(classes=2, folds=1, clips=1), {}, "class 'c0' has one clip, which cannot be both trained on and tested"),
        (healthy(folds=1), {}, "all clips are in fold 1; leave the column fold out"),
        (healthy(folds=2), {"protocol": "nested"}, "has 2 folds; the nested protocol needs 3"),
    ],
    ids=["absent from training", "absent beside validation", "one class", "two clips", "one fold", "no fold to choose on"],
)
def test_what_cannot_be_learned_is_refused_before_training(
    tmp_path: Path, place: Place, rows: Sequence[Row], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        trained(made(tmp_path / "sounds", rows), place, **changes)
    assert not list(Path(place.runs).glob("*/run.json"))


@pytest.mark.parametrize(
    ("rows", "changes", "heard"),
    [
        (without(healthy(), label="c2", fold=lambda fold: fold == 1), {}, 4),
        (without(healthy(), label="c2", fold=lambda fold: fold == 2), {"protocol": "nested"}, 6),
        ([*healthy(folds=2), ("c0", 3, None, tone(300))], {"folds": (3,)}, 1),
        (healthy(classes=2, folds=2, clips=1), {}, 2),
    ],
    ids=["absent from the held-out fold", "absent from validation", "a fold of one clip", "two clips a side"],
)
def test_what_is_scarce_is_scored_on_what_there_is(
    tmp_path: Path, place: Place, rows: Sequence[Row], changes: dict[str, Any], heard: int
) -> None:
    (folder,) = trained(made(tmp_path / "sounds", rows), place, **changes)
    said = folder.predictions
    assert len(said.names) == heard
    assert all(map(math.isfinite, numbers_of(folder)))
    for rule, score in folder.result.scores.items():
        right = said.logits[rule].argmax(axis=1) == said.labels
        by_class = [right[said.labels == label].mean() for label in set(said.labels.tolist())]  # that were heard
        assert (score.accuracy, score.macro_accuracy) == (right.mean(), pytest.approx(np.mean(by_class)))


# Measures


@pytest.mark.parametrize("recordings", [["a"] * 8, list("abcdabcd"), ["a"] * 96 + list("bcde")])
def test_few_recordings_give_no_interval_and_no_p_value(recordings: list[str]) -> None:
    values = np.arange(len(recordings)) % 2 / 1.0
    for estimate in (statistics.share, statistics.gain, statistics.mean):
        few = estimate(statistics.of_clips(values, np.array(recordings)))
        assert few.mean == pytest.approx(0.5)
        assert all(map(math.isnan, (few.low, few.high, few.p)))
        assert not few.excludes_zero
        assert str(few) == f"50.0 [{statistics.NONE}]"


def test_a_p_value_that_is_not_there_is_no_test_to_correct_for() -> None:
    p = [0.04, math.nan, 0.01, math.nan, 0.03]
    corrected = statistics.holm(p)
    assert [corrected[i] for i in (0, 2, 4)] == statistics.holm([0.04, 0.01, 0.03])
    assert math.isnan(corrected[1])
    assert math.isnan(corrected[3])
    assert statistics.holm([]) == []


def members(logits: np.ndarray, labels: Sequence[int], sources: Sequence[str]) -> ensembles.Members:
    return ensembles.Members(
        tuple(range(len(logits))), logits, np.array(labels), np.array(sources), np.ones(len(labels), dtype=int)
    )


def drawn(one: ensembles.Members, run: Run, capsys: pytest.CaptureFixture[str], folder: Path) -> tuple[pd.DataFrame, str]:
    """Every table of an ensemble, written, drawn and printed; its scores, and what was printed."""
    runs = pd.DataFrame(
        [
            {
                "key": str(s),
                "training": "converged",
                "data": "x",
                "backbone": "y",
                "fold": 1,
                "seed": s,
                "epochs": 1,
                "lr": 1.0,
                "augment": "none",
            }
            for s in one.seeds
        ]
    ).assign(pretrained_upto="block4")
    parts = ensembles.scores(one), ensembles.subsets(one), ensembles.pairs(one), ensembles.missed(one)
    draw_ensembles.publish(ensembles.Ensemble(parts[0].assign(rule="last"), *parts[1:], runs), folder, "table2_ensemble")
    said = capsys.readouterr().out
    honest(folder, said)
    return parts[0], said


def test_an_ensemble_that_hears_one_clip(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, said = drawn(members(np.array([[[2.0, 1.0]], [[1.0, 2.0]]]), [0], ["a"]), run, capsys, tmp_path)
    assert scores["single"].tolist() == [50, 50]
    assert scores[["low", "high", "gain_low", "gain_high", "nll_change_low", "error_correlation"]].isna().all(axis=None)
    assert "[none: recordings too few or all alike]: cannot be told from none on these 1 clips" in said
    ours = scores["ece_ensemble"]
    assert ((ours >= 0) & (ours <= 1)).all()


@pytest.mark.parametrize(("size", "right"), [(1e3, True), (1e30, False)])
def test_an_ensemble_of_runs_that_are_sure(
    run: Run, size: float, right: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of probabilities 0 and 1 there is no log, and of runs that are always right or wrong no correlation of errors."""
    labels = [0, 1, 1, 0]
    logits = np.stack([size * np.eye(2)[labels if right else [1 - label for label in labels]]] * 2)
    scores, _ = drawn(members(logits, labels, ["a", "b", "c", "d"]), run, capsys, tmp_path)
    assert set(scores["single"]) == {100.0 if right else 0.0}
    assert set(scores["ece_ensemble"]) == {0.0 if right else 1.0}
    assert scores["nll_ensemble"].tolist() == ([0, 0] if right else [size, size])


@pytest.fixture
def run() -> Run:
    resolved = replace(QUICK, drops=())
    about: dict[str, Any] = {"data": "x", "data_digest": "0", "classes": 3, "weights": "random", "fold": 1, "seed": 0}
    plan, _ = transfer.canonical(study_of("x").transfer, "random")
    picture = Picture(mels=32, frames=32, rate=RATE, seconds=LENGTH / RATE)
    return Run(
        **about,
        picture=picture,
        augment=Augment(kind="none"),
        backbone="densenet_tiny",
        transfer=plan,
        recipe=resolved,
        protocol="paper",
        precision="fp32",
    )


@pytest.mark.parametrize("measure", sorted(methods.MEASURES))
def test_activations_of_rank_zero_are_refused_and_of_rank_one_measured(measure: str) -> None:
    rng = np.random.default_rng(0)
    alive, constant = rng.normal(size=(50, 3)), np.full((50, 3), 7.0)
    line = rng.normal(size=(50, 1)) * np.array([[1.0, 2.0, 0.0]])
    for pair in ((constant, alive), (alive, constant), (constant, constant)):
        with pytest.raises(UserError, match=r"all 3 channels of [xy] are constant over 50 points"):
            methods.MEASURES[measure](*pair)
    for pair in ((line, alive), (line, line), (1e-30 * line, 1e30 * line)):
        assert math.isfinite(methods.MEASURES[measure](*pair).score)
    for bad in (np.nan, np.inf):
        spoilt = alive.copy()
        spoilt[4, 1] = bad
        with pytest.raises(UserError, match="channels hold NaN or infinity"):
            methods.MEASURES[measure](spoilt, alive)
    with pytest.raises(UserError, match=r"0 points|there are no moments|this takes"):
        methods.MEASURES[measure](Moments(3, 3))


def test_weights_that_did_not_move_and_weights_that_exploded() -> None:
    w = torch.randn(3, 3)
    assert methods.weight_change(w, w) == 0
    with pytest.raises(UserError, match="NaN or infinity"):
        methods.weight_change(w, w * math.nan)
    with pytest.raises(UserError, match="no meaning"):
        methods.weight_change(0 * w, w)


def test_a_network_that_says_the_same_of_everything_is_attributed_nothing(run: Run, recwarn: pytest.WarningsRecorder) -> None:
    """F(x) = F(b): whatever the picture, and whatever its weights, after training that left nothing."""
    net = transfer.assemble("densenet_tiny", 3, run.transfer, None, seed=0)
    with torch.no_grad():
        for tensor in net.stage_tensors("head").values():
            tensor.zero_()
    picture = np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32)
    baseline = np.full((1, 3, 32, 32), -13.8, np.float32)
    made = Explainer(net).attribute(picture, Target(0), baseline)
    assert (made.value, made.baseline_value, made.error) == (0, 0, 0)
    assert (made.map == 0).all()
    assert not audits.has_ranks(made.total)
    same = Explainer(net).attribute(picture, Target(0, 1), picture[None])
    assert (same.steps, same.error) == (0, 0)
    assert not recwarn.list


@pytest.mark.parametrize("memory", [math.nan, math.inf, 0.0, -1.0])
def test_memory_that_is_no_number_is_refused(run: Run, memory: float) -> None:
    net = transfer.assemble("densenet_tiny", 3, run.transfer, None, seed=0)
    with pytest.raises(UserError, match="memory is"):
        Explainer(net, memory=memory)


def test_verdicts_need_more_than_one_recording() -> None:
    none = Estimate(5.0, math.nan, math.nan)
    assert claim_words.number(none, "points") == "+5.0 points [none: recordings too few or all alike]"
    assert measured.lies_in(none, measured.GAINS) == measured.OPEN


def test_a_difference_without_an_interval_is_not_called_one() -> None:
    rows = [
        {"arm": arm, "rule": "last", "accuracy": value, "low": math.nan, "high": math.nan, "covers": statistics.CLIPS}
        | {"unfinished": 0}
        for arm, value in (("pretrained", 90.0), ("random", 50.0), ("pretrained - random", 40.0))
    ]
    told = draw_tables.finding(pd.DataFrame(rows), "last")
    assert "+40.0 points [none: recordings too few or all alike], cannot be told from none" in told


def test_a_point_without_an_interval_keeps_its_name() -> None:
    stage = {"curve": "pretrained", "point": "block1", "fold": 1, "seed": 0, "last": 0.5, "epochs": 1, "lr": 1.0}
    stage |= {"key": "x", "training": "converged"}
    runs = pd.DataFrame([{**stage, "data": "x", "backbone": "y", "augment": "none", "frozen_norm": "inference"}])
    numbers = {"accuracy": 50.0, "low": math.nan, "high": math.nan, "covers": statistics.CLIPS, "multiply_adds": 1e9}
    numbers |= {"unfinished": 0, "rule": "last"}
    points = pd.DataFrame([{"curve": "pretrained", "point": "block1", **numbers}])
    (axes,) = draw_stages.figure(Sweep("cutoff", runs, points, pd.DataFrame(), pd.DataFrame())).axes
    (name,) = axes.texts
    assert name.get_text() == "up to block1"
    assert name.xy == (1.0, 50.0)


def test_a_key_or_class_that_looks_like_a_number_stays_a_word() -> None:
    """One key in a hundred does, and as a number some are infinite; the run is then not found again."""
    text = b"run,class,value,low\n123456789e99,nan,1.5,\n000000000012,007,inf,2\n"
    table = tables.parsed(text)
    assert table["run"].tolist() == ["123456789e99", "000000000012"]
    assert table["class"].tolist() == ["nan", "007"]
    assert table["value"].tolist() == [1.5, math.inf]
    assert table["low"].isna().tolist() == [True, False]


# Through every command


def honest(figures: Path, said: str) -> None:
    """No cell, drawing or sentence says that a number is none; where a number is claimed, one stands."""
    assert not NO_NUMBER.search(said), [line for line in said.splitlines() if NO_NUMBER.search(line)]
    for path in sorted(figures.rglob("*.csv")):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                bad = {name: cell for name, cell in row.items() if NO_NUMBER.fullmatch(cell) and not name.startswith("region_")}
                assert not bad, f"{path.name}: {bad} in {row}"
                empty = [name for name in CLAIMED & set(row) if row[name] == "" and not _may_be_empty(path, name, row)]
                assert not empty, f"{path.name}: nothing in {empty} of {row}"
                if path.name == "claims.csv":
                    assert row["value"] or row["missing"], row
    for path in (path for path in figures.rglob("*") if path.suffix in (".svg", ".tex", ".html")):
        text = re.sub(r"[A-Za-z0-9+/=]{120,}", "", path.read_text(encoding="utf-8"))  # sounds and images
        assert not NO_NUMBER.search(text), f"{path.name}: {text[max(0, NO_NUMBER.search(text).start() - 80) :][:200]}"


def _may_be_empty(path: Path, name: str, row: dict[str, str]) -> bool:
    """A run has the rules of its protocol; a layer that is constant has no CKA, which is said."""
    return (name in ("best", "last", "test") and "key" in row) or name == "cka"


STRESS: dict[str, tuple[Callable[[], list[Row]], dict[str, Any]]] = {
    "healthy": (healthy, {}),
    "silence": (lambda: [(label, fold, source, np.zeros(LENGTH)) for label, fold, source, _ in healthy()], {}),
    "identical": (lambda: [(label, fold, source, tone(440)) for label, fold, source, _ in healthy()], {}),
    "one recording a fold": (lambda: [(label, fold, f"r{fold}", x) for label, fold, _, x in healthy()], {}),
    "a fold of one clip": (lambda: [*healthy(folds=2), ("c0", 3, None, tone(300))], {"folds": (3,)}),
    "two clips a side": (lambda: healthy(classes=2, folds=2, clips=1), {}),
    "absent from validation": (
        lambda: without(healthy(folds=4), label="c2", fold=lambda fold: fold == 2),
        {"protocol": "nested"},
    ),
    "absent from the held-out fold": (lambda: without(healthy(), label="c2", fold=lambda fold: fold == 1), {}),
    "not to be learned": (lambda: [(label, f, s, tone(440, i)) for i, (label, f, s, _) in enumerate(healthy())], {}),
    "no step": (healthy, {"recipe": Recipe(epochs=1, lr=1e-30)}),
    "silence, standardised": (
        lambda: [(label, fold, source, np.zeros(LENGTH)) for label, fold, source, _ in healthy()],
        {"recipe": replace(QUICK, standardise=True)},
    ),
}


def commands(data: str, place: Place, changes: dict[str, Any]) -> dict[str, Callable[[], None]]:
    """Every command that draws, on a study that starts from a network trained on the same sounds."""
    (donor,) = by_start(study_of(data, **changes), place)["random"]
    asked = study_of(data, **{**changes, "weights": donor.key})
    clip = str(Path(data).parent / "00.wav")
    return {
        "train": lambda: train.main(asked, place, compare=("random",)),
        "fusion": lambda: fusion.main(asked, place, upto=("none", "block1", "block4")),
        "freeze": lambda: freeze.main(asked, place),
        "cutoff": lambda: cutoff.main(asked, place),
        "ensemble": lambda: ensemble.main(asked, place, members=2),
        "svcca": lambda: svcca.main(asked, place, measure="all"),
        "svcca --resolve": lambda: svcca.main(asked, place, resolve=True),
        "svcca --map": lambda: svcca.main(asked, place, map=True),
        "ig --clip": lambda: ig.main(asked, place, run=donor.key, clip=(clip,), tolerance=0.3, listen=True),
        "ig": lambda: ig.main(asked, place, run=donor.key, tolerance=0.3),
        "ig --audit": lambda: ig.main(asked, place, run=donor.key, audit=True, clips=2, tolerance=0.3),
        "report": lambda: report.main(place, data=data, clips=2),
    }


REFUSED = {  # what a command may say that has nothing to measure, by command
    "svcca": "nothing could be scored: every layer was left out",
    "svcca --resolve": "nothing could be scored: every layer was left out",
    "svcca --map": "all held-out clips are equally far apart|a map takes 4 at least",
    "ig": "classified no held-out clip of any class rightly: choose other --classes or another run",
    "ig --audit": "each of the . clips is silent, or the same everywhere",
}


def stopped(command: Callable[[], None]) -> str:
    """What a command stopped with; nothing if it came to its end."""
    try:
        command()
    except UserError as error:
        return str(error)
    return ""


def put_through(
    what: str, only: Iterable[str], tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Run commands on a stressed data set; each draws honest numbers or says why not."""
    monkeypatch.setattr(audits, "STEPS", 2)
    rows, changes = STRESS[what]
    known = commands(made(tmp_path / "sounds", rows()), replace(place, threads=1), changes)
    for name in only or known:
        told = stopped(known[name])
        assert not told or re.search(REFUSED.get(name, "$^"), told), f"{name}: {told}"
        honest(Path(place.figures), capsys.readouterr().out)


@pytest.mark.faults
@pytest.mark.parametrize("what", STRESS)
def test_every_command_is_honest_under_stress(
    what: str, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_through(what, (), tmp_path, place, monkeypatch, capsys)


def test_one_recording_held_out_is_told_as_what_it_is(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Accuracies without intervals, steps without p-values, none of which counts."""
    put_through("a fold of one clip", ("train", "fusion"), tmp_path, place, monkeypatch, capsys)
    (figures,) = (path.parent for path in Path(place.figures).glob("*/study.json"))
    points, steps = (pd.read_csv(figures / f"fig2b_fusion_{table}.csv") for table in ("points", "steps"))
    assert points["accuracy"].isin([0, 100]).all()
    assert points[["low", "high"]].isna().all(axis=None)
    assert steps["accuracy"].notna().all()
    assert steps[["low", "high", "p", "p_holm"]].isna().all(axis=None)
    assert not steps["important"].any()
    summary = pd.read_csv(next(figures.glob("train_*_summary.csv")))
    assert summary[["low", "high"]].isna().all(axis=None)
    tidy = tables.summary({"one": [load(path) for path in Path(place.runs).iterdir()][:1]})
    assert tidy["accuracy"].notna().all()
