"""
Every device computes the same, and nothing leaves the device of the input.

The first part needs no other device than the host: a factory that is told no device makes its
tensor on the meta device, which no operation mixes with the host. What passes is told a device
everywhere, and so runs wherever its input lies. The second part compares each device that is
present with the host, in double precision; where there is no other device it is skipped.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import far
import model_table
import pytest
import torch
from model_table import fits, lifting, network, ranks_of
from torch_geometric.data import Batch, Data
from torch_geometric.utils import to_undirected

from topox_difflift import DiffLift, LiftedComplex, compiled, ragged
from topox_difflift.checks import check_generator
from topox_difflift.cliques import cliques, edge_ids
from topox_difflift.complex import _DERIVED
from topox_difflift.cycles import (
    fundamental_cycles,
    induced_cycles,
    minimum_cycle_basis,
    shortest_cycle_basis,
)
from topox_difflift.datasets import molecules, planted_cells
from topox_difflift.domains import DOMAINS, Cell
from topox_difflift.encoders import ENCODERS
from topox_difflift.estimators import ESTIMATORS
from topox_difflift.graph import check_graph
from topox_difflift.liftings import (
    CliqueLifting,
    CycleLifting,
    FixedRate,
    KernelLifting,
    KHopLifting,
    KNNLifting,
    NoLifting,
    OracleLifting,
    SimplicialKHopLifting,
)
from topox_difflift.neighbors import knn, knn_within
from topox_difflift.nn import TNNS, TopologicalNetwork
from topox_difflift.products import LinearProducts
from topox_difflift.recovery import recovery
from topox_difflift.sparse import sparse_mm
from topox_difflift.testing import zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ACCELERATORS = ["cuda"] if torch.cuda.is_available() else []
NO_DEVICE = pytest.mark.skip(reason="needs a CUDA device; torch.cuda.is_available() is False")
on_accelerators = pytest.mark.parametrize(
    "device", ACCELERATORS or [pytest.param("cuda", marks=NO_DEVICE)]
)

# Sums are taken in another order on every device. In double precision that moves a value by some
# 1e-15 of its size, and what is chosen (neighbours, sizes, acceptances) not at all.
CLOSE: dict[str, float] = {"rtol": 1e-9, "atol": 1e-11}
# In single precision, after a few layers.
NEAR: dict[str, float] = {"rtol": 1e-3, "atol": 1e-4}

LIFTINGS = [
    *(NoLifting(domain) for domain in ("cell", "simplicial", "combinatorial", "hypergraph")),
    CycleLifting(),
    CycleLifting("induced", max_cycle_length=6),
    CycleLifting("minimum"),
    CliqueLifting(3),
    KHopLifting(k=2),
    SimplicialKHopLifting(),
    KNNLifting(),
    KernelLifting(),
    KernelLifting(feature_kernel=lambda x: torch.exp(-torch.cdist(x, x).square())),
    *(OracleLifting(domain) for domain in ("cell", "simplicial", "combinatorial", "hypergraph")),
]
VARIANTS: dict[str, Callable[[], DiffLift]] = {
    **{name: lambda name=name: _lift(name) for name in DOMAINS},
    **{f"{e} encoder": lambda e=e: _lift("cell", encoder=e) for e in ENCODERS},
    "induced cycles": lambda: _lift(Cell("induced", 6)),
    "minimum cycles": lambda: _lift(Cell("minimum")),
    "rank 3": lambda: _lift("simplicial", max_rank=3, k_max=4),
    "hard, dropped": lambda: _lift("cell", memberships="hard", rejected="drop"),
    "budget and rescue": lambda: _lift("cell", cell_budget=3, rescue=True),
    "largest member": lambda: _lift("hypergraph", aggregation="max", dispersion=False),
    "sum of members": lambda: _lift("simplicial", aggregation="sum"),
}


def _lift(domain: Any, **options: Any) -> DiffLift:
    """Make a lifting that draws nothing."""
    torch.manual_seed(0)
    options = {"estimator": "threshold", **options}
    return DiffLift(domain, in_channels=7, hidden_channels=8, **options).double()


def graphs() -> Batch:
    """Molecules with features of the edges, of unlike sizes, one without any edge."""
    alone = Data(
        x=torch.eye(7)[:2],
        edge_index=torch.empty(2, 0, dtype=torch.long),
        edge_attr=torch.empty(0, molecules(1)[0].edge_attr.size(1)),
        y=torch.zeros(1, dtype=torch.long),
    )
    batch = Batch.from_data_list([*molecules(5), alone])
    noise = torch.randn(batch.x.shape, generator=torch.Generator().manual_seed(0))
    batch.x = batch.x.double() + 0.3 * noise.double()
    batch.edge_attr = batch.edge_attr.double()
    return batch


def planted() -> Batch:
    batch = Batch.from_data_list(planted_cells("cycles", num_graphs=4))
    batch.x = batch.x.double()
    return batch


def tensors(value: object, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """List what an object holds, with what it keeps for later."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from tensors(part, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from tensors(part, f"{name}[{i}]")
    elif type(value).__module__.startswith("topox_difflift"):
        yield from tensors(vars(value), name)
    elif type(value).__module__.startswith("torch_geometric"):
        yield from tensors(value.to_dict(), name)


