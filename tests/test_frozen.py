"""A frozen lifting: a plain transform that lifts a data set once, and says which lifting it was."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import TYPE_CHECKING

import networkx as nx
import pytest
import torch
from topomodelx.nn.cell.cwn import CWN
from topomodelx.nn.hypergraph.unigcn import UniGCN
from torch_geometric.data import Batch, Data, InMemoryDataset
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import (
    BaseTransform,
    Compose,
    NormalizeScale,
    OneHotDegree,
    RemoveSelfLoops,
)

from topox_difflift import ESTIMATORS, DiffLift, LiftedComplex
from topox_difflift.domains import Cell
from topox_difflift.frozen import FrozenLift
from topox_difflift.liftings import FixedRate
from topox_difflift.nn import TopologicalNetwork
from topox_difflift.testing import assert_same, loss_of, zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DOMAINS = ["hypergraph", "simplicial", "cell", "combinatorial"]
UNLIKE = ["disconnected", "one node", "K4", "no edge", "path", "two triangles"]


def graphs() -> list[Data]:
    """Graphs with targets and edge features, some of them with nothing to lift."""
    found, known = [], zoo()
    for number, name in enumerate(UNLIKE):
        data = known[name]
        data.y = torch.tensor([number % 2])
        data.edge_attr = data.edge_index.sum(0).float().unsqueeze(-1)
        data.name = name
        found.append(data)
    return found


def make(domain: str = "cell", seed: int = 0, **options: object) -> DiffLift:
    """Make a lifting that has seen data, and rejects some of what it proposes."""
    torch.manual_seed(seed)
    lift = DiffLift(domain, **{"hidden_channels": 16} | options)
    lift(Batch.from_data_list(graphs()))
    with torch.no_grad():
        for scorer in lift.scorers.values():
            scorer.rho.lins[-1].weight.mul_(20)
            scorer.rho.lins[-1].bias.zero_()
    return lift


def tensors(lifted: LiftedComplex) -> dict[str, torch.Tensor]:
    return {key: value for key, value in lifted._store.items() if torch.is_tensor(value)}


def assert_equal(first: LiftedComplex, second: LiftedComplex) -> None:
    """All that is stored is the same, bit for bit."""
    assert set(first._store) == set(second._store)
    for key, value in tensors(first).items():
        assert torch.equal(value, second[key]), key
    assert first.domain == second.domain
    assert first.name == second.name


# ------------------------------------------------------------------ what it returns


@pytest.mark.parametrize(
    ("domain", "estimator"),
    [(domain, "straight_through") for domain in (*DOMAINS, "dcm")]
    + [("cell", estimator) for estimator in (*ESTIMATORS, FixedRate(0.5))],
    ids=str,
)
def test_it_is_the_lifting_in_evaluation_without_history(domain, estimator):
    lift = make(domain, estimator=copy.deepcopy(estimator))
    frozen = lift.freeze()
    for data in [*graphs(), Batch.from_data_list(graphs())]:
        data.x.requires_grad_()
        lifted = frozen(data)
        assert_same(lifted, lift.eval()(data))
        assert torch.equal(lifted.x, data.x)
        assert not any(value.requires_grad for value in tensors(lifted).values())
        for r in range(1, lifted.max_rank + 1):
            assert (lifted[f"mask_{r}"] == 1).all()
            assert (lifted[f"membership_{r}"] == 1).all()
            assert lifted[f"included_{r}"].all()
        assert lifted.accepted() is lifted
        assert torch.equal(lifted.opened().x_1, lifted.x_1)
        assert lifted.validate()


def test_what_was_rejected_is_counted():
    lift = make()
    data = Batch.from_data_list(graphs())
    frozen, learned = lift.freeze()(data).summary(), lift.eval()(data).summary()
    assert str(frozen) == str(learned)
    assert any(rank.rejected and rank.accepted for rank in frozen.ranks)


@pytest.mark.parametrize("domain", DOMAINS)
def test_its_input_is_untouched(domain):
    data = Batch.from_data_list(graphs())
    before = copy.deepcopy(data)
    frozen = make(domain).freeze()
    frozen(data)
    frozen.forward(data)
    assert data.keys() == before.keys()
    for key, value in before:
        assert torch.equal(data[key], value) if torch.is_tensor(value) else data[key] == value


def test_training_on_changes_nothing():
    generator = torch.Generator().manual_seed(0)
    lift = make(generator=generator, neighborhoods=["adjacency_0"])
    state = generator.get_state()
    data = Batch.from_data_list(graphs())
    frozen = lift.freeze()
    first = frozen(data)
    assert lift.training
    assert lift.generator is generator
    assert torch.equal(generator.get_state(), state)
    assert lift.neighborhoods == ("adjacency_0",)
    optimizer = torch.optim.Adam(lift.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        loss_of(lift(data)).backward()
        optimizer.step()
    assert_equal(frozen(data), first)
    assert lift.eval()(data).num_cells != first.num_cells
    assert lift.freeze().fingerprint != frozen.fingerprint


# ------------------------------------------------------------------ as a transform


def test_it_is_a_plain_transform():
    frozen = make().freeze()
    assert isinstance(frozen, FrozenLift)
    assert isinstance(frozen, BaseTransform)
    assert not isinstance(frozen, torch.nn.Module)
    data = graphs()[0]
    for other in (copy.copy(frozen), copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        assert repr(other) == repr(frozen)
        assert_equal(other(data), frozen(data))
    drawing = make(generator=torch.Generator().manual_seed(0)).freeze()
    assert_equal(pickle.loads(pickle.dumps(drawing))(data), frozen(data))


def test_it_takes_part_in_a_composition():
    data = zoo()["two triangles"]
    bare = Data(edge_index=data.edge_index, pos=data.x, num_nodes=4)
    prepare = Compose([NormalizeScale(), OneHotDegree(3)])
    lift = DiffLift()
    lift(prepare(bare))
    lifted = Compose([prepare, lift.freeze()])(bare)
    assert_same(lifted, lift.eval()(prepare(bare)))
    assert torch.equal(lifted.pos, prepare(bare).pos)


def test_it_takes_a_networkx_graph():
    graph = nx.cycle_graph(5)
    nx.set_node_attributes(graph, {v: [float(v), 1.0] for v in graph}, "x")
    lift = DiffLift()
    lift(graph)
    assert_same(lift.freeze()(graph), lift.eval()(graph))


def test_as_a_transform_it_lifts_what_is_loaded(tmp_path):
    frozen = make().freeze()
    dataset = Stored(tmp_path, transform=frozen)
    for found, data in zip(dataset, graphs(), strict=True):
        assert_equal(found, frozen(data))


@pytest.mark.parametrize("options", [{}, {"in_channels": 3}, {"encoder": "gps"}])
def test_a_lifting_without_widths_cannot_be_frozen(options):
    message = r"has seen data before freeze\(\) \(got parameters without a size: encoder\..*lift\("
    with pytest.raises(RuntimeError, match=message):
        DiffLift(**options).freeze()


# ------------------------------------------------------------------ lifted once, and stored


class Stored(InMemoryDataset):
    """The graphs in a folder, and how often they were processed."""

    def __init__(self, root: Path, **transforms: Callable[[Data], Data]) -> None:
        self.times = 0
        super().__init__(str(root), **transforms)
        self.load(self.processed_paths[0])

    @property
    def processed_file_names(self) -> list[str]:
        return ["data.pt"]

    def process(self) -> None:
        self.times += 1
        chosen = graphs()
        if self.pre_transform is not None:
            chosen = [self.pre_transform(data) for data in chosen]
        self.save(chosen, self.processed_paths[0])


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_data_set_is_lifted_once_and_read_again(domain, tmp_path):
    frozen = make(domain).freeze()
    first, again = (Stored(tmp_path, pre_transform=frozen) for _ in range(2))
    assert (first.times, again.times) == (1, 0)
    for dataset in (first, again, again.copy([4, 1, 0]), again[[4, 1, 0]]):
        chosen = graphs() if len(dataset) == len(UNLIKE) else [graphs()[i] for i in (4, 1, 0)]
        for found, data in zip(dataset, chosen, strict=True):
            assert isinstance(found, LiftedComplex)
            assert_equal(found, frozen(data))


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_batch_of_lifted_graphs_is_the_lifted_batch(domain, tmp_path):
    frozen = make(domain).freeze()
    dataset = Stored(tmp_path, pre_transform=frozen)
    (batch,) = DataLoader(dataset, batch_size=len(dataset))
    whole = frozen(Batch.from_data_list(graphs()))
    assert_same(batch, whole)
    assert set(batch._store) == set(whole._store)
    for key, value in tensors(whole).items():
        torch.testing.assert_close(batch[key], value, msg=key)
    for found, data in zip(batch.to_data_list(), graphs(), strict=True):
        assert_equal(found, frozen(data))
    for found, data in zip(batch.unbatch(), graphs(), strict=True):
        assert_same(found, frozen(data))


def warned(root: Path, pre_transform: Callable[[Data], Data]) -> bool:
    """Whether PyG says that the data set in a folder was made by another transform."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        Stored(root, pre_transform=pre_transform)
    return any("`pre_transform` argument differs" in str(w.message) for w in found)


