"""A process for each task: what crashes, or is killed for its memory, takes no other with it."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext
    from multiprocessing.process import BaseProcess

__all__ = ["Outcome", "Pool"]

T = TypeVar("T")
#: What the server imports; it is one for all pools of this process.
_IMPORTED = ["topox_difflift.compare.worker"]
#: Read once, by the libraries of linear algebra that a process imports.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Outcome:
    """
    How a task ended.

    Attributes
    ----------
    value : object
        What it returned.
    error : str, optional
        What it raised instead, in one line, or how its process ended.
    where : tuple of str
        The innermost calls of what it raised, the last one last.
    """

    value: Any = None
    error: str | None = None
    where: tuple[str, ...] = ()


class Pool(Generic[T]):
    """
    Run a function on tasks, each in a process of its own with one thread.

    Processes are forked from a server that has imported what runs need, so that they start at
    once, and their peak memory is their own. Where there is a GPU each is started afresh
    instead: a forked process cannot use one that its server has looked at, which what it imports
    does. They end when this process does, even if it is killed.

    Parameters
    ----------
    work : callable
        A function of a module.
    jobs : int
        Number of processes at a time.
    """

    def __init__(self, work: Callable[[T], Any], jobs: int) -> None:
        self.work, self.jobs = work, jobs
        self.running: dict[Connection, tuple[T, BaseProcess]] = {}
        self._context = get_context("spawn") if torch.cuda.is_available() else _forkserver()

    @property
    def full(self) -> bool:
        """Whether another task has to wait."""
        return len(self.running) >= self.jobs

    def start(self, task: T) -> None:
        """
        Start a process.

        Parameters
        ----------
        task : object
            What to give the function.
        """
        mine, its = self._context.Pipe()
        process = self._context.Process(target=_run, args=(its, self.work, task), daemon=True)
        with _one_thread():
            process.start()
        # Only the process is to hold its end, so that this one sees when it is gone.
        its.close()
        self.running[mine] = task, process

    def finished(self, timeout: float | None = None) -> Iterator[tuple[T, Outcome]]:
        """
        Wait until at least one task has ended, if any is running.

        Parameters
        ----------
        timeout : float, optional
            Seconds after which to give up.

        Yields
        ------
        task : object
            A task.
        outcome : Outcome
            How it ended.
        """
        if not self.running:
            return
        ready = set(wait(list(self.running), timeout))
        for connection in [connection for connection in self.running if connection in ready]:
            task, process = self.running.pop(connection)
            try:
                outcome = connection.recv()
            except EOFError:
                process.join()
                outcome = Outcome(error=_last_words(process.exitcode))
            connection.close()
            process.join()
            yield task, outcome

    def stop(self) -> None:
        """End all processes."""
        for connection, (_, process) in self.running.items():
            process.kill()
            process.join()
            connection.close()
        self.running.clear()


def _forkserver() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    with _one_thread():
        ensure_running()
    return context


@contextmanager
def _one_thread() -> Iterator[None]:
    """Start processes whose libraries have one thread, whatever they import."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _last_words(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = "; was there too little memory?" if name == "SIGKILL" else ""
        return f"the process was ended by {name}{hint}"
    return f"the process ended with status {code}, without a result"


def _run(connection: Connection, work: Callable[[Any], Any], task: Any) -> None:
    """Run a task in its process."""
    # The keyboard interrupts the process that started this one, which then ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()
    try:
        outcome = Outcome(work(task))
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is reported
        summary = f"{type(error).__name__}: {error}".splitlines()[0]
        frames = traceback.extract_tb(error.__traceback__)[-5:]
        # Without folders, which say nothing on another machine.
        where = tuple(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames)
        outcome = Outcome(error=summary, where=where)
    connection.send(outcome)


def _end_with_parent(connection: Connection) -> None:
    """Wait for the end of the process that started this one, and end as well."""
    wait([connection])
    os._exit(1)
