"""Topological networks on lifted complexes: adapters for TopoModelX's, TopoTune, readouts."""

from topox_difflift.nn.adapters import Adapter
from topox_difflift.nn.embedding import Carried, EmbedThenLift
from topox_difflift.nn.models import TNNS
from topox_difflift.nn.network import TopologicalNetwork
from topox_difflift.nn.nodes import NodeNetwork
from topox_difflift.nn.readouts import Pool, PropagateDown, pool_cells
from topox_difflift.nn.topotune import GCCN

__all__ = [
    "GCCN",
    "TNNS",
    "Adapter",
    "Carried",
    "EmbedThenLift",
    "NodeNetwork",
    "Pool",
    "PropagateDown",
    "TopologicalNetwork",
    "pool_cells",
]
