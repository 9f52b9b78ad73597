"""Datasets by name: made here, read from a folder, or downloaded into it."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import zipfile
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch_geometric.datasets import (
    HeterophilousGraphDataset,
    Planetoid,
    TUDataset,
    WebKB,
    WikipediaNetwork,
)
from torch_geometric.transforms import Constant

from topox_difflift.datasets.planted import PLANTED, planted_cells
from topox_difflift.datasets.synthetic import molecules, planted_groups

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch_geometric.data import Data, InMemoryDataset

__all__ = ["SYNTHETIC", "load_dataset"]

#: For node classification: PyG's classes, and one of the raw files that each looks for.
_NODE_LEVEL = {
    Planetoid: "{name}/raw/ind.{lower}.graph",
    WebKB: "{lower}/raw/out1_graph_edges.txt",
    WikipediaNetwork: "{lower}/geom_gcn/raw/out1_graph_edges.txt",
    HeterophilousGraphDataset: "{lower}/raw/{lower}.npz",
}
_NAMES = {
    **dict.fromkeys(("Cora", "CiteSeer", "PubMed"), Planetoid),
    **dict.fromkeys(("Cornell", "Texas", "Wisconsin"), WebKB),
    **dict.fromkeys(("Chameleon", "Squirrel"), WikipediaNetwork),
    **dict.fromkeys(
        ("Roman-empire", "Amazon-ratings", "Minesweeper", "Tolokers", "Questions"),
        HeterophilousGraphDataset,
    ),
}
_GRAPH_LEVEL = "{name}/raw/{name}_A.txt"
#: Datasets that are made from a seed; add a function to register one.
SYNTHETIC: dict[str, Callable[..., list[Data]]] = {
    "molecules": molecules,
    "planted_groups": planted_groups,
    **{f"planted_{kind}": partial(planted_cells, kind) for kind in PLANTED},
}


def load_dataset(name: str, root: str | Path | None = None, seed: int = 0) -> list[Data]:
    """
    Load a dataset for graph or node classification.

    Parameters
    ----------
    name : str
        "molecules", "planted_hyperedges", "planted_cycles", "planted_triangles",
        "planted_groups" or the name of a TUDataset such as "MUTAG", for graph
        classification. For node classification "Cora", "CiteSeer", "PubMed", "Cornell",
        "Texas", "Wisconsin", "Chameleon", "Squirrel", "Roman-empire", "Amazon-ratings",
        "Minesweeper", "Tolokers" or "Questions".
    root : str or pathlib.Path, optional
        Folder that holds ``<name>/raw``, or ``<class>/<name>/raw`` with the name of PyG's
        dataset class, and is then only read; where it holds neither, the dataset is
        downloaded into it. By default the folder that the environment variable
        ``TOPOX_DIFFLIFT_DATA`` names, else "data".
    seed : int, default=0
        Seed of a synthetic dataset.

    Returns
    -------
    list of torch_geometric.data.Data
        The graphs; those without node features have the constant 1. A dataset for node
        classification is one graph with the masks that PyG gives it: `train_mask`,
        `val_mask` and `test_mask`, with a column for each split where there are several.

    Raises
    ------
    ValueError
        If there is no such dataset, or it can neither be read nor downloaded.
    """
    if name in SYNTHETIC:
        return SYNTHETIC[name](seed=seed)
    folder = Path((os.environ.get("TOPOX_DIFFLIFT_DATA") or "data") if root is None else root)
    try:
        return _with_features(_of_pyg(name, folder))
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        # What PyG raises for a misspelt name, or without a connection.
        raise ValueError(
            f"Expected 'dataset' to be one of {', '.join([*SYNTHETIC, *_NAMES])}, or"
            f" a TUDataset such as 'MUTAG', which lies in {str(folder)!r} or can be downloaded "
            f"into it (got {name!r}: {error}); name the folder that holds it by "
            "TOPOX_DIFFLIFT_DATA, or take a dataset that is made here, such as 'molecules'"
        ) from error


def _of_pyg(name: str, folder: Path) -> InMemoryDataset:
    make = _NAMES.get(name, TUDataset)
    pattern = _NODE_LEVEL.get(make, _GRAPH_LEVEL)
    file = pattern.format(name=name, lower=name.lower().replace("-", "_"))
    for parent in (folder, folder / make.__name__):
        if (parent / file).is_file():
            return _processed_elsewhere(make, name, parent, Path(file).parent)
    return make(str(folder), name)


def _processed_elsewhere(
    make: type[InMemoryDataset], name: str, folder: Path, raw: Path
) -> InMemoryDataset:
    """Read raw files without writing beside them, as PyG would."""
    # What PyG says on the way is about a folder that is gone in a moment.
    with tempfile.TemporaryDirectory() as scratch, redirect_stderr(io.StringIO()):
        shutil.copytree(folder / raw, scratch / raw, copy_function=shutil.copyfile)
        return make(scratch, name)


def _with_features(dataset: InMemoryDataset) -> list[Data]:
    constant = Constant()
    return [data if data.x is not None else constant(data) for data in dataset]
