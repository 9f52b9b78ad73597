"""Growth, and what is asked of the figures: computed from what was measured, and nothing else."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .timing import exponent

if TYPE_CHECKING:
    from collections.abc import Iterator

Results = dict[str, Any]
#: Nodes of the graph whose step has to fit, as the marks have it.
NODES = 100_000


@dataclass(frozen=True)
class Mark:
    """
    One thing that is asked.

    Attributes
    ----------
    what : str
        Of what.
    target : float
        The bound.
    at_most : bool
        Whether it is one from above.
    figure : float, optional
        What was measured, None where nothing was.
    unit : str
        Of both.
    """

    what: str
    target: float
    figure: float | None
    at_most: bool = True
    unit: str = "x"

    @property
    def verdict(self) -> str:
        """Compare."""
        if self.figure is None:
            return "not measured"
        reached = self.figure <= self.target if self.at_most else self.figure >= self.target
        return "reached" if reached else "not reached"

    def row(self) -> dict[str, Any]:
        """Return everything."""
        return {**asdict(self), "verdict": self.verdict}


def growth(results: Results) -> list[dict[str, Any]]:
    """Fit time and memory of each stage, and of the step, against the number of nodes."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in results["stages"]:
        kind, _, size = row["name"].partition("-")
        if "reason" not in row and kind in ("er", "knn", "grid") and size:
            groups.setdefault((kind, row["domain"], row["engine"]), []).append(row)
    found = []
    for (kind, domain, engine), rows in groups.items():
        rows = sorted(rows, key=lambda row: row["nodes"])
        for quantity, of in quantities(rows[-1]).items():
            values = [value_of(row, of) for row in rows]
            sizes = [row["nodes"] for row in rows]
            found.append(
                {
                    "kind": kind,
                    "domain": domain,
                    "engine": engine,
                    "quantity": quantity,
                    "nodes": sizes,
                    "values": values,
                    "exponent": exponent(sizes, values),
                    "exponent_last": exponent(sizes[-2:], values[-2:]),
                }
            )
    return found


def quantities(row: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Name what grows, and say where it stands."""
    stages = {f"time, {stage}": ("stages", stage) for stage in row["stages"]}
    return {
        "time, step without search": ("stages",),
        **stages,
        "memory, step": ("memory",),
        "entries": ("entries",),
    }


def value_of(row: dict[str, Any], of: tuple[str, ...]) -> float:
    """Look up a quantity; of stages, both directions, and 0 where there was nothing to do."""
    if of == ("stages",):
        return sum(value_of(row, (*of, stage)) for stage in row["stages"] if stage != "search")
    if of == ("stages", "search") and row["search"]:
        return row["search"]["cpu"]
    if of[0] == "stages":
        return sum(direction["cpu"] for direction in row["stages"].get(of[1], {}).values())
    return row[of[0]]


def marks(results: Results) -> list[dict[str, Any]]:
    """Compare everything that is asked with what was measured."""
    found = [*steps(results), *growths(results), *sizes(results), *peers(results)]
    return [mark.row() for mark in found]


def steps(results: Results) -> Iterator[Mark]:
    """Whole step against the network alone: the worst of the batches of a dataset."""
    ratios: dict[tuple[str, int, str], list[float]] = {}
    for row in results["bare"]:
        if row.get("ratio"):
            dataset = row["name"] if row["name"].startswith("Cora") else row["name"].split("-")[0]
            ratios.setdefault((dataset, row["layers"], row["rejected"]), []).append(row["ratio"])
    for (dataset, n, rejected), values in ratios.items():
        what = f"step / network alone on the same complex: {dataset}, {n} layers, {rejected}"
        yield Mark(what, 1.5, max(values))


def growths(results: Results) -> Iterator[Mark]:
    """Exponents over the largest two sizes, the search aside."""
    for row in results["growth"]:
        bounds = {"time, step without search": 1.15, "memory, step": 1.05}
        if row["quantity"] in bounds and row["exponent_last"] is not None:
            where = ", ".join((row["kind"], row["domain"], row["engine"]))
            last = " to ".join(str(n) for n in row["nodes"][-2:])
            what = f"growth of {row['quantity']}: {where}, {last} nodes"
            yield Mark(what, bounds[row["quantity"]], row["exponent_last"], unit="")


def sizes(results: Results) -> Iterator[Mark]:
    """Memory of the process in a step on a large graph, everything included."""
    for kind, edges in (("er", "arcs"), ("er8", "edges")):
        peaks = [
            row["process"] / 1024
            for row in results["stages"]
            if row["name"] == f"{kind}-{NODES}" and row["domain"] == "cell" and "process" in row
        ]
        what = f"memory of a step, {NODES} nodes, {4 * NODES} {edges}"
        yield Mark(what, 8.0, max(peaks, default=None), unit=" GB")


def peers(results: Results) -> Iterator[Mark]:
    """Stages against those who do the same."""
    flat = ratio_of(results, "peers.neighbours", f"er-{NODES}", "faiss, flat")
    yield Mark(f"kNN of {NODES} nodes / faiss flat", 3.0, None if flat is None else 1 / flat)
    for engine in ("numba", "tensors"):
        for name in ("MUTAG-128", "NCI1-128", "molecules-128"):
            if any(row["name"] == name for row in results["peers"]):
                dense = ratio_of(results, "peers.neighbours", name, "dense", engine)
                what = f"kNN in a batch, forward + backward, faster than dense: {name}, {engine}"
                yield Mark(what, 20.0, dense, at_most=False)
                way = ratio_of(results, "peers.boundaries", name, "networkx + TopoNetX", engine)
                what = f"edge_index to B_1, B_2, faster than TopoNetX: {name}, {engine}"
                yield Mark(what, 100.0 if engine == "numba" else 40.0, way, at_most=False)


def ratio_of(
    results: Results, function: str, name: str, contender: str, engine: str = "numba"
) -> float | None:
    """Look up how many times as long a peer takes."""
    for row in results["peers"]:
        here = row["function"], row["name"], row["engine"]
        if here == (function, name, engine) and "contenders" in row:
            return row["contenders"].get(contender, {}).get("ratio")
    return None
