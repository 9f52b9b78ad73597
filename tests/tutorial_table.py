"""
TopoModelX's tutorials with a learned lifting in the place of their own, found by running them.

    python tests/tutorial_table.py        # writes tutorials/topomodelx.md (about five minutes)

Each row runs the tutorial that `topox-difflift upstream topomodelx-tutorials` writes twice, with
one line replaced: the lifting. `test_tutorial_table.py` runs some rows again.
"""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from topox_difflift import liftings
from topox_difflift.nn import TNNS
from topox_difflift.upstream.tutorials import LEFT, TUTORIALS

if TYPE_CHECKING:
    from topox_difflift.nn import Adapter
    from topox_difflift.upstream.tutorials import Tutorial

PAGE = Path(__file__).parents[1] / "tutorials" / "topomodelx.md"
HEADER = (
    "tutorial", "network", "data", "lifting", "epochs", "train loss, static", "train loss, learned",
    "test accuracy, static and learned", "gradient to the acceptances", "accepted", "trained",
    "remark",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What a run of a tutorial leaves."""

    before: float
    after: float
    test_acc: float
    names: dict[str, Any]

    @property
    def trained(self) -> bool:
        """Whether the loss went down."""
        return self.after < self.before


def adapter(tutorial: Tutorial) -> Adapter:
    """What is known of the network."""
    return TNNS[tutorial.path.rpartition("/")[2]]


def run(tutorial: Tutorial, *, static: bool) -> Run:
    """Run the code of a tutorial, with its own lifting or with the learned one."""
    script = tutorial.script()
    # One needs torch_scatter, which no dependency brings; for this import PyG's stands in.
    adapter(tutorial).load()
    names: dict[str, Any] = {}
    if static:
        line = f"lift = {tutorial.lift}\n"
        assert script.count(line) == 1
        # What was learned is not asked of a lifting that does not learn.
        script = script.replace(line, f"lift = {tutorial.static}\n").partition("# # What was")[0]
        names |= vars(liftings)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        # What the networks say about rejected cells, and about ranks without gradient.
        warnings.filterwarnings("ignore", ".*(are dropped before it|no gradient: )", UserWarning)
        exec(compile(script, tutorial.path, "exec"), names)
    return Run(names["before"], names["after"], names["test_acc"], names)


def reached(learned: Run) -> str:
    """Say at which ranks a gradient reached the networks that accept cells."""
    ranks = sorted({name.split(".")[1] for name in learned.names["reached"]})
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(ranks)}"


def accepted(learned: Run) -> str:
    """Say how many of the candidates of each rank were accepted in the end."""
    ranks = learned.names["lifted"].summary().ranks
    return ", ".join(f"{rank.accepted} of {rank.candidates}" for rank in ranks if rank.candidates)


def row(tutorial: Tutorial) -> tuple[str, ...]:
    """Run a tutorial both ways."""
    own, learned = run(tutorial, static=True), run(tutorial, static=False)
    return (
        f"{tutorial.path}_train", tutorial.network, tutorial.data,
        f"`{tutorial.static}` → `{tutorial.lift}`", str(tutorial.epochs),
        f"{own.before:.3f} → {own.after:.3f}", f"{learned.before:.3f} → {learned.after:.3f}",
        f"{own.test_acc:.2f}, {learned.test_acc:.2f}", reached(learned), accepted(learned),
        "yes" if learned.trained else "no", adapter(tutorial).why,
    )  # fmt: skip


def page(rows: list[tuple[str, ...]]) -> str:
    """Put the table into its page."""
    lines = [HEADER, ("---",) * len(HEADER), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    left = "\n".join(f"| {path}_train | {why} |" for path, why in LEFT.items())
    return TEXT.format(n=len(TUTORIALS) + len(LEFT), m=len(rows), table=table, left=left)


TEXT = """\
# TopoModelX's tutorials with a learned lifting

TopoModelX has {n} tutorials. {m} of them lift a graph that can be had without a download of
TopoNetX, to a network that a lifting can learn through; `topox-difflift upstream
topomodelx-tutorials CHECKOUT` writes them with `lift = DiffLift(...)`. The table is what
`python tests/tutorial_table.py` found by running each of them twice, on one core: with the
tutorial's own lifting, and with the learned one, everything else equal, the seed included. Network,
options and task are the tutorial's; in both runs the readout is that of `TopologicalNetwork`, the
features of cells come from those of the nodes, and Adam steps over the whole training set with a
learning rate of 0.01. The losses are those of the training set in evaluation mode, before and
after.

A few epochs show that a network trains through the lifting. They compare no liftings: the test sets
are small (20, 38 and 1000 items, and 4 of the Karate Club), and nothing was tuned.

{table}

*Accepted*: candidates of rank 1 and, where there are any, of rank 2. The tutorial on
AllSetTransformer needs torch_scatter, as TopoModelX's own does, which no dependency brings.

## Left as they are

| tutorial | why |
| --- | --- |
{left}

The first half of sccnn_train and of scnn_train is on SHREC16 too; the table has the other half.
"""


def main() -> None:
    """Run all, and write the page."""
    torch.set_num_threads(1)
    rows = []
    for tutorial in TUTORIALS:
        start = time.perf_counter()
        rows.append(row(tutorial))
        print(f"{time.perf_counter() - start:5.1f} s", *rows[-1], sep=" | ", flush=True)
    PAGE.write_text(page(rows))


if __name__ == "__main__":
    main()
