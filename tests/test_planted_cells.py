"""Planted cells against their definition, the lifting that knows them, and their recovery."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data
from torch_geometric.utils import to_networkx

from topox_difflift import DiffLift, LiftedComplex
from topox_difflift.config import TrainingConfig
from topox_difflift.datasets import PLANTED, SYNTHETIC, load_dataset, planted_cells
from topox_difflift.domains import Cell
from topox_difflift.liftings import (
    LIFTINGS,
    CliqueLifting,
    CycleLifting,
    KernelLifting,
    KHopLifting,
    KNNLifting,
    NoLifting,
    OracleLifting,
    SimplicialKHopLifting,
)
from topox_difflift.recovery import Recovery, area_under_curve, recovery, recovery_of
from topox_difflift.testing import (
    AcceptAll,
    check_batch,
    check_boundary,
    check_columns,
    check_untouched,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "planted_cells.py"
TASKS = [
    ("hyperedges", None),
    ("hyperedges", (3, 4, 5)),
    ("cycles", None),
    ("cycles", (3, 4, 5)),
    ("triangles", None),
]
DOMAINS = ["hypergraph", "simplicial", "cell", "combinatorial", "dcm"]


def groups(graph: Data) -> list[list[int]]:
    return [cell.tolist() for cell in graph.planted_index.split(graph.planted_size.tolist())]


def pairs(nodes: list[int]) -> set[frozenset[int]]:
    return {frozenset(pair) for pair in itertools.combinations(nodes, 2)}


def sides(cycle: list[int]) -> set[frozenset[int]]:
    return {frozenset(pair) for pair in zip(cycle, cycle[1:] + cycle[:1], strict=True)}


def edges(graph: Data) -> set[frozenset[int]]:
    return {frozenset(arc) for arc in graph.edge_index.t().tolist()}


# ---------------------------------------------------------------------- the data


@pytest.mark.parametrize(("kind", "sizes"), TASKS)
def test_label_says_whether_all_signs_of_a_group_are_positive(
    kind: str, sizes: tuple[int, ...] | None
) -> None:
    for graph in planted_cells(kind, 200, sizes):
        assert graph.validate()
        assert not graph.is_directed()
        assert graph.is_coalesced()
        signs = graph.x[:, PLANTED[kind].place].tolist()
        assert set(signs) <= {-1.0, 1.0}
        assert bool(graph.y) == any(all(signs[v] > 0 for v in group) for group in groups(graph))


@pytest.mark.parametrize(("kind", "sizes"), TASKS)
def test_groups_have_the_sizes_asked_for_and_each_node_lies_in_one(
    kind: str, sizes: tuple[int, ...] | None
) -> None:
    allowed = sizes or (PLANTED[kind].size,)
    graphs = planted_cells(kind, 200, sizes, num_groups=5)
    for graph in graphs:
        assert len(graph.planted_size) == 5
        assert graph.planted_index.sort().values.tolist() == list(range(graph.num_nodes))
    every = torch.cat([graph.planted_size for graph in graphs])
    for size in allowed:
        assert float((every == size).double().mean()) == pytest.approx(1 / len(allowed), abs=0.05)


@pytest.mark.parametrize(("kind", "sizes"), TASKS)
def test_no_path_joins_two_nodes_of_a_group(kind: str, sizes: tuple[int, ...] | None) -> None:
    for graph in planted_cells(kind, 100, sizes):
        for component in nx.connected_components(to_networkx(graph, to_undirected=True)):
            assert all(len(component.intersection(group)) <= 1 for group in groups(graph))


STATIC = [
    CycleLifting(),
    CycleLifting("induced"),
    CliqueLifting(),
    SimplicialKHopLifting(k=2),
    KHopLifting(),
    KHopLifting(k=3),
    KernelLifting(),
]


@pytest.mark.parametrize("lifting", STATIC, ids=repr)
def test_rules_on_the_graph_find_cells_but_no_planted_one(lifting: torch.nn.Module) -> None:
    kind = {"cell": "cycles", "simplicial": "triangles"}.get(lifting.leads_to, "hyperedges")
    batch = Batch.from_data_list(planted_cells(kind, 50))
    lifted = lifting(batch)
    found = recovery(lifted, batch)
    assert lifted.num_cells[lifted.max_rank] >= 50
    assert (found.candidate_recall, found.accepted_recall, found.purity) == (0, 0, 0)


@pytest.mark.parametrize(("kind", "sizes"), [*TASKS, ("hyperedges", (3, 8)), ("cycles", (7,))])
def test_signs_of_connected_nodes_and_their_number_say_nothing_about_the_label(
    kind: str, sizes: tuple[int, ...] | None
) -> None:
    """Half of a column is positive, whatever the label, and no decoy depends on it."""
    graphs = planted_cells(kind, 2000, sizes)
    place = PLANTED[kind].place
    n_positive = torch.stack([(graph.x[:, place] > 0).sum() for graph in graphs])
    for graph, number in zip(graphs, n_positive.tolist(), strict=True):
        columns = [
            sum(size > j for size in graph.planted_size.tolist())
            for j in range(int(graph.planted_size.max()))
        ]
        assert number == sum(column // 2 for column in columns)
    y = torch.cat([graph.y for graph in graphs]).double()
    assert float(y.mean()) == pytest.approx(0.5, abs=0.045)  # four standard deviations
    # How often both ends of an edge are positive, an obvious hint on the graph.
    both = torch.stack([(g.x[:, place][g.edge_index] > 0).all(0).double().mean() for g in graphs])
    difference = both[y == 1].mean() - both[y == 0].mean()
    assert abs(float(difference)) < 4 * float(both.std()) * 2 / math.sqrt(len(graphs))


def test_arrangements_of_signs_are_uniform_given_the_label() -> None:
    """Two groups of three: columns have one +1 each, so there are 8 tables, 2 of label 1."""
    graphs = planted_cells("hyperedges", 4000, num_groups=2)
    counts: dict[tuple[float, ...], int] = {}
    for graph in graphs:
        table = tuple(graph.x[graph.planted_index, 3].tolist())
        counts[(float(graph.y), *table)] = counts.get((float(graph.y), *table), 0) + 1
    for label, tables in ((1.0, 2), (0.0, 6)):
        seen = [number for key, number in counts.items() if key[0] == label]
        assert len(seen) == tables
        expected = sum(seen) / tables
        assert all(abs(number - expected) < 4.5 * math.sqrt(expected) for number in seen)


@pytest.mark.parametrize(
    ("kind", "share"), [("hyperedges", 0.68), ("cycles", 0.77), ("triangles", 0.68)]
)
def test_length_of_the_sum_of_sign_times_place_tells_something(kind: str, share: float) -> None:
    """What the cells are not needed for, as the docstring says."""
    graphs = planted_cells(kind, 4000, seed=7)
    d = PLANTED[kind].place
    y = torch.cat([graph.y for graph in graphs]).bool()
    length = torch.stack([(g.x[:, d : d + 1] * g.x[:, :d]).sum(0).norm() for g in graphs])
    # The threshold from one half, its accuracy from the other.
    cuts = length[:2000].sort().values[::20]
    right = torch.stack([((length[:2000] > cut) == y[:2000]).double().mean() for cut in cuts])
    found = ((length[2000:] > cuts[right.argmax()]) == y[2000:]).double().mean()
    assert float(found) == pytest.approx(share, abs=0.03)


def test_nearest_places_are_the_groups_and_nearest_features_are_not() -> None:
    batch = Batch.from_data_list(planted_cells("hyperedges", 100))
    assert recovery(KNNLifting(in_channels=3)(batch), batch).purity > 0.9
    assert recovery(KNNLifting()(batch), batch).purity < 0.35
    noisy = Batch.from_data_list(planted_cells("hyperedges", 100, noise=1.0, distractors=0))
    assert noisy.x.size(1) == 4
    assert recovery(KNNLifting(in_channels=3)(noisy), noisy).purity < 0.5


class Place(torch.nn.Module):
    """The metric that is to be learned."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.place = PLANTED[kind].place

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor, batch: torch.Tensor) -> Any:
        return x[:, : self.place]


