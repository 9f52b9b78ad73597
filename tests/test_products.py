"""Products of sparse matrices equal the dense ones, forward and backward, at a linear cost."""

from __future__ import annotations

import gc
import operator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from topox_difflift.neighborhoods import (
    Boundary,
    IncidencePattern,
    up_entries,
    without_diagonal,
)
from topox_difflift.products import LinearProducts, SparseOperand
from topox_difflift.sparse import sparse_coo, sparse_mm

DTYPES = [torch.float32, torch.float64]


def sparse(
    rows: int, columns: int, share: float = 0.4, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    """Index and values of a random matrix, a zero among the values."""
    generator = torch.Generator().manual_seed(seed)
    index = (torch.rand(rows, columns, generator=generator) < share).nonzero().t().contiguous()
    values = torch.randn(index.size(1), generator=generator, dtype=torch.float64)
    values[::5] = 0
    return index, values.to(dtype).requires_grad_()


def build(index: torch.Tensor, values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return torch.sparse_coo_tensor(index, values, size, is_coalesced=True, check_invariants=False)


PRODUCTS = {
    "mm": torch.mm,
    "matmul": torch.matmul,
    "@": operator.matmul,
    "method mm": lambda a, b: a.mm(b),
    "method matmul": lambda a, b: a.matmul(b),
    "sparse.mm": torch.sparse.mm,
    "spmm": torch.spmm,
}


@pytest.mark.laws
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("size", [(6, 4), (1, 3), (5, 1), (4, 0), (0, 4), (0, 0)])
def test_sparse_times_dense_equals_the_dense_product(name, size, dtype):
    index, values = sparse(*size, dtype=dtype)
    x = torch.randn(size[1], 3, dtype=dtype, requires_grad=True)
    weight = torch.randn(size[0], 3, dtype=dtype)
    with LinearProducts():
        y = PRODUCTS[name](build(index, values, size), x)
    assert y.layout == torch.strided
    dense = torch.zeros(size, dtype=dtype).index_put((index[0], index[1]), values)
    expected = dense @ x
    torch.testing.assert_close(y, expected)
    found = torch.autograd.grad((y * weight).sum(), (values, x))
    wanted = torch.autograd.grad((expected * weight).sum(), (values, x))
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.laws
@pytest.mark.parametrize("size", [(6, 4), (1, 3), (5, 1), (4, 0), (0, 4), (0, 0)])
def test_one_product_alone_is_linear_as_well(size):
    index, values = sparse(*size)
    x = torch.randn(size[1], 3, dtype=torch.float64, requires_grad=True)

    def product(values, x):
        return sparse_mm(torch.sparse_coo_tensor(index, values, size, check_invariants=False), x)

    dense = torch.zeros(size, dtype=torch.float64).index_put((index[0], index[1]), values)
    torch.testing.assert_close(product(values, x), dense @ x)
    assert torch.autograd.gradcheck(product, (values, x))


def test_one_product_alone_refuses_what_does_not_fit():
    index, values = sparse(5, 4)
    matrix, x = build(index, values, (5, 4)), torch.ones(4, 2, dtype=torch.float64)
    for factors, message in [
        ((x, x), r"'matrix' to be a sparse COO matrix \(got torch.strided"),
        ((matrix, x[:3]), r"dense matrix of 4 rows \(got torch.strided of shape \(3, 2\)"),
        ((matrix, matrix), "dense matrix of 4 rows"),
        ((matrix, x[:, 0]), r"of shape \(4,\)"),
        ((matrix, x.float()), r"'x' to be torch.float64, .* \(got torch.float32\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            sparse_mm(*factors)


@pytest.mark.laws
@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 7), st.integers(0, 7), st.integers(0, 7), st.floats(0, 1), st.integers(0, 999)
)
def test_two_sparse_matrices_equal_the_dense_product(n, m, k, share, seed):
    (ia, va), (ib, vb) = sparse(n, m, share, seed), sparse(m, k, share, seed + 1)
    x = torch.randn(k, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    with LinearProducts():
        product = build(ia, va, (n, m)) @ build(ib, vb, (m, k))
        y = product @ x
    assert product.layout == torch.sparse_coo
    assert product.is_coalesced()
    a = torch.zeros(n, m, dtype=x.dtype).index_put((ia[0], ia[1]), va)
    b = torch.zeros(m, k, dtype=x.dtype).index_put((ib[0], ib[1]), vb)
    torch.testing.assert_close(product.to_dense(), a @ b)
    torch.testing.assert_close(y, a @ b @ x)
    for got, want in zip(
        torch.autograd.grad(y.square().sum(), (va, vb)),
        torch.autograd.grad((a @ b @ x).square().sum(), (va, vb)),
        strict=True,
    ):
        torch.testing.assert_close(got, want)


@pytest.mark.laws
@pytest.mark.parametrize(
    "chain",
    [
        lambda m, x: m @ x,
        lambda m, x: m.T @ (m @ x),
        lambda m, x: m @ m.T @ (m @ x),
        lambda m, x: (x.t() @ m.t()).t(),
        lambda m, x: torch.mv(m, x[:, 0]).unsqueeze(1),
        lambda m, x: m.to_dense().T.to_sparse() @ (m @ x),
        lambda m, x: torch.mm(m, x) / (2 + torch.sum(m.to_dense(), dim=1)).unsqueeze(1),
        lambda m, x: (m @ torch.diag(m.to_dense().sum(0))) @ x,
        lambda m, x: torch.diag(torch.sum(m.to_dense(), dim=1)) @ m @ x,
        lambda m, x: torch.eye(5, dtype=x.dtype) @ (m @ x),
        lambda m, x: (m.to_dense() ** 2) @ x + m.to_dense()[:, :1],
        lambda m, x: torch.relu(m.to_dense()) @ x,
        lambda m, x: abs(m.to_dense()) @ x / (1 + abs(m.to_dense()).sum(axis=1)).unsqueeze(1),
        lambda m, x: torch.linalg.matrix_power(torch.eye(5, dtype=x.dtype) - m @ m.T, 2) @ (m @ x),
    ],
    ids=range(14),
)
def test_gradients_are_exact(chain):
    index, values = sparse(5, 4, 0.6, seed=3)
    # Away from the kink of relu.
    values = (values.detach() + 0.1).requires_grad_()
    x = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)

    def call(values, x):
        with LinearProducts():
            return chain(build(index, values, (5, 4)), x)

    dense = torch.zeros(5, 4, dtype=x.dtype).index_put((index[0], index[1]), values)
    torch.testing.assert_close(call(values, x), chain(dense, x), rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(call, (values, x))


def test_matrices_that_a_layer_builds_itself_are_taken_over():
    index, values = sparse(5, 4)
    x = torch.randn(4, 2, dtype=torch.float64)
    score = torch.randn(4, dtype=torch.float64, requires_grad=True)
    with LinearProducts():
        m = build(index, values, (5, 4)).coalesce()
        attention = torch.sparse_coo_tensor(
            indices=m.indices(), values=m.values() * score[m.indices()[1]], size=m.shape
        )
        y = torch.mm(attention, x)
    dense = torch.zeros(5, 4, dtype=x.dtype).index_put((index[0], index[1]), values)
    torch.testing.assert_close(y, (dense * score) @ x)
    y.sum().backward()
    assert score.grad.any()
    assert values.grad.any()


def test_the_gradient_passes_through_the_matrix_itself():
    index, values = sparse(5, 4)
    for matrix in (sparse_coo(index, values, (5, 4)), sparse_coo(index, values.detach(), (5, 4))):
        if not matrix.requires_grad:
            matrix.requires_grad_()
        with LinearProducts():
            y = matrix @ torch.ones(4, 2, dtype=torch.float64)
        (grad,) = torch.autograd.grad(y.sum(), matrix)
        assert torch.equal(grad.coalesce().values(), torch.full_like(values, 2))


@pytest.mark.laws
def test_the_transposed_matrix_may_have_other_values():
    index, values = sparse(5, 4)
    other = torch.randn_like(values).requires_grad_()
    x, z = (torch.randn(n, 2, dtype=torch.float64) for n in (4, 5))

    def call(values, other):
        matrix = sparse_coo(index, values, (5, 4), other)
        with LinearProducts():
            assert torch.equal((matrix.T.T @ x).detach(), (matrix @ x).detach())
            return matrix @ x, matrix.T @ z

    there, back = (
        torch.zeros(5, 4, dtype=torch.float64).index_put(tuple(index), v.detach())
        for v in (values, other)
    )
    torch.testing.assert_close(call(values, other)[0], there @ x)
    torch.testing.assert_close(call(values, other)[1], back.T @ z)
    assert torch.autograd.gradcheck(call, (values, other))


def test_duplicate_entries_are_added_up():
    index = torch.tensor([[1, 0, 1], [0, 1, 0]])
    values = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with LinearProducts():
        matrix = torch.sparse_coo_tensor(index, values, (2, 2))
        y = matrix @ torch.tensor([[1.0], [10.0]])
        assert (matrix.T @ torch.ones(2, 1)).tolist() == [[4.0], [2.0]]
    assert y.tolist() == [[20.0], [4.0]]
    y[1].sum().backward()
    assert values.grad.tolist() == [1.0, 0.0, 1.0]


def test_a_matrix_may_have_a_strided_index():
    index = torch.tensor([[0, 1], [0, 2], [1, 0], [2, 2]]).t()
    values, x = torch.rand(4, dtype=torch.float64), torch.rand(3, 2, dtype=torch.float64)
    for multiply in (sparse_mm, _within):
        inputs = values.clone().requires_grad_(), x.clone().requires_grad_()
        matrix = torch.sparse_coo_tensor(
            index, inputs[0], (3, 3), is_coalesced=True, check_invariants=False
        )
        dense = torch.zeros(3, 3, dtype=torch.float64).index_put(tuple(index), inputs[0])
        found, expected = multiply(matrix, inputs[1]), dense @ inputs[1]
        torch.testing.assert_close(found, expected)
        weight = torch.rand_like(expected)
        for grad, exact in zip(
            torch.autograd.grad(found, inputs, weight),
            torch.autograd.grad(expected, inputs, weight),
            strict=True,
        ):
            torch.testing.assert_close(grad, exact)


def _within(matrix: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    with LinearProducts():
        return matrix @ x


def test_a_layer_may_overwrite_the_buffer_that_a_factor_is_a_view_of():
    """As SCNN's Chebyshev convolution does, which fails in PyTorch's own backward."""
    index, values = sparse(4, 4, 0.7, seed=1)
    x = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)

    def chebyshev(values, x):
        matrix, out = build(index, values, (4, 4)), x.new_empty(4, 2, 3)
        out[:, :, 0] = torch.mm(matrix, x)
        for k in range(1, 3):
            out[:, :, k] = torch.mm(matrix, out[:, :, k - 1])
        return out

    def taken_over(values, x):
        with LinearProducts():
            return chebyshev(values, x)

    with pytest.raises(RuntimeError, match="inplace operation"):
        chebyshev(values, x).sum().backward()
    assert torch.autograd.gradcheck(taken_over, (values, x))


@pytest.mark.parametrize("single", [True, False])
def test_a_view_of_one_channel_is_kept_as_well(single):
    n = 1 if single else 3
    values = torch.ones(n, dtype=torch.float64, requires_grad=True)
    place = torch.arange(n)
    with LinearProducts():
        buffer = torch.ones(n, 1, 1, dtype=torch.float64)
        y = build(torch.stack([place, place]), values, (n, n)) @ buffer[:, :, 0]
        buffer.zero_()
    y.sum().backward()
    assert values.grad.tolist() == [1.0] * n


@pytest.mark.laws
def test_autocast_trains_in_single_precision():
    index, values = sparse(6, 4, dtype=torch.float32)
    x, weight = torch.randn(4, 3), torch.randn(3, 3, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        with LinearProducts():
            matrix = build(index, values, (6, 4))
            hidden = x @ weight
            assert hidden.dtype == torch.bfloat16
            y = torch.mm(matrix, hidden)
            rebuilt = torch.sparse_coo_tensor(index, values.bfloat16(), (6, 4))
            assert rebuilt.dtype == torch.float32
        assert y.dtype == torch.float32
        y.square().sum().backward()
    assert torch.isfinite(values.grad).all()
    assert values.grad.any()
    assert weight.grad.any()


def test_new_tensors_take_the_dtype_of_the_network():
    like = torch.zeros(1, dtype=torch.float64)
    with LinearProducts(like):
        assert torch.empty(2).dtype == torch.zeros(2).dtype == torch.float64
        assert torch.ones(2, dtype=torch.int64).dtype == torch.int64
        assert (torch.eye(3) @ torch.ones(3, 2)).dtype == torch.float64
    assert torch.empty(2).dtype == torch.float32


def test_nothing_is_kept_and_nothing_is_taken_over_outside():
    index, values = sparse(5, 4)
    mode = LinearProducts()
    with mode:
        matrix = build(index, values, (5, 4))
        assert mode.operand(matrix) is mode.operand(matrix)
        assert matrix.T is not None
        deferred = matrix.to_dense()
    assert isinstance(torch.add(deferred, 1), torch.Tensor)
    gc.collect()
    assert not mode._known
    assert isinstance(matrix.to_dense(), torch.Tensor)


def test_the_dense_copy_answers_like_one():
    index, values = sparse(5, 4)
    dense = build(index, values, (5, 4)).to_dense().detach()
    with LinearProducts():
        copy = build(index, values, (5, 4)).to_dense()
        assert copy.shape == dense.shape
        assert len(copy) == 5
        assert copy.T.shape == (4, 5)
        assert copy.to(torch.float64) is copy
        assert copy.to(torch.float32).dtype == torch.float32
        # Zeros stay in the sparse form, where PyTorch would leave them without gradient.
        assert copy.to_sparse().values().numel() == len(values)
        for result, expected in [
            (copy + 1, dense + 1), (1 - copy, 1 - dense), (2 * copy, 2 * dense),
            (-copy, -dense), (copy[0], dense[0]), (copy.sum(-1), dense.sum(1)),
            (copy.sum(), dense.sum()), (copy.max(), dense.max()),
            (torch.stack([copy, copy]), torch.stack([dense, dense])),
            (copy.unsqueeze(0), dense.unsqueeze(0)), (copy > 0, dense > 0),
            (torch.sum(copy, dim=1, keepdim=True), dense.sum(1, keepdim=True)),
        ]:  # fmt: skip
            torch.testing.assert_close(result.detach(), expected)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.ones(3, 2, dtype=torch.float64), r"fit \(got shapes \(5, 4\) and \(3, 2\)\)"),
        (torch.ones(4, 2, dtype=torch.float32), r"one dtype \(got torch.float64 and torch.float32"),
    ],
)
def test_factors_that_do_not_fit_are_refused(x, message):
    index, values = sparse(5, 4)
    with LinearProducts(), pytest.raises(RuntimeError, match=message):
        build(index, values, (5, 4)) @ x


def test_other_products_are_left_alone():
    index, values = sparse(4, 4)
    x, batch = torch.randn(4, 4), torch.randn(2, 4, 4)
    with LinearProducts():
        assert torch.equal(x @ x, torch.mm(x, x))
        assert (batch @ x).shape == (2, 4, 4)
        assert torch.equal(x.transpose(0, 1), x.t())
        assert torch.equal(torch.diag(x), x.diagonal())
        assert torch.equal(x.sum(0), torch.sum(x, dim=0))
    # The backward pass allocates what the entries need, not rows x columns.
    operand = SparseOperand.of(build(index, values, (4, 4)))
    assert operand.transposed.transposed.row.tolist() == operand.row.tolist()


def gram(n_faces, n_cells, seed):
    """A gated boundary, a rejected cell among its cells."""
    generator = torch.Generator().manual_seed(seed)
    faces = (torch.rand(n_faces, n_cells, generator=generator) < 0.5).nonzero().t().contiguous()
    mask = (torch.rand(n_cells, generator=generator) < 0.7).double().requires_grad_()
    membership = torch.ones(faces.size(1), dtype=torch.float64, requires_grad=True)
    pattern = IncidencePattern(faces, (n_faces, n_cells))
    boundary = Boundary(pattern, torch.ones_like(membership), membership, mask)

    def entries():
        return without_diagonal(up_entries(boundary, signed=False)).matrix()

    return boundary.gram(entries), entries, (mask, membership)


@pytest.mark.laws
@settings(max_examples=40, deadline=None)
@given(n_faces=st.integers(0, 6), n_cells=st.integers(0, 5), seed=st.integers(0, 999))
def test_the_factors_stand_for_the_matrix(n_faces, n_cells, seed):
    factored, entries, gates = gram(n_faces, n_cells, seed)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_faces, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(n_faces, 3, generator=generator, dtype=torch.float64)
    with LinearProducts():
        found, expected = torch.mm(factored, x), torch.mm(entries(), x)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        *(torch.autograd.grad((y * weight).sum(), (x, *gates)) for y in (found, expected)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_whatever_else_is_asked_of_the_factors_is_asked_of_the_matrix():
    factored, entries, _ = gram(5, 4, 0)
    matrix, x = entries(), torch.randn(5, dtype=torch.float64)
    with LinearProducts():
        assert torch.equal(factored.coalesce().indices(), matrix.indices())
        torch.testing.assert_close(factored @ x, matrix @ x)
        torch.testing.assert_close(x[None] @ factored, x[None] @ matrix)
        products = torch.mm(factored, matrix), torch.mm(matrix, matrix)
        with pytest.raises(RuntimeError, match=r"factors of a product to fit .* \(5, 5\)"):
            torch.mm(factored, x[:3, None])
    torch.testing.assert_close(*(product.to_dense() for product in products))
    torch.testing.assert_close(torch.abs(factored).to_dense(), matrix.to_dense())
