"""The differentiable lifting: embed, propose, score, accept, attach."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from math import log
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor
from torch_geometric.transforms import BaseTransform

from topox_difflift import ragged
from topox_difflift._neighbors_index import as_index
from topox_difflift.checks import (
    check_at_least,
    check_finite,
    check_flag,
    check_generator,
    check_not_negative,
    check_number,
    check_one_of,
)
from topox_difflift.complex import LiftedComplex
from topox_difflift.domains import DOMAINS, Domain, Skeleton
from topox_difflift.domains.base import N_STATISTICS, beside, depend_on_faces
from topox_difflift.encoders import ENCODERS
from topox_difflift.estimators import ESTIMATORS, Acceptance, Estimator
from topox_difflift.frozen import FrozenLift
from topox_difflift.graph import Graph, as_data, check_graph
from topox_difflift.proximity import Kernel, Nearest, NeighborhoodRule, search
from topox_difflift.scoring import AGGREGATIONS, CellScorer
from topox_difflift.sparse import stable_order

if TYPE_CHECKING:
    import networkx as nx
    from torch_geometric.data import Data
    from torch_geometric.nn.pool import KNNIndex

    from topox_difflift.candidates import CandidateCells
    from topox_difflift.domains import Boundary

__all__ = ["DiffLift"]

NEIGHBORHOODS = (
    "incidence",
    "adjacency",
    "coadjacency",
    "up_laplacian",
    "down_laplacian",
    "hodge_laplacian",
)


class DiffLift(torch.nn.Module, BaseTransform):
    """
    Learn which cells lift a graph to a topological domain, together with the task.

    The nodes are embedded; rank by rank the domain proposes candidate cells, a network
    gives each an acceptance probability, the estimator accepts or rejects it with a
    gradient, and the domain attaches what was accepted. The graph's own nodes and edges
    stay; only `Hypergraph(edges=...)` can say otherwise. Train the parameters with those of
    the TNN that follows; no loss of its own is needed.

    Parameters
    ----------
    domain : {"hypergraph", "simplicial", "cell", "combinatorial", "dcm"} or Domain, optional
        Where to lift to, by default "cell"; an instance carries its own settings.
    max_rank : int, optional
        Highest rank, by default 2, and 1 for a hypergraph.
    encoder : {"gin", "gps"} or torch.nn.Module, default="gin"
        Embeds the nodes: ``(x, edge_index, batch) -> (n_nodes, d)``. A module whose forward
        has a parameter `edge_attr` is given the edge features, if there are any.
    in_channels : int, default=-1
        Width of the node features, -1 to take it from the first input.
    hidden_channels : int, default=64
        Width of the embedding and of the hidden layers.
    k_min, k_max : int, default=2, 5
        Bounds of the learned number of neighbours.
    estimator : str or Estimator, optional
        How cells are accepted, by default "straight_through"; or "gumbel", "threshold",
        "exact_k", "score_function", "entmax".
    rejected : {"keep", "drop"}, default="keep"
        While training, keep rejected cells as columns with mask 0, so that they receive
        gradient, or drop them. In `eval()` they are dropped.
    memberships : {"kernel", "hard"}, default="kernel"
        Whether memberships carry a gradient to the distances that chose them.
    dispersion : bool, default=True
        Whether the acceptance network sees how far apart a candidate's members are, and the
        sizes how far the neighbours.
    boundary_statistics : bool, default=True
        Whether the acceptance network of simplices and 2-cells also sees which share of their
        faces are the graph's own, and how many there are.
    near_misses : int, default=3
        Neighbours beyond `k_max` that are listed with weight 0 while training, so that the
        metric learns from them as well; not with ``rejected="drop"`` or hard memberships.
    neighborhoods : sequence of str, default=()
        Matrices to build at once, such as "adjacency_1"; all others are derived when first
        asked for. Incidences are always there.
    generator : torch.Generator, optional
        Source of random numbers, on the device of the graphs; by default PyTorch's own.
    aggregation : {"mean", "sum", "max", "set_transformer"}, default="mean"
        How the embeddings of a candidate's members are pooled.
    cell_budget : int, optional
        Most probable candidates to consider for each graph and rank; bounds memory.
    rescue : bool, default=False
        Whether the most probable candidate of a graph survives where all are rejected.
    cell_price : float, default=0
        What accepting every candidate would add to the loss, through `cost`; accepting a share of
        them adds that share. With a price, cells that do not pay are rejected in the end. It may
        be reassigned between epochs, as may the next.
    entropy_price : float, default=0
        What candidates that are all accepted by a fair coin would add to the loss, through `cost`:
        the mean entropy of the acceptances, in bits, times this. Above 0 it makes decisions firm;
        below 0 it keeps them open.
    initial_logit : float, default=1
        Acceptance logit of every candidate before training: 1 accepts 73 %, 4 nearly all, -2 few,
        so that training starts near the graph alone.
    hops : int, optional
        How many edges away a neighbour may be, by default anywhere in the graph. The search is
        then linear in what is within reach, and cells of nodes farther apart are never
        candidates. With 1 no edge is: those within reach are all there.
    search : {"exact", "faiss"} or torch_geometric.nn.pool.KNNIndex, default="exact"
        How neighbours are found in graphs of more than 1024 nodes: by the search of this
        package, by faiss, or by an index of PyG, such as `ApproxL2KNNIndex`, that misses some.
        Not with `hops`.

    Raises
    ------
    ValueError
        If an argument is unknown or impossible.
    ImportError
        If `search` needs faiss and it is not installed.

    References
    ----------
    .. [1] Franco, Duarte, Nikitin, Ponti, Mesquita, Souza. Differentiable lifting for
       topological neural networks. ICLR 2026.

    Examples
    --------
    >>> import torch
    >>> from torch_geometric.data import Data
    >>> from topox_difflift import DiffLift
    >>> ring = torch.arange(6)
    >>> arcs = torch.stack([ring, ring.roll(-1)])
    >>> data = Data(x=torch.eye(6), edge_index=torch.cat([arcs, arcs.flip(0)], dim=1))
    >>> lifted = DiffLift("simplicial").eval()(data)
    >>> lifted.num_cells[0]
    6
    """

    def __init__(
        self,
        domain: str | Domain = "cell",
        *,
        max_rank: int | None = None,
        encoder: str | torch.nn.Module = "gin",
        in_channels: int = -1,
        hidden_channels: int = 64,
        k_min: int = 2,
        k_max: int = 5,
        estimator: str | Estimator = "straight_through",
        rejected: str = "keep",
        memberships: str = "kernel",
        dispersion: bool = True,
        boundary_statistics: bool = True,
        near_misses: int = 3,
        neighborhoods: tuple[str, ...] | list[str] = (),
        generator: torch.Generator | None = None,
        aggregation: str = "mean",
        cell_budget: int | None = None,
        rescue: bool = False,
        cell_price: float = 0.0,
        entropy_price: float = 0.0,
        initial_logit: float = 1.0,
        hops: int | None = None,
        search: str | KNNIndex = "exact",
    ) -> None:
        super().__init__()
        check_one_of("rejected", rejected, ("keep", "drop"))
        check_one_of("memberships", memberships, ("kernel", "hard"))
        check_one_of("aggregation", aggregation, AGGREGATIONS)
        check_at_least("hidden_channels", hidden_channels, 1)
        check_at_least("k_min", k_min, 1)
        check_at_least("k_max", k_max, k_min, "the value of k_min")
        check_at_least("near_misses", near_misses, 0)
        check_flag("dispersion", dispersion)
        check_flag("boundary_statistics", boundary_statistics)
        check_flag("rescue", rescue)
        check_not_negative("cell_price", cell_price)
        check_number("entropy_price", entropy_price)
        check_number("initial_logit", initial_logit)
        if in_channels != -1:
            check_at_least("in_channels", in_channels, 1, "or -1 to take it from the first input")
        if cell_budget is not None:
            check_at_least("cell_budget", cell_budget, 1, "or None for no bound")
        if hops is not None:
            check_at_least("hops", hops, 1, "or None for no bound")
        index = as_index(search)
        if hops is not None and index is not None:
            raise ValueError(
                f"Expected 'search' to be 'exact' with 'hops' (got {search!r} and {hops}); who is "
                "within reach is listed, and no index is asked"
            )
        if not isinstance(generator, torch.Generator | None):
            raise ValueError(
                f"Expected 'generator' to be a torch.Generator or None (got {generator!r}); "
                "a seed goes in as torch.Generator().manual_seed(seed)"
            )
        self.domain = _build("domain", domain, DOMAINS, Domain)
        self.max_rank = self._checked_rank(max_rank)
        self.estimator = _build("estimator", estimator, ESTIMATORS, Estimator)
        if isinstance(encoder, torch.nn.Module):
            self.encoder, width = encoder, -1
        else:
            check_one_of("encoder", encoder, tuple(ENCODERS), ", or a torch.nn.Module")
            self.encoder = ENCODERS[encoder](in_channels, hidden_channels)
            width = hidden_channels
        self.rejected, self.memberships = rejected, memberships
        self.k_min, self.k_max, self.near_misses = k_min, k_max, near_misses
        self.cell_budget, self.rescue = cell_budget, rescue
        self.cell_price, self.entropy_price = cell_price, entropy_price
        self.hops, self.index = hops, index
        self.generator = generator
        self.neighborhoods = self._checked_neighborhoods(neighborhoods)
        self._encoder_takes = _parameters(self.encoder)
        self.scorers, self.sizes, self.kernels = (torch.nn.ModuleDict() for _ in range(3))
        for rank in range(1, self.max_rank + 1):
            sees = boundary_statistics and self.domain.sees_boundary(rank)
            if not self.domain.decides(rank):
                self.scorers[str(rank)] = CellScorer(
                    width,
                    hidden_channels,
                    deep_set=self.domain.deep_set(rank),
                    aggregation=aggregation,
                    dispersion=dispersion,
                    statistics=N_STATISTICS if sees else 0,
                    initial_logit=initial_logit,
                )
            if self.domain.neighborhood(rank) != "none":
                self.sizes[str(rank)] = self.domain.rule(
                    width, hidden_channels, k_min, k_max, dispersion
                )
                if memberships == "kernel":
                    self.kernels[str(rank)] = Kernel()
        self._proposals: tuple[_Proposal, ...] = ()

    def _checked_rank(self, max_rank: int | None) -> int:
        if max_rank is None:
            return self.domain.default_rank
        check_at_least("max_rank", max_rank, 1)
        if max_rank > self.domain.highest_rank:
            raise ValueError(
                f"Expected 'max_rank' to be from 1 to {self.domain.highest_rank} for "
                f"{self.domain!r} (got {max_rank})"
            )
        return max_rank

    def _checked_neighborhoods(self, names: tuple[str, ...] | list[str]) -> tuple[str, ...]:
        if not isinstance(names, tuple | list):
            raise ValueError(
                f"Expected 'neighborhoods' to be a list of names such as ['adjacency_1'] "
                f"(got {names!r})"
            )
        for name in names:
            match = re.fullmatch(rf"({'|'.join(NEIGHBORHOODS)})_(\d+)", str(name))
            if not match or int(match[2]) > self.max_rank:
                raise ValueError(
                    f"Expected 'neighborhoods' to hold names such as 'adjacency_1', one of "
                    f"{', '.join(NEIGHBORHOODS)} with a rank up to {self.max_rank} (got {name!r})"
                )
        return tuple(names)

    def reset_parameters(self) -> None:
        """Initialise all parameters afresh."""
        parts = [self.encoder, *self.scorers.values(), *self.sizes.values(), *self.kernels.values()]
        for part in parts:
            # A user's encoder may have no such method itself, only its layers.
            for module in [part] if hasattr(part, "reset_parameters") else part.modules():
                reset = getattr(module, "reset_parameters", None)
                if callable(reset):
                    reset()

    def forward(self, data: Data | nx.Graph) -> LiftedComplex:
        """
        Lift a graph, or a batch of graphs.

        Parameters
        ----------
        data : torch_geometric.data.Data or networkx.Graph
            Graphs with node features `x`; never changed.

        Returns
        -------
        LiftedComplex
            The complex, with everything else that `data` holds.

        Raises
        ------
        TypeError, ValueError
            If the input is not a graph with finite features.
        FloatingPointError
            If an embedding or a probability is not finite.
        """
        data = as_data(data)
        graph = check_graph(data)
        if self.training and self.estimator.stochastic:
            check_generator(self.generator, graph.x.device)
        z = self._embed(graph)
        skeleton, proposals = Skeleton(graph, z=z.detach()), []
        for rank in range(1, self.max_rank + 1):
            skeleton, proposal = self._add_rank(skeleton, rank, z)
            proposals.append(proposal)
        self._proposals = tuple(proposals)
        lifted = LiftedComplex.from_ranks(
            data,
            graph.x,
            graph.batch,
            skeleton.ranks,
            self.domain.topology,
            candidates=[proposal.counts for proposal in proposals],
        )
        for name in self.neighborhoods:
            lifted[name]
        return lifted

    def _embed(self, graph: Graph) -> Tensor:
        for parameter in self.parameters():
            if parameter.is_floating_point() and parameter.dtype != graph.x.dtype:
                raise TypeError(
                    f"Expected 'x' to have the dtype of the lifting, {parameter.dtype} "
                    f"(got {graph.x.dtype}); data.x.to({parameter.dtype}) or "
                    f"lift.to({graph.x.dtype})"
                )
            break
        optional = {"batch": graph.batch, "edge_attr": graph.edge_attr}
        named = {key: value for key, value in optional.items() if key in self._encoder_takes}
        # By name where the module has one: PyG's own models have other arguments in between.
        third = () if "batch" in named else (graph.batch,)
        z = self.encoder(graph.x, graph.edge_index, *third, **named)
        name = type(self.encoder).__name__
        if not isinstance(z, Tensor) or z.dim() != 2 or len(z) != len(graph.x):
            got = tuple(z.shape) if isinstance(z, Tensor) else type(z).__name__
            raise ValueError(
                f"Expected 'encoder' {name} to return embeddings of shape ({len(graph.x)}, d), one "
                f"row for each node (got {got}); do not pool the nodes"
            )
        if z.size(1) == 0 or not z.is_floating_point():
            raise ValueError(
                f"Expected 'encoder' {name} to return floating-point embeddings with at least one "
                f"channel (got {z.dtype}, shape {tuple(z.shape)}); end it with a linear layer"
            )
        if z.dtype != graph.x.dtype and not torch.is_autocast_enabled(z.device.type):
            raise TypeError(
                f"Expected 'encoder' {name} to return embeddings of the dtype of 'x', "
                f"{graph.x.dtype} (got {z.dtype}); encoder.to({graph.x.dtype})"
            )
        check_finite(z, f"encoder {name}", "embedding", "node")
        # Under autocast it comes in half precision; gates and distances are those of the features.
        return z.to(graph.x.dtype)

    def _nearest(self, graph: Graph, rank: int, z: Tensor) -> Nearest | None:
        if self.domain.neighborhood(rank) == "none":
            return None
        kernel = self.kernels[str(rank)] if self.memberships == "kernel" else None
        return search(
            z,
            graph.batch,
            graph.num_graphs,
            cast("NeighborhoodRule", self.sizes[str(rank)]),
            cast("Kernel | None", kernel),
            include_self=self.domain.neighborhood(rank) == "closed",
            sample=self.training and self.estimator.stochastic,
            two_sided=self._keeps,
            near_misses=self.near_misses,
            generator=self.generator,
            within=None if self.hops is None else (graph.edge_index, self.hops),
            index=self.index,
        )

    def _add_rank(self, skeleton: Skeleton, rank: int, z: Tensor) -> tuple[Skeleton, _Proposal]:
        graph, nearest = skeleton.graph, self._nearest(skeleton.graph, rank, z)
        candidates = self.domain.propose(skeleton, rank, nearest)
        own = self.domain.own(skeleton, rank)
        boundary = self._known_boundary(skeleton, rank, candidates)
        if boundary is not None and self._passes_on(skeleton, rank):
            candidates = depend_on_faces(skeleton, rank, candidates, boundary)
        score = self._score(skeleton, rank, z, candidates, boundary)
        if self.cell_budget is not None:
            preference = _preference(score, candidates)
            kept = _most_probable(preference, candidates.batch, self.cell_budget)
            score = score[kept]
            candidates, boundary = _select(kept, candidates, boundary)
        if candidates.prob is None:
            acceptance = self.estimator.accept(score, self.generator, candidates.group())
        else:
            acceptance = Acceptance(candidates.prob, candidates.prob > 0)
        included = candidates.included()
        if self.rescue:
            preference = _preference(score, candidates)
            acceptance = _rescue(acceptance, included, preference, candidates.batch)
        counts = ragged.counts(candidates.batch, graph.num_graphs, included)
        rule = None if nearest is None else cast("NeighborhoodRule", self.sizes[str(rank)])
        proposal = _Proposal(acceptance, candidates, nearest, rule, counts)
        if not self._keeps:
            accepted = (acceptance.accepted & included).nonzero().squeeze(-1)
            candidates, boundary = _select(accepted, candidates, boundary)
            acceptance = acceptance.select(accepted)
        acceptance = replace(acceptance, prob=_below_one(acceptance.prob))
        if own is not None:
            candidates, acceptance = beside(own, graph.batch, candidates, acceptance)
            boundary = None
            if rank > 1:  # the domain has an order for rank 1
                by_graph = stable_order(candidates.batch)
                candidates, acceptance = candidates.select(by_graph), acceptance.select(by_graph)
        return self.domain.attach(skeleton, rank, candidates, acceptance, boundary), proposal

    def _sees_boundary(self, rank: int) -> bool:
        """Whether the acceptance network is told of the faces of a candidate."""
        scorers = cast("dict[str, CellScorer]", self.scorers)
        return not self.domain.decides(rank) and scorers[str(rank)].statistics > 0

    def _passes_on(self, skeleton: Skeleton, rank: int) -> bool:
        """Whether gates of this rank have a gradient for those below."""
        if rank == 1 or not self.domain.closure_gradient:
            return False
        return skeleton.ranks[rank - 2].mask.requires_grad

    def _known_boundary(
        self, skeleton: Skeleton, rank: int, candidates: CandidateCells
    ) -> Boundary | None:
        """Faces of the candidates, where something depends on them."""
        if self._sees_boundary(rank) or self._passes_on(skeleton, rank):
            return self.domain.boundary(skeleton, rank, candidates)
        return None

    def _score(
        self,
        skeleton: Skeleton,
        rank: int,
        z: Tensor,
        candidates: CandidateCells,
        boundary: Boundary | None,
    ) -> Tensor:
        """Compute acceptance logits, or take the probabilities where the domain decides."""
        if candidates.prob is not None:
            return candidates.prob
        scorer = cast("CellScorer", self.scorers[str(rank)])
        seen = None
        if boundary is not None and self._sees_boundary(rank):
            seen = self.domain.statistics(skeleton, rank, candidates, boundary)
        logits = scorer(z, candidates, seen).to(z.dtype)
        check_finite(logits, f"scorer of rank {rank}", "acceptance logit", "candidate")
        return logits

    @property
    def _keeps(self) -> bool:
        """Whether rejected cells stay as columns of zeros."""
        return self.training and self.rejected == "keep"

    def regularization(self) -> dict[str, Tensor]:
        """
        Return optional terms for the loss, from the last forward pass.

        Returns
        -------
        dict of str to torch.Tensor
            Scalars: "expected_size", the mean over nodes of E[k_v]; "expected_cells", the
            expected number of accepted candidates per graph, or the sum of their
            probabilities where nothing is random; "entropy", the mean entropy of the
            acceptances in nats.

        Raises
        ------
        RuntimeError
            If there was no forward pass yet.
        """
        return _regularization(self._last_pass("regularization"))

    def cost(self) -> Tensor:
        """
        Return what the cells of the last forward pass cost, to be added to the loss.

        Returns
        -------
        torch.Tensor
            Scalar: `cell_price` times the expected share of the candidates that are accepted, and
            `entropy_price` times the mean entropy of the acceptances in bits.

        Raises
        ------
        RuntimeError
            If there was no forward pass yet.
        """
        proposals = self._last_pass("cost")
        counts = torch.stack([proposal.counts for proposal in proposals])
        expected = _expected_cells(proposals) * counts.size(1)
        cost = self.cell_price * expected / counts.sum().clamp(min=1)
        if self.entropy_price:
            cost = cost + self.entropy_price * _mean_entropy(proposals) / log(2)
        return cost

    def _last_pass(self, wanted: str) -> tuple[_Proposal, ...]:
        if not self._proposals:
            raise RuntimeError(f"Expected a forward pass before {wanted}() (got none)")
        return self._proposals

    def log_prob(self) -> Tensor:
        """
        Return the log-probability of the acceptances drawn in the last forward pass.

        It is what was drawn that counts: candidates beyond `cell_budget` were not, and the
        draw of a cell that was rejected and then saved by `rescue` is its rejection. Drawn
        sizes are not part of it.

        Returns
        -------
        torch.Tensor, shape = (n_graphs,)
            Sum over the candidates of all ranks of each graph, with gradient.

        Raises
        ------
        RuntimeError
            If the last forward pass drew nothing, or with an estimator without
            log-probabilities.
        """
        drawn = [proposal.log_prob() for proposal in self._proposals]
        by_rank = [of_rank for of_rank in drawn if of_rank is not None]
        if not by_rank:
            raise RuntimeError(
                "Expected a forward pass in training mode with an estimator that has "
                "log-probabilities, such as 'score_function', before log_prob() "
                f"(got {self.estimator!r}, training={self.training})"
            )
        return torch.stack(by_rank).sum(0)

    def freeze(self) -> FrozenLift:
        """
        Make a plain transform of the lifting as it is now.

        Returns
        -------
        FrozenLift
            A copy in `eval()` without gradient, to be a `transform` or, so that each graph is
            lifted once, the `pre_transform` of a data set.

        Raises
        ------
        RuntimeError
            If the lifting never saw data, and a parameter has no size yet.
        """
        return FrozenLift(self)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to one forward pass and cannot be copied."""
        return {**self.__dict__, "_proposals": ()}

    def __repr__(self) -> str:
        """Show what was chosen."""
        estimator = repr(self.estimator)
        hops = "" if self.hops is None else f", hops={self.hops}"
        search = "" if self.index is None else f", search={type(self.index).__name__}"
        return (
            f"{type(self).__name__}({self.domain!r}, max_rank={self.max_rank}, "
            f"encoder={type(self.encoder).__name__}, k_min={self.k_min}, k_max={self.k_max}, "
            f"estimator={estimator}, rejected={self.rejected!r}, "
            f"memberships={self.memberships!r}, near_misses={self.near_misses}{hops}{search})"
        )


