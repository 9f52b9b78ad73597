"""
What each network does with a lifted complex, found by running it.

    python tests/model_table.py        # writes the table into tutorials/networks.md

`test_models.py` measures every row again and compares.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric.data import Batch, Data

from topox_difflift import DiffLift, LiftedComplex
from topox_difflift.domains import Cell
from topox_difflift.liftings import NoLifting
from topox_difflift.nn import TNNS, TopologicalNetwork
from topox_difflift.products import LinearProducts
from topox_difflift.testing import AcceptAll, RejectAll, zoo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from topox_difflift.nn import Adapter

PAGE = Path(__file__).parents[1] / "tutorials" / "networks.md"
HEADER = (
    "network", "`--tnn`", "domains", "matrices", "gradient of the acceptances",
    "rejected cells", "empty rank", "memory", "batch mates", "dtypes", "autocast", "why",
)  # fmt: skip
#: Errors that networks are documented to raise.
RAISES = {("hmpnn", "one node"): "at least two nodes"}
CHANNELS, HIDDEN, N_LAYERS = 3, 8, 2
#: Graphs on which networks go wrong, and which candidates are accepted.
CASES = {
    "no 2-cell": ("path", RejectAll()),
    "one cell": ("triangle", AcceptAll()),
    "unlike graphs": ("batch", "straight_through"),
    "all rejected": ("batch", RejectAll()),
    "no edge": ("no edge", RejectAll()),
    "one node": ("one node", RejectAll()),
}


@contextmanager
def strict() -> Iterator[None]:
    """Make warnings errors, but for what a network says when it is built or drops cells."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for said in (".* are dropped before it", ".* no gradient: "):
            warnings.filterwarnings("ignore", said, UserWarning)
        yield


def lifting(domain: str, max_rank: int, estimator: object = "straight_through", **options):
    return DiffLift(
        domain, max_rank=max_rank, in_channels=CHANNELS, hidden_channels=16, estimator=estimator,
        generator=torch.Generator().manual_seed(0), **options,
    )  # fmt: skip


def network(adapter: Adapter, lift: object, dtype: torch.dtype = torch.float32, **options):
    torch.manual_seed(0)
    tnn = adapter.build(CHANNELS, HIDDEN, N_LAYERS)
    return TopologicalNetwork(lift, tnn, 2, **options).to(dtype)


def ranks_of(adapter: Adapter) -> int:
    return adapter.settled(adapter.build(CHANNELS, HIDDEN, N_LAYERS)).max_rank


def arms(adapter: Adapter, domain: str, estimator: object) -> list[object]:
    """Liftings to run on: learned ones where the network can learn through one."""
    rank = ranks_of(adapter)
    if adapter.learns == ():
        lift = lifting(domain, rank, estimator)
        return [Frozen(lift), NoLifting(domain, rank)]
    keep, drop = (lifting(domain, rank, estimator, rejected=r) for r in ("keep", "drop"))
    return [keep, drop, NoLifting(domain, rank)]


class Frozen(torch.nn.Module):
    """A lifting whose parameters nobody trains: its complex comes without history."""

    def __init__(self, lift: DiffLift) -> None:
        super().__init__()
        self.lifts = [lift]

    def forward(self, data: object) -> LiftedComplex:
        lift = self.lifts[0].to(data.x.dtype)
        with torch.no_grad():
            return lift(data)


def fits(adapter: Adapter, domain: str) -> bool:
    return domain in adapter.domains and (domain != "hypergraph" or ranks_of(adapter) == 1)


def run_case(adapter: Adapter, domain: str, case: str, dtype: torch.dtype) -> None:
    """Run forward and backward; whatever is wrong raises."""
    name, estimator = CASES[case]
    data = zoo(dtype)[name]
    for lift in arms(adapter, domain, estimator):
        net = network(adapter, lift, dtype)
        y = net(data)
        expected = data.num_graphs if isinstance(data, Batch) else 1
        assert y.shape == (expected, 2), y.shape
        assert y.dtype == dtype
        assert bool(torch.isfinite(y).all())
        y.square().sum().backward()
        for parameter in net.parameters():
            assert parameter.grad is None or bool(torch.isfinite(parameter.grad).all())


def gradients(net: TopologicalNetwork, data: object) -> dict[int, float]:
    """Gradient that the acceptances of each rank get, as a sum of absolute values."""
    net.zero_grad()
    net(data).square().sum().backward()
    found = {}
    for rank, scorer in net.lift.scorers.items():
        grads = [p.grad for p in scorer.parameters() if p.grad is not None]
        found[int(rank)] = sum(float(grad.abs().sum()) for grad in grads)
    return found


