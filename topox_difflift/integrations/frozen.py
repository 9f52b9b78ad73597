"""A lifting whose parameters are fixed, as an offline transform of TopoBench and its kin."""

from __future__ import annotations

import hashlib
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from topox_difflift.checks import check_at_least, check_flag, check_one_of
from topox_difflift.integrations.connectivity import (
    checked_neighborhoods,
    connectivity,
    is_cell_key,
)
from topox_difflift.integrations.lifts import build_lift

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from topox_difflift.domains import Domain
    from topox_difflift.frozen import FrozenLift
    from topox_difflift.lift import DiffLift

__all__ = ["FrozenDiffLift"]


class FrozenDiffLift(BaseTransform):
    """
    Lift single graphs by a `DiffLift` that is not trained any further.

    It writes what a lifting of TopoBench, or of the ICML 2024 challenge, writes: the matrices, the
    features of the cells and their numbers, as tensors without history.

    Parameters
    ----------
    checkpoint : str, optional
        File with the state of a `DiffLift`, of a `DiffLiftFeatureEncoder`, or of a model that
        has one. Without it the lifting is as it was initialised from `seed`.
    sha256 : str, optional
        What the digest of the file has to begin with. TopoBench keeps results by the arguments,
        not by what the file holds: with the digest another file is another result.
    domain : {"hypergraph", "simplicial", "cell", "combinatorial"} or Domain, default="cell"
        Where to lift to.
    complex_dim : int, optional
        Highest rank, by default 2, and 1 for a hypergraph.
    seed : int, default=0
        Seed of the initialisation.
    edge_features : bool, default=False
        Whether the embedding reads `edge_attr`.
    signed : bool, default=False
        Whether matrices are oriented.
    neighborhoods : sequence of str, optional
        Matrices to write beside the incidences, by default all.
    transform_name, transform_type, feature_lifting, preserve_edge_attr : optional
        Keys of the configuration of every lifting. Features are those of the lifting itself:
        "ProjectionSum", and the mean of its members for a hyperedge.
    **lift_arguments
        Arguments of `DiffLift`, such as `k_max`.

    Raises
    ------
    ValueError
        If an argument is unknown or impossible.

    Examples
    --------
    >>> from topox_difflift.datasets import molecules
    >>> from topox_difflift.integrations.frozen import FrozenDiffLift
    >>> data = FrozenDiffLift(domain="simplicial", k_max=3)(molecules(1)[0])
    >>> data.incidence_1.size(1) == data.shape[1]
    True
    """

    def __init__(
        self,
        checkpoint: str | None = None,
        *,
        sha256: str | None = None,
        domain: str | Domain = "cell",
        complex_dim: int | None = None,
        seed: int = 0,
        edge_features: bool = False,
        signed: bool = False,
        neighborhoods: Sequence[str] | None = None,
        transform_name: str | None = None,
        transform_type: str | None = None,
        feature_lifting: str = "ProjectionSum",
        preserve_edge_attr: bool = False,
        **lift_arguments: Any,
    ) -> None:
        check_one_of("feature_lifting", feature_lifting, ("ProjectionSum",))
        check_at_least("seed", seed, 0)
        check_flag("edge_features", edge_features)
        check_flag("signed", signed)
        if preserve_edge_attr:
            raise ValueError(
                "Expected 'preserve_edge_attr' to be False (got True): edges that are learned "
                "have no attributes; edge_features=True lets the embedding read those there are"
            )
        self.seed, self.edge_features, self.signed = seed, edge_features, signed
        self.domain, self.complex_dim, self._arguments = domain, complex_dim, lift_arguments
        self._frozen: FrozenLift | None = None
        # At once, so that a wrong argument shows before a data set is read.
        self._lift = self._build((1, 0))
        self.neighborhoods = checked_neighborhoods(neighborhoods, self._lift)
        self.checkpoint = checkpoint
        self._state = None if checkpoint is None else _read(Path(checkpoint), sha256)

    def forward(self, data: Data) -> Data:
        """
        Lift a graph.

        Parameters
        ----------
        data : torch_geometric.data.Data
            One graph; never changed.

        Returns
        -------
        torch_geometric.data.Data
            What the graph holds, with its cells.

        Raises
        ------
        ValueError
            If the checkpoint does not fit.
        """
        graph = Data(x=data.x, edge_index=data.edge_index)
        if self.edge_features:
            graph.edge_attr = data.edge_attr
        lifted = self._fitting(graph)(graph)
        kept = {key: value for key, value in data.to_dict().items() if not is_cell_key(key)}
        found: dict[str, Any] = dict(connectivity(lifted, self.neighborhoods, self.signed))
        ranks: list[object] = list(range(lifted.max_rank + 1))
        if lifted.domain == "hypergraph":
            ranks[1] = "hyperedges"
            found["num_hyperedges"] = lifted.num_cells[1]
        else:
            found["shape"] = list(lifted.num_cells)
        for rank, name in enumerate(ranks):
            found[f"x_{name}"] = lifted[f"x_{rank}"]
        return Data(**kept, **found)

    def _fitting(self, graph: Data) -> FrozenLift:
        """Lifting for the widths of the first graph."""
        if self._frozen is None:
            edge_attr = graph.get("edge_attr")
            widths = graph.x.size(1), 0 if edge_attr is None else edge_attr.size(1)
            lift = self._build(widths)
            if self._state is not None:
                _load(lift, self._state, self.checkpoint)
            self._frozen = lift.freeze()
        return self._frozen

    def _build(self, widths: tuple[int, int]) -> DiffLift:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return build_lift(self.domain, self.complex_dim, *widths, self._arguments)

    def __repr__(self) -> str:
        """Show the lifting and where its parameters come from."""
        source = f"seed={self.seed}" if self.checkpoint is None else repr(self.checkpoint)
        return f"{type(self).__name__}({source}, {self._lift!r})"


def _read(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """Parameters of the lifting in a file, whatever module they were saved with."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and not digest.startswith(sha256):
        raise ValueError(
            f"Expected the digest of 'checkpoint' {path.name} to begin with sha256={sha256!r} (got "
            f"{digest}); it is another file: correct the one or the other"
        )
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"Expected 'checkpoint' {path.name} to hold tensors alone (got pickled objects, which "
            "could run any code); if you trust it, torch.save(torch.load(path, "
            "weights_only=False)['state_dict'], new_path)"
        ) from error
    return _of_lift(saved.get("state_dict", saved))


def _of_lift(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out what does not belong to the lifting, and the prefix of its module."""
    inside = [match for key in state if (match := re.match(r"(.*\.)?lift\.", key))]
    if not inside:
        return dict(state)
    prefix = inside[0][0]
    return {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}


def _load(lift: DiffLift, state: dict[str, Tensor], checkpoint: str | None) -> None:
    try:
        lift.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"Expected 'checkpoint' {checkpoint!r} to fit {lift!r} (got another state: {error}); "
            "give the arguments with which it was trained"
        ) from error
