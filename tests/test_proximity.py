"""Learned neighbourhoods: sizes, membership weights, and that sizes learn."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from topox_difflift import DiffLift
from topox_difflift.neighbors import knn
from topox_difflift.proximity import Kernel, Nearest, NeighborhoodSize, _profile, search
from topox_difflift.testing import AcceptAll


def embeddings(n: int = 12, channels: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, generator=generator, dtype=torch.float64)


def make(k_min: int = 2, k_max: int = 5, seed: int = 0) -> NeighborhoodSize:
    torch.manual_seed(seed)
    size = NeighborhoodSize(4, 8, k_min, k_max).double()
    if size.mlp is not None:
        # Away from the start, where all nodes look alike.
        with torch.no_grad():
            size.mlp.lins[-1].weight.mul_(30)
    return size


def everyone(size: NeighborhoodSize, z: torch.Tensor) -> torch.Tensor:
    """Nearest nodes, of which there are enough."""
    return knn(z, torch.zeros(len(z), dtype=torch.long), size.k_max)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def find(z: torch.Tensor, size: NeighborhoodSize, **options: object) -> Nearest:
    options = {
        "kernel": None, "include_self": False, "sample": False, "two_sided": False,
        "near_misses": 0, "generator": seeded(),
    } | options  # fmt: skip
    batch = torch.zeros(len(z), dtype=torch.long)
    return search(z, batch, 1, size, **options)


bounds = st.tuples(st.integers(1, 4), st.integers(0, 4)).map(lambda pair: (pair[0], sum(pair)))


@settings(max_examples=25, deadline=None)
@given(bounds=bounds, seed=st.integers(0, 99), sample=st.booleans())
def test_distribution_and_tails(bounds, seed, sample):
    k_min, k_max = bounds
    size, z = make(k_min, k_max, seed), embeddings(seed=seed)
    index = everyone(size, z)
    pi = size.distribution(z, index)
    assert pi.shape == (12, k_max - k_min + 1)
    torch.testing.assert_close(pi.sum(1), torch.ones(12, dtype=torch.float64))
    taken, prob = size(z, index, sample, seeded(seed))
    sizes = torch.arange(k_min, k_max + 1)
    for j in range(k_max):
        torch.testing.assert_close(prob[:, j], pi[:, sizes > j].sum(1))
    torch.testing.assert_close(prob.sum(1), pi @ sizes.double())  # E[k] = sum of P(k > j)
    count = taken.sum(1)
    assert bool(((count >= k_min) & (count <= k_max)).all())
    assert torch.equal(taken, torch.arange(k_max) < count[:, None])
    if not sample:
        assert torch.equal(count, sizes[pi.argmax(1)])


def test_draws_follow_the_distribution():
    size, z = make(2, 4), embeddings(6)
    index = everyone(size, z)
    pi = size.distribution(z, index)
    count = size(z.repeat(10_000, 1), index.repeat(10_000, 1), True, seeded())[0].sum(1)
    found = torch.nn.functional.one_hot(count.view(-1, 6))[..., 2:].double().mean(0)
    torch.testing.assert_close(found, pi.detach(), rtol=0, atol=0.02)


def test_draws_come_from_the_generator():
    size, z = make(), embeddings(200)
    rows = everyone(size, z)
    random = torch.get_rng_state()
    first, again, other = (size(z, rows, True, seeded(s))[0] for s in (1, 1, 2))
    assert torch.equal(random, torch.get_rng_state())
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(size(z, rows, False)[0], size(z, rows, False, seeded(5))[0])


def test_one_size_has_nothing_to_learn():
    size, z = make(3, 3), embeddings()
    assert list(size.parameters()) == []
    size.reset_parameters()
    for sample in (True, False):
        taken, prob = size(z, everyone(size, z), sample, seeded())
        assert bool(taken.all())
        assert torch.equal(prob, torch.ones(12, 3, dtype=torch.float64))


def test_the_middle_size_comes_first():
    torch.manual_seed(0)
    for k_max, middle in [(4, 3), (6, 4), (3, 3)]:
        size, z = NeighborhoodSize(64, 64, 2, k_max), torch.randn(50, 64)
        taken, _ = size(z, everyone(size, z), sample=False)
        assert set(taken.sum(1).tolist()) == {middle}


def test_kernel_and_its_gradient():
    kernel = Kernel().double()
    torch.nn.init.constant_(kernel.log_scale, 0.3)
    z = embeddings(6).requires_grad_()
    source, target = torch.tensor([0, 0, 2, 3, 5]), torch.tensor([1, 2, 3, 3, 0])
    found = kernel(z, source, target)
    distance = (z[source] - z[target]).square().mean(1)
    torch.testing.assert_close(found, torch.exp(-torch.tensor(0.3).double().exp() * distance))
    upstream = embeddings(5, 1).squeeze(1)
    found = torch.autograd.grad((found * upstream).sum(), [z, kernel.log_scale])
    # With d = mean square of (a - b) and kappa = exp(-t d):
    # d kappa / d a = -2 t kappa (a - b) / channels, d kappa / d log t = -t d kappa.
    t = kernel.log_scale.exp().detach()
    expected, scale = torch.zeros_like(z), torch.zeros((), dtype=torch.float64)
    for u, a, b in zip(upstream, source.tolist(), target.tolist(), strict=True):
        gap = (z[a] - z[b]).detach()
        d = gap.square().mean()
        kappa = torch.exp(-t * d)
        expected[a] -= u * 2 * t * kappa * gap / 4
        expected[b] += u * 2 * t * kappa * gap / 4
        scale -= u * t * d * kappa
    torch.testing.assert_close(found[0], expected)
    torch.testing.assert_close(found[1], scale)


def test_kernel_of_no_pair():
    nothing = torch.zeros(0, dtype=torch.long)
    assert Kernel().double()(embeddings(), nothing, nothing).shape == (0,)


@pytest.mark.parametrize("include_self", [False, True])
def test_search_finds_the_nearest(include_self):
    z, size = embeddings(), make(2, 5)
    found = find(z, size, include_self=include_self)
    distance = torch.cdist(z, z)
    if not include_self:
        distance.fill_diagonal_(float("inf"))
    assert torch.equal(found.index, distance.argsort(dim=1)[:, :5])


def test_small_graphs_take_what_there_is():
    z = embeddings(5)
    batch = torch.tensor([0, 1, 1, 1, 2])
    found = search(
        z, batch, 3, make(2, 5), None,
        include_self=False, sample=True, two_sided=True, near_misses=3, generator=seeded(),
    )  # fmt: skip
    assert found.taken.sum(1).tolist() == [0, 2, 2, 2, 0]
    assert torch.equal(found.taken, found.index >= 0)
    assert not bool((found.listed & (found.index < 0)).any())


@pytest.mark.parametrize("two_sided", [False, True])
def test_listed_columns(two_sided):
    found = find(embeddings(), make(), sample=True, two_sided=two_sided)
    assert torch.equal(found.listed, found.taken | two_sided)
    assert 2 <= int(found.taken.sum(1).min()) < int(found.taken.sum(1).max()) <= 5


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 9), near_misses=st.integers(0, 4), closed=st.booleans(),
    two_sided=st.booleans(), soft=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_near_misses_are_the_next_nearest(n, near_misses, closed, two_sided, soft, seed):
    z, size = embeddings(n, seed=seed), make(2, 4, seed)
    options = {"include_self": closed, "sample": True, "two_sided": two_sided}
    kernel = Kernel().double() if soft else None
    found = find(z, size, kernel=kernel, near_misses=near_misses, **options)
    without = find(z, size, kernel=kernel, near_misses=0, **options)
    # No draw depends on them.
    assert torch.equal(found.taken[:, :4], without.taken)
    assert torch.equal(found.prob[:, :4], without.prob)
    assert not bool(found.taken[:, 4:].any() | found.prob[:, 4:].any())
    distance = torch.cdist(z, z)
    if not closed:
        distance.fill_diagonal_(torch.inf)
    n_others = n if closed else n - 1
    width = 4 + near_misses * (two_sided and soft)
    assert found.index.shape == (n, width)
    for v in range(n):
        nearest = distance[v].argsort()[:n_others][:width].tolist()
        assert found.index[v].tolist() == nearest + [-1] * (width - len(nearest))
        count = len(nearest) if two_sided else int(found.taken[v].sum())
        assert found.listed[v].tolist() == [column < count for column in range(width)]


@pytest.mark.parametrize("soft", [False, True])
def test_membership_is_the_indicator_with_the_gradients_of_tail_and_kappa(soft):
    z, kernel = embeddings().requires_grad_(), Kernel().double() if soft else None
    found = find(z, make(), kernel=kernel, sample=True, two_sided=True, near_misses=2)
    node, column = found.listed.nonzero(as_tuple=True)
    membership = found.membership(node, column)
    assert torch.equal(membership.bool(), found.taken[node, column])
    assert set(membership.tolist()) == {0.0, 1.0}
    upstream = torch.randn(len(node), generator=seeded(), dtype=torch.float64)
    (prob, places) = torch.autograd.grad(
        (membership * upstream).sum(), [found.prob, z], retain_graph=True
    )
    assert torch.equal(prob, torch.zeros_like(found.prob).index_put((node, column), upstream))
    # What reaches the embeddings, by the kernel and by the network of the sizes.
    through = (found.prob[node, column] * upstream).sum()
    if kernel is not None:
        through = through + (kernel(z, node, found.index[node, column]) * upstream).sum()
    torch.testing.assert_close(places, torch.autograd.grad(through, z)[0])


def test_closeness_of_hard_memberships_is_constant():
    z = embeddings().requires_grad_()
    pair = torch.tensor([0, 1]), torch.tensor([2, 3])
    assert not find(z, make()).closeness(*pair).requires_grad
    assert find(z, make(), kernel=Kernel().double()).closeness(*pair).requires_grad


# ---------------------------------------------------------------------- distances and sizes


def blind(k_min: int = 2, k_max: int = 5) -> NeighborhoodSize:
    """Sizes that the distances decide alone."""
    size = make(k_min, k_max)
    with torch.no_grad():
        size.mlp.lins[0].weight[:, :4] = 0
    return size


@pytest.mark.laws
@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 9), seed=st.integers(0, 99), scale=st.sampled_from([1e-6, 0.1, 1, 1e6]))
def test_profile_holds_shares_of_the_largest_distance(n, seed, scale):
    z = scale * embeddings(n, seed=seed)
    index = knn(z, torch.zeros(n, dtype=torch.long), 4)
    found = _profile(z, index)
    for v in range(n):
        there = [float((z[u] - z[v]).square().sum()) for u in index[v].tolist() if u >= 0]
        expected = [d / max(there) for d in there] + [1.0] * (4 - len(there))
        assert found[v].tolist() == pytest.approx(expected)


@pytest.mark.laws
def test_sizes_depend_on_distances_but_not_on_their_scale():
    z, size = embeddings(), blind()
    pi = size.distribution(z, everyone(size, z))
    assert float((pi[0] - pi[1]).detach().abs().max()) > 1e-3
    torch.testing.assert_close(size.distribution(100 * z, everyone(size, 100 * z)), pi)
    torch.testing.assert_close(size.distribution(1 - z, everyone(size, 1 - z)), pi)


@pytest.mark.laws
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_distances_that_are_but_rounding_count_as_none(dtype):
    z = embeddings(1).expand(12, -1).to(dtype)
    eps = torch.finfo(dtype).eps
    noisy = z * (1 + 2 * eps * torch.randint(-1, 2, z.shape, generator=seeded()).to(dtype))
    index = torch.arange(12).unsqueeze(1).add(torch.arange(1, 6)).remainder(12)
    index[:, 4] = -1
    assert bool((noisy != z).any())
    nothing = torch.tensor([0, 0, 0, 0, 1], dtype=dtype).expand(12, -1)
    assert torch.equal(_profile(z, index), nothing)
    torch.testing.assert_close(_profile(noisy, index), nothing, rtol=0, atol=0.01)
    assert torch.equal(_profile(torch.zeros_like(z), index), nothing)


@pytest.mark.laws
def test_distances_pass_no_gradient_on():
    z = embeddings().requires_grad_()
    for size, reached in ((blind(), False), (make(), True)):
        pi = size.distribution(z, everyone(size, z.detach()))
        (grad,) = torch.autograd.grad(pi[:, 0].sum(), z)
        assert bool(torch.isfinite(grad).all())
        assert bool(grad.any()) == reached


def test_without_dispersion_the_embedding_alone_decides():
    torch.manual_seed(0)
    size, z = NeighborhoodSize(4, 8, 2, 5, dispersion=False).double(), embeddings()
    assert size.mlp.channel_list == [4, 8, 4]
    assert NeighborhoodSize(4, 8, 2, 5).mlp.channel_list == [9, 8, 4]
    pi = size.distribution(z, everyone(size, z))
    torch.testing.assert_close(pi, torch.softmax(size.mlp(z), dim=1))


class Sampled(AcceptAll):
    """Accept every candidate, but draw the sizes."""

    stochastic = True


class Identity(torch.nn.Module):
    """An embedding that is not trained."""

    def forward(self, x, edge_index, batch):
        return x


def train_sizes(target: int, rejected: str) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Train a hypergraph lifting to have hyperedges of `target` members.

    The loss speaks through the incidence matrix alone, as a TNN does: the size has to move
    from its first mode, 4, without being told in which direction.
    """
    torch.manual_seed(target)
    data = Data(x=embeddings(16).float(), edge_index=torch.zeros(2, 0).long())
    lift = DiffLift(
        "hypergraph", encoder=Identity(), estimator=Sampled(), rejected=rejected,
        memberships="hard", hidden_channels=16, generator=seeded(target),
    )  # fmt: skip
    lift(data)
    size = lift.sizes["1"]
    optimizer = torch.optim.Adam(size.parameters(), lr=0.03)
    before = lift.regularization()["expected_size"].detach()
    assert {len(cell) for cell in lift.eval()(data).cells(1)} == {4}
    lift.train()
    for _ in range(150):
        matrix = lift(data).incidence_1
        count = torch.zeros(16).index_add(0, matrix.indices()[1], matrix.values())
        optimizer.zero_grad()
        (count - target).square().sum().backward()
        optimizer.step()
    found = torch.tensor([len(cell) for cell in lift.eval()(data).cells(1)])
    return found, lift.regularization()["expected_size"].detach() - before


