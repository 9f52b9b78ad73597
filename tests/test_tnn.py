"""TopoModelX networks train through the lift, on embedded and on real molecules."""

import os

import pytest
import torch
from topomodelx.nn.cell.cwn import CWN
from topomodelx.nn.hypergraph.unigcn import UniGCN
from torch_geometric.data import Batch

from topox_difflift import DiffLift
from topox_difflift.datasets import load_dataset

DATA = os.environ.get("TOPOX_DIFFLIFT_DATA")


@pytest.fixture(scope="module", params=["molecules", "MUTAG"])
def batch(request):
    if request.param == "MUTAG" and not DATA:
        pytest.skip("MUTAG needs TOPOX_DIFFLIFT_DATA, the folder that holds TUDataset/MUTAG/raw")
    return Batch.from_data_list(load_dataset(request.param)[:48])


class Classifier(torch.nn.Module):
    """A lift, a TopoModelX network, and a mean over the nodes and edges of each graph."""

    def __init__(self, domain, in_channels):
        super().__init__()
        self.lift = DiffLift(domain, in_channels=in_channels, hidden_channels=32)
        self.cell = domain == "cell"
        c = in_channels
        self.tnn = CWN(c, c, c, 16, 1) if self.cell else UniGCN(c, 16, n_layers=1)
        self.head = torch.nn.Linear(32, 2)

    def forward(self, data):
        c = self.lift(data)
        if self.cell:
            x_0, x_1, _ = self.tnn(
                c.x_0, c.x_1, c.x_2, c.adjacency_1, c.incidence_2, c.incidence_1.T
            )
        else:
            x_0, x_1 = self.tnn(c.x_0, c.incidence_1)
        pooled = [
            torch.zeros(c.num_graphs, 16).index_add(0, index, x)
            / torch.bincount(index, minlength=c.num_graphs).unsqueeze(-1).clamp(min=1)
            for x, index in ((x_0, c.batch_0), (x_1, c.batch_1))
        ]
        return self.head(torch.cat(pooled, dim=1))


@pytest.mark.parametrize("domain", ["cell", "hypergraph"])
def test_trains(domain, batch):
    torch.manual_seed(0)
    model = Classifier(domain, batch.x.size(1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for step in range(25):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(batch), batch.y)
        loss.backward()
        if step == 0:
            for name, parameter in model.lift.named_parameters():
                assert torch.isfinite(parameter.grad).all(), name
                assert parameter.grad.any(), f"{name} has a zero gradient in the first step"
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    model.eval()
    with torch.no_grad():
        assert torch.equal(model(batch), model(batch))
