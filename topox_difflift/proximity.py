"""Learned neighbourhoods: how many neighbours a node has, and how firmly each belongs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch_geometric.nn import MLP

from topox_difflift._neighbors_select import INPUT_NOISE
from topox_difflift.cells import straight_through
from topox_difflift.checks import check_finite
from topox_difflift.entmax import entmax
from topox_difflift.neighbors import knn, knn_within, squared_distances

if TYPE_CHECKING:
    from torch_geometric.nn.pool import KNNIndex

__all__ = ["EntmaxSupport", "Kernel", "Nearest", "NeighborhoodRule", "NeighborhoodSize"]


class Kernel(torch.nn.Module):
    """
    How close two nodes are: the soft side of a membership.

    ``kappa = exp(-t d^2)``, d^2 the mean squared difference of two embeddings and t > 0
    learned. A membership is 0 or 1 in the forward pass and has the gradient of kappa in the
    backward pass, which trains the metric that proposes the candidates.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = torch.nn.Parameter(torch.zeros(()))

    def reset_parameters(self) -> None:
        """Set t to 1."""
        torch.nn.init.zeros_(self.log_scale)

    def forward(self, z: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """
        Compute the closeness of pairs of nodes.

        Parameters
        ----------
        z : torch.Tensor, shape = (n_nodes, channels)
            Embeddings.
        source, target : torch.Tensor, shape = (m,), int64
            The pairs.

        Returns
        -------
        torch.Tensor, shape = (m,)
            The closeness kappa, between 0 and 1.

        Raises
        ------
        FloatingPointError
            If one is not finite.
        """
        distance = squared_distances(z, source, target) / z.size(1)
        kappa = torch.exp(-self.log_scale.exp() * distance)
        check_finite(kappa, "membership kernel", "closeness", "pair")
        return kappa


@dataclass(frozen=True)
class Nearest:
    """
    The ranked nearest nodes of every node, and how many of them it takes.

    Attributes
    ----------
    index : torch.Tensor, shape = (n_nodes, k), int64
        Nearest nodes, nearest first, -1 where a graph has no more.
    taken : torch.Tensor, shape = (n_nodes, k), bool
        Whether node v takes column j.
    prob : torch.Tensor, shape = (n_nodes, k)
        Probability of column j, with gradient: P(k_v > j) where a number k_v is taken.
    z : torch.Tensor, shape = (n_nodes, channels)
        The embeddings that were searched.
    kernel : Kernel, optional
        How close two nodes are; None for hard memberships.
    two_sided : bool
        Whether columns that are not taken are listed as well, with weight 0, so that size and
        metric also learn what one member more would have done.
    """

    index: Tensor
    taken: Tensor
    prob: Tensor
    z: Tensor
    kernel: Kernel | None
    two_sided: bool

    @property
    def listed(self) -> Tensor:
        """
        Columns that take part in candidates.

        Returns
        -------
        torch.Tensor, shape = (n_nodes, k), bool
            The columns taken, or all where the search is two-sided.
        """
        return self.index >= 0 if self.two_sided else self.taken

    def closeness(self, source: Tensor, target: Tensor) -> Tensor:
        """
        Soft side of the membership of pairs of nodes.

        Parameters
        ----------
        source, target : torch.Tensor, shape = (m,), int64
            The pairs.

        Returns
        -------
        torch.Tensor, shape = (m,)
            Their closeness kappa, or a constant for hard memberships.
        """
        if self.kernel is None:
            return self.z.new_zeros(len(source))
        return self.kernel(self.z, source, target)

    def membership(self, node: Tensor, column: Tensor) -> Tensor:
        """
        Straight-through membership of listed columns.

        Parameters
        ----------
        node, column : torch.Tensor, shape = (m,), int64
            Which entries.

        Returns
        -------
        torch.Tensor, shape = (m,)
            Exactly 1 where taken and 0 where not, with the gradients of the probability and
            of the closeness.
        """
        prob = self.prob[node, column]
        soft = prob + self.closeness(node, self.index[node, column])
        return straight_through(self.taken[node, column].to(prob.dtype), soft)


class NeighborhoodRule(torch.nn.Module, ABC):
    """
    Say which of its nearest nodes a node takes.

    Attributes
    ----------
    k_max : int
        Number of nearest nodes to choose from.
    two_sided : bool
        Whether those that are not taken have a gradient to give.
    """

    k_max: int
    two_sided: ClassVar[bool]

    @abstractmethod
    def forward(
        self, z: Tensor, index: Tensor, sample: bool, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """
        Choose for each node.

        Parameters
        ----------
        z : torch.Tensor, shape = (n_nodes, channels)
            Embeddings.
        index : torch.Tensor, shape = (n_nodes, k_max), int64
            Nearest nodes, nearest first, -1 where a graph has no more.
        sample : bool
            Whether to draw, where the rule is random.
        generator : torch.Generator, optional
            Source of random numbers.

        Returns
        -------
        taken : torch.Tensor, shape = (n_nodes, k_max), bool
            What each node takes, never where `index` is -1.
        prob : torch.Tensor, shape = (n_nodes, k_max)
            Probabilities.

        Raises
        ------
        FloatingPointError
            If a probability is not finite.
        """

    @abstractmethod
    def expected_size(self, nearest: Nearest) -> Tensor:
        """
        Mean over the nodes of the expected number of neighbours to take.

        Parameters
        ----------
        nearest : Nearest
            What this rule has chosen.

        Returns
        -------
        torch.Tensor, scalar
            The mean.
        """


class NeighborhoodSize(NeighborhoodRule):
    """
    Learned number of neighbours k_v of each node.

    ``pi_v = softmax(MLP([z_v, d_v]))`` over k_min, ..., k_max and ``k_v ~ Categorical(pi_v)``;
    in `eval()`, or with a deterministic estimator, the mode. d_v are the squared distances to
    the k_max nearest nodes, nearest first, as shares of the largest: where a group ends, they
    leap. The paper's form, ``MLP(z_v)``, cannot know that of a group it has never seen.

    Parameters
    ----------
    in_channels : int
        Width of the embeddings, -1 to take it from the first input.
    hidden_channels : int
        Width of the hidden layer.
    k_min, k_max : int
        Bounds of the size.
    dispersion : bool, default=True
        Whether the size depends on the distances.

    Notes
    -----
    The gradient is a straight-through estimate, per node and per neighbour rank: the
    indicator ``1[k_v > j]`` of the j-th neighbour (from 0) is differentiated as its
    probability ``P(k_v > j) = sum_{k > j} pi_v[k]``. It is exact when the loss is affine
    in the indicators; otherwise it is biased, since it replaces the effect of one member
    more or less by the derivative at the sampled size. The terms of all neighbours are
    evaluated; with ``rejected="drop"`` those of the neighbours taken alone, so that the
    j-th term is scaled by ``P(k_v > j)``. The distances pass no gradient to the metric.

    Sizes start with the middle one as the mode, so that a smaller and a larger size are
    both within reach of the gradient. Where k_min = k_max there is nothing to learn.

    References
    ----------
    .. [1] Franco et al. Differentiable lifting for topological neural networks. ICLR 2026.
    """

    two_sided: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        k_min: int,
        k_max: int,
        dispersion: bool = True,
    ) -> None:
        super().__init__()
        self.k_min, self.k_max, self.dispersion = k_min, k_max, dispersion
        n_sizes = k_max - k_min + 1
        if in_channels != -1:
            in_channels += k_max * dispersion
        widths, in_place = [in_channels, hidden_channels, n_sizes], {"inplace": True}
        self.mlp = MLP(widths, norm=None, act_kwargs=in_place) if n_sizes > 1 else None
        self._start()

    def _start(self) -> None:
        """Make the middle size the most probable one."""
        if self.mlp is not None:
            last = self.mlp.lins[-1]
            with torch.no_grad():
                last.weight.mul_(0.1)
                last.bias.zero_()
                last.bias[len(last.bias) // 2] = 0.5

    def reset_parameters(self) -> None:
        """Initialise afresh."""
        if self.mlp is not None:
            self.mlp.reset_parameters()
            self._start()

    def distribution(self, z: Tensor, index: Tensor) -> Tensor:
        """
        Probabilities of the sizes.

        Parameters
        ----------
        z : torch.Tensor, shape = (n_nodes, channels)
            Embeddings.
        index : torch.Tensor, shape = (n_nodes, k_max), int64
            Nearest nodes, nearest first, -1 where a graph has no more.

        Returns
        -------
        torch.Tensor, shape = (n_nodes, k_max - k_min + 1)
            Row v is pi_v.
        """
        if self.mlp is None:
            return z.new_ones(len(z), 1)
        if self.dispersion:
            z = torch.cat([z, _profile(z.detach(), index)], dim=1)
        # Across rows PyTorch takes a fifth of the time that it takes along such short ones.
        return torch.softmax(self.mlp(z).t(), dim=0).t().contiguous()

    def forward(
        self, z: Tensor, index: Tensor, sample: bool, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """
        Choose a size for each node.

        Parameters
        ----------
        z : torch.Tensor, shape = (n_nodes, channels)
            Embeddings.
        index : torch.Tensor, shape = (n_nodes, k_max), int64
            Nearest nodes, nearest first, -1 where a graph has no more.
        sample : bool
            Draw the size, or take the mode.
        generator : torch.Generator, optional
            Source of random numbers.

        Returns
        -------
        taken : torch.Tensor, shape = (n_nodes, k_max), bool
            ``1[k_v > j]``, where there is a j-th node.
        prob : torch.Tensor, shape = (n_nodes, k_max)
            ``P(k_v > j)``.

        Raises
        ------
        FloatingPointError
            If a probability is not finite.
        """
        pi = self.distribution(z, index)
        check_finite(pi, "neighborhood size", "probability", "node")
        chosen = (
            torch.multinomial(pi.detach(), 1, generator=generator)
            if sample
            else pi.argmax(-1, keepdim=True)
        )
        tail = pi.flip(-1).cumsum(-1).flip(-1)[:, 1:]  # P(k_v > j) for j >= k_min
        prob = torch.cat([z.new_ones(len(z), self.k_min), tail], dim=-1)
        columns = torch.arange(self.k_max, device=z.device)
        return (columns < chosen + self.k_min) & (index >= 0), prob

    def expected_size(self, nearest: Nearest) -> Tensor:
        """
        Mean over the nodes of E[k_v].

        Parameters
        ----------
        nearest : Nearest
            What this rule has chosen.

        Returns
        -------
        torch.Tensor, scalar
            The mean, with gradient.
        """
        return nearest.prob.sum(-1).mean()


def _profile(z: Tensor, index: Tensor) -> Tensor:
    """Squared distances to the nearest nodes as shares of the largest, 1 where there is none."""
    node = torch.arange(len(z), device=z.device).unsqueeze(1).expand_as(index)
    # Where there is none, to the node itself: no device has to count those that there are.
    there = torch.where(index < 0, node, index)
    distance = squared_distances(z, node.flatten(), there.flatten()).view_as(index)
    # Nodes that are alike differ by rounding, which is another one in another batch: beside
    # this it vanishes, and all shares are 0.
    noise = (INPUT_NOISE[z.dtype] * torch.linalg.vector_norm(z, dim=1)).square()
    share = distance / (distance.amax(1) + noise + torch.finfo(z.dtype).tiny).unsqueeze(1)
    return share.masked_fill(index < 0, 1)


class EntmaxSupport(NeighborhoodRule):
    """
    The nearest nodes with a positive entmax probability.

    ``p_v = entmax(-t d^2)`` over the k_max nearest nodes, with d^2 the mean squared
    difference of two embeddings and t > 0 learned, and v takes those with p > 0. A node that
    takes fewer than k_max has the probabilities that entmax over all nodes would give.

    Parameters
    ----------
    k_max : int
        Number of nearest nodes.
    alpha : float
        Exponent of entmax, greater than 1.

    Notes
    -----
    t starts at 10, where of 5 nearest 2 to 4 are taken if the embeddings differ by about 1,
    and more if by less. What is not taken has no gradient by which it could come back, and a
    node that takes one other alone has none at all, so that t had better start low.

    References
    ----------
    .. [1] Battiloro et al. From latent graph to latent topology inference: differentiable
       cell complex module. ICLR 2024.
    """

    two_sided: ClassVar[bool] = False

    def __init__(self, k_max: int, alpha: float) -> None:
        super().__init__()
        self.k_max, self.alpha = k_max, alpha
        self.log_scale = torch.nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set t to 10."""
        torch.nn.init.constant_(self.log_scale, math.log(10))

    def forward(
        self, z: Tensor, index: Tensor, sample: bool, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """
        Choose the support for each node; nothing is random.

        Parameters
        ----------
        z : torch.Tensor, shape = (n_nodes, channels)
            Embeddings.
        index : torch.Tensor, shape = (n_nodes, k_max), int64
            Nearest nodes, nearest first, -1 where a graph has no more.
        sample : bool
            Not used.
        generator : torch.Generator, optional
            Not used.

        Returns
        -------
        taken : torch.Tensor, shape = (n_nodes, k_max), bool
            ``p > 0``.
        prob : torch.Tensor, shape = (n_nodes, k_max)
            The probabilities p.

        Raises
        ------
        FloatingPointError
            If a score is not finite.
        """
        node, column = (index >= 0).nonzero(as_tuple=True)
        distance = squared_distances(z, node, index[node, column]) / z.size(1)
        score = -self.log_scale.exp() * distance
        check_finite(score, "entmax neighborhood", "score", "pair")
        rows = score.new_full(index.shape, -torch.inf).index_put((node, column), score)
        prob = entmax(rows, self.alpha)
        return prob > 0, prob

    def expected_size(self, nearest: Nearest) -> Tensor:
        """
        Mean over the nodes of the size of the support.

        Parameters
        ----------
        nearest : Nearest
            What this rule has chosen.

        Returns
        -------
        torch.Tensor, scalar
            The mean, without gradient, as there is none.
        """
        return nearest.taken.sum(-1).to(nearest.prob.dtype).mean()


def search(
    z: Tensor,
    batch: Tensor,
    num_graphs: int,
    rule: NeighborhoodRule,
    kernel: Kernel | None,
    *,
    include_self: bool,
    sample: bool,
    two_sided: bool,
    near_misses: int,
    generator: torch.Generator | None,
    within: tuple[Tensor, int] | None = None,
    index: KNNIndex | None = None,
) -> Nearest:
    """
    Find the learned neighbourhood of every node.

    Parameters
    ----------
    z : torch.Tensor, shape = (n_nodes, channels)
        Embeddings.
    batch : torch.Tensor, shape = (n_nodes,), int64
        Graph of each node, ascending.
    num_graphs : int
        Number of graphs.
    rule : NeighborhoodRule
        Chooses which of the nearest each node takes.
    kernel : Kernel, optional
        Says how close two nodes are; None for hard memberships.
    include_self : bool
        Whether a node counts as its own nearest neighbour.
    sample : bool
        Whether sizes are drawn.
    two_sided : bool
        Whether neighbours that are not taken are listed as well, if the rule has a gradient
        for them.
    near_misses : int
        How many beyond k_max are listed then.
    generator : torch.Generator, optional
        Source of random numbers.
    within : tuple, optional
        Both directions of each edge, sorted, shape = (2, n_arcs), and how many of them away a
        neighbour may be; by default anywhere in the graph.
    index : torch_geometric.nn.pool.KNNIndex, optional
        What searches big graphs, if not `within`.

    Returns
    -------
    Nearest
        The neighbourhoods.
    """
    two_sided = two_sided and rule.two_sided
    # Without a kernel those beyond k_max have no gradient to give.
    beyond = near_misses if two_sided and kernel is not None else 0
    found = rule.k_max + beyond
    embedding = z.detach()
    if within is None:
        nearest = knn(
            embedding, batch, found, num_graphs=num_graphs, include_self=include_self, index=index
        )
    else:
        nearest = knn_within(
            embedding, batch, *within, found, num_graphs=num_graphs, include_self=include_self
        )
    taken, prob = rule(z, nearest[:, : rule.k_max].contiguous(), sample, generator)
    taken, prob = (torch.nn.functional.pad(part, (0, beyond)) for part in (taken, prob))
    return Nearest(nearest, taken, prob, z, kernel, two_sided)
