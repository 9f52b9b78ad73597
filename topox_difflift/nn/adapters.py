"""How a topological network takes a lifted complex: which matrices, under which names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
import torch_geometric.utils
from torch import Tensor

from topox_difflift.checks import check_finite
from topox_difflift.complex import LiftedComplex
from topox_difflift.products import LinearProducts

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Adapter", "Features", "Known", "adapter_of"]

#: Features of the cells, by rank.
Features: TypeAlias = Mapping[int, Tensor]
#: What runs a network on a complex.
Call: TypeAlias = Callable[[Any, LiftedComplex], Features | Sequence[Tensor]]

COMPLEXES = ("cell", "simplicial", "combinatorial")


@dataclass(frozen=True)
class Known:
    """
    What is known of one network.

    Attributes
    ----------
    max_rank : int
        Highest rank that it reads.
    learns : tuple of int
        Ranks whose acceptances its output has a gradient to.
    kept : bool
        Whether a rejected cell with mask 0 is to it as if it were absent.
    channels : mapping of int to int, optional
        Widths of the features that it returns.
    """

    max_rank: int
    learns: tuple[int, ...]
    kept: bool
    channels: Mapping[int, int] | None


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """
    What there is to know about one class of topological networks.

    Attributes
    ----------
    call : callable
        ``(tnn, lifted) -> features``: hands the network the features and matrices that its
        forward asks for; returns a mapping from rank to features, shape (n_r, channels), or a
        sequence of the features of ranks 0, 1, ...
    channels : callable, optional
        ``tnn -> {rank: width}``: widths of the features that it returns.
    model : str
        Import path of the class; empty for a network of the caller's own.
    domains : tuple of str
        Topological domains that have what it asks for, its own first: a run that names none
        lifts to that.
    max_rank : int or callable
        Highest rank that it reads; ``tnn -> int`` where that depends on its settings.
    learns : tuple of int, optional
        Ranks whose acceptances its output has a gradient to; by default all that it reads.
    kept : bool or callable
        Whether a rejected cell that was kept, with mask 0, is to the network as if it were
        absent; ``tnn -> bool`` where that depends on its settings. Where not, rejected cells
        are dropped before.
    activated : bool
        Whether its features come out of an activation; where not, the readout applies one
        before it pools them.
    opened : bool
        Whether all that cells send passes through the values of the matrices, so that the
        network can be given `LiftedComplex.opened` and is gated at the end.
    gated : bool
        Whether features of a cell with mask 0 come out as 0, so that they need no gate.
    autocast : bool
        Whether it runs in reduced precision; where not, autocast is off within it.
    matrices : str
        What it is given, in the notation of the documentation.
    why : str
        Why a gradient is missing, or what is special.
    build : callable, optional
        ``(in_channels, hidden_channels, n_layers) -> tnn``, with the same width for all ranks.
    of_domain : mapping of str to mapping
        Further arguments of `build` for some topological domains, where they need others.
    """

    call: Call
    channels: Callable[[Any], Mapping[int, int]] | None = None
    model: str = ""
    domains: tuple[str, ...] = (*COMPLEXES, "hypergraph")
    max_rank: int | Callable[[Any], int] = 1
    learns: tuple[int, ...] | None = None
    kept: bool | Callable[[Any], bool] = False
    activated: bool = False
    opened: bool = False
    gated: bool = False
    autocast: bool = True
    matrices: str = ""
    why: str = ""
    build: Callable[..., torch.nn.Module] | None = None
    of_domain: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle a registered adapter by the class it is for; its functions have no names."""
        from topox_difflift.nn.models import TNNS

        if any(adapter is self for adapter in TNNS.values()):
            return _registered, (self.model,)
        return super().__reduce_ex__(protocol)

    @property
    def name(self) -> str:
        """Name of the class, for messages."""
        return self.model.rpartition(".")[2] or "the network"

    def settled(self, tnn: torch.nn.Module) -> Known:
        """
        Say what holds for one network of the class.

        Parameters
        ----------
        tnn : torch.nn.Module
            The network.

        Returns
        -------
        Known
            What depends on its settings.
        """
        max_rank = self.max_rank(tnn) if callable(self.max_rank) else self.max_rank
        return Known(
            max_rank=max_rank,
            learns=tuple(range(1, max_rank + 1)) if self.learns is None else self.learns,
            kept=self.kept(tnn) if callable(self.kept) else self.kept,
            channels=None if self.channels is None else self.channels(tnn),
        )

    def load(self) -> type[torch.nn.Module]:
        """
        Import the class.

        Returns
        -------
        type
            The class, unmodified.
        """
        module, _, name = self.model.rpartition(".")
        with _torch_scatter():
            return getattr(import_module(module), name)

    def run(self, tnn: torch.nn.Module, lifted: LiftedComplex) -> dict[int, Tensor]:
        """
        Run the network on a complex, at a cost linear in the incidences where it can be.

        Parameters
        ----------
        tnn : torch.nn.Module
            The network.
        lifted : LiftedComplex
            The complex.

        Returns
        -------
        dict of int to torch.Tensor, shapes = (n_r, channels)
            Features by rank; exactly 0 for cells that were rejected but kept.

        Raises
        ------
        ValueError
            If the network does not return one row for each cell.
        FloatingPointError
            If a feature is NaN or infinite.
        """
        device = lifted.x_0.device.type
        autocast = torch.is_autocast_enabled(device) and self.autocast
        with LinearProducts(lifted.x_0), torch.autocast(device, enabled=autocast):
            found = self.call(tnn, lifted.opened() if self.opened else lifted)
        if not isinstance(found, Mapping):
            found = dict(enumerate(found))
        return {rank: self._gate(lifted, rank, h) for rank, h in found.items()}

    def _gate(self, lifted: LiftedComplex, rank: int, h: Tensor) -> Tensor:
        expected = lifted.num_cells[rank]
        if not isinstance(h, Tensor) or h.dim() != 2 or len(h) != expected:
            got = tuple(h.shape) if isinstance(h, Tensor) else type(h).__name__
            raise ValueError(
                f"Expected {self.name} to return features of shape ({expected}, channels) for "
                f"the cells of rank {rank} (got {got}); an adapter returns one row for each cell"
            )
        check_finite(h, f"{self.name} at rank {rank}", "feature", "cell")
        if rank == 0 or self.gated:
            # A second gate would double the gradient of the first, and at 0 take it away.
            return h
        # Even a rejected cell may have features of its own, from a bias for instance.
        return h * lifted[f"mask_{rank}"].unsqueeze(-1)


