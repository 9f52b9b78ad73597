"""Neighbours against brute force, their ties, and the gradient of chosen distances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from topox_difflift import _neighbors_exact, compiled, neighbors
from topox_difflift.neighbors import knn, pairs, rank_by_length, squared_distances
from topox_difflift.ragged import buckets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DTYPES = [torch.float32, torch.float64]
SETTINGS = settings(max_examples=40, deadline=None)


def batch_of(sizes: list[int]) -> Tensor:
    """Return the graph of each node, given the number of nodes of each graph."""
    return torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes, dtype=torch.long))


def generic(
    n_nodes: int, channels: int, dtype: torch.dtype = torch.float64, seed: int = 0
) -> Tensor:
    """Return embeddings without ties."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_nodes, channels, dtype=torch.float64, generator=generator).to(dtype)


def grid(n_nodes: int, channels: int, seed: int = 0) -> Tensor:
    """Return embeddings whose distances are equal or far apart, in float32 as well."""
    return (generic(n_nodes, channels, seed=seed) * 16).round() / 16


def lattice(n_nodes: int, channels: int, seed: int = 0) -> Tensor:
    """Return embeddings on few integer points, so that most distances are tied."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 2, (n_nodes, channels), generator=generator).double()


def oracle(z: Tensor, batch: Tensor, k: int, include_self: bool = False) -> Tensor:
    """Sort by (exact distance, index), graph by graph and node by node."""
    distance = (z.double()[:, None] - z.double()[None]).square().sum(2)
    rows = []
    for node in range(z.size(0)):
        others = (batch == batch[node]).nonzero().flatten().tolist()
        others.remove(node)
        others = [other for _, other in sorted((float(distance[node, o]), o) for o in others)]
        row = ([node] if include_self else []) + others
        rows.append((row + [-1] * k)[:k])
    return torch.tensor(rows, dtype=torch.long).view(-1, k)


@pytest.fixture(params=["compiled", "tensors"], autouse=True, scope="module")
def route(request: pytest.FixtureRequest) -> Iterator[str]:
    """Search small graphs by compiled loops, and by tensor operations alone."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "tensors":
            patch.setattr(compiled, "numba_installed", lambda: False)
        else:
            pytest.importorskip("numba")
        yield request.param


@SETTINGS
@given(
    sizes=st.lists(st.integers(0, 13), min_size=1, max_size=6),
    channels=st.integers(1, 4),
    k=st.integers(1, 9),
    include_self=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    tied=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_equals_brute_force(
    sizes: list[int],
    channels: int,
    k: int,
    include_self: bool,
    dtype: torch.dtype,
    tied: bool,
    seed: int,
) -> None:
    batch = batch_of(sizes)
    z = (lattice if tied else grid)(sum(sizes), channels, seed=seed).to(dtype)
    found = knn(z, batch, k, include_self=include_self)
    assert found.dtype == torch.int64
    assert torch.equal(found, oracle(z, batch, k, include_self))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_searched_as_it_is(dtype: torch.dtype) -> None:
    batch = batch_of([9, 1, 14])
    z = lattice(24, 3).to(dtype)
    assert torch.equal(knn(z, batch, 4), oracle(z, batch, 4))


@pytest.mark.parametrize("dtype", DTYPES)
def test_unequal_sizes_are_bucketed(dtype: torch.dtype) -> None:
    sizes = [3, 90, 1, 5, 0, 40, 2, 2, 17, 4, 3, 3]
    batch = batch_of(sizes)
    z = grid(sum(sizes), 4).to(dtype)
    expected = oracle(z, batch, 6)
    assert torch.equal(knn(z, batch, 6), expected)
    assert torch.equal(knn(z, batch, 6, chunk_rows=7), expected)
    assert torch.equal(knn(z, batch, 6, num_graphs=20), expected)


@given(sizes=st.lists(st.integers(1, _neighbors_exact._BIG), max_size=200))
@SETTINGS
def test_padding_costs_at_most_four_times_the_area(sizes: list[int]) -> None:
    counts = torch.tensor(sizes, dtype=torch.long)
    groups = list(buckets(counts))
    area = sum(rows.numel() * size**2 for rows, size in groups)
    assert area <= 4 * sum(size**2 for size in sizes)
    assert len(groups) <= 11
    assert all(int(counts[rows].max()) == size for rows, size in groups)
    rows = torch.cat([rows for rows, _ in groups] or [counts.new_empty(0)])
    assert rows.sort().values.tolist() == list(range(len(sizes)))


def test_permuting_the_nodes_permutes_the_neighbours() -> None:
    z, batch = generic(60, 5, torch.float32), batch_of([25, 35])
    order = torch.cat([torch.randperm(25), 25 + torch.randperm(35)])
    back = order.argsort()
    assert torch.equal(order[knn(z[order], batch, 7)], knn(z, batch, 7)[order])
    assert torch.equal(knn(z[order][back], batch, 7), knn(z, batch, 7))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0.0, 30.0])
