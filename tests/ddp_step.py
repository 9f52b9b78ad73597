"""A step of several processes, and what goes wrong in one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from lightning.pytorch import Callback
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch_geometric.data import Batch, Data

from topox_difflift.config import TrainingConfig
from topox_difflift.datasets import molecules

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from lightning.pytorch import LightningModule, Trainer

    from topox_difflift.nn import TopologicalNetwork

#: Networks that draw nothing, and to which domain.
CASES = {"cwn": "cell", "sca_cmps": "combinatorial", "unigcn": "hypergraph"}


class Share(NamedTuple):
    """Which of two processes it is, and where they meet."""

    rank: int
    meeting: Path


def graphs() -> tuple[list[Data], list[Data]]:
    """As many graphs for each process; in those of the second one there is nothing to accept."""
    found = molecules(4)
    for i, graph in enumerate(found):
        noise = torch.randn(graph.x.shape, generator=torch.Generator().manual_seed(i))
        graph.x = graph.x.double() + 0.3 * noise.double()
        del graph.edge_attr
    nowhere = torch.empty(2, 0, dtype=torch.long)
    return found, [Data(x=graph.x[:1], edge_index=nowhere, y=graph.y) for graph in found]


def model(tnn: str) -> TopologicalNetwork:
    """Make a network that draws nothing and waits for no input."""
    config = TrainingConfig(
        "molecules",
        tnn=tnn,
        domain=CASES[tnn],
        estimator="threshold",
        hidden_channels=8,
        dropout=0.0,
    )
    return config.build(7, 0, 2).double()


def gradients(network: torch.nn.Module, batch: Batch) -> dict[str, np.ndarray]:
    cross_entropy(network(batch), batch.y).backward()
    return {
        name.removeprefix("module."): parameter.grad.numpy()
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }


def step(share: Share) -> dict[str, dict[str, np.ndarray]]:
    """Average the gradients of both processes."""
    torch.distributed.init_process_group(
        "gloo", init_method=share.meeting.as_uri(), rank=share.rank, world_size=2
    )
    batch, found = Batch.from_data_list(graphs()[share.rank]), {}
    for tnn in CASES:
        network = DistributedDataParallel(model(tnn), find_unused_parameters=True)
        found[tnn] = gradients(network, batch)
    # The group ends with the process: to destroy it while a module holds it can wait forever, for
    # a thread of gloo that itself waits for the interpreter.
    return found


class Failing(Callback):
    """Fail in the second process, for which the first one would wait forever."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Data, batch_idx: int
    ) -> None:
        if trainer.global_rank == 1:
            raise RuntimeError("no luck")
