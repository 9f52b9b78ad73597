"""
TopoNetX complexes from graphs and from lifted complexes, and back.

TopoNetX sorts nodes and edges, and, in a simplicial complex, all simplices. The 2-cells of
a cell complex stay in the order of insertion. The set-based classes sort their cells by
*inclusion*, a partial order, and group equal hyperedges; the two subclasses below keep
the columns in the order of insertion, so that no class permutes ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain, compress, pairwise
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import torch
from toponetx import Cell, CellComplex, ColoredHyperGraph, CombinatorialComplex, SimplicialComplex
from torch import Tensor

from topox_difflift.annotations import Annotations
from topox_difflift.cells import Rank
from topox_difflift.checks import check_flag
from topox_difflift.integrations.networkx import ascend, graph_to_data, sort_labels
from topox_difflift.laws import faces_of_cells

if TYPE_CHECKING:
    from toponetx.classes.complex import Complex

    from topox_difflift.complex import LiftedComplex

__all__ = [
    "OrderedCombinatorialComplex",
    "OrderedHyperGraph",
    "export_complex",
    "graph_skeleton",
    "graph_to_difflift_complex",
    "import_complex",
]


class OrderedHyperGraph(ColoredHyperGraph):
    """
    Colored hypergraph whose hyperedges stay in column order, duplicates included.

    Hyperedges that were added later come last.

    Parameters
    ----------
    *args, **kwargs : object
        As in TopoNetX.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.columns: dict[tuple[frozenset[Hashable], int], int] = {}
        super().__init__(*args, **kwargs)

    def skeleton(self, rank: int) -> list[tuple[frozenset[Hashable], int]]:
        """
        List the cells of one rank in column order.

        Parameters
        ----------
        rank : int
            Rank of the cells.

        Returns
        -------
        list of tuple
            Pairs (vertices, key).
        """
        cells = self.incidence_dict.get(rank, {})
        pairs = [(vertices, key) for vertices, copies in cells.items() for key in copies]
        # Nodes are such pairs as well, and stay in the order of insertion.
        return sorted(pairs, key=lambda pair: self.columns.get(pair, np.inf)) if rank else pairs


class OrderedCombinatorialComplex(CombinatorialComplex):
    """Combinatorial complex whose cells stay in the order of insertion."""

    def skeleton(self, rank: int, level: str = "equal") -> list[frozenset[Hashable]]:
        """
        List the cells of one rank in the order of insertion.

        Parameters
        ----------
        rank : int
            Rank of the cells.
        level : str
            As in TopoNetX.

        Returns
        -------
        list of frozenset
            The cells.
        """
        if level == "equal":
            return list(self.incidence_dict.get(rank, {}))
        return super().skeleton(rank, level)


# ---------------------------------------------------------------------- lift


def graph_to_difflift_complex(
    G: nx.Graph,  # noqa: N803
    lift: torch.nn.Module,
    *,
    node_attrs: str | Sequence[str] | None = "x",
    edge_attrs: str | Sequence[str] | None = None,
    deterministic: bool = True,
) -> Complex:
    """
    Get the complex that a lifting makes of a graph.

    To train a lifting, make data of the graphs with `graph_to_data`, whose batches liftings
    take; this function computes no gradient.

    Parameters
    ----------
    G : networkx.Graph
        The graph; never changed.
    lift : DiffLift or torch.nn.Module
        The lifting, a learned or a static one. Its domain decides the class of the result.
    node_attrs : str or sequence of str, optional
        Node attributes to take for features, by default "x"; None for the number of neighbours.
    edge_attrs : str or sequence of str, optional
        Edge attributes to take for features of the edges, which some encoders read.
    deterministic : bool, default=True
        Lift as in `eval()`, where every call gives the same complex, and leave the lifting in
        the mode that it was in. Otherwise lift in that mode, which draws while training.

    Returns
    -------
    toponetx.CellComplex, SimplicialComplex, CombinatorialComplex or ColoredHyperGraph
        The accepted complex. Nodes keep their labels, and nodes, edges and the complex the
        attributes that `G` gave them; all cells have features "x", and "mask" and "prob", the
        probability of their acceptance (1 for what was in `G`).

    Raises
    ------
    TypeError
        If `G` is no networkx graph, `lift` is no lifting, or an attribute holds no numbers.
    ValueError
        If there is no node, an attribute is missing, or a cell or simplicial complex is to
        have labels that cannot be sorted.

    Warns
    -----
    UserWarning
        If edges are directed, parallel or self-loops, which no complex holds, or attributes
        have to make way for those of the lifting.

    See Also
    --------
    graph_skeleton : The graph of a complex, to lift it anew.
    topox_difflift.integrations.networkx.graph_to_data : PyG data of a graph, for training.

    Examples
    --------
    >>> from topox_difflift.liftings import CycleLifting
    >>> G = nx.cycle_graph(["N", "E", "S", "W"])
    >>> cx = graph_to_difflift_complex(G, CycleLifting(), node_attrs=None)
    >>> cx.shape
    (4, 4, 1)
    >>> sorted(cx.edges)
    [('E', 'N'), ('E', 'S'), ('N', 'W'), ('S', 'W')]
    """
    from topox_difflift.complex import LiftedComplex

    check_flag("deterministic", deterministic)
    if not isinstance(lift, torch.nn.Module):
        raise TypeError(f"Expected 'lift' to be a lifting such as DiffLift() (got {lift!r})")
    data = graph_to_data(G, node_attrs, edge_attrs)
    # Whoever thinks in graphs need not know the dtype, nor the device.
    like = next((p for p in lift.parameters() if p.is_floating_point()), data.x)
    data = data.to(like.device)
    data = data.apply(lambda t: t.to(like.dtype) if t.is_floating_point() else t)
    with torch.no_grad(), _evaluating(lift) if deterministic else nullcontext():
        lifted = lift(data)
    if not isinstance(lifted, LiftedComplex):
        raise TypeError(
            f"Expected 'lift' to return a LiftedComplex (got {type(lifted).__name__} from "
            f"{type(lift).__name__}); of a whole network take its lifting"
        )
    return lifted.to_toponetx()


@contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode, and each of its parts back afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


# ---------------------------------------------------------------------- export

# A cell by its labels, with its attributes.
_Described = tuple[tuple[Hashable, ...], Mapping[Any, Any]]


def export_complex(lifted: LiftedComplex) -> Complex:
    """
    Make the TopoNetX object of an accepted complex.

    Parameters
    ----------
    lifted : LiftedComplex
        A complex without rejected cells.

    Returns
    -------
    toponetx.CellComplex, SimplicialComplex, CombinatorialComplex or ColoredHyperGraph
        The complex, with attributes "x" (where cells have features), "mask" and "prob", and
        with the labels and attributes of its `Annotations`, if it is one graph and has some.

    Raises
    ------
    ValueError
        If the TopoNetX class cannot hold the cells: equal ones outside of a
        hypergraph, a cell of one node in a combinatorial complex, or labels that cannot be
        sorted in a cell or simplicial complex.
    """
    if lifted.domain != "hypergraph":
        _require_distinct(lifted)
    notes = _annotations(lifted)
    if lifted.oriented:
        _require_order(notes.labels, f"TopoNetX sorts the nodes of a {lifted.domain} complex")
    described = [_describe(lifted, r, notes) for r in range(lifted.max_rank + 1)]
    out = _WRITE[lifted.domain]([*described, [], []])
    out.complex.update(notes.graph)
    return out


def _annotations(lifted: LiftedComplex) -> Annotations:
    """Labels and attributes that came with the input; of several graphs, the numbers of nodes."""
    n_nodes, notes = lifted.num_cells[0], lifted.get("annotations")
    if isinstance(notes, list) and len(notes) == 1:
        notes = notes[0]
    if not isinstance(notes, Annotations) or lifted.num_graphs > 1:
        return Annotations(tuple(range(n_nodes)), (), {})
    if len(notes.labels) != n_nodes:
        raise ValueError(
            f"Expected 'annotations' to label the {n_nodes} nodes of the complex "
            f"(got {len(notes.labels)} labels); they are those of another graph: drop them with "
            "del lifted.annotations"
        )
    return notes


def _require_distinct(lifted: LiftedComplex) -> None:
    for rank in range(1, lifted.max_rank + 1):
        cells = lifted.cells(rank)
        if len(set(cells)) < len(cells):
            twice = next(cell for cell in cells if cells.count(cell) > 1)
            raise ValueError(
                f"Expected distinct cells of rank {rank} in a {lifted.domain} complex, got "
                f"{twice} twice; TopoNetX cannot hold both, so drop one of them."
            )


def _require_order(labels: Sequence[Hashable], why: str) -> None:
    if not ascend(labels):
        kinds = sorted({type(label).__name__ for label in labels})
        raise ValueError(
            f"Expected node labels that can be sorted, since {why} (got {', '.join(kinds)}); "
            "number them with networkx.convert_node_labels_to_integers(G, label_attribute='label')"
            ", or lift to a hypergraph or a combinatorial complex"
        )


