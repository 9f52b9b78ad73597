"""Readouts: from the features of all cells to those of the graphs, or of the nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import silu

from topox_difflift.checks import check_at_least, check_flag, check_one_of
from topox_difflift.nn.hasse import check_rank
from topox_difflift.ragged import counts
from topox_difflift.sparse import Segments, matmul

if TYPE_CHECKING:
    from topox_difflift.complex import LiftedComplex

__all__ = ["Pool", "PropagateDown", "pool_cells"]

_REDUCTIONS = ("mean", "sum", "max")


def pool_cells(
    lifted: LiftedComplex,
    rank: int,
    h: Tensor,
    reduce: str = "mean",
    only: Tensor | None = None,
) -> Tensor:
    """
    Reduce the features of the accepted cells of a rank over each graph.

    Parameters
    ----------
    lifted : LiftedComplex
        The complex.
    rank : int
        The rank.
    h : torch.Tensor, shape = (n_r, channels)
        Features of its cells, exactly 0 for rejected ones.
    reduce : {"mean", "sum", "max"}
        Reduction. Rejected cells get a gradient from a mean and a sum, not from a maximum.
    only : torch.Tensor, shape = (n_r,), bool, optional
        Which cells to take; by default all.

    Returns
    -------
    torch.Tensor, shape = (n_graphs, channels)
        What was asked for, as if rejected cells were absent; 0 for a graph without a cell of
        this rank.

    Raises
    ------
    ValueError
        If the rank was not lifted, the reduction is unknown, or the features are not those of
        its cells.
    """
    check_one_of("reduce", reduce, _REDUCTIONS)
    check_rank(lifted, rank, "readout")
    graph, mask = lifted[f"batch_{rank}"], lifted[f"mask_{rank}"]
    _check_rows(rank, h, len(mask))
    if only is not None:
        mask, h = mask * only, h * only.unsqueeze(-1)
    if reduce == "max":
        kept = mask.detach().nonzero().squeeze(1)
        index = graph.index_select(0, kept).unsqueeze(-1).expand(-1, h.size(1))
        h = h.index_select(0, kept)
        zeros = h.new_zeros(lifted.num_graphs, h.size(1))
        return zeros.scatter_reduce(0, index, h, "amax", include_self=False)
    # The cells of a graph follow each other.
    sizes = counts(graph, lifted.num_graphs)
    total = Segments(torch.arange(len(h), device=h.device), sizes, len(h)).sum(h)
    if reduce == "sum":
        return total
    count = mask.new_zeros(lifted.num_graphs).index_add(0, graph, mask)
    return total / (count + (count == 0)).unsqueeze(-1)


class Pool(torch.nn.Module):
    """
    Pool each rank over the graphs, and put the ranks side by side.

    Where a graph has more learned cells than its own, a mean over all of them says little of its
    own. So the two can be pooled apart: a cell is the graph's own if all of its edges are.

    Parameters
    ----------
    channels : mapping of int to int, optional
        Width of the features of each rank to pool; by default all that are given.
    reduce : {"mean", "sum", "max"}
        Reduction over the cells of a graph.
    activation : callable, optional
        Activation of the features before they are pooled, for networks that end in a linear
        map. It has to keep 0 at 0, so that rejected cells stay absent, and to have a gradient
        there, which rejected cells need: not a relu. None: none.
    apart : bool, default=False
        Whether, from rank 1 on, cells of the graph and learned ones are pooled each by themselves.

    Attributes
    ----------
    out_channels : int, optional
        Width of the result, if `channels` is given.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """

    def __init__(
        self,
        channels: Mapping[int, int] | None = None,
        reduce: str = "mean",
        activation: Callable[[Tensor], Tensor] | None = silu,
        apart: bool = False,
    ) -> None:
        super().__init__()
        check_one_of("reduce", reduce, _REDUCTIONS)
        check_flag("apart", apart)
        if activation is not None and bool(activation(torch.zeros(1)) != 0):
            raise ValueError(
                "Expected 'activation' to keep 0 at 0 (got one that does not); rejected cells "
                "would count: take torch.nn.functional.silu, or none"
            )
        self.channels = None if channels is None else _check_channels(channels)
        self.reduce, self.activation, self.apart = reduce, activation, apart
        self.out_channels = None
        if self.channels is not None:
            parts = {rank: 2 if apart and rank else 1 for rank in self.channels}
            self.out_channels = sum(n * self.channels[rank] for rank, n in parts.items())

    def forward(self, lifted: LiftedComplex, features: Mapping[int, Tensor]) -> Tensor:
        """
        Pool.

        Parameters
        ----------
        lifted : LiftedComplex
            The complex.
        features : mapping of int to torch.Tensor, shape = (n_r, channels_r)
            Features of the cells, exactly 0 for rejected ones; further ranks are ignored.

        Returns
        -------
        torch.Tensor, shape = (n_graphs, out_channels)
            The pooled ranks in ascending order, of each the cells of the graph first.

        Raises
        ------
        ValueError
            If a rank is missing, or has features of another width.
        """
        pooled, given = [], {rank: features[rank].size(1) for rank in sorted(features)}
        for rank, width in (given if self.channels is None else self.channels).items():
            h = _features(features, rank, width)
            h = h if self.activation is None else self.activation(h)
            parts: tuple[Tensor | None, ...] = (None,)
            if self.apart and rank:
                own = _within_graph(lifted, rank)
                parts = own, ~own
            pooled += [pool_cells(lifted, rank, h, self.reduce, part) for part in parts]
        return torch.cat(pooled, dim=1)


def _within_graph(lifted: LiftedComplex, rank: int) -> Tensor:
    """Tell cells all of whose faces, down to the edges, are the graph's own."""
    check_rank(lifted, rank, "readout")
    own = lifted["prob_1"].detach() == 1
    for r in range(2, rank + 1):
        face, cell = lifted[f"faces_{r}"]
        learned = torch.zeros(lifted.num_cells[r], dtype=torch.long, device=own.device)
        own = learned.index_add(0, cell, (~own).long().index_select(0, face)) == 0
    return own


