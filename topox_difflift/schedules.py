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
from dataclasses import dataclass

from topox_difflift.checks import check_at_least, check_one_of

__all__ = ["Schedule", "cosine", "exponential", "linear", "parse", "step"]


@dataclass(frozen=True)
class Schedule:
    """
    From one value to another along a curve, and then no further.

    Attributes
    ----------
    curve : {"linear", "exponential", "cosine", "step"}
        How it goes; see the function of that name.
    start, end : float
        Value at step 0, and from step `steps` on.
    steps : int
        How many steps it takes.

    Raises
    ------
    ValueError
        If the curve is unknown, a value is not finite, `steps` is below 1, or the curve is
        "exponential" and a value is not positive.
    """

    curve: str
    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_one_of("curve", self.curve, tuple(_CURVES))
        check_at_least("steps", self.steps, 1)
        for name in ("start", "end"):
            value = getattr(self, name)
            if not math.isfinite(value):
                raise ValueError(f"Expected '{name}' to be finite (got {value})")
            if self.curve == "exponential" and value <= 0:
                raise ValueError(
                    f"Expected '{name}' to be positive, as equal ratios never reach 0 (got "
                    f"{value}); linear and cosine do"
                )

    def __call__(self, step: int) -> float:
        """
        Look up the value at a step.

        Parameters
        ----------
        step : int
            Number of the step, from 0.

        Returns
        -------
        float
            The value.
        """
        check_at_least("step", step, 0)
        # Not the curve at 1, which may miss `end` by a rounding.
        if step >= self.steps:
            return self.end
        return _CURVES[self.curve](self.start, self.end, step / self.steps)

    def __str__(self) -> str:
        return f"{self.curve}:{self.start:g}:{self.end:g}:{self.steps}"


def parse(text: str) -> Schedule:
    """
    Read a schedule from the command line.

    Parameters
    ----------
    text : str
        Curve, start, end and steps, such as "linear:0:0.1:16".

    Returns
    -------
    Schedule
        The schedule.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> from topox_difflift import schedules
    >>> schedules.parse("step:0:0.05:16")(16)
    0.05
    """
    try:
        curve, start, end, steps = text.split(":")
        values = float(start), float(end), int(steps)
    except ValueError:
        raise ValueError(
            "Expected a schedule to be curve:start:end:steps, such as linear:0:0.1:16, with "
            f"{', '.join(_CURVES)} for the curve (got {text!r})"
        ) from None
    return Schedule(curve, *values)


def linear(start: float, end: float, steps: int) -> Schedule:
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
    Schedule
        A function ``step -> value``.

    Raises
    ------
    ValueError
        If a value is not finite or `steps` is below 1.
    """
    return Schedule("linear", start, end, steps)


def exponential(start: float, end: float, steps: int) -> Schedule:
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
    Schedule
        A function ``step -> value``.

    Raises
    ------
    ValueError
        If a value is not finite and positive or `steps` is below 1.
    """
    return Schedule("exponential", start, end, steps)


def cosine(start: float, end: float, steps: int) -> Schedule:
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
    Schedule
        A function ``step -> value``.

    Raises
    ------
    ValueError
        If a value is not finite or `steps` is below 1.

    References
    ----------
    .. [1] Loshchilov, Hutter. SGDR: stochastic gradient descent with warm restarts. ICLR
       2017, equation 5.
    """
    return Schedule("cosine", start, end, steps)


def step(start: float, end: float, steps: int) -> Schedule:
    """
    Stay at `start`, and jump to `end` at step `steps`.

    Parameters
    ----------
    start, end : float
        Value before step `steps`, and from then on.
    steps : int
        When it jumps.

    Returns
    -------
    Schedule
        A function ``step -> value``.

    Raises
    ------
    ValueError
        If a value is not finite or `steps` is below 1.
    """
    return Schedule("step", start, end, steps)


def _linear(start: float, end: float, part: float) -> float:
    return start + (end - start) * part


def _exponential(start: float, end: float, part: float) -> float:
    return start * (end / start) ** part


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def _step(start: float, end: float, part: float) -> float:
    return start


_CURVES = {"linear": _linear, "exponential": _exponential, "cosine": _cosine, "step": _step}
