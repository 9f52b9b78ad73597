"""Compare liftings: a grid of training runs that can be killed and resumed, and its report."""

from topox_difflift.compare.account import Account
from topox_difflift.compare.grid import ARMS, Grid, Plan, Run
from topox_difflift.compare.report import Report
from topox_difflift.compare.results import Results, read_folder, read_results

__all__ = [
    "ARMS",
    "Account",
    "Grid",
    "Plan",
    "Report",
    "Results",
    "Run",
    "read_folder",
    "read_results",
]
