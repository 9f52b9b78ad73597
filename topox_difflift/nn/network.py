"""Any topological network on any lifting, in one call."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import silu
from torch_geometric.nn import MLP

from topox_difflift.checks import check_at_least, check_one_of, check_share
from topox_difflift.complex import LiftedComplex
from topox_difflift.domains import DOMAINS
from topox_difflift.lift import DiffLift
from topox_difflift.liftings import FixedRate, NoLifting
from topox_difflift.nn.adapters import Adapter, Call, Known, adapter_of
from topox_difflift.nn.models import TNNS
from topox_difflift.nn.readouts import Pool, PropagateDown, pool_cells

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch_geometric.data import Data

__all__ = ["TopologicalNetwork"]

LEVELS = ("graph", "node", "cell")
#: Readouts by level.
READOUTS = {"graph": ("mean", "apart", "sum", "max", "propagate"), "node": ("propagate",)}


def usual_readout(level: str, learned: str | None = None) -> str:
    """
    Readout where none is named.

    Parameters
    ----------
    level : {"graph", "node"}
        What to predict for.
    learned : str, optional
        Topology of the complexes, if a lifting learns them.

    Returns
    -------
    str
        Its name. In cell complexes a graph has more learned cells than its own, and a mean over
        all of them loses the cycles that count; in hypergraphs it makes no difference.
    """
    if level == "node":
        return "propagate"
    return "apart" if learned == "cell" else "mean"


class TopologicalNetwork(torch.nn.Module):
    """
    Lift, run a topological network, read out: one module from graphs to predictions.

    It knows of each network of TopoModelX which matrices its forward asks for, under which
    names, signed or not, normalised how; and it runs it within `LinearProducts`, so that the
    backward pass through the learned matrices is linear in their entries.

    Parameters
    ----------
    lift : torch.nn.Module, LiftedComplex or None
        A `DiffLift` or a static lifting, a complex that was computed before, or None: then a
        `LiftedComplex` passes as it is, and a graph becomes the complex of its edges.
    tnn : torch.nn.Module
        The network: one of TopoModelX's, or any other that comes with an `adapter`.
    out_channels : int
        Width of the prediction: the number of classes, or of targets.
    level : {"graph", "node", "cell"}, default="graph"
        What to predict for.
    readout : {"mean", "apart", "sum", "max", "propagate"} or torch.nn.Module, optional
        How the features of the cells come together. "mean", "sum" and "max" pool each rank over
        a graph; "apart" takes the means over the graph's own cells and over learned ones side by
        side, see `Pool`; "propagate" passes features from rank to rank down to the nodes, which are
        averaged over a graph. A module takes ``(lifted, features)`` and returns one row for each
        thing to predict for. By default "propagate" for nodes, and for graphs "apart" if `lift`
        learns a cell complex, else "mean"; cells keep the features that the network gives them.
    rank : int, optional
        Rank of the cells to predict for at level "cell"; by default the highest that `tnn`
        returns.
    hidden_channels : int, default=64
        Width of the hidden layer of the prediction head.
    dropout : float, default=0.0
        Share of what the head is given that is dropped in training.
    adapter : callable or Adapter, optional
        ``(tnn, lifted) -> {rank: features}``: how a network of your own takes a complex.

    Raises
    ------
    ValueError
        If an argument is unknown, or if `lift` and `tnn` do not fit together.

    Notes
    -----
    The head takes its widths from the first input, as the lifting does: run one batch before
    the module is wrapped for several processes.

    References
    ----------
    .. [1] Franco et al. Differentiable lifting for topological neural networks. ICLR 2026.

    Examples
    --------
    >>> from topomodelx.nn.cell.cwn import CWN
    >>> from torch_geometric.data import Batch
    >>> from topox_difflift import DiffLift
    >>> from topox_difflift.datasets import molecules
    >>> from topox_difflift.nn import TopologicalNetwork
    >>> network = TopologicalNetwork(DiffLift(), CWN(7, 7, 7, 16, 1), out_channels=2)
    >>> network(Batch.from_data_list(molecules(4))).shape
    torch.Size([4, 2])
    """

    def __init__(
        self,
        lift: torch.nn.Module | LiftedComplex | None,
        tnn: torch.nn.Module,
        out_channels: int,
        level: str = "graph",
        *,
        readout: str | torch.nn.Module | None = None,
        rank: int | None = None,
        hidden_channels: int = 64,
        dropout: float = 0.0,
        adapter: Call | Adapter | None = None,
    ) -> None:
        super().__init__()
        check_one_of("level", level, LEVELS)
        check_at_least("out_channels", out_channels, 1)
        check_at_least("hidden_channels", hidden_channels, 1)
        check_share("dropout", dropout)
        self.adapter = _checked_adapter(tnn, adapter)
        self.known = self.adapter.settled(tnn)
        self.lift = _checked_lift(lift, self.adapter, self.known)
        self.tnn, self.level = tnn, level
        self.rank = _checked_cell_rank(rank, level)
        usual = usual_readout(level, _learned_topology(self.lift))
        self.readout = _checked_readout(
            readout, usual, level, self.adapter, self.known, hidden_channels
        )
        self.dropout = torch.nn.Dropout(dropout)
        self.head = MLP(
            [-1, hidden_channels, out_channels],
            norm="layer_norm",
            # Per row, so that a prediction does not depend on batch mates.
            norm_kwargs={"mode": "node"},
        )
        self._said_that_it_drops = False

    def forward(self, data: Data | LiftedComplex | None = None) -> Tensor:
        """
        Predict.

        Parameters
        ----------
        data : torch_geometric.data.Data, networkx.Graph or LiftedComplex, optional
            Graphs; a complex that was lifted before is taken as it is. Left out if the complex
            was given in the place of `lift`.

        Returns
        -------
        torch.Tensor, shape = (n_graphs, out_channels), (n_nodes, out_channels) or (n_cells, \
out_channels)
            Logits or values. At level "cell", rejected cells that are kept have a row as well.

        Raises
        ------
        TypeError, ValueError
            If the input is no graph, or no complex that the network can take.
        FloatingPointError
            If the network gives a cell NaN or infinite features.
        """
        return self.predict(self.lifted(data))

    def lifted(self, data: Data | LiftedComplex | None = None) -> LiftedComplex:
        """
        Lift.

        Parameters
        ----------
        data : torch_geometric.data.Data, networkx.Graph or LiftedComplex, optional
            As for `forward`.

        Returns
        -------
        LiftedComplex
            The complex that the network runs on.
        """
        if isinstance(self.lift, LiftedComplex):
            if data is not None:
                raise ValueError(
                    "Expected no 'data', since the network was given a complex in the place of "
                    f"'lift' (got {type(data).__name__}); call it without, or build it with "
                    "lift=None and call it on complexes"
                )
            return self.lift
        if data is None:
            raise ValueError("Expected 'data' to be graphs or their complex (got None)")
        if isinstance(data, LiftedComplex):
            return data
        if self.lift is None:
            domain = self.adapter.domains[0]
            return NoLifting(domain, max(1, self.known.max_rank))(data)
        return self.lift(data)

    def predict(self, lifted: LiftedComplex) -> Tensor:
        """
        Run the network on a complex, read out and predict.

        Parameters
        ----------
        lifted : LiftedComplex
            The complex.

        Returns
        -------
        torch.Tensor
            As `forward`.
        """
        _check_fit(self.adapter, self.known, lifted.domain, lifted.max_rank)
        if not self.known.kept:
            lifted = self._dropped(lifted)
        features = self.adapter.run(self.tnn, lifted)
        return self.head(self.dropout(self._read(lifted, features)))

    def _dropped(self, lifted: LiftedComplex) -> LiftedComplex:
        accepted = lifted.accepted()
        if accepted is not lifted and not self._said_that_it_drops:
            self._said_that_it_drops = True
            warnings.warn(
                f"{self.adapter.name} cannot tell a rejected cell with mask 0 from an accepted "
                "one, so rejected cells are dropped before it; DiffLift(rejected='drop') does "
                "not keep them in the first place",
                stacklevel=2,
            )
        return accepted

    def _read(self, lifted: LiftedComplex, features: dict[int, Tensor]) -> Tensor:
        if isinstance(self.readout, PropagateDown) and self.level == "graph":
            return pool_cells(lifted, 0, self.readout(lifted, features))
        if self.readout is not None:
            return self.readout(lifted, features)
        rank = max(features) if self.rank is None else self.rank
        if rank not in features:
            raise ValueError(
                f"Expected 'rank' to be one of {sorted(features)}, of which {self.adapter.name} "
                f"returns features (got {rank})"
            )
        return features[rank]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TopologicalNetwork:
        """Move a complex that stands in the place of the lifting as well."""
        super()._apply(fn, recurse)
        if isinstance(self.lift, LiftedComplex):
            self.lift = copy.copy(self.lift).apply(fn)
        return self


def _checked_adapter(tnn: torch.nn.Module, adapter: Call | Adapter | None) -> Adapter:
    if not isinstance(tnn, torch.nn.Module):
        raise ValueError(
            f"Expected 'tnn' to be a torch.nn.Module (got {tnn!r}); build the network first, for "
            "instance CWN(7, 7, 7, 32, 2)"
        )
    if adapter is None:
        return adapter_of(tnn, TNNS)
    if isinstance(adapter, Adapter):
        return adapter
    if not callable(adapter):
        raise ValueError(
            f"Expected 'adapter' to be a function (tnn, lifted) -> {{rank: features}} or an "
            f"Adapter (got {adapter!r})"
        )
    return Adapter(call=adapter, max_rank=0)


def _checked_lift(lift: Any, adapter: Adapter, known: Known) -> Any:
    if lift is None:
        return None
    if isinstance(lift, LiftedComplex):
        _check_fit(adapter, known, lift.domain, lift.max_rank)
        return lift
    if not isinstance(lift, torch.nn.Module):
        raise ValueError(
            "Expected 'lift' to be a DiffLift, a static lifting, a LiftedComplex or None "
            f"(got {lift!r})"
        )
    for learned in lift.modules():
        if isinstance(learned, DiffLift):
            _check_fit(adapter, known, learned.domain.topology, learned.max_rank)
            _check_learning(adapter, known, learned)
    return lift


def _learned_topology(lift: Any) -> str | None:
    learned = lift.modules() if isinstance(lift, torch.nn.Module) else ()
    found = (one.domain.topology for one in learned if isinstance(one, DiffLift))
    return next(found, None)


def _check_fit(adapter: Adapter, known: Known, domain: str, max_rank: int) -> None:
    if domain not in adapter.domains:
        raise ValueError(
            f"Expected {adapter.name} on {' or '.join(adapter.domains)} complexes (got {domain}); "
            f"lift to one of these, for instance DiffLift({adapter.domains[0]!r})"
        )
    if max_rank < known.max_rank:
        remedy = f"DiffLift({domain!r}, max_rank={known.max_rank})"
        if known.max_rank > DOMAINS[domain].highest_rank:
            remedy = f"a {domain} has no higher ones, so build a network for rank {max_rank}"
        raise ValueError(
            f"Expected ranks up to {known.max_rank} for {adapter.name} (got a complex of rank "
            f"{max_rank}); {remedy}"
        )


def _check_learning(adapter: Adapter, known: Known, lift: DiffLift) -> None:
    """Say which acceptances the network would never train."""
    # A score function needs no gradient from the network, and a fixed rate is not trained.
    if not adapter.model or not lift.estimator.pathwise or isinstance(lift.estimator, FixedRate):
        return
    ranks = range(1, lift.max_rank + 1)
    if not known.learns:
        raise ValueError(
            f"Expected a network that a lifting can learn through (got {adapter.name}, which "
            f"{adapter.why}); take another network, estimator='score_function', or a static lifting"
        )
    if lift.max_rank > known.max_rank:
        raise ValueError(
            f"Expected no rank above {known.max_rank}, which {adapter.name} does not read (got "
            f"{lift.max_rank}); DiffLift({lift.domain.topology!r}, max_rank={known.max_rank})"
        )
    if blind := [rank for rank in ranks if rank not in known.learns]:
        warnings.warn(
            f"{adapter.name} gives acceptances of rank {', '.join(map(str, blind))} no gradient: "
            f"{adapter.why}; they stay as they are initialised",
            stacklevel=4,
        )


def _checked_cell_rank(rank: int | None, level: str) -> int | None:
    if rank is None:
        return None
    if level != "cell":
        raise ValueError(f"Expected 'rank' only with level='cell' (got {rank}, level={level!r})")
    check_at_least("rank", rank, 0)
    return rank


def _checked_readout(
    readout: str | torch.nn.Module | None,
    usual: str,
    level: str,
    adapter: Adapter,
    known: Known,
    hidden_channels: int,
) -> torch.nn.Module | None:
    if isinstance(readout, torch.nn.Module):
        return readout
    if level == "cell":
        if readout is not None:
            raise ValueError(
                f"Expected no 'readout' with level='cell', where cells keep their features (got "
                f"{readout!r}); leave it out"
            )
        return None
    name = usual if readout is None else readout
    check_one_of("readout", name, READOUTS[level], f" with level={level!r}, or a module")
    if name != "propagate":
        apart = name == "apart"
        activation = None if adapter.activated else silu
        return Pool(known.channels, "mean" if apart else name, activation, apart)
    if known.channels is None:
        raise ValueError(
            "Expected an adapter that knows the widths of its features with readout='propagate' "
            "(got none); adapter=Adapter(call=..., channels=lambda tnn: {0: 32, 1: 32})"
        )
    return PropagateDown(known.channels, hidden_channels)
