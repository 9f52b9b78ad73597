"""Pictures: what they show is what the complex holds."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.data import Batch

pytest.importorskip("matplotlib", reason='needs the extra "plot"')

from topox_difflift import DiffLift, datasets
from topox_difflift.liftings import NoLifting
from topox_difflift.plotting import draw


@pytest.mark.parametrize("domain", ["cell", "simplicial", "combinatorial", "hypergraph"])
def test_title_counts_the_cells(domain: str) -> None:
    lifted = DiffLift(domain, generator=torch.Generator().manual_seed(0))(datasets.molecules(1)[0])
    lines = draw(lifted).get_title().split("\n")
    expected = [
        f"rank {r.rank}: {r.original} given, {r.accepted} learned" for r in lifted.summary().ranks
    ]
    assert lines == expected


def test_picture_of_several_graphs_is_refused() -> None:
    lifted = NoLifting()(Batch.from_data_list(datasets.molecules(2)))
    with pytest.raises(ValueError, match="unbatch"):
        draw(lifted)