def _parameters(encoder: torch.nn.Module) -> frozenset[str]:
    """Names of what the forward pass of an encoder takes."""
    signature = inspect.signature(encoder.forward)
    names = frozenset(signature.parameters)
    try:
        signature.bind(0, 0, batch=0) if "batch" in names else signature.bind(0, 0, 0)
    except TypeError as error:
        raise ValueError(
            f"Expected 'encoder' {type(encoder).__name__} to take (x, edge_index, batch) "
            f"(got forward{signature}); wrap it in a module that does"
        ) from error
    return names


def _build(name: str, value: Any, registry: dict[str, Any], kind: type) -> Any:
    """Return an instance of `kind`: `value` itself, or a new one of the named class."""
    if isinstance(value, kind):
        return value
    if not isinstance(value, str) or value not in registry:
        raise ValueError(
            f"Expected '{name}' to be one of {', '.join(registry)}, or an instance of "
            f"{kind.__name__} (got {value!r})"
        )
    return registry[value]()


def _most_probable(logits: Tensor, batch: Tensor, budget: int) -> Tensor:
    """Candidates among the `budget` most probable of their graph, in their order."""
    order, sizes = ragged.by_group(logits, batch)
    return order[ragged.positions(sizes) < budget].sort().values


def _select(
    index: Tensor, candidates: CandidateCells, boundary: Boundary | None
) -> tuple[CandidateCells, Boundary | None]:
    """Take some candidates, and their faces where these are known."""
    if boundary is not None:
        boundary = boundary.select(index, len(candidates))
    return candidates.select(index), boundary


