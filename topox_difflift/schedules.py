"""
Annealing schedules: functions of the step that go from one value to another and stay there.

They suit whatever can be reassigned between steps, such as the temperature of `GumbelSigmoid`:

>>> from topox_difflift import DiffLift, schedules
>>> lift = DiffLift(estimator="gumbel")
>>> temperature = schedules.exponential(2.0, 0.1, steps=100)
>>> for epoch in range(120):
...     lift.estimator.temperature = temperature(epoch)
...     # train for one epoch
>>> lift.estimator.temperature
0.1
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from topox_difflift.checks import check_at_least

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["cosine", "exponential", "linear"]


def linear(start: float, end: float, steps: int) -> Callable[[int], float]:
    """
    Go from `start` to `end` by equal differences.

    Parameters
    ----------
    start, end : float
        Value at step 0, and from step `steps` on.
    steps : int
        How many steps it takes.

    Returns
    -------
    callable
        ``step -> value``; it can be pickled.

    Raises
    ------
    ValueError
        If a value is not finite or `steps` is below 1.
    """
    return _schedule(_linear, start, end, steps)


def exponential(start: float, end: float, steps: int) -> Callable[[int], float]:
    """
    Go from `start` to `end` by equal ratios.

    Parameters
    ----------
    start, end : float
        Value at step 0, and from step `steps` on; positive.
    steps : int
        How many steps it takes.

    Returns
    -------
    callable
        ``step -> value``; it can be pickled.

    Raises
    ------
    ValueError
        If a value is not finite and positive or `steps` is below 1.
    """
    for name, value in (("start", start), ("end", end)):
        if value <= 0:
            raise ValueError(
                f"Expected '{name}' to be positive, as equal ratios never reach 0 (got {value}); "
                "linear and cosine do"
            )
    return _schedule(_exponential, start, end, steps)


def cosine(start: float, end: float, steps: int) -> Callable[[int], float]:
    """
    Go from `start` to `end` along half a cosine: slowly at both ends.

    Parameters
    ----------
    start, end : float
        Value at step 0, and from step `steps` on.
    steps : int
        How many steps it takes.

    Returns
    -------
    callable
        ``step -> value``; it can be pickled.

    Raises
    ------
    ValueError
        If a value is not finite or `steps` is below 1.

    References
    ----------
    .. [1] Loshchilov, Hutter. SGDR: stochastic gradient descent with warm restarts. ICLR
       2017, equation 5.
    """
    return _schedule(_cosine, start, end, steps)


def _linear(start: float, end: float, part: float) -> float:
    return start + (end - start) * part


def _exponential(start: float, end: float, part: float) -> float:
    return start * (end / start) ** part


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def _schedule(
    curve: Callable[[float, float, float], float], start: float, end: float, steps: int
) -> Callable[[int], float]:
    """Check the arguments; a partial function can be pickled with the rest of a run."""
    for name, value in (("start", start), ("end", end)):
        if not math.isfinite(value):
            raise ValueError(f"Expected '{name}' to be finite (got {value})")
    check_at_least("steps", steps, 1)
    return partial(_value, curve, float(start), float(end), steps)


def _value(
    curve: Callable[[float, float, float], float], start: float, end: float, steps: int, step: int
) -> float:
    check_at_least("step", step, 0)
    # Not curve(start, end, 1), which may miss `end` by a rounding.
    return end if step >= steps else curve(start, end, step / steps)
