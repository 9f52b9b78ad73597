"""The lifting as a module and as a transform: what the contract promises of `DiffLift`."""

from __future__ import annotations

import copy
import io
import math
import pickle
from dataclasses import replace
from functools import partial
from itertools import combinations

import networkx as nx
import pytest
import torch
from topomodelx.nn.cell.cwn import CWN
from toponetx import CellComplex
from torch_geometric.data import Batch, Data, Dataset, InMemoryDataset
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import BaseTransform, Compose, NormalizeFeatures

from topox_difflift import DOMAINS, ESTIMATORS, DiffLift, Domain, Estimator, LiftedComplex
from topox_difflift.candidates import CandidateCells
from topox_difflift.domains import Boundary, Cell, Hypergraph, Simplicial
from topox_difflift.estimators import Acceptance, GumbelSigmoid
from topox_difflift.liftings import CycleLifting
from topox_difflift.neighbors import knn
from topox_difflift.scoring import AGGREGATIONS
from topox_difflift.testing import (
    AcceptAll,
    CommonDraws,
    RejectAll,
    assert_same,
    check_domain,
    check_estimator,
    loss_of,
)

NAMES = ["hypergraph", "simplicial", "cell", "combinatorial"]


def graph(n: int = 8, seed: int = 0, **attributes: object) -> Data:
    """A ring with two chords."""
    ends = [(v, (v + 1) % n) for v in range(n)] + [(0, n // 2), (1, n - 2)]
    edge_index = torch.tensor(ends + [(v, u) for u, v in ends]).t().contiguous()
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    return Data(x=x, edge_index=edge_index, **attributes)


def graphs() -> list[Data]:
    return [graph(n, n, y=torch.tensor([n % 2])) for n in (7, 8, 10)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(domain: str | Domain = "cell", seed: int = 0, **options: object) -> DiffLift:
    torch.manual_seed(seed)
    return DiffLift(domain, **{"in_channels": 3, "hidden_channels": 16} | options)


def apply_cwn(cwn: CWN, lifted: LiftedComplex) -> torch.Tensor:
    x_0, x_1, _ = cwn(
        lifted.x_0,
        lifted.x_1,
        lifted.x_2,
        lifted.adjacency_1,
        lifted.incidence_2,
        lifted.incidence_1.T,
    )
    return torch.cat([x_0.flatten(), x_1.flatten()])


def gradients(module: torch.nn.Module) -> dict[str, float]:
    return {
        name: 0.0 if p.grad is None else float(p.grad.abs().sum())
        for name, p in module.named_parameters()
    }


# ------------------------------------------------------------------ one line


def test_contract_snippet():
    torch.manual_seed(0)
    data = Batch.from_data_list(graphs())
    lift = DiffLift()
    lifted = lift(data)
    cwn = CWN(3, 3, 3, 8, 2)
    apply_cwn(cwn, lifted).square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in lift.parameters())
    assert all(value > 0 for value in gradients(lift).values())
    complex_ = lifted.to_toponetx()
    assert isinstance(complex_, CellComplex)
    assert complex_.shape == lifted.accepted().num_cells


def test_networkx_graph_keeps_its_node_order():
    named = nx.Graph([("b", "a"), ("a", "c"), ("c", "b"), ("c", "d")])
    for row, node in enumerate(named):
        # An attribute that some nodes lack, and numbers instead of lists, are no obstacle.
        named.nodes[node].update({"x": float(row)} | ({"label": row} if row else {}))
    named.edges["b", "a"]["weight"] = 2.0
    lifted = DiffLift("simplicial").eval()(named)
    assert lifted.x_0.tolist() == [[0.0], [1.0], [2.0], [3.0]]
    assert {(0, 1), (1, 2), (0, 2), (2, 3)} <= set(lifted.cells(1))
    plain = Data(
        x=lifted.x_0, edge_index=torch.tensor([[0, 1, 1, 2, 2, 0, 2, 3], [1, 0, 2, 1, 0, 2, 3, 2]])
    )
    lift = make("simplicial", in_channels=1).eval()
    assert_same(lift(named), lift(plain))


@pytest.mark.parametrize("domain", NAMES)
def test_x_is_that_of_the_input_and_the_rest_is_carried(domain):
    data = graph(y=torch.tensor([1]), train_mask=torch.ones(8).bool(), name="ring")
    lifted = make(domain)(data)
    assert lifted.x_0 is data.x
    assert lifted.y is data.y
    assert lifted.train_mask is data.train_mask
    assert lifted.name == "ring"
    assert torch.equal(lifted.edge_index, data.edge_index)


# ------------------------------------------------------------------ as a transform


def test_is_a_transform():
    lift = make().eval()
    assert isinstance(lift, BaseTransform)
    assert isinstance(lift, torch.nn.Module)
    data = graph()
    data.x = data.x.abs()
    composed = Compose([NormalizeFeatures(), lift])(data)
    assert isinstance(composed, LiftedComplex)
    assert_same(composed, lift(NormalizeFeatures()(data)))


class InMemoryList(Dataset):
    def __init__(self, items, transform):
        super().__init__(None, transform)
        self.items = items

    def len(self):
        return len(self.items)

    def get(self, idx):
        return self.items[idx]


@pytest.mark.parametrize("domain", NAMES)
def test_transform_of_a_dataset_collates_to_the_lifting_of_the_batch(domain):
    lift = make(domain).eval()
    dataset = InMemoryList(graphs(), lift)
    with torch.no_grad():
        (batch,) = DataLoader(dataset, batch_size=3)
        whole = lift(Batch.from_data_list(graphs()))
    assert batch.num_graphs == 3
    assert torch.equal(batch.y, torch.tensor([1, 0, 0]))
    for mine, theirs in zip(batch.unbatch(), whole.unbatch(), strict=True):
        assert_same(mine, theirs)


class OnDisk(InMemoryDataset):
    def __init__(self, root, pre_transform):
        super().__init__(root, pre_transform=pre_transform)
        self.load(self.processed_paths[0], data_cls=LiftedComplex)

    @property
    def processed_file_names(self):
        return ["data.pt"]

    def process(self):
        with torch.no_grad():
            self.save([self.pre_transform(data) for data in graphs()], self.processed_paths[0])


@pytest.mark.parametrize("domain", ["cell", "hypergraph"])
def test_pre_transform_is_stored_on_disk(domain, tmp_path):
    lift = make(domain).eval()
    for _ in range(2):  # made, then read again
        dataset = OnDisk(tmp_path, lift)
        for found, data in zip(dataset, graphs(), strict=True):
            assert isinstance(found, LiftedComplex)
            assert_same(found, lift(data))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("domain", NAMES)
def test_input_is_untouched(domain, training):
    data = Batch.from_data_list(graphs())
    data.edge_attr = torch.ones(data.num_edges)
    before = copy.deepcopy(data)
    lifted = make(domain).train(training)(data)
    (lifted.x_1.sum() * 2).backward()
    assert data.keys() == before.keys()
    for key, value in before:
        assert torch.equal(data[key], value)
    assert data.x.grad is None


# ------------------------------------------------------------------ as a module


@pytest.mark.parametrize("encoder", ["gin", "gps"])
@pytest.mark.parametrize("domain", NAMES)
def test_state_dict_round_trip(domain, encoder):
    source = make(domain, encoder=encoder)
    other = make(domain, seed=1, encoder=encoder)
    source(graph())
    other(graph())
    other.load_state_dict(source.state_dict())
    assert_same(source.eval()(graph()), other.eval()(graph()))


@pytest.mark.parametrize("attributed", [False, True])
@pytest.mark.parametrize("encoder", ["gin", "gps"])
def test_state_dict_of_a_used_lifting_fits_a_fresh_lazy_one(encoder, attributed):
    data = graph()
    if attributed:
        data.edge_attr = torch.ones(data.num_edges, 2)
    used, fresh = DiffLift(encoder=encoder), DiffLift(encoder=encoder)
    used(data)
    fresh.load_state_dict(used.state_dict())
    assert_same(used.eval()(data), fresh.eval()(data))
    assert fresh.state_dict().keys() == used.state_dict().keys()


@pytest.mark.parametrize("domain", NAMES)
def test_copies_after_a_forward_pass(domain):
    lift = make(domain, generator=seeded())
    lifted = lift(graph())
    loss_of(lifted).backward()
    stream = io.BytesIO()
    torch.save(lift, stream)
    stream.seek(0)
    copies = [
        copy.deepcopy(lift),
        pickle.loads(pickle.dumps(lift)),
        torch.load(stream, weights_only=False),
    ]
    expected = lift(graph())
    for twin in copies:
        # The generator is copied as it was, so the draws are the same.
        assert_same(twin(graph()), expected)
        assert all(p is not q for p, q in zip(twin.parameters(), lift.parameters(), strict=True))
    # What belongs to the forward pass stays with the one that made it.
    assert lift.regularization()
    with pytest.raises(RuntimeError, match="forward pass"):
        pickle.loads(pickle.dumps(lift)).regularization()


@pytest.mark.parametrize("encoder", ["gin", "gps"])
@pytest.mark.parametrize("domain", NAMES)
def test_reset_parameters_resets_all_of_them(domain, encoder):
    lift = make(domain, encoder=encoder)
    data = graph()
    data.edge_attr = torch.randn(data.num_edges, 2)
    lift(data)
    for p in lift.parameters():
        torch.nn.init.constant_(p, 0.123)
    lift.reset_parameters()
    for name, p in lift.named_parameters():
        assert not bool((p == 0.123).any()), name
    lift(data)
    acceptance = lift(data).prob_1.detach()
    assert 0.6 < float(acceptance[acceptance < 1].mean()) < 0.85


def test_reset_parameters_of_a_lazy_lifting():
    lift = DiffLift()
    lift.reset_parameters()
    assert lift(graph()).num_cells[0] == 8


def test_reset_parameters_of_a_users_encoder():
    layer = torch.nn.Linear(3, 4)
    lift = make(encoder=Embed(torch.nn.Sequential(layer, torch.nn.Tanh())))
    lift(graph())
    torch.nn.init.constant_(layer.weight, 0.123)
    lift.reset_parameters()
    assert not bool((layer.weight == 0.123).any())


class Embed(torch.nn.Module):
    """Any network on the features alone."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, edge_index, batch):
        return self.network(x)


def test_repr_names_the_choices():
    lift = DiffLift(
        Cell("minimum", max_cycle_length=7), encoder="gps", k_min=3, k_max=4,
        estimator=GumbelSigmoid(0.5), rejected="drop", memberships="hard",
    )  # fmt: skip
    text = repr(lift)
    for choice in [
        "DiffLift(", "'minimum'", "max_cycle_length=7", "GPS", "k_min=3", "k_max=4",
        "GumbelSigmoid(temperature=0.5)", "'drop'", "'hard'", "max_rank=2", "near_misses=3",
    ]:  # fmt: skip
        assert choice in text


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("domain", NAMES)
def test_eval_is_deterministic_and_draws_nothing(domain, estimator):
    lift = make(domain, estimator=estimator).eval()
    random = torch.get_rng_state()
    first = lift(graph())
    assert torch.equal(random, torch.get_rng_state())
    torch.manual_seed(123)
    assert_same(first, lift(graph()))
    for r in range(1, first.max_rank + 1):
        assert bool((first[f"mask_{r}"] == 1).all())


def test_train_and_eval_reach_every_part():
    lift = make()
    assert lift.eval().training is lift.estimator.training is False
    assert lift.train().training is lift.estimator.training is True


@pytest.mark.parametrize("estimator", ["straight_through", "gumbel"])
@pytest.mark.parametrize("domain", NAMES)
def test_generator_decides_and_the_global_state_is_untouched(domain, estimator):
    data = Batch.from_data_list(graphs())
    generator = seeded(3)
    lift = make(domain, estimator=estimator, generator=generator)
    random = torch.get_rng_state()
    first, second = lift(data), lift(data)
    assert torch.equal(random, torch.get_rng_state())
    generator.manual_seed(3)
    torch.manual_seed(99)
    assert_same(first, lift(data))
    assert first.mask_1.tolist() != second.mask_1.tolist()


def test_without_a_generator_the_global_seed_decides():
    lift = make()
    torch.manual_seed(5)
    first = lift(graph())
    torch.manual_seed(5)
    assert_same(first, lift(graph()))


def test_optimizer_made_before_the_first_forward_pass_trains():
    torch.manual_seed(0)
    lift = DiffLift("hypergraph")
    optimizer = torch.optim.Adam(lift.parameters(), lr=0.01)
    lift(graph())
    before = {name: p.detach().clone() for name, p in lift.named_parameters()}
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(lift(graph())).backward()
        optimizer.step()
    for name, p in lift.named_parameters():
        assert not torch.equal(before[name], p), name


def test_optimizer_and_lazy_edge_features():
    lift = DiffLift()
    optimizer = torch.optim.SGD(lift.parameters(), lr=0.01)
    data = graph()
    data.edge_attr = torch.randn(data.num_edges, 2)
    loss_of(lift(data)).backward()
    before = lift.encoder.edge.weight.detach().clone()
    optimizer.step()
    assert not torch.equal(before, lift.encoder.edge.weight)


@pytest.mark.parametrize("encoder", ["gin", "gps"])
@pytest.mark.parametrize("domain", NAMES)
def test_autocast(domain, encoder):
    lift = make(domain, encoder=encoder)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(lift(graph()))
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in lift.parameters())


def test_numpy_integers_are_integers():
    np = pytest.importorskip("numpy")
    assert make(k_min=np.int64(2), k_max=np.int32(3))(graph()).num_cells[0] == 8


# ------------------------------------------------------------------ gates


@pytest.mark.parametrize("domain", NAMES)
def test_gradient_of_probability_is_that_of_the_gate(domain):
    lift = make(domain, generator=seeded(1)).double()
    data = Batch.from_data_list(graphs())
    data.x = data.x.double()
    lifted = lift(data)
    for r in range(1, lifted.max_rank + 1):
        lifted[f"prob_{r}"].retain_grad()
        lifted[f"mask_{r}"].retain_grad()
    loss_of(lifted).backward()
    for r in range(1, lifted.max_rank + 1):
        prob, mask = lifted[f"prob_{r}"], lifted[f"mask_{r}"]
        learned = prob.detach() < 1
        assert bool(learned.any())
        torch.testing.assert_close(prob.grad[learned], mask.grad[learned])
        assert bool(mask.grad[learned].any())
        assert {0.0, 1.0} == set(mask[learned].tolist())


@pytest.mark.parametrize("domain", NAMES)
def test_same_draws_give_the_same_complex_kept_or_dropped(domain):
    # With one size and no near miss there is no extra pair, hence no extra draw.
    options = {"k_min": 3, "k_max": 3, "max_rank": 1, "near_misses": 0}
    keep = make(domain, rejected="keep", generator=seeded(2), **options)
    drop = make(domain, rejected="drop", generator=seeded(2), **options)
    data = Batch.from_data_list(graphs())
    kept, dropped = keep(data), drop(data)
    assert kept.num_cells[1] > dropped.num_cells[1]
    assert dropped.accepted() is dropped
    assert_same(kept.accepted(), dropped)


def test_kept_rejected_cells_leave_the_tnn_as_it_is():
    lift = make(generator=seeded(2))
    lifted = lift(Batch.from_data_list(graphs()))
    accepted = lifted.accepted()
    assert all(m < n for m, n in zip(accepted.num_cells[1:], lifted.num_cells[1:], strict=True))
    torch.manual_seed(0)
    cwn = CWN(3, 3, 3, 8, 2)
    size = lifted.num_cells[0] * 8
    whole, part = apply_cwn(cwn, lifted), apply_cwn(cwn, accepted)
    torch.testing.assert_close(whole[:size], part[:size])
    on_cells = lifted.mask_1.detach() == 1
    torch.testing.assert_close(whole[size:].view(-1, 8)[on_cells], part[size:].view(-1, 8))


@pytest.mark.parametrize("domain", NAMES)
def test_rejected_cells_receive_gradient_only_where_they_are_kept(domain):
    found = {}
    for rejected in ("keep", "drop"):
        lift = make(domain, estimator=RejectAll(), rejected=rejected)
        loss_of(lift(graph())).backward()
        found[rejected] = gradients(lift.scorers["1"])
    assert all(value > 0 for value in found["keep"].values())
    assert not any(found["drop"].values())


class Overheard(AcceptAll):
    """Remembers the groups it was given."""

    def accept(self, logits, generator=None, group=None):
        self.groups.append(group)
        return super().accept(logits, generator, group)


@pytest.mark.parametrize("domain", NAMES)
def test_candidates_compete_within_their_graph_and_only_with_real_ones(domain):
    estimator = Overheard()
    estimator.groups, estimator.stochastic = [], True
    lifted = make(domain, estimator=estimator, generator=seeded(1))(Batch.from_data_list(graphs()))
    for rank, group in enumerate(estimator.groups, start=1):
        learned = lifted[f"prob_{rank}"] < 1
        real = lifted[f"mask_{rank}"][learned] == 1  # everything is accepted, if it is included
        found = sorted((2 * lifted[f"batch_{rank}"][learned] + ~real).tolist())
        assert found == sorted(group.tolist())
    # Pairs that only a larger size would have proposed.
    assert bool((estimator.groups[0] % 2 == 1).any()) == (domain != "hypergraph")


class Certain(Estimator):
    """Accepts every cell with a probability that is 1 to the last bit, and has a gradient."""

    stochastic = False

    def accept(self, logits, generator=None, group=None):
        prob = 1 + (logits - logits.detach())
        return Acceptance(prob, torch.ones_like(logits, dtype=torch.bool))


@pytest.mark.laws
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("domain", NAMES)
def test_certain_cells_are_told_from_given_ones(domain, dtype):
    lift = make(domain, estimator=Certain()).to(dtype)
    data = Batch.from_data_list(graphs())
    data.x = data.x.to(dtype)
    lifted = lift(data)
    for rank in lifted.summary().ranks:
        prob = lifted[f"prob_{rank.rank}"].detach()
        given = data.num_edges // 2 if rank.rank == 1 else 0
        if (domain, rank.rank) == ("cell", 2):
            given = CycleLifting()(data).num_cells[2]
        assert (rank.original, int((prob == 1).sum())) == (given, given)
        assert rank.accepted == rank.candidates > 0
        assert bool((prob >= 1 - torch.finfo(dtype).eps).all())
    loss_of(lifted).backward()
    assert all(value > 0 for value in gradients(lift.scorers).values())


def test_entmax_neighbourhoods_of_one_node_are_told_from_given_edges():
    lifted = make("dcm", k_min=1, k_max=1, max_rank=1)(graph())
    (rank,) = lifted.summary().ranks
    assert rank.original == graph().num_edges // 2
    assert rank.accepted == rank.candidates == lifted.num_cells[1] - rank.original > 0


def test_rejected_cells_are_dropped_in_eval():
    lifted = make(estimator=RejectAll()).eval()(graph())
    assert lifted.num_cells[1] == graph().num_edges // 2
    assert lifted.accepted() is lifted


# ------------------------------------------------------------------ near misses


class SameDraws(CommonDraws):
    """The draws of acceptances travel with the cells, those of sizes come from the generator."""

    stochastic = True


@pytest.mark.laws
@pytest.mark.parametrize("domain", NAMES)
def test_near_misses_change_no_forward_pass(domain):
    found = {}
    for near_misses in (0, 3):
        lift = make(domain, estimator=SameDraws(), near_misses=near_misses, generator=seeded(1))
        if found:
            lift.load_state_dict(found[0][0].state_dict())
        training = lift(Batch.from_data_list(graphs()))
        found[near_misses] = lift, training, lift.eval()(graph())
    (_, few, in_eval), (_, many, also) = found.values()
    assert few.faces_1.size(1) < many.faces_1.size(1)
    assert_same(few.accepted(), many.accepted())
    assert_same(in_eval, also)
    assert torch.equal(few.candidates_1, many.candidates_1)


@pytest.mark.parametrize("options", [{"rejected": "drop"}, {"memberships": "hard"}, {}])
@pytest.mark.parametrize("domain", NAMES)
def test_near_misses_need_a_kernel_and_the_rejected(domain, options):
    lift, many = (
        make(domain, estimator=SameDraws(), near_misses=m, generator=seeded(1), **options)
        for m in (0, 4)
    )
    data = graph(10)
    counts = [each(data).faces_1.size(1) for each in (lift, many)]
    assert (counts[0] == counts[1]) == bool(options)


@pytest.mark.parametrize("n", [1, 2, 4, 8])
@pytest.mark.parametrize("domain", NAMES)
def test_small_graphs_list_all_their_nodes(domain, n):
    data = Data(x=torch.randn(n, 3, generator=seeded()), edge_index=torch.zeros(2, 0).long())
    lifted = make(domain, near_misses=9, max_rank=1)(Batch.from_data_list([data, graph(10)]))
    own = lifted.faces_1[1, lifted.batch_1[lifted.faces_1[1]] == 0]
    # Every node of every set, or both ends of all pairs.
    assert len(own) == (0 if n == 1 else n * n if domain == "hypergraph" else n * (n - 1))
    loss_of(lifted).backward()


@pytest.mark.laws
@pytest.mark.parametrize("domain", NAMES)
def test_laws_hold_for_what_is_listed_for_its_gradient(domain):
    """In batches and under other numbers of the nodes the columns of zeros are the same ones."""
    lift = make(domain, estimator=CommonDraws(), near_misses=2).double()
    items = graphs()
    for data in items:
        data.x = data.x.double()
    together = lift(Batch.from_data_list(items)).unbatch()
    for alone, part in zip(map(lift, items), together, strict=True):
        assert_same(alone, part)
        assert torch.equal(alone.included_1, part.included_1)
    order = torch.randperm(10, generator=seeded())
    place = order.argsort()
    data = items[2]
    renamed = Data(x=data.x[order], edge_index=place[data.edge_index])
    assert entries(lift(data), range(10)) == entries(lift(renamed), order.tolist())


def entries(lifted, names):
    """Faces of every column at rank 1, with membership and mask, under the names of the nodes."""
    columns = [[] for _ in range(lifted.num_cells[1])]
    memberships = lifted.membership_1.tolist()
    for node, column, inside in zip(*lifted.faces_1.tolist(), memberships, strict=True):
        columns[column].append((names[node], inside))
    gates = zip(lifted.mask_1.tolist(), lifted.included_1.tolist(), strict=True)
    return sorted((sorted(column), *gate) for column, gate in zip(columns, gates, strict=True))


class Table(torch.nn.Module):
    """An embedding of its own for each node."""

    def __init__(self, z):
        super().__init__()
        self.z = torch.nn.Parameter(z)

    def forward(self, x, edge_index, batch):
        return self.z


@pytest.mark.laws
@pytest.mark.parametrize("domain", NAMES)
def test_the_metric_learns_from_near_misses(domain):
    """The gradient of what would bring a near miss in is that of kappa, and moves it closer."""
    z = torch.randn(9, 4, generator=seeded(), dtype=torch.float64)
    data = Data(x=torch.ones(9, 1).double(), edge_index=torch.zeros(2, 0).long())
    options = {"k_min": 3, "k_max": 3, "max_rank": 1, "estimator": AcceptAll()}
    lift = make(domain, encoder=Table(z), near_misses=2, **options).double()
    # The embedding learns by the metric alone.
    lift.scorers["1"].register_forward_hook(lambda _m, _i, out: out.detach())
    lifted = lift(data)
    if domain == "hypergraph":
        # Nodes that the sets list but leave out: those next to their three.
        node, column = lifted.faces_1[:, lifted.membership_1 == 0]
        wanted = lifted.membership_1[lifted.membership_1 == 0].sum()
        ends = column, node
    else:
        left_out = ~lifted.included_1
        ends = torch.tensor(lifted.cells(1))[left_out].t()
        wanted = lifted.mask_1[left_out].sum()
    closest = torch.cdist(z, z).argsort(1)[:, 0 if domain == "hypergraph" else 1 :]
    taken, near = closest[:, :3].tolist(), closest[:, 3:5].tolist()
    if domain == "hypergraph":
        expected = {(v, u) for v in range(9) for u in near[v]}
    else:
        expected = {(min(v, u), max(v, u)) for v in range(9) for u in near[v] if v not in taken[u]}
    assert set(zip(*(end.tolist() for end in ends), strict=True)) == expected
    assert wanted.item() == 0
    wanted.backward()
    found = lift.encoder.z.grad.clone()
    kappa = lift.kernels["1"](lift.encoder.z, *ends).sum()
    torch.testing.assert_close(found, torch.autograd.grad(kappa, lift.encoder.z)[0])
    closer = z + 1e-3 * found
    assert lift.kernels["1"](closer, *ends).sum().item() > kappa.item()


@pytest.mark.parametrize("domain", NAMES)
def test_pairs_that_no_end_takes_are_marked(domain):
    everything = AcceptAll()
    everything.stochastic = True
    lift = make(domain, estimator=everything, generator=seeded(1))
    lifted = lift(Batch.from_data_list(graphs()))
    assert torch.equal(lifted.included_1, lifted.mask_1 == 1)
    assert bool(lifted.included_1.all()) == (domain == "hypergraph")
    learned = lifted.included_1 & (lifted.prob_1 < 1)
    assert torch.equal(torch.bincount(lifted.batch_1[learned]), lifted.candidates_1)
    parts = lifted.unbatch()
    assert torch.equal(torch.cat([part.included_1 for part in parts]), lifted.included_1)
    assert torch.equal(Batch.from_data_list(parts).included_1, lifted.included_1)
    assert bool(lifted.accepted().included_1.all())
    for rank in range(lifted.max_rank + 1):
        assert f"included_{rank}" in lifted
        assert lifted[f"included_{rank}"].shape == (lifted.num_cells[rank],)
    assert f"included_{lifted.max_rank + 1}" not in lifted


# ------------------------------------------------------------------ budget and rescue


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("domain", NAMES)
def test_budget_bounds_the_candidates_of_each_graph(domain, training):
    data = Batch.from_data_list(graphs())
    # Two learned edges close no cycle.
    made = Cell(rings="apart") if domain == "cell" else domain
    lift = make(made, estimator=AcceptAll(), cell_budget=2).train(training)
    lifted = lift(data)
    for r in range(1, lifted.max_rank + 1):
        learned = lifted[f"prob_{r}"] < 1
        per_graph = torch.bincount(lifted[f"batch_{r}"][learned], minlength=3)
        assert bool((per_graph <= 2).all())
        assert bool(per_graph.any())


@pytest.mark.parametrize("domain", NAMES)
def test_budget_keeps_the_most_probable(domain):
    data = Batch.from_data_list(graphs())
    free = make(domain, max_rank=1, estimator=AcceptAll()).eval()(data)
    bound = make(domain, max_rank=1, estimator=AcceptAll(), cell_budget=2).eval()(data)
    for g in range(3):
        of_graph = [
            sorted(c.prob_1[(c.prob_1 < 1) & (c.batch_1 == g)].tolist()) for c in (free, bound)
        ]
        assert len(of_graph[0]) > 2
        assert of_graph[0][-2:] == pytest.approx(of_graph[1])


def test_large_budget_changes_nothing():
    assert_same(make(cell_budget=10**6).eval()(graph()), make().eval()(graph()))


@pytest.mark.parametrize("rejected", ["keep", "drop"])
@pytest.mark.parametrize("domain", NAMES)
def test_rescue_saves_the_most_probable_cell_of_each_graph(domain, rejected):
    lonely = Data(x=torch.ones(1, 3), edge_index=torch.zeros(2, 0).long(), y=torch.tensor([0]))
    data = Batch.from_data_list([*graphs(), lonely])
    options = {"max_rank": 1, "k_min": 3, "k_max": 3, "rejected": rejected}
    lifted = make(domain, estimator=RejectAll(), rescue=True, **options)(data)
    every = make(domain, estimator=AcceptAll(), **options)(data)
    saved = (lifted.prob_1 < 1) & (lifted.mask_1 == 1)
    assert torch.bincount(lifted.batch_1[saved], minlength=4).tolist() == [1, 1, 1, 0]
    for g in range(3):
        best = every.prob_1[(every.prob_1 < 1) & (every.batch_1 == g)].max()
        torch.testing.assert_close(lifted.prob_1[saved & (lifted.batch_1 == g)], best[None])
    loss_of(lifted).backward()


def test_rescue_leaves_graphs_with_an_accepted_cell_alone():
    assert_same(make(rescue=True, generator=seeded())(graph()), make(generator=seeded())(graph()))


# ------------------------------------------------------------------ options


@pytest.mark.parametrize("domain", NAMES)
def test_hard_memberships_have_no_kernel_and_no_gradient(domain):
    options = {"k_min": 3, "k_max": 3, "max_rank": 1}
    hard = make(domain, memberships="hard", **options)
    assert not any("kernel" in name for name, _ in hard.named_parameters())
    assert not hard(graph()).membership_1.requires_grad
    soft = make(domain, memberships="kernel", **options)
    lifted = soft(graph())
    (lifted.membership_1 * torch.randn(len(lifted.membership_1))).sum().backward()
    assert gradients(soft)["kernels.1.log_scale"] > 0
    assert any(gradients(soft.encoder).values())


@pytest.mark.parametrize("domain", NAMES)
def test_memberships_do_not_change_the_forward_pass(domain):
    hard, soft = make(domain, memberships="hard").eval(), make(domain).eval()
    soft.load_state_dict(hard.state_dict(), strict=False)
    assert_same(hard(graph()), soft(graph()))


def test_dispersion_is_one_more_input_of_psi():
    with_it, without = make(dispersion=True), make(dispersion=False)
    for rank, width in (("1", 17), ("2", 19)):
        assert with_it.scorers[rank].rho.lins[0].in_channels == width
        assert without.scorers[rank].rho.lins[0].in_channels == width - 1


@pytest.mark.parametrize("domain", ["cell", "simplicial", "combinatorial", "hypergraph"])
def test_psi_of_cells_with_a_boundary_sees_it(domain):
    seeing, blind = make(domain), make(domain, boundary_statistics=False)
    for rank, scorer in seeing.scorers.items():
        sees = domain in ("cell", "simplicial") and rank == "2"
        assert scorer.statistics == (2 if sees else 0)
        assert blind.scorers[rank].statistics == 0


def faces_of(lifted: LiftedComplex, rank: int) -> list[list[int]]:
    """Columns of the faces of each cell, found by their nodes."""
    column = {frozenset(cell): i for i, cell in enumerate(lifted.cells(rank - 1))}
    found = []
    for cell in lifted.cells(rank):
        around = zip(cell, (*cell[1:], cell[0]), strict=True)
        parts = around if lifted.domain == "cell" else combinations(cell, rank)
        found.append([column[frozenset(part)] for part in parts])
    return found


@pytest.mark.parametrize("rejected", ["keep", "drop"])
@pytest.mark.parametrize(
    ("domain", "max_rank"), [(Cell(closure_gradient=True), 2), (Simplicial(), 3)]
)
def test_gates_of_faces_have_the_gradient_of_their_product(domain, max_rank, rejected):
    lifted = make(domain, max_rank=max_rank, rejected=rejected, generator=seeded(3), k_max=7)(
        Batch.from_data_list(graphs())
    )
    for rank in range(2, max_rank + 1):
        gates, below = lifted[f"mask_{rank}"], lifted[f"mask_{rank - 1}"]
        assert rank == 3 or rejected == "drop" or 0 < float(gates.detach().sum()) < len(gates)
        weight = torch.randn(len(gates), generator=seeded())
        # The derivative of the sum of w_C b_C prod_f b_f, where all b_f of a candidate are 1.
        wanted = torch.zeros(len(below))
        # Rings of the graph have no gate.
        open_ = gates.detach() * (lifted[f"prob_{rank}"] < 1)
        for faces, w, b in zip(faces_of(lifted, rank), weight, open_, strict=True):
            wanted[faces] += w * b
        assert wanted.any()
        (found,) = torch.autograd.grad((weight * gates).sum(), below, retain_graph=True)
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    "domain", [Cell(), Simplicial(closure_gradient=False), "combinatorial", "dcm"]
)
def test_gates_that_need_no_faces_give_them_no_gradient(domain):
    lifted = make(domain, generator=seeded())(graph())
    (found,) = torch.autograd.grad(lifted.mask_2.sum(), lifted.mask_1, allow_unused=True)
    assert found is None


@pytest.mark.parametrize("domain", [partial(Cell, rings=True), Simplicial])
def test_closure_gradient_changes_nothing_but_gradients(domain):
    lifts = [make(domain(closure_gradient=on), generator=seeded()) for on in (True, False)]
    assert_same(*(lift(graph()) for lift in lifts))
    terms = [lift.regularization() for lift in lifts]
    assert terms[0] == terms[1]
    metric = [lift.kernels["1"].parameters() for lift in lifts]
    expected = [term["expected_cells"] for term in terms]
    assert torch.autograd.grad(expected[0], metric[0]) != torch.autograd.grad(
        expected[1], metric[1]
    )


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_aggregation_trains(aggregation):
    lift = make(Cell(rings="apart"), aggregation=aggregation, generator=seeded())
    loss_of(lift(graph())).backward()
    assert all(value > 0 for value in gradients(lift).values())


def test_neighborhoods_are_built_at_once(monkeypatch):
    built = []
    build = LiftedComplex._build

    def spy(self, kind, rank, signed):
        built.append(f"{kind}_{rank}")
        return build(self, kind, rank, signed)

    monkeypatch.setattr(LiftedComplex, "_build", spy)
    lifted = make(neighborhoods=["adjacency_1", "hodge_laplacian_0"])(graph())
    assert built == ["adjacency_1", "hodge_laplacian_0"]
    assert lifted.adjacency_1.shape == (lifted.num_cells[1],) * 2
    assert built == ["adjacency_1", "hodge_laplacian_0"]
    assert lifted.coadjacency_1 is lifted.coadjacency_1
    assert built[2:] == ["coadjacency_1"]


@pytest.mark.parametrize("max_rank", [1, 2, 3])
@pytest.mark.parametrize("domain", ["simplicial", "combinatorial"])
def test_max_rank(domain, max_rank):
    lifted = make(domain, max_rank=max_rank, estimator=AcceptAll())(graph())
    assert lifted.max_rank == max_rank
    assert len(lifted.num_cells) == max_rank + 1


# ------------------------------------------------------------------ regularization


@pytest.mark.parametrize("domain", NAMES)
def test_regularization_by_hand(domain):
    lift = make(domain, estimator=AcceptAll()).double().eval()
    data = Batch.from_data_list(graphs())
    data.x = data.x.double()
    lifted, terms = lift(data), lift.regularization()
    probs = [lifted[f"prob_{r}"] for r in range(1, lifted.max_rank + 1)]
    p = torch.cat([prob[prob < 1] for prob in probs])
    entropy = -(p * p.log() + (1 - p) * (1 - p).log()).mean()
    z = lift.encoder(data.x, data.edge_index, data.batch)
    sizes, means = torch.arange(lift.k_min, lift.k_max + 1), []
    for size in lift.sizes.values():
        index = knn(z, data.batch, lift.k_max, include_self=domain == "hypergraph")
        means.append((size.distribution(z, index) * sizes).sum(1).mean())
    assert {name: term.dim() for name, term in terms.items()} == dict.fromkeys(
        ["expected_size", "expected_cells", "entropy"], 0
    )
    torch.testing.assert_close(terms["expected_cells"], p.sum() / 3)
    torch.testing.assert_close(terms["entropy"], entropy)
    torch.testing.assert_close(terms["expected_size"], torch.stack(means).mean())
    assert not lift.cost().any()
    lift.cell_price = 0.5
    torch.testing.assert_close(lift.cost(), 0.5 * p.mean())
    lift.entropy_price = -3.0
    torch.testing.assert_close(lift.cost(), 0.5 * p.mean() - 3 * entropy / math.log(2))


@pytest.mark.parametrize("price", [2.0, -2.0])
def test_a_price_of_entropy_makes_acceptances_firmer_or_keeps_them_open(price):
    lift = make(entropy_price=price, generator=seeded())
    data = Batch.from_data_list(graphs())
    lift(data)
    before = lift.regularization()["entropy"].item()
    optimizer = torch.optim.Adam(lift.parameters(), lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        lift(data)
        lift.cost().backward()
        optimizer.step()
    lift(data)
    assert (lift.regularization()["entropy"].item() < before) == (price > 0)


@pytest.mark.parametrize("domain", NAMES)
@pytest.mark.parametrize("logit", [-3.0, 1.0, 4.0])
def test_acceptance_starts_at_the_initial_logit(domain, logit):
    lift = make(domain, initial_logit=logit, generator=seeded())
    data = Batch.from_data_list(graphs())
    for _ in range(2):
        lifted = lift(data)
        probs = [lifted[f"prob_{r}"] for r in range(1, lifted.max_rank + 1)]
        open_ = torch.cat([prob[prob < 1] for prob in probs]).logit()
        torch.testing.assert_close(open_, torch.full_like(open_, logit), atol=0.6, rtol=0)
        lift.reset_parameters()


@pytest.mark.parametrize("domain", NAMES)
def test_a_price_leaves_what_is_lifted_and_lowers_the_acceptances(domain):
    free, priced = (make(domain, cell_price=p, generator=seeded()) for p in (0.0, 2.0))
    priced.load_state_dict(free.state_dict())
    data = Batch.from_data_list(graphs())
    assert_same(free(data), priced(data))
    optimizer = torch.optim.Adam(priced.parameters(), lr=0.01)
    before = priced.regularization()["expected_cells"].item()
    for _ in range(5):
        optimizer.zero_grad()
        priced(data)
        priced.cost().backward()
        optimizer.step()
    assert priced.regularization()["expected_cells"].item() < before


@pytest.mark.parametrize(
    ("term", "part"),
    [("expected_size", "sizes.1"), ("expected_cells", "scorers.1"), ("entropy", "scorers.2")],
)
def test_regularization_has_a_gradient(term, part):
    lift = make(Cell(rings="apart"), generator=seeded())
    lift(graph())
    lift.regularization()[term].backward()
    found = gradients(lift.get_submodule(part))
    assert all(value > 0 for value in found.values())


def test_regularization_of_certain_cells_is_finite():
    lift = make()
    lift(graph())
    for bias in (1e4, -1e4):
        torch.nn.init.constant_(lift.scorers["1"].rho.lins[-1].bias, bias)
        lift(graph())
        lift.zero_grad()
        lift.regularization()["entropy"].backward()
        assert all(torch.isfinite(p.grad).all() for p in lift.scorers["1"].parameters())


def test_regularization_without_a_candidate():
    lonely = Data(x=torch.ones(1, 3), edge_index=torch.zeros(2, 0).long())
    lift = make()
    lift(lonely)
    terms = lift.regularization()
    assert not terms["expected_cells"].any()
    assert not terms["entropy"].any()
    lift.cell_price = 1.0
    assert not lift.cost().any()
    (sum(terms.values()) + lift.cost()).backward()


# ------------------------------------------------------------------ third parties


class OneHop(Domain):
    """A third party's domain: each node with its graph neighbours as a hyperedge."""

    topology, highest_rank, default_rank = "hypergraph", 1, 1

    def neighborhood(self, rank):
        return "none"

    def propose(self, skeleton, rank, nearest):
        n = skeleton.num_nodes
        loops = torch.arange(n).expand(2, -1)
        centre, member = torch.cat([skeleton.graph.edge_index, loops], dim=1)
        order = torch.argsort(centre * n + member)
        sizes = torch.bincount(centre, minlength=n)
        found = CandidateCells.exact(
            member[order], sizes, skeleton.graph.batch, like=skeleton.graph.x
        )
        return found.select((sizes > 2).nonzero().squeeze(-1))

    boundary = Hypergraph.boundary
    features = Hypergraph.features
    order = Hypergraph.order


class Likely(Estimator):
    """A third party's estimator: accept what is as likely as at the start, to two digits."""

    stochastic = False

    def accept(self, logits, generator=None, group=None):
        return Acceptance(logits.sigmoid(), logits > 0.99)


def test_third_party_domain(monkeypatch):
    check_domain(OneHop())
    monkeypatch.setitem(DOMAINS, "one_hop", OneHop)
    check_domain("one_hop")
    lifted = DiffLift("one_hop", estimator=AcceptAll())(graph())
    assert lifted.num_cells[1] == 10 + 8
    assert "OneHop" in repr(DiffLift("one_hop"))


def test_third_party_estimator(monkeypatch):
    check_estimator(Likely())
    monkeypatch.setitem(ESTIMATORS, "likely", Likely)
    lifted = make("hypergraph", estimator="likely")(graph())
    learned = lifted.prob_1 < 1
    expected = lifted.prob_1[learned].logit() > 0.99
    assert torch.equal(lifted.mask_1[learned] == 1, expected)
    assert 0 < int(expected.sum()) < 8


class WrongFaces(Cell):
    """Puts the faces of each 2-cell onto other edges."""

    def boundary(self, skeleton, rank, cells):
        right = super().boundary(skeleton, rank, cells)
        if rank == 1:
            return right
        face, cell = right.faces
        return right._replace(faces=torch.stack([(face + 1) % len(skeleton.ranks[0].sizes), cell]))


class WrongSigns(Cell):
    """Orients no edge of a cycle."""

    def boundary(self, skeleton, rank, cells):
        right = super().boundary(skeleton, rank, cells)
        return Boundary(right.faces, torch.ones_like(right.orientation), right.membership)


class AcrossGraphs(OneHop):
    """Joins the first two nodes of the batch to every cell."""

    def propose(self, skeleton, rank, nearest):
        ends = torch.tensor([0, skeleton.num_nodes - 1])
        few = ends if skeleton.num_nodes > 1 else ends[:0]
        sizes = torch.tensor([2] if len(few) else [], dtype=torch.long)
        return CandidateCells.exact(few, sizes, skeleton.graph.batch, like=skeleton.graph.x)


@pytest.mark.parametrize("domain", [WrongFaces(), WrongSigns(), AcrossGraphs()], ids=repr)
def test_broken_third_party_domain_is_caught(domain):
    with pytest.raises(AssertionError):
        check_domain(domain)


class Rationed(OneHop):
    """Proposes no more than four cells in a batch."""

    def propose(self, skeleton, rank, nearest):
        cells = super().propose(skeleton, rank, nearest)
        return cells.select(torch.arange(min(len(cells), 4)))


class Halved(OneHop):
    """Has members that count for half."""

    def propose(self, skeleton, rank, nearest):
        cells = super().propose(skeleton, rank, nearest)
        return replace(cells, weight=cells.weight / 2)


@pytest.mark.parametrize(
    ("domain", "message", "note"),
    [
        (Rationed(), "cells per rank", "lifted differently among batch mates"),
        (Halved(), "an entry other than 1", "on the graph 'path' of the zoo"),
    ],
)
def test_a_broken_law_says_which_and_where(domain, message, note):
    with pytest.raises(AssertionError, match=message) as caught:
        check_domain(domain)
    notes = "; ".join(caught.value.__notes__)
    assert note in notes
    assert repr(domain) in notes
    assert "CommonDraws" in notes


class Coin(Estimator):
    """Ignores the generator."""

    stochastic = True

    def accept(self, logits, generator=None, group=None):
        prob = logits.sigmoid()
        return Acceptance(prob, torch.rand_like(prob) < prob)


class Fixed(Estimator):
    """Has no gradient."""

    stochastic = False

    def accept(self, logits, generator=None, group=None):
        prob = logits.sigmoid()
        return Acceptance(prob, prob > 0.5, prob.detach() + 0 * logits)


class Best(Estimator):
    """Accepts the best of all groups together."""

    stochastic, competing = False, True

    def accept(self, logits, generator=None, group=None):
        prob = torch.softmax(logits, 0)
        return Acceptance(prob, prob > prob.mean())


@pytest.mark.parametrize("estimator", [Coin(), Fixed(), Best()], ids=["coin", "fixed", "best"])
def test_broken_third_party_estimator_is_caught(estimator):
    with pytest.raises(AssertionError):
        check_estimator(estimator)
