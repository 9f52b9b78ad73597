"""A learnable lifting in the place of TopoBench's feature encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn.norm import GraphNorm

from topox_difflift.checks import check_at_least, check_flag
from topox_difflift.integrations.connectivity import (
    checked_neighborhoods,
    connectivity,
    is_cell_key,
)
from topox_difflift.integrations.lifts import build_lift
from topox_difflift.integrations.topobench._bases import FeatureEncoder

if TYPE_CHECKING:
    from topox_difflift.complex import LiftedComplex
    from topox_difflift.domains import Domain

__all__ = ["CellProjection", "DiffLiftFeatureEncoder"]


class DiffLiftFeatureEncoder(FeatureEncoder):
    r"""
    Lift the graphs of a batch, and encode the features of all cells.

    It takes the place of TopoBench's `AllCellFeatureEncoder`, and leaves the batch as an offline
    lifting and that encoder would: the cells, however, are learned together with the task. It is
    called on the collated batch, whose cells of an offline lifting, if there are any, it replaces.

    Parameters
    ----------
    in_channels : sequence of int
        Width of the node features, which comes first; the others count the ranks unless
        `selected_dimensions` does.
    out_channels : int
        Width of the encoded features of all ranks.
    proj_dropout : float, default=0
        Probability with which a channel of an encoded feature is dropped while training.
    selected_dimensions : sequence of int, optional
        The ranks 0, 1, ..., by default one for each entry of `in_channels`.
    domain : {"hypergraph", "simplicial", "cell", "combinatorial"} or Domain, default="cell"
        Where to lift to.
    edge_channels : int, default=0
        Width of the edge features that the embedding reads, 0 for none.
    signed : bool, default=False
        Whether matrices are oriented, as with TopoBench's option of this name.
    neighborhoods : sequence of str, optional
        Matrices to write beside the incidences, such as "adjacency_1" or, for TopoTune,
        "up_adjacency-0". By default all; a network reads few of them.
    encoder_name, loss : object, optional
        Keys of the configuration that TopoBench reads itself.
    **lift_arguments
        Arguments of `DiffLift`, such as `k_max`, `estimator` or `rejected`.

    Attributes
    ----------
    lift : DiffLift
        The lifting.
    dimensions : range
        The ranks.

    Raises
    ------
    ValueError
        If an argument is unknown or impossible.

    Notes
    -----
    Rejected cells that are kept while training (``rejected="keep"``) are columns of zeros: for
    networks that read the values of the matrices, and with TopoBench's readout, they are absent,
    and yet have a gradient. Their features are not gated a second time, which would take that
    gradient away. Networks that read patterns alone, count neighbours or normalise over all
    cells need ``rejected="drop"``.

    Examples
    --------
    >>> from torch_geometric.data import Batch
    >>> from topox_difflift.datasets import molecules
    >>> from topox_difflift.integrations.topobench import DiffLiftFeatureEncoder
    >>> encoder = DiffLiftFeatureEncoder([7], 16, selected_dimensions=[0, 1, 2])
    >>> batch = encoder(Batch.from_data_list(molecules(2)))
    >>> batch.x_2.size(1), batch.cell_statistics.shape
    (16, torch.Size([2, 3]))
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        proj_dropout: float = 0,
        selected_dimensions: Sequence[int] | None = None,
        *,
        domain: str | Domain = "cell",
        edge_channels: int = 0,
        signed: bool = False,
        neighborhoods: Sequence[str] | None = None,
        encoder_name: str | None = None,
        loss: object = None,
        **lift_arguments: Any,
    ) -> None:
        super().__init__()
        check_at_least("out_channels", out_channels, 1)
        check_at_least("edge_channels", edge_channels, 0)
        check_flag("signed", signed)
        self.in_channels, self.out_channels = _checked_widths(in_channels), out_channels
        self.dimensions = _checked_ranks(self.in_channels, selected_dimensions)
        width, self.edge_channels, self.signed = self.in_channels[0], edge_channels, signed
        self.lift = build_lift(domain, self.dimensions[-1], width, edge_channels, lift_arguments)
        self.neighborhoods = checked_neighborhoods(neighborhoods, self.lift)
        self.encoders = torch.nn.ModuleList(
            [CellProjection(width, out_channels, proj_dropout) for _ in self.dimensions]
        )

    def forward(self, data: Data) -> Data:
        """
        Lift and encode.

        Parameters
        ----------
        data : torch_geometric.data.Data
            Collated batch with `x` (or `x_0`), `edge_index` and `batch_0`.

        Returns
        -------
        torch_geometric.data.Data
            The same object, with the keys of TopoBench's pipeline: features `x_r`, graphs
            `batch_r`, the matrices and `cell_statistics`, or those of hyperedges. Beside them
            "lifted", the `LiftedComplex`, and "lifting_terms", what `DiffLiftLoss` adds up.
        """
        lifted = self.lift(self._graph(data))
        for rank in self.dimensions:
            self._encode(lifted, rank)
        for key in [key for key in data.to_dict() if is_cell_key(key)]:
            del data[key]
        for key, value in self._keys(lifted.opened()).items():
            data[key] = value
        data["lifted"], data["lifting_terms"] = lifted, self.lift.regularization()
        return data

    def _graph(self, data: Data) -> Data:
        """Read the graphs, the nodes of which no lifting changes."""
        graph = Data(x=data.x if data.get("x") is not None else data.get("x_0"))
        graph.edge_index, graph.batch = data.edge_index, data.get("batch_0", data.get("batch"))
        if self.edge_channels:
            graph.edge_attr = data.get("edge_attr")
        return graph

    def _encode(self, lifted: LiftedComplex, rank: int) -> None:
        """Replace the features of a rank by encoded ones."""
        if rank == 0:
            accepted = torch.ones_like(lifted.batch_0, dtype=torch.bool)
            lifted.x_0 = self.encoders[0](lifted.x_0, lifted.batch_0, accepted)
            return
        content, mask = lifted[f"content_{rank}"], lifted[f"mask_{rank}"]
        encoded = self.encoders[rank](content, lifted[f"batch_{rank}"], mask.detach() != 0)
        lifted[f"content_{rank}"], lifted[f"x_{rank}"] = encoded, encoded * mask.unsqueeze(-1)

    def _keys(self, lifted: LiftedComplex) -> dict[str, Any]:
        found: dict[str, Any] = dict(connectivity(lifted, self.neighborhoods, self.signed))
        batches = [lifted[f"batch_{rank}"] for rank in self.dimensions]
        counts = [torch.bincount(batch, minlength=lifted.num_graphs) for batch in batches]
        names: list[object] = list(self.dimensions)
        if lifted.domain == "hypergraph":
            names[1] = "hyperedges"
            found["num_hyperedges"] = counts[1]
        else:
            found["cell_statistics"] = torch.stack(counts, dim=1)
        for rank, name in enumerate(names):
            found[f"x_{name}"], found[f"batch_{name}"] = lifted[f"x_{rank}"], batches[rank]
        return found

    def __repr__(self) -> str:
        """Show widths and lifting."""
        return (
            f"{type(self).__name__}(in_channels={self.in_channels}, "
            f"out_channels={self.out_channels}, dimensions={self.dimensions}, lift={self.lift!r})"
        )


