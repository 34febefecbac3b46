"""Runs are compared only with their like: against runs that are written by hand."""

import itertools
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tla import cli, train
from tla.errors import UserError
from tla.options import Augment, Picture, Recipe
from tla.paper import evidence_from_runs as evidence
from tla.paper import report_tables as draw
from tla.paper import studies
from tla.paper.report import Only, gather
from tla.paper.studies import PLANS, Case, cases, choose, departures
from tla.reference import CLAIMS
from tla.runs import command
from tla.runs.folder import FinishedRun, Predictions, RunFolder, load
from tla.runs.run import Run

PAPER = Recipe(until="epochs", epochs=70, drops=(30, 60))
SCRATCH = Recipe(until="epochs", epochs=450, drops=(300, 350))
MANY = [1] * 30


@pytest.fixture
def base(run: Run) -> Run:
    """A run in the paper's setting."""
    return replace(run, weights="imagenet:x", recipe=PAPER, augment=Augment(kind="bank:8"))


def random(base: Run, **more) -> Run:
    return replace(base, weights="random", transfer=PLANS["random"], **more)


def rewritten(run: FinishedRun, outputs: Predictions | None = None, **result: Any) -> FinishedRun:
    """The run with other predictions, or another result, in its folder."""
    folder = RunFolder(run.path)
    folder.write_predictions(outputs or run.predictions)
    folder.finish(replace(run.result, **result))
    return load(run.path)


def only(found: list[Case]) -> Case:
    assert len(found) == 1, [case.key for case in found]
    return found[0]


def test_folds_and_seeds_are_one_arm_and_plans_are_arms_of_one_case(written, base: Run, tmp_path: Path) -> None:
    pretrained = [written(tmp_path, replace(base, fold=fold, seed=seed), MANY) for fold in (2, 1) for seed in (1, 0)]
    fused = written(tmp_path, replace(base, transfer=PLANS["fused:block2"]), MANY)
    cut = written(tmp_path, replace(base, transfer=PLANS["kept:block3"]), MANY)
    case = only(cases([*pretrained, fused, cut]))
    assert set(case.arm("pretrained")) == set(pretrained)
    assert case.arm("fused:block2") == (fused,)
    assert case.arm("kept:block3") == (cut,)
    assert case.arm("random") == case.arm("frozen:block2") == ()
    assert case.key == replace(base, fold=1, seed=0).key


