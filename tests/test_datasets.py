"""Datasets: what they promise about size, balance, seeds and splits."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_files import (
    MASKS,
    PARTS,
    write_geom_gcn,
    write_heterophilous,
    write_molhiv,
    write_planetoid,
    write_tiny,
    write_zinc,
)
from torch_geometric.datasets import (
    ZINC,
    HeterophilousGraphDataset,
    Planetoid,
    TUDataset,
    WebKB,
    WikipediaNetwork,
)
from torch_geometric.utils import to_networkx

from topox_difflift.datasets import (
    ATOMS,
    load_dataset,
    molecules,
    molhiv,
    planted_groups,
    stratified_fold,
    stratified_split,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch_geometric.data import Data

NITROGEN, OXYGEN = ATOMS.index("N"), ATOMS.index("O")


def test_molecules_are_small_connected_and_balanced() -> None:
    graphs = molecules(60)
    assert sum(int(graph.y) for graph in graphs) == 30
    for graph in graphs:
        assert graph.validate()
        assert 18 <= graph.num_nodes <= 30
        assert graph.is_undirected()
        assert graph.x.shape == (graph.num_nodes, 7)
        assert graph.edge_attr.shape == (graph.num_edges, 4)
        assert bool((graph.x.sum(1) == 1).all())
        assert bool((graph.edge_attr.sum(1) == 1).all())
        loose = to_networkx(graph, to_undirected=True)
        assert nx.is_connected(loose)
        assert loose.number_of_edges() - loose.number_of_nodes() + 1 in (2, 3)
        assert all(len(ring) in (5, 6) for ring in nx.minimum_cycle_basis(loose))
        assert max(degree for _, degree in loose.degree) <= 4


def test_label_of_a_molecule_says_whether_nitrogen_and_oxygen_are_neighbours_on_a_ring() -> None:
    for graph in molecules(60):
        kind = graph.x.argmax(1).tolist()
        loose = to_networkx(graph, to_undirected=True)
        rings = [set(ring) for ring in nx.minimum_cycle_basis(loose)]
        on_ring = set().union(*rings)
        nitrogens = [v for v in on_ring if kind[v] == NITROGEN]
        oxygens = [v for v in on_ring if kind[v] == OXYGEN]
        assert len(nitrogens) == len(oxygens) == 1
        assert loose.has_edge(nitrogens[0], oxygens[0]) == bool(graph.y)
        together = any({nitrogens[0], oxygens[0]} <= ring for ring in rings)
        assert together == bool(graph.y)


@pytest.mark.parametrize("make", [molecules, planted_groups])
def test_a_seed_determines_the_graphs_and_leaves_the_global_one_alone(make: object) -> None:
    state = torch.get_rng_state()
    first, again, other = (make(6, seed=seed) for seed in (0, 0, 1))  # type: ignore[operator]
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(first, again, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a.keys())  # noqa: SIM118
    assert any(
        a.x.shape != b.x.shape or not torch.equal(a.x, b.x)
        for a, b in zip(first, other, strict=True)
    )


def test_planted_groups_have_three_members_near_one_prototype() -> None:
    graphs = planted_groups(400)
    x = torch.stack([graph.x for graph in graphs])
    group = torch.stack([graph.group for graph in graphs])
    assert x.shape == (400, 18, 17)
    assert bool((torch.nn.functional.one_hot(group).sum(1) == 3).all())
    assert all(graph.edge_index.shape == (2, 0) for graph in graphs)
    same = group.unsqueeze(1) == group.unsqueeze(2)
    apart = (x[..., None, :6] - x[..., None, :, :6]).square().mean(-1)
    off_diagonal = ~torch.eye(18, dtype=torch.bool)
    # Members differ by noise alone: E (a - b)^2 = 2 * 0.3^2.
    assert apart[same & off_diagonal].mean() == pytest.approx(0.18, rel=0.05)
    assert apart[~same].mean() > 1
    assert x[..., 7:].std() == pytest.approx(1, abs=0.02)


def test_label_of_planted_groups_says_whether_a_group_is_all_positive() -> None:
    graphs = planted_groups(1000)
    for graph in graphs[:50]:
        signs = graph.x[:, 6]
        assert set(signs.tolist()) <= {-1.0, 1.0}
        positive = [bool((signs[graph.group == g] > 0).all()) for g in range(6)]
        assert bool(graph.y) == any(positive)
    rate = torch.cat([graph.y for graph in graphs]).double().mean()
    assert rate == pytest.approx(1 - (7 / 8) ** 6, abs=0.05)


def test_prototypes_are_shared_by_all_seeds() -> None:
    def prototypes(seed: int) -> torch.Tensor:
        graphs = planted_groups(300, seed=seed)
        return torch.cat([g.x[g.group == 0, :6].mean(0, keepdim=True) for g in graphs])

    near = torch.cdist(prototypes(0), prototypes(1)).min(1).values
    assert near.max() < 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=3, max_size=80), st.integers(0, 10**6))
def test_split_is_a_partition_in_proportion(classes: list[int], seed: int) -> None:
    labels = torch.tensor(classes)
    parts = stratified_split(labels, seed, (0.2, 0.2))
    assert torch.cat(parts).sort().values.tolist() == list(range(len(classes)))
    assert all(len(part) for part in parts)
    for part in parts:
        for value in set(classes):
            expected = len(part) * classes.count(value) / len(classes)
            assert abs(int((labels[part] == value).sum()) - expected) <= 1.5 + len(set(classes)) / 2


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=5, max_size=80), st.integers(0, 10**6), st.integers(3, 5)
)
def test_folds_test_every_example_once_and_in_proportion(
    classes: list[int], seed: int, n_folds: int
) -> None:
    labels = torch.tensor(classes)
    rounds = [stratified_fold(labels, fold, seed, n_folds) for fold in range(n_folds)]
    tests = [test for _, _, test in rounds]
    assert torch.cat(tests).sort().values.tolist() == list(range(len(classes)))
    for fold, (train, val, test) in enumerate(rounds):
        assert torch.cat([train, val, test]).sort().values.tolist() == list(range(len(classes)))
        assert torch.equal(val, tests[(fold + 1) % n_folds])
        for value in set(classes):
            expected = len(test) * classes.count(value) / len(classes)
            assert abs(int((labels[test] == value).sum()) - expected) <= 1.5 + len(set(classes)) / 2


def test_split_depends_on_the_seed_alone() -> None:
    labels = torch.arange(100) % 2
    first, again, other = (stratified_split(labels, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: molecules(0), "'num_graphs'"),
        (lambda: planted_groups(0), "'num_graphs'"),
        (lambda: planted_groups(1, num_nodes=10), "multiple of 'group_size'"),
        (lambda: planted_groups(1, num_nodes=39), "1 to 12 groups"),
        (lambda: stratified_split(torch.zeros(2, dtype=torch.long)), "at least 3 examples"),
        (lambda: stratified_fold(torch.zeros(20, dtype=torch.long), 10), "'fold' to be one of"),
        (lambda: stratified_fold(torch.zeros(9, dtype=torch.long), 0), "at most 9 folds"),
        (lambda: stratified_split(torch.zeros(9, dtype=torch.long), 0, (0.5, 0.5)), "'fractions'"),
    ],
)
def test_impossible_arguments_are_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


def test_synthetic_datasets_have_names() -> None:
    assert len(load_dataset("molecules", seed=2)) == 600
    assert len(load_dataset("planted_groups")) == 3000


LAYOUTS = [
    ("ogbg-molhiv", "ogbg_molhiv/raw", write_molhiv),
    ("ogbg-molhiv", "OGB/ogbg_molhiv/raw", write_molhiv),
    ("ZINC", "ZINC/raw", write_zinc),
    ("TINY", "TINY/raw", write_tiny),
    ("TINY", "TUDataset/TINY/raw", write_tiny),
    ("Cora", "Cora/raw", write_planetoid),
    ("Cora", "Planetoid/Cora/raw", write_planetoid),
    ("Texas", "texas/raw", write_geom_gcn),
    ("Texas", "WebKB/texas/raw", write_geom_gcn),
    ("Squirrel", "squirrel/geom_gcn/raw", write_geom_gcn),
    ("Squirrel", "WikipediaNetwork/squirrel/geom_gcn/raw", write_geom_gcn),
    ("Minesweeper", "minesweeper/raw", write_heterophilous),
    ("Roman-empire", "HeterophilousGraphDataset/roman_empire/raw", write_heterophilous),
]


def check_molecules(name: str, graphs: list[Data]) -> None:
    assert len(graphs) == 12
    # The bonds' kind 3 of OGB's (5, 6, 2), and type 2 of ZINC's 1 to 3.
    atoms, bonds = (174, [3, 5, 12]) if name == "ogbg-molhiv" else (28, [1])
    for i, graph in enumerate(graphs):
        n = 2 + i % 3
        assert graph.validate()
        assert graph.x.shape == (n, atoms)
        assert bool((graph.x[:, i] == 1).all())
        assert bool((graph.x.sum(1) == (9 if name == "ogbg-molhiv" else 1)).all())
        arcs = {(v, v + 1) for v in range(n - 1)} | {(v + 1, v) for v in range(n - 1)}
        assert set(map(tuple, graph.edge_index.t().tolist())) == arcs
        assert graph.num_edges == len(arcs)
        assert all(row.nonzero().flatten().tolist() == bonds for row in graph.edge_attr)
        assert graph.y.tolist() == ([i % 2] if name == "ogbg-molhiv" else [-float(i)])
        purpose = [part for part in PARTS if bool(graph[f"{part}_mask"])]
        assert purpose == [part for part, members in PARTS.items() if i in members]


@pytest.fixture(params=LAYOUTS, ids=[folder for _, folder, _ in LAYOUTS])
def laid_out(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Path]:
    """A dataset whose raw files lie in a folder; to download another is not possible."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("nothing needs to be downloaded")

    for make in (TUDataset, Planetoid, WebKB, WikipediaNetwork, HeterophilousGraphDataset, ZINC):
        monkeypatch.setattr(make, "download", refuse)
    monkeypatch.setattr(molhiv, "_download", refuse)
    monkeypatch.chdir(tmp_path)
    name, folder, write = request.param
    (tmp_path / "elsewhere" / folder).mkdir(parents=True)
    write(tmp_path / "elsewhere" / folder)
    return name, tmp_path / "elsewhere"


