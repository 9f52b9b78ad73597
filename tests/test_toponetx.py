"""The exported objects' own matrices are ours, entry by entry."""

from __future__ import annotations

import copy
import pickle

import networkx as nx
import numpy as np
import pytest
import torch
from random_complexes import DOMAINS, dense, random_complex
from toponetx import (
    CellComplex,
    ColoredHyperGraph,
    CombinatorialComplex,
    PathComplex,
    SimplicialComplex,
)
from toponetx_oracle import CLASSES, LAPLACIANS, assert_matrices_equal, columns
from torch_geometric.data import Batch

from topox_difflift.complex import LiftedComplex
from topox_difflift.integrations.toponetx import graph_skeleton


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
        "hypergraph": lambda: columns(exported, 1)[j][1],
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


# ---------------------------------------------------------------------- labels and attributes


def cell_complex():
    cx = CellComplex(nx.Graph([("e", "b"), ("b", "a"), ("a", "c"), ("c", "e"), ("c", "d")]))
    cx.add_cell(["e", "b", "a", "c"], rank=2, color="red")
    cx.add_cell(["a", "b", "e"], rank=2)
    cx.edges["b", "e"].update({"length": 2.5, "rank": 7})
    return cx


def simplicial_complex():
    sc = SimplicialComplex([["bb", "a", "c"], ["c", "f"]])
    sc[["bb", "c"]]["length"] = 2.5
    sc[["a", "bb", "c"]]["color"] = "red"
    return sc


def combinatorial_complex():
    ccc = CombinatorialComplex()
    # Labels of several kinds, a word whose letters are an edge, and names of parameters.
    ccc.add_cell(["a", "b"], rank=1, length=2.5)
    ccc.add_cell([("a", 1), "ab"], rank=1)
    ccc.add_cell([3, "ab", "a"], rank=2, color="red")
    ccc.incidence_dict[1][frozenset("ab")].update({"rank": 7, "cell": 1, 5: "five"})
    return ccc


def hypergraph():
    chg = ColoredHyperGraph()
    for i, cell in enumerate((["ab", 1], ["c"], [1, "ab"], ["ab", 1, ("a", "b")])):
        chg.add_cell(cell, rank=1, time=i)
    return chg


FOREIGN = {
    "cell": cell_complex,
    "simplicial": simplicial_complex,
    "combinatorial": combinatorial_complex,
    "hypergraph": hypergraph,
}


def foreign(domain):
    """A complex as users make them, with labels and attributes everywhere."""
    complex_ = FOREIGN[domain]()
    complex_.complex.update({"name": "foreign", 1: [2, 3]})
    for i, (_, attributes) in enumerate(columns(complex_, 0)):
        attributes.update({"place": (i, i), "mask": i % 2 == 0})
    return complex_


def described(complex_, max_rank):
    """Everything that a complex holds, with hyperedges in the order of their contents."""
    own = ("x", "mask", "prob")
    out = []
    for rank in range(max_rank + 1):
        cells = [
            (cell, {k: v for k, v in a.items() if rank == 0 or k not in own})
            for cell, a in columns(complex_, rank)
        ]
        out.append([(cell, {k: v for k, v in a.items() if k != "prob"}) for cell, a in cells])
    return out, complex_.complex


@pytest.mark.parametrize("domain", DOMAINS)
def test_labels_and_all_other_attributes_come_back(domain):
    original = foreign(domain)
    before = copy.deepcopy(described(original, 2))
    lifted = LiftedComplex.from_toponetx(original)
    assert lifted.validate()
    assert_matrices_equal(lifted, original)
    back = lifted.to_toponetx()
    assert isinstance(back, CLASSES[domain])
    assert described(back, 2) == before
    assert described(original, 2) == before, "the original was changed"
    assert_matrices_equal(lifted, back)
    again = LiftedComplex.from_toponetx(back).to_toponetx()
    assert described(again, 2) == before
    # What was added beside is what the lifted complex says: all accepted, no features.
    for _, attributes in columns(back, 1):
        assert (attributes["mask"], attributes["prob"]) == (1, 1)
        assert "x" not in attributes


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_gates_labels_and_attributes_together(domain, dtype):
    for seed in range(10):
        plain = random_complex(domain, seed, dtype=dtype).accepted()
        original = plain.to_toponetx()
        original.complex["seed"] = seed
        for rank in range(plain.max_rank + 1):
            for i, (_, attributes) in enumerate(columns(original, rank)):
                attributes["place"] = (rank, i)
        lifted = LiftedComplex.from_toponetx(original, max_rank=plain.max_rank)
        back = lifted.to_toponetx()
        assert back.complex == {"seed": seed}
        for rank in range(plain.max_rank + 1):
            cells = columns(back, rank)
            assert [a["place"] for _, a in cells] == [(rank, i) for i in range(len(cells))]
            for i, (_, attributes) in enumerate(cells):
                assert attributes["x"].dtype == plain.x_0.numpy().dtype
                assert np.array_equal(attributes["x"], plain[f"x_{rank}"][i].numpy())
                assert attributes["prob"] == float(plain[f"prob_{rank}"][i])
        assert_matrices_equal(plain, back)


