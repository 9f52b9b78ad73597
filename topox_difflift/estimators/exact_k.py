"""Exactly k cells of each graph."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from topox_difflift import ragged
from topox_difflift.checks import check_at_least
from topox_difflift.estimators.base import Acceptance, Estimator

__all__ = ["ExactK"]

#: Logits further than this from the k-th largest one are as good as infinite.
_REACH = 100.0
#: Logarithm of 0: far below any sum of such logits, but finite, as inf - inf is not a number.
_NEVER = -1e30


class ExactK(Estimator):
    r"""
    Sample exactly `k` cells of each graph: independent draws given that k of them succeed.

    A set S of k candidates has a probability proportional to
    :math:`\prod_{i \in S} p_i / (1 - p_i)`. The draw is exact, and so are the marginals
    :math:`\mu_i = P(i \in S)`, which are the acceptance probabilities and what the backward
    pass differentiates. A graph with fewer than k candidates keeps them all, so that no
    graph that has a candidate is left without a cell. In `eval()` the k most probable.

    Parameters
    ----------
    k : int, default=4
        Number of cells that each graph gets, at every rank with candidates of its own.

    Raises
    ------
    ValueError
        If `k` is below 1.

    Notes
    -----
    The estimate ``sum_i dL/db_i dmu_i/dtheta`` of ``dE[L]/dtheta`` is unbiased when the
    loss is affine in all gates together. It is biased otherwise, even for a loss that is
    affine in each gate given the others, since one gate cannot change alone: for two
    candidates, k = 1 and ``L = (b_1 - c)^2`` it is ``2 (mu_1 - c)`` times ``dmu_1/dtheta``
    on average, and exact is ``1 - 2 c``; for ``L = b_1 b_2``, which is always 0, it is
    ``mu_2 - mu_1``.

    The polynomials ``prod_i (1 + x p_i / (1 - p_i))`` up to degree k are multiplied in
    log-space up a balanced tree over each graph's candidates, all graphs at once; draws and
    marginals come down the same tree. Time and memory grow with the number of candidates
    times k, the number of steps with the logarithm of the largest graph.

    References
    ----------
    .. [1] Ahmed, Zeng, Niepert, Van den Broeck. SIMPLE: a gradient estimator for k-subset
       sampling. ICLR 2023.
    """

    stochastic: ClassVar[bool] = True
    competing: ClassVar[bool] = True

    def __init__(self, k: int = 4) -> None:
        super().__init__()
        check_at_least("k", k, 1, "the number of cells of each graph")
        self.k = k

    def extra_repr(self) -> str:
        """
        Show the number.

        Returns
        -------
        str
            Text for `repr`.
        """
        return f"k={self.k}"

    def accept(
        self,
        logits: Tensor,
        generator: torch.Generator | None = None,
        group: Tensor | None = None,
    ) -> Acceptance:
        """
        Draw k candidates of each group.

        Parameters
        ----------
        logits : torch.Tensor, shape = (n_cells,)
            Acceptance logits.
        generator : torch.Generator, optional
            Source of random numbers; by default PyTorch's own.
        group : torch.Tensor, shape = (n_cells,), int64, optional
            The candidates among which k are drawn; by default all of them.

        Returns
        -------
        Acceptance
            Marginals and draws.
        """
        order, sizes = ragged.by_group(logits, group)
        prob, accepted = self._decide(logits[order], sizes, generator)
        return Acceptance(ragged.put(order, prob), ragged.put(order, accepted))

    def _decide(
        self, logits: Tensor, sizes: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Decide about logits that descend within each of the rows of the given sizes."""
        # Half precision has neither the range nor the digits for sums of logits.
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        # Only differences count, and most of all those to the k-th largest one.
        pivot = wide.detach()[ragged.starts(sizes) + sizes.clamp(max=self.k) - 1]
        centred = wide - pivot.repeat_interleave(sizes)
        tree = _Tree.of(centred.clamp(-_REACH, _REACH), sizes, self.k)
        prob = tree.marginals().to(logits.dtype)
        if self.training:
            return prob, tree.draw(generator)
        return prob, ragged.positions(sizes) < self.k


