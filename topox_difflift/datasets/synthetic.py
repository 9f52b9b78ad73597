"""Two synthetic datasets, which need no file."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from torch_geometric.data import Data

from topox_difflift.checks import check_at_least

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ATOMS", "BONDS", "molecules", "planted_groups"]

#: What the columns of `x` and of `edge_attr` stand for in `molecules`.
ATOMS = ("C", "N", "O", "F", "S", "Cl", "Br")
BONDS = ("single", "double", "triple", "aromatic")

# A seed whose prototypes are far enough apart: the groups of 3 nearest nodes in prototype space
# are pure for 98 % of the nodes. With close prototypes no metric could tell the groups apart.
_PROTOTYPE_SEED = 6
_Item = TypeVar("_Item")


# ---------------------------------------------------------------------- molecules


class _Sketch:
    """A molecule while it is drawn: atoms, bonds and rings as plain lists."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.atoms: list[int] = []
        self.bonds: dict[tuple[int, int], int] = {}
        self.rings: list[list[int]] = []

    def draw(self, *weights: float) -> int:
        """Draw an index with the given weights."""
        shares = torch.tensor(weights, dtype=torch.float)
        return int(torch.multinomial(shares, 1, generator=self.generator))

    def choose(self, items: Sequence[_Item]) -> _Item:
        """Draw one of the items."""
        return items[int(torch.randint(len(items), (), generator=self.generator))]

    def atom(self, kind: int = 0) -> int:
        """Add an atom."""
        self.atoms.append(kind)
        return len(self.atoms) - 1

    def bond(self, u: int, v: int, kind: int) -> None:
        """Join two atoms, unless they are joined already."""
        self.bonds.setdefault((min(u, v), max(u, v)), kind)

    def close(self, ring: list[int]) -> None:
        """Add the bonds of a ring."""
        kind = (0, 3)[self.draw(1, 1)]
        for u, v in zip(ring, [*ring[1:], ring[0]], strict=True):
            self.bond(u, v, kind)
        self.rings.append(ring)

    def first_ring(self) -> None:
        """Add a ring of five or six atoms."""
        self.close([self.atom() for _ in range(5 + self.draw(1, 2))])

    def fused_ring(self) -> None:
        """Add a ring that shares a bond with the last one."""
        last = self.rings[-1]
        free = [i for i, atom in enumerate(last) if self._own(atom) and self._own(last[i - 1])]
        start = self.choose(free)
        self.close(
            [last[start], last[start - 1], *(self.atom() for _ in range(3 + self.draw(1, 2)))]
        )

    def chained_ring(self) -> None:
        """Add a ring at the end of a short chain from the last one."""
        end = self.choose(self.rings[-1])
        for _ in range(self.draw(1, 1)):
            end, previous = self.atom(), end
            self.bond(previous, end, 0)
        before = len(self.atoms)
        self.first_ring()
        self.bond(end, before, 0)

    def substitute(self, together: bool) -> None:
        """Put in a nitrogen and an oxygen, as neighbours on a ring or on two rings."""
        pairs = [
            (u, v)
            for ring in self.rings
            for u, v in zip(ring, [*ring[1:], ring[0]], strict=True)
            if self._own(u) and self._own(v)
        ]
        pair = self.choose(pairs)
        nitrogen, oxygen = pair if self.draw(1, 1) else pair[::-1]
        if not together:
            apart = [ring for ring in self.rings if nitrogen not in ring]
            near = {v for bond in self.bonds for v in bond if nitrogen in bond}
            oxygen = self.choose([a for r in apart for a in r if self._own(a) and a not in near])
        self.atoms[nitrogen], self.atoms[oxygen] = ATOMS.index("N"), ATOMS.index("O")

    def branches(self, size: int) -> None:
        """Grow trees on the atoms until there are `size` of them."""
        while len(self.atoms) < size:
            degree = torch.bincount(torch.tensor(list(self.bonds)).flatten())
            root = self.choose((degree < 3).nonzero().flatten().tolist())
            leaf = self.atom(self.draw(6, 1, 1, 0.5, 0.5, 0.5, 0.5))
            self.bond(root, leaf, self.draw(8, 1.5, 0.5))

    def _own(self, atom: int) -> bool:
        """Tell whether an atom lies on one ring only."""
        return sum(atom in ring for ring in self.rings) == 1

    def data(self, label: int) -> Data:
        """Return the finished molecule."""
        bonds = torch.tensor(list(self.bonds)).t()
        kinds = torch.tensor(list(self.bonds.values()))
        edge_index = torch.cat([bonds, bonds.flip(0)], dim=1)
        edge_attr = torch.nn.functional.one_hot(kinds.repeat(2), len(BONDS)).float()
        order = torch.argsort(edge_index[0] * len(self.atoms) + edge_index[1])
        x = torch.nn.functional.one_hot(torch.tensor(self.atoms), len(ATOMS)).float()
        return Data(
            x=x,
            edge_index=edge_index[:, order].contiguous(),
            edge_attr=edge_attr[order],
            y=torch.tensor([label]),
        )


