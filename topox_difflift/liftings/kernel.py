"""Hypergraphs of the pairs of nodes between which a kernel is largest."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from topox_difflift import ragged
from topox_difflift.checks import check_at_least
from topox_difflift.liftings.base import HypergraphLifting
from topox_difflift.sparse import sparse_coo, stable_order

if TYPE_CHECKING:
    from collections.abc import Callable

    from topox_difflift.graph import Graph

__all__ = ["KernelLifting"]

# Kernel values held at once.
_BLOCK = 2**20
# Values that differ by less, relative to their size, differ by rounding alone.
_NOISE = 2.0**-40
# Heat of less than this is left out.
_NO_HEAT = 2.0**-100
_LONGEST = 1000.0


class KernelLifting(HypergraphLifting):
    r"""
    Hypergraph with a hyperedge for each node: the nodes to which its kernel is large.

    The kernel of a graph is the heat kernel :math:`K = \exp(-t L)` of its normalised
    Laplacian :math:`L = I - D^{-1/2} A D^{-1/2}`, with 0 in the row of an isolated node, times
    a kernel on the features if one is given. Those of its :math:`n^2` values that reach the
    quantile ``1 - fraction`` are large; u is in the hyperedge of v if :math:`K_{vu}` is.
    Hyperedges of fewer than two nodes are left out, and of equal ones all but the first.

    Parameters
    ----------
    t : float, default=1.0
        Time for which the heat spreads, up to 1000.
    fraction : float, default=0.5
        Share of the pairs of a graph that become memberships, in (0, 1].
    feature_kernel : callable, optional
        Gives the kernel on the features, shape (n_graphs, n, n), of features in float64 of
        shape (n_graphs, n, channels). Graphs are padded to n nodes by rows of zeros, so
        that each value may depend on the features of its two nodes alone. For example
        ``lambda x: torch.exp(-torch.cdist(x, x).square())``.
    max_nodes : int, default=2048
        A larger graph is an error. The result has about ``fraction * n ** 2`` memberships,
        so that no way to compute it is linear in the size of the graph.

    Raises
    ------
    ValueError
        If an argument is impossible.

    Notes
    -----
    This is the definition of TopoBench's `HypergraphKernelLifting` with its heat kernel and
    product, except in three points. Hyperedges come in the order of the nodes. Ties are not
    left to rounding: values within a relative :math:`2^{-40}` of the quantile are large as
    well, so that symmetric nodes are treated alike and a graph is lifted alone as in any
    batch. And the diagonal of L is 0 for an isolated node, which keeps its heat; TopoBench
    has 0 there if the node comes after all nodes with an edge, and 1 if it comes before.

    The kernel is summed as :math:`\sum_j e^{-t} t^j / j! \, (D^{-1/2} A D^{-1/2})^j`, in
    float64. No term is negative, so that small values are as accurate as large ones; terms
    stop where their weight falls below :math:`2^{-100}`. Graphs are handled in blocks of
    similar size with memory for the sum of the squared sizes, never the square of the sum.

    Examples
    --------
    >>> import networkx as nx
    >>> from topox_difflift.liftings import KernelLifting
    >>> path = nx.path_graph(4)
    >>> nx.set_node_attributes(path, 1.0, "x")
    >>> KernelLifting(fraction=0.6)(path).cells(1)
    [(0, 1), (0, 1, 2), (1, 2, 3), (2, 3)]
    """

    def __init__(
        self,
        t: float = 1.0,
        fraction: float = 0.5,
        feature_kernel: Callable[[Tensor], Tensor] | None = None,
        max_nodes: int = 2048,
    ) -> None:
        super().__init__()
        if not 0 < t <= _LONGEST:
            raise ValueError(f"Expected 't' to be positive and at most {_LONGEST:g} (got {t})")
        if not 0 < fraction <= 1:
            raise ValueError(f"Expected 'fraction' to be in (0, 1] (got {fraction}); 0.5 is usual")
        if not (feature_kernel is None or callable(feature_kernel)):
            raise ValueError(
                f"Expected 'feature_kernel' to be a function of the features, or None "
                f"(got {feature_kernel!r})"
            )
        check_at_least("max_nodes", max_nodes, 1)
        self.t, self.fraction = t, fraction
        self.feature_kernel, self.max_nodes = feature_kernel, max_nodes

    def memberships(self, graph: Graph) -> Tensor:
        """
        List the pairs with a large kernel value.

        Parameters
        ----------
        graph : Graph
            Checked input.

        Returns
        -------
        torch.Tensor, shape = (2, n_memberships), int64
            Pairs (node, member).

        Raises
        ------
        ValueError
            If a graph is larger than `max_nodes`, or if the feature kernel has the wrong
            shape or values that are not finite.
        """
        if graph.x.device.type == "mps":  # it has no float64
            names = ("x", "edge_index", "batch")
            host = replace(graph, **{name: getattr(graph, name).cpu() for name in names})
            return self.memberships(host).to(graph.x.device)
        sizes = torch.bincount(graph.batch, minlength=graph.num_graphs)
        largest = int(sizes.max())
        if largest > self.max_nodes:
            raise ValueError(
                f"Expected graphs of at most max_nodes={self.max_nodes} nodes (got {largest}), "
                f"since of the {largest}^2 kernel values a share of {self.fraction} become "
                "memberships; raise 'max_nodes' if they fit in memory, or take KHopLifting"
            )
        # Autocast would round the kernel to half precision.
        with torch.no_grad(), torch.autocast(graph.x.device.type, enabled=False):
            arcs = _Arcs(graph, sizes)
            found = [
                self._large(arcs, chunk, size)
                for graphs, size in ragged.buckets(sizes)
                for chunk in graphs.split(max(1, _BLOCK // size**2))
            ]
        node, member = torch.cat(found, dim=1)
        order = stable_order(node * len(graph.x) + member)
        return torch.stack([node, member])[:, order]

    def _large(self, arcs: _Arcs, chunk: Tensor, size: int) -> Tensor:
        """Find the memberships of some graphs, padded to one size."""
        kernel = arcs.heat(chunk, size, self.t)
        if self.feature_kernel is not None:
            kernel *= self._on_features(arcs.features(chunk, size))
        present = torch.arange(size, device=chunk.device) < arcs.sizes[chunk].unsqueeze(1)
        pair = present.unsqueeze(1) & present.unsqueeze(2)
        kernel.masked_fill_(~pair, -torch.inf)
        inside = pair & (kernel >= self._threshold(kernel, arcs.sizes[chunk]))
        graph, node, member = _proper(inside).nonzero(as_tuple=True)
        return torch.stack([node, member]) + arcs.starts[chunk][graph]

    def _threshold(self, kernel: Tensor, sizes: Tensor) -> Tensor:
        """Smallest value of each graph that is large, less its rounding."""
        # A value is at least the quantile if and only if it is one of so many largest ones, or
        # equal to the last of them. The summand keeps a whole number from being missed.
        count = (self.fraction * (sizes.double().square() - 1) + 1e-6).floor().long()
        ordered = kernel.flatten(1).sort(dim=1, descending=True).values
        last = ordered.gather(1, count.unsqueeze(1))
        return (last - _NOISE * last.abs()).unsqueeze(2)

    def _on_features(self, x: Tensor) -> Tensor:
        assert self.feature_kernel is not None  # noqa: S101 -- for the type checker
        kernel, expected = self.feature_kernel(x), (len(x), x.size(1), x.size(1))
        if not isinstance(kernel, Tensor) or kernel.shape != expected:
            got = tuple(kernel.shape) if isinstance(kernel, Tensor) else type(kernel).__name__
            raise ValueError(
                f"Expected 'feature_kernel' to return shape {expected} for features of shape "
                f"{tuple(x.shape)} (got {got})"
            )
        if not bool(torch.isfinite(kernel).all()):
            raise ValueError(
                "Expected 'feature_kernel' to return finite values (got NaN or infinity)"
            )
        return kernel

    def extra_repr(self) -> str:
        """
        Show what was chosen.

        Returns
        -------
        str
            The settings.
        """
        own = self.feature_kernel
        named = "" if own is None else f", feature_kernel={getattr(own, '__name__', own)}"
        return f"t={self.t}, fraction={self.fraction}{named}, max_nodes={self.max_nodes}"


class _Arcs:
    """The normalised adjacency of a batch, from which padded blocks of graphs are taken."""

    def __init__(self, graph: Graph, sizes: Tensor) -> None:
        source, target = graph.edge_index
        degree = torch.bincount(source, minlength=len(graph.x)).double()
        self.x, self.batch, self.isolated = graph.x, graph.batch, degree == 0
        self.sizes, self.starts = sizes, ragged.starts(sizes)
        self.source, self.target = source, target
        self.weight = (degree[source] * degree[target]).rsqrt()
        # Arcs are sorted by source, so that those of a graph follow each other.
        self.counts = torch.bincount(graph.batch[source], minlength=len(sizes))

    def heat(self, chunk: Tensor, size: int, t: float) -> Tensor:
        """Heat kernels of some graphs, padded with isolated nodes: (n_graphs, size, size)."""
        arc, height = ragged.take(self.counts, chunk), len(chunk) * size
        index = self._place(torch.stack([self.source[arc], self.target[arc]]), chunk, size)
        adjacency = sparse_coo(index, self.weight[arc], (height, height))
        power = torch.eye(size, dtype=torch.float64, device=arc.device).repeat(len(chunk), 1)
        first, *others = _poisson(t)
        kernel = power * first
        for factor in others:
            power = torch.sparse.mm(adjacency, power)
            kernel.add_(power, alpha=factor)
        node = ragged.take(self.sizes, chunk)
        alone = self._place(node[self.isolated[node]], chunk, size)
        kernel[alone, alone % size] = 1
        return kernel.view(len(chunk), size, size)

    def features(self, chunk: Tensor, size: int) -> Tensor:
        """Features of some graphs in float64, padded with zeros: (n_graphs, size, channels)."""
        node = ragged.take(self.sizes, chunk)
        padded = self.x.new_zeros(len(chunk) * size, self.x.size(1), dtype=torch.float64)
        padded[self._place(node, chunk, size)] = self.x[node].double()
        return padded.view(len(chunk), size, -1)

    def _place(self, node: Tensor, chunk: Tensor, size: int) -> Tensor:
        """Row of each node in the padded block."""
        slot = torch.empty_like(self.sizes)
        slot[chunk] = torch.arange(len(chunk), device=chunk.device)
        graph = self.batch[node]
        return slot[graph] * size + node - self.starts[graph]


def _poisson(t: float) -> list[float]:
    """Weights ``e^-t t^j / j!`` up to the last that counts."""
    weights: list[float] = []
    while len(weights) <= t or weights[-1] >= _NO_HEAT:
        j = len(weights)
        weights.append(math.exp(j * math.log(t) - t - math.lgamma(j + 1)))
    return weights


def _proper(inside: Tensor) -> Tensor:
    """Clear the rows of fewer than two members, and those equal to an earlier one."""
    size = inside.sum(2)
    number = inside.float()  # exact: counts stay far below 2^24
    shared = number @ number.transpose(1, 2)
    equal = (shared == size.unsqueeze(1)) & (shared == size.unsqueeze(2))
    repeated = equal.tril(-1).any(2)
    return inside & ((size > 1) & ~repeated).unsqueeze(2)
