"""
The training step as it is written without sparse matrices: for comparison, and for small graphs.

All pairs of nodes are compared, in the batch too; networkx finds the cycles; incidences and
adjacencies are dense, and so are their products and gradients.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import networkx as nx
import torch
from torch_geometric.nn import global_mean_pool

from .memory import available
from .steps import Network

if TYPE_CHECKING:
    from torch import Tensor

K = 5


def bytes_of_step(nodes: int, edges: int, cells: int) -> int:
    """Return what the dense matrices of a step take, with a gradient and a copy of each."""
    pairs = nodes**2 + nodes * edges + edges * cells + edges**2 + nodes * cells
    return 3 * 4 * pairs


def too_big(needed: int) -> MemoryError | None:
    """Return the error of what does not fit into memory."""
    free = available()
    if needed < 0.7 * free:
        return None
    gigabytes = f"needs {needed / 2**30:.1f} GB, {free / 2**30:.1f} GB are free"
    return MemoryError(f"does not fit, {gigabytes}")


class DenseNetwork(Network):
    """Encoder, scorers, CWN and head of another network, with dense matrices between them."""

    def __init__(self, other: Network) -> None:
        self.data, self.model = other.data, copy.deepcopy(other.model)
        hidden = self.model.lift.encoder(self.data.x, self.data.edge_index, self.data.batch)
        self.edge_scorer, self.cell_scorer = (
            torch.nn.Sequential(
                torch.nn.Linear(hidden.size(1), hidden.size(1)),
                torch.nn.ReLU(),
                torch.nn.Linear(hidden.size(1), 1),
            )
            for _ in range(2)
        )
        scorers = (self.edge_scorer, self.cell_scorer)
        parameters = [p for m in (self.model, *scorers) for p in m.parameters()]
        self.optimizer = torch.optim.Adam(parameters)

    def logits(self) -> Tensor:
        x, edge_index, batch = self.data.x, self.data.edge_index, self.data.batch
        z = self.model.lift.encoder(x, edge_index, batch)
        nearest = self.nearest(z, batch)
        given = torch.zeros(len(x), len(x), dtype=torch.bool)
        given[edge_index[0], edge_index[1]] = True
        new = torch.zeros_like(given).scatter_(1, nearest, True)
        pairs = torch.cat([given.triu().nonzero(), ((new | new.T) & ~given).triu(1).nonzero()])
        n_given = int(given.triu().sum())
        gate = self.gate(self.edge_scorer(z[pairs].mean(1)))
        gate = torch.cat([torch.ones(n_given), gate[n_given:]])
        b_1 = torch.zeros(len(x), len(pairs))
        columns = torch.arange(len(pairs))
        b_1[pairs[:, 0], columns] = 1.0
        b_1[pairs[:, 1], columns] = 1.0
        b_1 = b_1 * gate
        b_2, members = self.cycles(pairs, gate, len(x))
        gate_2 = self.gate(self.cell_scorer(members.T @ z / members.sum(0).unsqueeze(1)))
        b_2 = b_2 * gate_2
        x_1 = b_1.T @ x
        a_1 = b_2 @ b_2.T
        a_1 = a_1 - torch.diag(a_1.diagonal())
        ranks = self.model.tnn(x, x_1, b_2.T @ x_1, a_1, b_2, b_1.T)
        cell_batch = (members.T @ batch.float() / members.sum(0)).long()
        batches = batch, batch[pairs[:, 0]], cell_batch
        n_graphs = self.data.num_graphs
        pooled = [global_mean_pool(h, b, n_graphs) for h, b in zip(ranks, batches, strict=True)]
        return self.model.head(torch.cat(pooled, dim=1))

    def nearest(self, z: Tensor, batch: Tensor) -> Tensor:
        """Compare all nodes of the batch."""
        apart = batch.unsqueeze(1) != batch.unsqueeze(0)
        distances = torch.cdist(z, z).masked_fill(apart, torch.inf).fill_diagonal_(torch.inf)
        return distances.topk(K, dim=1, largest=False).indices

    def gate(self, logits: Tensor) -> Tensor:
        """Draw, with the gradient of the probability."""
        prob = logits.squeeze(1).sigmoid()
        return torch.bernoulli(prob.detach()) + prob - prob.detach()

    def cycles(self, pairs: Tensor, gate: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Find a basis, and return its edges and its nodes as columns."""
        place = {pair: i for i, pair in enumerate(map(tuple, pairs.tolist())) if gate[i] > 0.5}
        found = nx.cycle_basis(nx.Graph(list(place)))
        b_2, members = torch.zeros(len(pairs), len(found)), torch.zeros(n, len(found))
        for column, cycle in enumerate(found):
            ends = zip(cycle, cycle[1:] + cycle[:1], strict=True)
            b_2[[place[min(end), max(end)] for end in ends], column] = 1.0
            members[cycle, column] = 1.0
        return b_2, members