def _describe(lifted: LiftedComplex, rank: int, notes: Annotations) -> list[_Described]:
    """Labels and attributes of each cell, in column order."""
    cells = lifted.cells(rank)
    x = lifted[f"x_{rank}"].detach().cpu().numpy()
    mask, prob = (lifted[f"{name}_{rank}"].tolist() for name in ("mask", "prob"))
    others = notes.of_rank(rank, cells)
    described: list[_Described] = []
    for cell, row, m, p, other in zip(cells, x, mask, prob, others, strict=True):
        features = {"x": row} if row.size else {}
        labels = tuple(notes.labels[v] for v in cell)
        described.append((labels, {**features, "mask": m, "prob": p, **other}))
    return described


# Attributes are added to the complex's own dictionaries: as keyword arguments they would have
# to be strings, and other ones than the names of the parameters. A node goes in as a set of
# one label, since TopoNetX takes a label that is a tuple for a set of labels.


def _write_cell(described: list[list[_Described]]) -> CellComplex:
    out = CellComplex()
    for (node,), attributes in described[0]:
        out.add_node(node)
        out.nodes[node].update(attributes)
    for pair, attributes in described[1]:
        out.add_edge(*pair)
        out.edges[pair].update(attributes)
    for cycle, attributes in described[2]:
        cell = Cell(cycle)
        cell.update(attributes)
        out.add_cell(cell)
    return out


def _write_simplicial(described: list[list[_Described]]) -> SimplicialComplex:
    out = SimplicialComplex()
    for labels, attributes in chain.from_iterable(described):
        out.add_simplex(labels)
        out[labels].update(attributes)
    return out


def _write_combinatorial(described: list[list[_Described]]) -> CombinatorialComplex:
    out = OrderedCombinatorialComplex()
    for rank, of_rank in enumerate(described):
        for labels, _ in of_rank:
            out.add_cell(labels, rank=rank)
    # Adding a cell resets the attributes of its nodes, hence after all.
    for rank, of_rank in enumerate(described):
        for labels, attributes in of_rank:
            out.incidence_dict[rank][frozenset(labels)].update(attributes)
    return out


def _write_hypergraph(described: list[list[_Described]]) -> ColoredHyperGraph:
    out = OrderedHyperGraph()
    for labels, _ in described[0]:
        out.add_cell(labels, rank=0)
    for column, (labels, attributes) in enumerate(described[1]):
        vertices = frozenset(labels)
        key = len(out.incidence_dict.get(1, {}).get(vertices, {}))
        out.add_cell(labels, rank=1, key=key)
        out.incidence_dict[1][vertices][key].update(attributes)
        out.columns[vertices, key] = column
    for labels, attributes in described[0]:
        out.incidence_dict[0][frozenset(labels)][0].update(attributes)
    return out


_WRITE: dict[str, Callable[[list[list[_Described]]], Complex]] = {
    "cell": _write_cell,
    "simplicial": _write_simplicial,
    "combinatorial": _write_combinatorial,
    "hypergraph": _write_hypergraph,
}


# ---------------------------------------------------------------------- import


def import_complex(
    complex_: Complex, max_rank: int | None = None
) -> tuple[Tensor, list[Rank], str, Annotations]:
    """
    Read a TopoNetX complex in the order of its own matrices.

    Parameters
    ----------
    complex_ : CellComplex, SimplicialComplex, CombinatorialComplex or ColoredHyperGraph
        The complex.
    max_rank : int, optional
        Highest rank to read; ranks that the complex lacks are empty.

    Returns
    -------
    x_0 : torch.Tensor, shape = (n_0, channels)
        Features of the nodes.
    ranks : list of Rank
        Ranks 1, 2, ...
    domain : str
        Kind of the complex.
    annotations : Annotations
        Labels of the nodes, and all other attributes.

    Raises
    ------
    TypeError
        If the class of the complex is not one of the four.
    ValueError
        If a colored hypergraph has hyperedges of several ranks, a cell complex has labels
        that cannot be sorted, parallel edges, self-loops or cells that visit a node twice, or
        if the attributes "x", "mask" or "prob" cannot be read.
    """
    domain, described = _read(complex_)
    if domain == "hypergraph" and len(described) > 2:
        raise ValueError(
            f"Expected hyperedges of rank 1 only, got ranks up to {len(described) - 1}; "
            "import it as a CombinatorialComplex."
        )
    top = len(described) - 1 if max_rank is None else max_rank
    described = (described + [[]] * (max(top, 1) + 1))[: max(top, 1) + 1]
    return _assemble(described, domain, dict(complex_.complex))


