"""Checks of arguments and values, with messages that name the culprit and the remedy."""

from __future__ import annotations

import math
from numbers import Integral, Real

import torch
from torch import Tensor

__all__ = [
    "check_at_least", "check_finite", "check_flag", "check_generator", "check_one_of",
    "check_not_negative", "check_share", "is_finite",
]  # fmt: skip


def check_one_of(name: str, value: object, allowed: tuple[str, ...], hint: str = "") -> None:
    """
    Check that a value is one of several names.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : object
        Its value.
    allowed : tuple of str
        The names.
    hint : str, optional
        What else would do.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(
            f"Expected '{name}' to be one of {', '.join(allowed)}{hint} (got {value!r})"
        )


def check_at_least(name: str, value: object, least: int, hint: str = "") -> None:
    """
    Check that a value is an integer, and not too small.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : object
        Its value.
    least : int
        Smallest value allowed.
    hint : str, optional
        What else would do, or why.

    Raises
    ------
    ValueError
        If it is not.
    """
    # A bool is an integer to Python, but nobody means one here.
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        hint = f", {hint}" if hint else ""
        raise ValueError(
            f"Expected '{name}' to be an integer of at least {least}{hint} (got {value!r})"
        )


def check_flag(name: str, value: object, hint: str = "") -> None:
    """
    Check that a value is True or False.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : object
        Its value.
    hint : str, optional
        What else would do.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not isinstance(value, bool):
        raise ValueError(f"Expected '{name}' to be True or False{hint} (got {value!r})")


def check_generator(generator: torch.Generator | None, device: torch.device) -> None:
    """
    Check that random numbers can be drawn where they are needed.

    Parameters
    ----------
    generator : torch.Generator, optional
        Source of random numbers; PyTorch's own is on every device.
    device : torch.device
        Device of what is drawn.

    Raises
    ------
    ValueError
        If the generator is on a device of another type.
    """
    if generator is not None and generator.device.type != device.type:
        raise ValueError(
            f"Expected 'generator' to be on {device}, the device of 'x' (got one on "
            f"{generator.device}); lift.generator = torch.Generator('{device}').manual_seed(seed)"
        )


def check_not_negative(name: str, value: float) -> None:
    """
    Check that a value is a finite number of at least 0.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : float
        Its value.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not _is_number(value) or value < 0:
        raise ValueError(f"Expected '{name}' to be a finite number of at least 0 (got {value!r})")


def check_number(name: str, value: float) -> None:
    """
    Check that a value is a finite number.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : float
        Its value.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not _is_number(value):
        raise ValueError(f"Expected '{name}' to be a finite number (got {value!r})")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_share(name: str, value: float) -> None:
    """
    Check that a value is a share that leaves something.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : float
        Its value.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not 0 <= value < 1:
        raise ValueError(f"Expected '{name}' to be at least 0 and below 1 (got {value!r})")


def is_finite(values: Tensor) -> bool:
    """
    Whether all values are finite.

    Parameters
    ----------
    values : torch.Tensor
        The values.

    Returns
    -------
    bool
        False if one is NaN or infinite.
    """
    # A sum is finite only if every term is, and is found ten times faster; it may overflow.
    return math.isfinite(values.detach().sum()) or bool(torch.isfinite(values).all())


def check_finite(values: Tensor, culprit: str, what: str, row: str) -> None:
    """
    Check that what a part of a lifting computed is finite.

    Parameters
    ----------
    values : torch.Tensor, shape = (n,) or (n, channels)
        What it computed.
    culprit, what, row : str
        Names of the part, of a value, and of what a row stands for.

    Raises
    ------
    FloatingPointError
        If a value is NaN or infinite.
    """
    values = values.detach()
    if is_finite(values):
        return
    bad = ~torch.isfinite(values).view(len(values), -1).all(1)
    raise FloatingPointError(
        f"{culprit} gave {int(bad.sum())} of {len(values)} {row}s a NaN or infinite {what} "
        f"(first at {row} {int(bad.nonzero()[0])}); lower the learning rate, clip gradients, or "
        "look for NaN parameters"
    )
