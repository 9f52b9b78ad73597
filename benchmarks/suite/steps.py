"""Training steps of lifting, network and readout: by stage, and beside the bare network."""

from __future__ import annotations

import copy
import statistics
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch

from topox_difflift import DiffLift, proximity
from topox_difflift.graph import check_graph
from topox_difflift.nn import TNNS, TopologicalNetwork

from . import workloads
from .memory import reset_peak, resident, return_freed
from .stages import Clock, Peak, peak_of
from .timing import in_turns, ratio, wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor
    from torch_geometric.data import Data

    from topox_difflift.complex import LiftedComplex
    from topox_difflift.domains import Domain

CHANNELS = 32
NETWORKS = {"cell": "cwn", "hypergraph": "unigcnii"}


class Network:
    """A lifting with a network and a readout, on one workload."""

    def __init__(
        self,
        data: Data,
        domain: str | Domain,
        n_layers: int = 1,
        rejected: str = "keep",
        readout: str | None = None,
    ) -> None:
        torch.manual_seed(0)
        self.data = data
        topology = domain if isinstance(domain, str) else domain.topology
        adapter, channels = TNNS[NETWORKS[topology]], data.x.size(1)
        tnn = adapter.build(channels, CHANNELS, n_layers)
        known = adapter.settled(tnn)
        lift = DiffLift(
            domain,
            max_rank=known.max_rank,
            in_channels=channels,
            hidden_channels=CHANNELS,
            rejected=rejected if known.kept else "drop",
            **workloads.options(data),
        )
        classes, level = int(data.y.max()) + 1, workloads.level(data)
        model = TopologicalNetwork(
            lift, tnn, classes, level, readout=readout, hidden_channels=CHANNELS
        )
        self.model = model.to(data.x.device)
        # The head takes its width from the first input; also compiles.
        self.model(workloads.smallest(data))
        self.optimizer = torch.optim.Adam(self.model.parameters())

    def logits(self) -> Tensor:
        """Run forward."""
        return self.model(self.data)

    def loss(self) -> Tensor:
        """Run forward, up to the loss."""
        return torch.nn.functional.cross_entropy(self.logits(), self.data.y)

    def step(self) -> None:
        """Run a whole training step."""
        self.optimizer.zero_grad()
        self.loss().backward()
        self.optimizer.step()

    def search(self) -> None:
        """Look for neighbours, and stop there."""
        graph, lift = check_graph(self.data), self.model.lift
        with torch.no_grad():
            lift._nearest(graph, 1, lift._embed(graph))

    def lifted(self) -> LiftedComplex:
        """Return a complex of a training step, rejected cells included where they are kept."""
        with torch.no_grad():
            return self.model.lift(self.data).detach()


class Bare(Network):
    """The network and readout of another, on a complex that the lifting of that made before."""

    def __init__(self, other: Network, lifted: LiftedComplex) -> None:
        self.data, self.complex = other.data, lifted
        self.model = copy.deepcopy(other.model)
        self.model.lift = None
        self.optimizer = torch.optim.Adam(self.model.parameters())

    def logits(self) -> Tensor:
        return self.model(self.complex)


class Plain(Bare):
    """The same CWN with PyTorch's own products and matrices in the best form for them."""

    def __init__(self, other: Network, lifted: LiftedComplex) -> None:
        super().__init__(other, lifted)
        matrices = (lifted.adjacency_1, lifted.incidence(2, True), lifted.incidence(1, True).T)
        self.matrices = [matrix.detach().coalesce() for matrix in matrices]

    def logits(self) -> Tensor:
        c, model = self.complex, self.model
        found = model.tnn(c.x_0, c.x_1, c.x_2, *self.matrices)
        features = {r: h * c[f"mask_{r}"].unsqueeze(1) for r, h in enumerate(found) if r}
        return model.head(model.readout(c, {0: found[0], **features}))


def against_bare(
    name: str, root: str, device: str, repetitions: int, layers: tuple[int, ...]
) -> list[dict[str, Any]]:
    """Time the whole step beside that of its network on the complex that it makes."""
    data = workloads.load(name, root).to(device)
    contenders: dict[str, Callable[[], None]] = {}
    cells = {}
    for n in layers:
        for rejected in ("keep", "drop"):
            network = Network(data, "cell", n, rejected)
            lifted = network.lifted()
            cells[rejected] = lifted.num_cells
            contenders[f"{n} {rejected} step"] = network.step
            contenders[f"{n} {rejected} bare"] = Bare(network, lifted).step
            contenders[f"{n} {rejected} plain"] = Plain(network, lifted).step
    times = in_turns(contenders, repetitions, device=device, warm=3)
    rows = []
    for n in layers:
        for rejected in ("keep", "drop"):
            step, bare, plain = (times[f"{n} {rejected} {w}"] for w in ("step", "bare", "plain"))
            rows.append(
                {
                    "workload": name,
                    "layers": n,
                    "rejected": rejected,
                    "cells": cells[rejected],
                    "step": step,
                    "bare": bare,
                    "plain": plain,
                    "ratio": ratio(step, bare, key_of(device)),
                    "ratio_plain": ratio(step, plain, key_of(device)),
                }
            )
    return rows


