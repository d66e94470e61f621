from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfsight.report.curves import MOST, chart, smooth, thin, ticks

FINITE = st.floats(-1e9, 1e9, allow_nan=False)


@given(FINITE, FINITE)
def test_ticks_are_few_even_and_enclose(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    if 0 < high - low < 1e-6 * max(abs(low), abs(high)):
        return  # closer than a label could tell apart
    marks = ticks(low, high)
    slack = 1e-6 * (marks[-1] - marks[0])
    assert 2 <= len(marks) <= 8
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (3, 17, [0, 5, 10, 15, 20])]
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_smooth_is_a_running_mean_and_thin_keeps_both_ends() -> None:
    points = [(float(i), float(i % 2)) for i in range(1000)]
    assert [b for _, b in smooth(points, 1)][1:4] == pytest.approx([1 / 3, 2 / 3, 1 / 3])
    few = thin(points, MOST)
    assert len(few) <= MOST + 1
    assert (few[0], few[-1]) == (points[0], points[-1])


def test_not_finite_values_leave_no_trace() -> None:
    drawn = chart([(0, 1), (1, math.nan), (2, math.inf), (3, 2)], title="<Loss>", x="step")
    assert "nan" not in drawn
    assert "inf" not in drawn
    assert "<Loss>" not in drawn
    assert chart([(0, 1)], title="one point", x="step") == ""


def test_a_flat_line_has_a_frame() -> None:
    assert chart([(0, 2.0), (10, 2.0)], title="flat", x="step", reference=(2.0, "before"))


@pytest.mark.parametrize(("low", "high"), [(0, 1e308), (-1e308, 1e308), (1e308, 1e308), (-(10**305), 1), (9, 3)])
def test_ticks_of_what_a_strangers_file_may_hold(low: float, high: float) -> None:
    assert 2 <= len(ticks(low, high)) <= 12
