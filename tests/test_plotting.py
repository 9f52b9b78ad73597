"""Pictures: what they show is what the complex holds, cell by cell."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from random_complexes import DOMAINS, random_complex
from torch_geometric.data import Batch, Data

pytest.importorskip("matplotlib", reason='needs the extra "plot"')

import matplotlib as mpl
from matplotlib.path import Path
from toponetx import CellComplex, ColoredHyperGraph, CombinatorialComplex, SimplicialComplex

from topox_difflift import DiffLift, LiftedComplex, datasets
from topox_difflift.domains import Cell, Domain
from topox_difflift.liftings import LIFTINGS, NoLifting
from topox_difflift.plotting import (
    draw,
    draw_pair,
    layout,
    new_figure,
    plot_acceptance,
    plot_probabilities,
    plot_sizes,
)
from topox_difflift.plotting.shapes import levels, rounded_hull
from topox_difflift.summary import LiftingSummary, RankSummary

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

SEEDS = range(6)
GREY = (0.45, 0.45, 0.45, 1.0)
KINDS = ("given", "accepted", "not accepted")


def molecule(index: int = 0) -> Data:
    return datasets.molecules(4)[index]


def lift(domain: str | Domain = "cell", **options: Any) -> DiffLift:
    torch.manual_seed(0)
    return DiffLift(domain, generator=torch.Generator().manual_seed(0), **options)


def edgeless(n: int) -> LiftedComplex:
    lone = Data(x=torch.ones(n, 3), edge_index=torch.empty(2, 0, dtype=torch.long))
    return NoLifting()(lone)


def expected(lifted: LiftedComplex) -> dict[tuple[int, str], list[tuple[tuple[int, ...], float]]]:
    """Cells and probabilities by rank and kind, found cell by cell."""
    found: dict[tuple[int, str], list[tuple[tuple[int, ...], float]]] = {}
    for r in range(1, lifted.max_rank + 1):
        mask, prob = lifted[f"mask_{r}"].tolist(), lifted[f"prob_{r}"].tolist()
        for cell, m, p in zip(lifted.cells(r), mask, prob, strict=True):
            kind = "not accepted" if m == 0 else "given" if p == 1 else "accepted"
            found.setdefault((r, kind), []).append((cell, p))
    return found


def drawn(axes: Axes) -> dict[tuple[int, str], list[tuple[np.ndarray, tuple[float, ...]]]]:
    """Outlines and colours of what is on axes, by rank and kind."""
    found: dict[tuple[int, str], list[tuple[np.ndarray, tuple[float, ...]]]] = {}
    for collection in axes.collections:
        label = collection.get_label()
        if not label.startswith("rank"):
            continue
        rank, kind = label.removeprefix("rank ").split(", ")
        colors = np.broadcast_to(collection.get_edgecolor(), (len(collection.get_paths()), 4))
        for path, color in zip(collection.get_paths(), colors, strict=True):
            found.setdefault((int(rank), kind), []).append((path.vertices, tuple(color)))
    return found


def positions(axes: Axes) -> np.ndarray:
    (nodes,) = [c for c in axes.collections if not c.get_label().startswith("rank")]
    return np.asarray(nodes.get_offsets())


def belongs(outline: np.ndarray, points: np.ndarray, closed: bool, unit: float) -> bool:
    """Whether an outline is one that a cell with these vertices may have."""
    if len(outline) == 2:
        return np.allclose(outline, points)
    if closed and len(outline) == len(points) + 1:
        # A polygon, corner by corner on the way to the centre.
        ways = (outline[:-1] - points) @ np.array([1, 1j])
        inwards = (points.mean(0) - points) @ np.array([1, 1j])
        share = ways / np.where(np.abs(inwards) < 1e-9, 1, inwards)
        return np.allclose(share.imag, 0, atol=1e-6) and bool((share.real < 0.51).all())
    if closed:
        return False
    inside = Path(outline).contains_points(points)
    nearest = np.linalg.norm(outline[:, None] - points, axis=-1).min(1)
    return bool(inside.all()) and bool((nearest < 0.45 * unit).all())


# ---------------------------------------------------------------------- draw


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_every_cell_is_drawn_once_in_its_place_and_colour(domain: str, seed: int) -> None:
    lifted = random_complex(domain, seed)
    place = np.random.default_rng(seed).permutation(np.mgrid[:9, :9].reshape(2, -1).T)
    place = place[: lifted.num_cells[0]] * 1.0
    distances = np.linalg.norm(place[:, None] - place, axis=-1) + np.diag([np.inf] * len(place))
    unit = np.median(distances.min(1)) if len(place) > 1 else 1
    axes = draw(lifted, pos=place, rejected=True)
    cells, outlines = expected(lifted), drawn(axes)
    assert {key: len(v) for key, v in outlines.items()} == {k: len(v) for k, v in cells.items()}
    for (rank, kind), members in cells.items():
        unmatched = list(outlines[rank, kind])
        for cell, prob in members:
            if not cell:
                continue
            color = GREY if kind == "given" else mpl.colormaps["viridis_r"](prob)
            if kind == "not accepted":
                color = (*color[:3], 0.5)
            closed = rank == 2 and lifted.oriented
            match = [
                i
                for i, (outline, found) in enumerate(unmatched)
                if np.allclose(found, color) and belongs(outline, place[list(cell)], closed, unit)
            ]
            assert match, (rank, kind, cell)
            del unmatched[match[0]]
    axes.figure.canvas.draw()


@pytest.mark.parametrize("domain", [*DOMAINS, "dcm"])
def test_picture_of_a_lifting(domain: str) -> None:
    options = {"estimator": "entmax", "memberships": "hard"} if domain == "dcm" else {}
    lifted = lift(domain, **options)(molecule())
    axes = draw(lifted)
    counts = Counter({key: len(outlines) for key, outlines in drawn(axes).items()})
    lines = []
    for rank in lifted.summary().ranks:
        assert counts[rank.rank, "given"] == rank.original
        assert counts[rank.rank, "accepted"] == rank.accepted
        lines.append(f"rank {rank.rank}: {rank.original} given, {rank.accepted} accepted")
    assert axes.get_title().split("\n") == lines
    assert [a.get_ylabel() for a in axes.figure.axes] == ["", "acceptance probability"]
    axes.figure.canvas.draw()


@pytest.mark.parametrize("name", ["cycle", "clique", "khop", "knn", "kernel", "none"])
def test_picture_of_a_fixed_lifting_shows_no_probability(name: str) -> None:
    axes = draw(LIFTINGS[name]()(molecule()))
    kinds = {kind for _, kind in drawn(axes)}
    assert kinds == {"given"}
    assert len(axes.figure.axes) == 1
    assert {text.get_text().split()[0] for text in axes.get_legend().get_texts()} == {"given"}


def test_legend_explains_what_is_there_and_nothing_else() -> None:
    def texts(axes: Axes) -> list[str]:
        return [text.get_text() for text in axes.get_legend().get_texts()]

    lifted = lift()(molecule())
    given = ["given edge", "given cell", "accepted edge", "accepted cell"]
    assert texts(draw(lifted)) == given
    candidates = lift(Cell(rings="apart"))(molecule())
    assert texts(draw(candidates, rejected=True)) == [
        "given edge", "accepted edge", "accepted cell", "not accepted edge", "not accepted cell",
    ]  # fmt: skip
    assert texts(draw(NoLifting()(molecule()))) == ["given edge"]
    axes = draw(lifted, legend=False)
    assert axes.get_legend() is None
    assert len(axes.figure.axes) == 1


def test_accepted_edges_are_dashed_and_others_than_accepted_ones_dotted() -> None:
    axes = draw(lift(Cell(rings=True))(molecule()), rejected=True)
    style = {c.get_label(): c.get_linestyle()[0][1] for c in axes.collections}
    assert style["rank 1, given"] is style["rank 2, accepted"] is None
    patterns = [
        np.divide(style[label], min(style[label])).tolist()
        for label in ("rank 1, accepted", "rank 1, not accepted", "rank 2, not accepted")
    ]
    assert patterns == [[2, 1], [1, 2], [1, 2]]


def test_rejected_cells_are_drawn_only_if_asked_for_and_kept() -> None:
    lifted = lift(Cell(rings=True))(molecule())
    # Pairs that no end takes are not even candidates.
    kept = [int(((lifted[f"mask_{r}"] == 0) & lifted[f"included_{r}"]).sum()) for r in (1, 2)]
    assert min(kept) > 0
    assert not bool(lifted.included_1.all())
    assert not any(kind == "not accepted" for _, kind in drawn(draw(lifted)))
    axes = draw(lifted, rejected=True)
    assert [len(drawn(axes)[r, "not accepted"]) for r in (1, 2)] == kept
    counts = [int(line.split(", ")[-1].split()[0]) for line in axes.get_title().split("\n")]
    assert counts == kept
    with pytest.raises(ValueError, match=r"hold its rejected cells.*rejected='keep'"):
        draw(lifted.accepted(), rejected=True)
    # Where nothing was rejected, there is nothing to miss.
    draw(NoLifting()(molecule()), rejected=True)


@pytest.mark.parametrize("domain", DOMAINS)
def test_toponetx_complex_is_drawn_as_the_lifted_one(domain: str) -> None:
    lifted = lift(domain).eval()(molecule())
    place = layout(lifted)
    ours, theirs = (draw(c, pos=place) for c in (lifted, lifted.to_toponetx()))
    assert ours.get_title() == theirs.get_title()
    for key, outlines in drawn(ours).items():
        same = {(o.round(6).tobytes(), np.round(c, 6).tobytes()) for o, c in outlines}
        assert same == {
            (o.round(6).tobytes(), np.round(c, 6).tobytes()) for o, c in drawn(theirs)[key]
        }


@pytest.mark.parametrize(
    "make", [CellComplex, SimplicialComplex, CombinatorialComplex, ColoredHyperGraph]
)
def test_picture_of_nothing(make: Callable[[], Any]) -> None:
    axes = draw(make())
    assert not drawn(axes)
    assert positions(axes).shape == (0, 2)
    axes.figure.canvas.draw()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_picture_of_isolated_nodes(n: int) -> None:
    axes = draw(edgeless(n))
    assert axes.get_title() == "rank 1: 0 given, 0 accepted\nrank 2: 0 given, 0 accepted"
    assert axes.get_legend() is None
    assert len(np.unique(positions(axes), axis=0)) == n
    assert [text.get_text() for text in axes.texts] == [str(v) for v in range(n)]
    axes.figure.canvas.draw()


def test_crowded_picture_has_thinner_lines_and_smaller_nodes_without_numbers() -> None:
    n = 150
    ends = torch.combinations(torch.arange(n))[:: n // 4]
    crowd = Data(x=torch.randn(n, 3), edge_index=torch.cat([ends, ends.flip(1)]).t())
    large, small = draw(lift()(crowd)), draw(lift()(molecule()))

    def measures(axes: Axes) -> tuple[float, float]:
        lines = {c.get_label(): c for c in axes.collections}["rank 1, accepted"]
        return lines.get_linewidth()[0], axes.collections[-1].get_sizes()[0]

    assert all(a < b for a, b in zip(measures(large), measures(small), strict=True))
    assert not large.texts
    assert len(small.texts) == molecule().num_nodes
    assert len(draw(lift()(crowd), labels=True).texts) == n


# ---------------------------------------------------------------------- arguments


def test_positions() -> None:
    lifted, n = NoLifting()(molecule()), molecule().num_nodes
    place = torch.randn(n, 2)
    np.testing.assert_allclose(positions(draw(lifted, pos=place)), place)
    np.testing.assert_allclose(positions(draw(lifted)), layout(lifted))
    lifted.pos = place.double()
    np.testing.assert_allclose(positions(draw(lifted)), place)
    lifted.pos = torch.randn(n, 3)  # not in the plane
    np.testing.assert_allclose(positions(draw(lifted)), layout(lifted))
    for wrong in (place[1:], place[:, :1], place * torch.nan):
        with pytest.raises(ValueError, match=f"'pos' to be finite positions of shape \\({n}, 2\\)"):
            draw(lifted, pos=wrong)


def test_classes_and_values_of_nodes() -> None:
    lifted = NoLifting()(molecule())
    n = lifted.num_cells[0]
    axes = draw(lifted, node_color=["b" if v % 2 else "a" for v in range(n)])
    faces = axes.collections[-1].get_facecolor()
    assert len(np.unique(faces[::2], axis=0)) == len(np.unique(faces[1::2], axis=0)) == 1
    shown = dict(zip(("a", "b"), faces[:2], strict=True))
    for text, handle in zip(
        axes.get_legend().get_texts()[1:], axes.get_legend().legend_handles[1:], strict=True
    ):
        np.testing.assert_allclose(handle.get_color(), shown[text.get_text()])
    axes = draw(lifted, node_color=torch.arange(n) % 3)
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["given edge", "0", "1", "2"]
    values = torch.linspace(-2, 5, n)
    axes = draw(lifted, node_color=values)
    shares = np.linspace(0, 1, n)
    np.testing.assert_allclose(
        axes.collections[-1].get_facecolor(), mpl.colormaps["Greys"](shares), atol=0.01
    )
    (scale,) = axes.figure.axes[1:]
    assert scale.get_ylim() == (-2, 5)
    assert scale.get_ylabel() == "value of the node"
    for wrong, message in (
        (range(n - 1), f"hold {n} classes or values"),
        (range(n), "at most 7 classes"),
        (values * torch.nan, "finite values"),
    ):
        with pytest.raises(ValueError, match=message):
            draw(lifted, node_color=wrong)


def test_labels() -> None:
    lifted, n = NoLifting()(molecule()), molecule().num_nodes
    names = [f"v{v}" for v in range(n)]
    axes = draw(lifted, labels=names)
    assert [text.get_text() for text in axes.texts] == names
    np.testing.assert_allclose([text.xy for text in axes.texts], positions(axes))
    assert not draw(lifted, labels=False).texts
    with pytest.raises(ValueError, match=f"'labels' to hold {n} texts"):
        draw(lifted, labels=names[1:])


def test_nodes_keep_their_names() -> None:
    named = CellComplex()
    named.add_cell(["Ann", "Bob", "Cem"], rank=2)
    for complex_ in (named, LiftedComplex.from_toponetx(named)):
        texts = [text.get_text() for text in draw(complex_, labels=True).texts]
        assert texts == ["Ann", "Bob", "Cem"]


def test_text_can_be_read_on_every_colour() -> None:
    lifted = NoLifting()(molecule())
    axes = draw(lifted, node_color=np.linspace(0, 1, lifted.num_cells[0]))
    faces = axes.collections[-1].get_facecolor()[:, 0]
    assert [t.get_color() == "white" for t in axes.texts] == (faces < 0.5).tolist()


def test_several_graphs_are_refused() -> None:
    several = NoLifting()(Batch.from_data_list([molecule(), molecule(1)]))
    with pytest.raises(ValueError, match=r"'complex_' to be of one graph \(got 2\).*unbatch"):
        draw(several)
    with pytest.raises(ValueError, match=r"'after' to be of one graph \(got 2\).*unbatch"):
        draw_pair(several.unbatch()[0], several)
    draw(several.unbatch()[1])


def test_what_is_no_complex_is_refused() -> None:
    with pytest.raises(TypeError, match="complex_"):
        draw(molecule())


@pytest.mark.parametrize("name", ["rejected", "legend"])
def test_flags_are_flags(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' to be True or False"):
        draw(edgeless(1), **{name: "yes"})


# ---------------------------------------------------------------------- layout and shapes


def test_layout_is_repeatable_spaced_and_keeps_components_apart() -> None:
    ring = torch.arange(6)
    arcs = torch.stack([ring, ring.roll(-1)])
    arcs = torch.cat([arcs, arcs + 6, torch.tensor([[12], [13]])], dim=1)
    data = Data(x=torch.ones(16, 1), edge_index=torch.cat([arcs, arcs.flip(0)], dim=1))
    lifted = NoLifting()(data)
    place = layout(lifted)
    np.testing.assert_array_equal(place, layout(lifted))
    parts = [range(6), range(6, 12), range(12, 14), [14], [15]]
    boxes = [(place[list(p)].min(0), place[list(p)].max(0)) for p in parts]
    for i, (low, high) in enumerate(boxes):
        for other_low, other_high in boxes[:i]:
            gaps = np.maximum(low - other_high, other_low - high)
            assert gaps.max() > 0.9
    for part in parts[:2]:
        nearest = np.linalg.norm(place[list(part)][:, None] - place[list(part)], axis=-1)
        assert np.median(np.sort(nearest)[:, 1]) == pytest.approx(1)


def test_layout_of_a_hypergraph_follows_its_graph_or_else_its_hyperedges() -> None:
    learned = lift("hypergraph").eval()(molecule())
    np.testing.assert_array_equal(layout(learned), layout(NoLifting()(molecule())))
    fixed = LIFTINGS["khop"]()(molecule())
    np.testing.assert_array_equal(layout(fixed), layout(NoLifting()(molecule())))
    groups = ColoredHyperGraph([[0, 1, 2], [3, 4, 5]])
    place = layout(LiftedComplex.from_toponetx(groups))
    within = np.ptp(place[:3], axis=0).max()
    assert np.linalg.norm(place[:3].mean(0) - place[3:].mean(0)) > within


def test_outlines_of_one_two_and_three_nodes_on_a_line() -> None:
    def area(outline: np.ndarray) -> float:
        x, y = outline.T
        return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2

    disc = 12 * np.sin(np.pi / 12) * 0.25**2  # of the polygon with 24 corners
    for points, length in (([[3, 4]], 0), ([[0, 0], [2, 0]], 2), ([[0, 0], [1, 0], [4, 0]], 4)):
        outline = rounded_hull(np.array(points, dtype=float), 0.25)
        assert area(outline) == pytest.approx(disc + 2 * 0.25 * length)


def test_levels_tell_cells_with_a_common_vertex_apart_and_nest_small_ones() -> None:
    cells = [(0, 1, 2, 3), (0, 1), (2, 3), (5, 6), (0, 1, 2)]
    found = levels(cells, 5)
    for i, cell in enumerate(cells):
        for j in range(i):
            if set(cell) & set(cells[j]):
                assert found[i] != found[j]
    assert found[1] < found[4] < found[0]
    assert levels([(0,)] * 7, 3) == [0, 1, 2, 0, 1, 2, 0]


# ---------------------------------------------------------------------- pairs


@pytest.mark.parametrize("domain", DOMAINS)
def test_pair_shares_positions_limits_and_scale_and_counts_the_changes(domain: str) -> None:
    before, after = lift(domain)(molecule()), lift(domain, k_max=3)(molecule())
    figure = draw_pair(before, after, ("untrained", "trained"))
    left, right, scale = figure.axes
    np.testing.assert_array_equal(positions(left), positions(right))
    assert (left.get_xlim(), left.get_ylim()) == (right.get_xlim(), right.get_ylim())
    assert scale.get_ylabel() == "acceptance probability"
    assert [axes.get_title().split("\n")[0] for axes in (left, right)] == ["untrained", "trained"]

    def cells(lifted: LiftedComplex, rank: int) -> Counter[Any]:
        def key(cell: tuple[int, ...]) -> Any:
            if (lifted.domain, rank) != ("cell", 2):
                return tuple(sorted(cell))
            turns = [c[i:] + c[:i] for c in (cell, cell[::-1]) for i in range(len(cell))]
            return min(turns)

        return Counter(key(cell) for cell in lifted.accepted().cells(rank))

    parts = []
    for rank in range(1, before.max_rank + 1):
        old, new = cells(before, rank), cells(after, rank)
        parts.append(f"rank {rank}: {(new - old).total()} came, {(old - new).total()} went")
    assert figure.get_suptitle() == "; ".join(parts)
    assert any(" 0 came" not in part for part in parts)
    figure.canvas.draw()


def test_nothing_changes_between_a_complex_and_itself_turned() -> None:
    one, other = CellComplex(), CellComplex()
    one.add_cell([0, 1, 2, 3], rank=2)
    other.add_cell([2, 1, 0, 3], rank=2)
    figure = draw_pair(one, other)
    assert figure.get_suptitle() == "rank 1: 0 came, 0 went; rank 2: 0 came, 0 went"
    crossed = CellComplex()
    crossed.add_cell([0, 2, 1, 3], rank=2)
    assert draw_pair(one, crossed).get_suptitle().endswith("rank 2: 1 came, 1 went")


def test_pair_of_different_graphs_or_titles_is_refused() -> None:
    with pytest.raises(ValueError, match=r"of the same graph \(got 1 and 2 nodes\)"):
        draw_pair(edgeless(1), edgeless(2))
    for titles in ("ab", ["one"]):
        with pytest.raises(ValueError, match="two titles"):
            draw_pair(edgeless(1), edgeless(1), titles)


# ---------------------------------------------------------------------- charts


def summary(*counts: tuple[int, int]) -> LiftingSummary:
    ranks = [RankSummary(r, 5, n, a, 2.0) for r, (a, n) in enumerate(counts, start=1)]
    return LiftingSummary("cell", 1, 9, tuple(ranks))


def test_acceptance_has_a_line_for_each_rank_and_marks_collapse() -> None:
    summaries = [
        summary((5, 10), (1, 4), (0, 0)),
        summary((10, 10), (0, 0), (0, 0)),
        summary((7, 10), (0, 4), (0, 0)),
    ]
    axes = plot_acceptance(summaries, xlabel="step")
    rates = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert list(rates) == ["rank 1", "rank 2"]  # nothing was ever proposed at rank 3
    np.testing.assert_allclose(rates["rank 1"], [0.5, 1, 0.7])
    np.testing.assert_allclose(rates["rank 2"], [0.25, np.nan, 0])
    assert len({line.get_color() for line in axes.lines}) == 2
    (crosses,) = axes.collections
    assert sorted(map(tuple, crosses.get_offsets())) == [(1, 1), (2, 0)]
    low, high = axes.get_ylim()
    assert low < 0
    assert high > 1
    assert axes.get_xlabel() == "step"
    assert [t.get_text() for t in axes.get_legend().get_texts()] == [
        "rank 1", "rank 2", "collapsed: all or nothing accepted",
    ]  # fmt: skip
    assert not plot_acceptance(summaries[:1]).collections


def test_acceptance_of_a_lifting_in_training() -> None:
    module = lift("hypergraph")
    summaries = [module(molecule(i)).summary() for i in range(3)]
    (line,) = plot_acceptance(summaries).lines
    assert line.get_ydata().tolist() == [s.ranks[0].acceptance_rate for s in summaries]
    (one,) = plot_acceptance(summaries[0]).lines
    assert one.get_ydata().tolist() == line.get_ydata()[:1].tolist()


def test_acceptance_of_nothing() -> None:
    axes = plot_acceptance([summary((0, 0))])
    assert [text.get_text() for text in axes.texts] == ["nothing was proposed"]
    for wrong in ([], [summary((1, 2)), summary((1, 2), (1, 2))]):
        with pytest.raises(ValueError, match="'summaries'"):
            plot_acceptance(wrong)


def bars(axes: Axes) -> dict[str, dict[float, tuple[float, float]]]:
    """Bottom and height of each bar, by label and centre, empty ones left out."""
    return {
        container.get_label(): {
            round(bar.get_x() + bar.get_width() / 2, 6): (bar.get_y(), bar.get_height())
            for bar in container
            if bar.get_height()
        }
        for container in axes.containers
    }


def check_stacks(axes: Axes, counts: dict[str, Counter[float]]) -> None:
    found = bars(axes)
    heights = {
        label: {centre: height for centre, (_, height) in of.items()} for label, of in found.items()
    }
    assert heights == counts
    # Each bar stands on the one below.
    top: Counter[float] = Counter()
    for of_label in found.values():
        for centre, (bottom, height) in of_label.items():
            assert bottom == top[centre]
            top[centre] += height


@pytest.mark.parametrize("n_graphs", [1, 3])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_sizes_and_probabilities_are_counted(domain: str, seed: int, n_graphs: int) -> None:
    lifted = random_complex(domain, seed, n_graphs=n_graphs)
    sizes, probabilities = {}, {}
    for (rank, kind), members in expected(lifted).items():
        label = f"rank {rank}, {kind}"
        sizes[label] = Counter(float(len(cell)) for cell, _ in members)
        if kind != "given":
            bins = [min(int(p * 20), 19) for _, p in members]
            probabilities[label] = Counter(round(b / 20 + 0.025, 6) for b in bins)
    check_stacks(plot_sizes(lifted), sizes)
    check_stacks(plot_probabilities(lifted), probabilities)


def test_empty_histograms_say_so() -> None:
    assert [t.get_text() for t in plot_sizes(edgeless(2)).texts] == ["no cell"]
    fixed = NoLifting()(molecule())
    (text,) = plot_probabilities(fixed).texts
    assert text.get_text() == "no cell that a lifting decided on"
    assert list(bars(plot_sizes(fixed))) == ["rank 1, given"]


def test_axes_have_names() -> None:
    lifted = lift()(molecule())
    assert plot_sizes(lifted).get_xlabel() == "vertices of a cell"
    assert plot_sizes(lifted.to_toponetx()).get_ylabel() == "number of cells"
    assert plot_probabilities(lifted).get_xlabel() == "acceptance probability"
    assert plot_probabilities(lifted.to_toponetx()).get_xlim() == (0, 1)
    assert plot_acceptance([lifted.summary()]).get_xlabel() == "epoch"


# ---------------------------------------------------------------------- figures

PICTURES: dict[str, Callable[..., Any]] = {
    "draw": lambda **ax: draw(edgeless(2), **ax),
    "draw_pair": lambda: draw_pair(edgeless(2), edgeless(2)),
    "plot_acceptance": lambda **ax: plot_acceptance([summary((1, 2))], **ax),
    "plot_probabilities": lambda **ax: plot_probabilities(edgeless(2), **ax),
    "plot_sizes": lambda **ax: plot_sizes(edgeless(2), **ax),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pyplot_and_its_settings_are_left_alone(name: str) -> None:
    import matplotlib.pyplot as plt

    before = dict(mpl.rcParams)
    PICTURES[name]()
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", sorted(set(PICTURES) - {"draw_pair"}))
def test_pictures_go_where_they_are_told(name: str) -> None:
    ours = new_figure()[1]
    assert PICTURES[name](ax=ours) is ours


@pytest.mark.parametrize("name", PICTURES)
def test_missing_matplotlib_is_named_with_its_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'topox-difflift\[plot\]'"):
        PICTURES[name]()


def test_notebook_shows_a_figure() -> None:
    assert draw_pair(edgeless(1), edgeless(1))._repr_png_().startswith(b"\x89PNG")
