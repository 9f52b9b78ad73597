"""
The stages of a training step, watched where `DiffLift` itself calls them.

The functions of a lifting and of a network are wrapped, not copied. A stage is charged for what
happens within it, but not within a stage that it calls. A node of the backward pass belongs to the
stage that was running when the node was made: PyTorch numbers them, and starts them on a CPU one
after the other.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from bisect import bisect_right
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch

from topox_difflift import proximity
from topox_difflift.complex import LiftedComplex

from .memory import reset_peak, resident
from .timing import wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from topox_difflift.nn import TopologicalNetwork

#: Stage and direction, "forward" or "backward".
Key = tuple[str, str]


class Watch(ABC):
    """Charge what is used up to the stage, and the direction, that is running."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.charged: dict[Key, Any] = {}
        self._running: list[Key] = []
        self._numbers: list[int] = []
        self._made_in: list[str] = []

    @abstractmethod
    def start(self) -> None:
        """Begin to measure."""

    @abstractmethod
    def charge(self, key: Key) -> None:
        """Add what was used since the last start."""

    def step(self, model: TopologicalNetwork, forward: Callable[[], torch.Tensor]) -> None:
        """Run forward and backward pass."""
        self.charged, self._numbers, self._made_in = {}, [], []
        with ExitStack() as stack:
            for owner, name, stage in places(model):
                stack.enter_context(
                    mock.patch.object(owner, name, self._wrapped(owner, name, stage))
                )
            with self.stage("rest"):
                loss = forward()
        self._watch_backward(loss)
        with self._turn(("rest", "backward")):
            loss.backward()

    def _wrapped(
        self, owner: Any, name: str, stage: str | Callable[..., str]
    ) -> Callable[..., Any]:
        real = getattr(owner, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self.stage(stage if isinstance(stage, str) else stage(*args)):
                return real(*args, **kwargs)

        return wrapper

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Say which stage of the forward pass runs."""
        with self._turn((name, "forward")):
            self._note(name)
            yield
        if self._running:
            self._note(self._running[-1][0])

    def _note(self, name: str) -> None:
        """Remember in which stage the next nodes of the backward pass are made."""
        self._numbers.append(torch._C._autograd._get_sequence_nr())
        self._made_in.append(name)

    @contextmanager
    def _turn(self, key: Key) -> Iterator[None]:
        self._change()
        self._running.append(key)
        self.start()
        yield
        self._change()
        self._running.pop()
        self.start()

    def _change(self) -> None:
        wait(self.device)
        if self._running:
            self.charge(self._running[-1])

    def _watch_backward(self, loss: torch.Tensor) -> None:
        seen, todo = set(), [loss.grad_fn]
        while todo:
            node = todo.pop()
            # An accumulation runs right after the node that feeds it, and is charged with it.
            if node is None or node in seen or node.name().endswith("AccumulateGrad"):
                continue
            seen.add(node)
            place = bisect_right(self._numbers, node._sequence_nr()) - 1
            node.register_prehook(partial(self._enter_backward, self._made_in[place]))
            todo.extend(following for following, _ in node.next_functions)

    def _enter_backward(self, stage: str, _: Any) -> None:
        self._change()
        self._running[-1] = (stage, "backward")
        self.start()


class Clock(Watch):
    """Seconds of CPU and wall."""

    def start(self) -> None:
        self._since = time.process_time(), time.perf_counter()

    def charge(self, key: Key) -> None:
        cpu, wall = self.charged.get(key, (0.0, 0.0))
        since_cpu, since_wall = self._since
        now = time.process_time(), time.perf_counter()
        self.charged[key] = cpu + now[0] - since_cpu, wall + now[1] - since_wall


class Peak(Watch):
    """MB that a stage holds at its peak beyond what was there when it began."""

    def start(self) -> None:
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated() / 2**20
        else:
            reset_peak()
            self._before = resident("VmRSS")

    def charge(self, key: Key) -> None:
        peak = peak_of(self.device) - self._before
        self.charged[key] = max(self.charged.get(key, 0.0), peak)
        self.highest = max(self.highest, peak_of(self.device))

    highest = 0.0


def peak_of(device: str) -> float:
    """Return the peak in MB since it was last reset."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resident("VmHWM")


def places(model: TopologicalNetwork) -> list[tuple[Any, str, str | Callable[..., str]]]:
    """Return where each stage is called: the owner of the function, its name, the stage."""
    lift = model.lift
    return [
        (lift, "_embed", "embed"),
        (proximity, "knn", "search"),
        (lift, "_nearest", "pairs"),
        (lift.domain, "propose", lambda _, rank, __: "pairs" if rank == 1 else "cycles"),
        (lift, "_score", "accept"),
        (lift.estimator, "accept", "accept"),
        (lift.domain, "attach", "attach"),
        (LiftedComplex, "from_ranks", "attach"),
        (LiftedComplex, "_cached", "matrices"),
        (type(model.adapter), "run", "TNN"),
        (model, "predict", "readout"),
    ]
