"""The network that reads no cell: what is left of a comparison without topology."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch_geometric.nn import MLP

from topox_difflift.nn.adapters import Adapter, Features

if TYPE_CHECKING:
    from torch import Tensor

    from topox_difflift.complex import LiftedComplex

__all__ = ["NODES_ONLY", "NodeNetwork"]


class NodeNetwork(torch.nn.Module):
    """
    Transform each node on its own.

    Behind the encoder that every arm of a comparison has, it makes a plain graph neural network
    with the layers, the readout and the head of the topological networks it is compared with.

    Parameters
    ----------
    in_channels, hidden_channels, n_layers : int
        Width of the features, width of the layers, and their number.
    """

    def __init__(self, in_channels: int, hidden_channels: int, n_layers: int) -> None:
        super().__init__()
        self.hidden_channels = hidden_channels
        widths = [in_channels, *[hidden_channels] * n_layers]
        # No norm over the batch, so that a prediction does not depend on batch mates.
        self.mlp = MLP(widths, norm=None, plain_last=False)

    def forward(self, x: Tensor) -> Tensor:
        """
        Transform.

        Parameters
        ----------
        x : torch.Tensor, shape = (n_nodes, in_channels)
            Features.

        Returns
        -------
        torch.Tensor, shape = (n_nodes, hidden_channels)
            Features, none of them negative.
        """
        return self.mlp(x)


def _call(tnn: NodeNetwork, lifted: LiftedComplex) -> Features:
    return {0: tnn(lifted.x_0)}


def _channels(tnn: NodeNetwork) -> dict[int, int]:
    return {0: tnn.hidden_channels}


#: No member of `TNNS`, whose networks are topological ones.
NODES_ONLY = Adapter(
    call=_call,
    channels=_channels,
    model=f"{__name__}.NodeNetwork",
    learns=(),
    activated=True,
    matrices="none",
    why="reads the nodes alone",
    build=NodeNetwork,
)