class PropagateDown(torch.nn.Module):
    r"""
    Hand the features of all cells down to the nodes, from each rank to its faces.

    From the highest rank down, a face f adds what the accepted cells around it know to its own
    features,

    .. math::
        g_f = P_{r-1} h_f + \sum_{C \ni f} w_{fC}
            \big(V_r \, \mathrm{SiLU}(g_C) + m_C v_r \big),

    down to the edges. At a node v, its own features and what its cells hand down are normalised
    each by itself before they are added,

    .. math::
        g_v = N\big(P_0 h_v + b\big) + N'\Big(\sum_{C \ni v} w_{vC}
            \big(V_1 \, \mathrm{SiLU}(g_C) + m_C v_1 \big) + b'\Big),

    so that many cells do not drown the node.

    Parameters
    ----------
    channels : mapping of int to int
        Width of the features of each rank that has any.
    out_channels : int
        Width of what is handed down, and of the result.

    Raises
    ------
    ValueError
        If an argument is not as described.

    Notes
    -----
    It does what TopoBench's PropagateSignalDown is for. Besides the two norms at the nodes, two
    things differ, for the sake of gates. Above the nodes there is neither bias nor normalisation,
    so that rejected cells, whose features are 0, have nothing to hand down, and need no second
    gate; two gates in a row have no gradient at 0. And the number of cells around a face, by
    :math:`m_C`, stands in for the bias.
    """

    def __init__(self, channels: Mapping[int, int], out_channels: int) -> None:
        super().__init__()
        check_at_least("out_channels", out_channels, 1)
        self.channels = _check_channels(channels)
        self.out_channels = out_channels
        self.max_rank = max(self.channels)
        self.own = torch.nn.ModuleDict(
            {
                str(rank): torch.nn.Linear(width, out_channels, bias=False)
                for rank, width in self.channels.items()
            }
        )
        self.down = torch.nn.ModuleDict(
            {
                str(rank): torch.nn.Linear(out_channels + 1, out_channels, bias=False)
                for rank in range(1, self.max_rank + 1)
            }
        )
        parts = (["own"] if 0 in self.channels else []) + (["handed"] if self.max_rank else [])
        self.norms = torch.nn.ModuleDict({part: _BiasedNorm(out_channels) for part in parts})

    def forward(self, lifted: LiftedComplex, features: Mapping[int, Tensor]) -> Tensor:
        """
        Propagate.

        Parameters
        ----------
        lifted : LiftedComplex
            The complex.
        features : mapping of int to torch.Tensor, shape = (n_r, channels_r)
            Features of the cells, exactly 0 for rejected ones; further ranks are ignored.

        Returns
        -------
        torch.Tensor, shape = (n_0, out_channels)
            Features of the nodes.

        Raises
        ------
        ValueError
            If a rank is missing, or has features of another width.
        """
        check_rank(lifted, self.max_rank, "readout")
        parts = [norm(self._part(key, lifted, features)) for key, norm in self.norms.items()]
        return torch.stack(parts).sum(0)

    def _part(self, name: str, lifted: LiftedComplex, features: Mapping[int, Tensor]) -> Tensor:
        if name == "own":
            return self._own(lifted, features, 0)
        g = self._own(lifted, features, self.max_rank)
        for rank in range(self.max_rank, 0, -1):
            sent = torch.cat([silu(g), lifted[f"mask_{rank}"].unsqueeze(-1)], dim=1)
            sent = self.down[str(rank)](sent)
            faces, membership = lifted[f"faces_{rank}"], lifted[f"membership_{rank}"]
            g = matmul(faces, membership, sent, lifted.num_cells[rank - 1])
            if rank > 1 and rank - 1 in self.channels:
                g = g + self._own(lifted, features, rank - 1)
        return g

    def _own(self, lifted: LiftedComplex, features: Mapping[int, Tensor], rank: int) -> Tensor:
        h = _features(features, rank, self.channels[rank])
        _check_rows(rank, h, lifted.num_cells[rank])
        return self.own[str(rank)](h)


