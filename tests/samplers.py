"""What PyG's loaders of one large graph call compiled packages for, in PyTorch and SciPy alone.

Only that call is replaced: the loaders, what they hand on and in which order, are PyG's own.
"""

from __future__ import annotations

import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import reverse_cuthill_mckee
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.loader import ClusterData
from torch_geometric.sampler import NeighborSampler, SamplerOutput

from topox_difflift import ragged


class PlainSampler(NeighborSampler):
    """Draw neighbours without replacement, hop by hop, seeds first; -1 takes all of them."""

    def _sample(self, seed: Tensor, seed_time: Tensor | None = None, **_: object) -> SamplerOutput:
        degrees = self.colptr.diff()
        place = torch.full((self.num_nodes,), -1)
        place[seed] = torch.arange(len(seed))
        node, front, arcs = seed, seed, []
        for count in self.num_neighbors.get_mapped_values():
            arc = ragged.take(degrees, front)
            target = ragged.owners(degrees[front])
            if count >= 0:
                order, sizes = ragged.by_group(torch.rand(len(arc)), target)
                arc = arc[order[ragged.positions(sizes) < count]]
            reached = self.row[arc].unique()
            front = reached[place[reached] < 0]
            place[front] = len(node) + torch.arange(len(front))
            node = torch.cat([node, front])
            arcs.append(arc)
        arc = torch.cat(arcs)
        target = torch.bucketize(arc, self.colptr[1:], right=True)
        return SamplerOutput(node=node, row=place[self.row[arc]], col=place[target], edge=arc)


class PlainClusters(ClusterData):
    """Cut an order of the nodes in which neighbours are close into parts of one size."""

    def _metis(self, edge_index: Tensor, num_nodes: int) -> Tensor:
        ones = torch.ones(edge_index.size(1))
        matrix = csr_array((ones, tuple(edge_index)), shape=(num_nodes, num_nodes))
        order = torch.from_numpy(reverse_cuthill_mckee(matrix, symmetric_mode=True).astype("int64"))
        part = torch.arange(num_nodes) * self.num_parts // num_nodes
        return torch.empty_like(part).scatter_(0, order, part)


def random_graph(num_nodes: int, num_edges: int, channels: int = 8, seed: int = 0) -> Data:
    """A random graph with both arcs of each edge, features and two classes."""
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randint(num_nodes, (2, num_edges), generator=generator)
    ends = ends[:, ends[0] != ends[1]].sort(0).values.unique(dim=1)
    x = torch.randn(num_nodes, channels, generator=generator)
    return Data(
        x=x,
        edge_index=torch.cat([ends, ends.flip(0)], dim=1),
        y=(x[:, 0] > 0).long(),
        train_mask=torch.rand(num_nodes, generator=generator) < 0.5,
    )
