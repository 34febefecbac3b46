"""The grid search (sec. IV-A): a run for each combination of the recipe's options, scored on a validation fold.

The protocol is the nested one: a fold beside the one that is held out chooses the epoch, and here the combination too. What a
run said of the held-out fold lies in its folder, as in that of any run, and is not looked at. The runs are ordinary ones: those
that exist are read, those that are trained are there for all other commands.
"""

import itertools
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tla.console import progress, say
from tla.errors import UserError
from tla.launch.dispatch import LOSSES, Board
from tla.launch.material import Material
from tla.launch.plan import Plan, batches_of
from tla.launch.study import check_launch, ensure, failure, list_runs, to_train
from tla.launch.worker import Outcome, Parcel, pack
from tla.options import Grid, Place, Search, Study
from tla.runs.folder import FinishedRun, RunFolder, load
from tla.runs.run import Run

THIRD = 3  # of the runs that reach a rung, one in so many goes on


@dataclass(frozen=True)
class Trial:
    """A run of one combination."""

    options: dict[str, Any]
    folder: FinishedRun | None
    """None: it was stopped early."""
    run: Run
    accuracies: list[float]
    """On the validation fold, by epoch; of a trial that was stopped, up to there."""

    @property
    def stopped(self) -> bool:
        return self.folder is None


def combinations(grid: Grid) -> list[dict[str, Any]]:
    """Every combination of the values, the last option varying fastest."""
    lists = {name: values for name, values in asdict(grid).items() if values}
    if not lists:
        raise UserError(
            "give values to try, as in --grid.lr 1e-3,1e-4 --grid.weight-decay 1e-3,1e-4 (--help lists the options)"
        )
    for name, values in lists.items():
        if len(set(values)) < len(values):
            raise UserError(f"--grid.{name.replace('_', '-')} names a value twice: {', '.join(map(str, values))}")
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def nested(study: Study, search: Search, place: Place) -> Study:
    """The study under the protocol that has a validation fold; `UserError` for a search that cannot be."""
    if search.asha:
        if check_launch(place) != "ray":
            raise UserError("--asha stops runs from outside, which takes Ray: add --launch ray")
        if search.grid.epochs or study.recipe.epochs is None:
            raise UserError(
                "--asha compares runs at the same length, epoch by epoch: give --recipe.epochs, and no --grid.epochs"
            )
        if study.seeds != 1 or study.folds == "all" or len(study.folds) != 1:
            raise UserError("--asha compares runs that differ in their options alone: give one fold (--folds 1) and one seed")
        if search.grace < 1:
            raise UserError(f"--grace is {search.grace}; a combination gets at least one epoch")
    return replace(study, protocol="nested")


def list_grid(material: Material, search: Search) -> list[tuple[dict[str, Any], Run]]:
    """The runs of every combination."""
    wanted: list[tuple[dict[str, Any], Run]] = []
    for options in combinations(search.grid):
        study = replace(material.study, recipe=replace(material.study.recipe, **options))
        wanted += [(options, run) for run in list_runs(replace(material, study=study))]
    epochs = wanted[0][1].recipe.epochs or 0
    if search.asha and search.grace >= epochs:
        raise UserError(f"--grace is {search.grace} and runs have {epochs} epochs: nothing could be stopped")
    return wanted


def plan(material: Material, search: Search, place: Place) -> Plan:
    """Every combination's runs; of those that --asha stops, not all epochs will be trained."""
    return Plan.of([run for _, run in list_grid(material, search)], material, place)


def search_grid(material: Material, search: Search, place: Place) -> list[Trial]:
    """Every combination's trials, trained where they are missing."""
    wanted = list_grid(material, search)
    runs = [run for _, run in wanted]
    cut = _with_tune(runs, material, search, place) if check_launch(place) == "ray" else {}
    finished = {run.key: run for run in ensure([run for run in runs if run.key not in cut], material, place, scores=False)}
    heard = cut | {key: [row["accuracy"] for row in run.log] for key, run in finished.items()}
    return [Trial(options, finished.get(run.key), run, heard[run.key]) for options, run in wanted]


# On Ray Tune


