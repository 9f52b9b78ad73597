"""The contract with TopoBench and the ICML 2024 challenge, which needs neither of them."""

from __future__ import annotations

import copy
import importlib
import inspect
import itertools
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
import torch
import yaml
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.nn.norm import GraphNorm

from topox_difflift import DiffLift
from topox_difflift.datasets import molecules
from topox_difflift.domains import Cell
from topox_difflift.integrations import challenge, topobench
from topox_difflift.integrations.frozen import FrozenDiffLift
from topox_difflift.integrations.topobench import (
    AdapterWrapper,
    CellProjection,
    DiffLiftFeatureEncoder,
    DiffLiftLoss,
    LinearReadout,
    LinearWrapper,
)
from topox_difflift.nn import GCCN
from topox_difflift.products import LinearProducts
from topox_difflift.testing import AcceptAll, RejectAll, zoo

if TYPE_CHECKING:
    from collections.abc import Iterator

RANKS = {"cell": 2, "simplicial": 2, "combinatorial": 2, "hypergraph": 1}
KINDS = (
    "incidence", "adjacency", "coadjacency", "up_laplacian", "down_laplacian", "hodge_laplacian",
)  # fmt: skip


class OfAccepted(torch.nn.Module):
    """What a lifting accepts, without the rejected cells that it keeps."""

    def __init__(self, lift: torch.nn.Module) -> None:
        super().__init__()
        self.lift, self.regularization = lift, lift.regularization

    def forward(self, data):
        return self.lift(data).accepted()


def encoder(domain: str = "cell", width: int = 3, **arguments) -> DiffLiftFeatureEncoder:
    torch.manual_seed(0)
    ranks = list(range(RANKS[domain] + 1))
    arguments = {"selected_dimensions": ranks, "domain": domain, **arguments}
    return DiffLiftFeatureEncoder([width], 8, **arguments)


def batched(*names: str) -> Batch:
    """Graphs as TopoBench collates them."""
    graphs = zoo()
    batch = Batch.from_data_list([graphs[name] for name in names])
    batch.batch_0 = batch.batch
    del batch.batch
    return batch


UNLIKE = ("disconnected", "one node", "K4", "no edge", "two triangles")


def dense(matrix: Tensor) -> Tensor:
    return matrix.detach().to_dense()


# ---------------------------------------------------------------------- the keys of the batch


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("domain", RANKS)
def test_keys_shapes_and_types_are_those_of_the_pipeline(domain: str, training: bool) -> None:
    batch = batched(*UNLIKE)
    before, nodes = batch.x.clone(), batch.batch_0.clone()
    assert encoder(domain).train(training)(batch) is batch
    assert torch.equal(batch.x, before)
    assert torch.equal(batch.batch_0, nodes)
    names = ["0", "hyperedges"] if domain == "hypergraph" else [str(r) for r in range(3)]
    counts = []
    for name in names:
        x, graph = batch[f"x_{name}"], batch[f"batch_{name}"]
        assert x.shape == (len(graph), 8)
        assert x.dtype == torch.float32
        assert graph.dtype == torch.long
        counts.append(torch.bincount(graph, minlength=len(UNLIKE)))
    if domain == "hypergraph":
        expected = {"incidence_hyperedges": (len(batch.x), len(batch.x_hyperedges))}
        assert torch.equal(batch.num_hyperedges, counts[1])
        assert "incidence_1" not in batch
    else:
        n = [len(batch[f"x_{r}"]) for r in range(3)]
        expected = {f"{kind}_{r}": (n[r], n[r]) for kind in KINDS[1:] for r in range(3)}
        rows = [len(UNLIKE) if domain == "simplicial" else 0, n[0], n[1]]
        expected |= {f"incidence_{r}": (rows[r], n[r]) for r in range(3)}
        assert batch.cell_statistics.dtype == torch.long
        assert torch.equal(batch.cell_statistics, torch.stack(counts, dim=1))
    for key, shape in expected.items():
        matrix = batch[key]
        assert matrix.shape == shape, key
        assert matrix.layout == torch.sparse_coo
        assert matrix.is_coalesced()
        assert matrix.dtype == torch.float32


