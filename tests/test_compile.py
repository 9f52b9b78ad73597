"""What `torch.compile` traces without a break, and that it computes what eager mode does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch_geometric.data import Batch

from topox_difflift import DiffLift, compiled
from topox_difflift.datasets import molecules
from topox_difflift.estimators import ESTIMATORS
from topox_difflift.liftings import FixedRate
from topox_difflift.proximity import NeighborhoodSize
from topox_difflift.sparse import Segments, matmul

if TYPE_CHECKING:
    from collections.abc import Callable

    from topox_difflift import LiftedComplex

# The tracer's own use of a class of PyTorch's.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
#: Those that sort candidates by group have sizes that depend on values.
TRACED = ["straight_through", "gumbel", "threshold", "score_function"]


@pytest.fixture(autouse=True)
def tensor_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are traced, in eager mode as well, so that both round alike."""
    monkeypatch.setattr(compiled, "numba_installed", lambda: False)
    torch._dynamo.reset()


def lifted(n_graphs: int) -> tuple[DiffLift, LiftedComplex]:
    torch.manual_seed(0)
    lift = DiffLift("hypergraph", in_channels=7, hidden_channels=8).double()
    data = Batch.from_data_list(molecules(n_graphs))
    data.x, data.edge_attr = data.x.double(), data.edge_attr.double()
    return lift, lift(data)


def run(function: Callable[..., Any], inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """Outputs, and gradients of those that have any."""
    torch.manual_seed(0)
    leaves = [t.detach().clone().requires_grad_(t.is_floating_point()) for t in inputs]
    out = function(*leaves)
    outputs = [o for o in (out if isinstance(out, tuple) else (out,)) if o is not None]
    smooth = [o for o in outputs if o.requires_grad]
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    weights = [torch.cos(torch.arange(o.numel(), dtype=o.dtype)).view_as(o) for o in smooth]
    return outputs + list(torch.autograd.grad(smooth, wanted, weights, allow_unused=True))


def agrees(function: Callable[..., Any], *examples: list[torch.Tensor]) -> None:
    """One graph for inputs of any size, and the same numbers."""
    traced = torch.compile(function, backend="aot_eager", fullgraph=True, dynamic=True)
    for inputs in examples:
        for found, expected in zip(run(traced, inputs), run(function, inputs), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.laws
@pytest.mark.parametrize("name", [*TRACED, "fixed rate"])
def test_estimators_are_traced_whole(name: str) -> None:
    estimator = FixedRate(0.5) if name == "fixed rate" else ESTIMATORS[name]()

    def accept(logits: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        acceptance = estimator.accept(logits)
        return acceptance.prob, acceptance.mask(), acceptance.log_prob

    agrees(accept, *([torch.linspace(-2, 2, n, dtype=torch.float64)] for n in (5, 9)))


@pytest.mark.laws
def test_sizes_are_traced_whole() -> None:
    rule = NeighborhoodSize(8, 8, 2, 5).double()
    generator = torch.Generator().manual_seed(0)
    agrees(
        rule.distribution,
        *(
            [torch.randn(n, 8, generator=generator).double(), torch.randint(-1, n, (n, 5))]
            for n in (6, 11)
        ),
    )


@pytest.mark.laws
def test_features_are_traced_whole() -> None:
    def features(x: torch.Tensor, faces: torch.Tensor, membership: torch.Tensor) -> torch.Tensor:
        return matmul(faces.flip(0), membership, x, int(faces.shape[1]))

    found = [lifted(n)[1] for n in (3, 5)]
    agrees(features, *([c.x_0, c.faces_1, c.membership_1] for c in found))


@pytest.mark.laws
def test_embeddings_are_traced_whole() -> None:
    lift, _ = lifted(2)
    found = [Batch.from_data_list(molecules(n)) for n in (3, 5)]
    agrees(
        lambda x, index, batch, edge_attr: lift.encoder(x, index, batch, edge_attr),
        *([d.x.double(), d.edge_index, d.batch, d.edge_attr.double()] for d in found),
    )


@pytest.mark.laws
def test_scores_are_traced_whole() -> None:
    """The members of the candidates once found, whose number depends on what was drawn."""
    lift, _ = lifted(4)
    (proposal,) = lift._proposals
    segments = Segments(*proposal.candidates.members(), len(proposal.nearest.z))
    scorer = lift.scorers["1"]
    agrees(lambda z: scorer.logits(z, segments), [proposal.nearest.z.detach()])
