"""GCCN against dense brute force, and the laws of gates, batches and permutations."""

import copy
import itertools
import pickle
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_complexes import DOMAINS, random_complex, signed_faces
from torch.nn.functional import layer_norm, leaky_relu, silu
from torch_geometric.nn import GCN, GIN, GraphConv, SAGEConv

from topox_difflift import DiffLift
from topox_difflift.complex import LiftedComplex
from topox_difflift.nn.hasse import Neighborhood, default_neighborhoods
from topox_difflift.nn.topotune import GCCN, GNNS
from topox_difflift.sparse import sort_pairs
from topox_difflift.testing import RejectAll, zoo

SEEDS = st.integers(0, 10**6)
WEIGHTED = ["gcn", "graph", "gin", "sage"]
CUSTOM = {
    "stack of GCN": lambda c: GCN(c, c, num_layers=2),
    "stack of GIN, which ignores weights": lambda c: GIN(c, c, num_layers=2),
    "weighted mean over counts": lambda c: GraphConv(c, c, aggr="mean"),
    "weighted maximum": lambda c: GraphConv(c, c, aggr="max"),
    "maximum": lambda c: SAGEConv(c, c, aggr="max"),
}


def every_neighborhood(max_rank):
    """All names up to a rank."""
    kinds = itertools.product(("up", "down"), ("adjacency", "incidence"), range(max_rank + 1))
    names = []
    for (direction, relation, rank), hops in itertools.product(kinds, range(1, max_rank + 1)):
        end = rank + hops if direction == "up" else rank - hops
        if 0 <= end <= max_rank:
            names.append(f"{hops}-{direction}_{relation}-{rank}")
    names += [f"up_laplacian-{r}" for r in range(max_rank)]
    names += [f"{d}_laplacian-{r}" for d in ("down", "hodge") for r in range(1, max_rank + 1)]
    return names