def theirs(domain: str, complex_, kind: str, rank: int, signed: bool) -> Tensor | None:
    """What TopoBench's pipeline asks TopoNetX for; None where TopoNetX refuses."""
    arguments = {"rank": rank, "signed": signed}
    if domain == "combinatorial":
        if kind not in ("incidence", "adjacency") or rank == (0 if kind == "incidence" else 2):
            return None
        pair = (rank - 1, rank) if kind == "incidence" else (rank, rank + 1)
        found = getattr(complex_, f"{kind}_matrix")(*pair)
    else:
        try:
            found = getattr(complex_, f"{kind}_matrix")(**arguments)
        except ValueError:
            return None
    return torch.as_tensor(found.toarray() if hasattr(found, "toarray") else found).float()


@pytest.mark.laws
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("domain", ["cell", "simplicial", "combinatorial"])
def test_matrices_are_toponetx_own_of_each_graph(domain: str, signed: bool) -> None:
    batch = encoder(domain, signed=signed).eval()(batched(*UNLIKE))
    graphs = [graph.to_toponetx() for graph in batch.lifted.unbatch()]
    compared = set()
    for kind, rank, (g, graph) in itertools.product(KINDS, range(3), enumerate(graphs)):
        matrix, expected = batch[f"{kind}_{rank}"], theirs(domain, graph, kind, rank, signed)
        of_column = batch[f"batch_{rank}"]
        of_row = of_column if kind != "incidence" else batch[f"batch_{max(rank - 1, 0)}"]
        if (kind, rank) == ("incidence", 0):
            of_row = torch.arange(matrix.size(0))
        row, column = matrix.indices()
        assert torch.equal(of_row[row], of_column[column])
        # TopoNetX has no such matrix, or one that means nothing, of ranks without cells.
        if expected is not None and (of_row == g).any() and (of_column == g).any():
            assert torch.equal(dense(matrix)[of_row == g][:, of_column == g], expected)
            compared.add((kind, rank))
    assert len(compared) == {"cell": 14, "simplicial": 14, "combinatorial": 4}[domain]


def test_hyperedges_are_those_of_the_complex() -> None:
    batch = encoder("hypergraph").eval()(batched(*UNLIKE))
    expected = torch.zeros(len(batch.x), len(batch.x_hyperedges))
    for column, members in enumerate(batch.lifted.cells(1)):
        expected[list(members), column] = 1
    assert torch.equal(dense(batch.incidence_hyperedges), expected)


ROUTES = (
    "up_adjacency-0", "down_adjacency-1", "up_incidence-0", "down_incidence-2", "2-up_adjacency-0",
    "2-up_incidence-0", "2-down_incidence-2", "up_laplacian-1", "2-down_adjacency-2",
)  # fmt: skip


@pytest.mark.parametrize("domain", ["cell", "simplicial", "combinatorial"])
def test_topotunes_neighborhoods_replace_the_matrices(domain: str) -> None:
    full = encoder(domain).eval()(batched(*UNLIKE))
    batch = encoder(domain, neighborhoods=list(ROUTES)).eval()(batched(*UNLIKE))
    assert {key for key in batch.keys() if "-" in key} == set(ROUTES)  # noqa: SIM118 -- PyG's
    assert "adjacency_1" not in batch
    b = {r: dense(full[f"incidence_{r}"]) for r in (1, 2)}
    across = (b[1] @ b[2] != 0).float()
    off = {n: 1 - torch.eye(n) for n in map(len, (full.x_0, full.x_1, full.x_2))}
    up, down = across @ across.T, across.T @ across
    expected = {
        "up_adjacency-0": dense(full.adjacency_0),
        "down_adjacency-1": dense(full.coadjacency_1),
        "up_incidence-0": b[1].T,
        "down_incidence-2": b[2],
        "2-up_adjacency-0": (up * off[len(up)] != 0).float(),
        "2-up_incidence-0": across.T,
        "2-down_incidence-2": across,
        "up_laplacian-1": dense(full.up_laplacian_1),
        "2-down_adjacency-2": (down * off[len(down)] != 0).float(),
    }
    for name, matrix in expected.items():
        assert torch.equal(dense(batch[name]), matrix), name
        assert batch[name].is_coalesced()
        assert batch[name].values().all()