def _preference(score: Tensor, candidates: CandidateCells) -> Tensor:
    """Scores, those of cells that are not included below all others."""
    return torch.where(candidates.included(), score.detach(), -torch.inf)


def _rescue(
    acceptance: Acceptance, included: Tensor, preference: Tensor, batch: Tensor
) -> Acceptance:
    """Accept the most probable candidate of each graph whose candidates were all rejected."""
    accepted = acceptance.accepted & included
    alive = torch.isin(batch, batch[accepted])
    best = _most_probable(preference, batch, 1)
    best = best[included[best] & ~alive[best]]
    rescued = acceptance.accepted.index_fill(0, best, True)
    return replace(acceptance, accepted=rescued)


def _below_one(prob: Tensor) -> Tensor:
    """
    Replace 1 by the number below it, with the gradient of 1.

    A probability of exactly 1 is the mark of cells that nobody decided on, and that of a
    learned cell can round to it.
    """
    return prob - (prob.detach() == 1).to(prob.dtype) * (torch.finfo(prob.dtype).eps / 2)


class _Proposal(NamedTuple):
    """The candidates of one rank, what became of them, and their number per graph."""

    acceptance: Acceptance
    candidates: CandidateCells
    nearest: Nearest | None
    rule: NeighborhoodRule | None
    counts: Tensor

    def log_prob(self) -> Tensor | None:
        """Log-probability of what was drawn, of each graph."""
        drawn = self.acceptance.log_prob
        if drawn is None:
            return None
        drawn = drawn * self.candidates.included()
        return drawn.new_zeros(len(self.counts)).index_add(0, self.candidates.batch, drawn)


