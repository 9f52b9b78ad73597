"""One table of all networks: what each does with a complex is what the documentation says."""

from __future__ import annotations

import re
import warnings

import model_table
import pytest
import torch
from model_table import CHANNELS, PAGE, lifting, measure, network

from topox_difflift import DiffLift
from topox_difflift.estimators import leave_one_out, repeat_graphs
from topox_difflift.liftings import NoLifting, accept_all
from topox_difflift.nn import TNNS, TopologicalNetwork
from topox_difflift.products import LinearProducts
from topox_difflift.testing import zoo

ROWS = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
WANTED = {
    "CWN", "CCXN", "CAN", "SCN2", "SCCN", "SCCNN", "SCNN", "SAN", "HSN", "SCConv", "SCoNe",
    "SCACMPS", "UniGCN", "UniGCNII", "UniGIN", "UniSAGE", "HyperGAT", "HNHN", "AllSet",
    "AllSetTransformer", "HMPNN", "HyperSAGE", "HMC", "GCCN",
}  # fmt: skip


def test_every_network_is_there() -> None:
    assert {adapter.name for adapter in TNNS.values()} == WANTED
    assert len(ROWS) == len(TNNS) + 2


@pytest.mark.laws
@pytest.mark.parametrize("name", TNNS)
def test_a_network_does_what_the_table_says(name: str) -> None:
    documented = [row for row in ROWS if f"`{name}`" in row]
    assert documented == [str(measure(name))]


@pytest.mark.parametrize("name", TNNS)
def test_claims_of_an_adapter_are_those_of_the_table(name: str) -> None:
    cells = next(row.strip("| ").split(" | ") for row in ROWS if f"`{name}`" in row)
    adapter = TNNS[name]
    known = adapter.settled(adapter.build(3, 8, 1))
    learned = re.findall(r"(?:values|features only) \(ranks? ([\d, ]+)\)", cells[4])
    ranks = {int(rank) for part in learned for rank in part.split(", ")}
    assert tuple(sorted(ranks)) == known.learns
    assert cells[5].partition(",")[0] == ("kept" if known.kept else "dropped")
    domains = [domain for domain in adapter.domains if model_table.fits(adapter, domain)]
    assert adapter.gated == all(model_table.gates_itself(adapter, d) for d in domains)


@pytest.mark.parametrize("name", TNNS)
def test_features_have_the_widths_that_the_adapter_knows(name: str) -> None:
    adapter = TNNS[name]
    tnn = adapter.build(CHANNELS, 8, 2)
    known = adapter.settled(tnn)
    lifted = NoLifting(adapter.domains[0], known.max_rank)(zoo()["batch"])
    features = adapter.run(tnn, lifted)
    assert {rank: h.size(1) for rank, h in features.items()} == known.channels
    for readout, level in (("sum", "graph"), ("max", "graph"), ("propagate", "graph")):
        assert network(adapter, None, readout=readout, level=level)(zoo()["batch"]).shape[1] == 2
    n = len(zoo()["batch"].x)
    assert network(adapter, None, level="node")(zoo()["batch"]).shape == (n, 2)


@pytest.mark.parametrize("name", [name for name, a in TNNS.items() if a.learns != ()])
def test_rejected_cells_are_dropped_by_itself_and_once(name: str) -> None:
    adapter = TNNS[name]
    rank = model_table.ranks_of(adapter)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* no gradient: ", UserWarning)
        net = network(adapter, lifting(adapter.domains[0], rank))
    if net.known.kept:
        net(zoo()["batch"])
        return
    with pytest.warns(UserWarning, match=rf"{adapter.name} cannot tell .*rejected='drop'"):
        net(zoo()["batch"])
    net(zoo()["batch"])


