"""Mini-batches of one large graph: PyG's loaders with a lifting in the model.

Each test runs PyG's own loaders. Where the packages are missing that sample and cut in compiled
code, `samplers` stands in for that one call, so that everything runs everywhere; with the packages
the same tests run on theirs as well.
"""

from __future__ import annotations

import operator
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
import torch_geometric.typing
from samplers import PlainClusters, PlainSampler, random_graph
from topomodelx.nn.cell.cwn import CWN
from topomodelx.nn.hypergraph.unigcn import UniGCN
from torch_geometric.loader import ClusterData, ClusterLoader, NeighborLoader, RandomNodeLoader

from topox_difflift import DiffLift
from topox_difflift.datasets import load_dataset
from topox_difflift.nn import TopologicalNetwork
from topox_difflift.testing import assert_same

if TYPE_CHECKING:
    from torch_geometric.data import Data

# Said by PyG's sampler when it is made without pyg-lib, though nothing of torch-sparse is used.
pytestmark = pytest.mark.filterwarnings("ignore:Using '.*' without a 'pyg-lib' installation")

needs_sampler = pytest.mark.skipif(
    not (torch_geometric.typing.WITH_PYG_LIB or torch_geometric.typing.WITH_TORCH_SPARSE),
    reason="PyG's own neighbour sampling needs pyg-lib or torch-sparse, neither is installed",
)
SAMPLERS = ["plain", pytest.param("compiled", marks=needs_sampler)]
needs_data = pytest.mark.skipif(
    "TOPOX_DIFFLIFT_DATA" not in os.environ,
    reason="set TOPOX_DIFFLIFT_DATA to the folder that holds Planetoid/Cora/raw",
)
TNNS = {
    "cell": lambda width: CWN(width, width, width, 8, 1),
    "hypergraph": lambda width: UniGCN(width, 8, n_layers=1),
}


def neighbors(
    data: Data, counts: list[int], sampler: str, kind: str = "bidirectional", **options: object
) -> NeighborLoader:
    if sampler == "plain":
        options["neighbor_sampler"] = PlainSampler(data, counts, subgraph_type=kind)
    return NeighborLoader(data, counts, subgraph_type=kind, **options)


def clusters(data: Data, num_parts: int) -> ClusterData:
    """PyG's clusters, by METIS where there is one."""
    try:
        return ClusterData(data, num_parts, log=False)
    except ImportError:
        return PlainClusters(data, num_parts, log=False)


def network(domain: str, width: int, classes: int = 2) -> TopologicalNetwork:
    torch.manual_seed(0)
    lift = DiffLift(domain, hidden_channels=16, max_rank=1 if domain == "hypergraph" else 2)
    return TopologicalNetwork(lift, TNNS[domain](width), classes, level="node")


def assert_all_learn(lift: DiffLift) -> None:
    for name, parameter in lift.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


# ------------------------------------------------------------------ what the model sees


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("domain", ["hypergraph", "simplicial", "cell", "combinatorial"])
def test_seeds_come_first_and_what_the_loader_says_survives(domain, sampler):
    data = random_graph(400, 1200)
    data.edge_attr = torch.rand(data.num_edges, 2)
    torch.manual_seed(0)
    lift = DiffLift(domain)
    seeds = data.train_mask.nonzero().squeeze(1)
    for batch in neighbors(data, [3, 2], sampler, input_nodes=seeds, batch_size=80):
        lifted = lift(batch)
        size = lifted.batch_size
        assert {"n_id", "e_id", "input_id", "batch_size"} <= set(batch.keys())
        for key, value in batch:
            same = torch.equal if torch.is_tensor(value) else operator.eq
            assert same(lifted[key], value), key
        assert torch.equal(lifted.n_id[:size], seeds[lifted.input_id])
        assert torch.equal(lifted.x_0, data.x[lifted.n_id])
        assert torch.equal(lifted.y[:size], data.y[seeds[lifted.input_id]])
        assert lifted.num_graphs == 1
        assert lifted.accepted().validate()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_node_is_a_seed_once(sampler):
    data = random_graph(300, 600)
    found = [
        batch.n_id[: batch.batch_size]
        for batch in neighbors(data, [2], sampler, batch_size=128, shuffle=True)
    ]
    assert torch.equal(torch.cat(found).sort().values, torch.arange(300))


@pytest.mark.laws
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("domain", ["hypergraph", "cell"])
def test_a_batch_of_everything_is_the_graph(domain, sampler):
    """With all nodes as seeds and all of their neighbours, nothing is lost."""
    data = random_graph(200, 500)
    lift = DiffLift(domain, in_channels=8).eval()
    (batch,) = neighbors(data, [-1], sampler, batch_size=200)
    assert torch.equal(batch.n_id, torch.arange(200))
    assert_same(lift(batch), lift(data))


