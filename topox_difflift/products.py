r"""
Products of sparse matrices whose backward pass is linear in the number of their entries.

PyTorch's backward pass of ``M @ x``, with a gradient to the values of the sparse COO matrix
`M`, builds the dense gradient :math:`\bar{y} x^\top` of shape (rows, columns) to read off the
few entries that are wanted. `LinearProducts` takes such products over wherever they stand, also
in the layers of a network that knows nothing of it, and computes the wanted entries alone:

.. math::
    y_i = \sum_j M_{ij} x_j, \qquad
    \bar{M}_{ij} = \langle \bar{y}_i, x_j \rangle, \qquad
    \bar{x}_j = \sum_i M_{ij} \bar{y}_i .
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from topox_difflift import ragged
from topox_difflift.sparse import Segments, entries_of, sparse_coo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Gram", "LinearProducts", "SparseOperand"]


@dataclass(frozen=True, eq=False)
class SparseOperand:
    """
    A sparse matrix as its products need it; what is derived from it is kept.

    Attributes
    ----------
    row, column : torch.Tensor, shape = (nnz,), int64
        Position of each entry, sorted by row, then by column, without duplicates.
    values : torch.Tensor, shape = (nnz,)
        Values; they receive the gradient.
    size : tuple of int
        Numbers of rows and columns.
    reverse : torch.Tensor, shape = (nnz,), optional
        Values of the transposed matrix, where they are others.
    """

    row: Tensor
    column: Tensor
    values: Tensor
    size: tuple[int, int]
    reverse: Tensor | None = None

    @classmethod
    def of(cls, matrix: Tensor) -> SparseOperand:
        """
        Read a sparse matrix.

        Parameters
        ----------
        matrix : torch.Tensor, shape = (n_rows, n_columns), sparse COO
            The matrix.

        Returns
        -------
        SparseOperand
            Its entries, duplicates added up.
        """
        index, values, reverse = entries_of(matrix)
        return cls(index[0], index[1], values, (matrix.size(0), matrix.size(1)), reverse)

    @classmethod
    def diagonal(cls, values: Tensor) -> SparseOperand:
        """
        Diagonal matrix.

        Parameters
        ----------
        values : torch.Tensor, shape = (n,)
            The diagonal.

        Returns
        -------
        SparseOperand
            The matrix.
        """
        place = torch.arange(len(values), device=values.device)
        return cls(place, place, values, (len(values), len(values)))

    @cached_property
    def by_row(self) -> Segments:
        """
        Columns that each row gathers from.

        Returns
        -------
        Segments
            One segment for each row.
        """
        return Segments(self.column, ragged.counts(self.row, self.size[0]), self.size[1])

    @cached_property
    def transposed(self) -> SparseOperand:
        """
        The transposed matrix.

        Returns
        -------
        SparseOperand
            It has the same values, or those that stand in `reverse`.
        """
        order, size = self.by_row.by_member, (self.size[1], self.size[0])
        row, values = self.column.index_select(0, order), self.values.index_select(0, order)
        reverse = None if self.reverse is None else self.reverse.index_select(0, order)
        if reverse is not None:
            values, reverse = reverse, values
        return SparseOperand(row, self.by_row.transposed.index, values, size, reverse)

    def float(self) -> SparseOperand:
        """
        Convert to single precision.

        Returns
        -------
        SparseOperand
            The same entries.
        """
        reverse = None if self.reverse is None else self.reverse.float()
        return replace(self, values=self.values.float(), reverse=reverse)

    def matrix(self) -> Tensor:
        """
        Build the sparse tensor.

        Returns
        -------
        torch.Tensor, shape = `size`, sparse COO, coalesced
            The matrix, with the gradient of the values.
        """
        index = torch.stack([self.row, self.column])
        return sparse_coo(index, self.values, self.size, self.reverse)

    def sum(self, dim: int) -> Tensor:
        """
        Add up rows or columns.

        Parameters
        ----------
        dim : {0, 1}
            The dimension that vanishes.

        Returns
        -------
        torch.Tensor, shape = (n_columns,) or (n_rows,)
            The sums.
        """
        kept = (self.column, self.row)[dim]
        return self.values.new_zeros(self.size[1 - dim]).index_add(0, kept, self.values)

    def times_dense(self, x: Tensor) -> Tensor:
        """
        Multiply by a dense matrix.

        Parameters
        ----------
        x : torch.Tensor, shape = (n_columns, channels)
            The dense factor.

        Returns
        -------
        torch.Tensor, shape = (n_rows, channels)
            The product.
        """
        return self.by_row.weighted_sum(x, self.values)

    def times_sparse(self, other: SparseOperand) -> SparseOperand:
        """
        Multiply by another sparse matrix.

        Parameters
        ----------
        other : SparseOperand
            The second factor.

        Returns
        -------
        SparseOperand
            The product; entries that cancel stay in its pattern. Memory is linear in the
            number of pairs of entries that meet.
        """
        matches = other.by_row.sizes.index_select(0, self.column)
        left = ragged.owners(matches)
        right = ragged.take(other.by_row.sizes, self.column)
        row, column = self.row.index_select(0, left), other.column.index_select(0, right)
        width = max(other.size[1], 1)
        key, slot = torch.unique(row * width + column, return_inverse=True)
        products = self.values.index_select(0, left) * other.values.index_select(0, right)
        values = products.new_zeros(len(key)).index_add(0, slot, products)
        row = torch.div(key, width, rounding_mode="floor")
        return SparseOperand(row, key - row * width, values, (self.size[0], other.size[1]))


def _ask_the_whole(
    _: type, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
) -> Any:
    """Call with the matrices themselves: where no mode is active they are like any other."""
    return func(*_materialized(args), **_materialized(kwargs or {}))


class Gram:
    r"""
    The symmetric matrix :math:`B M B^\top` without its diagonal, kept as its factors.

    It has an entry for every two rows of B that share a column, far more than B where columns
    are long. Products with dense matrices, within `LinearProducts`, need only the factors.
    Whatever else is asked of it is asked of the sparse matrix.

    Parameters
    ----------
    operand : SparseOperand, shape = (n, m)
        The product B M of the factor and a diagonal matrix; B in `reverse`.
    diagonal : torch.Tensor, shape = (n,)
        What stands on the diagonal of the product, and is left out.
    entries : callable
        Makes the sparse matrix.
    """

    def __init__(
        self, operand: SparseOperand, diagonal: Tensor, entries: Callable[[], Tensor]
    ) -> None:
        self.operand, self.diagonal, self._entries = operand, diagonal, entries

    __torch_function__: Any = classmethod(_ask_the_whole)

    @cached_property
    def whole(self) -> Tensor:
        """
        The sparse matrix.

        Returns
        -------
        torch.Tensor, shape = (n, n), sparse COO
            The matrix.
        """
        return self._entries()

    @property
    def size(self) -> tuple[int, int]:
        """
        Numbers of rows and columns.

        Returns
        -------
        tuple of int
            The number of rows of B, twice.
        """
        return self.operand.size[0], self.operand.size[0]

    @property
    def values(self) -> Tensor:
        """
        What has the dtype and the device of the entries.

        Returns
        -------
        torch.Tensor, shape = (nnz of B,)
            Values of B M.
        """
        return self.operand.values

    def times_dense(self, x: Tensor) -> Tensor:
        """
        Multiply by a dense matrix.

        Parameters
        ----------
        x : torch.Tensor, shape = (n, channels)
            The dense factor.

        Returns
        -------
        torch.Tensor, shape = (n, channels)
            The product.
        """
        through = self.operand.times_dense(self.operand.transposed.times_dense(x))
        return through - self.diagonal.unsqueeze(1) * x

    def __matmul__(self, other: Any) -> Any:
        return torch.matmul(self, other)  # type: ignore[arg-type]

    def __rmatmul__(self, other: Any) -> Any:
        return torch.matmul(other, self)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)


class _Deferred:
    """
    A dense matrix known to be sparse, whose zeros are not stored until something needs them.

    Layers make dense copies to add up rows, to transpose or to multiply, which the sparse matrix
    can do as well. Whatever else is asked of it is asked of the dense copy.
    """

    def __init__(self, products: LinearProducts, operand: SparseOperand) -> None:
        self.products, self.operand = products, operand

    __torch_function__: Any = classmethod(_ask_the_whole)

    @cached_property
    def whole(self) -> Tensor:
        """The dense matrix."""
        with torch._C.DisableTorchFunction():
            return self.operand.matrix().to_dense()

    @property
    def shape(self) -> torch.Size:
        """Numbers of rows and columns."""
        return torch.Size(self.operand.size)

    @property
    def T(self) -> _Deferred:  # noqa: N802 -- as PyTorch names it
        """The transposed matrix."""
        return _Deferred(self.products, self.operand.transposed)

    def to(self, *args: Any, **kwargs: Any) -> _Deferred | Tensor:
        """Convert; to the device and dtype that it has, nothing happens."""
        like = self.operand.values
        moved = like.to(*args, **kwargs)
        return self if moved is like else self.whole.to(*args, **kwargs)

    def to_sparse(self) -> Tensor:
        """Build the sparse matrix; entries that are zero stay, so that they receive gradient."""
        return self.products.tensor(self.operand)

    to_sparse_coo = to_sparse

    def __abs__(self) -> _Deferred:
        reverse = self.operand.reverse
        magnitudes = replace(
            self.operand,
            values=self.operand.values.abs(),
            reverse=None if reverse is None else reverse.abs(),
        )
        return _Deferred(self.products, magnitudes)

    def sum(self, *args: Any, **kwargs: Any) -> Tensor:
        """Add up rows or columns."""
        # NumPy's name for the same.
        dim = kwargs.get("dim", kwargs.get("axis", args[0] if args else None))
        if isinstance(dim, int) and len(args) + len(kwargs) == 1:
            return self.operand.sum(dim % 2)
        return self.whole.sum(*args, **kwargs)

    def __matmul__(self, other: Any) -> Any:
        return self.products.multiply(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return self.products.multiply(other, self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)


def _delegate(name: str) -> Callable[..., Any]:
    def method(self: _Deferred, *args: Any) -> Any:
        return getattr(self.whole, name)(*_materialized(args))

    return method


for _name in (
    "add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "pow", "rpow", "neg",
    "getitem", "eq", "ne", "lt", "le", "gt", "ge", "len",
):  # fmt: skip
    # Operators are looked up in the class, where __getattr__ has no say.
    setattr(_Deferred, f"__{_name}__", _delegate(f"__{_name}__"))


def _materialized(arguments: Any) -> Any:
    return tree_map(lambda a: a.whole if isinstance(a, _Deferred | Gram) else a, arguments)


def _listed(matrix: Any) -> Any:
    return matrix.whole if isinstance(matrix, Gram) else matrix


Matrix: TypeAlias = "Tensor | _Deferred"
_Handler: TypeAlias = "Callable[[LinearProducts, Sequence[Any], dict[str, Any]], Any]"


def _is_sparse(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.sparse_coo and value.dim() == 2


class LinearProducts(TorchFunctionMode):
    """
    Within this context, products with sparse matrices have a backward pass that is linear.

    ``torch.mm``, ``matmul``, ``@``, ``mv``, ``torch.sparse.mm`` and ``spmm`` of a sparse COO
    matrix and a dense one, on either side, or of two sparse ones are computed from the entries of
    the sparse matrices alone, forward and backward; the results are PyTorch's own. So are
    transposes, which stay sorted, and row sums, magnitudes, transposes and products of dense copies
    (``to_dense``, ``torch.diag``, ``torch.eye``), which are not made unless something else is
    asked of them. Everything else is PyTorch's.

    Under autocast sparse matrices and their products are float32, as PyTorch's other sums are.

    Parameters
    ----------
    like : torch.Tensor, optional
        Tensor whose dtype and device new tensors get where a layer names none. By default they
        are PyTorch's.

    Notes
    -----
    There are no second derivatives.

    Examples
    --------
    >>> import torch
    >>> from topox_difflift.products import LinearProducts
    >>> index = torch.tensor([[0, 1], [1, 0]])
    >>> values = torch.ones(2, requires_grad=True)
    >>> with LinearProducts():
    ...     matrix = torch.sparse_coo_tensor(index, values, (2, 2))
    ...     y = matrix @ torch.tensor([[2.0], [3.0]])
    >>> y.sum().backward()
    >>> values.grad
    tensor([3., 2.])
    """

    def __init__(self, like: Tensor | None = None) -> None:
        super().__init__()
        self.defaults: dict[str, Any] = (
            {} if like is None else {"dtype": like.dtype, "device": like.device}
        )
        # By identity, with the matrix itself, so that no other can take its place.
        self._known: dict[int, tuple[Tensor, SparseOperand]] = {}

    def __exit__(self, *exception: object) -> None:
        """Forget the matrices."""
        self._known.clear()
        super().__exit__(*exception)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Take over what is known, pass on the rest."""
        kwargs = kwargs or {}
        handler = _HANDLERS.get(func)
        result = NotImplemented if handler is None else handler(self, args, kwargs)
        if result is not NotImplemented:
            return result
        if any(issubclass(kind, _Deferred | Gram) for kind in types):
            args, kwargs = _materialized(args), _materialized(kwargs)
        return func(*args, **kwargs)

    def operand(self, matrix: Matrix) -> SparseOperand:
        """
        Read a sparse matrix, once.

        Parameters
        ----------
        matrix : torch.Tensor, sparse COO
            The matrix, or the dense copy of one.

        Returns
        -------
        SparseOperand
            Its entries.
        """
        if isinstance(matrix, _Deferred):
            return matrix.operand
        if id(matrix) not in self._known:
            operand = SparseOperand.of(matrix)
            if torch.is_autocast_enabled(matrix.device.type) and matrix.dtype.itemsize < 4:
                operand = operand.float()
            self._known[id(matrix)] = matrix, operand
        return self._known[id(matrix)][1]

    def tensor(self, operand: SparseOperand) -> Tensor:
        """
        Build a sparse matrix and remember its entries.

        Parameters
        ----------
        operand : SparseOperand
            The entries.

        Returns
        -------
        torch.Tensor, sparse COO, coalesced
            The matrix.
        """
        matrix = operand.matrix()
        self._known[id(matrix)] = matrix, operand
        return matrix

    def multiply(self, left: Any, right: Any) -> Any:
        """
        Multiply two matrices, at least one of them sparse, or a matrix and a vector.

        Parameters
        ----------
        left, right : torch.Tensor
            The factors.

        Returns
        -------
        torch.Tensor
            The product: sparse if both are, else dense; NotImplemented if this is not a product
            for this class.
        """
        if isinstance(left, Gram) and isinstance(right, Tensor) and not _is_sparse(right):
            return self._times_dense(left, right) if right.dim() in (1, 2) else NotImplemented
        left, right = _listed(left), _listed(right)
        sparse = [_is_sparse(m) or isinstance(m, _Deferred) for m in (left, right)]
        if all(sparse):
            entries = self.operand(left).times_sparse(self.operand(right))
            both = _is_sparse(left) and _is_sparse(right)
            return self.tensor(entries) if both else _Deferred(self, entries)
        if sparse[0] and isinstance(right, Tensor) and right.dim() in (1, 2):
            return self._times_dense(self.operand(left), right)
        if sparse[1] and isinstance(left, Tensor) and left.dim() in (1, 2):
            return self._times_dense(self.operand(right).transposed, left.t()).t()
        return NotImplemented

    def _times_dense(self, operand: SparseOperand | Gram, x: Tensor) -> Tensor:
        if x.layout != torch.strided:
            return NotImplemented
        if x.size(0) != operand.size[1]:
            raise RuntimeError(
                f"Expected the factors of a product to fit (got shapes {operand.size} and "
                f"{tuple(x.shape)})"
            )
        if x.dtype != operand.values.dtype:
            if not torch.is_autocast_enabled(x.device.type):
                raise RuntimeError(
                    f"Expected the factors of a product to have one dtype (got "
                    f"{operand.values.dtype} and {x.dtype})"
                )
            x = x.to(operand.values.dtype)
        if x.dim() == 1:
            return operand.times_dense(x.unsqueeze(1)).squeeze(1)
        return operand.times_dense(x)

    def transpose(self, matrix: Any) -> Any:
        """
        Transpose a sparse matrix, keeping its entries sorted.

        Parameters
        ----------
        matrix : torch.Tensor, sparse COO
            The matrix.

        Returns
        -------
        torch.Tensor, sparse COO, coalesced
            The transposed matrix; NotImplemented if the matrix is not sparse.
        """
        if not _is_sparse(matrix):
            return NotImplemented
        return self.tensor(self.operand(matrix).transposed)


