"""Differentiable lifting for topological neural networks, in the TopoX ecosystem."""

from topox_difflift.complex import LiftedComplex
from topox_difflift.domains import DOMAINS, Domain
from topox_difflift.encoders import ENCODERS
from topox_difflift.estimators import ESTIMATORS, Estimator
from topox_difflift.lift import DiffLift

__all__ = [
    "DOMAINS",
    "ENCODERS",
    "ESTIMATORS",
    "DiffLift",
    "Domain",
    "Estimator",
    "LiftedComplex",
    "__version__",
]

__version__ = "0.1.0"
