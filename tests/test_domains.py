"""What each domain proposes and attaches, against brute force on small random graphs."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from topox_difflift import DiffLift, LiftedComplex
from topox_difflift.cycles import shortest_cycle_basis
from topox_difflift.domains import Cell, Combinatorial, Hypergraph, Simplicial
from topox_difflift.domains.base import learned_pairs
from topox_difflift.graph import check_graph
from topox_difflift.liftings import CycleLifting
from topox_difflift.proximity import Kernel, NeighborhoodSize, search
from topox_difflift.testing import AcceptAll, RejectAll, check_domain

SEEDS = st.integers(0, 10_000)
FEW = settings(max_examples=12, deadline=None)


class Identity(torch.nn.Module):
    """The embedding is the features."""

    def forward(self, x, edge_index, batch):
        return x


def random_graph(n: int, p: float, seed: int) -> Data:
    reference = nx.gnp_random_graph(n, p, seed=seed)
    arcs = [arc for u, v in reference.edges for arc in ((u, v), (v, u))]
    x = torch.randn(n, 3, generator=seeded(seed), dtype=torch.float64)
    return Data(x=x, edge_index=torch.tensor(arcs, dtype=torch.long).view(-1, 2).t())


def random_batch(seed: int, p: float = 0.3) -> Batch:
    return Batch.from_data_list([random_graph(n, p, seed + n) for n in (6, 1, 9)])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lift(
    domain: object, data: Data, seed: int, bias: float = 0.5, **options: object
) -> LiftedComplex:
    """Lift in training mode, where all candidates are columns; `bias` moves the acceptance."""
    torch.manual_seed(seed)
    defaults = {"encoder": Identity(), "hidden_channels": 8, "generator": seeded(seed)}
    lifting = DiffLift(domain, **defaults | options).double()
    for scorer in lifting.scorers.values():
        torch.nn.init.constant_(scorer.rho.lins[-1].bias, bias)
    return lifting(data)


def sets(cells: list[tuple[int, ...]]) -> set[frozenset[int]]:
    return {frozenset(cell) for cell in cells}


def learned(lifted: LiftedComplex, rank: int) -> list[tuple[int, ...]]:
    prob = lifted[f"prob_{rank}"].tolist()
    return [cell for cell, p in zip(lifted.cells(rank), prob, strict=True) if p < 1]


def skeleton(lifted: LiftedComplex) -> nx.Graph:
    graph = nx.empty_graph(lifted.num_cells[0])
    graph.add_edges_from(lifted.accepted().cells(1))
    return graph


def brute_nearest(data: Data, *, closed: bool) -> list[list[int]]:
    """Nodes of the same graph, nearest first."""
    rows = []
    for v in range(len(data.x)):
        same = [u for u in range(len(data.x)) if data.batch[u] == data.batch[v]]
        others = sorted((float((data.x[u] - data.x[v]).norm()), u) for u in same if u != v)
        rows.append([v] * closed + [u for _, u in others])
    return rows


# ------------------------------------------------------------------ pairs


@FEW
@given(seed=SEEDS, two_sided=st.booleans(), near_misses=st.integers(0, 3), soft=st.booleans())
def test_learned_pairs(seed, two_sided, near_misses, soft):
    data = random_batch(seed)
    graph = check_graph(data)
    torch.manual_seed(seed)
    size, kernel = NeighborhoodSize(3, 8, 1, 3).double(), Kernel().double() if soft else None
    z = graph.x.clone().requires_grad_()
    nearest = search(
        z, graph.batch, 3, size, kernel, include_self=False, sample=True,
        two_sided=two_sided, near_misses=near_misses, generator=seeded(seed),
    )  # fmt: skip
    found = learned_pairs(graph, nearest)

    order, count = brute_nearest(data, closed=False), nearest.taken.sum(1).tolist()
    edges = sets(graph.edges.t().tolist())
    # Who lists whom, at which column: all that can be, or what is taken.
    most = 3 + near_misses * soft
    rows = [order[v][: most if two_sided else count[v]] for v in range(16)]
    listed = {frozenset((v, u)): {} for v in range(16) for u in rows[v]}
    for v in range(16):
        for column, u in enumerate(rows[v]):
            listed[frozenset((v, u))][v] = column
    expected = sorted(tuple(sorted(pair)) for pair in listed if pair not in edges)
    pairs = list(map(tuple, found.vertices.view(-1, 2).tolist()))
    assert pairs == expected
    assert all(u < v for u, v in pairs)
    assert found.sizes.tolist() == [2] * len(pairs)
    assert torch.equal(found.batch, data.batch[found.vertices.view(-1, 2)[:, 0]])
    assert bool((found.weight == 1).all())

    # A pair is there if either end takes the other; the gradient is that of the union.
    taken = [any(c < count[v] for v, c in listed[frozenset(pair)].items()) for pair in pairs]
    assert found.included().tolist() == taken
    assert found.inclusion.tolist() == [float(value) for value in taken]
    upstream = torch.randn(len(pairs), generator=seeded(1), dtype=torch.float64)
    by_prob, by_place = torch.autograd.grad(
        (found.inclusion * upstream).sum(), [nearest.prob, z], retain_graph=True
    )
    gradient = torch.zeros_like(nearest.prob)
    for pair, flow in zip(pairs, upstream, strict=True):
        ends = list(listed[frozenset(pair)].items())
        for v, column in ends:
            others = [nearest.prob[u, c].detach() for u, c in ends if u != v]
            gradient[v, column] += flow * (1 - sum(others))
    torch.testing.assert_close(by_prob, gradient)
    # That of the metric is that of their closeness.
    through = (nearest.prob * gradient).sum()
    if kernel is not None:
        u, v = torch.tensor(pairs).view(-1, 2).t()
        through = through + (kernel(z, u, v) * upstream).sum()
    torch.testing.assert_close(by_place, torch.autograd.grad(through, z)[0])


def test_no_pair_among_all():
    """In a complete graph every pair is an edge, in a point there is none."""
    for n in (1, 2, 5):
        data = random_graph(n, 1.0, 0)
        for domain in ("cell", "simplicial", "combinatorial"):
            assert learned(lift(domain, data, 0, max_rank=1), 1) == []


@pytest.mark.parametrize("domain", ["cell", "simplicial", "combinatorial"])
@FEW
@given(seed=SEEDS)
def test_the_edges_of_the_graph_stay(domain, seed):
    data = random_batch(seed)
    lifted = lift(domain, data, seed)
    edges = check_graph(data).edges.t().tolist()
    original = [cell for cell in lifted.cells(1) if cell not in learned(lifted, 1)]
    assert [list(cell) for cell in original] == edges
    assert lifted.cells(1) == sorted(set(lifted.cells(1)))
    assert set(original) <= set(lifted.accepted().cells(1))


# ------------------------------------------------------------------ hypergraph


@FEW
@given(seed=SEEDS, k=st.integers(2, 5), edges=st.sampled_from(["given", "candidates", None]))
def test_hyperedges_are_the_nearest_nodes(seed, k, edges):
    data = random_batch(seed)
    lifted = lift(Hypergraph(edges=edges), data, seed, k_min=k, k_max=k, rejected="keep")
    nearest = [sorted(row[:k]) for row in brute_nearest(data, closed=True)]
    expected = []
    for g in range(3):
        pairs = [] if edges is None else check_graph(data).edges.t().tolist()
        expected += [tuple(pair) for pair in pairs if data.batch[pair[0]] == g]
        nodes = (data.batch == g).nonzero().flatten().tolist()
        expected += [tuple(nearest[v]) for v in nodes if len(nearest[v]) > 1]
    assert lifted.cells(1) == expected
    dense = lifted.incidence_1.detach().to_dense()
    for j, cell in enumerate(expected):
        column = torch.zeros(16, dtype=torch.float64)
        column[list(cell)] = lifted.mask_1[j].detach()
        assert torch.equal(dense[:, j], column)


@pytest.mark.parametrize("edges", ["given", "candidates", None])
def test_what_becomes_of_the_edges_in_a_hypergraph(edges):
    """They stay as they are, or are drawn as learned hyperedges are, or are not there."""
    data = random_batch(0)
    n_edges = check_graph(data).edges.size(1)
    domain, options = Hypergraph(edges=edges), {"k_min": 3, "k_max": 3}
    draws = [lift(domain, data, seed, **options) for seed in range(40)]
    pairs = [torch.tensor([len(cell) == 2 for cell in lifted.cells(1)]) for lifted in draws]
    assert int(pairs[0].sum()) == (0 if edges is None else n_edges)
    shares = [lifted.mask_1[of_two].mean() for lifted, of_two in zip(draws, pairs, strict=True)]
    if edges == "candidates":
        assert all(bool((lifted.prob_1 < 1).all()) for lifted in draws)
        assert int(draws[0].candidates_1.sum()) == draws[0].num_cells[1]
        assert 0.3 < torch.stack(shares).mean() < 0.9
    elif edges == "given":
        assert torch.stack(shares).eq(1).all()
        assert torch.equal(draws[0].prob_1 == 1, pairs[0])
        assert int(draws[0].candidates_1.sum()) == draws[0].num_cells[1] - n_edges


@pytest.mark.laws
@pytest.mark.parametrize("edges", ["candidates", None])
def test_hypergraphs_with_other_edges_obey_the_laws(edges):
    check_domain(Hypergraph(edges=edges))


@FEW
@given(seed=SEEDS, sizes=st.lists(st.integers(2, 8), min_size=1, max_size=3, unique=True))
def test_every_node_proposes_a_hyperedge_of_each_size(seed, sizes):
    data = random_batch(seed)
    data.edge_index = data.edge_index[:, :0]
    lifted = lift(Hypergraph(sizes), data, seed, k_min=1, k_max=1)
    rows = brute_nearest(data, closed=True)
    for g in range(3):
        nodes = (data.batch == g).nonzero().flatten().tolist()
        expected = [
            tuple(sorted(rows[v][:k])) for k in sorted(sizes) for v in nodes if len(rows[v]) >= k
        ]
        found = [c for c, b in zip(lifted.cells(1), lifted.batch_1.tolist(), strict=True) if b == g]
        assert found == expected
    assert lifted.prob_1.unique().numel() > 1 or lifted.num_cells[1] < 2


@pytest.mark.laws
def test_a_hypergraph_of_several_sizes_obeys_the_laws():
    check_domain(Hypergraph([2, 4]))


@FEW
@given(seed=SEEDS)
def test_learned_sizes_cut_the_list_of_the_nearest(seed):
    data = random_graph(9, 0.3, seed)
    data.batch = torch.zeros(9, dtype=torch.long)
    lifted = lift("hypergraph", data, seed, k_min=2, k_max=5)
    rows = brute_nearest(data, closed=True)
    cells = learned(lifted, 1)
    assert len(cells) == 9
    for v, cell in enumerate(cells):
        assert 2 <= len(cell) <= 5
        assert set(cell) == set(rows[v][: len(cell)])


@FEW
@given(seed=SEEDS)
def test_features_of_a_hyperedge_are_the_mean_of_its_members(seed):
    data = random_batch(seed)
    lifted = lift("hypergraph", data, seed)
    for cell, gate, x in zip(lifted.cells(1), lifted.mask_1, lifted.x_1, strict=True):
        torch.testing.assert_close(x, gate * data.x[list(cell)].mean(0))


# ------------------------------------------------------------------ combinatorial


@FEW
@given(seed=SEEDS, max_rank=st.integers(1, 3), bias=st.sampled_from([0.0, 5.0]))
def test_no_cell_lies_in_a_cell_of_lower_rank(seed, max_rank, bias):
    data = random_batch(seed)
    accepted = lift("combinatorial", data, seed, max_rank=max_rank, bias=bias).accepted()
    ranks = [list(map(frozenset, accepted.cells(r))) for r in range(max_rank + 1)]
    for r, cells in enumerate(ranks):
        assert len(cells) == len(set(cells)), "a cell appears twice"
        for lower in ranks[:r]:
            assert not any(high <= low for high in cells for low in lower)


@FEW
@given(seed=SEEDS, bias=st.sampled_from([0.0, 5.0]))
def test_incidence_is_containment(seed, bias):
    accepted = lift("combinatorial", random_batch(seed), seed, max_rank=3, bias=bias).accepted()
    for r in (1, 2, 3):
        lower, upper = accepted.cells(r - 1), accepted.cells(r)
        expected = [[float(set(low) <= set(high)) for high in upper] for low in lower]
        found = accepted.incidence(r).detach().to_dense()
        assert torch.equal(found, torch.tensor(expected).double().view(found.shape))


@FEW
@given(seed=SEEDS)
def test_sets_of_rank_2_are_a_node_with_its_nearest(seed):
    data = random_batch(seed)
    lifted = lift("combinatorial", data, seed, k_min=3, k_max=3, estimator=AcceptAll())
    nearest = brute_nearest(data, closed=True)
    balls = [tuple(sorted(row[:4])) for row in nearest if len(row) > 2]
    assert lifted.cells(2) == list(dict.fromkeys(balls))


@FEW
@given(seed=SEEDS)
def test_sets_of_rank_3_are_unions_around_a_node(seed):
    lifted = lift("combinatorial", random_batch(seed), seed, max_rank=3)
    squares = sets(lifted.accepted().cells(2))
    unions = []
    for v in range(16):
        around = [square for square in squares if v in square]
        union = frozenset().union(*around)
        if around and len(union) > max(map(len, around)):
            unions.append(tuple(sorted(union)))
    assert lifted.cells(3) == list(dict.fromkeys(unions))


# ------------------------------------------------------------------ simplicial


def cliques(graph: nx.Graph, size: int) -> list[tuple[int, ...]]:
    edges = sets(graph.edges)
    return [
        nodes
        for nodes in combinations(sorted(graph), size)
        if all(frozenset(pair) in edges for pair in combinations(nodes, 2))
    ]


@FEW
@given(seed=SEEDS, bias=st.sampled_from([0.0, 5.0]))
def test_simplices_are_cliques_with_all_faces(seed, bias):
    lifted = lift("simplicial", random_batch(seed, 0.5), seed, max_rank=3, bias=bias)
    graph = skeleton(lifted)
    assert lifted.cells(2) == cliques(graph, 3)
    triangles = set(lifted.accepted().cells(2))
    tetrahedra = [c for c in cliques(graph, 4) if set(combinations(c, 3)) <= triangles]
    assert lifted.cells(3) == tetrahedra


def test_tetrahedra_do_occur():
    data = random_graph(8, 0.8, 1)
    accepted = lift("simplicial", data, 0, max_rank=3, estimator=AcceptAll()).accepted()
    assert accepted.num_cells[3] > 5
    signed = [accepted.incidence(r, signed=True).detach().to_dense() for r in (1, 2, 3)]
    for lower, upper in pairwise(signed):
        assert not bool((lower @ upper).any())
        assert bool((upper != 0).any())


@FEW
@given(seed=SEEDS)
def test_triangles_of_the_cycle_basis(seed):
    lifted = lift(Simplicial("cycle_basis"), random_batch(seed, 0.5), seed, estimator=AcceptAll())
    triangles = lifted.cells(2)
    assert set(triangles) <= set(cliques(skeleton(lifted), 3))
    assert triangles == sorted(set(triangles))
    boundary = lifted.incidence(2, signed=True).detach().to_dense()
    assert len(triangles) == (torch.linalg.matrix_rank(boundary) if triangles else 0)


# ------------------------------------------------------------------ cell


def steps(cycle: tuple[int, ...]) -> list[tuple[int, int]]:
    return [tuple(sorted(step)) for step in pairwise((*cycle, cycle[0]))]


@pytest.mark.parametrize("cycles", ["filtration", "shortest", "fundamental", "minimum"])
@FEW
@given(seed=SEEDS)
def test_cycles_are_a_basis_of_the_learned_skeleton(cycles, seed):
    lifted = lift(Cell(cycles, rings=False), random_batch(seed), seed)
    graph = skeleton(lifted)
    dimension = graph.number_of_edges() - len(graph) + nx.number_connected_components(graph)
    found = lifted.cells(2)
    assert len(found) == dimension
    columns = torch.zeros(graph.number_of_edges(), dimension, dtype=torch.float64)
    row = {edge: i for i, edge in enumerate(lifted.accepted().cells(1))}
    for j, cycle in enumerate(found):
        assert len(set(cycle)) == len(cycle) >= 3
        for edge in steps(cycle):
            columns[row[edge], j] = 1  # KeyError: an edge that was rejected
    # Independence over the integers follows from that over GF(2).
    assert gf2_rank(columns) == dimension
    if cycles == "minimum":
        lengths = [len(cycle) for cycle in nx.minimum_cycle_basis(graph)]
        assert sum(map(len, found)) == sum(lengths)


def gf2_rank(matrix: torch.Tensor) -> int:
    rows = [sum(1 << j for j, bit in enumerate(row) if bit) for row in matrix.t().tolist()]
    rank = 0
    while rows:
        pivot = rows.pop()
        if pivot:
            rank += 1
            low = pivot & -pivot
            rows = [row ^ pivot if row & low else row for row in rows]
    return rank


@pytest.mark.parametrize("max_cycle_length", [3, 5, None])
@FEW
@given(seed=SEEDS)
def test_induced_cycles_are_all_chordless_ones(max_cycle_length, seed):
    domain = Cell("induced", max_cycle_length, rings=False)
    lifted = lift(domain, random_batch(seed), seed)
    bound = 6 if max_cycle_length is None else max_cycle_length
    expected = list(nx.chordless_cycles(skeleton(lifted), length_bound=bound))
    assert len(lifted.cells(2)) == len(expected)
    assert sets(lifted.cells(2)) == sets(expected)


@FEW
@given(seed=SEEDS)
def test_edges_arrive_by_their_length_in_the_embedding(seed):
    data = random_batch(seed)
    module = DiffLift(Cell(rings=False), k_max=3, encoder=Identity()).double().eval()
    lifted = module(data)
    graph = skeleton(lifted)
    edges = torch.tensor(sorted(graph.edges), dtype=torch.long).reshape(-1, 2).t()
    length = (data.x[edges[0]] - data.x[edges[1]]).norm(dim=1)
    when = torch.empty_like(edges[0])
    when[length.argsort(stable=True)] = torch.arange(1, len(length) + 1)
    vertices, sizes = shortest_cycle_basis(edges, len(data.x), arrival=when)
    assert lifted.cells(2) == [tuple(c.tolist()) for c in vertices.split(sizes.tolist())]


@pytest.mark.parametrize("cycles", ["filtration", "shortest", "fundamental", "minimum"])
@FEW
@given(seed=SEEDS)
def test_longer_cycles_are_no_candidates(cycles, seed):
    data = random_batch(seed, 0.4)
    options = {"estimator": AcceptAll(), "k_min": 1, "k_max": 1}
    free = lift(Cell(cycles), data, seed, **options)
    bound = lift(Cell(cycles, max_cycle_length=4), data, seed, **options)
    assert bound.cells(1) == free.cells(1)
    assert bound.cells(2) == [cycle for cycle in free.cells(2) if len(cycle) <= 4]


@pytest.mark.parametrize("cycles", ["filtration", "shortest", "fundamental", "minimum", "induced"])
@FEW
@given(seed=SEEDS)
def test_rings_of_the_graph_are_candidates_beside_the_others(cycles, seed):
    data = random_batch(seed, 0.4)
    free, both = (lift(Cell(cycles, rings=rings), data, seed) for rings in (False, True))
    assert both.cells(1) == free.cells(1)
    # Where every pair is rejected, the cycles are those of the graph; their lengths do not count.
    alone = Cell("shortest" if cycles == "filtration" else cycles)
    own = lift(alone, data, seed, estimator=RejectAll()).cells(2)
    assert sorted(both.cells(2)) == sorted({*free.cells(2), *own})


@pytest.mark.parametrize("cycles", ["filtration", "shortest", "fundamental", "minimum", "induced"])
@FEW
@given(seed=SEEDS)
def test_rings_of_the_graph_can_be_the_only_candidates(cycles, seed):
    data = random_batch(seed, 0.4)
    both, alone = (lift(Cell(cycles, rings=rings), data, seed) for rings in (True, "only"))
    assert alone.cells(1) == both.cells(1)
    static = CycleLifting("shortest" if cycles == "filtration" else cycles)(data)
    assert alone.cells(2) == static.cells(2)


@pytest.mark.parametrize("cycles", ["filtration", "shortest", "fundamental", "minimum", "induced"])
@FEW
@given(seed=SEEDS)
def test_learned_edges_can_close_cycles_among_themselves_alone(cycles, seed):
    data = random_batch(seed, 0.4)
    both, apart = (lift(Cell(cycles, rings=rings), data, seed) for rings in (True, "apart"))
    assert apart.cells(1) == both.cells(1)
    given_edges = sets(data.edge_index.t().tolist())
    static = CycleLifting("shortest" if cycles == "filtration" else cycles)(data).cells(2)
    own = [cell for cell in apart.cells(2) if sets(steps(cell)) <= given_edges]
    learned = [cell for cell in apart.cells(2) if not sets(steps(cell)) & given_edges]
    assert sorted(own) == sorted(static)
    assert len(own) + len(learned) == len(apart.cells(2))
    # The learned edges that were accepted, as a graph of their own.
    edges = [edge for edge in apart.accepted().cells(1) if frozenset(edge) not in given_edges]
    graph = nx.Graph(edges)
    if cycles == "induced":
        found = [c for c in nx.chordless_cycles(graph, 6) if len(c) > 2]
        assert len(learned) == len(found)
    else:
        rank = graph.number_of_edges() - graph.number_of_nodes()
        assert len(learned) == rank + nx.number_connected_components(graph)


@pytest.mark.parametrize("cycles", ["filtration", "shortest", "fundamental", "minimum", "induced"])
@FEW
@given(seed=SEEDS)
def test_rings_of_the_graph_can_be_there_from_the_start(cycles, seed):
    data = random_batch(seed, 0.4)
    apart, fixed = (lift(Cell(cycles, rings=rings), data, seed) for rings in ("apart", "given"))
    assert fixed.cells(1) == apart.cells(1)
    assert sorted(fixed.cells(2)) == sorted(apart.cells(2))
    static = CycleLifting("shortest" if cycles == "filtration" else cycles)(data).cells(2)
    there = [cell for cell, p in zip(fixed.cells(2), fixed.prob_2.tolist(), strict=True) if p == 1]
    assert there == static
    assert fixed.summary().ranks[1].original == len(static)
    assert fixed.summary().ranks[1].candidates == len(fixed.cells(2)) - len(static)
    rejected = lift(Cell(cycles, rings="given"), data, seed, estimator=RejectAll())
    assert rejected.accepted().cells(2) == static


@pytest.mark.parametrize(
    "domain", [Cell(rings=True), Cell("induced", rings=True), Simplicial()], ids=repr
)
@FEW
@given(seed=SEEDS)
def test_psi_sees_the_share_of_own_faces_and_their_number(domain, seed):
    data = random_batch(seed, 0.4)
    found = {}

    class Watched(type(domain)):
        def statistics(self, skeleton, rank, cells, boundary):
            found[rank] = super().statistics(skeleton, rank, cells, boundary)
            return found[rank]

    watched = Watched()
    vars(watched).update(vars(domain))
    lifted = lift(watched, data, seed, max_rank=domain.highest_rank)
    assert list(found) == list(range(2, domain.highest_rank + 1))
    own = sets(data.edge_index.t().tolist())
    for rank, seen in found.items():
        for cell, (share, log_number) in zip(lifted.cells(rank), seen.tolist(), strict=True):
            if isinstance(domain, Cell):
                faces = [frozenset(step) for step in steps(cell)]
            else:
                faces = [frozenset(face) for face in combinations(cell, rank)]
            # Triangles of a simplicial complex are all learned.
            expected = sum(face in own for face in faces) / len(faces)
            assert share == pytest.approx(expected)
            assert log_number == pytest.approx(math.log(len(faces)))


def sorted_entries(boundary):
    columns = [*boundary.faces.tolist(), boundary.orientation.tolist()]
    return sorted(zip(*columns, boundary.membership.tolist(), strict=True))


@FEW
@given(seed=SEEDS)
def test_faces_of_some_cells(seed):
    data = random_batch(seed, 0.4)
    checked = []

    class Watched(Cell):
        def statistics(self, skeleton, rank, cells, boundary):
            some = torch.randperm(len(cells))[: len(cells) // 2]
            expected = self.boundary(skeleton, rank, cells.select(some))
            found = boundary.select(some, len(cells))
            assert sorted_entries(found) == sorted_entries(expected)
            checked.append(len(some))
            return super().statistics(skeleton, rank, cells, boundary)

    lift(Watched(), data, seed)
    assert len(checked) == 1


@FEW
@given(seed=SEEDS)
def test_every_cell_of_the_cycle_lifting_is_a_candidate(seed):
    data = random_batch(seed, 0.4)
    assert set(CycleLifting()(data).cells(2)) <= set(lift("cell", data, seed).cells(2))


@pytest.mark.laws
@pytest.mark.parametrize(
    "domain",
    [
        *(Cell(cycles, rings=False) for cycles in ("filtration", "shortest", "induced")),
        # Long enough for the cycles of the graphs that the laws are checked on.
        *(
            Cell(cycles, 12, rings=rings)
            for cycles in ("filtration", "induced")
            for rings in ("given", "apart", "only")
        ),
    ],
    ids=repr,
)
def test_a_cell_complex_with_other_rings_obeys_the_laws(domain):
    # Of a few rings alone all may be rejected, and the law of the gradient wants one that is not.
    torch.manual_seed(0)
    check_domain(domain)


@FEW
@given(seed=SEEDS)
def test_projected_features(seed):
    """x_r is the sum over the faces, gated, rank after rank."""
    for domain in ("cell", "simplicial", "combinatorial"):
        lifted = lift(domain, random_batch(seed), seed)
        below = lifted.x_0
        for r in range(1, lifted.max_rank + 1):
            expected = lifted.incidence(r).detach().to_dense().t() @ below
            torch.testing.assert_close(lifted[f"x_{r}"], expected)
            below = lifted[f"x_{r}"]


# ------------------------------------------------------------------ their settings


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        (
            Cell(),
            (
                "Cell(cycles='filtration', max_cycle_length=None, rings='given', "
                "closure_gradient=False)"
            ),
        ),
        (
            Cell("induced"),
            "Cell(cycles='induced', max_cycle_length=6, rings='given', closure_gradient=False)",
        ),
        (
            Simplicial("cycle_basis"),
            "Simplicial(simplices='cycle_basis', closure_gradient=True)",
        ),
        (Hypergraph(), "Hypergraph(sizes=None, edges='given')"),
        (Combinatorial(), "Combinatorial()"),
    ],
    ids=str,
)
def test_repr_shows_the_settings(domain, text):
    assert repr(domain) == text


@pytest.mark.parametrize("name", ["hypergraph", "simplicial", "cell", "combinatorial"])
def test_cells_come_graph_by_graph(name):
    lifted = lift(name, random_batch(3), 3)
    for r in range(1, lifted.max_rank + 1):
        batch = lifted[f"batch_{r}"]
        assert bool((batch.diff() >= 0).all())
        for cell, g in zip(lifted.cells(r), batch.tolist(), strict=True):
            assert {int(lifted.batch_0[v]) for v in cell} == {g}