def test_labels_of_which_toponetx_makes_no_matrix():
    """Its simplicial complexes take tuples for labels, but their matrices do not."""
    sc = SimplicialComplex([[(0, 0), (0, 1), (1, 0)], [(1, 0), (1, 1)]])
    lifted = LiftedComplex.from_toponetx(sc)
    assert lifted.cells(2) == [(0, 1, 2)]
    assert set(lifted.to_toponetx().simplices) == set(sc.simplices)


def test_rejected_cells_keep_equal_hyperedges_apart():
    chg = ColoredHyperGraph()
    for mask, time in ((1, "first"), (0, "second"), (1, "third")):
        chg.add_cell([0, 1], rank=1, mask=mask, time=time)
    chg.add_cell([2], rank=1, mask=0, time="fourth")
    lifted = LiftedComplex.from_toponetx(chg)
    assert lifted.mask_1.tolist() == [1, 0, 1, 0]
    for final in (lifted, lifted.accepted()):
        assert [a["time"] for _, a in columns(final.to_toponetx(), 1)] == ["first", "third"]
    matrix = chg.incidence_matrix(0, 1).toarray() * lifted.mask_1.numpy()
    assert np.array_equal(dense(lifted.incidence_1).numpy(), matrix)


def test_annotations_survive_what_pyg_does_with_data():
    lifted = LiftedComplex.from_toponetx(foreign("cell"))
    expected = described(lifted.to_toponetx(), 2)
    other = LiftedComplex.from_toponetx(CellComplex(nx.path_graph(["p", "q"])))
    batch = Batch.from_data_list([lifted, other])
    copies = {
        "clone": lifted.clone(),
        "deepcopy": copy.deepcopy(lifted),
        "pickle": pickle.loads(pickle.dumps(lifted)),
        "apply": lifted.clone().apply(lambda t: t.clone()),
        "unbatch": batch.unbatch()[0],
        "to_data_list": batch.to_data_list()[0],
        "a batch of one": Batch.from_data_list([lifted]),
    }
    for name, value in copies.items():
        assert described(value.to_toponetx(), 2) == expected, name
    assert sorted(batch.unbatch()[1].to_toponetx().nodes) == ["p", "q"]
    # Labels of several graphs may be the same; their nodes are numbered.
    assert sorted(batch.to_toponetx().nodes) == list(range(7))


def test_annotations_are_read_without_running_pickles(tmp_path):
    lifted = LiftedComplex.from_toponetx(foreign("simplicial"))
    torch.save(lifted.annotations, tmp_path / "annotations.pt")
    lifted.annotations = torch.load(tmp_path / "annotations.pt", weights_only=True)
    assert described(lifted.to_toponetx(), 2) == described(foreign("simplicial"), 2)


