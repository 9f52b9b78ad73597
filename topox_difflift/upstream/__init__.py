"""Files of pull requests to TopoBench and TopoModelX, generated from this package."""

from topox_difflift.upstream.checkout import Kit, generate, write
from topox_difflift.upstream.topobench import TOPOBENCH
from topox_difflift.upstream.topomodelx import TOPOMODELX
from topox_difflift.upstream.tutorials import TOPOMODELX_TUTORIALS

__all__ = ["KITS", "Kit", "generate", "write"]

#: Names that the console script takes.
KITS = {
    "topobench": TOPOBENCH,
    "topomodelx": TOPOMODELX,
    "topomodelx-tutorials": TOPOMODELX_TUTORIALS,
}
