"""
What the recorded comparisons say, as a page of the guide and as tutorial 08.

    python tests/results_page.py        # writes tutorials/guide/results.md, and runs the notebook

Both are made from benchmarks/results/*.jsonl alone. `test_results_page.py` makes them again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import nbformat

from topox_difflift.compare import Account, read_folder
from topox_difflift.compare.behaviour import (
    collapse_statements,
    diagnostics_table,
    untrained_statements,
)
from topox_difflift.compare.commands import commands_of, files_table
from topox_difflift.compare.paper import paper_statements, paper_table
from topox_difflift.compare.planted import planted_statements, planted_table, recovery_table
from topox_difflift.compare.text import markdown_table
from topox_difflift.compare.verdicts import (
    arms_table,
    judge,
    verdict_statements,
    verdict_table,
)

if TYPE_CHECKING:
    from topox_difflift.compare.text import Columns

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "tutorials" / "guide" / "results.md"
NOTEBOOK = ROOT / "tutorials" / "08_when_does_a_learned_lifting_pay.ipynb"


def table(columns: Columns) -> str:
    """Write a table, or say that it is empty."""
    if not any(columns.values()):
        return "No run is recorded yet.\n"
    return markdown_table(columns)


def listed(statements: list[str]) -> str:
    """Write sentences."""
    return "\n".join(f"* {statement}" for statement in statements)


def page(folder: Path) -> str:
    """Make the page from the lines in a folder."""
    files = read_folder(folder)
    account = Account.of(record for records in files.values() for record in records)
    verdicts = [verdict for one in account.fair if (verdict := judge(one)) is not None]
    commands = [
        command
        for name, records in files.items()
        for command in commands_of(records, f"benchmarks/results/{name}")
    ]
    return TEXT.format(
        paper_graphs=table(paper_table(account.paper, "graphs")),
        paper_nodes=table(paper_table(account.paper, "nodes")),
        paper_says=listed(paper_statements(account.paper)),
        arms=table(arms_table(account.fair)),
        set_aside=table(arms_table(account.set_aside)),
        verdicts=table(verdict_table(verdicts)),
        verdicts_say=listed(verdict_statements(verdicts)),
        planted=table(planted_table(account.planted)),
        recovery=table(recovery_table(account.planted)),
        planted_says=listed(planted_statements(account.planted)),
        diagnostics=table(diagnostics_table(account.all)),
        collapse=listed(collapse_statements(account.all)),
        untrained=listed(untrained_statements(account.all)),
        files=table(files_table(files)),
        commands="\n".join(commands),
    )


TEXT = """\
# Results: learned and static liftings

Does it pay to learn the lifting? This page is what `python tests/results_page.py` makes of the
runs that are recorded in `benchmarks/results/*.jsonl`, one line each;
[tutorial 08](../08_when_does_a_learned_lifting_pay.ipynb) goes through the same lines with
pictures, ablations and diagnostics. Every figure of ours is computed from them.

In all of our tables an epoch is chosen by its validation score and tested once; a cell is the mean
± standard deviation of the test score (number of runs), in percent of accuracy or ROC-AUC, or the
mean absolute error (MAE); a dash says that there is no run. All arms have the same encoder, whose
embedding their network reads, and the same number of epochs, patience and learning rate.

## The paper's tables beside ours

Under the protocol of the paper, `--protocol paper` ([load_splits](../api/datasets.rst)). The
paper's figures are means of three seeds, whose spread is not published; MUTAG's test set has 19
graphs, so that one graph is 5.3 points, and its larger class has 66.5 %. In the paper's cell runs
on graphs the static arm reads raw features where ∂lift's network reads the embedding of a GNN. The
row of DCM has our nearest: DCM's rule, with CWN behind it.

### Graphs

{paper_graphs}
### Nodes

{paper_nodes}
{paper_says}

## Fair comparisons

Under other protocols than the paper's: rounds of a ten-fold cross-validation ("stratified"), or
published splits. *gnn* is the encoder without any cells, *none* the network on the graph alone,
*accept_all* takes every cell that ∂lift proposes, *random* as many as ∂lift by chance. Where a pair
was compared in several settings, the one with most runs of ∂lift counts, and of these the longest
training; the others stand [below](#other-settings). Which pairs were trained longer was decided
after their shorter runs were seen, for all arms alike.

{arms}
The *best static* arm is the one with the best mean validation score, *none* included. Differences
are those of runs of the same seed and fold, with the 95 % interval (number of pairs). Where pairs
differ in the split, it is that of the corrected resampled t-test [^nb], since splits of one dataset
share training data; where they differ in *seeds* alone, it speaks of the one published split.
*Better* and *worse* mean that the interval leaves out zero.

{verdicts}
{verdicts_say}

### Other settings

Fair comparisons that do not count above, since their runs are fewer or shorter; what each option
does there is among the ablations of tutorial 08.

{set_aside}
[^nb]: Nadeau and Bengio. Inference for the generalization error. Machine Learning 52, 2003.

## Planted cells

Graphs whose label depends on hidden cells that no rule on the graph finds
(`topox_difflift.datasets.planted_cells`), made anew from each seed. *oracle* is given the hidden
cells; the gap is that from *none* to *oracle*. AUROC is that of the acceptance
probabilities, averaged over 16 draws with 0 where a draw does not propose the cell, planted cells
against others.

{planted}
{planted_says}

Each form of ∂lift, where only what its arm names is not the default:

{recovery}

## Behaviour and time

Of ∂lift: the share of candidates accepted on the test set, the share that is undecided (a
probability from 0.1 to 0.9), and runs that accepted nothing or everything of some rank. Seconds are
medians, of training and validation, of runs with early stopping.

{diagnostics}
{collapse}

Early stopping can end a run before it begins to learn, of any arm:

{untrained}

## Commands

{files}
```bash
{commands}
```

Hours are those of training and validation, added up over the runs. A command that was interrupted
goes on where it stopped, and one that is done runs nothing.
"""


def main() -> None:
    """Write the page, and run the notebook."""
    from nbclient import NotebookClient

    PAGE.write_text(page(RESULTS))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, resources={"metadata": {"path": NOTEBOOK.parent}}).execute()
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
