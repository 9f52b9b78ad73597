"""Every bad input gets an error that says which argument, what was got, and the remedy."""

from __future__ import annotations

import copy
import re

import networkx as nx
import pytest
import torch
from torch_geometric.data import Batch, Data, HeteroData

from topox_difflift import DiffLift
from topox_difflift.domains import Cell, Hypergraph, Simplicial
from topox_difflift.encoders import GIN, GPS
from topox_difflift.estimators import GumbelSigmoid, Threshold
from topox_difflift.liftings import CycleLifting
from topox_difflift.testing import assert_same

DOMAINS = ["hypergraph", "simplicial", "cell", "combinatorial"]
NAN, INF = float("nan"), float("inf")


def arcs(n: int = 6) -> torch.Tensor:
    """Both directions of the edges of a ring."""
    node = torch.arange(n)
    one_way = torch.stack([node, node.roll(-1)])
    return torch.cat([one_way, one_way.flip(0)], dim=1)


def ring(n: int = 6, **changes: object) -> Data:
    """A ring with features, some of its attributes replaced, or removed by None."""
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(n))
    attributes = {"x": x, "edge_index": arcs(n)} | changes
    return Data(**{key: value for key, value in attributes.items() if value is not None})


def with_value(value: float, row: int = 4) -> torch.Tensor:
    x = torch.ones(6, 3)
    x[row, 1] = value
    return x


def nx_ring(*features: object) -> nx.Graph:
    graph = nx.cycle_graph(3)
    nx.set_node_attributes(graph, {v: {"x": x} for v, x in enumerate(features) if x is not None})
    return graph


def hollow_batch() -> Batch:
    hollow = Data(x=torch.zeros(0, 3), edge_index=arcs(0))
    return Batch.from_data_list([ring(), hollow, ring()])