@pytest.mark.parametrize("include_self", [False, True])
def test_ties_are_the_same_alone_and_in_a_batch(
    dtype: torch.dtype, offset: float, include_self: bool
) -> None:
    sizes = [12, 31, 2, 18, 7, 64, 1, 25]
    batch = batch_of(sizes)
    weight = generic(6, 48, dtype, seed=1)
    points = lattice(sum(sizes), 6).to(dtype)

    def embed(rows: Tensor, seed: int) -> Tensor:
        """Embed with the roundings of a product of this shape, and some more."""
        z = rows @ weight + offset
        noise = 1e-7 if dtype == torch.float32 else 1e-15
        return z * (1 + noise * generic(z.size(0), z.size(1), dtype, seed).clamp(-2, 2))

    together = knn(embed(points, 2), batch, 5, include_self=include_self)
    start = 0
    for number, size in enumerate(sizes):
        part = points[start : start + size]
        alone = knn(embed(part, 3 + number), batch.new_zeros(size), 5, include_self=include_self)
        shifted = torch.where(alone >= 0, alone + start, -1)
        assert torch.equal(shifted, together[start : start + size])
        start += size
    assert (together >= 0).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_nodes", [8, 300])
def test_identical_embeddings_go_by_index(dtype: torch.dtype, n_nodes: int) -> None:
    found = knn(torch.full((n_nodes, 5), 1.7, dtype=dtype), batch_of([n_nodes]), 3)
    assert found[0].tolist() == [1, 2, 3]
    assert found[2].tolist() == [0, 1, 3]
    assert found[-1].tolist() == [0, 1, 2]


def test_a_circle_is_resolved_by_index() -> None:
    angle = torch.arange(12, dtype=torch.float64) * torch.pi / 6
    z = torch.stack([angle.cos(), angle.sin()], dim=1).float()
    found = knn(z, batch_of([12]), 4)
    expected = [sorted([(i - j) % 12, (i + j) % 12]) for i in range(12) for j in (1, 2)]
    assert found.view(-1, 2).tolist() == expected


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("tile", "include_self"), [((512, 1024), False), ((50, 37), True)])
def test_big_graph_in_two_stages(
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype,
    tied: bool,
    tile: tuple[int, int],
    include_self: bool,
) -> None:
    monkeypatch.setattr(_neighbors_exact, "_BIG", 100)
    monkeypatch.setitem(_neighbors_exact._TILE, "cpu", tile)
    monkeypatch.setitem(_neighbors_exact._BLOCK_WHOLE, "cpu", 2000)
    batch = batch_of([5, 400, 130, 30])
    z = (lattice if tied else grid)(565, 4).to(dtype)
    expected = oracle(z, batch, 6, include_self)
    assert torch.equal(knn(z, batch, 6, include_self=include_self), expected)
    assert torch.equal(knn(z, batch, 6, include_self=include_self, chunk_rows=33), expected)