def graph_skeleton(complex_: Complex) -> nx.Graph:
    """
    Get the nodes and edges of a complex as a graph, with their attributes.

    What TopoNetX's method of the same name does for some of its classes, in some versions.

    Parameters
    ----------
    complex_ : CellComplex, SimplicialComplex or CombinatorialComplex
        The complex.

    Returns
    -------
    networkx.Graph
        A new graph; the attributes of the complex are those of the graph.

    Raises
    ------
    TypeError
        If the complex is of another class.
    ValueError
        If a combinatorial complex has cells of rank 1 that are no pairs, or the complex is a
        hypergraph, which has no edges.

    Examples
    --------
    >>> cx = CellComplex()
    >>> cx.add_cell(["a", "b", "c"], rank=2)
    >>> sorted(graph_skeleton(cx).edges)
    [('a', 'b'), ('a', 'c'), ('b', 'c')]
    """
    domain, described = _read(complex_)
    edges = described[1] if len(described) > 1 else []
    sizes = {len(labels) for labels, _ in edges}
    if domain == "hypergraph" or not sizes <= {2}:
        raise ValueError(
            f"Expected 'complex_' to have edges, cells of rank 1 with two nodes (got {complex_}); "
            "make a graph of the larger sets yourself, for instance their clique expansion"
        )
    graph = nx.Graph()
    graph.graph.update(complex_.complex)
    for (label,), attributes in described[0]:
        graph.add_node(label)
        graph.nodes[label].update(attributes)
    for pair, attributes in edges:
        graph.add_edge(*pair)
        graph.edges[pair].update(attributes)
    return graph


def _read(complex_: Complex) -> tuple[str, list[list[_Described]]]:
    """Kind of a complex, and its cells of rank 0, 1, ... by their labels."""
    match = next(((name, read) for cls, name, read in _READ if isinstance(complex_, cls)), None)
    if match is None:
        names = [cls.__name__ for cls, _, _ in _READ]
        raise TypeError(f"Expected 'complex_' to be one of {names}, got {type(complex_).__name__}.")
    domain, read = match
    return domain, read(complex_) or [[]]


def _assemble(
    described: list[list[_Described]], domain: str, graph: dict[Any, Any]
) -> tuple[Tensor, list[Rank], str, Annotations]:
    labels = tuple(label for (label,), _ in described[0])
    number = {label: i for i, label in enumerate(labels)}
    x_0 = _features(described[0], 0)
    lower: list[tuple[int, ...]] = [(i,) for i in range(len(number))]
    ranks, notes = [], [_others(described[0], lower, ["x"])]
    for r, of_rank in enumerate(described[1:], start=1):
        cells = [tuple(number[label] for label in labels) for labels, _ in of_rank]
        if not (domain == "cell" and r == 2):
            cells = [tuple(sorted(cell)) for cell in cells]
        rank = _make_rank(cells, lower, of_rank, domain, r, _gate_dtype(x_0))
        ranks.append(rank)
        # Only accepted cells are ever exported, so that equal hyperedges keep their attributes.
        kept = rank.mask.bool().tolist()
        notes.append(
            _others(
                list(compress(of_rank, kept)), list(compress(cells, kept)), ["x", "mask", "prob"]
            )
        )
        lower = cells
    return x_0, ranks, domain, Annotations(labels, tuple(notes), graph)


def _others(
    described: Sequence[_Described], cells: Sequence[tuple[int, ...]], own: Sequence[str]
) -> dict[tuple[int, ...], list[dict[Any, Any]]]:
    """Attributes that are no tensors of the complex."""
    out: dict[tuple[int, ...], list[dict[Any, Any]]] = {}
    for cell, (_, attributes) in zip(cells, described, strict=True):
        others = {name: value for name, value in attributes.items() if name not in own}
        out.setdefault(cell, []).append(others)
    return out


def _make_rank(
    cells: list[tuple[int, ...]],
    lower: list[tuple[int, ...]],
    described: list[_Described],
    domain: str,
    rank: int,
    dtype: torch.dtype,
) -> Rank:
    faces, orientation = faces_of_cells(domain, rank, cells, lower)
    return Rank(
        vertices=torch.tensor([v for cell in cells for v in cell], dtype=torch.long),
        sizes=torch.tensor([len(cell) for cell in cells], dtype=torch.long),
        batch=torch.zeros(len(cells), dtype=torch.long),
        mask=_gate(described, "mask", rank, dtype),
        prob=_gate(described, "prob", rank, dtype),
        faces=faces,
        orientation=orientation.to(dtype),
        membership=torch.ones(faces.size(1), dtype=dtype),
        x=_features(described, rank),
    )