def test_raw_files_are_read_and_nothing_is_written_beside_them(
    laid_out: tuple[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    name, root = laid_out
    before = sorted(root.rglob("*"))
    graphs = load_dataset(name, root)
    assert sorted(root.rglob("*")) == before
    assert capfd.readouterr() == ("", "")
    if name == "TINY":
        assert [int(graph.y) for graph in graphs] == [1, 0]
        # Without node features, each node has the constant 1.
        assert all(torch.equal(graph.x, torch.ones(2, 1)) for graph in graphs)
        return
    if name in ("ogbg-molhiv", "ZINC"):
        check_molecules(name, graphs)
        return
    (graph,) = graphs
    nodes = range(graph.num_nodes)
    assert graph.x.tolist() == [[v, 1] for v in nodes]
    assert graph.y.tolist() == [v % 2 for v in nodes]
    arcs = {tuple(sorted(arc)) for arc in graph.edge_index.t().tolist()}
    assert arcs == {(v, v + 1) for v in nodes[:-1]}
    if name == "Cora":  # its one split is the public one: the first nodes, and the last ones
        assert graph.train_mask.nonzero().flatten().tolist() == [0]
        assert graph.test_mask.nonzero().flatten().tolist() == [501]
        return
    for key, mask in MASKS.items():
        assert torch.equal(graph[key][:, :3], torch.from_numpy(mask))


def test_the_folder_is_the_one_that_the_environment_names_else_data(
    laid_out: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, root = laid_out
    monkeypatch.setenv("TOPOX_DIFFLIFT_DATA", str(root))
    named = load_dataset(name)
    monkeypatch.delenv("TOPOX_DIFFLIFT_DATA")
    with pytest.raises(AssertionError, match="needs to be downloaded"):
        load_dataset(name)
    root.rename(root.parent / "by default")
    shutil.rmtree("data", ignore_errors=True)  # PyG has made it, the reader of OGB not
    (root.parent / "by default").rename(root.parent / "data")
    default = load_dataset(name)
    assert [graph.to_dict().keys() for graph in named] == [g.to_dict().keys() for g in default]
    assert all(torch.equal(a.y, b.y) for a, b in zip(named, default, strict=True))


@pytest.mark.parametrize(
    "name", ["MUTAGG", "Cora", "Texas", "texas", "Minesweeper", "ZINC", "ogbg-molhiv"]
)
def test_a_dataset_that_cannot_be_had_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no network")

    for make in (TUDataset, Planetoid, WebKB, HeterophilousGraphDataset, ZINC):
        monkeypatch.setattr(make, "download", refuse)
    monkeypatch.setattr(molhiv, "download_url", refuse)
    with pytest.raises(ValueError, match=rf"'{name}': no network\); name the folder that holds"):
        load_dataset(name, tmp_path)


def test_molhiv_is_downloaded_where_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source" / "hiv" / "raw"
    source.mkdir(parents=True)
    write_molhiv(source)
    archive = shutil.make_archive(str(tmp_path / "hiv"), "zip", tmp_path / "source")

    def fetch(url: str, folder: str) -> str:
        assert url.endswith("/hiv.zip")
        return shutil.copy(archive, folder)

    monkeypatch.setattr(molhiv, "download_url", fetch)
    check_molecules("ogbg-molhiv", load_dataset("ogbg-molhiv", tmp_path / "data"))
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["ogbg_molhiv"]
    monkeypatch.delattr(molhiv, "_download")
    assert len(load_dataset("ogbg-molhiv", tmp_path / "data")) == 12


needs_data = pytest.mark.skipif(
    "TOPOX_DIFFLIFT_DATA" not in os.environ,
    reason="set TOPOX_DIFFLIFT_DATA to the folder that holds TUDataset/MUTAG/raw, WebKB/texas/raw",
)


@needs_data
def test_mutag() -> None:
    graphs = load_dataset("MUTAG")
    assert len(graphs) == 188
    assert graphs[0].x.size(1) == 7
    assert sum(int(graph.y) for graph in graphs) == 125
    train, val, test = stratified_split(torch.cat([graph.y for graph in graphs]))
    assert (len(train), len(val), len(test)) == (150, 19, 19)


@needs_data
@pytest.mark.parametrize(
    ("name", "nodes", "arcs", "channels", "classes", "split"),
    [
        ("Cora", 2708, 10556, 1433, 7, (140, 500, 1000)),
        ("CiteSeer", 3327, 9104, 3703, 6, (120, 500, 1000)),
        ("Texas", 183, 325, 1703, 5, (87, 59, 37)),
        ("Wisconsin", 251, 515, 1703, 5, (120, 80, 51)),
        ("Minesweeper", 10000, 78804, 7, 2, (5000, 2500, 2500)),
    ],
)
def test_node_level_datasets_have_their_published_sizes(
    name: str, nodes: int, arcs: int, channels: int, classes: int, split: tuple[int, ...]
) -> None:
    (graph,) = load_dataset(name)
    assert graph.x.shape == (nodes, channels)
    assert graph.num_edges == arcs
    assert graph.y.unique().tolist() == list(range(classes))
    masks = [graph[key].view(nodes, -1) for key in ("train_mask", "val_mask", "test_mask")]
    assert tuple(int(mask[:, 0].sum()) for mask in masks) == split
    assert bool((sum(mask.int() for mask in masks) <= 1).all())
