"""Building a lifting from the arguments of a configuration file."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch_geometric.data import Data

from topox_difflift.lift import DiffLift

if TYPE_CHECKING:
    from collections.abc import Mapping

    from topox_difflift.domains import Domain

__all__ = ["build_lift"]

#: Arguments of DiffLift that follow from others.
_SETTLED = ("self", "domain", "max_rank", "in_channels", "neighborhoods")


def build_lift(
    domain: str | Domain,
    max_rank: int | None,
    in_channels: int,
    edge_channels: int,
    arguments: Mapping[str, Any],
) -> DiffLift:
    """
    Build a lifting of which no parameter waits for a first input.

    Parameters
    ----------
    domain : str or Domain
        Where to lift to.
    max_rank : int, optional
        Highest rank, by default that of the domain.
    in_channels, edge_channels : int
        Widths of the features of nodes and of edges.
    arguments : mapping
        Further arguments of `DiffLift`.

    Returns
    -------
    DiffLift
        The lifting, in training mode.

    Raises
    ------
    ValueError
        If an argument is unknown or impossible.
    """
    known = [name for name in signature(DiffLift.__init__).parameters if name not in _SETTLED]
    if unknown := [name for name in arguments if name not in known]:
        raise ValueError(
            f"Expected arguments of this class, or of DiffLift: {', '.join(known)} (got "
            f"{unknown[0]!r}); correct the name, or leave it out"
        )
    lift = DiffLift(domain, max_rank=max_rank, in_channels=in_channels, **arguments)
    # An optimizer, and a summary of parameters, come before the first batch.
    triangle = Data(
        x=torch.zeros(3, in_channels),
        edge_index=torch.tensor([[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]),
        edge_attr=torch.zeros(6, edge_channels) if edge_channels else None,
    )
    with torch.no_grad():
        lift.eval()(triangle)
    return lift.train()
