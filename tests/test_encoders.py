"""Embeddings: GIN, GPS and anybody's own, none of which looks across graphs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GAT, GCN, Linear

from topox_difflift import DiffLift, compiled
from topox_difflift.encoders import ENCODERS, GIN, GPS, _ArcFeatures, random_walk_encoding


def graph(n: int, seed: int = 0, p: float = 0.4) -> Data:
    """A random graph, as like as not with isolated nodes."""
    generator = torch.Generator().manual_seed(seed)
    upper = torch.rand(n, n, generator=generator).triu(1) > 1 - p
    edge_index = (upper | upper.t()).nonzero().t().contiguous()
    x = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    edge_attr = torch.randn(edge_index.size(1), 2, generator=generator, dtype=torch.float64)
    return Data(x=x, edge_index=edge_index, edge_attr=edge_attr)


def batch_of(*sizes: int) -> Batch:
    return Batch.from_data_list([graph(n, seed) for seed, n in enumerate(sizes)])


def embed(encoder: torch.nn.Module, data: Data, *, attributed: bool = False) -> torch.Tensor:
    batch = torch.zeros(len(data.x), dtype=torch.long) if data.batch is None else data.batch
    extra = {"edge_attr": data.edge_attr} if attributed else {}
    return encoder(data.x, data.edge_index, batch, **extra)


@pytest.fixture(params=ENCODERS)
def make(request):
    """Return a function that makes a seeded encoder."""

    def build(**options):
        torch.manual_seed(0)
        return ENCODERS[request.param](**{"hidden_channels": 8} | options).double()

    return build


@pytest.mark.parametrize("attributed", [False, True])
@pytest.mark.parametrize("n_layers", [1, 3])
@pytest.mark.parametrize("in_channels", [-1, 3])
def test_shape_and_gradient(make, in_channels, n_layers, attributed):
    encoder = make(in_channels=in_channels, n_layers=n_layers)
    z = embed(encoder, batch_of(5, 1, 8), attributed=attributed)
    assert z.shape == (14, 8)
    assert z.dtype == torch.float64
    z.square().sum().backward()
    for name, p in encoder.named_parameters():
        assert p.grad is not None, name
        assert bool(torch.isfinite(p.grad).all()), name


def test_lazy_and_eager_agree(make):
    eager, lazy = make(in_channels=3), make()
    data = batch_of(5, 7)
    embed(eager, data)
    embed(lazy, data)
    lazy.load_state_dict(eager.state_dict())
    assert torch.equal(embed(eager, data), embed(lazy, data))


def test_edge_features_matter(make):
    encoder, data = make(), batch_of(6, 7)
    before = embed(encoder, data, attributed=True)
    data.edge_attr = data.edge_attr + 1
    after = embed(encoder, data, attributed=True)
    touched = torch.isin(torch.arange(13), data.edge_index)
    assert bool(((before - after).abs().amax(1) > 1e-6)[touched].all())


def test_each_edge_feature_goes_with_its_edge(make):
    encoder, data = make(), batch_of(6, 7)
    before = embed(encoder, data, attributed=True)
    order = torch.randperm(data.num_edges, generator=torch.Generator().manual_seed(0))
    data.edge_index, data.edge_attr = data.edge_index[:, order], data.edge_attr[order]
    torch.testing.assert_close(before, embed(encoder, data, attributed=True))


@pytest.mark.parametrize("attributed", [False, True])
def test_no_batch_effect(make, attributed):
    encoder = make()
    sizes = (6, 1, 9, 4)
    together = embed(encoder, batch_of(*sizes), attributed=attributed).split(sizes)
    for seed, (n, part) in enumerate(zip(sizes, together, strict=True)):
        alone = embed(encoder, graph(n, seed), attributed=attributed)
        torch.testing.assert_close(alone, part, rtol=0, atol=1e-12)


@pytest.fixture(params=["compiled", "tensors"])
def route(request, monkeypatch):
    """Compiled loops, and tensor operations alone."""
    if request.param == "tensors":
        monkeypatch.setattr(compiled, "numba_installed", lambda: False)
    else:
        pytest.importorskip("numba")


@pytest.mark.laws
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_arcs", [0, 1, 40])
@pytest.mark.parametrize("width", [1, 3, 20])
def test_messages_against_the_definition(route, width, n_arcs, dtype):
    generator = torch.Generator().manual_seed(0)
    # A view with strides, arcs in any order, one of them twice, and features with zeros.
    h = torch.randn(3, 7, generator=generator).to(dtype).t().requires_grad_()
    values = torch.randn(n_arcs, width, generator=generator).relu().to(dtype)
    edge_index = torch.randint(7, (n_arcs, 2), generator=generator).t()
    layer = Linear(width, 3).to(dtype)
    expected = h.index_add(0, edge_index[1], (h[edge_index[0]] + layer(values)).relu())
    found = _ArcFeatures(values, layer).add_messages(h, edge_index)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected)
    weight, inputs = torch.randn(7, 3, generator=generator).to(dtype), (h, *layer.parameters())
    for got, wanted in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)
    if dtype == torch.float64:
        arcs = _ArcFeatures(values, layer)
        assert torch.autograd.gradcheck(lambda h: arcs.add_messages(h, edge_index), (h,))


def test_features_of_arcs_receive_a_gradient(make):
    encoder, data = make(), batch_of(6, 7)
    data.edge_attr.requires_grad_()
    embed(encoder, data, attributed=True).square().sum().backward()
    assert bool(data.edge_attr.grad.any(1).all())


def test_messages_do_not_hide_what_is_not_a_number(route):
    h, layer = torch.tensor([[torch.nan, 1.0], [-1.0, 2.0]]), Linear(1, 2)
    arcs = _ArcFeatures(torch.zeros(1, 1), layer)
    found = arcs.add_messages(h, torch.tensor([[0], [1]]))
    assert torch.equal(found.isnan(), torch.tensor([[True, False], [True, False]]))


def test_attention_does_not_cross_graphs():
    torch.manual_seed(0)
    encoder = GPS(hidden_channels=8).double()
    data = batch_of(6, 5)
    data.x.requires_grad_()
    embed(encoder, data)[:6].sum().backward()
    assert not bool(data.x.grad[6:].any())


def test_attention_reaches_nodes_without_a_path():
    torch.manual_seed(0)
    encoder = GPS(hidden_channels=8).double()
    lonely = Data(
        x=torch.randn(4, 3, dtype=torch.float64, requires_grad=True),
        edge_index=torch.zeros(2, 0).long(),
    )
    # A sum over channels would be constant: it follows a layer norm.
    embed(encoder, lonely)[0, 0].backward()
    assert bool((lonely.x.grad.abs().sum(1) > 0).all())


def test_equivariance(make):
    encoder, data = make(), graph(8)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    renamed = torch.empty_like(order)
    renamed[order] = torch.arange(8)
    permuted = Data(x=data.x[order], edge_index=renamed[data.edge_index])
    torch.testing.assert_close(embed(encoder, data)[order], embed(encoder, permuted))


def test_reset_is_seeded_initialisation():
    torch.manual_seed(3)
    encoder = GIN(in_channels=3, hidden_channels=8)
    data = graph(5)
    data.x = data.x.float()
    first = embed(encoder, data)
    encoder.reset_parameters()
    assert not torch.allclose(first, embed(encoder, data))


def dense_returns(edge_index: torch.Tensor, n: int, length: int) -> torch.Tensor:
    """Diagonals of the powers of the transition matrix, row by row."""
    walk = torch.zeros(n, n, dtype=torch.float64)
    walk[edge_index[0], edge_index[1]] = 1
    for v in range(n):
        if walk[v].any():
            walk[v] /= walk[v].sum()
    return torch.stack(
        [torch.linalg.matrix_power(walk, step).diagonal() for step in range(1, length + 1)], dim=1
    )


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    p=st.sampled_from([0.0, 0.3, 0.9]),
    length=st.integers(1, 6),
)
def test_random_walk_encoding_is_that_of_each_graph(sizes, p, length):
    parts = [graph(n, seed, p) for seed, n in enumerate(sizes)]
    data = Batch.from_data_list(parts)
    found = random_walk_encoding(data.edge_index, data.batch, length)
    expected = [dense_returns(part.edge_index, len(part.x), length) for part in parts]
    torch.testing.assert_close(found.double(), torch.cat(expected), rtol=0, atol=1e-6)


def test_isolated_nodes_do_not_return():
    edge_index = torch.tensor([[0, 1], [1, 0]])
    found = random_walk_encoding(edge_index, torch.zeros(3).long(), 4)
    assert found.tolist() == [[0, 1, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0]]


class Plain(torch.nn.Module):
    """A user's module without edge features."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 4)
        self.seen = None

    def forward(self, x, edge_index, graph_of_node):
        self.seen = graph_of_node
        return self.linear(x)