def matrices(lifted: LiftedComplex) -> dict[str, torch.Tensor]:
    """Derive every matrix there is."""
    return {
        f"{kind}_{rank}": lifted[f"{kind}_{rank}"]
        for kind in _DERIVED
        for rank in range(lifted.max_rank + 1)
    }


def assert_all_on(value: object, device: str) -> None:
    elsewhere = [name for name, tensor in tensors(value) if tensor.device.type != device]
    assert not elsewhere, f"not on {device}: {elsewhere}"


def assert_same(here: object, there: object, **tolerance: float) -> None:
    """Compare two complexes, or whatever else holds tensors."""
    expected, found = dict(tensors(here)), dict(tensors(there))
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(
            found[name].detach().cpu(), tensor.detach(), msg=lambda m, n=name: f"{n}: {m}",
            **(tolerance or CLOSE), check_layout=True,
        )  # fmt: skip


def total(values: list[torch.Tensor]) -> torch.Tensor:
    """Weigh all numbers differently, and add up their squares."""
    flat = torch.cat([v.reshape(-1) for v in values])
    weight = torch.cos(torch.arange(len(flat), dtype=flat.dtype, device=flat.device))
    return ((flat + 0.3).square() * weight).sum()


def differentiable(lifted: LiftedComplex) -> list[torch.Tensor]:
    """Collect features and the entries of all matrices of a complex."""
    found = [lifted[f"x_{r}"] for r in range(lifted.max_rank + 1)]
    return found + [m.values() for name, m in matrices(lifted).items() if name != "incidence_0"]


