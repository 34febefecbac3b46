"""The figure of an audit: its points are its table's, and its caption says what they stand on."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.container import ErrorbarContainer

from tla.attribution import audit_figure as draw

ROWS = {
    "energy": (("loudest", "borders", "either"), tuple(draw.MAPS)),
    "stages": (("rank correlation",), ("none", "head", "block4", "block3", "block2", "block1", "stem")),
    "baselines": (("rank correlation",), ("silence / mean", "silence / zero")),
    "runs": (("rank correlation",), ("seed 0 / seed 1", "before / after")),
    "position": (("rank correlation",), ("other clips",)),
}


@pytest.fixture
def summary() -> pd.DataFrame:
    """Numbers of which no two are equal, in an order of no meaning."""
    names = [(part, *one) for part, (measures, variants) in ROWS.items() for one in itertools.product(measures, variants)]
    table = pd.DataFrame(names, columns=["part", "measure", "variant"]).assign(clips=80, left_out=0)
    table["value"] = np.linspace(0.1, 0.9, len(table))
    return table.assign(low=table["value"] - 0.02, high=table["value"] + 0.03).sample(frac=1, random_state=0)


@pytest.fixture
def curves() -> pd.DataFrame:
    rows = [
        {"curve": curve, "ranking": ranking, "share": share, "value": share**power, "low": 0.0, "high": 1.0}
        for curve in ("deletion", "insertion")
        for power, ranking in enumerate(("attribution", "loudness", "random"), 1)
        for share in np.linspace(0, 1, 5)
    ]
    return pd.DataFrame(rows)


def value(summary: pd.DataFrame, part: str, variant: str, measure: str = "rank correlation") -> float:
    (row,) = summary.query("part == @part and variant == @variant and measure == @measure").to_dict("records")
    return row["value"]


def test_points_are_the_tables(summary: pd.DataFrame, curves: pd.DataFrame) -> None:
    energy, deletion, insertion, stages, agreement = draw.figure(summary, curves, "note").axes
    points = {
        bar.get_label(): bar.lines[0].get_ydata(orig=False) for bar in energy.containers if isinstance(bar, ErrorbarContainer)
    }
    for variant, label in draw.MAPS.items():
        wanted = [100 * value(summary, "energy", variant, measure) for measure in ("loudest", "borders", "either")]
        np.testing.assert_allclose(points[label], wanted)
    (line,) = (bar.lines[0] for bar in stages.containers)
    wanted = [value(summary, "stages", stage) for stage in ROWS["stages"][1]]
    np.testing.assert_allclose(line.get_ydata(orig=False), wanted)
    assert [text.get_text() for text in stages.get_xticklabels()] == list(ROWS["stages"][1])
    for place, text in zip(agreement.get_yticks(), agreement.get_yticklabels(), strict=True):
        part = "baselines" if "silence" in text.get_text() else "runs"
        drawn = agreement.containers[int(place)].lines[0].get_xdata()[0]
        assert drawn == pytest.approx(value(summary, part, text.get_text()))
    for axes, curve in ((deletion, "deletion"), (insertion, "insertion")):
        for line in axes.get_lines():
            mine = curves[(curves["curve"] == curve) & (curves["ranking"] == line.get_label())]
            np.testing.assert_allclose(line.get_ydata(orig=False), mine["value"])
        assert axes.get_xlim() == (0, 100)


def test_intervals_are_drawn_from_end_to_end(summary: pd.DataFrame, curves: pd.DataFrame) -> None:
    stages = draw.figure(summary, curves, "note").axes[3]
    (bar,) = stages.containers
    segments = bar.lines[2][0].get_segments()
    first = value(summary, "stages", "none")
    np.testing.assert_allclose(segments[0][:, 1], [first - 0.02, first + 0.03])


def test_without_other_runs_the_rest_is_drawn(summary: pd.DataFrame, curves: pd.DataFrame) -> None:
    """One recording has no others, and a run may have no siblings."""
    figure = draw.figure(summary[~summary["part"].isin(["position", "runs"])], curves, "note")
    figure.draw_without_rendering()
    assert len(figure.axes[4].get_yticks()) == 2
