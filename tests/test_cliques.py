"""Cliques and look-ups against brute force."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from topox_difflift.cliques import (
    check_edges,
    cliques,
    edge_ids,
    lexicographic_order,
    row_ids,
    triangles,
)


def edge_list(pairs):
    return torch.tensor(sorted(pairs), dtype=torch.int64).reshape(-1, 2).t()


@st.composite
def edge_lists(draw, max_nodes=9):
    n = draw(st.integers(0, max_nodes))
    pairs = list(itertools.combinations(range(n), 2))
    return edge_list(draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []), n


def cliques_by_brute_force(faces, n, order):
    """Vertex sets all of whose subsets with one vertex less are given."""
    given_faces = {tuple(face) for face in faces}
    return [
        list(chosen)
        for chosen in itertools.combinations(range(n), order)
        if all(face in given_faces for face in itertools.combinations(chosen, order - 1))
    ]


@settings(max_examples=80, deadline=None)
@given(graph=edge_lists())
def test_all_cliques(graph):
    edges, n = graph
    faces = edges.t().tolist()
    for order in (3, 4, 5):
        expected = cliques_by_brute_force(faces, n, order)
        found = cliques(edges, n, order)
        assert found.tolist() == expected
        assert found.shape == (len(expected), order)
        assert found.dtype == torch.int64
        faces = expected
    assert torch.equal(triangles(edges, n), cliques(edges, n, 3))


@settings(max_examples=60, deadline=None)
@given(graph=edge_lists(7), data=st.data())
def test_cliques_with_accepted_faces_only(graph, data):
    edges, n = graph
    faces = triangles(edges, n)
    kept = data.draw(st.lists(st.booleans(), min_size=len(faces), max_size=len(faces)))
    lower = faces[torch.tensor(kept, dtype=torch.bool)]
    assert cliques(edges, n, 4, lower).tolist() == cliques_by_brute_force(lower.tolist(), n, 4)


@settings(max_examples=30, deadline=None)
@given(parts=st.lists(edge_lists(6), max_size=4))
def test_a_union_gives_the_cliques_of_its_parts(parts):
    sizes = [n for _, n in parts]
    shifts = [sum(sizes[:i]) for i in range(len(sizes))]
    shifted = [edges + shift for (edges, _), shift in zip(parts, shifts, strict=True)]
    union = torch.cat([edge_list([]), *shifted], dim=1)
    expected = [
        row
        for (edges, n), shift in zip(parts, shifts, strict=True)
        for row in (triangles(edges, n) + shift).tolist()
    ]
    assert triangles(union, sum(sizes)).tolist() == expected


def test_a_hub_does_not_pair_its_neighbours():
    n = 20_000
    star = edge_list([(0, v) for v in range(1, n)])
    assert triangles(star, n).shape == (0, 3)
    book = edge_list([(0, 1), *((spine, page) for spine in (0, 1) for page in range(2, n))])
    assert triangles(book, n).tolist() == [[0, 1, page] for page in range(2, n)]
    assert cliques(book, n, 4).shape == (0, 4)


def test_labels_too_large_to_pack_into_one_number():
    far = 2**31
    edges = edge_list([(u, v) for u, v in itertools.combinations((5, far - 2, far - 1), 2)])
    assert edge_ids(torch.tensor([far - 1]), torch.tensor([5]), edges, far).tolist() == [1]
    assert row_ids(edges.t(), edges.t()).tolist() == [0, 1, 2]


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(*[st.integers(0, 3)] * 3), max_size=20),
    scale=st.sampled_from([1, 2**30]),  # the larger entries do not fit one number
)
def test_lexicographic_order_is_stable(rows, scale):
    order = lexicographic_order(torch.tensor(rows, dtype=torch.int64).reshape(-1, 3) * scale)
    assert order.tolist() == sorted(range(len(rows)), key=lambda i: rows[i])


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 4),
    table=st.lists(st.tuples(*[st.integers(0, 5)] * 4), max_size=20),
    rows=st.lists(st.tuples(*[st.integers(0, 7)] * 4), max_size=20),
)
def test_row_ids(width, table, rows):
    table = sorted({row[:width] for row in table})
    rows = [row[:width] for row in rows] + table
    found = row_ids(
        torch.tensor(rows, dtype=torch.int64).reshape(-1, width),
        torch.tensor(table, dtype=torch.int64).reshape(-1, width),
    )
    assert found.tolist() == [table.index(row) if row in table else -1 for row in rows]


@settings(max_examples=40, deadline=None)
@given(graph=edge_lists())
def test_edge_ids_in_either_order(graph):
    edges, n = graph
    u, v = torch.cartesian_prod(torch.arange(n), torch.arange(n)).reshape(-1, 2).t()
    columns = [tuple(column) for column in edges.t().tolist()]
    expected = [
        columns.index(pair) if (pair := (min(a, b), max(a, b))) in columns else -1
        for a, b in zip(u.tolist(), v.tolist(), strict=True)
    ]
    assert edge_ids(u, v, edges, n).tolist() == expected
    assert edge_ids(u.view(-1, 1), v.view(-1, 1), edges, n).shape == (n * n, 1)


EDGES = edge_list([(0, 1), (0, 2), (1, 2)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cliques(EDGES, 3, 2), "'order' to be at least 3 .* got 2"),
        (lambda: cliques(EDGES, 3, 4, EDGES.t()), r"'lower' .* \(n_faces, 3\) for order 4"),
        (lambda: row_ids(EDGES.t(), EDGES), "'rows' to have the width of 'table', 3, got 2"),
        (lambda: check_edges(EDGES[0], 3), "'edges' to be int64 of shape"),
        (lambda: check_edges(EDGES.flip(0), 3), "u < v < num_nodes"),
        (lambda: check_edges(EDGES[:, [0, 0, 1]], 3), "sorted without repeats"),
        (lambda: check_edges(EDGES - 1, 3), "0 <= u"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
