"""The laws every domain and estimator obeys, for ours and for third parties' alike."""

from __future__ import annotations

import copy
import itertools
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from topox_difflift.estimators import Acceptance, Estimator
from topox_difflift.lift import DiffLift

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from topox_difflift.complex import LiftedComplex
    from topox_difflift.domains import Domain

__all__ = [
    "AcceptAll",
    "CommonDraws",
    "RejectAll",
    "assert_same",
    "check_batch",
    "check_boundary",
    "check_columns",
    "check_domain",
    "check_equivariance",
    "check_estimator",
    "check_gradient",
    "check_untouched",
    "loss_of",
    "zoo",
]


@contextmanager
def _context(note: str) -> Iterator[None]:
    """Add to whatever goes wrong inside where it did."""
    try:
        yield
    except Exception as error:
        error.add_note(note)
        raise


def zoo(dtype: torch.dtype = torch.float32) -> dict[str, Data]:
    """
    Small graphs on which liftings go wrong.

    Parameters
    ----------
    dtype : torch.dtype, default=torch.float32
        Type of the features.

    Returns
    -------
    dict of str to torch_geometric.data.Data
        Graphs by name. Those with self-loops or duplicate edges make a lifting warn.
    """
    edges: dict[str, tuple[int, list[tuple[int, int]]]] = {
        "no edge": (4, []),
        "one node": (1, []),
        "path": (5, [(0, 1), (1, 2), (2, 3), (3, 4)]),
        "triangle": (3, [(0, 1), (0, 2), (1, 2)]),
        "K4": (4, list(itertools.combinations(range(4), 2))),
        "two triangles": (4, [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]),
        "disconnected": (8, [(0, 1), (1, 2), (0, 2), (4, 5), (5, 6), (6, 7), (4, 7)]),
        "self-loops": (5, [(0, 0), (0, 1), (1, 2), (2, 2), (2, 3), (0, 3)]),
        "duplicate edges": (5, [(0, 1), (0, 1), (1, 2), (0, 2), (2, 3), (3, 4)]),
    }
    generator = torch.Generator().manual_seed(0)
    graphs = {}
    for name, (n, pairs) in edges.items():
        x = torch.randn(n, 3, generator=generator, dtype=torch.float64)
        arcs = torch.tensor(pairs + [(v, u) for u, v in pairs if u != v], dtype=torch.long)
        graphs[name] = Data(x=x.to(dtype), edge_index=arcs.view(-1, 2).t().contiguous())
    duplicates = graphs["disconnected"].clone()
    duplicates.x = duplicates.x[[0, 1, 1, 1, 4, 4, 4, 7]]
    graphs["duplicate features"] = duplicates
    unlike = ["disconnected", "one node", "K4", "no edge", "path"]
    graphs["batch"] = Batch.from_data_list([graphs[name] for name in unlike])
    return graphs


class AcceptAll(Estimator):
    """Accept every candidate."""

    stochastic = False

    def accept(
        self,
        logits: Tensor,
        generator: torch.Generator | None = None,
        group: Tensor | None = None,
    ) -> Acceptance:
        """
        Accept.

        Parameters
        ----------
        logits : torch.Tensor, shape = (n_cells,)
            Acceptance logits.
        generator : torch.Generator, optional
            Not used: nothing is random.
        group : torch.Tensor, shape = (n_cells,), int64, optional
            Not used: every candidate is decided on its own.

        Returns
        -------
        Acceptance
            Everything is accepted.
        """
        prob = torch.sigmoid(logits)
        return Acceptance(prob, torch.ones_like(prob, dtype=torch.bool))


