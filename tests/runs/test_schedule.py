"""How long a run is trained, and whether that was to its end."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tla.errors import UserError
from tla.options import Recipe
from tla.runs.schedule import CAP, FALL, FITTED, WINDOW, Log, judge, next_rate, of_paper, resolve, steps

PLATEAU = resolve(Recipe(lr=1e-3), scratch=False, paper=False)
CHANCE = math.log(10)


@pytest.mark.parametrize(
    ("recipe", "scratch", "epochs", "drops"),
    [
        (Recipe(), False, 70, (30, 60)),
        (Recipe(), True, 450, (300, 350)),
        (Recipe(epochs=12), False, 12, (5, 10)),
        (Recipe(epochs=12), True, 12, (5, 10)),
        (Recipe(epochs=1), False, 1, (1,)),
        (Recipe(epochs=12, drops=()), False, 12, ()),
        (Recipe(drops=(9,)), True, 450, (9,)),
    ],
)
def test_the_papers_experiments_have_its_epochs(recipe: Recipe, scratch: bool, epochs: int, drops: tuple[int, ...]) -> None:
    resolved = resolve(recipe, scratch=scratch, paper=True)
    assert (resolved.until, resolved.epochs, resolved.drops, resolved.cap) == ("epochs", epochs, drops, None)


def test_elsewhere_a_run_ends_by_itself_unless_epochs_are_given() -> None:
    assert (PLATEAU.until, PLATEAU.epochs, PLATEAU.drops, PLATEAU.cap) == ("plateau", None, None, CAP)
    assert resolve(Recipe(epochs=8), scratch=False, paper=False).until == "epochs"
    assert resolve(Recipe(until="plateau"), scratch=False, paper=True).until == "plateau"
    assert of_paper("esc50", "paper")
    assert not of_paper("esc50", "nested")
    assert not of_paper("my sounds", "paper")


def test_the_paper_schedule_fires_where_it_should() -> None:
    recipe = resolve(Recipe(), scratch=False, paper=True)
    rates = [next_rate(recipe, [{}] * epoch, 50) for epoch in (0, 29, 30, 59, 60, 69, 70)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, None])
    doubled = [next_rate(replace(recipe, times=2), [{}] * epoch, 50) for epoch in (59, 60, 119, 120, 139, 140)]
    assert doubled == pytest.approx([1, 0.1, 0.1, 0.01, 0.01, None])


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (Recipe(lr=0), "--recipe.lr is 0"),
        (Recipe(head_lr=-1), "--recipe.head-lr is -1"),
        (Recipe(batch=-1), "--recipe.batch"),
        (Recipe(epochs=0), "at least one epoch"),
        (Recipe(drops=(0,)), "--recipe.drops holds 0"),
        (Recipe(weight_decay=-1), "not negative"),
        (Recipe(times=0.5), "--recipe.times is 0.5"),
        (Recipe(cap=0), "at least one step"),
        (Recipe(cap=9, epochs=3), "--recipe.cap goes with --recipe.until plateau"),
        (Recipe(until="plateau", epochs=3), "--recipe.epochs and --recipe.drops go with --recipe.until epochs"),
    ],
)
def test_senseless_recipes_are_refused(recipe: Recipe, says: str) -> None:
    with pytest.raises(UserError, match=says):
        resolve(recipe, scratch=False, paper=False)


# A run that ends by itself


def trained(recipe: Recipe, loss: Callable[[float], float], epoch: int = 10) -> Log:
    """The log of a run whose loss depends on the steps so far, each weighted with its rate."""
    log: list[dict[str, float]] = []
    progress = 0.0
    while (rate := next_rate(recipe, log, 10)) is not None:
        progress += rate * epoch
        now = loss(progress)
        log.append({"lr": rate * recipe.lr, "steps": epoch, "loss": now, "training_loss": now})
        assert len(log) <= 10_000
    return log


def rates(log: Log) -> list[tuple[float, int]]:
    return [(lr, len(list(rows))) for lr, rows in itertools.groupby(row["lr"] for row in log)]


def test_a_run_that_is_fitted_goes_through_its_rates_and_ends() -> None:
    log = trained(PLATEAU, lambda progress: 0.9 * FITTED * CHANCE)
    assert rates(log) == [(pytest.approx(lr), WINDOW // 10) for lr in (1e-3, 1e-4, 1e-5)]
    assert sum(row["steps"] for row in log) == steps(PLATEAU, 10)[0]
    assert judge(log, 10).state == "converged"


def test_a_loss_that_levels_off_is_trained_until_it_has_and_is_converged() -> None:
    log = trained(PLATEAU, lambda progress: 0.8 + 1.2 * math.exp(-progress / 100))
    (_, first), *lower = rates(log)
    still, over = (0.8 + 1.2 * math.exp(-at / 100) for at in (10 * first / 2, 10 * first))
    assert 1 - over / still < 0.2  # it is not left while the loss still falls fast
    assert [length for _, length in lower] == [2 * WINDOW // 10] * 2
    assert judge(log, 10).state == "converged"


def test_a_loss_that_falls_like_a_power_of_time_is_not_taken_for_level() -> None:
    """Over equal times it falls by less and less: under 5 % in 50 steps from step 1000 on. Yet it is trained on."""
    log = trained(PLATEAU, lambda progress: 2 * (1 + progress / 20) ** -1)
    assert log[-1]["loss"] <= FITTED * CHANCE
    assert judge(log, 10).state == "converged"


def test_at_the_cap_a_run_ends_and_is_not_converged() -> None:
    recipe = replace(PLATEAU, cap=500)
    log = trained(recipe, lambda progress: 2 * (1 + progress / 20) ** -0.5)
    assert sum(row["steps"] for row in log) == 500 == steps(recipe, 10)[1]
    assert judge(log, 10).state == "still falling"


def test_twice_the_training_is_twice_at_each_rate() -> None:
    def loss(progress: float) -> float:
        return 0.9 * FITTED * CHANCE

    once, twice = trained(PLATEAU, loss), trained(replace(PLATEAU, times=2), loss)
    assert [length for _, length in rates(twice)] == [2 * length for _, length in rates(once)]


@pytest.mark.parametrize("epoch", [1, 3, 50, 400])
def test_what_counts_is_steps_and_not_epochs(epoch: int) -> None:
    log = trained(PLATEAU, lambda progress: 0.01, epoch)
    assert sum(row["steps"] for row in log) == 3 * epoch * math.ceil(WINDOW / epoch)


def test_a_decision_depends_on_the_log_alone_so_that_a_run_can_be_continued() -> None:
    log = trained(PLATEAU, lambda progress: 0.5 + 1.5 * math.exp(-progress / 150))
    for n, row in enumerate(log):
        assert next_rate(PLATEAU, log[:n], 10) == pytest.approx(row["lr"] / PLATEAU.lr)


# The judgement


def logged(*phases: list[float], epoch: int = 10) -> Log:
    return [
        {"lr": 10.0**-k, "steps": epoch, "loss": loss, "training_loss": loss}
        for k, phase in enumerate(phases)
        for loss in phase
    ]


def level(loss: float, epochs: int, fall: float = 0.0) -> Iterator[float]:
    """A loss that loses so much of itself in each epoch."""
    return (loss * (1 - fall) ** n for n in range(epochs))


@pytest.mark.parametrize(
    ("log", "state"),
    [
        (logged([*level(1.8, 3, 0.1)], [*level(1.5, 4)], [1.5]), "still falling"),  # 8 epochs
        (logged([*level(1.8, 15, 0.1)], [*level(0.3, 30)], [*level(0.3, 10)]), "still falling"),  # the rate fell too early
        (logged([*level(1.0, 30)], [*level(0.8, 30)], [*level(0.8, 10)]), "converged"),
        (logged([*level(1.0, 30)], [*level(0.8, 30)], [0.8]), "converged"),  # the last rate is too short to tell
        (logged([*level(1.0, 30)], [0.8], [*level(0.8, 10)]), "still falling"),
        (logged([*level(2.3, 30)], [*level(2.3, 30)]), "stuck"),
        (logged([*level(0.1, 30, 0.1)]), "converged"),  # fitted
        (logged([0.1] * 3, [0.1] * 4, [0.1]), "still falling"),  # and yet no rate was held long enough to tell
        (logged([0.5]), "still falling"),
    ],
)
def test_a_run_is_judged_by_its_loss(log: Log, state: str) -> None:
    assert judge(log, 10).state == state


def test_fitted_is_asked_in_inference_mode_and_falling_as_met() -> None:
    """Stored statistics of batch norm lag behind, so that the loss as met can be small when the network is of no use yet."""
    lags = [{**row, "training_loss": 2.0} for row in logged([*level(0.1, 30, 0.1)])]
    assert judge(lags, 10).state == "still falling"
    jumps = [{**row, "training_loss": 0.5 + 0.4 * (n % 2)} for n, row in enumerate(logged([*level(0.4, 30)]))]
    assert judge(jumps, 10).state == "converged"


def test_the_number_behind_a_judgement_is_the_fall_between_two_windows() -> None:
    found = judge(logged([1.0] * 5 + [0.9] * 5), 10)
    assert (found.state, found.fall, found.loss) == ("still falling", pytest.approx(0.1), pytest.approx(0.9))
    assert found.of_chance == pytest.approx(0.9 / CHANCE)
    assert judge(logged([1.0] * 5 + [1 - 0.9 * FALL] * 5), 10).state == "converged"
