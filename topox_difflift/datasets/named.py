"""Datasets by name: made here, read from a folder, or downloaded into it."""

from __future__ import annotations

import functools
import io
import os
import shutil
import tempfile
import zipfile
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING

from torch_geometric.transforms import Constant

from topox_difflift.checks import check_one_of
from topox_difflift.datasets.planted import PLANTED, planted_cells
from topox_difflift.datasets.sources import NAMES, source_of
from topox_difflift.datasets.synthetic import molecules, planted_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch_geometric.data import Data

    from topox_difflift.datasets.sources import Source

__all__ = ["SYNTHETIC", "load_dataset"]

#: Datasets that are made from a seed; add a function to register one.
SYNTHETIC: dict[str, Callable[..., list[Data]]] = {
    "molecules": molecules,
    "planted_groups": planted_groups,
    **{f"planted_{kind}": functools.partial(planted_cells, kind) for kind in PLANTED},
}


def load_dataset(
    name: str, root: str | Path | None = None, seed: int = 0, split: str | None = None
) -> list[Data]:
    """
    Load a dataset for predictions on graphs or on nodes.

    Parameters
    ----------
    name : str
        "molecules", "planted_hyperedges", "planted_cycles", "planted_triangles",
        "planted_groups" or the name of a TUDataset such as "MUTAG", for graph classification,
        "ogbg-molhiv" or "ZINC" (its 12 000 molecules). For node classification "Cora",
        "CiteSeer", "PubMed", "Cornell", "Texas", "Wisconsin", "Chameleon", "Squirrel",
        "Roman-empire", "Amazon-ratings", "Minesweeper", "Tolokers" or "Questions".
    root : str or pathlib.Path, optional
        Folder that holds ``<name>/raw``, or ``<class>/<name>/raw`` with the name of PyG's
        dataset class ("OGB" for "ogbg-molhiv"), and is then only read; where it holds
        neither, the dataset is downloaded into it. By default the folder that the environment
        variable ``TOPOX_DIFFLIFT_DATA`` names, else "data".
    seed : int, default=0
        Seed of a synthetic dataset.
    split : {"public", "full", "geom-gcn"}, optional
        Masks of "Cora", "CiteSeer" or "PubMed", as PyG names them; by default "public".

    Returns
    -------
    list of torch_geometric.data.Data
        The graphs; those without node features have the constant 1, and the integer types of
        atoms and bonds of "ogbg-molhiv" and "ZINC" are one-hot. A dataset for node
        classification is one graph with the masks that PyG gives it: `train_mask`,
        `val_mask` and `test_mask`, with a column for each split where there are several.
        Graphs with a published split have masks of the same names, with one entry.

    Raises
    ------
    ValueError
        If there is no such dataset, it has no such `split`, or it can neither be read nor
        downloaded.
    """
    source = source_of(name)
    if split is not None:
        _check_split(name, source, split)
    if name in SYNTHETIC:
        return SYNTHETIC[name](seed=seed)
    read, file = source.read, source.raw.format(name=name, lower=name.lower().replace("-", "_"))
    if split is not None:
        read = functools.partial(read, split=split)
        file = file.replace("/raw", "/geom-gcn/raw") if split == "geom-gcn" else file
    folder = Path((os.environ.get("TOPOX_DIFFLIFT_DATA") or "data") if root is None else root)
    try:
        for parent in (folder, folder / source.home):
            if (parent / file).is_file():
                return _with_features(_processed_elsewhere(read, name, parent, Path(file).parts[0]))
        return _with_features(read(str(folder), name))
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        # What PyG raises for a misspelt name, or without a connection.
        raise ValueError(
            f"Expected 'dataset' to be one of {', '.join([*SYNTHETIC, *NAMES])}, or a TUDataset "
            f"such as 'MUTAG', which lies in {str(folder)!r} or can be downloaded "
            f"into it (got {name!r}: {error}); name the folder that holds it by "
            "TOPOX_DIFFLIFT_DATA, or take a dataset that is made here, such as 'molecules'"
        ) from error


def _check_split(name: str, source: Source, split: str) -> None:
    if source.home != "Planetoid":
        raise ValueError(
            f"Expected no 'split' for dataset {name!r}, which has no other masks than its own (got "
            f"{split!r}); leave it out, and see load_splits for ways to split it"
        )
    check_one_of("split", split, tuple(source.protocols))


def _processed_elsewhere(
    read: Callable[..., Iterable[Data]], name: str, folder: Path, files: str
) -> Iterable[Data]:
    """Read raw files without writing beside them, as PyG would."""
    # What PyG says on the way is about a folder that is gone in a moment.
    with tempfile.TemporaryDirectory() as scratch, redirect_stderr(io.StringIO()):
        shutil.copytree(
            folder / files,
            Path(scratch) / files,
            copy_function=shutil.copyfile,
            ignore=shutil.ignore_patterns("processed"),
        )
        return read(scratch, name)


def _with_features(graphs: Iterable[Data]) -> list[Data]:
    constant = Constant()
    return [data if data.x is not None else constant(data) for data in graphs]
