"""A trained lifting as a plain transform: lift a data set once, then train at static cost."""

from __future__ import annotations

import copy
import hashlib
from typing import TYPE_CHECKING

import torch
from torch_geometric.transforms import BaseTransform

from topox_difflift.graph import as_data

if TYPE_CHECKING:
    import networkx as nx
    from torch_geometric.data import Data

    from topox_difflift.complex import LiftedComplex
    from topox_difflift.lift import DiffLift

__all__ = ["FrozenLift"]


class FrozenLift(BaseTransform):
    """
    A copy of a lifting in `eval()`, as a transform of PyG; `DiffLift.freeze` makes one.

    It is no module: it has no parameters to train, and does not change when the lifting it was
    made of is trained further. The copy works on the host, where data sets are read, and hands the
    complex back on the device of the graph.

    Parameters
    ----------
    lift : DiffLift
        A lifting that has seen data.

    Attributes
    ----------
    fingerprint : str
        Digest of parameters and settings. It is part of `repr`, which PyG writes beside a data set
        that a `pre_transform` has made, so that PyG warns where another lifting would be read from
        that folder.

    Raises
    ------
    RuntimeError
        If a parameter has no size yet.

    Examples
    --------
    >>> from topox_difflift import DiffLift
    >>> from topox_difflift.datasets import molecules
    >>> graphs = molecules(2)
    >>> lift = DiffLift()
    >>> _ = lift(graphs[0])
    >>> frozen = lift.freeze()
    >>> [frozen(graph).x_1.requires_grad for graph in graphs]
    [False, False]
    """

    def __init__(self, lift: DiffLift) -> None:
        lazy = torch.nn.parameter.is_lazy
        if unknown := [name for name, value in lift.named_parameters() if lazy(value)]:
            raise RuntimeError(
                "Expected a lifting that has seen data before freeze() (got parameters without a "
                f"size: {', '.join(unknown)}); call lift(data) on one of the graphs first"
            )
        # Nothing is drawn any more, and not every torch can copy a generator.
        copied = copy.deepcopy(lift, {id(lift.generator): None})
        # Derived when asked for: what is collated or stored leaves derived matrices behind.
        copied.neighborhoods = ()
        self._lift = copied.cpu().eval().requires_grad_(False)
        self.fingerprint = _fingerprint(self._lift)

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
            The accepted complex without history, with everything else that `data` holds.

        Raises
        ------
        TypeError, ValueError
            If the input is not a graph with finite features.
        """
        data = as_data(data)
        device = None if data.x is None else data.x.device
        with torch.no_grad():
            lifted = self._lift(copy.copy(data).detach().cpu())
        for rank in range(1, lifted.max_rank + 1):
            # With nothing rejected they repeat the features, and say True.
            del lifted[f"content_{rank}"], lifted[f"included_{rank}"]
        return lifted.to(device)

    def __repr__(self) -> str:
        """Show the fingerprint and the lifting."""
        return f"{type(self).__name__}({self.fingerprint!r}, {self._lift!r})"


def _fingerprint(lift: DiffLift) -> str:
    """Digest of all that decides how a graph is lifted."""
    digest = hashlib.sha256()
    plain = (bool, int, float, str, type(None))
    for name, part in [("domain", lift.domain), *lift.named_modules()]:
        settings = {
            key: value
            for key, value in vars(part).items()
            if isinstance(value, plain) and not key.startswith("_")
        }
        digest.update(repr((name, type(part).__qualname__, sorted(settings.items()))).encode())
    for name, value in [*lift.named_parameters(), *lift.named_buffers()]:
        digest.update(repr((name, value.dtype, tuple(value.shape))).encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