class RejectAll(Estimator):
    """Reject every candidate."""

    stochastic = False

    def accept(
        self,
        logits: Tensor,
        generator: torch.Generator | None = None,
        group: Tensor | None = None,
    ) -> Acceptance:
        """
        Reject.

        Parameters
        ----------
        logits : torch.Tensor, shape = (n_cells,)
            Acceptance logits.
        generator : torch.Generator, optional
            Not used: nothing is random.
        group : torch.Tensor, shape = (n_cells,), int64, optional
            Not used: every candidate is decided on its own.

        Returns
        -------
        Acceptance
            Nothing is accepted.
        """
        prob = torch.sigmoid(logits)
        return Acceptance(prob, torch.zeros_like(prob, dtype=torch.bool))


class CommonDraws(Estimator):
    """Bernoulli acceptance whose draw is a function of the cell, so that it travels with it."""

    stochastic = False

    def accept(
        self,
        logits: Tensor,
        generator: torch.Generator | None = None,
        group: Tensor | None = None,
    ) -> Acceptance:
        """
        Accept by a pseudo-random function of the logit.

        Parameters
        ----------
        logits : torch.Tensor, shape = (n_cells,)
            Acceptance logits.
        generator : torch.Generator, optional
            Not used: nothing is random.
        group : torch.Tensor, shape = (n_cells,), int64, optional
            Not used: every candidate is decided on its own.

        Returns
        -------
        Acceptance
            The draws, with the probability as surrogate.
        """
        prob = torch.sigmoid(logits)
        return Acceptance(prob, (logits.detach() * 1e3) % 1 < prob)


def loss_of(lifted: LiftedComplex, seed: int = 0) -> Tensor:
    """
    Reduce a complex to a scalar that depends on all its features and incidences.

    Parameters
    ----------
    lifted : LiftedComplex
        The complex.
    seed : int, default=0
        Seed of the random weights.

    Returns
    -------
    torch.Tensor, scalar
        A random, curved function of every feature and every incidence value.
    """
    generator = torch.Generator().manual_seed(seed)
    total = lifted.x_0.sum() * 0
    for r in range(1, lifted.max_rank + 1):
        for values in (lifted[f"x_{r}"], lifted[f"incidence_{r}"].values()):
            weight = torch.randn(values.shape, generator=generator, dtype=torch.float64)
            total = total + ((values + 0.3) ** 2 * weight.to(values)).sum()
    return total


def _faces(cell: tuple[int, ...], below: list[tuple[int, ...]], topology: str) -> set[int]:
    """Columns of the faces of a cell, by definition."""
    if topology == "combinatorial" or topology == "hypergraph":
        return {i for i, face in enumerate(below) if set(face) <= set(cell)}
    if topology == "cell" and len(below[0]) == 2:
        around = [frozenset(pair) for pair in zip(cell, cell[1:] + cell[:1], strict=True)]
        assert len(set(around)) == len(cell), f"cell {cell} walks an edge twice"
    else:
        around = [frozenset(face) for face in itertools.combinations(cell, len(cell) - 1)]
    columns = {frozenset(face): i for i, face in enumerate(below)}
    absent = [set(face) for face in around if face not in columns]
    assert not absent, f"faces {absent} of cell {cell} are not in the complex"
    return {columns[face] for face in around}


def check_boundary(lifted: LiftedComplex) -> None:
    """
    Law 1: boundaries compose to zero, and columns hold exactly the faces of their cells.

    Parameters
    ----------
    lifted : LiftedComplex
        The complex; the law speaks of its accepted cells.

    Raises
    ------
    AssertionError
        If the law is broken.
    """
    accepted = lifted.accepted()
    for r in range(1, accepted.max_rank + 1):
        matrix = accepted.incidence(r).detach().to_dense()
        cells, below = accepted.cells(r), accepted.cells(r - 1)
        shape = (len(below), len(cells))
        assert matrix.shape == shape, f"incidence_{r} is {tuple(matrix.shape)}, not {shape}"
        for j, cell in enumerate(cells):
            found = set(matrix[:, j].nonzero().flatten().tolist())
            expected = _faces(cell, below, accepted.domain)
            assert found == expected, f"rank {r}, cell {cell}: column {found}, faces {expected}"
        if accepted.domain in ("simplicial", "cell"):
            signed = accepted.incidence(r, signed=True).detach().to_dense()
            assert torch.equal(signed.abs(), matrix), f"signed incidence_{r} has other entries"
            if r > 1:
                lower = accepted.incidence(r - 1, signed=True).detach().to_dense()
                assert not (lower @ signed).any(), f"B_{r - 1} B_{r} is not zero"


