"""TopoNetX's own matrices, against which ours are compared entry by entry."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import torch
from random_complexes import dense
from toponetx import CellComplex, ColoredHyperGraph, CombinatorialComplex, SimplicialComplex

CLASSES = {
    "hypergraph": ColoredHyperGraph,
    "simplicial": SimplicialComplex,
    "cell": CellComplex,
    "combinatorial": CombinatorialComplex,
}
LAPLACIANS = ["up_laplacian", "down_laplacian", "hodge_laplacian"]


def theirs(method, *args, **kwargs):
    """TopoNetX's matrix, or None where it has none."""
    try:
        matrix = method(*args, **kwargs)
    except (ValueError, UnboundLocalError):
        return None
    return matrix.toarray() if scipy.sparse.issparse(matrix) else None


def assert_equal(ours, expected, where):
    ours = dense(ours).detach().numpy()
    if expected is None:
        assert not ours.any(), where
    else:
        assert ours.shape == expected.shape, where
        assert np.array_equal(ours, expected), (where, ours, expected)


def assert_oriented_equal(lifted, exported):
    for r in range(lifted.max_rank + 1):
        for signed in (False, True):
            expected = theirs(exported.incidence_matrix, r, signed=signed)
            assert_equal(lifted.incidence(r, signed), expected, ("incidence", r, signed))
            for kind in ["adjacency", "coadjacency", *LAPLACIANS]:
                expected = theirs(getattr(exported, f"{kind}_matrix"), r, signed=signed)
                assert_equal(getattr(lifted, kind)(r, signed), expected, (kind, r, signed))


def assert_unoriented_equal(lifted, exported):
    n = lifted.num_cells
    for r in range(lifted.max_rank + 1):
        above, below = r < lifted.max_rank, r > 0 and n[r - 1] > 0
        if below:
            expected = theirs(exported.incidence_matrix, r - 1, r)
            assert_equal(lifted.incidence(r), expected, ("incidence", r))
        expected = theirs(exported.coadjacency_matrix, r, r - 1) if below else None
        assert_equal(lifted.coadjacency(r), expected, ("coadjacency", r))
        # Without a row, TopoNetX answers with a dense vector of length one.
        expected = theirs(exported.adjacency_matrix, r, r + 1) if above and n[r] else None
        assert_equal(lifted.adjacency(r), expected, ("adjacency", r))
        b, c = (lifted.incidence(k).to_dense() if k else None for k in (r, r + above))
        down = b.T @ b if r else torch.zeros(n[r], n[r])
        up = c @ c.T if above else torch.zeros(n[r], n[r])
        for kind, value in zip(LAPLACIANS, (up, down, up + down), strict=True):
            assert_equal(getattr(lifted, kind)(r), value.numpy(), (kind, r))


def assert_matrices_equal(lifted, exported):
    oriented = lifted.domain in ("cell", "simplicial")
    (assert_oriented_equal if oriented else assert_unoriented_equal)(lifted, exported)


def columns(exported, rank):
    """Labels and attributes of the cells of one rank, in the order of TopoNetX's matrices."""
    if isinstance(exported, CellComplex):
        index = exported.incidence_matrix(rank, index=True)[1] if rank < 2 else {}
        if rank == 0:
            return [((node,), exported.nodes[node]) for node in index]
        if rank == 1:
            return [(pair, exported.edges[pair]) for pair in index]
        return [(cell.elements, cell._attributes) for cell in exported.cells]
    if isinstance(exported, SimplicialComplex):
        if rank > exported.dim:
            return []
        return [(tuple(cell), exported[cell]) for cell in exported.skeleton(rank)]
    cells = exported.incidence_dict.get(rank, {})
    if isinstance(exported, CombinatorialComplex):
        return [(cell, cells[cell]) for cell in exported.skeleton(rank)]
    return [(cell, cells[cell][key]) for cell, key in exported.skeleton(rank)]