def through_values(adapter: Adapter, domain: str) -> tuple[int, ...]:
    """Ranks whose masks get a gradient although all features are constants."""
    rank = ranks_of(adapter)
    lift = lifting(domain, rank, rejected="drop").double()
    lifted = lift(zoo(torch.float64)["batch"])
    for r in range(rank + 1):
        lifted[f"x_{r}"] = lifted[f"x_{r}"].detach() + 0.5
        if r > 0:
            lifted[f"content_{r}"] = lifted[f"x_{r}"]
    masks = [lifted[f"mask_{r}"].detach().requires_grad_() for r in range(1, rank + 1)]
    for r, mask in enumerate(masks, start=1):
        lifted[f"mask_{r}"] = mask
    torch.manual_seed(0)
    tnn = adapter.build(CHANNELS, HIDDEN, N_LAYERS).double()
    with LinearProducts(lifted.x_0):
        out = adapter.call(tnn, lifted.opened() if adapter.opened else lifted)
    out = out if isinstance(out, dict) else dict(enumerate(out))
    total = sum(h.square().sum() for h in out.values())
    if not total.requires_grad:
        return ()
    found = torch.autograd.grad(total, masks, allow_unused=True)
    return tuple(r for r, g in enumerate(found, start=1) if g is not None and bool(g.any()))


def gradient_of(adapter: Adapter, domain: str) -> str:
    """Say which ranks learn, and how."""
    if adapter.learns == ():
        return "none"
    net = network(adapter, lifting(domain, ranks_of(adapter)))
    data = zoo()["batch"]
    learned = {rank for rank, norm in gradients(net, data).items() if norm > 0}
    by_value = set(through_values(adapter, domain))
    parts = []
    for how, ranks in (
        ("values", learned & by_value), ("features only", learned - by_value),
        ("none", set(range(1, ranks_of(adapter) + 1)) - learned),
    ):  # fmt: skip
        if ranks:
            of = "rank " if len(ranks) == 1 else "ranks "
            parts.append(f"{how} ({of}{', '.join(map(str, sorted(ranks)))})")
    return "; ".join(parts)


def sees_absent(adapter: Adapter, domain: str) -> bool:
    """Whether a network that is given kept rejected cells computes what it does without them."""
    rank = ranks_of(adapter)
    lifted = lifting(domain, rank).double()(zoo(torch.float64)["batch"])
    torch.manual_seed(0)
    tnn = adapter.build(CHANNELS, HIDDEN, N_LAYERS).double().eval()
    accepted = lifted.accepted()
    assert accepted.num_cells != lifted.num_cells
    try:
        kept, alone = (adapter.run(tnn, complex_) for complex_ in (lifted, accepted))
    except (FloatingPointError, AssertionError, RuntimeError):
        return False
    for r, h in kept.items():
        if r > 0:
            assert not h[lifted[f"mask_{r}"] == 0].any(), "a rejected cell has features"
        rows = torch.ones(len(h), dtype=torch.bool) if r == 0 else lifted[f"mask_{r}"] != 0
        if not torch.allclose(h[rows], alone[r], rtol=1e-8, atol=1e-8):
            return False
    return True


def rejected_learn(adapter: Adapter, domain: str) -> str:
    """Say at which ranks the gate of a cell that was rejected, and kept, has a gradient."""
    # Few cells are rejected in one draw, perhaps none that the network would have read.
    found = sorted(set().union(*(_rejected_with_gradient(adapter, domain, s) for s in range(4))))
    if not found:
        return "kept, none learns"
    ranks, verb = ("ranks", "learn") if len(found) > 1 else ("rank", "learns")
    return f"kept, {ranks} {', '.join(map(str, found))} {verb}"


def _rejected_with_gradient(adapter: Adapter, domain: str, seed: int) -> set[int]:
    torch.manual_seed(seed)
    rank = ranks_of(adapter)
    lifted = lifting(domain, rank).double()(zoo(torch.float64)["batch"])
    masks = {r: lifted[f"mask_{r}"].detach().requires_grad_() for r in range(1, rank + 1)}
    for r, mask in masks.items():
        content = lifted[f"content_{r}"].detach()
        lifted[f"mask_{r}"], lifted[f"content_{r}"] = mask, content
        lifted[f"x_{r}"] = mask.unsqueeze(-1) * content
    tnn = adapter.build(CHANNELS, HIDDEN, N_LAYERS).double()
    out = adapter.run(tnn, lifted)
    total = sum((h * torch.randn_like(h)).sum() for h in out.values())
    grads = torch.autograd.grad(total, list(masks.values()), allow_unused=True)
    return {
        r
        for (r, mask), grad in zip(masks.items(), grads, strict=True)
        if grad is not None and bool(grad[mask == 0].any())
    }


def gates_itself(adapter: Adapter, domain: str) -> bool:
    """Whether features of kept rejected cells come out as 0."""
    rank = ranks_of(adapter)
    lifted = lifting(domain, rank).double()(zoo(torch.float64)["batch"])
    torch.manual_seed(0)
    tnn = adapter.build(CHANNELS, HIDDEN, N_LAYERS).double().eval()
    with LinearProducts(lifted.x_0):
        try:
            out = adapter.call(tnn, lifted.opened() if adapter.opened else lifted)
        except (AssertionError, RuntimeError):  # it cannot be given rejected cells
            return adapter.gated
    out = out if isinstance(out, dict) else dict(enumerate(out))
    above = [h[lifted[f"mask_{r}"] == 0] for r, h in out.items() if r > 0]
    return bool(above) and not any(bool((h != 0).any()) for h in above)