def network(lifted, gnn="gcn", neighborhoods=None, **options):
    """A network of the dtype and the widths of a complex, with random biases."""
    names = neighborhoods or every_neighborhood(lifted.max_rank)
    top = max(max(n.rank, n.target) for n in map(Neighborhood.parse, names))
    widths = [lifted[f"x_{r}"].size(1) for r in range(top + 1)]
    torch.manual_seed(0)
    model = GCCN(widths, 5, neighborhoods=names, gnn=gnn, **options).to(lifted.x_0.dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def with_masks(lifted, masks):
    out = copy.copy(lifted)
    for rank, mask in enumerate(masks, start=1):
        out[f"mask_{rank}"] = mask
    return out


def boundaries(lifted):
    """Dense signed boundaries, from the vertices of the cells."""
    out = [None]
    for r in range(1, lifted.max_rank + 1):
        lower, cells = lifted.cells(r - 1), lifted.cells(r)
        matrix = torch.zeros(len(lower), len(cells), dtype=lifted.x_0.dtype)
        for j, cell in enumerate(cells):
            for i, sign in signed_faces(lifted.domain, r, cell, lower):
                matrix[i, j] = sign
        out.append(matrix)
    return out


def dense_neighborhood(name, b):
    """Matrix (receivers, senders) by its definition."""
    *hops, kind, rank = name.split("-")
    hops, rank = int(hops[0]) if hops else 1, int(rank)
    direction, relation = kind.split("_")
    if relation == "laplacian":
        n = len(b[rank].T) if rank else len(b[1])
        matrix = torch.zeros(n, n, dtype=b[1].dtype)
        if direction != "down" and rank + 1 < len(b):
            matrix += b[rank + 1] @ b[rank + 1].T
        if direction != "up":
            matrix += b[rank].T @ b[rank]
        return matrix.abs().fill_diagonal_(0)
    first = rank + 1 if direction == "up" else rank - hops + 1
    contained = b[first].abs()
    for r in range(first + 1, first + hops):
        contained = contained @ b[r].abs()
    contained = (contained > 0).to(contained.dtype)
    if relation == "incidence":
        return contained.T if direction == "up" else contained
    through = contained @ contained.T if direction == "up" else contained.T @ contained
    return through.fill_diagonal_(0)


def dense_gnn(kind, gnn, a, x):
    """One graph network on a dense matrix (receivers, senders)."""
    eye = torch.eye(len(a), dtype=a.dtype)
    if kind == "gcn":
        scale = (1 + a.sum(1)).rsqrt().diag()
        return scale @ (a + eye) @ scale @ gnn.lin(x) + gnn.bias
    if kind == "graph":
        return gnn.lin_rel(a @ x) + gnn.lin_root(x)
    if kind == "gin":
        return gnn.mlp(x + a @ x)
    if kind == "sage":
        degree = a.sum(1, keepdim=True)
        return gnn.root(x) + gnn.neighbors(a @ x / torch.where(degree == 0, 1, degree))
    z = gnn.lin(x)
    score = leaky_relu((z @ gnn.att_dst[0].T) + (z @ gnn.att_src[0].T).T, 0.2)
    score = torch.where(a + eye != 0, score, -torch.inf)
    return score.softmax(1) @ z + gnn.bias


def brute_force(model, kind, lifted):
    b = boundaries(lifted)
    h = [project(lifted[f"x_{r}"]) for r, project in enumerate(model.project)]
    for layer in model.layers:
        arrived = [torch.zeros_like(features) for features in h]
        received = set()
        for name, gnn in layer.gnns.items():
            n = Neighborhood.parse(name)
            a, x = dense_neighborhood(name, b), h[n.target]
            if n.target != n.rank:
                x = torch.cat([x, h[n.rank]])
                a = torch.cat([torch.zeros(len(a), len(a), dtype=a.dtype), a], dim=1)
                a = torch.cat([a, torch.zeros(len(x) - len(a), len(x), dtype=a.dtype)])
            arrived[n.target] = arrived[n.target] + dense_gnn(kind, gnn, a, x)[: len(h[n.target])]
            received.add(n.target)
        for r in received:
            norm = layer.norms[str(r)]
            normed = layer_norm(arrived[r], (5,), norm.weight, norm.bias)
            h[r] = h[r] + silu(normed)
    return dict(enumerate(h))


@pytest.mark.laws
@pytest.mark.parametrize("gnn", GNNS)
@pytest.mark.parametrize("domain", DOMAINS)
@given(seed=SEEDS)
@settings(max_examples=8, deadline=None)
def test_equals_dense_brute_force_on_accepted_cells(domain, gnn, seed):
    lifted = random_complex(domain, seed, dtype=torch.float64)
    model = network(lifted, gnn)
    found = model(lifted)
    expected = brute_force(model, gnn, lifted.accepted())
    assert list(found) == list(range(lifted.max_rank + 1))
    for rank, h in found.items():
        kept = lifted[f"mask_{rank}"] != 0
        torch.testing.assert_close(h[kept], expected[rank])
        assert (h[~kept] == 0).all()


@pytest.mark.laws
@pytest.mark.parametrize("gnn", [*GNNS, *CUSTOM])
@pytest.mark.parametrize("domain", DOMAINS)
@given(seed=SEEDS)
@settings(max_examples=8, deadline=None)
def test_rejected_cells_are_absent(domain, gnn, seed):
    lifted = random_complex(domain, seed, n_graphs=2, dtype=torch.float64)
    model = network(lifted, CUSTOM.get(gnn, gnn))
    kept, alone = model(lifted), model(lifted.accepted())
    for rank, h in kept.items():
        mask = lifted[f"mask_{rank}"] != 0
        torch.testing.assert_close(h[mask], alone[rank])
        assert (h[~mask] == 0).all()


@pytest.mark.laws
@pytest.mark.parametrize("gnn", GNNS)
@pytest.mark.parametrize("domain", DOMAINS)
@given(seed=SEEDS)
@settings(max_examples=4, deadline=None)
def test_no_batch_effect(domain, gnn, seed):
    lifted = random_complex(domain, seed, n_graphs=3, dtype=torch.float64)
    model = network(lifted, gnn)
    whole, singles = model(lifted), [model(single) for single in lifted.unbatch()]
    for rank, h in whole.items():
        torch.testing.assert_close(h, torch.cat([single[rank] for single in singles]))


def permuted(lifted, seed):
    """The same complex with its cells in another order."""
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(n, generator=generator) for n in lifted.num_cells]
    places = [order.argsort() for order in orders]
    ranks = []
    for r in range(1, lifted.max_rank + 1):
        rank, order = lifted._rank(r), orders[r]
        pairs = torch.stack([places[r - 1][rank.faces[0]], places[r][rank.faces[1]]])
        faces, entries = sort_pairs(pairs, lifted.num_cells[r])
        cells = rank.vertices.split(rank.sizes.tolist())
        ranks.append(
            replace(
                rank,
                vertices=torch.cat([places[0][cells[j]] for j in order.tolist()] or [order]),
                sizes=rank.sizes[order],
                mask=rank.mask[order],
                prob=rank.prob[order],
                faces=faces,
                orientation=rank.orientation[entries],
                membership=rank.membership[entries],
                x=rank.x[order],
            )
        )
    x_0 = lifted.x_0[orders[0]]
    return LiftedComplex.from_ranks(None, x_0, lifted.batch_0, ranks, lifted.domain), orders


