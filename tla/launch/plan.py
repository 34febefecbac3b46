"""A plan: the runs that a question needs. It can be added to others, counted and shown, and nothing is trained by making it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from tla.console import counted, say
from tla.launch.board import Batches
from tla.launch.material import Material
from tla.options import Place
from tla.runs import schedule
from tla.runs.folder import FinishedRun, RunFolder, whole
from tla.runs.run import Run

if TYPE_CHECKING:
    from tla.launch.forecast import Forecast, Times

Found = TypeVar("Found", covariant=True)


@dataclass(frozen=True)
class Wanted:
    """A run, its folder, and what training takes.

    A run may start from the weights of another one, its donor. Weights are identified by their content, which is not known
    before the donor is trained; until then they are called after it, so that the run can be counted all the same.
    """

    run: Run
    folder: RunFolder
    material: Material = field(compare=False)
    donor: RunFolder | None = None

    def finished(self) -> FinishedRun | None:
        """The run, if it is finished and whole."""
        return whole(self.folder.path)

    @property
    def batches(self) -> Batches:
        """How long the run is."""
        from tla.runs.feed import count_batches

        epoch = count_batches(self.run, self.run.epoch_clips(self.material.dataset))
        return Batches(epoch, *schedule.steps(self.run.recipe, epoch), before=epoch * self.folder.count_epochs())


@dataclass(frozen=True, repr=False)
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
    def data_digest(self) -> str:
        """Of the clips that its runs learn from; of the first, where there are several data sets."""
        return next(iter(self.wanted.values())).run.data_digest

    def missing(self) -> list[Wanted]:
        """Those that are not finished, or damaged."""
        return [wanted for wanted in self.wanted.values() if wanted.finished() is None]

    def finished(self) -> list[FinishedRun]:
        """Those that are finished and whole."""
        return [run for wanted in self.wanted.values() if (run := wanted.finished())]

    def __repr__(self) -> str:
        return tally(len(self), self.missing())

    def forecast(self, times: "Times | None" = None) -> "Forecast":
        """What the missing runs will take here; `times` are taken, and those that are missing there put in."""
        from tla.launch.forecast import forecast

        missing = {path: (each.run, each.batches, each.material) for path, each in self.wanted.items() if not each.finished()}
        return forecast(missing, self.wanted.keys() - missing.keys(), {} if times is None else times)

    def show(self) -> None:
        """Print the plan, and what it will take."""
        if self:
            say(str(self))
            print(self.forecast())
        else:
            print("nothing to train")


@dataclass(frozen=True, repr=False)
class PlanFor(Plan, Generic[Found]):
    """The plan of a question, which knows what each of its runs is for; added to another plan, it is runs alone."""

    sorted_out: Callable[[Mapping[str, FinishedRun]], Found] = field(kw_only=True, compare=False)
    """What the question measures, made of the finished runs by the keys that they have in the plan."""


def tally(runs: int, missing: Sequence[Wanted]) -> str:
    """How many of so many runs are finished, and how many are not."""
    begun = sum(wanted.folder.checkpoint.is_file() for wanted in missing)
    return f"{counted(runs, 'run')}: {runs - len(missing)} finished, {begun} to continue, {len(missing) - begun} to train"