@pytest.mark.parametrize("target", [2, 3, 4, 5])
def test_sizes_learn_what_the_task_wants(target):
    found, _ = train_sizes(target, "keep")
    assert found.tolist() == [target] * 16


@pytest.mark.parametrize(("target", "sign"), [(2, -1), (5, 1)])
def test_sizes_move_in_the_right_direction_without_the_next_neighbour(target, sign):
    """Where rejected cells are dropped, the estimate leans towards small sizes."""
    _, moved = train_sizes(target, "drop")
    assert sign * float(moved) > 0.5


def test_each_node_learns_its_own_size():
    torch.manual_seed(0)
    generator = seeded()
    z = embeddings(16).float()
    target = torch.where(z[:, 0] > 0, 2, 5)
    size = NeighborhoodSize(4, 16, 2, 5)
    optimizer = torch.optim.Adam(size.parameters(), lr=0.03)
    for _ in range(200):
        found = find(z, size, sample=True, two_sided=True, generator=generator)
        node, column = found.listed.nonzero(as_tuple=True)
        count = torch.zeros(16).index_add(0, node, found.membership(node, column))
        optimizer.zero_grad()
        (count - target).square().sum().backward()
        optimizer.step()
    assert torch.equal(size(z, everyone(size, z), sample=False)[0].sum(1), target)
