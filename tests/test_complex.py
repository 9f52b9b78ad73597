"""The lifted complex as a value: access, PyG data, splitting, counting, checking."""

from __future__ import annotations

import copy
import dataclasses
import io
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_complexes import DOMAINS, dense, random_complex
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from topox_difflift import DiffLift
from topox_difflift.complex import LiftedComplex
from topox_difflift.products import LinearProducts
from topox_difflift.summary import LiftingSummary
from topox_difflift.testing import zoo

KINDS = [
    "incidence", "adjacency", "coadjacency", "up_laplacian", "down_laplacian", "hodge_laplacian",
]  # fmt: skip


def with_input(domain, seed, n_graphs=3):
    """A random complex that carries an input graph."""
    c = random_complex(domain, seed, n_graphs=n_graphs)
    n = c.num_cells[0]
    loops = torch.arange(n)
    data = Data(
        x=torch.rand(n, 4),
        edge_index=torch.stack([loops, loops]).flip(1),
        edge_attr=torch.rand(n, 2),
        batch=c.batch_0,
        y=torch.arange(n_graphs),
        train_mask=torch.rand(n) > 0.5,
        note="kept",
    )
    ranks = [c._rank(r) for r in range(1, c.max_rank + 1)]
    return LiftedComplex.from_ranks(data, c.x_0, c.batch_0, ranks, domain), data


def assert_same(a, b):
    """Equality of everything that a complex holds."""
    assert a.num_cells == b.num_cells
    for r in range(a.max_rank + 1):
        assert a.cells(r) == b.cells(r)
        names = ["x", "batch"]
        names += ["mask", "prob", "orientation", "membership", "faces", "candidates"] if r else []
        for name in names:
            assert torch.equal(a[f"{name}_{r}"], b[f"{name}_{r}"]), (name, r)
        for kind in KINDS:
            assert torch.equal(dense(a[f"{kind}_{r}"]), dense(b[f"{kind}_{r}"])), (kind, r)


# -------------------------------------------------------------------------- access


@pytest.mark.parametrize("domain", DOMAINS)
def test_attribute_key_and_method_agree(domain):
    c = random_complex(domain, 1, n_graphs=3)
    for r in range(c.max_rank + 1):
        for kind in KINDS:
            matrix = getattr(c, f"{kind}_{r}")
            assert matrix is c[f"{kind}_{r}"]
            assert matrix is getattr(c, kind)(r)
            assert f"{kind}_{r}" in c
            assert matrix.size(1) == c.num_cells[r]
    assert set(c.keys()) > {"incidence_1", "x_0", "x_1", "mask_1"}
    assert c.mask_0.tolist() == [1] * c.num_cells[0]


@pytest.mark.parametrize("kind", [*KINDS, "x", "mask", "prob", "batch"])
def test_missing_rank_names_the_remedy(kind):
    c = random_complex("cell", 1)
    message = (
        r"rank 3 was not lifted: this complex has max_rank 2; lift with DiffLift\(max_rank=3\)"
    )
    with pytest.raises(AttributeError, match=message):
        getattr(c, f"{kind}_3")
    with pytest.raises(KeyError, match="rank 3 was not lifted"):
        c[f"{kind}_3"]
    assert not hasattr(c, f"{kind}_3")
    assert f"{kind}_3" not in c
    if kind in KINDS:
        with pytest.raises(ValueError, match=message):
            getattr(c, kind)(3)


def test_other_missing_names_stay_missing():
    c = random_complex("cell", 1)
    assert not hasattr(c, "no_such_thing")
    assert "no_such_thing" not in c
    assert not hasattr(c, "membership_0")
    assert not hasattr(c, "incidence_hyperedges")
    with pytest.raises(KeyError):
        c["no_such_thing"]
    with pytest.raises(ValueError, match="at least 0, got -1"):
        c.cells(-1)
    with pytest.raises(ValueError, match="rank 5 was not lifted"):
        c.cells(5)


