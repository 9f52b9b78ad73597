"""The candidates of the differentiable cell complex module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topox_difflift.domains.base import Skeleton, chosen_pairs
from topox_difflift.domains.cell import Cell
from topox_difflift.entmax import check_alpha
from topox_difflift.proximity import EntmaxSupport, NeighborhoodRule

if TYPE_CHECKING:
    from topox_difflift.candidates import CandidateCells
    from topox_difflift.proximity import Nearest

__all__ = ["DCM"]


class DCM(Cell):
    """
    Entmax neighbourhoods as edges, then polygons of the learned 1-skeleton as 2-cells.

    A node takes those of its k_max nearest that have a positive entmax probability, and a
    pair is an edge if either end takes the other; no network decides about it again. Every
    induced cycle up to a length is a candidate of rank 2. The whole rule of [1]_, for rank 2
    as well, is

    .. code-block:: python

        DiffLift(DCM(), estimator="entmax", memberships="hard")

    Parameters
    ----------
    alpha : float, default=1.5
        Exponent of entmax at rank 1, greater than 1; that at rank 2 is the estimator's.
    max_cycle_length : int, default=4
        Longer polygons are no candidates.

    Raises
    ------
    ImportError
        If the package entmax is missing.
    ValueError
        If `alpha` is not greater than 1 or `max_cycle_length` is below 3.

    Notes
    -----
    It differs from the paper and its released code in that

    * the edges of the graph stay, and learned ones are added to them;
    * gates are exactly 0 or 1 in the forward pass and have the gradient of the entmax
      probabilities, of a pair that of at least one end taking the other. In the released code
      edges and polygons are where a probability is positive, without gradient, and what its
      loss calls log-probabilities is the number of neighbours;
    * scores of pairs are ``-t d^2`` with t learned; there, distances normalised over the row,
      with noise if asked for, and a node is among its own candidates;
    * a polygon is scored by the acceptance network; there, by the similarities of its edges;
    * entmax runs over the k_max nearest nodes, which is exact for every node that takes
      fewer; there, over all nodes, with a dense matrix;
    * graphs of a batch have nothing to do with each other.

    The bound `k_min` of a lifting is without effect.

    References
    ----------
    .. [1] Battiloro, Spinelli, Telyatnikov, Bronstein, Scardapane, Di Lorenzo. From latent
       graph to latent topology inference: differentiable cell complex module. ICLR 2024.
    """

    def __init__(self, alpha: float = 1.5, max_cycle_length: int = 4) -> None:
        super().__init__("induced", max_cycle_length, rings=False, closure_gradient=False)
        self.alpha = check_alpha(alpha)

    def decides(self, rank: int) -> bool:
        """
        Whether candidates of a rank come with their probability.

        Parameters
        ----------
        rank : int
            The rank.

        Returns
        -------
        bool
            True for pairs.
        """
        return rank == 1

    def rule(
        self, in_channels: int, hidden_channels: int, k_min: int, k_max: int, dispersion: bool
    ) -> NeighborhoodRule:
        """
        Make the module that says which of the nearest nodes a node takes.

        Parameters
        ----------
        in_channels, hidden_channels, k_min : int
            Not used.
        k_max : int
            Number of nearest nodes.
        dispersion : bool
            Not used.

        Returns
        -------
        NeighborhoodRule
            The support of entmax.
        """
        return EntmaxSupport(k_max, self.alpha)

    def propose(self, skeleton: Skeleton, rank: int, nearest: Nearest | None) -> CandidateCells:
        """
        Propose pairs of which one takes the other, or polygons.

        Parameters
        ----------
        skeleton : Skeleton
            The complex up to rank - 1.
        rank : int
            1 or 2.
        nearest : Nearest, optional
            Nearest other nodes, at rank 1.

        Returns
        -------
        CandidateCells
            Pairs that are no edges yet, with their probability, or cycles in cyclic order.
        """
        if rank > 1:
            return super().propose(skeleton, rank, nearest)
        assert nearest is not None
        return chosen_pairs(skeleton.graph, nearest)