def _gate_dtype(x_0: Tensor) -> torch.dtype:
    return x_0.dtype if x_0.is_floating_point() else torch.get_default_dtype()


def _gate(described: Sequence[_Described], name: str, rank: int, dtype: torch.dtype) -> Tensor:
    """Masks or probabilities, by default 1."""
    values = _values(described, name, rank)
    if values is None:
        return torch.ones(len(described), dtype=dtype)
    gate = values.double().squeeze(1) if values.size(1) == 1 else values.new_full((1,), -1)
    allowed = (gate == 0) | (gate == 1) if name == "mask" else (gate >= 0) & (gate <= 1)
    if not bool(allowed.all()):
        expected = "0 or 1" if name == "mask" else "a probability"
        where = int((~allowed).nonzero()[0])
        raise ValueError(
            f"Expected attribute {name!r} of each cell of rank {rank} to be {expected} "
            f"(got {described[where][1][name]!r}); rename it if it is not that of a lifting"
        )
    return gate.to(dtype)


def _features(described: Sequence[_Described], rank: int) -> Tensor:
    """Rows of the attribute "x", or no channel at all."""
    values = _values(described, "x", rank)
    return torch.empty(len(described), 0) if values is None else values


def _values(described: Sequence[_Described], name: str, rank: int) -> Tensor | None:
    """Rows of an attribute, if all cells have it."""
    values = [attributes[name] for _, attributes in described if name in attributes]
    if len(values) < len(described) and values:
        warnings.warn(
            f"attribute {name!r} is left out at rank {rank}, where {len(values)} of "
            f"{len(described)} cells have it; give it to all, or rename it",
            UserWarning,
            stacklevel=2,
        )
    if len(values) < len(described) or not values:
        return None
    try:
        return torch.from_numpy(np.stack([np.ravel(value) for value in values]))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected attribute {name!r} of each cell of rank {rank} to be numbers, equally many "
            f"each (got {values[0]!r} and others); rename it if it is not that of a lifting"
        ) from error


def _read_cell(complex_: CellComplex) -> list[list[_Described]]:
    # The ranks of a cell complex are always three; nodes and edges are sorted.
    labels = sort_labels(complex_.nodes)
    _require_order(labels, "TopoNetX sorts the nodes of a cell complex")
    place = {label: i for i, label in enumerate(labels)}
    pairs = sorted(tuple(sorted(edge[:2], key=place.__getitem__)) for edge in complex_.edges)
    cycles = [cell.elements for cell in complex_.cells]
    twice = [pair for pair, other in pairwise(pairs) if pair == other]
    twice += [cell for cell in [*pairs, *cycles] if len(set(cell)) < len(cell)]
    if twice:
        raise ValueError(
            f"Expected a regular cell complex over a simple undirected graph (got {twice[0]}, "
            "which is there twice or has a node twice); drop it, or make the graph a "
            "networkx.Graph without self-loops"
        )
    nodes = [((label,), complex_.nodes[label]) for label in labels]
    edges = [(pair, complex_.edges[pair]) for pair in pairs]
    cells = [(cell.elements, cell._attributes) for cell in complex_.cells]
    return [nodes, edges, cells]


def _read_simplicial(complex_: SimplicialComplex) -> list[list[_Described]]:
    return [
        [(tuple(sorted(s.elements)), complex_[s]) for s in complex_.skeleton(rank)]
        for rank in range(complex_.dim + 1)
    ]


def _read_combinatorial(complex_: CombinatorialComplex) -> list[list[_Described]]:
    of_rank = complex_.incidence_dict
    return [
        [(tuple(cell), of_rank[rank][cell]) for cell in complex_.skeleton(rank)]
        for rank in range(max(of_rank, default=0) + 1)
    ]


def _read_hypergraph(complex_: ColoredHyperGraph) -> list[list[_Described]]:
    of_rank = complex_.incidence_dict
    return [
        [(tuple(cell), of_rank[rank][cell][key]) for cell, key in complex_.skeleton(rank)]
        for rank in range(max(of_rank, default=0) + 1)
    ]


# A combinatorial complex is a colored hypergraph to Python, hence its place.
_READ: list[tuple[type, str, Callable[[Any], list[list[_Described]]]]] = [
    (CellComplex, "cell", _read_cell),
    (SimplicialComplex, "simplicial", _read_simplicial),
    (CombinatorialComplex, "combinatorial", _read_combinatorial),
    (ColoredHyperGraph, "hypergraph", _read_hypergraph),
]