def test_matrices_that_a_network_reads_can_be_chosen() -> None:
    batch = encoder(neighborhoods=["adjacency_1"])(batched("K4"))
    matrices = {key for key in batch.to_dict() if key.rpartition("_")[0] in KINDS}
    assert matrices == {"incidence_0", "incidence_1", "incidence_2", "adjacency_1"}


@pytest.mark.parametrize("domain", RANKS)
def test_cells_of_an_offline_lifting_are_replaced(domain: str) -> None:
    plain, offline = batched(*UNLIKE), batched(*UNLIKE)
    stale = [f"{kind}_{rank}" for kind in (*KINDS, "x", "batch") for rank in range(4)]
    stale += ["x_hyperedges", "num_hyperedges", "shape", "up_adjacency-1", "2-up_adjacency-0"]
    stale += ["incidence_hyperedges", "batch_hyperedges", "cell_statistics"]
    for key in stale:
        if key not in offline:
            offline[key] = torch.full((2, 2), -7.0)
    offline.x_0 = offline.x
    model = encoder(domain).eval()
    assert model(plain).keys() == model(offline).keys()
    again = model(offline)
    for key, value in plain.to_dict().items():
        if isinstance(value, Tensor):
            assert torch.equal(value.detach().to_dense(), again[key].detach().to_dense()), key


@pytest.mark.parametrize("domain", RANKS)
@pytest.mark.parametrize("name", ["no edge", "one node"])
def test_complexes_without_cells(domain: str, name: str) -> None:
    model = encoder(domain)
    model.lift.estimator = RejectAll()
    batch = model.eval()(batched(name))
    top = "hyperedges" if domain == "hypergraph" else "2"
    assert batch[f"x_{top}"].shape == (0, 8)
    assert batch[f"incidence_{top}"].size(1) == 0


def test_without_a_batch_vector_there_is_one_graph() -> None:
    data = encoder()(zoo()["K4"])
    assert data.cell_statistics.shape == (1, 3)


def test_edge_features_are_read_where_there_are_any() -> None:
    torch.manual_seed(0)
    model = DiffLiftFeatureEncoder([7], 8, selected_dimensions=[0, 1, 2], edge_channels=4)
    graphs = Batch.from_data_list(molecules(4))
    model(graphs).lifted.prob_1.sum().backward()
    assert model.lift.encoder.edge.weight.grad.any()


