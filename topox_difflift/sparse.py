"""Sparse matrices given by index and values, with products whose backward is linear."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["matmul", "segment_sum", "sort_pairs", "sparse_coo"]


def sparse_coo(index: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
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

    Returns
    -------
    torch.Tensor, shape = `size`, sparse COO, coalesced
        The matrix.
    """
    return _SparseCOO.apply(values, index.contiguous(), size)


class _SparseCOO(torch.autograd.Function):
    """Sparse matrix from sorted values; a sparse gradient of the same pattern is read off."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor, size: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(index)
        # A strided index gives wrong matrices on conversion to CSR; the caller makes it contiguous.
        return torch.sparse_coo_tensor(
            index, values, size, is_coalesced=True, check_invariants=False
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
            index, ones, grad.shape, is_coalesced=True, check_invariants=False
        )
        return grad.sparse_mask(pattern).values(), None, None


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
    order = torch.argsort(index[0] * max(n_columns, 1) + index[1])
    return index[:, order].contiguous(), order


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
    messages = values.unsqueeze(-1) * x.index_select(0, index[1])
    return x.new_zeros(n_rows, x.size(1)).index_add(0, index[0], messages)


class _SegmentSum(torch.autograd.Function):
    """Sum of gathered rows; the gathered rows themselves are never stored."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, sizes: Tensor) -> Tensor:
        ctx.save_for_backward(index, sizes)
        ctx.n_rows = x.size(0)
        offsets = sizes.cumsum(0) - sizes
        return torch.nn.functional.embedding_bag(index, x, offsets, mode="sum")

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        index, sizes = ctx.saved_tensors
        (grad,) = grads
        rows = torch.repeat_interleave(grad, sizes, dim=0)
        return grad.new_zeros(ctx.n_rows, grad.size(1)).index_add(0, index, rows), None, None


def segment_sum(x: Tensor, index: Tensor, sizes: Tensor) -> Tensor:
    """
    Sum the rows ``x[index]`` segment by segment.

    Parameters
    ----------
    x : torch.Tensor, shape = (n, channels)
        Rows to gather from.
    index : torch.Tensor, shape = (sum(sizes),), int64
        Row of each member, segment after segment.
    sizes : torch.Tensor, shape = (n_segments,), int64
        Number of members of each segment.

    Returns
    -------
    torch.Tensor, shape = (n_segments, channels)
        The sums.
    """
    if len(index) == 0:
        return x.new_zeros(len(sizes), x.size(1)) + 0 * x.sum()
    return _SegmentSum.apply(x, index, sizes)
