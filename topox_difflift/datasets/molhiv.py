"""Read ogbg-molhiv from OGB's tables, without OGB."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, download_url, extract_zip

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_molhiv"]

#: Categories in each column of OGB's features of atoms and of bonds.
ATOM_SIZES = (119, 5, 12, 12, 10, 6, 6, 2, 2)
BOND_SIZES = (5, 6, 2)
_URL = "http://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download/hiv.zip"
_FOLDER = "ogbg_molhiv"


def read_molhiv(root: str | Path, name: str = "ogbg-molhiv") -> list[Data]:
    """
    Read ogbg-molhiv with its scaffold split, from OGB's raw tables.

    Parameters
    ----------
    root : str or pathlib.Path
        Folder that holds ``ogbg_molhiv/raw`` and ``ogbg_molhiv/split``; downloaded into it
        if it does not.
    name : str
        Not used.

    Returns
    -------
    list of torch_geometric.data.Data
        Molecules with one-hot features of atoms (174 columns) and bonds (13), a class `y`,
        and `train_mask`, `val_mask` and `test_mask`, which say what the molecule is for.

    References
    ----------
    .. [1] Hu et al. Open Graph Benchmark: datasets for machine learning on graphs. NeurIPS
       2020.
    """
    folder = Path(root) / _FOLDER
    if not (folder / "raw" / "edge.csv.gz").is_file():
        _download(Path(root))
    raw = folder / "raw"
    n_nodes, n_edges = (_table(raw / f"num-{of}-list.csv.gz")[:, 0] for of in ("node", "edge"))
    x = _encoded(_table(raw / "node-feat.csv.gz"), ATOM_SIZES)
    # Each bond is stored once: here with its reverse, which has the same features.
    bonds = _table(raw / "edge.csv.gz")
    arcs = torch.from_numpy(np.stack([bonds, bonds[:, ::-1]], axis=1).reshape(-1, 2).T.copy())
    edge_attr = _encoded(_table(raw / "edge-feat.csv.gz"), BOND_SIZES).repeat_interleave(2, dim=0)
    y = torch.from_numpy(_table(raw / "graph-label.csv.gz")[:, 0])
    masks = {
        f"{part}_mask": _member(_table(folder / "split" / "scaffold" / f"{file}.csv.gz"), len(y))
        for part, file in (("train", "train"), ("val", "valid"), ("test", "test"))
    }
    nodes, edges = n_nodes.tolist(), (2 * n_edges).tolist()
    per_graph = zip(x.split(nodes), arcs.split(edges, dim=1), edge_attr.split(edges), strict=True)
    return [
        Data(
            x=features,
            edge_index=edge_index,
            edge_attr=attributes,
            y=y[i : i + 1],
            **{key: mask[i : i + 1] for key, mask in masks.items()},
        )
        for i, (features, edge_index, attributes) in enumerate(per_graph)
    ]


def _download(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        extract_zip(download_url(_URL, scratch), scratch)
        shutil.move(Path(scratch) / "hiv", root / _FOLDER)


def _table(path: Path) -> NDArray[np.int64]:
    return np.loadtxt(path, dtype=np.int64, delimiter=",", ndmin=2)


def _encoded(columns: NDArray[np.int64], sizes: tuple[int, ...]) -> Tensor:
    """Encode each column in as many places as it has categories."""
    first = np.cumsum((0, *sizes[:-1]))
    encoded = torch.zeros(len(columns), sum(sizes))
    return encoded.scatter_(1, torch.from_numpy(columns + first), 1)


def _member(indices: NDArray[np.int64], n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.bool).index_fill_(0, torch.from_numpy(indices[:, 0]), True)