# What is passed to a lifting of three channels: error, and what its message has to say.
BAD_DATA = {
    "edge_index missing": (ring(edge_index=None), TypeError, ["'edge_index'", "got None", "empty"]),
    "edge_index text": (ring(edge_index="a"), TypeError, ["'edge_index'", "got 'a'", "int64"]),
    "edge_index too high": (
        ring(edge_index=arcs() + 1), ValueError,
        ["'edge_index'", "nodes 0 to 5", "got values from 1 to 6", "number the nodes from 0"],
    ),
    "edge_index negative": (
        ring(edge_index=arcs() - 1), ValueError, ["'edge_index'", "from -1 to 4", "from 0"],
    ),
    "edge_index transposed": (
        ring(edge_index=arcs().t()), ValueError, ["'edge_index'", r"\(12, 2\)", r"\.t\(\)"],
    ),
    "edge_index 1-D": (
        ring(edge_index=arcs()[0]), ValueError, ["'edge_index'", r"got shape \(12,\)", "one row"],
    ),
    "edge_index 3 rows": (
        ring(edge_index=torch.zeros(3, 4).long()), ValueError, ["'edge_index'", r"\(3, 4\)"],
    ),
    "edge_index float": (
        ring(edge_index=arcs().float()), TypeError, ["'edge_index'", "float32", r"\.long\(\)"],
    ),
    "edge_index int32": (
        ring(edge_index=arcs().int()), TypeError, ["'edge_index'", "int32", r"\.long\(\)"],
    ),
    "x missing": (ring(x=None), TypeError, ["'x'", "got None", "OneHotDegree"]),
    "x a list": (ring(x=[[1.0]] * 6), TypeError, ["'x'", "tensor", r"got \[\["]),
    "x 1-D": (ring(x=torch.ones(6)), ValueError, ["'x'", r"got shape \(6,\)", "unsqueeze"]),
    "x 3-D": (ring(x=torch.ones(6, 3, 1)), ValueError, ["'x'", r"got shape \(6, 3, 1\)"]),
    "x integer": (ring(x=torch.ones(6, 3).long()), TypeError, ["'x'", "int64", "one_hot"]),
    "x bool": (ring(x=torch.ones(6, 3).bool()), TypeError, ["'x'", "bool", r"float\(\)"]),
    "x complex": (ring(x=torch.ones(6, 3).cfloat()), TypeError, ["'x'", "complex64"]),
    "x shorter than num_nodes": (
        ring(num_nodes=7), ValueError, ["'x'", "7 nodes", "got 6 rows", "'num_nodes'"],
    ),
    "x NaN": (ring(x=with_value(NAN)), ValueError, ["'x'", "finite", "1 of 6 rows", "nan_to_num"]),
    "x infinite": (ring(x=with_value(-INF)), ValueError, ["'x'", "1 of 6 rows", "nan_to_num"]),
    "x without rows": (
        Data(x=torch.zeros(0, 3), edge_index=arcs(0)), ValueError,
        ["'x'", "at least one node", r"got shape \(0, 3\)", "leave empty graphs out"],
    ),
    "x without channels": (
        ring(x=torch.zeros(6, 0)), ValueError, ["'x'", "one channel", r"\(6, 0\)", "constant"],
    ),
    "x of another width": (
        ring(x=torch.ones(6, 4)), ValueError, ["'x'", "3 channels", "got 4", "another lifting"],
    ),
    "x of another dtype": (
        ring(x=torch.ones(6, 3).double()), TypeError,
        ["'x'", "float32", "got torch.float64", r"data\.x\.to\(torch\.float32\)"],
    ),
    "batch unsorted": (
        ring(batch=torch.tensor([0, 0, 1, 1, 0, 0])), ValueError,
        ["'batch'", "sorted", "got 1 before 0 at node 3", "reorder"],
    ),
    "batch short": (
        ring(batch=torch.zeros(5).long()), ValueError,
        ["'batch'", "6 nodes", r"got shape \(5,\)", "from_data_list"],
    ),
    "batch 2-D": (
        ring(batch=torch.zeros(6, 1).long()), ValueError, ["'batch'", r"got shape \(6, 1\)"],
    ),
    "batch float": (
        ring(batch=torch.zeros(6)), TypeError, ["'batch'", "float32", r"batch\.long\(\)"],
    ),
    "batch a list": (ring(batch=[0] * 6), TypeError, ["'batch'", "got list"]),
    "batch with a gap": (
        ring(batch=torch.tensor([0, 0, 0, 2, 2, 2]), edge_index=arcs(0)), ValueError,
        ["'batch'", "at least one node", "got 3 graphs, of which 2", "remove the empty"],
    ),
    "batch from 1": (ring(batch=torch.ones(6).long()), ValueError, ["'batch'", "remove the empty"]),
    "batch with an empty graph": (
        hollow_batch(), ValueError, ["'batch'", "got 3 graphs, of which 2", "remove the empty"],
    ),
    "edges across graphs": (
        ring(batch=torch.tensor([0, 0, 0, 1, 1, 1])), ValueError,
        ["'edge_index'", "one graph of 'batch'", "got 4 edges", "drop those edges"],
    ),
    "edge_attr short": (
        ring(edge_attr=torch.ones(3, 2)), ValueError,
        ["'edge_attr'", r"\(12, channels\)", r"got \(3, 2\)", "both directions"],
    ),
    "edge_attr 3-D": (
        ring(edge_attr=torch.ones(12, 2, 2)), ValueError, ["'edge_attr'", r"got \(12, 2, 2\)"],
    ),
    "edge_attr 0-D": (
        ring(edge_attr=torch.tensor(1.0)), ValueError, ["'edge_attr'", r"got \(\)", "None"],
    ),
    "edge_attr text": (ring(edge_attr="a"), ValueError, ["'edge_attr'", "got str"]),
    "edge_attr NaN": (
        ring(edge_attr=torch.full((12, 2), NAN)), ValueError,
        ["'edge_attr'", "finite", "got NaN", "nan_to_num"],
    ),
    "a list of graphs": ([ring()], TypeError, ["'data'", "got list", "Batch.from_data_list"]),
    "a tensor": (torch.ones(3, 3), TypeError, ["'data'", "got Tensor", "Data"]),
    "nothing": (None, TypeError, ["'data'", "got NoneType", "networkx.Graph"]),
    "a heterogeneous graph": (
        HeteroData(), TypeError, ["'data'", "got HeteroData", r"to_homogeneous\(\)"],
    ),
    "networkx without x": (nx.path_graph(3), ValueError, ["'x'", "3 of 3 nodes without", "set "]),
    "networkx partly without x": (
        nx_ring([1.0] * 3, None, [0.0] * 3), ValueError, ["'x'", "1 of 3 nodes without", "set "],
    ),
    "networkx empty": (nx.Graph(), ValueError, ["'x'", "0 of 0 nodes", "set "]),
    "networkx ragged": (
        nx_ring([1.0], [1.0, 2.0], [1.0]), ValueError, ["'x'", "node 1", "got 2", "pad"],
    ),
    "networkx text": (nx_ring("C", "N", "O"), TypeError, ["'x'", "node 0", "got 'C'", "one-hot"]),
}  # fmt: skip