@pytest.mark.parametrize("domain", ["hypergraph", "combinatorial"])
@pytest.mark.parametrize("kind", KINDS)
def test_domains_without_orientation_refuse_signs(domain, kind):
    with pytest.raises(ValueError, match=f"A {domain} complex has no orientation.*signed=True"):
        getattr(random_complex(domain, 1), kind)(1, signed=True)


def test_unknown_domain_is_refused():
    with pytest.raises(ValueError, match=r"'domain'.*'combinatorial'.*got 'cells'"):
        LiftedComplex.from_ranks(None, torch.rand(1, 1), torch.zeros(1).long(), [], "cells")


def test_hypergraph_aliases():
    c = random_complex("hypergraph", 2, n_graphs=4)
    assert c.incidence_hyperedges is c.incidence_1
    assert c["x_hyperedges"] is c.x_1
    assert c.batch_hyperedges is c.batch_1
    assert c.num_hyperedges == c.num_cells[1]
    assert "num_hyperedges" in c
    with pytest.raises(AttributeError, match="hyperedges have rank 1"):
        c.incidence_2  # noqa: B018


def test_incidence_0_follows_toponetx():
    for domain in DOMAINS:
        c = random_complex(domain, 1)
        rows = 1 if domain == "simplicial" else 0
        assert dense(c.incidence_0).shape == (rows, c.num_cells[0])
        assert dense(c.incidence_0).sum() == rows * c.num_cells[0]


@pytest.mark.parametrize("domain", DOMAINS)
def test_columns_are_cells(domain):
    for seed in range(20):
        c = random_complex(domain, seed, n_graphs=3).accepted()
        assert c.validate()
        for r in range(1, c.max_rank + 1):
            matrix, below = dense(c.incidence(r)), c.cells(r - 1)
            for j, cell in enumerate(c.cells(r)):
                support = [below[i] for i in matrix[:, j].nonzero()[:, 0].tolist()]
                assert all(set(face) <= set(cell) for face in support)
                if r == 1 or domain in ("cell", "simplicial"):
                    assert set().union(*support) == set(cell)


def test_assignment_renews_derived_matrices():
    c = random_complex("cell", 1, n_graphs=4)
    before = dense(c.adjacency_0).sum()
    c.mask_1 = torch.zeros_like(c.mask_1)
    assert before > 0
    assert dense(c.adjacency_0).sum() == 0
    c["mask_1"] = torch.ones_like(c.mask_1)
    assert dense(c.adjacency_0).sum() >= before


def test_num_nodes_and_repr():
    c, _ = with_input("cell", 1)
    assert c.num_nodes == c.x_0.size(0)
    assert random_complex("cell", 1).num_nodes == random_complex("cell", 1).num_cells[0]
    text = repr(c)
    for part in ("domain='cell'", f"num_cells={c.num_cells}", "accepted=", "num_graphs=3", "note"):
        assert part in text
    assert repr(LiftedComplex()) == "LiftedComplex()"


# -------------------------------------------------------------------------- carried attributes


def test_the_input_is_carried_and_not_changed():
    c, data = with_input("simplicial", 1)
    before = data.clone()
    c.y = c.y + 1
    for key, value in before.to_dict().items():
        assert torch.equal(data[key], value) if torch.is_tensor(value) else data[key] == value
    assert c.edge_attr is data.edge_attr
    assert c.note == "kept"
    assert LiftedComplex.from_ranks({"y": 3}, c.x_0, c.batch_0, [], "cell").y == 3


# -------------------------------------------------------------------------- accepted


@pytest.mark.parametrize("domain", DOMAINS)
def test_accepted_has_no_rejected_cell_and_is_itself(domain):
    for seed in range(20):
        c, _ = with_input(domain, seed)
        final = c.accepted()
        assert final.accepted() is final
        assert final.note == "kept"
        assert torch.equal(final.y, c.y)
        for r in range(1, c.max_rank + 1):
            kept = c[f"mask_{r}"] != 0
            assert (final[f"mask_{r}"] == 1).all()
            assert (final[f"membership_{r}"] == 1).all()
            assert torch.equal(final[f"x_{r}"], c[f"x_{r}"][kept])
            cells = [cell for cell, keep in zip(c.cells(r), kept.tolist(), strict=True) if keep]
            assert final.cells(r) == cells


