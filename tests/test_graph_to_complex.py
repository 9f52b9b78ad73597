"""Networkx graphs in, TopoNetX complexes out: with their labels, attributes and learned cells."""

from __future__ import annotations

import copy
import doctest
import itertools
import warnings

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toponetx.datasets import karate_club
from toponetx_oracle import CLASSES, assert_matrices_equal, columns
from torch_geometric.data import Batch, Data

from topox_difflift import DiffLift, LiftedComplex
from topox_difflift.encoders import GIN
from topox_difflift.integrations import networkx as from_networkx
from topox_difflift.integrations import toponetx as to_toponetx
from topox_difflift.integrations.networkx import graph_to_data
from topox_difflift.integrations.toponetx import graph_skeleton, graph_to_difflift_complex
from topox_difflift.liftings import CliqueLifting, CycleLifting, accept_all, random_acceptance

DOMAINS = list(CLASSES)
ORIENTED = ["cell", "simplicial"]
LABELS = {
    "integers": st.integers(-(10**12), 10**12),
    "numbers": st.integers(-5, 5) | st.floats(-9, 9).map(lambda v: v + 0.5),
    "words": st.text("abc", min_size=1, max_size=3),
    "tuples": st.tuples(st.integers(0, 3), st.text("ab", min_size=1, max_size=2)),
    "anything": (
        st.integers(0, 5)
        | st.text("abc", max_size=3)
        | st.tuples(st.integers(0, 2), st.text("ab", max_size=1))
        | st.frozensets(st.text("abc", min_size=1, max_size=1), max_size=2)
        | st.booleans()
    ),
}


@st.composite
def graphs(draw, kinds=tuple(LABELS), max_nodes=7):
    """Graphs with odd labels, in any order, with attributes that only some have."""
    kind = draw(st.sampled_from(kinds))
    labels = draw(st.lists(LABELS[kind], min_size=1, max_size=max_nodes, unique=True))
    graph = nx.Graph(name=kind)
    for i, label in enumerate(labels):
        graph.add_node(label, x=[float(i), 1.0], **({"color": i} if i % 2 else {}))
    pairs = [(u, v) for i, u in enumerate(labels) for v in labels[:i]]
    for i, (u, v) in enumerate(draw(st.permutations(pairs))[: draw(st.integers(0, 12))]):
        graph.add_edge(u, v, kind=i)
    return graph


def lifting(domain, seed=0, **arguments):
    torch.manual_seed(seed)
    return DiffLift(domain, in_channels=2, hidden_channels=8, **arguments)


def can_be_sorted(labels):
    """Whether of any two labels one is the smaller one."""
    try:
        return all((a < b) != (b < a) for a, b in itertools.combinations(labels, 2))
    except TypeError:
        return False


def kinds_for(domain):
    """Kinds of labels of which TopoNetX makes a matrix."""
    none = {"hypergraph": [], "combinatorial": [], "cell": ["anything"]}
    return [kind for kind in LABELS if kind not in none.get(domain, ["anything", "tuples"])]


def snapshot(graph):
    """Everything that a graph holds, in its order."""
    return copy.deepcopy(
        (list(graph.nodes(data=True)), list(graph.edges(data=True)), dict(graph.graph))
    )


def cells_of(complex_, rank):
    """Attributes by labels; of equal hyperedges the first, which is an edge if one of them is."""
    return {frozenset(cell): attributes for cell, attributes in reversed(columns(complex_, rank))}


# ---------------------------------------------------------------------- the complex