@pytest.mark.parametrize(
    ("kind", "domain", "k", "num_groups"),
    [
        ("hyperedges", "hypergraph", 3, None),
        ("triangles", "simplicial", 2, None),
        # By length, the sides come before the diagonals and the decoys.
        ("cycles", Cell(), 2, None),
        ("cycles", Cell(), 5, None),
        # In a few groups, planted and decoy cycles are not independent: no basis has them all.
        ("cycles", Cell("shortest"), 2, 6),
        ("cycles", Cell("induced", 4), 2, None),
    ],
)
def test_planted_cells_are_among_the_candidates_of_the_right_metric(
    kind: str, domain: Any, k: int, num_groups: int | None
) -> None:
    batch = Batch.from_data_list(planted_cells(kind, 60, num_groups=num_groups))
    lift = DiffLift(domain, encoder=Place(kind), k_min=k, k_max=k, estimator=AcceptAll()).eval()
    assert recovery(lift(batch), batch).candidate_recall > 0.9


def test_planted_cycles_are_polygons_in_order() -> None:
    for sizes in ((3,), (4,), (6,)):
        for graph in planted_cells("cycles", 20, sizes, noise=0.0):
            for cycle in groups(graph):
                place = graph.x[cycle, :6].double()
                steps = (place - place.roll(-1, 0)).norm(dim=1)
                torch.testing.assert_close(steps, torch.full_like(steps, 0.8), atol=1e-5, rtol=0)
                near = torch.cdist(place, place) < 0.81
                assert int(near.sum()) == 3 * len(cycle)