def _entropy(prob: Tensor) -> Tensor:
    """Entropy of each acceptance; 0 with derivative 0, not infinity, where it is certain."""
    open_ = (prob > 0) & (prob < 1)
    inside = torch.where(open_, prob, 0.5)
    entropy = torch.special.entr(inside) + torch.special.entr(1 - inside)
    return torch.where(open_, entropy, 0)


def _expected_cells(proposals: tuple[_Proposal, ...]) -> Tensor:
    """Add up the expected accepted candidates of a graph over the ranks."""
    cells = []
    for acceptance, candidates, _, _, counts in proposals:
        prob, inclusion = acceptance.prob, candidates.inclusion
        cells.append((prob if inclusion is None else prob * inclusion).sum() / len(counts))
    return torch.stack(cells).sum()


def _mean_entropy(proposals: tuple[_Proposal, ...]) -> Tensor:
    """Entropy of the acceptances in nats, the mean over the candidates of all ranks."""
    entropy = _entropy(torch.cat([proposal.acceptance.prob for proposal in proposals]))
    return entropy.sum() / max(len(entropy), 1)


def _regularization(proposals: tuple[_Proposal, ...]) -> dict[str, Tensor]:
    """Add up the ranks; the entropy is the mean over all candidates."""
    sizes = [
        proposal.rule.expected_size(proposal.nearest)
        for proposal in proposals
        if proposal.nearest is not None and proposal.rule is not None
    ]
    entropy = _mean_entropy(proposals)
    return {
        "expected_size": torch.stack(sizes).mean() if sizes else entropy.new_zeros(()),
        "expected_cells": _expected_cells(proposals),
        "entropy": entropy,
    }
