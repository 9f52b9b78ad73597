"""What is known of a dataset by its name: where it lies, what is predicted, how it is split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping  # noqa: TC003 -- a dataclass has them
from dataclasses import dataclass, field, replace

import torch
from torch.nn.functional import one_hot
from torch_geometric.data import Data
from torch_geometric.datasets import (
    ZINC,
    HeterophilousGraphDataset,
    Planetoid,
    TUDataset,
    WebKB,
    WikipediaNetwork,
)

from topox_difflift.datasets.molhiv import read_molhiv

__all__ = ["NAMES", "Source", "source_of"]


@dataclass(frozen=True)
class Source:
    """
    A kind of dataset.

    Attributes
    ----------
    home : str
        Folder in which datasets of this kind may lie together.
    raw : str
        One of the raw files, with the dataset's name in braces.
    read : callable
        ``(root, name) -> graphs``, which downloads what is not there.
    level : {"graph", "node"}
        What is predicted for.
    metric : {"accuracy", "ROC-AUC", "MAE"}
        What a prediction is judged by.
    protocols : mapping of str to int
        Ways to split it, the default first, and how many splits there are of each; 0 where
        there is one.
    """

    home: str
    raw: str
    read: Callable[..., Iterable[Data]]
    level: str = "graph"
    metric: str = "accuracy"
    protocols: Mapping[str, int] = field(default_factory=lambda: {"stratified": 10})
    words: bool = False


def _read_zinc(root: str, name: str) -> list[Data]:
    """Read the 12 000 molecules with one-hot atoms (28) and bonds (3), and what they are for."""
    graphs = []
    for split in ("train", "val", "test"):
        masks = {f"{key}_mask": torch.tensor([key == split]) for key in ("train", "val", "test")}
        graphs += [
            Data(
                x=one_hot(data.x[:, 0], 28).float(),
                edge_index=data.edge_index,
                edge_attr=one_hot(data.edge_attr - 1, 3).float(),  # 0 would be no bond
                y=data.y,
                **masks,
            )
            for data in ZINC(f"{root}/{name}", subset=True, split=split)
        ]
    return graphs


_TU = Source("TUDataset", "{name}/raw/{name}_A.txt", TUDataset)
_PLANETOID = Source(
    "Planetoid",
    "{name}/raw/ind.{lower}.graph",
    Planetoid,
    level="node",
    protocols={"public": 0, "full": 0, "geom-gcn": 10},
    words=True,
)
_WEBKB = Source(
    "WebKB",
    "{lower}/raw/out1_graph_edges.txt",
    WebKB,
    level="node",
    protocols={"geom-gcn": 10},
    words=True,
)
_WIKIPEDIA = replace(
    _WEBKB,
    home="WikipediaNetwork",
    raw="{lower}/geom_gcn/raw/out1_graph_edges.txt",
    read=WikipediaNetwork,
)
_HETEROPHILOUS = Source(
    "HeterophilousGraphDataset",
    "{lower}/raw/{lower}.npz",
    HeterophilousGraphDataset,
    level="node",
    protocols={"public": 10},
)
_HETEROPHILOUS_BINARY = replace(_HETEROPHILOUS, metric="ROC-AUC")
_MOLHIV = Source(
    "OGB",
    "{lower}/raw/edge.csv.gz",
    read_molhiv,
    metric="ROC-AUC",
    protocols={"scaffold": 0},
)
_ZINC = Source("ZINC", "{name}/raw/train.pickle", _read_zinc, metric="MAE", protocols={"public": 0})

#: Datasets with a source of their own; any other name is that of a TUDataset.
NAMES: dict[str, Source] = {
    **dict.fromkeys(("Cora", "CiteSeer", "PubMed"), _PLANETOID),
    **dict.fromkeys(("Cornell", "Texas", "Wisconsin"), _WEBKB),
    **dict.fromkeys(("Chameleon", "Squirrel"), _WIKIPEDIA),
    **dict.fromkeys(("Roman-empire", "Amazon-ratings"), _HETEROPHILOUS),
    **dict.fromkeys(("Minesweeper", "Tolokers", "Questions"), _HETEROPHILOUS_BINARY),
    "ogbg-molhiv": _MOLHIV,
    "ZINC": _ZINC,
}


def source_of(name: str) -> Source:
    """
    Look a dataset up.

    Parameters
    ----------
    name : str
        Its name.

    Returns
    -------
    Source
        What is known; a TUDataset, for graph classification, if it has no entry.
    """
    return NAMES.get(name, _TU)
