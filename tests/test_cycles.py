"""Cycle bases and induced cycles against brute force, networkx and each other."""

import itertools
import random

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from topox_difflift import _cycles_minimum, _cycles_search, cycles
from topox_difflift._cycles_forest import canonical
from topox_difflift.cycles import (
    fundamental_cycles,
    induced_cycles,
    minimum_cycle_basis,
    shortest_cycle_basis,
    unite,
)


def arrival(edges):
    """Some edges from the start, others later, some at once; the same in any union."""
    return (edges[1] - edges[0]) * 5 % 7


def filtration(edges, num_nodes, **options):
    return shortest_cycle_basis(edges, num_nodes, arrival=arrival(edges), **options)


BASES = {
    "fundamental-scipy": lambda e, n: fundamental_cycles(e, n, engine="scipy"),
    "fundamental-torch": lambda e, n: fundamental_cycles(e, n, engine="torch"),
    "fundamental-auto": fundamental_cycles,
    "shortest-scipy": lambda e, n: shortest_cycle_basis(e, n, engine="scipy"),
    "shortest-auto": shortest_cycle_basis,
    "shortest-capped": lambda e, n: shortest_cycle_basis(e, n, max_search=6),
    "filtration-scipy": lambda e, n: filtration(e, n, engine="scipy"),
    "filtration-auto": filtration,
    "filtration-capped": lambda e, n: filtration(e, n, max_search=6),
    "minimum": minimum_cycle_basis,
}
KERNELS = BASES | {"induced": lambda e, n: induced_cycles(e, n, 6)}


def tensors(graph):
    """Sorted edge list and number of nodes."""
    pairs = sorted(tuple(sorted(edge)) for edge in graph.edges)
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).t(), len(graph)


def as_lists(found):
    vertices, sizes = found
    assert vertices.dtype == sizes.dtype == torch.int64
    assert int(sizes.sum()) == len(vertices)
    return [cycle.tolist() for cycle in vertices.split(sizes.tolist())] if len(sizes) else []


def same(first, second):
    return torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


def total(found):
    return int(found[1].sum())


def edge_vectors(found, graph):
    """Each cycle as a bit set of edges; walking a pair that is no edge raises KeyError."""
    bit = {frozenset(edge): 1 << i for i, edge in enumerate(graph.edges)}
    return [sum(bit[frozenset(pair)] for pair in zip(c, c[1:] + c[:1], strict=True)) for c in found]


def rank_over_gf2(rows):
    pivots = []
    for row in rows:
        for pivot in pivots:
            row = min(row, row ^ pivot)
        if row:
            pivots.append(row)
    return len(pivots)


def is_canonical(cycle):
    return len(set(cycle)) == len(cycle) >= 3 and cycle[0] == min(cycle) and cycle[1] < cycle[-1]


def induced_by_brute_force(graph, max_length):
    """Vertex sets that induce a cycle: connected, all degrees 2."""
    for size in range(3, max_length + 1):
        for chosen in itertools.combinations(sorted(graph), size):
            part = graph.subgraph(chosen)
            if all(d == 2 for _, d in part.degree) and nx.is_connected(part):
                yield chosen


def molecule(seed, size=24):
    """Rings of five and six, fused, linked and with side chains."""
    rng = random.Random(seed)
    graph = nx.cycle_graph(6)
    while len(graph) < size:
        at, k = rng.randrange(len(graph)), len(graph)
        kind = rng.random()
        if kind < 0.4:
            a, b = rng.choice(sorted(graph.edges))
            nx.add_path(graph, [a, *range(k, k + rng.choice([3, 4])), b])
        elif kind < 0.6:
            nx.add_cycle(graph, range(k, k + rng.choice([5, 6])))
            graph.add_edge(at, k)
        else:
            graph.add_edge(at, k)
    return graph


