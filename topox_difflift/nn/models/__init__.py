"""The networks that are known by name. `TNNS` is open."""

from topox_difflift.nn.adapters import Adapter
from topox_difflift.nn.models import cell, combinatorial, hypergraph, simplicial

__all__ = ["TNNS"]

#: Adapters by name, for ``TopologicalNetwork`` and the command line; add one to register it.
TNNS: dict[str, Adapter] = {
    **cell.TNNS,
    **simplicial.TNNS,
    **hypergraph.TNNS,
    **combinatorial.TNNS,
}
