"""TopoModelX's network for combinatorial complexes, and TopoTune's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from topox_difflift.nn.adapters import Adapter, Features
from topox_difflift.nn.hasse import default_neighborhoods
from topox_difflift.nn.topotune import GCCN

if TYPE_CHECKING:
    import torch

    from topox_difflift.complex import LiftedComplex

__all__ = ["TNNS"]


def _hmc(tnn: Any, c: LiftedComplex) -> Features:
    neighborhoods = c.adjacency_0, c.adjacency_1, c.coadjacency_2, c.incidence_1, c.incidence_2
    return dict(enumerate(tnn(c.x_0, c.x_1, c.x_2, *neighborhoods)))


def _gccn(tnn: Any, c: LiftedComplex) -> Features:
    return tnn(c)


def _gccn_channels(tnn: Any) -> dict[int, int]:
    return dict.fromkeys(range(tnn.max_rank + 1), tnn.hidden_channels)


def _build_gccn(channels: int, hidden: int, n_layers: int, **options: Any) -> torch.nn.Module:
    return GCCN(channels, hidden, n_layers, **options)


def _hmc_channels(tnn: Any) -> dict[int, int]:
    return {r: getattr(tnn.layers[-1], f"hbs_{r}_level2").source_out_channels for r in range(3)}


def _build_hmc(channels: int, hidden: int, n_layers: int) -> torch.nn.Module:
    first, later = [channels] * 3, [hidden] * 3
    widths = [[first if layer == 0 else later, later, later] for layer in range(n_layers)]
    return TNNS["hmc"].load()(widths)


TNNS = {
    "hmc": Adapter(
        model="topomodelx.nn.combinatorial.hmc.HMC",
        call=_hmc,
        channels=lambda tnn: {
            r: getattr(tnn.layers[-1], f"hbs_{r}_level2").source_out_channels for r in range(3)
        },
        build=_build_hmc,
        domains=("combinatorial", "cell", "simplicial"),
        max_rank=2,
        gated=True,
        activated=True,
        matrices="A_0, A_1, coA_2, B_1, B_2",
        why="its softmax counts a rejected cell as a neighbour",
    ),
    "topotune": Adapter(
        model="topox_difflift.nn.topotune.GCCN",
        call=_gccn,
        channels=_gccn_channels,
        build=_build_gccn,
        of_domain={"hypergraph": {"neighborhoods": default_neighborhoods(1)}},
        max_rank=lambda tnn: tnn.max_rank,
        kept=True,
        gated=True,
        matrices="those of its neighborhoods",
    ),
}
