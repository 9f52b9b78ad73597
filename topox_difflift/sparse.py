"""Sparse matrices given by index and values, with products whose backward is linear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from topox_difflift import ragged
from topox_difflift.compiled import arrays, usable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Kept", "Segments", "entries_of", "matmul", "sort_pairs", "sparse_coo", "sparse_mm",
    "stable_order",
]  # fmt: skip


def sparse_coo(
    index: Tensor, values: Tensor, size: tuple[int, int], reverse: Tensor | None = None
) -> Tensor:
    """
    Sparse COO matrix from an index that is already sorted and free of duplicates.

    Parameters
    ----------
    index : torch.Tensor, shape = (2, nnz), int64
        Row-major sorted index.
    values : torch.Tensor, shape = (nnz,)
        Values; their gradient is kept, and so are explicit zeros.
    size : tuple of int
        Shape of the matrix.
    reverse : torch.Tensor, shape = (nnz,), optional
        Other values for the transposed matrix, within `LinearProducts`; an attribute of the
        result.

    Returns
    -------
    torch.Tensor, shape = `size`, sparse COO, coalesced
        The matrix.
    """
    matrix: Tensor = _SparseCOO.apply(values, index.contiguous(), size)
    if reverse is not None:
        matrix.reverse = reverse  # type: ignore[attr-defined]
    return matrix


class Entries(NamedTuple):
    """What a sparse matrix is made of, without duplicates."""

    places: Tensor
    values: Tensor
    reverse: Tensor | None


def entries_of(matrix: Tensor) -> Entries:
    """
    Entries of a sparse matrix.

    Parameters
    ----------
    matrix : torch.Tensor, sparse COO
        The matrix, with duplicates or without.

    Returns
    -------
    Entries
        Sorted index without duplicates, contiguous, and values.
    """
    reverse = getattr(matrix, "reverse", None)
    matrix = matrix if matrix.is_coalesced() else matrix.coalesce()
    return Entries(matrix.indices().contiguous(), matrix.values(), reverse)


class _SparseCOO(torch.autograd.Function):
    """Sparse matrix from sorted values; a sparse gradient of the same pattern is read off."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor, size: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(index)
        # A strided index gives wrong matrices on conversion to CSR; the caller makes it contiguous.
        return torch.sparse_coo_tensor(
            index,
            values,
            size,
            device=values.device,
            is_coalesced=True,
            check_invariants=False,
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (index,), (grad,) = ctx.saved_tensors, grads
        if grad.layout != torch.sparse_coo:
            return grad[index[0], index[1]], None, None
        grad = grad if grad.is_coalesced() else grad.coalesce()
        if torch.equal(grad.indices(), index):
            return grad.values(), None, None
        # PyTorch's own backward, slower: the gradient has another pattern.
        ones = torch.ones(index.size(1), dtype=grad.dtype, device=grad.device)
        pattern = torch.sparse_coo_tensor(
            index,
            ones,
            grad.shape,
            device=grad.device,
            is_coalesced=True,
            check_invariants=False,
        )
        return grad.sparse_mask(pattern).values(), None, None


def stable_order(keys: Tensor) -> Tensor:
    """
    Stable order of non-negative integers.

    On the host by radix, since PyTorch's sort of a few thousand integers takes several times
    as long; elsewhere PyTorch's own.

    Parameters
    ----------
    keys : torch.Tensor, shape = (n,), int64
        The integers.

    Returns
    -------
    torch.Tensor, shape = (n,), int64
        Their positions, smallest first, equal ones in their order.
    """
    if keys.device.type != "cpu" or len(keys) == 0 or torch.compiler.is_compiling():
        return torch.argsort(keys, stable=True)
    if usable(keys):
        from topox_difflift import _sparse_numba

        return torch.from_numpy(_sparse_numba.stable_order(*arrays(keys)))
    values = keys.numpy()
    # NumPy sorts 16 bits by radix: least significant digits first, each pass stable.
    order = np.argsort(values.astype(np.uint16), kind="stable")
    for shift in range(16, int(values.max()).bit_length(), 16):
        digits = (values[order] >> shift).astype(np.uint16)
        order = order[np.argsort(digits, kind="stable")]
    return torch.from_numpy(order)


def sort_pairs(index: Tensor, n_columns: int) -> tuple[Tensor, Tensor]:
    """
    Sort pairs (row, column) by row, then by column.

    Parameters
    ----------
    index : torch.Tensor, shape = (2, nnz), int64
        The pairs.
    n_columns : int
        Number of columns.

    Returns
    -------
    index : torch.Tensor, shape = (2, nnz), int64
        The sorted pairs, contiguous.
    order : torch.Tensor, shape = (nnz,), int64
        Position of each sorted pair in the input.
    """
    if usable(index):
        from topox_difflift import _sparse_numba

        found, order = map(torch.from_numpy, _sparse_numba.sort_pairs(*arrays(*index), n_columns))
        return found, order
    order = stable_order(index[0] * max(n_columns, 1) + index[1])
    return index.index_select(1, order), order


def matmul(index: Tensor, values: Tensor, x: Tensor, n_rows: int) -> Tensor:
    """
    Product of a sparse matrix and a dense one, by gathering and scattering.

    PyTorch's own backward of a sparse COO product builds a dense gradient of shape
    (rows, columns); this one needs memory for the non-zeros alone.

    Parameters
    ----------
    index : torch.Tensor, shape = (2, nnz), int64
        Pairs (row, column).
    values : torch.Tensor, shape = (nnz,)
        Values of the matrix.
    x : torch.Tensor, shape = (n_columns, channels)
        Dense factor.
    n_rows : int
        Number of rows of the matrix.

    Returns
    -------
    torch.Tensor, shape = (n_rows, channels)
        The product.
    """
    if usable(values, x):
        return _CompiledProduct.apply(values, x, index, n_rows)
    messages = values.unsqueeze(-1) * x.index_select(0, index[1])
    return x.new_zeros(n_rows, x.size(1)).index_add(0, index[0], messages)


class _CompiledProduct(torch.autograd.Function):
    """Sparse product by loops that store no messages."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, x: Tensor, index: Tensor, n_rows: int) -> Tensor:
        from topox_difflift import _sparse_numba

        ctx.save_for_backward(values, x, index)
        product = _sparse_numba.matmul(*arrays(*index, values, x), n_rows)
        return torch.from_numpy(product)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (grad,), (values, x, index) = grads, ctx.saved_tensors
        by_values = by_x = None
        if ctx.needs_input_grad[0]:
            by_values = _CompiledDots.apply(grad, x, index)
        if ctx.needs_input_grad[1]:
            by_x = _CompiledProduct.apply(values, grad, index.flip(0), len(x))
        return by_values, by_x, None, None


class _CompiledDots(torch.autograd.Function):
    """Inner products of rows of two matrices: a dense product where a sparse one has entries."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, index: Tensor) -> Tensor:
        from topox_difflift import _sparse_numba

        ctx.save_for_backward(left, right, index)
        return torch.from_numpy(_sparse_numba.dots(*arrays(*index, left, right)))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        (grad,), (left, right, index) = grads, ctx.saved_tensors
        by_left = _CompiledProduct.apply(grad, right, index, len(left))
        by_right = _CompiledProduct.apply(grad, left, index.flip(0), len(right))
        return by_left, by_right, None


class Kept:
    """
    Property that is computed once and kept, or anew where `torch.compile` traces.

    A trace has to be free of side effects, and cannot take the lock of functools.cached_property.

    Parameters
    ----------
    compute : callable
        ``instance -> value``.
    """

    def __init__(self, compute: Callable[[Any], Any]) -> None:
        self.compute, self.__doc__ = compute, compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        value = self.compute(instance)
        if not torch.compiler.is_compiling():
            instance.__dict__[self.name] = value
        return value


@dataclass(frozen=True)
class Segments:
    """
    Which rows of a matrix each segment adds up; what is derived from it is kept.

    Attributes
    ----------
    index : torch.Tensor, shape = (sum(sizes),), int64
        Row of each member, segment after segment.
    sizes : torch.Tensor, shape = (n_segments,), int64
        Number of members of each segment.
    n_rows : int
        Number of rows to choose from.
    """

    index: Tensor
    sizes: Tensor
    n_rows: int

    @classmethod
    def grouped(cls, group: Tensor, n_groups: int) -> Segments:
        """
        Segments of the rows that belong to one group.

        Parameters
        ----------
        group : torch.Tensor, shape = (n_rows,), int64
            Group of each row.
        n_groups : int
            Number of groups.

        Returns
        -------
        Segments
            One segment for each group, its rows ascending.
        """
        sizes = ragged.counts(group, n_groups)
        return cls(stable_order(group), sizes, len(group))

    @Kept
    def owners(self) -> Tensor:
        """
        Segment of each member.

        Returns
        -------
        torch.Tensor, shape = (sum(sizes),), int64
            Ascending.
        """
        return ragged.owners(self.sizes, len(self.index))

    @Kept
    def offsets(self) -> Tensor:
        """
        First member of each segment.

        Returns
        -------
        torch.Tensor, shape = (n_segments,), int64
            Positions in `index`.
        """
        return ragged.starts(self.sizes)

    @Kept
    def by_member(self) -> Tensor:
        """
        Order that sorts the members by their row.

        Returns
        -------
        torch.Tensor, shape = (sum(sizes),), int64
            Positions in `index`, those of one row in their order.
        """
        return stable_order(self.index)

    @Kept
    def transposed(self) -> Segments:
        """
        Which segments each row is a member of.

        Returns
        -------
        Segments
            Segments of the rows, to add up what belongs to the segments.
        """
        sizes = ragged.counts(self.index, self.n_rows)
        return Segments(self.owners.index_select(0, self.by_member), sizes, len(self.sizes))

    def share(self, like: Tensor) -> Tensor:
        """
        Share of a member in the mean of its segment.

        Parameters
        ----------
        like : torch.Tensor
            Tensor whose dtype the result takes.

        Returns
        -------
        torch.Tensor, shape = (n_segments,)
            One over the size of the segment.
        """
        # Autocast takes reciprocals in single precision.
        return self.sizes.to(like.dtype).reciprocal().to(like.dtype)

    def pool(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """
        Sum rows segment by segment, without storing what is gathered, and without gradient.

        Parameters
        ----------
        x : torch.Tensor, shape = (n_rows, channels)
            Rows to gather from.
        weight : torch.Tensor, shape = (sum(sizes),), optional
            Factor of each member.

        Returns
        -------
        torch.Tensor, shape = (n_segments, channels)
            The sums, 0 for an empty segment.
        """
        if len(self.index) == 0:
            return x.new_zeros(len(self.sizes), x.size(1))
        return torch.nn.functional.embedding_bag(
            self.index,
            x.contiguous(),
            self.offsets,
            mode="sum",
            per_sample_weights=weight,
        )

    def weighted_sum(self, x: Tensor, weight: Tensor) -> Tensor:
        """
        Sum weighted rows segment by segment, with a gradient to the rows and to the weights.

        Parameters
        ----------
        x : torch.Tensor, shape = (n_rows, channels)
            Rows to gather from.
        weight : torch.Tensor, shape = (sum(sizes),)
            Factor of each member.

        Returns
        -------
        torch.Tensor, shape = (n_segments, channels)
            The sums, 0 for an empty segment. Neither pass stores what is gathered.
        """
        return _WeightedSum.apply(x, weight, self)

    def inner_products(self, y: Tensor, x: Tensor) -> Tensor:
        """
        Inner product of each member's row and the row of its segment, without gradient.

        Parameters
        ----------
        y : torch.Tensor, shape = (n_segments, channels)
            Rows of the segments.
        x : torch.Tensor, shape = (n_rows, channels)
            Rows of the members.

        Returns
        -------
        torch.Tensor, shape = (sum(sizes),)
            One number for each member.
        """
        if len(self.index) == 0 or x.size(1) == 0:
            return y.new_zeros(len(self.index))
        # What PyTorch's embedding_bag computes for the weights of its members, in one pass.
        return torch.ops.aten._embedding_bag_per_sample_weights_backward(
            y, x, self.index, self.offsets, self.owners, 0
        )

    def average(self, x: Tensor) -> Tensor:
        """
        Average rows segment by segment, as `pool` sums them.

        Parameters
        ----------
        x : torch.Tensor, shape = (n_rows, channels)
            Rows to gather from.

        Returns
        -------
        torch.Tensor, shape = (n_segments, channels)
            The means, 0 for an empty segment.
        """
        # A weighted sum takes a third of the time of PyTorch's own mean.
        return self.pool(x, self.share(x).index_select(0, self.owners))

    def sum(self, x: Tensor) -> Tensor:
        """
        Sum rows segment by segment, with a gradient.

        Parameters
        ----------
        x : torch.Tensor, shape = (n_rows, channels)
            Rows to gather from.

        Returns
        -------
        torch.Tensor, shape = (n_segments, channels)
            The sums, 0 for an empty segment.
        """
        return _SegmentSum.apply(x, self)

    def mean(self, x: Tensor) -> Tensor:
        """
        Average rows segment by segment, with a gradient.

        Parameters
        ----------
        x : torch.Tensor, shape = (n_rows, channels)
            Rows to gather from.

        Returns
        -------
        torch.Tensor, shape = (n_segments, channels)
            The means, 0 for an empty segment.
        """
        return _SegmentMean.apply(x, self)

    def dispersion(self, x: Tensor) -> Tensor:
        """
        Mean over channels of the variance within each segment, with a gradient.

        Parameters
        ----------
        x : torch.Tensor, shape = (n_rows, channels)
            Rows to gather from.

        Returns
        -------
        torch.Tensor, shape = (n_segments,)
            The dispersions, 0 for an empty segment.
        """
        return _SegmentDispersion.apply(x, self)


class _WeightedSum(torch.autograd.Function):
    """Sum of weighted rows, whose backward pass costs as little as the sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, segments: Segments) -> Tensor:
        """
        Add up.

        Parameters
        ----------
        ctx : torch.autograd.function.FunctionCtx
            What the backward pass needs.
        x : torch.Tensor, shape = (n_rows, channels)
            Rows to gather from.
        weight : torch.Tensor, shape = (n_members,)
            Factor of each member.
        segments : Segments
            Which rows each segment adds up.

        Returns
        -------
        torch.Tensor, shape = (n_segments, channels)
            The sums.
        """
        # A layer may go on writing into the buffer that x is a view of.
        kept = x.clone(memory_format=torch.contiguous_format) if x._is_view() else x.contiguous()
        ctx.segments = segments
        ctx.save_for_backward(kept, weight)
        return segments.pool(kept, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """
        Send the gradient to the rows and to the weights.

        Parameters
        ----------
        ctx : torch.autograd.function.FunctionCtx
            What the forward pass kept.
        *grads : torch.Tensor, shape = (n_segments, channels)
            Gradient of the sums.

        Returns
        -------
        tuple of torch.Tensor
            Gradients of the rows and of the weights.
        """
        (x, weight), segments, grad = ctx.saved_tensors, ctx.segments, grads[0].contiguous()
        by_x = by_weight = None
        if ctx.needs_input_grad[0]:
            ordered = weight.index_select(0, segments.by_member)
            by_x = segments.transposed.pool(grad, ordered)
        if ctx.needs_input_grad[1]:
            by_weight = segments.inner_products(grad, x)
        return by_x, by_weight, None


def _squared_norm(x: Tensor) -> Tensor:
    """Squared norm of each row, without a temporary of the size of `x`."""
    return torch.linalg.vector_norm(x, dim=-1).square_()


class _SegmentSum(torch.autograd.Function):
    """Sum of gathered rows, whose backward pass is one as well, by the transposed segments."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, segments: Segments) -> Tensor:
        ctx.segments = segments
        return segments.pool(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.segments.transposed.sum(grads[0]), None


class _SegmentMean(torch.autograd.Function):
    """Mean of gathered rows; in the backward pass every row receives its shares."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, segments: Segments) -> Tensor:
        ctx.segments = segments
        return segments.average(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,), members = grads, ctx.segments.transposed
        shares = ctx.segments.share(grad).index_select(0, members.index)
        return members.pool(grad, shares), None


class _SegmentDispersion(torch.autograd.Function):
    """
    Dispersion of gathered rows: the mean square less the squared mean.

    With g the gradient of a segment of size s and mean m, row x receives
    ``sum w x - sum w m`` over its segments, where ``w = 2 g / (s channels)``.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, segments: Segments) -> Tensor:
        mean = segments.average(x)
        square = segments.average(_squared_norm(x).unsqueeze(-1)).squeeze(-1)
        ctx.segments = segments
        ctx.save_for_backward(x, mean)
        return (square - _squared_norm(mean)).div_(x.size(1))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,), (x, mean), members = grads, ctx.saved_tensors, ctx.segments.transposed
        weight = grad * ctx.segments.share(x) * (2 / x.size(1))
        by_mean = members.pool(mean, weight.index_select(0, members.index))
        return (x * members.pool(weight.unsqueeze(-1))).sub_(by_mean), None


def sparse_mm(matrix: Tensor, x: Tensor) -> Tensor:
    r"""
    Product of a sparse matrix and a dense one, with a backward pass linear in the entries.

    PyTorch's own backward pass of ``torch.sparse.mm``, with a gradient to the entries of `matrix`,
    builds a dense gradient of shape (n_rows, n_columns) to read off the few entries that are
    wanted. With :math:`y = M x`, this one computes those alone:

    .. math::
        \bar{M}_{ij} = \langle \bar{y}_i, x_j \rangle, \qquad
        \bar{x}_j = \sum_i M_{ij} \bar{y}_i .

    Parameters
    ----------
    matrix : torch.Tensor, shape = (n_rows, n_columns), sparse COO
        The sparse factor; its values receive a gradient, explicit zeros included.
    x : torch.Tensor, shape = (n_columns, channels)
        The dense factor, of the same dtype.

    Returns
    -------
    torch.Tensor, shape = (n_rows, channels)
        The product.

    Raises
    ------
    ValueError
        If the factors are no sparse and no dense matrix, or do not fit.

    Notes
    -----
    There are no second derivatives.

    Examples
    --------
    >>> import torch
    >>> from topox_difflift.sparse import sparse_mm
    >>> values = torch.ones(2, requires_grad=True)
    >>> matrix = torch.sparse_coo_tensor([[0, 1], [1, 0]], values, (2, 2))
    >>> sparse_mm(matrix, torch.tensor([[2.0], [3.0]])).sum().backward()
    >>> values.grad
    tensor([3., 2.])
    """
    if matrix.layout != torch.sparse_coo or matrix.dim() != 2:
        raise ValueError(
            f"Expected 'matrix' to be a sparse COO matrix (got {matrix.layout} of "
            f"{matrix.dim()} dimensions); matrix.to_sparse_coo()"
        )
    if x.layout != torch.strided or x.dim() != 2 or len(x) != matrix.size(1):
        raise ValueError(
            f"Expected 'x' to be a dense matrix of {matrix.size(1)} rows (got {x.layout} of "
            f"shape {tuple(x.shape)})"
        )
    if x.dtype != matrix.dtype:
        raise ValueError(
            f"Expected 'x' to be {matrix.dtype}, as 'matrix' is (got {x.dtype}); "
            f"x.to({matrix.dtype})"
        )
    matrix = matrix if matrix.is_coalesced() else matrix.coalesce()
    row, column = matrix.indices().contiguous()
    rows = Segments(column, ragged.counts(row, matrix.size(0)), matrix.size(1))
    return rows.weighted_sum(x, matrix.values())
