"""Node embeddings: GIN and GPS on PyG layers; any other module serves as well."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import UninitializedParameter
from torch_geometric.nn import MLP, GINConv, GINEConv, GPSConv, LayerNorm, Linear
from torch_geometric.utils import to_dense_adj, to_dense_batch

from topox_difflift.compiled import arrays, usable
from topox_difflift.sparse import Kept, Segments

__all__ = ["ENCODERS", "GIN", "GPS", "random_walk_encoding"]

# Up to this many channels, features of arcs are projected as they are needed: the loops take
# less time than to write and read the product.
_NARROW = 16


class _Encoder(torch.nn.Module, ABC):
    """Input projection, optional edge features, and a stack of layers."""

    def __init__(self, in_channels: int, hidden_channels: int, n_layers: int) -> None:
        super().__init__()
        if n_layers < 1:
            raise ValueError(f"Expected 'n_layers' to be at least 1 (got {n_layers})")
        self.hidden_channels = hidden_channels
        self.node = Linear(in_channels, hidden_channels)
        # Whether there are edge features is known with the first input; without any, this
        # projection goes away, so that no parameter stays without a size.
        self.edge: Linear | None = Linear(-1, hidden_channels)
        self.layers = torch.nn.ModuleList([self._layer() for _ in range(n_layers)])

    @abstractmethod
    def _layer(self) -> torch.nn.Module:
        """Make one layer."""

    def reset_parameters(self) -> None:
        """Initialise afresh."""
        for module in (self.node, self.edge, *self.layers):
            if module is not None:
                module.reset_parameters()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # The saved encoder may have met no edge features, and so have lost their projection.
        if self._edges_unknown() and f"{prefix}edge.weight" not in state_dict:
            self.edge = None
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _edges_unknown(self) -> bool:
        return self.edge is not None and isinstance(self.edge.weight, UninitializedParameter)

    def _node_features(self, x: Tensor) -> Tensor:
        _check_width("x", x, self.node)
        return _project(x, self.node)

    def _edge_features(self, edge_attr: Tensor | None) -> _ArcFeatures | None:
        if self._edges_unknown() and edge_attr is None:
            self.edge = None
        if (edge_attr is None) != (self.edge is None):
            expected, got = ("no", "some") if self.edge is None else ("some", "none")
            raise ValueError(
                f"Expected {expected} 'edge_attr', as in the first input of this encoder "
                f"(got {got}); give edge features always or never"
            )
        if edge_attr is None or self.edge is None:
            return None
        if not edge_attr.is_floating_point():
            raise TypeError(
                f"Expected 'edge_attr' to be floating point (got {edge_attr.dtype}); numbers: "
                "edge_attr.float(), categories: torch.nn.functional.one_hot"
            )
        if edge_attr.dtype != self.edge.weight.dtype:
            raise TypeError(
                f"Expected 'edge_attr' to have the dtype of the lifting, {self.edge.weight.dtype} "
                f"(got {edge_attr.dtype}); edge_attr.to({self.edge.weight.dtype})"
            )
        _check_width("edge_attr", edge_attr, self.edge)
        return _ArcFeatures(edge_attr, self.edge)


def _check_width(name: str, values: Tensor, layer: Linear) -> None:
    """Check the number of channels, which the first input or `in_channels` has fixed."""
    lazy = isinstance(layer.weight, UninitializedParameter)
    if not lazy and values.size(1) != layer.in_channels:
        raise ValueError(
            f"Expected '{name}' to have {layer.in_channels} channels (got {values.size(1)}); use "
            "one width throughout, or another lifting for other data"
        )


def _project(values: Tensor, layer: Linear) -> Tensor:
    """
    Apply a linear layer to few channels.

    With the weights in this layout PyTorch computes their gradient five times as fast, and no
    slower where there are many channels.
    """
    if isinstance(layer.weight, UninitializedParameter):
        layer(values[:0])
    return (values @ layer.weight.t().contiguous()).add_(layer.bias)


class _ArcFeatures:
    """Features of the arcs and the layer that brings them to the width of the states."""

    def __init__(self, values: Tensor, layer: Linear) -> None:
        if isinstance(layer.weight, UninitializedParameter):
            layer(values[:0])
        self.values, self.layer = values, layer

    @Kept
    def projected(self) -> Tensor:
        """One row for each arc, the same in all layers."""
        return _project(self.values, self.layer)

    def add_messages(self, h: Tensor, edge_index: Tensor) -> Tensor:
        """Add ``relu(h_j + e_ij)`` over the arcs (j, i) to the states."""
        values, weight, bias = self.values, self.layer.weight.t(), self.layer.bias
        narrow = values.size(1) <= _NARROW and not values.requires_grad
        if narrow and usable(h, weight, bias, values):
            return _CompiledMessages.apply(h, weight.contiguous(), bias, values, edge_index)
        return h + _EdgeMessages.apply(h, self.projected, edge_index)


class _CompiledMessages(torch.autograd.Function):
    """States plus messages of narrow features; not even the projected features are stored."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        from topox_difflift._encoders_numba import add_messages

        ctx.save_for_backward(*inputs)
        return torch.from_numpy(add_messages(*arrays(*inputs)))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        from topox_difflift._encoders_numba import add_messages_backward

        found = add_messages_backward(*arrays(*grads, *ctx.saved_tensors))
        return *map(torch.from_numpy, found), None, None


