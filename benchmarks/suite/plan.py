"""What is measured: everything, a version for continuous integration, and a smoke test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .children import ENGINES, Task

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Plan:
    """
    Sizes of one run.

    Attributes
    ----------
    batches, singles : tuple of str
        Workloads of many graphs, and of one.
    kinds : tuple of str
        Random graphs whose growth is measured.
    sizes : tuple of int
        Their nodes.
    layers : tuple of int
        Layers of the network beside which the whole step is timed.
    searches, bases, dense : tuple of str
        Workloads on which others search, and find cycles, and of the step with dense matrices.
    engines : tuple of str
        With and without compiled loops.
    hypergraphs : bool
        Whether hypergraphs are lifted to as well.
    strict : bool
        Whether the largest graph is measured with twice the edges as well.
    repetitions : int
        Rounds whose median counts.
    """

    batches: tuple[str, ...]
    singles: tuple[str, ...]
    kinds: tuple[str, ...]
    sizes: tuple[int, ...]
    layers: tuple[int, ...]
    searches: tuple[str, ...]
    bases: tuple[str, ...]
    dense: tuple[str, ...]
    engines: tuple[str, ...] = ENGINES
    hypergraphs: bool = True
    strict: bool = False
    repetitions: int = 7

    def tasks(self) -> list[Task]:
        """List the measurements."""
        return [*self._stages(), *self._bare(), *self._peers()]

    def _grown(self, kind: str) -> list[str]:
        return [f"{kind}-{n}" for n in self.sizes]

    def _stages(self) -> Iterator[Task]:
        """Time every stage; the search of a graph is left to the next task with the same graph."""
        real, few = (*self.batches, *self.singles), min(3, self.repetitions)
        fast = self.engines[0]
        domains = {"cell": real, "hypergraph": real if self.hypergraphs else ()}
        for domain, names in domains.items():
            for name in names:
                yield task("stages", "steps.by_stage", name, self.repetitions, fast, domain=domain)
        for kind in self.kinds:
            for name in self._grown(kind):
                for engine in self.engines:
                    yield task("stages", "steps.by_stage", name, few, engine, domain="cell")
        if self.hypergraphs:
            for name in self._grown(self.kinds[0]):
                yield task("stages", "steps.by_stage", name, few, fast, domain="hypergraph")
        if self.strict:
            name = f"er8-{self.sizes[-1]}"
            yield task("stages", "steps.by_stage", name, 1, fast, domain="cell")

    def _bare(self) -> Iterator[Task]:
        """Time the whole step beside its network."""
        for name in (*self.batches, *self.singles):
            chosen = name, self.repetitions, self.engines[0]
            yield task("bare", "steps.against_bare", *chosen, layers=self.layers)

    def _peers(self) -> Iterator[Task]:
        """Time what others do, and what the machine can."""
        fast, repetitions = self.engines[0], self.repetitions
        yield task("limits", "limits.measure", f"er-{self.sizes[-2]}", repetitions, fast)
        for name in self.searches:
            yield task("peers", "peers.neighbours", name, repetitions, fast)
        for name in (*self.batches, *self.bases):
            yield task("peers", "peers.bases", name, repetitions, fast)
        for name in self.batches:
            for engine in self.engines:
                yield task("peers", "peers.neighbours", name, repetitions, engine)
                yield task("peers", "peers.boundaries", name, repetitions, engine)
        for name in self.dense:
            yield task("peers", "peers.steps", name, repetitions, fast)


def task(
    section: str,
    function: str,
    name: str,
    repetitions: int,
    engine: str,
    **settings: Any,
) -> Task:
    """Return the measurement of one workload."""
    return Task(section, function, {"name": name, **settings, "repetitions": repetitions}, engine)


FULL = Plan(
    batches=tuple(f"{name}-{n}" for name in ("MUTAG", "NCI1") for n in (32, 128, 512)),
    singles=("Cora", "Cora-32"),
    kinds=("er", "knn", "grid"),
    sizes=(1_000, 10_000, 100_000),
    layers=(1, 2, 4),
    searches=("er-1000", "er-10000", "er-100000"),
    bases=("er-1000", "er-10000", "grid-1000", "grid-10000"),
    dense=tuple(f"{name}-{n}" for name in ("MUTAG", "NCI1") for n in (32, 128, 512)),
)
QUICK = Plan(
    batches=("molecules-32", "molecules-128"),
    singles=(),
    kinds=("er", "grid"),
    sizes=(1_000, 3_000, 10_000),
    layers=(1, 2),
    searches=("er-1000",),
    bases=("er-1000",),
    dense=("molecules-32",),
    hypergraphs=False,
    repetitions=3,
)
SMOKE = Plan(
    batches=("molecules-8",),
    singles=(),
    kinds=("er",),
    sizes=(200, 800),
    layers=(1,),
    searches=("er-200",),
    bases=("er-200",),
    dense=("molecules-8",),
    engines=("tensors",),  # compiling would take longest
    hypergraphs=False,
    repetitions=1,
)
PLANS = {"full": FULL, "quick": QUICK, "smoke": SMOKE}
