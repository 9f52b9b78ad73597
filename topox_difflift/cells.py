"""One rank of a complex: its cells, their boundary and their gates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Rank", "straight_through"]


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """
    Return `hard` in the forward pass with the gradient of `soft`.

    The difference is taken first, so that the forward value is `hard` to the
    last bit: ``soft - soft.detach()`` is exactly zero.

    Parameters
    ----------
    hard : torch.Tensor
        Values of the forward pass; no gradient reaches them.
    soft : torch.Tensor, shape as `hard`
        Differentiable surrogate.

    Returns
    -------
    torch.Tensor, shape as `hard`
        ``hard + (soft - stop_gradient(soft))``.
    """
    return hard.detach() + (soft - soft.detach())


@dataclass(frozen=True)
class Rank:
    """
    The cells of one rank r >= 1 of a complex, as flat tensors.

    Attributes
    ----------
    vertices : torch.Tensor, shape = (n_members,), int64
        Vertices of all cells, cell after cell. Ascending within a cell, except
        for the 2-cells of a cell complex, which are in cyclic order.
    sizes : torch.Tensor, shape = (n_r,), int64
        Number of vertices of each cell.
    batch : torch.Tensor, shape = (n_r,), int64
        Graph of each cell, ascending.
    mask : torch.Tensor, shape = (n_r,)
        Exactly 0 or 1, with the gradient of the acceptance.
    prob : torch.Tensor, shape = (n_r,)
        Acceptance probability, exactly 1 for the original cells and for no other.
    faces : torch.Tensor, shape = (2, nnz_r), int64
        Pairs (face of rank r - 1, cell of rank r), sorted by face, then by cell.
    orientation : torch.Tensor, shape = (nnz_r,)
        Sign of each pair, +1 or -1 (all +1 in a domain without orientation).
    membership : torch.Tensor, shape = (nnz_r,)
        Straight-through weight of each pair, exactly 1 (or 0 for a face that the
        sampled size leaves out) in the forward pass.
    x : torch.Tensor, shape = (n_r, channels)
        Features of the cells, gated.
    content : torch.Tensor, shape = (n_r, channels), optional
        Features as if every cell were accepted; by default those in `x`.
    included : torch.Tensor, shape = (n_r,), bool, optional
        Whether each cell is proposed at the sampled sizes, or listed only so that sizes and
        metric receive a gradient; by default all are proposed.
    """

    vertices: Tensor
    sizes: Tensor
    batch: Tensor
    mask: Tensor
    prob: Tensor
    faces: Tensor
    orientation: Tensor
    membership: Tensor
    x: Tensor
    content: Tensor | None = None
    included: Tensor | None = None
