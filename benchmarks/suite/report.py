"""Tables in Markdown, and plots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from .marks import Results


#: What the stages are called, in order.
STAGES = {
    "embed": "encoder",
    "search": "nearest neighbours",
    "pairs": "sizes, closeness and pairs, with the search where it is within hops",
    "cycles": "2-cells",
    "accept": "score and draw",
    "attach": "boundaries and features",
    "matrices": "incidences and adjacencies as sparse tensors",
    "TNN": "topological network",
    "readout": "pool, head and loss",
    "rest": "checks, and what is in no other stage",
}


def number(value: float | None, unit: str = "") -> str:
    """Write three digits."""
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}{unit}".replace(",", " ")
    return f"{value:.3g}{unit}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown(results: Results) -> str:
    """Write all tables."""
    return "\n\n".join(sections(results)) + "\n"


def sections(results: Results) -> Iterator[str]:
    """Write one table after the other."""
    m = results["machine"]
    yield "# From a molecule batch to a large graph"
    yield (
        f"{m['cpu']}, {m['cores']} cores, {m['threads']} threads; {m['memory_gb']:.0f} GB; device: "
        f"{m['device']}; torch {m['torch']}, Python {m['python']}. Plan: {results['plan']}. Times "
        "are medians of CPU milliseconds (on a GPU: wall), all contenders in turn; all of it took "
        f"{results['minutes']:.1f} minutes."
    )
    yield "## What is asked"
    yield table(
        ("what", "bound", "figure", "verdict"),
        (
            (
                mark["what"],
                ("≤ " if mark["at_most"] else "≥ ") + number(mark["target"], mark["unit"]),
                number(mark["figure"], mark["unit"]),
                mark["verdict"],
            )
            for mark in results["marks"]
        ),
    )
    yield "## Stages"
    yield (
        "Milliseconds, forward + backward. "
        + "; ".join(f"{name}: {what}" for name, what in STAGES.items())
        + ". The search of one large graph runs once and stands for itself."
    )
    yield stages(results)
    yield "## Memory of the stages"
    yield (
        "MB at the peak, beyond what was there when the stage began; for the step, beyond what was "
        "there before it. Process: everything, interpreter and compiler included."
    )
    yield memory(results)
    yield "## The step and its network alone"
    yield (
        "Whole training steps, milliseconds. Alone: the same network and readout, on a complex "
        "that the same lifting made before. Plain: the same with PyTorch's own sparse products."
    )
    yield bare(results)
    yield "## Growth with the number of nodes"
    yield "Fitted exponents over all sizes, and over the largest two."
    yield growth(results)
    yield "## Peers"
    yield "How many times as long as ours each takes; ours in milliseconds."
    yield peers(results)
    yield "## Limits of the machine"
    yield limits(results)


def where(row: dict[str, Any]) -> tuple[str, ...]:
    """Say what was measured."""
    return row["name"], row.get("domain", "cell"), row["engine"]


def both(directions: dict[str, Any]) -> str:
    """Write forward + backward."""
    parts = [number(time["cpu"]) for time in directions.values()]
    return " + ".join(parts) if parts else "-"


def stages(results: Results) -> str:
    """Write times by stage."""
    rows = []
    for row in results["stages"]:
        if "reason" in row:
            rows.append([*where(row), row["reason"]])
            continue
        found = [both(row["stages"].get(stage, {})) for stage in STAGES]
        if row["search"]:
            found[list(STAGES).index("search")] = f"({number(row['search']['cpu'])})"
        cells = "/".join(str(n) for n in row["cells"])
        whole = (spent(row, "forward"), spent(row, "backward"), row["step"]["cpu"])
        rows.append([*where(row), cells, *found, *map(number, whole)])
    head = ("workload", "domain", "engine", "cells", *STAGES, "forward", "backward", "step")
    return table(head, rows)


def spent(row: dict[str, Any], direction: str) -> float:
    """Add up the stages."""
    times = (stage.get(direction, {"cpu": 0.0}) for stage in row["stages"].values())
    return sum(time["cpu"] for time in times)


def memory(results: Results) -> str:
    """Write memory by stage."""
    rows = []
    for row in results["stages"]:
        if "reason" not in row:
            peaks = (row["memory_stages"].get(stage, {}).values() for stage in STAGES)
            found = [number(max(values, default=0.0)) for values in peaks]
            if row["search"]:
                found[list(STAGES).index("search")] = f"({number(row['search']['memory'])})"
            rows.append([*where(row), *found, number(row["memory"]), number(row["process"])])
    return table(("workload", "domain", "engine", *STAGES, "step", "process"), rows)


def bare(results: Results) -> str:
    """Write steps beside networks."""
    rows = []
    for row in results["bare"]:
        if "reason" in row:
            rows.append([row["name"], row["reason"]])
            continue
        times = [time_of(row[name]) for name in ("step", "bare", "plain")]
        ratios = number(row["ratio"], "x"), number(row["ratio_plain"], "x")
        cells = "/".join(str(n) for n in row["cells"])
        rows.append([row["name"], str(row["layers"]), row["rejected"], cells, *times, *ratios])
    head = (
        "workload",
        "layers",
        "rejected",
        "cells",
        "step",
        "alone",
        "plain",
        "/ alone",
        "/ plain",
    )
    return table(head, rows)


def time_of(time: dict[str, Any]) -> str:
    """Write a time, or why there is none."""
    return time.get("reason") or number(time["cpu"])


def growth(results: Results) -> str:
    """Write exponents."""
    return table(
        ("graph", "domain", "engine", "of", "at the largest", "exponent", "of the last two"),
        (
            (
                row["kind"],
                row["domain"],
                row["engine"],
                row["quantity"],
                number(row["values"][-1]),
                number(row["exponent"]),
                number(row["exponent_last"]),
            )
            for row in results["growth"]
        ),
    )


def peers(results: Results) -> str:
    """Write what others take."""
    rows = []
    for row in results["peers"]:
        if "reason" in row:
            rows.append([row["function"], row["name"], row["engine"], "", row["reason"], ""])
            continue
        for name, time in row["contenders"].items():
            own = name == row["ours"]
            figure = number(time.get("cpu"), " ms") if own else number(time.get("ratio"), "x")
            length = f"mean length {number(time['length'])}" if "length" in time else ""
            said = time.get("reason") or figure
            rows.append([row["topic"], row["name"], row["engine"], name, said, length])
    return table(("topic", "workload", "engine", "way", "time", ""), rows)


def limits(results: Results) -> str:
    """Write rates."""
    rows = [
        (name.replace("_", " "), number(value))
        for row in results["limits"]
        for name, value in row.items()
        if isinstance(value, float)
    ]
    return table(("rate", ""), rows)


def plot(results: Results, folder: Path) -> None:
    """Draw growth of time and memory, and shares of the stages."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6))
    for row in results["growth"]:
        for axis, quantity in zip(axes, ("time, step without search", "memory, step"), strict=True):
            if row["quantity"] == quantity and row["exponent"] is not None:
                label = f"{row['kind']}, {row['domain']}, {row['engine']}: {row['exponent']:.2f}"
                axis.loglog(row["nodes"], row["values"], marker="o", label=label)
    for axis, label in zip(
        axes, ("ms forward + backward, search aside", "MB added by a step"), strict=True
    ):
        axis.set_xlabel("nodes")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=6)
    save(figure, folder / "growth.png")
    plt.close("all")
    rows = [row for row in results["stages"] if "reason" not in row]
    if not rows:
        return
    figure, axis = plt.subplots(figsize=(9, 1 + 0.25 * len(rows)))
    left = [0.0] * len(rows)
    for stage in STAGES:
        shares = [
            sum(t["cpu"] for t in row["stages"].get(stage, {}).values())
            / (spent(row, "forward") + spent(row, "backward"))
            for row in rows
        ]
        axis.barh([", ".join(where(row)) for row in rows], shares, left=left, label=stage)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axis.invert_yaxis()
    axis.set_xlabel("share of forward + backward, search of large graphs aside")
    axis.legend(fontsize=6, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    save(figure, folder / "stages.png")
    plt.close("all")


def save(figure: Any, path: Path) -> None:
    """Write a figure."""
    figure.tight_layout()
    figure.savefig(path, dpi=120)