def independent(adapter: Adapter, domain: str) -> bool:
    """Whether a graph's prediction is the same alone and in a batch, in evaluation and training."""
    names = ("K4", "disconnected", "path")
    graphs = [zoo(torch.float64)[name] for name in names]
    lift = Frozen(lifting(domain, ranks_of(adapter), AcceptAll(), rejected="drop"))
    net = network(adapter, lift, torch.float64)
    # Without dropout, which is random; what else depends on the mode stays in training mode.
    net(Batch.from_data_list(graphs))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.train()
        else:
            module.training = False
    together = net(Batch.from_data_list(graphs))
    try:
        alone = torch.cat([net(graph) for graph in graphs])
    except ValueError:  # batch norm on a single row
        return False
    return torch.allclose(together, alone, rtol=1e-8, atol=1e-8)


def trains_under_autocast(adapter: Adapter, domain: str) -> bool:
    lift = arms(adapter, domain, "straight_through")[0]
    net = network(adapter, lift)
    with torch.autocast("cpu", torch.bfloat16):
        loss = net(zoo()["batch"]).square().sum()
    loss.backward()
    grads = [p.grad for p in net.parameters() if p.grad is not None]
    finite = bool(torch.isfinite(loss)) and all(bool(torch.isfinite(g).all()) for g in grads)
    return finite and any(bool(g.any()) for g in grads)


class Largest(TorchDispatchMode):
    """Remember the largest tensor that is made, forward or backward."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for made in out if isinstance(out, tuple | list) else [out]:
            if isinstance(made, torch.Tensor):
                sparse = made.layout == torch.sparse_coo
                self.numel = max(self.numel, made._nnz() if sparse else made.numel())
        return out


def growth(adapter: Adapter, domain: str) -> str:
    """Tell whether the largest tensor grows as the complex does, or faster."""
    largest = []
    for n in (60, 240):
        torch.manual_seed(0)
        ring = torch.arange(n)
        arcs = torch.stack([ring, ring.roll(-1)])
        data = Data(x=torch.randn(n, CHANNELS), edge_index=torch.cat([arcs, arcs.flip(0)], dim=1))
        rank = ranks_of(adapter)
        lift = lifting(domain, rank, AcceptAll(), rejected="drop", k_max=3)
        lift.domain = Cell(max_cycle_length=8) if domain == "cell" else lift.domain
        lifted = lift(data)
        tnn = adapter.build(CHANNELS, HIDDEN, 1)
        with Largest() as seen:
            out = adapter.run(tnn, lifted)
            # Through the complex, not through the lifting before it.
            inputs = [lifted[f"mask_{r}"] for r in range(1, rank + 1)]
            total = sum(h.square().sum() for h in out.values())
            torch.autograd.grad(total, inputs, allow_unused=True)
        largest.append(seen.numel)
    return "linear" if largest[1] <= 6 * largest[0] else "quadratic"


@dataclass(frozen=True)
class Row:
    """What was found."""

    cells: tuple[str, ...]

    def __str__(self) -> str:
        return "| " + " | ".join(self.cells) + " |"


def measure(name: str) -> Row:
    """Run a network in all cases, and say what it does."""
    adapter = TNNS[name]
    domains = [domain for domain in adapter.domains if fits(adapter, domain)]
    with strict():
        for domain in domains:
            for case in CASES:
                for dtype in (torch.float32, torch.float64):
                    if (name, case) not in RAISES:
                        run_case(adapter, domain, case, dtype)
                        continue
                    with pytest.raises(ValueError, match=RAISES[name, case]):
                        run_case(adapter, domain, case, dtype)
        found = {gradient_of(adapter, domain) for domain in domains}
        assert len(found) == 1, f"{name}: the gradient depends on the domain: {found}"
        # A network that is given kept cells has to compute as if they were absent.
        kept = all(sees_absent(adapter, domain) for domain in domains)
        learn = {rejected_learn(adapter, domain) for domain in domains} if kept else {"dropped"}
        assert len(learn) == 1, f"{name}: which rejected cells learn depends on the domain: {learn}"
        alone = all(independent(adapter, domain) for domain in domains)
        memory = {growth(adapter, domain) for domain in domains}
        assert len(memory) == 1, f"{name}: memory depends on the domain"
        autocast = all(trains_under_autocast(adapter, domain) for domain in domains)
    assert autocast, f"{name} does not train under autocast"
    return Row(
        (
            adapter.name, f"`{name}`", ", ".join(domains), adapter.matrices, found.pop(),
            learn.pop(), "runs", memory.pop(),
            "independent" if alone else "matter",
            "float32, float64", "yes" if adapter.autocast else "runs in float32",
            adapter.why,
        )
    )  # fmt: skip


def page(rows: list[Row]) -> str:
    before, _, after = PAGE.read_text().partition("| network |")
    after = after.partition("\n\n")[2]
    table = [Row(HEADER), Row(("---",) * len(HEADER)), *rows]
    return before + "\n".join(map(str, table)) + "\n\n" + after


if __name__ == "__main__":
    torch.set_num_threads(1)
    PAGE.write_text(page([measure(name) for name in TNNS]))
    print(f"wrote {PAGE}")
