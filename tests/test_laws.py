"""The nine laws, for every domain, estimator, `rejected` and dtype."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from topomodelx.nn.cell.cwn import CWN
from topomodelx.nn.combinatorial.hmc import HMC
from topomodelx.nn.hypergraph.unigcn import UniGCN
from topomodelx.nn.simplicial.sccn import SCCN
from torch_geometric.data import Batch, Data

from topox_difflift import DOMAINS, ESTIMATORS, DiffLift
from topox_difflift.testing import (
    AcceptAll,
    CommonDraws,
    RejectAll,
    assert_same,
    check_batch,
    check_boundary,
    check_columns,
    check_domain,
    check_equivariance,
    check_estimator,
    check_gradient,
    check_untouched,
    loss_of,
    zoo,
)

# HMC builds and multiplies sparse matrices by routes that PyTorch warns of.
pytestmark = [
    pytest.mark.laws,
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning"),
]

RANKS = [("hypergraph", 1), ("simplicial", 2), ("simplicial", 3), ("cell", 2)]
RANKS += [("combinatorial", 2), ("combinatorial", 3), ("dcm", 2)]
REJECTED = ["keep", "drop"]
DTYPES = [torch.float32, torch.float64]


@pytest.fixture(params=RANKS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def domain(request):
    return request.param


@pytest.fixture(params=list(ESTIMATORS))
def estimator(request):
    return request.param


@pytest.fixture(params=REJECTED)
def rejected(request):
    return request.param


@pytest.fixture(params=DTYPES, ids=["float32", "float64"])
def dtype(request):
    return request.param


def make(domain, estimator, rejected, dtype, **options):
    torch.manual_seed(0)
    name, max_rank = domain
    options = {"in_channels": 3, "hidden_channels": 16, **options}
    lift = DiffLift(name, max_rank=max_rank, estimator=estimator, rejected=rejected, **options)
    return lift.to(dtype)


def quietly(lift, data):
    """Lift a graph whose defects are reported as warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return lift(data)


def ring(n, seed, dtype, chords=()):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, generator=generator, dtype=torch.float64).to(dtype)
    nodes = torch.arange(n)
    arcs = torch.cat(
        [
            torch.stack([nodes, nodes.roll(-1)]),
            torch.tensor(chords, dtype=torch.long).view(-1, 2).t(),
        ],
        dim=1,
    )
    return Data(x=x, edge_index=torch.cat([arcs, arcs.flip(0)], dim=1))


def crowd(dtype):
    """Graphs with candidates of every rank: rings, and a K6 for the simplices."""
    k6 = [(i, j) for i in range(6) for j in range(i + 2, 6) if (i, j) != (0, 5)]
    rings = [ring(9, 0, dtype), ring(12, 1, dtype, [(0, 4), (3, 9)])]
    return [*rings, ring(6, 2, dtype, k6)]


def test_boundary_columns_untouched(domain, estimator, rejected, dtype):
    """Laws 1, 2 and 9 on the zoo, in training and in evaluation."""
    lift = make(domain, estimator, rejected, dtype)
    for training in (True, False):
        lift.train(training)
        for data in zoo(dtype).values():
            lifted = quietly(lift, data)
            check_boundary(lifted)
            check_columns(lifted)
            if not training or rejected == "drop":
                assert lifted.accepted() is lifted
            quietly(lambda graph: check_untouched(lift, graph), data)


