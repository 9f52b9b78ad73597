"""What else does a stage: the dense form, networkx, TopoNetX, igraph, rustworkx and faiss."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import networkx as nx
import torch
from torch_geometric.data import Batch, Data

from benchmarks import cycles as routes
from benchmarks import knn as searches
from topox_difflift.cycles import fundamental_cycles, shortest_cycle_basis
from topox_difflift.domains import Cell
from topox_difflift.graph import check_graph
from topox_difflift.liftings import CycleLifting
from topox_difflift.neighbors import knn

from . import dense, workloads
from .steps import CHANNELS, Network, key_of
from .timing import in_turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

K = 8  # the default k_max, and near misses
Contenders = dict[str, "Callable[[], object]"]


def missing(error: Exception) -> Callable[[], object]:
    """Return a contender that fails as it could not be made."""

    def contender() -> object:
        raise error

    return contender


def compare(
    topic: str, workload: str, contenders: Contenders, ours: str, repetitions: int, device: str
) -> dict[str, Any]:
    """Time the contenders; ratios are to `ours`, and larger than 1 where that is faster."""
    times = in_turns(contenders, repetitions, device=device)
    key, own = key_of(device), times[ours]
    for time_ in times.values():
        if key in time_ and key in own:
            time_["ratio"] = time_[key] / own[key]
    return {"topic": topic, "workload": workload, "ours": ours, "contenders": times}


def neighbours(name: str, root: str, device: str, repetitions: int) -> dict[str, Any]:
    """Compare searches: in a batch with the distances and their gradient, in one graph alone."""
    data = workloads.load(name, root).to(device)
    z = workloads.noise((data.num_nodes, CHANNELS)).to(device)
    if isinstance(data, Batch):
        topic = "nearest neighbours in a batch, forward + backward"
        forms = {"ours": searches.ours, "dense": searches.dense}
        contenders: Contenders = {
            form: partial(searches.forward_backward, function, z, data.batch, K)
            for form, function in forms.items()
        }
        numbers = 2 * len(z) ** 2
    else:
        topic = "nearest neighbours in one graph"
        batch = torch.zeros(len(z), dtype=torch.long, device=device)
        contenders = {
            "ours": partial(knn, z, batch, K),
            "dense": partial(searches.dense, z, batch, K),
            "faiss, flat": faiss_search(z),
        }
        if len(z) <= 20_000:
            rows = max(1, 2**21 // len(z))
            contenders["plain chunks"] = partial(searches.plain_chunks, z, K, rows)
        numbers = len(z) ** 2
    if error := dense.too_big(4 * 3 * numbers):
        contenders["dense"] = missing(error)
    return compare(topic, name, contenders, "ours", repetitions, device)


def faiss_search(z: Tensor) -> Callable[[], object]:
    """Return the exact search of faiss, index included."""
    try:
        import faiss
    except ModuleNotFoundError as error:
        return missing(error)
    faiss.omp_set_num_threads(torch.get_num_threads())
    points = z.cpu().numpy()

    def search() -> object:
        index = faiss.IndexFlatL2(points.shape[1])
        index.add(points)
        return index.search(points, K + 1)

    return search


def bases(name: str, root: str, device: str, repetitions: int) -> dict[str, Any]:
    """Compare bases of the cycle space, from the list of edges on; and how long cycles are."""
    data = workloads.load(name, root)
    edges, n = check_graph(data).edges, data.num_nodes
    ours: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
        "ours, shortest": partial(shortest_cycle_basis, edges, n),
        "ours, filtration": partial(routes.filtration_basis, edges, n, "auto"),
        "ours, fundamental": partial(fundamental_cycles, edges, n),
    }
    theirs: dict[str, Callable[[], list[int]]] = {
        "networkx.cycle_basis": partial(networkx_lengths, edges, n),
        "igraph, fundamental": partial(igraph_lengths, edges, n, "fundamental_cycles"),
        "rustworkx.cycle_basis": partial(rustworkx_lengths, edges, n),
    }
    if n <= 1500:  # it is cubic
        theirs["igraph, minimum"] = partial(igraph_lengths, edges, n, "minimum_cycle_basis")
    row = compare("cycle bases", name, {**ours, **theirs}, next(iter(ours)), repetitions, "cpu")
    for contender, time_ in row["contenders"].items():
        if "reason" not in time_:
            lengths = ours[contender]()[1].tolist() if contender in ours else theirs[contender]()
            time_["cycles"], time_["length"] = len(lengths), sum(lengths) / max(1, len(lengths))
    return row


def networkx_lengths(edges: Tensor, n: int) -> list[int]:
    """Find a basis by networkx."""
    graph = nx.empty_graph(n)
    graph.add_edges_from(edges.t().tolist())
    return [len(cycle) for cycle in nx.cycle_basis(graph)]


def igraph_lengths(edges: Tensor, n: int, method: str) -> list[int]:
    """Find a basis by igraph."""
    import igraph

    graph = igraph.Graph(n, edges.t().tolist())
    return [len(cycle) for cycle in getattr(graph, method)()]


def rustworkx_lengths(edges: Tensor, n: int) -> list[int]:
    """Find a basis by rustworkx."""
    import rustworkx

    graph = rustworkx.PyGraph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from_no_data([tuple(pair) for pair in edges.t().tolist()])
    return [len(cycle) for cycle in rustworkx.cycle_basis(graph)]


def boundaries(name: str, root: str, device: str, repetitions: int) -> dict[str, Any]:
    """Compare ways from edge_index to sparse B_1 and B_2."""
    data = workloads.load(name, root)
    parts = [d.edge_index for d in data.to_data_list()] if isinstance(data, Batch) else None
    parts = [data.edge_index] if parts is None else parts
    contenders: Contenders = {
        "ours": partial(routes.boundaries, data.edge_index, data.num_nodes, shortest_cycle_basis),
        "ours, fundamental": partial(
            routes.boundaries, data.edge_index, data.num_nodes, fundamental_cycles
        ),
        "CycleLifting, features included": partial(lifted_boundaries, data),
        "networkx + TopoNetX": partial(routes.toponetx_route, parts),
    }
    return compare("edge_index to B_1, B_2", name, contenders, "ours", repetitions, "cpu")


def lifted_boundaries(data: Data) -> tuple[Tensor, Tensor]:
    """Build the matrices by the static lifting of the package, input checked and all."""
    lifted = CycleLifting()(data)
    return lifted.incidence(1, signed=True), lifted.incidence(2, signed=True)


def steps(name: str, root: str, device: str, repetitions: int) -> dict[str, Any]:
    """Compare a training step with the same written with dense matrices."""
    data = workloads.load(name, root).to(device)
    # Cycles of graph and learned edges together, and means over all cells, as it has them.
    network = Network(data, Cell(rings=False), rejected="drop", readout="mean")
    cells = network.lifted().num_cells
    contenders: Contenders = {"ours": network.step}
    if error := dense.too_big(dense.bytes_of_step(*cells)):
        contenders["dense"] = missing(error)
    else:
        contenders["dense"] = dense.DenseNetwork(network).step
    return compare("training step", name, contenders, "ours", repetitions, device)
