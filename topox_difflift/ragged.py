"""Ragged lists of integers held as one flat tensor and the size of each row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from topox_difflift.compiled import arrays, usable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "buckets", "by_group", "concatenate", "counts", "octaves", "owners", "positions", "put",
    "starts", "successors", "take",
]  # fmt: skip


def buckets(sizes: Tensor) -> Iterator[tuple[Tensor, int]]:
    """
    Group rows of similar size, to be padded to the largest one of their group.

    Padding costs at most four times the sum of the squared sizes: either all rows are
    within that bound, or sizes in a group differ by less than a factor of two.

    Parameters
    ----------
    sizes : torch.Tensor, shape = (n,), int64
        Number of entries of each row, at least 1.

    Yields
    ------
    rows : torch.Tensor, shape = (m,), int64
        Rows of the group, ascending.
    largest : int
        Largest size in the group.
    """
    if not sizes.numel():
        return
    largest = int(sizes.max())
    if sizes.numel() * largest**2 <= 4 * int(sizes.square().sum()):
        yield torch.arange(len(sizes), device=sizes.device), largest
        return
    yield from octaves(sizes)


def starts(sizes: Tensor) -> Tensor:
    """
    Position of the first entry of each row.

    Parameters
    ----------
    sizes : torch.Tensor, shape = (n,), int64
        Number of entries of each row.

    Returns
    -------
    torch.Tensor, shape = (n,), int64
        Exclusive cumulative sum of `sizes`.
    """
    return sizes.cumsum(0) - sizes


def counts(row: Tensor, n_rows: int, kept: Tensor | None = None) -> Tensor:
    """
    Count the entries of each row.

    Parameters
    ----------
    row : torch.Tensor, shape = (n_entries,), int64
        Row of each entry, in any order.
    n_rows : int
        Number of rows.
    kept : torch.Tensor, shape = (n_entries,), bool, optional
        Which entries count; by default all do.

    Returns
    -------
    torch.Tensor, shape = (n_rows,), int64
        The sizes of the rows.
    """
    if row.device.type == "cpu" and not torch.compiler.is_compiling():
        return torch.bincount(row if kept is None else row[kept], minlength=n_rows)
    # Slower on a host, but no device is asked for the largest row.
    one = torch.ones_like(row) if kept is None else kept.to(row.dtype)
    return row.new_zeros(n_rows).index_add(0, row, one)


def owners(sizes: Tensor, total: int | None = None) -> Tensor:
    """
    Row of each entry.

    Parameters
    ----------
    sizes : torch.Tensor, shape = (n,), int64
        Number of entries of each row.
    total : int, optional
        Their sum, where it is known: the host then has no need to wait for a device.

    Returns
    -------
    torch.Tensor, shape = (sum(sizes),), int64
        Row index, ascending.
    """
    if usable(sizes):
        from topox_difflift import _ragged_numba

        return torch.from_numpy(_ragged_numba.owners(*arrays(sizes)))
    row = torch.arange(len(sizes), device=sizes.device)
    return torch.repeat_interleave(row, sizes, output_size=total)


def positions(sizes: Tensor) -> Tensor:
    """
    Position of each entry within its row.

    Parameters
    ----------
    sizes : torch.Tensor, shape = (n,), int64
        Number of entries of each row.

    Returns
    -------
    torch.Tensor, shape = (sum(sizes),), int64
        0, 1, ... in every row.
    """
    first = torch.repeat_interleave(starts(sizes), sizes)
    return torch.arange(len(first), device=sizes.device) - first


def by_group(values: Tensor, group: Tensor | None) -> tuple[Tensor, Tensor]:
    """
    Make a row of each group, its largest value first.

    Parameters
    ----------
    values : torch.Tensor, shape = (n,)
        One number for each item.
    group : torch.Tensor, shape = (n,), int64, optional
        Group of each item; by default all are in one.

    Returns
    -------
    order : torch.Tensor, shape = (n,), int64
        The items by group, then by descending value; of equal ones the first comes first.
    sizes : torch.Tensor, shape = (n_groups,), int64
        Number of items of each group that has any.
    """
    if group is None:
        group = torch.zeros(len(values), dtype=torch.long, device=values.device)
    order = torch.argsort(values.detach(), descending=True, stable=True)
    order = order[torch.argsort(group[order], stable=True)]
    return order, torch.unique_consecutive(group[order], return_counts=True)[1]


def octaves(sizes: Tensor) -> Iterator[tuple[Tensor, int]]:
    """
    Group rows whose sizes differ by less than a factor of two.

    Padding each row to the largest one of its group at most doubles the number of entries.

    Parameters
    ----------
    sizes : torch.Tensor, shape = (n,), int64
        Number of entries of each row, at least 1.

    Yields
    ------
    rows : torch.Tensor, shape = (m,), int64
        Rows of a group.
    largest : int
        The largest of their sizes.
    """
    octave = sizes.double().log2().floor()
    for value in octave.unique():
        rows = (octave == value).nonzero().squeeze(1)
        yield rows, int(sizes[rows].max())


def put(index: Tensor, values: Tensor) -> Tensor:
    """
    Put values into another order.

    Parameters
    ----------
    index : torch.Tensor, shape = (n,), int64
        Where each value goes, a permutation.
    values : torch.Tensor, shape = (n, ...)
        The values.

    Returns
    -------
    torch.Tensor, shape = (n, ...)
        Value j at position ``index[j]``.
    """
    return values.index_select(0, torch.argsort(index))


def successors(sizes: Tensor, total: int | None = None) -> Tensor:
    """
    Position of the next entry of each row, from the last one back to the first.

    Parameters
    ----------
    sizes : torch.Tensor, shape = (n,), int64
        Number of entries of each row, at least 1.
    total : int, optional
        Their sum, where it is known: the host then has no need to wait for a device.

    Returns
    -------
    torch.Tensor, shape = (sum(sizes),), int64
        Positions in the flat tensor.
    """
    first = starts(sizes)
    after = torch.arange(int(sizes.sum()) if total is None else total, device=sizes.device) + 1
    after[first + sizes - 1] = first
    return after


def take(sizes: Tensor, index: Tensor) -> Tensor:
    """
    Positions of the entries of the rows `index`, row after row.

    Parameters
    ----------
    sizes : torch.Tensor, shape = (n,), int64
        Number of entries of each row.
    index : torch.Tensor, shape = (m,), int64
        Rows to take, in the order wanted.

    Returns
    -------
    torch.Tensor, shape = (sum(sizes[index]),), int64
        Positions in the flat tensor.
    """
    if usable(sizes, index):
        from topox_difflift import _ragged_numba

        return torch.from_numpy(_ragged_numba.take(*arrays(sizes, index)))
    taken = sizes.index_select(0, index)
    shift = starts(sizes).index_select(0, index) - starts(taken)
    positions = torch.repeat_interleave(shift, taken)
    return positions + torch.arange(len(positions), device=sizes.device)


def concatenate(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """
    Append the rows of one ragged list to those of another.

    Parameters
    ----------
    first, second : tuple of torch.Tensor
        Pairs (flat entries, sizes).

    Returns
    -------
    tuple of torch.Tensor
        The pair (flat entries, sizes) of all rows.
    """
    return torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]])
