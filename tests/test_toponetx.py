"""The exported objects' own matrices are ours, entry by entry."""

from __future__ import annotations

import copy
import pickle

import networkx as nx
import numpy as np
import pytest
import scipy.sparse
import torch
from random_complexes import DOMAINS, dense, random_complex
from toponetx import (
    CellComplex,
    ColoredHyperGraph,
    CombinatorialComplex,
    PathComplex,
    SimplicialComplex,
)

from topox_difflift.complex import LiftedComplex

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


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_thousand_random_graphs_equal_their_toponetx_object(domain):
    for seed in range(250):
        lifted = random_complex(domain, seed, n_graphs=4, max_nodes=6)
        exported = lifted.to_toponetx()
        assert isinstance(exported, CLASSES[domain])
        assert_matrices_equal(lifted.accepted(), exported)


@pytest.mark.parametrize("domain", DOMAINS)
def test_kept_rejected_cells_add_nothing(domain):
    for seed in range(40):
        lifted = random_complex(domain, seed, n_graphs=2)
        final = lifted.accepted()
        kept = [torch.arange(lifted.num_cells[0])]
        kept += [lifted[f"mask_{r}"].nonzero()[:, 0] for r in range(1, lifted.max_rank + 1)]
        for r in range(lifted.max_rank + 1):
            for kind in ["adjacency", "coadjacency", *LAPLACIANS]:
                full = dense(getattr(lifted, kind)(r))
                assert torch.equal(full[kept[r]][:, kept[r]], dense(getattr(final, kind)(r)))
                # Rejected cells are neighbors of nothing.
                assert full.abs().sum() == full[kept[r]][:, kept[r]].abs().sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("domain", DOMAINS)
def test_round_trip(domain, dtype):
    for seed in range(30):
        lifted = random_complex(domain, seed, dtype=dtype).accepted()
        back = LiftedComplex.from_toponetx(lifted.to_toponetx(), max_rank=lifted.max_rank)
        assert back.domain == domain
        assert back.num_cells == lifted.num_cells
        assert torch.equal(back.x_0, lifted.x_0)
        for r in range(1, lifted.max_rank + 1):
            assert back.cells(r) == lifted.cells(r)
            for name in ("faces", "orientation", "membership", "mask", "prob", "x", "batch"):
                if lifted.num_cells[r]:
                    assert torch.equal(back[f"{name}_{r}"], lifted[f"{name}_{r}"]), (name, r)
        assert back.validate()


def test_import_of_foreign_labels_and_order():
    cx = CellComplex(nx.Graph([("e", "b"), ("b", "a"), ("a", "c"), ("c", "e"), ("c", "d")]))
    cx.add_cell(["e", "b", "a", "c"], rank=2)
    lifted = LiftedComplex.from_toponetx(cx)
    assert lifted.cells(1) == [(0, 1), (0, 2), (1, 4), (2, 3), (2, 4)]
    assert lifted.cells(2) == [(4, 1, 0, 2)]
    assert lifted.x_0.shape == (5, 0)
    assert lifted.x_1.shape == (5, 0)
    assert lifted.mask_2.tolist() == [1.0]
    assert_matrices_equal(lifted, cx)


def test_import_of_plain_set_complexes():
    ccc = CombinatorialComplex()
    ccc.add_cell([3, 1], rank=1)
    ccc.add_cell([1, 2], rank=1)
    ccc.add_cell([1, 2, 3], rank=2)
    lifted = LiftedComplex.from_toponetx(ccc)
    assert_matrices_equal(lifted, ccc)
    chg = ColoredHyperGraph([[1, 2], [2, 3, 4], [2, 1]])
    lifted = LiftedComplex.from_toponetx(chg)
    assert lifted.num_cells == (4, 3)
    assert_matrices_equal(lifted, chg)