def _product(products: LinearProducts, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    return products.multiply(*args) if len(args) == 2 and not kwargs else NotImplemented


def _transposed(products: LinearProducts, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    if isinstance(args[0], _Deferred):
        return args[0].T
    return products.transpose(args[0])


def _swapped(products: LinearProducts, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    if kwargs or sorted(dim % 2 for dim in args[1:]) != [0, 1]:
        return NotImplemented
    return _transposed(products, args, kwargs)


def _to_dense(products: LinearProducts, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    if len(args) != 1 or kwargs or not _is_sparse(args[0]):
        return NotImplemented
    return _Deferred(products, products.operand(args[0]))


def _sum(products: LinearProducts, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    if not isinstance(args[0], _Deferred):
        return NotImplemented
    return args[0].sum(*args[1:], **kwargs)


def _diagonal(products: LinearProducts, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    if len(args) != 1 or kwargs or not isinstance(args[0], Tensor) or args[0].dim() != 1:
        return NotImplemented
    return _Deferred(products, SparseOperand.diagonal(args[0]))


def _identity(products: LinearProducts, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    if len(args) != 1:
        return NotImplemented
    return _Deferred(products, SparseOperand.diagonal(_ones(products, args, kwargs)))


def _sparse(products: LinearProducts, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    def build(indices: Any, values: Tensor | None = None, *more: Any, **options: Any) -> Tensor:
        if values is None:
            return torch.sparse_coo_tensor(indices, **options)
        if torch.is_autocast_enabled(values.device.type):
            values = values.float()
        # PyTorch's own, where it is told another device as the default, is that one.
        return torch.sparse_coo_tensor(
            indices, values, *more, **{"device": values.device, **options}
        )

    # PyTorch warns unless told whether to check that indices are in range.
    return build(*args, **{"check_invariants": False, **kwargs})


def _dense(func: Callable[..., Tensor]) -> _Handler:
    return lambda products, args, kwargs: func(*args, **{**products.defaults, **kwargs})


_ones = _dense(torch.ones)


def _getter(name: str) -> Any:
    """Return what PyTorch calls when an attribute of a tensor is read."""
    return getattr(Tensor, name).__get__


_HANDLERS: dict[Callable[..., Any], _Handler] = {
    **dict.fromkeys(
        (
            torch.mm, torch.matmul, torch.mv, torch.smm, torch.spmm, torch.sparse.mm,
            Tensor.mm, Tensor.matmul, Tensor.mv, Tensor.smm,
            Tensor.__matmul__,
        ),
        _product,
    ),
    **dict.fromkeys((Tensor.t, torch.t, _getter("T"), _getter("mT")), _transposed),
    **dict.fromkeys((Tensor.transpose, torch.transpose), _swapped),
    Tensor.to_dense: _to_dense,
    **dict.fromkeys((torch.sum, Tensor.sum), _sum),
    **dict.fromkeys((torch.diag, Tensor.diag), _diagonal),
    torch.eye: _identity,
    torch.sparse_coo_tensor: _sparse,
    **{func: _dense(func) for func in (torch.empty, torch.zeros, torch.ones)},
}  # fmt: skip