def test_batch(domain, estimator, rejected, dtype):
    """Law 3, in evaluation with the estimator itself, in training with common draws."""
    singles = [data for data in zoo(dtype).values() if not isinstance(data, Batch)]
    evaluated = make(domain, estimator, rejected, dtype).eval()
    trained = make(domain, CommonDraws(), rejected, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        check_batch(evaluated, singles + crowd(dtype))
        if dtype == torch.float64:  # draws are made of digits that float32 does not hold
            check_batch(trained, singles + crowd(dtype))


def test_equivariance(domain, estimator, rejected, dtype):
    """Law 4, in evaluation with the estimator itself, in training with common draws."""
    for seed, data in enumerate([*crowd(dtype), zoo(dtype)["disconnected"]]):
        check_equivariance(make(domain, estimator, rejected, dtype).eval(), data, seed)
        if dtype == torch.float64:
            check_equivariance(make(domain, CommonDraws(), rejected, dtype), data, seed)
            check_equivariance(make(domain, AcceptAll(), rejected, dtype), data, seed)


def test_gradient(domain, estimator, rejected, dtype):
    """Law 5: every parameter, that of the sizes included."""
    check_gradient(make(domain, estimator, rejected, dtype), Batch.from_data_list(crowd(dtype)))


@pytest.mark.parametrize("encoder", ["gin", "gps"])
def test_gradient_of_encoders(domain, encoder):
    lift = make(domain, "straight_through", "keep", torch.float64, encoder=encoder)
    check_gradient(lift, Batch.from_data_list(crowd(torch.float64)))


def test_straight_through(domain, rejected, dtype):
    """Law 6: dL/dp equals dL/db, for kept rejected cells too."""
    lift = make(domain, "straight_through", rejected, dtype)
    lifted = lift(Batch.from_data_list(crowd(dtype)))
    ranks = range(1, lifted.max_rank + 1)
    tensors = [lifted[f"{name}_{r}"] for r in ranks for name in ("mask", "prob")]
    for tensor in tensors:
        tensor.retain_grad()
    loss_of(lifted).backward()
    for mask, prob in zip(tensors[::2], tensors[1::2], strict=True):
        learned = prob.detach() < 1
        assert learned.any()
        assert mask.grad[learned].any()
        torch.testing.assert_close(prob.grad[learned], mask.grad[learned])


def test_kept_cells_change_nothing(domain, dtype):
    """Law 6: the forward pass with kept rejected cells is that of the accepted complex."""
    lift = make(domain, "straight_through", "keep", dtype)
    kept = lift(Batch.from_data_list(crowd(dtype)))
    accepted = kept.accepted()
    assert kept.num_cells > accepted.num_cells
    for r in range(1, kept.max_rank + 1):
        alive = kept[f"mask_{r}"].detach() > 0
        torch.testing.assert_close(kept[f"x_{r}"][alive], accepted[f"x_{r}"])
        assert not kept[f"x_{r}"][~alive].any()
        for name in ("up_laplacian", "down_laplacian", "adjacency", "coadjacency"):
            whole = kept[f"{name}_{r}"].detach().to_dense()
            torch.testing.assert_close(
                whole[alive][:, alive], accepted[f"{name}_{r}"].detach().to_dense()
            )
            assert not whole[~alive].any()


@pytest.mark.parametrize("estimator", list(ESTIMATORS))
def test_keeping_draws_nothing_extra(estimator, dtype):
    """The same seed accepts the same hyperedges whether rejected ones are kept or not."""
    first, second = (
        make(("hypergraph", 1), estimator, rejected, dtype, generator=generator)
        for rejected, generator in zip(
            REJECTED, (torch.Generator().manual_seed(5) for _ in REJECTED), strict=True
        )
    )
    batch = Batch.from_data_list(crowd(dtype))
    assert_same(first(batch).accepted(), second(batch))


def tnn(domain, dtype):
    """Make a TopoModelX network and a function that feeds a complex to it."""
    torch.manual_seed(1)
    domain = DOMAINS[domain].topology
    if domain == "hypergraph":
        net = UniGCN(3, 4).to(dtype)
        return lambda c: net(c.x_0, c.incidence_1)[0]
    if domain == "cell":
        net = CWN(3, 3, 3, 4, 2).to(dtype)
        return lambda c: torch.cat(
            net(c.x_0, c.x_1, c.x_2, c.adjacency_1, c.incidence_2, c.incidence_1.T)
        )
    if domain == "simplicial":
        net = SCCN(3, 2).to(dtype)

        def run(c):
            features = {f"rank_{r}": c[f"x_{r}"] for r in range(3)}
            incidences = {f"rank_{r}": c.incidence(r, signed=True) for r in (1, 2)}
            same = {f"rank_{r}": c.hodge_laplacian(r) for r in range(3)}
            return torch.cat(list(net(features, incidences, same).values()))

        return run
    net = HMC([[[3, 3, 3], [4, 4, 4], [4, 4, 4]]])
    return lambda c: torch.cat(
        net(
            *(c[f"x_{r}"].float() for r in range(3)),
            *(m.float() for m in (c.adjacency_0, c.adjacency_1, c.coadjacency_2)),
            *(m.float() for m in (c.incidence_1, c.incidence_2)),
        )
    )


@pytest.mark.parametrize("name", list(DOMAINS))
@pytest.mark.parametrize("rejected", REJECTED)
def test_it_matters(name, rejected):
    """Law 7: all ones, and all zeros, change what the TNN says of the nodes and edges."""
    dtype = torch.float32
    data = Batch.from_data_list(crowd(dtype))
    net = tnn(name, dtype)
    n = len(data.x)
    outputs = []
    for choice in ("straight_through", AcceptAll(), RejectAll()):
        lift = make((name, None), choice, rejected, dtype)
        lift.generator = torch.Generator().manual_seed(0)
        # Rank 0 is the same in all; for a CWN the cells act on the edges, pooled here.
        out = net(lift(data).accepted())
        outputs.append(torch.cat([out[:n].sum(0), out.sum(0)]))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(outputs[i], outputs[j])


@pytest.mark.parametrize("name", list(DOMAINS))
@pytest.mark.parametrize("rejected", REJECTED)
@pytest.mark.parametrize("graph", ["one node", "no edge"])
def test_nothing_is_fabricated(name, rejected, graph):
    """Law 8: no cell, matrices with zero columns, and the TNN still runs, backward too."""
    data = zoo()[graph]
    lift = make((name, None), RejectAll(), rejected, torch.float32)
    if lift.domain.decides(1):  # pairs of nodes are edges, whatever the estimator says
        data = zoo()["one node"]
    lifted = lift(data)
    accepted = lifted.accepted()
    assert accepted.num_cells == (len(data.x),) + (0,) * accepted.max_rank
    for r in range(1, accepted.max_rank + 1):
        assert accepted.incidence(r).shape == (accepted.num_cells[r - 1], 0)
    for complex_ in (accepted, lifted):
        out = tnn(name, torch.float32)(complex_)
        assert out.isfinite().all()
        out.sum().backward(retain_graph=True)


@pytest.mark.parametrize("name", list(DOMAINS))
def test_registered_domains(name):
    """The laws as third parties run them."""
    check_domain(name)


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_registered_estimators(name):
    check_estimator(ESTIMATORS[name]())


@st.composite
def graphs(draw):
    n = draw(st.integers(1, 12))
    pairs = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] != p[1])
    chosen = draw(st.sets(pairs.map(lambda p: (min(p), max(p))), max_size=20)) if n > 1 else set()
    arcs = [arc for u, v in sorted(chosen) for arc in ((u, v), (v, u))]
    seed = draw(st.integers(0, 2**31))
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if draw(st.booleans()):
        x = x[torch.randint(0, n, (n,), generator=torch.Generator().manual_seed(seed))]
    return Data(x=x, edge_index=torch.tensor(arcs, dtype=torch.long).view(-1, 2).t().contiguous())


@settings(max_examples=25, deadline=None)
@given(st.lists(graphs(), min_size=1, max_size=4), st.sampled_from(REJECTED))
@pytest.mark.parametrize("pair", RANKS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_laws_on_random_graphs(pair, data, rejected):
    lift = make(pair, "straight_through", rejected, torch.float64)
    lifted = lift(Batch.from_data_list(data))
    check_boundary(lifted)
    check_columns(lifted)
    check_batch(make(pair, CommonDraws(), rejected, torch.float64), data)
    check_batch(make(pair, "straight_through", rejected, torch.float64).eval(), data)
