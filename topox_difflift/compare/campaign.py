"""Do what is missing of a comparison, on all cores, and put down each run as it ends."""

from __future__ import annotations

import shutil
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from topox_difflift.compare.worker import Task, failure, perform
from topox_difflift.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from topox_difflift.compare.grid import Run
    from topox_difflift.compare.results import Results
    from topox_difflift.pool import Outcome

__all__ = ["Campaign", "Watcher"]


class Watcher(Protocol):
    """What is told of the progress."""

    def started(self, run: Run) -> None:
        """
        Tell that a run has begun.

        Parameters
        ----------
        run : Run
            The run.
        """

    def ended(self, run: Run, record: dict[str, Any]) -> None:
        """
        Tell that a run has ended, and that its line is written.

        Parameters
        ----------
        run : Run
            The run.
        record : dict
            Its line.
        """


@dataclass(frozen=True)
class Campaign:
    """
    The runs of a plan that have no line yet.

    Attributes
    ----------
    results : Results
        Where the lines go.
    runs : sequence of Run
        All runs of the plan.
    scratch : pathlib.Path
        Folder for runs that are not done; a run that was interrupted goes on from there.
    retry : bool
        Whether runs that failed are missing as well.
    work : callable
        What makes a record of a `Task`.
    """

    results: Results
    runs: Sequence[Run]
    scratch: Path
    retry: bool = False
    work: Callable[[Task], dict[str, Any]] = perform

    @property
    def missing(self) -> list[Run]:
        """The runs that are to be done."""
        return [run for run in self.runs if self._is_missing(run.id)]

    def _is_missing(self, name: str) -> bool:
        record = self.results.records.get(name)
        return record is None or (self.retry and record["status"] == "failed")

    def run(self, jobs: int, watcher: Watcher) -> None:
        """
        Do them; return when each has a line.

        Parameters
        ----------
        jobs : int
            Processes at a time.
        watcher : Watcher
            Is told of the progress.
        """
        queue = deque(self.missing)
        open_ = {run.id for run in queue}
        pool: Pool[Task] = Pool(self.work, jobs)
        try:
            while open_:
                for run in self._ready(queue, open_):
                    if pool.full:
                        break
                    queue.remove(run)
                    self._begin(run, pool, open_, watcher)
                for task, outcome in pool.finished():
                    self._end(task.run, _record(task, outcome), open_, watcher)
        finally:
            pool.stop()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _ready(self, queue: deque[Run], open_: set[str]) -> list[Run]:
        return [
            run
            for run in queue
            if not (run.waits and run.source is not None and run.source.id in open_)
        ]

    def _begin(self, run: Run, pool: Pool[Task], open_: set[str], watcher: Watcher) -> None:
        watcher.started(run)
        settled = run
        if run.waits and run.source is not None:
            source = self.results.records.get(run.source.id)
            if source is None or source.get("training_acceptance_rate") is None:
                why = "is not there" if source is None else source.get("error", "proposed no cell")
                error = f"its source, {run.source}, gave no rate of acceptance: {why}"
                self._end(run, failure(run, error), open_, watcher)
                return
            settled = run.settled(source["training_acceptance_rate"])
        pool.start(Task(settled, self.scratch / run.id))

    def _end(self, run: Run, record: dict[str, Any], open_: set[str], watcher: Watcher) -> None:
        self.results.append(record)
        open_.remove(record["id"])
        watcher.ended(run, record)


def _record(task: Task, outcome: Outcome) -> dict[str, Any]:
    if outcome.error is not None:
        return failure(task.run, outcome.error, outcome.where)
    return outcome.value
