"""TopoModelX's networks for simplicial complexes; they run on other complexes as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from topox_difflift.nn.adapters import Adapter, Features
from topox_difflift.sparse import sparse_coo

if TYPE_CHECKING:
    from topox_difflift.complex import LiftedComplex

__all__ = ["TNNS"]

#: Their own first, which a run that names none lifts to.
_DOMAINS = ("simplicial", "cell", "combinatorial")


def _boundary(c: LiftedComplex, rank: int) -> Tensor:
    return c.incidence(rank, signed=c.oriented)


def _identity(n: int, like: Tensor) -> Tensor:
    place = torch.arange(n, device=like.device)
    return sparse_coo(torch.stack([place, place]), like.new_ones(n), (n, n))


def _normalized(laplacian: Tensor) -> Tensor:
    """
    TopoNetX's normalised Laplacian, D^(-1/2) L D^(-1/2) with D the row sums of |L|.

    Rows that are 0 stay 0; they have a gradient nevertheless.
    """
    laplacian = laplacian if laplacian.is_coalesced() else laplacian.coalesce()
    (row, column), values = laplacian.indices(), laplacian.values()
    degree = values.new_zeros(len(laplacian)).index_add(0, row, values * values.detach().sign())
    scale = (degree + (degree == 0)).rsqrt()
    scaled = values * scale.index_select(0, row) * scale.index_select(0, column)
    return sparse_coo(torch.stack([row, column]), scaled, (len(laplacian), len(laplacian)))


def _scn2(tnn: Any, c: LiftedComplex) -> Features:
    laplacians = [_normalized(c.hodge_laplacian(rank)) for rank in range(3)]
    return dict(enumerate(tnn(c.x_0, c.x_1, c.x_2, *laplacians)))


def _sccn(tnn: Any, c: LiftedComplex) -> Features:
    top = tnn.layers[0].max_rank
    ranks = range(top + 1)
    incidences = {f"rank_{r}": _boundary(c, r) for r in ranks[1:]}
    features = {f"rank_{r}": c[f"x_{r}"] for r in ranks}
    adjacencies = {f"rank_{r}": _self_and_neighbors(c, r, top) for r in ranks}
    out = tnn(features, incidences, adjacencies)
    return {r: out[f"rank_{r}"] for r in ranks}


def _self_and_neighbors(c: LiftedComplex, rank: int, top: int) -> Tensor:
    """Neighbours above, neighbours below, and for each of the two the cell itself."""
    identity = _identity(c.num_cells[rank], c.x_0)
    parts = [c.adjacency(rank), identity] if rank < top else []
    parts += [c.coadjacency(rank), identity] if rank > 0 else []
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _sccnn(tnn: Any, c: LiftedComplex) -> Features:
    _no_norm(tnn, "SCCNN")
    laplacians = [c.hodge_laplacian_0, c.down_laplacian_1, c.up_laplacian_1]
    if tnn.layers[0].sc_order > 2:
        laplacians += [c.down_laplacian_2, c.up_laplacian_2]
    else:
        laplacians += [c.hodge_laplacian_2]
    boundaries = _boundary(c, 1), _boundary(c, 2)
    return dict(enumerate(tnn((c.x_0, c.x_1, c.x_2), tuple(laplacians), boundaries)))


def _scnn(tnn: Any, c: LiftedComplex) -> Features:
    _no_norm(tnn, "SCNN")
    return {1: tnn(c.x_1, c.down_laplacian_1, c.up_laplacian_1)}


def _no_norm(tnn: Any, name: str) -> None:
    if any(layer.aggr_norm for layer in tnn.layers):
        raise ValueError(
            f"Expected {name} with aggr_norm=False (got aggr_norm=True): it divides by the row "
            "sums of Laplacians, which are 0; build it with aggr_norm=False"
        )


def _san(tnn: Any, c: LiftedComplex) -> Features:
    return {1: tnn(c.x_1, c.up_laplacian_1, c.down_laplacian_1)}


def _hsn(tnn: Any, c: LiftedComplex) -> Features:
    return {0: tnn(c.x_0, _boundary(c, 1), c.adjacency_0)}


def _scconv(tnn: Any, c: LiftedComplex) -> Features:
    b_1, b_2 = _boundary(c, 1), _boundary(c, 2)
    laplacians = c.up_laplacian_0, c.up_laplacian_1, c.down_laplacian_1, c.down_laplacian_2
    # It transposes all four: those without "norm" are coboundaries.
    return dict(enumerate(tnn(c.x_0, c.x_1, c.x_2, b_1.T, b_1, b_2.T, b_2, *laplacians)))


def _scone(tnn: Any, c: LiftedComplex) -> Features:
    return {1: tnn(c.x_1, _boundary(c, 1), _boundary(c, 2))}


def _sca_cmps(tnn: Any, c: LiftedComplex) -> Features:
    if any(layer.att for layer in tnn.layers):
        raise ValueError(
            "Expected SCACMPS with att=False (got att=True): its attention reads cells at the "
            "positions of those of the rank above; build it with att=False"
        )
    ranks = range(tnn.layers[0].dim)
    x = [_not_empty(c[f"x_{r}"]) for r in ranks]
    laplacians = [_at_least_one(c.down_laplacian(r), (1, 1)) for r in ranks[1:]]
    coboundaries = [_at_least_one(_boundary(c, r).T, (1, len(x[r - 1]))) for r in ranks[1:]]
    for layer in tnn.layers:
        # The same function, which does not overflow in the backward pass.
        layer.weight_func = torch.sigmoid
    out = tnn(x, laplacians, coboundaries)
    return {r: out[r][: c.num_cells[r]] for r in ranks}


def _not_empty(x: Tensor) -> Tensor:
    """Features of a cell that is not there, where there is none: SCACMPS cannot add up nothing."""
    return x if len(x) else x.new_zeros(1, x.size(1))


def _at_least_one(matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """Matrix of a cell that is not there, without entries."""
    if len(matrix):
        return matrix
    return torch.sparse_coo_tensor(
        torch.empty(2, 0, dtype=torch.long, device=matrix.device),
        torch.empty(0, dtype=matrix.dtype, device=matrix.device),
        size,
    )


def _scn2_channels(tnn: Any) -> dict[int, int]:
    return {r: getattr(tnn.layers[-1], f"conv_{r}_to_{r}").out_channels for r in range(3)}


def _sccn_channels(tnn: Any) -> dict[int, int]:
    layer = tnn.layers[-1]
    return dict.fromkeys(range(layer.max_rank + 1), layer.channels)


def _scconv_channels(tnn: Any) -> dict[int, int]:
    return {0: tnn.node_channels, 1: tnn.edge_channels, 2: tnn.face_channels}


def _build_scn2(channels: int, hidden: int, n_layers: int) -> torch.nn.Module:
    return TNNS["scn2"].load()(channels, channels, channels, n_layers)


def _build_sccn(channels: int, hidden: int, n_layers: int) -> torch.nn.Module:
    return TNNS["sccn"].load()(channels, max_rank=2, n_layers=n_layers)


def _build_sccnn(channels: int, hidden: int, n_layers: int) -> torch.nn.Module:
    widths = (channels,) * 3, (hidden,) * 3
    return TNNS["sccnn"].load()(
        *widths, conv_order=2, sc_order=3, update_func="sigmoid", n_layers=n_layers
    )


def _build_scnn(channels: int, hidden: int, n_layers: int) -> torch.nn.Module:
    orders = {"conv_order_down": 2, "conv_order_up": 2}
    return TNNS["scnn"].load()(channels, hidden, **orders, update_func="sigmoid", n_layers=n_layers)


def _build_san(channels: int, hidden: int, n_layers: int) -> torch.nn.Module:
    return TNNS["san"].load()(channels, hidden, n_layers=n_layers)


def _build_hsn(channels: int, hidden: int, n_layers: int) -> torch.nn.Module:
    return TNNS["hsn"].load()(channels, n_layers)


def _build_scconv(channels: int, hidden: int, n_layers: int) -> torch.nn.Module:
    return TNNS["scconv"].load()(channels, n_layers=n_layers)


def _build_scone(channels: int, hidden: int, n_layers: int) -> torch.nn.Module:
    return TNNS["scone"].load()(channels, hidden, n_layers)


def _build_sca_cmps(channels: int, hidden: int, n_layers: int) -> torch.nn.Module:
    return TNNS["sca_cmps"].load()([channels] * 3, complex_dim=3, n_layers=n_layers)


TNNS = {
    "scn2": Adapter(
        model="topomodelx.nn.simplicial.scn2.SCN2",
        call=_scn2,
        channels=lambda tnn: {
            r: getattr(tnn.layers[-1], f"conv_{r}_to_{r}").out_channels for r in range(3)
        },
        build=_build_scn2,
        domains=_DOMAINS,
        max_rank=2,
        kept=True,
        activated=True,
        opened=True,
        matrices="normalised L_0, L_1, L_2",
    ),
    "sccn": Adapter(
        model="topomodelx.nn.simplicial.sccn.SCCN",
        call=_sccn,
        channels=lambda tnn: dict.fromkeys(
            range(tnn.layers[-1].max_rank + 1), tnn.layers[-1].channels
        ),
        build=_build_sccn,
        domains=_DOMAINS,
        max_rank=lambda tnn: tnn.layers[0].max_rank,
        kept=True,
        activated=True,
        opened=True,
        matrices="B_r, A_r + coA_r + 2 I",
    ),
    "sccnn": Adapter(
        model="topomodelx.nn.simplicial.sccnn.SCCNN",
        call=_sccnn,
        channels=lambda tnn: {r: getattr(tnn.layers[-1], f"out_channels_{r}") for r in range(3)},
        build=_build_sccnn,
        domains=_DOMAINS,
        max_rank=2,
        kept=True,
        opened=True,
        matrices="L_0, L_down,1, L_up,1, L_down,2, L_up,2, B_1, B_2",
    ),
    "scnn": Adapter(
        model="topomodelx.nn.simplicial.scnn.SCNN",
        call=_scnn,
        channels=lambda tnn: {1: tnn.layers[-1].out_channels},
        build=_build_scnn,
        domains=_DOMAINS,
        max_rank=2,
        kept=True,
        opened=True,
        matrices="L_down,1, L_up,1",
    ),
    "san": Adapter(
        model="topomodelx.nn.simplicial.san.SAN",
        call=_san,
        channels=lambda tnn: {1: tnn.out_channels},
        build=_build_san,
        domains=_DOMAINS,
        max_rank=2,
        autocast=False,
        matrices="L_up,1, L_down,1",
        why="only its harmonic projection reads values, its attention the pattern alone",
    ),
    "hsn": Adapter(
        model="topomodelx.nn.simplicial.hsn.HSN",
        call=_hsn,
        channels=lambda tnn: {0: tnn.layers[-1].channels},
        build=_build_hsn,
        domains=_DOMAINS,
        kept=True,
        activated=True,
        opened=True,
        matrices="B_1, A_0",
        why="reads ranks 0 and 1 only",
    ),
    "scconv": Adapter(
        model="topomodelx.nn.simplicial.scconv.SCConv",
        call=_scconv,
        channels=lambda tnn: dict(
            enumerate((tnn.node_channels, tnn.edge_channels, tnn.face_channels))
        ),
        build=_build_scconv,
        domains=_DOMAINS,
        max_rank=2,
        kept=True,
        activated=True,
        opened=True,
        matrices="B_1, B_1^T, B_2, B_2^T, L_up,0, L_up,1, L_down,1, L_down,2",
    ),
    "scone": Adapter(
        model="topomodelx.nn.simplicial.scone.SCoNe",
        call=_scone,
        channels=lambda tnn: {1: tnn.hidden_channels},
        build=_build_scone,
        domains=_DOMAINS,
        max_rank=2,
        kept=True,
        activated=True,
        opened=True,
        matrices="B_1, B_2",
    ),
    "sca_cmps": Adapter(
        model="topomodelx.nn.simplicial.sca_cmps.SCACMPS",
        call=_sca_cmps,
        channels=lambda tnn: dict(enumerate(tnn.in_channels_all)),
        build=_build_sca_cmps,
        domains=_DOMAINS,
        max_rank=2,
        kept=True,
        gated=True,
        activated=True,
        matrices="L_down,1, L_down,2, B_1^T, B_2^T",
        why="adds up all cells of a batch, across graphs",
    ),
}
