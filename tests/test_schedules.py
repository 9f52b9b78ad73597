"""Annealing schedules: where they start, how they go, and that they stay."""

import doctest
import math
import pickle
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topox_difflift import schedules
from topox_difflift.schedules import Schedule, cosine, exponential, linear, parse, step

SCHEDULES = [linear, exponential, cosine, step]
values = st.floats(1e-3, 1e3)


@given(st.sampled_from(SCHEDULES), values, values, st.integers(1, 200))
def test_from_start_to_end_and_on(make, start, end, steps):
    schedule = make(start, end, steps)
    path = [schedule(at) for at in range(steps + 3)]
    assert path[0] == pytest.approx(start)
    assert path[steps:] == [end] * 3  # exactly
    slack = 1e-12 * max(start, end)
    ascending = all(b >= a - slack for a, b in pairwise(path))
    descending = all(b <= a + slack for a, b in pairwise(path))
    assert ascending if end >= start else descending
    assert pickle.loads(pickle.dumps(schedule))(steps // 2) == schedule(steps // 2)


@given(values, values, st.integers(2, 50))
def test_shapes(start, end, steps):
    path = [linear(start, end, steps)(at) for at in range(steps + 1)]
    assert path[1] - path[0] == pytest.approx(path[-1] - path[-2], abs=1e-9 * max(start, end))
    path = [exponential(start, end, steps)(at) for at in range(steps + 1)]
    assert path[1] / path[0] == pytest.approx(path[-1] / path[-2])
    middle = cosine(start, end, 2 * steps)
    assert middle(steps) == pytest.approx((start + end) / 2)
    assert middle(1) == pytest.approx(
        start + (end - start) * math.sin(math.pi / (4 * steps)) ** 2, rel=1e-9
    )
    jump = step(start, end, steps)
    assert [jump(at) for at in range(steps + 1)] == [start] * steps + [end]


@given(st.sampled_from(SCHEDULES), st.integers(1, 99), st.integers(1, 99), st.integers(1, 200))
def test_text_says_which_schedule_it_is(make, start, end, steps):
    schedule = make(start / 8, end / 8, steps)
    assert parse(str(schedule)) == schedule
    assert str(schedule).startswith(f"{make.__name__}:")


@pytest.mark.parametrize("text", ["linear:0:1", "linear:0:1:2:3", "linear:a:1:2", "linear:0:1:2.5"])
def test_text_that_is_no_schedule(text):
    with pytest.raises(ValueError, match=f"curve:start:end:steps.*exponential.*got '{text}'"):
        parse(text)


def test_unknown_curve():
    with pytest.raises(ValueError, match="'curve' to be one of linear, exponential, cosine, step"):
        Schedule("square", 0, 1, 10)
    with pytest.raises(ValueError, match=r"'curve'.*got 'square'"):
        parse("square:0:1:10")


@pytest.mark.parametrize("make", SCHEDULES)
def test_impossible_arguments(make):
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="'start' to be finite"):
            make(bad, 1, 10)
    with pytest.raises(ValueError, match="'end' to be finite"):
        make(1, math.inf, 10)
    for steps in (0, -1, 2.5):
        with pytest.raises(ValueError, match="'steps' to be an integer of at least 1"):
            make(1, 0.1, steps)
    with pytest.raises(ValueError, match="'step' to be an integer of at least 0"):
        make(1, 0.1, 10)(-1)


def test_exponential_never_reaches_zero():
    for name, arguments in (("end", (1, 0)), ("start", (-1, 1))):
        with pytest.raises(ValueError, match=f"'{name}' to be positive.*linear and cosine"):
            exponential(*arguments, 10)


def test_example():
    assert doctest.testmod(schedules) == (0, 7)
