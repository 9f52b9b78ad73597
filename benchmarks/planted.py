"""Planted hyperedges: does the lifting find the groups that decide the label?

Run ``python benchmarks/planted.py`` for the default on four seeds, or
``python benchmarks/planted.py --rows all --json planted.json`` for the whole table.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from topox_difflift import DiffLift, LiftedComplex
from topox_difflift.datasets import planted_groups
from topox_difflift.sparse import matmul

#: Options of each row of the table; all have k = 3, the size of the groups.
ROWS: dict[str, dict[str, Any]] = {
    "paper": {"rejected": "drop", "memberships": "hard", "dispersion": False},
    "paper, kept": {"rejected": "keep", "memberships": "hard", "dispersion": False},
    "dispersion, kept": {"rejected": "keep", "memberships": "hard", "dispersion": True},
    "memberships, dropped": {"rejected": "drop", "memberships": "kernel", "dispersion": False},
    "memberships, kept": {"rejected": "keep", "memberships": "kernel", "dispersion": False},
    "default": {},
}


class SetNetwork(torch.nn.Module):
    """A network on the members of each hyperedge, then on the hyperedges of each graph."""

    def __init__(self, in_channels: int, hidden_channels: int = 64, out_channels: int = 2) -> None:
        super().__init__()
        linear, relu, width = torch.nn.Linear, torch.nn.ReLU, hidden_channels
        self.member = torch.nn.Sequential(linear(in_channels, width), relu())
        self.cell = torch.nn.Sequential(linear(width, width), relu(), linear(width, width), relu())
        self.graph = torch.nn.Sequential(linear(width, width), relu(), linear(width, out_channels))

    def forward(self, lifted: LiftedComplex) -> Tensor:
        """Return one row of logits for each graph."""
        incidence = lifted.incidence_1
        node_of_cell = incidence.indices().flip(0)
        h = self.member(lifted.x_0)
        h = self.cell(matmul(node_of_cell, incidence.values(), h, incidence.size(1)))
        h = h * lifted.mask_1.unsqueeze(-1)
        pooled = h.new_zeros(lifted.num_graphs, h.size(1)).index_add(0, lifted.batch_1, h)
        return self.graph(pooled)


def evaluate(lift: DiffLift, network: SetNetwork, test: list[Data]) -> dict[str, float]:
    """Return accuracy, purity of the learned hyperedges and acceptance rate on `test`."""
    lift.eval(), network.eval()
    batch = Batch.from_data_list(test)
    with torch.no_grad():
        lifted = lift(batch)
        accuracy = (network(lifted).argmax(1) == batch.y).float().mean()
    cells, owner = lifted.cell_index_1, lifted.batch_1
    group = batch.group[cells].view(-1, 3)
    pure = (group == group[:, :1]).all(1).float()
    return {
        "accuracy": float(accuracy),
        "purity": float(pure.mean()) if len(pure) else 0.0,
        "acceptance": len(owner) / len(batch.x),
    }


def run(
    seed: int,
    *,
    n_train: int = 3000,
    n_test: int = 1000,
    num_nodes: int = 18,
    epochs: int = 20,
    lr: float = 2e-3,
    **options: Any,
) -> dict[str, float]:
    """Train a lifting and a set network on planted groups, and evaluate on fresh graphs."""
    start = time.perf_counter()
    torch.manual_seed(seed)
    train = planted_groups(n_train, num_nodes, seed=2 * seed + 1)
    test = planted_groups(n_test, num_nodes, seed=2 * seed)
    lift = DiffLift("hypergraph", in_channels=17, k_min=3, k_max=3, **options)
    network = SetNetwork(17)
    optimizer = torch.optim.Adam([*lift.parameters(), *network.parameters()], lr=lr)
    batches = DataLoader(train, batch_size=50, shuffle=True)
    steps = epochs * len(batches)
    # Constant for the first half, then down to zero.
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, 2 * (1 - s / steps)))
    for _ in range(epochs):
        lift.train(), network.train()
        for batch in batches:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(lift(batch)), batch.y).backward()
            optimizer.step()
            schedule.step()
    return {**evaluate(lift, network, test), "seconds": time.perf_counter() - start}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", default=["default"], choices=[*ROWS, "all"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--json", type=Path, help="where to write the results")
    arguments = parser.parse_args()
    results = []
    print(
        f"{'lifting':22} {'seed':>4} {'accuracy':>9} {'purity':>7} {'accepted':>9} {'seconds':>8}"
    )
    for row in ROWS if "all" in arguments.rows else arguments.rows:
        for seed in arguments.seeds:
            found = run(seed, epochs=arguments.epochs, **ROWS[row])
            results.append({"row": row, "seed": seed, **found})
            print(
                f"{row:22} {seed:4} {found['accuracy']:9.3f} {found['purity']:7.2f} "
                f"{found['acceptance']:9.2f} {found['seconds']:8.0f}",
                flush=True,
            )
            if arguments.json:
                arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