@pytest.mark.laws
@pytest.mark.parametrize("domain", DOMAINS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_graph_becomes_the_complex_of_its_numbers(domain, data):
    graph = data.draw(graphs(kinds_for(domain)))
    lift = lifting(domain, seed=data.draw(st.integers(0, 3)))
    before = snapshot(graph)
    exported = graph_to_difflift_complex(graph, lift)
    assert snapshot(graph) == before
    assert isinstance(exported, CLASSES[domain])

    # By hand: number the nodes, lift, and put the labels back.
    labels = sorted(graph) if can_be_sorted(graph) else list(graph)
    number = {label: i for i, label in enumerate(labels)}
    arcs = [(number[u], number[v]) for a, b in graph.edges for u, v in ((a, b), (b, a))]
    plain = Data(
        x=torch.tensor([graph.nodes[label]["x"] for label in labels]),
        edge_index=torch.tensor(arcs, dtype=torch.long).view(-1, 2).t().contiguous(),
    )
    with torch.no_grad():
        lifted = lift.eval()(plain)
    assert_matrices_equal(lifted, exported)
    for rank in range(lifted.max_rank + 1):
        expected = [[labels[v] for v in cell] for cell in lifted.cells(rank)]
        found = columns(exported, rank)
        ordered = domain == "cell" and rank == 2
        same = tuple if ordered else frozenset
        assert [same(cell) for cell, _ in found] == [same(cell) for cell in expected]
        for j, (_, attributes) in enumerate(found):
            assert np.array_equal(attributes["x"], lifted[f"x_{rank}"][j].detach().numpy())
            assert attributes["mask"] == 1
            assert attributes["prob"] == float(lifted[f"prob_{rank}"][j])

    # Attributes of the graph, of its nodes and its edges, and of nothing else.
    assert exported.complex == {"name": graph.graph["name"]}
    own = {"x", "mask", "prob", "weight"}
    others = [
        {cell: {k: v for k, v in a.items() if k not in own} for cell, a in cells.items()}
        for cells in (cells_of(exported, 0), cells_of(exported, 1))
    ]
    for label, attributes in graph.nodes(data=True):
        assert others[0].pop(frozenset([label])) == {
            k: v for k, v in attributes.items() if k != "x"
        }
    for u, v, attributes in graph.edges(data=True):
        assert others[1].pop(frozenset([u, v])) == attributes
    assert not others[0]
    assert not any(others[1].values())
    assert len([a for _, a in columns(exported, 1) if "kind" in a]) == graph.number_of_edges()


@pytest.mark.parametrize("domain", DOMAINS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_round_trip_of_what_was_learned(domain, data):
    graph = data.draw(graphs(kinds_for(domain)))
    exported = graph_to_difflift_complex(graph, lifting(domain))
    lifted = LiftedComplex.from_toponetx(exported)
    assert lifted.validate()
    assert_matrices_equal(lifted, exported)
    back = lifted.to_toponetx()
    assert back.complex == exported.complex
    for rank in range(lifted.max_rank + 1):
        first, second = columns(exported, rank), columns(back, rank)
        assert [cell for cell, _ in first] == [cell for cell, _ in second]
        for (_, a), (_, b) in zip(first, second, strict=True):
            assert a.keys() == b.keys()
            assert all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("domain", ORIENTED)
@pytest.mark.parametrize("labels", [[0, "a", (1, 2)], [frozenset("a"), frozenset("b"), 1j]])
def test_labels_that_cannot_be_sorted(domain, labels):
    graph = nx.path_graph(labels)
    with pytest.raises(ValueError, match=r"labels that can be sorted.*convert_node_labels"):
        graph_to_difflift_complex(graph, DiffLift(domain), node_attrs=None)
    numbered = nx.convert_node_labels_to_integers(graph, label_attribute="label")
    exported = graph_to_difflift_complex(numbered, DiffLift(domain), node_attrs=None)
    assert [a["label"] for _, a in columns(exported, 0)] == labels


def test_it_matters_what_was_learned():
    """Nothing accepted is the graph itself, everything accepted is more, and they differ."""
    graph = nx.cycle_graph(["a", "b", "c", "d", "e", "f"])
    for domain in DOMAINS:
        torch.manual_seed(0)
        everything = graph_to_difflift_complex(graph, accept_all(domain), node_attrs=None)
        nothing = graph_to_difflift_complex(
            graph, random_acceptance(domain, rate=0.0), node_attrs=None
        )
        original = {frozenset(edge) for edge in graph.edges}
        assert cells_of(nothing, 1).keys() == original
        # The ring of the graph stays, as its edges do.
        assert len(columns(nothing, 2)) == (domain == "cell")
        assert cells_of(everything, 1).keys() > original
        more = len(columns(everything, 2)) - len(columns(nothing, 2))
        assert (more > 0) == (domain != "hypergraph")


@pytest.mark.parametrize("domain", DOMAINS)
def test_training_changes_the_complex(domain):
    """Two tasks on the same graphs, one that cells help and one that they harm."""
    graph = nx.Graph([("a", "b"), ("b", "c"), ("c", "d"), ("d", "a"), ("d", "e"), ("e", "f")])
    batch = Batch.from_data_list([graph_to_data(graph, node_attrs=None)] * 4)
    learned = []
    for wanted in (0.0, 1.0):
        torch.manual_seed(0)
        lift = DiffLift(domain, hidden_channels=16, estimator="straight_through")
        lift(batch)
        optimizer = torch.optim.Adam(lift.parameters(), lr=0.02)
        for _ in range(60):
            lifted = lift(batch)
            ranks = range(1, lifted.max_rank + 1)
            gates = [lifted[f"mask_{r}"][lifted[f"prob_{r}"] < 1] for r in ranks]
            loss = (torch.cat(gates) - wanted).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        learned.append(graph_to_difflift_complex(graph, lift, node_attrs=None))
    few, many = (cells_of(complex_, 1).keys() for complex_ in learned)
    assert few == {frozenset(edge) for edge in graph.edges}
    assert many > few
    new = [a["prob"] for cell, a in cells_of(learned[1], 1).items() if cell not in few]
    assert all(0.5 < prob <= 1 for prob in new)


# ---------------------------------------------------------------------- modes and side effects


@pytest.mark.parametrize("domain", DOMAINS)
def test_deterministic_whatever_the_mode(domain):
    graph = nx.gnp_random_graph(12, 0.3, seed=0)
    nx.set_node_attributes(graph, {v: [float(v), 1.0] for v in graph}, "x")
    lift = lifting(domain)
    graph_to_difflift_complex(graph, lift)  # an encoder settles its modules when first called
    modes = {name: name.startswith("encoder") for name, _ in lift.named_modules()}
    for name, part in lift.named_modules():
        part.training = modes[name]
    state = copy.deepcopy(lift.state_dict())
    random = torch.get_rng_state()
    first, second = (graph_to_difflift_complex(graph, lift) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), random)
    assert {name: part.training for name, part in lift.named_modules()} == modes
    assert all(torch.equal(value, state[name]) for name, value in lift.state_dict().items())
    assert all(p.grad is None for p in lift.parameters())
    by_hand = lift.eval()(graph_to_data(graph)).to_toponetx()
    for rank in range(lift.max_rank + 1):
        names = [cell for cell, _ in columns(first, rank)]
        assert names == [cell for cell, _ in columns(second, rank)]
        assert names == [cell for cell, _ in columns(by_hand, rank)]


def test_the_mode_is_put_back_after_an_error():
    lift = DiffLift(in_channels=3).train()
    with pytest.raises((ValueError, RuntimeError), match=r"3"):
        graph_to_difflift_complex(nx.path_graph(3), lift, node_attrs=None)
    assert all(part.training for part in lift.modules())


def test_draws_while_training_if_asked_to():
    graph = nx.gnp_random_graph(14, 0.3, seed=1)
    lift = DiffLift("simplicial").train()

    def draw(seed):
        torch.manual_seed(seed)
        out = graph_to_difflift_complex(graph, lift, node_attrs=None, deterministic=False)
        return frozenset(cells_of(out, 1))

    draw(0)
    assert len({draw(seed) for seed in range(6)}) > 1
    assert draw(3) == draw(3)
    lift.eval()
    assert len({draw(seed) for seed in range(3)}) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_of_the_lifting(dtype):
    graph = nx.path_graph(4)
    nx.set_edge_attributes(graph, 0.5, "length")
    lift = DiffLift("cell", in_channels=1).to(dtype)
    exported = graph_to_difflift_complex(graph, lift, node_attrs=None, edge_attrs="length")
    assert exported.nodes[0]["x"].dtype == torch.empty(0, dtype=dtype).numpy().dtype


def test_static_liftings():
    graph = nx.Graph([("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e"), ("e", "c")])
    cycles = graph_to_difflift_complex(graph, CycleLifting(), node_attrs=None)
    assert set(map(frozenset, (c.elements for c in cycles.cells))) == {
        frozenset("abc"),
        frozenset("cde"),
    }
    cliques = graph_to_difflift_complex(graph, CliqueLifting(), node_attrs=None)
    assert cliques.shape == (5, 6, 2)


def test_complexes_of_toponetx_by_their_skeleton():
    """Its own data set: features under another name, and cells that are learned anew."""
    original = karate_club("simplicial")
    graph = graph_skeleton(original)
    torch.manual_seed(0)
    cx = graph_to_difflift_complex(graph, DiffLift("cell"), node_attrs="node_feat")
    assert set(cx.nodes) == {next(iter(node)) for node in original.nodes}
    for node, attributes in graph.nodes(data=True):
        assert np.array_equal(cx.nodes[node]["node_feat"], attributes["node_feat"])
        expected = np.ravel(attributes["node_feat"]).astype(np.float32)
        assert np.array_equal(cx.nodes[node]["x"], expected)
    assert all("edge_feat" in cx.edges[edge] for edge in graph.edges)
    assert set(map(frozenset, graph.edges)) <= cells_of(cx, 1).keys()


# ---------------------------------------------------------------------- data of a graph


def test_features_of_named_attributes():
    graph = nx.Graph()
    graph.add_node("b", x=1, place=(1.0, 2.0))
    graph.add_node("a", x=True, place=np.array([3, 4]))
    graph.add_edge("b", "a", length=0.5, kind=torch.tensor([0, 1]))
    data = graph_to_data(graph, ["place", "x"], ["length", "kind"])
    assert data.x.tolist() == [[3, 4, 1], [1, 2, 1]]
    assert data.edge_index.tolist() == [[1, 0], [0, 1]]
    assert data.edge_attr.tolist() == [[0.5, 0, 1]] * 2
    assert graph_to_data(graph).x.tolist() == [[1], [1]]
    assert "edge_attr" not in graph_to_data(graph)
    assert data.validate()


def test_without_features_the_number_of_neighbors():
    for kind in (nx.Graph, nx.DiGraph, nx.MultiGraph, nx.MultiDiGraph):
        graph = kind([(0, 1), (1, 0), (1, 1), (1, 2)])
        graph.add_node(3)
        assert graph_to_data(graph, None).x.tolist() == [[1], [2], [1], [0]]


def quietly(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return call(), [str(warning.message) for warning in caught]


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph, nx.MultiGraph, nx.MultiDiGraph])
def test_untidy_graphs_are_tidied_with_a_warning(kind, domain):
    graph = kind()
    graph.add_nodes_from("cabd")
    for i, (u, v) in enumerate(["ab", "ba", "bc", "cc", "ab"]):
        graph.add_edge(u, v, **{"time": i, f"at {i}": True})
    lift = DiffLift(domain).eval()
    exported, messages = quietly(lambda: graph_to_difflift_complex(graph, lift, node_attrs=None))
    found = {word for word in ("directed", "self-loops", "duplicate") if word in str(messages)}
    expected = {"self-loops"}
    expected |= {"directed"} if graph.is_directed() else set()
    expected |= {"duplicate"} if graph.is_multigraph() else set()
    assert found == expected
    tidy = nx.Graph([("a", "b"), ("b", "c")])
    tidy.add_node("d")
    reference = graph_to_difflift_complex(tidy, lift, node_attrs=None)
    for rank in range(lift.max_rank + 1):
        assert [cell for cell, _ in columns(exported, rank)] == [
            cell for cell, _ in columns(reference, rank)
        ]
    edges = cells_of(exported, 1)
    merged = edges[frozenset("ab")]
    assert {k for k in merged if k.startswith("at")} == {"at 0", "at 1", "at 4"}
    assert merged["time"] == (1 if graph.is_directed() else 4)
    assert edges[frozenset("bc")]["time"] == 2


