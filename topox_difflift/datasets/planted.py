"""Graphs whose label depends on planted cells that the graph itself does not show."""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch_geometric.data import Data

from topox_difflift.checks import check_at_least, check_one_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["PLANTED", "planted_cells"]


class Plan(NamedTuple):
    """
    What a kind is by default: nodes of a cell, cells of a graph, distractors of a node.

    The next is the dimension of its place, which no argument changes. The fewer dimensions, the
    less do sums over the nodes tell; a polygon and its plane need some. The last is the domain that
    holds such cells.
    """

    size: int
    num_groups: int
    distractors: int
    place: int
    domain: str


#: Kinds of planted cells. Of a larger cell a part tells less, so that cycles are harder to find.
PLANTED = {
    "hyperedges": Plan(3, 8, 10, 3, "hypergraph"),
    "cycles": Plan(4, 4, 4, 6, "cell"),
    "triangles": Plan(3, 8, 10, 3, "simplicial"),
}

# Prototypes of two groups are 3.5 apart on average, whatever the dimension.
_SPREAD = 12**0.5
# Distance of neighbours on a planted cycle.
_STEP = 0.8
# Labels are drawn by rejection, which takes 2^size draws.
_LARGEST = 8


def planted_cells(
    kind: str,
    num_graphs: int = 6000,
    sizes: Sequence[int] | None = None,
    *,
    num_groups: int | None = None,
    noise: float = 0.05,
    distractors: int | None = None,
    seed: int = 0,
) -> list[Data]:
    r"""
    Make graphs with hidden groups of nodes, the planted cells, that decide the label.

    The nodes of a graph fall into groups, each with a prototype of its own in R^3, for
    cycles in R^6, drawn afresh for every graph. A node's features are its place, which is the
    prototype plus noise, a sign of +1 or -1, and distractors of unit variance. The label is 1
    if all signs of some group are +1. Members of a planted cycle stand around their prototype
    as a regular polygon, in cyclic order, in a plane of its own.

    Parameters
    ----------
    kind : {"hyperedges", "cycles", "triangles"}
        What the groups are, and so the domain that holds them: hypergraph, cell complex or
        simplicial complex.
    num_graphs : int, default=6000
        Number of graphs.
    sizes : sequence of int, optional
        Sizes of the groups, from 3 to 8, each drawn with equal chance: ``(3,)`` makes all
        alike and ``(3, 4, 5)`` mixes them. By default 3, for cycles 4.
    num_groups : int, optional
        Groups of each graph, at least 2. By default 8, for cycles 4.
    noise : float, default=0.05
        Standard deviation of a node's place in each direction. The larger, the less the places
        say about the groups.
    distractors : int, optional
        Number of features without any meaning. The more, the less do distances of raw features
        say about the groups. By default 10, for cycles 4.
    seed : int, default=0
        Seed; the global seed is not touched. Take another one for a test set.

    Returns
    -------
    list of torch_geometric.data.Data
        Graphs with `x`, `edge_index`, `y`, and the planted cells: `planted_index` lists their
        nodes, cell after cell, those of a cycle in cyclic order, and `planted_size` how many
        each has. PyG batches both.

    Raises
    ------
    ValueError
        If an argument is unknown or impossible.

    Notes
    -----
    No rule on the graph finds a planted cell. Write the groups of a graph as the rows of a
    table, members in columns.

    * Edges join nodes of one column only: each column is cut at random into decoys, cycles where
      cycles are planted and cliques elsewhere. So no two nodes of a group are joined by a
      path, and cycles, cliques, neighbourhoods of any number of hops and heat kernels
      hold at most one node of each group.
    * Half of the signs of each column, rounded down, are +1, and given that and the label,
      every arrangement is as likely. Permuting a column keeps the number of +1 in it, and
      the groups are assigned to the nodes of a column by a random permutation that neither
      decoys nor signs depend on. So of a graph, its signs and its distractors every
      label is as likely: they are independent of it. So are the places on their own. Only
      who shares a prototype, and what their signs are, tells the label together.
    * Prototypes are new in each graph, so that no function of single nodes knows the groups.
    * What needs no cells, and yet says something: the sum over the nodes of sign times place is
      longer where a group has one sign only. A threshold on its length is right for 68 % of
      the graphs, for cycles 77 %. A network without cells that stays below has not found it.

    The labels are fair coins, so that a constant answer is right for half of the graphs.

    Examples
    --------
    >>> from topox_difflift.datasets import planted_cells
    >>> graph = planted_cells("cycles", 1)[0]
    >>> graph.num_nodes, graph.planted_size.tolist()
    (16, [4, 4, 4, 4])
    """
    check_one_of("kind", kind, tuple(PLANTED))
    plan = PLANTED[kind]
    sizes = (plan.size,) if sizes is None else tuple(sizes)
    num_groups = plan.num_groups if num_groups is None else num_groups
    distractors = plan.distractors if distractors is None else distractors
    _check_sizes(kind, sizes)
    check_at_least("num_graphs", num_graphs, 1)
    check_at_least("num_groups", num_groups, 2)
    check_at_least("distractors", distractors, 0)
    if not noise >= 0:
        raise ValueError(f"Expected 'noise' to be at least 0 (got {noise})")
    generator = torch.Generator().manual_seed(seed)
    choice = torch.randint(len(sizes), (num_graphs, num_groups), generator=generator)
    size = torch.tensor(sizes)[choice]
    # Tables of groups (rows) and their members (columns); smaller groups end earlier.
    taken = torch.arange(max(sizes)) < size.unsqueeze(-1)
    y = torch.randint(2, (num_graphs,), generator=generator)
    sign = _signs(taken, y, generator) * 2.0 - 1.0
    place = _places(size, taken, plan.place, kind == "cycles", noise, generator)
    others = torch.randn(*taken.shape, distractors, generator=generator)
    x = torch.cat([place, sign.unsqueeze(-1), others], dim=-1).flatten(1, 2)
    decoy = torch.tensor(sizes)[torch.randint(len(sizes), (num_graphs,), generator=generator)]
    graph, u, v = _decoys(taken, decoy, kind == "cycles", generator)
    node, slots = _order(taken.flatten(1), generator)
    arcs = torch.stack([node[graph, u], node[graph, v]])
    arcs = arcs[:, torch.argsort((graph * node.size(1) + arcs[0]) * node.size(1) + arcs[1])]
    counts = torch.bincount(graph, minlength=num_graphs).tolist()
    return [
        Data(
            x=x[i, slots[i]],
            edge_index=edge_index.contiguous(),
            y=y[i : i + 1],
            planted_index=node[i][taken[i].flatten()],
            planted_size=size[i],
        )
        for i, edge_index in enumerate(arcs.split(counts, dim=1))
    ]


