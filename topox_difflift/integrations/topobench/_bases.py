"""Abstract classes of optional packages, or what stands in for them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

__all__ = ["Callback", "FeatureEncoder", "Loss"]


def _base(path: str, stand_in: type) -> Any:
    """Class of a package, or its stand-in where the package is not installed."""
    module, _, name = path.rpartition(".")
    if find_spec(module.partition(".")[0]) is None:
        return stand_in
    # An installed package that cannot be imported is an error, and is not passed over.
    return getattr(import_module(module), name)


FeatureEncoder = _base("topobench.nn.encoders.base.AbstractFeatureEncoder", torch.nn.Module)
Loss = _base("topobench.loss.base.AbstractLoss", object)
Callback = _base("hydra.experimental.callback.Callback", object)