def _with_tune(runs: Sequence[Run], material: Material, search: Search, place: Place) -> dict[str, list[float]]:
    """Train the runs as trials of Ray Tune; returns the accuracies of those that were stopped early."""
    folders = {run.key: RunFolder(Path(place.runs) / run.key) for run in runs}
    wanted = {run.key: run for run in runs}
    missing = {key: wanted[key] for key in to_train(folders)}
    say(f"{len(folders)} runs: {len(folders) - len(missing)} finished, {len(missing)} to train or continue")
    if not missing:
        return {}
    from tla.launch.remote import Cluster

    batches = {key: batches_of(run, folders[key], material) for key, run in missing.items()}
    with (
        _reserved(missing, folders) as mine,
        progress("training", None) as bar,
        closing(Cluster(pack(material.store, material.pretrained), place, Board(bar, batches))) as cluster,
    ):
        heard = _tune([missing[key] for key in mine], runs, folders, cluster, search)
        failed = cluster.ray.get(cluster.desk.ended.remote())
    for outcome in failed:
        folders[outcome.key].note_failure(outcome.trace or outcome.error)
    dead = [Outcome(key=key, error="its process died again and again") for key in mine if key not in heard]
    named = {outcome.key for outcome in failed}
    failed += [outcome for outcome in dead if outcome.key not in named]
    if failed:
        raise failure(failed, wanted, folders)
    return {key: heard[key] for key in mine if not folders[key].intact}


def _tune(
    mine: Sequence[Run], runs: Sequence[Run], folders: Mapping[str, RunFolder], cluster: Any, search: Search
) -> dict[str, list[float]]:
    """The accuracies by epoch of each trial that got to one. Finished runs take part: the others are compared with them."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # the runs' folders are the log
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C is ours
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new one speaks even if told not to
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    heard: dict[str, dict[int, float]] = {}  # key -> epoch -> accuracy; a trial whose process died tells some of them twice

    class Hear(tune.Callback):
        """Follows the trials."""

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **_: Any) -> None:
            heard.setdefault(trial.config["key"], {})[result["epoch"]] = result["accuracy"]

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            key = trial.config["key"]
            if key in cluster.watched:
                cluster.watched.discard(key)
                cluster.board.end(key, "done" if folders[key].intact else "stopped")

        def on_step_end(self, iteration: int, trials: Any, **_: Any) -> None:
            cluster.hear()

    known = {key: [row["accuracy"] for row in load(folder.path).log] for key, folder in folders.items() if folder.intact}
    errands = {run.key: cluster.errand(run) for run in mine}
    cluster.watched = set(errands)
    scheduler = FIFOScheduler()
    if search.asha:
        longest = max(run.recipe.epochs or 0 for run in runs)
        about: Any = {"time_attr": "epoch", "metric": "accuracy", "mode": "max", "reduction_factor": THIRD}
        # who has come to the last epoch is let to end it
        scheduler = ASHAScheduler(**about, grace_period=search.grace, max_t=longest - 1, stop_last_trials=False)
    body = tune.with_parameters(
        _trial, errands=errands, known=known if search.asha else {}, parcel=[cluster.parcel], desk=cluster.desk
    )
    body = tune.with_resources(body, {"cpu": cluster.threads, "gpu": cluster.gpus})
    keys = [*(known if search.asha else ()), *errands]
    with tempfile.TemporaryDirectory() as folder:
        run_config = tune.RunConfig(
            name="grid",
            storage_path=folder,
            verbose=0,
            callbacks=[Hear()],
            failure_config=tune.FailureConfig(max_failures=LOSSES - 1),
        )
        tune_config = tune.TuneConfig(scheduler=scheduler)
        tune.Tuner(body, param_space={"key": tune.grid_search(keys)}, run_config=run_config, tune_config=tune_config).fit()
    return {key: [heard[key][epoch] for epoch in sorted(heard[key])] for key in errands if key in heard}


def _trial(
    config: dict[str, Any], errands: dict[str, Any], known: dict[str, list[float]], parcel: list[Any], desk: Any
) -> None:
    """What a trial does on its node: train its run, and say after each epoch how well it does on the validation fold."""
    import ray
    from ray import tune

    from tla.launch.remote import Lacks, train

    key, told = config["key"], 0

    def tell(log: Sequence[Mapping[str, Any]]) -> None:
        nonlocal told
        for row in log[told:]:
            told += 1
            tune.report({"epoch": row["epoch"], "accuracy": row["accuracy"]})

    if key in known:  # it is finished; the others are compared with it
        tell([{"epoch": epoch, "accuracy": accuracy} for epoch, accuracy in enumerate(known[key], 1)])
        return
    given: Parcel = ray.get(parcel[0])
    outcome = train(errands[key], given, desk, tell)
    if isinstance(outcome, Lacks):
        outcome = Outcome(key=key, error="its node joined late and does not have the pictures; the same command tries again")
    if outcome.error is not None:
        ray.get(desk.end.remote(outcome))


@contextmanager
def _reserved(runs: Mapping[str, Run], folders: Mapping[str, RunFolder]) -> Iterator[list[str]]:
    """Keep the runs for this study that no other one trains; yields their keys."""
    locks = {key: folders[key].reserve() for key in runs}
    try:
        yield [key for key, lock in locks.items() if lock is not None and not folders[key].intact]
    finally:
        for lock in locks.values():
            if lock is not None:
                lock.release()