@pytest.mark.parametrize("kind", PLANTED)
def test_a_seed_determines_the_graphs_and_leaves_the_global_one_alone(kind: str) -> None:
    state = torch.get_rng_state()
    first, again, other = (planted_cells(kind, 6, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(first, again, strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a.to_dict())
    assert not any(torch.equal(a.x, b.x) for a, b in zip(first, other, strict=True))


def test_batches_number_the_nodes_of_planted_cells_on() -> None:
    graphs = planted_cells("cycles", 4, (3, 4, 5))
    batch = Batch.from_data_list(graphs)
    shifted = [
        [v + start for v in group]
        for graph, start in zip(graphs, batch.ptr.tolist(), strict=False)
        for group in groups(graph)
    ]
    assert groups(batch) == shifted
    parts = OracleLifting()(batch).unbatch()
    for graph, part in zip(graphs, parts, strict=True):
        assert groups(part) == groups(graph)
        assert groups(OracleLifting()(part)) == groups(graph)


def test_they_have_names() -> None:
    for kind in PLANTED:
        named = SYNTHETIC[f"planted_{kind}"](num_graphs=2, seed=3)
        assert torch.equal(named[1].x, planted_cells(kind, 2, seed=3)[1].x)
    assert len(load_dataset("planted_cycles")) == 6000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "tetrahedra"}, "'kind' to be one of hyperedges, cycles, triangles"),
        ({"num_graphs": 0}, "'num_graphs' to be an integer of at least 1"),
        ({"num_groups": 1}, "'num_groups' to be an integer of at least 2"),
        ({"sizes": ()}, "'sizes' to hold at least one"),
        ({"sizes": (3, 2)}, "'sizes' to be an integer of at least 3"),
        ({"sizes": (9,)}, r"'sizes' to be from 3 to 8 \(got 9\)"),
        ({"kind": "triangles", "sizes": (4,)}, "'sizes' to be 3 for triangles"),
        ({"noise": -0.1}, "'noise' to be at least 0"),
        ({"noise": math.nan}, "'noise' to be at least 0"),
        ({"distractors": -1}, "'distractors' to be an integer of at least 0"),
    ],
)
def test_impossible_arguments_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planted_cells(**{"kind": "cycles", "num_graphs": 1, **options})  # type: ignore[arg-type]


# ---------------------------------------------------------------------- the oracle


def faces(domain: str, rank: int, graph: Data) -> set[frozenset[frozenset[int]]]:
    """Cells of a rank, each as the set of its edges, or of its nodes alone."""
    out: set[frozenset[frozenset[int]]] = set()
    for group in groups(graph):
        if domain == "hypergraph":
            out.add(frozenset(frozenset([v]) for v in group))
        elif rank == 1:
            own = sides(group) if domain in ("cell", "dcm") else pairs(group)
            out |= {frozenset([edge]) for edge in own}
        elif domain == "simplicial":
            out |= {frozenset(pairs(list(c))) for c in itertools.combinations(group, rank + 1)}
        elif rank == 2:
            out.add(frozenset(sides(group) if domain in ("cell", "dcm") else pairs(group)))
    if rank == 1 and domain != "hypergraph":
        out |= {frozenset([edge]) for edge in edges(graph)}
    return out