def check_columns(lifted: LiftedComplex) -> None:
    """
    Law 2: column j is cell j, its values are the mask of cell j, gates are exactly 0 or 1.

    Parameters
    ----------
    lifted : LiftedComplex
        The complex, kept rejected cells included.

    Raises
    ------
    AssertionError
        If the law is broken.
    """
    for r in range(1, lifted.max_rank + 1):
        mask, prob = lifted[f"mask_{r}"], lifted[f"prob_{r}"]
        lengths = {len(mask), len(prob), len(lifted.cells(r)), lifted.num_cells[r]}
        assert len(lengths) == 1, f"masks, probabilities and cells of rank {r} differ in number"
        assert set(mask.unique().tolist()) <= {0.0, 1.0}, f"mask_{r} is not exactly 0 or 1"
        assert bool(((prob >= 0) & (prob <= 1)).all()), f"prob_{r} is outside [0, 1]"
        matrix = lifted.incidence(r).detach()
        rejected = mask[matrix.indices()[1]] == 0
        assert not matrix.values()[rejected].any(), "a rejected cell has a non-zero entry"
    for r in range(1, lifted.accepted().max_rank + 1):
        values = lifted.accepted().incidence(r).values()
        assert bool((values == 1).all()), "an accepted cell has an entry other than 1"


def assert_same(first: LiftedComplex, second: LiftedComplex) -> None:
    """
    Compare two complexes cell by cell.

    Parameters
    ----------
    first, second : LiftedComplex
        The complexes.

    Raises
    ------
    AssertionError
        If they differ in cells, boundaries, gates, or features.
    """
    numbers = first.num_cells, second.num_cells
    assert numbers[0] == numbers[1], "cells per rank: {} and {}".format(*numbers)
    for r in range(1, first.max_rank + 1):
        assert first.cells(r) == second.cells(r), f"the {r}-cells differ"
        for key in (f"mask_{r}", f"prob_{r}", f"x_{r}"):
            torch.testing.assert_close(
                first[key], second[key], rtol=1e-4, atol=1e-4, msg=f"{key} differs"
            )
        matrices = [each.incidence(r).detach().to_dense() for each in (first, second)]
        assert torch.equal(*matrices), f"incidence_{r} differs"


def check_batch(lift: DiffLift, graphs: list[Data]) -> None:
    """
    Law 3: the lifting of a batch is the concatenation of the liftings of its graphs.

    Parameters
    ----------
    lift : DiffLift
        A lifting without randomness, or in `eval()`.
    graphs : list of torch_geometric.data.Data
        The graphs.

    Raises
    ------
    AssertionError
        If a graph is lifted differently among batch mates.
    """
    together = lift(Batch.from_data_list(graphs)).accepted()
    for alone, part in zip(graphs, together.unbatch(), strict=True):
        with _context("a graph is lifted differently among batch mates"):
            assert_same(lift(alone).accepted(), part)