class Attributed(Plain):
    """A user's module with edge features."""

    def forward(self, x, edge_index, batch, edge_attr=None):
        self.seen = edge_attr
        z = self.linear(x)
        if edge_attr is None:
            return z
        return z.index_add(0, edge_index[0], edge_attr.sum(1, keepdim=True).expand(-1, 4))


def test_user_module_without_edge_attr():
    data = batch_of(5, 7).to("cpu")
    encoder = Plain().double()
    lifted = DiffLift(encoder=encoder, hidden_channels=8).double()(data)
    assert torch.equal(encoder.seen, data.batch)
    lifted.x_1.sum().backward()
    assert bool(encoder.linear.weight.grad.any())


@pytest.mark.parametrize("attributed", [True, False])
def test_user_module_with_edge_attr(attributed):
    data = batch_of(5, 7)
    if not attributed:
        del data.edge_attr
    encoder = Attributed().double()
    DiffLift(encoder=encoder, hidden_channels=8).double()(data)
    assert (encoder.seen is not None) == attributed
    if attributed:
        assert encoder.seen.shape == data.edge_attr.shape


def test_vector_of_edge_weights_becomes_a_column():
    data = batch_of(5, 7)
    data.edge_attr = data.edge_attr[:, 0]
    encoder = Attributed().double()
    DiffLift(encoder=encoder, hidden_channels=8).double()(data)
    assert encoder.seen.shape == (data.num_edges, 1)


@pytest.mark.parametrize("model", [GCN(3, 4, 2), GAT(3, 4, 2, edge_dim=2)], ids=["GCN", "GAT"])
def test_models_of_pyg_are_called_by_name(model):
    """Their third argument is not `batch`."""
    data = batch_of(5, 7)
    lift = DiffLift(encoder=model, hidden_channels=8).double().eval()
    z = lift.encoder(data.x, data.edge_index, edge_attr=data.edge_attr, batch=data.batch)
    seen = []
    model.register_forward_hook(lambda module, inputs, output: seen.append(output))
    lift(data)
    torch.testing.assert_close(seen[0], z)
