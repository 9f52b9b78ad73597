"""Planted cells: how much of the gap between no lifting and the true cells is closed?

Run ``python benchmarks/planted_cells.py --kind cycles`` for all rows on one seed; every row has the
same encoder and the same network, and is trained for the same number of epochs.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from topox_difflift.config import TrainingConfig
from topox_difflift.datasets import planted_cells
from topox_difflift.options import parse_options
from topox_difflift.recovery import recovery_of

if TYPE_CHECKING:
    from topox_difflift.nn import TopologicalNetwork

#: Domain and network of each kind, the static liftings to that domain, and the k of the truth.
KINDS: dict[str, dict[str, Any]] = {
    "hyperedges": {
        "domain": "hypergraph", "tnn": "unigcn", "static": ["khop", "knn", "kernel"], "k": 3,
    },
    "cycles": {"domain": "cell", "tnn": "cwn", "static": ["cycle"], "k": 2},
    "triangles": {
        "domain": "simplicial", "tnn": "scn2", "static": ["clique", "khop_simplicial"], "k": 2,
    },
}  # fmt: skip
LEARNED = ("accept_all", "difflift")


def rows_of(kind: str) -> dict[str, dict[str, Any]]:
    """Return the options of each row: bounds, static liftings, and learned ones."""
    k = {"options": {"k_min": KINDS[kind]["k"], "k_max": KINDS[kind]["k"]}}
    return {
        # First the two ends of the gap.
        "none": {"lifting": "none"},
        "oracle": {"lifting": "oracle"},
        **{name: {"lifting": name} for name in KINDS[kind]["static"]},
        **{name: {"lifting": name} for name in LEARNED},
        **{f"{name}, k known": {"lifting": name, **k} for name in LEARNED},
    }


def evaluate(model: TopologicalNetwork, test: list[Data]) -> dict[str, float]:
    """Return the accuracy, and how well the planted cells are recovered."""
    batch = Batch.from_data_list(test)
    with torch.no_grad():
        accuracy = (model.eval()(batch).argmax(1) == batch.y).float().mean()
    return {"accuracy": float(accuracy), **asdict(recovery_of(model, test))}


def run(
    kind: str,
    row: str,
    seed: int,
    *,
    n_train: int = 5000,
    n_test: int = 1000,
    epochs: int = 12,
    lr: float = 3e-3,
    sizes: list[int] | None = None,
    noise: float = 0.05,
    distractors: int | None = None,
    tnn: str | None = None,
    options: dict[str, Any] | None = None,
) -> dict[str, float]:
    """Train one row on planted cells, and evaluate it on fresh graphs; `options` of "difflift"."""
    start = time.perf_counter()
    task: dict[str, Any] = {"sizes": sizes, "noise": noise, "distractors": distractors}
    train = planted_cells(kind, n_train, seed=2 * seed + 1, **task)
    test = planted_cells(kind, n_test, seed=2 * seed, **task)
    chosen = dict(rows_of(kind)[row])
    if options and row == "difflift":
        chosen["options"] = options
    config = TrainingConfig(
        dataset=f"planted_{kind}",
        domain=KINDS[kind]["domain"],
        tnn=tnn or KINDS[kind]["tnn"],
        seed=seed,
        lr=lr,
        **chosen,
    )
    model = config.build(train[0].x.size(1), 0, 2)
    if (generator := getattr(model.lift.lift, "generator", None)) is not None:
        generator.manual_seed(seed)
    shuffle = torch.Generator().manual_seed(seed)
    batches = DataLoader(train, batch_size=50, shuffle=True, generator=shuffle)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    steps = epochs * len(batches)
    # Constant for the first half, then down to zero.
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, 2 * (1 - s / steps)))
    model.train()
    for _ in range(epochs):
        for batch in batches:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(batch), batch.y).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return {**evaluate(model, test), "seconds": time.perf_counter() - start}


def gap_closed(found: list[dict[str, Any]], row: dict[str, Any]) -> float:
    """Share of the way from no lifting to the true cells, on the same seed; nan without both."""
    own = {f["row"]: f["accuracy"] for f in found if f["seed"] == row["seed"]}
    if "none" not in own or "oracle" not in own:
        return float("nan")
    return (row["accuracy"] - own["none"]) / (own["oracle"] - own["none"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", default="hyperedges", choices=list(KINDS))
    parser.add_argument("--rows", nargs="+", default=["all"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--graphs", type=int, default=5000, help="training graphs")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--sizes", nargs="+", type=int, help="sizes of the planted cells")
    parser.add_argument("--noise", type=float, default=0.05)
    parser.add_argument("--distractors", type=int)
    parser.add_argument("--tnn", help="another network of the domain")
    parser.add_argument("--option", nargs="+", default=[], help="NAME=VALUE, of row difflift")
    parser.add_argument("--json", type=Path, help="where to write the results")
    arguments = parser.parse_args()
    names = list(rows_of(arguments.kind))
    if "all" not in arguments.rows:
        if unknown := set(arguments.rows) - set(names):
            parser.error(f"rows of {arguments.kind} are {', '.join(names)} (got {unknown})")
        names = arguments.rows
    columns = ("accuracy", "gap", "auroc", "recall", "accepted", "purity", "seconds")
    print(f"{arguments.kind:22} {'seed':>4}" + "".join(f" {name:>8}" for name in columns))
    results: list[dict[str, Any]] = []
    # Networks that cannot tell a kept rejected cell say once that they drop it.
    warnings.simplefilter("once")
    for seed in arguments.seeds:
        for row in names:
            found = run(
                arguments.kind,
                row,
                seed,
                n_train=arguments.graphs,
                epochs=arguments.epochs,
                sizes=arguments.sizes,
                noise=arguments.noise,
                distractors=arguments.distractors,
                tnn=arguments.tnn,
                options=parse_options(arguments.option),
            )
            results.append({"kind": arguments.kind, "row": row, "seed": seed, **found})
            results[-1]["gap"] = gap_closed(results, results[-1])
            shown = {**results[-1], "recall": found["candidate_recall"]}
            shown["accepted"] = found["accepted_recall"]
            figures = "".join(f" {shown[name]:8.3f}" for name in columns)
            print(f"{row:22} {seed:4}{figures}", flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