@pytest.mark.parametrize(
    "other",
    [
        {"recipe": Recipe(until="epochs", epochs=8, drops=(3, 7))},
        {"picture": Picture(rate=44100, seconds=5.0, frames=250, windows="one")},
        {"augment": Augment(kind="none")},
        {"backbone": "resnet50"},
        {"protocol": "nested"},
        {"precision": "bf16"},
        {"data_digest": "1"},
        {"weights": "file:abc"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_runs_that_differ_in_anything_else_are_never_averaged(written, base: Run, tmp_path: Path, other: dict) -> None:
    first, second = written(tmp_path, base, MANY), written(tmp_path, replace(base, seed=1, **other), MANY)
    assert [case.arm("pretrained") for case in cases([first, second])] == [(first,), (second,)]


def test_another_name_of_the_same_clips_changes_nothing(written, base: Run, tmp_path: Path) -> None:
    runs = [written(tmp_path, replace(base, data=name, seed=seed), MANY) for seed, name in enumerate(("esc50", "copy"))]
    assert len(only(cases(runs)).arm("pretrained")) == 2


def test_a_report_calls_the_clips_as_they_are_called_now(written, base: Run, tmp_path: Path) -> None:
    for seed, name in enumerate(("esc50", "copy")):
        rewritten(written(tmp_path, replace(base, data=name, seed=seed), MANY), finished=f"2026-0{seed + 1}")
    for asked, shown in ((Only(), "copy"), (Only(data="esc50"), "esc50"), (Only(data="new", digest=base.data_digest), "new")):
        assert set(gather(tmp_path, tmp_path, asked).runs["data"]) == {shown}


def test_the_papers_networks_from_scratch_are_trained_longer_and_stand_against_the_pretrained(
    written, base: Run, tmp_path: Path
) -> None:
    pretrained = written(tmp_path, base, MANY)
    equal = written(tmp_path, random(base), MANY)  # 70 epochs: the point `none` of the fusion sweep
    assert only(cases([pretrained, equal])).arm("random") == (equal,)
    longer = written(tmp_path, random(base, recipe=SCRATCH), MANY)
    assert only(cases([pretrained, equal, longer])).arm("random") == (longer,)
    assert only(cases([pretrained, longer])).arm("random") == (longer,)


def test_another_recipe_from_scratch_is_no_control(written, base: Run, tmp_path: Path) -> None:
    quick = Recipe(until="epochs", epochs=8, drops=(3, 7))
    pretrained = written(tmp_path, base, MANY)
    other = written(tmp_path, random(base, recipe=quick), MANY)
    found = cases([pretrained, other])
    assert [case.arm("random") for case in found] == [(), (other,)]
    assert found[1].arm("pretrained") == ()


def test_the_case_with_the_arms_then_the_runs_then_the_newest_is_taken(written, base: Run, tmp_path: Path) -> None:
    quick = replace(base, recipe=Recipe(until="epochs", epochs=8, drops=(3, 7)))
    many = [written(tmp_path, replace(base, seed=seed), MANY) for seed in range(3)]
    both = [written(tmp_path, quick, MANY), written(tmp_path, random(quick), MANY)]
    found = cases([*many, *both])
    assert choose(found, ["pretrained"]).arm("pretrained") == tuple(many)
    assert choose(found, ["pretrained", "random"]).arm("pretrained") == (both[0],)
    own = replace(base, weights="file:abc")
    from_file = [written(tmp_path, replace(own, seed=seed), MANY) for seed in range(5)]
    found = cases([*many, *from_file])
    assert choose(found, ["pretrained"]).weights == "imagenet:x"  # of ImageNet is the paper's question
    dated = []
    for run, when in ((base, "2026-02-01T00:00:00+0000"), (replace(base, precision="bf16"), "2026-01-01T00:00:00+0000")):
        dated.append(rewritten(written(tmp_path / "dated", run, MANY), finished=when))
    for order in (dated, dated[::-1]):
        assert choose(cases(order), ["pretrained"]).folders == (dated[0],)


def test_the_papers_setting_is_recognised_and_departures_are_named(written, base: Run, tmp_path: Path) -> None:
    def apart(run: Run, claim: int = 1) -> list[str]:
        return departures(only(cases([written(tmp_path, run, MANY)])), CLAIMS[claim - 1])

    assert apart(base) == []
    assert apart(random(base, recipe=SCRATCH)) == []
    assert apart(replace(base, backbone="resnet50")) == []
    assert apart(replace(base, backbone="resnet50"), claim=2) == ["backbone resnet50"]  # its stages were not looked at
    assert apart(replace(base, data="esc10")) == ["data esc10"]
    quick = replace(base, recipe=Recipe(until="epochs", epochs=8, drops=(3, 7), lr=1e-3, standardise=True), protocol="nested")
    assert apart(quick) == [
        "8 epochs instead of 70",
        "lr 0.001 instead of 0.0001",
        "standardised pictures",
        "protocol nested",
    ]
    assert apart(replace(base, picture=Picture(rate=44100, seconds=5.0, frames=100))) == ["picture frames 100 instead of 250"]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"recipe": Recipe(until="epochs", epochs=8, drops=(3, 7), lr=1e-3, standardise=True)},
        {"recipe": Recipe(epochs=8, drops=(2,), weight_decay=0.0, optimizer="sgd")},
        {"augment": Augment(kind="none"), "protocol": "nested", "precision": "bf16"},
        {"picture": Picture(rate=22050, seconds=5.0, frames=250, mels=64)},
        {"data": "my sounds"},
    ],
)
def test_the_command_that_is_printed_names_the_study(written, base: Run, tmp_path: Path, change: dict) -> None:
    run = replace(base, **change)
    case = only(cases([written(tmp_path, replace(run, fold=fold, seed=1), MANY) for fold in (1, 3)]))
    printed = command.command("train", studies.study(case), "--compare random")
    assert printed.startswith("python -m tla.train ")
    parsed = cli.parse(train.main, shlex.split(printed)[3:])
    assert parsed["study"] == studies.study(case)
    assert parsed["compare"] == ("random",)
    assert (parsed["study"].folds, parsed["study"].seeds) == ((1, 3), 2)


