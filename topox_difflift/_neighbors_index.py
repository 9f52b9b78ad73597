"""Search of a big graph by an index of PyG, which comes from faiss, an optional package."""

from __future__ import annotations

import copy
import importlib.util

import torch
from torch import Tensor
from torch_geometric.nn.pool import ApproxMIPSKNNIndex, KNNIndex, L2KNNIndex, MIPSKNNIndex

from topox_difflift._neighbors_select import SPARE, Graphs, nearest_of, rows_of

__all__ = ["as_index", "fill_by_index"]

_BLOCK = {"cpu": 2**21}


def as_index(search: object) -> KNNIndex | None:
    """
    Make an index of what a user names.

    Parameters
    ----------
    search : {"exact", "faiss"} or torch_geometric.nn.pool.KNNIndex
        How to search: "faiss" is `L2KNNIndex`.

    Returns
    -------
    torch_geometric.nn.pool.KNNIndex, optional
        An empty one with the same settings; None for the search that needs none.

    Raises
    ------
    ValueError
        If it is none of these, or an index of inner products.
    ImportError
        If faiss is not installed.
    """
    if isinstance(search, str) and search == "exact":
        return None
    if isinstance(search, str) and search == "faiss":
        if importlib.util.find_spec("faiss") is None:
            raise ImportError("faiss is missing; pip install 'topox-difflift[faiss]'")
        return L2KNNIndex()
    if not isinstance(search, KNNIndex) or isinstance(search, MIPSKNNIndex | ApproxMIPSKNNIndex):
        raise ValueError(
            "Expected 'search' to be 'exact', 'faiss', or an index of Euclidean distances such as "
            "torch_geometric.nn.pool.L2KNNIndex() or ApproxL2KNNIndex(num_cells, "
            f"num_cells_to_visit, bits_per_vector) (got {search!r})"
        )
    return _empty(search)


def _empty(index: KNNIndex) -> KNNIndex:
    """Copy the settings of an index without its points."""
    fresh = copy.copy(index)
    fresh.index = None
    return fresh


def fill_by_index(out: Tensor, graphs: Graphs, graph: int, index: KNNIndex) -> None:
    """
    Write the neighbours that an index finds in one graph.

    Parameters
    ----------
    out : torch.Tensor, shape = (n_nodes, k), int64
        Where to, as local indices, -1 where the index finds too few.
    graphs : Graphs
        A batch of graphs.
    graph : int
        Which of them to search.
    index : torch_geometric.nn.pool.KNNIndex
        An empty index, which is left as it is.
    """
    z, _, tolerance = graphs.scaled(graph)
    points, (n_nodes, k) = _placed(z.float()), out.shape
    filled = _empty(index)
    filled.add(points)
    node = torch.arange(n_nodes, device=points.device)
    count = min(k + SPARE, n_nodes - 1)
    columns = filled.search(points, count, exclude_links=torch.stack([node, node])).index
    columns = torch.where(columns < 0, n_nodes, columns).to(out.device)
    rows = torch.arange(n_nodes, device=out.device)
    block = rows_of(graphs, count * z.size(1), _BLOCK)
    for some, candidates in zip(rows.split(block), columns.split(block), strict=True):
        out[some] = nearest_of(z, some, candidates, k, tolerance)[0]


def _placed(points: Tensor) -> Tensor:
    """Put points where faiss can work on them; most builds of it know no device."""
    import faiss

    return points if hasattr(faiss, "StandardGpuResources") else points.cpu()
