"""Estimators: how a cell is accepted, each with its gradient. `ESTIMATORS` is open."""

from topox_difflift.estimators.base import Acceptance, Estimator
from topox_difflift.estimators.entmax import Entmax
from topox_difflift.estimators.exact_k import ExactK
from topox_difflift.estimators.gumbel import GumbelSigmoid
from topox_difflift.estimators.score_function import (
    ScoreFunction,
    leave_one_out,
    repeat_graphs,
)
from topox_difflift.estimators.straight_through import StraightThrough
from topox_difflift.estimators.threshold import Threshold

__all__ = [
    "ESTIMATORS",
    "Acceptance",
    "Entmax",
    "Estimator",
    "ExactK",
    "GumbelSigmoid",
    "ScoreFunction",
    "StraightThrough",
    "Threshold",
    "leave_one_out",
    "repeat_graphs",
]

#: Names accepted by ``DiffLift(estimator=...)``; add a class to register it.
ESTIMATORS: dict[str, type[Estimator]] = {
    "straight_through": StraightThrough,
    "gumbel": GumbelSigmoid,
    "threshold": Threshold,
    "exact_k": ExactK,
    "score_function": ScoreFunction,
    "entmax": Entmax,
}