def test_big_graph_agrees_with_the_small_path(monkeypatch: pytest.MonkeyPatch) -> None:
    z, batch = generic(1500, 16, torch.float32), batch_of([1500])
    two_stages = knn(z, batch, 10)
    monkeypatch.setattr(_neighbors_exact, "_BIG", 10**6)
    assert torch.equal(knn(z, batch, 10), two_stages)


@pytest.mark.parametrize(("n_nodes", "channels"), [(2000, 2), (1200, 24), (300, 3)])
def test_no_neighbour_is_farther_than_the_tolerance_allows(n_nodes: int, channels: int) -> None:
    z, k = generic(n_nodes, channels, torch.float32) + 3, 8
    found = knn(z, batch_of([n_nodes]), k)
    wide = z.double()
    nearest = torch.cdist(wide, wide).fill_diagonal_(torch.inf).topk(k, largest=False).values
    distances = torch.linalg.vector_norm(wide[found] - wide.unsqueeze(1), dim=2)
    tolerance = 2**-17 * torch.linalg.vector_norm(wide, dim=1).max()
    assert bool(((distances - nearest).abs() <= k * tolerance).all())


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 0), (4e-3, 400)])
def test_rows_that_float32_cannot_tell_are_searched_in_float64(
    monkeypatch: pytest.MonkeyPatch, scale: float, expected: int
) -> None:
    searched: dict[torch.dtype, int] = {}
    nearest, whole = _neighbors_exact._BigGraph._nearest, []

    def count(search: _neighbors_exact._BigGraph, rows: Tensor, *rest: Any) -> Tensor:
        dtype = search.points.dtype
        searched[dtype] = searched.get(dtype, 0) + len(rows)
        return nearest(search, rows, *rest)

    monkeypatch.setattr(_neighbors_exact._BigGraph, "_nearest", count)
    monkeypatch.setattr(
        _neighbors_exact._BigGraph, "_fill_exhaustively", lambda *args: whole.append(args)
    )
    # A cluster as wide as `scale`, seen from far off.
    z = generic(2000, 32, torch.float64)
    z[:400] = 3 + scale * z[:400]
    found = knn(z.float(), batch_of([2000]), 10)
    assert searched[torch.float32] == 2000
    assert abs(searched.get(torch.float64, 0) - expected) <= 20
    assert not whole
    if scale < 1:
        assert bool((found[:400] < 400).all())


def test_big_graph_survives_reduced_precision_and_autocast() -> None:
    z, batch = generic(1200, 8, torch.float32), batch_of([1200])
    expected = knn(z, batch, 5)
    precision = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert torch.equal(knn(z, batch, 5), expected)
    finally:
        torch.set_float32_matmul_precision(precision)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(knn(z, batch, 5), expected)


def test_many_neighbours_in_a_big_graph() -> None:
    z, batch = generic(1100, 3, torch.float32), batch_of([1100])
    found = knn(z, batch, 1200)
    assert (found[:, 1099:] == -1).all()
    everyone = torch.cat([found[:, :1099], torch.arange(1100).unsqueeze(1)], dim=1)
    assert torch.equal(everyone.sort(dim=1).values, torch.arange(1100).expand(1100, -1))