@pytest.mark.laws
@pytest.mark.parametrize("gnn", GNNS)
@pytest.mark.parametrize("domain", DOMAINS)
@given(seed=SEEDS)
@settings(max_examples=4, deadline=None)
def test_permutation_equivariance(domain, gnn, seed):
    lifted = random_complex(domain, seed, dtype=torch.float64)
    model = network(lifted, gnn)
    other, orders = permuted(lifted, seed)
    found, expected = model(other), model(lifted)
    for rank, order in enumerate(orders):
        torch.testing.assert_close(found[rank], expected[rank][order])


@pytest.mark.laws
@pytest.mark.parametrize("gnn", ["gcn", "graph", "gin"])
@pytest.mark.parametrize("domain", DOMAINS)
def test_gradient_to_gates_is_right(domain, gnn):
    lifted = random_complex(domain, 3, dtype=torch.float64, max_nodes=5)
    # The unsigned Laplacian has a kink where a gate is 0.
    smooth = [n for n in every_neighborhood(lifted.max_rank) if "laplacian" not in n]
    model = network(lifted, gnn, smooth, n_layers=1)
    masks = [lifted[f"mask_{r}"].clone().requires_grad_() for r in range(1, lifted.max_rank + 1)]
    masks = [mask for mask in masks if len(mask)]
    assert masks
    assert torch.autograd.gradcheck(
        lambda *gates: tuple(model(with_masks(lifted, gates)).values()), masks
    )


@pytest.mark.laws
@pytest.mark.parametrize("gnn", [*GNNS, *CUSTOM])
@pytest.mark.parametrize("domain", DOMAINS)
def test_gradient_reaches_every_gate(domain, gnn):
    lifted = random_complex(domain, 11, n_graphs=4, reject=0.6, leaf=True)
    model = network(lifted, CUSTOM.get(gnn, gnn), default_neighborhoods(lifted.max_rank))
    sum((h * torch.randn_like(h)).sum() for h in model(lifted).values()).backward()
    rejected = 0
    for rank in range(1, lifted.max_rank + 1):
        mask = lifted[f"mask_{rank}"]
        rejected += int((mask == 0).sum())
        assert torch.isfinite(mask.grad).all()
        assert (mask.grad != 0).all(), f"rank {rank}"
    assert rejected
    if gnn in WEIGHTED:
        membership = lifted["membership_1"].grad
        assert torch.isfinite(membership).all()
        assert membership.any()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.laws
@pytest.mark.parametrize("gnn", GNNS)
def test_gate_of_a_rejected_cell_knows_its_content(gnn):
    # Every hyperedge is rejected: none can speak of its content through another one.
    data = zoo(torch.float64)["no edge"]
    lift = DiffLift("hypergraph", in_channels=3, estimator=RejectAll(), k_max=3).double()
    lifted = lift(data)
    assert not lifted["mask_1"].any()
    lifted["mask_1"] = lifted["mask_1"].detach().requires_grad_()
    lifted["x_1"] = torch.zeros_like(lifted["x_1"])
    h = network(lifted, gnn, default_neighborhoods(1))(lifted)[1]
    h.sum(0)[0].backward()
    assert lifted["mask_1"].grad.std() > 1e-3


@pytest.mark.laws
@pytest.mark.parametrize("gnn", [*GNNS, *CUSTOM])
def test_nodes_alone_give_gates_a_gradient(gnn):
    lifted = random_complex("hypergraph", 11, n_graphs=4, reject=0.4, leaf=True)
    h = network(lifted, CUSTOM.get(gnn, gnn), default_neighborhoods(1))(lifted)[0]
    (h * torch.randn_like(h)).sum().backward()
    members = lifted["faces_1"][1, lifted["membership_1"] != 0]
    reached = torch.bincount(members, minlength=lifted.num_cells[1]) > 0
    rejected = lifted.mask_1 == 0
    slope = lifted.mask_1.grad != 0
    assert (rejected & reached).any()
    assert slope[reached & ~rejected].any()
    if gnn in WEIGHTED:
        assert slope[reached & rejected].all()


@pytest.mark.laws
@pytest.mark.parametrize("domain", DOMAINS)
def test_a_lifting_trains_through_it(domain):
    torch.manual_seed(0)
    lift = DiffLift(domain, in_channels=3, hidden_channels=8)
    lifted = lift(zoo()["batch"])
    model = GCCN(3, 8, neighborhoods=default_neighborhoods(lifted.max_rank), gnn="gin")
    sum((h * torch.randn_like(h)).sum() for h in model(lifted).values()).backward()
    for name, parameter in [*lift.named_parameters(), *model.named_parameters()]:
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("gnn", [*GNNS, *CUSTOM])
@pytest.mark.parametrize("graph", ["path", "no edge", "one node", "K4", "batch"])
@pytest.mark.parametrize("domain", DOMAINS)
def test_runs_without_any_learned_cell(domain, graph, gnn):
    lift = DiffLift(domain, in_channels=3, estimator=RejectAll())
    lifted = lift(zoo()[graph])
    model = network(lifted, CUSTOM.get(gnn, gnn))
    for complex_ in (lifted, lifted.accepted()):
        for rank, h in model(complex_).items():
            assert h.shape == (complex_.num_cells[rank], 5)
            assert h.isfinite().all()
            assert h.dtype == torch.float32


