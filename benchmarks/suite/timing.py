"""Medians of contenders that take turns, and fits."""

from __future__ import annotations

import math
import statistics
import time
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

#: A turn lasts this long, so that what takes less does not pay for the caches that others leave.
LEAST_SECONDS = 0.02
#: Once a contender has taken that long in all, its turns so far have to do.
PATIENCE_SECONDS = 10.0


def wait(device: str) -> None:
    """Let the device finish."""
    if device == "cuda":
        torch.cuda.synchronize()


def in_turns(
    contenders: dict[str, Callable[[], object]],
    repetitions: int,
    *,
    device: str = "cpu",
    warm: int = 1,
) -> dict[str, dict[str, Any]]:
    """
    Return median milliseconds of each contender, CPU and wall; or the reason why there are none.

    Every round runs all, one after the other, so that whatever else the machine does falls on
    each of them. The CPU time of one thread hardly feels it. The first rounds warm up and compile;
    of a contender that has no patience left, they are all there is.
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    failed: dict[str, str] = {}
    for _ in range(warm + repetitions):
        for name, contender in contenders.items():
            if name in failed or sum(wall for _, wall in taken[name]) > PATIENCE_SECONDS:
                continue
            try:
                taken[name].append(turn(contender, device))
            except Exception as error:  # noqa: BLE001 -- a peer that fails is a row that says why
                failed[name] = reason(error)
    found: dict[str, dict[str, Any]] = {name: {"reason": why} for name, why in failed.items()}
    for name, all_ in taken.items():
        if name not in failed:
            kept = all_[warm:] or all_
            cpu, wall = (1e3 * statistics.median(column) for column in zip(*kept, strict=True))
            found[name] = {"cpu": cpu, "wall": wall}
    return {name: found[name] for name in contenders}


def turn(contender: Callable[[], object], device: str) -> tuple[float, float]:
    """Return CPU and wall seconds of one call."""
    wait(device)
    cpu, wall, calls = time.process_time(), time.perf_counter(), 0
    while not calls or time.perf_counter() - wall < LEAST_SECONDS:
        contender()
        wait(device)
        calls += 1
    return (time.process_time() - cpu) / calls, (time.perf_counter() - wall) / calls


def reason(error: BaseException) -> str:
    """Say in one line why there is no figure."""
    if isinstance(error, ModuleNotFoundError):
        return f"not installed: {error.name}"
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return f"out of memory: {error}".split("\n")[0]
    line = f"{type(error).__name__}: {error}".split("\n")[0]
    return line if len(line) < 120 else f"{line[:117]}..."


def ratio(one: dict[str, Any], other: dict[str, Any], key: str = "cpu") -> float | None:
    """Return how many times as long `one` takes, where both took part."""
    if key not in one or key not in other:
        return None
    return one[key] / max(other[key], 1e-9)


def exponent(sizes: list[float], values: list[float]) -> float | None:
    """Fit ``value = c size^a`` and return a; None where there is nothing to fit."""
    if len(sizes) < 2 or min(values) <= 0:
        return None
    logs = [math.log(size) for size in sizes], [math.log(value) for value in values]
    return statistics.linear_regression(*logs).slope
