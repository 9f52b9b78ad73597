"""Run each measurement in a process of its own, whose end is a row and not the end of the suite."""

from __future__ import annotations

import multiprocessing
import sys
import time
import warnings
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .memory import bound

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

#: Where the functions are; imported once, by the process that all others are copies of.
MODULES = ("limits", "peers", "steps")
PACKAGE = __package__
ENGINES = ("numba", "tensors")


@dataclass(frozen=True)
class Task:
    """
    One measurement.

    Attributes
    ----------
    section : str
        Where its rows belong.
    function : str
        ``module.function``, which returns a row or a list of rows.
    settings : dict
        Arguments, beside those that all tasks have.
    engine : {"numba", "tensors"}
        With compiled loops, or as if numba were not installed.
    seconds : float
        After which it is stopped.
    """

    section: str
    function: str
    settings: dict[str, Any] = field(default_factory=dict)
    engine: str = "numba"
    seconds: float = 600.0

    def __str__(self) -> str:
        """Say what is measured, in one line."""
        words = [str(value) for value in self.settings.values()]
        return " ".join([self.function.partition(".")[2], *words, self.engine])


def run(task: Task, common: dict[str, Any], threads: int) -> list[dict[str, Any]]:
    """Measure in a process of its own; return the rows, or one that says why there are none."""
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload([f"{PACKAGE}.{module}" for module in MODULES])
    receiving, sending = context.Pipe(duplex=False)
    # As a daemon it ends with this process.
    arguments = task, common, threads, sending
    process = context.Process(target=measured, args=arguments, daemon=True)
    process.start()
    sending.close()
    try:
        if not receiving.poll(task.seconds):
            raise TimeoutError(f"stopped after {task.seconds:.0f} s")
        found = receiving.recv()
    except EOFError:
        process.join()
        found = {"reason": f"ended by signal {-(process.exitcode or 0)}, out of memory perhaps"}
    except TimeoutError as error:
        process.kill()
        found = {"reason": str(error)}
    process.join()
    rows = found if isinstance(found, list) else [found]
    said = {"function": task.function, "engine": task.engine, **task.settings}
    return [{**said, **row} for row in rows]


def measured(task: Task, common: dict[str, Any], threads: int, sending: Connection) -> None:
    """Measure here, and send what was found."""
    if task.engine == "tensors":
        sys.modules["numba"] = None  # type: ignore[assignment]
    # TopoNetX, sparse tensors and others announce this and that.
    warnings.simplefilter("ignore")
    import torch

    from .timing import reason

    torch.set_num_threads(threads)
    bound()
    module, _, name = task.function.partition(".")
    try:
        function = getattr(import_module(f"{PACKAGE}.{module}"), name)
        found = function(**task.settings, **common)
    except Exception as error:  # noqa: BLE001 -- a measurement that fails is a row that says why
        found = {"reason": reason(error)}
    print(f"{task}: {time.process_time():.1f} s of CPU", flush=True)
    sending.send(found)
    sending.close()