class _EdgeMessages(torch.autograd.Function):
    """Sum of the messages; one matrix of their size is stored."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, e: Tensor, edge_index: Tensor) -> Tensor:
        source, target = edge_index
        messages = h.index_select(0, source).add_(e).relu_()
        total = Segments.grouped(target, len(h)).pool(messages)
        # Messages are at least 0: their sign is the derivative of the relu.
        ctx.save_for_backward(messages.sign_(), source, target)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        (by_sum,), (slope, source, target) = grads, ctx.saved_tensors
        by_message = by_sum.index_select(0, target).mul_(slope)
        return Segments.grouped(source, len(by_sum)).pool(by_message), by_message, None


class _GINE(GINEConv):
    """PyG's layer; its step-by-step message passing took a quarter of the whole lifting."""

    def forward(self, h: Tensor, edge_index: Tensor, edge_attr: _ArcFeatures) -> Tensor:
        return self.nn(edge_attr.add_messages(h, edge_index))


class _GIN(GINConv):
    """PyG's layer, with a sum that stores no messages."""

    def forward(self, h: Tensor, edge_index: Tensor) -> Tensor:
        source, target = edge_index
        by_target = Segments.grouped(target, len(h))
        members = Segments(source.index_select(0, by_target.index), by_target.sizes, len(h))
        return self.nn(h + members.sum(h))


