"""TopoModelX's networks for cell complexes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from topox_difflift.nn.adapters import COMPLEXES, Adapter, Features
from topox_difflift.sparse import sparse_coo

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from topox_difflift.complex import LiftedComplex

__all__ = ["TNNS"]


def _cwn(tnn: Any, c: LiftedComplex) -> Features:
    # Its third but last argument is named adjacency_0, and is the adjacency of the edges.
    boundary = [c.incidence(rank, c.oriented) for rank in (1, 2)]
    x_0, x_1, x_2 = tnn(c.x_0, c.x_1, c.x_2, c.up_gram(1), boundary[1], boundary[0].T)
    return {0: x_0, 1: x_1, 2: x_2}


def _ccxn(tnn: Any, c: LiftedComplex) -> Features:
    if any(layer.conv_1_to_2.att for layer in tnn.layers):
        raise ValueError(
            "Expected CCXN with att=False (got att=True): its attention reads edges at the "
            "positions of 2-cells, which are others or do not exist; build it with att=False"
        )
    x_0, x_1, x_2 = tnn(c.x_0, c.x_1, c.adjacency_0, c.incidence(2, c.oriented).T)
    return {0: x_0, 1: x_1, 2: x_2}


def _can(tnn: Any, c: LiftedComplex) -> Features:
    if any(hasattr(layer, "k_pool") for layer in tnn.layers):
        raise ValueError(
            "Expected CAN with pooling=False (got pooling=True): the edges that it drops cannot "
            "be told from its output; build it with pooling=False"
        )
    adjacency = _arcs_in_order(c) if hasattr(tnn, "lift_layer") else c.adjacency_0
    return {1: tnn(c.x_0, c.x_1, adjacency, c.down_laplacian_1, c.up_laplacian_1)}


def _arcs_in_order(c: LiftedComplex) -> Tensor:
    """Adjacency with one entry for each edge, in the order of the edges, as CAN's lift needs it."""
    pairs = c.cell_index_1.view(-1, 2).t()
    key = pairs[0] * c.num_cells[0] + pairs[1]
    if bool((key.diff() <= 0).any()):
        raise ValueError(
            "Expected edges in lexicographic order for CAN with att_lift=True (got another "
            "order); build it with att_lift=False"
        )
    return sparse_coo(pairs, c.mask_1, (c.num_cells[0], c.num_cells[0]))


def _ccxn_channels(tnn: Any) -> dict[int, int]:
    last = tnn.layers[-1]
    # It returns edges as they came, but for a relu.
    return {
        0: last.conv_0_to_0.out_channels,
        1: last.conv_1_to_2.in_channels,
        2: last.conv_1_to_2.out_channels,
    }


def _can_channels(tnn: Any) -> dict[int, int]:
    attention = next(layer.lower_att for layer in tnn.layers if hasattr(layer, "lower_att"))
    return {1: attention.out_channels // (1 if attention.concat else attention.heads)}


def _build_cwn(channels: int, hidden: int, n_layers: int) -> torch.nn.Module:
    return TNNS["cwn"].load()(channels, channels, channels, hidden, n_layers)


def _build_ccxn(channels: int, hidden: int, n_layers: int) -> torch.nn.Module:
    return TNNS["ccxn"].load()(channels, channels, channels, n_layers)


def _build_can(channels: int, hidden: int, n_layers: int) -> torch.nn.Module:
    return TNNS["can"].load()(channels, channels, hidden, n_layers=n_layers, att_lift=False)


TNNS = {
    "cwn": Adapter(
        model="topomodelx.nn.cell.cwn.CWN",
        call=_cwn,
        channels=lambda tnn: dict.fromkeys(range(3), tnn.proj_0.out_features),
        build=_build_cwn,
        domains=COMPLEXES,
        max_rank=2,
        kept=True,
        activated=True,
        opened=True,
        matrices="A_1, B_2, B_1^T",
    ),
    "ccxn": Adapter(
        model="topomodelx.nn.cell.ccxn.CCXN",
        call=_ccxn,
        channels=_ccxn_channels,
        build=_build_ccxn,
        domains=COMPLEXES,
        max_rank=2,
        kept=True,
        activated=True,
        opened=True,
        matrices="A_0, B_2^T",
    ),
    "can": Adapter(
        model="topomodelx.nn.cell.can.CAN",
        call=_can,
        channels=_can_channels,
        build=_build_can,
        domains=COMPLEXES,
        max_rank=2,
        learns=(1,),
        activated=True,
        matrices="L_down,1, L_up,1 (A_0 with att_lift)",
        why="its attention reads the pattern of the matrices only, and it has no 2-cell features",
    ),
}