class CellProjection(torch.nn.Module):
    """
    Normalise the features of the cells of a rank over each graph, then project them.

    Where every cell is accepted this is what TopoBench's `BaseEncoder` computes. Rejected cells
    are encoded as well, but have no part in the means.

    Parameters
    ----------
    in_channels, out_channels : int
        Widths of the features and of the result.
    dropout : float, default=0
        Probability with which a channel is dropped while training.
    """

    def __init__(self, in_channels: int, out_channels: int, dropout: float = 0) -> None:
        super().__init__()
        self.norm = GraphNorm(in_channels)
        self.linear = torch.nn.Linear(in_channels, out_channels)
        self.dropout = torch.nn.Dropout(dropout)

    def forward(self, x: Tensor, batch: Tensor, accepted: Tensor) -> Tensor:
        """
        Encode.

        Parameters
        ----------
        x : torch.Tensor, shape = (n_cells, in_channels)
            Features.
        batch : torch.Tensor, shape = (n_cells,), int64
            Graph of each cell.
        accepted : torch.Tensor, shape = (n_cells,), bool
            Cells that count.

        Returns
        -------
        torch.Tensor, shape = (n_cells, out_channels)
            Encoded features, of the dtype of `x` under autocast as well.
        """
        encoded = self.linear(self._normalized(x, batch, accepted))
        return self.dropout(torch.relu(encoded)).to(x.dtype)

    def _normalized(self, x: Tensor, batch: Tensor, accepted: Tensor) -> Tensor:
        n_graphs = int(batch.max()) + 1 if len(batch) else 0
        weight = accepted.to(x.dtype).unsqueeze(1)
        count = weight.new_zeros(n_graphs, 1).index_add(0, batch, weight)
        count = count + (count == 0)

        def mean(values: Tensor) -> Tensor:
            total = values.new_zeros(n_graphs, values.size(1)).index_add(0, batch, values * weight)
            return (total / count).index_select(0, batch)

        centred = x - mean(x) * self.norm.mean_scale
        deviation = (mean(centred.square()) + self.norm.eps).sqrt()
        return self.norm.weight * centred / deviation + self.norm.bias


def _checked_widths(in_channels: Sequence[int]) -> list[int]:
    if isinstance(in_channels, int) or not isinstance(in_channels, Sequence) or not in_channels:
        raise ValueError(
            "Expected 'in_channels' to be a list of widths, that of the nodes first (got "
            f"{in_channels!r}); for instance [7, 7, 7]"
        )
    for width in in_channels:
        check_at_least("in_channels", width, 1)
    return list(in_channels)


def _checked_ranks(in_channels: list[int], selected: Sequence[int] | None) -> range:
    ranks = list(range(len(in_channels)) if selected is None else selected)
    if ranks != list(range(len(ranks))) or len(ranks) < 2:
        raise ValueError(
            "Expected 'selected_dimensions' to be the ranks [0, 1] or [0, 1, 2] (got "
            f"{ranks}); without it there is one rank for each entry of 'in_channels'"
        )
    return range(len(ranks))