@pytest.mark.laws
@pytest.mark.parametrize("domain", RANKS)
def test_no_batch_effect(domain: str) -> None:
    model = encoder(domain).eval()
    together = model(batched(*UNLIKE))
    for key in ("x_0", "x_hyperedges" if domain == "hypergraph" else "x_2"):
        alone = torch.cat([model(batched(name))[key] for name in UNLIKE])
        torch.testing.assert_close(together[key], alone, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------- gates and gradients


def readout(batch: Batch, wrapper: torch.nn.Module) -> Tensor:
    """TopoBench's way down to the nodes, in its simplest form."""
    out = wrapper(batch)
    x = out["x_2"]
    with LinearProducts():
        for rank in (2, 1):
            x = out[f"x_{rank - 1}"] + batch[f"incidence_{rank}"] @ x
    return x.new_zeros(len(UNLIKE), x.size(1)).index_add(0, batch.batch_0, x)


def tuned(**arguments) -> tuple[DiffLiftFeatureEncoder, AdapterWrapper]:
    model = encoder(**arguments)
    return model, AdapterWrapper(GCCN(8, 8), out_channels=8, num_cell_dimensions=3)


@pytest.mark.laws
@pytest.mark.parametrize("domain", ["cell", "simplicial", "combinatorial"])
def test_the_topology_is_used_and_every_parameter_is_trained(domain: str) -> None:
    model, wrapper = tuned(domain=domain)
    loss = readout(model(batched(*UNLIKE)), wrapper).square().sum()
    loss.backward()
    for name, parameter in model.lift.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    found = []
    for estimator in (AcceptAll(), RejectAll()):
        model.lift.estimator = estimator
        found.append(readout(model.eval()(batched(*UNLIKE)), wrapper))
    assert not torch.allclose(*found, atol=1e-3)


@pytest.mark.laws
@pytest.mark.parametrize("domain", ["cell", "simplicial", "combinatorial"])
def test_rejected_cells_that_are_kept_are_absent(domain: str) -> None:
    model, wrapper = tuned(domain=domain)
    found, sizes = [], []
    for lift in (model.lift, OfAccepted(model.lift)):
        model.lift = lift
        torch.manual_seed(4)
        batch = model(batched(*UNLIKE))
        sizes.append(len(batch.x_2))
        found.append(readout(batch, wrapper))
    assert sizes[0] > sizes[1] > 0
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


def test_the_features_of_rejected_cells_reach_their_gates() -> None:
    """A second gate on the way would leave rejected 2-cells without a gradient."""
    model, wrapper = tuned()
    model.lift.estimator = RejectAll()
    model.lift.domain = Cell(rings="apart")
    torch.manual_seed(0)
    batch = model(batched("K4", "two triangles", "disconnected"))
    mask = batch.lifted.mask_2
    assert len(mask) > 0
    assert not mask.any()
    assert batch.x_2.any(1).all()
    with LinearProducts():
        sent = batch.incidence_2 @ wrapper(batch)["x_2"]
    (grad,) = torch.autograd.grad(sent[:, 0].sum(), mask)
    assert grad.all()


@pytest.mark.laws
def test_the_projection_is_topobenchs_where_every_cell_counts() -> None:
    torch.manual_seed(0)
    projection = CellProjection(3, 5)
    for parameter in projection.norm.parameters():
        torch.nn.init.normal_(parameter)
    x, batch = torch.randn(9, 3), torch.tensor([0, 0, 0, 1, 1, 3, 3, 3, 3])
    norm = GraphNorm(3)
    norm.load_state_dict(projection.norm.state_dict())
    expected = torch.relu(projection.linear(norm(x, batch)))
    everything = torch.ones(9, dtype=torch.bool)
    torch.testing.assert_close(projection(x, batch, everything), expected)
    some = torch.tensor([1, 0, 1, 1, 1, 0, 0, 1, 1]).bool()
    alone = projection(x[some], batch[some], everything[some])
    torch.testing.assert_close(projection(x, batch, some)[some], alone)


def test_terms_are_added_by_weight() -> None:
    model = encoder()
    batch = model(batched(*UNLIKE))
    terms = model.lift.regularization()
    loss = DiffLiftLoss(expected_size=2.0, expected_cells=0.5, entropy=-1.0)
    expected = 2 * terms["expected_size"] + terms["expected_cells"] / 2 - terms["entropy"]
    torch.testing.assert_close(loss({}, batch), expected)
    loss({}, batch).backward()
    assert any(parameter.grad.any() for parameter in model.lift.scorers.parameters())
    assert DiffLiftLoss()({}, batch) == 0
    with pytest.raises(ValueError, match=r"Expected 'batch' to hold the 'lifting_terms'"):
        loss({}, batched("K4"))


def test_no_parameter_waits_for_a_first_batch() -> None:
    for arguments in ({}, {"edge_channels": 4}, {"encoder": "gps"}):
        model = encoder(**arguments)
        assert not any(map(torch.nn.parameter.is_lazy, model.parameters()))
        copy.deepcopy(model).load_state_dict(model.state_dict())
    assert model.training
    assert model.lift.training


def test_reduced_precision() -> None:
    model, wrapper = tuned()
    batch = batched(*UNLIKE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = readout(model(batch), wrapper).float().square().sum()
    loss.backward()
    assert batch.x_2.dtype == torch.float32
    assert all(parameter.grad.isfinite().all() for parameter in model.lift.parameters())


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 7}, r"'in_channels' to be a list of widths"),
        ({"in_channels": []}, r"'in_channels' to be a list of widths"),
        ({"in_channels": [0]}, r"'in_channels' to be an integer of at least 1"),
        ({"in_channels": [7]}, r"'selected_dimensions' to be the ranks"),
        ({"selected_dimensions": [1, 2]}, r"'selected_dimensions' to be the ranks"),
        ({"out_channels": 0}, r"'out_channels'"),
        ({"edge_channels": -1}, r"'edge_channels'"),
        ({"signed": 1}, r"'signed'"),
        ({"domain": "torus"}, r"'domain'"),
        ({"domain": "hypergraph"}, r"'max_rank' to be from 1 to 1"),
        ({"k_maxx": 3}, r"Expected arguments of this class, or of DiffLift: .*k_max.*'k_maxx'"),
        ({"max_rank": 2}, r"got 'max_rank'"),
        ({"neighborhoods": ["adjacency_3"]}, r"'neighborhoods' to name ranks up to 2"),
        ({"neighborhoods": ["up_adjacency-2"]}, r"'neighborhoods' to name ranks up to 2"),
        ({"neighborhoods": ["sideways-1"]}, r"Expected a neighborhood to be named"),
        ({"neighborhoods": "adjacency_1"}, r"'neighborhoods' to be None or a list"),
    ],
)
def test_impossible_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiffLiftFeatureEncoder(**{"in_channels": [7, 7, 7], "out_channels": 8, **arguments})