@pytest.mark.parametrize("k", range(116, 126))
def test_almost_everyone_in_a_big_graph(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    """Where there are hardly more candidates than are looked at, and padding beyond them."""
    monkeypatch.setattr(_neighbors_exact, "_BIG", 100)
    monkeypatch.setitem(_neighbors_exact._TILE, "cpu", (512, 32))
    z, batch = grid(133, 3), batch_of([133])
    assert torch.equal(knn(z, batch, k), oracle(z, batch, k))


@pytest.mark.parametrize("points", [generic, lattice])
def test_memory_is_linear(
    monkeypatch: pytest.MonkeyPatch, points: Callable[[int, int], Tensor]
) -> None:
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            for value in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(value, Tensor):
                    largest = max(largest, value.untyped_storage().nbytes())
            return result

    monkeypatch.setitem(_neighbors_exact._BLOCK_WHOLE, "cpu", 2**17)
    monkeypatch.setitem(_neighbors_exact._TILE, "cpu", (256, 1024))
    monkeypatch.setitem(_neighbors_exact._BLOCK_PADDED, "cpu", 2**14)
    batch = batch_of([3000] + [20] * 100)
    with Watch():
        knn(points(5000, 8).float(), batch, 5)
    assert largest <= 8 * 2**18


@pytest.mark.parametrize("include_self", [False, True])
def test_empty_and_single(include_self: bool) -> None:
    none = knn(torch.empty(0, 3), torch.empty(0, dtype=torch.long), 2, include_self=include_self)
    assert none.shape == (0, 2)
    one = knn(torch.ones(1, 3), torch.tensor([4]), 2, num_graphs=7, include_self=include_self)
    assert one.tolist() == [[0, -1] if include_self else [-1, -1]]
    assert knn(torch.ones(3, 2), batch_of([3]), 1, include_self=True).tolist() == [[0], [1], [2]]
    assert knn(torch.ones(3, 0), batch_of([3]), 2).tolist() == [[1, 2], [0, 2], [0, 1]]


def test_no_gradient_and_input_untouched() -> None:
    z = generic(20, 3, torch.float32).requires_grad_()
    before = z.detach().clone()
    assert not knn(z, batch_of([12, 8]), 3).requires_grad
    assert torch.equal(z.detach(), before)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_embeddings_that_are_not_finite_are_named(value: float) -> None:
    z = generic(20, 3, torch.float32)
    z[9, 1] = value
    with pytest.raises(ValueError, match=r"'z' to be finite .* graph of node 8"):
        knn(z, batch_of([8, 12]), 3)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_scale_does_not_matter(scale: float) -> None:
    z, batch = generic(1330, 3), batch_of([1300, 30])
    assert torch.equal(knn((z * scale).float(), batch, 4), knn(z.float(), batch, 4))


Z, BATCH = torch.zeros(4, 2), torch.tensor([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((Z, BATCH, 0), {}, r"'k' to be at least 1 \(got 0\)"),
        ((Z, BATCH, -3), {}, r"'k' .*got -3"),
        ((Z[0], BATCH, 1), {}, r"'z' .*\(n_nodes, channels\) \(got \(2,\)\)"),
        ((Z[None], BATCH, 1), {}, r"'z' .*got \(1, 4, 2\)"),
        ((Z.long(), BATCH, 1), {}, r"'z' .*got torch.int64"),
        ((Z, BATCH[:3], 1), {}, r"'batch' .*length 4.*got shape \(3,\)"),
        ((Z, BATCH[None], 1), {}, r"'batch' .*got shape \(1, 4\)"),
        ((Z, BATCH.int(), 1), {}, r"'batch' .*got torch.int32"),
        ((Z, BATCH.flip(0), 1), {}, r"'batch' .*ascending \(got 1 before 0 at node 1\)"),
        ((Z, BATCH - 1, 1), {}, r"'batch' .*non-negative \(got -1 to 0\)"),
        ((Z, BATCH, 1), {"num_graphs": 1}, r"'batch' .*num_graphs - 1 = 0 \(got 0 to 1\)"),
        ((Z, BATCH, 1), {"chunk_rows": 0}, r"'chunk_rows' .*got 0"),
    ],
)
def test_bad_input_of_knn(
    arguments: tuple[Tensor, Tensor, int], options: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        knn(*arguments, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((Z[0], BATCH, BATCH), "'z'"),
        ((Z, BATCH[None], BATCH), r"'source' .*got shape \(1, 4\)"),
        ((Z, BATCH, BATCH[:2]), r"'target' .*length 4.*got shape \(2,\)"),
        ((Z, BATCH.float(), BATCH), r"'source' .*got torch.float32"),
    ],
)
def test_bad_input_of_squared_distances(
    arguments: tuple[Tensor, Tensor, Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        squared_distances(*arguments)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_pairs", [0, 1, 50])
def test_squared_distances_and_their_gradient(dtype: torch.dtype, n_pairs: int) -> None:
    z = generic(9, 5, dtype).requires_grad_()
    source, target = torch.randint(9, (2, n_pairs))
    weight = generic(n_pairs, 1, dtype, seed=2).flatten()
    expected = (z[source] - z[target]).square().sum(1)
    found = squared_distances(z, source, target)
    torch.testing.assert_close(found, expected)
    (slope,) = torch.autograd.grad(found @ weight, z)
    torch.testing.assert_close(slope, torch.autograd.grad(expected @ weight, z)[0])


@pytest.mark.laws
def test_gradient_of_squared_distances() -> None:
    z = generic(5, 3).requires_grad_()
    source, target = torch.tensor([0, 1, 1, 4, 2, 3]), torch.tensor([1, 0, 1, 2, 4, 0])

    def function(z: Tensor) -> Tensor:
        return squared_distances(z, source, target)

    assert torch.autograd.gradcheck(function, z)


def test_distances_of_neighbours_have_a_gradient() -> None:
    z, batch = generic(30, 4, torch.float32).requires_grad_(), batch_of([11, 19])
    neighbour = knn(z, batch, 3)
    source = torch.arange(30).repeat_interleave(3)
    squared_distances(z, source, neighbour.flatten()).sum().backward()
    assert z.grad is not None
    assert bool((z.grad.abs().sum(1) > 0).all())


@pytest.mark.laws
@SETTINGS
@given(
    n_nodes=st.integers(1, 9),
    k=st.integers(1, 5),
    edge_share=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_pairs_against_a_loop(n_nodes: int, k: int, edge_share: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(n_nodes, n_nodes, generator=generator).argsort(1)
    index = torch.stack([row[row != node][:k] for node, row in enumerate(order)])
    listed = torch.rand(index.shape, generator=generator) < 0.6
    upper = torch.rand(n_nodes, n_nodes, generator=generator).triu(1) > 1 - edge_share
    edges = upper.nonzero().t()
    entries: dict[tuple[int, int], list[int]] = {}
    for entry in listed.flatten().nonzero().flatten().tolist():
        node, other = entry // index.size(1), int(index.flatten()[entry])
        if not upper[min(node, other), max(node, other)]:
            entries.setdefault((min(node, other), max(node, other)), []).append(entry)
    expected = [(*pair, e[0], e[-1]) for pair, e in sorted(entries.items())]
    found = torch.stack(pairs(index, listed, edges), dim=1)
    assert found.dtype == torch.int64
    assert [tuple(row) for row in found.tolist()] == expected


@pytest.mark.laws
@pytest.mark.parametrize("points", [grid, lattice])
@SETTINGS
@given(sizes=st.lists(st.integers(0, 9), max_size=4), seed=st.integers(0, 10**6))
def test_edges_are_ranked_by_length_within_their_graph(
    points: Callable[..., Tensor], sizes: list[int], seed: int
) -> None:
    batch = batch_of(sizes)
    z = points(sum(sizes), 3, seed=seed)
    every = torch.combinations(torch.arange(len(z)))
    kept = torch.rand(len(every), generator=torch.Generator().manual_seed(seed)) < 0.5
    edges = every[kept & (batch[every[:, 0]] == batch[every[:, 1]])].t()
    # Powers of two and a little noise change no order, nor which lengths are equal.
    noise = 1 + 1e-14 * generic(len(z), 3, seed=seed).clamp(-2, 2)
    rank = rank_by_length(4 * z * noise, batch, edges, len(sizes))
    assert rank.dtype == torch.int64
    length = (z[edges[0]] - z[edges[1]]).square().sum(1)
    for graph in range(len(sizes)):
        own = batch[edges[0]] == graph
        compared = length[own][:, None] < length[own][None]
        assert torch.equal(rank[own][:, None] < rank[own][None], compared)
    assert int(rank.min()) == 1 if len(rank) else rank.shape == (0,)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbors, "usable", lambda *tensors: False)
        assert torch.equal(rank, rank_by_length(4 * z * noise, batch, edges, len(sizes)))
