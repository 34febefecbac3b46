"""Progress forecasts the rest of long work from what is measured of it."""

import pytest

from tla import console


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(console, "time", clock)
    return clock


def work(clock: Clock, watch: console.Progress, seconds: float, parts: int = 1) -> None:
    clock.now += seconds
    watch.advance(parts)


def test_long_work_is_announced_from_its_first_piece_with_the_way_to_less(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with console.progress("auditing", 100, "clips", fewer="--clips 20 takes 20") as watch:
        work(clock, watch, 30.0)
        printed = capsys.readouterr().err
        assert printed.splitlines()[0] == "auditing: about 50 min for 100 clips (30 s each); --clips 20 takes 20"
        work(clock, watch, 30.0)
        assert "about" not in capsys.readouterr().err  # once
        assert watch.left_s == pytest.approx(98 * 30)


def test_short_work_is_not_announced(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("classifying", 10, "files") as watch:
        for _ in range(10):
            work(clock, watch, 4.0)
    printed = capsys.readouterr().err.splitlines()
    assert printed == ["classifying: 5 of 10 files, 4.0 s each, 20 s left", "classifying: 10 of 10 files, 4.0 s each, 0 s left"]


def test_what_was_done_before_is_not_measured(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("pictures", 1000, "clips") as watch:
        watch.advance(800)
        for _ in range(4):
            work(clock, watch, 1.0)
        assert watch.left_s == pytest.approx(196)
    assert capsys.readouterr().err == "pictures: about 3 min for 1000 clips (1.0 s each)\n"


def test_work_that_comes_again_is_forecast_as_a_whole(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("mapping", 10, "clips", rounds=20) as watch:
        work(clock, watch, 3.0)
    assert capsys.readouterr().err == "mapping: about 10 min for 10 clips, 20 times (3.0 s each)\n"


def test_where_the_number_is_not_known_nothing_is_forecast(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("training", None, "batches") as watch:
        work(clock, watch, 30.0, 5)
        assert capsys.readouterr().err == "training: 5 batches\n"
        watch.total = 1000  # as when the first run of a study has ended
        work(clock, watch, 10.0, 5)
    assert capsys.readouterr().err == "training: about 66 min for 1000 batches (4.0 s each)\n"


@pytest.mark.parametrize(("seconds", "words"), [(3.2, "3 s"), (89, "89 s"), (91, "2 min"), (3600, "60 min"), (9000, "2.5 h")])
def test_times_are_given_as_people_give_them(seconds: float, words: str) -> None:
    assert console.span(seconds) == words
