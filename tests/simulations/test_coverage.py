"""Every interval that is printed covers about as often as it says, and sweeps name few steps that do not matter.

Fewer data sets than the table of docs/statistics.md has, so that it takes three minutes; the bounds leave room for chance.
"""

import numpy as np
import pytest

from tla.bench.coverage import SETTINGS, SWEEPS, Setting, arms_of, measured
from tla.statistics import FEWEST, NONE

SETS = 300
ROOM = 0.02  # about one and a half standard errors of a coverage of 95 % over so many


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_intervals_cover_what_they_say(setting: Setting) -> None:
    row = measured(setting, SETS, np.random.default_rng(100))
    if setting.recordings < FEWEST:
        assert row["printed"] == 0, NONE
    else:
        assert row["printed"] == 1
        assert 0.93 - ROOM <= row["now"] <= 0.98 + ROOM


@pytest.mark.slow
@pytest.mark.parametrize("setting", SWEEPS, ids=lambda setting: setting.name)
def test_sweeps_without_an_effect_name_few_steps(setting: Setting) -> None:
    row = measured(setting, SETS, np.random.default_rng(100))
    assert row["now"] <= 0.07 + ROOM
    if setting.seeds == 1:
        assert row["now"] == 0


def test_simulated_clips_are_right_as_often_and_as_correlated_as_is_said() -> None:
    setting = Setting(what="difference", clips=4000, recordings=1000, accuracy=0.8, to=0.7, within=0.3, seeds=2, noise=0.0)
    first, second = (arm[0] for arm in arms_of(setting, 2, np.random.default_rng(0)))
    assert first.values.mean() == pytest.approx(0.8, abs=0.02)
    assert second.values.mean() == pytest.approx(0.7, abs=0.02)
    by_recording = np.stack([first.values[0][first.recordings == k] for k in range(1000)])
    assert np.corrcoef(by_recording[:, 0], by_recording[:, 1])[0, 1] == pytest.approx(0.3, abs=0.08)
    noisy = Setting(what="accuracy", clips=4000, recordings=4000, accuracy=0.8, within=0.0, seeds=400, noise=0.03)
    (runs,) = (arm[0].values.mean(axis=1) for arm in arms_of(noisy, 1, np.random.default_rng(1)))
    assert runs.std() == pytest.approx(0.03, abs=0.005)