def test_state_copy_and_pickle_round_trip():
    lifted = random_complex("cell", 5, n_graphs=2)
    first, second = network(lifted, "gat"), network(lifted, "gat")
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.zero_()
    second.load_state_dict(first.state_dict())
    expected = first(lifted)
    for model in (second, copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        for rank, h in model(lifted).items():
            assert torch.equal(h, expected[rank])


def test_dropout_acts_while_training_alone():
    lifted = random_complex("cell", 5)
    model = network(lifted, dropout=0.5)
    assert torch.equal(model(lifted)[0], model(lifted)[0])
    model.train()
    assert not torch.equal(model(lifted)[0], model(lifted)[0])


def test_names_may_say_one_hop():
    lifted = random_complex("cell", 5)
    plain = network(lifted, neighborhoods=["up_laplacian-0", "down_incidence-2"])
    named = network(lifted, neighborhoods=["1-up_laplacian-0", "1-down_incidence-2"])
    named.load_state_dict(plain.state_dict())
    assert torch.equal(named(lifted)[1], plain(lifted)[1])


def test_ranks_that_receive_nothing_are_projected():
    lifted = random_complex("cell", 5)
    model = network(lifted, neighborhoods=["down_incidence-2"])
    found = model(lifted)
    assert torch.equal(found[0], model.project[0](lifted.x_0))
    gated = model.project[2](lifted.x_2) * lifted.mask_2.unsqueeze(-1)
    assert torch.equal(found[2], gated)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighborhoods": ["sideways_adjacency-0"]}, "named up_ or down_"),
        ({"neighborhoods": ["hodge_incidence-1"]}, "hodge_laplacian-r"),
        ({"neighborhoods": ["up_adjacency-x"]}, "got 'up_adjacency-x'"),
        ({"neighborhoods": ["0-up_adjacency-0"]}, "got '0-up_adjacency-0'"),
        ({"neighborhoods": [3]}, "got 3"),
        ({"neighborhoods": ["2-up_laplacian-0"]}, "those of '2-up_adjacency-0'"),
        ({"neighborhoods": ["down_incidence-0"]}, "at least 1"),
        ({"neighborhoods": ["2-down_adjacency-1"]}, "there is no rank -1"),
        ({"neighborhoods": []}, "at least one name"),
        ({"neighborhoods": "up_adjacency-0"}, "sequence of at least one"),
        ({"neighborhoods": ["up_adjacency-0", "1-up_adjacency-0"]}, "'up_adjacency-0' twice"),
        ({"gnn": "transformer"}, "gcn, graph, gin, sage, gat, or a function"),
        ({"activation": "rel"}, "'activation'"),
        ({"dropout": 2.0}, "dropout"),
        ({"n_layers": 0}, "'n_layers'"),
        ({"hidden_channels": 0}, "'hidden_channels'"),
        ({"in_channels": [3, 3]}, "one for each of the 3 ranks"),
        ({"in_channels": [3, 0, 3]}, "'in_channels'"),
    ],
)
def test_impossible_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GCCN(**{"in_channels": 3, "hidden_channels": 4, **options})


def test_impossible_inputs_are_refused():
    hypergraph = DiffLift("hypergraph", in_channels=3)(zoo()["path"])
    with pytest.raises(ValueError, match=r"have rank 2, which this GCCN reads .* another domain"):
        GCCN(3, 4)(hypergraph)
    with pytest.raises(ValueError, match="have rank 2"):
        GCCN(3, 4, neighborhoods=["up_adjacency-1"])(hypergraph)
    with pytest.raises(ValueError, match=r"max_rank 1\); lift with DiffLift\(max_rank=2\)"):
        GCCN(3, 4)(DiffLift(in_channels=3, max_rank=1)(zoo()["path"]))
    with pytest.raises(ValueError, match="'x_0' to have 4 channels"):
        GCCN(4, 4, neighborhoods=default_neighborhoods(1))(hypergraph)
    widening = GCCN(3, 4, neighborhoods=["up_incidence-0"], gnn=lambda c: GraphConv(c, 2 * c))
    with pytest.raises(ValueError, match=r"return features of shape \(\d+, 4\).*, 8\)"):
        widening(hypergraph)
