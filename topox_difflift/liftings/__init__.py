"""Liftings that ∂lift is compared with, all with its call and its output. `LIFTINGS` is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topox_difflift.lift import DiffLift
from topox_difflift.liftings.base import HypergraphLifting, PresetLifting, StaticLifting
from topox_difflift.liftings.controls import FixedRate, accept_all, random_acceptance
from topox_difflift.liftings.graph import CliqueLifting, CycleLifting, NoLifting
from topox_difflift.liftings.kernel import KernelLifting
from topox_difflift.liftings.khop import KHopLifting, SimplicialKHopLifting, k_hop_pairs
from topox_difflift.liftings.knn import KNNLifting
from topox_difflift.liftings.oracle import OracleLifting

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

__all__ = [
    "LIFTINGS",
    "CliqueLifting",
    "CycleLifting",
    "FixedRate",
    "HypergraphLifting",
    "KHopLifting",
    "KNNLifting",
    "KernelLifting",
    "NoLifting",
    "OracleLifting",
    "PresetLifting",
    "SimplicialKHopLifting",
    "StaticLifting",
    "accept_all",
    "k_hop_pairs",
    "leads_to",
    "random_acceptance",
]

#: Names accepted by the console script; add a class or a function to register it.
LIFTINGS: dict[str, Callable[..., torch.nn.Module]] = {
    "difflift": DiffLift,
    "accept_all": accept_all,
    "random": random_acceptance,
    "none": NoLifting,
    "cycle": CycleLifting,
    "clique": CliqueLifting,
    "khop_simplicial": SimplicialKHopLifting,
    "khop": KHopLifting,
    "knn": KNNLifting,
    "kernel": KernelLifting,
    "oracle": OracleLifting,
}


def leads_to(lifting: str) -> str | None:
    """
    Domain that a registered lifting leads to.

    Parameters
    ----------
    lifting : str
        Name in `LIFTINGS`.

    Returns
    -------
    str, optional
        Name of the domain; None if it is the first argument of the lifting.
    """
    return getattr(LIFTINGS[lifting], "leads_to", None)
