r"""
∂lift in TopoBench: a lifting that is trained with the model of a benchmark.

From a checkout of TopoBench, with no change to it::

    python -m topobench model=cell/cwn_difflift dataset=graph/MUTAG experiment=difflift \
        "hydra.searchpath=[pkg://topox_difflift.integrations.topobench_configs]"

``experiment=difflift`` leaves out the offline lifting, which would be replaced anyway.
"""

from __future__ import annotations

from topox_difflift.integrations.frozen import FrozenDiffLift
from topox_difflift.integrations.topobench.callback import RegisterCallback
from topox_difflift.integrations.topobench.encoder import CellProjection, DiffLiftFeatureEncoder
from topox_difflift.integrations.topobench.loss import DiffLiftLoss
from topox_difflift.integrations.topobench.registration import register
from topox_difflift.integrations.topobench.wrappers import (
    AdapterWrapper,
    LinearReadout,
    LinearWrapper,
)

__all__ = [
    "AdapterWrapper",
    "CellProjection",
    "DiffLiftFeatureEncoder",
    "DiffLiftLoss",
    "FrozenDiffLift",
    "LinearReadout",
    "LinearWrapper",
    "RegisterCallback",
    "register",
]
