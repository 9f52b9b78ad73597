"""Readouts against loops over cells, and the laws of gates, batches and empty ranks."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_complexes import DOMAINS, random_complex, signed_faces
from torch import tanh
from torch.nn.functional import silu

from topox_difflift import DiffLift
from topox_difflift.liftings import LIFTINGS
from topox_difflift.nn.hasse import default_neighborhoods
from topox_difflift.nn.readouts import Pool, PropagateDown, pool_cells
from topox_difflift.nn.topotune import GCCN
from topox_difflift.testing import RejectAll, zoo

SEEDS = st.integers(0, 10**6)
REDUCTIONS = ["mean", "sum", "max"]


def contents(lifted, seed=0):
    """Random features of all cells, of a width that tells the ranks, before any gate."""
    torch.manual_seed(seed)
    return [torch.randn(n, r + 2).to(lifted.x_0) for r, n in enumerate(lifted.num_cells)]


def features(lifted, content=None):
    """Features as a network returns them: exactly 0 for rejected cells."""
    content = content or contents(lifted)
    return {r: h * lifted[f"mask_{r}"].unsqueeze(-1) for r, h in enumerate(content)}


def accepted_rows(lifted, found):
    return {r: h[lifted[f"mask_{r}"] != 0] for r, h in found.items()}


def rows_of_graph(lifted, found, graph):
    return {r: h[lifted[f"batch_{r}"] == graph] for r, h in found.items()}


def widths(found, ranks=None):
    return {r: h.size(1) for r, h in found.items() if ranks is None or r in ranks}


def propagation(channels):
    torch.manual_seed(1)
    model = PropagateDown(channels, 5).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def pooled_by_loop(lifted, rank, h, reduce):
    rows = [[] for _ in range(lifted.num_graphs)]
    for cell, graph in enumerate(lifted[f"batch_{rank}"].tolist()):
        if lifted[f"mask_{rank}"][cell] != 0:
            rows[graph].append(h[cell])
    reduction = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax}[reduce]
    empty = torch.zeros_like(h[:0].sum(0))
    return torch.stack([reduction(torch.stack(r), 0) if r else empty for r in rows])


@pytest.mark.laws
@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("domain", DOMAINS)
@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_pool_equals_a_loop_over_accepted_cells(domain, reduce, seed):
    lifted = random_complex(domain, seed, n_graphs=3, dtype=torch.float64)
    found = features(lifted)
    for rank, h in found.items():
        expected = pooled_by_loop(lifted, rank, h, reduce)
        torch.testing.assert_close(pool_cells(lifted, rank, h, reduce), expected)
    whole = Pool(widths(found), reduce, None)
    expected = [pooled_by_loop(lifted, r, h, reduce) for r, h in found.items()]
    assert whole.out_channels == sum(h.size(1) for h in expected)
    torch.testing.assert_close(whole(lifted, found), torch.cat(expected, dim=1))


def within_graph_by_loop(lifted, rank):
    """Whether each cell has no edge below it but given ones, whose probability is 1."""
    own = (lifted["prob_1"] == 1).tolist()
    for r in range(2, rank + 1):
        below = [[] for _ in range(lifted.num_cells[r])]
        for face, cell in lifted[f"faces_{r}"].t().tolist():
            below[cell].append(own[face])
        own = [all(faces) for faces in below]
    return torch.tensor(own, dtype=torch.bool)


@pytest.mark.laws
@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("domain", DOMAINS)
@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_cells_of_the_graph_and_learned_ones_are_pooled_apart(domain, reduce, seed):
    lifted = random_complex(domain, seed, n_graphs=3, dtype=torch.float64)
    found = features(lifted)
    expected = [pooled_by_loop(lifted, 0, found[0], reduce)]
    for rank in range(1, lifted.max_rank + 1):
        own = within_graph_by_loop(lifted, rank)
        for part in (own, ~own):
            some = copy.copy(lifted)
            some[f"mask_{rank}"] = lifted[f"mask_{rank}"] * part
            expected.append(pooled_by_loop(some, rank, found[rank], reduce))
    pool = Pool(widths(found), reduce, None, apart=True)
    pooled = pool(lifted, found)
    assert pool.out_channels == pooled.size(1)
    torch.testing.assert_close(pooled, torch.cat(expected, dim=1))


@pytest.mark.laws
@pytest.mark.parametrize("lifting", ["cycle", "clique", "khop"])
def test_of_a_static_lifting_of_edges_nothing_is_learned(lifting):
    lifted = LIFTINGS[lifting]()(zoo()["batch"])
    found = features(lifted)
    apart = Pool(widths(found), apart=True)(lifted, found)
    parts = apart.split([2] + [r + 2 for r in found if r for _ in range(2)], dim=1)
    torch.testing.assert_close(torch.cat([parts[0], *parts[1::2]], 1), Pool()(lifted, found))
    assert not torch.cat(parts[2::2], 1).any()


def downward_by_loop(model, lifted, found):
    """Face by face on the accepted complex, from the vertices of the cells."""
    g = None
    for rank in range(model.max_rank, -1, -1):
        rows = []
        above = [] if g is None else lifted.cells(rank + 1)
        for i in range(lifted.num_cells[rank]):
            row = torch.zeros(model.out_channels, dtype=lifted.x_0.dtype)
            if rank and rank in model.channels:
                row = row + model.own[str(rank)].weight @ found[rank][i]
            for j, cell in enumerate(above):
                lower = lifted.cells(rank)
                if i in [f for f, _ in signed_faces(lifted.domain, rank + 1, cell, lower)]:
                    sent = torch.cat([silu(g[j]), torch.ones_like(row[:1])])
                    row = row + model.down[str(rank + 1)].weight @ sent
            rows.append(row)
        g = torch.stack(rows) if rows else torch.zeros(0, model.out_channels).to(lifted.x_0)
    parts = [("handed", g)] if model.max_rank else []
    parts += [("own", found[0] @ model.own["0"].weight.t())] if 0 in model.channels else []
    return sum(model.norms[name].norm(part + model.norms[name].bias) for name, part in parts)


@pytest.mark.laws
@pytest.mark.parametrize("ranks", [{0, 1, 2, 3}, {1}, {0, 2}, {0}])
@pytest.mark.parametrize("domain", DOMAINS)
@given(seed=SEEDS)
@settings(max_examples=6, deadline=None)
def test_propagation_equals_a_loop_over_accepted_cells(domain, ranks, seed):
    lifted = random_complex(domain, seed, n_graphs=2, max_nodes=5, dtype=torch.float64)
    found = features(lifted)
    model = propagation(widths(found, ranks))
    expected = downward_by_loop(model, lifted.accepted(), accepted_rows(lifted, found))
    torch.testing.assert_close(model(lifted, found), expected)


@pytest.mark.laws
@pytest.mark.parametrize("domain", DOMAINS)
@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_rejected_cells_are_absent_and_graphs_are_apart(domain, seed):
    lifted = random_complex(domain, seed, n_graphs=3, dtype=torch.float64)
    found = features(lifted)
    alone = accepted_rows(lifted, found)
    singles = lifted.unbatch()
    for model in (*(Pool(widths(found), name) for name in REDUCTIONS), propagation(widths(found))):
        whole = model(lifted, found)
        torch.testing.assert_close(whole, model(lifted.accepted(), alone))
        apart = [model(single, rows_of_graph(lifted, found, g)) for g, single in enumerate(singles)]
        torch.testing.assert_close(whole, torch.cat(apart))


def with_masks(lifted, masks):
    out = copy.copy(lifted)
    for rank, mask in enumerate(masks, start=1):
        out[f"mask_{rank}"] = mask
    return out


@pytest.mark.laws
@pytest.mark.parametrize("domain", DOMAINS)
def test_gradient_to_gates_is_right(domain):
    lifted = random_complex(domain, 3, n_graphs=2, max_nodes=5, dtype=torch.float64)
    ranks = range(1, lifted.max_rank + 1)
    masks = [lifted[f"mask_{r}"].clone().requires_grad_() for r in ranks]
    content = contents(lifted)
    channels = {r: h.size(1) for r, h in enumerate(content)}
    for model in (Pool(channels, "sum"), Pool(channels, "sum", apart=True), propagation(channels)):

        def read(*gates, model=model):
            gated = with_masks(lifted, gates)
            return model(gated, features(gated, content))

        assert torch.autograd.gradcheck(read, masks)


@pytest.mark.laws
@pytest.mark.parametrize("graph_has_cells", [True, False])
def test_mean_has_a_gradient_through_its_count(graph_has_cells):
    lifted = DiffLift("hypergraph", in_channels=3, estimator=RejectAll())(zoo()["path"])
    mask = torch.zeros_like(lifted["mask_1"])
    mask[0] = float(graph_has_cells)
    lifted["mask_1"] = mask.requires_grad_()
    content = torch.arange(1.0, len(mask) + 1).unsqueeze(-1)
    pool_cells(lifted, 1, content * lifted["mask_1"].unsqueeze(-1)).sum().backward()
    # With one accepted cell, another one moves the mean from its content; it is the first one then.
    expected = content.squeeze(-1) - (1.0 if graph_has_cells else 0.0)
    torch.testing.assert_close(mask.grad, expected)


@pytest.mark.laws
@pytest.mark.parametrize("domain", DOMAINS)
def test_gate_of_a_rejected_cell_knows_its_content(domain):
    lifted = random_complex(domain, 11, n_graphs=4, dtype=torch.float64, reject=0.6)
    ranks = range(1, lifted.max_rank + 1)
    slopes = []
    for seed in (0, 1):
        masks = [lifted[f"mask_{r}"].clone().requires_grad_() for r in ranks]
        gated = with_masks(lifted, masks)
        # The nodes' own features stay, so that cells alone make the difference.
        content = [contents(lifted)[0], *contents(lifted, seed)[1:]]
        found = features(gated, content)
        propagation(widths(found))(gated, found)[:, 0].sum().backward()
        slopes.append([mask.grad for mask in masks])
    compared = 0
    for rank, first, second in zip(ranks, *slopes, strict=True):
        faces = lifted[f"faces_{rank}"][:, lifted[f"membership_{rank}"] != 0]
        alive = lifted[f"mask_{rank - 1}"] != 0
        reached = torch.zeros_like(first, dtype=torch.bool)
        reached[faces[1][alive[faces[0]]]] = True
        rejected = (lifted[f"mask_{rank}"] == 0) & reached
        assert first.isfinite().all()
        assert (first[rejected] != second[rejected]).all()
        compared += int(rejected.sum())
    assert compared


def test_no_gate_passes_through_a_maximum():
    lifted = random_complex("cell", 11, n_graphs=4, leaf=True, reject=0.6)
    # Below every accepted feature: a maximum over all rows would find the zeros instead.
    h = -1 - torch.rand(lifted.num_cells[1], 2)
    h = torch.where(lifted.mask_1.detach().unsqueeze(-1) != 0, h, 0.0).requires_grad_()
    pooled = pool_cells(lifted, 1, h, "max")
    assert (pooled < 0).any()
    pooled.sum().backward()
    assert lifted.mask_1.grad is None
    assert (h.grad[lifted.mask_1 == 0] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("graph", ["path", "no edge", "one node", "batch"])
@pytest.mark.parametrize("domain", DOMAINS)
def test_runs_without_any_learned_cell(domain, graph, dtype):
    lift = DiffLift(domain, in_channels=3, estimator=RejectAll()).to(dtype)
    lifted = lift(zoo(dtype)[graph])
    for complex_ in (lifted, lifted.accepted()):
        found = features(complex_)
        models = [Pool(widths(found), name) for name in REDUCTIONS]
        models.append(Pool(widths(found), apart=True))
        for model in (*models, PropagateDown(widths(found), 5).to(dtype)):
            out = model(complex_, found)
            rows = complex_.num_graphs if isinstance(model, Pool) else complex_.num_cells[0]
            assert out.shape == (rows, model.out_channels)
            assert out.dtype == dtype
            assert out.isfinite().all()


@pytest.mark.laws
@pytest.mark.parametrize("domain", DOMAINS)
def test_a_lifting_trains_through_the_nodes_alone(domain):
    torch.manual_seed(0)
    lift = DiffLift(domain, in_channels=3, hidden_channels=8)
    lifted = lift(zoo()["batch"])
    tnn = GCCN(3, 8, neighborhoods=default_neighborhoods(lifted.max_rank))
    down = PropagateDown(dict.fromkeys(range(lifted.max_rank + 1), 8), 8)
    nodes = down(lifted, tnn(lifted))
    pooled = pool_cells(lifted, 0, nodes)
    (pooled * torch.randn_like(pooled)).sum().backward()
    for module in (lift, tnn, down):
        for name, parameter in module.named_parameters():
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


def test_state_copy_and_pickle_round_trip():
    lifted = random_complex("cell", 5, n_graphs=2, dtype=torch.float64)
    found = features(lifted)
    first, second = propagation(widths(found)), PropagateDown(widths(found), 5).double()
    assert not torch.equal(second(lifted, found), first(lifted, found))
    second.load_state_dict(first.state_dict())
    for model in (second, copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert torch.equal(model(lifted, found), first(lifted, found))
    pool = Pool(widths(found), "max")
    again = pickle.loads(pickle.dumps(pool))
    assert torch.equal(again(lifted, found), pool(lifted, found))


def test_activation_comes_before_the_pool():
    lifted = random_complex("cell", 5, n_graphs=2)
    found = features(lifted)
    for options, activation in (({}, silu), ({"activation": tanh}, tanh)):
        expected = [pool_cells(lifted, r, activation(h)) for r, h in found.items()]
        pooled = Pool(widths(found), **options)(lifted, found)
        torch.testing.assert_close(pooled, torch.cat(expected, dim=1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pool({}), "'channels' to map at least one rank"),
        (lambda: Pool([3, 3]), "'channels' to map at least one rank"),
        (lambda: Pool({-1: 3}), "'channels' to be an integer of at least 0, its keys"),
        (lambda: Pool({0: 0}), r"'channels\[0\]' to be an integer of at least 1"),
        (lambda: Pool({0: 3}, "median"), "'reduce' to be one of mean, sum, max"),
        (lambda: Pool({0: 3}, activation=torch.sigmoid), "'activation' to keep 0 at 0"),
        (lambda: Pool({0: 3}, apart=1), "'apart' to be True or False"),
        (lambda: PropagateDown({}, 3), "'channels'"),
        (lambda: PropagateDown({0: 3}, 0), "'out_channels'"),
    ],
)
def test_impossible_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", [Pool, lambda channels: PropagateDown(channels, 4)])
def test_impossible_features_are_refused(make):
    lifted = random_complex("cell", 5)
    found = features(lifted)
    with pytest.raises(ValueError, match="'features' to have rank 2"):
        make({2: 3})(lifted, {0: found[0]})
    with pytest.raises(ValueError, match="rank 0 to have 3 channels"):
        make({0: 3})(lifted, found)
    with pytest.raises(ValueError, match="one row for each of its"):
        make({0: 2})(lifted, {0: found[0][1:]})
    with pytest.raises(ValueError, match="have rank 3, which this readout reads"):
        make({3: 4})(lifted, {3: found[2]})
