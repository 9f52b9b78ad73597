"""
Neighbours and their distances, side by side with the dense form, plain chunks and faiss.

Every repetition runs all contenders one after the other, so that whatever else the machine
does falls on each of them; the table shows medians, and how many times as long as ours each
takes. Recall is the share of the exact neighbours that are found.

    python benchmarks/knn.py
    python benchmarks/knn.py --graphs --nodes 10000 100000 --repetitions 3 --json knn.json
    python benchmarks/knn.py --graphs --nodes --reach MUTAG Cora planted_hyperedges

The last says what candidates within a few hops leave out: of the nearest neighbours that an
untrained encoder gives, the share that is within reach.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.utils import to_undirected

from topox_difflift import compiled
from topox_difflift.datasets import load_dataset
from topox_difflift.encoders import GIN
from topox_difflift.liftings import k_hop_pairs
from topox_difflift.neighbors import knn, knn_within, squared_distances

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch_geometric.nn.pool import KNNIndex


def molecules(n_graphs: int, n_nodes: int, channels: int) -> tuple[Tensor, Tensor]:
    """Return embeddings and batch of graphs of about `n_nodes` nodes, as in a set of molecules."""
    generator = torch.Generator().manual_seed(0)
    spread = max(1, n_nodes // 3)
    sizes = torch.randint(n_nodes - spread, n_nodes + spread + 1, (n_graphs,), generator=generator)
    batch = torch.arange(n_graphs).repeat_interleave(sizes)
    return torch.randn(batch.numel(), channels, generator=generator), batch


def ours(z: Tensor, batch: Tensor, k: int) -> Tensor:
    """Search without gradient, then compute the chosen distances with it."""
    neighbour = knn(z, batch, k)
    source, place = (neighbour >= 0).nonzero(as_tuple=True)
    return squared_distances(z, source, neighbour[source, place])


def dense(z: Tensor, batch: Tensor, k: int) -> Tensor:
    """Compute all distances of the batch, mask those between graphs, select with gradient."""
    apart = batch.unsqueeze(1) != batch.unsqueeze(0)
    distances = torch.cdist(z, z).masked_fill(apart, torch.inf).fill_diagonal_(torch.inf)
    values = distances.topk(k, dim=1, largest=False).values
    return values[values.isfinite()].square()


def plain_chunks(z: Tensor, k: int, rows: int) -> Tensor:
    """Select in one stage from chunks of rows."""
    norms = z.square().sum(1)
    chunks = []
    for first in range(0, z.size(0), rows):
        distances = torch.addmm(norms, z[first : first + rows], z.t(), alpha=-2)
        distances.diagonal(offset=first).fill_(torch.inf)
        chunks.append(distances.topk(k, dim=1, largest=False).indices)
    return torch.cat(chunks)


def forward_backward(form: Callable[..., Tensor], z: Tensor, batch: Tensor, k: int) -> None:
    """Differentiate the sum of the distances."""
    leaf = z.clone().requires_grad_()
    form(leaf, batch, k).sum().backward()


def medians(contenders: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Return the median milliseconds of each contender, all run in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for repetition in range(repetitions + 1):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender()
            if repetition:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(values) for name, values in seconds.items()}


def compare_batches(n_graphs: int, channels: int, k: int, repetitions: int) -> list[Row]:
    """Measure a batch of molecules, forward and backward."""
    z, batch = molecules(n_graphs, 30, channels)
    times = medians(
        {
            "ours": lambda: forward_backward(ours, z, batch, k),
            "ours, search alone": lambda: knn(z, batch, k),
            "dense": lambda: forward_backward(dense, z, batch, k),
        },
        repetitions,
    )
    return rows_of(f"{n_graphs} graphs, {z.size(0)} nodes", times, {})


def random_graph(n_nodes: int, degree: int) -> Tensor:
    """Return both directions of edges drawn at random."""
    generator = torch.Generator().manual_seed(0)
    ends = torch.randint(n_nodes, (2, n_nodes * degree // 2), generator=generator)
    return to_undirected(ends[:, ends[0] != ends[1]], num_nodes=n_nodes)


def indices(n_nodes: int) -> dict[str, KNNIndex]:
    """Return indices of PyG: an exact one, and some that visit a part of the nodes."""
    if importlib.util.find_spec("faiss") is None:
        return {}
    import faiss
    from torch_geometric.nn.pool import ApproxL2KNNIndex, KNNIndex, L2KNNIndex

    faiss.omp_set_num_threads(torch.get_num_threads())
    cells = round(n_nodes**0.5)
    return {
        "L2KNNIndex": L2KNNIndex(),
        f"ApproxL2KNNIndex({cells}, {cells // 4}, 8)": ApproxL2KNNIndex(cells, cells // 4, 8),
        "KNNIndex('HNSW32')": KNNIndex("HNSW32"),
    }


def faiss_flat(z: Tensor, k: int) -> Tensor:
    """Search by faiss itself, one more for the node itself."""
    import faiss

    index = faiss.IndexFlatL2(z.size(1))
    index.add(z.numpy())
    return torch.from_numpy(index.search(z.numpy(), k + 1)[1])


def compare_graph(n_nodes: int, channels: int, k: int, repetitions: int) -> list[Row]:
    """Measure one graph, search alone."""
    batch = torch.zeros(n_nodes, dtype=torch.long)
    z = torch.randn(n_nodes, channels, generator=torch.Generator().manual_seed(0))
    found: dict[str, Tensor] = {}

    def keep(name: str, search: Callable[[], Tensor]) -> Callable[[], None]:
        return lambda: found.__setitem__(name, search())

    searches: dict[str, Callable[[], Tensor]] = {"ours": lambda: knn(z, batch, k)}
    by_index = indices(n_nodes)
    if by_index:
        searches["faiss flat"] = lambda: faiss_flat(z, k)
    for name, index in by_index.items():
        searches[f"search={name}"] = lambda index=index: knn(z, batch, k, index=index)
    searches["plain chunks"] = lambda: plain_chunks(z, k, max(1, 2**21 // n_nodes))
    times = medians({name: keep(name, search) for name, search in searches.items()}, repetitions)
    recalls = {
        name: float((found["ours"].unsqueeze(2) == other.unsqueeze(1)).any(2).double().mean())
        for name, other in found.items()
    }
    edge_index = random_graph(n_nodes, 8)
    near = {
        f"hops={hops}, random graph of degree 8": (
            lambda hops=hops: knn_within(z, batch, edge_index, hops, k)
        )
        for hops in (1, 2)
    }
    times |= medians(near, repetitions)
    return rows_of(f"1 graph, {n_nodes} nodes", times, recalls)


def compare_reach(name: str, root: str | None, k: int, most: int = 5) -> None:
    """Print what is within reach in a dataset, and how many of the nearest are."""
    data = Batch.from_data_list(list(load_dataset(name, root=root)))
    torch.manual_seed(0)
    encoder = GIN(data.num_features, 64).eval()
    with torch.no_grad():
        nearest = knn(encoder(data.x, data.edge_index, data.batch), data.batch, k)
    edge_index = to_undirected(data.edge_index, num_nodes=data.num_nodes)
    node, column = (nearest >= 0).nonzero(as_tuple=True)
    wanted = node * data.num_nodes + nearest[node, column]
    for hops in range(1, most + 1):
        source, target = k_hop_pairs(edge_index, data.num_nodes, hops)
        share = torch.isin(wanted, source * data.num_nodes + target).double().mean()
        within = len(source) / data.num_nodes - 1
        print(f"{name:20}{hops} hops {within:10.1f} nodes within reach {share:8.0%} of {k} nearest")


Row = dict[str, object]


def rows_of(case: str, times: dict[str, float], recalls: dict[str, float]) -> list[Row]:
    """Return the lines of the table of one case."""
    return [
        {"case": case, "search": name, "ms": ms, "ratio": ms / times["ours"]}
        | ({"recall": recalls[name]} if name in recalls else {})
        for name, ms in times.items()
    ]


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Measure the search for neighbours.")
    parser.add_argument("--graphs", type=int, nargs="*", default=[128, 512])
    parser.add_argument("--nodes", type=int, nargs="*", default=[10_000])
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--tensors", action="store_true", help="tensor operations alone, as without numba"
    )
    parser.add_argument("--reach", nargs="*", default=[], help="datasets")
    parser.add_argument("--root", help="folder of the datasets")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


def main() -> None:
    """Measure, print the table and write the figures."""
    options = arguments()
    torch.set_num_threads(options.threads)
    if options.tensors:
        compiled.numba_installed = lambda: False
    settings = (options.channels, options.k)
    rows: list[Row] = []
    for n_graphs in options.graphs:
        rows += compare_batches(n_graphs, *settings, options.repetitions)
    for n_nodes in options.nodes:
        rows += compare_graph(n_nodes, *settings, max(1, options.repetitions // 3))
    for line in rows:
        recall = f"{line['recall']:10.4f} found" if "recall" in line else ""
        print(
            f"{line['case']:26}{line['search']:38}{line['ms']:10.1f} ms"
            f"{line['ratio']:9.2f}x{recall}"
        )
    for name in options.reach:
        compare_reach(name, options.root, options.k)
    if options.json:
        options.json.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