def test_a_hypergraph_has_no_other_matrices() -> None:
    with pytest.raises(ValueError, match="incidence_hyperedges alone"):
        encoder("hypergraph", neighborhoods=["adjacency_0"])


def test_keys_of_the_configuration_are_swallowed() -> None:
    model = encoder(encoder_name="DiffLiftFeatureEncoder", loss=DiffLiftLoss())
    assert "DiffLift(Cell" in repr(model)
    assert list(model.dimensions) == [0, 1, 2]


def test_a_network_that_counts_rejected_cells_is_refused() -> None:
    from topomodelx.nn.hypergraph.unigcnii import UniGCNII

    model, wrapper = encoder("hypergraph"), AdapterWrapper(UniGCNII(8, 8), 8, 1)
    model.lift.estimator = RejectAll()
    with pytest.raises(ValueError, match=r"model\.feature_encoder\.rejected=drop"):
        wrapper(model(batched("K4")))
    model.lift.rejected = "drop"
    assert wrapper(model(batched("K4")))["x_0"].shape == (4, 8)


# ---------------------------------------------------------------------- frozen


@pytest.mark.parametrize("domain", RANKS)
def test_a_frozen_lifting_is_the_encoder_in_evaluation(domain: str, tmp_path) -> None:
    model = encoder(domain).eval()
    states = {
        "lift": model.lift.state_dict(),
        "encoder": model.state_dict(),
        "model": {"state_dict": {f"feature_encoder.{k}": v for k, v in model.state_dict().items()}},
    }
    graph = zoo()["two triangles"]
    before = graph.clone()
    batch = model(batched("two triangles"))
    for name, state in states.items():
        torch.save(state, tmp_path / f"{name}.pt")
        frozen = FrozenDiffLift(str(tmp_path / f"{name}.pt"), domain=domain)
        data = frozen(graph)
        assert isinstance(data, Data)
        compared = [key for key in data.keys() if "incidence" in key or "adj" in key]  # noqa: SIM118
        for key in compared:
            assert torch.equal(dense(data[key]), dense(batch[key])), key
            assert not data[key].requires_grad
        assert compared
        assert torch.equal(data.x_0, graph.x)
    if domain == "hypergraph":
        assert data.num_hyperedges == len(data.x_hyperedges)
    else:
        assert data.shape == batch.cell_statistics[0].tolist()
        torch.testing.assert_close(data.x_2, dense(data.incidence_2).T @ data.x_1)
    assert before.to_dict().keys() == graph.to_dict().keys()