def test_the_papers_own_study_needs_few_words(written, base: Run, tmp_path: Path) -> None:
    case = only(cases([written(tmp_path, replace(base, augment=Augment()), MANY)]))
    assert command.command("train", studies.study(case)) == "python -m tla.train --folds 1 --precision fp32"


def test_an_ensemble_takes_the_largest_rectangle_of_folds_and_seeds(written, base: Run, tmp_path: Path) -> None:
    places = [(1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 0), (2, 1), (2, 2), (3, 4)]
    arm = tuple(written(tmp_path, replace(base, fold=fold, seed=seed), MANY) for fold, seed in places)
    assert {(f.run.fold, f.run.seed) for f in evidence.grid(arm)} == {(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)}
    assert evidence.grid(arm[:1]) == ()
    lonely = tuple(f for f in arm if f.run.seed == 0)
    assert evidence.grid(lonely) == ()  # two folds, one seed each
    square = tuple(f for f in arm if (f.run.fold, f.run.seed) in {(1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1)})
    assert len({f.run.seed for f in evidence.grid(square)}) == 4  # of 1 x 4 and 2 x 2 the one with most seeds


def sound_study(written, base: Run, runs: Path) -> None:
    """Pretrained networks right on 9 of 10 clips, random ones on half; block3 brings it; block4 nothing."""
    nine, half = ([1] * 9 + [0]) * 8, [1, 0] * 40
    for fold, seed in itertools.product((1, 2), (0, 1)):
        here = replace(base, fold=fold, seed=seed)
        for arm, right in {
            "pretrained": nine,
            "fused:block3": nine,
            "fused:block2": half,
            "frozen:block2": nine,
            "frozen:block3": half,
            "kept:block3": nine,
            "kept:block2": half,
        }.items():
            written(runs, replace(here, transfer=PLANS[arm]), right)
        written(runs, random(here, recipe=SCRATCH), half)


def test_a_report_in_the_papers_setting(written, base: Run, tmp_path: Path) -> None:
    runs, figures = tmp_path / "runs", tmp_path / "figures"
    sound_study(written, base, runs)
    report = gather(runs, figures)
    verdicts = {finding.claim.number: (finding.verdict, finding.size) for finding in report.findings}
    assert verdicts[1] == ("holds", "does not hold")  # +40 points, the paper has 18.66
    assert verdicts[2] == ("holds", "not enough evidence")  # 90 % is stated to a few points, and these are 160 clips
    assert verdicts[3] == ("holds", "does not hold")
    assert verdicts[4] == ("holds", "does not hold")
    assert verdicts[5] == verdicts[6] == ("not enough evidence", None)
    assert verdicts[7][0] == "not enough evidence"
    parts = report.parts.set_index("part")
    assert parts.loc["pretrained - random", "value"] == pytest.approx(40)
    assert parts.loc["pretrained up to block3 - pretrained up to block2", "value"] == pytest.approx(40)
    same = parts.loc["pretrained - pretrained up to block3"]
    assert same["value"] == 0
    assert -3 < same["low"] < -2 < 2 < same["high"] < 3  # what 160 clips that agree cannot exclude
    assert "2 runs averaged instead of 5" in parts.loc["ensemble of 2 - single run", "departures"]
    assert list(report.studies["used"]) == [True]
    table = report.table1.set_index(["quantity", "rule"])
    assert table.loc[("pretrained - random", "best"), "accuracy"] == pytest.approx(40)
    assert table.loc[("pretrained - random", "best"), "paper"] == pytest.approx(18.66)
    assert table.loc[("pretrained", "best - last"), "accuracy"] == 0


