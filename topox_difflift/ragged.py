"""Ragged lists of integers held as one flat tensor and the size of each row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["buckets", "concatenate", "owners", "starts", "take"]


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
    octave = sizes.double().log2().floor()
    for value in octave.unique():
        rows = (octave == value).nonzero().flatten()
        yield rows, int(sizes[rows].max())


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
