"""Topological domains, one file each. `DOMAINS` is open."""

from topox_difflift.domains.base import Boundary, Domain, Skeleton
from topox_difflift.domains.cell import Cell
from topox_difflift.domains.combinatorial import Combinatorial
from topox_difflift.domains.dcm import DCM
from topox_difflift.domains.hypergraph import Hypergraph
from topox_difflift.domains.simplicial import Simplicial

__all__ = [
    "DCM",
    "DOMAINS",
    "Boundary",
    "Cell",
    "Combinatorial",
    "Domain",
    "Hypergraph",
    "Simplicial",
    "Skeleton",
]

#: Names accepted by ``DiffLift(domain=...)``; add a class to register it.
DOMAINS: dict[str, type[Domain]] = {
    "hypergraph": Hypergraph,
    "simplicial": Simplicial,
    "cell": Cell,
    "combinatorial": Combinatorial,
    "dcm": DCM,
}