def test_accepted_is_differentiable():
    c = random_complex("cell", 2, n_graphs=4, leaf=True)
    c.accepted().adjacency_1.values().sum().backward()
    grad = c.mask_2.grad
    assert grad[c.mask_2 == 1].abs().min() > 0
    assert grad[c.mask_2 == 0].abs().sum() == 0


def test_accepted_drops_members_of_hyperedges():
    c = random_complex("hypergraph", 0, n_graphs=5)
    assert (c.membership_1 == 0).any()
    final = c.accepted()
    assert final.cell_size_1.tolist() == [len(cell) for cell in final.cells(1)]
    assert final.cell_index_1.tolist() == [v for cell in final.cells(1) for v in cell]


# -------------------------------------------------------------------------- collate and split


@pytest.mark.parametrize("domain", DOMAINS)
def test_loader_collates_block_diagonally(domain):
    singles = [with_input(domain, seed, n_graphs=1)[0] for seed in range(6)]
    singles[0].adjacency_0  # noqa: B018  (a derived matrix must not be carried along)
    batch = next(iter(DataLoader(singles, batch_size=6)))
    assert isinstance(batch, LiftedComplex)
    assert batch.num_graphs == 6
    assert batch.domain == domain
    assert batch.num_nodes == sum(c.num_nodes for c in singles)
    assert torch.equal(batch.batch, batch.batch_0)
    for r in range(batch.max_rank + 1):
        assert batch[f"batch_{r}"].tolist() == [
            g for g, c in enumerate(singles) for _ in c.cells(r)
        ]
        for kind in KINDS[1:] + (KINDS[:1] if r else []):
            blocks = torch.block_diag(*[c[f"{kind}_{r}"].to_dense() for c in singles])
            shape = batch[f"{kind}_{r}"].shape
            assert torch.equal(dense(batch[f"{kind}_{r}"]), blocks.reshape(shape))
    assert batch.validate()
    assert batch.accepted().validate()
    for c, again, split in zip(singles, batch.to_data_list(), batch.unbatch(), strict=True):
        assert_same(c, again)
        assert_same(c, split)
        assert torch.equal(c.edge_index, split.edge_index)
        assert torch.equal(c.y, split.y)


@pytest.mark.parametrize("domain", DOMAINS)
def test_unbatch_inverts_batching(domain):
    for seed in range(10):
        c, data = with_input(domain, seed)
        parts = c.unbatch()
        assert len(parts) == c.num_graphs == 3
        again = Batch.from_data_list(parts)
        assert_same(c, again)
        assert torch.equal(again.x, data.x)
        assert torch.equal(again.train_mask, data.train_mask)
        assert torch.equal(again.y, data.y)
        assert all(part.note == "kept" for part in parts)
        order = torch.argsort(c.batch_0[data.edge_index[0]], stable=True)
        assert torch.equal(again.edge_index, data.edge_index[:, order])
        assert torch.equal(again.edge_attr, data.edge_attr[order])


def test_collating_and_splitting_keep_the_gradient():
    singles = [random_complex("cell", seed, leaf=True) for seed in range(6)]
    Batch.from_data_list(singles).incidence_1.values().sum().backward()
    assert all(c.mask_1.grad is not None for c in singles if c.num_cells[1])
    whole = random_complex("cell", 3, n_graphs=4, leaf=True)
    sum(part.incidence_1.values().sum() for part in whole.unbatch()).backward()
    assert (whole.mask_1.grad != 0).all()


def test_mixed_domains_are_refused():
    batch = Batch.from_data_list([random_complex("cell", 1), random_complex("cell", 2)])
    batch._store["domain"] = ["cell", "simplicial"]
    with pytest.raises(ValueError, match="one domain"):
        batch.domain  # noqa: B018


# -------------------------------------------------------------------------- copies


