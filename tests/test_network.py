"""Lift, network and readout as one module."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest
import torch
from topomodelx.nn.cell.cwn import CWN
from topomodelx.nn.hypergraph.unigcn import UniGCN
from torch_geometric.data import Batch, Data

from topox_difflift import DiffLift, LiftedComplex
from topox_difflift.config import TrainingConfig
from topox_difflift.datasets import molecules
from topox_difflift.domains import Cell
from topox_difflift.encoders import GIN
from topox_difflift.liftings import CycleLifting, KHopLifting, NoLifting
from topox_difflift.nn import (
    GCCN,
    Adapter,
    Carried,
    EmbedThenLift,
    Pool,
    PropagateDown,
    TopologicalNetwork,
)
from topox_difflift.testing import CommonDraws, zoo


def batch(dtype: torch.dtype = torch.float32) -> Batch:
    return zoo(dtype)["batch"]


def cwn() -> CWN:
    torch.manual_seed(0)
    return CWN(3, 3, 3, 8, 1)


def lift(**options: object) -> DiffLift:
    generator = torch.Generator().manual_seed(0)
    return DiffLift(in_channels=3, hidden_channels=16, generator=generator, **options)


@pytest.mark.parametrize("level", ["graph", "node", "cell"])
def test_one_row_for_each_thing_to_predict_for(level):
    data = batch()
    network = TopologicalNetwork(lift(), cwn(), 2, level)
    lifted = network.lifted(data)
    expected = {"graph": 5, "node": len(data.x), "cell": lifted.num_cells[2]}[level]
    assert network.predict(lifted).shape == (expected, 2)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_cells_of_any_rank_keep_their_features(rank):
    network = TopologicalNetwork(lift(), cwn(), 3, "cell", rank=rank)
    lifted = network.lifted(batch())
    assert network.predict(lifted).shape == (lifted.num_cells[rank], 3)
    head = network.head(network.adapter.run(network.tnn, lifted)[rank])
    torch.testing.assert_close(network.predict(lifted), head)


@pytest.mark.laws
@pytest.mark.parametrize("readout", ["mean", "sum", "max", "propagate"])
def test_kept_rejected_cells_change_nothing(readout):
    network = TopologicalNetwork(lift(), cwn(), 2, readout=readout).double()
    lifted = network.lifted(batch(torch.float64))
    accepted = lifted.accepted()
    assert accepted.num_cells != lifted.num_cells
    torch.testing.assert_close(network.predict(lifted), network.predict(accepted))


@pytest.mark.laws
@pytest.mark.parametrize("readout", ["mean", "sum", "max", "propagate"])
def test_every_parameter_of_the_lifting_learns(readout):
    network = TopologicalNetwork(lift(), cwn(), 2, readout=readout)
    network(batch()).square().sum().backward()
    for name, parameter in network.lift.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


@pytest.mark.laws
@pytest.mark.parametrize("level", ["graph", "node"])
def test_predictions_do_not_depend_on_batch_mates(level):
    graphs = [zoo(torch.float64)[name] for name in ("K4", "disconnected", "path")]
    network = TopologicalNetwork(lift(), cwn(), 2, level).double().eval()
    together = network(Batch.from_data_list(graphs))
    torch.testing.assert_close(together, torch.cat([network(graph) for graph in graphs]))


def test_what_stands_in_the_place_of_the_lifting():
    data = batch()
    tnn = cwn()
    network = TopologicalNetwork(CycleLifting(), tnn, 2)
    expected = network(data)
    complex_ = CycleLifting()(data)
    fixed = TopologicalNetwork(complex_, tnn, 2)
    fixed()
    fixed.head.load_state_dict(network.head.state_dict())
    torch.testing.assert_close(fixed(), expected)
    none = TopologicalNetwork(None, tnn, 2)
    none(complex_)
    none.head.load_state_dict(network.head.state_dict())
    torch.testing.assert_close(none(complex_), expected)
    # A graph becomes the complex of its edges.
    torch.testing.assert_close(none(data), none(NoLifting("cell")(data)))
    # Every network takes a complex that was lifted before.
    torch.testing.assert_close(network(complex_), expected)


def test_a_complex_moves_with_the_network_and_stays_as_it_was():
    complex_ = CycleLifting()(batch())
    network = TopologicalNetwork(complex_, cwn(), 2).double()
    assert network().dtype == torch.float64
    assert complex_.x_0.dtype == torch.float32
    assert "lift" not in dict(network.named_children())


def test_networkx_graphs_are_taken():
    graph = nx.cycle_graph(5)
    nx.set_node_attributes(graph, {v: {"x": [float(v), 1.0, 0.0]} for v in graph})
    assert TopologicalNetwork(lift(), cwn(), 2)(graph).shape == (1, 2)


class Mine(torch.nn.Module):
    """A network that the package does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 4)

    def forward(self, x, incidence):
        edges = torch.mm(incidence.T, self.linear(x))
        return torch.mm(incidence, edges)