def test_equal_and_nested_hyperedges_stay_in_their_columns():
    chg = ColoredHyperGraph()
    for cell in ([0, 1, 2], [0, 1], [3], [1, 0], [0, 1, 2, 3], [3]):
        chg.add_cell(cell, rank=1)
    lifted = LiftedComplex.from_toponetx(chg)
    order = [5, 0, 3, 1, 4, 2]
    matrix = dense(lifted.incidence_1)[:, order]
    shuffled = random_complex("hypergraph", 0)
    from_faces = _hypergraph_of(matrix, shuffled)
    exported = from_faces.to_toponetx()
    assert np.array_equal(exported.incidence_matrix(0, 1).toarray(), matrix.numpy())
    assert exported.shape == (4, 6)


def _hypergraph_of(matrix, like):
    rank = copy.copy(like._rank(1))
    faces = matrix.nonzero().T.contiguous()
    cells = [matrix[:, j].nonzero()[:, 0] for j in range(matrix.size(1))]
    ones = torch.ones(matrix.size(1))
    rank = type(rank)(
        vertices=torch.cat(cells),
        sizes=torch.tensor([len(cell) for cell in cells]),
        batch=torch.zeros(matrix.size(1), dtype=torch.long),
        mask=ones,
        prob=ones,
        faces=faces,
        orientation=torch.ones(faces.size(1)),
        membership=torch.ones(faces.size(1)),
        x=ones[:, None],
    )
    batch_0 = torch.zeros(matrix.size(0), dtype=torch.long)
    return LiftedComplex.from_ranks(
        None, torch.rand(matrix.size(0), 2), batch_0, [rank], "hypergraph"
    )


def hyperedge_attributes(exported, column):
    vertices, key = exported.skeleton(1)[column]
    return exported.incidence_dict[1][vertices][key]


@pytest.mark.parametrize("domain", DOMAINS)
def test_attributes_and_isolated_nodes(domain):
    lifted = random_complex(domain, 3, n_graphs=5).accepted()
    exported = lifted.to_toponetx()
    assert len(exported.nodes) == lifted.num_cells[0]
    for node in range(lifted.num_cells[0]):
        attributes = exported.nodes[node]
        assert np.array_equal(attributes["x"], lifted.x_0[node].numpy())
    cell, j = lifted.cells(1)[-1], lifted.num_cells[1] - 1
    attributes = {
        "hypergraph": lambda: hyperedge_attributes(exported, j),
        "simplicial": lambda: exported[cell],
        "cell": lambda: exported.edges[cell],
        "combinatorial": lambda: exported.cells[cell],
    }[domain]()
    assert np.array_equal(attributes["x"], lifted.x_1[j].numpy())
    assert attributes["mask"] == 1
    assert attributes["prob"] == pytest.approx(float(lifted.prob_1[j]))


def test_exports_can_be_pickled():
    for domain in DOMAINS:
        exported = random_complex(domain, 5, n_graphs=3).to_toponetx()
        assert pickle.loads(pickle.dumps(exported)).shape == exported.shape


def test_no_edges_no_cells():
    for domain in DOMAINS:
        lifted = random_complex(domain, 0, max_nodes=1)
        lifted = lifted if sum(lifted.num_cells[1:]) == 0 else lifted.unbatch()[0]
        exported = lifted.to_toponetx()
        assert len(exported.nodes) == lifted.num_cells[0]
        back = LiftedComplex.from_toponetx(exported)
        assert back.max_rank >= 1


def test_duplicate_cells_are_refused():
    cx = CellComplex()
    cx.add_cell([0, 1, 2], rank=2)
    cx.add_cell([0, 1, 2], rank=2)
    lifted = LiftedComplex.from_toponetx(cx)
    if lifted.num_cells[2] == 2:  # later TopoNetX versions hold it once
        with pytest.raises(ValueError, match=r"distinct cells of rank 2.*\(0, 1, 2\) twice"):
            lifted.to_toponetx()


def test_unknown_class_and_colors_are_refused():
    with pytest.raises(TypeError, match=r"'complex_'.*CellComplex.*got PathComplex"):
        LiftedComplex.from_toponetx(PathComplex([[0, 1]]))
    chg = ColoredHyperGraph()
    chg.add_cell([0, 1], rank=2)
    with pytest.raises(ValueError, match="rank 1 only"):
        LiftedComplex.from_toponetx(chg)