@pytest.mark.parametrize("domain", DOMAINS)
def test_copies_pickles_and_files(domain):
    c = random_complex(domain, 3, n_graphs=3, leaf=True)
    c.mask_1 = c.mask_1 * 1  # no leaf, as after a lifting
    c.adjacency_0, c.incidence_1  # noqa: B018
    file = io.BytesIO()
    torch.save(c, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for other in (copy.copy(c), copy.deepcopy(c), pickle.loads(pickle.dumps(c)), loaded, c.clone()):
        assert_same(c, other)
        assert other._store._parent() is other
    assert copy.copy(c).mask_1 is c.mask_1
    assert not copy.deepcopy(c).mask_1.requires_grad
    assert copy.deepcopy(c).mask_1.data_ptr() != c.mask_1.data_ptr() or not c.num_cells[1]


def test_a_batch_can_be_pickled():
    batch = Batch.from_data_list([random_complex("cell", seed) for seed in range(3)])
    batch.adjacency_1  # noqa: B018
    assert_same(batch, pickle.loads(pickle.dumps(batch)))
    assert_same(batch, copy.deepcopy(batch))


def test_to_moves_everything():
    c, _ = with_input("cell", 1)
    c.adjacency_1  # noqa: B018
    moved = copy.copy(c).to("meta")
    assert moved.incidence_1.device.type == "meta"
    assert all(v.device.type == "meta" for v in moved._store.values() if torch.is_tensor(v))
    assert c.x_0.device.type == "cpu"
    assert c.to("cpu") is c


def test_copies_do_not_share_derived_matrices():
    c = random_complex("cell", 1, n_graphs=4)
    c.adjacency_0  # noqa: B018
    other = copy.copy(c)
    other.mask_1 = torch.zeros_like(c.mask_1)
    assert dense(other.adjacency_0).sum() == 0
    assert dense(c.adjacency_0).sum() > 0


# -------------------------------------------------------------------------- summary, validate


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(DOMAINS), st.integers(0, 10**6), st.floats(0, 1))
def test_summary_counts(domain, seed, reject):
    c = random_complex(domain, seed, n_graphs=2, reject=reject)
    summary, final = c.summary(), c.accepted()
    # The number of proposals survives the dropping of rejected cells.
    assert str(summary) == str(final.summary())
    for r, of_rank in enumerate(summary.ranks, start=1):
        learned = c[f"prob_{r}"] < 1
        assert of_rank.cells == final.num_cells[r]
        assert of_rank.original == int((~learned & (c[f"mask_{r}"] == 1)).sum())
        assert of_rank.candidates == int(learned.sum())
        assert of_rank.rejected == int((learned & (c[f"mask_{r}"] == 0)).sum())
        if of_rank.candidates:
            assert of_rank.acceptance_rate == of_rank.accepted / of_rank.candidates
        else:
            assert of_rank.acceptance_rate is None
            assert of_rank.collapsed is None
        if final.cells(r):
            sizes = [len(cell) for cell in final.cells(r)]
            assert of_rank.mean_size == pytest.approx(sum(sizes) / len(sizes))
    parts = c.unbatch()
    total = LiftingSummary.total([p.summary() for p in parts])
    assert str(total) == str(summary)


def test_summary_tells_a_collapse():
    c = random_complex("hypergraph", 3, n_graphs=4)
    c.prob_1 = torch.full_like(c.prob_1, 0.5)
    ranks = [c._rank(1)]

    def collapsed(mask):
        rank = dataclasses.replace(ranks[0], mask=mask)
        lifted = LiftedComplex.from_ranks(None, c.x_0, c.batch_0, [rank], "hypergraph")
        assert lifted.summary().collapsed == lifted.accepted().summary().collapsed
        return lifted.summary().collapsed

    ones = torch.ones_like(c.mask_1)
    one_rejected = ones.clone()
    one_rejected[0] = 0
    assert collapsed(ones)
    assert collapsed(torch.zeros_like(ones))
    assert collapsed(one_rejected) is False
    empty = random_complex("cell", 0, max_nodes=1).summary()
    assert empty.collapsed is None
    assert "nothing was proposed" in str(empty)


