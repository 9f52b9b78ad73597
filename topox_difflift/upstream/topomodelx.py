"""What TopoModelX gets: the sparse product, with tests and a benchmark."""

from __future__ import annotations

from topox_difflift.upstream.bundle import bundle
from topox_difflift.upstream.checkout import Kit
from topox_difflift.upstream.templates import template

__all__ = ["TOPOMODELX"]

MODULE = "topomodelx.utils.products"


def _files() -> dict[str, str]:
    product = bundle("topox_difflift.sparse", "sparse_mm")
    header = template("topomodelx/header.txt")
    return {
        "topomodelx/utils/products.py": header + product.replace("topox_difflift.sparse", MODULE),
        "test/utils/test_products.py": template("topomodelx/test_products.py.txt"),
        "benchmarks/products.py": template("topomodelx/benchmark.py.txt"),
    }


TOPOMODELX = Kit(
    project="TopoModelX",
    repository="pyt-team/TopoModelX",
    folders=("topomodelx/utils", "test/utils"),
    files=_files,
    checks=(
        "pre-commit run --files {files}",
        "python -m pytest test/utils/test_products.py",
        "python benchmarks/products.py",
    ),
    note="To document it, add '.. automodule:: topomodelx.utils.products' with ':members:' to "
    "docs/api/utils/index.rst.",
)