def test_a_network_of_ones_own_plugs_in_with_one_function():
    network = TopologicalNetwork(
        lift(max_rank=1), Mine(), 2, adapter=lambda tnn, c: {0: tnn(c.x_0, c.incidence_1)}
    )
    with pytest.warns(UserWarning, match="the network cannot tell"):
        network(batch()).sum().backward()
    assert network.tnn.linear.weight.grad.any()
    assert all(p.grad.any() for p in network.lift.scorers.parameters())


def test_an_adapter_of_ones_own_says_more():
    adapter = Adapter(
        call=lambda tnn, c: [tnn(c.x_0, c.incidence_1)],
        channels=lambda tnn: {0: tnn.linear.out_features},
        kept=True,
    )
    network = TopologicalNetwork(lift(max_rank=1), Mine(), 2, "node", adapter=adapter)
    assert network(batch()).shape == (len(batch().x), 2)


def test_a_subclass_of_a_known_network_is_known():
    class Deeper(UniGCN):
        pass

    network = TopologicalNetwork(DiffLift("hypergraph", in_channels=3), Deeper(3, 8), 2)
    assert network.adapter.name == "UniGCN"
    assert network(batch()).shape == (5, 2)


def test_a_readout_of_ones_own():
    class Nodes(torch.nn.Module):
        def forward(self, lifted, features):
            return features[0].new_ones(lifted.num_graphs, 1) * features[0].sum()

    assert TopologicalNetwork(lift(), cwn(), 2, readout=Nodes())(batch()).shape == (5, 2)
    pool = Pool({1: 8}, "sum")
    assert TopologicalNetwork(lift(), cwn(), 2, readout=pool)(batch()).shape == (5, 2)


def test_hypergraphs_and_topotune():
    from topox_difflift.nn.hasse import default_neighborhoods

    tnn = GCCN(3, 8, 1, neighborhoods=default_neighborhoods(1))
    for arm in (DiffLift("hypergraph", in_channels=3), KHopLifting()):
        network = TopologicalNetwork(arm, tnn, 2)
        network(batch()).sum().backward()
    deep = TopologicalNetwork(KHopLifting(), GCCN(3, 8, 1), 2)
    with pytest.raises(ValueError, match=r"ranks up to 2 .*rank 1\); a hypergraph has no higher"):
        deep(batch())


@pytest.mark.parametrize("lifting", ["difflift", "none", "khop"])
def test_runs_take_topotune_to_hypergraphs(lifting):
    config = TrainingConfig("molecules", domain="hypergraph", tnn="topotune", lifting=lifting)
    graphs = Batch.from_data_list(molecules(6))
    model = config.build(graphs.num_features, graphs.edge_attr.size(1), 2)
    lifted = model.lifted(graphs)
    assert (lifted.domain, lifted.max_rank) == ("hypergraph", 1)
    model(graphs).square().sum().backward()
    assert all(bool(p.grad.any()) for p in model.tnn.parameters())


# ---------------------------------------------------------------------- state


def test_state_survives_a_round_trip(tmp_path):
    network = TopologicalNetwork(DiffLift(), cwn(), 2)
    network(batch())
    torch.save(network.state_dict(), tmp_path / "state.pt")
    fresh = TopologicalNetwork(DiffLift(), cwn(), 2)
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    data = batch()
    torch.testing.assert_close(fresh.eval()(data), network.eval()(data))
    torch.save(network, tmp_path / "network.pt")
    whole = torch.load(tmp_path / "network.pt", weights_only=False)
    torch.testing.assert_close(whole(data), network(data))
    torch.testing.assert_close(copy.deepcopy(network)(data), network(data))