def test_labels_of_another_graph_are_refused():
    lifted = LiftedComplex.from_toponetx(foreign("cell"))
    lifted.annotations = LiftedComplex.from_toponetx(CellComplex(nx.path_graph(2))).annotations
    with pytest.raises(ValueError, match=r"'annotations' to label the 5 nodes.*got 2.*del "):
        lifted.to_toponetx()
    del lifted.annotations
    assert sorted(lifted.to_toponetx().nodes) == list(range(5))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ([{"mask": 0.5}, {"mask": 1}], r"'mask' of each cell of rank 1 to be 0 or 1 \(got 0.5"),
        ([{"prob": 1}, {"prob": 2}], r"'prob' of each cell of rank 1 to be a probability \(got 2"),
        ([{"mask": [1, 0]}, {"mask": [1, 1]}], r"'mask'.*\(got \[1, 0\]"),
        ([{"mask": "yes"}, {"mask": "no"}], r"'mask'.*to be numbers.*got 'yes'.*rename"),
        ([{"x": [1.0]}, {"x": [1.0, 2.0]}], r"'x' of each cell of rank 1.*equally many.*rename"),
        ([{"x": "a"}, {"x": "b"}], r"'x' of each cell of rank 1 to be numbers.*got 'a'"),
    ],
)
def test_attributes_that_are_not_those_of_a_lifting_are_refused(attributes, message):
    cx = CellComplex(nx.path_graph(3))
    for pair, own in zip([(0, 1), (1, 2)], attributes, strict=True):
        cx.edges[pair].update(own)
    with pytest.raises(ValueError, match=message):
        LiftedComplex.from_toponetx(cx)


@pytest.mark.parametrize("name", ["x", "mask", "prob"])
def test_attributes_of_some_cells_are_left_out_with_a_warning(name):
    cx = CellComplex(nx.path_graph(3))
    cx.edges[0, 1][name] = 0.0
    with pytest.warns(UserWarning, match=f"'{name}' is left out at rank 1, where 1 of 2 cells"):
        lifted = LiftedComplex.from_toponetx(cx)
    assert lifted.mask_1.tolist() == lifted.prob_1.tolist() == [1, 1]
    assert lifted.x_1.shape == (2, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: CellComplex(nx.Graph([(0, 1), (1, 1)])),
            r"simple undirected graph \(got \(1, 1\)",
        ),
        (lambda: CellComplex(nx.DiGraph([(0, 1), (1, 0)])), r"simple undirected.*got \(0, 1\)"),
        (lambda: CellComplex(nx.MultiGraph([(0, 1), (0, 1)])), r"simple undirected.*got \(0, 1\)"),
        (lambda: CellComplex(nx.Graph([(0, "a")])), r"labels that can be sorted.*got int, str"),
        (
            lambda: CellComplex(nx.Graph([(frozenset("a"), frozenset("b"))])),
            r"labels that can be sorted.*got frozenset.*convert_node_labels_to_integers",
        ),
    ],
)
def test_cell_complexes_without_proper_matrices_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        LiftedComplex.from_toponetx(make())


def test_irregular_cells_are_refused():
    cx = CellComplex(regular=False)
    cx.add_cell([0, 1, 2, 3, 1, 4], rank=2)
    with pytest.raises(ValueError, match=r"regular cell complex.*got \(0, 1, 2, 3, 1, 4\)"):
        LiftedComplex.from_toponetx(cx)


@pytest.mark.parametrize("domain", ["cell", "simplicial", "combinatorial"])
def test_graph_skeleton(domain):
    complex_ = foreign(domain)
    graph = graph_skeleton(complex_)
    assert type(graph) is nx.Graph
    assert graph.graph == complex_.complex
    assert [((v,), a) for v, a in graph.nodes(data=True)] == [
        (tuple(cell), dict(a)) for cell, a in columns(complex_, 0)
    ]
    edges = {frozenset(pair): a for pair, a in columns(complex_, 1)}
    assert {frozenset((u, v)): a for u, v, a in graph.edges(data=True)} == edges
    graph.add_edge("new", "edge")
    graph.nodes[next(iter(graph))]["place"] = None
    assert graph_skeleton(complex_).number_of_edges() == len(edges)
    assert None not in nx.get_node_attributes(graph_skeleton(complex_), "place").values()


def test_graph_skeleton_needs_edges():
    with pytest.raises(ValueError, match=r"to have edges.*Hypergraph"):
        graph_skeleton(hypergraph())
    ccc = CombinatorialComplex()
    ccc.add_cell([0, 1, 2], rank=1)
    with pytest.raises(ValueError, match=r"cells of rank 1 with two nodes"):
        graph_skeleton(ccc)
    with pytest.raises(TypeError, match=r"'complex_'.*got Graph"):
        graph_skeleton(nx.path_graph(2))
    assert graph_skeleton(SimplicialComplex()).number_of_nodes() == 0
