"""The lifted complex: a PyG data object with cells, gates and TopoX neighborhoods."""

from __future__ import annotations

import copy
import re
import warnings
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.storage import recursive_apply

from topox_difflift import ragged
from topox_difflift.cells import Rank
from topox_difflift.laws import faces_of_cells, shape_problems
from topox_difflift.neighborhoods import (
    Boundary,
    GatedEntries,
    IncidencePattern,
    add_entries,
    down_entries,
    empty_entries,
    magnitude,
    up_entries,
    without_diagonal,
)
from topox_difflift.restriction import graph_ranges, restrict, split_attributes, split_by_graph
from topox_difflift.sparse import sparse_coo
from topox_difflift.summary import LiftingSummary, RankSummary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from toponetx.classes.complex import Complex

    from topox_difflift.products import Gram

__all__ = ["LiftedComplex"]

_ORIENTED = {"hypergraph": False, "simplicial": True, "cell": True, "combinatorial": False}
_STORED = (
    "x", "content", "mask", "prob", "included", "batch", "faces", "cell_index", "cell_size",
    "orientation", "membership", "candidates",
)  # fmt: skip
_LAPLACIANS = ("up_laplacian", "down_laplacian", "hodge_laplacian")
_DERIVED = ("incidence", "adjacency", "coadjacency", *_LAPLACIANS)
_STORED_NAME = re.compile(rf"({'|'.join(_STORED)})_(\d+)")
_DERIVED_NAME = re.compile(rf"({'|'.join(_DERIVED)})_(\d+)")
_HYPEREDGES = re.compile(r"(incidence|x|batch)_hyperedges")