def cells_as_sets(lifted: LiftedComplex, rank: int) -> Iterator[frozenset[frozenset[int]]]:
    for cell in lifted.cells(rank):
        if lifted.domain == "hypergraph":
            yield frozenset(frozenset([v]) for v in cell)
        else:
            cycle = lifted.domain == "cell" and rank == 2
            yield frozenset(sides(list(cell)) if cycle else pairs(list(cell)))


@pytest.mark.laws
@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize(("kind", "sizes"), TASKS)
def test_oracle_attaches_the_planted_cells_and_their_faces(
    domain: str, kind: str, sizes: tuple[int, ...] | None
) -> None:
    graphs = planted_cells(kind, 3, sizes)
    top = None if domain in ("hypergraph", "cell", "dcm") else 3
    lifting = OracleLifting(domain, top)
    for graph in graphs:
        check_untouched(lifting, graph)
        lifted = lifting(graph)
        assert lifted.validate()
        check_columns(lifted)
        check_boundary(lifted)
        for rank in range(1, lifted.max_rank + 1):
            found = list(cells_as_sets(lifted, rank))
            assert len(set(found)) == len(found)
            assert set(found) == faces(domain, rank, graph)
            assert bool((lifted[f"mask_{rank}"] == 1).all() & (lifted[f"prob_{rank}"] == 1).all())
    check_batch(lifting, graphs)


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_oracle_on_cells_that_overlap_edges_and_each_other(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    n = int(torch.randint(5, 9, (), generator=generator))
    u, v = torch.triu_indices(n, n, 1)[:, torch.rand(n * (n - 1) // 2, generator=generator) < 0.3]
    sizes = torch.randint(3, 6, (4,), generator=generator)
    sets = [torch.randperm(n, generator=generator)[:size] for size in sizes.tolist()]
    graph = Data(
        x=torch.ones(n, 1, dtype=torch.float64),
        edge_index=torch.cat([torch.stack([u, v]), torch.stack([v, u])], dim=1),
        planted_index=torch.cat(sets),
        planted_size=sizes,
    )
    for domain in DOMAINS:
        lifted = OracleLifting(domain)(graph)
        assert lifted.validate()
        for rank in range(1, lifted.max_rank + 1):
            assert set(cells_as_sets(lifted, rank)) == faces(domain, rank, graph)


def test_oracle_without_any_planted_cell_keeps_the_graph() -> None:
    none = torch.empty(0, dtype=torch.long)
    arcs = torch.tensor([[0, 1], [1, 0]])
    graph = Data(x=torch.ones(2, 1), edge_index=arcs, planted_index=none, planted_size=none)
    for domain in DOMAINS:
        lifted = OracleLifting(domain)(graph)
        edges_kept = 0 if domain == "hypergraph" else 1
        assert lifted.num_cells == (2, edges_kept, *[0] * (lifted.max_rank - 1))
        assert math.isnan(recovery(lifted, graph).candidate_recall)


def test_oracle_is_registered_and_names_its_settings() -> None:
    assert LIFTINGS["oracle"] is OracleLifting
    assert "simplicial" in repr(OracleLifting("simplicial")).lower()
    assert "max_rank=3" in repr(OracleLifting("simplicial", 3))


@pytest.mark.parametrize(
    ("planted", "message"),
    [
        ({}, "to carry its planted cells as tensors .* no planted_index"),
        ({"planted_index": torch.arange(3)}, "no planted_size"),
        ({"planted_index": torch.arange(3), "planted_size": torch.tensor([2])}, "add up to the 3"),
        ({"planted_index": torch.arange(2), "planted_size": torch.tensor([2])}, "at least 3 nodes"),
        ({"planted_index": torch.arange(4, 7), "planted_size": torch.tensor([3])}, "nodes 0 to 5"),
        ({"planted_index": torch.tensor([0, 1, 1]), "planted_size": torch.tensor([3])}, "1 repea"),
        ({"planted_index": torch.tensor([1, 2, 3]), "planted_size": torch.tensor([3])}, "joins gr"),
    ],
)
def test_oracle_refuses_what_are_no_cells(planted: dict[str, torch.Tensor], message: str) -> None:
    batch = torch.tensor([0, 0, 0, 1, 1, 1])
    nothing = torch.empty(2, 0, dtype=torch.long)
    with pytest.raises(ValueError, match=message):
        OracleLifting()(Data(x=torch.ones(6, 1), edge_index=nothing, batch=batch, **planted))


# ---------------------------------------------------------------------- recovery


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30))
def test_area_under_curve_counts_pairs(items: list[tuple[int, bool]]) -> None:
    score = torch.tensor([s / 5 for s, _ in items], dtype=torch.float64)
    positive = torch.tensor([p for _, p in items], dtype=torch.bool)
    wins = [
        (a > b) + (a == b) / 2 for (a, p), (b, q) in itertools.product(items, items) if p and not q
    ]
    found = area_under_curve(score, positive)
    assert math.isnan(found) if not wins else found == pytest.approx(sum(wins) / len(wins))


def by_hand() -> tuple[LiftedComplex, Data]:
    """A square planted, another order of the same nodes, and a triangle; edges all there."""
    ring = [(0, 1), (1, 2), (2, 3), (0, 3), (0, 2), (1, 3)]
    arcs = torch.tensor(ring + [(v, u) for u, v in ring]).t()
    planted = torch.tensor([2, 3, 0, 1, 1, 2, 0])
    data = Data(
        x=torch.ones(4, 1),
        edge_index=arcs,
        planted_index=planted,
        planted_size=torch.tensor([4, 3]),
    )
    other = data.clone()
    other.planted_index = torch.tensor([0, 3, 2, 1, 0, 2, 1, 3, 0, 1, 3])
    other.planted_size = torch.tensor([4, 4, 3])
    return OracleLifting()(other), data


def test_recovery_of_a_case_by_hand() -> None:
    lifted, data = by_hand()
    lifted.mask_2 = torch.tensor([1.0, 0.0, 1.0])
    lifted.prob_2 = torch.tensor([0.9, 0.2, 0.95])
    found = recovery(lifted, data)
    # Of the planted square and triangle only the square is there; the other walk is not it.
    assert found.candidate_recall == 0.5
    assert found.accepted_recall == 0.5
    assert found.purity == 0.5
    assert found.auroc == 0.5
    lifted.mask_2 = torch.tensor([0.0, 1.0, 0.0])
    rejected = recovery(lifted, data)
    assert (rejected.candidate_recall, rejected.accepted_recall, rejected.purity) == (0.5, 0, 0)
    lifted.mask_2 = torch.zeros(3)
    assert math.isnan(recovery(lifted, data).purity)


def test_recovery_leaves_edges_of_the_graph_out() -> None:
    (graph,) = planted_cells("cycles", 1)
    lifted = OracleLifting()(graph)
    at_edges = recovery(lifted, graph, rank=1)
    assert (at_edges.candidate_recall, at_edges.purity) == (1, 1)
    nothing = recovery(NoLifting()(graph), graph, rank=1)
    assert nothing.candidate_recall == 0
    assert math.isnan(nothing.purity)
    hyper = recovery(NoLifting("hypergraph")(graph), graph)
    assert hyper.candidate_recall == 0
    assert math.isnan(hyper.purity)


def test_recovery_over_draws_by_hand() -> None:
    first, data = by_hand()
    first.mask_2, first.prob_2 = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([0.9, 0.2, 0.95])
    # Without the planted square, which has a score of 0 here.
    fewer = data.clone()
    fewer.planted_index = torch.tensor([0, 2, 1, 3, 0, 1, 3])
    fewer.planted_size = torch.tensor([4, 3])
    second = OracleLifting()(fewer)
    second.mask_2, second.prob_2 = torch.tensor([0.0, 1.0]), torch.tensor([0.8, 0.1])
    # Scores of square, other walk and triangle: 0.45, 0.5, 0.525.
    assert recovery([first, second], data) == Recovery(0.0, 0.25, 0.25, 0.25)
    second.prob_2 = torch.tensor([0.6, 0.0])  # 0.45, 0.4, 0.475
    assert recovery((first, second), data).auroc == 0.5
    # In a draw that accepts nothing there is nothing to be pure.
    second.mask_2 = torch.zeros(2)
    assert recovery([first, second], data).purity == 0.5
    # The other walk is listed for its gradient alone.
    first.included_2 = second.included_2 = torch.tensor([True, False, True])
    second.included_2 = torch.tensor([False, True])
    assert recovery([first, second], data).auroc == 0
    first.included_2 = torch.tensor([True, False, False])
    second.included_2 = torch.tensor([False, False])
    assert math.isnan(recovery([first, second], data).auroc)
    assert recovery([first, second], data).candidate_recall == 0.25


def test_equal_hyperedges_count_once_with_the_largest_probability() -> None:
    nothing = torch.empty(2, 0, dtype=torch.long)
    data = Data(
        x=torch.ones(6, 1),
        edge_index=nothing,
        planted_index=torch.tensor([0, 1, 2, 2, 1, 0, 3, 4, 5, 0, 1, 3, 3, 1, 0]),
        planted_size=torch.full((5,), 3),
    )
    lifted = OracleLifting("hypergraph")(data)
    data.planted_index, data.planted_size = torch.arange(6), torch.tensor([3, 3])
    lifted.prob_1 = torch.tensor([0.1, 0.8, 0.3, 0.5, 0.2])
    lifted.mask_1 = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0])
    # Scores 0.8 and 0.3 of planted ones against 0.5; accepted are {0, 1, 2} and {0, 1, 3}.
    assert recovery(lifted, data) == Recovery(0.5, 1.0, 0.5, 0.5)


