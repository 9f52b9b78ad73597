"""TopoModelX's networks for hypergraphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from topox_difflift.nn.adapters import Adapter, Features
from topox_difflift.ragged import counts
from topox_difflift.sparse import entries_of, sort_pairs, sparse_coo

if TYPE_CHECKING:
    from collections.abc import Callable

    from topox_difflift.complex import LiftedComplex

__all__ = ["TNNS"]


def _isolated(c: LiftedComplex) -> Tensor:
    """Nodes without any accepted hyperedge."""
    matrix = c.incidence_1.detach()
    node = matrix.indices()[0][matrix.values() != 0]
    return (counts(node, c.num_cells[0]) == 0).nonzero().squeeze(1)


def _every(c: LiftedComplex) -> Tensor:
    """All nodes."""
    return torch.arange(c.num_cells[0], device=c.x_0.device)


def _with_loops(c: LiftedComplex, nodes: Tensor) -> Tensor:
    """Incidence with one column more for each of the nodes, in which that node is alone."""
    matrix, (n_0, n_1) = c.incidence_1, c.num_cells
    if len(nodes) == 0:
        return matrix
    old, values, reverse = entries_of(matrix)
    columns = torch.arange(n_1, n_1 + len(nodes), device=nodes.device)
    index = torch.cat([old, torch.stack([nodes, columns])], dim=1)
    index, order = sort_pairs(index, n_1 + len(nodes))

    def extended(values: Tensor) -> Tensor:
        return torch.cat([values, values.new_ones(len(nodes))]).index_select(0, order)

    return sparse_coo(
        index,
        extended(values),
        (n_0, n_1 + len(nodes)),
        None if reverse is None else extended(reverse),
    )


def _plain(tnn: Any, c: LiftedComplex) -> Features:
    return dict(enumerate(tnn(c.x_0, c.incidence_1)))


def _looped(
    nodes: Callable[[LiftedComplex], Tensor],
) -> Callable[[Any, LiftedComplex], Features]:
    """Adapter for networks that divide by what an isolated node or a hyperedge adds up to."""

    def call(tnn: Any, c: LiftedComplex) -> Features:
        x_0, x_1 = tnn(c.x_0, _with_loops(c, nodes(c)))
        return {0: x_0, 1: x_1[: c.num_cells[1]]}

    return call


def _hmpnn(tnn: Any, c: LiftedComplex) -> Features:
    alone = _isolated(c)
    x_1 = torch.cat([c.x_1, c.x_0.index_select(0, alone)])
    if tnn.training and min(len(c.x_0), len(x_1)) < 2:
        raise ValueError(
            "Expected at least two nodes and two hyperedges for HMPNN while training (got "
            f"{len(c.x_0)} and {len(x_1)}): it normalises over the batch; use larger batches"
        )
    x_0, x_1 = tnn(c.x_0, x_1, _with_loops(c, alone))
    return {0: x_0, 1: x_1[: c.num_cells[1]]}


def _hypersage(tnn: Any, c: LiftedComplex) -> Features:
    for layer in tnn.layers:
        layer.device = c.x_0.device  # not moved with its parameters
    return {0: tnn(c.x_0, _with_loops(c, _isolated(c)))}


def _hnhn(tnn: Any, c: LiftedComplex) -> Features:
    before = [dict(vars(layer)) for layer in tnn.layers]
    features = _looped(_isolated)(tnn, c)
    for layer, attributes in zip(tnn.layers, before, strict=True):
        # It keeps the matrices of its last forward pass, which cannot be copied or saved.
        vars(layer).clear()
        vars(layer).update(attributes)
    return features


def _hypergat(tnn: Any, c: LiftedComplex) -> Features:
    # Its attention, constant in fact, reads hyperedges at the positions of nodes.
    (n_0, n_1), matrix = c.num_cells, c.incidence_1
    index, values, reverse = entries_of(matrix)
    padded = sparse_coo(index, values, (n_0, max(n_0, n_1)), reverse)
    x_0, x_1 = tnn(c.x_0, padded)
    return {0: x_0, 1: x_1[:n_1]}


def _unigcn_may_see_kept(tnn: Any) -> bool:
    """Its norms count rejected hyperedges: one over a batch, and one by the size of each."""
    return not any(
        layer.bn is not None or layer.conv_level1_0_to_1.aggr_norm for layer in tnn.layers
    )


def _both(width: Callable[[Any], int]) -> Callable[[Any], dict[int, int]]:
    """Nodes and hyperedges of the width that the last layer gives them."""
    return lambda tnn: dict.fromkeys(range(2), width(tnn.layers[-1]))


def _builder(name: str, **options: object) -> Callable[[int, int, int], torch.nn.Module]:
    def build(channels: int, hidden: int, n_layers: int) -> torch.nn.Module:
        return TNNS[name].load()(channels, hidden, n_layers=n_layers, **options)

    return build


TNNS = {
    "unigcn": Adapter(
        model="topomodelx.nn.hypergraph.unigcn.UniGCN",
        call=_looped(_isolated),
        channels=_both(lambda layer: layer.conv_level2_1_to_0.out_channels),
        build=_builder("unigcn"),
        domains=("hypergraph",),
        kept=_unigcn_may_see_kept,
        opened=True,
        matrices="H",
    ),
    "unigcnii": Adapter(
        model="topomodelx.nn.hypergraph.unigcnii.UniGCNII",
        call=_looped(_every),
        channels=_both(lambda layer: layer.linear.out_features),
        build=_builder("unigcnii"),
        domains=("hypergraph",),
        opened=True,
        matrices="H with self-loops",
        why="divides by the degrees of hyperedges",
    ),
    "unigin": Adapter(
        model="topomodelx.nn.hypergraph.unigin.UniGIN",
        call=_plain,
        channels=_both(lambda layer: layer.linear.out_features),
        build=_builder("unigin"),
        domains=("hypergraph",),
        kept=True,
        opened=True,
        matrices="H",
    ),
    "unisage": Adapter(
        model="topomodelx.nn.hypergraph.unisage.UniSAGE",
        call=_looped(_isolated),
        channels=_both(lambda layer: layer.linear.out_features),
        build=_builder("unisage"),
        domains=("hypergraph",),
        kept=lambda tnn: all(layer.e_aggr == "sum" for layer in tnn.layers),
        opened=True,
        matrices="H",
    ),
    "hypergat": Adapter(
        model="topomodelx.nn.hypergraph.hypergat.HyperGAT",
        call=_hypergat,
        channels=_both(lambda layer: layer.hidden_channels),
        build=_builder("hypergat"),
        domains=("hypergraph",),
        kept=True,
        activated=True,
        gated=True,
        matrices="H",
        why="relu on hyperedges: a rejected one has no gradient",
    ),
    "hnhn": Adapter(
        model="topomodelx.nn.hypergraph.hnhn.HNHN",
        call=_hnhn,
        channels=_both(lambda layer: layer.conv_1_to_0.out_channels),
        build=_builder("hnhn", incidence_1=None),
        domains=("hypergraph",),
        autocast=False,
        activated=True,
        opened=True,
        matrices="H",
        why="divides by powers of degrees; loops over nodes and hyperedges",
    ),
    "allset": Adapter(
        model="topomodelx.nn.hypergraph.allset.AllSet",
        call=_looped(_isolated),
        channels=_both(lambda layer: layer.edge2vertex.conv.out_channels),
        build=_builder("allset", mlp_activation=torch.nn.ReLU),
        domains=("hypergraph",),
        activated=True,
        kept=True,
        opened=True,
        matrices="H",
    ),
    "allset_transformer": Adapter(
        model="topomodelx.nn.hypergraph.allset_transformer.AllSetTransformer",
        call=_looped(_isolated),
        channels=_both(lambda layer: layer.edge2vertex.hidden_channels),
        build=_builder("allset_transformer"),
        domains=("hypergraph",),
        matrices="H",
        why="its attention reads the pattern of H only",
    ),
    "hmpnn": Adapter(
        model="topomodelx.nn.hypergraph.hmpnn.HMPNN",
        call=_hmpnn,
        channels=lambda tnn: dict.fromkeys(range(2), tnn.linear_node.out_features),
        build=_builder("hmpnn"),
        domains=("hypergraph",),
        activated=True,
        matrices="H",
        why="reads the pattern of H only; its batch norm cannot train on a single node",
    ),
    "hypersage": Adapter(
        model="topomodelx.nn.hypergraph.hypersage.HyperSAGE",
        call=_hypersage,
        channels=lambda tnn: {0: tnn.layers[-1].out_channels},
        build=_builder("hypersage"),
        domains=("hypergraph",),
        learns=(),
        activated=True,
        matrices="H",
        why="reads the pattern of H only, returns no features of hyperedges; loops over nodes",
    ),
}