def _molecule(label: int, generator: torch.Generator) -> Data:
    sketch = _Sketch(generator)
    sketch.first_ring()
    for _ in range(1 + sketch.draw(2, 1)):
        (sketch.fused_ring, sketch.chained_ring)[sketch.draw(1, 1)]()
    sketch.substitute(together=bool(label))
    sketch.branches(max(len(sketch.atoms) + 1, 18) + sketch.draw(*[1] * 9))
    return sketch.data(label)


def molecules(num_graphs: int = 600, seed: int = 0) -> list[Data]:
    """
    Make graphs that look like molecules, with a label about their rings.

    Two or three rings of five or six atoms, fused or chained, with branches; 18 to 30 atoms.
    One ring atom is a nitrogen and one an oxygen: label 1 if they are neighbours on a ring,
    0 if they lie on two rings. Branches are drawn alike for both labels, and have nitrogen and
    oxygen as well.

    Parameters
    ----------
    num_graphs : int, default=600
        Number of graphs, half of them (up to one) of each label.
    seed : int, default=0
        Seed; the global seed is not touched.

    Returns
    -------
    list of torch_geometric.data.Data
        Graphs with `x` (7 one-hot atoms), `edge_index`, `edge_attr` (4 one-hot bonds) and `y`.

    Raises
    ------
    ValueError
        If `num_graphs` is below 1.
    """
    check_at_least("num_graphs", num_graphs, 1)
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.randperm(num_graphs, generator=generator) % 2).tolist()
    return [_molecule(label, generator) for label in labels]


# ---------------------------------------------------------------------- planted groups


def planted_groups(
    num_graphs: int = 3000, num_nodes: int = 18, group_size: int = 3, seed: int = 0
) -> list[Data]:
    """
    Make graphs without edges whose nodes fall into hidden groups that decide the label.

    Each group of a graph has its own one of 12 prototypes in R^6, the same for every seed.
    A node's 17 features are its group's prototype plus noise of standard deviation 0.3, a
    sign of +1 or -1, and 10 distractors of unit variance. The label is 1 if all signs of
    some group are +1, which is so for 1 - (7/8)^6 = 55 % of the graphs of default size.

    Parameters
    ----------
    num_graphs : int, default=3000
        Number of graphs.
    num_nodes : int, default=18
        Nodes of each graph, a multiple of `group_size`.
    group_size : int, default=3
        Nodes of each group.
    seed : int, default=0
        Seed; the global seed is not touched. Take another one for a test set.

    Returns
    -------
    list of torch_geometric.data.Data
        Graphs with `x`, an empty `edge_index`, `y`, and the hidden `group` of each node.

    Raises
    ------
    ValueError
        If the nodes cannot be divided into groups with a prototype each.
    """
    check_at_least("num_graphs", num_graphs, 1)
    prototypes = torch.randn(12, 6, generator=torch.Generator().manual_seed(_PROTOTYPE_SEED))
    if group_size < 1 or num_nodes % group_size or not 0 < num_nodes // group_size <= 12:
        raise ValueError(
            "Expected 'num_nodes' to be a multiple of 'group_size' that makes 1 to 12 groups "
            f"(got num_nodes={num_nodes}, group_size={group_size})"
        )
    n_groups = num_nodes // group_size
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(num_graphs, 12, generator=generator).argsort(1)[:, :n_groups]
    group = torch.rand(num_graphs, num_nodes, generator=generator).argsort(1) // group_size
    place = prototypes[drawn.gather(1, group)]
    place = place + 0.3 * torch.randn(place.shape, generator=generator)
    sign = torch.randint(2, (num_graphs, num_nodes), generator=generator) * 2.0 - 1.0
    distractors = torch.randn(num_graphs, num_nodes, 10, generator=generator)
    negative = torch.zeros(num_graphs, n_groups).scatter_add_(1, group, (sign < 0).float())
    y = (negative == 0).any(1).long()
    x = torch.cat([place, sign.unsqueeze(-1), distractors], dim=-1)
    nothing = torch.empty(2, 0, dtype=torch.long)
    return [
        Data(x=x[i], edge_index=nothing.clone(), y=y[i : i + 1], group=group[i])
        for i in range(num_graphs)
    ]