class _BiasedNorm(torch.nn.Module):
    """Add a bias, and normalise each row."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # A node that no cell reaches would be a row of zeros, on which the norm has a slope of 300.
        bound = channels**-0.5
        self.bias = torch.nn.Parameter(torch.empty(channels).uniform_(-bound, bound))
        self.norm = torch.nn.LayerNorm(channels)

    def forward(self, h: Tensor) -> Tensor:
        """Normalise."""
        return self.norm(h + self.bias)


def _check_channels(channels: Mapping[int, int]) -> dict[int, int]:
    """Widths by ascending rank."""
    if not isinstance(channels, Mapping) or not channels:
        raise ValueError(
            f"Expected 'channels' to map at least one rank to a width (got {channels!r}); for "
            "instance {0: 64, 1: 64}"
        )
    for rank, width in channels.items():
        check_at_least("channels", rank, 0, "its keys being ranks")
        check_at_least(f"channels[{rank}]", width, 1)
    return dict(sorted(channels.items()))


def _features(features: Mapping[int, Tensor], rank: int, width: int) -> Tensor:
    if rank not in features:
        raise ValueError(
            f"Expected 'features' to have rank {rank}, which 'channels' names (got "
            f"{sorted(features)})"
        )
    h = features[rank]
    if h.dim() != 2 or h.size(1) != width:
        raise ValueError(
            f"Expected features of rank {rank} to have {width} channels, as 'channels' says (got "
            f"shape {tuple(h.shape)})"
        )
    return h


def _check_rows(rank: int, h: Tensor, n_cells: int) -> None:
    if len(h) != n_cells:
        raise ValueError(
            f"Expected features of rank {rank} to have one row for each of its {n_cells} cells "
            f"(got {len(h)}); rejected ones that were kept included"
        )
