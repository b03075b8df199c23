"""Drawings of lines: round ticks, places that can be worked out by hand, words beside them."""

from __future__ import annotations

import re

import pytest

from autofuse.evaluation.reliability import BINS, Reliability
from autofuse.report.calibration_section import calibration_section, reliability_chart
from autofuse.report.drawing import SERIES, Scale, legend, shortened, ticks
from autofuse.report.line_chart import MOST_POINTS, Line, line_chart, thinned
from autofuse.report.strip_chart import MOST_DOTS, Strip, described, strip_chart


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, (0, 0.2, 0.4, 0.6, 0.8, 1)),
        (0, 120, (0, 50, 100)),
        (-0.3, 0.3, (-0.2, 0, 0.2)),
        (0.001, 0.0042, (0.001, 0.002, 0.003, 0.004)),
        (5, 5, (5,)),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: tuple[float, ...]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_places_run_from_start_to_stop_and_not_beyond() -> None:
    upwards = Scale(0, 10, 200, 100)
    assert [upwards.place(value) for value in (0, 5, 10, -3, 99)] == [200, 150, 100, 200, 100]
    assert Scale(4, 4, 0, 10).place(4) == 5


def test_a_line_goes_through_its_points() -> None:
    svg = line_chart(
        [Line("fold 0", ((0, 0.0), (50, 0.5), (100, 1.0)))], across="x", upwards="y", description="d", limits=(0, 1)
    )
    (points,) = re.findall(r'polyline points="([^"]+)"', svg)
    (x0, y0), (x1, y1), (x2, y2) = (map(float, pair.split(",")) for pair in points.split())
    assert x1 - x0 == pytest.approx(x2 - x1) and y0 - y1 == pytest.approx(y1 - y2) and y0 > y2
    assert "fold 0" not in svg, "one line needs no legend"


def test_a_single_point_is_a_dot_and_many_lines_have_a_legend() -> None:
    lines = [Line(f"fold {number}", ((10, 0.5),)) for number in range(SERIES + 2)]
    svg = line_chart(lines, across="x", upwards="y", description="d")
    assert svg.count("<circle") == SERIES + 2
    assert svg.count("fold ") == SERIES + 2 and "stroke-dasharray" in svg
    with pytest.raises(ValueError, match="one point"):
        line_chart([Line("x", ())], across="x", upwards="y", description="d")


def test_long_curves_are_thinned_and_end_where_they_end() -> None:
    points = [(float(step), float(step % 2)) for step in range(10 * MOST_POINTS)]
    few = thinned(points)
    assert MOST_POINTS - 1 <= len(few) <= MOST_POINTS + 1
    assert few[-1] == points[-1]
    assert few[3][1] == pytest.approx(0.5)
    assert thinned(points[:5]) == tuple(points[:5])


def test_a_strip_has_dots_box_mean_and_interval() -> None:
    values = tuple((f"case {number}", number / 10) for number in range(11))
    svg = strip_chart([Strip("liver", values, 0.5, 0.3, 0.7)], across="Dice", description="d", limits=(0, 1))
    assert svg.count("<circle") == 12 and svg.count("<rect") == 1 and 'class="range' in svg
    assert "case 3: 0.300" in svg
    left, width = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', svg)[0]
    x = Scale(0, 1, 172, 884)
    assert float(left) == pytest.approx(x.place(0.25), abs=0.2)
    assert float(left) + float(width) == pytest.approx(x.place(0.75), abs=0.2)
    assert described([Strip("liver", values, 0.5, 0.3, 0.7)]) == (
        "liver: 11 values from 0 to 1, median 0.5, mean 0.5 (95 % interval 0.3 to 0.7)."
    )


def test_thousands_of_cases_are_a_box_only() -> None:
    values = tuple((str(number), number / 5000) for number in range(MOST_DOTS + 1))
    svg = strip_chart([Strip("liver", values), Strip("none", ())], across="Dice", description="d")
    assert "<circle" not in svg and "<rect" in svg and "no value" in svg


def test_legends_break_into_lines_and_long_names_are_cut() -> None:
    parts, height = legend([f"a rather long name of fold {number}" for number in range(6)], 0, 0, 400)
    assert height > 40 and len(parts) == 12
    assert shortened("abcdefghijklmnop", 9) == "abcd…mnop" and shortened("abc", 9) == "abc"


def test_a_reliable_model_lies_on_the_diagonal() -> None:
    centres = tuple((number + 0.5) / BINS for number in range(BINS))
    found = Reliability(name="liver", voxels=(100,) * BINS, stated=centres, observed=centres, error=0.0)
    svg = reliability_chart([found])
    for cx, cy in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg):
        assert float(cx) - 58 == pytest.approx(330 + 28 - float(cy), abs=0.2)
    section = calibration_section([found], 3)
    assert "ECE" in section.blocks[1].table.columns  # type: ignore[union-attr]
    nothing = Reliability(name="liver", voxels=(0,) * BINS, stated=(None,) * BINS, observed=(None,) * BINS, error=None)
    assert len(calibration_section([nothing], 0).blocks) == 1