def ring_of_rings(n_rings=5, size=6):
    graph = nx.disjoint_union_all([nx.cycle_graph(size) for _ in range(n_rings)])
    for i in range(n_rings):
        graph.add_edge(size * i, size * ((i + 1) % n_rings) + size // 2)
    return graph


@st.composite
def graphs(draw, max_nodes=9):
    n = draw(st.integers(0, max_nodes))
    pairs = list(itertools.combinations(range(n), 2))
    graph = nx.empty_graph(n)
    graph.add_edges_from(draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else [])
    return graph


def random_graphs(count=60):
    for seed in range(count):
        rng = random.Random(seed)
        yield nx.gnp_random_graph(rng.randint(2, 18), rng.choice([0.1, 0.2, 0.4]), seed=seed)


@pytest.mark.parametrize("name", BASES)
@settings(max_examples=50, deadline=None)
@given(graph=graphs())
def test_a_basis_of_simple_cycles(name, graph):
    found = as_lists(BASES[name](*tensors(graph)))
    rows = edge_vectors(found, graph)
    assert all(is_canonical(cycle) for cycle in found)
    assert rank_over_gf2(rows) == len(rows) == len(nx.cycle_basis(graph))
    components = nx.number_connected_components(graph) if len(graph) else 0
    assert len(rows) == graph.number_of_edges() - len(graph) + components


@pytest.mark.parametrize("name", BASES)
def test_networkx_cycles_lie_in_the_span(name):
    for graph in random_graphs(20):
        rows = edge_vectors(as_lists(BASES[name](*tensors(graph))), graph)
        other = edge_vectors(nx.cycle_basis(graph), graph)
        assert rank_over_gf2(rows + other) == len(rows)


@pytest.mark.parametrize("name", KERNELS)
@settings(max_examples=25, deadline=None)
@given(parts=st.lists(graphs(6), max_size=4))
def test_a_union_gives_the_cycles_of_its_parts(name, parts):
    kernel = KERNELS[name]
    expected, shift = [], 0
    for part in parts:
        expected += [[v + shift for v in cycle] for cycle in as_lists(kernel(*tensors(part)))]
        shift += len(part)
    union = nx.disjoint_union_all(parts) if parts else nx.empty_graph(0)
    assert as_lists(kernel(*tensors(union))) == expected


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("graph", [nx.empty_graph(0), nx.empty_graph(3), nx.path_graph(5)], ids=str)
def test_nothing_where_there_is_no_cycle(name, graph):
    vertices, sizes = KERNELS[name](*tensors(graph))
    assert vertices.shape == sizes.shape == (0,)
    assert vertices.dtype == sizes.dtype == torch.int64


def test_engines_agree():
    pytest.importorskip("numba")
    for graph in [*random_graphs(), molecule(0, 60), nx.random_regular_graph(3, 80, seed=0)]:
        edges, n = tensors(graph)
        first = fundamental_cycles(edges, n, engine="numba")
        assert same(first, fundamental_cycles(edges, n, engine="scipy"))
        assert same(first, fundamental_cycles(edges, n, engine="torch"))
        for cap in (0, 3, 10, 40, 4096):
            compiled = shortest_cycle_basis(edges, n, max_search=cap, engine="numba")
            assert same(compiled, shortest_cycle_basis(edges, n, max_search=cap, engine="scipy"))
            if cap == 0:
                assert same(compiled, first)
            later = filtration(edges, n, max_search=cap, engine="numba")
            assert same(later, filtration(edges, n, max_search=cap, engine="scipy"))


def test_the_forest_is_the_documented_one():
    # Square with a tail: the root is 0, both 1 and 3 lead to 2, the smaller is its parent.
    graph = nx.Graph([(0, 1), (1, 2), (2, 3), (0, 3), (2, 4), (3, 4)])
    assert as_lists(fundamental_cycles(*tensors(graph))) == [[0, 1, 2, 3], [0, 1, 2, 4, 3]]
    assert as_lists(shortest_cycle_basis(*tensors(graph))) == [[0, 1, 2, 3], [2, 3, 4]]


def test_shortest_path_ties_go_to_the_smallest_middle():
    """Oracle: one chord after the other, all shortest paths by networkx."""
    shortened = 0
    for graph in random_graphs(120):
        edges, n = tensors(graph)
        forest = [tuple(c) for c in edges.t().tolist()]
        fundamentals = as_lists(fundamental_cycles(edges, n))
        chords = [chord for chord in forest if chord not in _forest_edges(graph)]
        ranked = sorted(range(len(chords)), key=lambda i: (len(fundamentals[i]), chords[i]))
        usable = nx.Graph(list(_forest_edges(graph)))
        expected = list(fundamentals)
        for i in ranked:
            u, v = chords[i]
            if nx.shortest_path_length(usable, u, v) + 1 < len(fundamentals[i]):
                expected[i] = _turned(_documented_path(usable, u, v))
                shortened += 1
            usable.add_edge(u, v)
        assert as_lists(shortest_cycle_basis(edges, n)) == expected
    assert shortened > 100


def test_edges_that_arrive_later_close_what_is_there():
    """Oracle: one edge after the other, all shortest paths by networkx."""
    joined = closed = 0
    for graph in random_graphs(80):
        edges, n = tensors(graph)
        when = dict(zip(map(tuple, edges.t().tolist()), arrival(edges).tolist(), strict=True))
        there = nx.empty_graph(n)
        there.add_edges_from(edge for edge, time in when.items() if not time)
        expected = {}
        if there.number_of_edges():
            chords = [e for e in sorted(there.edges) if e not in _forest_edges(there)]
            start = as_lists(shortest_cycle_basis(*tensors(there)))
            expected = dict(zip(chords, start, strict=True))
        for edge in sorted((e for e, time in when.items() if time), key=lambda e: (when[e], e)):
            if nx.has_path(there, *edge):
                expected[edge] = _turned(_documented_path(there, *edge))
                closed += 1
            else:
                joined += 1
            there.add_edge(*edge)
        found = as_lists(filtration(edges, n))
        # A path as long as that of the forest need not be the documented one.
        assert list(map(len, found)) == [len(expected[edge]) for edge in sorted(expected)]
        for cycle, edge in zip(found, sorted(expected), strict=True):
            sides = {tuple(sorted(s)) for s in itertools.pairwise([*cycle, cycle[0]])}
            assert edge in sides
            assert all((when[s], s) <= (when[edge], edge) for s in sides if when[edge])
    assert min(joined, closed) > 100


def test_a_polygon_closes_before_its_diagonals_arrive():
    """Of all edges among the corners, by length: one polygon, and triangles at its diagonals."""
    for corners in (4, 5, 7):
        edges, n = tensors(nx.complete_graph(corners))
        angle = torch.arange(corners) * 2 * torch.pi / corners
        place = torch.stack([angle.cos(), angle.sin()], dim=1)
        length = (place[edges[0]] - place[edges[1]]).norm(dim=1)
        when = torch.empty_like(edges[0])
        when[(length * 1e3).round().argsort(stable=True)] = torch.arange(1, len(length) + 1)
        found = as_lists(shortest_cycle_basis(edges, n, arrival=when))
        assert [cycle for cycle in found if len(cycle) > 3] == [list(range(corners))]
        assert all(len(cycle) == 3 for cycle in as_lists(shortest_cycle_basis(edges, n)))


def test_no_arrival_is_that_of_all_edges_at_the_start():
    for graph in random_graphs(10):
        edges, n = tensors(graph)
        plain = shortest_cycle_basis(edges, n)
        assert same(plain, shortest_cycle_basis(edges, n, arrival=torch.zeros_like(edges[0])))


def _forest_edges(graph):
    """Edges from each vertex to the smallest of its neighbours nearer to the root."""
    pairs = set()
    for component in nx.connected_components(graph):
        depth = nx.single_source_shortest_path_length(graph, min(component))
        for v in component - {min(component)}:
            parent = min(w for w in graph[v] if depth[w] < depth[v])
            pairs.add((min(v, parent), max(v, parent)))
    return pairs


def _documented_path(graph, u, v):
    """Smallest middle vertex, then the smallest vertices nearer to either end."""
    from_u = nx.single_source_shortest_path_length(graph, u)
    from_v = nx.single_source_shortest_path_length(graph, v)
    d = from_u[v]
    middle = min(w for w in from_u if (from_u[w], from_v[w]) == ((d + 1) // 2, d // 2))
    path = [middle]
    for distance in (from_u, from_v):
        while distance[path[0]]:
            path.insert(0, min(w for w in graph[path[0]] if distance[w] == distance[path[0]] - 1))
        path.reverse()
    return path


def _turned(cycle):
    sizes = torch.tensor([len(cycle)])
    return canonical(torch.tensor(cycle), sizes).tolist()


def test_lengths_of_bases_are_ordered():
    for graph in random_graphs(40):
        edges, n = tensors(graph)
        exact = sum(map(len, nx.minimum_cycle_basis(graph)))
        assert total(minimum_cycle_basis(edges, n)) == exact
        assert exact <= total(shortest_cycle_basis(edges, n))
        fundamental = fundamental_cycles(edges, n)[1]
        assert bool((shortest_cycle_basis(edges, n)[1] <= fundamental).all())


def test_short_bases_of_molecules_are_near_the_minimum():
    for seed in range(8):
        graph = molecule(seed)
        exact = sum(map(len, nx.minimum_cycle_basis(graph)))
        assert exact <= total(shortest_cycle_basis(*tensors(graph))) <= 1.1 * exact


def test_rings_of_rings_are_found_exactly():
    graph = ring_of_rings()
    found = shortest_cycle_basis(*tensors(graph))
    assert total(found) == total(minimum_cycle_basis(*tensors(graph)))
    assert sorted(found[1].tolist())[:-1] == [6] * 5


def test_grid_faces_are_the_shortest_basis():
    graph = nx.convert_node_labels_to_integers(nx.grid_2d_graph(9, 9))
    for engine in ("auto", "scipy"):
        assert shortest_cycle_basis(*tensors(graph), engine=engine)[1].tolist() == [4] * 64
    assert minimum_cycle_basis(*tensors(graph))[1].tolist() == [4] * 64


@pytest.mark.parametrize("engine", ["auto", "scipy"])
def test_the_cap_leaves_the_fundamental_cycle(engine):
    graph = nx.random_regular_graph(3, 200, seed=1)
    edges, n = tensors(graph)
    fundamental = fundamental_cycles(edges, n)
    lengths = []
    for cap in (0, 8, 64, 100_000):
        found = shortest_cycle_basis(edges, n, max_search=cap, engine=engine)
        rows = edge_vectors(as_lists(found), graph)
        assert rank_over_gf2(rows) == len(rows) == len(fundamental[1])
        lengths.append(total(found))
    assert lengths[0] == total(fundamental)
    assert lengths[0] > lengths[1] > lengths[2] > lengths[3]


@pytest.mark.parametrize(("name", "value"), [("BUDGET", 8), ("WORD", 18)])
def test_searches_in_pieces_are_the_same(monkeypatch, name, value):
    edges, n = tensors(nx.random_regular_graph(4, 60, seed=3))
    whole = shortest_cycle_basis(edges, n, engine="scipy")
    monkeypatch.setattr(_cycles_search, name, value)
    assert same(whole, shortest_cycle_basis(edges, n, engine="scipy"))


def test_united_cycles_are_those_of_either_list_once():
    def ragged(rows):
        flat = [vertex for row in rows for vertex in row]
        return torch.tensor(flat, dtype=torch.long), torch.tensor([len(r) for r in rows]).long()

    # The first two begin and end alike, and are as long.
    first = [[0, 1, 2, 5], [0, 1, 3, 5], [0, 1, 5]]
    second = [[0, 1, 3, 5], [0, 1, 4, 5], [0, 1, 5], [2, 3, 4]]
    expected = [[0, 1, 5], [0, 1, 2, 5], [0, 1, 3, 5], [0, 1, 4, 5], [2, 3, 4]]
    assert as_lists(unite(ragged(first), ragged(second))) == expected
    assert as_lists(unite(ragged([]), ragged([]))) == []
    for graph in random_graphs(40):
        edges, n = tensors(graph)
        one, other = induced_cycles(edges, n, 5), filtration(edges, n)
        found = as_lists(unite(one, other))
        assert sorted(map(tuple, found)) == sorted({*map(tuple, as_lists(one) + as_lists(other))})


def test_positions_in_a_large_graph_do_not_overflow():
    ring = torch.arange(50_000)  # its square is beyond int32
    edges = torch.stack([torch.cat([ring[:1], ring[:-1]]), torch.cat([ring[-1:], ring[1:]])])
    edges = edges[:, (edges[0] * len(ring) + edges[1]).argsort()]
    arrival = torch.arange(1, len(ring) + 1)
    vertices, sizes = shortest_cycle_basis(edges, len(ring), arrival=arrival, engine="scipy")
    assert sizes.tolist() == [len(ring)]
    assert torch.equal(vertices, ring)


def test_deep_cycles():
    edges, n = tensors(nx.cycle_graph(3000))
    for engine in ("auto", "scipy", "torch"):
        assert as_lists(fundamental_cycles(edges, n, engine=engine)) == [list(range(3000))]


def test_max_length_drops_longer_cycles():
    edges, n = tensors(ring_of_rings())
    for kernel in (fundamental_cycles, shortest_cycle_basis, minimum_cycle_basis):
        whole = as_lists(kernel(edges, n))
        assert as_lists(kernel(edges, n, max_length=6)) == [c for c in whole if len(c) <= 6]
        assert kernel(edges, n, max_length=3)[0].shape == (0,)


@settings(max_examples=60, deadline=None)
@given(graph=graphs(8), max_length=st.integers(3, 8))
def test_induced_cycles_are_all_chordless_ones(graph, max_length):
    found = as_lists(induced_cycles(*tensors(graph), max_length))
    assert found == sorted(found, key=lambda cycle: (cycle[0], len(cycle), cycle))
    assert all(is_canonical(cycle) for cycle in found)
    edge_vectors(found, graph)
    expected = sorted(induced_by_brute_force(graph, max_length))
    assert sorted(tuple(sorted(cycle)) for cycle in found) == expected


def test_induced_cycles_in_pieces_are_the_same(monkeypatch):
    edges, n = tensors(nx.gnp_random_graph(20, 0.3, seed=2))
    whole = induced_cycles(edges, n, 7)
    assert len(whole[1]) > 50
    monkeypatch.setattr(cycles, "PATHS", 16)
    assert same(whole, induced_cycles(edges, n, 7))


def test_induced_cycles_of_molecules_are_the_rings():
    edges, n = tensors(molecule(3))
    rings = minimum_cycle_basis(edges, n, max_length=6)
    assert sorted(as_lists(induced_cycles(edges, n, 6))) == sorted(as_lists(rings))


def test_induced_limit():
    edges, n = tensors(nx.complete_graph(6))  # 20 triangles
    assert len(induced_cycles(edges, n, 5, limit=20)[1]) == 20
    with pytest.raises(ValueError, match=r"'limit' = 19 .* got at least 20; lower 'max_length'"):
        induced_cycles(edges, n, 5, limit=19)


TRIANGLE = torch.tensor([[0, 0, 1], [1, 2, 2]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fundamental_cycles(TRIANGLE.int(), 3), "'edges' to be int64 .* got torch.int32"),
        (lambda: fundamental_cycles(TRIANGLE.t()[:2], 3), r"columns \(u, v\) of 'edges'"),
        (lambda: fundamental_cycles(TRIANGLE.flip(1), 3), "sorted without repeats"),
        (lambda: shortest_cycle_basis(TRIANGLE, 2), "num_nodes = 2"),
        (lambda: shortest_cycle_basis(TRIANGLE, 3, max_search=-1), "'max_search' .* got -1"),
        (lambda: shortest_cycle_basis(TRIANGLE, 3, engine="torch"), "'engine' .* got 'torch'"),
        (lambda: fundamental_cycles(TRIANGLE, 3, engine="gpu"), "'engine' .* got 'gpu'"),
        (lambda: shortest_cycle_basis(TRIANGLE, 3, arrival=TRIANGLE), "each of the 3 edges"),
        (lambda: shortest_cycle_basis(TRIANGLE, 3, arrival=torch.ones(3)), "argsort"),
        (
            lambda: shortest_cycle_basis(TRIANGLE, 3, arrival=-torch.arange(3)),
            r"'arrival' to be at least 0 \(got -2\)",
        ),
        (lambda: induced_cycles(TRIANGLE, 3, 2), "'max_length' .* got 2"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_without_numba(monkeypatch):
    monkeypatch.setattr(cycles, "numba_installed", lambda: False)
    assert as_lists(shortest_cycle_basis(TRIANGLE, 3)) == [[0, 1, 2]]
    with pytest.raises(ValueError, match=r"numba to be installed .* pip install numba"):
        fundamental_cycles(TRIANGLE, 3, engine="numba")


@pytest.mark.parametrize("bound", ["STATES", "WORDS"])
def test_minimum_basis_refuses_what_would_not_fit(monkeypatch, bound):
    monkeypatch.setattr(_cycles_minimum, bound, 0)
    with pytest.raises(ValueError, match="use shortest_cycle_basis"):
        minimum_cycle_basis(TRIANGLE, 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_results_stay_on_the_device():
    edges, n = tensors(molecule(1))
    for kernel in KERNELS.values():
        found = kernel(edges.cuda(), n)
        assert found[0].is_cuda
        assert same(tuple(part.cpu() for part in found), kernel(edges, n))
