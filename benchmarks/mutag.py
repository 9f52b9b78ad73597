"""
Ten-fold cross-validation of topological networks on MUTAG, each through the learned lifting.

Every run is `topox-difflift train --dataset MUTAG --tnn ... --fold ...`: the epoch with the
best validation accuracy is tested. What is asked is whether a network learns through the lifting
at all: more than the majority class. It is no comparison of liftings.

    python benchmarks/mutag.py --root data
    python benchmarks/mutag.py --root data --tnn cwn ccxn --json mutag.jsonl

A line is written for each run, and a run that has its line is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

import torch

from topox_difflift.commands import _quieten
from topox_difflift.config import TrainingConfig
from topox_difflift.job import Job

TNNS = ("cwn", "ccxn", "unigcnii", "unigin", "sccn", "hmc", "topotune")


def run(tnn: str, fold: int, options: argparse.Namespace) -> dict[str, object]:
    """Train and test one fold."""
    config = TrainingConfig(
        dataset="MUTAG", root=options.root, tnn=tnn, fold=fold, max_epochs=options.epochs
    )
    with tempfile.TemporaryDirectory() as folder:
        job = Job.start(config, Path(folder) / "run")
        result = job.run()
    test = torch.tensor([int(graph.y) for graph in job.splits.test])
    return {
        "tnn": tnn,
        "fold": fold,
        "epochs": options.epochs,
        "test": result.test,
        "val": result.val,
        "best_epoch": result.best_epoch,
        "majority": float(torch.bincount(test).max() / len(test)),
        "acceptance": [rank.acceptance_rate for rank in result.ranks],
        "seconds_per_epoch": result.seconds_per_epoch,
    }


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    root = os.environ.get("TOPOX_DIFFLIFT_DATA", "data")
    parser.add_argument("--root", default=root, help="folder of MUTAG, downloaded if missing")
    parser.add_argument("--tnn", nargs="*", default=list(TNNS))
    parser.add_argument("--folds", type=int, nargs="*", default=list(range(10)))
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="keep a line for each run in this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    _quieten()
    rows = []
    if options.json and options.json.exists():
        rows = [json.loads(line) for line in options.json.read_text().splitlines()]
    for tnn in options.tnn:
        for fold in options.folds:
            done = [(row["tnn"], row["fold"], row["epochs"]) for row in rows]
            if (tnn, fold, options.epochs) in done:
                continue
            rows.append(run(tnn, fold, options))
            if options.json:
                with options.json.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    print(f"{'network':12}{'test accuracy':>18}{'majority':>12}{'folds':>8}{'s an epoch':>12}")
    for tnn in options.tnn:
        mine = [row for row in rows if row["tnn"] == tnn and row["epochs"] == options.epochs]
        accuracies = [row["test"] for row in mine]
        majority = statistics.mean(row["majority"] for row in mine)
        seconds = statistics.median(row["seconds_per_epoch"] for row in mine)
        spread = statistics.stdev(accuracies) if len(mine) > 1 else 0.0
        print(
            f"{tnn:12}{statistics.mean(accuracies):10.3f} ± {spread:.3f}{majority:12.3f}"
            f"{len(mine):8}{seconds:12.2f}"
        )


if __name__ == "__main__":
    main()