class _GINLayer(torch.nn.Module):
    """
    Normalised GIN update; with edge features the messages of GINE.

    The update starts at a tenth of its normalised size, so that distances between
    embeddings start as those of a linear map of the features: the first candidates are then
    those of the nearest features, not of random ones, and training starts from there.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        update = MLP([channels, channels, channels], norm=None, act_kwargs={"inplace": True})
        self.conv = _GINE(update)
        # Shares the update network: the sum of plain messages when there are no edge features.
        self.plain = _GIN(update)
        self.norm = LayerNorm(channels, mode="node")
        torch.nn.init.constant_(self.norm.weight, 0.1)

    def reset_parameters(self) -> None:
        """Initialise afresh."""
        self.conv.reset_parameters()
        self.norm.reset_parameters()
        torch.nn.init.constant_(self.norm.weight, 0.1)

    def forward(self, h: Tensor, edge_index: Tensor, edge_attr: _ArcFeatures | None) -> Tensor:
        """Add the normalised update to the state."""
        if edge_attr is None:
            return h + self.norm(self.plain(h, edge_index))
        return h + self.norm(self.conv(h, edge_index, edge_attr))


class GIN(_Encoder):
    """
    Graph isomorphism network with residual, normalised layers.

    Normalisation is per node (layer norm), never over the batch, so that the embedding
    of a graph does not depend on its batch mates.

    Parameters
    ----------
    in_channels : int, default=-1
        Width of the node features, -1 to take it from the first input.
    hidden_channels : int, default=64
        Width of the embedding.
    n_layers : int, default=2
        Number of layers.

    References
    ----------
    .. [1] Xu et al. How powerful are graph neural networks? ICLR 2019.
    .. [2] Hu et al. Strategies for pre-training graph neural networks. ICLR 2020 (GINE).
    """

    def __init__(self, in_channels: int = -1, hidden_channels: int = 64, n_layers: int = 2) -> None:
        super().__init__(in_channels, hidden_channels, n_layers)

    def _layer(self) -> torch.nn.Module:
        return _GINLayer(self.hidden_channels)

    def forward(
        self, x: Tensor, edge_index: Tensor, batch: Tensor, edge_attr: Tensor | None = None
    ) -> Tensor:
        """
        Embed the nodes.

        Parameters
        ----------
        x : torch.Tensor, shape = (n_nodes, in_channels)
            Node features.
        edge_index : torch.Tensor, shape = (2, n_arcs), int64
            Arcs.
        batch : torch.Tensor, shape = (n_nodes,), int64
            Graph of each node.
        edge_attr : torch.Tensor, shape = (n_arcs, edge_channels), optional
            Edge features.

        Returns
        -------
        torch.Tensor, shape = (n_nodes, hidden_channels)
            Embeddings.
        """
        arcs = self._edge_features(edge_attr)
        h = self._node_features(x)
        for layer in self.layers:
            h = layer(h, edge_index, arcs)
        return h


def random_walk_encoding(
    edge_index: Tensor, batch: Tensor, length: int, dtype: torch.dtype | None = None
) -> Tensor:
    """
    Probabilities that a random walk is back at its node after 1, ..., `length` steps.

    Parameters
    ----------
    edge_index : torch.Tensor, shape = (2, n_arcs), int64
        Both directions of each edge.
    batch : torch.Tensor, shape = (n_nodes,), int64
        Graph of each node.
    length : int
        Number of steps.
    dtype : torch.dtype, optional
        Type of the result, in which it is computed; by default PyTorch's.

    Returns
    -------
    torch.Tensor, shape = (n_nodes, length)
        Return probabilities, 0 for an isolated node. Memory is the padded square of each
        graph's size, as in the attention that uses them.

    References
    ----------
    .. [1] Dwivedi et al. Graph neural networks with learnable structural and positional
       representations. ICLR 2022.
    """
    adjacency = to_dense_adj(edge_index, batch).to(dtype or torch.get_default_dtype())
    degree = adjacency.sum(-1, keepdim=True)
    # Isolated nodes have an empty row; any positive divisor leaves it empty.
    step = adjacency / (degree + (degree == 0))
    power, returns = step, [step.diagonal(dim1=1, dim2=2)]
    for _ in range(length - 1):
        power = power @ step
        returns.append(power.diagonal(dim1=1, dim2=2))
    padded = torch.stack(returns, dim=-1)
    _, present = to_dense_batch(batch, batch, max_num_nodes=padded.size(1))
    return padded[present]


class GPS(_Encoder):
    """
    Graph transformer: GIN messages and attention within each graph, with positions.

    Parameters
    ----------
    in_channels : int, default=-1
        Width of the node features, -1 to take it from the first input.
    hidden_channels : int, default=64
        Width of the embedding, divisible by `heads`.
    n_layers : int, default=2
        Number of layers.
    heads : int, default=4
        Attention heads.
    walk_length : int, default=8
        Steps of the random-walk positional encoding.

    References
    ----------
    .. [1] Rampasek et al. Recipe for a general, powerful, scalable graph transformer.
       NeurIPS 2022.
    """

    def __init__(
        self,
        in_channels: int = -1,
        hidden_channels: int = 64,
        n_layers: int = 2,
        heads: int = 4,
        walk_length: int = 8,
    ) -> None:
        if hidden_channels % heads:
            raise ValueError(
                f"Expected 'hidden_channels' to be divisible by heads={heads} "
                f"(got {hidden_channels})"
            )
        self.heads, self.walk_length = heads, walk_length
        super().__init__(in_channels, hidden_channels, n_layers)
        self.position = Linear(walk_length, hidden_channels)

    def _layer(self) -> torch.nn.Module:
        return _GPSLayer(self.hidden_channels, self.heads)

    def reset_parameters(self) -> None:
        """Initialise afresh."""
        super().reset_parameters()
        self.position.reset_parameters()

    def forward(
        self, x: Tensor, edge_index: Tensor, batch: Tensor, edge_attr: Tensor | None = None
    ) -> Tensor:
        """
        Embed the nodes.

        Parameters
        ----------
        x : torch.Tensor, shape = (n_nodes, in_channels)
            Node features.
        edge_index : torch.Tensor, shape = (2, n_arcs), int64
            Arcs.
        batch : torch.Tensor, shape = (n_nodes,), int64
            Graph of each node; attention stays within a graph.
        edge_attr : torch.Tensor, shape = (n_arcs, edge_channels), optional
            Edge features.

        Returns
        -------
        torch.Tensor, shape = (n_nodes, hidden_channels)
            Embeddings.
        """
        arcs = self._edge_features(edge_attr)
        position = random_walk_encoding(edge_index, batch, self.walk_length, x.dtype)
        h = self._node_features(x) + self.position(position)
        for layer in self.layers:
            h = layer(h, edge_index, batch, arcs)
        return h


class _GPSLayer(torch.nn.Module):
    """PyG's GPS layer around a GIN or GINE message."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.gps = GPSConv(
            channels,
            _GINLayer(channels),
            heads=heads,
            norm="layer_norm",
            norm_kwargs={"mode": "node"},
        )

    def reset_parameters(self) -> None:
        """Initialise afresh."""
        self.gps.attn.out_proj.reset_parameters()  # which MultiheadAttention leaves as it is
        self.gps.reset_parameters()

    def forward(
        self, h: Tensor, edge_index: Tensor, batch: Tensor, edge_attr: _ArcFeatures | None
    ) -> Tensor:
        """Update the state."""
        return self.gps(h, edge_index, batch, edge_attr=edge_attr)


#: Names accepted by ``DiffLift(encoder=...)``; add a class to register it.
ENCODERS: dict[str, Any] = {"gin": GIN, "gps": GPS}