def recovery_by_definition(draws: list[LiftedComplex], data: Data, rank: int) -> list[float]:
    domain = draws[0].domain
    given = {frozenset([edge]) for edge in edges(data)}
    if domain == "hypergraph":
        given = {frozenset(frozenset([v]) for v in edge) for edge in edges(data)}
    if rank > 1:
        given = set()
    if (domain, rank) == ("cell", 2):
        given = set(cells_as_sets(CycleLifting()(data), 2))
    truth = faces(domain, rank, data) - given
    tables: list[dict[Any, list[tuple[float, bool]]]] = []
    for lifted in draws:
        tables.append({})
        columns = zip(
            cells_as_sets(lifted, rank),
            lifted[f"included_{rank}"].tolist(),
            lifted[f"prob_{rank}"].tolist(),
            lifted[f"mask_{rank}"].tolist(),
            strict=True,
        )
        for cell, included, prob, mask in columns:
            if included and cell not in given:
                tables[-1].setdefault(cell, []).append((prob, mask == 1))
    every = set().union(*tables)
    score = {
        cell: sum(max((p for p, _ in table.get(cell, [])), default=0.0) for table in tables)
        for cell in every
    }
    wins = [
        (score[a] > score[b]) + (score[a] == score[b]) / 2
        for a, b in itertools.product(every & truth, every - truth)
    ]
    accepted = [{cell for cell, found in t.items() if any(k for _, k in found)} for t in tables]
    n = len(draws)
    return [
        sum(wins) / len(wins),
        sum(len(truth & set(table)) for table in tables) / len(truth) / n,
        sum(len(truth & cells) for cells in accepted) / len(truth) / n,
        sum(len(truth & cells) / len(cells) for cells in accepted) / n,
    ]