def check_equivariance(lift: DiffLift, data: Data, seed: int = 0) -> None:
    """
    Law 4: renaming the nodes renames the complex.

    Parameters
    ----------
    lift : DiffLift
        A lifting without randomness, or in `eval()`.
    data : torch_geometric.data.Data
        One graph whose nodes have distinct features.
    seed : int, default=0
        Seed of the permutation.

    Raises
    ------
    AssertionError
        If the cells differ; of the 2-cells of a cell complex, whose cycle basis is not
        unique, if the dimension of the cycle space differs.
    """
    n = len(data.x)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    renamed = torch.empty_like(order)
    renamed[order] = torch.arange(n)
    permuted = Data(x=data.x[order], edge_index=renamed[data.edge_index])
    before, after = lift(data).accepted(), lift(permuted).accepted()
    names = renamed.tolist()
    for r in range(1, before.max_rank + 1):
        if before.domain == "cell" and r == 2:
            # Other cycles have other draws; the whole space is what cannot change.
            whole = isinstance(lift.estimator, AcceptAll)
            same = _dimension(before) == _dimension(after)
            assert not whole or same, "renaming the nodes changes the space of the cycles"
            continue
        expected = sorted(sorted(names[v] for v in cell) for cell in before.cells(r))
        found = sorted(sorted(cell) for cell in after.cells(r))
        assert expected == found, f"renaming the nodes changes the {r}-cells"


def _dimension(lifted: LiftedComplex) -> int:
    """Dimension of the space that the 2-cells of a cell complex span."""
    boundary = lifted.incidence(2, signed=True).detach().to_dense()
    return int(torch.linalg.matrix_rank(boundary)) if boundary.numel() else 0


def check_gradient(lift: DiffLift, data: Data) -> None:
    """
    Law 5: every parameter that was used gets a finite gradient, and a non-zero one.

    A network counts as used when it had candidates; the size network when more than
    one size was possible. Where candidates compete, a network counts when some graph left
    a choice, and not its last bias, which adds the same to all candidates.

    Parameters
    ----------
    lift : DiffLift
        A lifting in training mode.
    data : torch_geometric.data.Data
        Graphs with candidates of every rank.

    Raises
    ------
    AssertionError
        If a parameter has no gradient, or one that is zero, NaN or infinite.
    """
    lift.zero_grad()
    lifted = lift(data)
    loss = loss_of(lifted)
    if not lift.estimator.pathwise:
        loss = loss + loss.detach() * lift.log_prob().sum()
    loss.backward()
    for name, parameter in lift.named_parameters():
        if lift.estimator.competing and _is_without_effect(name, lifted):
            continue
        assert parameter.grad is not None, f"{name} has no gradient"
        assert bool(torch.isfinite(parameter.grad).all()), f"{name} has a NaN or infinite gradient"
        assert bool(parameter.grad.any()), f"{name} has a zero gradient"


def _is_without_effect(name: str, lifted: LiftedComplex) -> bool:
    """Whether competition cancels a parameter of an acceptance network."""
    part, rank, *_ = name.split(".")
    if part != "scorers":
        return False
    prob = lifted[f"prob_{rank}"]
    # A learned cell that is certain has the number below 1, see `DiffLift`.
    undecided = (prob > 0) & (prob < 1 - torch.finfo(prob.dtype).eps)
    return name.endswith("rho.lins.1.bias") or not bool(undecided.any())


def check_untouched(lift: Callable[[Data], LiftedComplex], data: Data) -> None:
    """
    Law 9: the input is bit for bit the same after the call, and is carried over.

    Parameters
    ----------
    lift : callable
        The lifting.
    data : torch_geometric.data.Data
        The input.

    Raises
    ------
    AssertionError
        If the input changed, or is not in the result.
    """
    before = copy.deepcopy(data)
    lifted = lift(data)
    assert list(data.keys()) == list(before.keys()), "the input has other keys than before"
    for key, value in before.items():
        if isinstance(value, Tensor):
            assert torch.equal(data[key], value), f"'{key}' of the input was changed"
            assert torch.equal(lifted[key], value), f"'{key}' of the input is not in the result"