def test_optimism_is_its_own_row_and_paired(written, base: Run, tmp_path: Path) -> None:
    for seed in (0, 1):
        for start, gained in ((replace(base, seed=seed), 4), (random(base, recipe=SCRATCH, seed=seed), 12)):
            folder = written(tmp_path, start, [1] * 20 + [0] * 20)
            outputs = folder.predictions
            better = outputs.logits["last"].copy()
            better[20 : 20 + gained] = better[20 : 20 + gained, ::-1]  # the best epoch is right on some clips more
            rewritten(folder, replace(outputs, logits={"best": better, "last": outputs.logits["last"]}))
    table = gather(tmp_path, tmp_path / "figures").table1.set_index(["quantity", "rule"])
    assert table.loc[("pretrained", "best - last"), "accuracy"] == pytest.approx(10)
    assert table.loc[("random", "best - last"), "accuracy"] == pytest.approx(30)
    gap = table.loc[("pretrained - random", "best - last")]
    assert gap["accuracy"] == pytest.approx(-20)  # the rule changes the very gap
    assert gap["high"] < 0
    assert table.loc[("pretrained", "best - last"), "low"] > 0


def test_one_study_is_taken_and_the_others_are_listed(written, base: Run, tmp_path: Path) -> None:
    for seed in range(2):
        written(tmp_path, replace(base, seed=seed), [1] * 20 + [0] * 20)
    quick = written(tmp_path, replace(base, recipe=Recipe(until="epochs", epochs=8, drops=(3, 7))), MANY)
    report = gather(tmp_path, tmp_path)
    assert dict(zip(report.studies["runs"], report.studies["used"], strict=True)) == {2: True, 1: False}
    assert report.table1.query("quantity == 'pretrained' and rule == 'last'")["accuracy"].tolist() == [50]
    other = gather(tmp_path, tmp_path, Only(studies=(quick.key[:6],)))
    assert other.table1.query("quantity == 'pretrained' and rule == 'last'")["accuracy"].tolist() == [100]
    with pytest.raises(UserError, match="--study zzz fits no study"):
        gather(tmp_path, tmp_path, Only(studies=("zzz",)))
    with pytest.raises(UserError, match="on esc50 with vgg"):
        gather(tmp_path, tmp_path, Only(data="esc50", backbone="vgg"))


def test_recordings_in_two_folds_are_named(written, base: Run, tmp_path: Path) -> None:
    for fold in (1, 2):
        folder = written(tmp_path, replace(base, fold=fold), MANY)
        outputs = folder.predictions
        rewritten(folder, replace(outputs, sources=["shared", *outputs.sources[1:]]))
    (row,) = gather(tmp_path, tmp_path).data.to_dict("records")
    assert row["recordings_in_two_folds"] == "shared"
    assert (row["clips"], row["recordings"]) == (60, 59)


def test_a_damaged_run_is_passed_over_with_a_word(written, base: Run, tmp_path: Path, capsys) -> None:
    written(tmp_path, base, MANY)
    bad = written(tmp_path, replace(base, seed=1), MANY)
    (bad.path / "predictions.npz").write_bytes(b"no archive")
    assert len(gather(tmp_path, tmp_path).runs) == 1
    assert "passed over" in capsys.readouterr().err
    with pytest.raises(UserError, match="no finished run"):
        gather(tmp_path / "nowhere", tmp_path)


def test_tables_from_synthetic_sounds_say_so(written, base: Run, tmp_path: Path) -> None:
    written(tmp_path, base, MANY)
    assert not any("SYNTHETIC" in note for _, _, note in draw.typeset(gather(tmp_path, tmp_path)).values())
    written(tmp_path, replace(base, data="toy", data_digest="t"), MANY)
    assert all("SYNTHETIC" in note for _, _, note in draw.typeset(gather(tmp_path, tmp_path)).values())