@pytest.mark.parametrize("n_draws", [1, 3])
@pytest.mark.parametrize(
    ("kind", "domain", "rank"),
    [
        ("hyperedges", "hypergraph", 1),
        ("cycles", "cell", 1),
        ("cycles", "cell", 2),
        ("triangles", "simplicial", 1),
        ("triangles", "simplicial", 2),
        ("hyperedges", "combinatorial", 2),
    ],
)
def test_recovery_of_a_learned_lifting_by_brute_force(
    kind: str, domain: str, rank: int, n_draws: int
) -> None:
    batch = Batch.from_data_list(planted_cells(kind, 24))
    torch.manual_seed(0)
    lift = DiffLift(
        domain, encoder=Place(kind), k_max=3, generator=torch.Generator().manual_seed(0)
    )
    draws = [lift(batch) for _ in range(n_draws)]
    found = recovery(draws if n_draws > 1 else draws[0], batch, rank)
    expected = recovery_by_definition(draws, batch, rank)
    assert list(dataclasses.astuple(found)) == pytest.approx(expected)
    # Rejected candidates count, and pairs that no end takes do not.
    assert found.candidate_recall > found.accepted_recall > 0
    columns = draws[0].num_cells[rank] - draws[0][f"candidates_{rank}"].sum()
    given = int((draws[0][f"prob_{rank}"] == 1).sum())
    assert bool(columns > given) == (rank == 1 and domain != "hypergraph")