def test_edge_features_of_parallel_edges_are_averaged():
    graph = nx.MultiGraph()
    graph.add_edge(0, 1, length=1.0)
    graph.add_edge(1, 0, length=3.0)
    seen = []

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gin = GIN(1, 4)

        def forward(self, x, edge_index, batch, edge_attr=None):
            seen.append(edge_attr)
            return self.gin(x, edge_index, batch)

    lift = DiffLift(encoder=Encoder())
    with pytest.warns(UserWarning, match="2 duplicate edges"):
        graph_to_difflift_complex(graph, lift, node_attrs=None, edge_attrs="length")
    assert seen[0].tolist() == [[2.0], [2.0]]


@pytest.mark.parametrize("domain", DOMAINS)
def test_one_node_no_edge(domain):
    graph = nx.Graph(name="dot")
    graph.add_node(("lonely",), x=[0.5, 1.0], color="red")
    exported = graph_to_difflift_complex(graph, lifting(domain))
    assert len(exported.nodes) == 1
    assert exported.complex == {"name": "dot"}
    ((_, attributes),) = columns(exported, 0)
    assert attributes["color"] == "red"
    assert attributes["x"].tolist() == [0.5, 1.0]


def test_batches_are_trained_on_and_keep_their_labels():
    """The way from graphs over a training step to complexes, through PyG's batches."""
    items = [nx.cycle_graph(list("dcba")), nx.path_graph([(0, 1), (0, 2), (1, 1)])]
    lift = DiffLift("cell", rejected="drop")
    lifted = lift(Batch.from_data_list([graph_to_data(graph, None) for graph in items]))
    lifted.x_1.sum().backward()
    lift.eval()
    batch = lift(Batch.from_data_list([graph_to_data(graph, None) for graph in items]))
    for graph, part in zip(items, batch.unbatch(), strict=True):
        exported = part.to_toponetx()
        alone = graph_to_difflift_complex(graph, lift, node_attrs=None)
        assert set(exported.nodes) == set(graph)
        assert set(map(frozenset, graph.edges)) <= cells_of(exported, 1).keys()
        for rank in range(3):
            assert [c for c, _ in columns(exported, rank)] == [c for c, _ in columns(alone, rank)]


