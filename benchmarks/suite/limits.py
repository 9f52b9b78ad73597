"""What the machine can do at best, and what share of it is reached."""

from __future__ import annotations

from typing import Any

import torch

from topox_difflift.products import SparseOperand

from . import workloads
from .peers import K
from .steps import CHANNELS, Network, key_of
from .timing import in_turns


def measure(
    name: str, root: str, device: str, repetitions: int, size: int = 1024
) -> dict[str, Any]:
    """Measure products of matrices and copies, a search and a sparse product beside them."""
    from topox_difflift.neighbors import knn

    a = workloads.noise((size, size)).to(device)
    source = workloads.noise((2**24,)).to(device)
    target, wide = torch.empty_like(source), a.double()
    data = workloads.load(name, root).to(device)
    nodes = data.num_nodes
    z = workloads.noise((nodes, CHANNELS)).to(device)
    batch = torch.zeros(nodes, dtype=torch.long, device=device)
    lifted = Network(data, "cell").lifted()
    matrix, x = lifted.incidence(1).T.coalesce(), z
    operand = SparseOperand.of(matrix)
    contenders = {
        "sgemm": lambda: a @ a,
        "dgemm": lambda: wide @ wide,
        "copy": lambda: target.copy_(source),
        "search": lambda: knn(z, batch, K),
        "product": lambda: operand.times_dense(x),
    }
    times = in_turns(contenders, repetitions, device=device)
    seconds = {name: time_[key_of(device)] / 1e3 for name, time_ in times.items()}
    # Values, columns and rows of x for each entry, and the result, each touched once.
    width, entries = 4 * CHANNELS, matrix._nnz()
    touched = entries * (4 + 8 + width) + matrix.size(0) * width
    rates = {
        "sgemm": 2e-9 * size**3 / seconds["sgemm"],
        "dgemm": 2e-9 * size**3 / seconds["dgemm"],
        "copy": 2e-9 * source.numel() * 4 / seconds["copy"],
        "search": 2e-9 * nodes**2 * CHANNELS / seconds["search"],
        "product": 1e-9 * touched / seconds["product"],
    }
    return {
        "nodes": nodes,
        "gflops_sgemm": rates["sgemm"],
        "gflops_dgemm": rates["dgemm"],
        "gbytes_copy": rates["copy"],
        "gflops_search": rates["search"],
        "search_share_of_sgemm": rates["search"] / rates["sgemm"],
        "gbytes_product": rates["product"],
        "product_share_of_copy": rates["product"] / rates["copy"],
    }