def _registered(model: str) -> Adapter:
    from topox_difflift.nn.models import TNNS

    return next(adapter for adapter in TNNS.values() if adapter.model == model)


@contextmanager
def _torch_scatter() -> Iterator[None]:
    """
    Let PyG's scatter stand in for torch_scatter, if that is missing, during an import.

    TopoModelX's AllSetTransformer imports it, which no dependency of TopoModelX brings.
    """
    if "torch_scatter" in sys.modules or find_spec("torch_scatter") is not None:
        yield
        return
    stand_in = ModuleType("torch_scatter")
    stand_in.scatter = torch_geometric.utils.scatter  # type: ignore[attr-defined]
    sys.modules["torch_scatter"] = stand_in
    try:
        yield
    finally:
        del sys.modules["torch_scatter"]


def adapter_of(tnn: torch.nn.Module, registry: Mapping[str, Adapter]) -> Adapter:
    """
    Find the adapter of a network by its class, or by a class that it derives from.

    Parameters
    ----------
    tnn : torch.nn.Module
        The network.
    registry : mapping of str to Adapter
        Where to look.

    Returns
    -------
    Adapter
        The adapter.

    Raises
    ------
    ValueError
        If there is none.
    """
    paths = {adapter.model: adapter for adapter in registry.values()}
    for kind in type(tnn).__mro__:
        if adapter := paths.get(f"{kind.__module__}.{kind.__qualname__}"):
            return adapter
    names = ", ".join(adapter.name for adapter in registry.values())
    raise ValueError(
        f"Expected 'tnn' to be one of {names}, or to come with an 'adapter' "
        f"(got {type(tnn).__name__}); adapter=lambda tnn, c: {{0: tnn(c.x_0, c.incidence_1)}} "
        "for instance says what it takes and which ranks it returns"
    )
