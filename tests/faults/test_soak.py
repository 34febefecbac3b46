"""A long life in one process: memory, open files, threads, child processes and temporary folders stay what they were.

What is allowed. The first half of each soak warms up: modules are loaded when they are first used, caches of a fixed size fill,
the allocator finds its size. Over the second half the counts may not change at all, and resident memory, read after a garbage
collection that also hands free pages back, may not climb by more than SLOPE_KB a turn (least squares). It is not flat to the
byte: the allocator's pages are shared by what lives long and what does not, and safetensors leaves 100 bytes behind for each
tensor that it reads. A leaked network, gradient or figure is more than that: the network here has 300 KB of weights, what
autograd keeps of a single picture 600 KB, a figure 1 MB.
"""

import ctypes
import gc
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from tla import plots
from tla.attribution.explainer import Explainer
from tla.attribution.starts import baselines
from tla.attribution.targets import Target
from tla.launch.material import Material
from tla.launch.study import ensure, list_runs, prepare
from tla.options import Augment, Place, Recipe, Study, Transfer
from tla.paper import page_contents, report
from tla.runs import infer
from tla.runs.folder import FinishedRun
from tla.sound import store, windowed, workers
from tla.stages import drawing as stages
from tla.stages.measuring import Curves, measure

SLOPE_KB = 40.0
FEW_SLOPE_KB = 500.0  # over a few turns, where one page more is a slope
WORK = ("open_store", "predict", "attribute", "draw", "page")  # the turns of a `Life`, beside its runs
COUNTS = ["files", "threads", "children", "temporary", "figures"]

Turn = Callable[[int], object]

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="what a process holds is read from Linux's /proc")


def held(temporary: Path) -> dict[str, float]:
    """What this process holds."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    children = sum(len(path.read_text().split()) for path in Path("/proc/self/task").glob("*/children"))
    return {
        "memory_kb": pages * os.sysconf("SC_PAGE_SIZE") / 1024,
        "files": len(list(Path("/proc/self/fd").iterdir())),  # with the listing's own
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "children": children,
        "temporary": sum(1 for _ in temporary.rglob("*")),
        "figures": sum(issubclass(type(each), Figure) for each in gc.get_objects()),
    }


def soak(turn: Turn, times: int, temporary: Path) -> pd.DataFrame:
    """A row for what is held before the first turn and after each: the curve of a soak."""
    gc.collect()
    gc.freeze()  # what was there before is not gone through again and again
    try:
        rows = [held(temporary)]
        for number in range(times):
            turn(number)
            rows.append(held(temporary))
    finally:
        gc.unfreeze()
    return pd.DataFrame(rows).rename_axis("turn").reset_index()


def slope_kb(curve: pd.DataFrame) -> float:
    """By how much memory climbs with a turn, over the second half."""
    later = curve[curve["turn"] > len(curve) // 2]
    return float(np.polyfit(later["turn"], later["memory_kb"], 1)[0])


def flat(curve: pd.DataFrame, path: Path, most_kb: float) -> None:
    """Keep the curve, and hold that it is flat."""
    curve.to_csv(path, index=False)
    half, end = curve.iloc[len(curve) // 2], curve.iloc[-1]
    assert end[COUNTS].to_dict() == half[COUNTS].to_dict(), f"see {path}"
    assert end["figures"] == 0
    new = end["children"] - curve["children"].iloc[0]  # other tests may have left crews of theirs
    assert new <= workers.cores() + 1, "more than the crew for live augmentation, which stays, and its caretaker"
    climbs, first = slope_kb(curve), curve["memory_kb"].iloc[0]
    print(f"{path.stem}: {first / 1024:.1f} MB at first, {end['memory_kb'] / 1024:.1f} at the end, {climbs:+.2f} KB a turn")
    assert climbs < most_kb, f"memory climbs by {climbs:.1f} KB a turn: see {path}"


@dataclass(frozen=True)
class Life:
    """What the turns of a soak work on."""

    material: Material
    place: Place
    temporary: Path
    clip: Path

    @property
    def folder(self) -> FinishedRun:
        """The run of seed 0, trained if it has to be."""
        (folder,) = ensure(list_runs(self.material), self.material, self.place)
        return folder

    def train(self, number: int) -> None:
        """A run from nothing to its end; every third behind a frozen prefix, every fourth standardised, every fifth live."""
        study, (run,) = self.material.study, list_runs(self.material)
        recipe = replace(run.recipe, standardise=number % 4 == 1)
        plan = Transfer(pretrained_upto="none", frozen_upto="block2") if number % 3 == 1 else run.transfer
        kind = Augment(kind="live") if number % 5 == 1 else run.augment
        mine = replace(run, seed=1 + number, recipe=recipe, transfer=plan, augment=kind)
        ensure([mine], replace(self.material, study=replace(study, recipe=recipe)), self.place)

    def open_store(self, number: int) -> None:
        pictures = self.material.store
        again = store.open_store(pictures.dataset, pictures.picture, pictures.augment, self.place.data / "pictures")
        assert np.isfinite(np.asarray(again.clean[number % len(pictures.dataset.clips)], dtype=np.float32)).all()

    def predict(self, number: int) -> None:
        table, wrong = infer.classify([self.clip], [self.folder], torch.device("cpu"))
        assert len(table) == 1
        assert not wrong

    def attribute(self, number: int) -> None:
        network = infer.load(self.folder, torch.device("cpu"))
        pictures = windowed.pictures(self.clip, network.run.picture)
        starts = baselines("silence", pictures.shape[1:])
        made = Explainer(network.net, network.standard).attribute(pictures[0], Target(0), starts, steps=4)
        assert np.isfinite(made.map).all()

    def draw(self, number: int) -> None:
        sweep = measure(Curves("fusion", {"random": {"none": [self.folder], "block4": [self.folder]}}))
        plots.save(stages.figure(sweep), Path(self.place.figures) / "fig2b_fusion")

    def page(self, number: int) -> None:
        found = report.gather(Path(self.place.runs), Path(self.place.figures))
        page_contents.publish(found, Path(self.place.figures), None)

    def all_others(self, number: int) -> None:
        for work in WORK:
            getattr(self, work)(number)


@pytest.fixture
def life(few_sounds: Path, study: Study, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Life:
    """One run's worth of everything, in folders of its own."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    own = replace(place, threads=1)
    short = replace(study, recipe=Recipe(epochs=1, lr=1e-3), augment=Augment(kind="bank:1"))
    material = prepare(short, own)
    return Life(material, own, temporary, material.dataset.clips[0].path)


def test_a_few_runs_leave_nothing_behind(life: Life, tmp_path: Path) -> None:
    flat(soak(life.train, 10, life.temporary), tmp_path / "runs.csv", FEW_SLOPE_KB)


def test_a_few_turns_of_all_other_work_leave_nothing_behind(life: Life, tmp_path: Path) -> None:
    assert life.folder.result.finished
    flat(soak(life.all_others, 4, life.temporary), tmp_path / "others.csv", FEW_SLOPE_KB)


@pytest.mark.faults
def test_two_hundred_runs_leave_nothing_behind(life: Life, tmp_path: Path) -> None:
    flat(soak(life.train, 200, life.temporary), tmp_path / "runs.csv", SLOPE_KB)


@pytest.mark.faults
@pytest.mark.parametrize("work", WORK)
def test_a_hundred_turns_of_other_work_leave_nothing_behind(life: Life, work: str, tmp_path: Path) -> None:
    assert life.folder.result.finished
    flat(soak(getattr(life, work), 100, life.temporary), tmp_path / f"{work}.csv", SLOPE_KB)
