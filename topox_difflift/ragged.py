"""Ragged lists of integers held as one flat tensor and the size of each row."""

from __future__ import annotations

import torch
from torch import Tensor

from topox_difflift.compiled import arrays, usable

__all__ = ["concatenate", "owners", "starts", "take"]


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


def owners(sizes: Tensor) -> Tensor:
    """
    Row of each entry.

    Parameters
    ----------
    sizes : torch.Tensor, shape = (n,), int64
        Number of entries of each row.

    Returns
    -------
    torch.Tensor, shape = (sum(sizes),), int64
        Row index, ascending.
    """
    if usable(sizes):
        from topox_difflift import _ragged_numba

        return torch.from_numpy(_ragged_numba.owners(*arrays(sizes)))
    return torch.repeat_interleave(torch.arange(len(sizes), device=sizes.device), sizes)


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
