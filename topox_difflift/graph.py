"""The checked, simple, undirected graph that a lifting starts from."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import networkx as nx
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import coalesce, from_networkx, remove_self_loops, to_undirected

from topox_difflift.checks import is_finite
from topox_difflift.compiled import arrays, usable
from topox_difflift.sparse import stable_order

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

__all__ = ["Graph", "check_graph"]


@dataclass(frozen=True)
class Graph:
    """
    A batch of simple undirected graphs.

    Attributes
    ----------
    x : torch.Tensor, shape = (n_nodes, in_channels)
        Node features.
    edge_index : torch.Tensor, shape = (2, n_arcs), int64
        Both directions of each edge, sorted, without self-loops.
    edge_attr : torch.Tensor, shape = (n_arcs, edge_channels), optional
        Features of the arcs.
    batch : torch.Tensor, shape = (n_nodes,), int64
        Graph of each node, ascending.
    num_graphs : int
        Number of graphs.
    edges : torch.Tensor, shape = (2, n_edges), int64
        Each edge once as u < v, in lexicographic order.
    """

    x: Tensor
    edge_index: Tensor
    edge_attr: Tensor | None
    batch: Tensor
    num_graphs: int
    edges: Tensor


def as_data(graph: object) -> Data:
    """
    Accept a PyG `Data` or `Batch`, or a networkx graph.

    Parameters
    ----------
    graph : torch_geometric.data.Data or networkx.Graph
        The input. Nodes of a networkx graph carry their features as attribute "x".

    Returns
    -------
    torch_geometric.data.Data
        The same object, or a new one made from the networkx graph.

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If a networkx graph lacks node features.
    """
    if isinstance(graph, Data):
        return graph
    if not isinstance(graph, nx.Graph):
        raise TypeError(
            "Expected 'data' to be a torch_geometric.data.Data or Batch or a networkx.Graph "
            f"(got {type(graph).__name__}); of several graphs make a batch with "
            "Batch.from_data_list, of a HeteroData one graph with to_homogeneous()"
        )
    x = stack_attributes(graph.nodes(data=True), ["x"], "node")
    # networkx keeps nodes in insertion order; a bare copy leaves other attributes, which PyG
    # could not stack if only some nodes have them, with the caller.
    bare = nx.DiGraph() if graph.is_directed() else nx.Graph()
    bare.add_nodes_from(graph)
    bare.add_edges_from(graph.edges())
    data = from_networkx(bare)
    data.x = x
    return data


def stack_attributes(
    items: Iterable[tuple[Hashable, Mapping[str, Any]]], names: Sequence[str], what: str
) -> Tensor:
    """
    Make features of the attributes of the nodes, or of the edges, of a networkx graph.

    Parameters
    ----------
    items : iterable of tuple
        Nodes or edges, each with its attributes.
    names : sequence of str
        Attributes to take, side by side: numbers, or sequences of numbers.
    what : {"node", "edge"}
        What the items are.

    Returns
    -------
    torch.Tensor, shape = (n_items, channels)
        One row for each item, in the default dtype.

    Raises
    ------
    TypeError
        If an attribute does not hold numbers.
    ValueError
        If there is no node, or an item lacks an attribute or has one of another length.
    """
    items = list(items)
    columns = [_column(items, name, what) for name in names]
    return torch.cat(columns, dim=1)


def _column(items: Sequence[tuple[Hashable, Mapping[str, Any]]], name: str, what: str) -> Tensor:
    missing = sum(attributes.get(name) is None for _, attributes in items)
    if missing or (what == "node" and not items):
        raise ValueError(
            f"Expected every {what} of the networkx graph to carry its features as attribute "
            f"{name!r} (got {missing} of {len(items)} {what}s without); set "
            f"graph.{what}s[...][{name!r}] to a list of floats of the same length for each {what}"
        )
    rows: list[Tensor] = []
    for item, attributes in items:
        value = attributes[name]
        try:
            rows.append(torch.as_tensor(value, dtype=torch.get_default_dtype()).reshape(-1))
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"Expected attribute {name!r} of {what} {item!r} to be numbers (got {value!r}); "
                "encode categories, for instance as one-hot lists"
            ) from error
        if len(rows[-1]) != len(rows[0]):
            raise ValueError(
                f"Expected attribute {name!r} of {what} {item!r} to hold {len(rows[0])} numbers, "
                f"as that of the first {what} (got {len(rows[-1])}); pad the shorter ones"
            )
    return torch.stack(rows) if rows else torch.empty(0, 1)


def check_graph(data: Data) -> Graph:
    """
    Check the input of a lifting and bring it to canonical form, without changing it.

    Parameters
    ----------
    data : torch_geometric.data.Data
        Input with `x` and `edge_index`, optionally `batch` and `edge_attr`.

    Returns
    -------
    Graph
        Simple undirected graphs. Self-loops and duplicate edges are dropped and a
        directed graph is symmetrised, each with a warning.

    Raises
    ------
    TypeError
        If a tensor is missing or has the wrong dtype.
    ValueError
        If a tensor has the wrong shape, or values that cannot be.
    """
    x = _check_features(data)
    batch, num_graphs = _check_batch(data, len(x))
    edge_index = _check_edges(data)
    edge_attr = _check_edge_features(data, edge_index)
    if not _is_canonical(edge_index, batch):
        _check_ends(edge_index, batch)
        edge_index, edge_attr = _simplify(edge_index, edge_attr, len(x))
    edges = edge_index[:, edge_index[0] < edge_index[1]]
    return Graph(x, edge_index, edge_attr, batch, num_graphs, edges)


def _check_features(data: Data) -> Tensor:
    x = data.x
    if not isinstance(x, Tensor):
        raise TypeError(
            f"Expected 'x' to be a tensor of node features, shape (n_nodes, channels) (got {x!r}); "
            "for a graph without features use for instance "
            "torch_geometric.transforms.OneHotDegree or Constant"
        )
    if x.dim() != 2:
        raise ValueError(
            "Expected 'x' to have shape (n_nodes, channels) "
            f"(got shape {tuple(x.shape)}); one feature per node is x.unsqueeze(-1)"
        )
    if not x.is_floating_point():
        raise TypeError(
            f"Expected 'x' to be floating point (got {x.dtype}); numbers: data.x.float(), "
            "categories: torch.nn.functional.one_hot or an embedding"
        )
    if x.numel() == 0:
        raise ValueError(
            f"Expected 'x' to have at least one node and one channel (got shape {tuple(x.shape)}); "
            "leave empty graphs out, and give nodes without features a constant one"
        )
    if "num_nodes" in data and data.num_nodes != len(x):
        raise ValueError(
            f"Expected 'x' to hold one row for each of the {data.num_nodes} nodes "
            f"(got {len(x)} rows); correct 'num_nodes' or 'x'"
        )
    if not is_finite(x):
        bad = int((~torch.isfinite(x)).any(1).sum())
        raise ValueError(
            f"Expected 'x' to be finite (got NaN or infinity in {bad} of {len(x)} rows); "
            "torch.nan_to_num(data.x) or drop those nodes"
        )
    return x


def _check_batch(data: Data, num_nodes: int) -> tuple[Tensor, int]:
    batch = data.batch
    if batch is None:
        return torch.zeros(num_nodes, dtype=torch.long, device=data.x.device), 1
    if not isinstance(batch, Tensor) or batch.dtype != torch.long:
        got = batch.dtype if isinstance(batch, Tensor) else type(batch).__name__
        raise TypeError(f"Expected 'batch' to be an int64 tensor (got {got}); batch.long()")
    if batch.shape != (num_nodes,):
        raise ValueError(
            f"Expected 'batch' to hold one graph index for each of the {num_nodes} nodes "
            f"(got shape {tuple(batch.shape)}); Batch.from_data_list makes it"
        )
    step = batch.diff()
    # Read together, since the host waits for a device each time.
    ends_and_steps = [batch[0], batch[-1], (step < 0).any().long(), (step > 1).any().long()]
    low, high, descends, skips = torch.stack(ends_and_steps).tolist()
    if descends:
        where = int((step < 0).nonzero()[0])
        raise ValueError(
            "Expected 'batch' to be sorted, as torch_geometric.data.Batch makes it "
            f"(got {int(batch[where])} before {int(batch[where + 1])} at node {where}); "
            "reorder the nodes by graph"
        )
    ptr = data.get("ptr", None)
    num_graphs = high + 1 if ptr is None else len(ptr) - 1
    if low != 0 or skips or num_graphs != high + 1:
        raise ValueError(
            "Expected every graph of 'batch' to have at least one node "
            f"(got {num_graphs} graphs, of which {len(batch.unique())} have nodes); "
            "remove the empty graphs"
        )
    return batch, num_graphs


def _check_edges(data: Data) -> Tensor:
    edge_index = data.edge_index
    if not isinstance(edge_index, Tensor):
        raise TypeError(
            f"Expected 'edge_index' to be an int64 tensor of shape (2, n_edges) "
            f"(got {edge_index!r}); a graph without edges has torch.empty((2, 0), dtype=torch.long)"
        )
    if edge_index.dtype != torch.long:
        raise TypeError(
            f"Expected 'edge_index' to be int64 (got {edge_index.dtype}); edge_index.long()"
        )
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        flipped = edge_index.dim() == 2 and edge_index.size(1) == 2
        remedy = "edge_index.t().contiguous()" if flipped else "one row of sources, one of targets"
        raise ValueError(
            f"Expected 'edge_index' to have shape (2, n_edges) "
            f"(got shape {tuple(edge_index.shape)}); {remedy}"
        )
    return edge_index


def _is_canonical(edge_index: Tensor, batch: Tensor) -> bool:
    """Whether there is nothing to complain about; the host waits for a device once."""
    if usable(edge_index, batch):
        from topox_difflift import _graph_numba

        return _graph_numba.is_canonical(*arrays(*edge_index, batch))
    inside = edge_index.clamp(0, len(batch) - 1)
    source, target = inside
    key = source * len(batch) + target
    reverse = (target * len(batch) + source).index_select(0, stable_order(target))
    fine = (
        (inside == edge_index).all(),
        (batch[source] == batch[target]).all(),
        (source != target).all(),
        (key.diff() > 0).all(),
        # Sorted by target, the reversed arcs of an undirected graph are the arcs.
        (reverse == key).all(),
    )
    return bool(torch.stack(fine).all())


def _check_ends(edge_index: Tensor, batch: Tensor) -> None:
    if edge_index.numel() == 0:
        return
    num_nodes = len(batch)
    low, high = int(edge_index.min()), int(edge_index.max())
    if low < 0 or high >= num_nodes:
        raise ValueError(
            f"Expected 'edge_index' to name nodes 0 to {num_nodes - 1} "
            f"(got values from {low} to {high}), since 'x' has {num_nodes} rows; number the nodes "
            "from 0, and give every node features"
        )
    across = int((batch[edge_index[0]] != batch[edge_index[1]]).sum())
    if across:
        raise ValueError(
            "Expected every edge of 'edge_index' to join nodes of one graph of 'batch' "
            f"(got {across} edges between graphs); drop those edges, or put the nodes in one graph"
        )


def _check_edge_features(data: Data, edge_index: Tensor) -> Tensor | None:
    edge_attr = data.edge_attr
    if edge_attr is None:
        return None
    n_arcs = edge_index.size(1)
    shape = tuple(edge_attr.shape) if isinstance(edge_attr, Tensor) else type(edge_attr).__name__
    if shape[:1] != (n_arcs,) or len(shape) > 2:
        raise ValueError(
            f"Expected 'edge_attr' to have shape ({n_arcs}, channels), one row for each column of "
            f"'edge_index' (got {shape}); give both directions of an edge a row, or set it to None"
        )
    if not is_finite(edge_attr):
        raise ValueError(
            "Expected 'edge_attr' to be finite (got NaN or infinity); torch.nan_to_num(edge_attr)"
        )
    return edge_attr.unsqueeze(-1) if edge_attr.dim() == 1 else edge_attr


def _simplify(
    edge_index: Tensor, edge_attr: Tensor | None, num_nodes: int
) -> tuple[Tensor, Tensor | None]:
    """Drop self-loops and duplicates and add missing directions, saying so."""
    loops = int((edge_index[0] == edge_index[1]).sum())
    if loops:
        _warn(f"'edge_index' has {loops} self-loops, which no complex can hold; they are dropped")
        edge_index, edge_attr = remove_self_loops(edge_index, edge_attr)
    key = edge_index[0] * num_nodes + edge_index[1]
    if bool((key.diff() <= 0).any()):
        key = key.sort().values
        repeats = int((key.diff() == 0).sum())
        if repeats:
            _warn(f"'edge_index' has {repeats} duplicate edges; each is kept once")
        edge_index, edge_attr = _mean(coalesce, edge_index, edge_attr, num_nodes)
    # Arcs are sorted by source, then target: stably by target they are the reverse arcs in order.
    reverse = edge_index.flip(0).index_select(1, stable_order(edge_index[1]))
    if not torch.equal(edge_index, reverse):
        _warn("'edge_index' is directed; the lifting uses the undirected graph (both directions)")
        edge_index, edge_attr = _mean(to_undirected, edge_index, edge_attr, num_nodes)
    return edge_index, edge_attr


def _mean(merge, edge_index: Tensor, edge_attr: Tensor | None, num_nodes: int):  # type: ignore[no-untyped-def]
    """Apply one of PyG's merging functions, whose return type depends on its input."""
    if edge_attr is None:
        return merge(edge_index, num_nodes=num_nodes), None
    return merge(edge_index, edge_attr, num_nodes=num_nodes, reduce="mean")


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=2)
