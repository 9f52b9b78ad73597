"""Static liftings against brute force, in the shape that `DiffLift` returns."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import mpmath
import networkx as nx
import numpy as np
import pytest
import torch
import torch_geometric.transforms as T
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from torch_geometric.data import Batch, Data

from topox_difflift import LiftedComplex
from topox_difflift.cycles import unite
from topox_difflift.datasets import molecules
from topox_difflift.domains import Cell
from topox_difflift.liftings import (
    CliqueLifting,
    CycleLifting,
    KernelLifting,
    KHopLifting,
    KNNLifting,
    NoLifting,
    SimplicialKHopLifting,
    kernel,
    khop,
)
from topox_difflift.testing import (
    check_batch,
    check_boundary,
    check_columns,
    check_untouched,
    zoo,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# Some graphs of the zoo have self-loops and duplicate edges, which are dropped with a warning.
pytestmark = pytest.mark.filterwarnings("ignore:'edge_index' has:UserWarning")


def gaussian(x: torch.Tensor) -> torch.Tensor:
    return torch.exp(-torch.cdist(x, x).square())


LIFTINGS = [
    *(NoLifting(domain) for domain in ("cell", "simplicial", "combinatorial", "hypergraph")),
    NoLifting("simplicial", max_rank=3),
    CycleLifting(),
    CycleLifting("induced"),
    CliqueLifting(1),
    CliqueLifting(),
    CliqueLifting(3),
    KHopLifting(),
    KHopLifting(k=2),
    SimplicialKHopLifting(),
    SimplicialKHopLifting(k=2, max_rank=3, max_neighborhood=5),
    KNNLifting(),
    KNNLifting(k=2, include_self=False),
    KernelLifting(),
    KernelLifting(t=0.5, fraction=0.2, feature_kernel=gaussian),
]
# A cycle basis may change as a set when nodes are renamed; its span is tested instead.
EQUIVARIANT = [lifting for lifting in LIFTINGS if repr(lifting) != repr(CycleLifting())]
RANDOM = given(st.integers(1, 9), st.floats(0, 0.8), st.integers(0, 10**6))
SETTINGS = settings(max_examples=40, deadline=None)


def to_data(graph: nx.Graph, dtype: torch.dtype = torch.float64) -> Data:
    arcs = [(u, v) for u, v in graph.edges] + [(v, u) for u, v in graph.edges]
    edge_index = torch.tensor(sorted(arcs), dtype=torch.long).reshape(-1, 2).t().contiguous()
    n = graph.number_of_nodes()
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(n), dtype=dtype)
    return Data(x=x, edge_index=edge_index, y=torch.zeros(1))


def to_networkx(data: Data) -> nx.Graph:
    graph = nx.empty_graph(len(data.x))
    graph.add_edges_from((u, v) for u, v in data.edge_index.t().tolist() if u != v)
    return graph


GRAPHS = {name: to_networkx(data) for name, data in zoo().items() if name != "batch"}


# ---------------------------------------------------------------------- definitions

Cells = list[tuple[int, ...]]


def cliques(graph: nx.Graph, rank: int) -> Cells:
    """Sets of nodes that are all joined."""
    sets = combinations(range(len(graph)), rank + 1)
    return [c for c in sets if all(graph.has_edge(u, v) for u, v in combinations(c, 2))]


def balls(graph: nx.Graph, k: int) -> Cells:
    """Nodes within k hops of each node."""
    near = dict(nx.all_pairs_shortest_path_length(graph, cutoff=k))
    return [tuple(sorted(near[v])) for v in range(len(graph))]


def covered(graph: nx.Graph, k: int, rank: int, largest: int | None) -> Cells:
    """Sets of nodes within one ball that is not too large, and the edges."""
    used = [set(ball) for ball in balls(graph, k) if largest is None or len(ball) <= largest]
    return [
        c
        for c in combinations(range(len(graph)), rank + 1)
        if any(ball.issuperset(c) for ball in used) or (rank == 1 and graph.has_edge(*c))
    ]


def nearest(x: NDArray[np.float64], k: int, include_self: bool) -> Cells:
    """The k nearest of each node, itself the very first or not at all."""
    sets = []
    for v in range(len(x)):
        others = [u for u in range(len(x)) if u != v]
        others.sort(key=lambda u: (np.square(x[u] - x[v]).sum(), u))
        own = [v] if include_self else []
        sets.append(tuple(sorted([*own, *others][:k])))
    return [members for members in sets if members]


def heat(graph: nx.Graph, t: float) -> NDArray[np.float64]:
    """Heat kernel of the normalised Laplacian, which networkx sets to 0 for an isolated node."""
    return expm(-t * nx.normalized_laplacian_matrix(graph).toarray())


def large(values: NDArray[Any], fraction: float) -> Cells:
    """Rows of the values from a quantile on: distinct, and of two nodes at least."""
    quantile = np.quantile(values, 1 - fraction)
    inside = values >= quantile - 1e-9 * abs(quantile)
    rows = dict.fromkeys(tuple(np.flatnonzero(row).tolist()) for row in inside)
    return [row for row in rows if len(row) > 1]


def span(cycles: Cells, graph: nx.Graph) -> NDArray[np.bool_]:
    """Reduced basis, over the field of two elements, of the space that cycles span."""
    column = {frozenset(edge): i for i, edge in enumerate(graph.edges)}
    rows = np.zeros((len(cycles), len(column)), dtype=bool)
    for i, cycle in enumerate(cycles):
        for u, v in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
            rows[i, column[frozenset((u, v))]] ^= True
    rank = 0
    for j in range(len(column)):
        pivot = next((i for i in range(rank, len(rows)) if rows[i, j]), None)
        if pivot is None:
            continue
        rows[[rank, pivot]] = rows[[pivot, rank]]
        rows[(rows[:, j]) & (np.arange(len(rows)) != rank)] ^= rows[rank]
        rank += 1
    return rows[:rank]


def over_the_zoo(check: Callable[[Data, nx.Graph], None]) -> None:
    for dtype in (torch.float32, torch.float64):
        for name, data in zoo(dtype).items():
            if name != "batch":
                check(data, GRAPHS[name])


def random_graph(n: int, p: float, seed: int) -> tuple[Data, nx.Graph]:
    graph = nx.gnp_random_graph(n, p, seed=seed)
    return to_data(graph), graph


def check_cycles(data: Data, graph: nx.Graph) -> None:
    expected = nx.cycle_basis(graph)
    lifted = CycleLifting()(data)
    assert lifted.num_cells == (len(graph), graph.number_of_edges(), len(expected))
    found = lifted.cells(2)
    assert np.array_equal(span(found, graph), span(expected, graph))
    blocks = [graph.subgraph(nodes) for nodes in nx.biconnected_components(graph)]
    if all(block.number_of_edges() <= len(block) for block in blocks):  # the basis is unique
        assert sorted(map(sorted, found)) == sorted(map(sorted, expected))
    bounded = CycleLifting(max_cycle_length=4)(data).cells(2)
    assert bounded == [cycle for cycle in found if len(cycle) <= 4]


def check_cliques(data: Data, graph: nx.Graph) -> None:
    for max_rank in (1, 2, 3):
        lifted = CliqueLifting(max_rank)(data)
        assert lifted.max_rank == max_rank
        for rank in range(1, max_rank + 1):
            assert lifted.cells(rank) == cliques(graph, rank)


def check_k_hop(data: Data, graph: nx.Graph) -> None:
    for k in (1, 2, 3):
        assert KHopLifting(k)(data).cells(1) == balls(graph, k)


def check_simplicial_k_hop(data: Data, graph: nx.Graph) -> None:
    for k, largest in ((1, None), (1, 4), (2, None)):
        lifted = SimplicialKHopLifting(k, 3, largest)(data)
        for rank in (1, 2, 3):
            assert lifted.cells(rank) == covered(graph, k, rank, largest)
        assert SimplicialKHopLifting(k, 2, largest)(data).num_cells == lifted.num_cells[:3]


def check_nearest(data: Data, graph: nx.Graph) -> None:
    x = data.x.double().numpy()
    for k in (1, 2, 5):
        for include_self in (True, False):
            assert KNNLifting(k, include_self)(data).cells(1) == nearest(x, k, include_self)


def check_kernel(data: Data, graph: nx.Graph) -> None:
    x = data.x.double()
    for t in (0.3, 1.0, 6.0):
        values = heat(graph, t)
        for fraction in (0.05, 0.3, 0.5, 1.0):
            assert KernelLifting(t, fraction)(data).cells(1) == large(values, fraction)
        both = KernelLifting(t, 0.4, feature_kernel=gaussian)(data).cells(1)
        assert both == large(values * gaussian(x).numpy(), 0.4)


CHECKS = [
    check_cycles,
    check_cliques,
    check_k_hop,
    check_simplicial_k_hop,
    check_nearest,
    check_kernel,
]


@pytest.mark.laws
@pytest.mark.parametrize("check", CHECKS)
def test_definition_on_the_zoo(check: Callable[[Data, nx.Graph], None]) -> None:
    over_the_zoo(check)


@pytest.mark.parametrize("check", CHECKS)
@SETTINGS
@RANDOM
def test_definition_on_random_graphs(
    check: Callable[[Data, nx.Graph], None], n: int, p: float, seed: int
) -> None:
    check(*random_graph(n, p, seed))


# ---------------------------------------------------------------------- laws of all


@pytest.mark.laws
@pytest.mark.parametrize("lifting", LIFTINGS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_laws_of_complexes_on_the_zoo(lifting: torch.nn.Module, dtype: torch.dtype) -> None:
    for data in zoo(dtype).values():
        check_untouched(lifting, data)
        lifted = lifting(data)
        assert isinstance(lifted, LiftedComplex)
        assert lifted.validate()
        check_columns(lifted)
        check_boundary(lifted)
        assert lifted.max_rank == getattr(lifting, "max_rank", lifting.domain.default_rank)
        for rank in range(1, lifted.max_rank + 1):
            assert lifted[f"x_{rank}"].dtype == lifted[f"mask_{rank}"].dtype == dtype
            assert bool((lifted[f"mask_{rank}"] == 1).all())
            assert bool((lifted[f"prob_{rank}"] == 1).all())
            assert bool(torch.isfinite(lifted[f"x_{rank}"]).all())


@pytest.mark.laws
@pytest.mark.parametrize("lifting", LIFTINGS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_is_lifted_graph_by_graph(lifting: Any, dtype: torch.dtype) -> None:
    small = [data for name, data in zoo(dtype).items() if name != "batch"]
    rings = [Data(x=data.x.to(dtype), edge_index=data.edge_index) for data in molecules(3)]
    check_batch(lifting, small)
    check_batch(lifting, rings)


@pytest.mark.laws
@pytest.mark.parametrize("lifting", EQUIVARIANT, ids=repr)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_renaming_the_nodes_renames_the_complex(lifting: Any, seed: int) -> None:
    data, _ = random_graph(8, 0.35, seed)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    renamed = order.argsort()
    before = lifting(data)
    after = lifting(Data(x=data.x[order], edge_index=renamed[data.edge_index]))
    for rank in range(1, before.max_rank + 1):
        expected = sorted(sorted(renamed[list(cell)].tolist()) for cell in before.cells(rank))
        assert sorted(map(sorted, after.cells(rank))) == expected


@pytest.mark.laws
def test_features_carry_a_gradient() -> None:
    for lifting in LIFTINGS:
        data = to_data(GRAPHS["two triangles"])
        data.x.requires_grad_()
        lifted = lifting(data)
        sum(lifted[f"x_{rank}"].square().sum() for rank in (0, 1)).backward()
        assert bool(torch.isfinite(data.x.grad).all())
        assert bool((data.x.grad != 0).any())


def test_features_are_sums_over_faces_and_means_over_members() -> None:
    data = to_data(GRAPHS["two triangles"])
    for lifting in (CycleLifting(), CliqueLifting(), SimplicialKHopLifting()):
        cells = lifting(data)
        torch.testing.assert_close(cells.x_1, cells.incidence_1.to_dense().T @ data.x)
        torch.testing.assert_close(cells.x_2, cells.incidence_2.to_dense().T @ cells.x_1)
    for lifting in (KHopLifting(), KNNLifting(), KernelLifting()):
        hyper = lifting(data)
        expected = [data.x[list(members)].mean(0) for members in hyper.cells(1)]
        torch.testing.assert_close(hyper.x_1, torch.stack(expected))


# ---------------------------------------------------------------------- one by one


def test_k_hop_pairs_of_nothing() -> None:
    pairs = khop.k_hop_pairs(torch.empty(2, 0, dtype=torch.long), 0, 2)
    assert pairs.shape == (2, 0)


def test_two_leaves_of_a_star_are_joined_by_its_neighbourhood_only() -> None:
    star = to_data(nx.star_graph(6))
    assert SimplicialKHopLifting()(star).num_cells == (7, 21, 35)
    assert SimplicialKHopLifting(max_neighborhood=6)(star).num_cells == (7, 6, 0)
    assert CliqueLifting()(star).num_cells == (7, 6, 0)


def test_column_of_a_node_holds_its_own_nearest_and_not_those_it_is_near_to() -> None:
    x = torch.tensor([[0.0], [1.0], [10.0]])
    lifted = KNNLifting(k=2)(Data(x=x, edge_index=torch.empty(2, 0, dtype=torch.long)))
    assert lifted.cells(1) == [(0, 1), (0, 1), (1, 2)]
    expected = torch.tensor([[1.0, 1, 0], [1, 1, 1], [0, 0, 1]])  # transposed, rows 1 and 2 differ
    assert torch.equal(lifted.incidence_hyperedges.to_dense(), expected)


def test_equal_and_negative_features_leave_a_node_among_its_own_nearest() -> None:
    # Here sqrt(sum(x_u - x_v ** 2)) is not a number.
    x = torch.tensor([[-1.0], [-1.0], [-1.0], [-1.0], [2.0]])
    data = Data(x=x, edge_index=torch.empty(2, 0, dtype=torch.long))
    assert KNNLifting(k=2)(data).cells(1) == [(0, 1), (0, 1), (0, 2), (0, 3), (0, 4)]
    others = KNNLifting(k=2, include_self=False)(data).cells(1)
    assert others == [(1, 2), (0, 2), (0, 1), (0, 1), (0, 1)]


def test_columns_of_the_features_that_are_not_compared_do_not_count() -> None:
    data = to_data(GRAPHS["disconnected"])
    expected = KNNLifting()(data).cells(1)
    data.x = torch.cat([data.x, 100 * data.x.flip(0)], dim=1)
    assert KNNLifting()(data).cells(1) != expected
    assert KNNLifting(in_channels=3)(data).cells(1) == expected


def test_kernel_values_that_are_tiny_are_told_apart() -> None:
    path = nx.path_graph(24)
    laplacian = mpmath.matrix(nx.normalized_laplacian_matrix(path).toarray().tolist())
    with mpmath.workdps(60):
        exact = mpmath.expm(-laplacian, method="taylor")
        values = np.array(exact.tolist(), dtype=object).reshape(24, 24)
    ordered = sorted(values.flatten(), reverse=True)
    for fraction in (0.6, 0.9, 0.99):
        count = 1 + int(fraction * (24**2 - 1))
        least = ordered[count - 1] * (1 - mpmath.mpf(10) ** -14)
        rows = dict.fromkeys(
            tuple(u for u in range(24) if values[v, u] >= least) for v in range(24)
        )
        assert least < 1e-8
        assert KernelLifting(fraction=fraction)(to_data(path)).cells(1) == list(rows)


def test_kernels_of_many_graphs_are_computed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch.from_data_list(
        [to_data(nx.gnp_random_graph(n, 0.3, seed=n)) for n in (3, 40, 1, 9, 9, 8, 2, 17, 33)]
    )
    lifting = KernelLifting(feature_kernel=gaussian)
    whole = lifting(batch).cells(1)
    for block in (1, 200):
        monkeypatch.setattr(kernel, "_BLOCK", block)
        assert lifting(batch).cells(1) == whole


def test_cells_of_the_cycle_lifting_are_independent() -> None:
    for graph in GRAPHS.values():
        lifted = CycleLifting()(to_data(graph))
        boundary = lifted.incidence(2, signed=True).to_dense()
        rank = lifted.num_cells[2]
        assert torch.linalg.matrix_rank(boundary) == rank if rank else boundary.numel() == 0


@pytest.mark.parametrize("cycles", ["shortest", "fundamental", "minimum", "induced"])
def test_cycles_of_a_graph_are_searched_once(monkeypatch: pytest.MonkeyPatch, cycles: str) -> None:
    """And they are those that would be found beside learned edges."""
    searches, search = [], Cell._search

    def counted(self: Cell, *args: Any) -> Any:
        searches.append(search(self, *args))
        return searches[-1]

    monkeypatch.setattr(Cell, "_search", counted)
    lifted = CycleLifting(cycles)(Batch.from_data_list(molecules(8)))
    (found,) = searches
    vertices, sizes = unite(found, found)
    assert lifted.cells(2) == [tuple(c.tolist()) for c in vertices.split(sizes.tolist())]


def test_liftings_are_transforms_and_name_their_settings() -> None:
    lifted = T.Compose([CycleLifting()])(to_data(GRAPHS["K4"]))
    assert lifted.num_cells == (4, 6, 3)
    assert repr(KHopLifting(k=2)) == "KHopLifting(k=2)"
    assert repr(CliqueLifting()) == "CliqueLifting(max_rank=2)"
    assert "max_neighborhood=5" in repr(SimplicialKHopLifting(max_neighborhood=5))
    assert "k=3, include_self=True" in repr(KNNLifting())
    assert "feature_kernel=gaussian" in repr(KernelLifting(feature_kernel=gaussian))
    assert "simplicial" in repr(NoLifting("simplicial")).lower()
    assert not any(list(lifting.parameters()) for lifting in LIFTINGS)


PAIR = Data(x=torch.zeros(2, 1), edge_index=torch.tensor([[0, 1], [1, 0]]))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: KHopLifting(0), "'k' to be an integer of at least 1"),
        (lambda: NoLifting("graph"), "hypergraph, simplicial, cell, combinatorial"),
        (lambda: NoLifting("hypergraph", max_rank=2), "'max_rank' to be from 1 to 1"),
        (lambda: NoLifting(max_rank=0), "'max_rank' to be an integer of at least 1"),
        (lambda: CycleLifting("longest"), "'cycles' to be one of"),
        (lambda: CliqueLifting(4), "'max_rank' to be from 1 to 3"),
        (lambda: SimplicialKHopLifting(max_rank=1), "'max_rank' to be an integer of at least 2"),
        (lambda: SimplicialKHopLifting(0), "'k' to be an integer"),
        (lambda: SimplicialKHopLifting(max_neighborhood=2), "'max_neighborhood'"),
        (lambda: KNNLifting(0), "'k' to be an integer"),
        (lambda: KNNLifting(include_self=1), "'include_self' to be True or False"),
        (lambda: KNNLifting(in_channels=0), "'in_channels'"),
        (lambda: KNNLifting(in_channels=2)(PAIR), "'x' to have at least in_channels=2 columns"),
        (lambda: KernelLifting(0.0), "'t' to be positive"),
        (lambda: KernelLifting(float("nan")), "'t' to be positive"),
        (lambda: KernelLifting(fraction=0.0), r"'fraction' to be in \(0, 1\]"),
        (lambda: KernelLifting(fraction=1.1), r"'fraction' to be in \(0, 1\]"),
        (lambda: KernelLifting(feature_kernel="rbf"), "'feature_kernel' to be a function"),
        (lambda: KernelLifting(max_nodes=0), "'max_nodes'"),
        (lambda: KernelLifting(max_nodes=1)(PAIR), "at most max_nodes=1 nodes .got 2."),
        (
            lambda: KernelLifting(feature_kernel=lambda x: x)(PAIR),
            r"to return shape \(1, 2, 2\) for features of shape \(1, 2, 1\) \(got \(1, 2, 1\)\)",
        ),
        (lambda: KernelLifting(feature_kernel=lambda x: gaussian(x) / 0)(PAIR), "finite values"),
    ],
)
def test_bad_settings_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
