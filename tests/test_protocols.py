"""Protocols: which graphs or nodes are for training, for validation and for the test."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from raw_files import (
    MASKS,
    PARTS,
    write_geom_gcn,
    write_heterophilous,
    write_molhiv,
    write_planetoid,
    write_zinc,
)

from topox_difflift.datasets import (
    load_dataset,
    load_splits,
    molecules,
    stratified_fold,
    stratified_split,
)
from topox_difflift.datasets.protocols import settle_protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch_geometric.data import Data


def same(first: list[Data], second: list[Data]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.x, b.x) for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("fold", [None, 0, 7])
def test_graphs_are_drawn_by_the_seed_in_proportion(
    monkeypatch: pytest.MonkeyPatch, fold: int | None
) -> None:
    monkeypatch.setattr("topox_difflift.datasets.named.molecules", partial(molecules, 40))
    graphs = load_dataset("molecules", seed=3)
    labels = torch.cat([graph.y for graph in graphs])
    drawn = stratified_split(labels, 3) if fold is None else stratified_fold(labels, fold, 3)
    found = load_splits("molecules", fold=fold, seed=3)
    for part, indices in zip(found, drawn, strict=True):
        assert same(part, [graphs[i] for i in indices])


@pytest.mark.parametrize(
    ("name", "folder", "write"),
    [("ogbg-molhiv", "OGB/ogbg_molhiv", write_molhiv), ("ZINC", "ZINC", write_zinc)],
)
def test_published_split_of_molecules(
    tmp_path: Path, name: str, folder: str, write: Callable[[Path], None]
) -> None:
    (tmp_path / folder / "raw").mkdir(parents=True)
    write(tmp_path / folder / "raw")
    found = load_splits(name, root=tmp_path)
    for part, members in zip(found, PARTS.values(), strict=True):
        kinds = [int(graph.x[0].argmax()) for graph in part]
        assert kinds == list(members)
        assert not any("mask" in key for graph in part for key in graph.keys())  # noqa: SIM118


@pytest.mark.parametrize("fold", [0, 1, 2])
@pytest.mark.parametrize(
    ("name", "folder", "write"),
    [
        ("Texas", "texas/raw", write_geom_gcn),
        ("Chameleon", "chameleon/geom_gcn/raw", write_geom_gcn),
        ("Minesweeper", "minesweeper/raw", write_heterophilous),
    ],
)
def test_fold_picks_one_of_the_published_splits(
    tmp_path: Path,
    name: str,
    folder: str,
    write: Callable[[Path], None],
    fold: int,
) -> None:
    (tmp_path / folder).mkdir(parents=True)
    write(tmp_path / folder)
    found = load_splits(name, fold=fold, root=tmp_path)
    for (graph,), mask in zip(found, MASKS.values(), strict=True):
        assert graph.mask.tolist() == mask[:, fold].tolist()
        # Both directions of each link, whatever the files hold.
        assert graph.is_undirected()
        assert graph.num_edges == 6
    if fold == 0:
        default = load_splits(name, root=tmp_path)
        assert all(torch.equal(a.mask, b.mask) for (a,), (b,) in zip(found, default, strict=True))


def test_loops_are_left_out_and_each_link_has_both_directions(tmp_path: Path) -> None:
    raw = tmp_path / "texas" / "raw"
    raw.mkdir(parents=True)
    write_geom_gcn(raw)
    (raw / "out1_graph_edges.txt").write_text("from\tto\n0\t0\n1\t0\n0\t1\n3\t2\n")
    for (graph,) in load_splits("Texas", root=tmp_path):
        assert graph.edge_index.t().tolist() == [[0, 1], [1, 0], [2, 3], [3, 2]]


@pytest.mark.parametrize(
    ("dataset", "folder", "write", "counted"),
    [
        ("Texas", "texas/raw", write_geom_gcn, True),
        ("Minesweeper", "minesweeper/raw", write_heterophilous, False),
    ],
)
def test_counts_of_words_are_divided_by_their_sum(
    tmp_path: Path, dataset: str, folder: str, write: Callable[[Path], None], counted: bool
) -> None:
    (tmp_path / folder).mkdir(parents=True)
    write(tmp_path / folder)
    (given,) = load_dataset(dataset, tmp_path)
    expected = torch.tensor([[v / (v + 1), 1 / (v + 1)] for v in range(4)]) if counted else given.x
    for (graph,) in load_splits(dataset, root=tmp_path):
        torch.testing.assert_close(graph.x, expected)
    assert given.x[:, 1].tolist() == [1, 1, 1, 1]


def test_three_protocols_of_planetoid(tmp_path: Path) -> None:
    for folder in ("Cora/raw", "Cora/geom-gcn/raw"):
        (tmp_path / folder).mkdir(parents=True)
        write_planetoid(tmp_path / folder)
    for i in range(10):
        parts = np.arange(502) % 5
        masks = {"train_mask": parts > 1, "val_mask": parts == i % 2, "test_mask": parts == 2}
        np.savez(tmp_path / "Cora/geom-gcn/raw" / f"cora_split_0.6_0.2_{i}.npz", **masks)

    def counts(protocol: str, fold: int | None = None) -> list[int]:
        found = load_splits("Cora", protocol, fold, tmp_path)
        return [int(graph.mask.sum()) for (graph,) in found]

    assert counts("public") == [1, 500, 1]
    # All nodes that are for neither validation nor the test: there is no other one here.
    assert counts("full") == counts("paper") == [1, 500, 1]
    assert counts("geom-gcn", 1) == [300, 101, 100]
    (_,), (val,), _ = load_splits("Cora", "geom-gcn", 1, tmp_path)
    assert bool(val.mask[1])


@pytest.mark.parametrize(
    ("dataset", "protocol", "fold", "settled"),
    [
        ("molecules", None, None, ("stratified", None)),
        ("NCI1", None, 3, ("stratified", 3)),
        ("MUTAG", "paper", None, ("paper", None)),
        ("ogbg-molhiv", None, None, ("scaffold", None)),
        ("ZINC", None, None, ("public", None)),
        ("Cora", None, None, ("public", None)),
        ("PubMed", "geom-gcn", 9, ("geom-gcn", 9)),
        ("Wisconsin", None, None, ("geom-gcn", 0)),
        ("Minesweeper", None, 4, ("public", 4)),
    ],
)
def test_protocol_and_fold_are_filled_in(
    dataset: str, protocol: str | None, fold: int | None, settled: tuple[str, int | None]
) -> None:
    assert settle_protocol(dataset, protocol, fold) == settled
    assert settle_protocol(dataset, *settled) == settled


@pytest.mark.parametrize(
    ("dataset", "protocol", "fold", "message"),
    [
        ("molecules", "paper", None, "'protocol' to be one of stratified for dataset 'molecules'"),
        ("MUTAG", "public", None, "one of stratified, paper for dataset 'MUTAG'"),
        ("Squirrel", "paper", None, "one of geom-gcn for dataset 'Squirrel'"),
        ("Cora", None, 0, "no 'fold' with protocol 'public' .* take protocol 'geom-gcn'"),
        ("ZINC", None, 0, r"is one split \(got 0\); leave it out$"),
        ("Texas", "paper", 0, "no 'fold' with protocol 'paper'"),
        ("Texas", None, 10, "'fold' to be from 0 to 9"),
        ("Texas", None, -1, "'fold' to be from 0 to 9"),
    ],
)
def test_splits_that_do_not_exist_are_refused(
    dataset: str, protocol: str | None, fold: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        settle_protocol(dataset, protocol, fold)


def test_masks_are_for_planetoid_only() -> None:
    for name in ("molecules", "MUTAG", "Texas"):
        with pytest.raises(ValueError, match=f"no 'split' for dataset '{name}'"):
            load_dataset(name, split="geom-gcn")
    with pytest.raises(ValueError, match="'split' to be one of public, full, geom-gcn"):
        load_dataset("Cora", split="random")


needs_data = pytest.mark.skipif(
    "TOPOX_DIFFLIFT_DATA" not in os.environ,
    reason="set TOPOX_DIFFLIFT_DATA to the folder that holds OGB, Planetoid, WebKB, ZINC, ...",
)


@needs_data
@pytest.mark.parametrize(
    ("name", "protocol", "fold", "sizes"),
    [
        ("Cora", "public", None, (140, 500, 1000)),
        ("Cora", "paper", None, (1208, 500, 1000)),
        ("CiteSeer", "paper", None, (1827, 500, 1000)),
        ("CiteSeer", "geom-gcn", 3, None),
        ("Texas", "paper", None, (87, 59, 37)),
        ("Wisconsin", "geom-gcn", 9, (120, 80, 51)),
        ("Chameleon", "geom-gcn", 5, (1092, 729, 456)),
        ("Minesweeper", "public", 9, (5000, 2500, 2500)),
    ],
)
def test_nodes_of_the_published_splits(
    name: str, protocol: str, fold: int | None, sizes: tuple[int, ...] | None
) -> None:
    found = [graph for (graph,) in load_splits(name, protocol, fold)]
    masks = torch.stack([graph.mask for graph in found])
    assert masks.dtype == torch.bool
    assert int(masks.sum(0).max()) == 1
    if sizes is not None:
        assert tuple(masks.sum(1).tolist()) == sizes
    assert all(graph.is_undirected() and not graph.has_self_loops() for graph in found)


@needs_data
def test_the_paper_splits_mutag_into_150_19_and_19() -> None:
    found = load_splits("MUTAG", "paper", seed=1)
    assert [len(part) for part in found] == [150, 19, 19]
    assert all(map(same, found, load_splits("MUTAG", seed=1)))