def test_names_of_the_lifting_make_way_with_a_warning():
    graph = nx.path_graph(3)
    nx.set_node_attributes(graph, {v: {"x": v, "feat": 2.0 * v, "mask": v == 0} for v in graph})
    nx.set_edge_attributes(graph, {edge: {"prob": 0.1, "kind": 1} for edge in graph.edges})
    with pytest.warns(UserWarning, match="rename yours") as caught:
        exported = graph_to_difflift_complex(graph, DiffLift("cell"), node_attrs="feat")
    assert [str(w.message).split(" are ")[0] for w in caught] == [
        "attributes 'x' of the nodes",
        "attributes 'prob' of the edges",
    ]
    assert caught[0].filename == to_toponetx.__file__
    # A node is never rejected, so that its mask may be anything.
    assert [exported.nodes[v]["mask"] for v in range(3)] == [True, False, False]
    assert [exported.nodes[v]["feat"] for v in range(3)] == [0, 2, 4]
    assert exported.edges[0, 1]["prob"] == 1
    assert exported.edges[0, 1]["kind"] == 1
    assert graph.edges[0, 1]["prob"] == 0.1


BAD = {
    "a complex": (lambda: karate_club("cell"), {}, TypeError, r"'G'.*got CellComplex.*graph_skel"),
    "a list": (lambda: [nx.path_graph(2)], {}, TypeError, r"'G' to be a networkx.Graph \(got list"),
    "data": (lambda: Data(x=torch.ones(2, 1)), {}, TypeError, r"'G'.*got Data.*to_networkx"),
    "no node": (nx.Graph, {}, ValueError, r"'G' to have at least one node"),
    "no features": (lambda: nx.path_graph(2), {}, ValueError, r"attribute 'x' \(got 2 of 2 nodes"),
    "no such attribute": (
        lambda: nx.path_graph(2), {"node_attrs": ["a"]}, ValueError, r"attribute 'a'.*nodes\[",
    ),
    "no edge attribute": (
        lambda: nx.path_graph(2), {"node_attrs": None, "edge_attrs": "w"}, ValueError,
        r"every edge.*attribute 'w' \(got 1 of 1 edges.*graph.edges\[",
    ),
    "names that are none": (
        lambda: nx.path_graph(2), {"node_attrs": [1]}, ValueError, r"'node_attrs'.*got \[1\]",
    ),
    "no names": (
        lambda: nx.path_graph(2), {"node_attrs": None, "edge_attrs": []}, ValueError,
        r"'edge_attrs'.*got \[\]",
    ),
    "words": (
        lambda: nx.Graph([("a", "b", {"w": "far"})]), {"node_attrs": None, "edge_attrs": "w"},
        TypeError, r"attribute 'w' of edge \('a', 'b'\).*got 'far'.*one-hot",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_graphs(name):
    make, arguments, error, message = BAD[name]
    with pytest.raises(error, match=message):
        graph_to_difflift_complex(make(), DiffLift(), **arguments)


@pytest.mark.parametrize(
    ("lift", "message"),
    [
        ("cell", r"'lift' to be a lifting such as DiffLift\(\) \(got 'cell'"),
        (DiffLift, r"'lift' to be a lifting.*class"),
        (None, r"'lift'.*got None"),
        (torch.nn.Identity(), r"'lift' to return a LiftedComplex \(got Data from Identity"),
    ],
)
def test_bad_liftings(lift, message):
    with pytest.raises(TypeError, match=message):
        graph_to_difflift_complex(nx.path_graph(3), lift, node_attrs=None)


def test_bad_flag():
    with pytest.raises(ValueError, match="'deterministic' to be True or False"):
        graph_to_difflift_complex(nx.path_graph(3), DiffLift(), deterministic="eval")


@pytest.mark.parametrize(("module", "examples"), [(from_networkx, 6), (to_toponetx, 8)])
def test_examples_of_the_docstrings(module, examples):
    assert doctest.testmod(module) == (0, examples)