def test_a_frozen_lifting_is_the_same_every_time() -> None:
    state = torch.random.get_rng_state()
    first, second = (FrozenDiffLift(seed=3)(zoo()["disconnected"]) for _ in range(2))
    assert torch.equal(dense(first.incidence_1), dense(second.incidence_1))
    FrozenDiffLift(seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert repr(FrozenDiffLift(seed=3)) == repr(FrozenDiffLift(seed=3))


# Raised by PyG's collation, once per process.
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_a_frozen_lifting_can_be_collated_and_saved(tmp_path) -> None:
    graphs = [FrozenDiffLift(edge_features=True)(graph) for graph in molecules(3)]
    torch.save(graphs, tmp_path / "graphs.pt")
    batch = Batch.from_data_list(torch.load(tmp_path / "graphs.pt", weights_only=False))
    assert batch.adjacency_1.size(0) == len(batch.x_1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preserve_edge_attr": True}, r"'preserve_edge_attr' to be False"),
        ({"feature_lifting": "Concatenation"}, r"'feature_lifting'"),
        ({"seed": -1}, r"'seed'"),
        ({"complex_dim": 3}, r"'max_rank' to be from 1 to 2"),
        ({"k_maxx": 3}, r"'k_maxx'"),
        ({"neighborhoods": ["adjacency_3"]}, r"ranks up to 2"),
    ],
)
def test_impossible_arguments_of_a_frozen_lifting(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrozenDiffLift(**arguments)


def test_checkpoints_that_do_not_fit(tmp_path) -> None:
    path = tmp_path / "lift.pt"
    torch.save(encoder("simplicial", hidden_channels=8).lift.state_dict(), path)
    with pytest.raises(ValueError, match=r"to begin with sha256='0000'"):
        FrozenDiffLift(str(path), sha256="0000")
    with pytest.raises(ValueError, match=r"give the arguments with which it was trained"):
        FrozenDiffLift(str(path))(zoo()["K4"])
    torch.save({"state_dict": {}, "hyper_parameters": AcceptAll()}, path)
    with pytest.raises(ValueError, match=r"to hold tensors alone"):
        FrozenDiffLift(str(path))


# ---------------------------------------------------------------------- registration


PLACES = {
    "topobench.nn.encoders": ("FEATURE_ENCODERS", ["DiffLiftFeatureEncoder"]),
    "topobench.loss.model": ("LOSSES", ["DiffLiftLoss"]),
    "topobench.nn.wrappers": ("WRAPPER_CLASSES", ["AdapterWrapper", "LinearWrapper"]),
    "topobench.nn.readouts": ("READOUT_CLASSES", ["LinearReadout"]),
    "topobench.transforms": ("TRANSFORMS", ["FrozenDiffLift"]),
}


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """Modules with empty registries in the place of TopoBench's."""
    modules = {name: ModuleType(name) for name in PLACES}
    for name, module in modules.items():
        setattr(module, PLACES[name][0], {})
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("topobench", "topobench.nn", "topobench.loss"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    return modules


def test_registering_twice_is_registering_once(registered: dict[str, ModuleType]) -> None:
    for _ in range(2):
        topobench.register()
        for place, (registry, names) in PLACES.items():
            found = getattr(registered[place], registry)
            assert sorted(found) == names
            assert all(getattr(registered[place], name) is found[name] for name in names)
            assert all(found[name] is getattr(topobench, name) for name in names)


def test_another_class_of_the_name_is_not_replaced(registered: dict[str, ModuleType]) -> None:
    registered["topobench.transforms"].TRANSFORMS["FrozenDiffLift"] = dict
    with pytest.raises(ValueError, match=r"'FrozenDiffLift' to be free in topobench\.transforms"):
        topobench.register()
    assert registered["topobench.transforms"].TRANSFORMS["FrozenDiffLift"] is dict


def test_without_topobench_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("topobench", *PLACES):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"checkout of geometric-intelligence/TopoBench"):
        topobench.register()
    with pytest.raises(ImportError, match=r"wrapper_name='CWNWrapper' names a class of TopoBench"):
        LinearWrapper(torch.nn.Identity(), wrapper_name="CWNWrapper")
    with pytest.raises(ImportError, match=r"readout_name='NoReadOut'"):
        LinearReadout(readout_name="NoReadOut")


def test_the_callback_registers(registered: dict[str, ModuleType]) -> None:
    topobench.RegisterCallback().on_job_start(config=None)
    assert registered["topobench.transforms"].TRANSFORMS


def test_the_challenge(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "modules.transforms.data_transform"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"checkout of pyt-team/challenge-icml-2024"):
        challenge.register()
    module = ModuleType(name)
    module.TRANSFORMS = {}
    for part in ("modules", "modules.transforms"):
        monkeypatch.setitem(sys.modules, part, ModuleType(part))
    monkeypatch.setitem(sys.modules, name, module)
    challenge.register()
    challenge.register()
    assert {"FrozenDiffLift": FrozenDiffLift} == module.TRANSFORMS


def test_names_of_classes_that_topobench_lacks(registered: dict[str, ModuleType]) -> None:
    with pytest.raises(ValueError, match=r"'wrapper_name' to be the name of a class in topobench"):
        LinearWrapper(torch.nn.Identity(), wrapper_name="NoSuchWrapper")


def test_wrappers_and_readouts_run_within_linear_products(
    registered: dict[str, ModuleType],
) -> None:
    modes = []

    class Inner(torch.nn.Module):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__()
            self.task_level = "graph"

        def forward(self, *args, **kwargs):
            modes.append(type(torch.overrides._get_current_function_mode()))

    registered["topobench.nn.wrappers"].CWNWrapper = Inner
    registered["topobench.nn.readouts"].PropagateSignalDown = Inner
    LinearWrapper(torch.nn.Identity(), wrapper_name="CWNWrapper")(None)
    readout_ = LinearReadout(readout_name="PropagateSignalDown")
    readout_(model_out={}, batch=None)
    assert readout_.task_level == "graph"
    assert modes == [LinearProducts] * 2


# ---------------------------------------------------------------------- what is shipped


CONFIGS = files("topox_difflift.integrations.topobench_configs")
SHIPPED = sorted(Path(str(CONFIGS)).rglob("*.yaml"))


def test_there_is_a_configuration_for_every_domain() -> None:
    models = {f"{p.parent.name}/{p.stem}" for p in SHIPPED if p.parent.parent.name == "model"}
    assert {
        "cell/cwn_difflift",
        "cell/ccxn_difflift",
        "simplicial/sccn_difflift",
        "simplicial/scn_difflift",
        "hypergraph/unignn_difflift",
        "hypergraph/unignn2_difflift",
        *(f"{domain}/topotune_difflift" for domain in ("cell", "simplicial", "combinatorial")),
    } == models
    assert CONFIGS.joinpath("__init__.py").is_file()  # without which Hydra does not find them


def named(node: object) -> Iterator[tuple[str, dict]]:
    """Classes that a configuration names, with their arguments."""
    if isinstance(node, dict):
        if str(node.get("_target_")).startswith("topox_difflift."):
            yield node["_target_"], node
        for value in node.values():
            yield from named(value)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_configurations_name_classes_and_arguments_that_exist(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert content
    for target, arguments in named(content):
        module, _, name = target.rpartition(".")
        takes = inspect.signature(getattr(importlib.import_module(module), name)).parameters
        known = set(takes) | set(inspect.signature(DiffLift).parameters)
        if not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
            known = set(takes)
        known |= {"_target_", "_partial_"}
        assert set(arguments) <= known, target
    if "transform_name" in content:
        assert content.pop("transform_name") == "FrozenDiffLift"
        assert content.pop("neighborhoods", "${}").startswith("${")
        assert FrozenDiffLift(**content)(zoo()["K4"]).x_0.shape == (4, 3)
    for default in content.get("defaults", []):
        if isinstance(default, str) and default.startswith("/difflift/"):
            assert CONFIGS.joinpath(f"{default.partition('@')[0][1:]}.yaml").is_file()


def test_the_challenges_configuration_builds_the_transform() -> None:
    (path,) = Path(str(files("topox_difflift.integrations"))).glob("challenge_configs/**/*.yaml")
    content = yaml.safe_load(path.read_text())
    assert content["transform_name"] == "FrozenDiffLift"
    data = FrozenDiffLift(**content)(zoo()["two triangles"])
    assert data.shape == [len(data.x_0), len(data.x_1), len(data.x_2)]
    for rank, kind in itertools.product(range(3), KINDS):
        assert data[f"{kind}_{rank}"].layout == torch.sparse_coo


def test_the_wheel_ships_the_configurations(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="needs hatchling, which builds the wheel")
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    shipped = set(zipfile.ZipFile(wheel).namelist())
    package = root / "topox_difflift"
    assert {str(path.relative_to(root)) for path in package.rglob("*.yaml")} <= shipped
    assert "topox_difflift/integrations/topobench_configs/__init__.py" in shipped