def gradients(module: torch.nn.Module, values: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    module.zero_grad()
    total(values).backward()
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


# ---------------------------------------------------------------------- told a device everywhere


@pytest.fixture(params=["compiled loops", "tensor operations"])
def untold(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Device of tensors whose factory is told none, on which nothing can be computed."""
    if request.param == "tensor operations":  # those of every other device
        monkeypatch.setattr(compiled, "numba_installed", lambda: False)
        monkeypatch.setattr("topox_difflift.cycles.numba_installed", lambda: False)
    elif not compiled.numba_installed():
        pytest.skip(reason="needs numba")
    return torch.device("meta")


def test_the_law_finds_a_tensor_on_the_default_device(untold: torch.device) -> None:
    x = torch.ones(3)
    with untold, pytest.raises(RuntimeError, match="meta"):
        x + torch.arange(3)


@pytest.mark.laws
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_lift_is_told_where(name: str, training: bool, untold: torch.device) -> None:
    data, lift = graphs(), VARIANTS[name]().train(training)
    lift(data)  # what waits for a first input is made on the default device
    with untold:
        lifted = lift(data)
        gradients(lift, differentiable(lifted))
        lift.regularization()
        lifted.summary()
        accepted = lifted.accepted()
        matrices(accepted)
        parts = lifted.unbatch()
    assert_all_on([lifted, accepted, parts, matrices(lifted)], "cpu")
    assert all(p.grad is None or p.grad.device.type == "cpu" for p in lift.parameters())


@pytest.mark.laws
@pytest.mark.parametrize("name", [*ESTIMATORS, "fixed rate"])
def test_an_estimator_is_told_where(name: str, untold: torch.device) -> None:
    lift = _lift("cell", estimator=FixedRate(0.5) if name == "fixed rate" else name)
    data = graphs()
    lift(data)
    for training in (True, False):
        lift.train(training)
        with untold:
            lifted = lift(data)
            drawn = [lift.log_prob()] if training and not lift.estimator.pathwise else []
            gradients(lift, differentiable(lifted) + drawn)
        assert_all_on(lifted, "cpu")


@pytest.mark.laws
@pytest.mark.parametrize("static", LIFTINGS, ids=repr)
def test_a_static_lifting_is_told_where(static: Any, untold: torch.device) -> None:
    data = planted()
    with untold:
        lifted = static(data)
        found = matrices(lifted)
    assert_all_on([lifted, found], "cpu")


NETWORKS = [(name, domain) for name, a in TNNS.items() for domain in a.domains if fits(a, domain)]
READOUTS = ("mean", "propagate")


def built(name: str, domain: str, readout: str) -> tuple[TopologicalNetwork, Batch]:
    """Build a network with a lifting before it, none of whose parameters waits for an input."""
    adapter, data = TNNS[name], zoo(torch.float64)["batch"]
    lift = lifting(domain, ranks_of(adapter), "threshold", rejected="drop")
    if adapter.learns == ():
        lift = model_table.Frozen(lift)
    net = network(adapter, lift, torch.float64, readout=readout).eval()
    net(data)
    return net, data


@pytest.fixture
def _blind() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* no gradient: ", UserWarning)
        yield


@pytest.mark.laws
@pytest.mark.usefixtures("_blind")
@pytest.mark.parametrize(("name", "domain"), [pair for pair in NETWORKS if pair[0] != "hmc"])
@pytest.mark.parametrize("untold", ["tensor operations"], indirect=True)
def test_a_network_is_told_where(name: str, domain: str, untold: torch.device) -> None:
    """All but HMC, which makes its indices of lists, and moves them."""
    for readout in READOUTS:
        net, data = built(name, domain, readout)
        with untold:
            y = net(data)
            gradients(net, [y])
        assert y.device.type == "cpu"


def test_a_generator_elsewhere_is_named() -> None:
    check_generator(None, torch.device("cuda"))
    check_generator(torch.Generator(), torch.device("cpu"))
    with pytest.raises(ValueError, match=r"'generator' to be on cuda:1.*got one on cpu"):
        check_generator(torch.Generator(), torch.device("cuda:1"))


@pytest.mark.laws
@pytest.mark.parametrize("untold", ["tensor operations"], indirect=True)
def test_cycles_by_tensor_operations_are_told_where(untold: torch.device) -> None:
    graph = check_graph(graphs())
    with untold:
        found = fundamental_cycles(graph.edges, len(graph.x), engine="torch")
    assert_all_on(found, "cpu")
    assert_same(found, fundamental_cycles(graph.edges, len(graph.x)))


# ---------------------------------------------------------------------- the same on every device


@on_accelerators
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", VARIANTS)
def test_lifts_are_the_same(name: str, training: bool, device: str) -> None:
    data, lift = graphs(), VARIANTS[name]().train(training)
    lift(data)
    here, there = lift, copy.deepcopy(lift).to(device)
    lifted, moved = here(data), there(data.to(device))
    assert [moved.cells(r) for r in range(1, moved.max_rank + 1)] == [
        lifted.cells(r) for r in range(1, lifted.max_rank + 1)
    ]
    assert_same([lifted, matrices(lifted)], [moved, matrices(moved)])
    assert_same(here.regularization(), there.regularization())
    assert_same(gradients(here, differentiable(lifted)), gradients(there, differentiable(moved)))
    accepted = moved.accepted()
    assert_same(lifted.accepted(), accepted)
    assert_same(lifted.unbatch(), moved.unbatch())
    assert_all_on([moved, accepted, matrices(moved), moved.unbatch()], device)
    assert moved.validate()


@on_accelerators
@pytest.mark.parametrize("domain", DOMAINS)
def test_lifts_are_the_same_in_single_precision(domain: str, device: str) -> None:
    data, lift = graphs(), _lift(domain).float()
    data.x, data.edge_attr = data.x.float(), data.edge_attr.float()
    lift(data)
    there = copy.deepcopy(lift).to(device)
    lifted, moved = lift(data), there(data.to(device))
    assert_same([lifted, matrices(lifted)], [moved, matrices(moved)], **NEAR)
    assert_same(
        gradients(lift, differentiable(lifted)), gradients(there, differentiable(moved)), **NEAR
    )


@on_accelerators
@pytest.mark.parametrize("static", LIFTINGS, ids=repr)
def test_static_liftings_are_the_same(static: Any, device: str) -> None:
    for data in (planted(), graphs()):
        if isinstance(static, OracleLifting) and "planted_index" not in data:
            continue
        lifted, moved = static(data), static(data.to(device))
        assert_same([lifted, matrices(lifted)], [moved, matrices(moved)])
        assert_all_on([moved, matrices(moved)], device)


@on_accelerators
def test_searches_are_the_same(device: str) -> None:
    graph = check_graph(graphs())
    edges, n = graph.edges, len(graph.x)
    there = edges.to(device)
    assert_same(knn(graph.x, graph.batch, 4), knn(graph.x.to(device), graph.batch.to(device), 4))
    arcs = graph.edge_index
    within = knn_within(graph.x.to(device), graph.batch.to(device), arcs.to(device), 2, 4)
    assert_same(knn_within(graph.x, graph.batch, arcs, 2, 4), within)
    for engine in ("auto", "scipy", "torch"):
        assert_same(fundamental_cycles(edges, n), fundamental_cycles(there, n, engine=engine))
    assert_same(shortest_cycle_basis(edges, n), shortest_cycle_basis(there, n))
    assert_same(minimum_cycle_basis(edges, n), minimum_cycle_basis(there, n))
    assert_same(induced_cycles(edges, n, 7), induced_cycles(there, n, 7))
    dense = to_undirected(torch.combinations(torch.arange(7)).t())
    dense = dense[:, dense[0] < dense[1]]
    for order in (3, 4, 5):
        assert_same(cliques(dense, 7, order), cliques(dense.to(device), 7, order))
    u, v = torch.randint(n, (2, 50), generator=torch.Generator().manual_seed(0))
    assert_same(edge_ids(u, v, edges, n), edge_ids(u.to(device), v.to(device), there, n))


@on_accelerators
@pytest.mark.parametrize(("n_nodes", "channels"), [(40, 3), (3000, 8), (6000, 2)])
def test_large_graphs_have_the_same_neighbors(n_nodes: int, channels: int, device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        z = torch.randn(n_nodes, channels, generator=generator, dtype=dtype)
        z[1::3] = z[::3][: len(z[1::3])]  # ties
        batch = torch.zeros(n_nodes, dtype=torch.long)
        assert_same(knn(z, batch, 5), knn(z.to(device), batch.to(device), 5))


@on_accelerators
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_are_the_same(dtype: torch.dtype, device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(40, (2, 120), generator=generator).unique(dim=1)
    values = torch.randn(index.size(1), generator=generator, dtype=dtype)
    x = torch.randn(40, 5, generator=generator, dtype=dtype)
    found = []
    for where in ("cpu", device):
        entries, factor = (t.to(where).requires_grad_() for t in (values.clone(), x.clone()))
        matrix = torch.sparse_coo_tensor(
            index.to(where), entries, (40, 40), is_coalesced=True, check_invariants=False
        )
        with LinearProducts():
            results = [matrix @ factor, factor.t() @ matrix, (matrix @ matrix).to_dense() @ factor]
            results += [matrix.t() @ factor, matrix.to_dense().sum(1)]
        results.append(sparse_mm(matrix, factor))
        found.append([*results, *torch.autograd.grad(total(results), [entries, factor])])
        assert_all_on(found[-1], where)
    assert_same(*found, **(CLOSE if dtype == torch.float64 else NEAR))


@on_accelerators
@pytest.mark.usefixtures("_blind")
@pytest.mark.parametrize(("name", "domain"), NETWORKS)
def test_networks_are_the_same(name: str, domain: str, device: str) -> None:
    for readout in READOUTS:
        net, data = built(name, domain, readout)
        moved = copy.deepcopy(net).to(device)
        if isinstance(net.lift, model_table.Frozen):
            moved.lift.lifts = [copy.deepcopy(net.lift.lifts[0]).to(device)]
        here, there = net(data), moved(data.to(device))
        assert_all_on(there, device)
        assert_same(here, there)
        assert_same(gradients(net, [here]), gradients(moved, [there]), rtol=1e-7, atol=1e-9)


@on_accelerators
def test_a_frozen_lifting_works_on_the_host_and_answers_on_the_device(device: str) -> None:
    lift, data = _lift("cell"), graphs()
    lift(data)
    here = lift.freeze()
    there = lift.to(device).freeze()
    assert repr(there) == repr(here)
    lifted = there(data.to(device))
    assert_all_on(lifted, device)
    assert_same(here(graphs()), lifted)


@on_accelerators
@pytest.mark.parametrize("name", [*ESTIMATORS, "fixed rate"])
def test_draws_come_from_a_generator_of_the_device(name: str, device: str) -> None:
    estimator = FixedRate(0.5) if name == "fixed rate" else name
    lift, data = _lift("cell", estimator=estimator).to(device), graphs().to(device)
    lift(data)
    lift.generator = torch.Generator(device)
    cells = []
    state = torch.cuda.get_rng_state(device)
    for seed in (0, 0, 1):
        lift.generator.manual_seed(seed)
        lifted = lift(data)
        gradients(lift, differentiable(lifted))
        cells.append(lifted.accepted().cells(1))
    assert cells[0] == cells[1]
    assert (cells[0] == cells[2]) == (not lift.estimator.stochastic)
    assert torch.equal(torch.cuda.get_rng_state(device), state)
    lift.generator = torch.Generator()
    lift.eval()(data)  # draws nothing
    if lift.estimator.stochastic:
        with pytest.raises(ValueError, match=rf"'generator' to be on {device}.*torch.Generator"):
            lift.train()(data)


@on_accelerators
def test_autocast(device: str) -> None:
    lift = _lift("cell").float().to(device)
    data = graphs().to(device)
    data.x, data.edge_attr = data.x.float(), data.edge_attr.float()
    net = TopologicalNetwork(lift, TNNS["cwn"].build(7, 8, 2), 2).to(device)
    net(data)
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast(device, dtype):
            y = net(data)
        grads = gradients(lift, [y.float()])
        assert all(bool(g.isfinite().all()) for g in grads.values())
        assert any(bool(g.any()) for name, g in grads.items() if name.startswith("scorers"))


@on_accelerators
def test_a_complex_moves(device: str) -> None:
    data = graphs()
    lifted = _lift("cell")(data).detach()
    matrices(lifted)
    moved = copy.copy(lifted).to(device)
    assert_all_on([moved, matrices(moved)], device)
    back = copy.copy(moved).cpu()
    assert_same([lifted, matrices(lifted)], [back, matrices(back)])
    together = Batch.from_data_list(moved.unbatch())
    assert_all_on([together.x_1, together.faces_2], device)
    assert_same(moved.incidence_2.cpu(), together.incidence_2.cpu())


@on_accelerators
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_results_can_be_looked_at(device: str) -> None:
    pytest.importorskip("matplotlib", reason='needs the extra "plot"')
    pytest.importorskip("lightning", reason='needs the extra "train"')
    from matplotlib import pyplot as plt

    from topox_difflift.config import TrainingConfig
    from topox_difflift.diagnostics import _gradient_norms, resample
    from topox_difflift.plotting import draw, draw_pair, plot_probabilities, plot_sizes

    here = planted()
    data = here.to(device)
    lift = DiffLift("cell", in_channels=here.x.size(1)).double().to(device)
    lifted = lift(data)
    for rank in (1, 2):
        found = recovery(lifted, data, rank)
        assert repr(found) == repr(recovery(copy.copy(lifted).cpu(), here, rank))
    one = lifted.unbatch()[0]
    one.to_toponetx()
    draw(one)
    draw_pair(one, one)
    plot_sizes(one)
    plot_probabilities(one)
    plt.close("all")
    model = TrainingConfig("molecules", hidden_channels=8).build(7, 4, 2).to(device)
    listed = molecules(4)
    found = resample(model, listed, 2)
    assert found["prediction_variance"] > 0
    model.lift.lift.generator = None
    model(Batch.from_data_list(listed).to(device)).square().sum().backward()
    assert all(norm > 0 for norm in _gradient_norms(model).values())


@on_accelerators
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.parametrize(
    "options",
    [
        ["--domain", "cell"],
        ["--domain", "hypergraph", "--estimator", "gumbel", "--encoder", "gps"],
        ["--estimator", "score_function"],
        ["--lifting", "random"],
        ["--lifting", "cycle"],
    ],
    ids=" ".join,
)
def test_the_command_trains(
    options: list[str], device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lightning", reason='needs the extra "train"')
    pytest.importorskip("typer", reason='needs the extra "train"')
    from typer.testing import CliRunner

    from topox_difflift import datasets
    from topox_difflift.commands import app

    monkeypatch.setitem(datasets.SYNTHETIC, "molecules", lambda seed=0: molecules(60, seed))
    small = [
        "--dataset",
        "molecules",
        "--max-epochs",
        "2",
        "--hidden-channels",
        "8",
        "--batch-size",
        "16",
    ]
    command = ["train", *small, *options, "--device", device, "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["config"]["device"] == device
    assert len(metrics["epochs"]) == 2
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(p.device.type == device for p in saved["state_dict"].values())


# ---------------------------------------------------------------------- waiting for the device


def syncs(function: Callable[[], object]) -> Counter[str]:
    """Count where the host waits for the device."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            function()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found = [w for w in said if "synchronizing CUDA operation" in str(w.message)]
    return Counter(f"{'/'.join(Path(w.filename).parts[-2:])}:{w.lineno}" for w in found)


def waits() -> dict[str, dict[str, int]]:
    """Read in the guide how often the host waits, by domain and stage."""
    page = Path(__file__).parents[1] / "tutorials" / "guide" / "large_graphs.md"
    table = page.read_text().partition("| waits |")[2].partition("\n\n")[0]
    head, _, *rows = ([cell.strip() for cell in row.split("|")] for row in table.splitlines())
    return {row[1]: dict(zip(head[:-1], map(int, row[2:-1]), strict=True)) for row in rows}


@pytest.mark.parametrize(
    ("ask", "times"),
    [
        (lambda x: x + 1, 0),
        (lambda x: x[:2] + torch.ones(2, device=x.device), 0),
        (lambda x: float(x.sum()), 1),
        (lambda x: x.sum() > 1 or None, 1),
        (lambda x: x.tolist(), 1),
        (lambda x: x.cpu(), 1),
        (lambda x: torch.ones(3).to(x.device), 1),
        (lambda x: x.new_tensor([1.0]), 1),
        (lambda x: x[[0, 1]], 1),
        (lambda x: x[x > 0], 1),
        (lambda x: x.unique(), 1),
        (lambda x: torch.repeat_interleave(x, x.long()), 1),
        (lambda x: torch.repeat_interleave(x, x.long(), output_size=3), 0),
    ],
)
def test_a_wait_is_found(ask: Callable[[torch.Tensor], object], times: int) -> None:
    x = far.FarTensor(torch.ones(3))
    with far.counted() as count:
        ask(x)
    assert count.stages.total() == times


def test_counts_and_known_totals_need_no_wait() -> None:
    row, kept = torch.tensor([3, 0, 3, 3]), torch.tensor([True, True, False, True])
    sizes = torch.tensor([1, 0, 3])
    cases: list[tuple[Callable[..., torch.Tensor], tuple[Any, ...], list[int]]] = [
        (ragged.counts, (row, 5), [1, 0, 0, 3, 0]),
        (ragged.counts, (row, 5, kept), [1, 0, 0, 2, 0]),
        (ragged.counts, (row[:0], 2), [0, 0]),
        (ragged.owners, (sizes, 4), [0, 2, 2, 2]),
    ]
    for function, arguments, expected in cases:
        assert function(*arguments).tolist() == expected
        there = [far.FarTensor(a) if isinstance(a, torch.Tensor) else a for a in arguments]
        with far.counted() as count:
            found = function(*there)
        assert found.here.tolist() == expected
        assert not count.stages


@pytest.mark.parametrize("domain", DOMAINS)
def test_where_the_host_would_wait(domain: str) -> None:
    """On a device that is not there, so that a wait that is added is found on any machine."""
    found = []
    for repeats in (1, 4):
        lift = _lift(domain, estimator="straight_through")
        data = Batch.from_data_list(molecules(4) * repeats)
        data.x, data.edge_attr = data.x.double(), data.edge_attr.double()
        lift(data)  # what waits for a first input
        moved, sent = far.move(copy.deepcopy(lift)), far.send(data)
        torch.manual_seed(0)
        lifted = lift(data)
        torch.manual_seed(0)
        with far.counted() as count:
            there = moved(sent)
        # It is the way of a device that was counted, and it leads to the same cells.
        assert there.x_1.device.type == far.DEVICE
        for name, tensor in tensors(lifted):
            torch.testing.assert_close(dict(tensors(there))[name].here, tensor, **CLOSE)
        found.append((dict(count.stages), count.places))
    assert found[0] == found[1]
    stages, places = found[0]
    listed = "".join(f"\n  {n:3} {place}" for place, n in places.most_common())
    assert stages == waits()[domain], f"{domain!r}: {stages},{listed}"


@on_accelerators
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("domain", DOMAINS)
def test_how_often_the_host_waits(domain: str, training: bool, device: str) -> None:
    """The number does not grow with the batch."""
    lift = _lift(domain).float().to(device).train(training)
    counts = []
    for n_graphs in (8, 64):
        data = Batch.from_data_list(molecules(n_graphs)).to(device)
        lift(data)
        counts.append(syncs(lambda data=data: lift(data)))
        after = syncs(lambda data=data: gradients(lift, [lift(data).x_1])) if training else None
        print(
            f"{domain}, training={training}, {n_graphs} graphs: {counts[-1].total()} waits", end=""
        )
        print("" if after is None else f", {after.total()} with the backward pass")
    for place, count in counts[-1].most_common():
        print(f"  {count:4} {place}")
    assert counts[1].total() <= counts[0].total() + 8
