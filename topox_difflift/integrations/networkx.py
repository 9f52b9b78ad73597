"""Networkx graphs as PyG data that remembers labels and attributes."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import networkx as nx
import torch
from torch import Tensor
from torch_geometric.data import Data

from topox_difflift.annotations import Annotations
from topox_difflift.graph import stack_attributes

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Sequence

__all__ = ["ascend", "graph_to_data", "sort_labels"]


def graph_to_data(
    G: nx.Graph,  # noqa: N803
    node_attrs: str | Sequence[str] | None = "x",
    edge_attrs: str | Sequence[str] | None = None,
) -> Data:
    """
    Make PyG data of a graph, with labels and attributes carried along.

    Batches, data loaders and liftings take the result, and `LiftedComplex.to_toponetx` names
    the nodes as `G` does and gives nodes, edges and the whole the attributes that they have
    there. (A lifting that is called with `G` itself numbers the nodes in the order of `G`.)

    Parameters
    ----------
    G : networkx.Graph
        The graph, also a directed one or one with parallel edges; never changed.
    node_attrs : str or sequence of str, optional
        Node attributes to take for features, by default "x": numbers or sequences of numbers,
        several ones side by side. None for a graph without: the number of its neighbours is
        the one feature of each node.
    edge_attrs : str or sequence of str, optional
        Edge attributes to take for `edge_attr`, which encoders can read.

    Returns
    -------
    torch_geometric.data.Data
        Data with `x`, `edge_index`, `annotations` and, if asked for, `edge_attr`. The nodes
        ascend where their labels can be sorted, as they do in TopoNetX's matrices; otherwise
        they are in the order of `G`.

    Raises
    ------
    TypeError
        If `G` is no networkx graph, or an attribute does not hold numbers.
    ValueError
        If there is no node, or an attribute is missing or of unequal length.

    Warns
    -----
    UserWarning
        If attributes would be overwritten by those of the lifting: "x", and "mask" and "prob"
        of edges.

    See Also
    --------
    topox_difflift.integrations.toponetx.graph_to_difflift_complex : Lift a graph in one call.

    Notes
    -----
    Of parallel edges, and of the two directions of an edge, features are averaged and the
    attributes merged, those of later edges over those of earlier ones. Liftings drop
    self-loops, with a warning.

    Examples
    --------
    >>> G = nx.Graph(name="path")
    >>> G.add_edge("b", "a", kind="single")
    >>> G.add_edge("b", "c", kind="double")
    >>> data = graph_to_data(G, node_attrs=None)
    >>> data.x.squeeze(1).tolist()
    [1.0, 2.0, 1.0]
    >>> data.annotations.labels
    ('a', 'b', 'c')
    """
    if not isinstance(G, nx.Graph):
        raise TypeError(
            f"Expected 'G' to be a networkx.Graph (got {type(G).__name__}); of a TopoNetX complex "
            "take graph_skeleton, of a tensor edge_index torch_geometric.utils.to_networkx"
        )
    if G.number_of_nodes() == 0:
        raise ValueError("Expected 'G' to have at least one node (got none); leave it out")
    names = _names("node_attrs", node_attrs)
    labels = sort_labels(G)
    number = {label: i for i, label in enumerate(labels)}
    edges = list(G.edges(data=True))
    ends = [(number[u], number[v]) for u, v, _ in edges]
    # PyG holds both directions of an undirected edge, and a self-loop once.
    back = [] if G.is_directed() else [i for i, (u, v) in enumerate(ends) if u != v]
    arcs = ends + [ends[i][::-1] for i in back]
    data = Data(
        x=_features(G, labels, names),
        edge_index=torch.tensor(arcs, dtype=torch.long).view(-1, 2).t().contiguous(),
        annotations=_annotate(G, labels, ends, names),
    )
    if edge_attrs is not None:
        items = [((u, v), attributes) for u, v, attributes in edges]
        rows = stack_attributes(items, _names("edge_attrs", edge_attrs) or [], "edge")
        data.edge_attr = torch.cat([rows, rows[back]])
    return data


def sort_labels(labels: Collection[Hashable]) -> tuple[Hashable, ...]:
    """
    Sort labels, if they have a total order.

    Parameters
    ----------
    labels : collection of hashable
        Distinct labels.

    Returns
    -------
    tuple of hashable
        The labels, ascending, or as they came.
    """
    try:
        in_order = sorted(labels)  # type: ignore[type-var]
    except TypeError:
        return tuple(labels)
    # Sets can be compared, but inclusion sorts nothing.
    return tuple(in_order if ascend(in_order) else labels)


def ascend(labels: Collection[Hashable]) -> bool:
    """
    Whether labels are in ascending order, which has to be a total one.

    Parameters
    ----------
    labels : collection of hashable
        The labels.

    Returns
    -------
    bool
        False as well if two of them cannot be compared.
    """
    try:
        return all(a < b for a, b in pairwise(labels))  # type: ignore[operator]
    except TypeError:
        return False


def _names(argument: str, names: str | Sequence[str] | None) -> list[str] | None:
    if names is None or isinstance(names, str):
        return names if names is None else [names]
    names = list(names)
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"Expected '{argument}' to be the name of an attribute, several names, or None "
            f"(got {names!r})"
        )
    return names


def _features(
    graph: nx.Graph,
    labels: Sequence[Hashable],
    names: list[str] | None,
) -> Tensor:
    if names is not None:
        return stack_attributes(((label, graph.nodes[label]) for label in labels), names, "node")
    degrees = [len(set(nx.all_neighbors(graph, label)) - {label}) for label in labels]
    return torch.tensor(degrees, dtype=torch.get_default_dtype()).unsqueeze(1)


def _annotate(
    graph: nx.Graph,
    labels: Sequence[Hashable],
    ends: Sequence[tuple[int, int]],
    names: list[str] | None,
) -> Annotations:
    nodes: dict[tuple[int, ...], dict[Any, Any]] = {
        (i,): dict(graph.nodes[label]) for i, label in enumerate(labels)
    }
    edges: dict[tuple[int, ...], dict[Any, Any]] = {}
    for (u, v), (_, _, attributes) in zip(ends, graph.edges(data=True), strict=True):
        edges.setdefault((min(u, v), max(u, v)), {}).update(attributes)
    # No loss where the features of the nodes hold it.
    _withdraw(nodes.values(), ["x"], "nodes", "x" in (names or []))
    _withdraw(edges.values(), ["x", "mask", "prob"], "edges")
    ranks = [{cell: [a] for cell, a in of_rank.items() if a} for of_rank in (nodes, edges)]
    return Annotations(tuple(labels), tuple(ranks), dict(graph.graph))


def _withdraw(
    items: Iterable[dict[Any, Any]], reserved: Sequence[str], what: str, quiet: bool = False
) -> None:
    """Take out the attributes whose names the lifted complex needs for its own."""
    found = set()
    for attributes in items:
        found |= {name for name in reserved if attributes.pop(name, None) is not None}
    if found and not quiet:
        warnings.warn(
            f"attributes {', '.join(map(repr, sorted(found)))} of the {what} are the lifting's own "
            "in a lifted complex; rename yours to find them there",
            UserWarning,
            stacklevel=4,
        )