def _check_sizes(kind: str, sizes: tuple[int, ...]) -> None:
    if not sizes:
        raise ValueError("Expected 'sizes' to hold at least one size (got none)")
    for size in sizes:
        check_at_least("sizes", size, 3, f"and at most {_LARGEST}, each of them")
        if size > _LARGEST:
            raise ValueError(f"Expected 'sizes' to be from 3 to {_LARGEST} (got {size})")
        if kind == "triangles" and size != 3:
            raise ValueError(
                f"Expected 'sizes' to be 3 for triangles (got {size}); plant hyperedges or cycles "
                "for other sizes"
            )


def _signs(taken: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    """Tell which signs are +1: half of each column, uniformly among what the label allows."""
    positive = torch.zeros_like(taken)
    half = taken.sum(1, keepdim=True) // 2
    open_ = torch.arange(len(y))
    while len(open_):
        inside = taken[open_]
        drawn = _ranks(inside, generator) < half[open_]
        right = (drawn | ~inside).all(2).any(1) == y[open_]
        positive[open_[right]] = drawn[right]
        open_ = open_[~right]
    return positive


def _ranks(inside: Tensor, generator: torch.Generator) -> Tensor:
    """Place of each entry in a random order of its column, those that are not inside last."""
    key = torch.rand(inside.shape, generator=generator).masked_fill_(~inside, torch.inf)
    return key.argsort(1).argsort(1)


def _places(
    size: Tensor, taken: Tensor, dims: int, ring: bool, noise: float, generator: torch.Generator
) -> Tensor:
    """Prototypes with their members, on a regular polygon or at one point, plus noise."""
    # Two normal vectors are sqrt(2 dims) apart.
    spread = _SPREAD / (2 * dims) ** 0.5
    centre = spread * torch.randn(*size.shape, 1, dims, generator=generator)
    place = centre + noise * torch.randn(*taken.shape, dims, generator=generator)
    if not ring:
        return place
    plane = torch.linalg.qr(torch.randn(*size.shape, dims, 2, generator=generator)).Q
    half_turn = pi / size.unsqueeze(-1)
    angle = 2 * half_turn * torch.arange(taken.size(2))
    around = torch.stack([angle.cos(), angle.sin()], dim=-1) @ plane.mT
    return place + (_STEP / 2 / half_turn.sin()).unsqueeze(-1) * around


def _decoys(
    taken: Tensor, size: Tensor, ring: bool, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Graph and ends, as slots of the table, of the arcs: cells of one size in each column."""
    rank = _ranks(taken, generator).transpose(1, 2)
    inside = taken.transpose(1, 2)
    size = size.view(-1, 1, 1)
    cell = (rank // size).masked_fill_(~inside, -1)
    pair = (cell.unsqueeze(-1) == cell.unsqueeze(-2)) & inside.unsqueeze(-1)
    gap = (rank.unsqueeze(-1) - rank.unsqueeze(-2)).abs()
    if ring:
        # The last decoy of a column is a cycle of what is left.
        left = inside.sum(2, keepdim=True) - cell * size
        last = torch.minimum(left, size).unsqueeze(-1) - 1
        pair &= (gap == 1) | (gap == last)
    graph, column, row, other = (pair & (gap > 0)).nonzero(as_tuple=True)
    return graph, row * taken.size(2) + column, other * taken.size(2) + column


def _order(inside: Tensor, generator: torch.Generator) -> tuple[Tensor, list[Tensor]]:
    """Draw a number for each slot of a graph; return node of each slot, and slot of each node."""
    node = _ranks(inside, generator)
    slots = node.argsort(1)
    return node, [row[:n] for row, n in zip(slots, inside.sum(1).tolist(), strict=True)]