class LiftedComplex(Data):
    r"""
    What a lifting returns: a topological domain as a PyG data object.

    Stored are plain tensors, which PyG collates, moves and pickles; every
    neighborhood matrix is derived from them when first asked for, as attribute
    (``c.adjacency_1``), as key (``c["adjacency_1"]``) or as method
    (``c.adjacency(1, signed=True)``), and then kept.

    Stored per rank r >= 1 (`x_0` and `batch_0` for the nodes):

    ``x_r``, ``mask_r``, ``prob_r``, ``batch_r``
        Features, gates (0 or 1, with gradient), acceptance probabilities, graphs.
    ``cell_index_r``, ``cell_size_r``
        Vertices of the cells, cell after cell, and their numbers.
    ``faces_r``, ``orientation_r``, ``membership_r``
        Pairs (face, cell) with sign and straight-through weight.
    ``content_r``
        Features before they are gated, where cells can have been rejected.
    ``included_r``
        Whether a cell is proposed at the sampled sizes, where some are listed only so that
        sizes and metric receive a gradient; True for all others.
    ``candidates_r``
        Number of proposed cells of each graph, rejected ones that were dropped included.

    and, untouched, everything else of the input graph.

    Notes
    -----
    Domains without orientation (hypergraph, combinatorial) have no signed matrices;
    their Laplacians are built from the unsigned boundary. A matrix towards a rank
    that does not exist (the up Laplacian of the highest rank, the down Laplacian of
    rank 0) is zero. Two conventions are TopoNetX's own: the signed adjacency of a
    cell complex is the unsigned one, and the unsigned Laplacian is the absolute
    value of the signed one.

    Examples
    --------
    >>> import networkx as nx
    >>> from toponetx import CellComplex
    >>> cx = CellComplex(nx.path_graph(3))
    >>> cx.add_cell([0, 1, 2], rank=2)
    >>> c = LiftedComplex.from_toponetx(cx)
    >>> c.num_cells
    (3, 3, 1)
    >>> c.incidence(2, signed=True).to_dense().squeeze().tolist()
    [1.0, -1.0, 1.0]
    """

    # ------------------------------------------------------------------ making one

    @classmethod
    def from_ranks(
        cls,
        data: Data | Mapping[str, Any] | None,
        x_0: Tensor,
        batch_0: Tensor,
        ranks: Sequence[Rank],
        domain: str,
        candidates: Sequence[Tensor] | None = None,
    ) -> LiftedComplex:
        """
        Assemble a complex from its ranks.

        Parameters
        ----------
        data : torch_geometric.data.Data, mapping or None
            Input graph, whose other attributes are carried along untouched.
        x_0 : torch.Tensor, shape = (n_0, in_channels)
            Features of the nodes.
        batch_0 : torch.Tensor, shape = (n_0,), int64
            Graph of each node, ascending.
        ranks : sequence of Rank
            Ranks 1, 2, ...
        domain : {"hypergraph", "simplicial", "cell", "combinatorial"}
            Kind of the complex.
        candidates : sequence of torch.Tensor, shape = (n_graphs,), optional
            Per rank, how many cells each graph proposed. Default: the cells with
            probability below 1, which is right unless rejected ones were dropped.

        Returns
        -------
        LiftedComplex
            The complex; it shares its tensors with the arguments.

        Raises
        ------
        ValueError
            If the domain is unknown.
        """
        if domain not in _ORIENTED:
            raise ValueError(f"Expected 'domain' to be one of {list(_ORIENTED)}, got {domain!r}.")
        out = LiftedComplex()
        for key, value in _other_attributes(data).items():
            out._store[key] = value
        stored = {"domain": domain, "num_nodes": x_0.size(0), "x_0": x_0, "batch_0": batch_0}
        n_graphs = _count_graphs(batch_0)
        for r, rank in enumerate(ranks, start=1):
            proposed = candidates[r - 1] if candidates else _count_proposed(rank, n_graphs)
            stored |= {
                f"x_{r}": rank.x,
                f"mask_{r}": rank.mask,
                f"prob_{r}": rank.prob,
                f"batch_{r}": rank.batch,
                f"faces_{r}": rank.faces,
                f"cell_index_{r}": rank.vertices,
                f"cell_size_{r}": rank.sizes,
                f"orientation_{r}": rank.orientation,
                f"membership_{r}": rank.membership,
                f"candidates_{r}": proposed,
            }
            if rank.content is not None:
                stored[f"content_{r}"] = rank.content
            if rank.included is not None:
                stored[f"included_{r}"] = rank.included
        for key, value in stored.items():
            out._store[key] = value
        return out

    @classmethod
    def from_toponetx(cls, complex_: Complex, max_rank: int | None = None) -> LiftedComplex:
        """
        Import a TopoNetX complex; the inverse of `to_toponetx`.

        Parameters
        ----------
        complex_ : CellComplex, SimplicialComplex, CombinatorialComplex or ColoredHyperGraph
            The complex. Its cells get the order of its own matrices.
        max_rank : int, optional
            Highest rank of the result; ranks that the complex lacks are empty.

        Returns
        -------
        LiftedComplex
            One graph. Attributes "x" (nodes and cells), "mask" and "prob" (cells) become
            tensors where all cells of a rank have them; otherwise features have width 0,
            masks and probabilities are 1. Labels and all other attributes, those of the
            complex included, are kept in `annotations` for `to_toponetx`.

        Raises
        ------
        TypeError
            If the class of the complex is not one of the four.
        ValueError
            If it is not regular, cannot be sorted, or its attributes "x", "mask" or "prob"
            are not those of a lifting.

        Warns
        -----
        UserWarning
            If one of these three is left out because only some cells have it.
        """
        from topox_difflift.integrations.toponetx import import_complex

        x_0, ranks, domain, annotations = import_complex(complex_, max_rank)
        batch_0 = torch.zeros(x_0.size(0), dtype=torch.long)
        return cls.from_ranks({"annotations": annotations}, x_0, batch_0, ranks, domain)

    def to_toponetx(self) -> Complex:
        """
        Export the accepted complex.

        Returns
        -------
        toponetx.CellComplex, SimplicialComplex, CombinatorialComplex or ColoredHyperGraph
            The complex. Its own matrices equal those of `accepted()` entry by entry,
            without any permutation. Nodes and cells carry the attributes "mask", "prob"
            and, where they have features, "x". The nodes are numbers, or, for a single graph
            from `graph_to_data` or `from_toponetx`, have the labels and other attributes that
            they had there.

        Raises
        ------
        ValueError
            If the TopoNetX class cannot hold the cells, or cannot sort the labels.
        """
        from topox_difflift.integrations.toponetx import export_complex

        return export_complex(self.accepted())

    # ------------------------------------------------------------------ its size

    @property
    def domain(self) -> str:
        """Kind of the complex."""
        value = self._store["domain"]
        if isinstance(value, str):
            return value
        # PyG's collate lists the values of the single complexes.
        if len(set(value)) != 1:
            raise ValueError(
                f"Expected complexes of one domain in a batch (got {sorted(set(value))}); "
                "batch each domain by itself."
            )
        return value[0]

    @property
    def oriented(self) -> bool:
        """Whether the domain has an orientation, and so signed matrices."""
        return _ORIENTED[self.domain]

    @property
    def max_rank(self) -> int:
        """Highest rank that was lifted to."""
        rank = 0
        while f"cell_size_{rank + 1}" in self._store:
            rank += 1
        return rank

    @property
    def num_cells(self) -> tuple[int, ...]:
        """Number of cells of each rank, those with mask 0 included."""
        return tuple(self._store[f"batch_{r}"].numel() for r in range(self.max_rank + 1))

    @property
    def num_graphs(self) -> int:
        """Number of graphs."""
        return _count_graphs(self._store["batch_0"])

    # ------------------------------------------------------------------ neighborhoods

    def incidence(self, rank: int, signed: bool = False) -> Tensor:
        """
        Boundary matrix of the cells of one rank.

        Parameters
        ----------
        rank : int
            Rank of the columns. Rank 0 is TopoNetX's convention: one row of ones
            for a simplicial complex, no row otherwise.
        signed : bool
            Whether the boundary is oriented.

        Returns
        -------
        torch.Tensor, shape = (n_{rank-1}, n_rank), sparse COO
            The matrix, with the gradient of masks and memberships.

        Raises
        ------
        ValueError
            If the rank was not lifted, or the domain has no orientation.
        """
        return self._matrix("incidence", rank, signed)

    def adjacency(self, rank: int, signed: bool = False) -> Tensor:
        """
        Count the cells of the next rank that two cells bound together.

        Parameters
        ----------
        rank : int
            Rank of the cells.
        signed : bool
            Sign convention of a simplicial complex.

        Returns
        -------
        torch.Tensor, shape = (n_rank, n_rank), sparse COO
            The matrix; its pattern has no diagonal.

        Raises
        ------
        ValueError
            If the rank was not lifted, or the domain has no orientation.
        """
        return self._matrix("adjacency", rank, signed)

    def up_gram(self, rank: int) -> Gram:
        """
        Adjacency of the cells of one rank, kept as its factors.

        Parameters
        ----------
        rank : int
            Rank of the cells, below the highest.

        Returns
        -------
        Gram
            What stands for ``adjacency(rank)`` in products within `LinearProducts`, at a cost
            linear in the incidences.

        Raises
        ------
        ValueError
            If the next rank was not lifted.
        """
        if problem := self._missing_rank(rank + 1):
            raise ValueError(problem)
        return self._boundary(rank + 1).gram(lambda: self.adjacency(rank))

    def coadjacency(self, rank: int, signed: bool = False) -> Tensor:
        """
        Count the faces that two cells share.

        Parameters
        ----------
        rank : int
            Rank of the cells.
        signed : bool
            Sign convention of a simplicial complex.

        Returns
        -------
        torch.Tensor, shape = (n_rank, n_rank), sparse COO
            The matrix; its pattern has no diagonal.

        Raises
        ------
        ValueError
            If the rank was not lifted, or the domain has no orientation.
        """
        return self._matrix("coadjacency", rank, signed)

    def up_laplacian(self, rank: int, signed: bool | None = None) -> Tensor:
        """
        Laplacian over the cofaces, B B^T with the boundary of the rank above.

        Parameters
        ----------
        rank : int
            Rank of the cells.
        signed : bool, optional
            Sign convention; default: signed if the domain has an orientation.

        Returns
        -------
        torch.Tensor, shape = (n_rank, n_rank), sparse COO
            The matrix.

        Raises
        ------
        ValueError
            If the rank was not lifted, or the domain has no orientation.
        """
        return self._matrix("up_laplacian", rank, signed)

    def down_laplacian(self, rank: int, signed: bool | None = None) -> Tensor:
        """
        Laplacian over the faces, B^T B with the boundary of the rank itself.

        Parameters
        ----------
        rank : int
            Rank of the cells.
        signed : bool, optional
            Sign convention; default: signed if the domain has an orientation.

        Returns
        -------
        torch.Tensor, shape = (n_rank, n_rank), sparse COO
            The matrix.

        Raises
        ------
        ValueError
            If the rank was not lifted, or the domain has no orientation.
        """
        return self._matrix("down_laplacian", rank, signed)

    def hodge_laplacian(self, rank: int, signed: bool | None = None) -> Tensor:
        """
        Sum of the up and the down Laplacian.

        Parameters
        ----------
        rank : int
            Rank of the cells.
        signed : bool, optional
            Sign convention; default: signed if the domain has an orientation.

        Returns
        -------
        torch.Tensor, shape = (n_rank, n_rank), sparse COO
            The matrix.

        Raises
        ------
        ValueError
            If the rank was not lifted, or the domain has no orientation.
        """
        return self._matrix("hodge_laplacian", rank, signed)

    def _matrix(self, kind: str, rank: int, signed: bool | None = None) -> Tensor:
        """Check the arguments, and build the matrix once."""
        if problem := self._missing_rank(rank):
            raise ValueError(problem)
        oriented = self.oriented
        if signed and not oriented:
            raise ValueError(
                f"A {self.domain} complex has no orientation: expected 'signed' to be False, "
                f"got signed={signed}; lift to a simplicial or a cell complex for signed matrices."
            )
        if signed is None:
            signed = oriented and kind in _LAPLACIANS
        return self._cached((kind, rank, signed), lambda: self._build(kind, rank, bool(signed)))

    def _build(self, kind: str, rank: int, signed: bool) -> Tensor:
        if kind == "incidence":
            if rank == 0:
                return self._incidence_0()
            return self._boundary(rank).matrix(signed, opened=self._is_opened)
        if kind in _LAPLACIANS:
            return self._laplacian(kind, rank, signed)
        entries = self._up_entries if kind == "adjacency" else self._down_entries
        # TopoNetX counts shared cells of a cell complex whatever the sign convention.
        return without_diagonal(entries(rank, signed and self.domain == "simplicial")).matrix()

    def _laplacian(self, kind: str, rank: int, signed: bool) -> Tensor:
        entries = self._laplacian_entries(kind, rank, self.oriented)
        if self.oriented and not signed:
            entries = magnitude(entries, self._laplacian_entries(kind, rank, True, gated=False))
        return entries.matrix()

    def _laplacian_entries(
        self, kind: str, rank: int, signed: bool, gated: bool = True
    ) -> GatedEntries:
        if kind == "up_laplacian":
            return self._up_entries(rank, signed, gated)
        if kind == "down_laplacian":
            return self._down_entries(rank, signed, gated)
        up = self._up_entries(rank, signed, gated)
        return add_entries(up, self._down_entries(rank, signed, gated))

    def _up_entries(self, rank: int, signed: bool, gated: bool = True) -> GatedEntries:
        if rank == self.max_rank:
            return empty_entries(self.num_cells[rank], self._ones(0))
        boundary = self._boundary(rank + 1)
        return up_entries(boundary if gated else boundary.ungated(), signed)

    def _down_entries(self, rank: int, signed: bool, gated: bool = True) -> GatedEntries:
        if rank == 0:
            return empty_entries(self.num_cells[0], self._ones(0))
        boundary = self._boundary(rank)
        return down_entries(boundary if gated else boundary.ungated(), signed, self._is_opened)

    def _boundary(self, rank: int) -> Boundary:
        def build() -> Boundary:
            size = self.num_cells[rank - 1], self.num_cells[rank]
            mask = self._store[f"mask_{rank}"]
            return Boundary(
                pattern=IncidencePattern(self._store[f"faces_{rank}"], size),
                orientation=self._store[f"orientation_{rank}"].to(mask.dtype),
                membership=self._store[f"membership_{rank}"],
                mask=mask,
            )

        return self._cached(("boundary", rank), build)

    def _incidence_0(self) -> Tensor:
        n_0 = self.num_cells[0]
        nodes = torch.arange(n_0 if self.domain == "simplicial" else 0, device=self.x_0.device)
        n_rows = int(self.domain == "simplicial")
        index = torch.stack([torch.zeros_like(nodes), nodes])
        return sparse_coo(index, self._ones(len(nodes)), (n_rows, n_0))

    def _ones(self, size: int) -> Tensor:
        """Constant with the dtype and the device of the gates."""
        like = self._store["mask_1" if self.max_rank else "x_0"]
        dtype = like.dtype if like.is_floating_point() else torch.get_default_dtype()
        return torch.ones(size, dtype=dtype, device=like.device)

    # ------------------------------------------------------------------ its cells

    def cells(self, rank: int) -> list[tuple[int, ...]]:
        """
        Vertices of each cell, in column order.

        Parameters
        ----------
        rank : int
            Rank of the cells.

        Returns
        -------
        list of tuple of int
            Ascending vertices; in cyclic order for the 2-cells of a cell complex.
            Members that a learned size leaves out (membership 0) are not listed.

        Raises
        ------
        ValueError
            If the rank was not lifted.
        """
        if problem := self._missing_rank(rank):
            raise ValueError(problem)
        if rank == 0:
            return [(node,) for node in range(self.num_cells[0])]
        vertices, sizes = self._members(rank)
        flat = vertices.tolist()
        ends = [0, *sizes.cumsum(0).tolist()]
        return [tuple(flat[start:end]) for start, end in pairwise(ends)]

    def _members(self, rank: int) -> tuple[Tensor, Tensor]:
        """Vertices of the cells, cell after cell, and their numbers."""
        if rank > 1:
            return self._store[f"cell_index_{rank}"], self._store[f"cell_size_{rank}"]
        # The faces of a 1-cell are its vertices, so that memberships are at hand.
        node, cell = self._store["faces_1"][:, self._store["membership_1"] != 0]
        order = torch.argsort(cell, stable=True)
        return node[order], ragged.counts(cell, self.num_cells[1])

    def _rank(self, rank: int) -> Rank:
        names = ("batch", "mask", "prob", "faces", "orientation", "membership", "x")
        return Rank(
            vertices=self._store[f"cell_index_{rank}"],
            sizes=self._store[f"cell_size_{rank}"],
            **{name: self._store[f"{name}_{rank}"] for name in names},
            content=self._store.get(f"content_{rank}"),
            included=self._store.get(f"included_{rank}"),
        )

    def accepted(self) -> LiftedComplex:
        """
        Drop rejected cells (mask 0) and left-out members (membership 0).

        Returns
        -------
        LiftedComplex
            The accepted complex, differentiable; itself if there is nothing to drop.
        """
        ranks = range(1, self.max_rank + 1)
        gates = [self._store[f"{name}_{r}"] for r in ranks for name in ("mask", "membership")]
        if all(bool((gate != 0).all()) for gate in gates):
            return self
        rows = torch.ones_like(self._store["batch_0"], dtype=torch.bool)
        kept = []
        for r in ranks:
            columns = self._store[f"mask_{r}"] != 0
            vertices, sizes = self._members(r)
            rank = replace(self._rank(r), vertices=vertices, sizes=sizes)
            kept.append(restrict(rank, rows, columns))
            rows = columns
        return self._with_ranks(kept)

    def opened(self) -> LiftedComplex:
        """
        Gate cells where they send, not where they receive.

        For networks whose result is gated once more at the end. What a cell receives matters
        only if it is sent on or read, so that one gate on each way out is enough: the result for
        accepted cells is the same. But a rejected cell has features, and the gradient of its
        gate is what its acceptance would change; a second gate in a row, as on the way in, would
        make that gradient 0.

        Returns
        -------
        LiftedComplex
            A view of the same cells. Its features are those before the gates; transposed
            incidences, within `LinearProducts`, and the matrices between cells that share a face
            are gated in their columns only.
        """

        def build() -> LiftedComplex:
            out = copy.copy(self)
            out.__dict__["_opened"] = True
            for r in range(1, self.max_rank + 1):
                if f"content_{r}" in self._store:
                    out._store[f"x_{r}"] = self._store[f"content_{r}"]
            return out

        # Kept, with its matrices, for a complex that is run on many times.
        return self._cached(("opened",), build)

    @property
    def _is_opened(self) -> bool:
        return bool(self.__dict__.get("_opened", False))

    def _with_ranks(self, ranks: Sequence[Rank]) -> LiftedComplex:
        """Build the same graphs with other cells; it remembers how many were proposed."""
        candidates = [self._store[f"candidates_{r}"] for r in range(1, self.max_rank + 1)]
        return LiftedComplex.from_ranks(
            self, self.x_0, self.batch_0, ranks, self.domain, candidates
        )

    def unbatch(self) -> list[LiftedComplex]:
        """
        Split into one complex per graph.

        Other attributes are split as nodes, edges or graphs by their length (attributes named
        ``edge_...`` as edges first); the rest is shared. `batch` and `ptr` are dropped.

        Returns
        -------
        list of LiftedComplex
            One complex per graph, differentiable.
        """
        n_graphs = _count_graphs(self.batch_0)
        nodes = graph_ranges(self.batch_0, n_graphs)
        others = split_attributes(_other_attributes(self), self.batch_0, n_graphs)
        ranks: list[list[Rank]] = [[] for _ in others]
        rows = nodes
        for r in range(1, self.max_rank + 1):
            rank = self._rank(r)
            columns = graph_ranges(rank.batch, n_graphs)
            pieces = split_by_graph(rank, nodes, rows, columns)
            for graph, piece in enumerate(pieces):
                ranks[graph].append(piece)
            rows = columns
        return [
            LiftedComplex.from_ranks(
                others[g],
                self.x_0[start:end],
                torch.zeros_like(self.batch_0[start:end]),
                ranks[g],
                self.domain,
                [self._store[f"candidates_{r}"][g : g + 1] for r in range(1, self.max_rank + 1)],
            )
            for g, (start, end) in enumerate(nodes)
        ]

    def summary(self) -> LiftingSummary:
        """
        Count what the lifting did.

        Original cells are told from learned ones by a probability of exactly 1.

        Returns
        -------
        LiftingSummary
            Counts, acceptance rate and mean size per rank, and whether the lifting
            has collapsed; `str` makes it readable.
        """
        ranks = tuple(self._summarize(r) for r in range(1, self.max_rank + 1))
        n_graphs = _count_graphs(self.batch_0)
        return LiftingSummary(self.domain, n_graphs, self.num_cells[0], ranks)

    def _summarize(self, rank: int) -> RankSummary:
        kept = self._store[f"mask_{rank}"] != 0
        learned = self._store[f"prob_{rank}"] < 1
        sizes = self._members(rank)[1][kept].double()
        return RankSummary(
            rank=rank,
            original=int((kept & ~learned).sum()),
            candidates=int(self._store[f"candidates_{rank}"].sum()),
            accepted=int((kept & learned).sum()),
            mean_size=float(sizes.mean()) if len(sizes) else float("nan"),
        )

    def validate(self, raise_on_error: bool = True) -> bool:
        """
        Check the shapes and, cell by cell, the laws of the accepted complex.

        Boundaries are computed anew from the vertices of the cells: supports, signs
        and presence of every face have to agree, which makes boundaries compose to zero.

        Parameters
        ----------
        raise_on_error : bool
            Whether to raise a ValueError, or to warn.

        Returns
        -------
        bool
            Whether everything holds.

        Raises
        ------
        ValueError
            If `raise_on_error` and something does not hold.
        """
        status = super().validate(raise_on_error)
        problem = next(self._problems(), None)
        if problem is None:
            return status
        if raise_on_error:
            raise ValueError(problem)
        warnings.warn(problem, stacklevel=2)
        return False

    def _problems(self) -> Iterator[str]:
        for r in range(1, self.max_rank + 1):
            yield from shape_problems(self._rank(r), r, self.num_cells[r - 1])
        # The caller stops at the first problem: from here on the shapes are right.
        final = self.accepted()
        for r in range(1, self.max_rank + 1):
            stored = final._boundary(r)
            try:
                faces, signs = faces_of_cells(final.domain, r, final.cells(r), final.cells(r - 1))
            except ValueError as error:
                yield str(error)
                return
            if not torch.equal(faces, stored.pattern.faces.cpu()):
                yield f"Expected 'faces_{r}' to hold exactly the faces of the {r}-cells."
            elif not torch.equal(signs, stored.orientation.detach().cpu().double()):
                yield f"Expected 'orientation_{r}' to be induced by the order of the vertices."

    # ------------------------------------------------------------------ as PyG data

    def _missing_rank(self, rank: int) -> str | None:
        """Say what is wrong with a rank."""
        if rank < 0:
            return f"Expected 'rank' to be at least 0, got {rank}."
        if rank <= self.max_rank:
            return None
        remedy = f"lift with DiffLift(max_rank={rank})"
        if self.domain == "hypergraph":
            remedy = "hyperedges have rank 1; lift to another domain"
        return f"rank {rank} was not lifted: this complex has max_rank {self.max_rank}; {remedy}"

    def _resolve(self, key: str) -> tuple[str, int] | None:
        """Split the name of something derived (or missing) into kind and rank."""
        if "x_0" not in self._store:
            return None
        if self.domain == "hypergraph":
            key = _HYPEREDGES.sub(r"\1_1", key)
            if key == "num_hyperedges":
                return "num_cells", 1
        match = _DERIVED_NAME.fullmatch(key) or _STORED_NAME.fullmatch(key)
        return (match[1], int(match[2])) if match else None

    def _derive(self, kind: str, rank: int) -> Any:
        if kind in _DERIVED:
            return self._matrix(kind, rank)
        if kind == "num_cells":
            return self.num_cells[rank]
        if rank == 0 and kind in ("mask", "prob"):
            return self._ones(self.num_cells[0])
        if kind == "included":
            return torch.ones_like(self._store[f"batch_{rank}"], dtype=torch.bool)
        return self._store[f"{kind}_{rank}"]

    def _cached(self, key: tuple[Any, ...], build: Callable[[], Any]) -> Any:
        cache = self.__dict__.setdefault("_cache", {})
        if key not in cache:
            cache[key] = build()
        return cache[key]

    def _forget(self) -> None:
        self.__dict__.pop("_cache", None)

    def __getattr__(self, key: str) -> Any:
        if "_store" in self.__dict__ and key not in self._store:
            name = self._resolve(key)
            if name is not None and (problem := self._missing_rank(name[1])):
                raise AttributeError(problem)
            if name is not None:
                try:
                    return self._derive(*name)
                except KeyError as error:
                    raise AttributeError(f"{type(self).__name__} has no {key!r}.") from error
        return super().__getattr__(key)

    def __getitem__(self, key: str) -> Any:
        if key not in self._store and (name := self._resolve(key)) is not None:
            if problem := self._missing_rank(name[1]):
                raise KeyError(problem)
            return self._derive(*name)
        return super().__getitem__(key)

    def __setattr__(self, key: str, value: Any) -> None:
        self._forget()
        super().__setattr__(key, value)

    def __setitem__(self, key: str, value: Any) -> None:
        self._forget()
        super().__setitem__(key, value)

    def __delattr__(self, key: str) -> None:
        self._forget()
        super().__delattr__(key)

    def __delitem__(self, key: str) -> None:
        self._forget()
        super().__delitem__(key)

    def __contains__(self, key: str) -> bool:
        if super().__contains__(key):
            return True
        name = self._resolve(key)
        if name is None or self._missing_rank(name[1]):
            return False
        kind, rank = name
        always = (*_DERIVED, "num_cells", "mask", "prob", "included")
        return kind in always or f"{kind}_{rank}" in self._store

    def keys(self) -> list[str]:
        """
        Names of what is stored, and of the incidence matrices.

        Returns
        -------
        list of str
            The names; all other neighborhoods are keys as well, but not listed.
        """
        stored = super().keys()
        if "x_0" not in self._store:
            return stored
        return stored + [f"incidence_{r}" for r in range(1, self.max_rank + 1)]

    def apply(self, func: Callable[[Tensor], Tensor], *args: str) -> LiftedComplex:
        """
        Apply a function to every stored tensor, or to the named ones.

        Parameters
        ----------
        func : callable
            The function.
        *args : str
            Names.

        Returns
        -------
        LiftedComplex
            Itself.
        """
        self._forget()
        return super().apply(func, *args)

    def apply_(self, func: Callable[[Tensor], Any], *args: str) -> LiftedComplex:
        """
        Apply an in-place function to every stored tensor, or to the named ones.

        Parameters
        ----------
        func : callable
            The function.
        *args : str
            Names.

        Returns
        -------
        LiftedComplex
            Itself.
        """
        self._forget()
        return super().apply_(func, *args)

    def __cat_dim__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        match = _STORED_NAME.fullmatch(key)
        if match:
            return 1 if match[1] == "faces" else 0
        if _DERIVED_NAME.fullmatch(key):
            return 0, 1
        return super().__cat_dim__(key, value, *args, **kwargs)

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        match = _STORED_NAME.fullmatch(key)
        kind = match[1] if match else key
        if match and kind == "faces":
            ranks = int(match[2]) - 1, int(match[2])
            return torch.tensor([[self._store[f"batch_{r}"].numel()] for r in ranks])
        if kind == "batch":
            return _count_graphs(self._store["batch_0"])
        return super().__inc__(key, value, *args, **kwargs)

    def __copy__(self) -> LiftedComplex:
        out = super().__copy__()
        out.__dict__.pop("_cache", None)
        return out

    def __deepcopy__(self, memo: dict[int, Any]) -> LiftedComplex:
        # Tensors with a history cannot be copied deeply; their values can.
        out = copy.copy(self)
        out.__dict__["_store"] = copy.deepcopy(_without_history(self._store), memo)
        out._store._parent = out
        return out

    def __getstate__(self) -> dict[str, Any]:
        state = {key: value for key, value in self.__dict__.items() if key != "_cache"}
        state["_store"] = _without_history(self._store)
        return state

    def __repr__(self) -> str:
        name = type(self).__name__
        if "x_0" not in self._store:
            return f"{name}()"
        parts = [f"domain={self.domain!r}", f"num_graphs={_count_graphs(self.batch_0)}"]
        parts.append(f"num_cells={self.num_cells}")
        kept = [int((self._store[f"mask_{r}"] != 0).sum()) for r in range(1, self.max_rank + 1)]
        parts.append(f"accepted={(self.num_cells[0], *kept)}")
        return f"{name}({', '.join([*parts, *_other_attributes(self)])})"


def _other_attributes(data: Data | Mapping[str, Any] | None) -> dict[str, Any]:
    """Whatever a graph carries beside the complex."""
    if data is None:
        return {}
    carried = data.to_dict() if isinstance(data, Data) else dict(data)
    carried.pop("_num_nodes", None)
    if not isinstance(data, LiftedComplex):
        return carried
    own = ("domain", "num_nodes")
    return {k: v for k, v in carried.items() if k not in own and not _STORED_NAME.fullmatch(k)}


def _without_history(store: Any) -> Any:
    """Copy of a storage whose tensors are leaves of the autograd graph."""
    out = copy.copy(store)
    for key, value in store.items():
        out[key] = recursive_apply(value, lambda t: t if t.is_leaf else t.detach())
    return out


def _count_graphs(batch: Tensor) -> int:
    return int(batch[-1]) + 1 if batch.numel() else 0


def _count_proposed(rank: Rank, n_graphs: int) -> Tensor:
    proposed = rank.prob.detach() < 1
    if rank.included is not None:
        proposed &= rank.included
    return ragged.counts(rank.batch, n_graphs, proposed)


# As PyG does for its own classes: datasets of complexes can be read without running pickles.
torch.serialization.add_safe_globals([LiftedComplex])