def key_of(device: str) -> str:
    """Return which time counts: of the CPU, which others hardly disturb, or of the clock."""
    return "cpu" if device == "cpu" else "wall"


def by_stage(
    name: str, domain: str, root: str, device: str, repetitions: int, folder: Path
) -> dict[str, Any]:
    """Measure time and memory of a step and of its stages."""
    data = workloads.load(name, root).to(device)
    network, clock, peak = Network(data, domain), Clock(device), Peak(device)
    huge = data.num_nodes > workloads.HUGE_NODES
    with searched_once(folder / f"{name}-{domain}", device) if huge else nullcontext({}) as search:
        if huge:
            network.search()  # so that no step is the one that pays for it
        charged: list[dict] = []
        counts = counting(network.model)

        def watched() -> None:
            network.optimizer.zero_grad()
            clock.step(network.model, network.loss)
            network.optimizer.step()
            charged.append(clock.charged)

        times = in_turns({"step": watched}, repetitions, device=device)
        if "reason" in times["step"]:
            return {"workload": name, "domain": domain, **times["step"]}
        process = peak_of(device)
        return_freed()
        network.optimizer.zero_grad()
        before = resident("VmRSS") if device == "cpu" else torch.cuda.memory_allocated() / 2**20
        peak.step(network.model, network.loss)
    return {
        "workload": name,
        "domain": domain,
        "nodes": data.num_nodes,
        "arcs": data.num_edges,
        **counts,
        "step": times["step"],
        "stages": medians(charged[1:] or charged),
        "memory": peak.highest - before,
        "memory_stages": nested(peak.charged),
        "process": process,
        "search": search or None,
    }


def counting(model: TopologicalNetwork) -> dict[str, Any]:
    """
    Count, in each forward pass, the cells and the entries of their boundaries.

    It is done while they are there; to hold on to them, or to make them again, would cost memory
    and time that a step does not.
    """
    made: list[LiftedComplex] = []
    counts: dict[str, Any] = {}

    def count(*_: Any) -> None:
        lifted = made.pop()
        read = lifted.opened() if model.adapter.opened else lifted
        boundaries = [read.incidence(rank) for rank in range(1, read.max_rank + 1)]
        counts.update(cells=read.num_cells, entries=sum(matrix._nnz() for matrix in boundaries))

    model.lift.register_forward_hook(lambda *call: made.append(call[-1]))
    model.tnn.register_forward_hook(count)
    return counts


def nested(charged: dict[tuple[str, str], Any]) -> dict[str, dict[str, Any]]:
    """Turn the pairs of stage and direction into two levels."""
    found: dict[str, dict[str, Any]] = {}
    for (stage, direction), value in charged.items():
        found.setdefault(stage, {})[direction] = value
    return found


def medians(charged: list[dict]) -> dict[str, Any]:
    """Return the median milliseconds of each stage and direction."""
    keys = dict.fromkeys(key for one in charged for key in one)
    found = {}
    for key in keys:
        pairs = [one.get(key, (0.0, 0.0)) for one in charged]
        cpu, wall = (1e3 * statistics.median(column) for column in zip(*pairs, strict=True))
        found[key] = {"cpu": cpu, "wall": wall}
    return nested(found)


@contextmanager
def searched_once(path: Path, device: str) -> Iterator[dict[str, float]]:
    """Let the search of one graph run once, here or in a process before; say what it costs."""
    real, known, cost = proximity.knn, {}, {}

    def knn(z: Tensor, batch: Tensor, k: int, **options: Any) -> Tensor:
        file = path.with_name(f"{path.name}-{k}.pt")
        if k not in known and file.exists():
            known[k] = torch.load(file)
        if k not in known:
            reset_peak()
            before, cpu, wall = resident("VmRSS"), time.process_time(), time.perf_counter()
            index = real(z, batch, k, **options)
            wait(device)
            spent = time.process_time() - cpu, time.perf_counter() - wall
            used = {"cpu": 1e3 * spent[0], "wall": 1e3 * spent[1]}
            used["memory"] = resident("VmHWM") - before
            known[k] = {"index": index.cpu(), "cost": used}
            torch.save(known[k], file)
        cost.update(known[k]["cost"])
        return known[k]["index"].to(z.device)

    with mock.patch.object(proximity, "knn", knn):
        yield cost
