"""Graph datasets: synthetic ones made here, and those of PyG and OGB by name; splits."""

from topox_difflift.datasets.named import SYNTHETIC, load_dataset
from topox_difflift.datasets.planted import PLANTED, planted_cells
from topox_difflift.datasets.protocols import load_splits
from topox_difflift.datasets.splits import stratified_fold, stratified_split
from topox_difflift.datasets.synthetic import ATOMS, BONDS, molecules, planted_groups

__all__ = [
    "ATOMS",
    "BONDS",
    "PLANTED",
    "SYNTHETIC",
    "load_dataset",
    "load_splits",
    "molecules",
    "planted_cells",
    "planted_groups",
    "stratified_fold",
    "stratified_split",
]
