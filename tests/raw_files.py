"""Tiny raw files in the layouts of PyG's and OGB's dataset classes."""

from __future__ import annotations

import gzip
import pickle
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse import csr_array

if TYPE_CHECKING:
    from pathlib import Path

TINY = {
    "A": "1, 2\n2, 1\n3, 4\n4, 3\n",
    "graph_indicator": "1\n1\n2\n2\n",
    "graph_labels": "1\n-1\n",
}


def write_tiny(raw: Path) -> None:
    for name, text in TINY.items():
        (raw / f"TINY_{name}.txt").write_text(text)


# A path of nodes with class = node % 2 in the layouts of PyG's dataset classes; the
# splits are the same everywhere: in split i, node i is for validation and i + 1 for the test.
MASKS = {
    "train_mask": np.array([[v not in (i, i + 1) for i in range(3)] for v in range(4)]),
    "val_mask": np.array([[v == i for i in range(3)] for v in range(4)]),
    "test_mask": np.array([[v == i + 1 for i in range(3)] for v in range(4)]),
}


def write_geom_gcn(raw: Path) -> None:
    name = next(part for part in raw.parts[::-1] if part not in ("raw", "geom_gcn"))
    nodes = "".join(f"{v}\t{v},1\t{v % 2}\n" for v in range(4))
    (raw / "out1_node_feature_label.txt").write_text(f"id\tfeature\tlabel\n{nodes}")
    (raw / "out1_graph_edges.txt").write_text("from\tto\n0\t1\n1\t2\n2\t3\n")
    for i in range(10):
        columns = {key: mask[:, i % 3] for key, mask in MASKS.items()}
        np.savez(raw / f"{name}_split_0.6_0.2_{i}.npz", **columns)


def write_heterophilous(raw: Path) -> None:
    np.savez(
        raw / f"{raw.parent.name}.npz",
        node_features=np.array([[v, 1] for v in range(4)], dtype=np.float32),
        node_labels=np.arange(4) % 2,
        edges=np.array([[0, 1], [1, 2], [2, 3]]),
        **{f"{key}s": mask.T for key, mask in MASKS.items()},
    )


def write_planetoid(raw: Path) -> None:
    # The 500 nodes after those for training are for validation, whatever the size.
    x = csr_array([[float(v), 1.0] for v in range(502)])
    y = np.eye(2, dtype=np.int32)[np.arange(502) % 2]
    neighbors = {v: [u for u in (v - 1, v + 1) if 0 <= u < 502] for v in range(502)}
    parts = {"x": x[:1], "allx": x[:-1], "tx": x[-1:], "y": y[:1], "ally": y[:-1], "ty": y[-1:]}
    for key, part in {**parts, "graph": neighbors}.items():
        with (raw / f"ind.cora.{key}").open("wb") as file:
            pickle.dump(part, file)
    (raw / "ind.cora.test.index").write_text("501\n")


# What each of the twelve molecules of the two molecular layouts is for.
PARTS = {"train": range(8), "val": range(8, 10), "test": range(10, 12)}


def write_molhiv(raw: Path) -> None:
    """Molecule i is a path of 2 + i % 3 atoms of kind i, with bonds of kind 3 and class i % 2."""

    def write(name: str, rows: list[tuple[int, ...]]) -> None:
        path = raw.parent / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt") as file:
            file.writelines(",".join(map(str, row)) + "\n" for row in rows)

    sizes = [2 + i % 3 for i in range(12)]
    write("raw/num-node-list", [(n,) for n in sizes])
    write("raw/num-edge-list", [(n - 1,) for n in sizes])
    write("raw/node-feat", [(i, *[1] * 8) for i, n in enumerate(sizes) for _ in range(n)])
    write("raw/edge", [(v, v + 1) for n in sizes for v in range(n - 1)])
    write("raw/edge-feat", [(3, 0, 1) for n in sizes for _ in range(n - 1)])
    write("raw/graph-label", [(i % 2,) for i in range(12)])
    for file, part in (("train", "train"), ("valid", "val"), ("test", "test")):
        write(f"split/scaffold/{file}", [(i,) for i in PARTS[part]])


def write_zinc(raw: Path) -> None:
    """Molecule i is a path of 2 + i % 3 atoms of type i, with bonds of type 2 and target -i."""
    for part, members in PARTS.items():
        molecules = {}
        for i in members:
            bonds = torch.zeros(2 + i % 3, 2 + i % 3, dtype=torch.long)
            bonds.diagonal(1).fill_(2)
            molecules[i] = {
                "atom_type": torch.full((2 + i % 3,), i),
                "bond_type": bonds + bonds.t(),
                "logP_SA_cycle_normalized": torch.tensor([-float(i)]),
            }
        with (raw / f"{part}.pickle").open("wb") as file:
            pickle.dump(molecules, file)
        (raw / f"{part}.index").write_text(",".join(map(str, members)) + "\n")


def write_minesweeper(raw: Path, n: int = 24) -> None:
    """A ring whose nodes have a noisy class as a feature; ten random splits."""
    random = np.random.default_rng(0)
    y = np.arange(n) % 2
    parts = np.stack([random.permutation(np.arange(n) // 2 % 4) for _ in range(10)])
    # Both classes in each part, whatever was drawn.
    parts[:, :6] = [0, 0, 2, 2, 3, 3]
    np.savez(
        raw / "minesweeper.npz",
        node_features=(y[:, None] + random.normal(size=(n, 3))).astype(np.float32),
        node_labels=y,
        edges=np.stack([np.arange(n), (np.arange(n) + 1) % n], axis=1),
        train_masks=parts < 2,
        val_masks=parts == 2,
        test_masks=parts == 3,
    )