@pytest.mark.parametrize("arm", ["fused:block2", "frozen:block3", "random"])
def test_a_report_on_a_single_arm_is_whole(written, base: Run, tmp_path: Path, arm: str) -> None:
    run = random(base, recipe=SCRATCH) if arm == "random" else replace(base, transfer=PLANS[arm])
    written(tmp_path / "runs", run, MANY)
    report = gather(tmp_path / "runs", tmp_path)
    assert {finding.verdict for finding in report.findings} == {"not enough evidence"}
    assert "no runs pretrained" in str(report.findings[0].missing[0])
    assert " --weights " not in str(report.findings[0].missing[0])  # what is missing starts from ImageNet, as by default
    assert len(report.table1) == (3 if arm == "random" else 0)
    assert len(report.table2) == 0
    assert len(draw.typeset(report)["claims"][1]) >= 10


def test_arms_are_compared_on_the_folds_that_they_share(written, base: Run, tmp_path: Path) -> None:
    for fold in (1, 2):
        written(tmp_path / "two", replace(base, fold=fold), MANY)
    written(tmp_path / "two", random(base, recipe=SCRATCH, fold=2), [1, 0] * 15)
    report = gather(tmp_path / "two", tmp_path)
    (row,) = report.parts.query("claim == 1").to_dict("records")
    assert (row["folds"], row["runs"], row["clips"], row["value"]) == ("2", 2, 30, 50)
    (gap,) = report.table1.query("quantity == 'pretrained - random' and rule == 'last'").to_dict("records")
    assert (gap["folds"], gap["runs"], gap["clips"], gap["accuracy"]) == ("2", 2, 30, 50)
    written(tmp_path / "none", base, MANY)
    written(tmp_path / "none", random(base, recipe=SCRATCH, fold=2), MANY)
    report = gather(tmp_path / "none", tmp_path)
    assert "no fold in common of pretrained and random" in str(report.findings[0].missing[0])
    assert not len(report.table1.query("quantity == 'pretrained - random'"))


def test_nested_runs_are_judged_on_the_chosen_epoch(written, base: Run, tmp_path: Path) -> None:
    starts = ((replace(base, protocol="nested"), MANY), (random(base, protocol="nested", recipe=SCRATCH), [1, 0] * 15))
    for (start, right), seed in itertools.product(starts, (0, 1)):
        folder = written(tmp_path, replace(start, seed=seed), right)
        outputs = folder.predictions
        outputs = replace(outputs, logits={"test": outputs.logits["last"]})
        rewritten(folder, outputs, scores={"test": folder.result.scores["last"]})
    report = gather(tmp_path, tmp_path, rule="best")
    assert set(report.table1["rule"]) == {"test"}
    (first, *_) = report.parts.to_dict("records")
    assert (first["rule"], first["verdict"], first["size"]) == ("test", "holds", None)


def test_other_clips_and_other_weights_are_refused(written, base: Run, tmp_path: Path) -> None:
    case = only(cases([written(tmp_path, base, MANY)]))
    evidence.must_fit(case, base.data_digest, "imagenet:x")
    with pytest.raises(UserError, match="--data PATH"):
        evidence.must_fit(case, "other", "imagenet:x")
    with pytest.raises(UserError, match="starts from imagenet:x, not from imagenet:y"):
        evidence.must_fit(case, base.data_digest, "imagenet:y")


def test_what_the_claims_lack_is_listed_once(written, base: Run, tmp_path: Path) -> None:
    written(tmp_path, base, MANY)
    written(tmp_path, replace(base, transfer=PLANS["fused:block2"]), MANY)
    (first, second) = evidence.lacking(cases([load(path) for path in tmp_path.iterdir()]))
    assert first[2] == ["random", "fused:block3", "frozen:block2", "frozen:block3", "kept:block3", "kept:block2"]
    assert (first[1].folds, first[1].seeds) == ((1,), 1)
    assert second[2] == ["pretrained"]
    assert second[1].seeds == 5
