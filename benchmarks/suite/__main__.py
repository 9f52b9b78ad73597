"""
From a molecule batch to a graph of 100 000 nodes, stage by stage and beside every peer, in one run.

Writes `suite.json`, `suite.md` and plots. Every measurement runs in a process of its own, and its
contenders take turns; one that fails is a row that says why.

    python -m benchmarks.suite --root data --out suite
    python -m benchmarks.suite --plan quick
    python -m benchmarks.suite --root data --only bare --match MUTAG
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from .children import Task, run
from .machine import machine
from .marks import growth, marks
from .plan import PLANS
from .report import markdown, plot

SECTIONS = ("limits", "stages", "bare", "peers")
#: Bounds that hold on a machine with other things to do, of exponents over all sizes.
GENEROUS = {"time, step without search": 1.6, "memory, step": 1.3, "entries": 1.3}


def measure(tasks: list[Task], common: dict[str, Any], threads: int) -> dict[str, Any]:
    """Run one task after the other, and say how it goes."""
    results: dict[str, Any] = {section: [] for section in SECTIONS}
    with tempfile.TemporaryDirectory() as folder:
        for place, task in enumerate(tasks, 1):
            start = time.perf_counter()
            shared = dict(common)
            if task.function == "steps.by_stage":
                shared["folder"] = Path(folder)
            rows = run(task, shared, threads)
            results[task.section] += rows
            said = next((f" -- {row['reason']}" for row in rows if "reason" in row), "")
            took = time.perf_counter() - start
            print(f"  [{place}/{len(tasks)}] after {took:.1f} s{said}", flush=True)
    return results


def broken(results: dict[str, Any]) -> list[str]:
    """Return what grows faster than it may even where the machine is busy."""
    found = []
    for row in results["growth"]:
        bound = GENEROUS.get(row["quantity"])
        if bound is not None and (row["exponent"] is None or row["exponent"] > bound):
            where = ", ".join((row["kind"], row["domain"], row["engine"]))
            found.append(f"{row['quantity']} of {where}: exponent {row['exponent']} > {bound}")
    failed = [row for row in results["stages"] if "reason" in row]
    return found + [f"{row['name']}: {row['reason']}" for row in failed]


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    root = os.environ.get("TOPOX_DIFFLIFT_DATA", "data")
    parser.add_argument("--root", default=root, help="folder of the datasets")
    parser.add_argument("--out", type=Path, default=Path("suite"), help="folder of the results")
    parser.add_argument("--plan", choices=list(PLANS), default="full")
    parser.add_argument("--quick", action="store_const", dest="plan", const="quick")
    parser.add_argument("--strict", action="store_true", help="the largest graph with more edges")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--match", default="", help="only tasks whose line has these words")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> int:
    """Measure, write the results; where growth is checked, 1 says that it is too fast."""
    options = arguments()
    # So that measurements that run end as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    plan = replace(PLANS[options.plan], strict=options.strict)
    tasks = [task for task in plan.tasks() if task.section in options.only]
    tasks = [task for task in tasks if options.match in str(task)]
    start = time.perf_counter()
    common = {"root": options.root, "device": options.device}
    results = measure(tasks, common, options.threads)
    results["plan"] = options.plan
    results["machine"] = machine(options.threads, options.device)
    results["minutes"] = (time.perf_counter() - start) / 60
    results["growth"] = growth(results)
    results["marks"] = marks(results)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "suite.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.out / "suite.md").write_text(markdown(results))
    plot(results, options.out)
    for mark in results["marks"]:
        print(f"{mark['verdict']:13}{mark['figure'] or float('nan'):9.3g}  {mark['what']}")
    problems = [] if options.plan == "full" else broken(results)
    print(*problems, sep="\n")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