def test_arcs_towards_the_seeds_are_symmetrised_with_a_warning():
    """The remedy is ``subgraph_type="bidirectional"``, under which no test here warns."""
    data = random_graph(400, 1200)
    lift = DiffLift(in_channels=8).eval()
    lifted = []
    for kind in ("directional", "bidirectional"):
        torch.manual_seed(0)
        batch = next(iter(neighbors(data, [3, 2], "plain", kind, batch_size=50)))
        if kind == "directional":
            with pytest.warns(UserWarning, match="'edge_index' is directed"):
                lifted.append(lift(batch))
        else:
            lifted.append(lift(batch))
    assert_same(*lifted)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seed_without_neighbours_is_lifted(sampler):
    data = random_graph(10, 20)
    data.edge_index = data.edge_index[:, (data.edge_index > 0).all(0)]
    model = network("cell", 8)
    for batch in neighbors(data, [2, 2], sampler, batch_size=1):
        assert torch.isfinite(model(batch)).all()


# ------------------------------------------------------------------ training


@pytest.mark.laws
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("domain", list(TNNS))
def test_a_loss_of_the_seeds_alone_trains_the_whole_lifting(domain, sampler):
    data = random_graph(400, 1200)
    model = network(domain, 8)
    loader = neighbors(data, [3, 3], sampler, input_nodes=data.train_mask, batch_size=40)
    batch = next(iter(loader))
    size = batch.batch_size
    assert size < batch.num_nodes
    torch.nn.functional.cross_entropy(model(batch)[:size], batch.y[:size]).backward()
    assert_all_learn(model.lift)


@needs_data
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("domain", list(TNNS))
def test_cora_in_batches_of_seeds(domain, sampler):
    (data,) = load_dataset("Cora")
    model = network(domain, data.x.size(1), classes=7)
    loader = neighbors(
        data, [5, 3], sampler, input_nodes=data.train_mask, batch_size=35, shuffle=True
    )
    optimizer, losses, seen = None, [], []
    for epoch in range(3):
        for batch in loader:
            size = batch.batch_size
            logits = model(batch)[:size]
            if optimizer is None:
                optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
            loss = torch.nn.functional.cross_entropy(logits, batch.y[:size])
            optimizer.zero_grad()
            loss.backward()
            if not losses:
                assert_all_learn(model.lift)
            optimizer.step()
            losses.append(loss.item())
            seen.append(batch.n_id[:size])
        assert data.train_mask[torch.cat(seen)].all()
        assert len(torch.cat(seen)) == (epoch + 1) * data.train_mask.sum()
    assert sum(losses[-4:]) < sum(losses[:4])


@pytest.mark.parametrize(
    "loader",
    [
        lambda data: ClusterLoader(clusters(data, 12), batch_size=3, shuffle=True),
        lambda data: RandomNodeLoader(data, num_parts=4, shuffle=True),
    ],
    ids=["clusters", "random nodes"],
)
@pytest.mark.parametrize("domain", list(TNNS))
def test_parts_of_a_graph_train_the_whole_lifting(domain, loader):
    data = random_graph(400, 1200)
    data.node = torch.arange(400)
    model, nodes, arcs = network(domain, 8), [], 0
    model(data)
    for batch in loader(data):
        mask = batch.train_mask
        torch.nn.functional.cross_entropy(model(batch)[mask], batch.y[mask]).backward()
        assert_all_learn(model.lift)
        model.zero_grad()
        nodes.append(batch.node)
        arcs += batch.num_edges
        expected = data.subgraph(batch.node)
        assert sorted(batch.edge_index.t().tolist()) == sorted(expected.edge_index.t().tolist())
    assert torch.equal(torch.cat(nodes).sort().values, torch.arange(400))
    assert 0 < arcs < data.num_edges


# ------------------------------------------------------------------ memory


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are read from /proc"
)
def test_memory_follows_the_batch_and_not_the_graph():
    """A step (GIN, cells, CWN) on a batch of 64 seeds, and of 256, on graphs of two sizes."""
    cases = [(10_000, 64), (100_000, 64), (100_000, 256)]
    folder = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "minibatch_memory.py", *(f"{nodes},{seeds}" for nodes, seeds in cases)],
        cwd=folder,
        # Memory that is freed goes back at once, so that nothing is measured twice or not at all.
        env={
            **os.environ,
            "MALLOC_MMAP_THRESHOLD_": "65536",
            "PYTHONPATH": os.pathsep.join([str(folder.parent), os.environ.get("PYTHONPATH", "")]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    added = {(int(nodes), int(seeds)): float(mb) for nodes, seeds, mb in rows}
    small, large, wide = (added[case] for case in cases)
    assert 10 < large < 1.5 * small
    assert wide > 2 * large