def check_domain(domain: str | Domain, *, max_rank: int | None = None) -> None:
    """
    Run the laws on a domain, over the zoo.

    Parameters
    ----------
    domain : str or Domain
        A registered name, or an instance of a third party's class.
    max_rank : int, optional
        Highest rank.

    Raises
    ------
    AssertionError
        If the domain breaks a law.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for estimator in (CommonDraws(), AcceptAll(), RejectAll()):
            for rejected in ("keep", "drop"):
                lift = DiffLift(
                    domain, max_rank=max_rank, estimator=estimator, rejected=rejected, in_channels=3
                ).double()
                with _context(f"{lift.domain!r}, {lift.estimator}, rejected={rejected!r}"):
                    _check_on_zoo(lift)


def _check_on_zoo(lift: DiffLift) -> None:
    graphs = zoo(torch.float64)
    singles = [data for data in graphs.values() if not isinstance(data, Batch)]
    for name, data in graphs.items():
        with _context(f"on the graph {name!r} of the zoo"):
            lifted = lift(data)
            check_boundary(lifted)
            check_columns(lifted)
            check_untouched(lift, data)
    check_batch(lift, singles)
    check_equivariance(lift, graphs["disconnected"])
    if not isinstance(lift.estimator, RejectAll):
        check_gradient(lift, _crowd())


def _crowd() -> Data:
    """Build a batch with candidates of every rank."""
    generator = torch.Generator().manual_seed(1)
    graphs = []
    for n in (9, 12, 7):
        ring = torch.arange(n)
        arcs = torch.stack([ring, ring.roll(-1)])
        x = torch.randn(n, 3, generator=generator, dtype=torch.float64)
        graphs.append(Data(x=x, edge_index=torch.cat([arcs, arcs.flip(0)], dim=1)))
    return Batch.from_data_list(graphs)


def check_estimator(estimator: Estimator) -> None:
    """
    Run the laws on an estimator.

    Parameters
    ----------
    estimator : Estimator
        The estimator.

    Raises
    ------
    AssertionError
        If gates are not exactly 0 or 1, a gradient is missing, `eval()` is random or takes
        one group into account for another, the global seed is touched although a generator
        is given, or no candidate is an error.
    """
    for dtype in (torch.float32, torch.float64):
        logits = torch.linspace(-4, 4, 41, dtype=dtype, requires_grad=True)
        for training in (True, False):
            estimator.train(training)
            before = torch.get_rng_state()
            prob, mask = estimator(logits, torch.Generator().manual_seed(0))
            assert torch.equal(before, torch.get_rng_state()), "the global seed was touched"
            assert mask.dtype == prob.dtype == dtype, f"{mask.dtype} and {prob.dtype} of {dtype}"
            assert set(mask.tolist()) <= {0.0, 1.0}, "gates are not exactly 0 or 1"
            _, again = estimator(logits, torch.Generator().manual_seed(0))
            assert torch.equal(mask, again), "the same generator gave other draws"
            _check_signal(estimator, logits, mask)
        _, other = estimator(logits, torch.Generator().manual_seed(1))
        assert torch.equal(mask, other), "eval() is random"
        _, nothing = estimator(logits[:0])
        assert nothing.shape == (0,), "no candidate has a gate"
        group = torch.arange(len(logits)) // 14
        prob, mask = estimator(logits, group=group)
        for each in group.unique():
            alone, among = (
                estimator(logits[group == each]),
                (prob[group == each], mask[group == each]),
            )
            torch.testing.assert_close(alone, among, msg="one group changes what another gets")


def _check_signal(estimator: Estimator, logits: Tensor, mask: Tensor) -> None:
    """Check the gradient that the estimator promises: of the gates, or of the draws."""
    if estimator.pathwise:
        signal: Tensor | None = mask
    else:
        assert not mask.requires_grad, "gates have a gradient although 'pathwise' is False"
        signal = estimator.accept(logits).log_prob
        assert (signal is not None) == estimator.training, "log_prob is for draws of training"
    if signal is not None:
        # Weighed, as probabilities that share a total have no gradient of their sum.
        weight = torch.linspace(-1, 2, len(signal), dtype=signal.dtype)
        (grad,) = torch.autograd.grad((signal * weight).sum(), logits)
        assert bool(torch.isfinite(grad).all()), "a NaN or infinite gradient"
        assert bool(grad.any()), "the gradient is zero"
