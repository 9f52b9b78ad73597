"""Random gated complexes, built cell by cell and without the lifting."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import networkx as nx
import torch

from topox_difflift.cells import Rank
from topox_difflift.complex import LiftedComplex

if TYPE_CHECKING:
    from collections.abc import Sequence

DOMAINS = ["hypergraph", "simplicial", "cell", "combinatorial"]
Cells = list[tuple[int, ...]]


def random_complex(
    domain: str,
    seed: int,
    *,
    n_graphs: int = 1,
    max_nodes: int = 7,
    reject: float = 0.3,
    dtype: torch.dtype = torch.float32,
    leaf: bool = False,
) -> LiftedComplex:
    """A batch of random complexes, with rejected cells and left-out members."""
    rng = random.Random(f"{domain}-{seed}")
    sizes = [rng.randint(1, max_nodes) for _ in range(n_graphs)]
    graphs = [_random_cells(domain, n, rng) for n in sizes]
    batch_0 = torch.arange(n_graphs).repeat_interleave(torch.tensor(sizes))
    offsets = [sum(sizes[:g]) for g in range(n_graphs)]
    lower: Cells = [(v,) for v in range(sum(sizes))]
    alive = [True] * len(lower)
    ranks = []
    for r in range(1, len(graphs[0]) + 1):
        cells, batch = [], []
        for g, (of_graph, offset) in enumerate(zip(graphs, offsets, strict=True)):
            cells += [tuple(v + offset for v in cell) for cell in of_graph[r - 1]]
            batch += [g] * len(of_graph[r - 1])
        rank, alive = _gated_rank(domain, r, cells, batch, lower, alive, reject, rng, dtype, leaf)
        ranks.append(rank)
        lower = cells
    x_0 = torch.tensor([[rng.gauss(0, 1), float(v)] for v in range(sum(sizes))], dtype=dtype)
    return LiftedComplex.from_ranks(None, x_0, batch_0, ranks, domain)


def _random_cells(domain: str, n: int, rng: random.Random) -> list[Cells]:
    graph = nx.gnp_random_graph(n, rng.choice([0.2, 0.5, 0.8]), seed=rng.randrange(10**6))
    edges = sorted(tuple(sorted(edge)) for edge in graph.edges)
    if domain == "hypergraph":
        # Duplicates and inclusions are wanted.
        return [[_subset(n, rng, 1) for _ in range(rng.randint(0, 6))]]
    if domain == "cell":
        cycles = [_turned(cycle, rng) for cycle in nx.cycle_basis(graph)]
        return [edges, cycles]
    if domain == "simplicial":
        triangles = [t for t in itertools.combinations(range(n), 3) if _is_clique(graph, t)]
        triangles = [t for t in triangles if rng.random() < 0.9]
        solids = itertools.combinations(range(n), 4)
        solids = [s for s in solids if set(itertools.combinations(s, 3)) <= set(triangles)]
        return [edges, triangles, solids[:3]]
    squares = list(dict.fromkeys(_subset(n, rng, 3) for _ in range(rng.randint(0, 4))))
    squares = [s for s in squares if len(s) >= 3]
    bodies = list(dict.fromkeys(_subset(n, rng, 4) for _ in range(rng.randint(0, 3))))
    bodies = [b for b in bodies if not any(set(b) <= set(s) for s in squares) and len(b) > 3]
    return [edges, squares, bodies]


def _subset(n: int, rng: random.Random, low: int) -> tuple[int, ...]:
    return tuple(sorted(rng.sample(range(n), min(n, rng.randint(low, low + 3)))))


def _turned(cycle: Sequence[int], rng: random.Random) -> tuple[int, ...]:
    shift = rng.randrange(len(cycle))
    turned = (*cycle[shift:], *cycle[:shift])
    return turned if rng.random() < 0.5 else turned[::-1]


def _is_clique(graph: nx.Graph, nodes: Sequence[int]) -> bool:
    return all(graph.has_edge(*pair) for pair in itertools.combinations(nodes, 2))


def signed_faces(domain: str, r: int, cell: tuple[int, ...], lower: Cells) -> list[tuple[int, int]]:
    """Faces of one cell by definition: every cell of the rank below is looked at."""
    if domain in ("hypergraph", "combinatorial"):
        return [(i, 1) for i, face in enumerate(lower) if set(face) <= set(cell)]
    if domain == "cell" and r == 2:
        steps = list(zip(cell, (*cell[1:], cell[0]), strict=True))
        present = [(i, e) for i, e in enumerate(lower) if e in steps or e[::-1] in steps]
        return [(i, 1 if e in steps else -1) for i, e in present]
    out = []
    for i, face in enumerate(lower):
        missing = sorted(set(cell) - set(face))
        if len(missing) == 1 and len(face) == r:
            out.append((i, (-1) ** cell.index(missing[0])))
    return out


def _gated_rank(domain, r, cells, batch, lower, alive, reject, rng, dtype, leaf):
    entries, accepted, learned = [], [], []
    for j, cell in enumerate(cells):
        faces = signed_faces(domain, r, cell, lower)
        closed = domain == "combinatorial" or all(alive[i] for i, _ in faces)
        learned.append(not closed or rng.random() < 0.6)
        accepted.append(closed and not (learned[-1] and rng.random() < reject))
        for i, sign in faces:
            left_out = domain == "hypergraph" and i != cell[0] and rng.random() < reject
            # A cell need not wait for the rejected sets that it contains.
            left_out |= domain == "combinatorial" and not alive[i]
            entries.append((i, j, sign, float(not left_out)))
    entries.sort()
    columns = list(zip(*entries, strict=True)) or [(), (), (), ()]
    mask = torch.tensor(accepted, dtype=dtype)
    membership = torch.tensor(columns[3], dtype=dtype)
    prob = torch.tensor([rng.uniform(0.1, 0.9) if new else 1.0 for new in learned], dtype=dtype)
    if leaf:
        mask.requires_grad_()
        membership.requires_grad_()
    rank = Rank(
        vertices=torch.tensor([v for cell in cells for v in cell], dtype=torch.long),
        sizes=torch.tensor([len(cell) for cell in cells], dtype=torch.long),
        batch=torch.tensor(batch, dtype=torch.long),
        mask=mask,
        prob=prob,
        faces=torch.tensor(columns[:2], dtype=torch.long).reshape(2, -1),
        orientation=torch.tensor(columns[2], dtype=dtype),
        membership=membership,
        x=torch.tensor([[rng.gauss(0, 1)] * 3 for _ in cells], dtype=dtype).reshape(-1, 3),
    )
    return rank, accepted


def dense(matrix: torch.Tensor) -> torch.Tensor:
    """Dense form, after a check of the sparse one."""
    assert matrix.is_sparse
    assert matrix.is_coalesced()
    index = matrix.indices()
    assert index.is_contiguous()
    assert (index >= 0).all()
    key = index[0] * max(matrix.size(1), 1) + index[1]
    assert (key.diff() > 0).all(), "entries must be sorted and distinct"
    return matrix.to_dense()