@pytest.mark.parametrize("domain", DOMAINS)
def test_validate_holds_on_random_complexes(domain):
    for seed in range(20):
        assert random_complex(domain, seed, n_graphs=2).validate()


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("orientation_2", lambda v: -v, "induced by the order"),
        ("mask_1", lambda v: v * 0.5, "zeros and ones"),
        ("prob_2", lambda v: v[1:], "'prob_2' to hold"),
        ("membership_1", lambda v: v[1:], "'membership_1' to hold"),
        ("batch_1", lambda v: v.flip(0), "ascending"),
        ("faces_1", lambda v: v.flip(1), "sorted by face"),
        ("faces_1", lambda v: v + 100, "to index"),
        ("cell_index_2", lambda v: v.roll(1), "present|exactly the faces"),
    ],
)
def test_validate_names_what_is_wrong(key, change, message):
    c = next(
        c
        for c in (random_complex("cell", seed, n_graphs=4, reject=0) for seed in range(50))
        if c.num_cells[2] > 2
    )
    c[key] = change(c[key])
    with pytest.raises(ValueError, match=message):
        c.validate()
    with pytest.warns(UserWarning, match=message):
        assert not c.validate(raise_on_error=False)


@pytest.mark.laws
@pytest.mark.parametrize("domain", ["cell", "simplicial", "combinatorial", "hypergraph"])
def test_opened_complexes_gate_where_cells_send(domain):
    """What accepted cells receive stays the same; a rejected cell receives, and sends nothing."""
    generator = torch.Generator().manual_seed(0)
    lift = DiffLift(domain, in_channels=3, generator=generator).double()
    lifted = lift(zoo(torch.float64)["batch"])
    opened = lifted.opened()
    kept = {r: lifted[f"mask_{r}"].detach() != 0 for r in range(1, lifted.max_rank + 1)}
    assert not all(mask.all() for mask in kept.values())
    kept[0] = torch.ones(lifted.num_cells[0], dtype=torch.bool)
    names = ["adjacency", "coadjacency", "up_laplacian", "down_laplacian", "hodge_laplacian"]
    for r in range(1, lifted.max_rank + 1):
        torch.testing.assert_close(opened[f"x_{r}"][kept[r]], lifted[f"x_{r}"][kept[r]])
        assert opened[f"x_{r}"][~kept[r]].any() or not (~kept[r]).any()
        for name in names:
            for signed in {False, lifted.oriented}:
                closed_, open_ = (getattr(c, name)(r, signed).to_dense() for c in (lifted, opened))
                torch.testing.assert_close(closed_[kept[r]], open_[kept[r]])
                off_diagonal = open_ - torch.diag(open_.diagonal())
                assert not off_diagonal[:, ~kept[r]].any()
        for signed in {False, lifted.oriented}:
            closed_, open_ = (c.incidence(r, signed) for c in (lifted, opened))
            assert torch.equal(closed_.to_dense(), open_.to_dense())
            with LinearProducts():
                received = open_.T.to_dense() + 0
            torch.testing.assert_close(received[kept[r]], closed_.to_dense().T[kept[r]])
            assert received[~kept[r]].any() or not (~kept[r]).any()
    # It is built once, and anew when the complex changes.
    assert lifted.opened() is opened
    changed = copy.copy(lifted)
    changed.mask_1 = torch.ones_like(changed.mask_1)
    assert torch.equal(changed.opened().incidence_1.to_dense(), changed.incidence_1.to_dense())
    assert changed.opened() is not opened
    # The complex itself stays as it was.
    assert not lifted.x_1[~kept[1]].any()
    assert torch.equal(opened.accepted().x_1, opened.x_1[kept[1]])


def test_content_is_carried_along():
    lift = DiffLift(in_channels=3, generator=torch.Generator().manual_seed(0))
    lifted = lift(zoo()["batch"])
    parts = lifted.unbatch()
    assert torch.equal(torch.cat([part.content_1 for part in parts]), lifted.content_1)
    kept = lifted.mask_1 != 0
    assert torch.equal(lifted.accepted().content_1, lifted.content_1[kept])
    again = Batch.from_data_list([part.detach() for part in parts])
    assert torch.equal(again.content_2, lifted.content_2)
    broken = lifted.clone()
    broken.content_1 = broken.content_1[1:]
    with pytest.raises(ValueError, match="'content_1' to hold"):
        broken.validate()