BAD_ARGUMENTS = {
    "k_max below k_min": ({"k_min": 4, "k_max": 3}, ["'k_max'", "at least 4", "k_min", "got 3"]),
    "k_min 0": ({"k_min": 0}, ["'k_min'", "at least 1", "got 0"]),
    "k_min fraction": ({"k_min": 1.5}, ["'k_min'", "integer", "got 1.5"]),
    "k_min bool": ({"k_min": True}, ["'k_min'", "integer", "got True"]),
    "k_max fraction": ({"k_max": 2.5}, ["'k_max'", "integer", "got 2.5"]),
    "k_max text": ({"k_max": "5"}, ["'k_max'", "integer", "got '5'"]),
    "domain": ({"domain": "cel"}, ["'domain'", *DOMAINS, "instance of Domain", "got 'cel'"]),
    "domain class": ({"domain": Cell}, ["'domain'", "instance of Domain", "got <class"]),
    "encoder": ({"encoder": "gcn"}, ["'encoder'", "gin, gps", "torch.nn.Module", "got 'gcn'"]),
    "encoder function": ({"encoder": len}, ["'encoder'", "torch.nn.Module", "got <built-in"]),
    "encoder signature": (
        {"encoder": torch.nn.Linear(3, 3)},
        ["'encoder' Linear", r"\(x, edge_index, batch\)", r"got forward\(", "wrap it"],
    ),
    "estimator": (
        {"estimator": "reinforce"},
        ["'estimator'", "straight_through, gumbel, threshold", "got 'reinforce'"],
    ),
    "rejected": ({"rejected": "kep"}, ["'rejected'", "keep, drop", "got 'kep'"]),
    "memberships": ({"memberships": "soft"}, ["'memberships'", "kernel, hard", "got 'soft'"]),
    "aggregation": (
        {"aggregation": "min"}, ["'aggregation'", "mean, sum, max, set_transformer", "got 'min'"],
    ),
    "neighborhoods text": (
        {"neighborhoods": "adjacency_1"}, ["'neighborhoods'", "list", "got 'adjacency_1'"],
    ),
    "neighborhoods number": ({"neighborhoods": [1]}, ["'neighborhoods'", "adjacency_1", "got 1"]),
    "neighborhoods unknown": (
        {"neighborhoods": ["laplacian_1"]},
        ["'neighborhoods'", "hodge_laplacian", "got 'laplacian_1'"],
    ),
    "neighborhoods rank": (
        {"neighborhoods": ["adjacency_3"]}, ["'neighborhoods'", "up to 2", "got 'adjacency_3'"],
    ),
    "max_rank 0": ({"max_rank": 0}, ["'max_rank'", "at least 1", "got 0"]),
    "max_rank fraction": ({"max_rank": 1.5}, ["'max_rank'", "integer", "got 1.5"]),
    "max_rank of hypergraph": (
        {"domain": "hypergraph", "max_rank": 2}, ["'max_rank'", "1 to 1", "Hypergraph", "got 2"],
    ),
    "max_rank of cell": ({"max_rank": 3}, ["'max_rank'", "1 to 2", "Cell", "got 3"]),
    "max_rank of simplicial": (
        {"domain": "simplicial", "max_rank": 4}, ["'max_rank'", "1 to 3", "Simplicial", "got 4"],
    ),
    "max_rank of combinatorial": (
        {"domain": "combinatorial", "max_rank": 4},
        ["'max_rank'", "1 to 3", "Combinatorial", "got 4"],
    ),
    "cell_budget 0": ({"cell_budget": 0}, ["'cell_budget'", "at least 1", "or None", "got 0"]),
    "hidden_channels 0": ({"hidden_channels": 0}, ["'hidden_channels'", "at least 1", "got 0"]),
    "in_channels 0": ({"in_channels": 0}, ["'in_channels'", "or -1 to", "got 0"]),
    "heads": (
        {"encoder": "gps", "hidden_channels": 30},
        ["'hidden_channels'", "divisible by heads=4", "got 30"],
    ),
    "generator": ({"generator": 3}, ["'generator'", "got 3", r"manual_seed\(seed\)"]),
    "dispersion": ({"dispersion": "no"}, ["'dispersion'", "True or False", "got 'no'"]),
    "near_misses -1": (
        {"near_misses": -1}, ["'near_misses'", "integer of at least 0", r"got -1\)"],
    ),
    "near_misses 1.0": ({"near_misses": 1.0}, ["'near_misses'", "integer", r"got 1\.0\)"]),
    "cell_price -1": ({"cell_price": -1.0}, ["'cell_price'", "at least 0", r"got -1\.0\)"]),
    "entropy_price nan": (
        {"entropy_price": float("nan")}, ["'entropy_price'", "finite", r"got nan\)"],
    ),
    "initial_logit inf": (
        {"initial_logit": float("inf")}, ["'initial_logit'", "finite", r"got inf\)"],
    ),
    "initial_logit true": ({"initial_logit": True}, ["'initial_logit'", "number", "got True"]),
    "cell_price nan": ({"cell_price": float("nan")}, ["'cell_price'", "finite", r"got nan\)"]),
    "cell_price none": ({"cell_price": None}, ["'cell_price'", "number", r"got None\)"]),
    "rescue": ({"rescue": 1}, ["'rescue'", "True or False", "got 1"]),
}  # fmt: skip