def test_recovery_needs_a_rank_that_was_lifted() -> None:
    (graph,) = planted_cells("cycles", 1)
    with pytest.raises(ValueError, match="rank 2 was not lifted"):
        recovery(NoLifting("cell", 1)(graph), graph)


def test_recovery_needs_a_complex() -> None:
    (graph,) = planted_cells("cycles", 1)
    with pytest.raises(ValueError, match=r"'lifted' to be a complex, or .* \(got none\)"):
        recovery([], graph)


@pytest.mark.parametrize("lifting", ["difflift", "accept_all", "oracle", "none"])
@pytest.mark.parametrize("kind", ["hyperedges", "cycles"])
def test_recovery_of_a_model(kind: str, lifting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = planted_cells(kind, 6)
    config = TrainingConfig(
        f"planted_{kind}", lifting=lifting, tnn={"hyperedges": "unigcn", "cycles": "cwn"}[kind]
    )
    model = config.build(graphs[0].x.size(1), 0, 2)
    learned = isinstance(model.lift.lift, DiffLift)
    before = copy.deepcopy(model.state_dict())
    if learned:
        model.lift.lift.rejected = "drop"
        state = model.lift.lift.generator.get_state()
    monkeypatch.setattr("topox_difflift.recovery._FEW", 4)
    found = recovery_of(model, graphs, draws=3, seed=5)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    if learned:
        assert model.lift.lift.rejected == "drop"
        assert torch.equal(model.lift.lift.generator.get_state(), state)
        model.lift.lift.generator.manual_seed(5)
        model.lift.lift.rejected = "keep"
    few, every = Batch.from_data_list(graphs[:4]), Batch.from_data_list(graphs)
    with torch.no_grad():
        proposed = recovery([model.lifted(few) for _ in range(3)], few)
        accepted = recovery(model.eval().lifted(every), every)
    expected = dataclasses.replace(
        proposed, accepted_recall=accepted.accepted_recall, purity=accepted.purity
    )
    assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(expected), nan_ok=True)


# ---------------------------------------------------------------------- the benchmark


@pytest.mark.parametrize("kind", PLANTED)
def test_oracle_solves_a_small_version_and_no_lifting_does_not(kind: str) -> None:
    benchmark = runpy.run_path(str(BENCHMARK))
    small = {"n_train": 800, "n_test": 300, "epochs": 8}
    assert benchmark["run"](kind, "oracle", 0, **small)["accuracy"] > 0.95
    assert benchmark["run"](kind, "none", 0, **small)["accuracy"] < 0.65


def test_options_of_the_benchmark_are_those_of_the_learned_row() -> None:
    benchmark = runpy.run_path(str(BENCHMARK))
    small = {"n_train": 8, "n_test": 8, "epochs": 1}
    # All of a graph's nodes are one candidate for each of them: no planted group is.
    options = {"sizes": [planted_cells("hyperedges", 1)[0].num_nodes]}
    recall = {
        row: benchmark["run"]("hyperedges", row, 0, options=options, **small)["candidate_recall"]
        for row in ("difflift", "accept_all")
    }
    assert recall["difflift"] == 0 < recall["accept_all"]


def test_runs_with_the_oracle_need_planted_cells() -> None:
    with pytest.raises(ValueError, match=r"'dataset' to be planted_hyperedges or .* 'molecules'"):
        TrainingConfig("molecules", lifting="oracle")
    TrainingConfig("planted_triangles", lifting="oracle", tnn="scn2")
