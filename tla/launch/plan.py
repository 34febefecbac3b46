"""A plan: the runs that a question needs. It can be added to others, counted and shown, and nothing is trained by making it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tla.console import say
from tla.errors import Damaged
from tla.launch.dispatch import Batches
from tla.launch.material import Material
from tla.options import Place
from tla.runs import schedule
from tla.runs.folder import FinishedRun, RunFolder, load
from tla.runs.run import Run

if TYPE_CHECKING:
    from tla.launch.forecast import Forecast, Times


@dataclass(frozen=True)
class Wanted:
    """A run, its folder, and what training takes.

    A run may start from the weights of another one, its donor. What weights are is told by their content, which is not known
    before the donor is trained; until then they are called after it, so that the run can be counted all the same.
    """

    run: Run
    folder: RunFolder
    material: Material = field(compare=False)
    donor: RunFolder | None = None

    @property
    def finished(self) -> FinishedRun | None:
        """The run, if it is finished and not damaged."""
        try:
            return load(self.folder.path) if self.folder.finished else None
        except Damaged:
            return None  # a study that needs it says so, and trains it again

    @property
    def batches(self) -> Batches:
        """How long the run is."""
        return batches_of(self.run, self.folder, self.material)


@dataclass(frozen=True)
class Plan:
    """Runs, each of them once."""

    wanted: dict[Path, Wanted] = field(default_factory=dict)
    """By the folder of the run."""

    @classmethod
    def of(cls, runs: Iterable[Run], material: Material, place: Place, donor: RunFolder | None = None) -> "Plan":
        """Of runs on one material; they start from its weights, or from those of a donor."""
        folders = {run: RunFolder(Path(place.runs) / run.key) for run in runs}
        return cls({folder.path: Wanted(run, folder, material, donor) for run, folder in folders.items()})

    def __add__(self, other: "Plan") -> "Plan":
        return Plan(self.wanted | other.wanted)

    def __len__(self) -> int:
        return len(self.wanted)

    @property
    def missing(self) -> list[Wanted]:
        """Those that are not finished, or damaged."""
        return [wanted for wanted in self.wanted.values() if wanted.finished is None]

    def __str__(self) -> str:
        missing = self.missing
        begun = sum(wanted.folder.checkpoint.is_file() for wanted in missing)
        return f"{len(self)} runs: {len(self) - len(missing)} finished, {begun} to continue, {len(missing) - begun} to train"

    def forecast(self, times: "Times | None" = None) -> "Forecast":
        """What the missing runs will take here; `times` are taken, and those that are missing there put in."""
        from tla.launch.forecast import forecast

        missing = [(wanted.run, wanted.batches, wanted.material) for wanted in self.missing]
        return forecast(missing, len(self) - len(missing), {} if times is None else times)

    def show(self) -> None:
        """Print the plan, and what it will take."""
        if self:
            say(str(self))
            print(self.forecast())
        else:
            print("nothing to train")


def batches_of(run: Run, folder: RunFolder, material: Material) -> Batches:
    """How long a run is."""
    from tla.runs.feed import count_batches

    epoch = count_batches(run, len(material.dataset.split(run.fold, run.protocol).train))
    return Batches(epoch, *schedule.steps(run.recipe, epoch), before=epoch * folder.epochs)