class Embed(torch.nn.Module):
    """An encoder that is any function of the features."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x, edge_index, batch):
        return self.function(x)


BAD_EMBEDDINGS = {
    "rows": (lambda x: x[:2], ValueError, ["'encoder' Embed", r"\(6, d\)", r"got \(2, 3\)"]),
    "vector": (lambda x: x[:, 0], ValueError, ["'encoder' Embed", r"got \(6,\)", "do not pool"]),
    "tuple": (lambda x: (x, x), ValueError, ["'encoder' Embed", "got tuple"]),
    "no channel": (lambda x: x[:, :0], ValueError, ["'encoder' Embed", r"\(6, 0\)", "linear"]),
    "integer": (lambda x: x.long(), ValueError, ["'encoder' Embed", "int64", "linear"]),
    "dtype": (lambda x: x.double(), TypeError, ["'encoder' Embed", "float32", "got torch.float64"]),
    "NaN": (lambda x: x * NAN, FloatingPointError, ["encoder Embed", "6 of 6 nodes", "NaN"]),
    "one infinite": (
        lambda x: x + with_value(INF), FloatingPointError, ["encoder Embed", "1 of 6", "node 4"],
    ),
}  # fmt: skip

# Parameters that turn NaN in training, and who is named.
POISON = {
    "encoder.node.weight": ["encoder GIN", "6 of 6 nodes", "embedding", "lower the learning rate"],
    "sizes.1.mlp.lins.0.weight": ["neighborhood size", "probability", "clip gradients"],
    "kernels.1.log_scale": ["membership kernel", "closeness", "NaN parameters"],
    "scorers.1.rho.lins.1.bias": ["scorer of rank 1", "acceptance logit", "candidate 0"],
    "scorers.2.rho.lins.1.bias": ["scorer of rank 2", "acceptance logit", "candidate 0"],
}


def poisoned(name: str):
    lift = DiffLift(Cell(rings="apart"), in_channels=3)
    lift(ring())
    with torch.no_grad():
        lift.get_parameter(name).fill_(NAN)
    return lift(ring())


def second(first: Data, then: Data, **arguments):
    lift = DiffLift(**arguments)
    lift(first)
    return lift(then)


def lifted(domain: str = "cell", **arguments):
    return DiffLift(domain, **arguments)(ring())


EDGES, WIDE = torch.ones(12, 2), torch.ones(12, 3)
OTHER = {
    "keyword": (lambda: DiffLift(hiden_channels=3), TypeError, ["'hiden_channels'"]),
    "positional": (lambda: DiffLift("cell", 2), TypeError, ["positional"]),
    "temperature 0": (lambda: GumbelSigmoid(0), ValueError, ["'temperature'", "got 0", "anneal"]),
    "temperature negative": (lambda: GumbelSigmoid(-1.0), ValueError, ["'temperature'", "got -1"]),
    "temperature NaN": (lambda: GumbelSigmoid(NAN), ValueError, ["'temperature'", "got nan"]),
    "temperature annealed to 0": (
        lambda: setattr(GumbelSigmoid(), "temperature", 0), ValueError, ["'temperature'", "got 0"],
    ),
    "gamma 1": (lambda: Threshold(1.0), ValueError, ["'gamma'", r"\[0, 1\)", "got 1", "0.5"]),
    "gamma negative": (lambda: Threshold(-0.1), ValueError, ["'gamma'", "got -0.1"]),
    "gamma NaN": (lambda: Threshold(NAN), ValueError, ["'gamma'", "got nan"]),
    "cycles": (
        lambda: Cell(cycles="x"), ValueError,
        ["'cycles'", "filtration, shortest, fundamental, minimum, induced", "got 'x'"],
    ),
    "cycles by length without lengths": (
        lambda: CycleLifting("filtration"), ValueError,
        ["'cycles'", "one of shortest, fundamental, minimum, induced", "got 'filtration'"],
    ),
    "max_cycle_length 2": (
        lambda: Cell(max_cycle_length=2), ValueError,
        ["'max_cycle_length'", "at least 3", "triangle", "got 2"],
    ),
    "max_cycle_length fraction": (
        lambda: Cell(max_cycle_length=3.5), ValueError, ["'max_cycle_length'", "got 3.5"],
    ),
    "edges": (lambda: Hypergraph(edges="all"), ValueError, ["'edges'", "candidates", "'all'"]),
    "sizes": (lambda: Hypergraph([3, 1]), ValueError, ["'sizes'", "at least 2", "got 1"]),
    "no sizes": (lambda: Hypergraph([]), ValueError, ["'sizes'", "at least one", r"got \[\]"]),
    "sizes twice": (lambda: Hypergraph([3, 3]), ValueError, ["'sizes'", "different", "3, 3"]),
    "simplices": (
        lambda: Simplicial("x"), ValueError, ["'simplices'", "all, cycle_basis", "got 'x'"],
    ),
    "n_layers": (lambda: GIN(n_layers=0), ValueError, ["'n_layers'", "at least 1", "got 0"]),
    "gps heads": (lambda: GPS(hidden_channels=6), ValueError, ["'hidden_channels'", "heads=4"]),
    "cost first": (lambda: DiffLift().cost(), RuntimeError, [r"forward pass before cost\(\)"]),
    "regularization first": (lambda: DiffLift().regularization(), RuntimeError, ["forward pass"]),
    "attribute of a missing rank": (
        lambda: lifted().x_3, AttributeError, ["rank 3", "max_rank 2", r"max_rank=3"],
    ),
    "matrix of a missing rank": (
        lambda: lifted().incidence_3, AttributeError, ["rank 3", "max_rank 2"],
    ),
    "key of a missing rank": (
        lambda: lifted()["adjacency_3"], KeyError, ["rank 3", "max_rank 2", r"max_rank=3"],
    ),
    "method of a missing rank": (
        lambda: lifted().up_laplacian(3), ValueError, ["rank 3", "max_rank 2", r"max_rank=3"],
    ),
    "cells of a missing rank": (lambda: lifted(max_rank=1).cells(2), ValueError, ["rank 2"]),
    "negative rank": (lambda: lifted().incidence(-1), ValueError, ["'rank'", "at least 0", "-1"]),
    "rank 2 of a hypergraph": (
        lambda: lifted("hypergraph").incidence_2, AttributeError,
        ["rank 2", "max_rank 1", "another domain"],
    ),
    "signed hypergraph": (
        lambda: lifted("hypergraph").incidence(1, signed=True), ValueError,
        ["'signed'", "no orientation", "got signed=True", "simplicial or a cell"],
    ),
    "edge_attr appears": (
        lambda: second(ring(), ring(edge_attr=EDGES)), ValueError,
        ["'edge_attr'", "Expected no", "got some", "always or never"],
    ),
    "edge_attr disappears": (
        lambda: second(ring(edge_attr=EDGES), ring()), ValueError,
        ["'edge_attr'", "Expected some", "got none", "always or never"],
    ),
    "edge_attr of another width": (
        lambda: second(ring(edge_attr=EDGES), ring(edge_attr=WIDE)), ValueError,
        ["'edge_attr'", "2 channels", "got 3"],
    ),
    "edge_attr integer": (
        lambda: DiffLift()(ring(edge_attr=EDGES.long())), TypeError,
        ["'edge_attr'", "floating point", "int64", "one_hot"],
    ),
    "edge_attr of another dtype": (
        lambda: DiffLift()(ring(edge_attr=EDGES.double())), TypeError,
        ["'edge_attr'", "float32", "got torch.float64"],
    ),
    "another width than in_channels": (
        lambda: DiffLift(in_channels=4)(ring()), ValueError, ["'x'", "4 channels", "got 3"],
    ),
    "parameters float64, features float32": (
        lambda: DiffLift().double()(ring()), TypeError, ["'x'", "float64", "got torch.float32"],
    ),
}  # fmt: skip

TABLE = [
    *(
        pytest.param(lambda data=data: DiffLift(in_channels=3)(data), error, patterns, id=name)
        for name, (data, error, patterns) in BAD_DATA.items()
    ),
    *(
        pytest.param(lambda given=given: DiffLift(**given), ValueError, patterns, id=name)
        for name, (given, patterns) in BAD_ARGUMENTS.items()
    ),
    *(
        pytest.param(
            lambda function=function: DiffLift(encoder=Embed(function))(ring()),
            error,
            patterns,
            id=f"embedding {name}",
        )
        for name, (function, error, patterns) in BAD_EMBEDDINGS.items()
    ),
    *(
        pytest.param(lambda name=name: poisoned(name), FloatingPointError, patterns, id=name)
        for name, patterns in POISON.items()
    ),
    *(
        pytest.param(call, error, patterns, id=name)
        for name, (call, error, patterns) in OTHER.items()
    ),
]


@pytest.mark.parametrize(("call", "error", "patterns"), TABLE)
def test_error_names_argument_finding_and_remedy(call, error, patterns):
    with pytest.raises(error) as caught:
        call()
    assert caught.type is error
    for pattern in patterns:
        assert re.search(pattern, str(caught.value)), f"{pattern!r} not in: {caught.value}"


def snapshot(data: object) -> object:
    return copy.deepcopy(data.to_dict() if isinstance(data, Data) else data)


def same(first: object, second: object) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(torch.nan_to_num(first), torch.nan_to_num(second))
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, nx.Graph):
        return nx.utils.graphs_equal(first, second)
    if isinstance(first, (list, HeteroData, Data)):
        return str(first) == str(second)
    return first == second


def test_failure_leaves_input_and_lifting_as_they_were():
    lift = DiffLift(in_channels=3).eval()
    good = ring(7)
    before, terms = lift(good), lift.regularization()
    weights, random = copy.deepcopy(lift.state_dict()), torch.get_rng_state()
    for data, error, _ in BAD_DATA.values():
        given = snapshot(data)
        with pytest.raises(error):
            lift(data)
        assert same(given, snapshot(data))
    assert torch.equal(random, torch.get_rng_state())
    assert same(weights, dict(lift.state_dict()))
    assert same(terms, lift.regularization())
    assert_same(before, lift(good))


def test_lazy_lifting_stays_lazy_after_a_failure():
    lift = DiffLift()
    with pytest.raises(ValueError, match="'x'"):
        lift(ring(x=with_value(NAN)))
    # Had the failure fixed a width, this would not fit.
    assert lift(ring(x=torch.ones(6, 5))).x_1.size(1) == 5


CLEAN = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 4], [4, 0], [1, 3]]).t()
BOTH = torch.cat([CLEAN, CLEAN.flip(0)], dim=1)
LOOPS = torch.tensor([[2, 2], [4, 4]]).t()
UNTIDY = {
    "self-loops": (torch.cat([LOOPS, BOTH], dim=1), ["2 self-loops", "dropped"]),
    "duplicates": (torch.cat([BOTH, BOTH[:, :3]], dim=1), ["3 duplicate", "kept once"]),
    "directed": (CLEAN, ["directed", "both directions"]),
    "one arc short": (BOTH[:, 1:], ["directed", "both directions"]),
    "all of these": (
        torch.cat([CLEAN, LOOPS, CLEAN[:, :2]], dim=1), ["2 self-loops", "2 duplicate", "directed"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize(("edge_index", "patterns"), UNTIDY.values(), ids=UNTIDY)
def test_untidy_edges_are_tidied_with_a_warning(domain, edge_index, patterns):
    lift = DiffLift(domain, in_channels=3).eval()
    untidy = ring(5, edge_index=edge_index)
    with pytest.warns(UserWarning, match="'edge_index'") as caught:
        found = lift(untidy)
    assert torch.equal(untidy.edge_index, edge_index)
    message = " ".join(str(warning.message) for warning in caught)
    assert all(re.search(pattern, message) for pattern in patterns)
    assert_same(found, lift(ring(5, edge_index=BOTH)))


def test_directed_networkx_graph_is_symmetrised_with_a_warning():
    graph = nx.DiGraph([(0, 1), (1, 2), (2, 0)])
    nx.set_node_attributes(graph, [1.0, 2.0], "x")
    with pytest.warns(UserWarning, match="directed"):
        assert DiffLift("cell").eval()(graph).num_cells[:2] == (3, 3)


def test_tidy_edges_in_any_order_give_no_warning():
    order = torch.randperm(BOTH.size(1), generator=torch.Generator().manual_seed(0))
    lift = DiffLift(in_channels=3).eval()
    assert_same(lift(ring(5, edge_index=BOTH[:, order])), lift(ring(5, edge_index=BOTH)))