@pytest.mark.parametrize("name", ["hnhn", "cwn", "san"])
def test_a_network_can_be_copied_after_a_backward_pass(name):
    from topox_difflift.nn import TNNS

    adapter = TNNS[name]
    domain = adapter.domains[0]
    arm = DiffLift(domain, in_channels=3, rejected="drop")
    network = TopologicalNetwork(arm, adapter.build(3, 8, 1), 2)
    for _ in range(2):
        network(batch()).sum().backward()
    twin = copy.deepcopy(network).eval()
    torch.testing.assert_close(twin(batch()), network.eval()(batch()))


@pytest.mark.laws
def test_it_trains_under_autocast():
    torch.manual_seed(0)
    network = TopologicalNetwork(lift(domain=Cell(rings="apart")), cwn(), 2)
    data, target = batch(), torch.tensor([0, 1, 0, 1, 1])
    network(data)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            lifted = network.lifted(data)
            loss = torch.nn.functional.cross_entropy(network.predict(lifted), target)
        assert lifted.incidence_1.dtype == lifted.mask_2.dtype == torch.float32
        loss.backward()
        assert all(p.grad.any() for p in network.lift.scorers.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_learned_cells_are_pooled_apart_by_default_where_cells_of_a_graph_are_learned():
    def network(lifting, tnn=None, **options):
        return TopologicalNetwork(lifting, cwn() if tnn is None else tnn, 2, **options)

    embedded = EmbedThenLift(GIN(3, 8), DiffLift(encoder=Carried(8), hidden_channels=8))
    learned = [network(lift()), network(embedded, CWN(11, 11, 11, 8, 1))]
    given = [network(None), network(CycleLifting()), network(CycleLifting()(batch()))]
    assert [one.readout.apart for one in (*learned, *given)] == [True] * 2 + [False] * 3
    assert not network(lift(), readout="mean").readout.apart
    hypergraph = network(lift(domain="hypergraph"), UniGCN(3, 8, n_layers=1))
    assert (hypergraph.readout.reduce, hypergraph.readout.apart) == ("mean", False)
    assert isinstance(network(lift(), level="node").readout, PropagateDown)
    assert network(lift(), level="cell").readout is None


def test_the_same_encoder_for_every_arm():
    encoder = GIN(3, 8)
    arms = [CycleLifting(), DiffLift(encoder=Carried(8), hidden_channels=8)]
    for arm in arms:
        lifted = EmbedThenLift(encoder, arm)(batch())
        assert lifted.x_0.shape == (len(batch().x), 11)
        torch.testing.assert_close(lifted.x_0[:, :3], batch().x)
    graph = nx.path_graph(2)
    nx.set_node_attributes(graph, {v: {"x": [1.0, 0.0, 0.0]} for v in graph})
    assert EmbedThenLift(encoder, arms[0])(graph).num_cells == (2, 1, 0)


# ---------------------------------------------------------------------- errors

HYPER = {"domain": "hypergraph"}
REFUSED = {
    "level": (lambda: TopologicalNetwork(None, cwn(), 2, "edge"), "'level' to be one of graph"),
    "out_channels": (lambda: TopologicalNetwork(None, cwn(), 0), "'out_channels'"),
    "hidden": (lambda: TopologicalNetwork(None, cwn(), 2, hidden_channels=0), "'hidden_channels'"),
    "readout": (lambda: TopologicalNetwork(None, cwn(), 2, readout="median"), "mean, apart, sum"),
    "node readout": (
        lambda: TopologicalNetwork(None, cwn(), 2, "node", readout="mean"), "propagate with level",
    ),
    "cell readout": (
        lambda: TopologicalNetwork(None, cwn(), 2, "cell", readout="mean"), "no 'readout'.*leave",
    ),
    "rank": (lambda: TopologicalNetwork(None, cwn(), 2, rank=1), "'rank' only with level='cell'"),
    "rank below 0": (lambda: TopologicalNetwork(None, cwn(), 2, "cell", rank=-1), "'rank'"),
    "class": (lambda: TopologicalNetwork(None, CWN, 2), "'tnn' to be a torch.nn.Module.*build"),
    "unknown": (lambda: TopologicalNetwork(None, Mine(), 2), "got Mine.*adapter=lambda"),
    "adapter": (lambda: TopologicalNetwork(None, Mine(), 2, adapter="x_0"), "'adapter' to be a f"),
    "lift": (lambda: TopologicalNetwork("cycle", cwn(), 2), "'lift' to be a DiffLift.*got 'cycle'"),
    "domain": (lambda: TopologicalNetwork(lift(**HYPER), cwn(), 2), r"DiffLift\('cell'\)"),
    "rank not lifted": (
        lambda: TopologicalNetwork(lift(max_rank=1), cwn(), 2), r"up to 2 for CWN.*max_rank=2\)",
    ),
    "fixed": (
        lambda: TopologicalNetwork(KHopLifting()(batch()), cwn(), 2), "CWN on cell or simplicial",
    ),
    "later": (lambda: TopologicalNetwork(KHopLifting(), cwn(), 2)(batch()), "CWN on cell"),
    "no data": (lambda: TopologicalNetwork(lift(), cwn(), 2)(), "'data' to be graphs"),
    "data twice": (
        lambda: TopologicalNetwork(CycleLifting()(batch()), cwn(), 2)(batch()), "no 'data'",
    ),
    "rank missing": (
        lambda: TopologicalNetwork(None, cwn(), 2, "cell", rank=3)(batch()), r"\[0, 1, 2\]",
    ),
    "rows": (
        lambda: TopologicalNetwork(None, Mine(), 2, adapter=lambda t, c: {0: c.x_0[:2]})(batch()),
        r"shape \(22, channels\).*got \(2, 3\)",
    ),
    "propagate": (
        lambda: TopologicalNetwork(None, Mine(), 2, "node", adapter=lambda t, c: {0: c.x_0}),
        "knows the widths",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_nan_is_never_returned():
    network = TopologicalNetwork(
        NoLifting(max_rank=1), Mine(), 2, adapter=lambda t, c: {0: c.x_0 / c.x_0.new_zeros(1)}
    )
    with pytest.raises(FloatingPointError, match="the network at rank 0 gave 22 of 22 cells a NaN"):
        network(batch())


# ---------------------------------------------------------------------- processes

SCRIPT = """
import os, sys, torch, warnings
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch_geometric.data import Batch
sys.path.insert(0, {tests!r})
from test_network import parallel_graphs, parallel_network
torch.set_num_threads(1)
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
mine = Batch.from_data_list(parallel_graphs()[rank::2])
network = parallel_network(mine)
parallel = DistributedDataParallel(network)
parallel(mine).square().mean().backward()
if rank == 0:
    torch.save({{name: p.grad for name, p in network.named_parameters()}}, sys.argv[3])
dist.destroy_process_group()
"""


def parallel_graphs() -> list[Data]:
    names = ("K4", "disconnected", "two triangles", "triangle")
    return [zoo(torch.float64)[name] for name in names]


def parallel_network(data: Data) -> TopologicalNetwork:
    """The same in every process: weights from a seed, draws from the cells."""
    torch.manual_seed(0)
    network = TopologicalNetwork(lift(estimator=CommonDraws()), cwn(), 2).double()
    network(data)  # its head takes its width from this
    torch.manual_seed(1)
    for parameter in network.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    return network


@pytest.mark.skipif(sys.platform == "win32", reason="gloo's file store needs POSIX paths")
def test_two_processes_have_the_gradients_of_one(tmp_path):
    torch.set_num_threads(1)
    script = tmp_path / "worker.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    arguments = [str(tmp_path / "store"), str(tmp_path / "grads.pt")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    workers = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), *arguments],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    for worker in workers:
        output, _ = worker.communicate(timeout=240)
        assert worker.returncode == 0, output
    found = torch.load(tmp_path / "grads.pt", weights_only=True)
    graphs = parallel_graphs()
    joined = Batch.from_data_list(graphs[0::2] + graphs[1::2])
    network = parallel_network(joined)
    network(joined).square().mean().backward()
    assert any(name.startswith("lift.scorers.2") for name in found)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, msg=name)


def test_the_result_is_a_lifted_complex():
    assert isinstance(TopologicalNetwork(lift(), cwn(), 2).lifted(batch()), LiftedComplex)