def test_a_network_that_gives_no_gradient_refuses_a_learned_lifting() -> None:
    tnn = TNNS["hypersage"].build(3, 8, 1)
    with pytest.raises(ValueError, match=r"learn through .got HyperSAGE, which reads the pattern"):
        TopologicalNetwork(DiffLift("hypergraph"), tnn, 2)
    # A score function learns without it.
    lift = model_table.lifting("hypergraph", 1, "score_function", rejected="drop")
    net = TopologicalNetwork(lift, tnn, 2)
    batch = repeat_graphs(zoo()["batch"], 2)
    losses = net(batch).square().sum(1).view(2, -1)
    leave_one_out(losses, lift.log_prob().view(2, -1)).backward()
    assert all(bool(p.grad.any()) for p in lift.scorers.parameters())
    # A control is not trained anyway.
    control = accept_all("hypergraph", in_channels=3, rejected="drop")
    assert TopologicalNetwork(control, tnn, 2)(zoo()["batch"]).shape == (5, 2)


def test_a_network_that_is_blind_to_a_rank_says_so() -> None:
    with pytest.warns(UserWarning, match=r"CAN gives acceptances of rank 2 no gradient"):
        TopologicalNetwork(DiffLift(), TNNS["can"].build(3, 8, 1), 2)
    with pytest.raises(ValueError, match=r"no rank above 1, which HSN does not read .got 2.;"):
        TopologicalNetwork(DiffLift("simplicial"), TNNS["hsn"].build(3, 8, 1), 2)


def test_can_lifts_nodes_to_edges_in_their_order() -> None:
    """With att_lift, CAN's default, its adjacency has one entry for each edge."""
    adapter = TNNS["can"]
    torch.manual_seed(0)
    tnn = adapter.load()(CHANNELS, CHANNELS, 8, n_layers=1).double().eval()
    data = zoo(torch.float64)["batch"]
    lifted = NoLifting("cell")(data)
    found = adapter.run(tnn, lifted)[1]
    pairs = torch.tensor(lifted.cells(1)).t()
    stacked = torch.cat([data.x[pairs[0]], data.x[pairs[1]]], dim=1)
    made = torch.relu(stacked @ tnn.lift_layer.lifts.att_parameter)
    x_1 = torch.cat([made, lifted.x_1], dim=1)
    with LinearProducts():
        expected = tnn.layers[0](x_1, lifted.down_laplacian_1, lifted.up_laplacian_1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ccxn", {"args": (3, 3, 3, 1), "att": True}, "CCXN with att=False"),
        ("can", {"args": (3, 3, 8), "pooling": True}, "CAN with pooling=False"),
        ("sca_cmps", {"args": ([3] * 3, 3), "att": True}, "SCACMPS with att=False"),
        ("scnn", {"args": (3, 8, 1, 1), "aggr_norm": True}, "SCNN with aggr_norm=False"),
        ("sccnn", {"args": ([3] * 3, [8] * 3, 1, 2), "aggr_norm": True}, "SCCNN with aggr_norm"),
    ],
)
def test_settings_that_cannot_work_are_refused(name: str, options: dict, message: str) -> None:
    tnn = TNNS[name].load()(*options.pop("args"), **options)
    net = TopologicalNetwork(None, tnn, 2)
    with pytest.raises(ValueError, match=rf"{message}.* build it with"):
        net(zoo()["batch"])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unigcn", {"aggr_norm": True}),
        ("unisage", {"e_aggr": "mean"}),
        ("sccnn", {"conv_order": 3, "sc_order": 2, "update_func": "relu"}),
        ("scnn", {"conv_order_down": 0, "conv_order_up": 3}),
        ("sccn", {"max_rank": 1}),
        ("can", {"version": "v2", "att_lift": False}),
        ("can", {"heads": 2, "concat": False, "n_layers": 1}),
    ],
)
def test_other_settings_work_and_reach_the_lifting(name: str, options: dict) -> None:
    adapter = TNNS[name]
    widths = {"sccn": (3,), "sccnn": ([3] * 3, [8] * 3), "can": (3, 3, 8)}.get(name, (3, 8))
    torch.manual_seed(0)
    tnn = adapter.load()(*widths, **options)
    rank = adapter.settled(tnn).max_rank
    with model_table.strict():
        net = TopologicalNetwork(lifting(adapter.domains[0], rank), tnn, 2)
        net(zoo()["batch"]).square().sum().backward()
    grads = [p.grad for p in net.lift.scorers["1"].parameters()]
    assert all(bool(torch.isfinite(grad).all()) for grad in grads)
    assert any(bool(grad.any()) for grad in grads)