def test_pyg_warns_of_a_data_set_that_another_lifting_made(tmp_path):
    lift = make()
    frozen = lift.freeze()
    assert not warned(tmp_path, frozen)  # nothing there yet
    same = (frozen, pickle.loads(pickle.dumps(frozen)), lift.freeze(), make().freeze())
    assert not any(warned(tmp_path, other) for other in same)
    with torch.no_grad():
        lift.scorers["2"].rho.lins[-1].bias += 1e-3
    assert repr(lift) in repr(frozen)
    assert warned(tmp_path, lift.freeze())
    assert not warned(tmp_path, frozen)
    # Within a composition as well, and where `repr` of the lifting does not show what differs.
    together = tmp_path / "together"
    assert not warned(together, Compose([RemoveSelfLoops(), frozen]))
    assert not warned(together, Compose([RemoveSelfLoops(), make().freeze()]))
    other = make(rescue=True)
    assert repr(other) == repr(make())
    assert warned(together, Compose([RemoveSelfLoops(), other.freeze()]))


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1},
        {"domain": "simplicial"},
        {"domain": Cell(cycles="fundamental")},
        {"domain": Cell(max_cycle_length=5)},
        {"encoder": "gps"},
        {"max_rank": 1},
        {"k_max": 4},
        {"cell_budget": 2},
        {"rescue": True},
        {"aggregation": "sum"},
        {"dispersion": False},
        {"memberships": "hard"},
        {"estimator": "threshold"},
        {"estimator": FixedRate(0.5)},
        {"estimator": FixedRate(0.25)},
    ],
    ids=str,
)
def test_the_fingerprint_tells_liftings_apart(options):
    fingerprint = make().freeze().fingerprint
    assert make(**options).freeze().fingerprint != fingerprint
    assert make(**options).freeze().fingerprint == make(**options).freeze().fingerprint


# ------------------------------------------------------------------ training at static cost


@pytest.mark.parametrize("domain", ["cell", "hypergraph"])
def test_a_network_trains_on_lifted_data_without_a_lifting(domain, tmp_path):
    lift = make(domain)
    dataset = Stored(tmp_path, pre_transform=lift.freeze())
    tnn = CWN(3, 3, 3, 8, 1) if domain == "cell" else UniGCN(3, 8, n_layers=1)
    network = TopologicalNetwork(None, tnn, out_channels=2)
    (batch,) = DataLoader(dataset, batch_size=len(dataset))
    network(batch)
    assert not any(name.startswith("lift") for name, _ in network.named_parameters())
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    losses = []
    for _ in range(15):
        for part in DataLoader(dataset, batch_size=3):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(part), part.y)
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    # With the lifting in front of it, in evaluation, the same network says the same.
    whole = TopologicalNetwork(lift, network.tnn, out_channels=2)
    whole.head, whole.readout = network.head, network.readout
    data = Batch.from_data_list(graphs())
    torch.testing.assert_close(whole.eval()(data), network.eval()(batch))