class _Level(NamedTuple):
    """How the nodes of a level of the tree were joined in pairs."""

    left: Tensor  # (n_parents,): first child of each parent, the second is the next one
    paired: Tensor  # (n_parents,): whether there is a second child
    share: Tensor  # (n_pairs, n_counts, n_left): P(i on the left | c in both) at [:, c, i]

    def place(self, of_left: Tensor, of_right: Tensor, of_single: Tensor) -> Tensor:
        """Put what belongs to children into their order."""
        pairs = self.left[self.paired]
        index = torch.cat([pairs, pairs + 1, self.left[~self.paired]])
        return ragged.put(index, torch.cat([of_left, of_right, of_single]))


class _Tree(NamedTuple):
    """The number of accepted candidates below each node, given the number at each root."""

    levels: list[_Level]  # from the leaves up
    total: Tensor  # (n_groups,): accepted candidates of each group
    root: Tensor  # (n_groups, n_counts): logarithms of the coefficients of the whole product

    @classmethod
    def of(cls, logits: Tensor, sizes: Tensor, k: int) -> _Tree:
        """Multiply polynomials, as logarithms of their coefficients, up the tree."""
        levels, total = [], sizes.clamp(max=k)
        powers = torch.stack([torch.zeros_like(logits), logits], dim=1)
        largest = int(sizes.max()) if len(sizes) else 1
        for _ in range((largest - 1).bit_length()):
            parents = (sizes + 1) // 2
            child = 2 * ragged.positions(parents)
            left = child + ragged.starts(sizes).repeat_interleave(parents)
            paired = child + 1 < sizes.repeat_interleave(parents)
            powers, share = _multiply(powers, left, paired, k)
            levels.append(_Level(left, paired, share))
            sizes = parents
        return cls(levels, total, powers)

    def marginals(self) -> Tensor:
        """Compute the probability that each leaf is accepted; differentiable."""
        known = torch.nn.functional.one_hot(self.total, self.root.size(1))
        count = known + 0 * self.root  # with a gradient, if of 0, where there is no choice
        for level in reversed(self.levels):
            n_counts, n_left = level.share.shape[1:]
            joint = count[level.paired].unsqueeze(-1) * level.share
            rest = _rest(n_counts, n_left, joint.device).flatten()
            of_right = joint.new_zeros(len(joint), n_left + 1).index_add(1, rest, joint.flatten(1))
            of_single = count[~level.paired][:, :n_left]
            count = level.place(joint.sum(1), of_right[:, :n_left], of_single)
        return count[:, 1]

    def draw(self, generator: torch.Generator | None) -> Tensor:
        """Draw which leaves are accepted."""
        count = self.total
        for level in reversed(self.levels):
            both = count[level.paired]
            pair = torch.arange(len(both), device=both.device)
            share = level.share.detach()[pair, both]
            of_left = torch.multinomial(share, 1, generator=generator).squeeze(1)
            count = level.place(of_left, both - of_left, count[~level.paired])
        return count > 0


def _multiply(powers: Tensor, left: Tensor, paired: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """
    Multiply the polynomials of pairs of nodes, up to degree k.

    Parameters
    ----------
    powers : torch.Tensor, shape = (n_nodes, n_left)
        Logarithms of the coefficients.
    left, paired : torch.Tensor, shape = (n_parents,)
        As in `_Level`.
    k : int
        Highest degree that is needed.

    Returns
    -------
    powers : torch.Tensor, shape = (n_parents, n_counts)
        Logarithms of the coefficients of the products.
    share : torch.Tensor, shape = (n_pairs, n_counts, n_left)
        As in `_Level`.
    """
    n_left = powers.size(1)
    n_counts = min(2 * (n_left - 1), k) + 1
    pairs, never = left[paired], powers.new_full((1, 1), _NEVER)
    right = torch.cat([powers[pairs + 1], never.expand(len(pairs), 1)], dim=1)
    terms = powers[pairs].unsqueeze(1) + right[:, _rest(n_counts, n_left, left.device)]
    single = torch.nn.functional.pad(powers[left[~paired]], (0, n_counts - n_left), value=_NEVER)
    index = torch.cat([paired.nonzero(), (~paired).nonzero()]).squeeze(1)
    return ragged.put(index, torch.cat([terms.logsumexp(-1), single])), terms.softmax(-1)


def _rest(n_counts: int, n_left: int, device: torch.device) -> Tensor:
    """Degree ``c - i`` that is left for the right factor, `n_left` where there is none."""
    counts, i = torch.arange(n_counts, device=device), torch.arange(n_left, device=device)
    rest = counts.unsqueeze(1) - i
    return torch.where((rest >= 0) & (rest < n_left), rest, n_left)
